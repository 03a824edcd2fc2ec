"""The daily review: a candidate for each recurring cause, and small loops onto their big one.

A cause is a topic at a touchpoint, or a group of like words over several. Whatever is found again
is left as it is, so the review may run as often, and be broken off, as it likes. A candidate's
origin is the first issue of its window: from then on loops are linked to it.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, exists, select

from loopwright.db import retry_conflicts
from loopwright.ids import handle
from models.base import table
from models.history import HistoryEvent
from models.kinds import EventKind, Relation
from models.loop import Loop, LoopIssue, LoopLink
from policy.organisation import Text
from policy.recur import Finding
from policy.recur import review as judge
from policy.rulebook import Recurrence
from tasks.causes.alike import Alike, Held, Voice, find_alike, held_loops
from tasks.causes.candidates import OPEN_BIG, candidate, open_big
from tasks.causes.count_causes import (
    FEEDBACK,
    Spans,
    count_causes,
    established,
    evidence,
    observed,
    spans_of,
)
from tasks.change import Change, change
from tasks.routing.known import ALIVE
from tasks.settle import stamped
from tasks.tally import Tally
from tasks.workspace import Workspace

LOOPS = table(Loop)
LOOP_ISSUES = table(LoopIssue)
LOOP_LINKS = table(LoopLink)
EVENTS = table(HistoryEvent)

RULE, ALIKE = "recurrence", "similarity"
"""What opened a candidate: a topic at a touchpoint that recurs, or like words."""
HALF = 0.5
"""Of alpha for topics, which are few and known before; as much for groups, which are many."""
PIECE = 300
"""Changes of one transaction."""


@dataclass
class ReviewCounts(Tally):
    """Causes looked at (topics at touchpoints, and groups of like words), those that recur,
    candidates opened, and small loops linked."""

    causes: int = 0
    groups: int = 0
    recurring: int = 0
    candidates: int = 0
    linked: int = 0


@dataclass(frozen=True)
class Look:
    """One day's findings on all causes."""

    topics: Sequence[Finding]
    groups: Sequence[tuple[Alike, Finding]]


def look(ws: Workspace, now: datetime) -> Look:
    """What the day's review finds; writes nothing."""
    spans = spans_of(ws, now)
    with ws.db.read() as tx:
        sources = established(tx, ws, spans)
        days = observed(tx, sources, spans)
        causes = count_causes(tx, sources, days, spans)
        groups = find_alike(tx, ws, sources, days, spans)
    rule = ws.published.documents.rulebook.recurrence
    of_groups = judge([group.cause for group in groups], rule, HALF)
    return Look(judge(causes, rule, HALF), list(zip(groups, of_groups, strict=True)))


def open_candidates(ws: Workspace, now: datetime) -> ReviewCounts:
    """Look at every cause; open a candidate for each that recurs and has no open big loop, first of
    topics, then of like words; loops in the words of an open candidate of such join it."""
    found = look(ws, now)
    recurring = [finding for finding in found.topics if finding.recurring]
    total = ReviewCounts(len(found.topics), len(found.groups), len(recurring))
    for finding in recurring:
        total += retry_conflicts(partial(open_candidate, ws, finding, now))
    for group, finding in found.groups:
        rises = finding.recurring and bool(group.words)
        total.recurring += rises
        if rises or (group.held and group.held.rule == ALIKE):
            total += retry_conflicts(partial(open_or_join, ws, group, finding, now))
    return total


def open_candidate(ws: Workspace, finding: Finding, now: datetime) -> ReviewCounts:
    """One candidate with its first links, unless somebody was quicker: to open it, or to close one
    and so decide on what was found."""
    with ws.db.begin() as tx:
        rows = voices(tx, ws, finding, spans_of(ws, now))
        customers = {row.customer_id or row.small for row in rows}
        wanted = ws.published.documents.rulebook.recurrence.customers
        if len(customers) < wanted or open_big(tx, finding.topic, finding.touchpoint):
            return ReviewCounts()
        origin = min(rows, key=lambda row: (row.received_at, row.small))
        big = handle("B", now)
        links = [link(big, row.small, row.issue) for row in rows[: PIECE - 1]]
        body = why(ws, finding, finding.reason)
        change(tx, stamped(ws, [opening(ws, big, finding, origin, RULE, body), *links]), now)
    return ReviewCounts(candidates=1, linked=len(links))


