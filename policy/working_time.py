"""Which moments are working time: a calendar document, compiled, answers by day and by year.

A day is read in this order: the calendar's own override, the country's public holidays and make-up
workdays (调休) from the `holidays` library, the shifts of its weekday. A shift's time of day means
the first moment at which clocks show it or more: in a daylight-saving gap the moment of the jump,
in an overlap the first of the two. So shifts never overlap, and hours are hours that passed.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from policy.organisation import Text
from policy.timing import CalendarSpec, Override

if TYPE_CHECKING:
    from holidays import HolidayBase

Shifts = tuple[tuple[str, str], ...]
"""Pairs of local times of day, HH:MM, in order; 24:00 is the end of the day."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
FIRST_YEAR, LAST_YEAR = 1900, 2200

WEEKDAYS: Sequence[Text] = tuple(
    {"zh": f"星期{zh}", "en": en}
    for zh, en in zip(
        "一二三四五六日",
        ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
        strict=True,
    )
)
MAKE_UP_DAY: Text = {"zh": "调休上班", "en": "Make-up workday"}


class CalendarError(ValueError):
    """A calendar that cannot answer: no such country, year out of range, no working time."""


@dataclass(frozen=True)
class DayReading:
    """What a day is and why.

    `kind`: working, rest (its weekday has no shifts), holiday, workday (made one by decree) or
    half_day. `by`: weekday, public (the `holidays` library) or override.
    """

    day: date
    kind: str
    by: str
    title: Text
    shifts: Shifts
    published: bool


@dataclass(frozen=True)
class WorkYear:
    """A year's shifts in microseconds since 1970, in order; `before` sums the lengths so far.

    `before` has one entry more than there are shifts, the last being the year's total. `days` are
    the days with working time, `day_ends` the ends of their last shifts.
    """

    starts: Sequence[int]
    ends: Sequence[int]
    before: Sequence[int]
    days: Sequence[date]
    day_ends: Sequence[int]

    @property
    def total(self) -> int:
        return self.before[-1]

    def worked(self, moment: int) -> int:
        """Working time of the year that lies before `moment`."""
        i = bisect_right(self.starts, moment) - 1
        if i < 0:
            return 0
        return self.before[i] + min(moment, self.ends[i]) - self.starts[i]

    def earliest(self, work: int) -> int:
        """The first moment before which `work` was done; 0 < work <= total."""
        i = bisect_left(self.before, work) - 1
        return self.starts[i] + work - self.before[i]

    def latest(self, work: int) -> int:
        """The last moment before which only `work` was done; 0 <= work < total."""
        i = bisect_right(self.before, work) - 1
        return self.starts[i] + work - self.before[i]


