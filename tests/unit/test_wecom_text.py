"""Words for a WeCom group: whatever people wrote does nothing there, and the bytes fit."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifications.transport import Outgoing
from notifications.wecom_text import (
    MARKDOWN_BYTES,
    TEXT_BYTES,
    bundles,
    cut,
    markdown,
    mention_lines,
    mentions,
    neutralise,
    notice_number,
)

MESSAGE = Outgoing(
    message_id="<0123456789abcdef01234567@cx.example>",
    to="dept-db",
    subject="[T261121-7K3Q9FAB] P2 新工单：登录失败",
    text="客户说：“转圈”\n",
    html="",
    at=datetime(2026, 11, 21, tzinfo=UTC),
    number="T261121-7K3Q9FAB",
)
HOSTILE = (
    *("<@all>", "<@zhangsan>", "@all", "[点我](http://evil.example)", "](", "<", "[", "<font"),
    *('<font color="warning">', "https://evil.example/x", "HTTP://a", "www.evil.example", "WWW."),
    *("\n# ", "\r#", "\u2028#", "**", "`", "&lt;@all&gt;", "\ud800", "\u202e", "\x00", "\x85"),
    *("<\x00@all>", "]\x00(", "ht\x00tp://x", "长", "😀", "👩‍👩‍👧", "é", "…", "\n", "> "),
)
WORDS = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=20), max_size=40).map("".join)
EFFECTIVE = re.compile(r"<|>|\]\(|\[|@|://|\bwww\.|^[ \t]*#", re.I | re.M)


def numbered(number: int) -> Outgoing:
    ticket = f"T261121-{number:08}"
    subject = f"[{ticket}] P2 新工单：手机银行登录失败"
    return replace(MESSAGE, message_id=f"<{number}@x>", number=ticket, subject=subject)


def fits(text: str, limit: int) -> bool:
    return len(text.encode("utf-8", "strict")) <= limit


def is_harmless(words: str, repeat: int, again: bool) -> None:
    plain = neutralise(words)
    assert not EFFECTIVE.search(plain), EFFECTIVE.search(plain)
    for limit in (3, 5, MARKDOWN_BYTES, TEXT_BYTES):
        assert fits(cut(words * repeat, limit), limit)
    hostile = replace(MESSAGE, subject=words[:150], text=words * repeat, number="", again=again)
    for bundle in ([hostile], [hostile, replace(hostile, message_id="<2@x>")]):
        shown = markdown(bundle, "zh")
        assert fits(shown, MARKDOWN_BYTES)
        assert "<" not in shown
        assert "](" not in shown
        assert "://" not in shown
        assert all(notice_number(message) in shown for message in bundle)
        assert ("（重发）" in shown) is again


@settings(max_examples=300, deadline=None)
@given(WORDS, st.integers(1, 40), st.booleans())
def test_words_do_nothing_and_fit(words: str, repeat: int, again: bool) -> None:
    is_harmless(words.replace("（重发）", ""), repeat, again)


@pytest.mark.prove
@settings(max_examples=20_000, deadline=None)
@given(WORDS, st.integers(1, 40), st.booleans())
def test_words_do_nothing_and_fit_twenty_thousand_times(
    words: str, repeat: int, again: bool
) -> None:
    is_harmless(words.replace("（重发）", ""), repeat, again)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("<@all> 看 [这里](http://x.example)", "＜＠all＞ 看 ［这里］(http：//x.example)"),
        ("www.x.example", "www．x.example"),
        ("138****8000", "138＊＊＊＊8000"),
        ("# 标题\n中间 # 不是", "＃ 标题\n中间 # 不是"),
        ("一\r# 二\u2028三", "一\n＃ 二\n三"),
        ("普通的话，价格 5 > 3？", "普通的话，价格 5 ＞ 3？"),
    ],
)
def test_neutralised(words: str, shown: str) -> None:
    assert neutralise(words) == shown


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "…"),
        ("长长长", 9, "长长长"),
        ("长长长长", 9, "长长…"),
        ("长长长长", 10, "长长…"),
        ("😀😀😀", 11, "😀😀…"),
        ("😀😀😀", 10, "😀…"),
        ("a\ud800b", 9, "ab"),
    ],
)
def test_cut_on_code_points(text: str, limit: int, expected: str) -> None:
    assert cut(text, limit) == expected


def test_one_message_is_shown_in_full() -> None:
    shown = markdown([MESSAGE], "zh")
    head, number, _, body = shown.split("\n")
    assert head == "**［T261121-7K3Q9FAB］ P2 新工单：登录失败**"
    assert number == f"通知 {notice_number(MESSAGE)}"
    assert body == "客户说：“转圈”"
    assert notice_number(MESSAGE) == notice_number(replace(MESSAGE, again=True))
    assert "notice" in markdown([MESSAGE], "en")


def test_a_cut_takes_the_end() -> None:
    shown = markdown([replace(MESSAGE, text="长" * 3000)], "zh")
    assert MARKDOWN_BYTES - 3 <= len(shown.encode()) <= MARKDOWN_BYTES
    assert shown.startswith("**［T261121-7K3Q9FAB］")
    assert notice_number(MESSAGE) in shown
    assert shown.endswith("长…")


def test_a_bundle_has_a_line_per_message() -> None:
    first, second = numbered(1), replace(numbered(2), again=True)
    headline, *lines = markdown([first, second], "zh").split("\n")
    assert headline == "**2 条通知**"
    assert lines == [
        f">［{first.number}］ P2 新工单：手机银行登录失败 · 通知 {notice_number(first)}",
        f">［{second.number}］ P2 新工单：手机银行登录失败 · 通知 {notice_number(second)}（重发）",
    ]


def test_a_line_names_its_ticket_even_when_the_subject_does_not() -> None:
    plain = replace(MESSAGE, subject="新工单")
    line = markdown([plain, numbered(1)], "zh").split("\n")[1]
    assert line.startswith(">T261121-7K3Q9FAB 新工单 · ")


@given(st.lists(st.tuples(st.integers(1, 150), st.integers(0, 64)), max_size=120))
def test_bundles_keep_all_in_order_and_fit_closely(lengths: list[tuple[int, int]]) -> None:
    """With everybody they call: mentions are put behind the text and must not cut it."""
    messages = [
        replace(numbered(n), subject="长" * length, mentions=("u" * user,) if user else ())
        for n, (length, user) in enumerate(lengths)
    ]
    groups = bundles(messages, "zh")
    assert [message for group in groups for message in group] == messages
    for group in groups:
        called = mention_lines(mentions(group))
        assert fits(markdown(group, "zh"), MARKDOWN_BYTES)
        assert len(group) == 1 or fits(markdown(group, "zh") + called, MARKDOWN_BYTES)
        assert len(group) == 1 or not markdown(group, "zh").endswith("…")
    for group, following in pairwise(groups):
        assert len(bundles([*group, following[0]], "zh")) == 2, "one more would have fitted"


def test_everybody_is_called_once_and_nobody_by_accident() -> None:
    users = ("zhang.san", "li-si", "zhang.san", "all", "ALL", "@all", "a b", "", "<@x>", "长")
    bundle = [replace(MESSAGE, mentions=(user,)) for user in users]
    assert mentions(bundle) == ("zhang.san", "li-si")
    assert mention_lines(mentions(bundle)) == "\n<@zhang.san>\n<@li-si>"


def test_two_hundred_tickets_are_a_handful_of_messages() -> None:
    groups = bundles([numbered(n) for n in range(200)], "zh")
    assert len(groups) <= 8
    assert all(fits(markdown(group, "zh"), MARKDOWN_BYTES) for group in groups)
