"""Is the database's schema the code's? Upgrade it, or say which of the two is older."""

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, inspect

from loopwright.db import Database, reachable
from loopwright.errors import EnvironmentFault


def migrations_folder() -> Path:
    """`migrations/` of a checkout, or its copy inside an installed package."""
    packaged = Path(__file__).parent / "migrations"
    return packaged if packaged.exists() else Path(__file__).parent.parent / "migrations"


def alembic_config() -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    return config


def newest() -> str:
    from alembic.script import ScriptDirectory

    return str(ScriptDirectory.from_config(alembic_config()).get_current_head())


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


def upgrade(db: Database) -> str:
    """Bring the schema up to the code's. Raises EnvironmentFault when it is newer already."""
    from alembic import command

    refuse_newer(db)
    db.make_place()
    config = alembic_config()
    with reachable(db.url), db.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
    return newest()


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
    from alembic.script import ScriptDirectory

    found = revision(db)
    known = {s.revision for s in ScriptDirectory.from_config(alembic_config()).walk_revisions()}
    if found is not None and found not in known:
        raise EnvironmentFault(
            f"the database is newer than this program (revision {found} is unknown here)",
            "install the program version that upgraded it, or restore a backup",
        )
