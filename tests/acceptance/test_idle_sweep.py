"""What does a sweep cost when a million messages, clocks or questions exist and none is due?"""

import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Select, text

from loopwright.db import Database
from loopwright.migrate import upgrade
from loopwright.settings import Settings
from tasks.clocks import watch_clocks
from tasks.messages import outbox
from tasks.messages.deliver import LEASED_MESSAGES
from tasks.sweeps import SWEEPS
from tasks.verification import verify
from tasks.workspace import Workspace

pytestmark = pytest.mark.acceptance

NOW = datetime(2026, 11, 21, 4, tzinfo=UTC)
SERIES = {
    "sqlite": "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < :rows)"
    " SELECT n FROM s",
    "postgresql": "SELECT generate_series(1, :rows) AS n",
}
LOOP = """
INSERT INTO loop (id, version, kind, state, topic, touchpoint, policy, received_at, opened_at,
                  bounces, arbitration)
VALUES ('L', 0, 'small', 'open', 'login', 'app-login', '1', {past}, {past}, 0, {no})
"""
# Nine of ten messages are sent long ago; the rest wait for tomorrow.
MESSAGES = """
INSERT INTO message (id, key, template, unit, channel, state, attempts, spent, due_at, created_at)
SELECT 'M-' || n, 'key-' || n, 'ticket_assigned', 'OP', 'main',
       CASE WHEN n % 10 = 0 THEN 'queued' ELSE 'sent' END, 0, 0,
       CASE WHEN n % 10 = 0 THEN {tomorrow} ELSE {past} END, {past}
FROM ({series}) AS numbers
"""
# All run, and none is due before tomorrow.
CLOCKS = """
INSERT INTO clock (id, loop_id, spec, kind, stops, started_at, due_at, provisional, next_at)
SELECT 'L.' || n || '.owner', 'L', 'owner', 'owner', 'resolved', {past}, {tomorrow}, {no},
       {tomorrow}
FROM ({series}) AS numbers
"""
# All customers have time left until tomorrow.
VERIFICATIONS = """
INSERT INTO verification (id, loop_id, via, asked_at, due_at)
SELECT 'V-' || n, 'L', 'call', {past}, {tomorrow}
FROM ({series}) AS numbers
"""


# All are resolved, and their customers were asked about another loop lately.
POSTPONED = """
INSERT INTO loop (id, version, kind, state, topic, touchpoint, policy, received_at, opened_at,
                  bounces, arbitration, ask_at)
SELECT 'P-' || n, 0, 'small', 'resolved', 'login', 'app-login', '1', {past}, {past}, 0, {no},
       {tomorrow}
FROM ({series}) AS numbers
"""


@dataclass(frozen=True)
class Sweep:
    """A flow, the rows it looks for, its query for what is due, and the index that answers it."""

    flow: str
    rows: str
    fill: str
    due: Callable[[datetime], Select[Any]]
    index: str


SWEPT = [
    Sweep(
        "deliver_messages",
        "message",
        MESSAGES,
        lambda now: outbox.due(now, LEASED_MESSAGES),
        "ix_message_due",
    ),
    Sweep(
        "watch_clocks",
        "clock",
        CLOCKS,
        lambda now: watch_clocks.due(now).limit(watch_clocks.LEASED_CLOCKS),
        "ix_clock_next",
    ),
    Sweep(
        "verify_resolutions",
        "verification",
        VERIFICATIONS,
        verify.due,
        "ix_verification_due",
    ),
    Sweep("verify_resolutions", "loop", POSTPONED, verify.due, "ix_loop_resolved"),
]
each = pytest.mark.parametrize("swept", SWEPT, ids=lambda swept: f"{swept.flow}-{swept.rows}")


@pytest.fixture(params=["sqlite", "postgres"])
def ws(request: pytest.FixtureRequest, tmp_path: Path) -> Workspace:
    url = f"sqlite:///{tmp_path}/idle.db"
    if request.param == "postgres":
        new_database: Callable[[], str] = request.getfixturevalue("new_database")
        url = new_database()
    db = Database(url)
    upgrade(db)
    return Workspace(Settings(), db)


def fill(db: Database, swept: Sweep, rows: int) -> None:
    with db.begin() as tx:
        kind = tx.dialect.name

        def literal(at: datetime) -> str:
            known = f"{at:%Y-%m-%d %H:%M:%S}.000000"
            return f"'{known}'" if kind == "sqlite" else f"timestamptz '{known}+00'"

        values = {
            "tomorrow": literal(NOW + timedelta(days=1)),
            "past": literal(NOW - timedelta(days=90)),
            "series": SERIES[kind],
            "no": "false",
        }
        tx.execute(text(LOOP.format(**values)))
        tx.execute(text(swept.fill.format(**values)), {"rows": rows})
    with db.begin() as tx:
        tx.execute(text(f"ANALYZE {swept.rows}"))


def plan(db: Database, swept: Sweep) -> str:
    """The database's own plan for the very statement that the sweep runs."""
    with db.begin() as tx:
        query = swept.due(NOW)
        compiled = query.compile(dialect=tx.dialect, compile_kwargs={"literal_binds": True})
        explain = "EXPLAIN QUERY PLAN" if tx.dialect.name == "sqlite" else "EXPLAIN"
        rows = tx.exec_driver_sql(f"{explain} {str(compiled).replace('%', '%%')}")
        return "\n".join(str(row[-1]) for row in rows)


def median_ms(ws: Workspace, swept: Sweep, runs: int = 15) -> float:
    """The whole twin, once its workspace is open."""
    taken = []
    for _ in range(runs + 3):
        started = time.perf_counter()
        counts = asyncio.run(sweep(ws, swept))
        taken.append(1000 * (time.perf_counter() - started))
        assert not any(counts.values())
    return statistics.median(taken[3:])


async def sweep(ws: Workspace, swept: Sweep) -> dict[str, int]:
    return await SWEEPS[swept.flow](ws, lambda: NOW)


def measure(ws: Workspace, swept: Sweep, rows: int) -> float:
    fill(ws.db, swept, rows)
    found, milliseconds = plan(ws.db, swept), median_ms(ws, swept)
    sys.stdout.write(
        f"{ws.db.engine.dialect.name}: {rows:,} rows of {swept.rows}, none due:"
        f" {milliseconds:.2f} ms\n{found}\n"
    )
    assert swept.index in found
    return milliseconds


@each
def test_an_idle_sweep_asks_the_partial_index(ws: Workspace, swept: Sweep) -> None:
    measure(ws, swept, 20_000)


@each
@pytest.mark.prove
def test_an_idle_sweep_of_a_million(ws: Workspace, swept: Sweep) -> None:
    assert measure(ws, swept, 1_000_000) < 50
