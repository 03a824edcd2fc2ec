"""When a clock runs out, and why then: business hours, business days, calendar days.

- Business hours: the earliest moment by which so much working time has passed; so the end of a
  shift rather than the start of the next.
- Business days: the day of the start is not counted; due at the end of the last shift of the N-th
  day after it that has working time.
- Calendar days of a legal clock: the day of receipt is not counted, due when the last day ends
  (24:00 local). This reading of CBIRC Order 2020 No. 3 with the Civil Code's article 201 is a
  bank's compliance function to confirm; a last day that is a holiday is not moved.
- Calendar days of other clocks: so many times 24 hours from the start, weekends included.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from policy.organisation import Text
from policy.timing import ClockSpec
from policy.working_time import (
    CalendarError,
    WorkingCalendar,
    WorkYear,
    microseconds,
    moment_at,
    moment_of,
)

HOUR = 3_600_000_000
HORIZON = 50
"""Years within which a calendar must offer the working time asked for."""

RECEIPT: Text = {"zh": "起算当日，不计入", "en": "the day it starts, not counted"}
LAST_DAY: Text = {"zh": "最后一日，24:00 截止", "en": "the last day, ends at 24:00"}
CALENDAR_DAY: Text = {"zh": "自然日", "en": "calendar day"}
ELAPSED: Text = {"zh": "连续计时，周末照算", "en": "runs on, weekends included"}


@dataclass(frozen=True)
class DeadlineStep:
    """One local day, or one shift of it, on the way to a deadline.

    `what`: worked (from, to and minutes are set), counted, skipped, or started (not counted).
    """

    day: date
    what: str
    why: Text
    from_: datetime | None = None
    to: datetime | None = None
    minutes: float = 0.0


@dataclass(frozen=True)
class Deadline:
    """`due` in UTC; `provisional` when a day on the way lies in an unpublished year."""

    due: datetime
    provisional: bool
    steps: tuple[DeadlineStep, ...] = ()


def due(
    start: datetime,
    spec: ClockSpec,
    calendar: WorkingCalendar | None,
    zone: ZoneInfo | None = None,
) -> Deadline:
    """When a clock that starts at `start` runs out, with every day on the way.

    `zone` is where days begin and end for calendar days; without it the calendar's. Raises
    CalendarError when the calendar has not enough working time, ValueError for a time without a
    zone, a clock without exactly one positive length, or no calendar where one is needed.
    """
    found = _due(start, spec, calendar, zone)
    return Deadline(found.due, found.provisional, _steps(start, found.due, spec, calendar, zone))


def due_many(
    starts: Iterable[datetime],
    spec: ClockSpec,
    calendar: WorkingCalendar | None,
    zone: ZoneInfo | None = None,
) -> list[Deadline]:
    """As `due` for many starts, without the steps, which cost more than the answer."""
    return [_due(start, spec, calendar, zone) for start in starts]


def add_business_hours(start: datetime, hours: float, calendar: WorkingCalendar) -> datetime:
    """The earliest moment in UTC by which `hours` of working time have passed since `start`.

    Negative hours: the latest moment from which so much working time leads up to `start`. None:
    `start` itself. Raises CalendarError and ValueError as `due`.
    """
    work = round(hours * HOUR)
    if not work:
        return start.astimezone(UTC)
    moment = microseconds(start)
    first = calendar.local_day(start).year
    found = _after(moment, work, calendar, first) if work > 0 else None
    return moment_at(_before(moment, -work, calendar, first) if found is None else found)


def business_hours_between(start: datetime, end: datetime, calendar: WorkingCalendar) -> float:
    """Working hours from one moment to another; negative when `end` is the earlier."""
    if end < start:
        return -business_hours_between(end, start, calendar)
    years = range(calendar.local_day(start).year, calendar.local_day(end).year + 1)
    first, last = microseconds(start), microseconds(end)
    spans = (calendar.year(year) for year in years)
    return sum(year.worked(last) - year.worked(first) for year in spans) / HOUR


def _after(moment: int, work: int, calendar: WorkingCalendar, first: int) -> int:
    left = work
    for year in _years(calendar, first, 1):
        done = year.worked(moment)
        if done + left <= year.total:
            return year.earliest(done + left)
        left -= year.total - done
    raise _too_little(calendar, f"{work / HOUR:g} working hours", first)


def _before(moment: int, work: int, calendar: WorkingCalendar, first: int) -> int:
    left = work
    for year in _years(calendar, first, -1):
        done = year.worked(moment)
        if done >= left:
            return year.latest(done - left)
        left -= done
    raise _too_little(calendar, f"{work / HOUR:g} working hours", first - HORIZON)


def _end_of_business_day(start: datetime, days: int, calendar: WorkingCalendar) -> datetime:
    """The end of the N-th working day after the start's own."""
    today = calendar.local_day(start)
    left = days
    for year in _years(calendar, today.year, 1):
        passed = bisect_right(year.days, today)
        if left <= len(year.days) - passed:
            return moment_at(year.day_ends[passed + left - 1])
        left -= len(year.days) - passed
    raise _too_little(calendar, f"{days} working days", today.year)


