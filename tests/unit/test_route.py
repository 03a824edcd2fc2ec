"""Routing: first match, doubt to a person, explanations, the policy's own tests, lint."""

from dataclasses import replace
from typing import Any

import pytest

from models.kinds import IssueKind, Level, Priority, UnitLevel
from policy.classify import Classifier, Utterance
from policy.organisation import Organisation, Unit
from policy.route import (
    FEATURES,
    Circumstances,
    Features,
    Router,
    features_from,
    lint_rules,
    places,
    run_tests,
)
from policy.rulebook import Rule, Rulebook, RuleTest, Then
from policy.taxonomy import Codes, Journey, Signal, Stage, Taxonomy, Topic, Touchpoint, Words

TITLE = {"zh": "规则", "en": "Rule"}
BIG = Then("big", Level.SEVERAL, participants=("topic",), priority=Priority.P2, clocks=("legal",))
SMALL = Then("small", clocks=("legal",), ladder="standard")

TAXONOMY = Taxonomy(
    taxonomy="test",
    version="1",
    journeys=(Journey("pay", TITLE, (Stage("send", TITLE, (Touchpoint("transfer", TITLE),)),)),),
    topics=(
        Topic(
            "limit", TITLE, "transfer", "DG", Words(zh=("限额",)), ("RF", "DG"), Codes("B3", "C3")
        ),
        Topic("fee", TITLE, "transfer", "FN", Words(zh=("手续费",))),
    ),
    signals=(Signal("law", TITLE, Words(zh=("起诉",)), severity=3),),
)
ORGANISATION = Organisation(
    "bank",
    TITLE,
    "Asia/Shanghai",
    "zh",
    tuple(Unit(code, UnitLevel.DEPARTMENT, TITLE) for code in ("DG", "RF", "FN")),
    (),
)


def rule(name: str, *when: str, then: Then = SMALL) -> Rule:
    return Rule(name, TITLE, when, then)


def book(*rules: Rule, tests: tuple[RuleTest, ...] = ()) -> Rulebook:
    return Rulebook("p", "7", (IssueKind.COMPLAINT, IssueKind.LEAVE), rules, tests)


RULES = (
    rule("praise", "kind == 'praise'", then=Then("none")),
    rule("law", "'law' in signals", "severity >= 3", then=BIG),
    rule("several", "size(departments) > 1", then=BIG),
    rule("rest", "true"),
)


@pytest.mark.parametrize(
    ("changed", "name", "loop"),
    [
        ({"kind": "praise"}, "praise", "none"),
        ({"signals": ("law",), "severity": 3}, "law", "big"),
        ({"signals": ("law",), "severity": 2}, "rest", "small"),
        ({"departments": ("DG", "RF")}, "several", "big"),
        ({}, "rest", "small"),
        ({"kind": "enquiry"}, "rest", "none"),
        ({"kind": "leave"}, "rest", "small"),
    ],
)
def test_the_first_rule_whose_clauses_all_hold_decides(
    changed: dict[str, Any], name: str, loop: str
) -> None:
    decision = Router(book(*RULES)).decide(replace(Features(), **changed))
    assert (decision.rule, decision.loop) == (name, loop)
    assert (decision.policy, decision.version) == ("p", "7")
    assert all(clause.holds for clause in decision.clauses)


def test_a_decision_carries_what_the_rule_says_and_its_clauses_values() -> None:
    decision = Router(book(*RULES)).decide(Features(signals=("law",), severity=3))
    assert decision.level is Level.SEVERAL
    assert decision.participants == ("topic",)
    assert decision.priority is Priority.P2
    assert decision.clocks == ("legal",)
    assert [(c.text, dict(c.values)) for c in decision.clauses] == [
        ("'law' in signals", {"signals": ("law",)}),
        ("severity >= 3", {"severity": 3}),
    ]