def open_or_join(ws: Workspace, group: Alike, finding: Finding, now: datetime) -> ReviewCounts:
    """A group's loops onto the open big loop that holds it, else onto that of its topic and
    touchpoint, else onto a candidate of its own."""
    least = ws.published.documents.rulebook.recurrence.customers
    with ws.db.begin() as tx:
        bigs = held_loops(tx, spans_of(ws, now))
        same = [big for big in bigs if big.holds(loops_of(group.voices), least)]
        at = open_big(tx, finding.topic, finding.touchpoint)
        running = [big for big in same if not big.closed_at] + [b for b in bigs if b.big == at]
        if running:
            changes = joins(tx, running[0], group)
        else:
            fresh = first_of_each(tx, since_decided(group.recent, same))
            enough = len({voice.who for voice in fresh}) >= least
            changes = opens(ws, group, finding, fresh, now) if enough and finding.recurring else []
        change(tx, stamped(ws, changes), now)
    opened = sum(one.kind == EventKind.LOOP_OPENED for one in changes)
    return ReviewCounts(candidates=opened, linked=len(changes) - opened)


def loops_of(voices: Iterable[Voice]) -> frozenset[str]:
    return frozenset(voice.loop for voice in voices)


def joins(tx: Connection, held: Held, group: Alike) -> list[Change]:
    """What is new of a group: said since the big loop's first evidence, never yet linked to it."""
    new = [v for v in group.voices if v.received_at >= held.received_at]
    rows = [v for v in first_of_each(tx, new) if v.loop not in held.smalls]
    return [link(held.big, row.loop, row.issue) for row in rows[:PIECE]]


def opens(
    ws: Workspace, group: Alike, finding: Finding, rows: Sequence[Voice], now: datetime
) -> list[Change]:
    big = handle("B", now)
    body = why_alike(ws, group, finding, rows)
    links = [link(big, row.loop, row.issue) for row in rows[: PIECE - 1]]
    return [opening(ws, big, finding, rows[0], ALIKE, body), *links]


def since_decided(voices: Sequence[Voice], same: Sequence[Held]) -> list[Voice]:
    """A closing between look and change decides too."""
    closed = [big.closed_at for big in same if big.closed_at]
    return [v for v in voices if not closed or v.received_at > max(closed)]


def first_of_each(tx: Connection, voices: Sequence[Voice]) -> list[Voice]:
    """The first voice of each loop that was not merged, oldest first."""
    first = {
        v.loop: v for v in sorted(voices, key=lambda v: (v.received_at, v.issue), reverse=True)
    }
    here = set(tx.execute(select(LOOPS.c.id).where(ALIVE, LOOPS.c.id.in_(first))).scalars())
    return sorted((first[loop] for loop in here), key=lambda v: (v.received_at, v.loop))


def voices(tx: Connection, ws: Workspace, finding: Finding, spans: Spans) -> list[Any]:
    """Small loops of a cause with their first issue in the window.

    Longest-standing loops first: should a crash keep the last of many from being linked, they are
    those that `missing` finds again.
    """
    sources = established(tx, ws, spans)
    query = (
        evidence(sources, spans.at(spans.window), spans.at(spans.end))
        .add_columns(
            LOOPS.c.id.label("small"),
            LOOPS.c.customer_id,
            LOOP_ISSUES.c.issue_id.label("issue"),
            FEEDBACK.c.received_at,
        )
        .where(LOOPS.c.topic == finding.topic, LOOPS.c.touchpoint == finding.touchpoint)
        .order_by(LOOPS.c.received_at, LOOPS.c.id, FEEDBACK.c.received_at, LOOP_ISSUES.c.issue_id)
    )
    first: dict[str, Any] = {}
    for row in tx.execute(query):
        first.setdefault(row.small, row)
    return list(first.values())


def opening(
    ws: Workspace, big: str, finding: Finding, origin: Any, rule: str, body: dict[str, Any]
) -> Change:
    cause = finding.topic, finding.touchpoint
    return candidate(ws, big, cause, origin.received_at, origin.issue, rule, body)


