"""A few child processes under one roof: restarted when they die, gone when their parent is.

Each child leads a process group of its own, so that Ctrl-C reaches the parent alone, and has one
end of a socket as its standard input. It writes a byte there when it is ready; when the parent
dies, however suddenly, the socket ends and the child kills its whole group. What we run is made to
survive that at any statement.

`python -m flows.supervise MODULE …` runs a module as such a child.
"""

import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from time import monotonic

from loopwright.errors import EnvironmentFault
from loopwright.log import log

LOOK_SECONDS = 0.2
START_SECONDS = 120.0
STOP_SECONDS = 4.0
STEADY_SECONDS = 60.0
LONGEST_PAUSE = 30.0


@dataclass
class Child:
    """`arguments`: a module and what follows it. `announces`: it says itself when it is ready.

    Its output goes to `output`, or where the parent's goes; `keeps`: file descriptors it inherits.
    """

    name: str
    arguments: Sequence[str]
    announces: bool = True
    output: Path | None = None
    keeps: Sequence[int] = ()
    process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)
    line: socket.socket | None = field(default=None, init=False)
    started_at: float = field(default=0.0, init=False)
    restart_at: float | None = field(default=None, init=False)
    failures: int = field(default=0, init=False)

    def start(self) -> None:
        self.line, theirs = socket.socketpair()
        self.line.setblocking(False)
        out = self.output.open("ab") if self.output else None
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flows.supervise", *self.arguments],
            stdin=theirs.fileno(),
            stdout=out,
            stderr=out,
            start_new_session=True,
            pass_fds=self.keeps,
        )
        self.started_at, self.restart_at = monotonic(), None
        theirs.close()
        if out:
            out.close()

    def is_ready(self) -> bool:
        if not self.announces:
            return True
        assert self.line is not None
        try:
            return bool(self.line.recv(1))
        except BlockingIOError:
            return False

    def is_dead(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def mend(self) -> None:
        """Start a dead child again: at once after a long life, else later each time."""
        if not self.is_dead():
            return
        now = monotonic()
        if self.restart_at is None:
            assert self.process is not None
            self.failures = 1 if now - self.started_at > STEADY_SECONDS else self.failures + 1
            pause = min(2.0 ** (self.failures - 1), LONGEST_PAUSE)
            log.warning(
                "child.died", child=self.name, code=self.process.returncode, restart_in=pause
            )
            self.kill()
            self.restart_at = now + pause
        if now >= self.restart_at:
            self.start()

    def interrupt(self) -> None:
        """As Ctrl-C would: on SIGTERM Prefect's runner leaves its loop with work half done."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)

    def end(self, deadline: float) -> None:
        """Wait until `deadline` (of `monotonic`), then end whatever is left of its group."""
        if self.process is not None:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(max(0.0, deadline - monotonic()))
            self.kill()
            self.process.wait()

    def kill(self) -> None:
        """Its whole group: what a dead child started must not outlive it."""
        if self.process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        if self.line is not None:
            self.line.close()
            self.line = None


def supervise(children: Sequence[Child], stop: Event, on_ready: Callable[[], None]) -> None:
    """Run until `stop` is set; the first child is what the others need, and ends last.

    Raises EnvironmentFault when one of them does not get ready at the start.
    """
    try:
        for child in children:
            child.start()
        if await_ready(children, stop):
            on_ready()
        while not stop.wait(LOOK_SECONDS):
            for child in children:
                child.mend()
    finally:
        end(children[1:])
        end(children[:1])


def await_ready(children: Sequence[Child], stop: Event) -> bool:
    """Whether all got ready before `stop` was set."""
    waiting, deadline = list(children), monotonic() + START_SECONDS
    while waiting and not stop.wait(LOOK_SECONDS):
        for child in waiting:
            if child.is_dead() or monotonic() > deadline:
                raise EnvironmentFault(
                    f"{child.name} did not start",
                    f"{child.output or 'its words above'} may say why; `loopwright doctor` checks"
                    " the setup",
                )
        waiting = [child for child in waiting if not child.is_ready()]
    return not waiting


def end(children: Sequence[Child]) -> None:
    deadline = monotonic() + STOP_SECONDS
    for child in children:
        child.interrupt()
    for child in children:
        child.end(deadline)


def announce() -> None:
    """Called in a child: it is ready."""
    os.write(0, b".")


def die_with_parent() -> None:
    """Called in a child: kill its group as soon as the parent's end of the socket is gone."""

    def watch() -> None:
        with suppress(OSError):
            while os.read(0, 1):
                pass
        os.killpg(os.getpgrp(), signal.SIGKILL)

    Thread(target=watch, name="parent", daemon=True).start()


if __name__ == "__main__":
    die_with_parent()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
