"""Working days of China as the official lists say, overrides, half days, and days clocks change."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest

from policy.timing import CalendarSpec, Override
from policy.working_time import CalendarError, Shifts, WorkingCalendar, first_half, moment_of

DAY = (("09:00", "12:00"), ("13:30", "18:00"))
WEEK: dict[str, Shifts] = {str(n): DAY for n in range(1, 6)}
TITLE = {"zh": "测试", "en": "Test"}


def calendar(
    *overrides: Override,
    shifts: dict[str, Shifts] = WEEK,
    country: str = "CN",
    zone: str = "Asia/Shanghai",
    published: tuple[int, ...] = (2025, 2026),
) -> WorkingCalendar:
    return WorkingCalendar(CalendarSpec("t", TITLE, country, zone, published, shifts, overrides))


def days(first: str, last: str) -> Iterator[date]:
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    return (start + timedelta(days=n) for n in range((end - start).days + 1))


OFF = [
    ("2025-01-01", "2025-01-01"), ("2025-01-28", "2025-02-04"), ("2025-04-04", "2025-04-06"),
    ("2025-05-01", "2025-05-05"), ("2025-05-31", "2025-06-02"), ("2025-10-01", "2025-10-08"),
    ("2026-01-01", "2026-01-03"), ("2026-02-15", "2026-02-23"), ("2026-04-04", "2026-04-06"),
    ("2026-05-01", "2026-05-05"), ("2026-06-19", "2026-06-21"), ("2026-09-25", "2026-09-27"),
    ("2026-10-01", "2026-10-07"),
]  # fmt: skip
MAKE_UP = {
    date.fromisoformat(day)
    for day in (
        "2025-01-26", "2025-02-08", "2025-04-27", "2025-09-28", "2025-10-11", "2026-01-04",
        "2026-02-14", "2026-02-28", "2026-05-09", "2026-09-20", "2026-10-10",
    )
}  # fmt: skip


def test_every_day_of_2025_and_2026_is_as_the_official_lists_say() -> None:
    off = {day for span in OFF for day in days(*span)}
    known = calendar()
    for day in days("2025-01-01", "2026-12-31"):
        works = day in MAKE_UP or (day.isoweekday() <= 5 and day not in off)
        assert bool(known.shifts_of(day)) is works, day


def test_shifts_are_moments_in_utc() -> None:
    assert calendar().shifts_of(date(2026, 10, 10)) == (
        (datetime(2026, 10, 10, 1, tzinfo=UTC), datetime(2026, 10, 10, 4, tzinfo=UTC)),
        (datetime(2026, 10, 10, 5, 30, tzinfo=UTC), datetime(2026, 10, 10, 10, tzinfo=UTC)),
    )


SATURDAY = (("10:00", "15:00"),)
FRIDAY = (("08:00", "12:00"), ("13:00", "15:00"))
MIXED = WEEK | {"5": FRIDAY, "6": SATURDAY}
NIGHT: dict[str, Shifts] = {"2": (("22:00", "24:00"),)}


@pytest.mark.parametrize(
    ("shifts", "override", "kind", "expected"),
    [
        (MIXED, None, "working", SATURDAY),
        (MIXED, Override("2026-08-15", "holiday", TITLE), "holiday", ()),
        (MIXED, Override("2026-08-15", "workday", TITLE), "workday", DAY),
        (MIXED, Override("2026-08-15", "workday", TITLE, FRIDAY), "workday", FRIDAY),
        (MIXED, Override("2026-08-15", "half_day", TITLE), "half_day", (("10:00", "12:30"),)),
        (WEEK, Override("2026-08-15", "half_day", TITLE), "half_day", DAY[:1]),
        (NIGHT, Override("2026-08-15", "workday", TITLE), "workday", NIGHT["2"]),
        (MIXED, Override("2026-10-02", "workday", TITLE), "workday", FRIDAY),
        (MIXED, Override("2026-10-02", "half_day", TITLE, SATURDAY), "half_day", SATURDAY),
        (WEEK, Override("2026-10-10", "holiday", TITLE), "holiday", ()),
    ],
)
def test_an_override_wins(
    shifts: dict[str, Shifts],
    override: Override | None,
    kind: str,
    expected: Shifts,
) -> None:
    overrides = [override] if override else []
    day = date.fromisoformat(override.day if override else "2026-08-15")
    reading = calendar(*overrides, shifts=shifts).explain(day)
    assert (reading.kind, reading.shifts) == (kind, expected)


@pytest.mark.parametrize(
    ("shifts", "expected"),
    [
        ((), ()),
        ((("09:00", "17:01"),), (("09:00", "13:00"),)),
        ((("00:00", "24:00"),), (("00:00", "12:00"),)),
        ((*DAY, ("19:00", "21:00")), DAY[:1]),
        ((*DAY, ("19:00", "20:00"), ("21:00", "22:00")), DAY),
    ],
)
def test_half_a_day(shifts: Shifts, expected: Shifts) -> None:
    assert first_half(shifts) == expected


@pytest.mark.parametrize(
    ("day", "kind", "by", "zh", "en"),
    [
        ("2026-10-08", "working", "weekday", "星期四", "Thursday"),
        ("2026-10-11", "rest", "weekday", "星期日", "Sunday"),
        ("2026-10-01", "holiday", "public", "国庆节", "National Day"),
        ("2026-10-10", "workday", "public", "调休上班", "Make-up workday"),
        ("2026-12-24", "half_day", "override", "测试", "Test"),
    ],
)
def test_a_day_is_explained(day: str, kind: str, by: str, zh: str, en: str) -> None:
    reading = calendar(Override("2026-12-24", "half_day", TITLE)).explain(date.fromisoformat(day))
    assert (reading.kind, reading.by, reading.title) == (kind, by, {"zh": zh, "en": en})
    assert reading.published


def test_a_country_without_chinese_names_keeps_its_own() -> None:
    known = calendar(country="GB", zone="Europe/London")
    assert set(known.explain(date(2026, 12, 25)).title.values()) == {"Christmas Day"}


def test_a_year_that_is_not_published_is_said_so() -> None:
    known = calendar()
    assert known.is_published(date(2026, 12, 31))
    assert not known.is_published(date(2027, 1, 1))
    assert not known.explain(date(2027, 1, 4)).published
    assert known.are_published(date(2025, 1, 1), date(2026, 12, 31))
    assert not known.are_published(date(2026, 12, 31), date(2027, 1, 1))


ALL_WEEK: dict[str, Shifts] = {
    str(n): (("00:00", "03:00"), ("23:00", "24:00")) for n in range(1, 8)
}


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/London", "2026-03-28", [3, 1]),
        ("Europe/London", "2026-03-29", [2, 1]),
        ("Europe/London", "2026-10-25", [4, 1]),
        ("America/New_York", "2026-03-08", [2, 1]),
        ("America/New_York", "2026-11-01", [4, 1]),
        ("Asia/Beirut", "2025-03-30", [2, 1]),
        ("Asia/Beirut", "2025-10-25", [3, 2]),
        ("Pacific/Apia", "2011-12-30", []),
        ("Asia/Shanghai", "2026-03-29", [3, 1]),
    ],
)
def test_hours_that_pass_when_clocks_change(zone: str, day: str, hours: list[int]) -> None:
    known = calendar(shifts=ALL_WEEK, country="GB", zone=zone)
    shifts = known.shifts_of(date.fromisoformat(day))
    assert [(end - start) / timedelta(hours=1) for start, end in shifts] == hours


def test_a_shift_inside_the_gap_does_not_exist() -> None:
    night: dict[str, Shifts] = {"7": (("01:10", "01:50"), ("01:50", "02:30"))}
    known = calendar(shifts=night, country="GB", zone="Europe/London")
    jump = datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert known.shifts_of(date(2026, 3, 29)) == ((jump, jump + timedelta(minutes=30)),)


def test_the_end_of_a_day_whose_midnight_is_skipped() -> None:
    zone = calendar(zone="Asia/Beirut").zone
    jump = datetime(2025, 3, 29, 22, tzinfo=UTC)
    assert moment_of(zone, date(2025, 3, 29), "24:00") == jump
    assert moment_of(zone, date(2025, 3, 30), "01:00") == jump


def test_an_unknown_country_and_a_far_year_are_errors() -> None:
    with pytest.raises(CalendarError, match="`XX`"):
        calendar(country="XX").shifts_of(date(2026, 1, 5))
    with pytest.raises(CalendarError, match="2201"):
        calendar().year(2201)
