"""Red rules: which hold, whom they reach, and what lint refuses of them and of followed files."""

from dataclasses import replace

import pytest

from models.kinds import UnitLevel
from policy.organisation import Leave, Organisation, Person, Unit
from policy.red import RedRules, to_tell
from policy.route import Features
from policy.rulebook import RedRule, Rulebook
from tasks.documents.publish import check
from tests.cast import document, documents

TITLE = {"zh": "名", "en": "Name"}
DAY = "2026-08-03"
LIFE = RedRule("life", TITLE, ("'danger' in signals",))
VALUED = RedRule("valued", TITLE, ("emotion >= 3", "vulnerable || value_band == 'gold'"), "head")
BOOK = Rulebook("p", "1", (), (), (), red=(LIFE, VALUED))
RULES = RedRules(BOOK)

CALM = Features()
DANGER = Features(signals=("danger",))
FURIOUS = Features(emotion=3)


@pytest.mark.parametrize(
    ("features", "possible", "held"),
    [
        (CALM, False, []),
        (DANGER, True, ["life"]),
        (FURIOUS, True, []),
        (replace(FURIOUS, vulnerable=True), True, ["valued"]),
        (replace(FURIOUS, value_band="gold"), True, ["valued"]),
        (replace(FURIOUS, value_band="basic"), True, []),
        (replace(DANGER, emotion=3, vulnerable=True), True, ["life", "valued"]),
        (replace(CALM, value_band="gold"), False, []),
        (replace(DANGER, kind="enquiry"), True, ["life"]),
    ],
)
def test_every_rule_that_holds_is_a_reason(
    features: Features, possible: bool, held: list[str]
) -> None:
    assert RULES.may_hold(features) is possible
    assert [rule.id for rule in RULES.holding(features)] == held


def test_without_red_rules_nothing_may_hold() -> None:
    assert not RedRules(replace(BOOK, red=())).may_hold(DANGER)


def person(name: str, manager: str | None, *roles: str, away: str | None = None) -> Person:
    leave = (Leave(DAY, DAY, away or None),) if away is not None else ()
    return Person(name, name, "DB", manager, roles, leave=leave)


def firm(*people: Person) -> Organisation:
    units = (
        Unit("HO", UnitLevel.HEAD_OFFICE, TITLE, head="chief"),
        Unit("DB", UnitLevel.DEPARTMENT, TITLE, parent="HO", head="head"),
    )
    return Organisation("f", TITLE, "Asia/Shanghai", "zh", units, people)


CHIEF, VICE, HEAD = person("chief", None, "senior"), person("vice", "chief"), person("head", "vice")
BESIDE = person("beside", None, "senior")


@pytest.mark.parametrize(
    ("rule", "people", "told"),
    [
        (LIFE, (CHIEF, VICE, HEAD), "chief"),
        (LIFE, (CHIEF, replace(VICE, roles=("senior",)), HEAD), "vice"),
        (VALUED, (CHIEF, VICE, HEAD), "head"),
        (VALUED, (CHIEF, VICE, person("head", "vice", away="vice")), "vice"),
        (
            VALUED,
            (CHIEF, person("vice", "chief", away=""), person("head", "vice", away="")),
            "chief",
        ),
        (LIFE, (person("chief", None, "senior", away=""), VICE, HEAD), None),
        (LIFE, (person("chief", None, "senior", away="vice"), VICE, HEAD), "vice"),
        (LIFE, (VICE, HEAD, BESIDE), "beside"),
    ],
)
def test_whom_it_reaches(rule: RedRule, people: tuple[Person, ...], told: str | None) -> None:
    found = to_tell(rule, "DB", firm(*people), DAY)
    assert (found.id if found else None) == told


def mistakes(**changed: str) -> list[str]:
    return [f"{m.file}:{m.line}: {m.what}" for m in check(documents(**changed))[1]]


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("tell: rk.head", "tell: nobody", "nobody is called 'nobody'"),
        ("\"'danger' in signals\"", "\"'dangr' in signals\"", "'dangr' is no known signals"),
        ('"emotion >= 2"', '"repeats >= 2"', "`repeats` is not known yet"),
        ("expect: {red: [danger]}", "expect: {red: [valued]}", "red: expected ['valued']"),
        ("expect: {red: [danger]}", "expect: {rule: ordinary}", "no test expects this rule"),
    ],
)
def test_lint_of_red_rules(old: str, new: str, what: str) -> None:
    assert old in document("policy")
    found = mistakes(policy=document("policy").replace(old, new))
    assert any(what in mistake for mistake in found), found


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("format: {kind: jsonl}", "format: {kind: lines}", "only feedback as JSON Lines"),
        ("format: {kind: jsonl}", "format: {kind: jsonl, encoding: utf-16}", "cannot be told"),
        ("      id: call\n", "      id: n\n", "`map.id` is not `call`"),
        ("{items: segments,", "{items: turns,", "come from its segments"),
        ("conversation: call, ", "", "lacks `conversation`"),
    ],
)
def test_lint_of_followed_files(old: str, new: str, what: str) -> None:
    text = document("sources")
    start = text.index("  - name: live")
    assert old in text[start:]
    found = mistakes(sources=text[:start] + text[start:].replace(old, new, 1))
    assert any(what in mistake for mistake in found), found
