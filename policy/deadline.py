"""When a clock runs out, and why then: business hours, business days, calendar days.

- Business hours: the earliest moment by which so much working time has passed; so the end of a
  shift rather than the start of the next.
- Business days: the day of the start is not counted; due at the end of the last shift of the N-th
  day after it that has working time.
- Calendar days of a legal clock: the day of receipt is not counted, due when the last day ends
  (24:00 local). This reading of CBIRC Order 2020 No. 3 with the Civil Code's article 201 is a
  bank's compliance function to confirm; `counts_receipt` and `rolls` (Civil Code, article 203) of
  the clock say otherwise.
- Calendar days of other clocks: so many times 24 hours from the start, weekends included.

What happened on the way is its course. Time granted makes the length longer, in whatever order.
A pause adds what passed meanwhile as the clock counts: working time, plain time, or of a legal
clock the midnights: paused on a Monday and resumed on Wednesday is two days, the day it began
among them and the day it ended not. CBIRC Order 2020 No. 3 only says that the time of outside work
need not count; this reading is compliance's to confirm too.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from policy.organisation import Text
from policy.timing import ClockSpec
from policy.working_time import (
    MICROSECOND,
    CalendarError,
    WorkingCalendar,
    WorkYear,
    microseconds,
    moment_at,
    moment_of,
)

HOUR = 3_600_000_000
ONE_DAY = timedelta(days=1)
HORIZON = 50
"""Years within which a calendar must offer the working time asked for."""

RECEIPT: Text = {"zh": "起算当日，不计入", "en": "the day it starts, not counted"}
LAST_DAY: Text = {"zh": "最后一日，24:00 截止", "en": "the last day, ends at 24:00"}
CALENDAR_DAY: Text = {"zh": "自然日", "en": "calendar day"}
ELAPSED: Text = {"zh": "连续计时，周末照算", "en": "runs on, weekends included"}


PAUSE: Text = {"zh": "暂停期间，不计入", "en": "paused, not counted"}
ADDED: Text = {"zh": "补回暂停期间", "en": "given back for a pause"}
ROLLED: Text = {"zh": "最后一日非工作日，顺延", "en": "no working day: the last day moves on"}

Span = tuple[datetime, datetime]


@dataclass(frozen=True)
class Course:
    """What happened to a clock since it started: time granted, and when it stood still.

    `days` are working days of a clock of working time, else calendar days; `hours` working hours,
    or plain hours of a customer's or owner's calendar days. A legal clock has days only.
    """

    days: int = 0
    hours: float = 0.0
    pauses: tuple[Span, ...] = ()

    def extended(self, days: int = 0, hours: float = 0.0) -> "Course":
        return replace(self, days=self.days + days, hours=self.hours + hours)

    def paused(self, first: datetime, last: datetime) -> "Course":
        return replace(self, pauses=(*self.pauses, (first, last)))


STRAIGHT = Course()
"""Nothing happened."""


@dataclass(frozen=True)
class DeadlineStep:
    """One local day, or one shift of it, on the way to a deadline.

    `what`: worked (from, to and minutes are set), counted, skipped, started (not counted), paused
    (not counted either), added (given back for a pause) or rolled (the last day moved on).
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
    course: Course = STRAIGHT,
) -> Deadline:
    """When a clock that starts at `start` runs out, with every day on the way.

    `zone` is where days begin and end for calendar days; without it the calendar's. Raises
    CalendarError when the calendar has not enough working time, ValueError for a time without a
    zone, a clock without exactly one positive length, hours granted to a legal clock, a pause that
    ends before it begins, or no calendar where one is needed.
    """
    found = _due(start, spec, calendar, zone, course)
    steps = _steps(start, found.due, spec, calendar, zone, course)
    return Deadline(found.due, found.provisional, tuple(steps))


def due_many(
    starts: Iterable[datetime],
    spec: ClockSpec,
    calendar: WorkingCalendar | None,
    zone: ZoneInfo | None = None,
    course: Course = STRAIGHT,
) -> list[Deadline]:
    """As `due` for many starts, without the steps, which cost more than the answer."""
    return [_due(start, spec, calendar, zone, course) for start in starts]


def elapsed(
    first: datetime,
    last: datetime,
    spec: ClockSpec,
    calendar: WorkingCalendar | None,
    zone: ZoneInfo | None = None,
) -> timedelta:
    """How much of the clock's own time lies between two moments; negative when `last` is earlier.

    Working time, plain time, or of a legal clock the whole days: midnights that passed. Adds up
    exactly: from a to b and from b to c is from a to c.
    """
    if spec.calendar_days is None:
        worked = _worked(first, last, _needed(calendar, spec))
        return timedelta(microseconds=worked)
    if spec.kind != "legal":
        return timedelta(microseconds=microseconds(last) - microseconds(first))
    here = _zone(calendar, zone)
    return last.astimezone(here).date() - first.astimezone(here).date()


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
    return _worked(start, end, calendar) / HOUR


