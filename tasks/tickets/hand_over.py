"""Everything that a person holds goes to others when they leave; and who holds how much.

What waited for their approval is found by whoever stands in for them or above them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, select

from loopwright.db import retry_conflicts
from loopwright.errors import InputError, TransitionRefused
from loopwright.history.envelope import Actor, Event
from loopwright.ids import uuid7
from models.base import table
from models.kinds import EventKind
from models.loop import Loop
from models.ticket import Ticket
from policy.capacity import room
from tasks.change import Change, change
from tasks.find import require_unit
from tasks.people import require_person
from tasks.settle import stamped
from tasks.tickets.handlers import (
    Case,
    Roster,
    cases,
    giving,
    held_by,
    held_tickets,
    passing_on,
    roster,
)
from tasks.workspace import Workspace

LOOPS = table(Loop)
TICKETS = table(Ticket)

PIECE = 200
"""Tickets of one transaction."""


@dataclass(frozen=True)
class HandedOver:
    """Tickets that went to each person; `left`: to nobody but their unit, for want of people."""

    tickets: dict[str, list[str]]
    left: tuple[str, ...] = ()


def hand_over(
    ws: Workspace, person: str, to: str | None, actor: Actor, now: datetime
) -> HandedOver:
    """Every open ticket that a person holds goes to `to`, or to whoever of its unit has the most
    room.

    A ticket that `to` may not handle goes to another. Raises InputError for unknown people and
    tickets of a unit that `to` is neither of nor above, TransitionRefused where `to` has no room.
    """
    require_person(ws, person)
    if to == person:
        raise InputError(f"{person} would hand over to themselves", "name another person")
    if to is not None:
        require_person(ws, to)
    changes = [c for piece in pieces(ws, person, to, actor, now) for c in piece]
    got: dict[str, list[str]] = {}
    for one in changes:
        got.setdefault(str(one.data["person"] or ""), []).append(str(one.data["ticket"]))
    left = tuple(got.pop("", ()))
    return HandedOver(got, left)


def pieces(
    ws: Workspace, person: str, to: str | None, actor: Actor, now: datetime
) -> Iterator[list[Change]]:
    """One transaction after another: what the person holds now, a piece at a time."""
    with ws.db.read() as tx:
        held = select(TICKETS.c.id).where(held_by(person)).order_by(TICKETS.c.id)
        tickets = tx.execute(held).scalars().all()
    for n in range(0, len(tickets), PIECE):
        one = partial(hand_some, ws, tickets[n : n + PIECE], person, to, actor, now)
        yield retry_conflicts(one)


def hand_some(
    ws: Workspace,
    tickets: Sequence[str],
    person: str,
    to: str | None,
    actor: Actor,
    now: datetime,
) -> list[Change]:
    with ws.db.begin() as tx:
        rows = still_held(tx, tickets, person)
        there, speaks = roster(tx, ws, now), cases(tx, [row.loop_id for row in rows])
        changes = handing(there, rows, speaks, person, to, actor)
        if changes:
            data = {"person": person, "to": to, "tickets": len(changes)}
            event = Event(uuid7(), EventKind.PERSON_HANDED_OVER, now, actor, data, run=ws.run)
            change(tx, stamped(ws, changes), now, [event])
    return changes


def still_held(tx: Connection, tickets: Sequence[str], person: str) -> Sequence[Any]:
    """Those of the tickets that the person holds, their loops locked."""
    loops = select(TICKETS.c.loop_id).where(TICKETS.c.id.in_(tickets))
    tx.execute(
        select(LOOPS.c.id).where(LOOPS.c.id.in_(loops)).order_by(LOOPS.c.id).with_for_update()
    )
    return held_tickets(tx, held_by(person) & TICKETS.c.id.in_(tickets))


def handing(
    there: Roster,
    rows: Sequence[Any],
    speaks: dict[str, Case],
    person: str,
    to: str | None,
    actor: Actor,
) -> list[Change]:
    if to is None:
        return passing_on(there, rows, speaks, actor)
    heir = there.organisation.person_by_id[to]
    if strange := sorted({row.unit for row in rows if not there.may_hold(heir, row.unit)}):
        raise InputError(
            f"{to} 不是 {', '.join(strange)} 的人员或上级 / is not of {', '.join(strange)}"
            f" nor above it, and {person} holds tickets there",
            "leave out --to: each unit's own people take them",
        )
    fit = [row for row in rows if there.is_clear(heir, speaks[row.loop_id])]
    if room(heir, there.held) < len(fit):
        raise TransitionRefused(
            f"{to} 只能再接 {max(0, int(room(heir, there.held)))} 件 / has room for"
            f" {max(0, int(room(heir, there.held)))} of {len(fit)} tickets",
            "leave out --to: they are spread by free capacity",
        )
    others = [row for row in rows if row not in fit]
    there.held[to] += len(fit)
    return [*(giving(row, to, actor) for row in fit), *passing_on(there, others, speaks, actor)]


def list_people(ws: Workspace, unit: str | None, now: datetime) -> list[dict[str, Any]]:
    """People with the open tickets they hold, their capacity, and the leave they are on today.

    Raises InputError for an unknown unit.
    """
    if unit is not None:
        require_unit(ws, unit)
    with ws.db.read() as tx:
        there = roster(tx, ws, now)
    return [
        {
            "person": person.id,
            "name": person.name,
            "unit": person.unit,
            "roles": list(person.roles),
            "tickets": there.held[person.id],
            "capacity": person.capacity,
            "away_until": leave.last if leave else None,
            "deputy": leave.deputy if leave else None,
        }
        for person in there.organisation.people
        if unit in (None, person.unit)
        for leave in [person.leave_on(there.day.isoformat())]
    ]
