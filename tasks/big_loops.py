"""What becomes of a common cause: a candidate is taken on, planned, and closed with reasons.

In between, its tickets are answered as any other. Who had complained is told once what changed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, select

from loopwright.db import retry_conflicts
from loopwright.errors import InputError
from loopwright.history.envelope import Actor
from models.base import table
from models.history import HistoryEvent
from models.kinds import (
    Channel,
    EventKind,
    LoopKind,
    LoopState,
    Outcome,
    Priority,
    TicketState,
)
from models.loop import Loop, LoopLink
from models.ticket import Ticket
from tasks.change import Change, NewMessage, change, message_row, queue
from tasks.clocks import names_of
from tasks.find import match_id, require_cause, require_unit, require_words
from tasks.hand_off import on_behalf_of
from tasks.open_loops import assign_ticket
from tasks.reach import Way, survivors, ways
from tasks.settle import settle, stamped
from tasks.workspace import Workspace

LOOPS = table(Loop)
TICKETS = table(Ticket)
EVENTS = table(HistoryEvent)
LOOP_LINKS = table(LoopLink)

OUTCOMES = (Outcome.NOT_PROVEN, Outcome.ABANDONED)
"""How a person may close a big loop; `proven` is for evidence to say, which is not measured yet."""
PIECE = 5_000
"""So many linked loops are looked at together; a statement takes only so many parameters."""


@dataclass(frozen=True)
class Closed:
    """A big loop that was closed: customers told by mail, and those who can only be called."""

    loop: str
    told: int = 0
    to_call: int = 0


def is_candidate(ws: Workspace, wanted: str) -> bool:
    """Whether this loop waits to be taken on. Raises InputError when there is no such loop."""
    with ws.db.read() as tx:
        return bool(found(tx, wanted).state == LoopState.CANDIDATE)


def triage(
    ws: Workspace,
    wanted: str,
    lead: str | None,
    participants: Sequence[str] | None,
    priority: str | None,
    actor: Actor,
    now: datetime,
) -> str:
    """A person takes a candidate on: the lead and each participant get a ticket. Returns its id.

    None: as the rule that opened it suggests; the topic's departments where it names nobody.
    Raises InputError for unknown units, TransitionRefused when the loop is no candidate.
    """
    with ws.db.read() as tx:
        row = found(tx, wanted)
        others = suggested(tx, ws, row) if participants is None else participants
    leader = lead or row.lead
    if leader is None:
        raise InputError(f"nobody is suggested to lead {row.id}", "name the unit that leads")
    units = list(dict.fromkeys([leader, *others]))
    for unit in units:
        require_unit(ws, unit)
    route = route_of(ws, row, units, priority or row.priority or Priority.P3)
    taken = Change(row.id, EventKind.LOOP_TRIAGED, route, actor)
    settle(ws, [taken, *tickets_for(ws, row.id, units, route, now)], now)
    return str(row.id)


def found(tx: Connection, wanted: str) -> Any:
    loop = match_id(tx, LOOPS, wanted, "loop")
    return tx.execute(select(LOOPS).where(LOOPS.c.id == loop)).one()


def suggested(tx: Connection, ws: Workspace, row: Any) -> list[str]:
    """Who takes part when nobody says otherwise; a suggested lead who does not lead, too."""
    opened = select(EVENTS.c.data).where(
        EVENTS.c.loop_id == row.id, EVENTS.c.kind == EventKind.LOOP_OPENED
    )
    named = json.loads(tx.execute(opened).scalar_one()).get("participants")
    place = ws.places.get(row.topic)
    units = named.split(",") if named else place.topic.departments if place else ()
    return [row.lead, *units] if row.lead else [*units]


def route_of(ws: Workspace, row: Any, units: Sequence[str], priority: str) -> dict[str, str | None]:
    """The first unit leads; where no rule decided the clocks, the policy's own run."""
    rulebook = ws.published.documents.rulebook
    if priority not in list(Priority):
        raise InputError(f"no priority {priority!r}", f"use one of: {', '.join(Priority)}")
    return {
        "lead": units[0],
        "priority": priority,
        "clocks": row.clocks or ",".join(rulebook.clocks) or None,
        "ladder": row.ladder or rulebook.ladder,
        "participants": ",".join(units[1:]) or None,
    }


def tickets_for(
    ws: Workspace, loop: str, units: Sequence[str], route: dict[str, str | None], now: datetime
) -> list[Change]:
    names, ladder = names_of(route["clocks"]), route["ladder"]
    roles = dict.fromkeys(units, "participant") | {units[0]: "lead"}
    return [
        assign_ticket(
            loop,
            unit,
            role,
            ws.clocks.at_assignment(names, LoopKind.BIG, unit, ladder, now),
            now,
            "big_loop_assigned",
        )
        for unit, role in roles.items()
    ]