def test_a_kind_that_opens_no_loop_says_so() -> None:
    decision = Router(book(rule("rest", "true"))).decide(Features(kind="enquiry"))
    assert decision.loop == "none"
    assert "enquiry opens no loop" in decision.reason


@pytest.mark.parametrize(
    ("rules", "features", "word"),
    [
        ([rule("a", "severity > 2")], Features(), "no rule matches"),
        ([rule("a", "severty > 2"), rule("b", "true")], Features(), "unknown name severty"),
        ([rule("a", "severity"), rule("b", "true")], Features(), "not true or false"),
        ([rule("a", "kind > 2"), rule("b", "true")], Features(), "kind > 2"),
        ([rule("a", "severity > 2"), rule("b", "true")], Features(severity="3"), "severity is str"),  # type: ignore[arg-type]
        (
            [rule("a", "severity > 2"), rule("b", "true")],
            Features(severity=True),
            "severity is bool",
        ),
        (
            [rule("a", "sentiment > 0"), rule("b", "true")],
            Features(sentiment=1),
            "sentiment is int",
        ),
        (
            [rule("a", "'x' in signals"), rule("b", "true")],
            Features(signals=["x"]),
            "signals is list",
        ),  # type: ignore[arg-type]
    ],
)
def test_doubt_goes_to_a_person_never_to_a_default(
    rules: list[Rule], features: Features, word: str
) -> None:
    decision = Router(book(*rules)).decide(features)
    assert decision.loop == "triage"
    assert word in decision.reason


def test_a_wrong_type_is_noticed_even_when_an_equal_value_was_decided_before() -> None:
    router = Router(book(rule("a", "severity == 1")))
    assert router.decide(Features(severity=1)).loop == "small"
    assert router.decide(Features(severity=True)).loop == "triage"


def test_equal_asked_features_share_one_decision() -> None:
    router = Router(book(rule("a", "severity >= 0")))
    first = router.decide(Features(severity=1, text_chars=10))
    assert router.decide(Features(severity=1, text_chars=99)) is first
    assert router.decide(Features(severity=2)) is not first


def test_a_clause_that_is_not_cel_names_its_rule() -> None:
    with pytest.raises(ValueError, match="rule broken"):
        Router(book(rule("broken", "kind ==")))


def test_explain_shows_every_rule_with_each_clause() -> None:
    traces = Router(book(*RULES, rule("odd", "severty > 1"))).explain(
        Features(signals=("law",), severity=2)
    )
    assert [(t.rule, t.matched) for t in traces] == [
        ("praise", False),
        ("law", False),
        ("several", False),
        ("rest", True),
        ("odd", False),
    ]
    assert [c.holds for c in traces[1].clauses] == [True, False]
    assert traces[1].clauses[1].values == {"severity": 2}
    assert traces[4].clauses[0].holds is None


def test_every_feature_has_a_neutral_value_of_its_type() -> None:
    for name, kind in FEATURES.items():
        value = getattr(Features(), name)
        assert type(value) is (tuple if kind is list else kind), name


def test_features_of_a_reading_say_where_its_topic_sits() -> None:
    (reading,) = Classifier(TAXONOMY).read([Utterance("限额太低，要起诉")])[0]
    known = Circumstances(channel="app", rating=-0.5, repeats=2, has_customer=True)
    features = features_from(reading, places(TAXONOMY), known)
    assert features == Features(
        kind="complaint",
        topic="limit",
        stage="send",
        touchpoint="transfer",
        journey="pay",
        channel="app",
        severity=3,
        confidence=reading.confidence,
        rating=-0.5,
        has_rating=True,
        departments=("DG", "RF"),
        signals=("law",),
        business="B3",
        cause="C3",
        repeats=2,
        text_chars=8,
        has_customer=True,
    )


def test_features_of_an_abstained_reading_are_neutral() -> None:
    (reading,) = Classifier(TAXONOMY).read([Utterance("天气真热")])[0]
    features = features_from(reading, places(TAXONOMY))
    assert (features.topic, features.departments, features.has_rating) == ("", (), False)


