"""What has come to the simulated people since they last looked, and what do they mean to do?

Read from the history and the open rows alone, so that a driver that starts again knows as much as
one that never stopped.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, select

from console.simulation.plans import Plan, Planner, Told
from models.base import table
from models.clock import Clock
from models.feedback import Feedback, RawItem
from models.history import HistoryEvent
from models.issue import Issue, Proposal
from models.kinds import (
    EventKind,
    IssueState,
    LoopKind,
    LoopState,
    Relation,
    TicketState,
    Way,
)
from models.loop import Loop, LoopIssue
from models.ticket import Ticket
from models.verification import Verification
from tasks.workspace import Workspace

LOOPS = table(Loop)
CLOCKS = table(Clock)
ISSUES = table(Issue)
TICKETS = table(Ticket)
FEEDBACK = table(Feedback)
RAW = table(RawItem)
EVENTS = table(HistoryEvent)
PROPOSALS = table(Proposal)
LOOP_ISSUES = table(LoopIssue)
VERIFICATIONS = table(Verification)

NOTICED = (
    EventKind.LOOP_OPENED,
    EventKind.LOOP_REOPENED,
    EventKind.LOOP_DISPUTED,
    EventKind.LOOP_TRIAGED,
    EventKind.LOOP_PLANNED,
    EventKind.LOOP_RESOLVED,
    EventKind.TICKET_ASSIGNED,
    EventKind.TICKET_TRANSFERRED,
    EventKind.CLOCK_CLIMBED,
    EventKind.VERIFICATION_ASKED,
    EventKind.VERIFICATION_REMINDED,
    EventKind.VERIFICATION_CALLED,
)
PIECE = 500
AT_HAND = (TicketState.ASSIGNED, TicketState.ACCEPTED)


@dataclass
class Notices:
    """`seq`: the last history event that was read; `since`: the last look at what is in doubt."""

    ws: Workspace
    planner: Planner
    seq: int = -1
    since: datetime | None = None

    def look(self, now: datetime, doubts: bool = True) -> list[Plan]:
        """The plans that follow from everything new; stale events make none.

        `doubts`: look also at what only a triage sweep leaves to people.
        """
        with self.ws.db.read() as tx:
            plans = [*self.of_events(tx)]
            if doubts:
                plans += [*self.of_doubts(tx), *self.of_proposals(tx)]
                self.since = now
        return plans

    def of_events(self, tx: Connection) -> Iterator[Plan]:
        query = (
            select(EVENTS.c.seq, EVENTS.c.kind, EVENTS.c.loop_id, EVENTS.c.at, EVENTS.c.data)
            .join(LOOPS, LOOPS.c.id == EVENTS.c.loop_id)
            .where(
                EVENTS.c.seq > self.seq,
                EVENTS.c.kind.in_(NOTICED),
                LOOPS.c.state != LoopState.CLOSED,
            )
            .order_by(EVENTS.c.seq)
        )
        events = tx.execute(query).all()
        if events:
            self.seq = events[-1].seq
            facts = Facts.load(tx, {event.loop_id for event in events})
            for event in events:
                yield from self.of_event(event, facts)

    def of_event(self, event: Any, facts: "Facts") -> Iterator[Plan]:
        loop = facts.loops[event.loop_id]
        data = json.loads(event.data)
        match event.kind:
            case EventKind.TICKET_ASSIGNED | EventKind.TICKET_TRANSFERRED:
                yield from self.of_tickets(loop, facts, event.at, data["ticket"])
            case EventKind.LOOP_REOPENED:
                yield from self.of_tickets(loop, facts, event.at, None)
            case EventKind.CLOCK_CLIMBED:
                yield from self.of_climb(loop, facts, event.at, data["clock"])
            case EventKind.VERIFICATION_ASKED:
                asked = replace(told(loop, event.at), id=data["verification"])
                yield from self.planner.asked(asked, data["via"])
            case EventKind.VERIFICATION_REMINDED | EventKind.VERIFICATION_CALLED:
                asked = replace(told(loop, event.at), id=data["verification"])
                yield from self.planner.asked_again(asked, data.get("via", Way.CALL))
            case EventKind.LOOP_DISPUTED:
                yield from self.planner.unrouted(told(loop, event.at))
            case _:
                yield from self.of_loop(event.kind, loop, facts, event.at)

    def of_loop(self, kind: str, loop: Any, facts: "Facts", at: datetime) -> Iterator[Plan]:
        about, big = told(loop, at), loop.kind == LoopKind.BIG
        match (kind, big):
            case (EventKind.LOOP_OPENED, True):
                yield from self.planner.candidate(about)
            case (EventKind.LOOP_OPENED, False):
                if loop.state == LoopState.TRIAGE:
                    yield from self.planner.unrouted(about)
                yield from self.planner.customer(about)
            case (EventKind.LOOP_TRIAGED, True):
                yield from self.planner.taken_on(about)
            case (EventKind.LOOP_PLANNED, True):
                for ticket in facts.tickets_of(loop.id):
                    yield from self.planner.planned(of_ticket(loop, ticket), at)
            case (EventKind.LOOP_RESOLVED, True):
                yield from self.planner.watched(about)

    def of_tickets(
        self, loop: Any, facts: "Facts", at: datetime, only: str | None
    ) -> Iterator[Plan]:
        """A unit's ticket, as long as it still has it since then."""
        for ticket in facts.tickets_of(loop.id):
            if ticket.assigned_at == at and only in (None, ticket.id):
                about = of_ticket(loop, ticket)
                if loop.kind == LoopKind.BIG:
                    yield from self.planner.cause_ticket(about)
                else:
                    yield from self.planner.ticket(about)

    def of_climb(self, loop: Any, facts: "Facts", at: datetime, clock: str) -> Iterator[Plan]:
        if loop.kind == LoopKind.SMALL:
            for ticket in facts.tickets_of(loop.id):
                if ticket.id == facts.ticket_of_clock.get(clock):
                    yield from self.planner.woken(of_ticket(loop, ticket), at)

    def of_doubts(self, tx: Connection) -> Iterator[Plan]:
        """Issues that came for a person to read."""
        query = (
            select(
                ISSUES.c.id,
                ISSUES.c.ordinal,
                ISSUES.c.topic,
                ISSUES.c.kind,
                FEEDBACK.c.arrived_at,
                RAW.c.source,
                RAW.c.key,
                RAW.c.version,
            )
            .join(FEEDBACK, FEEDBACK.c.id == ISSUES.c.feedback_id)
            .join(RAW, RAW.c.id == FEEDBACK.c.id)
            .where(ISSUES.c.state == IssueState.TRIAGE)
        )
        for row in tx.execute(self.new(query, FEEDBACK.c.arrived_at)):
            about = Told(
                row.id,
                (row.source, row.key, str(row.version), str(row.ordinal)),
                row.arrived_at,
                self.planner.operations,
                row.topic or "",
                row.kind,
            )
            yield from self.planner.doubt(about)

    def of_proposals(self, tx: Connection) -> Iterator[Plan]:
        query = select(PROPOSALS).where(PROPOSALS.c.decided_at.is_(None))
        rows = tx.execute(self.new(query, PROPOSALS.c.at)).all()
        facts = Facts.load(tx, {row.loop_id for row in rows} | {row.into_id for row in rows})
        for row in rows:
            if row.loop_id in facts.loops and row.into_id in facts.loops:
                key = (*name(facts.loops[row.loop_id]), *name(facts.loops[row.into_id]))
                about = Told(row.id, key, row.at, self.planner.operations)
                yield from self.planner.proposal(about)

    def new(self, query: Select[Any], at: Any) -> Select[Any]:
        """What came since, and in that hour itself: an hour may be looked at before it is over."""
        return query if self.since is None else query.where(at >= self.since)


