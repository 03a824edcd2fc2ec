"""What came of simulated days: the whole table, counted from the database."""

import json
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, func, select

from console.simulation.notices import CLOCKS, EVENTS, FEEDBACK, ISSUES, LOOPS
from models.base import table
from models.history import EventBody
from models.kinds import EventKind, LoopKind, LoopState
from models.loop import LoopIssue, LoopLink
from tasks.look import count_by, summary
from tasks.workspace import Workspace

BODIES = table(EventBody)
LINKS = table(LoopLink)
LOOP_ISSUES = table(LoopIssue)

SMALL, BIG = LOOPS.c.kind == LoopKind.SMALL, LOOPS.c.kind == LoopKind.BIG
OPEN = LOOPS.c.state != LoopState.CLOSED


def outcome(ws: Workspace) -> dict[str, Any]:
    """The summary, and what became of loops, clocks, answers and common causes."""
    units = ws.published.documents.organisation.units
    with ws.db.read() as tx:
        events = count_by(tx, EVENTS.c.kind)
        found = {
            "reminded": events.get(EventKind.CLOCK_REMINDED, 0),
            "breached": count_by(tx, CLOCKS.c.kind, CLOCKS.c.breached_at.is_not(None)),
            "climbed": climbs(tx),
            "closed": count_by(tx, LOOPS.c.outcome, SMALL, ~OPEN),
            "unverified": closed_why(tx, "unverified"),
            "reopened": events.get(EventKind.LOOP_REOPENED, 0),
            "open": count_by(tx, LOOPS.c.state, SMALL, OPEN),
            "bounced": events.get(EventKind.TICKET_REJECTED, 0),
            "transferred": events.get(EventKind.TICKET_TRANSFERRED, 0),
            "arbitrated": events.get(EventKind.LOOP_ARBITRATED, 0),
            "answered": answers(tx),
            "causes": causes(tx, ws),
        }
    titles = {unit.code: dict(unit.title) for unit in units}
    return summary(ws) | found | {"units": titles, "outbox": str(ws.settings.messages.folder)}


def data_of(tx: Connection, kind: EventKind) -> list[dict[str, Any]]:
    query = select(EVENTS.c.data).where(EVENTS.c.kind == kind)
    return [json.loads(data) for data in tx.execute(query).scalars()]


def counted(names: Counter[str]) -> dict[str, int]:
    return dict(sorted(names.items(), key=lambda pair: (-pair[1], pair[0])))


def climbs(tx: Connection) -> dict[str, int]:
    """Steps taken, by whom the step tells."""
    return counted(Counter(str(d["step"]) for d in data_of(tx, EventKind.CLOCK_CLIMBED)))


def closed_why(tx: Connection, outcome: str) -> dict[str, int]:
    closings = data_of(tx, EventKind.LOOP_CLOSED)
    return counted(Counter(str(d.get("why")) for d in closings if d["outcome"] == outcome))


def answers(tx: Connection) -> dict[str, int]:
    said = data_of(tx, EventKind.VERIFICATION_ANSWERED)
    return counted(Counter(str(d["answer"]) for d in said))


def causes(tx: Connection, ws: Workspace) -> list[dict[str, Any]]:
    """Big loops with what they found, the largest first."""
    linked = {row.big_id: row.customers for row in tx.execute(customers_linked())}
    first = {row.big_id: row.first for row in tx.execute(first_complaints())}
    ratios = past_ratios(tx)
    titles = {topic.id: dict(topic.title) for topic in ws.published.documents.taxonomy.topics}
    lines = [
        {
            "id": row.id,
            "topic": row.topic,
            "title": titles.get(row.topic, {}),
            "touchpoint": row.touchpoint,
            "customers": linked.get(row.id, 0),
            "ratio": ratios.get(row.id),
            "opened_by": row.rule,
            "opened": row.opened_at.isoformat(),
            "days_after_first": days(row.opened_at - first[row.id]) if row.id in first else None,
            "cause": row.cause,
            "state": row.state,
            "outcome": row.outcome,
        }
        for row in tx.execute(select(LOOPS).where(BIG).order_by(LOOPS.c.opened_at))
    ]
    return sorted(lines, key=lambda line: -int(line["customers"]))


def customers_linked() -> Any:
    """Big loop -> how many customers hang on it; somebody unknown counts as one more."""
    voice = func.coalesce(LOOPS.c.customer_id, LOOPS.c.id)
    small = LINKS.join(LOOPS, LOOPS.c.id == LINKS.c.small_id)
    query = select(LINKS.c.big_id, func.count(func.distinct(voice)).label("customers"))
    return query.select_from(small).group_by(LINKS.c.big_id)


def first_complaints() -> Any:
    """Big loop -> when the first complaint that hangs on it was received."""
    small = LINKS.join(LOOP_ISSUES, LOOP_ISSUES.c.loop_id == LINKS.c.small_id)
    said = small.join(ISSUES, ISSUES.c.id == LOOP_ISSUES.c.issue_id).join(
        FEEDBACK, FEEDBACK.c.id == ISSUES.c.feedback_id
    )
    query = select(LINKS.c.big_id, func.min(FEEDBACK.c.received_at).label("first")).select_from(
        said
    )
    return query.group_by(LINKS.c.big_id)


def days(span: timedelta) -> float:
    return round(span / timedelta(days=1), 1)


def past_ratios(tx: Connection) -> dict[str, Any]:
    """Big loop opened by recurrence -> how many times its usual rate it had."""
    query = (
        select(EVENTS.c.loop_id, BODIES.c.body)
        .join(BODIES, BODIES.c.event_id == EVENTS.c.event_id)
        .join(LOOPS, LOOPS.c.id == EVENTS.c.loop_id)
        .where(EVENTS.c.kind == EventKind.LOOP_OPENED, BIG, LOOPS.c.rule == "recurrence")
    )
    bodies: Mapping[str, Any] = {row.loop_id: json.loads(row.body) for row in tx.execute(query)}
    return {loop: ratio_in(body) for loop, body in bodies.items()}


def ratio_in(body: Mapping[str, Any]) -> float | None:
    ratio = body["recurrence"]["ratio"]
    return None if ratio is None else round(float(ratio), 1)
