"""What a department does with its ticket: accept, reject with a suggestion, transfer, say how it
goes, resolve.

`answer` takes a set of answers in one transaction; the verbs are sets of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from loopwright.errors import InputError
from loopwright.history.envelope import Actor
from models.base import table
from models.kinds import EventKind, LoopKind
from models.loop import Loop
from models.ticket import Ticket
from tasks.change import Change, NewMessage
from tasks.clocks.starting import names_of
from tasks.find import match_id, require_cause, require_unit, require_words
from tasks.routing.open_loops import assign_ticket
from tasks.settle import settle
from tasks.tickets.handlers import Case, cases, refuse_conflict
from tasks.workspace import Workspace

LOOPS = table(Loop)
TICKETS = table(Ticket)

HANDLING = frozenset(
    {EventKind.TICKET_ACCEPTED, EventKind.TICKET_PROGRESSED, EventKind.TICKET_RESOLVED}
)
"""What only somebody may do who may handle the complaint; to hand it on is open to all."""


@dataclass(frozen=True)
class Held:
    """A ticket with what of its loop matters, as the person who acts sees them."""

    id: str
    loop: str
    unit: str
    role: str
    kind: str
    version: int
    bounces: int
    clocks: str | None
    ladder: str | None
    case: Case = field(default_factory=Case)


@dataclass(frozen=True)
class Answer:
    """One unit's word on its ticket.

    `kind`: accepted, rejected, transferred, progressed or resolved. `unit`: suggested or going on
    with it. `words`: why, or what was done.
    """

    ticket: str
    kind: EventKind
    actor: Actor
    unit: str | None = None
    cause: str | None = None
    words: str = ""


def accept(ws: Workspace, ticket: str, actor: Actor, now: datetime) -> str:
    """The unit takes the ticket; who accepts it for their own unit handles it. Returns the loop's
    id; raises TransitionRefused, and NotPermitted for somebody in conflict."""
    return answer_one(ws, Answer(ticket, EventKind.TICKET_ACCEPTED, actor), now)


def reject(
    ws: Workspace, ticket: str, reason: str, suggested: str, actor: Actor, now: datetime
) -> str:
    """Not ours: the suggested unit gets a new ticket, or, after the policy's bounces, operations
    arbitrate. Reason and suggestion are required. Returns the loop's id."""
    said = Answer(ticket, EventKind.TICKET_REJECTED, actor, unit=suggested, words=reason)
    return answer_one(ws, said, now)


def transfer(
    ws: Workspace, ticket: str, unit: str, reason: str, actor: Actor, now: datetime
) -> str:
    """Both units agree that another goes on with the ticket. Returns the loop's id."""
    said = Answer(ticket, EventKind.TICKET_TRANSFERRED, actor, unit=unit, words=reason)
    return answer_one(ws, said, now)


def progress(ws: Workspace, ticket: str, note: str, actor: Actor, now: datetime) -> str:
    """A sign of work, which holds back the ladder. Returns the loop's id."""
    said = Answer(ticket, EventKind.TICKET_PROGRESSED, actor, words=note)
    return answer_one(ws, said, now)


def resolve(ws: Workspace, ticket: str, cause: str, done: str, actor: Actor, now: datetime) -> str:
    """The unit has put it right, with a coded cause and what was done. Returns the loop's id."""
    said = Answer(ticket, EventKind.TICKET_RESOLVED, actor, cause=cause, words=done)
    return answer_one(ws, said, now)


def answer_one(ws: Workspace, said: Answer, now: datetime) -> str:
    with ws.db.read() as tx:
        ticket = match_id(tx, TICKETS, said.ticket, "ticket")
    return answer(ws, [replace(said, ticket=ticket)], now)[0]


def answer(ws: Workspace, answers: Sequence[Answer], now: datetime) -> list[str]:
    """Take a set of answers, all or none; each names its ticket by the whole id.

    Returns the loops' ids. Raises InputError for an answer that says too little, NotPermitted for
    somebody who may not handle it, ConflictError and TransitionRefused as the door does.
    """
    held = tickets_of(ws, [one.ticket for one in answers])
    settle(ws, [c for one in answers for c in changes_of(ws, held[one.ticket], one, now)], now)
    return [held[one.ticket].loop for one in answers]


