"""Do the flows run as real Prefect runs, again without effect, and without customers' words?"""

import asyncio
import json
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from loopwright.db import Database
from loopwright.errors import EnvironmentFault, FindingError
from loopwright.history.envelope import Actor
from loopwright.migrate import upgrade
from models.tables import metadata
from tasks.documents.publish import publish, read_folders
from tasks.sweeps import SWEEPS
from tests.flows.conftest import Server

pytestmark = pytest.mark.flow

ROOT = Path(__file__).parents[2]
BANK = ROOT / "examples" / "bank"
FLOWS = tuple(SWEEPS)
CANARY = "金丝雀今早飞过柜台"
PHONE = "19900009876"
SOURCES = """\
sources:
  - name: voices
    title: {zh: 测试来源, en: Test source}
    channel: hotline
    format: {kind: jsonl}
    fetch: {kind: file, path: inbox/voices/*}
    map:
      id: id
      text: [text]
      customer: {phone: phone}
"""
VOICES = [
    {"id": "1", "text": f"转账三天了还没到账，{CANARY}，请回电{PHONE}", "phone": PHONE},
    {"id": "2", "text": f"还是没到账！{CANARY}", "phone": PHONE},
    {"id": "3", "text": "人脸识别总是失败，登录不了", "phone": "19900001111"},
    {"id": "4", "text": "柜员态度很好，点赞", "phone": "19900002222"},
    {"id": "5", "text": "嗯"},
]


class Site:
    """An installation in the working folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.db = Database(f"sqlite:///{folder}/site.db")
        upgrade(self.db)

    def publish(self) -> None:
        ignored = shutil.ignore_patterns("data", "model.yaml", "training.jsonl", "sources.yaml")
        shutil.copytree(BANK, self.folder / "bank", ignore=ignored)
        (self.folder / "bank/sources.yaml").write_text(SOURCES, "utf-8")
        by = Actor("person", "operator", "cli")
        publish(
            self.db, read_folders([self.folder / "bank"]), by, datetime(2026, 11, 1, tzinfo=UTC)
        )

    def drop(self, name: str, lines: list[str]) -> None:
        place = self.folder / ".loopwright/inbox/voices"
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("\n".join(lines) + "\n", "utf-8")

    def counts(self) -> dict[str, int]:
        with self.db.read() as tx:
            return {
                name: tx.execute(select(func.count()).select_from(table)).scalar_one()
                for name, table in metadata().tables.items()
            }

    def runs(self) -> set[str]:
        with self.db.read() as tx:
            return set(
                tx.exec_driver_sql(
                    "SELECT DISTINCT run_id FROM history_event WHERE run_id IS NOT NULL"
                ).scalars()
            )


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOOPWRIGHT_DATABASE__URL", f"sqlite:///{tmp_path}/site.db")
    monkeypatch.setenv("LOOPWRIGHT_IDENTITY__SECRET", "flow-tests-only-0123456789abcdefghij")
    made = Site(tmp_path)
    yield made
    made.db.close()


def run(name: str) -> Any:
    """A flow's final state, run here and recorded by the server."""
    flow: Callable[..., Any] = getattr(import_module(f"flows.{name}"), name)
    return asyncio.run(flow(return_state=True))


def result(state: Any) -> Any:
    return asyncio.run(state.aresult(raise_on_failure=False))


def test_the_flows_do_the_whole_job_once(site: Site, prefect_server: Server) -> None:
    site.publish()
    site.drop("a.jsonl", [json.dumps(voice, ensure_ascii=False) for voice in VOICES])
    counts = {}
    for name in FLOWS:
        state = run(name)
        assert state.type.value == "COMPLETED", state.message
        counts[name] = result(state)
        assert all(type(n) is int for n in counts[name].values()), "results are counts only"
    assert counts["ingest_feedback"]["stored"] == len(VOICES)
    assert counts["triage_feedback"]["feedback"] == len(VOICES)
    assert counts["triage_feedback"]["opened"] >= 2
    assert counts["triage_feedback"]["joined"] >= 1
    assert counts["deliver_messages"]["sent"] >= 2
    runs = site.runs()
    assert len(runs) == 3, "the history names the flow runs"
    known = rows(prefect_server.database, "SELECT id, state_type FROM flow_run")
    assert {(run_id, "COMPLETED") for run_id in runs} <= set(known)

    before = site.counts()
    for name in FLOWS:
        state = run(name)
        assert state.type.value == "COMPLETED"
        assert not any(result(state).values()), name
    assert site.counts() == before


def test_no_customer_words_reach_prefect(site: Site, prefect_server: Server) -> None:
    """Neither from runs that succeed nor from one that fails over a customer's words."""
    site.publish()
    site.drop("a.jsonl", [json.dumps(voice, ensure_ascii=False) for voice in VOICES])
    for name in FLOWS:
        run(name)
    site.drop("b.jsonl", [f"{CANARY} {PHONE} is no JSON {n}" for n in range(60)])
    state = run("ingest_feedback")
    assert state.type.value == "FAILED"
    assert isinstance(result(state), FindingError)
    with site.db.read() as tx:
        ours = tx.exec_driver_sql("SELECT text FROM feedback").scalars().all()
    assert any(CANARY in words for words in ours), "the canary was there to be leaked"
    time.sleep(3)  # Prefect's client sends its logs in batches, the server flushes once a second
    kept = everything(prefect_server.database)
    assert "ingest_feedback" in kept
    for private in (CANARY, PHONE, json.dumps(CANARY).strip('"')):
        assert private not in kept


def everything(database: Path) -> str:
    """All text and bytes that Prefect's database holds."""
    with sqlite3.connect(database) as connection:
        connection.text_factory = lambda content: content.decode("utf-8", "replace")
        return "\n".join(connection.iterdump())


def rows(database: Path, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(database) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("name", ["ingest_feedback", "triage_feedback"])
def test_without_documents_a_flow_fails_with_a_clear_message(site: Site, name: str) -> None:
    before = site.counts()
    state = run(name)
    assert state.type.value == "FAILED"
    error = result(state)
    assert isinstance(error, EnvironmentFault)
    assert re.search("no documents are published yet", str(error))
    assert "org publish" in str(error)
    assert site.counts() == before
