"""Errors of the database: said in words, and never with a value that was on its way there."""

import traceback
from collections.abc import Callable

import pytest
from sqlalchemy import Connection, insert, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from loopwright.db import Database, bulk_insert
from loopwright.errors import EnvironmentFault
from models.absence import Absence
from models.base import table
from tests.cast import NOON

SECRET = "机密的话 13800138000"
ABSENCE = {
    "id": SECRET,
    "person": SECRET,
    "first": NOON.date(),
    "last": NOON.date(),
    "recorded_by": SECRET,
    "recorded_at": NOON,
}
BACKWARDS = ABSENCE | {"last": NOON.date().replace(year=2000)}


def twice(tx: Connection) -> None:
    for _ in range(2):
        tx.execute(insert(table(Absence)).values(ABSENCE))


def twice_in_bulk(tx: Connection) -> None:
    bulk_insert(tx, table(Absence), [ABSENCE, ABSENCE])


def against_a_check(tx: Connection) -> None:
    tx.execute(insert(table(Absence)).values(BACKWARDS))


def against_a_check_in_bulk(tx: Connection) -> None:
    bulk_insert(tx, table(Absence), [BACKWARDS])


def with_a_null(tx: Connection) -> None:
    tx.execute(text("INSERT INTO absence (id, person) VALUES (:a, :a)"), {"a": SECRET})


def ill_formed(tx: Connection) -> None:
    made = "json(:a)" if tx.dialect.name == "sqlite" else "CAST(CAST(:a AS text) AS integer)"
    tx.execute(text(f"SELECT {made}"), {"a": SECRET})


def to_no_table(tx: Connection) -> None:
    tx.execute(text("INSERT INTO nowhere VALUES (:a)"), {"a": SECRET})


BROKEN = (
    twice,
    twice_in_bulk,
    against_a_check,
    against_a_check_in_bulk,
    with_a_null,
    ill_formed,
    to_no_table,
)


@pytest.mark.parametrize("work", BROKEN)
def test_no_value_stands_in_an_error(db: Database, work: Callable[[Connection], None]) -> None:
    """Neither in its words nor in a traceback of it and of what caused it."""
    with pytest.raises(DBAPIError) as caught, db.begin() as tx:
        work(tx)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert type(caught.value).__name__ in shown
    assert "机密" not in shown
    assert "138" not in shown


def test_what_was_wrong_is_still_said(db: Database) -> None:
    for work in (twice, twice_in_bulk):
        with pytest.raises(IntegrityError, match=r"pk_absence|absence\.id"), db.begin() as tx:
            work(tx)


def begin_to(db: Database, *works: Callable[[Connection], None]) -> None:
    with db.begin() as tx:
        for work in works:
            work(tx)


def only_read(tx: Connection) -> None:
    sqlite = tx.dialect.name == "sqlite"
    tx.exec_driver_sql("PRAGMA query_only = ON" if sqlite else "SET LOCAL transaction_read_only=on")


def test_a_database_that_takes_no_writes(db: Database) -> None:
    for write in (twice, twice_in_bulk):
        with pytest.raises(EnvironmentFault, match=r"数据库只读.*takes no writes") as caught:
            begin_to(db, only_read, write)
        assert caught.value.exit_code == 3
        assert caught.value.fix
        assert "机密" not in str(caught.value)


def test_a_server_that_goes_away(db: Database) -> None:
    if db.is_sqlite:
        pytest.skip("SQLite has no server")
    with (
        pytest.raises(EnvironmentFault, match=r"数据库不可用.*cannot be used"),
        db.begin() as tx,
    ):
        tx.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    with db.read() as tx:
        assert tx.execute(text("SELECT 1")).scalar() == 1


def test_a_file_that_another_program_keeps_locked(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not db.is_sqlite:
        pytest.skip("PostgreSQL locks rows")
    monkeypatch.setattr("loopwright.db.BUSY_TIMEOUT_MS", 50)
    second = Database(str(db.url))
    with (
        db.begin(),
        pytest.raises(EnvironmentFault, match="cannot be used: database is locked") as caught,
        second.begin(),
    ):
        pass
    assert "another program" in str(caught.value.fix)
    second.close()
