"""What issues does a feedback hold? Taxonomy rules first, then other opinions, else abstain.

A sentence votes for the topics whose words it holds; a topic that leads a sentence of its own is
an issue of its own. Kind, emotion, severity and sentiment come from the signals of the issue's
own sentences, each with the words that betrayed it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from math import log2
from typing import NamedTuple

from models.kinds import IssueKind
from policy.patterns import WordIndex, compile_words, prepare
from policy.taxonomy import Signal, Taxonomy, Topic

SHARE = 0.5
"""A topic needs this share of the leading topic's score to be an issue of its own."""
STORY = 8
"""A text of more sentences is one customer's story of one issue, however many topics it names."""
RULE = "rule"
"""`Evidence.by` of a topic that the taxonomy's own words gave."""
DOUBT = 0.2
"""Score of the unseen alternative; one hit of weight 1 against nothing gives about 0.83."""

_END = re.compile(
    r"[。！？!?\n;；]+|\.(?=\s)\s*"
    r"|(?<=[,，、 ])(?=但是|但|不过|可是|然而|只是|就是(?!说|了))"
    r"|(?<=[, ])(?=(?:but|however|although)\b)",
    re.IGNORECASE,
)
_LETTER = re.compile(r"[^\W\d_]")
_QUESTION = ("?", "？")
_THUMBS = frozenset(("rating", "question", "sentiment", "topic", "default"))


@dataclass(frozen=True, slots=True)
class Utterance:
    """One feedback's words: for a call only the customer's turns; `rating` scaled to -1..1."""

    text: str
    channel: str = "other"
    language: str | None = None
    rating: float | None = None


@dataclass(frozen=True, slots=True)
class Opinion:
    """Another classifier's topic for a feedback; `confidence` 0..1, `by` names it."""

    topic: str
    confidence: float
    by: str


class Evidence(NamedTuple):
    """`about`: topic, kind, emotion, severity or sentiment; `by`: what read the `words`."""

    about: str
    words: str
    by: str


@dataclass(frozen=True, slots=True)
class Reading:
    """One issue as read: sentiment -1..1, emotion and severity 0..3, confidence 0..1.

    `abstained`: a person must read it, `topic` is None and `reason` says why. `text`: the issue's
    own sentences. `signals`: ids that were heard, in taxonomy order.
    """

    kind: IssueKind
    topic: str | None
    touchpoint: str | None
    sentiment: float
    emotion: int
    severity: int
    confidence: float
    abstained: bool
    reason: str
    signals: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    text: str


class _Issue(NamedTuple):
    """A topic (position in the taxonomy) with its sentences (positions) and how sure it is."""

    topic: int | None
    sentences: Sequence[int]
    confidence: float


class _Named(NamedTuple):
    """The topic an issue is given, by whom and how surely; or why nobody gives one."""

    topic: Topic | None
    by: str
    confidence: float
    reason: str


class _Text(NamedTuple):
    """A feedback cut into sentences, with the entries of the index heard in each."""

    sentences: Sequence[str]
    prepared: Sequence[bytes]
    topics: Sequence[Sequence[int]]
    signals: Sequence[Sequence[int]]


