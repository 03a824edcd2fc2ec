"""Tampering with stored rows is found and named; the tables are rebuilt from events."""

import json
from hashlib import sha256
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, select, update

from loopwright.history import tree
from loopwright.history.append import append
from loopwright.history.envelope import SYSTEM, Event, canonical, seal
from loopwright.history.verify import verify
from loopwright.ids import uuid7
from models.base import table
from models.clock import Clock
from models.history import AuditHead, EventBody, HistoryEvent
from models.kinds import EventKind
from models.loop import Loop, LoopIssue, LoopLink
from models.ticket import Ticket
from models.verification import Verification
from tasks.audit.replay import replay
from tasks.change import Change
from tasks.tickets.hand_off import accept, resolve
from tasks.workspace import Workspace
from tests.cast import (
    FEE,
    LOGIN,
    NOON,
    UPDATE,
    ZHANG,
    a_loop,
    change_now,
    lift_guards,
    number_of,
    open_some,
    rows,
    sample_issues,
    sound,
    take_in,
    ticket_of,
    withdraw,
)

EVENTS, BODIES, HEAD = table(HistoryEvent), table(EventBody), table(AuditHead)


@pytest.fixture
def told(ws: Workspace) -> Workspace:
    """A history of some thirty events with bodies, a worked and a withdrawn loop, a big loop."""
    take_in(ws, {"text": UPDATE, "customer": "C1"}, {"text": FEE, "customer": "C2"})
    worked = a_loop(ws, LOGIN, customer="C3")
    accept(ws, ticket_of(ws, worked.id).id, ZHANG, NOON)
    resolve(ws, ticket_of(ws, worked.id).id, "C01", "重置了密码", ZHANG, NOON)
    others = open_some(ws, 6)
    withdraw(ws, others[2])
    assert sound(ws.db)
    with ws.db.begin() as tx:
        lift_guards(tx)
    return ws


def report(ws: Workspace) -> tuple[int | None, str]:
    with ws.db.read() as tx:
        found = verify(tx)
    return found.seq, found.problem or ""


def set_column(place: int, /, **values: Any) -> Any:
    return update(EVENTS).where(EVENTS.c.seq == place).values(**values)


def test_a_sound_history_has_a_root(told: Workspace) -> None:
    with told.db.read() as tx:
        found = verify(tx)
        leaves = tx.execute(select(EVENTS.c.leaf).order_by(EVENTS.c.seq)).scalars()
        assert found.root == tree.root(tree.extend([], 0, leaves)).hex()
    assert found.ok
    assert found.size == number_of(told.db, HistoryEvent) > 20
    assert found.bodies == number_of(told.db, EventBody) > 5


EDITS: list[tuple[str, Any, str]] = [
    ("event_id", "forged", "columns differ from the envelope: event_id"),
    ("kind", "loop.merged", "columns differ from the envelope: kind"),
    ("at", NOON.replace(year=2020), "column at differs"),
    ("actor_type", "customer", "actor_type"),
    ("actor_id", "cc.li", "actor_id"),
    ("actor_via", "mail", "actor_via"),
    ("on_behalf_of", "CC", "on_behalf_of"),
    ("run_id", "another", "run_id"),
    ("policy_version", "99", "policy_version"),
    ("rule_version", "another", "rule_version"),
    ("template_version", "another", "template_version"),
    ("hash_alg", "md5", "hash_alg"),
    ("body_commit", "0" * 64, "body_commit"),
    ("data", "{}", "data"),
    ("envelope", "{}", "does not hash"),
    ("leaf", b"\0" * 32, "does not hash"),
]


@pytest.mark.parametrize(("column", "value", "words"), EDITS, ids=[e[0] for e in EDITS])
def test_every_edited_column_is_found(told: Workspace, column: str, value: Any, words: str) -> None:
    target = rows(told.db, HistoryEvent, kind="loop.opened")[-2].seq
    with told.db.begin() as tx:
        tx.execute(set_column(target, **{column: value}))
    seq, problem = report(told)
    assert seq == target
    assert words in problem


