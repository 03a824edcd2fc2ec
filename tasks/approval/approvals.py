"""Who has asked for what, who may agree to it, and what follows: one mechanism for all approvals.

A request of a loop goes through the door for change; one without a loop (a publication, a template)
is written here, by the same effects. What a grant brings about happens in its transaction.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, insert, select, update

from loopwright.db import retry_conflicts
from loopwright.errors import InputError, NotPermitted, TransitionRefused
from loopwright.history.append import append
from loopwright.history.envelope import Actor, Event, seal
from loopwright.ids import uuid7
from models.approval import Approval
from models.base import table
from models.clock import Clock
from models.kinds import (
    ApprovalKind,
    ApprovalState,
    ClockKind,
    EventKind,
    TicketState,
)
from models.loop import Loop
from models.ticket import Ticket
from policy.approval import approvers, may_approve, rules_of, to_tell
from policy.story import Row
from tasks.approval.request import (
    asked_in,
    barred_of,
    folded,
    level_of,
    people_in,
    request_change,
    unit_of,
)
from tasks.change import Change, NewMessage, change, message_row, queue
from tasks.clocks.changes import extended, extension_follows
from tasks.find import customers_loops, match_id, require_words
from tasks.people import organisation_now, today
from tasks.settle import settle, stamped
from tasks.workspace import Workspace

APPROVALS = table(Approval)
LOOPS = table(Loop)
TICKETS = table(Ticket)
CLOCKS = table(Clock)

Deciders = dict[str, str | None]
"""Person -> whom they stand in for; None: they decide for themselves."""
WhatFollows = Callable[[Workspace, Connection, Row], list[Change]]
"""From an approval's row, under its loop's lock, to the changes of that loop that its grant brings
about. Whoever grants makes them, in the same transaction."""


def more_time_follows(ws: Workspace, tx: Connection, approval: Row) -> list[Change]:
    """The owner's clock runs longer. Raises TransitionRefused when it does not run any more."""
    days = approval["terms"]["working_days"]
    kind, clock = ApprovalKind.MORE_TIME, approval["clock_id"]
    return [extended(ws, tx, clock, extension=kind, days=days, approval=approval["id"])]


def compensation_follows(_ws: Workspace, _tx: Connection, approval: Row) -> list[Change]:
    data = {"approval": approval["id"], "fen": approval["terms"]["fen"]}
    return [Change(approval["loop_id"], EventKind.LOOP_COMPENSATED, data)]


ON_GRANT: dict[ApprovalKind, WhatFollows] = {
    ApprovalKind.MORE_TIME: more_time_follows,
    ApprovalKind.EXTENSION: extension_follows,
    ApprovalKind.COMPENSATION: compensation_follows,
}
"""Kinds whose grant changes their loop. The functions live in modules that do not import this
one."""


def approve(ws: Workspace, approval: str, actor: Actor, now: datetime) -> str:
    """Grant what was asked for, with all that follows. Returns the approval's id.

    Raises NotPermitted with the reason when this person may not, TransitionRefused when it has been
    decided, or what it was asked for is no more.
    """
    return decide(ws, approval, EventKind.APPROVAL_GRANTED, actor, now)


def refuse(ws: Workspace, approval: str, reason: str, actor: Actor, now: datetime) -> str:
    """Decline it, with a reason. Returns the approval's id; raises as `approve`."""
    require_words(reason, "a refusal needs a reason", "say what would have to be different")
    return decide(ws, approval, EventKind.APPROVAL_REFUSED, actor, now, {"reason": reason})


def decide(
    ws: Workspace,
    wanted: str,
    kind: EventKind,
    actor: Actor,
    now: datetime,
    body: Mapping[str, Any] | None = None,
) -> str:
    with ws.db.read() as tx:
        approval = match_id(tx, APPROVALS, wanted, "approval")

    def attempt() -> None:
        with ws.db.begin() as tx:
            decide_in(tx, ws, approval, kind, actor, now, body)

    retry_conflicts(attempt)
    return approval


def decide_in(
    tx: Connection,
    ws: Workspace,
    approval: str,
    kind: EventKind,
    actor: Actor,
    now: datetime,
    body: Mapping[str, Any] | None = None,
) -> None:
    row = locked(tx, approval)
    if row["state"] != ApprovalState.WAITING:
        raise TransitionRefused(
            f"approval {row['id']} has been {row['state']} already", "ask again if need be"
        )
    data = {"approval": row["id"], "by": actor.id}
    said = Change(
        row["loop_id"] or "",
        kind,
        data,
        actor,
        body=body,
        on_behalf_of=permitted(ws, tx, row, actor, now),
        messages=decided_message(ws, row),
    )
    if row["loop_id"] is None:
        write_alone(tx, stamped(ws, [said])[0], row, now)
        return
    follows = ON_GRANT.get(row["kind"]) if kind is EventKind.APPROVAL_GRANTED else None
    more = [replace(one, actor=actor) for one in follows(ws, tx, row)] if follows else []
    change(tx, stamped(ws, [said, *more]), now)