@dataclass
class Facts:
    """Loops with the item that opened each, and the tickets that units have in hand."""

    loops: Mapping[str, Any]
    tickets: Mapping[str, list[Any]]
    ticket_of_clock: Mapping[str, str]

    @classmethod
    def load(cls, tx: Connection, loops: Iterable[str]) -> "Facts":
        wanted = sorted(loops)
        found: dict[str, Any] = {}
        tickets: dict[str, list[Any]] = {}
        clocks: dict[str, str] = {}
        for n in range(0, len(wanted), PIECE):
            piece = wanted[n : n + PIECE]
            found.update({row.id: row for row in tx.execute(loops_with_origin(piece))})
            at_hand = TICKETS.c.loop_id.in_(piece) & TICKETS.c.state.in_(AT_HAND)
            for row in tx.execute(select(TICKETS).where(at_hand).order_by(TICKETS.c.assigned_at)):
                tickets.setdefault(row.loop_id, []).append(row)
            climbed = CLOCKS.c.loop_id.in_(piece) & CLOCKS.c.step.is_not(None)
            query = select(CLOCKS.c.id, CLOCKS.c.ticket_id).where(climbed)
            clocks.update({row.id: row.ticket_id for row in tx.execute(query)})
        return cls(found, tickets, clocks)

    def tickets_of(self, loop: str) -> Sequence[Any]:
        return self.tickets.get(loop, ())


def loops_with_origin(loops: Sequence[str]) -> Select[Any]:
    return (
        select(LOOPS, RAW.c.source, RAW.c.key, RAW.c.version.label("raw"), ISSUES.c.ordinal)
        .join(LOOP_ISSUES, LOOP_ISSUES.c.loop_id == LOOPS.c.id)
        .join(ISSUES, ISSUES.c.id == LOOP_ISSUES.c.issue_id)
        .join(RAW, RAW.c.id == ISSUES.c.feedback_id)
        .where(LOOPS.c.id.in_(loops), LOOP_ISSUES.c.relation == Relation.ORIGIN)
    )


def name(loop: Any) -> tuple[str, ...]:
    """A loop's natural key: what opened it, or its cause."""
    if loop.kind == LoopKind.BIG:
        return ("big", loop.topic, loop.touchpoint, loop.opened_at.isoformat())
    return (loop.source, loop.key, str(loop.raw), str(loop.ordinal))


def told(loop: Any, at: datetime) -> Told:
    key = (*name(loop), at.isoformat())
    return Told(loop.id, key, at, loop.lead or "", loop.topic, loop.kind, loop.priority)


def of_ticket(loop: Any, ticket: Any) -> Told:
    key = (*name(loop), ticket.unit, ticket.assigned_at.isoformat())
    return Told(
        ticket.id,
        key,
        ticket.assigned_at,
        ticket.unit,
        loop.topic,
        loop.kind,
        loop.priority,
        loop.bounces,
    )
