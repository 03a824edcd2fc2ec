"""A started `loopwright up` in an installation's folder: its processes, its Prefect, its inbox."""

import json
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.acceptance.home import ASIDES, PROGRAM, TROUBLES, Home

CHILDREN = ("prefect_app", "schedules", "dispatcher")


@dataclass
class Running:
    """A started `up`, after its ready line."""

    process: "subprocess.Popen[str]"
    seconds: float
    ready: dict[str, Any]
    seen: dict[int, str] = field(default_factory=dict)

    def tree(self) -> dict[int, str]:
        """Its descendants now: process id -> command line."""
        found: dict[int, str] = {}
        above = {self.process.pid}
        table = processes()
        while below := {pid for pid, (parent, _) in table.items() if parent in above} - set(found):
            found |= {pid: table[pid][1] for pid in below}
            above = below
        self.seen |= found
        return found

    def child(self, word: str) -> int:
        """The process id of one of CHILDREN."""
        tree = self.tree()
        (pid,) = [p for p, words in tree.items() if f"flows.supervise flows.{word}" in words]
        return pid

    def left(self) -> dict[int, str]:
        """Which of all it ever started still live."""
        alive = processes()
        return {pid: words for pid, words in self.seen.items() if pid in alive}

    def healthy(self) -> bool:
        try:
            return bool(httpx.get(self.api("health"), trust_env=False, timeout=1).is_success)
        except httpx.HTTPError:
            return False

    def api(self, path: str) -> str:
        return f"{self.ready['prefect']}/{path}"

    def ask(self, what: str, **filters: Any) -> list[dict[str, Any]]:
        """Prefect's deployments or flow_runs."""
        answer = httpx.post(self.api(f"{what}/filter"), json=filters, trust_env=False, timeout=20)
        found: list[dict[str, Any]] = answer.raise_for_status().json()
        return found

    def stop(self) -> None:
        """SIGTERM, then exit 0 within ten seconds and nobody left."""
        self.tree()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(10) == 0
        assert self.left() == {}

    def kill(self) -> None:
        """As nothing can be prevented; its children end themselves."""
        self.tree()
        self.process.kill()
        self.process.wait()
        within(5, lambda: not self.left())


def processes() -> dict[int, tuple[int, str]]:
    done = subprocess.run(
        ["ps", "-wweo", "pid=,ppid=,stat=,command="], capture_output=True, text=True, check=True
    )
    lines = [line.split(None, 3) for line in done.stdout.splitlines()]
    return {int(i[0]): (int(i[1]), i[3]) for i in lines if not i[2].startswith("Z")}


def within(seconds: float, check: Callable[[], Any]) -> Any:
    """The first true answer. Fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := check():
            return answer
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s")


def start(site: Home) -> Running:
    """`loopwright up`, waited for until it is ready; its log goes to up.log."""
    started = time.monotonic()
    with (site.folder / "up.log").open("a") as log:
        process = subprocess.Popen(
            [str(PROGRAM), "up", "--json"],
            cwd=site.folder,
            env=site.environment() | {"LOOPWRIGHT_LOG_LEVEL": "info"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=log,  # a pipe that nobody reads would fill up
        )
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or lines[-1].rstrip() != "}":
        lines.append(process.stdout.readline())
        assert lines[-1], "it ended before it was ready"
    run = Running(process, time.monotonic() - started, json.loads("".join(lines)))
    run.tree()
    return run


@contextmanager
def running(site: Home) -> Iterator[Running]:
    run = start(site)
    try:
        yield run
    finally:
        if run.process.poll() is None:
            run.process.kill()


def drop(site: Home, name: str, chance: random.Random, at: str = "2026-11-21T09:00:00") -> None:
    """One review with a trouble that becomes a ticket, of a customer who said nothing before."""
    zh, en = chance.choice(ASIDES)
    review = {
        "review_id": name,
        "title": "",
        "content": chance.choice(TROUBLES).format(zh, en),
        "at": f"{at}+08:00",
        "score": 1,
        "lang": "zh",
        "author": {"openid": f"o-{name}"},
    }
    line = json.dumps(review, ensure_ascii=False) + "\n"
    put(site, "app_reviews", f"{name}.jsonl", line.encode())


def put(site: Home, source: str, name: str, content: bytes) -> Path:
    """Write a file into a source's inbox at once, as an operator is told to move large ones."""
    folder = site.folder / ".loopwright/inbox" / source
    folder.mkdir(parents=True, exist_ok=True)
    hidden = folder / f".{name}"
    hidden.write_bytes(content)
    return hidden.rename(folder / name)
