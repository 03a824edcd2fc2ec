"""The daily review: a candidate for each recurring cause, and small loops onto their big one.

Whatever is found again is left as it is, so the review may run as often, and be broken off, as it
likes. A candidate's origin is the first issue of its window: from then on loops are linked to it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, exists, select

from loopwright.db import retry_conflicts
from loopwright.ids import handle
from models.base import table
from models.history import HistoryEvent
from models.kinds import EventKind, Level, LoopKind, LoopState, Priority, Relation
from models.loop import Loop, LoopIssue, LoopLink
from policy.recur import Finding
from policy.rulebook import Recurrence
from tasks.change import Change, NewMessage, change
from tasks.count_causes import FEEDBACK, Spans, established, evidence, find_causes, spans_of
from tasks.known import ALIVE
from tasks.settle import stamped
from tasks.tally import Tally
from tasks.workspace import Workspace

LOOPS = table(Loop)
LOOP_ISSUES = table(LoopIssue)
LOOP_LINKS = table(LoopLink)
EVENTS = table(HistoryEvent)

RULE = "recurrence"
PIECE = 300
"""Changes of one transaction."""


@dataclass
class ReviewCounts(Tally):
    """Causes looked at, those that recur, candidates opened, and small loops linked."""

    causes: int = 0
    recurring: int = 0
    candidates: int = 0
    linked: int = 0


def open_candidates(ws: Workspace, now: datetime) -> ReviewCounts:
    """Look at every cause; open a candidate for each that recurs and has no open big loop."""
    findings = find_causes(ws, now)
    recurring = [finding for finding in findings if finding.recurring]
    total = ReviewCounts(len(findings), len(recurring))
    for finding in recurring:
        total += retry_conflicts(partial(open_candidate, ws, finding, now))
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
        change(tx, stamped(ws, [candidate(ws, big, finding, origin), *links]), now)
    return ReviewCounts(candidates=1, linked=len(links))


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


def open_big(tx: Connection, topic: str, touchpoint: str) -> str | None:
    query = select(LOOPS.c.id).where(
        OPEN_BIG, LOOPS.c.topic == topic, LOOPS.c.touchpoint == touchpoint
    )
    found: str | None = tx.execute(query).scalar()
    return found


OPEN_BIG = (LOOPS.c.kind == LoopKind.BIG) & (LOOPS.c.state != LoopState.CLOSED)


def candidate(ws: Workspace, big: str, finding: Finding, origin: Any) -> Change:
    documents = ws.published.documents
    rulebook, place = documents.rulebook, ws.places.get(finding.topic)
    lead = place.topic.owner if place else None
    others = [unit for unit in (place.departments if place else ()) if unit != lead]
    data = {
        "kind": LoopKind.BIG,
        "state": LoopState.CANDIDATE,
        "topic": finding.topic,
        "touchpoint": finding.touchpoint,
        "received_at": origin.received_at.astimezone(UTC).isoformat(),
        "issue": origin.issue,
        "priority": Priority.P2,
        "level": Level.SEVERAL,
        "lead": lead,
        "clocks": ",".join(rulebook.clocks) or None,
        "ladder": rulebook.ladder,
        "participants": ",".join(others) or None,
    }
    operations = documents.organisation.operations
    message = NewMessage(f"big_loop_candidate:{big}", "big_loop_candidate", operations)
    body = why(finding, rulebook.recurrence, documents.organisation.language)
    return Change(big, EventKind.LOOP_OPENED, data, body=body, rule=RULE, messages=(message,))


def why(finding: Finding, rule: Recurrence, language: str) -> dict[str, Any]:
    """The explanation frozen with the loop, in the form that routed loops have, and the numbers."""
    numbers = asdict(finding)
    reason = numbers.pop("reason")
    return {
        "features": {},
        "clauses": [
            [f"customers >= {rule.customers}", True, {"customers": finding.customers}],
            ["p <= threshold", True, {"p": finding.p, "threshold": finding.threshold}],
        ],
        "evidence": [],
        "reason": reason.get(language) or reason["zh"],
        "recurrence": numbers | {"reason": reason, "rule": asdict(rule)},
    }


def link(big: str, small: str, issue: str) -> Change:
    data = {"small": small, "relation": Relation.SAME_CAUSE, "issue": issue}
    return Change(big, EventKind.LOOP_LINKED, data)


def link_loops(ws: Workspace, now: datetime) -> ReviewCounts:
    """Hang every small loop of an open big loop's cause on it, set after set."""
    with ws.db.read() as tx:
        bigs = tx.execute(select(LOOPS).where(OPEN_BIG).order_by(LOOPS.c.id)).all()
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