class Classifier:
    """Reads feedback by one taxonomy. Built once per published taxonomy, then asked in sets."""

    def __init__(self, taxonomy: Taxonomy, confidence: float = 0.5) -> None:
        """`confidence`: below it the classifier abstains. ValueError names a bad pattern."""
        self._topics = taxonomy.topics
        self._signals = taxonomy.signals
        self._raises = tuple(_raises(s) for s in taxonomy.signals)
        self._by_id = {t.id: t for t in taxonomy.topics}
        self._order = {kind: n for n, kind in enumerate(taxonomy.kind_order)}
        self._confidence = confidence
        self._index: WordIndex = compile_words(
            [(t.id, t.words) for t in taxonomy.topics] + [(s.id, s.words) for s in taxonomy.signals]
        )

    def read(
        self,
        utterances: Sequence[Utterance],
        opinions: Sequence[Sequence[Opinion]] | None = None,
        *,
        evidence: bool = True,
    ) -> list[tuple[Reading, ...]]:
        """One tuple of at least one Reading per utterance, in order; equal ones are read once.

        `opinions`: one sequence per utterance (ValueError when the lengths differ); they are
        asked only where the taxonomy's words give no sure topic.
        `evidence`: False leaves it out, a third faster; the same call gives it later.

        The kind is the voted one that comes first in the taxonomy's `kind_order`; once a topic
        is found a vote for noise counts as complaint if it is negative, else not at all. Where
        no signal votes the rating decides (at most -0.3 complaint, at least 0.3 praise), then
        the sentiment's sign, then a question mark (enquiry); an issue with a topic and nothing
        else is a complaint, since who names a topic without praise wants something done.
        """
        views: Iterable[Sequence[Opinion]] = repeat(()) if opinions is None else opinions
        if opinions is not None and len(opinions) != len(utterances):
            raise ValueError("opinions: one sequence per utterance is needed")
        seen: dict[tuple[object, ...], tuple[Reading, ...]] = {}
        readings = []
        for utterance, view in zip(utterances, views, strict=False):
            key = (utterance.text, utterance.rating, *view)
            if key not in seen:
                seen[key] = self._read(utterance, view, evidence)
            readings.append(seen[key])
        return readings

    def _read(
        self, utterance: Utterance, opinions: Sequence[Opinion], evidence: bool
    ) -> tuple[Reading, ...]:
        if not _LETTER.search(utterance.text):
            return (_noise(utterance),)
        text = self._listen(split_sentences(utterance.text))
        issues = self._issues(text)
        rating = utterance.rating
        return tuple([self._reading(text, i, rating, opinions, evidence) for i in issues])

    def _listen(self, sentences: Sequence[str]) -> _Text:
        border = len(self._topics)
        topics: list[tuple[int, ...]] = []
        signals: list[tuple[int, ...]] = []
        prepared = [prepare(sentence) for sentence in sentences]
        for data in prepared:
            heard = self._index.match(data)
            topics.append(tuple(i for i in heard if i < border))
            signals.append(tuple(i - border for i in heard if i >= border))
        return _Text(sentences, prepared, topics, signals)

    def _issues(self, text: _Text) -> list[_Issue]:
        scores = self._scores(text)
        everything = range(len(text.sentences))
        if not scores:
            return [_Issue(None, everything, 0.0)]
        ranked = sorted(scores, key=lambda topic: (-scores[topic], topic))
        if len(ranked) == 1 or len(everything) == 1 or len(everything) > STORY:
            runner_up = scores[ranked[1]] if len(ranked) > 1 else 0.0
            return [_Issue(ranked[0], everything, _sureness(scores[ranked[0]], runner_up))]
        return _part(text, self._own(ranked, scores), scores)

    def _own(self, ranked: Sequence[int], scores: Mapping[int, float]) -> list[int]:
        """Topics strong enough beside the leader; a catch-all speaks only where no other does."""
        least = SHARE * scores[ranked[0]]
        weight = SHARE * self._topics[ranked[0]].weight
        return [t for t in ranked if scores[t] >= least and self._topics[t].weight >= weight]

    def _scores(self, text: _Text) -> dict[int, float]:
        """Weight times the doublings of hits, so repetition counts but does not drown a rival.

        The longest hit counts a little more, so it wins a tie.
        """
        heard = {topic for topics in text.topics for topic in topics}
        if len(heard) == 1:
            return {topic: self._topics[topic].weight for topic in heard}
        hits: dict[int, list[int]] = {topic: [] for topic in heard}
        for data, topics in zip(text.prepared, text.topics, strict=True):
            for topic in topics:
                hits[topic] += self._index.lengths(data, topic)
        return {
            topic: self._topics[topic].weight * (log2(1 + len(found)) + 0.02 * max(found))
            for topic, found in hits.items()
        }

    def _reading(
        self,
        text: _Text,
        issue: _Issue,
        rating: float | None,
        opinions: Sequence[Opinion],
        evidence: bool,
    ) -> Reading:
        heard = sorted({s for n in issue.sentences for s in text.signals[n]})
        signals = [self._signals[s] for s in heard]
        words = "".join(text.sentences[n] for n in issue.sentences).strip()
        named = self._name(issue, opinions)
        kind, kind_by = self._kind(signals, rating, words, named.topic is not None)
        needless = kind in (IssueKind.PRAISE, IssueKind.NOISE)
        topic = named.topic
        return Reading(
            kind=kind,
            topic=topic.id if topic else None,
            touchpoint=topic.touchpoint if topic else None,
            sentiment=_sentiment(signals, rating),
            emotion=max((s.emotion for s in signals), default=0),
            severity=max((s.severity for s in signals), default=0),
            confidence=named.confidence,
            abstained=topic is None and not needless,
            reason="" if needless else named.reason,
            signals=tuple(s.id for s in signals),
            evidence=self._evidence(text, issue, named, kind_by, heard) if evidence else (),
            text=words,
        )

    def _name(self, issue: _Issue, opinions: Sequence[Opinion]) -> _Named:
        if issue.topic is not None and issue.confidence >= self._confidence:
            return _Named(self._topics[issue.topic], RULE, issue.confidence, "")
        known = [o for o in opinions if o.topic in self._by_id]
        best = max(known, key=lambda o: o.confidence, default=None)
        if best is not None and best.confidence >= self._confidence:
            return _Named(self._by_id[best.topic], best.by, best.confidence, "")
        surest = max(issue.confidence, best.confidence if best else 0.0)
        if surest == 0.0:
            return _Named(None, "", 0.0, "no words of any topic")
        return _Named(None, "", surest, f"confidence {surest:.2f} is below {self._confidence:.2f}")

    def _kind(
        self, signals: Sequence[Signal], rating: float | None, words: str, topical: bool
    ) -> tuple[IssueKind, str]:
        """The kind, and the signal (or rule of thumb) that decided it."""
        cast = ((_vote(s, topical), s.id) for s in reversed(signals))
        votes = {kind: by for kind, by in cast if kind is not None}
        if votes:
            kind = min(votes, key=lambda k: self._order.get(k, len(self._order)))
            return kind, votes[kind]
        if rating is not None and abs(rating) >= 0.3:
            return (IssueKind.COMPLAINT if rating < 0 else IssueKind.PRAISE), "rating"
        leaning = sum(s.sentiment for s in signals)
        if leaning:
            return (IssueKind.COMPLAINT if leaning < 0 else IssueKind.PRAISE), "sentiment"
        if any(mark in words for mark in _QUESTION):
            return IssueKind.ENQUIRY, "question"
        return IssueKind.COMPLAINT, "topic" if topical else "default"

    def _evidence(
        self, text: _Text, issue: _Issue, named: _Named, kind_by: str, heard: Sequence[int]
    ) -> tuple[Evidence, ...]:
        found: list[Evidence] = []
        if named.topic is not None:
            by_rule = issue.topic is not None and named.by == RULE
            words = self._words(text, issue, text.topics, issue.topic, 0) if by_rule else ""
            found.append(Evidence("topic", words, named.by))
        for position in heard:
            signal = self._signals[position]
            words = self._words(text, issue, text.signals, position, len(self._topics))
            if signal.id == kind_by:
                found.append(Evidence("kind", words, kind_by))
            found += [Evidence(about, words, signal.id) for about in self._raises[position]]
        if kind_by in _THUMBS:
            found.append(Evidence("kind", "", kind_by))
        return tuple(found)

    def _words(
        self,
        text: _Text,
        issue: _Issue,
        heard: Sequence[Sequence[int]],
        entry: int | None,
        offset: int,
    ) -> str:
        """The first words of the issue that made the entry heard."""
        for n in issue.sentences:
            if entry is not None and entry in heard[n]:
                return self._index.words(text.prepared[n], offset + entry)
        return ""


