"""Clocks on thousands of random calendars, against an oracle that ticks minute by minute.

Every calendar is drawn from a seed: three countries and zones, shifts that end at any quarter of an
hour, make-up workdays, half days and days off, starts near public holidays and near the nights in
which clocks change. A tenth of them run in the everyday suite, all of them under `prove`.
"""

import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from random import Random
from zoneinfo import ZoneInfo

import pytest

from policy.deadline import STRAIGHT, Course, due_many, elapsed
from policy.timing import CalendarSpec, ClockSpec, Override
from policy.working_time import CalendarError, Shifts, WorkingCalendar
from tests.unit.test_deadline import NEAR, PLACES, TITLE, Oracle, clock

CALENDARS, SOME = 10_000, 1_000
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
KINDS = ("hours", "days", "legal", "rolling", "plain")


@dataclass(frozen=True)
class Case:
    """A calendar, a whole minute to start from, a clock and a pause on its way."""

    spec: CalendarSpec
    start: datetime
    clock: ClockSpec
    length: int
    pause: tuple[datetime, datetime]

    @property
    def course(self) -> Course:
        return Course(pauses=(self.pause,))

    @cached_property
    def calendar(self) -> WorkingCalendar:
        return WorkingCalendar(self.spec)

    def due(self, course: Course = STRAIGHT, spec: CalendarSpec | None = None) -> datetime | None:
        """None where the calendar has too little working time."""
        calendar = WorkingCalendar(spec) if spec else self.calendar
        try:
            (found,) = due_many([self.start], self.clock, calendar, calendar.zone, course)
        except CalendarError:
            return None
        return found.due


def case_of(seed: int, kinds: tuple[str, ...] = KINDS) -> Case:
    pick = Random(seed)
    country, zone = pick.choice(PLACES)
    near = date.fromisoformat(pick.choice(NEAR[country]))
    weekdays = pick.sample("1234567", pick.randint(2, 7))
    week = {day: shifts_of(pick) for day in sorted(weekdays)}
    days = sorted(pick.sample(range(-4, 12), pick.randint(0, 4)))
    overrides = tuple(override(pick, near + n * DAY) for n in days)
    spec = CalendarSpec("t", TITLE, country, zone, (2025, 2026), week, overrides)
    start = datetime(near.year, near.month, near.day, tzinfo=UTC)
    start += pick.randint(-2 * 1440, 4 * 1440) * MINUTE
    kind = pick.choice(kinds)
    length = pick.randint(1, 30 * 60) if kind == "hours" else pick.randint(1, 9)
    first = start + pick.randint(0, 3 * 1440) * MINUTE
    pause = first, first + pick.randint(0, 4 * 1440) * MINUTE
    return Case(spec, start, clock_of(kind, length), length, pause)


def clock_of(kind: str, length: int) -> ClockSpec:
    if kind == "hours":
        return clock(business_hours=length / 60)
    if kind == "days":
        return clock(business_days=length)
    if kind == "plain":
        return clock("customer", calendar_days=length)
    return replace(clock("legal", calendar_days=length), rolls=kind == "rolling")


def shifts_of(pick: Random) -> Shifts:
    """One to three shifts at quarters of an hour, that may touch, and may reach midnight."""
    count = pick.randint(1, 3)
    cuts = sorted(pick.sample(range(97), 2 * count))
    names = [f"{c // 4:02}:{c % 4 * 15:02}" for c in cuts]
    return tuple(zip(names[::2], names[1::2], strict=True))


def override(pick: Random, day: date) -> Override:
    kind = pick.choice(["holiday", "workday", "half_day"])
    shifts = shifts_of(pick) if kind != "holiday" and pick.random() < 0.5 else None
    return Override(day.isoformat(), kind, TITLE, shifts)


every = pytest.mark.parametrize(
    "seeds",
    [range(SOME), pytest.param(range(SOME, CALENDARS), marks=pytest.mark.prove)],
    ids=["some", "all"],
)


@every
def test_more_time_off_is_never_due_earlier(seeds: range) -> None:
    """A day off more, or a shift less; pauses that took working time give back less for it. A clock
    of days ends with the last shift of its last day: that day is never earlier."""
    moved = 0
    for case in map(case_of, seeds):
        of_days = case.clock.business_days is not None
        course = STRAIGHT if of_days else case.course
        before = case.due(course)
        after = case.due(course, with_less_work(case, Random(case.length)))
        if before is not None and after is not None:
            if of_days:
                before, after = (midnight(case, at) for at in (before, after))
            assert after >= before, case
            moved += after > before
    assert moved > len(seeds) / 20, "the time taken away must matter to some"


def midnight(case: Case, at: datetime) -> datetime:
    """The beginning of a moment's day."""
    return datetime.combine(case.calendar.local_day(at), datetime.min.time(), UTC)


