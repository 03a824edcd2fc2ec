"""The database: engines for SQLite and PostgreSQL, transactions, and bulk inserts.

SQLite has two engines, since `BEGIN IMMEDIATE` on every transaction would lock readers out:
a writer (immediate) and read-only readers. PostgreSQL uses one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    URL,
    Connection,
    Dialect,
    Engine,
    Table,
    create_engine,
    event,
    make_url,
    text,
)
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    OperationalError,
)

from loopwright.errors import ConflictError, EnvironmentFault, TransitionRefused
from loopwright.faults import fault_of, keep_values_out, shorten

T = TypeVar("T")

SCHEMES = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
BUSY_TIMEOUT_MS = 60_000


class Database:
    """One organisation's database. `begin()` writes, `read()` only reads.

    With `dry_run` every transaction does its work, checks included, and is rolled back.
    """

    def __init__(self, url: str, *, dry_run: bool = False) -> None:
        self.url = parse_url(url)
        self.dry_run = dry_run
        self.before_writing: Callable[[], None] | None = None
        """Called once, ahead of the first transaction that writes and stays."""
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            self._writer = sqlite_engine(self.url, read_only=False)
            self._reader = sqlite_engine(self.url, read_only=True)
        else:
            self._writer = postgres_engine(self.url)
            # One state for all of a reader's statements, as SQLite gives it anyway.
            self._reader = self._writer.execution_options(isolation_level="REPEATABLE READ")

    @property
    def engine(self) -> Engine:
        return self._writer

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction that writes: commits at the end, rolls back on any error."""
        if self.before_writing is not None and not self.dry_run:
            first, self.before_writing = self.before_writing, None
            first()
        with reachable(self.url), self._writer.begin() as tx:
            yield tx
            if self.dry_run:
                tx.rollback()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads one consistent state."""
        with reachable(self.url), self._reader.connect() as tx:
            yield tx

    def exists(self) -> bool:
        """Whether there is anything to read; looking must not make an empty file."""
        return not self.is_sqlite or Path(self.url.database or "").exists()

    def make_place(self) -> None:
        """The folder of a SQLite file that does not exist yet."""
        if self.is_sqlite and self.url.database:
            ensure_folder(Path(self.url.database).parent)

    def close(self) -> None:
        self._writer.dispose()
        self._reader.dispose()


def parse_url(url: str) -> URL:
    """The SQLAlchemy URL of a database address. Raises EnvironmentFault for a nonsense one."""
    try:
        parsed = make_url(url)
        return parsed.set(drivername=SCHEMES[parsed.drivername])
    except (ArgumentError, KeyError, ValueError):
        scheme = url.split(":", 1)[0][:20]
        raise EnvironmentFault(
            f"database address is neither SQLite nor PostgreSQL (it starts with {scheme!r})",
            "set LOOPWRIGHT_DATABASE__URL to sqlite:///path/file.db or"
            " postgresql://user:password@host:5432/name",
        ) from None


def sqlite_engine(url: URL, *, read_only: bool) -> Engine:
    engine = create_engine(
        url, hide_parameters=True, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000}
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        # Autocommit at the driver, so that BEGIN below is ours and nobody else's.
        connection.isolation_level = None
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            # Without it INSERT OR REPLACE walks past the history's triggers.
            "recursive_triggers=ON",
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            "cache_size=-65536",
            f"query_only={'ON' if read_only else 'OFF'}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def ensure_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFault(
            f"the database's folder {folder} cannot be made ({error.strerror})",
            "choose a writable place in LOOPWRIGHT_DATABASE__URL",
        ) from None


def postgres_engine(url: URL) -> Engine:
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_pre_ping=True,
        connect_args={"connect_timeout": 10, "options": "-c timezone=utc"},
    )
    keep_values_out(engine)
    return engine


@contextmanager
def reachable(url: URL) -> Iterator[None]:
    """Turn driver errors about the connection or this user's rights into a clear fault."""
    try:
        yield
    except (DatabaseError, NoSuchModuleError) as error:
        if fault := fault_of(error, url):
            raise fault from None
        raise


def bulk_insert(tx: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert many rows with the same keys: COPY on PostgreSQL, one executemany on SQLite.

    Raises sqlalchemy.exc.IntegrityError as any insert does.
    """
    if not rows:
        return
    plan = insert_plan(table, tuple(rows[0]), tx.dialect)
    if tx.dialect.name == "postgresql":
        copy_rows(tx, plan, rows)
    else:
        tx.exec_driver_sql(plan.insert, [tuple(plan.values(row)) for row in rows])


RETRIES = 3
DEADLOCKED = ("40P01", "40001")


def retry_conflicts(step: Callable[[], T]) -> T:
    """Run a whole transaction again when another worker came first; three times at most."""
    for _ in range(RETRIES - 1):
        try:
            return step()
        except (IntegrityError, OperationalError, ConflictError) as conflict:
            if not is_worth_another_try(conflict):
                raise
    return step()


def is_worth_another_try(conflict: Exception) -> bool:
    """A unique row that was there first, a stale version, a deadlock (PostgreSQL 40P01)."""
    if isinstance(conflict, OperationalError):
        return getattr(conflict.orig, "sqlstate", None) in DEADLOCKED
    return not isinstance(conflict, TransitionRefused)


@dataclass(frozen=True)
class InsertPlan:
    """How rows with these keys are written to one table on one dialect."""

    pick: Callable[[Mapping[str, Any]], tuple[Any, ...]]
    processors: tuple[tuple[int, Callable[[Any], Any]], ...]
    insert: str
    copy: str

    def values(self, row: Mapping[str, Any]) -> list[Any]:
        values = list(self.pick(row))
        for position, process in self.processors:
            values[position] = process(values[position])
        return values


@lru_cache(maxsize=128)
def insert_plan(table: Table, keys: tuple[str, ...], dialect: Dialect) -> InsertPlan:
    columns = [table.c[key] for key in keys]
    quote = dialect.identifier_preparer.quote
    names = ", ".join(quote(column.name) for column in columns)
    slots = ", ".join("?" * len(columns))
    made = [c.type.dialect_impl(dialect).bind_processor(dialect) for c in columns]
    pick = itemgetter(*keys) if len(keys) > 1 else lambda row: (row[keys[0]],)
    return InsertPlan(
        pick,
        tuple((n, process) for n, process in enumerate(made) if process is not None),
        f"INSERT INTO {quote(table.name)} ({names}) VALUES ({slots})",
        f"COPY {quote(table.name)} ({names}) FROM STDIN",
    )


def copy_rows(tx: Connection, plan: InsertPlan, rows: Sequence[Mapping[str, Any]]) -> None:
    import psycopg

    try:
        with (
            tx.connection.driver_connection.cursor() as cursor,  # type: ignore[union-attr]
            cursor.copy(plan.copy) as copy,
        ):
            for row in rows:
                copy.write_row(plan.values(row))
    except psycopg.Error as error:
        # COPY goes past SQLAlchemy, whose callers expect its own errors; a row that another
        # transaction is changing and that has the same unique key is a deadlock.
        shorten(error)
        raise DBAPIError.instance(
            plan.copy, None, error, psycopg.Error, hide_parameters=True, dialect=tx.dialect
        ) from error


def is_durable(tx: Connection) -> bool:
    """Whether a commit survives a power cut: SQLite synchronous=FULL, PostgreSQL commits on."""
    if tx.dialect.name == "sqlite":
        return bool(tx.execute(text("PRAGMA synchronous")).scalar_one() == 2)
    return bool(tx.execute(text("SHOW synchronous_commit")).scalar_one() == "on")
