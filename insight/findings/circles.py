"""Which tickets go round in circles: does a unit hand on what it handed on before?"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from insight.findings.evidence import EVENTS, Finding, Since, happened, pages
from models.kinds import EventKind

LEAVING = (EventKind.TICKET_REJECTED, EventKind.TICKET_TRANSFERRED)
ROUND = 3
"""Hand-ons without which nothing can have come round."""


def rejected_in_circles(tx: Connection, since: Since) -> Iterator[Finding]:
    """One finding for each set of units that pass tickets round, with the loops they do it on."""
    found: dict[tuple[str, ...], dict[str, set[str]]] = {}
    touched = {event.loop_id for event in happened(tx, since, LEAVING)}
    for page in pages(touched):
        for loop, events in moves(tx, page).items():
            left, people = leavings(events)
            if units := circle(left):
                found.setdefault(units, {})[loop] = people
    for units, loops in sorted(found.items()):
        who, n = " → ".join(units), len(loops)
        yield Finding(
            "rejections_in_a_circle",
            who,
            {"loops": n},
            tuple(sorted(loops)),
            tuple(sorted({person for people in loops.values() for person in people})),
            {
                "zh": f"{who} 之间循环退转，涉及 {n} 个循环",
                "en": f"{who} pass tickets round in a circle, on {n} loops",
            },
        )


def moves(tx: Connection, loops: Sequence[str]) -> dict[str, list[Any]]:
    """Loop -> its ticket events in order, for loops with enough hand-ons to come round."""
    often = (
        select(EVENTS.c.loop_id)
        .where(EVENTS.c.loop_id.in_(loops), EVENTS.c.kind.in_([k.value for k in LEAVING]))
        .group_by(EVENTS.c.loop_id)
        .having(func.count() >= ROUND)
    )
    kinds = [k.value for k in (EventKind.TICKET_ASSIGNED, *LEAVING)]
    query = (
        select(EVENTS.c.loop_id, EVENTS.c.kind, EVENTS.c.data, EVENTS.c.actor_id)
        .where(EVENTS.c.loop_id.in_(often), EVENTS.c.kind.in_(kinds))
        .order_by(EVENTS.c.loop_id, EVENTS.c.loop_seq)
    )
    found: dict[str, list[Any]] = {}
    for row in tx.execute(query):
        found.setdefault(row.loop_id, []).append(row)
    return found


def leavings(events: Sequence[Any]) -> tuple[list[str], set[str]]:
    """The units that handed a ticket on, in order, and who did it for them."""
    held: dict[str, str] = {}
    units: list[str] = []
    people: set[str] = set()
    for row in events:
        data = json.loads(row.data)
        if row.kind != EventKind.TICKET_ASSIGNED:
            units.append(held.get(data["ticket"], "?"))
            people.add(row.actor_id)
        if row.kind != EventKind.TICKET_REJECTED:
            held[data["ticket"]] = data["unit"]
    return units, people


def circle(units: Sequence[str]) -> tuple[str, ...]:
    """The units of the first round that closes; empty when none does."""
    for end, unit in enumerate(units):
        for start in range(end):
            between = set(units[start:end]) - {unit}
            if units[start] == unit and between:
                return (unit, *sorted(between))
    return ()
