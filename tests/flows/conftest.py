"""One Prefect server for all flow tests, on a copy of the migrated template database."""

import os
import tempfile

# Before Prefect is imported, so that no test ever touches a real Prefect home or sends anything.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="loopwright-prefect-")
os.environ.pop("PREFECT_API_URL", None)
os.environ["DO_NOT_TRACK"] = "1"
os.environ["PREFECT_LOGGING_TO_API_ENABLED"] = "true"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"  # its insert locks SQLite

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Server:
    """Prefect's API address and the SQLite file in which it keeps all it knows."""

    url: str
    database: Path


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    import prefect.settings as prefect
    from prefect.server.api.server import SubprocessASGIServer

    from flows.server import build_template
    from loopwright.settings import Settings

    database = tmp_path_factory.mktemp("prefect") / "test.db"
    shutil.copy(build_template(Settings()), database)
    address = {prefect.PREFECT_SERVER_DATABASE_CONNECTION_URL: f"sqlite+aiosqlite:///{database}"}
    with prefect.temporary_settings(address):
        server = SubprocessASGIServer()
        server.start(timeout=120)
        ours = {
            prefect.PREFECT_API_URL: server.api_url,
            prefect.PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
        }
        with prefect.temporary_settings(ours):
            yield Server(server.api_url, database)
            drain()
        server.stop()


def drain() -> None:
    """What Prefect's client still holds would otherwise be retried against a stopped server."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=10)
    EventsWorker.drain_all(timeout=10)