def _worked(start: datetime, end: datetime, calendar: WorkingCalendar) -> int:
    """Working time between two moments in microseconds."""
    if end < start:
        return -_worked(end, start, calendar)
    years = range(calendar.local_day(start).year, calendar.local_day(end).year + 1)
    first, last = microseconds(start), microseconds(end)
    spans = (calendar.year(year) for year in years)
    return sum(year.worked(last) - year.worked(first) for year in spans)


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
    start: datetime,
    spec: ClockSpec,
    calendar: WorkingCalendar | None,
    zone: ZoneInfo | None,
    course: Course,
) -> Deadline:
    microseconds(start)
    _check(spec, course)
    if spec.calendar_days is None:
        worked = _needed(calendar, spec)
        end = _end_of_work(start, spec, worked, course)
        days = worked.local_day(start), worked.local_day(end)
        return Deadline(end, not worked.are_published(*days))
    if spec.kind == "legal":
        return _end_of_legal_days(start, spec, calendar, _zone(calendar, zone), course)
    _zone(calendar, zone)
    whole = timedelta(days=spec.calendar_days + course.days, hours=course.hours)
    end = start.astimezone(UTC) + whole
    for first, last in _pauses(course):
        end += last - first if first < end else timedelta()
    return Deadline(end, False)


def _check(spec: ClockSpec, course: Course) -> None:
    lengths = (spec.business_hours, spec.business_days, spec.calendar_days)
    given = [length for length in lengths if length is not None]
    if len(given) != 1 or not given[0] > 0:
        raise ValueError(f"clock `{spec.id}` needs exactly one length, more than 0")
    if course.hours and spec.calendar_days is not None and spec.kind == "legal":
        raise ValueError(f"clock `{spec.id}` counts days and cannot be given hours")
    if any(last < first for first, last in course.pauses):
        raise ValueError(f"a pause of clock `{spec.id}` ends before it begins")


def _needed(calendar: WorkingCalendar | None, spec: ClockSpec) -> WorkingCalendar:
    if calendar is None:
        raise ValueError(f"clock `{spec.id}` counts working time and needs a calendar")
    return calendar


def _zone(calendar: WorkingCalendar | None, zone: ZoneInfo | None) -> ZoneInfo:
    found = zone or (calendar.zone if calendar else None)
    if found is None:
        raise ValueError("calendar days need a zone or a calendar")
    return found


def _end_of_work(
    start: datetime, spec: ClockSpec, calendar: WorkingCalendar, course: Course
) -> datetime:
    """The length and the hours granted, then working days granted, then what pauses took.

    Of a clock of working days, hours come after days."""
    if spec.business_hours is not None:
        end = add_business_hours(start, spec.business_hours + course.hours, calendar)
        if course.days:
            end = _end_of_business_day(end - MICROSECOND, course.days, calendar)
    else:
        end = _end_of_business_day(start, (spec.business_days or 0) + course.days, calendar)
        end = add_business_hours(end, course.hours, calendar)
    for first, last in _pauses(course):
        if first < end:
            end = add_business_hours(end, _worked(first, last, calendar) / HOUR, calendar)
    return end


def _pauses(course: Course) -> list[Span]:
    """In order of time. One that began when the clock had run out gives nothing back: that can be
    when a calendar was edited since."""
    return sorted(course.pauses)


def _end_of_legal_days(
    start: datetime,
    spec: ClockSpec,
    calendar: WorkingCalendar | None,
    zone: ZoneInfo,
    course: Course,
) -> Deadline:
    last = _last_legal_day(start, spec, zone, course)
    if not spec.rolls:
        return Deadline(moment_of(zone, last, "24:00"), False)
    worked = _needed(calendar, spec)
    day = _working_day_from(last, worked)
    for first, resumed in _paused_days(course, zone):
        if last < first <= day:
            day = _working_day_from(max(day, resumed), worked)
    return Deadline(moment_of(zone, day, "24:00"), not worked.are_published(last, day))


def _last_legal_day(start: datetime, spec: ClockSpec, zone: ZoneInfo, course: Course) -> date:
    """Before it moves on because it is no working day."""
    length = (spec.calendar_days or 0) - spec.counts_receipt + course.days
    last = start.astimezone(zone).date() + timedelta(days=length)
    for first, resumed in _paused_days(course, zone):
        if first <= last:
            last += resumed - first
    return last


def _paused_days(course: Course, zone: ZoneInfo) -> list[tuple[date, date]]:
    """The day each pause began, which is its first, and the day it ended, which counts again."""
    return [(a.astimezone(zone).date(), b.astimezone(zone).date()) for a, b in _pauses(course)]


def _working_day_from(day: date, calendar: WorkingCalendar) -> date:
    """The day itself, or the next that has working time."""
    for year in _years(calendar, day.year, 1):
        at = bisect_left(year.days, day)
        if at < len(year.days):
            return year.days[at]
    raise _too_little(calendar, "one working day", day.year)


# The days on the way, for people who ask why.


