"""Which small loops speak of the same thing, whatever topic they were given: groups of like words,
counted as causes.

Customers' words are read masked, and nothing of them is kept but what a group shares. A group has
no name that lasts: it is known again, today or tomorrow, by the loops that it has in common with a
big loop (`Held`).
"""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection, select

from loopwright.mask import mask
from models.base import table
from models.history import HistoryEvent
from models.issue import Issue
from models.kinds import EventKind, LoopKind
from models.loop import Loop, LoopLink
from policy.recur import Cause, Period
from policy.similar import Group, group_alike
from tasks.causes.count_causes import COUNTED, FEEDBACK, FOUND, WHO, Spans, days_after
from tasks.workspace import Workspace

ISSUES = table(Issue)
LOOPS = table(Loop)
LOOP_LINKS = table(LoopLink)
EVENTS = table(HistoryEvent)

MOST = 20_000
"""Voices that one look reads, the latest: bounds its time and memory."""


@dataclass(frozen=True, slots=True)
class Voice:
    """One feedback and the small loop that its first issue opened or joined."""

    loop: str
    who: str
    topic: str
    touchpoint: str
    issue: str
    received_at: datetime


@dataclass(frozen=True)
class Held:
    """A big loop, and every small one that was ever linked to it, also where a person took it out:
    that was a decision about this cause."""

    big: str
    rule: str | None
    received_at: datetime
    closed_at: datetime | None
    smalls: frozenset[str]

    def holds(self, loops: frozenset[str], least: int) -> bool:
        """Whether loops are of this cause: `least` in common, and half of the fewer (overlap
        coefficient)."""
        common = len(self.smalls & loops)
        return common >= least and 2 * common >= min(len(self.smalls), len(loops))


@dataclass(frozen=True)
class Alike:
    """A group as a cause: what was said since its cause was last decided on, the latest first; the
    words shared; and the open big loop that holds it."""

    cause: Cause
    voices: Sequence[Voice]
    recent: Sequence[Voice]
    words: tuple[str, ...]
    held: Held | None


@dataclass(frozen=True)
class Heard:
    """What one look reads."""

    voices: Sequence[Voice]
    held: Sequence[Held]
    days: Sequence[date]
    spans: Spans
    least: int


def find_alike(
    tx: Connection, ws: Workspace, sources: Sequence[str], days: Sequence[date], spans: Spans
) -> list[Alike]:
    """Groups of like words among what these sources delivered on these days, with their counts."""
    least = ws.published.documents.rulebook.recurrence.customers
    voices, texts = read_voices(tx, sources, spans)
    heard = Heard(voices, held_loops(tx, spans), days, spans, least)
    return [as_cause(group, heard) for group in group_alike(texts, least)]


def as_cause(group: Group, heard: Heard) -> Alike:
    spans, said = heard.spans, [heard.voices[n] for n in group.members]
    loops = frozenset(voice.loop for voice in said)
    held = [one for one in heard.held if one.holds(loops, heard.least)]
    closed = max((one.closed_at for one in held if one.closed_at), default=None)
    voices = [voice for voice in said if closed is None or voice.received_at > closed]
    recent = [voice for voice in voices if voice.received_at >= spans.at(spans.window)]
    seen = days_after(heard.days, closed, spans.zone)
    now = sum(day >= spans.window for day in seen)
    window = Period(len({voice.who for voice in recent}), now)
    baseline = Period(customers_before(voices, spans), len(seen) - now)
    return Alike(
        cause=Cause(*commonest(recent or said), window, baseline),
        voices=voices,
        recent=recent,
        words=group.words,
        held=next((one for one in held if one.closed_at is None), None),
    )


def customers_before(voices: Sequence[Voice], spans: Spans) -> int:
    """Distinct ones of each stretch before the window, added up."""
    later, *earlier = spans.stretches()
    total = 0
    for start in earlier:
        total += len({voice.who for voice in voices if start <= voice.received_at < later})
        later = start
    return total


def commonest(voices: Sequence[Voice]) -> tuple[str, str]:
    """The topic and touchpoint of most loops, of equals the first by name."""
    places = Counter((v.topic, v.touchpoint) for v in {v.loop: v for v in voices}.values())
    return min(places, key=lambda place: (-places[place], place))


def read_voices(
    tx: Connection, sources: Sequence[str], spans: Spans
) -> tuple[list[Voice], list[str]]:
    """The latest voices with their masked words, one for each feedback."""
    query = (
        select(
            LOOPS.c.id.label("loop"),
            WHO.label("who"),
            LOOPS.c.topic,
            LOOPS.c.touchpoint,
            ISSUES.c.id.label("issue"),
            FEEDBACK.c.received_at,
            FEEDBACK.c.id.label("feedback"),
            FEEDBACK.c.text,
        )
        .select_from(FOUND)
        .where(
            FEEDBACK.c.source.in_(sources),
            FEEDBACK.c.received_at >= spans.at(spans.first),
            FEEDBACK.c.received_at < spans.at(spans.end),
            COUNTED,
        )
        .order_by(FEEDBACK.c.received_at.desc(), FEEDBACK.c.id, ISSUES.c.ordinal)
        .limit(MOST)
    )
    voices: dict[str, Voice] = {}
    texts: dict[str, str] = {}
    for *columns, feedback, text in tx.execute(query):
        if feedback not in voices:
            voices[feedback], texts[feedback] = Voice(*columns), mask(text)
    return list(voices.values()), list(texts.values())


def held_loops(tx: Connection, spans: Spans) -> list[Held]:
    """Big loops that are open or were closed within the time looked at, by id."""
    known = LOOPS.c.closed_at.is_(None) | (LOOPS.c.closed_at >= spans.at(spans.first))
    bigs = tx.execute(select(LOOPS).where(LOOPS.c.kind == LoopKind.BIG, known)).all()
    ids = [big.id for big in bigs]
    smalls: dict[str, set[str]] = defaultdict(set)
    links = select(LOOP_LINKS.c.big_id, LOOP_LINKS.c.small_id).where(LOOP_LINKS.c.big_id.in_(ids))
    for big, small in tx.execute(links):
        smalls[big].add(small)
    for big, small in taken_out(tx, ids):
        smalls[big].add(small)
    return [
        Held(big.id, big.rule, big.received_at, big.closed_at, frozenset(smalls[big.id]))
        for big in sorted(bigs, key=lambda big: str(big.id))
    ]


def taken_out(tx: Connection, bigs: Sequence[str]) -> list[tuple[str, str]]:
    """(big loop, small loop) where a link was undone."""
    query = select(EVENTS.c.loop_id, EVENTS.c.data).where(
        EVENTS.c.kind == EventKind.LOOP_UNLINKED, EVENTS.c.loop_id.in_(bigs)
    )
    return [(big, json.loads(data)["small"]) for big, data in tx.execute(query)]
