"""Which program worked since when, who may work, and what is pulled: all of it in the history."""

import json
from typing import Any

import pytest

import tasks.start
from loopwright.db import Database
from loopwright.errors import InputError
from loopwright.history.envelope import canonical
from loopwright.migrate import newest, program_version, upgrade
from models.history import EventBody, HistoryEvent
from models.kinds import EventKind
from tasks.documents.publish import publish
from tasks.intake.pull import source_states, switch_source
from tasks.start import record_start, record_version
from tasks.workspace import Workspace
from tests.cast import HOUR, NOON, OPS, document, documents, number_of, one, rows, sound

K = EventKind


def data_of(db: Database, kind: EventKind) -> list[dict[str, Any]]:
    return [json.loads(row.data) for row in rows(db, HistoryEvent, kind=kind)]


def test_a_migration_is_an_event(empty_url: str) -> None:
    db = Database(empty_url)
    upgrade(db, NOON)
    upgrade(db, NOON + HOUR)
    said = {"before": None, "revision": newest(), "version": program_version()}
    assert data_of(db, K.DATABASE_MIGRATED) == [said]
    event = one(db, HistoryEvent)
    assert (event.at, event.actor_id, event.actor_via) == (NOON, "operator", "cli")
    assert sound(db)
    db.close()


def test_every_start_is_an_event(ws: Workspace) -> None:
    for hours in (1, 2):
        record_start(ws, "up", NOON + hours * HOUR)
    said = {"program": "up", "version": program_version(), "revision": newest()}
    assert data_of(ws.db, K.PROGRAM_STARTED) == [said, said]
    assert sound(ws.db)


def test_a_run_is_an_event_where_its_version_is_new(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The migration has said which version this is."""
    record_version(ws, "flow", NOON)
    assert data_of(ws.db, K.PROGRAM_STARTED) == []
    for version in ("9.1", "9.1", "9.2", "9.2"):
        monkeypatch.setattr(tasks.start, "program_version", lambda version=version: version)
        record_version(ws, "flow", NOON)
    assert [d["version"] for d in data_of(ws.db, K.PROGRAM_STARTED)] == ["9.1", "9.2"]


def test_a_source_is_switched_by_somebody(ws: Workspace) -> None:
    switch_source(ws, "desk", False, OPS, NOON)
    assert [s["name"] for s in source_states(ws) if not s["enabled"]] == ["desk"]
    switch_source(ws, "desk", True, OPS, NOON)
    said = data_of(ws.db, K.SOURCE_SWITCHED)
    assert [(d["source"], d["enabled"]) for d in said] == [("desk", False), ("desk", True)]
    size = number_of(ws.db, HistoryEvent)
    with pytest.raises(InputError, match="no source"):
        switch_source(ws, "nowhere", False, OPS, NOON)
    assert number_of(ws.db, HistoryEvent) == size


def test_who_came_went_and_changed(ws: Workspace) -> None:
    [first] = data_of(ws.db, K.DOCUMENTS_PUBLISHED)
    assert (first["people_came"], first["people_went"], first["people_changed"]) == (8, 0, 0)
    people = document("organisation").splitlines()
    changed = "\n".join(
        line.replace("ho.audit", "ho.new").replace("[owner]", "[owner, approver]", "cc.li" in line)
        for line in people
    )
    publish(ws.db, documents(organisation=changed), OPS, NOON)
    event = rows(ws.db, HistoryEvent, kind=K.DOCUMENTS_PUBLISHED)[-1]
    said = json.loads(event.data)
    assert (said["people_came"], said["people_went"], said["people_changed"]) == (1, 1, 1)
    body = json.loads(one(ws.db, EventBody, event_id=event.event_id).body)
    assert body["people"] == {
        "came": {"ho.new": ["HO", "auditor"]},
        "went": {"ho.audit": ["HO", "auditor"]},
        "changed": {"cc.li": ["CC", "approver", "owner"]},
    }
    assert "李雷" not in canonical(body) + event.envelope
