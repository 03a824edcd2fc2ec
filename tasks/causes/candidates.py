"""A candidate for a big loop: who is suggested to lead, how urgent it is, who is to decide."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select

from models.base import table
from models.kinds import EventKind, Level, LoopKind, LoopState, Priority
from models.loop import Loop
from tasks.change import Change, NewMessage
from tasks.workspace import Workspace

LOOPS = table(Loop)
OPEN_BIG = (LOOPS.c.kind == LoopKind.BIG) & (LOOPS.c.state != LoopState.CLOSED)


def open_big(tx: Connection, topic: str, touchpoint: str) -> str | None:
    """The open big loop of a cause; there is at most one."""
    mine = (LOOPS.c.topic == topic) & (LOOPS.c.touchpoint == touchpoint)
    found: str | None = tx.execute(select(LOOPS.c.id).where(OPEN_BIG, mine)).scalar()
    return found


def candidate(
    ws: Workspace,
    big: str,
    cause: tuple[str, str],
    received_at: datetime,
    issue: str,
    rule: str,
    body: Mapping[str, Any],
    *,
    lead: str | None = None,
) -> Change:
    """Opens `big` as a candidate of a cause (topic, touchpoint) by its first issue, and tells
    operations. The topic's owner is suggested to lead, `lead` where the topic has none."""
    documents, place = ws.published.documents, ws.places.get(cause[0])
    rulebook = documents.rulebook
    leader = place.topic.owner if place else lead
    others = [unit for unit in (place.departments if place else ()) if unit != leader]
    data = {
        "kind": LoopKind.BIG,
        "state": LoopState.CANDIDATE,
        "topic": cause[0],
        "touchpoint": cause[1],
        "received_at": received_at.astimezone(UTC).isoformat(),
        "issue": issue,
        "priority": Priority.P2,
        "level": Level.SEVERAL,
        "lead": leader,
        "clocks": ",".join(rulebook.clocks) or None,
        "ladder": rulebook.ladder,
        "participants": ",".join(others) or None,
    }
    operations = documents.organisation.operations
    message = NewMessage(f"big_loop_candidate:{big}", "big_loop_candidate", operations)
    return Change(big, EventKind.LOOP_OPENED, data, body=body, rule=rule, messages=(message,))
