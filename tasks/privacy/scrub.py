"""Making the bytes of what was erased go from the database's own files, as far as one may.

A deleted row stays readable in free pages, in statistics and in the log ahead of the data until it
is written over. This is for the database's owner, when nobody else works on it; it says what it
had to leave, and never touches what copies, standbys and backups keep.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from loopwright.db import Database
from loopwright.errors import EnvironmentFault
from loopwright.history.append import append
from loopwright.history.envelope import Actor, Event, seal
from loopwright.ids import uuid7
from loopwright.log import log
from models.kinds import EventKind
from models.tables import metadata

HOLD_WORDS = (
    "raw_item",
    "feedback",
    "issue",
    "quarantine",
    "customer_key",
    "customer_snapshot",
    "journey_event",
    "message",
    "delivery",
    "event_body",
)
"""Tables of which an erasure takes rows or words away."""
PATIENCE_MS = 5_000
"""So long others may take to let go of a SQLite file."""
SEGMENTS = 256
"""So many log segments are filled at most to write over those kept for reuse."""
REFUSED = ("42501", "0A000", "55000")
"""SQLSTATE: no right to, not supported here, not in a state to (a standby)."""


@dataclass
class Scrubbed:
    """Steps done, and what had to be left: words for the person who ran it."""

    done: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return not self.left


def scrub(db: Database, actor: Actor, now: datetime) -> Scrubbed:
    """Rewrite the tables and logs, and tell the history what came of it. Raises EnvironmentFault
    when the database cannot be used."""
    with owner(db) as run:
        result = scrub_sqlite(run) if db.is_sqlite else scrub_postgres(run)
    log.info("database.scrubbed", done=len(result.done), left=len(result.left))
    record_scrub(db, result, actor, now)
    return result


def record_scrub(db: Database, result: Scrubbed, actor: Actor, now: datetime) -> None:
    """The bytes are gone whether or not this user may say so."""
    data = {"done": len(result.done), "left": len(result.left)}
    body = {"done": result.done, "left": result.left}
    event = Event(uuid7(), EventKind.DATABASE_SCRUBBED, now, actor, data, body=body)
    try:
        with db.begin() as tx:
            append(tx, [seal(event)])
    except EnvironmentFault as refused:
        log.warning("database.scrub_unrecorded", error=refused.what)


class Skipped(Exception):
    """PostgreSQL only warns where it passes over what this user may not vacuum."""


Run = Callable[[str], list[Any]]
"""Runs one statement outside any transaction and returns its rows."""


@contextmanager
def owner(db: Database) -> Iterator[Run]:
    """A connection of its own, past the pool's transactions."""
    pooled = db.engine.raw_connection()
    warnings: list[str] = []
    try:
        driver: Any = pooled.driver_connection
        if not db.is_sqlite:
            driver.rollback()
            driver.autocommit = True
            driver.add_notice_handler(lambda notice: warnings.append(notice.message_primary))

        def run(statement: str) -> list[Any]:
            warnings.clear()
            cursor = driver.execute(statement)
            if warnings:
                raise Skipped(warnings[0])
            return list(cursor.fetchall()) if cursor.description else []

        yield run
    finally:
        pooled.invalidate()


def scrub_sqlite(run: Run) -> Scrubbed:
    """VACUUM writes every page anew; the checkpoint then empties the log ahead of it."""
    import sqlite3

    result = Scrubbed()
    run(f"PRAGMA busy_timeout = {PATIENCE_MS}")
    run("PRAGMA secure_delete = ON")
    try:
        run("VACUUM")
        result.done.append("VACUUM, secure_delete")
    except sqlite3.OperationalError as busy:
        raise EnvironmentFault(
            f"the database is in use: {busy}", "stop `loopwright up` and run it again"
        ) from None
    blocked, *_ = run("PRAGMA wal_checkpoint(TRUNCATE)")[0]
    if blocked:
        result.left.append("the -wal file: another process still reads from it; stop it and repeat")
    else:
        result.done.append("wal_checkpoint(TRUNCATE)")
    return result


def scrub_postgres(run: Run) -> Scrubbed:
    """Tables, then the statistics that quote them, then the log that carried both."""
    result = Scrubbed()
    look_around(run, result)
    recycling = attempt(run, result, "wal_recycle = off", "ALTER SYSTEM SET wal_recycle = off")
    attempt(run, result, "", "SELECT pg_reload_conf()")
    try:
        for name in tables():
            attempt(run, result, f"VACUUM FULL {name}", f"VACUUM (FULL, ANALYZE) {name}")
        attempt(run, result, "VACUUM FULL pg_statistic", "VACUUM FULL pg_catalog.pg_statistic")
        attempt(run, result, "CHECKPOINT", "CHECKPOINT")
        write_over(run, result)
        attempt(run, result, "CHECKPOINT", "CHECKPOINT")
    finally:
        if recycling:
            attempt(run, result, "", "ALTER SYSTEM RESET wal_recycle")
            attempt(run, result, "", "SELECT pg_reload_conf()")
    result.done = list(dict.fromkeys(result.done))
    return result


def tables() -> list[str]:
    known: Mapping[str, Any] = metadata().tables
    return [f'"{name}"' for name in HOLD_WORDS if name in known]


def attempt(run: Run, result: Scrubbed, name: str, *statements: str) -> bool:
    """One step, noted as done or, where the right to it is missing, as left; "" is not noted."""
    import psycopg

    try:
        for statement in statements:
            run(statement)
    except (psycopg.Error, Skipped) as error:
        if isinstance(error, psycopg.Error) and error.sqlstate not in REFUSED:
            raise
        result.left.append(f"{name or statements[0]}: {str(error).splitlines()[0]}")
        return False
    if name:
        result.done.append(name)
    return True


def look_around(run: Run, result: Scrubbed) -> None:
    """What keeps old rows or logs although we do all we can."""
    others = run(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND backend_xmin IS NOT NULL"
    )[0][0]
    if others:
        result.left.append(f"rows that {others} other sessions may still see: end them and repeat")
    if run("SELECT count(*) FROM pg_replication_slots")[0][0]:
        result.left.append("the log that replication slots hold, and all that standbys have copied")
    if run("SELECT current_setting('archive_mode')")[0][0] != "off":
        result.left.append("the archived log: it goes when the backups that need it go")


def write_over(run: Run, result: Scrubbed) -> None:
    """Old log segments wait under new names to be written over: fill them, each with zeros."""
    ahead = (
        "SELECT count(*) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'"
        " AND name > pg_walfile_name(pg_current_wal_insert_lsn())"
    )
    if not attempt(run, result, "", ahead):
        return
    waiting = run(ahead)[0][0]
    fill = (
        "SELECT pg_logical_emit_message(false, 'loopwright', 'scrub')",
        "SELECT pg_switch_wal()",
    )
    for _ in range(min(waiting, SEGMENTS) + 1):
        if not attempt(run, result, "pg_switch_wal", *fill):
            return
    if waiting > SEGMENTS:
        result.left.append(f"{waiting - SEGMENTS} log segments kept for reuse: repeat")
