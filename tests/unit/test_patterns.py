"""Phrase lists: what hits, what forbids, where, and how fast an index answers."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.patterns import check_pattern, compile_words, fold, prepare
from policy.taxonomy import Words

FEES = Words(zh=("手续费", "U盾"), en=("late fee", "ATM"), patterns=(r"charg\w+ .{0,10}twice",))
LOGIN = Words(zh=("登录",), en=("log in",), unless=("加了指纹登录", "already logged in"))


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        ("跨行手续费太高", (0,)),
        ("ｕ盾怎么用", (0,)),
        ("I paid a LATE\n  FEE again", (0,)),
        ("the atmosphere was calm", ()),
        ("用atm取钱", (0,)),
        ("they charged me twice", (0,)),
        ("they charged me and then, much later, twice", ()),
        ("登录要手续费", (0, 1)),
        ("加了指纹登录更方便", ()),
        ("cannot log in", (1,)),
        ("", ()),
    ],
)
def test_match(text: str, heard: tuple[int, ...]) -> None:
    assert compile_words([("fees", FEES), ("login", LOGIN)]).match(text) == heard


def test_find_gives_characters_not_bytes() -> None:
    index = compile_words([("fees", FEES), ("login", LOGIN)])
    text = "每次登录都要手续费，手续费"
    assert index.find(text, 0) == (6, 9)
    assert text[slice(*(index.find(text, 0) or (0, 0)))] == "手续费"
    assert index.find("没有", 0) is None
    assert index.words(text, 1) == "登录"
    assert index.words("没有", 1) == ""
    assert len(index.lengths(text, 0)) == 2


def test_a_prepared_text_answers_as_the_text_does() -> None:
    index = compile_words([("fees", FEES)])
    text = "Ｕ盾和ＡＴＭ"
    assert index.match(prepare(text)) == index.match(text) == (0,)
    assert index.find(prepare(text), 0) == index.find(text, 0) == (0, 2)


@given(st.text())
def test_folding_keeps_every_position(text: str) -> None:
    assert len(fold(text)) == len(text)


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_keyword_is_found_wherever_it_stands(before: str, after: str) -> None:
    index = compile_words([("fees", Words(zh=("手续费",)))])
    text = f"{before}手续费{after}"
    assert index.match(text) == (0,)
    first, last = index.find(text, 0) or (0, 0)
    assert text[first:last] == "手续费"


@pytest.mark.parametrize(
    ("pattern", "usable"),
    [
        ("闪退|crash", True),
        (r"(?:a|b){1,3}c", True),
        ("(", False),
        (r"(a)\1", False),
        ("x*", False),
    ],
)
def test_check_pattern(pattern: str, usable: bool) -> None:
    assert (check_pattern(pattern) is None) is usable


@pytest.mark.parametrize(
    "words", [Words(patterns=("(",)), Words(unless=("[",), zh=("卡",)), Words(zh=(" ",))]
)
def test_a_bad_entry_is_named(words: Words) -> None:
    with pytest.raises(ValueError, match="bad-topic"):
        compile_words([("bad-topic", words)])


def test_an_index_without_words_hears_nothing() -> None:
    assert compile_words([]).match("任何话") == ()
    assert compile_words([("empty", Words())]).match("任何话") == ()


def test_many_lists_answer_in_microseconds() -> None:
    """Goal 10 µs a silent text of 30 characters; the limit leaves room for a busy machine."""
    entries = [
        (
            f"t{n}",
            Words(
                zh=(f"词{n}甲", f"词{n}乙"), en=(f"word{n} again",), patterns=(f"p{n}.{{0,9}}q",)
            ),
        )
        for n in range(120)
    ]
    index, text = (
        compile_words(entries),
        "周末和家人去公园散步阳光明媚孩子们都玩得尽兴晚上回家吃火锅",
    )
    index.match(text)
    started = time.perf_counter()
    for _ in range(2_000):
        assert index.match(text) == ()
    assert (time.perf_counter() - started) / 2_000 < 50e-6
