"""Who may grant what: levels, limits, deputies, and never one's own request."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.kinds import ApprovalKind, EventKind, UnitLevel
from policy.approval import ApprovalRule, Asked, approvers, level_for, may_approve, to_tell
from policy.effects.approvals import requested
from policy.organisation import Leave, Organisation, Person, Unit
from policy.story import Happening, Refused, Story

TITLE = {"zh": "级别", "en": "level"}
K = ApprovalKind
DAY = date(2026, 8, 3)


def unit(code: str, level: UnitLevel, parent: str | None, head: str | None) -> Unit:
    return Unit(code, level, TITLE, parent, head)


UNITS = (
    unit("HO", UnitLevel.HEAD_OFFICE, None, "president"),
    unit("CARDS", UnitLevel.DEPARTMENT, "HO", "cards.head"),
    unit("BR", UnitLevel.BRANCH, "HO", "br.head"),
    unit("SUB", UnitLevel.SUB_BRANCH, "BR", "sub.head"),
    unit("OUT", UnitLevel.OUTLET, "SUB", "out.head"),
    unit("EMPTY", UnitLevel.DEPARTMENT, "HO", None),
)
PEOPLE = (
    Person("president", "总裁", "HO", None, ("senior",)),
    Person("vp", "副总裁", "HO", "president", ("senior", "approver")),
    Person("secretary", "秘书", "HO", "vp", ("approver",)),
    Person("cards.head", "卡部长", "CARDS", "vp", ("approver",)),
    Person("cards.clerk", "卡员", "CARDS", "cards.head"),
    Person("br.head", "分行长", "BR", "vp"),
    Person("sub.head", "支行长", "SUB", "br.head", ("approver",)),
    Person("out.head", "网点长", "OUT", "sub.head"),
    Person("out.clerk", "柜员", "OUT", "out.head"),
)
BANK = Organisation("bank", TITLE, "Asia/Shanghai", "zh", UNITS, PEOPLE)


def rule(
    *who: str, level: str = "one", up_to: int | None = None, kind: K = K.REPLY
) -> ApprovalRule:
    return ApprovalRule(kind, level, TITLE, who, up_to)


def away(*absences: tuple[str, str | None]) -> Organisation:
    """The bank on a day when these people are on leave, each with a deputy or none."""
    deputies = dict(absences)
    leave = {p: (Leave("2026-08-01", "2026-08-31", deputies[p]),) for p in deputies}
    return replace(BANK, people=tuple(replace(p, leave=leave.get(p.id, ())) for p in BANK.people))


def asked(by: str, at: str, level: str = "one", kind: K = K.REPLY, *barred: str) -> Asked:
    return Asked(kind, level, at, by, frozenset(barred))


WHO = [
    # word, unit, asker, who may, who is told
    ("unit_head", "OUT", "out.clerk", ["out.head"], ["out.head"]),
    ("unit_head", "OUT", "out.head", ["sub.head"], ["sub.head"]),
    ("unit_head", "EMPTY", "cards.clerk", [], []),
    ("unit_head", "NOWHERE", "cards.clerk", [], []),
    (
        "manager",
        "OUT",
        "out.clerk",
        ["out.head", "sub.head", "br.head", "vp", "president"],
        ["out.head"],
    ),
    ("manager", "SUB", "sub.head", ["br.head", "vp", "president"], ["br.head"]),
    ("superior", "OUT", "out.clerk", ["sub.head"], ["sub.head"]),
    ("superior", "CARDS", "cards.head", ["president"], ["president"]),
    ("superior", "HO", "secretary", [], []),
    ("head:branch", "OUT", "out.clerk", ["br.head"], ["br.head"]),
    ("head:branch", "BR", "br.head", ["vp"], ["vp"]),
    ("head:branch", "CARDS", "cards.clerk", [], []),
    ("head_office", "OUT", "out.clerk", ["vp", "president"], ["vp"]),
    ("head_office", "HO", "vp", ["president"], ["president"]),
    (
        "role:approver",
        "CARDS",
        "cards.clerk",
        ["cards.head", "vp", "secretary", "sub.head"],
        ["cards.head"],
    ),
    ("role:approver", "OUT", "sub.head", ["vp", "secretary", "cards.head"], ["vp"]),
    ("role:nobody", "OUT", "out.clerk", [], []),
]


@pytest.mark.parametrize(("word", "at", "by", "may", "told"), WHO)
def test_a_word_names_people(word: str, at: str, by: str, may: list[str], told: list[str]) -> None:
    wish = asked(by, at)
    assert list(approvers([rule(word)], wish, BANK, DAY)) == may
    assert list(to_tell([rule(word)], wish, BANK, DAY)) == told


def test_any_of_several_words_will_do() -> None:
    both = rule("superior", "head_office")
    assert list(approvers([both], asked("out.clerk", "OUT"), BANK, DAY)) == [
        "sub.head",
        "vp",
        "president",
    ]
    assert list(to_tell([both], asked("out.clerk", "OUT"), BANK, DAY)) == ["sub.head", "vp"]


LIMITS = [
    rule("unit_head", level="unit", up_to=20_000, kind=K.COMPENSATION),
    rule("head:branch", "head:department", level="area", up_to=200_000, kind=K.COMPENSATION),
    rule("head_office", level="top", kind=K.COMPENSATION),
]


@pytest.mark.parametrize(
    ("fen", "level"),
    [
        (1, "unit"),
        (20_000, "unit"),
        (20_001, "area"),
        (200_000, "area"),
        (200_001, "top"),
        (10**9, "top"),
    ],
)
def test_the_amount_decides_the_level(fen: int, level: str) -> None:
    for rules in (LIMITS, LIMITS[::-1]):
        found = level_for(rules, K.COMPENSATION, fen)
        assert found is not None
        assert found.level == level


def test_no_level_is_enough_without_an_open_end() -> None:
    assert level_for(LIMITS[:2], K.COMPENSATION, 200_001) is None
    assert level_for(LIMITS, K.REPLY) is None


def test_whoever_may_grant_more_may_grant_less() -> None:
    small = asked("out.clerk", "OUT", "unit", K.COMPENSATION)
    large = asked("out.clerk", "OUT", "top", K.COMPENSATION)
    assert list(approvers(LIMITS, small, BANK, DAY)) == ["out.head", "br.head", "vp", "president"]
    assert list(approvers(LIMITS, large, BANK, DAY)) == ["vp", "president"]
    assert list(to_tell(LIMITS, small, BANK, DAY)) == ["out.head"]


def test_levels_without_amounts_stand_apart() -> None:
    levels = [rule("unit_head"), rule("head_office", level="two")]
    assert list(approvers(levels, asked("out.clerk", "OUT"), BANK, DAY)) == ["out.head"]


def test_a_deputy_decides_while_the_head_is_away() -> None:
    wish = asked("out.clerk", "OUT")
    house = away(("out.head", "cards.head"))
    assert approvers([rule("unit_head")], wish, house, DAY) == {"cards.head": "out.head"}
    assert to_tell([rule("unit_head")], wish, house, DAY) == {"cards.head": "out.head"}
    back = date(2026, 9, 1)
    assert approvers([rule("unit_head")], wish, house, back) == {"out.head": None}


@pytest.mark.parametrize(
    "absences",
    [
        [("out.head", None)],
        [("out.head", "nobody")],
        [("out.head", "out.clerk")],
        [("out.head", "cards.head"), ("cards.head", "vp")],
    ],
    ids=["no deputy", "an unknown deputy", "the asker is deputy", "the deputy is away"],
)
def test_the_next_above_decides_where_no_deputy_can(absences: list[tuple[str, str | None]]) -> None:
    wish = asked("out.clerk", "OUT")
    assert approvers([rule("unit_head")], wish, away(*absences), DAY) == {"sub.head": None}


REFUSALS = [
    ("out.clerk", BANK, "自己", "own request"),
    ("cards.head", BANK, "级别", "level"),
    ("out.head", away(("out.head", "vp")), "休假", "leave"),
    ("nobody", BANK, "级别", "level"),
]


@pytest.mark.parametrize(("person", "house", "zh", "en"), REFUSALS)
def test_a_refusal_says_why_in_both_languages(
    person: str, house: Organisation, zh: str, en: str
) -> None:
    why = may_approve([rule("unit_head")], asked("out.clerk", "OUT"), person, house, DAY)
    assert why is not None
    assert zh in why["zh"]
    assert en in why["en"]


def test_who_may_in_their_own_right_stands_in_for_nobody() -> None:
    both = rule("unit_head", "role:approver")
    house = away(("out.head", "sub.head"))
    assert approvers([both], asked("out.clerk", "OUT"), house, DAY)["sub.head"] is None


def test_who_is_barred_from_the_case_decides_nothing_about_it() -> None:
    wish = asked("out.clerk", "OUT", "one", K.REPLY, "out.head")
    why = may_approve([rule("unit_head")], wish, "out.head", BANK, DAY)
    assert why is not None
    assert "handle" in why["en"]
    assert may_approve([rule("unit_head")], wish, "sub.head", BANK, DAY) is None


def test_a_level_that_the_policy_no_longer_has_lets_nobody_decide() -> None:
    why = may_approve([rule("unit_head", level="new")], asked("out.clerk", "OUT"), "vp", BANK, DAY)
    assert why is not None
    assert "no level one" in why["en"]


def request(name: str, **said: object) -> Happening:
    data = {"approval": name, "level": "one", "unit": "OUT", "by": "out.clerk", **said}
    at = datetime(2026, 8, 3, tzinfo=UTC)
    return Happening("L1", EventKind.APPROVAL_REQUESTED, data, at)


SAME = [
    ({"kind": "more_time", "clock": "C1", "working_days": 9}, True),
    ({"kind": "more_time", "clock": "C2", "working_days": 2}, False),
    ({"kind": "compensation", "clock": "C1", "working_days": 2}, False),
]


@pytest.mark.parametrize(("said", "same"), SAME)
def test_the_same_is_asked_for_once_while_it_waits(said: dict[str, object], same: bool) -> None:
    story = Story()
    requested(story, request("A1", kind="more_time", clock="C1", working_days=2))
    if same:
        with pytest.raises(Refused, match="A1 asks for it already"):
            requested(story, request("A2", **said))
        story.approvals["A1"]["state"] = "refused"
    requested(story, request("A2", **said))
    assert set(story.approvals) == {"A1", "A2"}


@pytest.mark.parametrize(("fen", "same"), [(100, True), (200, False)])
def test_different_sums_may_wait_side_by_side(fen: int, same: bool) -> None:
    story = Story()
    requested(story, request("A1", kind="compensation", fen=100))
    if same:
        with pytest.raises(Refused):
            requested(story, request("A2", kind="compensation", fen=fen))
    else:
        requested(story, request("A2", kind="compensation", fen=fen))


WORDS = ["unit_head", "manager", "superior", "head_office", "head:branch", "role:approver"]
NAMES = [person.id for person in PEOPLE]


@given(
    words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=3, unique=True),
    by=st.sampled_from(NAMES),
    at=st.sampled_from([u.code for u in UNITS]),
    absences=st.dictionaries(st.sampled_from(NAMES), st.none() | st.sampled_from(NAMES)),
    barred=st.frozensets(st.sampled_from(NAMES), max_size=3),
)
def test_nobody_decides_who_asks_is_away_or_barred(
    words: list[str], by: str, at: str, absences: dict[str, str | None], barred: frozenset[str]
) -> None:
    house, rules = away(*absences.items()), [rule(*words)]
    wish = Asked(K.REPLY, "one", at, by, barred)
    may = approvers(rules, wish, house, DAY)
    assert not may.keys() & {by, *barred, *absences}
    for person in NAMES:
        assert (may_approve(rules, wish, person, house, DAY) is None) == (person in may)
    for person, absent in may.items():
        assert absent is None or absences[absent] == person
    told = to_tell(rules, wish, house, DAY)
    assert told.items() <= may.items()
    assert bool(told) == bool(may)
