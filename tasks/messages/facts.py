"""The rows that messages are about, read in bulk: a handful of queries for any number of them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, false, func, select, text

from models.approval import Approval
from models.base import table
from models.clock import UNCERTAIN, Clock
from models.conversation import Conversation
from models.feedback import Feedback
from models.history import EventBody, HistoryEvent
from models.issue import Issue
from models.kinds import EventKind, IssueState, Relation
from models.loop import Loop, LoopIssue, LoopLink
from models.red_alert import RedAlert
from models.ticket import Ticket
from models.verification import Verification

APPROVALS = table(Approval)
LOOPS = table(Loop)
TICKETS = table(Ticket)
CLOCKS = table(Clock)
ALERTS = table(RedAlert)
CONVERSATIONS = table(Conversation)
VERIFICATIONS = table(Verification)
ISSUES = table(Issue)
FEEDBACK = table(Feedback)
EVENTS = table(HistoryEvent)
BODIES = table(EventBody)
LOOP_ISSUES = table(LoopIssue)
LOOP_LINKS = table(LoopLink)

HANDED_ON = (EventKind.TICKET_REJECTED, EventKind.TICKET_TRANSFERRED)
ALARMS = (EventKind.CLOCK_REMINDED, EventKind.CLOCK_BREACHED, EventKind.CLOCK_CLIMBED)
QUOTED = (
    EventKind.LOOP_OPENED,
    *HANDED_ON,
    *ALARMS,
    EventKind.TICKET_RESOLVED,
    EventKind.LOOP_REOPENED,
    EventKind.LOOP_CLOSED,
    EventKind.LOOP_CHANGE_DESCRIBED,
    EventKind.EFFECT_MEASURED,
    EventKind.VERIFICATION_ANSWERED,
    EventKind.VERIFICATION_CALLED,
    EventKind.VERIFICATION_SETTLED,
)
"""Events that messages quote, or tell of."""
DECIDING = (EventKind.APPROVAL_REQUESTED, EventKind.APPROVAL_GRANTED, EventKind.APPROVAL_REFUSED)


@dataclass(frozen=True, slots=True)
class Event:
    """One event with the words people gave it; `body` is empty where there are none or no more."""

    kind: str
    at: datetime
    data: Mapping[str, Any]
    body: Mapping[str, Any]


@dataclass
class Facts:
    """Rows by the id of their loop, in order of time; loops and clocks by their own."""

    loops: dict[str, Any] = field(default_factory=dict)
    clocks: dict[str, Any] = field(default_factory=dict)
    tickets: dict[str, list[Any]] = field(default_factory=dict)
    verifications: dict[str, list[Any]] = field(default_factory=dict)
    events: dict[str, list[Event]] = field(default_factory=dict)
    issues: dict[str, Any] = field(default_factory=dict)
    customers: dict[str, int] = field(default_factory=dict)
    approvals: dict[str, Any] = field(default_factory=dict)
    decisions: dict[str, list[Event]] = field(default_factory=dict)
    """Approval -> its events."""
    alerts: dict[str, Any] = field(default_factory=dict)
    """Red alerts by id: the row, its item's text, its running conversation's record."""
    waiting: Any = None
    uncertain: Any = None
    """Clocks that wait for a calendar."""

    def events_of(self, loop: str, kinds: Sequence[str]) -> list[Event]:
        return [event for event in self.events.get(loop, []) if event.kind in kinds]

    def latest(self, loop: str, kinds: Sequence[str], **data: str) -> Event | None:
        """The loop's last event of these kinds whose data say so."""
        found = (
            event
            for event in reversed(self.events.get(loop, []))
            if event.kind in kinds and data.items() <= event.data.items()
        )
        return next(found, None)

    def words(self, loop: str, kinds: Sequence[str], name: str, **data: str) -> str:
        """What people wrote under `name` with that event; empty when they did not."""
        event = self.latest(loop, kinds, **data)
        return str(event.body.get(name) or "") if event else ""

    def alarms(self, clock: Any) -> list[Event]:
        """Who was told as the clock ran out, in order."""
        return [
            event
            for event in self.events.get(clock.loop_id, [])
            if event.kind in ALARMS and event.data["clock"] == clock.id
        ]

    def due_at(self, ticket: Any) -> datetime | None:
        """When the clock that runs on the ticket is due; the first of several."""
        mine = (
            c.due_at
            for c in self.clocks.values()
            if c.ticket_id == ticket.id and c.stopped_at is None
        )
        return min(mine, default=None)


def gather(tx: Connection, messages: Sequence[Any]) -> Facts:
    """All that these message rows may speak of."""
    named = {m.loop_id for m in messages} | {(m.values or {}).get("big") for m in messages}
    loops = sorted(filter(None, named))
    facts = Facts()
    for row in tx.execute(select(LOOPS).where(LOOPS.c.id.in_(loops))):
        facts.loops[row.id] = row
    for row in tx.execute(select(CLOCKS).where(CLOCKS.c.loop_id.in_(loops))):
        facts.clocks[row.id] = row
    facts.tickets = by_loop(tx, TICKETS, TICKETS.c.assigned_at, loops)
    facts.verifications = by_loop(tx, VERIFICATIONS, VERIFICATIONS.c.asked_at, loops)
    facts.events = quoted(tx, loops)
    for row in tx.execute(origins(loops)):
        facts.issues[row.loop_id] = row
    facts.customers = linked_customers(tx, loops)
    facts.approvals = approvals(tx, messages)
    facts.decisions = decisions(tx, facts.approvals.values())
    facts.alerts = alerts(tx, messages)
    if any(m.template == "triage_waiting" for m in messages):
        facts.waiting = waiting(tx)
    if any(m.template == "calendar_missing" for m in messages):
        facts.uncertain = uncertain(tx)
    return facts


