"""Two `loopwright up` on one PostgreSQL: is everything done once, and by dispatchers and schedules?

What a dispatcher does not notice, a file replaced in place, is left to the schedules.
"""

import random
import re
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.home import Home
from tests.acceptance.sharing import Crowd, assert_nothing_twice, hurry, is_done, shares
from tests.conftest import Server
from tests.flows.running import Running, running

pytestmark = [pytest.mark.prove, pytest.mark.flow]

SECONDS = 120
ITEMS = 300


def install(folder: Path, url: str, minutes: int) -> Home:
    """The example with quick ladders; every flow is scheduled every so many minutes."""
    folder.mkdir()
    home = Home(folder, {"LOOPWRIGHT_DATABASE__URL": url})
    home.do("init")
    hurry(folder / "organisation")
    home.do("org", "publish")
    schedules = (folder / "prefect.yaml").read_text("utf-8")
    for n, cron in enumerate(sorted(set(re.findall(r'cron: "(.*?)"', schedules)))):
        schedules = schedules.replace(f'"{cron}"', f'"{n % minutes}-59/{minutes} * * * *"')
    (folder / "prefect.yaml").write_text(schedules, "utf-8")
    return home


def play(crowd: Crowd) -> None:
    """Items at random moments."""
    began = time.monotonic()
    for moment in sorted(crowd.chance.uniform(0, SECONDS) for _ in range(ITEMS)):
        time.sleep(max(0.0, began + moment - time.monotonic()))
        crowd.speak()


def await_done(home: Home, crowd: Crowd) -> float:
    """The seconds it took."""
    began = time.monotonic()
    while not is_done(home, crowd.dropped):
        assert time.monotonic() < began + 240, "it is not done"
        time.sleep(1)
    return time.monotonic() - began


def by_whom(runs: dict[str, Running], wrote: Counter[str]) -> Counter[str]:
    """Events by dispatcher and by `up` whose schedules made them."""
    flows = {run["id"]: name for name, up in runs.items() for run in flow_runs(up)}
    found: Counter[str] = Counter()
    for run, events in wrote.items():
        found[run if run.startswith("dispatcher") else f"schedules of {flows[run]}"] += events
    return found


def ending(run: dict[str, Any]) -> str:
    """Its state; why, where it did not complete."""
    state: dict[str, str] = run["state"]
    return state["type"] if state["type"] == "COMPLETED" else f"{state['type']}: {state['message']}"


def flow_runs(up: Running) -> list[dict[str, Any]]:
    ended = {"state": {"type": {"any_": ["RUNNING", "COMPLETED", "CRASHED", "FAILED"]}}}
    return up.ask("flow_runs", flow_runs=ended)


def test_two_up_share_the_work(tmp_path: Path, postgres: Server) -> None:
    folders = tmp_path / "one", tmp_path / "two"
    one = install(folders[0], postgres.create(), minutes=2)
    shutil.copytree(*folders)
    two = Home(folders[1], one.env)
    crowd = Crowd(folders, ITEMS // 4, random.Random(1))
    with running(one) as first, running(two) as second:
        runs = {"one": first, "two": second}
        for folder in folders:
            crowd.speak_in_place(folder)
        play(crowd)
        after = await_done(one, crowd)
        for folder in folders:
            crowd.speak_in_place(folder)
        later = await_done(one, crowd)
        wrote = by_whom(runs, shares(one))
        flows = {name: Counter(ending(run) for run in flow_runs(up)) for name, up in runs.items()}
        first.stop()
        second.stop()
    alarms = assert_nothing_twice(one, folders)
    lines = [
        f"two up: {crowd.dropped} items, {one.counts()['loop']} loops, {dict(alarms)},"
        f" all done {after:.0f} s after the last; replaced files after {later:.0f} s",
        f"  events by: {dict(wrote)}",
        f"  scheduled runs: {flows}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    assert len(wrote) == 4, "both dispatchers and the schedules of both had their share"
