"""Killed at any moment and run again: the same loops, no message lost, no history broken."""

import json
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.home import (
    VOICES,
    Home,
    Story,
    small_documents,
    story,
    write_settings,
    write_voices,
)

pytestmark = pytest.mark.acceptance

# Far ahead, so that no lease is ever in the future of it; and all on one local day.
FIRST = datetime.fromisoformat("2090-03-01T00:01+08:00")
LATER = timedelta(minutes=16)
"""Longer than every lease: each run finds what a killed one had claimed."""

KILLS_A_RUN = 12
STAGES = ("ingest", "triage_feedback", "deliver_messages")

Databases = Callable[..., str]


@dataclass
class Pipeline:
    """Ingest, triage and deliver one file in an installation, run after run."""

    home: Home
    file: Path
    moment: datetime = FIRST

    def command(self, stage: str) -> tuple[str, ...]:
        if stage == "ingest":
            return ("ingest", str(self.file), "--source", "voices", "--json")
        self.moment += LATER
        return ("run", stage, "--no-prefect", "--now", self.moment.isoformat(), "--json")

    def finish(self) -> dict[str, float]:
        """Run every stage to its end; the seconds each took."""
        seconds = {}
        for stage in STAGES:
            started = time.monotonic()
            self.home.do(*self.command(stage))
            seconds[stage] = time.monotonic() - started
        return seconds

    def killed(self, stage: str, after: float) -> bool:
        """Run one stage and kill it `after` seconds; False when it had ended by itself."""
        process = self.home.start(*self.command(stage))
        time.sleep(after)
        process.kill()
        _, err = process.communicate()
        assert process.returncode in (0, -9), err
        return process.returncode == -9

    def suffer(self, kills: int, chance: random.Random, took: dict[str, float], idle: float) -> int:
        """Be killed about evenly in every stage; how often it was hit."""
        hits = 0
        for n, stage in enumerate(STAGES, 1):
            while hits < kills * n // len(STAGES):
                work = max(0.2, took[stage] - idle)
                if not self.killed(stage, chance.uniform(0.6 * idle, idle + 0.6 * work)):
                    break
                hits += 1
            self.home.do(*self.command(stage))
        return hits