@pytest.mark.parametrize("column", ["loop_id", "loop_seq"])
def test_an_event_moved_to_another_place_of_its_loop(told: Workspace, column: str) -> None:
    target = rows(told.db, HistoryEvent, kind="loop.opened")[-2]
    value = "L-other" if column == "loop_id" else 77
    with told.db.begin() as tx:
        tx.execute(set_column(target.seq, **{column: value}))
    assert report(told) == (target.seq, f"columns differ from the envelope: {column}")


def resealed(row: Any, **changes: Any) -> dict[str, Any]:
    """A row as a careful forger leaves it: envelope, leaf and columns agree again."""
    envelope = canonical(json.loads(row.envelope) | changes)
    return {
        "envelope": envelope,
        "leaf": sha256(b"\0" + envelope.encode()).digest(),
        **{name: value for name, value in changes.items() if name == "kind"},
    }


def test_a_careful_edit_is_found_by_the_head(told: Workspace) -> None:
    target = rows(told.db, HistoryEvent, kind="loop.opened")[-2]
    with told.db.begin() as tx:
        tx.execute(set_column(target.seq, **resealed(target, kind="loop.withdrawn")))
    seq, problem = report(told)
    assert seq == number_of(told.db, HistoryEvent)
    assert "frontier differs" in problem


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not json", "not JSON"),
        ('{"v": 1}', "not canonical"),
        ('{"v":1,"v":1}', "duplicate keys"),
        ("{}", "lacks"),
        ("[]", "lacks"),
        ("7", "lacks"),
        ('{"actor":"x"}', "lacks"),
    ],
)
def test_an_envelope_that_is_none(told: Workspace, text: str, words: str) -> None:
    """Its leaf agrees with it, so the envelope itself must be looked at."""
    target = rows(told.db, HistoryEvent, kind="loop.opened")[-2].seq
    leaf = sha256(b"\0" + text.encode()).digest()
    with told.db.begin() as tx:
        tx.execute(set_column(target, envelope=text, leaf=leaf))
    seq, problem = report(told)
    assert seq == target
    assert words in problem


def swap(tx: Connection, one: int, two: int) -> None:
    for before, after in ((one, -1), (two, one), (-1, two)):
        tx.execute(set_column(before, seq=after))


def remove(tx: Connection, seq: int) -> None:
    tx.execute(delete(EVENTS).where(EVENTS.c.seq == seq))


def remove_and_close_up(tx: Connection, seq: int, size: int) -> None:
    remove(tx, seq)
    for later in range(seq + 1, size):
        tx.execute(set_column(later, seq=later - 1))


def test_a_deleted_event_leaves_a_gap(told: Workspace) -> None:
    with told.db.begin() as tx:
        remove(tx, 7)
    assert report(told) == (7, "gap: expected seq 7, found 8")


def test_a_deletion_that_is_closed_up(told: Workspace) -> None:
    """The loop's own sequence has a gap then, at its next event."""
    opened = next(e for e in rows(told.db, HistoryEvent, kind="loop.opened") if e.seq > 5)
    with told.db.begin() as tx:
        remove_and_close_up(tx, opened.seq, number_of(told.db, HistoryEvent))
    seq, problem = report(told)
    assert seq is not None
    assert seq >= opened.seq
    assert opened.loop_id in problem


def test_the_last_events_cut_off(told: Workspace) -> None:
    size = number_of(told.db, HistoryEvent)
    with told.db.begin() as tx:
        remove(tx, size - 1)
    seq, problem = report(told)
    assert seq == size - 1
    assert problem == f"the head says {size} events, the table holds {size - 1}"


def test_the_whole_table_emptied(told: Workspace) -> None:
    with told.db.begin() as tx:
        tx.execute(delete(EVENTS))
    seq, problem = report(told)
    assert seq == 0
    assert "the table holds 0" in problem