def _vote(signal: Signal, topical: bool) -> IssueKind | None:
    """Harsh words alone are noise; about a topic they are a complaint."""
    if signal.kind is IssueKind.NOISE and topical:
        return IssueKind.COMPLAINT if signal.sentiment < 0 else None
    return signal.kind


def split_sentences(text: str) -> list[str]:
    """Sentences with their end marks; a contrast word (但是, but ...) begins a new one."""
    sentences, start = [], 0
    for mark in _END.finditer(text):
        if mark.end() > start and _LETTER.search(text, start, mark.end()):
            sentences.append(text[start : mark.end()])
            start = mark.end()
    if start < len(text):
        sentences.append(text[start:])
    return sentences


def _part(text: _Text, kept: Sequence[int], scores: Mapping[int, float]) -> list[_Issue]:
    """Each sentence to its highest-ranked kept topic; without one to the issue before it.

    The leading issue comes first.
    """
    owned: dict[int, list[int]] = {t: [] for t in kept}
    leading: list[int] = []
    current = leading
    for n, topics in enumerate(text.topics):
        topic = next((t for t in kept if t in topics), None)
        current = current if topic is None else owned[topic]
        current.append(n)
    parts = {t: sentences for t, sentences in owned.items() if sentences}
    first = min(parts, key=lambda t: parts[t][0])
    parts[first] = leading + parts[first]
    return [
        _Issue(topic, sentences, _sureness(scores[topic], _rival(text, topic, sentences, scores)))
        for topic, sentences in parts.items()
    ]


def _rival(text: _Text, topic: int, sentences: Sequence[int], scores: Mapping[int, float]) -> float:
    others = (scores[t] for n in sentences for t in text.topics[n] if t != topic)
    return max(others, default=0.0)


def _sureness(score: float, rival: float) -> float:
    """Share of the score over half the rival's and the doubt that something else was meant."""
    return score / (score + 0.5 * rival + DOUBT)


def _sentiment(signals: Sequence[Signal], rating: float | None) -> float:
    """Sum of the signals, -1..1; the rating where the words are silent."""
    total = sum(s.sentiment for s in signals)
    if total == 0.0 and rating is not None:
        total = rating
    return max(-1.0, min(1.0, total))


def _raises(signal: Signal) -> tuple[str, ...]:
    """What a signal raises beside its vote."""
    return tuple(about for about in ("emotion", "severity", "sentiment") if getattr(signal, about))


def _noise(utterance: Utterance) -> Reading:
    rating = utterance.rating or 0.0
    return Reading(
        kind=IssueKind.NOISE,
        topic=None,
        touchpoint=None,
        sentiment=max(-1.0, min(1.0, rating)),
        emotion=0,
        severity=0,
        confidence=1.0,
        abstained=False,
        reason="no letters in the text",
        signals=(),
        evidence=(),
        text=utterance.text.strip(),
    )
