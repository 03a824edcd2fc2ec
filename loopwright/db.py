"""The database: engines for SQLite and PostgreSQL, transactions, and bulk inserts.

SQLite has two engines, since `BEGIN IMMEDIATE` on every transaction would lock readers out:
a writer (immediate) and read-only readers. PostgreSQL uses one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
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
    insert,
    make_url,
    text,
)
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    OperationalError,
)

from loopwright.errors import ConflictError, EnvironmentFault, TransitionRefused

T = TypeVar("T")

SCHEMES = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
BUSY_TIMEOUT_MS = 60_000


class Database:
    """One organisation's database. `begin()` writes, `read()` only reads."""

    def __init__(self, url: str) -> None:
        self.url = parse_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            self._writer = sqlite_engine(self.url, read_only=False)
            self._reader = sqlite_engine(self.url, read_only=True)
        else:
            self._writer = self._reader = postgres_engine(self.url)

    @property
    def engine(self) -> Engine:
        return self._writer

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction that writes: commits at the end, rolls back on any error."""
        with reachable(self.url), self._writer.begin() as tx:
            yield tx

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads one consistent state."""
        with reachable(self.url), self._reader.connect() as tx:
            yield tx

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
    if url.database and not read_only:
        ensure_folder(Path(url.database).parent)
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})

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
    return create_engine(
        url,
        pool_pre_ping=True,
        connect_args={"connect_timeout": 10, "options": "-c timezone=utc"},
    )


@contextmanager
def reachable(url: URL) -> Iterator[None]:
    """Turn driver errors about the connection itself into a clear fault."""
    try:
        yield
    except (OperationalError, NoSuchModuleError) as error:
        if not is_connection_fault(error):
            raise
        cause = str(getattr(error, "orig", error)).strip().splitlines()[0]
        raise EnvironmentFault(
            f"the database {url.render_as_string(hide_password=True)} cannot be used: {cause}",
            "check the address in LOOPWRIGHT_DATABASE__URL and that the server runs;"
            " `loopwright doctor` says more",
        ) from None


def is_connection_fault(error: Exception) -> bool:
    if not isinstance(error, DBAPIError):
        return True
    words = str(error.orig)
    return error.connection_invalidated or any(
        phrase in words
        for phrase in (
            "unable to open database",
            "not a database",
            "connection",
            "password",
            "readonly",
            "resolve host",
            "does not exist",
        )
    )


def bulk_insert(tx: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert many rows with the same keys: COPY on PostgreSQL, one executemany on SQLite."""
    if not rows:
        return
    if tx.dialect.name == "postgresql" and len(rows) > COPY_FROM:
        copy_rows(tx, table, rows)
    else:
        tx.execute(insert(table), list(rows))


COPY_FROM = 20
RETRIES = 3


def retry_conflicts(step: Callable[[], T]) -> T:
    """Run a whole transaction again when another worker came first; three times at most."""
    for _ in range(RETRIES - 1):
        try:
            return step()
        except (IntegrityError, ConflictError) as conflict:
            if isinstance(conflict, TransitionRefused):
                raise
    return step()


@lru_cache(maxsize=64)
def copy_plan(table: Table, keys: tuple[str, ...], dialect: Dialect) -> tuple[str, list[Any]]:
    """The COPY statement and each column's bind processor (None: take the value as it is)."""
    columns = [table.c[key] for key in keys]
    names = ", ".join(dialect.identifier_preparer.quote(c.name) for c in columns)
    processors = [c.type.dialect_impl(dialect).bind_processor(dialect) for c in columns]
    return f"COPY {table.name} ({names}) FROM STDIN", processors


def copy_rows(tx: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    keys = tuple(rows[0])
    statement, processors = copy_plan(table, keys, tx.dialect)
    with tx.connection.driver_connection.cursor() as cursor, cursor.copy(statement) as copy:  # type: ignore[union-attr]
        for row in rows:
            copy.write_row(
                [p(row[k]) if p else row[k] for k, p in zip(keys, processors, strict=True)]
            )


def is_durable(tx: Connection) -> bool:
    """Whether a commit survives a power cut: SQLite synchronous=FULL, PostgreSQL commits on."""
    if tx.dialect.name == "sqlite":
        return bool(tx.execute(text("PRAGMA synchronous")).scalar_one() == 2)
    return bool(tx.execute(text("SHOW synchronous_commit")).scalar_one() == "on")