@pytest.mark.parametrize(
    ("test", "word"),
    [
        (RuleTest({"kind": "praise"}, {"rule": "praise", "loop": "none"}), ""),
        (RuleTest({"departments": ["DG", "RF"]}, {"loop": "big", "priority": "P2"}), ""),
        (
            RuleTest(
                {"departments": ["DG", "RF"]}, {"participants": ["topic"], "level": "several"}
            ),
            "",
        ),
        (RuleTest({"sentiment": -1}, {"rule": "rest"}), ""),
        (RuleTest({"kind": "praise"}, {"loop": "small"}), "expected 'small', got 'none'"),
        (RuleTest({"knd": "praise"}, {"loop": "small"}), "unknown feature knd"),
        (RuleTest({}, {"lop": "small"}), "unknown field lop"),
        (RuleTest({"severity": "3"}, {"loop": "small"}), "severity is str"),
    ],
)
def test_the_policys_own_tests(test: RuleTest, word: str) -> None:
    failures = run_tests(book(*RULES, tests=(test,)))
    assert bool(failures) is bool(word)
    assert all(word in failure.reason for failure in failures)


GOOD_TESTS = tuple(RuleTest({}, {"rule": r.id}) for r in RULES)


def findings(*rules: Rule, tests: tuple[RuleTest, ...] | None = None) -> list[tuple[str, str, str]]:
    if tests is None:
        tests = tuple(RuleTest({}, {"rule": r.id}) for r in rules)
    return lint_rules(book(*rules, tests=tests), TAXONOMY, ORGANISATION)


def test_a_sound_rulebook_has_no_findings() -> None:
    assert findings(*RULES) == []


@pytest.mark.parametrize(
    ("rules", "name", "word"),
    [
        ([rule("a", "severty > 1")], "a", "unknown name 'severty'"),
        ([rule("a", "kind ==")], "a", "Syntax error"),
        ([rule("a", "severity == '3'")], "a", "compared with '3'"),
        ([rule("a", "topic == 'limits'")], "a", "'limits' is no known topic"),
        ([rule("a", "'lwa' in signals")], "a", "'lwa' is no known signals"),
        ([rule("a", "kind in ['complaint', 'prase']")], "a", "'prase' is no known kind"),
        ([rule("a", "'XX' in departments")], "a", "'XX' is no known departments"),
        ([rule("a", "stage == 'snd'")], "a", "'snd' is no known stage"),
        ([rule("a")], "a", "no clause"),
        ([rule("a", "true", then=Then("medium"))], "a", "loop 'medium'"),
        ([rule("a", "true", then=Then("small", lead="unit:XX"))], "a", "unknown unit 'XX'"),
        ([rule("a", "true", then=Then("small", lead="boss"))], "a", "lead 'boss'"),
        ([rule("a", "true", then=Then("big", participants=("XX",)))], "a", "unknown unit 'XX'"),
        ([rule("a", "severity > 1"), rule("a", "severity > 2")], "a", "used twice"),
        ([rule("a", "true"), rule("b", "severity > 1")], "b", "a always holds"),
        ([rule("a", "severity > 1"), rule("b", "severity > 1")], "b", "same clauses"),
    ],
)
def test_lint_names_the_rule_and_the_fault(rules: list[Rule], name: str, word: str) -> None:
    found = findings(*rules)
    assert any(where == name and word in what and fix for where, what, fix in found), found


def test_lint_asks_for_tests() -> None:
    assert any("no tests" in what for _, what, _ in findings(*RULES, tests=()))
    some = (RuleTest({}, {"rule": "rest"}), RuleTest({}, {"rule": "gone"}))
    found = findings(*RULES, tests=some)
    assert {where for where, what, _ in found if "no test expects" in what} == {
        "praise",
        "law",
        "several",
    }
    assert any("unknown rule 'gone'" in what for _, what, _ in found)