def changes_of(ws: Workspace, held: Held, said: Answer, now: datetime) -> list[Change]:
    check(ws, held, said)
    first = Change(
        held.loop,
        said.kind,
        {"ticket": held.id},
        said.actor,
        held.version,
        on_behalf_of=on_behalf_of(ws, said.actor, held.unit),
    )
    match said.kind:
        case EventKind.TICKET_REJECTED:
            body, data = {"reason": said.words}, {"suggested": said.unit}
            onward = pass_on(ws, held, str(said.unit), now)
            return [replace(first, data={**first.data, **data}, body=body), onward]
        case EventKind.TICKET_TRANSFERRED:
            return [transferred(ws, first, held, said, now)]
        case EventKind.TICKET_ACCEPTED if is_of(ws, said.actor, held.unit):
            return [replace(first, data={**first.data, "person": said.actor.id})]
        case EventKind.TICKET_PROGRESSED:
            return [replace(first, body={"note": said.words})]
        case EventKind.TICKET_RESOLVED:
            body, data = {"done": said.words}, {"cause": said.cause}
            return [replace(first, data={**first.data, **data}, body=body)]
        case _:
            return [first]


def is_of(ws: Workspace, actor: Actor, unit: str) -> bool:
    person = ws.published.documents.organisation.person_by_id.get(actor.id)
    return person is not None and person.unit == unit


def check(ws: Workspace, held: Held, said: Answer) -> None:
    if said.kind in HANDLING:
        refuse_conflict(ws, said.actor.id, held.case)
    if said.kind in (EventKind.TICKET_REJECTED, EventKind.TICKET_TRANSFERRED):
        require_unit(ws, str(said.unit))
        require_words(
            said.words, "handing a ticket on needs a reason", "say why it goes to the other unit"
        )
        if said.unit == held.unit:
            raise InputError(f"{said.unit} holds this ticket already", "name another unit")
    if said.kind is EventKind.TICKET_PROGRESSED:
        require_words(said.words, "a word of progress needs words", "say what has been done so far")
    if said.kind is EventKind.TICKET_RESOLVED:
        require_cause(ws, str(said.cause))
        require_words(said.words, "a resolution needs words", "say what was done for the customer")


def pass_on(ws: Workspace, held: Held, unit: str, now: datetime) -> Change:
    """After a rejection: a ticket for the suggested unit, or arbitration after so many bounces."""
    values = {"rejected": held.id, "from_unit": held.unit}
    if held.bounces + 1 >= ws.published.documents.rulebook.bounces:
        operations = ws.published.documents.organisation.operations
        key = f"arbitration_needed:{held.id}"
        message = NewMessage(key, "arbitration_needed", operations, values=values)
        data: dict[str, Any] = {"bounces": held.bounces + 1}
        return Change(held.loop, EventKind.LOOP_DISPUTED, data, messages=(message,))
    clocks = owner_clocks(ws, held, unit, now)
    return assign_ticket(held.loop, unit, held.role, clocks, now, "ticket_reassigned", values)


def transferred(ws: Workspace, first: Change, held: Held, said: Answer, now: datetime) -> Change:
    unit = str(said.unit)
    message = NewMessage(
        f"ticket_transferred:{held.id}:{held.version}",
        "ticket_reassigned",
        unit,
        held.id,
        {"rejected": held.id, "from_unit": held.unit},
    )
    data = {**first.data, "unit": unit, **owner_clocks(ws, held, unit, now)}
    return replace(first, data=data, body={"reason": said.words}, messages=(message,))


def owner_clocks(ws: Workspace, held: Held, unit: str, now: datetime) -> dict[str, str]:
    """The unit's own time begins; the customer's and the law's go on."""
    names, kind = names_of(held.clocks), LoopKind(held.kind)
    return ws.clocks.at_assignment(names, kind, unit, held.ladder, now)


def on_behalf_of(ws: Workspace, actor: Actor, unit: str | None) -> str | None:
    """The unit, when somebody outside its line acts for it."""
    organisation = ws.published.documents.organisation
    person = organisation.person_by_id.get(actor.id)
    if person is None or unit is None:
        return None
    if any(u.code == person.unit for u in organisation.lineage(unit)):
        return None
    return unit


def tickets_of(ws: Workspace, tickets: Sequence[str]) -> dict[str, Held]:
    """Tickets by id. Raises InputError for one that does not exist."""
    with ws.db.read() as tx:
        rows = read_tickets(tx, tickets)
        speaks = cases(tx, [held.loop for held in rows])
        found = {held.id: replace(held, case=speaks[held.loop]) for held in rows}
    for ticket in tickets:
        if ticket not in found:
            raise InputError(f"no ticket {ticket}", "`loopwright ticket list` shows the ids")
    return found


def read_tickets(tx: Connection, tickets: Sequence[str]) -> list[Held]:
    query = (
        select(
            TICKETS.c.id,
            TICKETS.c.loop_id,
            TICKETS.c.unit,
            TICKETS.c.role,
            LOOPS.c.kind,
            LOOPS.c.version,
            LOOPS.c.bounces,
            LOOPS.c.clocks,
            LOOPS.c.ladder,
        )
        .join(LOOPS, LOOPS.c.id == TICKETS.c.loop_id)
        .where(TICKETS.c.id.in_(tickets))
    )
    return [Held(*row) for row in tx.execute(query)]
