"""Measuring a policy: accuracy, abstentions apart, departments, groups, missing fields."""

import json
from typing import Any

import pytest

from loopwright.errors import InputError
from models.kinds import IssueKind, Level, UnitLevel
from policy.classify import Opinion, Utterance
from policy.documents import DocumentSet
from policy.organisation import Organisation, Unit
from policy.rulebook import Rule, Rulebook, Then
from policy.taxonomy import Signal, Taxonomy, Topic, Words
from tasks.documents.evaluate_policy import evaluate_policy

TITLE = {"zh": "名", "en": "Name"}
DOCUMENTS = DocumentSet(
    organisation=Organisation(
        "bank",
        TITLE,
        "Asia/Shanghai",
        "zh",
        tuple(Unit(code, UnitLevel.DEPARTMENT, TITLE) for code in ("DG", "RF", "PY")),
        (),
    ),
    taxonomy=Taxonomy(
        "test",
        "1",
        (),
        (
            Topic("crash", TITLE, "app", "DG", Words(zh=("闪退",))),
            Topic("limit", TITLE, "app", "DG", Words(zh=("限额",)), ("RF",)),
            Topic("fee", TITLE, "app", "PY", Words(zh=("收费",))),
        ),
        (Signal("praising", TITLE, Words(zh=("好用",)), kind=IssueKind.PRAISE),),
    ),
    rulebook=Rulebook(
        "p",
        "1",
        (IssueKind.COMPLAINT,),
        (
            Rule("praise", TITLE, ("kind == 'praise'",), Then("none")),
            Rule(
                "several",
                TITLE,
                ("size(departments) > 1",),
                Then("big", Level.SEVERAL, participants=("topic",)),
            ),
            Rule("one", TITLE, ("true",), Then("small")),
        ),
        (),
    ),
    clocks=(),
    ladders=(),
    calendars=(),
    sources=(),
    templates=(),
)
ROWS: list[dict[str, Any]] = [
    {
        "id": "a",
        "text": "老闪退",
        "loop": "small",
        "kind": "complaint",
        "departments": ["DG"],
        "source": "x",
    },
    {
        "id": "b",
        "text": "限额太低",
        "loop": "big",
        "kind": "complaint",
        "departments": ["RF", "DG"],
        "source": "x",
    },
    {"id": "c", "text": "好用", "loop": "none", "kind": "praise", "departments": [], "source": "y"},
    {
        "id": "d",
        "text": "乱收费",
        "loop": "big",
        "kind": "suggestion",
        "departments": "PY;RF",
        "source": "y",
    },
    {
        "id": "e",
        "text": "天气真热",
        "loop": "small",
        "kind": None,
        "departments": None,
        "source": "y",
    },
    {"id": "f", "text": "闪退", "loop": None, "source": "y"},
]


def evaluated(rows: list[dict[str, Any]] = ROWS, **options: Any) -> dict[str, Any]:
    return evaluate_policy(DOCUMENTS, rows, text="text", label="loop", **options)


def test_figures() -> None:
    result = evaluated()
    assert (result["rows"], result["labelled"], result["accuracy"]) == (6, 5, 0.6)
    assert result["abstained"] == {
        "count": 1,
        "share": 0.2,
        "limit": 0.2,
        "within_limit": True,
        "ids": ["e"],
    }
    assert result["confusion"]["big"] == {"none": 0, "triage": 0, "small": 1, "big": 1}
    assert result["confusion"]["small"] == {"none": 0, "triage": 1, "small": 1, "big": 0}
    assert result["labels"]["big"] == {"rows": 2, "precision": 1.0, "recall": 0.5, "f1": 0.6667}
    assert result["macro_f1"] == pytest.approx((1.0 + 0.6667 + 0.5) / 3, abs=1e-3)
    assert result["kind"] == {"labelled": 4, "accuracy": 0.75}
    assert result["departments"] == {"labelled": 3, "first_right": 0.6667, "among": 1.0}
    assert json.loads(json.dumps(result)) == result


def test_the_same_figures_by_group() -> None:
    groups = evaluated(by="source")["by"]
    assert list(groups) == ["x", "y"]
    assert (groups["x"]["labelled"], groups["x"]["accuracy"]) == (2, 1.0)
    assert (groups["y"]["labelled"], groups["y"]["accuracy"]) == (3, 0.3333)
    assert groups["y"]["abstained"]["within_limit"] is False


def test_the_issue_that_asks_most_stands_for_a_feedback() -> None:
    row = {"id": "g", "text": "闪退。限额太低。", "loop": "big"}
    assert evaluated([row])["accuracy"] == 1.0


def test_another_classifiers_opinion_counts() -> None:
    def model(utterances: list[Utterance]) -> list[list[Opinion]]:
        return [[Opinion("crash", 0.9, "model")] for _ in utterances]

    assert evaluated(model=model)["abstained"]["count"] == 0


def test_no_labelled_rows_give_zeros_not_an_error() -> None:
    result = evaluated([{"text": "闪退", "loop": None}])
    assert (result["labelled"], result["accuracy"], result["macro_f1"]) == (0, 0.0, 0.0)
    assert (result["kind"], result["departments"]) == (None, None)


@pytest.mark.parametrize("options", [{"text": "body"}, {"label": "lop"}, {"by": "origin"}])
def test_a_wrong_field_is_named(options: dict[str, str]) -> None:
    fields = {"text": "text", "label": "loop", **options}
    with pytest.raises(InputError, match=next(iter(options.values()))):
        evaluate_policy(DOCUMENTS, ROWS, **fields)  # type: ignore[arg-type]
