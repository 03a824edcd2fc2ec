"""How long do the findings take over a hundred thousand loops?"""

import json
import time
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import func, select, text

from insight.findings.look import look
from loopwright.db import bulk_insert
from models.base import table
from models.history import EventBody, HistoryEvent
from tasks.workspace import Workspace
from tests.cast import DAY, NOON
from tests.integration.test_measures_scale import fill

LOOPS = 100_000
SECONDS = 60.0
PEOPLE = 200
TRANSFERRED = 20
"""Every so many-th ticket changes hands."""


@pytest.mark.prove
@pytest.mark.breaks_history
def test_a_hundred_thousand_loops(ws: Workspace) -> None:
    fill(ws)
    happen(ws)
    start = time.monotonic()
    with ws.db.read() as tx:
        found = look(tx, NOON - DAY)
    taken = time.monotonic() - start
    print(f"{ws.db.url.get_backend_name()}: {taken:.2f} s, {len(found)} findings")  # noqa: T201
    assert found == []
    assert taken < SECONDS


def happen(ws: Workspace) -> None:
    """Seven events a loop and a body, written past the door, in order of time."""
    told = sorted((event for n in range(LOOPS) for event in story(n)), key=lambda e: e["at"])
    with ws.db.begin() as tx:
        kept = table(HistoryEvent)
        first = tx.execute(select(func.max(kept.c.seq))).scalar_one() + 1
        rows = [{"seq": first + n} | event for n, event in enumerate(told)]
        bulk_insert(tx, kept, rows)
        done = [e["event_id"] for e in told if e["kind"] == "ticket.resolved"]
        bodies = [{"event_id": e, "salt": b"x", "body": json.dumps({"done": e})} for e in done]
        bulk_insert(tx, table(EventBody), bodies)
    with ws.db.begin() as tx:
        tx.execute(text("ANALYZE"))


def story(n: int) -> list[dict[str, Any]]:
    loop, at = f"L{n:06}", NOON + DAY * (n % 85) + DAY * (n % 997) / 997
    ticket = {"ticket": f"T{loop}"}
    due = (at + 3 * DAY).isoformat()
    opened = {
        "kind": "small",
        "state": "open",
        "topic": "login",
        "touchpoint": "app-login",
        "received_at": at.isoformat(),
        "issue": f"I{n}",
    }
    clock = {"clock:owner": f"owner resolved {due} -"}
    steps = [
        ("loop.opened", 0.0, opened),
        ("ticket.assigned", 0.0, ticket | {"unit": "DB", "role": "lead"} | clock),
        ("ticket.accepted", 0.1, ticket),
        ("ticket.resolved", 1.5, ticket | {"cause": "C01"}),
        ("loop.resolved", 1.5, {}),
        ("verification.asked", 1.6, {"verification": f"V{loop}", "via": "mail", "due_at": due}),
        ("loop.closed", 1.7, {"outcome": "unverified", "why": "silent"}),
    ]
    if n % TRANSFERRED == 0:
        steps.insert(3, ("ticket.transferred", 0.2, ticket | {"unit": "CC"} | clock))
    who = f"p{n % PEOPLE}"
    return [
        event(loop, seq, kind, at + days * DAY, data, who)
        for seq, (kind, days, data) in enumerate(steps)
    ]


def event(
    loop: str, seq: int, kind: str, at: datetime, data: dict[str, Any], who: str
) -> dict[str, Any]:
    by_person = kind.startswith("ticket") and kind != "ticket.assigned"
    return {
        "event_id": f"{loop}-{seq}",
        "loop_id": loop,
        "loop_seq": seq,
        "kind": kind,
        "at": at,
        "actor_type": "person" if by_person else "system",
        "actor_id": who if by_person else "system",
        "actor_via": "cli",
        "hash_alg": "sha256",
        "data": json.dumps(data, separators=(",", ":")),
        "envelope": "{}",
        "leaf": b"x",
    }
