"""Training, its card and its mistakes; the figures on real words where those are at hand."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loopwright.errors import InputError
from policy.linear import LinearModel
from policy.ngrams import NgramSpec
from tasks.documents.bench_model import bench_features, reviews
from tasks.documents.records import read_records
from tasks.documents.train_model import evaluate, load_model, train, train_to

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "labelled"
SPEC = NgramSpec(bits=16)
SAYINGS = {
    "fee": ("手续费太贵", "扣了年费", "为什么收费", "the fee is too high"),
    "login": ("登录不了", "密码总是错", "验证码收不到", "cannot log in"),
    "praise": ("服务很好", "柜员很耐心", "办得很快", "very helpful staff"),
}
FIELDS: dict[str, Any] = {"text": "said", "label": "about"}


def feedback(rows: int, seed: int = 1) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    names = draw.choices(list(SAYINGS), weights=[5, 3, 2], k=rows)
    ends = ("。", "！", "，谢谢", " please", "，昨天起")
    return [
        {"said": draw.choice(SAYINGS[name]) + draw.choice(ends), "about": name} for name in names
    ]


@pytest.fixture(scope="module")
def model() -> LinearModel:
    return train(feedback(120), **FIELDS, spec=SPEC)


def test_a_model_beats_the_majority(model: LinearModel) -> None:
    found = evaluate(model, feedback(200, seed=2), **FIELDS)
    assert found["rows"] == 200
    assert found["accuracy"] > 0.95
    assert found["macro_f1"] > 0.95
    assert found["labels_unknown"] == []
    assert found["records_per_second"] > 0


def test_the_same_rows_give_the_same_model(model: LinearModel) -> None:
    assert train(feedback(120), **FIELDS, spec=SPEC).to_bytes() == model.to_bytes()
    assert train(feedback(120, seed=3), **FIELDS, spec=SPEC).version != model.version


def test_figures_are_json_and_say_what_is_unknown(model: LinearModel) -> None:
    rows: list[dict[str, Any]] = [
        {"said": "手续费太贵", "about": "fee"},
        {"said": "登录不了", "about": "weather"},
    ]
    rows += [{"said": "无标签", "about": None}, {"said": "", "about": "fee"}]
    found = json.loads(json.dumps(evaluate(model, rows, **FIELDS)))
    assert (found["rows"], found["unlabelled"], found["empty"]) == (2, 1, 1)
    assert found["accuracy"] == 0.5
    assert found["labels_unknown"] == ["weather"]
    assert list(found["accuracy_by_coverage"]) == ["1.0", "0.95", "0.9", "0.8", "0.7", "0.6", "0.5"]
    assert 0 <= found["calibration_error"] <= 1


def test_macro_f1_counts_every_label_alike(model: LinearModel) -> None:
    rows = [{"said": "手续费太贵", "about": "fee"}] * 9 + [{"said": "手续费太贵", "about": "login"}]
    found = evaluate(model, rows, **FIELDS)
    assert found["accuracy"] == 0.9
    assert found["macro_f1"] == pytest.approx((2 * 9 / 19 + 0) / 2, abs=1e-4)


def test_a_model_is_kept_with_its_card(tmp_path: Path, model: LinearModel) -> None:
    rows = [*feedback(120), {"said": "没有标签"}, {"said": "独此一条", "about": "rare"}]
    card = train_to(tmp_path / "m", iter(rows), **FIELDS, spec=SPEC)
    assert card == json.loads((tmp_path / "m" / "model.json").read_text("utf-8"))
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["model.bin", "model.json"]
    assert (card["rows"], card["unlabelled"], card["labels_skipped"]) == (120, 1, ["rare"])
    assert sum(card["labels"].values()) == 120
    assert len(card["data_sha256"]) == 64
    assert card["inner_validation"]["accuracy"] > 0.9
    assert set(card["versions"]) == {"python", "numpy", "scipy", "scikit-learn"}
    assert load_model(tmp_path / "m").version == card["version"] == model.version


def rows_of(**columns: list[object]) -> Iterator[dict[str, object]]:
    return (
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    )


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (iter(()), "no rows"),
        (rows_of(said=["a"] * 20), "no field 'about'"),
        (rows_of(about=["a"] * 20), "no field 'said'"),
        (rows_of(said=["手续费"] * 20, about=["fee"] * 20), "only one label"),
        (rows_of(said=["手续费"] * 4, about=["a", "a", "b", "b"]), "too few"),
        (rows_of(said=["手续费"] * 20, about=[None] * 20), "too few"),
        (rows_of(said=["手续费"] * 20, about=list(range(20))), "too few"),
    ],
)
def test_rows_that_teach_nothing_are_refused(
    tmp_path: Path, rows: Iterator[dict[str, object]], says: str
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        train_to(tmp_path / "m", rows, **FIELDS)
    assert caught.value.fix
    assert not (tmp_path / "m").exists()


def test_texts_without_a_known_word_can_be_trained_on_and_have_no_confidence() -> None:
    rows = [{"said": "\x00", "about": "none"} for _ in range(10)] + feedback(60)
    _, confidence = train(rows, **FIELDS, spec=SPEC).predict(["\x00"])
    assert confidence[0] == 0


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model"):
        load_model(tmp_path)
    (tmp_path / "model.bin").write_bytes(b"something else")
    with pytest.raises(InputError, match="not a model"):
        load_model(tmp_path)
    with pytest.raises(InputError, match="not a directory"):
        train_to(tmp_path / "model.bin", feedback(60), **FIELDS)


def test_scoring_needs_no_scikit_learn(tmp_path: Path, model: LinearModel) -> None:
    import subprocess
    import sys

    (tmp_path / "model.bin").write_bytes(model.to_bytes())
    code = (
        "import sys; sys.modules['sklearn'] = None; from pathlib import Path;"
        "from tasks.documents.train_model import evaluate, load_model;"
        f"m = load_model(Path({str(tmp_path)!r}));"
        "print(evaluate(m, [{'t': '手续费太贵', 'l': 'fee'}], text='t', label='l')['accuracy'])"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "1.0"


def test_features_are_several_times_faster_than_scikit_learn() -> None:
    found = bench_features(reviews(5_000))
    assert found["rows"] == 5_000
    assert 15 < found["mean_length"] < 40
    assert found["ratio"] > 2  # the figure itself, 5, is proved at full size


def labelled(name: str) -> Iterator[dict[str, Any]]:
    path = DATA / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"the labelled sets are not here: {path}")
    return read_records(path)


@pytest.mark.prove
@pytest.mark.parametrize(
    ("name", "label", "accuracy", "surest_80"),
    [
        ("banking77", "label", 0.90, 0.97),
        ("online_shopping_10_cats", "cat", 0.89, 0.97),
        ("waimai_10k", "label", 0.91, 0.95),
        ("chnsenticorp_htl", "label", 0.895, 0.95),
    ],
)
def test_accuracy_on_real_words(name: str, label: str, accuracy: float, surest_80: float) -> None:
    model = train(labelled(f"{name}_train"), text="text", label=label)
    found = evaluate(model, labelled(f"{name}_dev"), text="text", label=label)
    assert found["accuracy"] >= accuracy
    assert found["accuracy_by_coverage"]["0.8"] >= surest_80
    assert found["calibration_error"] < 0.04
    assert len(model.to_bytes()) < 30_000_000


@pytest.mark.prove
def test_features_reach_their_figure_on_real_reviews() -> None:
    found = bench_features([record["text"] for record in labelled("waimai_10k_train")])
    assert found["features_per_second"] >= 60_000
    assert found["ratio"] >= 5