def with_less_work(case: Case, pick: Random) -> CalendarSpec:
    """The calendar with one more day off, or a day that has a shift less."""
    day = case.start.date() + pick.randint(0, 6) * DAY
    shifts = case.calendar.explain(day).shifts
    left = tuple(pick.sample(shifts, len(shifts) - 1)) if shifts and pick.random() < 0.5 else ()
    less = Override(day.isoformat(), "workday" if left else "holiday", TITLE, left or None)
    others = tuple(o for o in case.spec.overrides if o.day != less.day)
    return replace(case.spec, overrides=(*others, less))


@every
def test_time_passed_adds_up(seeds: range) -> None:
    for case in map(case_of, seeds):
        calendar, pick = case.calendar, Random(case.length)
        moments = [case.start + pick.randint(-9 * 1440, 9 * 1440) * MINUTE for _ in range(3)]
        a, b, c = moments

        def passed(x: datetime, y: datetime) -> timedelta:
            return elapsed(x, y, case.clock, calendar, calendar.zone)  # noqa: B023

        assert passed(a, b) + passed(b, c) == passed(a, c), case
        assert passed(a, b) == -passed(b, a)


@every
def test_a_pause_of_no_time_changes_nothing_and_two_that_meet_are_one(seeds: range) -> None:
    for case in map(case_of, seeds):
        first, last = case.pause
        middle = first + (last - first) // 2
        assert case.due(STRAIGHT.paused(first, first)) == case.due(), case
        halves = STRAIGHT.paused(first, middle).paused(middle, last)
        assert case.due(halves) == case.due(case.course), case


@pytest.mark.parametrize(
    "seeds",
    [range(100), pytest.param(range(100, CALENDARS), marks=pytest.mark.prove)],
    ids=["some", "all"],
)
def test_the_engine_agrees_with_the_ticking_oracle(seeds: range) -> None:
    compared = 0
    for case in map(case_of, seeds):
        expected = Ticking(case).due()
        if expected is not None:
            assert case.due(case.course) == expected, case
            compared += 1
    assert compared > len(seeds) * 0.7


class Ticking:
    """Counts for itself: minute by minute, and day by day where a clock counts days."""

    def __init__(self, case: Case) -> None:
        self.case, self.oracle = case, Oracle(case.spec)
        self.zone = ZoneInfo(case.spec.zone)

    def due(self) -> datetime | None:
        spec, length = self.case.clock, self.case.length
        if spec.business_hours is not None:
            return self.after(self.case.start, length, stands_still=True)
        if spec.business_days is not None:
            end = self.oracle.business_days(self.case.start, length)
            late = end is None or self.case.pause[0] >= end
            return end if late or end is None else self.after(end, self.paused_work())
        if spec.kind != "legal":
            return self.end_of_plain_days(length)
        return self.end_of_legal_days(length)

    def end_of_plain_days(self, days: int) -> datetime:
        first, last = self.case.pause
        end = self.case.start + days * DAY
        return end + (last - first) if first < end else end

    def after(
        self, start: datetime, minutes: int, *, stands_still: bool = False
    ) -> datetime | None:
        """When so many working minutes have ticked, but none while it stands still."""
        first, last = self.case.pause if stands_still else (start, start)
        end = start
        for moment, _, on in self.oracle.minutes(start, 20 * 1440) if minutes else ():
            if on and not first <= moment < last:
                minutes -= 1
                end = moment + MINUTE
            if not minutes:
                return end
        return None if minutes else end

    def paused_work(self) -> int:
        first, last = self.case.pause
        return sum(on for _, _, on in self.oracle.minutes(first, (last - first) // MINUTE))

    def end_of_legal_days(self, days: int) -> datetime:
        """Midnights that pass while it runs, the first being that of the day of receipt; where it
        must be a working day, the last one is the first that ends such a day."""
        first, last = (at.astimezone(self.zone).date() for at in self.case.pause)
        day = self.case.start.astimezone(self.zone).date() - DAY
        left = days + 1
        while True:
            day += DAY
            if not first <= day < last:
                left -= 1
                if left <= 0 and (not self.case.clock.rolls or self.works(day)):
                    return self.midnight_after(day)

    def works(self, day: date) -> bool:
        return any(a < b for a, b in self.oracle.shifts(day))

    def midnight_after(self, day: date) -> datetime:
        """The first minute at which local clocks show the next day."""
        at = datetime(day.year, day.month, day.day, 6, tzinfo=UTC)
        while at.astimezone(self.zone).date() <= day:
            at += MINUTE
        return at


@pytest.mark.prove
def test_due_times_a_second() -> None:
    """Printed, and at least 20,000 for each kind of clock."""
    pick, year = Random(1), 365 * 1440
    for kind in KINDS:
        case = case_of(7)
        calendar = WorkingCalendar(case.spec)
        spec = clock_of(kind, 480 if kind == "hours" else 5)
        base = datetime(2026, 1, 1, tzinfo=UTC)
        starts = [base + pick.randrange(year) * MINUTE for _ in range(100_000)]
        due_many(starts[:10], spec, calendar, calendar.zone, case.course)
        began = time.perf_counter()
        due_many(starts, spec, calendar, calendar.zone, case.course)
        rate = len(starts) / (time.perf_counter() - began)
        sys.stdout.write(f"{kind}: {rate:,.0f} due times a second\n")
        assert rate >= 20_000
