"""Guard rails: the history's tables refuse what nobody should do to them by hand."""

import pytest
from pydantic import SecretStr
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from loopwright.db import Database
from loopwright.errors import FindingError
from loopwright.history.note import SigningKey
from models.history import AuditHead, EventBody, HistoryEvent
from models.loop import Loop
from tasks.audit.seal_history import seal
from tasks.workspace import Workspace
from tests.cast import (
    NOON,
    is_guarded,
    lift_guards,
    number_of,
    one,
    open_some,
    rows,
    sound,
    withdraw,
)

KEY = SigningKey("bank.example/loop", bytes(range(32)))
REFUSED = [
    "UPDATE history_event SET actor_id = 'forged' WHERE seq = 2",
    "UPDATE history_event SET seq = seq + 100",
    "DELETE FROM history_event WHERE seq = 2",
    "UPDATE event_body SET body = '{}'",
    "UPDATE audit_head SET size = size - 1",
    "UPDATE audit_head SET id = 2",
    "DELETE FROM audit_head",
    "INSERT INTO audit_head (id, size, frontier) VALUES (2, 0, 'f')",
    "UPDATE audit_checkpoint SET note = 'forged'",
    "UPDATE audit_checkpoint SET size = 4",
    "DELETE FROM audit_checkpoint",
    "UPDATE document SET content = 'forged'",
    "UPDATE document SET sha256 = 'forged' WHERE name = 'policy.yaml'",
    "DELETE FROM document WHERE name = 'policy.yaml'",
    "UPDATE publication SET published_by = 'forged'",
    "DELETE FROM publication",
]
SQLITE_ONLY = [
    "INSERT OR REPLACE INTO history_event SELECT * FROM history_event WHERE seq = 2",
    "REPLACE INTO event_body SELECT event_id, salt, '{}' FROM event_body",
    "REPLACE INTO audit_head VALUES (1, 0, 'f')",
    "REPLACE INTO document SELECT * FROM document",
    "REPLACE INTO publication SELECT * FROM publication",
]
POSTGRES_ONLY = [
    "TRUNCATE history_event",
    "TRUNCATE event_body, audit_checkpoint",
    "TRUNCATE audit_head",
    "TRUNCATE document",
    "TRUNCATE publication CASCADE",
    "SET LOCAL session_replication_role = replica; DELETE FROM history_event",
    "SET LOCAL session_replication_role = replica; UPDATE document SET content = 'forged'",
]


@pytest.fixture
def told(ws: Workspace) -> Workspace:
    """A short history with a sealed checkpoint."""
    open_some(ws, 3)
    ws.settings.audit.key = SecretStr(KEY.line)
    assert seal(ws, NOON)
    return ws


def act(tx: Connection, statement: str) -> None:
    for each in statement.split("; "):
        tx.execute(text(each))


def refused(db: Database, statement: str) -> None:
    with pytest.raises(IntegrityError), db.begin() as tx:
        act(tx, statement)


@pytest.mark.parametrize("statement", REFUSED)
def test_the_history_is_append_only(told: Workspace, statement: str) -> None:
    refused(told.db, statement)
    assert sound(told.db)


@pytest.mark.parametrize("statement", SQLITE_ONLY)
def test_nothing_walks_past_the_triggers_of_sqlite(told: Workspace, statement: str) -> None:
    if not told.db.is_sqlite:
        pytest.skip("SQLite's own statement")
    refused(told.db, statement)


@pytest.mark.parametrize("statement", POSTGRES_ONLY)
def test_nothing_walks_past_the_triggers_of_postgres(told: Workspace, statement: str) -> None:
    if told.db.is_sqlite:
        pytest.skip("PostgreSQL's own statement")
    refused(told.db, statement)


@pytest.mark.breaks_history
def test_what_must_go_on_goes_on(told: Workspace) -> None:
    """Publishing a checkpoint, erasing a body, appending."""
    events, bodies = number_of(told.db, HistoryEvent), number_of(told.db, EventBody)
    with told.db.begin() as tx:
        tx.execute(text("UPDATE audit_checkpoint SET published = '[1]'"))
        body = rows(told.db, EventBody)[0].event_id
        tx.execute(text("DELETE FROM event_body WHERE event_id = :body"), {"body": body})
    open_some(told, 1)
    assert number_of(told.db, EventBody) == bodies
    assert one(told.db, AuditHead).size == number_of(told.db, HistoryEvent) > events


def test_a_history_without_its_head_is_not_gone_on_with(told: Workspace) -> None:
    with told.db.begin() as tx:
        lift_guards(tx)
        tx.execute(text("DELETE FROM history_event"))
        tx.execute(text("DELETE FROM audit_head"))
    with pytest.raises(FindingError, match="no head row"):
        withdraw(told, rows(told.db, Loop)[0].id)


def test_whoever_owns_the_tables_lifts_every_guard(told: Workspace) -> None:
    """So the tests of tampering do, and so the proof never rests on guards."""
    assert is_guarded(told.db)
    with told.db.begin() as tx:
        lift_guards(tx)
        for statement in ("UPDATE document SET sha256 = 'forged'", "DELETE FROM audit_checkpoint"):
            tx.execute(text(statement))
    assert not is_guarded(told.db)
