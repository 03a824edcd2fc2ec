"""Does `loopwright up` do the whole job, end cleanly, mend itself and leave nothing behind?"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.home import Home

pytestmark = [pytest.mark.prove, pytest.mark.flow]

REVIEW = {
    "review_id": "up-1",
    "title": "登录不了",
    "content": "人脸识别总是失败，登录不了，太差了",
    "at": "2026-11-21T09:00:00+08:00",
    "score": 1,
    "lang": "zh",
    "author": {"openid": "o-up-1"},
}


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
        tree = self.tree()
        (pid,) = [p for p, words in tree.items() if f"flows.supervise {word}" in words]
        return pid

    def left(self) -> dict[int, str]:
        """Which of all it ever started still live."""
        alive = processes()
        return {pid: words for pid, words in self.seen.items() if pid in alive}


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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The example organisation as `init` leaves it."""
    home = Home(tmp_path_factory.mktemp("up"), {})
    home.do("init")
    return home


@contextmanager
def running(site: Home) -> Iterator[Running]:
    started = time.monotonic()
    process = site.start("up", "--json", LOOPWRIGHT_LOG_LEVEL="info")
    assert process.stdout is not None
    try:
        lines: list[str] = []
        while not lines or lines[-1].rstrip() != "}":
            lines.append(process.stdout.readline())
            assert lines[-1], "it ended before it was ready"
        run = Running(process, time.monotonic() - started, json.loads("".join(lines)))
        run.tree()
        yield run
    finally:
        if process.poll() is None:
            process.kill()


def healthy(run: Running) -> bool:
    url = f"{run.ready['prefect']}/health"
    try:
        return bool(httpx.get(url, trust_env=False, timeout=1).is_success)
    except httpx.HTTPError:
        return False


def ask(run: Running, what: str) -> list[dict[str, Any]]:
    """All of Prefect's deployments or flow_runs."""
    url = f"{run.ready['prefect']}/{what}/filter"
    found: list[dict[str, Any]] = httpx.post(url, json={}, trust_env=False).json()
    return found


def pause(run: Running, deployment: str) -> bool:
    """As an operator does it by hand; the server may still be busy."""
    url = f"{run.ready['prefect']}/deployments/{deployment}"
    return bool(httpx.patch(url, json={"paused": True}, trust_env=False).is_success)


def drop(site: Home, name: str) -> None:
    folder = site.folder / ".loopwright/inbox/app_reviews"
    folder.mkdir(parents=True, exist_ok=True)
    item = REVIEW | {"review_id": name, "author": {"openid": f"o-{name}"}}
    (folder / f"{name}.jsonl").write_text(json.dumps(item, ensure_ascii=False) + "\n", "utf-8")


def messages(site: Home) -> int:
    return len(list((site.folder / ".loopwright/outbox").rglob("*.eml")))


def stop(run: Running) -> None:
    """SIGTERM, then exit 0 within ten seconds and nobody left."""
    run.tree()
    run.process.send_signal(signal.SIGTERM)
    assert run.process.wait(10) == 0
    assert run.left() == {}


def test_up_does_the_job_mends_itself_and_ends_cleanly(site: Home) -> None:
    with running(site) as run:
        assert run.seconds < 30
        assert run.ready["prefect"].startswith("http://127.0.0.1:")
        served = {d["name"]: d for d in ask(run, "deployments")}
        assert served.keys() == {"ingest-feedback", "triage-feedback", "deliver-messages"}
        assert all(not d["paused"] and d["schedules"] for d in served.values())
        assert ".py:" not in "".join(d["entrypoint"] for d in served.values())

        within(10, lambda: ask(run, "flow_runs"))

        before = messages(site)
        drop(site, "first")
        within(10, lambda: messages(site) > before)

        server = run.child("flows.prefect_app")
        os.kill(server, signal.SIGKILL)
        assert not healthy(run)
        before = messages(site)
        drop(site, "second")
        within(10, lambda: messages(site) > before)
        within(30, lambda: healthy(run))
        assert run.child("flows.prefect_app") != server
        another = site.type("up")
        assert another.code == 3
        assert "already" in another.err
        stop(run)


def test_up_again_is_enough_after_the_top_process_was_killed(site: Home) -> None:
    with running(site) as run:
        deployments = {d["name"]: d for d in ask(run, "deployments")}
        assert not any(d["paused"] for d in deployments.values()), "no stop pauses anything"
        within(10, lambda: pause(run, deployments["triage-feedback"]["id"]))
        run.tree()
        run.process.kill()
        run.process.wait()
        within(5, lambda: not run.left())
    with running(site) as run:
        paused = {d["name"] for d in ask(run, "deployments") if d["paused"]}
        assert paused == {"triage-feedback"}, "what an operator paused stays paused"
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(10) == 0
        assert run.left() == {}


def test_up_needs_an_installation(tmp_path: Path, site: Home) -> None:
    shutil.copy(site.folder / "loopwright.toml", tmp_path / "loopwright.toml")
    done = Home(tmp_path, {}).type("up")
    assert done.code == 3
    assert "→" in done.err
