"""Measures as documents: the vocabulary, formulas in words, and every mistake with its line."""

from pathlib import Path

import pytest

from insight.base_rows import ROWS
from policy.documents import Mistake, load_set
from policy.measures import BASES, BREAKDOWNS, MeasureSpec, formula, owner_steps
from policy.timing import Ladder, Step
from tests.cast import documents
from tests.integration.test_measures import MEASURES

GOOD = """measures:
  - id: closing-rate
    title: {zh: 办结率, en: Closing rate}
    about: {zh: 已办结的占比, en: Those closed}
    of: loops
    when: received
    denominator: [small, not merged]
    numerator: [closed]
    statistic: ratio
    unit: percent
    direction: higher
    minimum_n: 30
  - id: days
    title: {zh: 办结天数, en: Days to close}
    about: {zh: 多久, en: How long}
    of: loops
    when: closed
    denominator: []
    value: days_to_close
    statistic: p90
    unit: days
    direction: lower
    minimum_n: 5
"""


def load(text: str) -> tuple[tuple[MeasureSpec, ...], list[Mistake]]:
    found, mistakes = load_set(documents(measures=text))
    return (found.measures if found else ()), mistakes


def test_measures_are_read() -> None:
    (closing, days), mistakes = load(GOOD)
    assert mistakes == []
    assert closing.denominator == ("small", "not merged")
    assert (days.value, days.numerator) == ("days_to_close", ())


def test_a_set_needs_none() -> None:
    found, mistakes = load_set(documents())
    assert (mistakes, found and found.measures) == ([], ())


@pytest.mark.parametrize(
    ("good", "bad", "line", "what", "fix"),
    [
        ("id: days", "id: closing-rate", 13, "measure `closing-rate` is already", "another name"),
        ("when: received", "when: recieved", 6, "unknown moment `recieved`", "`received`"),
        ("[closed]", "[clsoed]", 8, "unknown fact of loops `clsoed`", "`closed`"),
        ("not merged", "not mergd", 7, "unknown fact of loops `mergd`", "`merged`"),
        ("of: loops", "of: tickets", 6, "unknown moment `received`", "`assigned`"),
        ("    numerator: [closed]\n", "", 8, "a ratio cannot be worked out", "numerator"),
        ("unit: percent", "unit: days", 9, "a ratio cannot be worked out", "percent"),
        ("    value: days_to_close\n", "", 19, "a p90 cannot be worked out", "value"),
        ("value: days_to_close", "value: days_to_clos", 19, "unknown value", "days_to_close"),
        ("minimum_n: 30", "minimum_n: 0", 12, "`minimum_n` cannot be 0", "1 or more"),
        ("statistic: p90", "statistic: mean", 20, "`statistic` cannot be `mean`", "median"),
    ],
)
def test_a_mistake_is_named_with_its_line(
    good: str, bad: str, line: int, what: str, fix: str
) -> None:
    assert good in GOOD
    _, mistakes = load(GOOD.replace(good, bad, 1))
    assert mistakes
    first = mistakes[0]
    assert (first.file, first.line) == ("measures.yaml", line)
    assert what in first.what
    assert fix in first.fix


def test_every_word_of_the_vocabulary_is_read_from_the_database() -> None:
    assert BASES.keys() == ROWS.keys()
    for name, base in BASES.items():
        rows = ROWS[name]
        assert base.facts.keys() == rows.facts.keys(), name
        assert base.moments.keys() == rows.moments.keys(), name
        assert base.values.keys() == rows.values.keys(), name
        assert {*rows.keys, "month"} == BREAKDOWNS.keys()


def test_every_word_is_said_in_both_languages() -> None:
    for base in BASES.values():
        for words in (base.title, *base.moments.values(), *base.facts.values()):
            assert words.keys() == {"zh", "en"}
            assert all(words.values())


def test_a_formula_is_worded_from_the_definition() -> None:
    rate, days = MEASURES["closing-rate"], MEASURES["days-to-close-p90"]
    assert formula(rate, "zh") == "其中已关闭 ÷ 期内收到的循环（小循环、不含已合并）"
    assert formula(rate, "en") == "those closed ÷ loops received in the period (small, not merged)"
    assert formula(days, "en").startswith("90th percentile of days from receipt to closing, over")
    assert formula(MEASURES["rejection-rate"], "zh") == "其中已退单 ÷ 期内派发的工单"


def test_steps_that_tell_somebody_above_are_no_owner_steps() -> None:
    title = {"zh": "x", "en": "x"}
    ladders = [
        Ladder("a", title, (Step("due", "owner", 0), Step("up", "manager", 1))),
        Ladder("b", title, (Step("up", "owner", 0), Step("ops", "ops", 1))),
    ]
    assert owner_steps(ladders) == {"due"}


PAGE = Path(__file__).parents[2] / "docs" / "reference" / "measures.md"


def test_the_reference_says_every_word_and_every_formula_as_it_is() -> None:
    text = PAGE.read_text("utf-8")
    for base in BASES.values():
        for name, words in (*base.facts.items(), *base.values.items(), *base.moments.items()):
            assert f"{name}` | {words['zh']} | {words['en']} |" in text
    for spec in MEASURES.values():
        row = f"| `{spec.id}` | {spec.title['zh']} | {spec.title['en']} | {formula(spec, 'en')} |"
        assert row in text