def by_loop(tx: Connection, rows: Table, order: Any, loops: Sequence[str]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    query = select(rows).where(rows.c.loop_id.in_(loops)).order_by(order, rows.c.id)
    for row in tx.execute(query):
        found.setdefault(row.loop_id, []).append(row)
    return found


def quoted(tx: Connection, loops: Sequence[str]) -> dict[str, list[Event]]:
    query = (
        select(EVENTS.c.loop_id, EVENTS.c.kind, EVENTS.c.at, EVENTS.c.data, BODIES.c.body)
        .outerjoin(BODIES, BODIES.c.event_id == EVENTS.c.event_id)
        .where(EVENTS.c.loop_id.in_(loops), EVENTS.c.kind.in_(QUOTED))
        .order_by(EVENTS.c.seq)
    )
    found: dict[str, list[Event]] = {}
    for loop, kind, at, data, body in tx.execute(query):
        event = Event(kind, at, json.loads(data), json.loads(body or "{}"))
        found.setdefault(loop, []).append(event)
    return found


def uncertain(tx: Connection) -> Any:
    """How many clocks wait for a calendar, and when the `first` of them is due."""
    query = select(func.count().label("clocks"), func.min(CLOCKS.c.due_at).label("first"))
    return tx.execute(query.where(text(UNCERTAIN))).one()


def alerts(tx: Connection, messages: Sequence[Any]) -> dict[str, Any]:
    """The red alerts that messages are about, by their ids."""
    values = [m.values or {} for m in messages if m.template == "red_alert"]
    said = {v["alert"]: v.get("feedback") for v in values}
    if not said:
        return {}
    item = FEEDBACK.c.id.in_(sorted(filter(None, said.values())))
    texts = {
        row.id: row.text for row in tx.execute(select(FEEDBACK.c.id, FEEDBACK.c.text).where(item))
    }
    same = (CONVERSATIONS.c.source == ALERTS.c.source) & (
        CONVERSATIONS.c.name == ALERTS.c.conversation
    )
    query = (
        select(ALERTS, CONVERSATIONS.c.record)
        .outerjoin(CONVERSATIONS, same)
        .where(ALERTS.c.id.in_(sorted(said)))
    )
    return {row.id: (row, texts.get(said[row.id] or ""), row.record) for row in tx.execute(query)}


def approvals(tx: Connection, messages: Sequence[Any]) -> dict[str, Any]:
    """The approvals that messages are about, by their ids."""
    named = sorted({m.values["approval"] for m in messages if "approval" in (m.values or {})})
    if not named:
        return {}
    return {row.id: row for row in tx.execute(select(APPROVALS).where(APPROVALS.c.id.in_(named)))}


def decisions(tx: Connection, rows: Iterable[Any]) -> dict[str, list[Event]]:
    """Approval -> its events with what people said, in order; `rows` are of approvals."""
    loops = {row.id: row.loop_id for row in rows}
    if not loops:
        return {}
    theirs = EVENTS.c.loop_id.in_(sorted(filter(None, loops.values())))
    alone = EVENTS.c.loop_id.is_(None) if None in loops.values() else false()
    query = (
        select(EVENTS.c.kind, EVENTS.c.at, EVENTS.c.data, BODIES.c.body)
        .outerjoin(BODIES, BODIES.c.event_id == EVENTS.c.event_id)
        .where(EVENTS.c.kind.in_(DECIDING), theirs | alone)
        .order_by(EVENTS.c.seq)
    )
    found: dict[str, list[Event]] = {}
    for kind, at, data, body in tx.execute(query):
        event = Event(kind, at, json.loads(data), json.loads(body or "{}"))
        found.setdefault(event.data["approval"], []).append(event)
    return found


def origins(loops: Sequence[str]) -> Any:
    """The issue that opened each loop, with its words and channel."""
    return (
        select(
            LOOP_ISSUES.c.loop_id,
            ISSUES.c.kind,
            ISSUES.c.emotion,
            ISSUES.c.severity,
            FEEDBACK.c.text,
            FEEDBACK.c.channel,
        )
        .join(ISSUES, ISSUES.c.id == LOOP_ISSUES.c.issue_id)
        .join(FEEDBACK, FEEDBACK.c.id == ISSUES.c.feedback_id)
        .where(LOOP_ISSUES.c.loop_id.in_(loops), LOOP_ISSUES.c.relation == Relation.ORIGIN)
    )


def linked_customers(tx: Connection, loops: Sequence[str]) -> dict[str, int]:
    small = LOOP_LINKS.join(LOOPS, LOOPS.c.id == LOOP_LINKS.c.small_id)
    who = func.coalesce(LOOPS.c.customer_id, LOOPS.c.id)
    query = (
        select(LOOP_LINKS.c.big_id, func.count(who.distinct()))
        .select_from(small)
        .where(LOOP_LINKS.c.big_id.in_(loops))
        .group_by(LOOP_LINKS.c.big_id)
    )
    return {row.big_id: row[1] for row in tx.execute(query)}


def waiting(tx: Connection) -> Any:
    query = select(
        func.count().label("count"),
        func.min(ISSUES.c.due_at).label("due_at"),
    ).where(ISSUES.c.state == IssueState.TRIAGE)
    return tx.execute(query).one()
