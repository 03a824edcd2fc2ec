"""What somebody does at a terminal: whose act the history calls it, and by which version it was."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import tasks.start
from console.main import app
from models.feedback import Feedback
from models.history import HistoryEvent
from models.kinds import EventKind
from tasks.workspace import Workspace
from tests.cast import LOGIN, OPS, number_of, one, rows, sound, take_in

Typed = Callable[..., Result]
K = EventKind


@pytest.fixture
def typed(url: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """A command line of the program on this database."""
    monkeypatch.setenv("LOOPWRIGHT_DATABASE__URL", url)
    monkeypatch.setenv("LOOPWRIGHT_IDENTITY__SECRET", "a secret of the tests")
    (home / "said.txt").write_text(f"{LOGIN}\n", "utf-8")

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, [*words])

    return run


def newest(ws: Workspace, kind: EventKind) -> tuple[str, str, str]:
    event = rows(ws.db, HistoryEvent, kind=kind)[-1]
    return event.actor_type, event.actor_id, event.actor_via


def versions(ws: Workspace) -> list[tuple[str, str]]:
    events = [json.loads(e.data) for e in rows(ws.db, HistoryEvent, kind=K.PROGRAM_STARTED)]
    return [(data["program"], data["version"]) for data in events]


def test_a_file_is_read_by_a_person_or_by_the_command_line(ws: Workspace, typed: Typed) -> None:
    assert typed("ingest", "said.txt", "--source", "posts").exit_code == 0
    cron = ("system", "loopwright", "cli")
    assert newest(ws, K.FEEDBACK_INGESTED) == newest(ws, K.INTAKE_FINISHED) == cron
    said = typed("ingest", "said.txt", "--source", "posts", "--as", OPS.id)
    assert said.exit_code == 0, said.output
    assert newest(ws, K.INTAKE_FINISHED) == ("person", OPS.id, "cli")
    assert json.loads(rows(ws.db, HistoryEvent)[-1].data)["duplicates"] == 1


ACTS = [
    (("source", "off", "desk"), K.SOURCE_SWITCHED),
    (("source", "on", "desk"), K.SOURCE_SWITCHED),
    (("quarantine", "replay", "--source", "desk"), K.SOURCE_RESUMED),
]


@pytest.mark.parametrize(("words", "kind"), ACTS, ids=[" ".join(words) for words, _ in ACTS])
def test_an_act_names_its_person(
    ws: Workspace, typed: Typed, words: tuple[str, ...], kind: EventKind
) -> None:
    assert typed(*words).exit_code != 0, "nobody is named"
    assert rows(ws.db, HistoryEvent, kind=kind) == []
    assert typed(*words, "--as", OPS.id).exit_code == 0
    assert newest(ws, kind) == ("person", OPS.id, "cli")


def test_nothing_leaves_in_nobodys_name(ws: Workspace, typed: Typed) -> None:
    size = number_of(ws.db, HistoryEvent)
    assert typed("notify", "replay", "all").exit_code != 0
    said = typed("notify", "replay", "all", "--as", "mallory")
    assert "mallory" in str(said.exception)
    assert number_of(ws.db, HistoryEvent) == size


def test_a_test_message_leaves_a_trace(ws: Workspace, typed: Typed) -> None:
    said = typed("notify", "test", "--to", "somebody@firm.invalid")
    assert said.exit_code == 0, said.output
    event = one(ws.db, HistoryEvent, kind=K.MESSAGE_TESTED)
    assert json.loads(event.data) == {"transport": "file", "accepted": True}
    assert "somebody" not in event.envelope
    assert newest(ws, K.MESSAGE_TESTED) == ("system", "loopwright", "cli")


def test_a_new_version_says_so_before_it_writes(
    ws: Workspace, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not where it only looks or tries."""
    take_in(ws, {"text": LOGIN})
    monkeypatch.setattr(tasks.start, "program_version", lambda: "9.1")
    for looks in (
        ("loop", "list"),
        ("ticket", "list"),
        ("source", "list"),
        ("audit", "verify"),
        ("source", "off", "desk", "--as", OPS.id, "--dry-run"),
        ("ingest", "said.txt", "--source", "posts", "--dry-run"),
    ):
        assert typed(*looks).exit_code == 0, looks
    assert versions(ws) == []
    for _ in range(2):
        assert typed("source", "off", "desk", "--as", OPS.id).exit_code == 0
    assert versions(ws) == [("cli", "9.1")]
    kinds = [event.kind for event in rows(ws.db, HistoryEvent)][-3:]
    assert kinds == [K.PROGRAM_STARTED, K.SOURCE_SWITCHED, K.SOURCE_SWITCHED]
    assert newest(ws, K.PROGRAM_STARTED) == ("system", "loopwright", "cli")
    monkeypatch.setattr(tasks.start, "program_version", lambda: "9.2")
    assert typed("run", "triage_feedback", "--no-prefect").exit_code == 0
    assert versions(ws)[-1] == ("run", "9.2")
    monkeypatch.setattr(tasks.start, "program_version", lambda: "9.3")
    assert typed("ingest", "said.txt", "--source", "posts").exit_code == 0
    assert versions(ws)[-1] == ("cli", "9.3")
    assert number_of(ws.db, Feedback) == 2
    assert sound(ws.db)
