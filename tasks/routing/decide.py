"""What a person decides about what the system would not: issues in doubt, unrouted and disputed
loops, and proposed merges. Every decision about an issue is kept as a correction that teaches."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from loopwright.db import retry_conflicts
from loopwright.errors import ConflictError, InputError
from loopwright.history.envelope import Actor, Event
from loopwright.ids import uuid7
from models.base import table
from models.feedback import Feedback
from models.issue import Correction, Issue, Proposal
from models.kinds import (
    EventKind,
    IssueKind,
    IssueState,
    LoopKind,
    LoopState,
    Outcome,
    TicketState,
)
from models.loop import Loop
from models.ticket import Ticket
from policy.classify import Evidence, Reading
from tasks.change import Change, change
from tasks.clocks.starting import names_of
from tasks.find import match_id, require_unit, require_words
from tasks.merge import earliest_clocks, merging, moves
from tasks.routing.known import Found
from tasks.routing.open_loops import Opening, assign_ticket, open_loops
from tasks.settle import settle, stamped
from tasks.workspace import Workspace

LOOPS = table(Loop)
ISSUES = table(Issue)
FEEDBACK = table(Feedback)
CORRECTIONS = table(Correction)
PROPOSALS = table(Proposal)
TICKETS = table(Ticket)


def decide_issue(
    ws: Workspace, issue_id: str, kind: IssueKind, topic: str | None, actor: Actor, now: datetime
) -> Opening:
    """A person reads an issue in doubt: its kind and topic. It is then routed as any other."""
    if topic is not None and topic not in ws.places:
        raise InputError(f"no topic {topic!r}", f"use one of: {', '.join(sorted(ws.places))}")
    if topic is None and kind in ws.published.documents.rulebook.opens:
        raise InputError(f"a {kind} needs a topic", "add --topic, or choose noise or praise")

    def attempt() -> Opening:
        with ws.db.begin() as tx:
            issue = waiting_issue(tx, issue_id)
            found = read_by_person(tx, ws, issue, kind, topic, actor)
            opening = open_loops(tx, ws, [found], now)
            settle_issue(tx, found, opening)
            tx.execute(insert(CORRECTIONS).values(correction(found, opening, actor, now)))
            change(tx, opening.changes, now, [decided(ws, issue, found, opening, actor, now)])
            opening.propose_merges(tx, now)
            return opening

    return retry_conflicts(attempt)


def waiting_issue(tx: Connection, wanted: str) -> Any:
    """The issue's row, locked. Raises ConflictError for one that has been decided."""
    issue_id = match_id(tx, ISSUES, wanted, "issue")
    issue = tx.execute(select(ISSUES).where(ISSUES.c.id == issue_id).with_for_update()).one()
    if issue.state != IssueState.TRIAGE:
        raise ConflictError(f"issue {wanted} waits no longer", "it has been decided already")
    return issue


def read_by_person(
    tx: Connection, ws: Workspace, issue: Any, kind: IssueKind, topic: str | None, actor: Actor
) -> Found:
    row = tx.execute(select(FEEDBACK).where(FEEDBACK.c.id == issue.feedback_id)).one()
    place = ws.places.get(topic or "")
    evidence = tuple(Evidence(*e) for e in issue.evidence or ())
    reading = Reading(
        kind=kind,
        topic=topic,
        touchpoint=place.topic.touchpoint if place else None,
        sentiment=issue.sentiment,
        emotion=issue.emotion,
        severity=issue.severity,
        confidence=1.0,
        abstained=False,
        reason="",
        signals=tuple(issue.signals or ()),
        evidence=(*evidence, Evidence("topic", "", f"person:{actor.id}")),
        text=row.text,
    )
    return Found(issue.id, row, reading, issue.ordinal)


def settle_issue(tx: Connection, found: Found, opening: Opening) -> None:
    tx.execute(
        update(ISSUES)
        .where(ISSUES.c.id == found.issue_id)
        .values(
            state=opening.states[found.issue_id],
            kind=found.reading.kind,
            topic=found.reading.topic,
            touchpoint=found.reading.touchpoint,
            rule=opening.rules.get(found.issue_id),
            due_at=None,
        )
    )


def correction(found: Found, opening: Opening, actor: Actor, now: datetime) -> dict[str, Any]:
    return {
        "id": uuid7(),
        "issue_id": found.issue_id,
        "kind": found.reading.kind,
        "topic": found.reading.topic,
        "loop": opening.states[found.issue_id],
        "by": actor.id,
        "at": now,
    }


def decided(
    ws: Workspace, issue: Any, found: Found, opening: Opening, actor: Actor, now: datetime
) -> Event:
    """Also what the issue was: the row keeps no trace of it, and a batch's root was taken of it."""
    data = {
        "issue": found.issue_id,
        "kind": found.reading.kind,
        "topic": found.reading.topic,
        "fate": opening.states[found.issue_id],
        "kind_was": issue.kind,
        "topic_was": issue.topic,
        "rule_was": issue.rule,
    }
    return Event(
        uuid7(),
        EventKind.ISSUE_DECIDED,
        now,
        actor,
        data,
        run=ws.run,
        policy=ws.policy_version,
        rule=opening.rules.get(found.issue_id),
    )


