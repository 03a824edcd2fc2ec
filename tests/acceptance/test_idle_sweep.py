"""What does a sweep cost when a million messages exist and none is due?"""

import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from loopwright.db import Database
from loopwright.migrate import upgrade
from loopwright.settings import Settings
from tasks.deliver import claim, due
from tasks.workspace import Workspace

pytestmark = pytest.mark.acceptance

NOW = datetime(2026, 11, 21, 4, tzinfo=UTC)
# Nine of ten are sent long ago; the rest wait for tomorrow.
SERIES = {
    "sqlite": "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < :rows)"
    " SELECT n FROM s",
    "postgresql": "SELECT generate_series(1, :rows) AS n",
}
FILL = """
INSERT INTO message (id, key, template, unit, state, attempts, spent, due_at, created_at)
SELECT 'M-' || n, 'key-' || n, 'ticket_assigned', 'OP',
       CASE WHEN n % 10 = 0 THEN 'queued' ELSE 'sent' END, 0, 0,
       CASE WHEN n % 10 = 0 THEN {tomorrow} ELSE {past} END, {past}
FROM ({series}) AS numbers
"""


@pytest.fixture(params=["sqlite", "postgres"])
def ws(request: pytest.FixtureRequest, tmp_path: Path) -> Workspace:
    url = f"sqlite:///{tmp_path}/idle.db"
    if request.param == "postgres":
        new_database: Callable[[], str] = request.getfixturevalue("new_database")
        url = new_database()
    db = Database(url)
    upgrade(db)
    return Workspace(Settings(), db)


def fill(db: Database, rows: int) -> None:
    with db.begin() as tx:
        kind = tx.dialect.name

        def literal(at: datetime) -> str:
            known = f"{at:%Y-%m-%d %H:%M:%S}.000000"
            return f"'{known}'" if kind == "sqlite" else f"timestamptz '{known}+00'"

        statement = FILL.format(
            tomorrow=literal(NOW + timedelta(days=1)),
            past=literal(NOW - timedelta(days=90)),
            series=SERIES[kind],
        )
        tx.execute(text(statement), {"rows": rows})
    with db.begin() as tx:
        tx.execute(text("ANALYZE message"))


def plan(db: Database) -> str:
    """The database's own plan for the very statement that `claim` runs."""
    with db.begin() as tx:
        compiled = due(NOW, 200).compile(dialect=tx.dialect, compile_kwargs={"literal_binds": True})
        explain = "EXPLAIN QUERY PLAN" if tx.dialect.name == "sqlite" else "EXPLAIN"
        rows = tx.exec_driver_sql(f"{explain} {str(compiled).replace('%', '%%')}")
        return "\n".join(str(row[-1]) for row in rows)


def median_ms(ws: Workspace, runs: int = 15) -> float:
    taken = []
    for _ in range(runs + 3):
        started = time.perf_counter()
        assert claim(ws, "token", NOW, 200) == []
        taken.append(1000 * (time.perf_counter() - started))
    return statistics.median(taken[3:])


def measure(ws: Workspace, rows: int) -> float:
    fill(ws.db, rows)
    found, milliseconds = plan(ws.db), median_ms(ws)
    sys.stdout.write(
        f"{ws.db.engine.dialect.name}: {rows:,} messages, none due: {milliseconds:.2f} ms\n"
        f"{found}\n"
    )
    assert "ix_message_due" in found
    return milliseconds


def test_an_idle_sweep_asks_the_partial_index(ws: Workspace) -> None:
    measure(ws, 20_000)


@pytest.mark.prove
def test_an_idle_sweep_of_a_million_messages(ws: Workspace) -> None:
    assert measure(ws, 1_000_000) < 50
