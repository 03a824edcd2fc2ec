"""What does the history cost? The same change through the door, with and without it, in one run.

Singly: one transition with its message row a transaction, each committed to disk; the two take
turns, so that they meet the same machine. In bulk: about a thousand events a transaction with their
loops, tickets and messages.
"""

import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from typing import Any
from unittest.mock import patch

from sqlalchemy import Connection

from loopwright.db import bulk_insert, is_durable
from loopwright.history.verify import verify
from loopwright.ids import uuid7s
from models.base import table
from models.feedback import Batch, Feedback, Intake, RawItem
from models.issue import Issue
from models.kinds import EventKind
from tasks.change import Change, NewMessage, change
from tasks.routing.open_loops import assign_ticket
from tasks.workspace import Workspace

LOOPS_A_SET = 500
"""Each opens with two events: opened and assigned."""
TURN = 25
"""Transactions before it is the other's turn."""


def measure_appends(ws: Workspace, sets: int, singles: int, now: datetime) -> dict[str, Any]:
    """Rates of `sets` bulk transactions, then of `singles` single ones with and without history."""
    loops = [f"bench-{n:06}" for n in range(sets * LOOPS_A_SET)]
    with ws.db.begin() as tx:
        assert is_durable(tx)
        issues = write_issues(tx, len(loops), now)
    pairs = list(zip(loops, issues, strict=True))
    started = time.perf_counter()
    tickets = [t for n in range(sets) for t in open_set(ws, pairs[n * LOOPS_A_SET :], now)]
    bulk = time.perf_counter() - started
    with ws.db.read() as tx:
        assert verify(tx).ok
    with_it, without = singly(ws, list(zip(loops, tickets, strict=True)), singles, now)
    return {
        "bulk_events_per_second": 2 * len(loops) / bulk,
        "single_with_history_per_second": singles / with_it,
        "single_without_history_per_second": singles / without,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def open_set(ws: Workspace, pairs: Sequence[tuple[str, str]], now: datetime) -> list[str]:
    """One transaction of a thousand events; the tickets."""
    changes = [
        made
        for loop, issue in pairs[:LOOPS_A_SET]
        for made in (opening(loop, issue, now), assign_ticket(loop, "DB", "lead", {}, now))
    ]
    with ws.db.begin() as tx:
        change(tx, changes, now)
    return [str(one.data["ticket"]) for one in changes[1::2]]


def opening(loop: str, issue: str, now: datetime) -> Change:
    data = {
        "kind": "small",
        "state": "open",
        "topic": "login",
        "touchpoint": "app-login",
        "customer": None,
        "received_at": now.isoformat(),
        "issue": issue,
        "lead": "DB",
        "priority": "P3",
    }
    body = {"features": {"channel": "app"}, "clauses": ["topic == 'login'"], "evidence": []}
    return Change(loop, EventKind.LOOP_OPENED, data, body=body, policy="1", rule="bench", run="b")


def singly(
    ws: Workspace, held: Sequence[tuple[str, str]], singles: int, now: datetime
) -> tuple[float, float]:
    """Seconds of as many transactions with history and without, on loops of their own."""
    half = len(held) // 2
    seconds = [0.0, 0.0]
    for turn in range(0, singles, TURN):
        for which, mine in enumerate((held[:half], held[half:])):
            some = [mine[n % half] for n in range(turn, turn + TURN)]
            with no_history() if which else nullcontext():
                seconds[which] += hand_on(ws, some, f"{which}:{turn}", now)
    return seconds[0], seconds[1]


def hand_on(ws: Workspace, held: Sequence[tuple[str, str]], name: str, now: datetime) -> float:
    """Each ticket goes to another unit, which is told, in a transaction of its own."""
    started = time.perf_counter()
    for loop, ticket in held:
        message = NewMessage(f"bench:{name}:{ticket}", "ticket_reassigned", "CC", ticket)
        data = {"ticket": ticket, "unit": "CC"}
        body = {"reason": "归信用卡部"}
        one = Change(
            loop, EventKind.TICKET_TRANSFERRED, data, policy="1", body=body, messages=(message,)
        )
        with ws.db.begin() as tx:
            change(tx, [one], now)
    return time.perf_counter() - started


@contextmanager
def no_history() -> Iterator[None]:
    """The door without the tree: nothing is sealed, nothing appended."""
    with (
        patch("tasks.change.seal", lambda event: event),
        patch("tasks.change.append", lambda _tx, _sealed: 0),
    ):
        yield


def write_issues(tx: Connection, number: int, now: datetime) -> list[str]:
    """What loops hang on, written in bulk and outside the measurement."""
    ids, (intake, batch) = uuid7s(number), uuid7s(2)
    bulk_insert(tx, table(Intake), [intake_row(intake, now)])
    sizes = {"size": number, "position": number, "attempts": 0, "created_at": now, "done_at": now}
    bulk_insert(tx, table(Batch), [{"id": batch, "source": "bench"} | sizes])
    numbered = list(enumerate(ids))
    bulk_insert(tx, table(RawItem), [raw_row(i, n, intake) for n, i in numbered])
    bulk_insert(tx, table(Feedback), [feedback_row(i, n, batch, now) for n, i in numbered])
    bulk_insert(tx, table(Issue), [issue_row(i) for i in ids])
    return ids


def intake_row(intake: str, now: datetime) -> dict[str, Any]:
    counts = dict.fromkeys(("parsed", "read", "stored", "duplicates", "quarantined"), 0)
    return {"id": intake, "source": "bench", "name": "bench", "started_at": now} | counts


def raw_row(item: str, number: int, intake: str) -> dict[str, Any]:
    place = {"intake_id": intake, "source": "bench", "key": item, "version": 1, "number": number}
    return {"id": item, "payload": "{}", "digest": item.encode()} | place


def feedback_row(item: str, number: int, batch: str, now: datetime) -> dict[str, Any]:
    times = {"received_at": now, "arrived_at": now, "days_late": 0}
    place = {"batch_id": batch, "ordinal": number, "source": "bench", "version": 1}
    return {"id": item, "text": "登录不了", "channel": "app"} | place | times


def issue_row(item: str) -> dict[str, Any]:
    numbers = {"sentiment": 0.0, "emotion": 0, "severity": 0, "confidence": 1.0, "ordinal": 0}
    words = {"state": "looped", "kind": "complaint", "topic": "login", "policy": "1"}
    return {"id": item, "feedback_id": item} | numbers | words
