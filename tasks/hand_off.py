"""What a department does with its ticket: accept, reject with a suggestion, resolve."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, func, select

from loopwright.db import retry_conflicts
from loopwright.errors import InputError
from loopwright.history.envelope import Actor
from loopwright.ids import handle
from models.base import table
from models.kinds import EventKind
from models.loop import Loop
from models.ticket import Ticket
from tasks.change import Change, NewMessage, change
from tasks.workspace import Workspace

LOOPS = table(Loop)
TICKETS = table(Ticket)

SHORTEST_TAIL = 4
LISTED = {"issue": "triage", "proposal": "triage"}
"""Nouns whose ids another noun's list shows."""


@dataclass(frozen=True)
class Held:
    """A ticket with its loop's version and bounces, as the person who acts sees them."""

    id: str
    loop: str
    unit: str
    role: str
    version: int
    bounces: int


def accept(ws: Workspace, ticket_id: str, actor: Actor, now: datetime) -> str:
    """The unit takes the ticket. Returns the loop's id; raises TransitionRefused."""
    held = find_ticket(ws, ticket_id)
    return act(ws, held, EventKind.TICKET_ACCEPTED, {}, None, actor, now)


def reject(
    ws: Workspace, ticket_id: str, reason: str, suggested: str, actor: Actor, now: datetime
) -> str:
    """Not ours: the suggested unit gets a new ticket, or, after the policy's bounces, operations
    arbitrate. Reason and suggestion are required. Returns the loop's id."""
    held = find_ticket(ws, ticket_id)
    require_unit(ws, suggested)
    if not reason.strip():
        raise InputError("a rejection needs a reason", "say why the ticket is not yours")
    if suggested == held.unit:
        raise InputError(f"{suggested} holds this ticket already", "suggest another unit")
    onward = (
        dispute(ws, held)
        if held.bounces + 1 >= ws.published.documents.rulebook.bounces
        else (reassign(held, suggested, now))
    )
    return act(
        ws,
        held,
        EventKind.TICKET_REJECTED,
        {"suggested": suggested},
        {"reason": reason},
        actor,
        now,
        onward,
    )


def resolve(
    ws: Workspace, ticket_id: str, cause: str, done: str, actor: Actor, now: datetime
) -> str:
    """The unit has put it right, with a coded cause and what was done. Returns the loop's id."""
    held = find_ticket(ws, ticket_id)
    require_cause(ws, cause)
    if not done.strip():
        raise InputError("a resolution needs words", "say what was done for the customer")
    return act(ws, held, EventKind.TICKET_RESOLVED, {"cause": cause}, {"done": done}, actor, now)


def transfer(
    ws: Workspace, ticket_id: str, unit: str, reason: str, actor: Actor, now: datetime
) -> str:
    """Both units agree that another goes on with the ticket. Returns the loop's id."""
    held = find_ticket(ws, ticket_id)
    require_unit(ws, unit)
    if not reason.strip():
        raise InputError("a transfer needs a reason", "say why the other unit goes on with it")
    if unit == held.unit:
        raise InputError(f"{unit} holds this ticket already", "name another unit")
    message = NewMessage(
        f"ticket_transferred:{held.id}:{held.version}",
        "ticket_reassigned",
        unit,
        held.id,
        {"rejected": held.id, "from_unit": held.unit},
    )
    return act(
        ws,
        held,
        EventKind.TICKET_TRANSFERRED,
        {"unit": unit},
        {"reason": reason},
        actor,
        now,
        messages=(message,),
    )


def act(
    ws: Workspace,
    held: Held,
    kind: EventKind,
    data: dict[str, Any],
    body: dict[str, Any] | None,
    actor: Actor,
    now: datetime,
    onward: tuple[Change, ...] = (),
    messages: tuple[NewMessage, ...] = (),
) -> str:
    first = Change(
        held.loop,
        kind,
        {"ticket": held.id} | data,
        actor,
        held.version,
        body,
        ws.policy_version,
        run=ws.run,
        on_behalf_of=on_behalf_of(ws, actor, held.unit),
        messages=messages,
    )
    stamped = [replace(one, policy=ws.policy_version, run=ws.run) for one in onward]

    def attempt() -> None:
        with ws.db.begin() as tx:
            change(tx, [first, *stamped], now)

    retry_conflicts(attempt)
    return held.loop


def reassign(held: Held, unit: str, now: datetime) -> tuple[Change, ...]:
    ticket = handle("T", now)
    values = {"rejected": held.id, "from_unit": held.unit}
    message = NewMessage(f"ticket_reassigned:{ticket}", "ticket_reassigned", unit, ticket, values)
    data = {"ticket": ticket, "unit": unit, "role": held.role}
    return (Change(held.loop, EventKind.TICKET_ASSIGNED, data, messages=(message,)),)


def dispute(ws: Workspace, held: Held) -> tuple[Change, ...]:
    operations = ws.published.documents.organisation.operations
    message = NewMessage(
        f"arbitration_needed:{held.id}",
        "arbitration_needed",
        operations,
        values={"rejected": held.id, "from_unit": held.unit},
    )
    data = {"bounces": held.bounces + 1}
    return (Change(held.loop, EventKind.LOOP_DISPUTED, data, messages=(message,)),)


def on_behalf_of(ws: Workspace, actor: Actor, unit: str) -> str | None:
    """The unit, when somebody outside its line acts for it."""
    organisation = ws.published.documents.organisation
    person = organisation.person_by_id.get(actor.id)
    if person is None or any(u.code == person.unit for u in organisation.lineage(unit)):
        return None
    return unit


def find_ticket(ws: Workspace, ticket_id: str) -> Held:
    """A ticket by its id or the end of it. Raises InputError when none or several match."""
    with ws.db.read() as tx:
        ticket = match_id(tx, TICKETS, ticket_id, "ticket")
        query = (
            select(
                TICKETS.c.id,
                TICKETS.c.loop_id,
                TICKETS.c.unit,
                TICKETS.c.role,
                LOOPS.c.version,
                LOOPS.c.bounces,
            )
            .join(LOOPS, LOOPS.c.id == TICKETS.c.loop_id)
            .where(TICKETS.c.id == ticket)
        )
        return Held(*tx.execute(query).one())


def match_id(tx: Connection, rows: Table, wanted: str, noun: str) -> str:
    """The one id of a table that is or ends in `wanted`, in upper or lower case.

    Raises InputError when none or several match, or fewer than four characters are given.
    """
    exact = select(rows.c.id).where(rows.c.id.in_([wanted, wanted.upper(), wanted.lower()]))
    found = list(tx.execute(exact).scalars())
    if not found and len(wanted) >= SHORTEST_TAIL:
        ends = func.lower(rows.c.id).endswith(wanted.lower(), autoescape=True)
        found = list(tx.execute(select(rows.c.id).where(ends).limit(2)).scalars())
    if len(found) != 1:
        raise InputError(
            f"several {noun}s end in {wanted}" if found else f"no {noun} {wanted}",
            f"`loopwright {LISTED.get(noun, noun)} list` shows the ids;"
            f" the last {SHORTEST_TAIL} characters are enough",
        )
    return str(found[0])


def require_unit(ws: Workspace, code: str) -> None:
    units = ws.published.documents.organisation.unit_by_code
    if code not in units:
        raise InputError(f"no unit {code!r}", f"use one of: {', '.join(sorted(units))}")


def require_cause(ws: Workspace, code: str) -> None:
    causes = [entry.code for entry in ws.published.documents.taxonomy.codes.causes]
    if causes and code not in causes:
        raise InputError(f"no cause code {code!r}", f"use one of: {', '.join(causes)}")
