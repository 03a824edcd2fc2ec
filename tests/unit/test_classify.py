"""Reading feedback: topics, several issues, kinds, abstention, evidence."""

import time

import pytest

from models.kinds import IssueKind
from policy.classify import Classifier, Opinion, Reading, Utterance, split_sentences
from policy.taxonomy import Signal, Taxonomy, Topic, Words


def topic(
    name: str, zh: tuple[str, ...] = (), weight: float = 1.0, **words: tuple[str, ...]
) -> Topic:
    return Topic(
        name, {"zh": name, "en": name}, f"at-{name}", "DG", Words(zh=zh, **words), weight=weight
    )


def signal(name: str, zh: tuple[str, ...], **effects: object) -> Signal:
    return Signal(name, {"zh": name, "en": name}, Words(zh=zh), **effects)  # type: ignore[arg-type]


TAXONOMY = Taxonomy(
    taxonomy="test",
    version="1",
    journeys=(),
    topics=(
        topic("crash", ("闪退", "崩溃"), en=("crash",)),
        topic("transfer", ("转账",), unless=("不用转账",)),
        topic("login", ("登录",)),
        topic("app", ("软件",), weight=0.3),
        topic("faint", ("好像",), weight=0.1),
    ),
    signals=(
        signal("leaving", ("卸载",), kind=IssueKind.LEAVE, emotion=2),
        signal(
            "failing",
            ("失败", "不了", "闪退"),
            kind=IssueKind.COMPLAINT,
            severity=2,
            sentiment=-0.5,
        ),
        signal("wishing", ("希望",), kind=IssueKind.SUGGESTION),
        signal("asking", ("请问",), kind=IssueKind.ENQUIRY),
        signal("praising", ("方便", "好用"), kind=IssueKind.PRAISE, sentiment=0.8),
        signal("harsh", ("垃圾",), kind=IssueKind.NOISE, emotion=2, sentiment=-0.7),
        signal("upset", ("气死",), emotion=3, sentiment=-0.7),
    ),
)
CLASSIFIER = Classifier(TAXONOMY, 0.5)


def read(text: str, rating: float | None = None) -> tuple[Reading, ...]:
    return CLASSIFIER.read([Utterance(text, rating=rating)])[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("转账总是失败", "transfer"),
        ("闪退，崩溃，连登录都不行", "crash"),
        ("这个软件老是闪退", "crash"),
        ("软件不怎么样", "app"),
        ("不用转账也能查", None),
        ("好像哪里不对", None),
        ("天气真热", None),
    ],
)
def test_topic(text: str, expected: str | None) -> None:
    (reading,) = read(text)
    assert reading.topic == expected
    assert reading.abstained is (expected is None)
    assert bool(reading.reason) is (expected is None)
    assert reading.touchpoint == (f"at-{expected}" if expected else None)


@pytest.mark.parametrize(
    ("text", "rating", "expected"),
    [
        ("转账失败，已卸载", None, IssueKind.LEAVE),
        ("希望转账不要失败", None, IssueKind.COMPLAINT),
        ("希望转账能记住收款人", None, IssueKind.SUGGESTION),
        ("请问转账在哪里", None, IssueKind.ENQUIRY),
        ("转账在哪里？", None, IssueKind.ENQUIRY),
        ("转账在哪里？", -1.0, IssueKind.COMPLAINT),
        ("转账", 1.0, IssueKind.PRAISE),
        ("转账很方便", -1.0, IssueKind.PRAISE),
        ("转账", None, IssueKind.COMPLAINT),
        ("转账气死人", None, IssueKind.COMPLAINT),
        ("转账真垃圾", None, IssueKind.COMPLAINT),
        ("垃圾", None, IssueKind.NOISE),
    ],
)
def test_kind(text: str, rating: float | None, expected: IssueKind) -> None:
    assert read(text, rating)[0].kind is expected


@pytest.mark.parametrize("text", ["", "   ", "!!!", "123", "👍👍", "。。。"])
def test_text_without_letters_is_noise_for_nobody_to_read(text: str) -> None:
    (reading,) = read(text)
    assert (reading.kind, reading.abstained, reading.topic) == (IssueKind.NOISE, False, None)
    assert reading.reason


