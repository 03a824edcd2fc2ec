"""Is the database's schema the code's? Upgrade it, or say which of the two is older."""

from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, inspect

from loopwright.db import Database, reachable
from loopwright.errors import EnvironmentFault
from loopwright.history.append import append
from loopwright.history.envelope import Actor, Event, seal
from loopwright.ids import uuid7
from loopwright.now import utc_now
from models.kinds import EventKind

OPERATOR = Actor("person", "operator", "cli")
"""Whoever upgrades: nobody is known by name before documents are published."""


def migrations_folder() -> Path:
    """`migrations/` of a checkout, or its copy inside an installed package."""
    packaged = Path(__file__).parent / "migrations"
    return packaged if packaged.exists() else Path(__file__).parent.parent / "migrations"


def alembic_config() -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    return config


def revisions() -> list[str]:
    """The revisions this program knows, oldest first, by the names of their files: asking Alembic
    would cost every command its import."""
    folder = migrations_folder() / "versions"
    return sorted(path.name.split("_")[0] for path in folder.glob("[0-9]*_*.py"))


def newest() -> str:
    return revisions()[-1]


def current(tx: Connection) -> str | None:
    """The database's revision, or None for one without our tables."""
    if not inspect(tx).has_table("alembic_version"):
        return None
    return tx.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


def revision(db: Database) -> str | None:
    """As `current`, and None for a file that does not exist yet."""
    if not db.exists():
        return None
    with db.read() as tx:
        return current(tx)


def upgrade(db: Database, now: datetime | None = None) -> str:
    """Bring the schema up to the code's, with an event where that changes it; the revision.

    `now` is the present unless given. Raises EnvironmentFault when the schema is newer already.
    """
    from alembic import command

    refuse_newer(db)
    db.make_place()
    config = alembic_config()
    with reachable(db.url), db.engine.begin() as connection:
        before = current(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        if before != newest():
            append(connection, [seal(migrated(before, now or utc_now()))])
    return newest()


def migrated(before: str | None, now: datetime) -> Event:
    data = {"before": before, "revision": newest(), "version": program_version()}
    return Event(uuid7(), EventKind.DATABASE_MIGRATED, now, OPERATOR, data)


def program_version() -> str:
    """The installed package's version."""
    from importlib.metadata import version

    return version("loopwright")


def require_current(db: Database) -> None:
    """Raises EnvironmentFault unless the schema is exactly the code's."""
    refuse_newer(db)
    found = revision(db)
    if found != newest():
        raise EnvironmentFault(
            "the database has no tables yet"
            if found is None
            else f"the database is older than this program (revision {found})",
            "run `loopwright db upgrade`",
        )


def refuse_newer(db: Database) -> None:
    found = revision(db)
    if found is not None and found not in revisions():
        raise EnvironmentFault(
            f"the database is newer than this program (revision {found} is unknown here)",
            "install the program version that upgraded it, or restore a backup",
        )
