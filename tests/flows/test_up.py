"""Does `loopwright up` do the whole job, end cleanly, mend itself and leave nothing behind?"""

import os
import random
import shutil
import signal
from pathlib import Path

import httpx
import pytest

from tasks.sweeps import SWEEPS
from tests.acceptance.home import Home
from tests.flows.running import Running, drop, running, within

pytestmark = [pytest.mark.prove, pytest.mark.flow]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The example organisation as `init` leaves it."""
    home = Home(tmp_path_factory.mktemp("up"), {})
    home.do("init")
    return home


def pause(run: Running, deployment: str) -> bool:
    """As an operator does it by hand; the server may still be busy."""
    url = run.api(f"deployments/{deployment}")
    return bool(httpx.patch(url, json={"paused": True}, trust_env=False).is_success)


def messages(site: Home) -> int:
    return len(list((site.folder / ".loopwright/outbox").rglob("*.eml")))


def arrives(site: Home, name: str) -> None:
    before = messages(site)
    drop(site, name, random.Random(name))
    within(10, lambda: messages(site) > before)


def test_up_does_the_job_mends_itself_and_ends_cleanly(site: Home) -> None:
    with running(site) as run:
        assert run.seconds < 30
        assert run.ready["prefect"].startswith("http://127.0.0.1:")
        served = {d["name"]: d for d in run.ask("deployments")}
        assert served.keys() == {name.replace("_", "-") for name in SWEEPS}
        assert all(not d["paused"] and d["schedules"] for d in served.values())
        assert ".py:" not in "".join(d["entrypoint"] for d in served.values())

        within(10, lambda: run.ask("flow_runs"))
        arrives(site, "first")

        server = run.child("prefect_app")
        os.kill(server, signal.SIGKILL)
        assert not run.healthy()
        arrives(site, "second")
        within(30, run.healthy)
        assert run.child("prefect_app") != server
        another = site.type("up")
        assert another.code == 3
        assert "already" in another.err
        run.stop()


def test_up_again_is_enough_after_the_top_process_was_killed(site: Home) -> None:
    with running(site) as run:
        deployments = {d["name"]: d for d in run.ask("deployments")}
        assert not any(d["paused"] for d in deployments.values()), "no stop pauses anything"
        within(10, lambda: pause(run, deployments["triage-feedback"]["id"]))
        run.kill()
    with running(site) as run:
        paused = {d["name"] for d in run.ask("deployments") if d["paused"]}
        assert paused == {"triage-feedback"}, "what an operator paused stays paused"
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(10) == 0
        assert run.left() == {}


def test_up_needs_an_installation(tmp_path: Path, site: Home) -> None:
    shutil.copy(site.folder / "loopwright.toml", tmp_path / "loopwright.toml")
    done = Home(tmp_path, {}).type("up")
    assert done.code == 3
    assert "→" in done.err