def test_swapped_events_of_different_loops(told: Workspace) -> None:
    first, second = rows(told.db, HistoryEvent, kind="loop.opened")[-2:]
    with told.db.begin() as tx:
        swap(tx, first.seq, second.seq)
    seq, problem = report(told)
    assert seq is not None
    assert problem


def test_swapped_events_of_one_loop(told: Workspace) -> None:
    last = rows(told.db, HistoryEvent, kind="ticket.accepted")[0]
    first, second = [e.seq for e in rows(told.db, HistoryEvent, loop_id=last.loop_id)][:2]
    with told.db.begin() as tx:
        swap(tx, first, second)
    seq, problem = report(told)
    assert seq == first
    assert "expected event 0, found 1" in problem


def test_an_inserted_event(told: Workspace) -> None:
    size = number_of(told.db, HistoryEvent)
    forged = dict(rows(told.db, HistoryEvent)[3]._mapping)
    with told.db.begin() as tx:
        tx.execute(insert(EVENTS).values(forged | {"seq": size, "event_id": "x", "loop_id": None,
                                                   "loop_seq": None}))  # fmt: skip
    assert report(told)[0] == size


def test_a_well_made_event_put_at_the_end(told: Workspace) -> None:
    """Everything about it is right, but the head was not told."""
    size = number_of(told.db, HistoryEvent)
    with told.db.begin() as tx:
        old = tx.execute(select(HEAD)).one()
        append(tx, [seal(Event(uuid7(), EventKind.SOURCE_RESUMED, NOON, SYSTEM, {}))])
        tx.execute(update(HEAD).values(size=old.size, frontier=old.frontier))
    seq, problem = report(told)
    assert seq == size + 1
    assert f"the head says {size}" in problem


HEADS: list[tuple[dict[str, Any], str]] = [
    ({"size": 3}, "the head says 3"),
    ({"frontier": b"\0" * 32}, "frontier differs"),
    ({"frontier": b""}, "frontier differs"),
]


@pytest.mark.parametrize(("values", "words"), HEADS)
def test_a_changed_head(told: Workspace, values: dict[str, Any], words: str) -> None:
    with told.db.begin() as tx:
        tx.execute(update(HEAD).values(**values))
    assert words in report(told)[1]


def test_a_broken_frontier_is_reported(told: Workspace) -> None:
    with told.db.begin() as tx:
        tx.execute(update(HEAD).values(frontier=b"half"))
    assert "frontier" in report(told)[1]


def test_a_missing_head(told: Workspace) -> None:
    with told.db.begin() as tx:
        tx.execute(delete(HEAD))
    assert "the head says 0" in report(told)[1]


def with_body(ws: Workspace) -> Any:
    return next(e for e in rows(ws.db, HistoryEvent) if e.body_commit and e.seq > 4)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"body": '{"reason":"forged"}'}, "does not match its commitment"),
        ({"salt": b"\0" * 32}, "does not match its commitment"),
    ],
)
def test_a_changed_body(told: Workspace, values: dict[str, Any], words: str) -> None:
    target = with_body(told)
    with told.db.begin() as tx:
        tx.execute(update(BODIES).where(BODIES.c.event_id == target.event_id).values(**values))
    assert report(told) == (target.seq, f"the body {words}")


def test_a_missing_body(told: Workspace) -> None:
    target = with_body(told)
    with told.db.begin() as tx:
        tx.execute(delete(BODIES).where(BODIES.c.event_id == target.event_id))
    assert report(told) == (target.seq, "the body is missing")


def test_a_body_too_many(told: Workspace) -> None:
    bare = next(e for e in rows(told.db, HistoryEvent) if not e.body_commit)
    with told.db.begin() as tx:
        tx.execute(insert(BODIES).values(event_id=bare.event_id, salt=b"s", body="{}"))
    assert report(told) == (bare.seq, "a body where the envelope has none")


def test_a_body_of_no_event(told: Workspace) -> None:
    with told.db.begin() as tx:
        tx.execute(insert(BODIES).values(event_id="nobody", salt=b"s", body="{}"))
    assert report(told)[1] == "1 bodies belong to no event"


