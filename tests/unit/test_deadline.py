"""Deadlines against a slow oracle that walks minute by minute and reads calendars for itself."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import islice, pairwise
from typing import Any
from zoneinfo import ZoneInfo

import holidays
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.deadline import (
    Deadline,
    add_business_hours,
    business_hours_between,
    due,
    due_many,
)
from policy.timing import CalendarSpec, ClockSpec, Override
from policy.working_time import CalendarError, Shifts, WorkingCalendar

MINUTE = timedelta(minutes=1)
TITLE = {"zh": "测试", "en": "Test"}
SHANGHAI = ZoneInfo("Asia/Shanghai")
OFFICE: Shifts = (("09:00", "12:00"), ("13:30", "18:00"))
WEEK: dict[str, Shifts] = {str(n): OFFICE for n in range(1, 6)}


def spec_of(
    shifts: dict[str, Shifts] = WEEK,
    overrides: tuple[Override, ...] = (),
    country: str = "CN",
    zone: str = "Asia/Shanghai",
) -> CalendarSpec:
    return CalendarSpec("t", TITLE, country, zone, (2025, 2026), shifts, overrides)


CN = WorkingCalendar(spec_of())


def clock(kind: str = "owner", **length: Any) -> ClockSpec:
    return ClockSpec("c", kind, TITLE, "receipt", "closed", **length)


def cn(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=SHANGHAI)


# The oracle. It shares no code with what it judges.


@cache
def public(country: str) -> Any:
    return holidays.country_holidays(country, years=range(2024, 2029))


class Oracle:
    def __init__(self, spec: CalendarSpec) -> None:
        self.spec = spec
        self.zone = ZoneInfo(spec.zone)
        self.known: dict[date, Shifts] = {}

    def shifts(self, day: date) -> Shifts:
        if day not in self.known:
            self.known[day] = self.read(day)
        return self.known[day]

    def read(self, day: date) -> Shifts:
        own = self.spec.shifts.get(str(day.isoweekday()), ())
        others = [self.spec.shifts[k] for k in "1234567" if self.spec.shifts.get(k)]
        plain = own if own and day.isoweekday() < 6 else (others[0] if others else ())
        usual = own
        if day in public(self.spec.country):
            usual = ()
        if day in public(self.spec.country).weekend_workdays:
            usual = plain
        for override in self.spec.overrides:
            if override.day == str(day):
                return self.overridden(override, usual, plain)
        return usual

    def overridden(self, override: Override, usual: Shifts, plain: Shifts) -> Shifts:
        if override.kind == "holiday":
            return ()
        if override.shifts:
            return override.shifts
        if override.kind == "workday":
            return plain
        whole = usual or plain
        if len(whole) == 1:
            (h1, m1), (h2, m2) = (map(int, clock.split(":")) for clock in whole[0])
            middle = (h1 * 60 + m1 + h2 * 60 + m2) // 2
            return ((whole[0][0], f"{middle // 60:02d}:{middle % 60:02d}"),)
        return whole[: len(whole) // 2]

    def minutes(self, first: datetime, count: int) -> Iterator[tuple[datetime, date, bool]]:
        """Each minute from `first`: the day a clock that never goes back shows, and if it works."""
        top = datetime.min  # noqa: DTZ901
        begin = first - timedelta(hours=30)
        for n in range(30 * 60 + count):
            moment = begin + n * MINUTE
            top = max(top, moment.astimezone(self.zone).replace(tzinfo=None))
            if moment >= first:
                shown = f"{top:%H:%M}"
                day = top.date()
                yield moment, day, any(a <= shown < b for a, b in self.shifts(day))

    def add(self, start: datetime, minutes: int) -> datetime | None:
        """None when the walk of 40 days did not find enough."""
        if minutes > 0:
            working = (m for m, _, on in self.minutes(start, 40 * 1440) if on)
            last = next(islice(working, minutes - 1, None), None)
            return last + MINUTE if last else None
        before = start - timedelta(days=14)
        found = [m for m, _, on in self.minutes(before, 14 * 1440) if on]
        return found[minutes] if len(found) >= -minutes else None

    def business_days(self, start: datetime, days: int) -> datetime | None:
        today = start.astimezone(self.zone).date()
        ends: dict[date, datetime] = {}
        for moment, day, on in self.minutes(start, 40 * 1440):
            if on and day > today:
                ends[day] = moment + MINUTE
            if len(ends) > days:
                return list(ends.values())[days - 1]
        return None


# What Hypothesis draws: calendars of three countries, with starts near what is special there.

PLACES = [("CN", "Asia/Shanghai"), ("GB", "Europe/London"), ("US", "America/New_York")]
NEAR = {
    "CN": ["2025-01-24", "2025-09-26", "2026-02-13", "2026-09-19", "2026-09-29", "2026-12-30"],
    "GB": ["2025-03-29", "2025-10-25", "2026-03-28", "2026-10-24", "2026-12-23"],
    "US": ["2025-03-08", "2025-11-01", "2026-03-07", "2026-10-31", "2026-11-25"],
}


@st.composite
def day_shifts(draw: st.DrawFn) -> Shifts:
    """Up to three shifts in order, at any minute, that may touch."""
    count = draw(st.integers(1, 3))
    marks = st.one_of(st.integers(0, 1440), st.sampled_from([0, 60, 90, 120, 540, 1440]))
    cuts = sorted(draw(st.lists(marks, min_size=2 * count, max_size=2 * count)))
    names = [f"{c // 60:02}:{c % 60:02}" for c in cuts]
    return tuple((a, b) for a, b in zip(names[::2], names[1::2], strict=True) if a < b)


@st.composite
def cases(draw: st.DrawFn) -> tuple[CalendarSpec, datetime]:
    """A calendar and a whole minute to start from."""
    country, zone = draw(st.sampled_from(PLACES))
    weekdays = draw(st.sets(st.sampled_from("1234567"), min_size=2))
    week = {w: draw(st.one_of(st.just(OFFICE), day_shifts())) for w in sorted(weekdays)}
    near = date.fromisoformat(draw(st.sampled_from(NEAR[country])))
    changed = draw(st.sets(st.integers(-6, 12), max_size=4))
    kinds = st.sampled_from(["holiday", "workday", "half_day"])
    overrides = []
    for n in sorted(changed):
        kind = draw(kinds)
        shifts = draw(st.one_of(st.none(), day_shifts())) if kind != "holiday" else None
        overrides.append(Override(str(near + timedelta(days=n)), kind, TITLE, shifts or None))
    base = datetime(near.year, near.month, near.day, tzinfo=UTC)
    start = base + draw(st.integers(-2 * 1440, 4 * 1440)) * MINUTE
    return spec_of(week, tuple(overrides), country, zone), start


@st.composite
def nights(draw: st.DrawFn) -> tuple[CalendarSpec, datetime]:
    """Shifts that begin and end in the hours at which clocks change, and a start just before."""
    day, country, zone = draw(
        st.sampled_from(
            [
                ("2026-03-29", "GB", "Europe/London"),
                ("2026-10-25", "GB", "Europe/London"),
                ("2026-03-08", "US", "America/New_York"),
                ("2026-11-01", "US", "America/New_York"),
                ("2025-03-30", "GB", "Asia/Beirut"),
                ("2025-10-26", "GB", "Asia/Beirut"),
            ]
        )
    )
    cuts = sorted(draw(st.sets(st.integers(0, 12), min_size=2, max_size=6)))
    names = [f"{c // 4:02}:{c % 4 * 15:02}" for c in cuts]
    shifts = tuple(zip(names[::2], names[1::2], strict=False))
    start = datetime.fromisoformat(day).replace(tzinfo=UTC) + draw(st.integers(-300, 500)) * MINUTE
    return spec_of({str(n): shifts for n in range(1, 8)}, (), country, zone), start


@settings(max_examples=80, deadline=None)
@given(nights(), st.integers(1, 300))
def test_nights_in_which_clocks_change(case: tuple[CalendarSpec, datetime], minutes: int) -> None:
    spec, start = case
    calendar, oracle = WorkingCalendar(spec), Oracle(spec)
    assert add_business_hours(start, minutes / 60, calendar) == oracle.add(start, minutes)
    worked = sum(on for _, _, on in oracle.minutes(start, minutes))
    end = start + minutes * MINUTE
    assert business_hours_between(start, end, calendar) * 60 == pytest.approx(worked)


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(1, 40 * 60))
def test_hours_after_as_the_oracle_walks(case: tuple[CalendarSpec, datetime], minutes: int) -> None:
    spec, start = case
    expected = Oracle(spec).add(start, minutes)
    if expected is not None:
        assert add_business_hours(start, minutes / 60, WorkingCalendar(spec)) == expected


@settings(max_examples=30, deadline=None)
@given(cases(), st.integers(1, 24 * 60))
def test_hours_before_as_the_oracle_walks(
    case: tuple[CalendarSpec, datetime], minutes: int
) -> None:
    spec, start = case
    expected = Oracle(spec).add(start, -minutes)
    if expected is not None:
        assert add_business_hours(start, -minutes / 60, WorkingCalendar(spec)) == expected


@settings(max_examples=40, deadline=None)
@given(cases(), st.integers(0, 6 * 1440))
def test_hours_between_as_the_oracle_counts(
    case: tuple[CalendarSpec, datetime], minutes: int
) -> None:
    spec, start = case
    worked = sum(on for _, _, on in Oracle(spec).minutes(start, minutes))
    end, calendar = start + minutes * MINUTE, WorkingCalendar(spec)
    assert business_hours_between(start, end, calendar) * 60 == pytest.approx(worked)
    assert business_hours_between(end, start, calendar) * 60 == pytest.approx(-worked)


@settings(max_examples=40, deadline=None)
@given(cases(), st.integers(1, 6))
def test_business_days_as_the_oracle_walks(case: tuple[CalendarSpec, datetime], days: int) -> None:
    spec, start = case
    expected = Oracle(spec).business_days(start, days)
    if expected is not None:
        assert due(start, clock(business_days=days), WorkingCalendar(spec)).due == expected


def hours(calendar: WorkingCalendar, start: datetime, length: float) -> datetime | None:
    """The deadline, or None where the drawn calendar has too little working time for any."""
    try:
        return add_business_hours(start, length, calendar)
    except CalendarError:
        return None


LENGTHS = st.floats(1e-6, 400, allow_nan=False)


@settings(max_examples=100, deadline=None)
@given(cases(), st.integers(1, 30_000_000_000), st.integers(1, 30_000_000_000))
def test_lengths_add_up(case: tuple[CalendarSpec, datetime], a: int, b: int) -> None:
    calendar, start = WorkingCalendar(case[0]), case[1] + timedelta(microseconds=7)
    for sign in (1, -1):
        first = hours(calendar, start, sign * a / 3.6e9)
        both = hours(calendar, start, sign * (a + b) / 3.6e9)
        if first is not None and both is not None:
            assert hours(calendar, first, sign * b / 3.6e9) == both


@settings(max_examples=100, deadline=None)
@given(cases(), LENGTHS, LENGTHS, st.integers(0, 10**12))
def test_later_starts_and_longer_lengths_are_never_due_earlier(
    case: tuple[CalendarSpec, datetime], a: float, b: float, later: int
) -> None:
    calendar, start = WorkingCalendar(case[0]), case[1]
    shorter, longer = sorted((a, b))
    ends = [
        hours(calendar, start, shorter),
        hours(calendar, start, longer),
        hours(calendar, start + timedelta(microseconds=later), longer),
    ]
    found = [end for end in ends if end is not None]
    assert found == sorted(found)


@settings(max_examples=100, deadline=None)
@given(cases(), LENGTHS)
def test_a_deadline_lies_in_a_shift_and_its_hours_can_be_counted(
    case: tuple[CalendarSpec, datetime], length: float
) -> None:
    calendar, start = WorkingCalendar(case[0]), case[1]
    end = hours(calendar, start, length)
    if end is None:
        return
    day = calendar.local_day(end - timedelta(microseconds=1))
    assert any(opens < end <= closes for opens, closes in calendar.shifts_of(day))
    assert business_hours_between(start, end, calendar) == pytest.approx(length, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(1, 3000))
def test_the_steps_tell_the_whole_length(case: tuple[CalendarSpec, datetime], minutes: int) -> None:
    calendar, start = WorkingCalendar(case[0]), case[1]
    try:
        found = due(start, clock(business_hours=minutes / 60), calendar)
    except CalendarError:
        return
    assert sum(step.minutes for step in found.steps) == pytest.approx(minutes)
    assert found.steps[-1].to == found.due
    spans = [(s.from_, s.to) for s in found.steps if s.from_ and s.to]
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    for step in found.steps:
        assert (step.what == "skipped") is (not calendar.shifts_of(step.day))


# Tables


@pytest.mark.parametrize(
    ("start", "hours", "expected"),
    [
        ("2026-09-30 16:00", 8, "2026-10-08 16:30"),
        ("2026-10-09 17:00", 2, "2026-10-10 10:00"),
        ("2026-10-10 18:00", 1, "2026-10-12 10:00"),
        ("2026-09-20 12:30", 0.25, "2026-09-20 13:45"),
        ("2025-01-27 17:59", 0.5, "2025-02-05 09:29"),
        ("2025-10-01 00:00", 7.5, "2025-10-09 18:00"),
        ("2026-08-24 10:00", 2, "2026-08-24 12:00"),
        ("2026-08-24 12:00", 0, "2026-08-24 12:00"),
        ("2026-08-22 12:00", 0, "2026-08-22 12:00"),
        ("2026-08-24 18:00", -7.5, "2026-08-24 09:00"),
        ("2026-08-24 09:00", -1, "2026-08-21 17:00"),
        ("2026-10-08 10:00", -1.5, "2026-09-30 17:30"),
        ("2026-08-22 12:00", -8, "2026-08-20 17:30"),
    ],
)
def test_business_hours_in_china(start: str, hours: float, expected: str) -> None:
    assert add_business_hours(cn(start), hours, CN) == cn(expected)


@pytest.mark.parametrize(
    ("start", "days", "expected"),
    [
        ("2026-08-21 10:00", 1, "2026-08-24 18:00"),
        ("2026-08-22 10:00", 1, "2026-08-24 18:00"),
        ("2026-08-24 08:00", 1, "2026-08-25 18:00"),
        ("2026-08-24 23:59", 3, "2026-08-27 18:00"),
        ("2026-09-30 16:00", 3, "2026-10-10 18:00"),
        ("2026-02-13 16:00", 2, "2026-02-24 18:00"),
        ("2025-12-30 16:00", 15, "2026-01-21 18:00"),
    ],
)
def test_business_days_in_china(start: str, days: int, expected: str) -> None:
    assert due(cn(start), clock(business_days=days), CN).due == cn(expected)


@pytest.mark.parametrize(
    ("kind", "start", "days", "expected"),
    [
        ("legal", "2026-09-30 16:00", 15, "2026-10-16 00:00"),
        ("legal", "2026-09-30 00:00", 15, "2026-10-16 00:00"),
        ("legal", "2026-09-30 23:59", 15, "2026-10-16 00:00"),
        ("legal", "2028-02-28 12:00", 1, "2028-03-01 00:00"),
        ("customer", "2026-09-30 16:00", 1, "2026-10-01 16:00"),
        ("customer", "2026-10-03 23:30", 2, "2026-10-05 23:30"),
    ],
)
def test_calendar_days(kind: str, start: str, days: int, expected: str) -> None:
    found = due(cn(start), clock(calendar_days=days, kind=kind), None, SHANGHAI)
    assert (found.due, found.provisional) == (cn(expected), False)
    assert len([step for step in found.steps if step.what == "counted"]) == days


def test_a_legal_day_ends_at_midnight_of_its_zone_when_clocks_change() -> None:
    spec, london = clock(calendar_days=1, kind="legal"), ZoneInfo("Europe/London")
    found = due(datetime(2026, 3, 28, 12, tzinfo=UTC), spec, None, london)
    assert found.due == datetime(2026, 3, 29, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "length", "provisional"),
    [
        ("2026-12-30 16:00", {"business_days": 1}, False),
        ("2026-12-30 16:00", {"business_days": 2}, True),
        ("2026-12-31 16:00", {"business_hours": 2}, False),
        ("2026-12-31 16:00", {"business_hours": 2.01}, True),
        ("2024-12-31 16:00", {"business_hours": 9}, True),
        ("2025-12-31 16:00", {"business_hours": 9}, False),
        ("2026-12-31 16:00", {"calendar_days": 30, "kind": "legal"}, False),
    ],
)
def test_provisional_past_the_published_years(
    start: str, length: dict[str, Any], provisional: bool
) -> None:
    assert due(cn(start), clock(**length), CN).provisional is provisional


def test_the_steps_say_why() -> None:
    steps = due(cn("2026-10-09 17:00"), clock(business_hours=2), CN).steps
    assert [(str(s.day), s.what, s.minutes, s.why["en"]) for s in steps] == [
        ("2026-10-09", "worked", 60, "Friday"),
        ("2026-10-10", "worked", 60, "Make-up workday"),
    ]
    days = due(cn("2026-09-30 17:00"), clock(business_days=1), CN).steps
    assert [s.what for s in days] == ["started", *["skipped"] * 7, "counted"]
    assert days[1].why["zh"] == "国庆节"


def test_many_are_as_each() -> None:
    starts = [cn("2026-09-30 16:00"), cn("2026-12-31 17:00")]
    spec = clock(business_hours=8)
    each = [due(start, spec, CN) for start in starts]
    assert due_many(starts, spec, CN) == [Deadline(d.due, d.provisional) for d in each]


def test_years_of_hours_are_as_exact_as_a_walk_by_day() -> None:
    left, day = timedelta(hours=10_000), date(2026, 1, 1)
    while True:
        worked = sum((b - a for a, b in CN.shifts_of(day)), timedelta())
        if worked >= left:
            break
        left, day = left - worked, day + timedelta(days=1)
    end = add_business_hours(cn("2026-01-01 00:00"), 10_000, CN)
    assert CN.local_day(end) == day


@pytest.mark.parametrize("length", [{"business_hours": 1}, {"business_days": 1}])
def test_a_calendar_without_working_time_is_an_error(length: dict[str, Any]) -> None:
    empty = WorkingCalendar(spec_of({"1": ()}))
    with pytest.raises(CalendarError, match="`t` has less than 1 working"):
        due(cn("2026-01-01 00:00"), clock(**length), empty)
    with pytest.raises(CalendarError):
        add_business_hours(cn("2026-01-01 00:00"), -1, empty)


@pytest.mark.parametrize(
    "length",
    [{}, {"business_hours": 0}, {"business_days": -1}, {"business_days": 1, "calendar_days": 1}],
)
def test_a_clock_has_exactly_one_length(length: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="exactly one length"):
        due(cn("2026-01-01 00:00"), clock(**length), CN)


def test_what_is_needed_must_be_given() -> None:
    with pytest.raises(ValueError, match="needs a calendar"):
        due(cn("2026-01-01 00:00"), clock(business_days=1), None)
    with pytest.raises(ValueError, match="need a zone"):
        due(cn("2026-01-01 00:00"), clock(calendar_days=1), None)
    with pytest.raises(ValueError, match="no zone"):
        due(datetime(2026, 1, 1), clock(business_days=1), CN)  # noqa: DTZ001
