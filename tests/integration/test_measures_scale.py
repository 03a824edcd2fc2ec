"""How long do all measures take over a hundred thousand loops?"""

import time
from datetime import date
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from insight.measures import Period, figures
from loopwright.db import bulk_insert
from models.base import table
from models.clock import Clock
from models.loop import Loop, LoopIssue
from models.ticket import Ticket
from models.verification import Verification
from tasks.workspace import Workspace
from tests.cast import DAY, NOON, sample_issues
from tests.integration.test_measures import MEASURES, ZONE

LOOPS = 100_000
SECONDS = 30.0
QUARTER = Period(date(2026, 8, 3), date(2026, 10, 31), ZONE)
UNITS = ("DB", "CC", "RK", "CX")


@pytest.mark.prove
@pytest.mark.breaks_history
def test_a_hundred_thousand_loops(ws: Workspace) -> None:
    fill(ws)
    for by in (None, "unit", "month", "source"):
        start = time.monotonic()
        with ws.db.read() as tx:
            found = figures(tx, list(MEASURES.values()), QUARTER, NOON + 120 * DAY, by, ("due",))
        taken = time.monotonic() - start
        print(f"{ws.db.url.get_backend_name()} by {by}: {taken:.2f} s, {len(found)} figures")  # noqa: T201
        assert taken < SECONDS
    assert next(f for f in found if f.measure == "closing-rate").n == LOOPS


def fill(ws: Workspace) -> None:
    """Loops with three clocks, a ticket and mostly a question each, written past the door."""
    chance = np.random.default_rng(7)
    late, silent = chance.random(LOOPS) < 0.1, chance.random(LOOPS) < 0.3
    issues = sample_issues(ws.db, LOOPS)
    made: dict[Any, list[dict[str, Any]]] = {m: [] for m in (Loop, LoopIssue, Ticket, Clock)}
    questions = []
    for n in range(LOOPS):
        loop, unit = f"L{n:06}", UNITS[n % len(UNITS)]
        at = NOON + DAY * (n % 85)
        done = at + DAY * (4 if late[n] else 2)
        made[Loop].append(loop_row(loop, unit, at, done, silent=bool(silent[n])))
        made[LoopIssue].append({"loop_id": loop, "issue_id": issues[n], "relation": "origin"})
        made[Ticket].append(ticket_row(loop, unit, at, done))
        made[Clock] += [
            clock_row(loop, kind, stops, at, at + DAY * days, done)
            for kind, stops, days in (
                ("legal", "told", 15),
                ("customer", "first_answer", 1),
                ("owner", "resolved", 3),
            )
        ]
        questions.append(question_row(loop, done, silent=bool(silent[n])))
    with ws.db.begin() as tx:
        for model, rows in (*made.items(), (Verification, questions)):
            bulk_insert(tx, table(model), rows)
    with ws.db.begin() as tx:
        tx.execute(text("ANALYZE"))


def loop_row(loop: str, unit: str, at: Any, done: Any, *, silent: bool) -> dict[str, Any]:
    return {
        "id": loop,
        "version": 5,
        "kind": "small",
        "state": "closed",
        "topic": "login",
        "touchpoint": "app-login",
        "lead": unit,
        "policy": "1",
        "received_at": at,
        "opened_at": at,
        "closed_at": done + DAY,
        "outcome": "unverified" if silent else "verified",
        "bounces": 0,
        "arbitration": False,
    }


def ticket_row(loop: str, unit: str, at: Any, done: Any) -> dict[str, Any]:
    return {
        "id": f"T{loop}",
        "loop_id": loop,
        "unit": unit,
        "role": "lead",
        "state": "done",
        "assigned_at": at,
        "resolved_at": done,
        "cause": "C01",
    }


def clock_row(loop: str, kind: str, stops: str, at: Any, due: Any, done: Any) -> dict[str, Any]:
    return {
        "id": f"{loop}.{kind}",
        "loop_id": loop,
        "ticket_id": f"T{loop}" if kind == "owner" else None,
        "spec": kind,
        "kind": kind,
        "stops": stops,
        "started_at": at,
        "due_at": due,
        "provisional": False,
        "breached_at": due if done > due else None,
        "stopped_at": done,
    }


def question_row(loop: str, at: Any, *, silent: bool) -> dict[str, Any]:
    return {
        "id": f"V{loop}",
        "loop_id": loop,
        "via": "mail",
        "asked_at": at,
        "answer": None if silent else "yes",
        "answered_at": None if silent else at + DAY,
        "contacts": 1,
        "doubt": False,
    }