@dataclass(frozen=True)
class Base:
    """A published installation to copy; `url` is None for SQLite."""

    folder: Path
    url: str | None
    new_database: Databases | None

    def copy(self, folder: Path) -> Home:
        shutil.copytree(self.folder, folder)
        env = {}
        if self.new_database is not None:
            env["LOOPWRIGHT_DATABASE__URL"] = self.new_database(self.url)
        return Home(folder, env)


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def base(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Base:
    folder = tmp_path_factory.mktemp(f"base-{request.param}") / "home"
    write_settings(folder)
    new_database, url = None, None
    if request.param == "postgres":
        new_database = request.getfixturevalue("new_database")
        url = new_database()
    home = Home(folder, {"LOOPWRIGHT_DATABASE__URL": url} if url else {})
    documents = small_documents(tmp_path_factory.mktemp("documents") / "bank", VOICES)
    home.do("db", "upgrade")
    home.publish(documents)
    return Base(folder, url, new_database)


def check(home: Home, expected: Story) -> None:
    found = story(home)
    assert found.feedback == expected.feedback
    assert found.issues == expected.issues
    assert found.loops == expected.loops
    assert found.tickets == expected.tickets
    assert found.messages == expected.messages
    sent = sum(n for (*_, state), n in found.messages.items() if state == "sent")
    assert sent == found.messages.total(), "a message was not sent"
    # The file transport writes one file per Message-ID, which no attempt changes.
    assert len(list((home.folder / ".loopwright/outbox").rglob("*.eml"))) == sent
    home.do("audit", "verify")
    home.do("audit", "replay")


def kill_and_rerun(base: Base, folder: Path, items: int, kills: int, seed: int) -> None:
    """A reference run untouched, then as many runs as it takes to be hit `kills` times."""
    chance = random.Random(seed)
    file = write_voices(folder / "voices.jsonl", items, opening=0.1)
    reference = Pipeline(base.copy(folder / "reference"), file)
    took = reference.finish()
    idle = min(reference.finish().values())
    expected = story(reference.home)
    assert expected.tickets.total() > items / 50
    check(reference.home, expected)

    hits, runs, repeated = 0, 0, 0
    while hits < kills and runs < 3 * kills:
        runs += 1
        run = Pipeline(base.copy(folder / f"killed-{runs}"), file)
        hits += run.suffer(min(KILLS_A_RUN, kills - hits), chance, took, idle)
        run.finish()
        check(run.home, expected)
        repeated += attempts_beyond_first(run.home)
    figures = {stage: round(seconds, 1) for stage, seconds in took.items()}
    sys.stdout.write(
        f"{'PostgreSQL' if base.url else 'SQLite'}: {items:,} items, {hits} kills in {runs} runs,"
        f" {expected.loops.total():,} loops and links, {expected.messages.total():,} messages,"
        f" {repeated:,} deliveries begun again; untouched {figures} s, idle {idle:.1f} s\n"
    )
    assert hits >= kills, "the kills came too late to prove anything"


def attempts_beyond_first(home: Home) -> int:
    """Deliveries that were begun more than once: what a mail server could see twice."""
    return home.counts()["delivery"] - home.counts()["message"]


def test_killed_runs_end_like_an_untouched_one(base: Base, tmp_path: Path) -> None:
    kill_and_rerun(base, tmp_path, 2_000, 3 if base.url is None else 2, seed=1)


@pytest.mark.prove
def test_thirty_kills_of_twenty_thousand_items(base: Base, tmp_path: Path) -> None:
    kill_and_rerun(base, tmp_path, 20_000, 30, seed=2)


INBOX_VOICES = VOICES.replace("    map:", "    fetch: {kind: file, path: inbox/voices/*}\n    map:")


def test_two_workers_open_no_loop_twice(tmp_path: Path, new_database: Callable[..., str]) -> None:
    """Many small batches of the same customers, claimed by two processes at once."""
    url = new_database()
    write_settings(tmp_path)
    home = Home(tmp_path, {"LOOPWRIGHT_DATABASE__URL": url})
    home.do("db", "upgrade")
    home.publish(small_documents(tmp_path / "bank", INBOX_VOICES))
    write_files(tmp_path / ".loopwright/inbox/voices", files=110, items=2_200)
    home.flow("ingest_feedback")
    alone = Home(tmp_path, {"LOOPWRIGHT_DATABASE__URL": new_database(url)})

    command = ("run", "triage_feedback", "--no-prefect", "--now", FIRST.isoformat(), "--json")
    workers = [home.start(*command) for _ in range(2)]
    done = [(*worker.communicate(), worker.returncode) for worker in workers]
    assert [code for *_, code in done] == [0, 0], done
    worked = [json.loads(out)["feedback"] for out, *_ in done]
    assert min(worked) > 0, f"one worker did it all: {worked}"
    alone.do(*command)
    assert unordered(home) == unordered(alone)
    home.do("audit", "verify")
    home.do("audit", "replay")


def write_files(folder: Path, files: int, items: int) -> None:
    folder.mkdir(parents=True)
    lines = write_voices(folder.parent / "all.jsonl", items, opening=0.5).read_text("utf-8")
    rows = lines.splitlines(keepends=True)
    size = len(rows) // files
    for n in range(files):
        (folder / f"{n:03}.jsonl").write_text("".join(rows[n * size : (n + 1) * size]), "utf-8")


def unordered(home: Home) -> Counter[Any]:
    """Loops by the items they hold: which of them came first is left to the workers."""
    loops: Counter[Any] = Counter()
    for key in story(home).loops:
        if len(key) == 2:
            (_, kind, topic, touchpoint, lead, state, _), joined = key
            items = frozenset(item for item, _ in joined) if kind == "small" else frozenset()
            loops[kind, topic, touchpoint, lead, state, items] += 1
    return loops
