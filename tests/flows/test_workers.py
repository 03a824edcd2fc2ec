"""docs/operate.md, «Prefect»: one mended server, two process workers, our database on PostgreSQL.

The commands are those of that page; schedules fire by themselves.
"""

import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from flows.environment import DEFAULTS
from flows.server import free_port, prepare_home
from loopwright.settings import Settings
from tests.acceptance.home import PROGRAM, Home
from tests.acceptance.sharing import Crowd, assert_nothing_twice, is_done
from tests.conftest import Server
from tests.flows.test_two_up import install

pytestmark = [pytest.mark.prove, pytest.mark.flow]

PREFECT = str(PROGRAM.with_name("prefect"))
SERVER = (sys.executable, "-m", "uvicorn", "--factory", "flows.prefect_app:create_app")
WORKERS = ("machine-1", "machine-2")
ITEMS = 40


@contextmanager
def started(home: Home, name: str, *command: str) -> Iterator[Callable[[], str]]:
    """A process in the installation's folder; what it has said so far."""
    log = home.folder / f"{name}.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            command, cwd=home.folder, env=home.environment(), stdout=out, stderr=out
        )
    try:
        yield lambda: log.read_text("utf-8")
        process.terminate()
        process.wait(60)
    finally:
        process.kill()


def await_true(seconds: float, check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.5)


def type_(home: Home, *words: str) -> None:
    """A command of Prefect's."""
    done = subprocess.run(
        [PREFECT, *words],
        cwd=home.folder,
        env=home.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False, timeout=2).is_success
    except httpx.HTTPError:
        return False


def ended(url: str) -> Counter[str]:
    """Runs that the schedules made, by state."""
    filters = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}}}
    found = httpx.post(f"{url}/flow_runs/filter", json=filters, trust_env=False, timeout=20).json()
    assert all(run["auto_scheduled"] for run in found)
    return Counter(run["state_type"] for run in found)


def taken(said: str) -> int:
    return len(re.findall("submitted to infrastructure", said))


def test_two_workers_take_the_scheduled_runs(tmp_path: Path, postgres: Server) -> None:
    folder, port = tmp_path / "site", free_port()
    url = f"http://127.0.0.1:{port}/api"
    home = install(folder, postgres.create(), minutes=1)
    prefect = prepare_home(Settings(prefect={"home": folder / ".loopwright/prefect"}))
    home.env = {
        **home.env,
        **DEFAULTS,
        "PREFECT_HOME": str(prefect),
        "PREFECT_API_URL": url,
        "LOOPWRIGHT_HOME": str(folder),
    }
    crowd = Crowd((folder, folder), ITEMS // 4, random.Random(1))
    with started(home, "server", *SERVER, "--port", str(port)):
        await_true(60, lambda: answers(url))
        type_(home, "work-pool", "create", "--type", "process", "loopwright")
        type_(home, "--no-prompt", "deploy", "--all")
        for _ in range(ITEMS):
            crowd.speak()
        start = (PREFECT, "worker", "start", "--pool", "loopwright", "--name")
        one, two = (started(home, name, *start, name) for name in WORKERS)
        with one as first, two as second:
            await_true(
                600, lambda: is_done(home, ITEMS) and min(taken(first()), taken(second())) > 1
            )
            shares, states = (taken(first()), taken(second())), ended(url)
    alarms = assert_nothing_twice(home, (folder,))
    sys.stdout.write(f"two workers took {shares} runs, {dict(states)}; {dict(alarms)}\n")
    assert states.keys() == {"COMPLETED"}
