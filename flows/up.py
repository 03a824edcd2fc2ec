"""`loopwright up`: Prefect's server, the schedules and the dispatcher as one process tree.

The server comes first and goes last. Nothing listens but the server, on the loopback.
"""

import fcntl
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

from flows.server import prepare_home
from flows.supervise import Child, supervise
from loopwright.errors import EnvironmentFault
from loopwright.now import utc_now
from loopwright.settings import Settings
from tasks.start import record_start
from tasks.workspace import open_workspace

PORT = 4200
HOST = "127.0.0.1"
QUIET = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
    "PREFECT_SERVER_UI_ENABLED": "false",
    # Nothing waits inside a run and there are no workers: idle, these services only cost CPU.
    "PREFECT_SERVER_SERVICES_FOREMAN_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "60",
}
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def up(settings: Settings, port: int | None, on_ready: Callable[[str], None]) -> None:
    """Run everything until Ctrl-C or SIGTERM; `on_ready` gets the API's address.

    Raises EnvironmentFault when another one runs in this folder, the port is taken, or a part does
    not start.
    """
    if not Path("prefect.yaml").is_file():
        raise EnvironmentFault(
            "there is no prefect.yaml in this folder",
            "work in the installation's folder; `loopwright init` makes one",
        )
    with alone(settings.prefect.home.absolute()):
        say_so(settings)
        home, listener = prepare_home(settings), listen(port)
        url = f"http://{HOST}:{listener.getsockname()[1]}/api"
        os.environ |= {"PREFECT_API_URL": url, "PREFECT_HOME": str(home)}
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        stop = Event()
        for ending in ENDINGS:
            signal.signal(ending, lambda *_: stop.set())
        supervise(children(home, listener), stop, lambda: on_ready(url))


def say_so(settings: Settings) -> None:
    """In the history, before anything works."""
    ws = open_workspace(settings)
    try:
        record_start(ws, "up", utc_now())
    finally:
        ws.db.close()


def children(home: Path, listener: socket.socket) -> list[Child]:
    fd = listener.fileno()
    return [
        Child(
            "the Prefect server",
            ["flows.prefect_app", str(fd)],
            announces=False,
            output=home / "server.log",
            keeps=(fd,),
        ),
        Child("the schedules", ["flows.schedules"]),
        Child("the dispatcher", ["flows.dispatcher"]),
    ]


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Hold this Prefect home for one process tree: its database bears one server.

    The lock goes with the process that holds it, however that ends.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise EnvironmentFault(
                "`loopwright up` runs in this folder already",
                "stop it first; a second one needs a folder (prefect.home) of its own",
            ) from None
        yield


def listen(port: int | None) -> socket.socket:
    """A listener on the wanted port, else on 4200, else on any that is free.

    It stays with this process, so nobody takes the port while the server starts, or starts again.
    Raises EnvironmentFault when the wanted port is taken.
    """
    for choice in [port] if port else [PORT, 0]:
        with suppress(OSError):
            return socket.create_server((HOST, choice))
    raise EnvironmentFault(f"port {port} is taken", "choose another, or leave --port out")