def decided_message(ws: Workspace, row: Row) -> tuple[NewMessage, ...]:
    """The word to whoever asked, if they are still of the organisation."""
    if row["asked_by"] not in ws.published.documents.organisation.person_by_id:
        return ()
    return (
        NewMessage(
            f"approval_decided:{row['id']}",
            "approval_decided",
            unit_of(ws, row["asked_by"]),
            row["ticket_id"],
            {"approval": row["id"]},
            row["asked_by"],
        ),
    )


def locked(tx: Connection, approval: str) -> Row:
    """The approval's row, under its loop's lock or, without one, its own."""
    mine = select(APPROVALS).where(APPROVALS.c.id == approval)
    loop = tx.execute(mine.with_only_columns(APPROVALS.c.loop_id)).scalar_one()
    if loop is not None:
        tx.execute(select(LOOPS.c.id).where(LOOPS.c.id == loop).with_for_update())
    return dict(tx.execute(mine.with_for_update()).mappings().one())


def permitted(ws: Workspace, tx: Connection, row: Row, actor: Actor, now: datetime) -> str | None:
    """For whom the actor decides, None for themselves. Raises NotPermitted with the reason."""
    rules, organisation = ws.published.documents.rulebook.approvals, organisation_now(ws, tx, now)
    asked, on = asked_in(row, barred_of(tx, row)), today(ws, now)
    why = may_approve(rules, asked, actor.id, organisation, on)
    if why is not None:
        names = ", ".join(to_tell(rules, asked, organisation, on)) or "-"
        law = f" ({article})" if (article := row["terms"].get("article")) else ""
        what = f"{actor.id}: {why['zh']} / {why['en']}{law}"
        raise NotPermitted(what, f"可由 / it is for: {names}")
    return approvers(rules, asked, organisation, on)[actor.id]


def write_alone(tx: Connection, said: Change, row: Row, now: datetime) -> None:
    """Write an event of an approval that belongs to no loop, its row and its messages."""
    made = folded(said.kind, said.data, row, now)
    if row:
        mine = APPROVALS.c.id == made["id"]
        decided = {name: made[name] for name in ("state", "decided_by", "decided_at")}
        tx.execute(update(APPROVALS).where(mine).values(decided))
    event = Event(
        uuid7(),
        said.kind,
        now,
        said.actor,
        said.data,
        on_behalf_of=said.on_behalf_of,
        run=said.run,
        policy=said.policy,
        body=said.body,
    )
    append(tx, [seal(event)])
    if not row:
        tx.execute(insert(APPROVALS).values(made))
    queue(tx, [message_row(message, None, now) for message in said.messages])


def waiting_for(ws: Workspace, person: str, now: datetime) -> list[Row]:
    """What waits for this person's decision, oldest first; each with `on_behalf_of`."""
    with ws.db.read() as tx:
        found = deciders(ws, tx, now)
    return [row | {"on_behalf_of": may[person]} for row, may in found if person in may]


def deciders(ws: Workspace, tx: Connection, now: datetime) -> list[tuple[Row, Deciders]]:
    """What waits, oldest first, each with who may decide it today, nearest first."""
    rules, organisation = ws.published.documents.rulebook.approvals, organisation_now(ws, tx, now)
    on = today(ws, now)
    return [
        (row, approvers(rules, asked_in(row, barred), organisation, on))
        for row, barred in waiting(tx)
    ]


def waiting(tx: Connection) -> list[tuple[Row, frozenset[str]]]:
    """The requests that wait, with who may not handle their case. Asking for time on a clock that
    has stopped is pointless by now."""
    query = (
        select(APPROVALS, LOOPS.c.barred)
        .outerjoin(LOOPS, LOOPS.c.id == APPROVALS.c.loop_id)
        .outerjoin(CLOCKS, CLOCKS.c.id == APPROVALS.c.clock_id)
        .where(APPROVALS.c.state == ApprovalState.WAITING, CLOCKS.c.stopped_at.is_(None))
        .order_by(APPROVALS.c.asked_at, APPROVALS.c.id)
    )
    return [
        ({c.name: row[c.name] for c in APPROVALS.c}, people_in(row["barred"]))
        for row in tx.execute(query).mappings()
    ]


def request_more_time(
    ws: Workspace, ticket: str, working_days: int, reason: str, actor: Actor, now: datetime
) -> str:
    """A unit asks for more of its own time; the customer's and the law's clocks run on. Returns the
    approval's id.

    Raises InputError for less than a working day, without a reason, or where no owner's clock of
    working time runs on the ticket.
    """
    if working_days < 1:
        raise InputError(f"{working_days} working days is no more time", "ask for one or more")
    require_words(reason, "more time needs a reason", "say what holds the work up")
    with ws.db.read() as tx:
        row = open_ticket(tx, match_id(tx, TICKETS, ticket, "ticket"))
        clock = owners_clock(ws, tx, row.id)
    asked = request_change(
        ws,
        loop=row.loop_id,
        kind=ApprovalKind.MORE_TIME,
        level=level_of(ws, ApprovalKind.MORE_TIME),
        unit=row.unit,
        by=actor,
        now=now,
        terms={"working_days": working_days},
        ticket=row.id,
        clock=clock,
        body={"reason": reason},
    )
    return settled(ws, asked, now)


