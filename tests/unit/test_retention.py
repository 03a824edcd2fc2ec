"""Retention classes: which holds on a day, which takes a record, until when; what lint refuses."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from policy.documents import load_set
from policy.retention import RetentionClass, class_of, in_force, keep_until
from tests.cast import documents

BOTH = {"zh": "类", "en": "class"}


def kept(name: str, years: int, effective: str = "2026-01-01", **more: Any) -> RetentionClass:
    return RetentionClass(name, BOTH, years, effective, BOTH, **more)


REST, CARDS = kept("rest", 3), kept("cards", 5, topics=("annual-fee",))
DESK = kept("desk", 4, sources=("desk",))
CLASSES = (REST, CARDS, DESK)


@pytest.mark.parametrize(
    ("topics", "source", "wanted"),
    [
        (["login"], "posts", "rest"),
        ([], "posts", "rest"),
        (["annual-fee"], "posts", "cards"),
        (["login"], "desk", "desk"),
        (["login", "annual-fee"], "desk", "cards"),
    ],
)
def test_the_longest_of_those_that_name_it(topics: list[str], source: str, wanted: str) -> None:
    found = class_of(CLASSES, topics, source)
    assert found is not None
    assert found.id == wanted


def test_in_no_class() -> None:
    assert class_of((CARDS,), ["login"], "desk") is None


def test_a_later_version_replaces_from_its_day_on() -> None:
    longer = kept("rest", 6, "2027-01-01")
    assert in_force((longer, REST), date(2026, 12, 31)) == (REST,)
    assert in_force((longer, REST), date(2027, 1, 1)) == (longer,)
    assert in_force((REST,), date(2025, 12, 31)) == ()


@pytest.mark.parametrize(
    ("since", "years", "until"),
    [
        ("2026-08-03", 3, "2029-08-03"),
        ("2028-02-29", 3, "2031-03-01"),
        ("2028-02-29", 4, "2032-02-29"),
    ],
)
def test_until_when(since: str, years: int, until: str) -> None:
    at = datetime.fromisoformat(since).replace(tzinfo=UTC)
    assert keep_until(at, years) == datetime.fromisoformat(until).replace(tzinfo=UTC)


GOOD = """retention:
  - id: rest
    title: {zh: 其余, en: The rest}
    years: 3
    effective: "2026-01-01"
    rule: {zh: 规定, en: Rule}
  - id: credit
    title: {zh: 征信, en: Credit reporting}
    years: 10
    effective: "2026-01-01"
    rule: {zh: 规定, en: Rule}
    topics: [login]
    credit_reporting: true
"""


def test_a_good_document() -> None:
    loaded, mistakes = load_set(documents(retention=GOOD))
    assert mistakes == []
    assert loaded is not None
    assert [c.years for c in loaded.retention] == [3, 10]


@pytest.mark.parametrize(
    ("good", "bad", "line", "words"),
    [
        ("years: 3", "years: 2", 4, "3"),
        ("years: 10", "years: 9", 9, "credit reporting is kept 9 years only"),
        ("topics: [login]", "topics: [logon]", 12, "unknown topic `logon`"),
        ("topics: [login]", "sources: [desks]", 12, "unknown source `desks`"),
        ("    topics: [login]\n", "", 2, "several classes take the rest"),
        ('effective: "2026-01-01"\n    rule', 'effective: "2026-02-30"\n    rule', 5, "no day"),
        ("id: credit", "id: rest", 7, "already defined"),
        ("    rule: {zh: 规定, en: Rule}\n", "", 2, "lacks `rule`"),
    ],
)
def test_what_lint_refuses(good: str, bad: str, line: int, words: str) -> None:
    _, mistakes = load_set(documents(retention=GOOD.replace(good, bad, 1)))
    first = mistakes[0]
    assert (first.file, first.line) == ("retention.yaml", line)
    assert words in first.what + first.fix
