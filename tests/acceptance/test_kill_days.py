"""A simulated bank killed at any moment and started again lives the same days."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from models.base import table
from models.message import Delivery, Message
from tests.acceptance.home import PROGRAM, Home, Story, story

pytestmark = pytest.mark.acceptance

MESSAGES, DELIVERIES = table(Message), table(Delivery)
GO_ON = ("demo", "--continue", "--no-prefect", "--json")
BEGIN = """
from pathlib import Path
from console.commands.demo import begin
from loopwright.settings import load_settings
begin(load_settings(), None, {days}, 1)
"""
SLOWEST_HOUR = 0.15
"""Seconds after an hour has begun within which it is broken off."""

Databases = Callable[..., str]


@dataclass(frozen=True)
class Ready:
    """A demo that is about to begin; `url` is None for SQLite."""

    home: Home
    url: str | None
    new_database: Databases | None

    def copy(self, folder: Path) -> Home:
        shutil.copytree(self.home.folder, folder)
        env = dict(self.home.env)
        if self.new_database is not None:
            env["LOOPWRIGHT_DATABASE__URL"] = self.new_database(self.url)
        return Home(folder, env)


@pytest.fixture(params=["sqlite", "postgres"])
def prepare(request: pytest.FixtureRequest, tmp_path: Path, models: Path) -> Callable[[int], Ready]:
    def make(days: int) -> Ready:
        new_database, url = None, None
        env = {"LOOPWRIGHT_MODELS": str(models)}
        if request.param == "postgres":
            new_database = request.getfixturevalue("new_database")
            url = env["LOOPWRIGHT_DATABASE__URL"] = new_database()
        home = Home(tmp_path / "ready", env)
        home.folder.mkdir()
        code = [sys.executable, "-c", BEGIN.format(days=days)]
        subprocess.run(code, cwd=home.folder, env=home.environment(), check=True)
        return Ready(home, url, new_database)

    return make


def now_of(home: Home) -> datetime:
    """The simulated hour the driver is at."""
    diary = json.loads((home.folder / ".loopwright/demo").read_text("utf-8"))
    return datetime.fromisoformat(diary["now"])


def kill_at(home: Home, moment: datetime, after: float, *, whole: bool) -> bool:
    """Let the days pass until `moment`, then kill within that hour; False if they were over.

    `whole`: the worker that delivers dies with the driver, else it notices that it is alone.
    """
    process = subprocess.Popen(
        [str(PROGRAM), *GO_ON],
        cwd=home.folder,
        env=home.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    while process.poll() is None and now_of(home) < moment:
        time.sleep(0.002)
    time.sleep(after)
    if process.poll() is None and whole:
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
    assert process.stderr is not None
    assert process.returncode in (0, -9), process.stderr.read()
    return process.returncode == -9


def lives(home: Home) -> Counter[Any]:
    """Everything that happened to loops: what, when, and to which of them, by natural keys."""
    with home.database() as db, db.read() as tx:
        origins = tx.execute(
            text(
                "SELECT li.loop_id, l.kind, r.source, r.key, r.version, i.ordinal"
                " FROM loop_issue li JOIN loop l ON l.id = li.loop_id"
                " JOIN issue i ON i.id = li.issue_id JOIN raw_item r ON r.id = i.feedback_id"
                " WHERE li.relation = 'origin'"
            )
        )
        name = {row.loop_id: tuple(row)[1:] for row in origins}
        events = tx.execute(
            text("SELECT loop_id, kind, at, data FROM history_event WHERE loop_id IS NOT NULL")
        )
        return Counter((name[e.loop_id], e.kind, str(e.at), plain(e.data)) for e in events)


def plain(data: str) -> tuple[Any, ...]:
    """What an event says besides the ids made for it."""
    known = ("unit", "role", "cause", "step", "person", "answer", "outcome", "why", "how", "what")
    said = json.loads(data)
    return tuple(said.get(field) for field in known)


def due_later(home: Home) -> int:
    with home.database() as db, db.read() as tx:
        query = select(func.count()).where(MESSAGES.c.state == "queued")
        return tx.execute(query.where(MESSAGES.c.due_at > now_of(home))).scalar_one()


def begun_again(home: Home) -> int:
    """Deliveries that were begun more than once: what a mail server could see twice."""
    with home.database() as db, db.read() as tx:
        query = select(func.count()).select_from(DELIVERIES).where(DELIVERIES.c.attempt > 1)
        return tx.execute(query).scalar_one()


def check(home: Home, expected: Story, happened: Counter[Any]) -> None:
    found = story(home)
    assert found.feedback == expected.feedback
    assert found.issues == expected.issues
    assert found.loops == expected.loops
    assert found.tickets == expected.tickets
    assert found.messages == expected.messages
    assert lives(home) == happened
    states: Counter[str] = Counter()
    for (*_, state), count in found.messages.items():
        states[state] += count
    sent = states.pop("sent")
    # What the quiet hours hold back is due in the morning after the last day.
    assert states.total() == due_later(home), "a message was not sent"
    assert len(list((home.folder / ".loopwright/outbox").rglob("*.eml"))) == sent
    home.do("audit", "verify")
    home.do("audit", "replay")


def live_and_kill(ready: Ready, folder: Path, days: int, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    reference = ready.copy(folder / "reference")
    first = now_of(reference)
    started = time.monotonic()
    reference.do(*GO_ON)
    took = time.monotonic() - started
    expected, happened = story(reference), lives(reference)
    assert expected.tickets.total() > 5 * days / 3
    check(reference, expected, happened)

    home, hits = ready.copy(folder / "killed"), 0
    hours = sorted(chance.uniform(0, 24 * days - 30) for _ in range(kills))
    for hour in hours:
        moment, after = first + timedelta(hours=hour), chance.uniform(0, SLOWEST_HOUR)
        hits += kill_at(home, moment, after, whole=chance.random() < 0.5)
    home.do(*GO_ON)
    check(home, expected, happened)
    again = begun_again(home)
    sys.stdout.write(
        f"{'PostgreSQL' if ready.url else 'SQLite'}: {days} days, {hits} kills,"
        f" {expected.loops.total():,} loops and links, {happened.total():,} events,"
        f" {expected.messages.total():,} messages, {again:,} deliveries begun again;"
        f" untouched {took:.0f} s\n"
    )
    assert hits == kills, "the days were over before the last kill"


def test_killed_days_end_like_untouched_ones(
    prepare: Callable[[int], Ready], tmp_path: Path
) -> None:
    live_and_kill(prepare(5), tmp_path, 5, 3, seed=1)


@pytest.mark.prove
def test_thirty_kills_in_fifteen_days(prepare: Callable[[int], Ready], tmp_path: Path) -> None:
    live_and_kill(prepare(15), tmp_path, 15, 30, seed=2)