def _steps(
    start: datetime,
    end: datetime,
    spec: ClockSpec,
    calendar: WorkingCalendar | None,
    zone: ZoneInfo | None,
    course: Course,
) -> Iterator[DeadlineStep]:
    if spec.calendar_days is not None:
        here = _zone(calendar, zone)
        walk = _legal_steps if spec.kind == "legal" else _plain_steps
        return walk(start, end, spec, here, course)
    worked = _needed(calendar, spec)
    if spec.business_hours is not None and not course.days:
        return _hour_steps(start, end, worked, course.pauses)
    return _day_steps(start, end, spec, worked, course)


def _days(start: datetime, end: datetime, calendar: WorkingCalendar) -> Iterator[date]:
    first, last = calendar.local_day(start), calendar.local_day(end - MICROSECOND)
    return (date.fromordinal(n) for n in range(first.toordinal(), last.toordinal() + 1))


def _hour_steps(
    start: datetime, end: datetime, calendar: WorkingCalendar, pauses: Sequence[Span] = ()
) -> Iterator[DeadlineStep]:
    for day in _days(start, end, calendar):
        why = calendar.explain(day).title
        shifts = calendar.shifts_of(day)
        if not shifts:
            yield DeadlineStep(day, "skipped", why)
        for opens, closes in shifts:
            for first, last, stood in _pieces(max(opens, start), min(closes, end), pauses):
                what, said = ("paused", PAUSE) if stood else ("worked", why)
                yield _span(day, what, said, first, last)


def _span(day: date, what: str, why: Text, first: datetime, last: datetime) -> DeadlineStep:
    minutes = (last - first) / timedelta(minutes=1)
    return DeadlineStep(day, what, why, first.astimezone(UTC), last.astimezone(UTC), minutes)


def _pieces(
    first: datetime, last: datetime, pauses: Sequence[Span]
) -> Iterator[tuple[datetime, datetime, bool]]:
    """A span cut where pauses begin and end, each piece with whether the clock stood still."""
    cuts = {at for pause in pauses for at in pause if first < at < last}
    for a, b in pairwise(sorted({first, *cuts, last})) if first < last else ():
        yield a, b, any(begin <= a and b <= end for begin, end in pauses)


def _day_steps(
    start: datetime, end: datetime, spec: ClockSpec, calendar: WorkingCalendar, course: Course
) -> Iterator[DeadlineStep]:
    """Hours first where the clock has any, then whole days, then hours granted or given back."""
    if spec.business_hours is not None:
        begin = add_business_hours(start, spec.business_hours + course.hours, calendar)
        yield from _hour_steps(start, begin, calendar)
        begin -= MICROSECOND
    else:
        begin = start
        yield DeadlineStep(calendar.local_day(start), "started", RECEIPT)
    whole = _end_of_business_day(begin, (spec.business_days or 0) + course.days, calendar)
    _, *rest = _days(begin, whole, calendar)
    for day in rest:
        shifts = calendar.shifts_of(day)
        why = calendar.explain(day).title
        if shifts:
            minutes = sum((to - from_) / timedelta(minutes=1) for from_, to in shifts)
            yield DeadlineStep(day, "counted", why, shifts[0][0], shifts[-1][1], minutes)
        else:
            yield DeadlineStep(day, "skipped", why)
    for step in _hour_steps(whole, end, calendar) if whole < end else ():
        yield replace(step, what="added", why=ADDED) if step.what == "worked" else step


def _plain_steps(
    start: datetime,
    end: datetime,
    spec: ClockSpec,
    zone: ZoneInfo,
    course: Course,
) -> Iterator[DeadlineStep]:
    at = start.astimezone(UTC)
    for _ in range((spec.calendar_days or 0) + course.days):
        following = at + timedelta(days=1)
        yield _span(at.astimezone(zone).date(), "counted", ELAPSED, at, following)
        at = following
    if course.hours:
        following = at + timedelta(hours=course.hours)
        yield _span(at.astimezone(zone).date(), "counted", ELAPSED, at, following)
        at = following
    if at < end:
        yield _span(at.astimezone(zone).date(), "added", ADDED, at, end)


def _legal_steps(
    start: datetime,
    end: datetime,
    spec: ClockSpec,
    zone: ZoneInfo,
    course: Course,
) -> Iterator[DeadlineStep]:
    first = start.astimezone(zone).date()
    last = _last_legal_day(start, spec, zone, course)
    if not spec.counts_receipt:
        yield DeadlineStep(first, "started", RECEIPT)
        first += ONE_DAY
    stood = _paused_days(course, zone)
    for n in range((last - first).days + 1):
        day = first + n * ONE_DAY
        if any(paused <= day < resumed for paused, resumed in stood):
            yield DeadlineStep(day, "paused", PAUSE)
        else:
            yield DeadlineStep(day, "counted", LAST_DAY if day == last else CALENDAR_DAY)
    moved = (end - MICROSECOND).astimezone(zone).date()
    for n in range(1, (moved - last).days + 1):
        yield DeadlineStep(last + n * ONE_DAY, "rolled", ROLLED)
