"""Hashed n-grams: fixed for ever, independent of the company they keep, safe on any text."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.ngrams import NgramSpec, spans, transform

SPEC = NgramSpec()
SMALL = NgramSpec(bits=12)
GOLDEN = [
    ("转", 89439),
    ("账", 1687490),
    ("A", 1662100),
    ("p", 435125),
    ("p", 435125),
    ("转", 1649275),
    ("转账", 584935),
    ("账", 2054994),
    ("A", 1703691),
    ("Ap", 131019),
    ("pp", 1107524),
    ("p", 1082579),
    ("转账", 726386),
    ("转账", 829051),
    ("Ap", 1911897),
    ("App", 1489664),
    ("pp", 2024254),
    ("App", 436484),
    ("App", 1291029),
    ("App", 367674),
    ("App", 2475928),
]
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)


def dense(texts: list[str], spec: NgramSpec = SMALL) -> npt.NDArray[Any]:
    return transform(texts, spec).toarray()


def words(
    text: str,
    orders: tuple[int, ...] = (),
    inner_orders: tuple[int, ...] = (),
    word_orders: tuple[int, ...] = (),
) -> list[str]:
    return [found for found, _ in spans(text, NgramSpec(orders, inner_orders, word_orders))]


def differing(one: str, other: str, spec: NgramSpec = SPEC) -> int:
    """In how many buckets two texts differ."""
    difference = transform([one], spec) - transform([other], spec)
    return int(np.count_nonzero(difference.data))


def test_hashes_are_the_same_on_every_machine_and_version() -> None:
    """Stored models depend on these numbers: if this fails, the change must be taken back."""
    assert spans("转账 App", SPEC) == GOLDEN


def test_plain_orders_take_runs_without_a_space_inside() -> None:
    assert words("好用 的", orders=(2,)) == ["好", "好用", "用", "的", "的"]
    assert words("ab", orders=(1, 2)) == ["a", "b", "a", "ab", "b"]


def test_inner_orders_lie_within_words_and_their_borders() -> None:
    assert words("pay fee", inner_orders=(4,)) == ["pay", "pay", "fee", "fee"]
    assert words("card", inner_orders=(5,)) == ["card", "card"]
    assert words("转账慢转账慢", inner_orders=(4,)) == []


def test_word_orders_chain_words_of_one_text() -> None:
    assert words("my card, gone", word_orders=(1, 2)) == [
        "my",
        "card",
        "gone",
        "my card",
        "card, gone",
    ]
    both = transform(["card gone", "gone"], NgramSpec(orders=(), inner_orders=(), word_orders=(2,)))
    assert np.diff(both.indptr).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("CARD Lost", "card lost"),
        ("ＡＰＰ１２", "app12"),
        ("  a \t\n b ", "a b"),
        ("ÜBER ПЛАТЁЖ", "über платёж"),
        ("好　用", "好 用"),
    ],
)
def test_texts_that_read_the_same_count_the_same(one: str, other: str) -> None:
    assert (dense([one]) == dense([other])).all()


def test_texts_that_differ_by_order_differ() -> None:
    assert differing("转账", "账转") == 10


def test_counts_are_damped() -> None:
    row = transform(["好好好"], NgramSpec(orders=(1,)))
    assert row.data.tolist() == pytest.approx([1 + np.log(3)])


def test_words_take_the_upper_half_of_the_buckets() -> None:
    only_words = NgramSpec(orders=(), inner_orders=())
    only_rest = NgramSpec(word_orders=())
    text = ["Please close my account 谢谢"]
    assert (transform(text, only_words).indices >= only_words.first_word_bucket).all()
    assert (transform(text, only_rest).indices < only_rest.first_word_bucket).all()


@given(st.lists(ANY_TEXT, max_size=6), st.lists(ANY_TEXT, max_size=6))
def test_a_row_depends_on_its_own_text_alone(some: list[str], more: list[str]) -> None:
    together = dense(some + more)
    assert (together == np.vstack([dense(some), dense(more)])).all()


@given(ANY_TEXT)
def test_spans_and_counts_agree(text: str) -> None:
    row = transform([text], SMALL)
    assert sorted({bucket for _, bucket in spans(text, SMALL)}) == row.indices.tolist()
    assert row.shape == (1, SMALL.buckets)
    assert row.data.dtype == np.float32


def test_rows_stay_apart_over_many_batches() -> None:
    texts = [f"第{number}条 card {number}" for number in range(5000)]
    whole = transform(texts, SPEC)
    one, alone = whole[4321], transform(texts[4321:4322], SPEC)
    assert whole.shape == (5000, SPEC.buckets)
    assert one.indices.tolist() == alone.indices.tolist()
    assert one.data.tolist() == alone.data.tolist()


@pytest.mark.parametrize("texts", [[], [""], [" \n\t"], ["\x00"], ["", ""]])
def test_nothing_to_read_gives_empty_rows(texts: list[str]) -> None:
    counts = transform(texts, SPEC)
    assert counts.shape == (len(texts), SPEC.buckets)
    assert counts.nnz == 0


@pytest.mark.parametrize("text", ["😀", "\ud800", "a\x00b", "\U0010ffff", "👨‍👩‍👧 好"])
def test_odd_code_points_are_read(text: str) -> None:
    assert transform([text], SPEC).nnz > 0


def test_very_long_text_is_cut() -> None:
    spec = NgramSpec(longest=1000)
    assert (dense(["好用" * 300_000], SMALL)).any()
    assert differing("ab " * 100_000, "ab " * 333 + "a", spec) == 0


@pytest.mark.parametrize("wrong", [{"bits": 7}, {"bits": 23}, {"orders": (0,)}, {"longest": 0}])
def test_wrong_specs_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"must|start"):
        NgramSpec(**wrong)  # type: ignore[arg-type]


def test_a_spec_without_orders_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one order"):
        NgramSpec(orders=(), inner_orders=(), word_orders=())
