"""What every table shares: aware UTC times, exact JSON, named constraints."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, MetaData, Table, Text
from sqlalchemy.types import TypeDecorator
from sqlmodel import SQLModel

# Named constraints, so that Alembic can change them on SQLite too.
SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def metadata() -> MetaData:
    """All tables. Importing `models.tables` first makes sure that all are known."""
    return SQLModel.metadata


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC; a naive one is refused. SQLite keeps it as sortable text."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        """One call a value instead of three: bulk inserts bind several times a row."""
        return utc_text if dialect.name == "sqlite" else utc_time

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value and dialect.name == "sqlite" else value


def utc_time(value: datetime | None) -> datetime | None:
    """The same moment in UTC. Raises ValueError for a naive one."""
    if value is None or value.tzinfo is UTC:
        return value
    if value.tzinfo is None:
        raise ValueError(f"naive time {value!r}: times in the database are UTC")
    return value.astimezone(UTC)


def utc_text(value: datetime | None) -> str | None:
    """As `utc_time`, in the form SQLAlchemy's SQLite dialect keeps and reads."""
    moment = utc_time(value)
    return moment.replace(tzinfo=None).isoformat(" ", "microseconds") if moment else None


class JsonText(TypeDecorator[Any]):
    """A JSON value kept as compact text, so that both databases hold the same characters."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        if value is None:
            return None
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


def table(model: type[SQLModel]) -> Table:
    """A model's Core table: bulk statements are written against it."""
    found: Table = model.__table__  # type: ignore[attr-defined]
    return found