def _years(calendar: WorkingCalendar, first: int, step: int) -> Iterator[WorkYear]:
    return (calendar.year(first + step * n) for n in range(HORIZON + 1))


def _too_little(calendar: WorkingCalendar, asked: str, year: int) -> CalendarError:
    span = f"{year} to {year + HORIZON}"
    return CalendarError(f"calendar `{calendar.spec.id}` has less than {asked} in {span}")


def _due(
    start: datetime, spec: ClockSpec, calendar: WorkingCalendar | None, zone: ZoneInfo | None
) -> Deadline:
    microseconds(start)
    _check_length(spec)
    if spec.calendar_days is not None:
        end = _end_of_calendar_days(start, spec.calendar_days, spec.kind, _zone(calendar, zone))
        return Deadline(end, False)
    worked = _needed(calendar, spec)
    if spec.business_hours is not None:
        end = add_business_hours(start, spec.business_hours, worked)
    else:
        end = _end_of_business_day(start, spec.business_days or 0, worked)
    days = worked.local_day(start), worked.local_day(end)
    return Deadline(end, not worked.are_published(*days))


def _check_length(spec: ClockSpec) -> None:
    lengths = (spec.business_hours, spec.business_days, spec.calendar_days)
    given = [length for length in lengths if length is not None]
    if len(given) != 1 or not given[0] > 0:
        raise ValueError(f"clock `{spec.id}` needs exactly one length, more than 0")


def _needed(calendar: WorkingCalendar | None, spec: ClockSpec) -> WorkingCalendar:
    if calendar is None:
        raise ValueError(f"clock `{spec.id}` counts working time and needs a calendar")
    return calendar


def _zone(calendar: WorkingCalendar | None, zone: ZoneInfo | None) -> ZoneInfo:
    found = zone or (calendar.zone if calendar else None)
    if found is None:
        raise ValueError("calendar days need a zone or a calendar")
    return found


def _end_of_calendar_days(start: datetime, days: int, kind: str, zone: ZoneInfo) -> datetime:
    if kind != "legal":
        return start.astimezone(UTC) + timedelta(days=days)
    last = start.astimezone(zone).date() + timedelta(days=days)
    return moment_of(zone, last, "24:00")


# The days on the way, for people who ask why.


def _steps(
    start: datetime,
    end: datetime,
    spec: ClockSpec,
    calendar: WorkingCalendar | None,
    zone: ZoneInfo | None,
) -> tuple[DeadlineStep, ...]:
    if spec.calendar_days is not None:
        return tuple(_calendar_day_steps(start, spec, _zone(calendar, zone)))
    worked = _needed(calendar, spec)
    walk = _hour_steps if spec.business_hours is not None else _day_steps
    return tuple(walk(start, end, worked))


def _days(start: datetime, end: datetime, calendar: WorkingCalendar) -> Iterator[date]:
    first, last = calendar.local_day(start), calendar.local_day(end - timedelta(microseconds=1))
    return (date.fromordinal(n) for n in range(first.toordinal(), last.toordinal() + 1))


def _hour_steps(
    start: datetime, end: datetime, calendar: WorkingCalendar
) -> Iterator[DeadlineStep]:
    for day in _days(start, end, calendar):
        why = calendar.explain(day).title
        shifts = calendar.shifts_of(day)
        if not shifts:
            yield DeadlineStep(day, "skipped", why)
        for opens, closes in shifts:
            from_, to = max(opens, start), min(closes, end)
            if from_ < to:
                minutes = (to - from_) / timedelta(minutes=1)
                yield DeadlineStep(day, "worked", why, from_.astimezone(UTC), to, minutes)


def _day_steps(start: datetime, end: datetime, calendar: WorkingCalendar) -> Iterator[DeadlineStep]:
    first, *rest = _days(start, end, calendar)
    yield DeadlineStep(first, "started", RECEIPT)
    for day in rest:
        shifts = calendar.shifts_of(day)
        why = calendar.explain(day).title
        if shifts:
            minutes = sum((to - from_) / timedelta(minutes=1) for from_, to in shifts)
            yield DeadlineStep(day, "counted", why, shifts[0][0], shifts[-1][1], minutes)
        else:
            yield DeadlineStep(day, "skipped", why)


def _calendar_day_steps(start: datetime, spec: ClockSpec, zone: ZoneInfo) -> Iterator[DeadlineStep]:
    days = spec.calendar_days or 0
    if spec.kind != "legal":
        for n in range(days):
            begin = start.astimezone(UTC) + timedelta(days=n)
            end = begin + timedelta(days=1)
            yield DeadlineStep(begin.astimezone(zone).date(), "counted", ELAPSED, begin, end, 1440)
        return
    first = start.astimezone(zone).date()
    yield DeadlineStep(first, "started", RECEIPT)
    for n in range(1, days + 1):
        why = CALENDAR_DAY if n < days else LAST_DAY
        yield DeadlineStep(first + timedelta(days=n), "counted", why)