def decide_loop(ws: Workspace, loop_id: str, unit: str, actor: Actor, now: datetime) -> str:
    """A person gives an unrouted or disputed loop to a unit, as its lead unless another unit still
    is. Returns the loop's id."""
    require_unit(ws, unit)
    with ws.db.read() as tx:
        loop = match_id(tx, LOOPS, loop_id, "loop")
        row = tx.execute(select(LOOPS).where(LOOPS.c.id == loop)).one()
        role = "participant" if has_lead(tx, loop) else "lead"
    if row.state != LoopState.TRIAGE and not row.arbitration:
        raise ConflictError(
            f"loop {row.id} is {row.state} and not disputed", "only waiting loops are decided here"
        )
    first = (
        Change(row.id, EventKind.LOOP_ROUTED, routed_data(row, unit), actor, row.version)
        if row.state == LoopState.TRIAGE
        else Change(row.id, EventKind.LOOP_ARBITRATED, {"unit": unit}, actor, row.version)
    )
    names, kind = names_of(row.clocks), LoopKind(row.kind)
    clocks = ws.clocks.at_assignment(names, kind, unit, row.ladder, now)
    template = "big_loop_assigned" if kind is LoopKind.BIG else "ticket_assigned"
    ticket = assign_ticket(row.id, unit, role, clocks, now, template)
    settle(ws, [replace(first, rule="person"), ticket], now)
    return str(row.id)


def has_lead(tx: Connection, loop: str) -> bool:
    """Whether a unit that leads has not rejected its ticket."""
    leads = (TICKETS.c.role == "lead") & (TICKETS.c.state != TicketState.REJECTED)
    query = select(TICKETS.c.id).where(TICKETS.c.loop_id == loop, leads)
    return tx.execute(query.limit(1)).first() is not None


def routed_data(row: Any, unit: str) -> dict[str, Any]:
    kept = {name: getattr(row, name) for name in ("level", "clocks", "ladder")}
    return kept | {"lead": unit, "priority": row.priority or "P3"}


def decide_proposal(
    ws: Workspace, proposal_id: str, accept: bool, actor: Actor, now: datetime
) -> str:
    """A person confirms or refuses a suspected same complaint. Returns the surviving loop's id."""
    with ws.db.begin() as tx:
        found = match_id(tx, PROPOSALS, proposal_id, "proposal")
        row = tx.execute(select(PROPOSALS).where(PROPOSALS.c.id == found).with_for_update()).one()
        if row.decided_at is not None:
            raise ConflictError(f"proposal {found} is decided already", "nothing is left to do")
        tx.execute(
            update(PROPOSALS)
            .where(PROPOSALS.c.id == found)
            .values(decided_at=now, decided_by=actor.id, accepted=accept)
        )
        data = {"proposal": row.id, "loop": row.loop_id, "into": row.into_id, "accepted": accept}
        event = Event(uuid7(), EventKind.PROPOSAL_DECIDED, now, actor, data, run=ws.run)
        changes = []
        if accept:
            loop = tx.execute(select(LOOPS).where(LOOPS.c.id == row.loop_id)).one()
            changes = [
                merging(loop, row.into_id, actor),
                *moves(tx, loop, row.into_id, actor),
                *earliest_clocks(ws, tx, loop, row.into_id, actor),
            ]
        change(tx, stamped(ws, changes), now, [event])
    return str(row.into_id)


def withdraw(ws: Workspace, loop_id: str, reason: str, actor: Actor, now: datetime) -> str:
    """The customer takes the complaint back: close the loop as withdrawn. Returns its id."""
    require_words(reason, "a withdrawal needs words", "say how the customer took it back")
    return end(ws, loop_id, EventKind.LOOP_WITHDRAWN, {}, reason, actor, now)


def close_unfounded(ws: Workspace, loop_id: str, reason: str, actor: Actor, now: datetime) -> str:
    """A person checked and there is nothing to it: close a customer's loop as unfounded. Returns
    its id; raises TransitionRefused for a big or a closed one."""
    require_words(reason, "an unfounded complaint needs words", "say what was checked, and how")
    data = {"outcome": Outcome.UNFOUNDED.value, "why": "checked"}
    return end(ws, loop_id, EventKind.LOOP_CLOSED, data, reason, actor, now)


def end(
    ws: Workspace,
    loop_id: str,
    kind: EventKind,
    data: dict[str, str],
    reason: str,
    actor: Actor,
    now: datetime,
) -> str:
    with ws.db.read() as tx:
        loop = match_id(tx, LOOPS, loop_id, "loop")
    settle(ws, [Change(loop, kind, data, actor, body={"reason": reason})], now)
    return loop
