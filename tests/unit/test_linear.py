"""The linear model: answers, certainty, reasons, and a file that cannot lie about itself."""

import contextlib
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.linear import Calibration, LinearModel, weighted
from policy.ngrams import NgramSpec, transform

SPEC = NgramSpec(bits=14)
LABELS = ("fee", "login", "praise")
TEACH = [
    ("手续费太贵", 0),
    ("登录不了", 1),
    ("服务很好", 2),
    ("the fee is high", 0),
    ("login fails", 1),
]


def taught() -> LinearModel:
    """Weights by hand: a bucket votes for each label whose texts hold it."""
    counts = transform([text for text, _ in TEACH], SPEC)
    buckets = np.unique(counts.indices)
    weights = np.zeros((len(buckets), len(LABELS)))
    for row, (_, label) in enumerate(TEACH):
        held = counts.indices[counts.indptr[row] : counts.indptr[row + 1]]
        weights[np.searchsorted(buckets, held), label] += 1
    return LinearModel(
        name="toy",
        labels=LABELS,
        spec=SPEC,
        calibration=Calibration(2.0, 0.9, 0.1),
        buckets=buckets.astype(np.int32),
        idf=np.linspace(1, 2, len(buckets), dtype=np.float32),
        weights=weights.astype(np.float16),
        intercepts=np.array([0.1, 0.0, 0.0], dtype=np.float32),
    )


MODEL = taught()


def rebuilt(change: dict[str, object], drop: str = "", **arrays: object) -> bytes:
    """The model's file with its header changed, a part dropped or arrays replaced."""
    with np.load(io.BytesIO(MODEL.to_bytes())) as file:
        parts = {name: file[name] for name in file.files if name != drop}
    if "header" in parts:
        header = json.loads(parts["header"].tobytes()) | change
        parts["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    target = io.BytesIO()
    np.savez(target, **(parts | arrays))
    return target.getvalue()


@pytest.mark.parametrize(
    ("text", "label"),
    [("手续费贵", "fee"), ("登录", "login"), ("服务真好", "praise"), ("LOGIN fails!", "login")],
)
def test_the_label_is_that_of_the_words(text: str, label: str) -> None:
    (index,), (confidence,) = MODEL.predict([text])
    assert MODEL.labels[index] == label
    assert 0.5 < confidence < 1


@pytest.mark.parametrize("text", ["", "  ", "Ωμέγα"])
def test_unknown_text_has_no_confidence(text: str) -> None:
    _, (confidence,) = MODEL.predict([text])
    assert confidence == 0
    assert MODEL.top(text) == []
    assert MODEL.why(text) == []


def test_no_texts_no_answers() -> None:
    index, confidence = MODEL.predict([])
    assert len(index) == len(confidence) == 0


@given(st.lists(st.text(max_size=30), min_size=1, max_size=8))
def test_an_answer_does_not_depend_on_the_company(texts: list[str]) -> None:
    index, confidence = MODEL.predict(texts)
    alone = [MODEL.predict([text]) for text in texts]
    assert index.tolist() == [int(one[0][0]) for one in alone]
    assert confidence.tolist() == [float(one[1][0]) for one in alone]
    assert ((confidence >= 0) & (confidence <= 1)).all()


def test_answers_span_batches() -> None:
    index, _ = MODEL.predict(["登录不了", "服务很好"] * 5000)
    assert index.tolist() == [1, 2] * 5000


def test_top_gives_probabilities_best_first() -> None:
    top = MODEL.top("登录不了", k=3)
    assert top[0][0] == "login"
    assert sum(share for _, share in top) == pytest.approx(1, abs=1e-5)
    assert top == sorted(top, key=lambda pair: -pair[1])


def test_why_shows_words_of_the_text_that_speak_for_the_label() -> None:
    text = "你们的手续费太贵"
    evidence = MODEL.why(text, k=3)
    assert evidence
    assert all(found.words in text and found.weight > 0 for found in evidence)
    assert not {found.words for found in evidence} & {"你", "们"}
    assert MODEL.why(text, label="praise", k=1) != evidence[:1]


def test_rows_are_unit_length_over_what_is_known() -> None:
    column = np.full(SPEC.buckets, -1, dtype=np.int32)
    column[MODEL.buckets] = np.arange(len(MODEL.buckets))
    rows = weighted(transform(["登录不了 xyz", ""], SPEC), column, MODEL.idf)
    lengths = np.asarray(rows.multiply(rows).sum(axis=1)).ravel()
    assert lengths.tolist() == pytest.approx([1, 0], abs=1e-6)


def test_calibration_never_changes_the_order() -> None:
    best = np.linspace(0, 1, 50, dtype=np.float32)
    assert (np.diff(Calibration(3.0, 0.7, -0.4).confidence(best)) >= 0).all()


def test_a_model_survives_its_file() -> None:
    data = MODEL.to_bytes()
    again = LinearModel.from_bytes(data)
    texts = ["手续费", "login", "谢谢", ""]
    assert again.version == MODEL.version
    assert again.to_bytes() == data
    assert [part.tolist() for part in again.predict(texts)] == [
        part.tolist() for part in MODEL.predict(texts)
    ]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not a model"),
        (b"not a zip at all", "not a model"),
        (MODEL.to_bytes()[:200], "not a model"),
        (MODEL.to_bytes()[:-100], "not a model"),
        (rebuilt({}, drop="header"), "not a model"),
        (rebuilt({}, drop="idf"), "not a model"),
        (rebuilt({"format": "other"}), "format"),
        (rebuilt({"labels": ["a", "b", "c"]}), "altered"),
        (rebuilt({"labels": ["a", "b"]}), "fit together"),
        (rebuilt({"spec": {"bits": 99}}), "bits"),
        (rebuilt({"spec": {"nonsense": 1}}), "incomplete"),
        (rebuilt({}, intercepts=np.zeros(3, np.float32)), "altered"),
        (rebuilt({}, intercepts=np.full(3, np.nan, np.float32)), "finite"),
        (rebuilt({}, buckets=MODEL.buckets + (1 << 20)), "outside"),
    ],
)
def test_a_damaged_file_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        LinearModel.from_bytes(data)


def test_any_flipped_byte_is_noticed_or_harmless() -> None:
    data = bytearray(MODEL.to_bytes())
    for place in range(0, len(data), max(1, len(data) // 200)):
        data[place] ^= 0xFF
        with contextlib.suppress(ValueError):
            assert LinearModel.from_bytes(bytes(data)).version == MODEL.version
        data[place] ^= 0xFF
