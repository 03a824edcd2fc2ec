"""What a calendar check finds: unpublished years, contradicting days, and what it lets pass."""

from datetime import date
from pathlib import Path

import pytest

from policy.calendar_check import check_calendar
from policy.documents import load_set
from policy.timing import CalendarSpec, Override
from policy.working_time import Shifts

TITLE = {"zh": "测试", "en": "Test"}
OFFICE: Shifts = (("09:00", "12:00"), ("13:30", "18:00"))
WEEK: dict[str, Shifts] = {str(n): OFFICE for n in range(1, 6)}
EVERY_DAY: dict[str, Shifts] = {str(n): OFFICE for n in range(1, 8)}
TODAY = date(2026, 6, 1)


def spec_of(
    *overrides: Override,
    shifts: dict[str, Shifts] = WEEK,
    years: tuple[int, ...] = (2025, 2026),
    country: str = "CN",
) -> CalendarSpec:
    return CalendarSpec("t", TITLE, country, "Asia/Shanghai", years, shifts, overrides)


def on(day: str, kind: str, shifts: Shifts | None = None) -> Override:
    return Override(day, kind, TITLE, shifts)


@pytest.mark.parametrize(
    "spec",
    [
        spec_of(),
        spec_of(on("2026-10-10", "workday"), on("2026-10-09", "holiday")),
        spec_of(on("2026-10-03", "holiday"), on("2026-10-04", "holiday")),
        spec_of(on("2026-10-10", "half_day"), on("2026-12-31", "half_day")),
        spec_of(on("2026-10-02", "workday", OFFICE), on("2026-10-17", "workday", OFFICE)),
        spec_of(on("2026-10-02", "workday"), shifts=EVERY_DAY),
        spec_of(on("2027-03-06", "workday"), years=(2025, 2026, 2027)),
        spec_of(on("2026-10-17", "workday"), country="GB"),
    ],
)
def test_nothing_wrong(spec: CalendarSpec) -> None:
    assert check_calendar(spec, TODAY) == []


@pytest.mark.parametrize(
    ("override", "ours", "theirs"),
    [
        (on("2026-10-10", "holiday"), "放假", "上班"),
        (on("2026-10-02", "workday"), "上班", "放假"),
        (on("2026-10-06", "half_day"), "半天班", "放假"),
        (on("2026-10-11", "workday"), "上班", "休息日"),
    ],
)
def test_a_contradiction_says_the_day_and_what_each_says(
    override: Override, ours: str, theirs: str
) -> None:
    (found,) = check_calendar(spec_of(override), TODAY)
    assert (found.calendar, str(found.day)) == ("t", override.day)
    assert f"日历写的是{ours}" in found.what["zh"]
    assert f"认为是{theirs}" in found.what["zh"]
    assert override.day in found.what["en"]
    assert found.fix["en"]
    assert found.fix["zh"]


def test_a_wrong_make_up_day_is_answered_with_the_right_ones() -> None:
    (found,) = check_calendar(spec_of(on("2026-10-11", "workday")), TODAY)
    assert "2026-10-10" in found.fix["zh"]
    assert "2026-09-20" in found.fix["en"]


@pytest.mark.parametrize(
    ("today", "years", "missing"),
    [
        (date(2026, 6, 1), (2025,), ["2026"]),
        (date(2026, 11, 30), (2026,), []),
        (date(2026, 12, 1), (2026,), ["2027"]),
        (date(2026, 12, 31), (), ["2026", "2027"]),
        (date(2027, 1, 1), (2026,), ["2027"]),
    ],
)
def test_a_year_that_is_not_published(
    today: date, years: tuple[int, ...], missing: list[str]
) -> None:
    found = check_calendar(spec_of(years=years), today)
    assert [f.what["en"].split()[0] for f in found] == missing
    assert all(
        f"calendars/t-{year}.yaml" in f.fix["en"] for f, year in zip(found, missing, strict=True)
    )


def test_a_year_published_without_its_make_up_days() -> None:
    (found,) = check_calendar(spec_of(years=(2026, 2027)), TODAY)
    assert "2027 is said to be published" in found.what["en"]


def test_a_calendar_that_never_works_or_has_no_country() -> None:
    (idle,) = check_calendar(spec_of(shifts={"1": ()}), TODAY)
    assert "no working time" in idle.what["en"]
    (nowhere,) = check_calendar(spec_of(country="XX"), TODAY)
    assert "`XX`" in nowhere.what["en"]


@pytest.mark.parametrize(
    ("written", "mistakes"),
    [
        ("kind: workday, shifts: [['09:00', '13:00']]", []),
        ("kind: workday, shifts: [['09:00', '13:00'], ['12:00', '14:00']]", ["overlap"]),
        ("kind: half_day, shifts: [['13:00', '09:00']]", ["ends before it begins"]),
        ("kind: holiday, shifts: [['09:00', '13:00']]", ["is a holiday and has shifts"]),
    ],
)
def test_a_day_may_give_its_own_shifts(written: str, mistakes: list[str]) -> None:
    bank = Path(__file__).parents[2] / "examples" / "bank"
    files = {p.relative_to(bank).as_posix(): p.read_bytes() for p in bank.rglob("*.yaml")}
    name = "calendars/cn-office-2026.yaml"
    day = f"2026-10-10, {written}".encode()
    files[name] = files[name].replace(b"2026-10-10, kind: workday", day)
    documents, found = load_set(files)
    assert [m.file for m in found] == [name] * len(mistakes)
    assert all(words in m.what for m, words in zip(found, mistakes, strict=True))
    if documents is not None:
        (office,) = (c for c in documents.calendars if c.id == "cn-office")
        assert office.overrides[-1].shifts == (("09:00", "13:00"),)