def open_ticket(tx: Connection, ticket: str) -> Any:
    row = tx.execute(select(TICKETS).where(TICKETS.c.id == ticket)).one()
    if row.state not in (TicketState.ASSIGNED, TicketState.ACCEPTED):
        raise TransitionRefused(f"ticket {ticket} is {row.state}", "nothing of it is left to do")
    return row


def owners_clock(ws: Workspace, tx: Connection, ticket: str) -> str:
    """The ticket's own clock that is due first."""
    mine = (CLOCKS.c.ticket_id == ticket) & (CLOCKS.c.kind == ClockKind.OWNER)
    query = select(CLOCKS.c.id, CLOCKS.c.spec).where(mine, CLOCKS.c.stopped_at.is_(None))
    row = tx.execute(query.order_by(CLOCKS.c.due_at, CLOCKS.c.id).limit(1)).one_or_none()
    if row is None:
        raise InputError(f"no owner's clock runs on ticket {ticket}", "no more time is needed")
    spec = ws.clocks.specs.get(row.spec)
    if spec is not None and spec.calendar_days is not None:
        raise InputError(
            f"clock {row.spec} counts calendar days", "more time is given in working days only"
        )
    return str(row.id)


def compensate(ws: Workspace, loop: str, fen: int, reason: str, actor: Actor, now: datetime) -> str:
    """Ask to compensate a customer; the level follows from what all of the loop's compensations
    come to, so that no sum is split past a limit. Returns the approval's id."""
    if fen < 1:
        raise InputError("an amount must be more than nothing", "give it in yuan: 88.50")
    require_words(reason, "a compensation needs a reason", "say what it makes good")
    with ws.db.read() as tx:
        row = customers_loop(tx, loop)
        total = fen + compensated(tx, row.id)
    asked = request_change(
        ws,
        loop=row.id,
        kind=ApprovalKind.COMPENSATION,
        level=level_of(ws, ApprovalKind.COMPENSATION, total),
        unit=unit_of(ws, actor.id),
        by=actor,
        now=now,
        terms={"fen": fen, "total_fen": total},
        body={"reason": reason},
    )
    # Two who ask at once must not both stay below a limit.
    return settled(ws, replace(asked, version=row.version), now)


def customers_loop(tx: Connection, wanted: str) -> Any:
    loop = match_id(tx, LOOPS, wanted, "loop")
    return customers_loops(tx, [loop])[loop]


def compensated(tx: Connection, loop: str) -> int:
    """Fen granted or asked for already for a loop."""
    mine = (APPROVALS.c.loop_id == loop) & (APPROVALS.c.kind == ApprovalKind.COMPENSATION)
    query = select(APPROVALS.c.terms).where(mine, APPROVALS.c.state != ApprovalState.REFUSED)
    return sum(int(terms["fen"]) for terms in tx.execute(query).scalars())


def reply(ws: Workspace, loop: str, letter: str, actor: Actor, now: datetime) -> str:
    """Ask to send a customer this letter with the decision (答复函). Returns the approval's id."""
    require_words(letter, "the letter is empty", "write the answer to the customer into it")
    with ws.db.read() as tx:
        row = customers_loop(tx, loop)
    asked = request_change(
        ws,
        loop=row.id,
        kind=ApprovalKind.REPLY,
        level=level_of(ws, ApprovalKind.REPLY),
        unit=row.lead or unit_of(ws, actor.id),
        by=actor,
        now=now,
        terms={"sha256": sha256(letter.encode()).hexdigest()},
        body={"letter": letter},
    )
    return settled(ws, asked, now)


def demands_reply_approval(ws: Workspace) -> bool:
    """Whether the policy wants letters to be approved before a customer gets them."""
    return bool(rules_of(ws.published.documents.rulebook.approvals, ApprovalKind.REPLY))


def granted_reply(tx: Connection, loop: str, approval: str) -> str:
    """The whole id of the grant of a letter to this loop's customer.

    Raises InputError for another loop's or another kind of approval, TransitionRefused for a letter
    that was not granted.
    """
    found = match_id(tx, APPROVALS, approval, "approval")
    row = tx.execute(select(APPROVALS).where(APPROVALS.c.id == found)).one()
    if (row.loop_id, row.kind) != (loop, ApprovalKind.REPLY):
        raise InputError(
            f"{found} approves no letter of loop {loop}",
            "`loopwright approval list --all` shows the ids",
        )
    if row.state != ApprovalState.GRANTED:
        raise TransitionRefused(
            f"the letter of {found} is {row.state}", "send it when it has been granted"
        )
    return found


def settled(ws: Workspace, asked: Change, now: datetime) -> str:
    settle(ws, [asked], now)
    return str(asked.data["approval"])