def differences(ws: Workspace) -> str:
    with ws.db.read() as tx:
        found = replay(tx)
    assert (found.differences > 0) == bool(found.listed)
    return "; ".join(found.listed)


def test_replay_counts(told: Workspace) -> None:
    with told.db.read() as tx:
        found = replay(tx)
    assert found.loops == number_of(told.db, Loop)
    kept = (Loop, Ticket, LoopIssue, LoopLink, Clock, Verification)
    assert found.made == found.stored == sum(number_of(told.db, model) for model in kept)


ROWS: list[tuple[Any, dict[str, Any]]] = [
    (Loop, {"priority": "P9"}),
    (Loop, {"topic": "elsewhere"}),
    (Loop, {"version": 40}),
    (Loop, {"bounces": 5}),
    (Loop, {"lead": "RK"}),
    (Loop, {"arbitration": True}),
    (Loop, {"received_at": NOON.replace(year=2020)}),
    (Loop, {"rule": "forged"}),
    (Ticket, {"unit": "RK"}),
    (Ticket, {"state": "accepted"}),
    (Ticket, {"suggested": "RK"}),
    (Ticket, {"role": "participant"}),
    (Clock, {"due_at": NOON.replace(year=2030)}),
    (Clock, {"spec": "another"}),
    (LoopIssue, {"relation": "same_cause"}),
    (LoopLink, {"relation": "same_complaint"}),
]


@pytest.mark.parametrize(("model", "values"), ROWS, ids=str)
def test_replay_finds_an_edited_row(told: Workspace, model: Any, values: dict[str, Any]) -> None:
    kept = table(model)
    keys = [c.name for c in kept.primary_key]
    target = rows(told.db, model)[-1]
    same = [kept.c[k] == getattr(target, k) for k in keys]
    with told.db.begin() as tx:
        tx.execute(update(kept).where(*same).values(**values))
    found = differences(told)
    assert f"{kept.name} " in found
    assert f"{next(iter(values))} differ" in found


def test_replay_finds_an_extra_row(told: Workspace) -> None:
    target = rows(told.db, Ticket)[0]
    with told.db.begin() as tx:
        tx.execute(insert(table(Ticket)).values({**target._mapping, "id": "T-extra"}))
    assert "('T-extra',): only in the table" in differences(told)


def test_replay_finds_a_missing_row(told: Workspace) -> None:
    relations = table(LoopIssue)
    target = rows(told.db, LoopIssue)[0]
    with told.db.begin() as tx:
        tx.execute(delete(relations).where(relations.c.loop_id == target.loop_id))
    assert f"('{target.loop_id}', '{target.issue_id}'): only in the events" in differences(told)


def test_replay_finds_a_loop_without_events(told: Workspace) -> None:
    target = next(r for r in rows(told.db, Loop, kind="small") if r.customer_id is None)
    with told.db.begin() as tx:
        tx.execute(insert(table(Loop)).values({**target._mapping, "id": "L-extra"}))
    assert "the tables hold" in differences(told)


def test_replay_finds_an_event_that_cannot_have_happened(told: Workspace) -> None:
    """Well sealed and in its place, but the table of transitions forbids it."""
    loop = open_some(told, 1)[0]
    withdraw(told, loop)
    version = rows(told.db, Loop, id=loop)[0].version
    impossible = Event(uuid7(), EventKind.LOOP_RESOLVED, NOON, SYSTEM, {}, loop, version + 1)
    with told.db.begin() as tx:
        append(tx, [seal(impossible)])
    assert report(told) == (None, "")
    assert "is closed: no loop.resolved from there" in differences(told)


def test_replay_knows_relations_made_again(told: Workspace) -> None:
    loop = open_some(told, 1)[0]
    [issue] = sample_issues(told.db, 1)
    join = Change(loop, EventKind.LOOP_JOINED, {"issue": issue, "relation": "same_complaint"})
    change_now(told, join, join)
    assert differences(told) == ""
