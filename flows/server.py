"""A Prefect server of our own beside the process: for the demo and for single runs.

Prefect's fresh database takes most of a minute to migrate, so a migrated empty one is kept as a
template, keyed by Prefect's version, and copied at the first start.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import httpx

from loopwright.errors import EnvironmentFault
from loopwright.settings import Settings

START_SECONDS = 120
STOP_SECONDS = 30


def template_path(settings: Settings) -> Path:
    """Where the template database of the installed Prefect is, or will be."""
    shared = Path(sys.prefix) / "share" / "loopwright"
    return settings.prefect.template or shared / f"prefect-{version('prefect')}.db"


def build_template(settings: Settings) -> Path:
    """Migrate an empty Prefect database once (about a minute); later calls do nothing."""
    path = template_path(settings)
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    environment = os.environ | {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{draft.absolute()}",
        "PREFECT_HOME": str(path.parent.absolute()),
    }
    command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EnvironmentFault(
            f"Prefect's template database was not built: {done.stderr.strip()[-300:]}",
            "`loopwright doctor` checks the setup; a full disk is the usual cause",
        )
    draft.replace(path)
    return path


def prepare_home(settings: Settings) -> Path:
    """Prefect's home with a migrated database; one that is there already is never replaced."""
    home = settings.prefect.home.absolute()
    home.mkdir(parents=True, exist_ok=True)
    database, template = home / "prefect.db", template_path(settings)
    if not database.exists() and template.is_file():
        for leftover in ("prefect.db-wal", "prefect.db-shm"):
            # A stale write-ahead log would bring the former contents back.
            (home / leftover).unlink(missing_ok=True)
        draft = home / f"prefect.db.{os.getpid()}"
        shutil.copy(template, draft)
        draft.replace(database)
    return home


@contextmanager
def prefect_server(settings: Settings) -> Iterator[str]:
    """A server on a free loopback port for the length of the block; yields its API address.

    Sets PREFECT_API_URL and PREFECT_HOME for this process, so enter it before Prefect is imported.
    """
    home, port = prepare_home(settings), free_port()
    url = f"http://127.0.0.1:{port}/api"
    os.environ |= {"PREFECT_API_URL": url, "PREFECT_HOME": str(home)}
    log = (home / "server.log").open("ab")
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "uvicorn",
            "--factory",
            "prefect.server.api.server:create_app",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--log-level",
            "error",
            "--lifespan",
            "on",
        ],
        env=os.environ | {"PREFECT_SERVER_UI_ENABLED": "false"},
        stdout=log,
        stderr=log,
        start_new_session=True,  # Ctrl-C must not reach the server before its clients
    )
    try:
        wait_healthy(f"{url}/health", server, home / "server.log")
        yield url
        flush_logs()
    finally:
        server.terminate()
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
        log.close()


def flush_logs() -> None:
    """Let Prefect's log lines reach the server before it goes."""
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=10)


def wait_healthy(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            if httpx.get(url, timeout=2, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise EnvironmentFault(
        "the Prefect server did not start", f"{log} says why; `loopwright doctor` checks the setup"
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    from loopwright.settings import load_settings

    build_template(load_settings())