def plan(
    ws: Workspace,
    wanted: str,
    cause: str,
    why: str,
    actions: str,
    target: str,
    by: date,
    actor: Actor,
    now: datetime,
) -> str:
    """The lead says what the root is (a cause code), what is done, to what end and until when.

    `by`: a day in the organisation's zone, today at the earliest. Returns the loop's id.
    """
    words = {"why": why, "actions": actions, "target": target}
    require_cause(ws, cause)
    for name, said in words.items():
        require_words(said, f"a plan needs words for its {name}", "say it in a sentence")
    zone = ZoneInfo(ws.published.documents.organisation.zone)
    if by < now.astimezone(zone).date():
        raise InputError(f"{by} is past", "plan for a day to come")
    with ws.db.read() as tx:
        row = found(tx, wanted)
    planned = Change(
        row.id,
        EventKind.LOOP_PLANNED,
        {"cause": cause, "by": by.isoformat()},
        actor,
        body=words,
        on_behalf_of=on_behalf_of(ws, actor, row.lead),
    )
    settle(ws, [planned], now)
    return str(row.id)


def close(
    ws: Workspace,
    wanted: str,
    outcome: str,
    reason: str,
    changed: str | None,
    actor: Actor,
    now: datetime,
) -> Closed:
    """A person closes a big loop as `not proven` (once it is watched) or `abandoned`.

    `changed`: what customers are told has changed; they are told nothing without it.
    """
    check_words(outcome, reason)

    def attempt() -> Closed:
        # Whoever is linked meanwhile changes the version: then it is all read again.
        with ws.db.read() as tx:
            row = found(tx, wanted)
            check_changed(row, changed)
            units = holders(tx, row.id)
            customers = reachable(tx, ws, row.id, now) if changed else []
        one = closing(row, outcome, {"reason": reason, "changed": changed}, actor, units)
        letters = [letter(ws, row.id, loop, now) for loop, way in customers if way is Way.MAIL]
        with ws.db.begin() as tx:
            change(tx, stamped(ws, [one]), now)
            queue(tx, letters)
        to_call = sum(way is Way.CALL for _, way in customers)
        return Closed(row.id, len(letters), to_call)

    return retry_conflicts(attempt)


def check_words(outcome: str, reason: str) -> None:
    if outcome == Outcome.PROVEN:
        raise InputError(
            "nobody can close a loop as proven: that takes evidence, which is not measured yet",
            f"use one of: {', '.join(OUTCOMES)}",
        )
    if outcome not in OUTCOMES:
        raise InputError(
            f"no outcome {outcome!r}",
            f"use one of: {', '.join(OUTCOMES)}; of a small loop: {Outcome.UNFOUNDED}",
        )
    require_words(reason, "closing a big loop needs a reason", "say why it ends")


def check_changed(row: Any, changed: str | None) -> None:
    """Once the work is done customers hear of it; of a candidate there is nothing to hear."""
    if row.state == LoopState.WATCHING or changed is not None:
        require_words(changed or "", "customers must be told what changed", "say it for them")
    if row.state == LoopState.CANDIDATE and changed:
        raise InputError("nothing has changed for a candidate", "leave out what changed")


def holders(tx: Connection, loop: str) -> list[Any]:
    """The tickets of the units that lead and take part, one a unit."""
    query = select(TICKETS.c.id, TICKETS.c.unit).where(
        TICKETS.c.loop_id == loop, TICKETS.c.state != TicketState.REJECTED
    )
    tickets = tx.execute(query.order_by(TICKETS.c.assigned_at, TICKETS.c.id))
    return list({ticket.unit: ticket for ticket in tickets}.values())


def closing(
    row: Any, outcome: str, words: dict[str, str | None], actor: Actor, units: Sequence[Any]
) -> Change:
    template = "big_loop_closed"
    messages = [NewMessage(f"{template}:{row.id}:{t.unit}", template, t.unit, t.id) for t in units]
    return Change(
        row.id,
        EventKind.LOOP_CLOSED,
        {"outcome": outcome},
        actor,
        row.version,
        body={name: said for name, said in words.items() if said},
        messages=tuple(messages),
    )


def reachable(tx: Connection, ws: Workspace, big: str, now: datetime) -> list[tuple[Any, Way]]:
    """Each customer once: the oldest of their linked loops, and how to reach them."""
    loops, customers = linked_loops(tx, big), dict[str, tuple[Any, Way]]()
    for start in range(0, len(loops), PIECE):
        piece = loops[start : start + PIECE]
        way = ways(tx, ws, [loop.id for loop in piece], now)
        same = survivors(tx, {loop.customer_id for loop in piece})
        for loop in piece:
            customers.setdefault(same[loop.customer_id], (loop, way[loop.id]))
    return list(customers.values())


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


def letter(ws: Workspace, big: str, loop: Any, now: datetime) -> dict[str, Any]:
    """The outbox row that tells a customer what changed; no event, or thousands would be."""
    message = NewMessage(
        f"cause_closed:{big}:{loop.id}",
        "cause_closed",
        loop.lead or ws.published.documents.organisation.operations,
        values={"big": big},
        channel=Channel.CUSTOMER,
    )
    return message_row(message, loop.id, now)
