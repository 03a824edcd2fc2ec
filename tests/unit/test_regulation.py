"""Regulations as documents: what joins the set, what is refused, how the law's days are counted."""

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from policy.deadline import STRAIGHT, due
from policy.documents import DocumentSet, load_set
from policy.regulation import Unlawful, check_extension, check_review, extension_of
from policy.working_time import WorkingCalendar
from tests.unit.test_documents import BANK, files_of

SHANGHAI = ZoneInfo("Asia/Shanghai")
FILES = files_of(BANK)
CN = "regulations/cn-2020-3.yaml"


def edited(file: str, *pairs: tuple[str, str]) -> tuple[DocumentSet | None, list[str]]:
    text = FILES[file].decode()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    documents, mistakes = load_set(FILES | {file: text.encode()})
    return documents, [f"{m.file}: {m.what}" for m in mistakes]


def sound() -> DocumentSet:
    documents, mistakes = load_set(FILES)
    assert mistakes == []
    assert documents is not None
    return documents


DOCUMENTS = sound()
LAW = next(law for law in DOCUMENTS.regulations if law.regulation == "cn-2020-3")
LEGAL = next(clock for clock in DOCUMENTS.clocks if clock.id == "legal-cn")
OFFICE = WorkingCalendar(next(c for c in DOCUMENTS.calendars if c.id == "cn-office"))


def cn(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=SHANGHAI)


def test_a_regulations_clocks_join_the_set_with_its_exclusions() -> None:
    ids = {clock.id for clock in DOCUMENTS.clocks}
    assert {"legal-cn", "legal-cn-review", "legal-us", "legal-us-final", "owner-small"} <= ids
    assert [reason.id for reason in LEGAL.pauses] == ["external_appraisal"]
    assert (LEGAL.counts_receipt, LEGAL.rolls) == (False, False)


@pytest.mark.parametrize(
    ("receipt", "rolls", "expected"),
    [
        (False, False, "2026-02-28T24"),
        (True, False, "2026-02-27T24"),
        (False, True, "2026-02-28T24"),
    ],
)
def test_fifteen_days_from_friday_13_february(receipt: bool, rolls: bool, expected: str) -> None:
    """28 February 2026 is a Saturday on which people work: it does not move."""
    spec = replace(LEGAL, counts_receipt=receipt, rolls=rolls)
    found = due(cn("2026-02-13T16:30"), spec, OFFICE, SHANGHAI).due
    assert (
        found.astimezone(SHANGHAI).isoformat()
        == {
            "2026-02-28T24": "2026-03-01T00:00:00+08:00",
            "2026-02-27T24": "2026-02-28T00:00:00+08:00",
        }[expected]
    )


def test_a_last_day_in_a_holiday_moves_where_the_switch_says_so() -> None:
    """Fifteen days from 17 September 2026 end in the National Day week, which ends on the 7th."""
    start = cn("2026-09-17T10:00")
    assert due(start, LEGAL, OFFICE, SHANGHAI).due == cn("2026-10-03T00:00")
    rolled = due(start, replace(LEGAL, rolls=True), OFFICE, SHANGHAI)
    assert (rolled.due, rolled.provisional) == (cn("2026-10-09T00:00"), False)
    assert [s.day.day for s in rolled.steps if s.what == "rolled"] == [3, 4, 5, 6, 7, 8]
    late = due(cn("2026-12-20T10:00"), replace(LEGAL, rolls=True), OFFICE, SHANGHAI)
    assert late.provisional, "2027 is not published"


def test_the_steps_of_a_pause_and_extensions_tell_the_whole_length() -> None:
    course = STRAIGHT.extended(15).paused(cn("2026-02-16T09:00"), cn("2026-02-18T09:00"))
    found = due(cn("2026-02-13T16:30"), LEGAL, OFFICE, SHANGHAI, course)
    what = [step.what for step in found.steps]
    assert (what.count("counted"), what.count("paused"), what[0]) == (30, 2, "started")
    assert found.due == cn("2026-03-18T00:00")


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        ("article: outside-work", "article: nowhere", "unknown article `nowhere`"),
        ("after: complex", "after: simple", "unknown extension before it `simple`"),
        ("level: superior", "level: king", "unknown level of approval `king`"),
        ("clock: legal-cn-review}", "clock: owner-small}", "unknown clock of its own"),
        ("years: 3,", "years: 30,", "the law 30"),
        ('"2020-03-01"', '"2020-02-30"', "there is no day `2020-02-30`"),
        ("id: legal-cn\n", "id: owner-small\n", "clock `owner-small` is already defined"),
        ("merging: repeated", "signed_by: lg.head", "signed by halves"),
        ("merging: repeated", "signed_by: nobody", "unknown person `nobody`"),
        ("id: review\n", "id: repeated\n", "article `repeated` is already defined"),
    ],
)
def test_what_is_wrong_with_a_regulation_is_named(old: str, new: str, mistake: str) -> None:
    _, mistakes = edited(CN, (old, new))
    assert any(mistake in said for said in mistakes), mistakes


def test_an_unsigned_regulation_runs_in_an_example_only() -> None:
    _, mistakes = edited("organisation.yaml", ("example: true\n", ""))
    unsigned = [said for said in mistakes if "is not signed off" in said]
    assert len(unsigned) == 2, mistakes


def test_extensions_follow_each_other() -> None:
    assert extension_of(LAW, "complex", None).days == 15
    assert extension_of(LAW, "especially-complex", "complex").level == "superior"
    for name, given in (("especially-complex", None), ("complex", "complex"), ("other", None)):
        with pytest.raises(Unlawful):
            extension_of(LAW, name, given)
    wanted = extension_of(LAW, "especially-complex", "complex")
    check_extension(LAW, wanted, "函 1", "")
    with pytest.raises(Unlawful, match="cn-2020-3 time-limits 处理期限"):
        check_extension(LAW, wanted, " ", "")


@pytest.mark.parametrize(
    ("received", "in_time"),
    [
        ("2026-03-31T23:59", True),
        ("2026-04-01T00:00", False),
        ("2026-03-01T10:00", True),
        ("2026-02-28T23:59", False),
    ],
)
def test_a_review_within_thirty_days_of_the_decision(received: str, in_time: bool) -> None:
    decided = cn("2026-03-01T17:00").astimezone(UTC)
    if in_time:
        assert check_review(LAW, decided, cn(received), SHANGHAI).days == 30
    else:
        with pytest.raises(Unlawful):
            check_review(LAW, decided, cn(received), SHANGHAI)
