"""What becomes of a common cause: a candidate is taken on, planned, and closed with reasons.

In between, its tickets are answered as any other, and its effect is measured
(`tasks/causes/measure_effects.py`). Who had complained is told once what changed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from loopwright.db import retry_conflicts
from loopwright.errors import InputError
from loopwright.history.envelope import Actor
from models.base import table
from models.history import HistoryEvent
from models.kinds import EventKind, LoopKind, LoopState, Outcome, Priority
from models.loop import Loop
from tasks.causes.tell_changed import (
    Telling,
    already_told,
    holders,
    linked_loops,
    tell_customers,
    to_units,
    written_change,
)
from tasks.change import Change, change, queue
from tasks.clocks.starting import names_of
from tasks.find import match_id, require_unit, require_words
from tasks.routing.open_loops import assign_ticket
from tasks.settle import settle, stamped
from tasks.tickets.hand_off import on_behalf_of
from tasks.workspace import Workspace

LOOPS = table(Loop)
EVENTS = table(HistoryEvent)

OUTCOMES = (Outcome.PROVEN, Outcome.NOT_PROVEN, Outcome.ABANDONED)
"""How a big loop may end; `proven` only where the last measurement says so."""
WORKED_ON = (LoopState.TRIAGED, LoopState.PLANNED, LoopState.ACTING)
"""States of big loops that somebody works on; what is watched costs nobody anything."""


@dataclass(frozen=True)
class Closed:
    """A big loop whose people were told: `told` customers by mail, `to_call` by a call that their
    unit is asked for, `later` of both once the contact rules allow it."""

    loop: str
    told: int = 0
    later: int = 0
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
    *,
    over_limit: bool = False,
) -> str:
    """A person takes a candidate on: the lead and each participant get a ticket. Returns its id.

    None: as the rule that opened it suggests; the topic's departments where it names nobody.
    Raises InputError for unknown units, and when the policy's number of big loops is being worked
    on, unless `over_limit`; TransitionRefused when the loop is no candidate.
    """
    with ws.db.read() as tx:
        row = found(tx, wanted)
        if not over_limit:
            require_room(tx, ws)
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


def require_room(tx: Connection, ws: Workspace) -> None:
    """Raises InputError when the policy's number of big loops is being worked on."""
    most = ws.published.documents.rulebook.big_loops_at_once
    query = select(func.count()).where(LOOPS.c.kind == LoopKind.BIG, LOOPS.c.state.in_(WORKED_ON))
    if (running := tx.execute(query).scalar_one()) >= most:
        raise InputError(
            f"{running} big loops are being worked on, the policy allows {most}",
            "finish or abandon one first, or take this one on all the same with --over-limit",
        )


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

    `changed`: what customers are told has changed; None: what the plan or somebody since then said,
    but of what is abandoned only what is said now. They are told nothing without it.
    Raises TransitionRefused for `proven` without a measurement that says so.
    """
    require_outcome(outcome, reason)

    def attempt() -> Closed:
        # Whoever is linked meanwhile changes the version: then it is all read again.
        with ws.db.read() as tx:
            row = found(tx, wanted)
            words = changed
            if words is None and outcome != Outcome.ABANDONED:
                words = written_change(tx, row.id)
            check_changed(row, words)
            units = holders(tx, row.id)
            telling = tell_customers(tx, ws, row.id, now) if words else Telling()
        one = closing(row, outcome, {"reason": reason, "changed": words}, actor, units)
        with ws.db.begin() as tx:
            change(tx, stamped(ws, [one]), now)
            queue(tx, telling.messages)
        return closed(row.id, telling)

    return retry_conflicts(attempt)


def closed(loop: str, telling: Telling) -> Closed:
    return Closed(loop, len(telling.letters), telling.later, len(telling.to_call))


def require_outcome(outcome: str, reason: str) -> None:
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


def closing(
    row: Any, outcome: str, words: dict[str, str | None], actor: Actor, units: Sequence[Any]
) -> Change:
    return Change(
        row.id,
        EventKind.LOOP_CLOSED,
        {"outcome": outcome},
        actor,
        row.version,
        body={name: said for name, said in words.items() if said},
        messages=tuple(to_units(row, "big_loop_closed", units)),
    )


def describe(ws: Workspace, wanted: str, changed: str, actor: Actor, now: datetime) -> Closed:
    """A person writes what customers of a big loop are told has changed.

    They are told when it closes; where it is closed already and nobody was told, now.
    Raises InputError where customers have been told, TransitionRefused for a loop that is not big.
    """
    require_words(changed, "customers must be told what changed", "say it for them")

    def attempt() -> Closed:
        with ws.db.read() as tx:
            row, telling = found(tx, wanted), Telling()
            if row.state == LoopState.CLOSED:
                require_untold(tx, row.id)
                telling = tell_customers(tx, ws, row.id, now)
        one = Change(
            row.id,
            EventKind.LOOP_CHANGE_DESCRIBED,
            {},
            actor,
            row.version,
            body={"changed": changed},
            on_behalf_of=on_behalf_of(ws, actor, row.lead),
        )
        with ws.db.begin() as tx:
            change(tx, stamped(ws, [one]), now)
            queue(tx, telling.messages)
        return closed(row.id, telling)

    return retry_conflicts(attempt)


def require_untold(tx: Connection, loop: str) -> None:
    if already_told(tx, loop, linked_loops(tx, loop)):
        raise InputError(
            f"the customers of {loop} have been told what changed", "each is told only once"
        )