def test_praise_and_noise_need_no_topic() -> None:
    for text in ("很好用", "垃圾"):
        (reading,) = read(text)
        assert not reading.abstained
        assert reading.reason == ""


def test_topics_in_different_sentences_are_issues_of_their_own() -> None:
    first, second = read("转账很方便。不过一打开就闪退，登不了！")
    by_topic = {first.topic: first, second.topic: second}
    assert by_topic["transfer"].kind is IssueKind.PRAISE
    assert by_topic["transfer"].text == "转账很方便。"
    assert by_topic["crash"].kind is IssueKind.COMPLAINT
    assert by_topic["crash"].severity == 2
    assert by_topic["transfer"].severity == 0


@pytest.mark.parametrize(
    ("text", "issues"),
    [
        ("转账和登录都失败", 1),
        ("转账失败。登录失败。", 2),
        ("转账失败，但登录没事", 2),
        ("闪退！闪退！闪退！", 1),
        ("天热。转账失败。气死了。", 1),
        ("软件闪退。软件。", 1),
        ("转账失败。" + "我等了很久。" * 12 + "登录失败。", 1),
    ],
)
def test_number_of_issues(text: str, issues: int) -> None:
    readings = read(text)
    assert len(readings) == issues
    assert "".join(r.text for r in sorted(readings, key=lambda r: text.index(r.text))) == text


def test_readings_carry_the_words_that_decided() -> None:
    (reading,) = read("登录就闪退，气死")
    words = {(e.about, e.by): e.words for e in reading.evidence}
    assert words["kind", "failing"] == "闪退"
    assert words["severity", "failing"] == "闪退"
    assert words["emotion", "upset"] == "气死"
    assert words["topic", "rule"] in ("登录", "闪退")
    assert reading.signals == ("failing", "upset")
    assert reading.emotion == 3
    assert reading.sentiment == -1.0


def test_evidence_can_be_left_out_and_asked_for_later() -> None:
    asked = [Utterance("登录失败")]
    (without,), (with_evidence,) = CLASSIFIER.read(asked, evidence=False)[0], read("登录失败")
    assert without.evidence == ()
    assert (without.topic, without.kind) == (with_evidence.topic, with_evidence.kind)


@pytest.mark.parametrize(
    ("text", "opinions", "expected"),
    [
        ("天气真热", [Opinion("login", 0.9, "model")], ("login", "model")),
        ("天气真热", [Opinion("login", 0.6, "a"), Opinion("crash", 0.7, "b")], ("crash", "b")),
        ("天气真热", [Opinion("login", 0.4, "model")], (None, "")),
        ("天气真热", [Opinion("unheard-of", 0.9, "model")], (None, "")),
        ("转账失败", [Opinion("login", 0.9, "model")], ("transfer", "rule")),
    ],
)
def test_other_opinions_are_asked_only_where_words_are_unsure(
    text: str, opinions: list[Opinion], expected: tuple[str | None, str]
) -> None:
    (reading,) = CLASSIFIER.read([Utterance(text)], [opinions])[0]
    by = next((e.by for e in reading.evidence if e.about == "topic"), "")
    assert (reading.topic, by) == expected
    assert reading.abstained is (expected[0] is None)


def test_opinions_must_be_as_many_as_utterances() -> None:
    with pytest.raises(ValueError, match="one sequence per utterance"):
        CLASSIFIER.read([Utterance("转账")], [])


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("一句话", ["一句话"]),
        ("好！！！坏。", ["好！！！", "坏。"]),
        ("很快，但是常崩溃", ["很快，", "但是常崩溃"]),
        ("Good app. But slow", ["Good app. ", "But slow"]),
        ("It is fast, but it crashes", ["It is fast, ", "but it crashes"]),
        ("version 2.1 fails", ["version 2.1 fails"]),
        ("", []),
    ],
)
def test_split_sentences(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


def test_a_thousand_short_texts_take_a_blink() -> None:
    """Goal 30 µs a short text; the limit leaves room for a busy machine."""
    utterances = [Utterance(f"第{n}次转账失败，请问怎么办") for n in range(1_000)]
    CLASSIFIER.read(utterances)
    started = time.perf_counter()
    CLASSIFIER.read(utterances)
    assert (time.perf_counter() - started) / 1_000 < 300e-6
