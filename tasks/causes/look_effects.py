"""What a big loop was planned to do, what was measured of it, and when it is looked at next.

Read only. What people wrote is masked here, since every caller shows it to somebody.
"""

import json
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, select

from loopwright.mask import mask
from models.base import table
from models.history import EventBody, HistoryEvent
from models.kinds import EventKind, LoopKind, LoopState
from models.loop import Loop
from tasks.causes.measure_effects import looks_of, planned_baseline, taken_looks, watched_days
from tasks.causes.tell_changed import written_change
from tasks.find import match_id
from tasks.workspace import Workspace

LOOPS = table(Loop)
EVENTS = table(HistoryEvent)
BODIES = table(EventBody)

Body = dict[str, Any]


def show_effects(ws: Workspace, wanted: str) -> dict[str, Any]:
    """A big loop's baseline and target, each look at its fix with the interval per mille and in
    words, and the looks to come. Raises InputError for a loop that is not there."""
    with ws.db.read() as tx:
        row = tx.execute(
            select(LOOPS).where(LOOPS.c.id == match_id(tx, LOOPS, wanted, "loop"))
        ).one()
        return {
            "loop": row.id,
            "state": row.state,
            "outcome": row.outcome,
            "plan": plan_of(tx, ws, row),
            "watch": watch_of(tx, ws, row),
            "items": effects_of(tx, row.id),
        }


def plan_of(tx: Connection, ws: Workspace, row: Any) -> dict[str, Any] | None:
    """The plan as it stands; None before there is one."""
    plans = happened(tx, row.id, EventKind.LOOP_PLANNED)
    if not plans:
        return None
    _, data, body = plans[-1]
    first, last = planned_baseline(ws, row)
    return {
        "cause": data["cause"],
        "by": data["by"],
        "sponsor": row.sponsor,
        "target_percent": row.target_percent,
        "baseline_from": first.isoformat(),
        "baseline_to": last.isoformat(),
        "comparison": row.comparison,
        "whys": masked(body.get("whys") or body.get("why")),
        "actions": masked(body.get("actions")),
        "target": mask(body.get("target") or ""),
        "changed": mask(written_change(tx, row.id) or ""),
    }


def masked(said: Any) -> list[str]:
    """Sentences; of a plan made when there was one of each, that one."""
    return [mask(words) for words in ([said] if isinstance(said, str) else said or [])]


def watch_of(tx: Connection, ws: Workspace, row: Any) -> list[dict[str, Any]]:
    """The looks at a big loop that is watched: from which day on each can be taken."""
    if row.kind != LoopKind.BIG or row.state != LoopState.WATCHING:
        return []
    taken = taken_looks(tx, row)
    ends = {horizon: watched_days(ws, row, horizon)[1] for horizon in looks_of(ws)}
    return [
        {
            "horizon": horizon,
            "on": (end + timedelta(1)).isoformat(),
            "taken": horizon in taken,
        }
        for horizon, end in ends.items()
    ]


def effects_of(tx: Connection, loop: str) -> list[dict[str, Any]]:
    """Each look: its numbers as the event has them, and what they say in both languages."""
    return [
        {**data, "at": at, "reason": body.get("reason") or {}}
        for at, data, body in happened(tx, loop, EventKind.EFFECT_MEASURED)
    ]


def happened(tx: Connection, loop: str, kind: EventKind) -> list[tuple[str, Body, Body]]:
    """When, data and body of the loop's events of a kind, in order."""
    query = (
        select(EVENTS.c.at, EVENTS.c.data, BODIES.c.body)
        .outerjoin(BODIES, BODIES.c.event_id == EVENTS.c.event_id)
        .where(EVENTS.c.loop_id == loop, EVENTS.c.kind == kind)
        .order_by(EVENTS.c.loop_seq)
    )
    return [
        (row.at.isoformat(), json.loads(row.data), json.loads(row.body or "{}"))
        for row in tx.execute(query)
    ]
