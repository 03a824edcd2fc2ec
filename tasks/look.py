"""What operators and departments look at: lists, and one loop's story.

Read only. Customers' words are masked here, since every caller shows them to somebody.
"""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, Table, func, select

from loopwright.mask import mask
from models.approval import Approval
from models.base import table
from models.clock import Clock
from models.feedback import Feedback, Quarantine
from models.history import EventBody, HistoryEvent
from models.issue import Issue
from models.kinds import EventKind
from models.loop import Loop, LoopIssue, LoopLink
from models.message import Delivery, Message
from models.ticket import Ticket
from models.verification import Verification
from policy.clock_notation import starts_in
from tasks.causes.look_effects import effects_of, plan_of, watch_of
from tasks.find import match_id, require_unit
from tasks.messages.facts import origins
from tasks.workspace import Workspace

APPROVALS = table(Approval)
LOOPS = table(Loop)
TICKETS = table(Ticket)
CLOCKS = table(Clock)
VERIFICATIONS = table(Verification)
ISSUES = table(Issue)
FEEDBACK = table(Feedback)
MESSAGES = table(Message)
DELIVERIES = table(Delivery)
EVENTS = table(HistoryEvent)
BODIES = table(EventBody)
QUARANTINE = table(Quarantine)
LOOP_ISSUES = table(LoopIssue)
LOOP_LINKS = table(LoopLink)

EXCERPT = 36
SAID = (
    *("reason", "done", "note", "words", "reference", "recording"),
    *("why", "whys", "actions", "target", "changed"),
    *("proof", "notice", "facts"),
    *("number", "history"),
)
"""What people write into an event's body."""


def list_loops(
    ws: Workspace,
    *,
    kind: str | None = None,
    state: str | None = None,
    unit: str | None = None,
    topic: str | None = None,
    limit: int = 50,
) -> list[dict[str, Any]]:
    """Loops, newest first, with their lead, number of issues and the words that opened them.

    Raises InputError for an unknown unit.
    """
    if unit is not None:
        require_unit(ws, unit)
    issues = (
        select(LOOP_ISSUES.c.loop_id, func.count().label("issues")).group_by(LOOP_ISSUES.c.loop_id)
    ).subquery()
    query = select(LOOPS, issues.c.issues).join(issues, issues.c.loop_id == LOOPS.c.id)
    for column, wanted in (("kind", kind), ("state", state), ("lead", unit), ("topic", topic)):
        if wanted is not None:
            query = query.where(LOOPS.c[column] == wanted)
    with ws.db.read() as tx:
        rows = tx.execute(query.order_by(LOOPS.c.opened_at.desc(), LOOPS.c.id).limit(limit)).all()
        words = opening_words(tx, [row.id for row in rows])
    return [loop_line(row) | {"words": excerpt(words.get(row.id, ""))} for row in rows]


def loop_line(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "kind": row.kind,
        "state": row.state,
        "outcome": row.outcome,
        "topic": row.topic,
        "touchpoint": row.touchpoint,
        "priority": row.priority,
        "level": row.level,
        "lead": row.lead,
        "issues": row.issues,
        "received_at": row.received_at.isoformat(),
        "opened_at": row.opened_at.isoformat(),
    }


def opening_words(tx: Connection, loops: Sequence[str]) -> dict[str, str]:
    return {row.loop_id: row.text for row in tx.execute(origins(loops))}


