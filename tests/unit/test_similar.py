"""Complaints in like words make a group, whoever words them how; time is not known to it."""

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.ngrams import clean, places, spans
from policy.similar import SPEC, Group, group_alike
from tests.hidden_cause import HIDDEN, everyday, four_hundred, hidden

NOW = datetime(2026, 11, 22, tzinfo=UTC)
DOUBLE_FARES = [
    "坐地铁刷乘车码，出站又扣了一次钱",
    "乘车码进出站扣两遍，找客服说等三天",
    "公交用乘车码付了两次，账单上明明白白",
    "早上乘车码显示异常，晚上发现扣了双份",
    "手机银行乘车码重复收费，绑的是储蓄卡",
    "乘车码多扣的两块钱不多，可天天这样谁受得了",
    "刷乘车码坐车，一趟收我两趟的钱",
]
GONE_BUILDER = [
    "你们推荐的安居装饰关门了，装修分期照扣不误",
    "安居装饰老板失联，贷款合同能不能停",
    "工地停了两个月，安居装饰电话没人接，每月还款一分不少",
    "当初柜台介绍的安居装饰倒闭，房子烂尾，装修贷还在扣",
    "安居装饰卷款，几十户业主一起在网点排队讨说法",
]
KIOSK = [
    "The new ticket kiosk jams and nobody at the branch can restart it",
    "Waited forty minutes because the kiosk printed no number at all",
    "Your kiosk froze again, an elderly man had to shout for help",
    "No staff near the kiosk, it ate my appointment slip",
    "Third visit, third time the kiosk was out of paper",
]


def around(texts: list[str], seed: int) -> list[str]:
    """With some three hundred everyday complaints about everything, in any order."""
    chance = random.Random(seed)
    mixed = texts + everyday(chance, 300) + ["闪退"] * 15 + ["垃圾"] * 15
    chance.shuffle(mixed)
    return mixed


def nearest(texts: list[str], wanted: list[str]) -> tuple[list[str], Group]:
    """The texts of the group that is most like what is wanted."""
    best, most = Group((), ()), -1.0
    for group in group_alike(texts, 5):
        common = sum(texts[n] in wanted for n in group.members)
        if common / (len(group.members) + len(wanted)) > most:
            best, most = group, common / (len(group.members) + len(wanted))
    return [texts[n] for n in best.members], best


CAUSES = [(DOUBLE_FARES, "乘车码"), (GONE_BUILDER, "安居装饰"), (KIOSK, "kiosk")]


@pytest.mark.parametrize(("texts", "word"), CAUSES, ids=[word for _, word in CAUSES])
def test_one_trouble_in_many_wordings_is_one_group(texts: list[str], word: str) -> None:
    """All who name it and at most one other, in seven of eight drawings of what is around it."""

    def whole(seed: int) -> bool:
        found, group = nearest(around(texts, seed), texts)
        named = any(word in said for said in group.words)
        return named and set(texts) <= set(found) and len(found) <= len(texts) + 1

    assert sum(whole(seed) for seed in range(8)) >= 7


@pytest.mark.parametrize("seed", range(6))
def test_seven_of_four_hundred_and_not_what_else_is_said_of_the_card(seed: int) -> None:
    items = [item for channel in four_hundred(NOW, seed).values() for item in channel]
    seven = [text for _, _, text in HIDDEN]
    found, group = nearest([item["text"] for item in items], seven)
    assert sorted(found) == sorted(seven)
    assert any("芯片" in word for word in group.words)
    assert len(hidden(four_hundred(NOW, seed))) == 7


def test_equal_texts_of_many_people_are_many() -> None:
    texts = around(["闪退"] * 3, 1)
    (group,) = [g for g in group_alike(texts, 5) if g.words == ("闪退",)]
    assert sum(texts[n] == "闪退" for n in group.members) == 18


def test_what_nearly_everybody_says_makes_no_group() -> None:
    texts = [f"投诉处理{n}" for n in range(1_000)]
    assert not any("投诉" in word for g in group_alike(texts, 5) for word in g.words)


@pytest.mark.parametrize("texts", [[], [""], ["闪退"], ["", "", " "], ["好"] * 9, ["甲乙丙"] * 3])
def test_too_little_to_tell(texts: list[str]) -> None:
    assert group_alike(texts, 2) == []


def test_a_group_needs_its_number() -> None:
    texts = around(GONE_BUILDER, 2)
    assert all(len(group.members) >= 6 for group in group_alike(texts, 6))
    assert not any("安居装饰" in group.words for group in group_alike(texts, 6))


def test_the_same_texts_give_the_same_groups_in_any_order() -> None:
    texts = around(DOUBLE_FARES, 3)

    def found(order: list[str]) -> set[frozenset[str]]:
        return {frozenset(order[n] for n in g.members) for g in group_alike(order, 5)}

    assert group_alike(texts, 5) == group_alike(list(texts), 5)
    assert found(sorted(texts)) == found(texts[::-1])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(alphabet="甲乙丙丁ab \u3000，1", max_size=12), max_size=30))
def test_any_texts_make_sound_groups(texts: list[str]) -> None:
    groups = group_alike(texts, 2)
    assert groups == sorted(groups, key=lambda group: (-len(group.members), group.members))
    for group in groups:
        assert len(group.members) >= 2
        assert list(group.members) == sorted(set(group.members))
        assert all(0 <= n < len(texts) for n in group.members)


@given(st.lists(st.text(alphabet="甲乙ab 1，", max_size=12), max_size=6))
def test_places_are_those_of_the_spans(texts: list[str]) -> None:
    """Row after row, each n-gram where it stands in the cleaned text."""
    found = places(texts, SPEC) if texts else None
    for row, text in enumerate(texts):
        assert found is not None
        mine = found.row == row
        written = f" {clean(text, SPEC)} "
        stand = zip(found.first[mine], found.last[mine], found.bucket[mine], strict=True)
        got = sorted((written[a + 1 : b + 1].strip(), int(bucket)) for a, b, bucket in stand)
        assert got == sorted(spans(text, SPEC))
