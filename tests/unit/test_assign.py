"""Who leads and who takes part: owner, the customer's own unit, a named unit, nobody."""

import pytest

from models.kinds import Level, UnitLevel
from policy.assign import Assignment, assign
from policy.organisation import Organisation, Unit
from policy.route import Features, Router
from policy.rulebook import Rule, Rulebook, Then
from policy.taxonomy import Topic, Words

TITLE = {"zh": "机构", "en": "Unit"}
ORGANISATION = Organisation(
    "bank",
    TITLE,
    "Asia/Shanghai",
    "zh",
    (
        Unit("HO", UnitLevel.HEAD_OFFICE, TITLE),
        Unit("DG", UnitLevel.DEPARTMENT, TITLE, "HO"),
        Unit("RF", UnitLevel.DEPARTMENT, TITLE, "HO"),
        Unit("B1", UnitLevel.BRANCH, TITLE, "HO"),
        Unit("S1", UnitLevel.SUB_BRANCH, TITLE, "B1"),
    ),
    (),
)
TOPIC = Topic("t", TITLE, "at", "DG", Words(), ("RF",))


def assigned(then: Then, topic: Topic | None = TOPIC, unit: str | None = None) -> Assignment:
    router = Router(Rulebook("p", "1", (), (Rule("r", TITLE, ("true",), then),), ()))
    return assign(router.decide(Features(kind="complaint")), topic, ORGANISATION, unit)


@pytest.mark.parametrize(
    ("then", "unit", "lead"),
    [
        (Then("small"), None, "DG"),
        (Then("small", lead="unit:RF"), None, "RF"),
        (Then("small", Level.SUB_BRANCH, lead="customer_unit"), "S1", "S1"),
        (Then("small", Level.BRANCH, lead="customer_unit"), "S1", "B1"),
        (Then("small", Level.OUTLET, lead="customer_unit"), "S1", "DG"),
        (Then("small", Level.BRANCH, lead="customer_unit"), None, "DG"),
        (Then("small", Level.BRANCH, lead="customer_unit"), "XX", "DG"),
        (Then("small", Level.DEPARTMENT, lead="customer_unit"), "S1", "DG"),
    ],
)
def test_lead(then: Then, unit: str | None, lead: str) -> None:
    assert assigned(then, unit=unit) == Assignment(lead, (), "")


@pytest.mark.parametrize(
    ("participants", "lead", "expected"),
    [
        (("topic",), "owner", ("RF",)),
        (("topic", "B1", "RF"), "owner", ("RF", "B1")),
        (("topic",), "unit:RF", ("DG",)),
        ((), "owner", ()),
    ],
)
def test_participants_are_named_once_and_without_the_lead(
    participants: tuple[str, ...], lead: str, expected: tuple[str, ...]
) -> None:
    assert assigned(Then("big", lead=lead, participants=participants)).participants == expected


@pytest.mark.parametrize(
    ("then", "topic", "word"),
    [
        (Then("small"), None, "topic is unknown"),
        (Then("small", lead="unit:XX"), TOPIC, "unknown unit XX"),
        (Then("big", participants=("YY",)), TOPIC, "unknown unit YY"),
        (Then("small"), Topic("t", TITLE, "at", "ZZ", Words()), "unknown unit ZZ"),
    ],
)
def test_an_unknown_unit_leaves_no_lead_and_says_why(
    then: Then, topic: Topic | None, word: str
) -> None:
    result = assigned(then, topic)
    assert (result.lead, result.participants) == (None, ())
    assert word in result.reason


def test_a_named_unit_leads_even_without_a_topic() -> None:
    result = assigned(Then("big", lead="unit:RF", participants=("topic", "DG")), topic=None)
    assert result == Assignment("RF", ("DG",), "")