def excerpt(text: str, limit: int = EXCERPT) -> str:
    """Masked, on one line, cut to `limit` characters."""
    line = " ".join(mask(text[: limit * 10]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def show_loop(ws: Workspace, wanted: str) -> dict[str, Any]:
    """One loop's whole story: its state, issues, tickets, clocks, verifications, approvals, links,
    messages and events."""
    with ws.db.read() as tx:
        loop = match_id(tx, LOOPS, wanted, "loop")
        row = tx.execute(select(LOOPS).where(LOOPS.c.id == loop)).one()
        return {
            "loop": plain(row),
            "issues": issues_of(tx, loop),
            "tickets": parts_of(tx, TICKETS, TICKETS.c.assigned_at, loop),
            "clocks": parts_of(tx, CLOCKS, CLOCKS.c.started_at, loop),
            "verifications": parts_of(tx, VERIFICATIONS, VERIFICATIONS.c.asked_at, loop),
            "approvals": parts_of(tx, APPROVALS, APPROVALS.c.asked_at, loop),
            "plan": plan_of(tx, ws, row),
            "watch": watch_of(tx, ws, row),
            "effects": effects_of(tx, loop),
            "big": links(tx, LOOP_LINKS.c.small_id == loop, "big_id"),
            "small": links(tx, LOOP_LINKS.c.big_id == loop, "small_id"),
            "small_states": count_by(tx, LOOPS.c.state, LOOPS.c.id.in_(linked_to(loop))),
            "messages": messages_of(tx, loop),
            **told_by_events(events_of(tx, loop)),
        }


CLOCK_CHANGES = (
    EventKind.CLOCK_PAUSED,
    EventKind.CLOCK_RESUMED,
    EventKind.CLOCK_EXTENDED,
    EventKind.CLOCK_RESTARTED,
    EventKind.CLOCK_RECOMPUTED,
)


def told_by_events(events: list[dict[str, Any]]) -> dict[str, Any]:
    """A loop's events, and what of them moved a clock: why, when it was due before and is now."""
    moved = [event for event in events if event["kind"] in CLOCK_CHANGES]
    return {"events": events, "clock_changes": [clock_change(event) for event in moved]}


def clock_change(event: dict[str, Any]) -> dict[str, Any]:
    data = event["data"]
    anew = next((start.due_at.isoformat() for _, start in starts_in(data)), None)
    return {
        "at": event["at"],
        "kind": event["kind"],
        "clock": data["clock"],
        "why": data.get("reason") or data.get("extension") or data.get("why"),
        "article": data.get("article"),
        "approval": data.get("approval"),
        "was": data.get("was"),
        "due_at": data.get("due_at") or anew,
        "provisional": data.get("provisional"),
        "words": event["words"],
    }


def messages_of(tx: Connection, loop: str) -> list[dict[str, Any]]:
    """With the version of the template that the last attempt was written by."""
    version = (
        select(DELIVERIES.c.template_version)
        .where(DELIVERIES.c.message_id == MESSAGES.c.id)
        .order_by(DELIVERIES.c.attempt.desc())
        .limit(1)
        .scalar_subquery()
        .label("template_version")
    )
    query = select(
        MESSAGES.c.id,
        MESSAGES.c.template,
        version,
        MESSAGES.c.unit,
        MESSAGES.c.person,
        MESSAGES.c.channel,
        MESSAGES.c.state,
        MESSAGES.c.attempts,
        MESSAGES.c.error,
        MESSAGES.c.created_at,
        MESSAGES.c.due_at,
        MESSAGES.c.sent_at,
    ).where(MESSAGES.c.loop_id == loop)
    return [plain(row) for row in tx.execute(query.order_by(MESSAGES.c.id))]


def parts_of(tx: Connection, part: Table, order: Any, loop: str) -> list[dict[str, Any]]:
    """A loop's tickets, clocks or verifications, in order of time."""
    query = select(part).where(part.c.loop_id == loop).order_by(order, part.c.id)
    return [plain(row) for row in tx.execute(query)]


def plain(row: Any) -> dict[str, Any]:
    """A row as JSON-ready values."""
    return {
        name: value.isoformat() if hasattr(value, "isoformat") else value
        for name, value in row._mapping.items()
    }


def linked_to(big: str) -> Select[Any]:
    return select(LOOP_LINKS.c.small_id).where(LOOP_LINKS.c.big_id == big)


def links(tx: Connection, where: Any, column: str) -> list[str]:
    query = select(LOOP_LINKS.c[column]).where(where)
    return sorted(tx.execute(query).scalars())


def issues_of(tx: Connection, loop: str) -> list[dict[str, Any]]:
    query = (
        select(
            ISSUES.c.id,
            ISSUES.c.kind,
            ISSUES.c.topic,
            ISSUES.c.emotion,
            ISSUES.c.severity,
            ISSUES.c.confidence,
            LOOP_ISSUES.c.relation,
            FEEDBACK.c.source,
            FEEDBACK.c.channel,
            FEEDBACK.c.received_at,
            FEEDBACK.c.text,
        )
        .join(LOOP_ISSUES, LOOP_ISSUES.c.issue_id == ISSUES.c.id)
        .join(FEEDBACK, FEEDBACK.c.id == ISSUES.c.feedback_id)
        .where(LOOP_ISSUES.c.loop_id == loop)
        .order_by(ISSUES.c.id)
    )
    return [plain(row) | {"text": mask(row.text)} for row in tx.execute(query)]


def events_of(tx: Connection, loop: str) -> list[dict[str, Any]]:
    query = (
        select(
            EVENTS.c.seq,
            EVENTS.c.loop_seq,
            EVENTS.c.kind,
            EVENTS.c.at,
            EVENTS.c.actor_type,
            EVENTS.c.actor_id,
            EVENTS.c.actor_via,
            EVENTS.c.rule_version,
            EVENTS.c.policy_version,
            EVENTS.c.data,
            BODIES.c.body,
        )
        .outerjoin(BODIES, BODIES.c.event_id == EVENTS.c.event_id)
        .where(EVENTS.c.loop_id == loop)
        .order_by(EVENTS.c.loop_seq)
    )
    return [event_line(row) for row in tx.execute(query)]


def event_line(row: Any) -> dict[str, Any]:
    line = plain(row) | {"data": json.loads(row.data)}
    body = json.loads(line.pop("body") or "{}")
    words = {name: said(body[name]) for name in SAID if body.get(name)}
    return line | {"words": words}


def said(words: Any) -> str:
    """What somebody wrote: a sentence, several, or one in both languages."""
    if isinstance(words, dict):
        return mask(str(words.get("zh", "")))
    return mask(words if isinstance(words, str) else " → ".join(words))


def list_tickets(
    ws: Workspace, *, unit: str | None = None, state: str | None = None, limit: int = 50
) -> list[dict[str, Any]]:
    """Tickets, newest first. Raises InputError for an unknown unit."""
    if unit is not None:
        require_unit(ws, unit)
    query = (
        select(TICKETS, LOOPS.c.topic, LOOPS.c.priority)
        .join(LOOPS, LOOPS.c.id == TICKETS.c.loop_id)
        .order_by(TICKETS.c.assigned_at.desc(), TICKETS.c.id)
        .limit(limit)
    )
    if unit:
        query = query.where(TICKETS.c.unit == unit)
    if state:
        query = query.where(TICKETS.c.state == state)
    with ws.db.read() as tx:
        return [plain(row) for row in tx.execute(query)]


def list_messages(
    ws: Workspace, *, state: str | None = None, limit: int = 50
) -> list[dict[str, Any]]:
    query = select(MESSAGES).order_by(MESSAGES.c.created_at.desc(), MESSAGES.c.id).limit(limit)
    if state:
        query = query.where(MESSAGES.c.state == state)
    with ws.db.read() as tx:
        return [plain(row) for row in tx.execute(query)]


def summary(ws: Workspace) -> dict[str, Any]:
    """The whole in numbers: feedback, issues by kind and fate, loops, tickets, messages."""
    with ws.db.read() as tx:
        return {
            "feedback": count_by(tx, FEEDBACK.c.source),
            "issues": count_by(tx, ISSUES.c.kind),
            "fates": count_by(tx, ISSUES.c.state),
            "loops": count_by(tx, LOOPS.c.kind),
            "loop_states": count_by(tx, LOOPS.c.state),
            "tickets": count_by(tx, TICKETS.c.unit),
            "messages": count_by(tx, MESSAGES.c.state),
            "quarantined": count_by(
                tx,
                QUARANTINE.c.source,
                QUARANTINE.c.resolved_at.is_(None),
            ),
            "events": tx.execute(select(func.count()).select_from(EVENTS)).scalar_one(),
        }


def count_by(tx: Connection, column: Any, *where: Any) -> dict[str, int]:
    query = select(column, func.count()).where(*where).group_by(column)
    return {str(k): n for k, n in sorted(tx.execute(query), key=lambda row: (-row[1], str(row[0])))}
