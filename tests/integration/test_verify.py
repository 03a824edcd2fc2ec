"""Tampering with stored rows is found and named; the tables are rebuilt from events."""

import json
from hashlib import sha256
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, select, text, update

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
    DAY,
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
    return found.seq, (found.problem or "").rpartition(" / ")[2]


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
    ("at", NOON.replace(year=2020), "columns differ from the envelope: at"),
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
    ("content", "words"),
    [
        ("not json", "not JSON"),
        ('{"v": 1}', "not of the form: members"),
        ('{"v":1,"v":1}', "duplicate keys"),
        ("{}", "not of the form: members"),
        ("[]", "not of the form: members"),
        ("7", "not of the form: members"),
        ('{"actor":"x"}', "not of the form: members"),
    ],
)
def test_an_envelope_that_is_none(told: Workspace, content: str, words: str) -> None:
    """Its leaf agrees with it, so the envelope itself must be looked at."""
    target = rows(told.db, HistoryEvent, kind="loop.opened")[-2].seq
    leaf = sha256(b"\0" + content.encode()).digest()
    with told.db.begin() as tx:
        tx.execute(set_column(target, envelope=content, leaf=leaf))
    seq, problem = report(told)
    assert seq == target
    assert words in problem


def test_an_envelope_written_otherwise(told: Workspace) -> None:
    """The same values, but not the only bytes they may have."""
    target = rows(told.db, HistoryEvent, kind="loop.opened")[-2]
    content = json.dumps(json.loads(target.envelope))
    with told.db.begin() as tx:
        leaf = sha256(b"\0" + content.encode()).digest()
        tx.execute(set_column(target.seq, envelope=content, leaf=leaf))
    assert report(told) == (target.seq, "the envelope is not canonical")


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("v", 99),
        ("v", True),
        ("hash", "md5"),
        ("loop_seq", False),
        ("loop_seq", -1),
        ("at", "2026-08-03 04:00"),
        ("body", "00"),
        ("policy", 1),
        ("actor", {"type": "person", "id": "x", "via": "cli", "more": "x"}),
        ("actor", {"type": "person", "id": 1, "via": "cli"}),
        ("data", []),
        ("data", {"x": 0.5}),
        ("data", {"x": 2**60}),
        ("data", {"x": {"y": 1}}),
        ("data", {"份": 1}),
    ],
)
def test_what_no_bundle_could_prove_is_found_here(told: Workspace, member: str, value: Any) -> None:
    """`tools/verify_history.py` would refuse it, so it must not get under a signature."""
    target = rows(told.db, HistoryEvent, kind="loop.opened")[-2]
    with told.db.begin() as tx:
        tx.execute(set_column(target.seq, **resealed(target, **{member: value})))
    seq, problem = report(told)
    assert seq == target.seq
    assert "not of the form" in problem


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("body.erased", {"event": "x", "why": "customer"}),
        ("body.erased", {"event": "x", "why": "", "authority": "court"}),
        ("body.erased", {"why": "customer", "authority": "court"}),
        ("history.restored", {}),
        ("history.restored", {"epoch": 1}),
        ("history.restored", {"epoch": True}),
        ("history.restored", {"epoch": 10**12}),
    ],
)
def test_what_verification_relies_on_is_complete(
    told: Workspace, kind: str, data: dict[str, Any]
) -> None:
    size = number_of(told.db, HistoryEvent)
    with told.db.begin() as tx:
        append(tx, [seal(Event(uuid7(), kind, NOON, SYSTEM, data))])
    assert report(told) == (size, f"the envelope is not of the form: data of {kind}")


UNREADABLE = [
    ("history_event", "envelope = x'ff00'"),
    ("history_event", "at = 'yesterday'"),
    ("history_event", "at = ''"),
    ("history_event", "at = x'00'"),
    ("history_event", "data = x'ff'"),
    ("history_event", "leaf = 'text'"),
]


@pytest.mark.parametrize(("name", "edit"), UNREADABLE)
def test_a_row_that_cannot_be_read_is_named(told: Workspace, name: str, edit: str) -> None:
    if not told.db.is_sqlite:
        pytest.skip("PostgreSQL keeps to the types of its columns")
    with told.db.begin() as tx:
        tx.execute(text(f"UPDATE {name} SET {edit} WHERE seq = 9"))
    assert report(told)[0] == 9


@pytest.mark.parametrize("edit", ["body = x'ff'", "salt = 'text'"])
def test_a_body_that_cannot_be_read_is_named(told: Workspace, edit: str) -> None:
    if not told.db.is_sqlite:
        pytest.skip("PostgreSQL keeps to the types of its columns")
    target = with_body(told)
    with told.db.begin() as tx:
        tx.execute(text(f"UPDATE event_body SET {edit} WHERE event_id = '{target.event_id}'"))
    assert report(told)[0] == target.seq


def test_an_id_that_stands_twice(told: Workspace) -> None:
    """Its guard, the unique index, is gone; each of the two events is well made."""
    if not told.db.is_sqlite:
        pytest.skip("the index is a constraint there, dropped in the same way")
    event = Event(uuid7(), EventKind.PROGRAM_STARTED, NOON, SYSTEM, {})
    with told.db.begin() as tx:
        unguarded(tx)
        append(tx, [seal(event), seal(event)])
    assert report(told)[1] == "an event id stands twice"


def unguarded(tx: Connection) -> None:
    """The table once more without its indexes."""
    columns = ", ".join(column.name for column in EVENTS.columns)
    tx.execute(text(f"CREATE TABLE copy AS SELECT {columns} FROM history_event"))
    tx.execute(text("DROP TABLE history_event"))
    tx.execute(text("ALTER TABLE copy RENAME TO history_event"))


def test_how_far_times_step_back_is_told(told: Workspace) -> None:
    size = number_of(told.db, HistoryEvent)
    late, early = NOON + 30 * DAY, NOON + 20 * DAY
    with told.db.begin() as tx:
        kind = EventKind.PROGRAM_STARTED
        append(tx, [seal(Event(uuid7(), kind, at, SYSTEM, {})) for at in (late, early)])
    with told.db.read() as tx:
        found = verify(tx)
    assert found.ok
    assert (found.back.seconds, found.back.seq) == (10 * DAY.total_seconds(), size + 1)


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
        append(tx, [seal(Event(uuid7(), EventKind.PROGRAM_STARTED, NOON, SYSTEM, {}))])
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