def why(ws: Workspace, finding: Finding, reason: Text, **more: Any) -> dict[str, Any]:
    """The explanation frozen with the loop, in the form that routed loops have, and the numbers."""
    documents = ws.published.documents
    rule: Recurrence = documents.rulebook.recurrence
    numbers = asdict(finding) | more | {"reason": reason, "rule": asdict(rule)}
    return {
        "features": {},
        "clauses": [
            [f"customers >= {rule.customers}", True, {"customers": finding.customers}],
            ["p <= threshold", True, {"p": finding.p, "threshold": finding.threshold}],
        ],
        "evidence": [],
        "reason": reason.get(documents.organisation.language) or reason["zh"],
        "recurrence": numbers,
    }


def why_alike(
    ws: Workspace, group: Alike, finding: Finding, rows: Sequence[Voice]
) -> dict[str, Any]:
    """With the words shared, the loops, and how many of which topic."""
    said = {
        "zh": f"用词相近（{'、'.join(group.words)}）：{finding.reason['zh']}",
        "en": f"like words ({', '.join(group.words)}): {finding.reason['en']}",
    }
    topics = Counter(f"{row.topic}/{row.touchpoint}" for row in rows)
    loops = [row.loop for row in rows]
    more = {"words": list(group.words), "topics": dict(sorted(topics.items())), "loops": loops}
    return why(ws, finding, said, **more)


def link(big: str, small: str, issue: str) -> Change:
    data = {"small": small, "relation": Relation.SAME_CAUSE, "issue": issue}
    return Change(big, EventKind.LOOP_LINKED, data)


def link_loops(ws: Workspace, now: datetime) -> ReviewCounts:
    """Hang every small loop of an open big loop's cause on it, set after set; but on one that like
    words opened, which has no topic of its own, only what is in its words (`open_candidates`)."""
    with ws.db.read() as tx:
        by_topic = OPEN_BIG & (LOOPS.c.rule.is_(None) | (LOOPS.c.rule != ALIKE))
        bigs = tx.execute(select(LOOPS).where(by_topic).order_by(LOOPS.c.id)).all()
        waiting = [big.id for big in bigs if missing(tx, big, 1)]
    total = ReviewCounts()
    for big in waiting:
        while linked := retry_conflicts(partial(link_some, ws, big, now)):
            total.linked += linked
    return total


def link_some(ws: Workspace, big_id: str, now: datetime) -> int:
    """One transaction's links; 0 when none is left or the big loop was closed meanwhile."""
    with ws.db.begin() as tx:
        mine = select(LOOPS).where(OPEN_BIG, LOOPS.c.id == big_id).with_for_update()
        big = tx.execute(mine).one_or_none()
        rows = missing(tx, big, PIECE) if big else []
        if rows:
            change(tx, stamped(ws, [link(big_id, row.id, row.issue_id) for row in rows]), now)
    return len(rows)


def missing(tx: Connection, big: Any, limit: int) -> Sequence[Any]:
    """Small loops of the big loop's cause received since its first evidence that are not linked to
    it, but for those that a person unlinked or merged."""
    linked = exists().where(LOOP_LINKS.c.big_id == big.id, LOOP_LINKS.c.small_id == LOOPS.c.id)
    query = (
        select(LOOPS.c.id, LOOP_ISSUES.c.issue_id)
        .join(LOOP_ISSUES, LOOP_ISSUES.c.loop_id == LOOPS.c.id)
        .where(
            ALIVE,
            LOOPS.c.topic == big.topic,
            LOOPS.c.touchpoint == big.touchpoint,
            LOOPS.c.received_at >= big.received_at,
            LOOP_ISSUES.c.relation == Relation.ORIGIN,
            LOOPS.c.id.not_in(unlinked(tx, big.id)),
            ~linked,
        )
        .order_by(LOOPS.c.received_at, LOOPS.c.id)
        .limit(limit)
    )
    return tx.execute(query).all()


def unlinked(tx: Connection, big: str) -> list[str]:
    query = select(EVENTS.c.data).where(
        EVENTS.c.kind == EventKind.LOOP_UNLINKED, EVENTS.c.loop_id == big
    )
    return [json.loads(data)["small"] for data in tx.execute(query).scalars()]
