"""What a person decides about what the system would not: issues in doubt, unrouted and disputed
loops, and proposed merges. Every decision about an issue is kept as a correction that teaches."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from loopwright.db import retry_conflicts
from loopwright.errors import ConflictError, InputError
from loopwright.history.envelope import Actor, Event
from loopwright.ids import uuid7
from models.base import table
from models.feedback import Feedback
from models.issue import Correction, Issue, Proposal
from models.kinds import EventKind, IssueKind, IssueState, LoopKind, LoopState, Relation
from models.loop import Loop, LoopIssue
from policy.classify import Evidence, Reading
from tasks.change import Change, change
from tasks.clocks import names_of
from tasks.find import match_id, require_unit
from tasks.open_loops import Found, Opening, assign_ticket, clocks_anew, open_loops
from tasks.workspace import Workspace

LOOPS = table(Loop)
ISSUES = table(Issue)
FEEDBACK = table(Feedback)
CORRECTIONS = table(Correction)
PROPOSALS = table(Proposal)
LOOP_ISSUES = table(LoopIssue)


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
            found = waiting_issue(tx, ws, issue_id, kind, topic, actor)
            opening = open_loops(tx, ws, [found], now)
            settle_issue(tx, found, opening)
            tx.execute(insert(CORRECTIONS).values(correction(found, opening, actor, now)))
            change(tx, opening.changes, now, [decided(ws, found, opening, actor, now)])
            opening.propose_merges(tx, now)
            return opening

    return retry_conflicts(attempt)


def waiting_issue(
    tx: Connection, ws: Workspace, wanted: str, kind: IssueKind, topic: str | None, actor: Actor
) -> Found:
    issue_id = match_id(tx, ISSUES, wanted, "issue")
    issue = tx.execute(select(ISSUES).where(ISSUES.c.id == issue_id).with_for_update()).one()
    if issue.state != IssueState.TRIAGE:
        raise ConflictError(f"issue {wanted} waits no longer", "it has been decided already")
    feedback = FEEDBACK
    row = tx.execute(select(feedback).where(feedback.c.id == issue.feedback_id)).one()
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


def decided(ws: Workspace, found: Found, opening: Opening, actor: Actor, now: datetime) -> Event:
    data = {
        "issue": found.issue_id,
        "kind": found.reading.kind,
        "topic": found.reading.topic,
        "fate": opening.states[found.issue_id],
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
    """A person gives an unrouted or disputed loop to a unit. Returns the loop's id."""
    require_unit(ws, unit)
    with ws.db.read() as tx:
        loop = tx.execute(select(LOOPS).where(LOOPS.c.id == match_id(tx, LOOPS, loop_id, "loop")))
        row = loop.one()
    if row.state != LoopState.TRIAGE and not row.arbitration:
        raise ConflictError(
            f"loop {row.id} is {row.state} and not disputed", "only waiting loops are decided here"
        )
    first = (
        Change(row.id, EventKind.LOOP_ROUTED, routed_data(row, unit), actor, row.version)
        if row.state == LoopState.TRIAGE
        else Change(row.id, EventKind.LOOP_ARBITRATED, {"unit": unit}, actor, row.version)
    )
    stamped = replace(first, policy=ws.policy_version, rule="person", run=ws.run)
    names, kind = names_of(row.clocks), LoopKind(row.kind)
    clocks = ws.clocks.at_assignment(names, kind, unit, row.ladder, now)
    ticket = replace(
        assign_ticket(row.id, unit, "lead", clocks, now), policy=ws.policy_version, run=ws.run
    )

    def attempt() -> None:
        with ws.db.begin() as tx:
            change(tx, [stamped, ticket], now)

    retry_conflicts(attempt)
    return str(row.id)


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
        changes = merge_changes(tx, row.loop_id, row.into_id, actor) if accept else []
        change(tx, changes, now, [event])
    return str(row.into_id)