class WorkingCalendar:
    """A calendar document ready for questions. Years are compiled when first asked for.

    A `workday` takes its override's shifts or else those of a plain working day: its own weekday's
    outside the country's weekend, otherwise those of Monday (or of the first weekday that has
    any). A `half_day` takes its override's shifts or else the first half of the day's: of several
    shifts the first ones, of a single one the time up to its middle.
    """

    def __init__(self, spec: CalendarSpec) -> None:
        self.spec = spec
        self.zone = ZoneInfo(spec.zone)
        self._overrides: Mapping[date, Override] = {
            date.fromisoformat(o.day): o for o in spec.overrides
        }
        self._published = frozenset(spec.published_years)
        self._usual = next((s for _, s in sorted(spec.shifts.items()) if s), ())
        self._years: dict[int, WorkYear] = {}

    def is_published(self, day: date) -> bool:
        """Whether the day's year is official; other days are known only provisionally."""
        return day.year in self._published

    def are_published(self, first: date, last: date) -> bool:
        """Whether every year from one day to another is official."""
        return all(year in self._published for year in range(first.year, last.year + 1))

    def local_day(self, moment: datetime) -> date:
        return moment.astimezone(self.zone).date()

    def shifts_of(self, day: date) -> tuple[tuple[datetime, datetime], ...]:
        """The day's working time as moments in UTC, in order. Raises CalendarError."""
        moments = (
            (moment_of(self.zone, day, start), moment_of(self.zone, day, end))
            for start, end in sorted(self._read(day)[2])
        )
        return tuple((start, end) for start, end in moments if start < end)

    def explain(self, day: date) -> DayReading:
        """What the day is, by which rule, and what it is called. Raises CalendarError."""
        kind, by, shifts = self._read(day)
        return DayReading(day, kind, by, self._title(day, kind, by), shifts, self.is_published(day))

    def year(self, year: int) -> WorkYear:
        """A year compiled. Raises CalendarError for a year out of range."""
        if year not in self._years:
            self._years[year] = self._compile(year)
        return self._years[year]

    def _read(self, day: date) -> tuple[str, str, Shifts]:
        """The day's kind, what decided it, and its shifts."""
        override = self._overrides.get(day)
        if override is None:
            return self._without_override(day)
        if override.shifts is not None:
            return override.kind, "override", override.shifts
        if override.kind == "holiday":
            return "holiday", "override", ()
        if override.kind == "half_day":
            whole = self._without_override(day)[2] or self._plain(day)
            return "half_day", "override", first_half(whole)
        return "workday", "override", self._plain(day)

    def _without_override(self, day: date) -> tuple[str, str, Shifts]:
        public = public_days(self.spec.country, day.year)
        if day in public.weekend_workdays:
            return "workday", "public", self._plain(day)
        if day in public:
            return "holiday", "public", ()
        shifts = self._of_weekday(day)
        return ("working" if shifts else "rest"), "weekday", shifts

    def _of_weekday(self, day: date) -> Shifts:
        return self.spec.shifts.get(str(day.isoweekday()), ())

    def _plain(self, day: date) -> Shifts:
        if day.weekday() in public_days(self.spec.country, day.year).weekend:
            return self._usual
        return self._of_weekday(day) or self._usual

    def _title(self, day: date, kind: str, by: str) -> Text:
        if by == "override":
            return self._overrides[day].title
        if by == "weekday":
            return WEEKDAYS[day.weekday()]
        return MAKE_UP_DAY if kind == "workday" else holiday_name(self.spec.country, day)

    def _compile(self, year: int) -> WorkYear:
        if not FIRST_YEAR <= year <= LAST_YEAR:
            span = f"{FIRST_YEAR} to {LAST_YEAR}"
            raise CalendarError(f"calendar `{self.spec.id}` knows the years {span}, not {year}")
        starts: list[int] = []
        ends: list[int] = []
        before = [0]
        days: list[date] = []
        day_ends: list[int] = []
        for ordinal in range(date(year, 1, 1).toordinal(), date(year + 1, 1, 1).toordinal()):
            day = date.fromordinal(ordinal)
            shifts = self.shifts_of(day)
            for start, end in shifts:
                starts.append(microseconds(start))
                ends.append(microseconds(end))
                before.append(before[-1] + ends[-1] - starts[-1])
            if shifts:
                days.append(day)
                day_ends.append(ends[-1])
        return WorkYear(starts, ends, before, days, day_ends)


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970. Raises ValueError for a time without its zone."""
    if moment.utcoffset() is None:
        raise ValueError(f"the time {moment.isoformat()} has no zone")
    return (moment - EPOCH) // MICROSECOND


def moment_at(since_1970: int) -> datetime:
    """The moment in UTC."""
    return EPOCH + timedelta(microseconds=since_1970)


def moment_of(zone: ZoneInfo, day: date, clock: str) -> datetime:
    """The first moment in UTC at which local clocks show this time of day or more."""
    hour, minute = clock.split(":")
    wall = datetime.combine(day, time()) + timedelta(hours=int(hour), minutes=int(minute))
    before = zone.utcoffset(wall)
    after = zone.utcoffset(wall.replace(fold=1))
    assert before is not None
    assert after is not None
    if before >= after:
        return (wall - before).replace(tzinfo=UTC)
    return _jump(zone, (wall - after).replace(tzinfo=UTC), (wall - before).replace(tzinfo=UTC))


def _jump(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """The second at which the offset changes, between a moment before and one not before it."""
    old = low.astimezone(zone).utcoffset()
    seconds = bisect_left(
        range(round((high - low).total_seconds())),
        True,
        key=lambda s: (low + timedelta(seconds=s)).astimezone(zone).utcoffset() != old,
    )
    return low + timedelta(seconds=seconds)


def first_half(shifts: Shifts) -> Shifts:
    """Of several shifts the first half, rounded down; of one the time up to its middle."""
    if len(shifts) != 1:
        return shifts[: len(shifts) // 2]
    start, end = (int(clock[:2]) * 60 + int(clock[3:]) for clock in shifts[0])
    middle = (start + end) // 2
    return ((shifts[0][0], f"{middle // 60:02}:{middle % 60:02}"),)


@cache
def public_days(country: str, year: int, language: str | None = None) -> "HolidayBase":
    """A year's public holidays, make-up workdays and weekend of a country (ISO 3166, two letters).

    Raises CalendarError for a country the library does not know.
    """
    import holidays

    try:
        return holidays.country_holidays(country, years=year, expand=False, language=language)
    except NotImplementedError as error:
        raise CalendarError(f"no public holidays are known for the country `{country}`") from error


def holiday_name(country: str, day: date) -> Text:
    """A public holiday's names; the country's own language where the library has no other."""
    known = public_days(country, day.year).supported_languages
    spoken = {"zh": "zh_CN", "en": next((k for k in known if k.startswith("en_")), None)}
    return {
        key: public_days(country, day.year, name if name in known else None)[day]
        for key, name in spoken.items()
    }
