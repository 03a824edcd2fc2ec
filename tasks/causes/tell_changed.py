"""Telling people what changed: the units of a big loop and every customer who hangs on it, once.

Customers are told by consent and the contact rules: by mail, else by a call that the unit of their
own loop is asked for; whoever was written to lately, when the policy's gap is over. No event per
customer, or thousands would be: the message row is the record, with the template's version once it
was sent. That a call was made is for who made it to say (`tasks/verification/tell.py`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select

from models.base import table
from models.history import EventBody, HistoryEvent
from models.kinds import Channel, EventKind, MessageState, TicketState, Way
from models.loop import Loop, LoopLink
from models.message import Message
from models.ticket import Ticket
from policy.verify import ask_from
from tasks.change import NewMessage, message_row
from tasks.verification.reach import namesakes, survivors, ways
from tasks.verification.verify import contacts_since
from tasks.workspace import Workspace

LOOPS = table(Loop)
TICKETS = table(Ticket)
EVENTS = table(HistoryEvent)
BODIES = table(EventBody)
MESSAGES = table(Message)
LOOP_LINKS = table(LoopLink)

LETTER, SCRIPT = "cause_closed", "cause_closed_call"
TOLD_BY: Mapping[Way, tuple[str, Channel]] = {
    Way.MAIL: (LETTER, Channel.CUSTOMER),
    Way.CALL: (SCRIPT, Channel.MAIN),
}
"""How a customer can be told -> the message that does it, or has it done, and its channel."""
WRITTEN = (EventKind.LOOP_PLANNED, EventKind.LOOP_CHANGE_DESCRIBED, EventKind.LOOP_CLOSED)
"""Where a person may have written what customers are told has changed."""
PIECE = 5_000
"""So many linked loops are looked at together; a statement takes only so many parameters."""


@dataclass
class Telling:
    """Outbox rows: letters to customers, and to units about customers who can only be called; how
    many of both wait for the contact rules."""

    letters: list[dict[str, Any]] = field(default_factory=list)
    later: int = 0
    to_call: list[dict[str, Any]] = field(default_factory=list)

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [*self.letters, *self.to_call]


def written_change(tx: Connection, big: str) -> str | None:
    """The newest words on what changed; None when nobody wrote any, or they were erased."""
    query = (
        select(BODIES.c.body)
        .join(EVENTS, EVENTS.c.event_id == BODIES.c.event_id)
        .where(EVENTS.c.loop_id == big, EVENTS.c.kind.in_(WRITTEN))
        .order_by(EVENTS.c.loop_seq.desc())
    )
    bodies = (json.loads(body) for body in tx.execute(query).scalars())
    return next((body["changed"] for body in bodies if body.get("changed")), None)


def holders(tx: Connection, loop: str) -> list[Any]:
    """The tickets of the units that lead and take part, one a unit."""
    query = select(TICKETS.c.id, TICKETS.c.unit).where(
        TICKETS.c.loop_id == loop, TICKETS.c.state != TicketState.REJECTED
    )
    tickets = tx.execute(query.order_by(TICKETS.c.assigned_at, TICKETS.c.id))
    return list({ticket.unit: ticket for ticket in tickets}.values())


def to_units(row: Any, template: str, units: Sequence[Any]) -> list[NewMessage]:
    """One message for each ticket of `holders`; `row` as the closing or reopening finds it."""
    key = f"{template}:{row.id}:{row.version}"
    return [NewMessage(f"{key}:{t.unit}", template, t.unit, t.id) for t in units]


def tell_customers(tx: Connection, ws: Workspace, big: str, now: datetime) -> Telling:
    """Each customer of a big loop who has not been told of it yet, by the oldest of their linked
    loops."""
    loops, telling = linked_loops(tx, big), Telling()
    told = already_told(tx, big, loops)
    for start in range(0, len(loops), PIECE):
        piece = loops[start : start + PIECE]
        same = survivors(tx, {loop.customer_id for loop in piece})
        new = first_of_each(piece, same, told)
        how = ways(tx, ws, [loop.id for loop in new], now)
        last = last_contacts(tx, ws, namesakes(tx, same), now)
        for loop in new:
            add(ws, telling, big, loop, how[loop.id], last.get(same[loop.customer_id]), now)
    return telling


def first_of_each(loops: Sequence[Any], same: Mapping[str, str], told: set[str]) -> list[Any]:
    """The first loop of each customer who is not in `told`, who then is."""
    new = []
    for loop in loops:
        if (customer := same[loop.customer_id]) not in told:
            told.add(customer)
            new.append(loop)
    return new


def add(
    ws: Workspace,
    telling: Telling,
    big: str,
    loop: Any,
    way: Way,
    contacted_at: datetime | None,
    now: datetime,
) -> None:
    if way not in TOLD_BY:
        return
    gap = timedelta(days=ws.published.documents.rulebook.contact_gap_days)
    due_at = ask_from(now, contacted_at, gap, None)
    telling.later += due_at > now
    made = telling.letters if way is Way.MAIL else telling.to_call
    made.append(telling_row(ws, big, loop, way, due_at, now))


def telling_row(
    ws: Workspace, big: str, loop: Any, way: Way, due_at: datetime, now: datetime
) -> dict[str, Any]:
    template, channel = TOLD_BY[way]
    message = NewMessage(
        f"{template}:{big}:{loop.id}",
        template,
        loop.lead or ws.published.documents.organisation.operations,
        values={"big": big},
        channel=channel,
        due_at=due_at,
    )
    return message_row(message, loop.id, now)


def linked_loops(tx: Connection, big: str) -> Sequence[Any]:
    """Customers' loops that hang on a big one, oldest first; where one was merged, what it went
    into."""
    links = select(LOOP_LINKS.c.small_id.label("id")).where(LOOP_LINKS.c.big_id == big)
    merged = links.cte("merged", recursive=True)
    into = select(LOOPS.c.merged_into).join(merged, merged.c.id == LOOPS.c.id)
    merged = merged.union(into.where(LOOPS.c.merged_into.is_not(None)))
    query = (
        select(LOOPS.c.id, LOOPS.c.customer_id, LOOPS.c.lead)
        .join(merged, merged.c.id == LOOPS.c.id)
        .where(LOOPS.c.merged_into.is_(None), LOOPS.c.customer_id.is_not(None))
    )
    return tx.execute(query.order_by(LOOPS.c.received_at, LOOPS.c.id)).all()


def already_told(tx: Connection, big: str, loops: Sequence[Any]) -> set[str]:
    """Customers who have a letter about this big loop, or a call, from an earlier closing."""
    found: set[str] = set()
    for start in range(0, len(loops), PIECE):
        piece = {loop.id: loop.customer_id for loop in loops[start : start + PIECE]}
        query = select(MESSAGES.c.key, MESSAGES.c.template, MESSAGES.c.loop_id).where(
            MESSAGES.c.loop_id.in_(piece), MESSAGES.c.template.in_((LETTER, SCRIPT))
        )
        told = {m.loop_id for m in tx.execute(query) if m.key == f"{m.template}:{big}:{m.loop_id}"}
        found |= set(survivors(tx, {piece[loop] for loop in told}).values())
    return found


def last_contacts(
    tx: Connection, ws: Workspace, same: Mapping[str, str], now: datetime
) -> dict[str, datetime]:
    """Customer -> when they were last asked or told something, or will be: what is queued counts.

    `same`: everybody known -> who they turned out to be.
    """
    since = now - timedelta(days=ws.published.documents.rulebook.contact_gap_days)
    asked = contacts_since(tx, same, since)
    last = {customer: max(loops.values()) for customer, loops in asked.items()}
    at = func.coalesce(MESSAGES.c.sent_at, MESSAGES.c.due_at)
    query = (
        select(LOOPS.c.customer_id, func.max(at).label("at"))
        .join(MESSAGES, MESSAGES.c.loop_id == LOOPS.c.id)
        .where(
            LOOPS.c.customer_id.in_(same),
            MESSAGES.c.template.in_((LETTER, SCRIPT)),
            MESSAGES.c.state != MessageState.QUARANTINED,
            at > since,
        )
        .group_by(LOOPS.c.customer_id)
    )
    for row in tx.execute(query):
        customer = same[row.customer_id]
        last[customer] = max(row.at, last.get(customer, row.at))
    return last