def unmerge(ws: Workspace, loop_id: str, actor: Actor, now: datetime) -> str:
    """Undo a merge: the loop opens again and takes its own issues back. Returns its id.

    Raises ConflictError when the customer has another open loop on the topic by now.
    """
    with ws.db.begin() as tx:
        loop = match_id(tx, LOOPS, loop_id, "loop")
        row = tx.execute(select(LOOPS).where(LOOPS.c.id == loop)).one()
        if (into := row.merged_into) is None:
            raise ConflictError(f"loop {loop} is not merged", "only a merge can be undone")
        own = set(issues_of(tx, loop))
        back = [
            Change(into, EventKind.LOOP_DETACHED, {"issue": issue}, actor)
            for issue in issues_of(tx, into)
            if issue in own
        ]
        data = {"why": "merge undone"} | (clocks_anew(ws, row, now) if row.lead else {})
        again = Change(loop, EventKind.LOOP_REOPENED, data, actor)
        stamped = [replace(c, policy=ws.policy_version, run=ws.run) for c in (*back, again)]
        try:
            change(tx, stamped, now)
        except IntegrityError:
            raise ConflictError(
                f"the customer of {loop} has another open loop on its topic", "merge into that one"
            ) from None
    return loop


def unlink(ws: Workspace, small_id: str, big_id: str, actor: Actor, now: datetime) -> str:
    """Undo «same cause»: the customer's loop leaves the big one. Returns the small loop's id."""
    with ws.db.begin() as tx:
        small = match_id(tx, LOOPS, small_id, "loop")
        big = match_id(tx, LOOPS, big_id, "loop")
        shared = set(issues_of(tx, small)) & set(joined_issues_of(tx, big))
        changes = [
            Change(big, EventKind.LOOP_UNLINKED, {"small": small}, actor),
            *(Change(big, EventKind.LOOP_DETACHED, {"issue": i}, actor) for i in sorted(shared)),
        ]
        change(tx, [replace(c, policy=ws.policy_version, run=ws.run) for c in changes], now)
    return small


def issues_of(tx: Connection, loop: str) -> Sequence[str]:
    query = select(LOOP_ISSUES.c.issue_id).where(LOOP_ISSUES.c.loop_id == loop)
    return tx.execute(query.order_by(LOOP_ISSUES.c.issue_id)).scalars().all()


def joined_issues_of(tx: Connection, loop: str) -> Sequence[str]:
    """Without the issue that opened the loop, which stays."""
    joined = LOOP_ISSUES.c.relation != Relation.ORIGIN
    query = select(LOOP_ISSUES.c.issue_id).where(LOOP_ISSUES.c.loop_id == loop, joined)
    return tx.execute(query).scalars().all()


def withdraw(ws: Workspace, loop_id: str, reason: str, actor: Actor, now: datetime) -> str:
    """The customer takes the complaint back: close the loop as withdrawn. Returns its id."""
    if not reason.strip():
        raise InputError("a withdrawal needs words", "say how the customer took it back")
    with ws.db.begin() as tx:
        loop = match_id(tx, LOOPS, loop_id, "loop")
        body = {"reason": reason}
        one = Change(loop, EventKind.LOOP_WITHDRAWN, {}, actor, body=body, run=ws.run)
        change(tx, [replace(one, policy=ws.policy_version)], now)
    return loop


def merge(ws: Workspace, loop_id: str, into_id: str, actor: Actor, now: datetime) -> str:
    """One complaint opened twice: close `loop_id` as merged, its issues join `into_id`."""
    with ws.db.begin() as tx:
        loop = match_id(tx, LOOPS, loop_id, "loop")
        into = match_id(tx, LOOPS, into_id, "loop")
        if loop == into:
            raise InputError("a loop cannot be merged into itself", "name two loops")
        kinds = select(LOOPS.c.kind).where(LOOPS.c.id.in_([loop, into])).distinct()
        if len(tx.execute(kinds).all()) > 1:
            raise InputError(
                "a customer's own loop and a big loop are not merged", "name two loops of one kind"
            )
        made = merge_changes(tx, loop, into, actor)
        change(tx, [replace(c, policy=ws.policy_version, run=ws.run) for c in made], now)
    return into


def merge_changes(tx: Connection, loop: str, into: str, actor: Actor) -> Sequence[Change]:
    joins = [
        Change(
            into,
            EventKind.LOOP_JOINED,
            {"issue": issue, "relation": Relation.SAME_COMPLAINT, "why": "merged by a person"},
            actor,
        )
        for issue in issues_of(tx, loop)
    ]
    return [Change(loop, EventKind.LOOP_MERGED, {"into": into}, actor), *joins]
