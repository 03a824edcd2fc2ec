"""The schema: from nothing and back, equal to the models, and clear faults for what cannot be."""

import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from loopwright.db import Database, is_durable
from loopwright.errors import EnvironmentFault
from loopwright.migrate import alembic_config, current, newest, require_current, revisions, upgrade
from models.tables import metadata
from tasks.documents.publish import published


def tables(db: Database) -> set[str]:
    with db.read() as tx:
        return set(inspect(tx).get_table_names())


def test_up_from_nothing_and_down_to_nothing(empty_url: str) -> None:
    db = Database(empty_url)
    with pytest.raises(EnvironmentFault, match="no tables yet"):
        require_current(db)
    assert upgrade(db) == newest()
    require_current(db)
    assert tables(db) == set(metadata().tables) | {"alembic_version"}
    assert upgrade(db) == newest()
    config = alembic_config()
    with db.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        connection.commit()
    assert tables(db) == {"alembic_version"}
    assert upgrade(db) == newest()
    db.close()


def test_the_files_are_named_by_their_revisions() -> None:
    scripts = ScriptDirectory.from_config(alembic_config())
    assert [one.revision for one in scripts.walk_revisions()] == revisions()[::-1]
    assert scripts.get_current_head() == newest()


def test_models_equal_migrations(db: Database) -> None:
    """What `alembic check` asks."""
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata()) == []


def indexes(db: Database) -> dict[str, str]:
    """Name -> definition of every index that was asked for."""
    query = (
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        if db.is_sqlite
        else "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
        " AND tablename <> 'alembic_version'"
    )
    with db.read() as tx:
        return {name: " ".join(sql.split()) for name, sql in tx.execute(text(query))}


def checks(db: Database) -> set[tuple[str, str | None, str]]:
    with db.read() as tx:
        look = inspect(tx)
        return {
            (name, check["name"], check["sqltext"])
            for name in metadata().tables
            for check in look.get_check_constraints(name)
        }


def test_conditions_of_indexes_and_checks_equal_the_models(db: Database, empty_url: str) -> None:
    """What `alembic check` does not ask."""
    if db.is_sqlite != empty_url.startswith("sqlite"):
        pytest.skip("the two databases are of different kinds")
    made = Database(empty_url)
    metadata().create_all(made.engine)
    assert indexes(db) == indexes(made)
    assert checks(db) == checks(made)
    assert len(checks(db)) > 10
    made.close()


def test_partial_indexes_are_partial_in_both(db: Database) -> None:
    found = indexes(db)
    for name in ("ix_message_due", "ix_batch_waiting", "uq_loop_open_small", "uq_loop_open_big",
                 "ix_issue_triage", "uq_history_event_loop"):  # fmt: skip
        assert " WHERE " in found[name], name
    assert " UNIQUE " in found["uq_loop_open_small"]


def test_commits_are_durable(db: Database) -> None:
    with db.begin() as tx:
        assert is_durable(tx)


def test_readers_cannot_write(db: Database) -> None:
    if not db.is_sqlite:
        pytest.skip("PostgreSQL has one engine for both")
    with pytest.raises(Exception, match="readonly"), db.read() as tx:
        tx.execute(text("DELETE FROM history_event"))


@pytest.mark.parametrize("call", [require_current, upgrade])
def test_a_newer_database_is_refused(db: Database, call: object) -> None:
    with db.begin() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(EnvironmentFault, match="newer than this program") as caught:
        call(db)  # type: ignore[operator]
    assert caught.value.exit_code == 3
    with db.read() as tx:
        assert current(tx) == "9999"


def test_nothing_published_yet(empty_url: str) -> None:
    db = Database(empty_url)
    upgrade(db)
    with pytest.raises(EnvironmentFault, match="no documents are published yet"):
        published(db)
    db.close()


NONSENSE = [
    "nonsense",
    "",
    "mysql://root@localhost/x",
    "postgresql://user:secret@host:notaport/x",
    "http://example.invalid",
]


@pytest.mark.parametrize("address", NONSENSE)
def test_a_nonsense_address(address: str) -> None:
    with pytest.raises(EnvironmentFault) as caught:
        Database(address)
    assert caught.value.exit_code == 3
    assert "secret" not in str(caught.value)
    assert caught.value.fix


def unreachable(home: Path) -> list[str]:
    (home / "a-file").write_text("no database")
    (home / "a-folder").mkdir()
    return [
        "postgresql://user:secret@127.0.0.1:1/x",
        "postgresql:///x?host=/tmp/no-such-socket",
        f"sqlite:///{home}/a-file",
        f"sqlite:///{home}/a-folder",
        f"sqlite:///{home}/a-file/below.db",
    ]


@pytest.mark.parametrize("which", range(5))
def test_an_unreachable_database(home: Path, which: int) -> None:
    with pytest.raises(EnvironmentFault) as caught:
        require_current(Database(unreachable(home)[which]))
    assert caught.value.exit_code == 3
    assert "secret" not in str(caught.value)
    assert caught.value.fix


def test_an_absent_database(postgres: object) -> None:
    address = postgres.create()  # type: ignore[attr-defined]
    with pytest.raises(EnvironmentFault, match="cannot be used"):
        require_current(Database(address.replace("test_", "absent_")))
    postgres.drop(address)  # type: ignore[attr-defined]


def test_steps_need_no_prefect() -> None:
    """Everything these tests use, in a fresh process."""
    code = (
        "import sys, tests.cast, tasks.sweeps, tasks.messages.deliver, tasks.routing.decide;"
        "import tasks.intake.quarantine;"
        "sys.exit('prefect' in sys.modules)"
    )
    here = Path(__file__).parent.parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=here, check=False).returncode == 0
