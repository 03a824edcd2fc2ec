"""Checkpoints: what is signed, what is refused, and what becomes of it outside."""

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email import message_from_bytes
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text, update

from loopwright.db import Database
from loopwright.errors import EnvironmentFault, FindingError, InputError
from loopwright.history import note, tree
from loopwright.history.append import append, head
from loopwright.history.checkpoints import SealRefused, split_notes
from loopwright.history.envelope import SYSTEM, Event
from loopwright.history.envelope import seal as seal_event
from loopwright.history.keys import Signer
from loopwright.history.note import Checkpoint, SigningKey
from loopwright.history.proof import verify_consistency
from loopwright.history.verify import verify
from loopwright.ids import uuid7
from loopwright.migrate import upgrade
from models.base import table
from models.history import AuditCheckpoint, AuditHead, EventBody, HistoryEvent
from models.kinds import EventKind
from models.message import Message
from tasks.audit.kept_outside import newest_outside
from tasks.audit.publish_checkpoints import append_note, not_taken, publish, ways
from tasks.audit.seal_history import (
    Restored,
    newest_proof,
    refusal,
    restored,
    seal,
    store,
    unsealed,
)
from tasks.sweeps import seal_history, waiting
from tasks.workspace import Workspace
from tests.cast import NOON, OPS, lift_guards, number_of, open_some, rows, settings_for, sound
from tests.smtp_double import smtp
from tests.wecom_double import wecom

ORIGIN = "bank.example/loop"
KEY = SigningKey(ORIGIN, bytes(range(32)))
SIGNER = Signer((KEY.public,))
EVENTS, BODIES, HEAD = table(HistoryEvent), table(EventBody), table(AuditHead)
CHECKPOINTS = table(AuditCheckpoint)
MINUTES = timedelta(minutes=5)


@pytest.fixture
def sealing(ws: Workspace) -> Workspace:
    """A workspace with a key and some history."""
    settings = ws.settings.model_copy(update={"audit": audit(ws)})
    found = Workspace(settings, ws.db, ws.run)
    open_some(found, 3)
    return found


def audit(ws: Workspace, **more: Any) -> Any:
    return type(ws.settings.audit)(key=KEY.line.strip(), **more)


def with_ways(ws: Workspace, **more: Any) -> Workspace:
    """The same workspace with other settings below `audit`, and of mail and robots."""
    changed = {name: more.pop(name) for name in ("smtp", "wecom") if name in more}
    settings = ws.settings.model_copy(update={"audit": audit(ws, **more)})
    return Workspace(type(settings)(**(settings.model_dump() | changed)), ws.db, ws.run)


def moment(n: int) -> datetime:
    return NOON + n * MINUTES


def checked(ws: Workspace) -> Any:
    with ws.db.read() as tx:
        return verify(tx, SIGNER)


def test_a_checkpoint_says_the_size_and_root_of_now(sealing: Workspace) -> None:
    made = seal(sealing, NOON)
    assert made is not None
    (row,) = rows(sealing.db, AuditCheckpoint)
    assert (row.epoch, row.size, row.published) == (1, number_of(sealing.db, HistoryEvent), [])
    assert note.verify(row.note, KEY.public) == made == Checkpoint(ORIGIN, row.size, row.root)
    assert tree.root(tree.unpack(row.frontier)) == row.root
    report = checked(sealing)
    assert report.ok
    assert (report.checkpoints, report.root) == (1, row.root.hex())


def test_an_idle_history_seals_nothing(sealing: Workspace) -> None:
    before = number_of(sealing.db, HistoryEvent)
    assert seal(sealing, NOON)
    assert [seal(sealing, NOON + n * MINUTES) for n in range(1, 4)] == [None] * 3
    assert number_of(sealing.db, AuditCheckpoint) == 1
    assert number_of(sealing.db, HistoryEvent) == before
    assert waiting(sealing, NOON)["unsealed"] == unsealed(sealing) == 0


def test_each_checkpoint_extends_the_one_before(sealing: Workspace) -> None:
    made = [seal(sealing, NOON)]
    for n in (1, 4, 9):
        open_some(sealing, n)
        assert unsealed(sealing) > 0
        made.append(seal(sealing, NOON))
    assert number_of(sealing.db, AuditCheckpoint) == 4
    last = made[-1]
    for earlier in made:
        assert earlier
        assert last
        proof = newest_proof(sealing, earlier.size)
        assert note.verify(proof.note, KEY.public) == last
        assert verify_consistency(earlier.size, last.size, earlier.root, last.root, proof.path)
    assert sound(sealing.db)


def test_without_a_key_nothing_is_signed(ws: Workspace) -> None:
    open_some(ws, 2)
    assert seal(ws, NOON) is None
    assert number_of(ws.db, AuditCheckpoint) == 0
    with pytest.raises(EnvironmentFault, match="no checkpoint"):
        newest_proof(ws, None)


def test_a_key_of_another_name_is_refused(sealing: Workspace) -> None:
    with pytest.raises(EnvironmentFault, match=r"audit\.origin"):
        seal(with_ways(sealing, origin="elsewhere.example/loop"), NOON)


def test_a_proof_from_beyond_the_end_is_refused(sealing: Workspace) -> None:
    made = seal(sealing, NOON)
    assert made
    assert newest_proof(sealing, made.size).path == ()
    with pytest.raises(InputError, match="less than"):
        newest_proof(sealing, made.size + 1)


def set_checkpoint(**values: Any) -> Callable[[Workspace], None]:
    def tamper(ws: Workspace) -> None:
        run(ws, update(CHECKPOINTS).values(**values))

    return tamper


def set_head(**values: Any) -> Callable[[Workspace], None]:
    def tamper(ws: Workspace) -> None:
        run(ws, update(HEAD).values(**values))

    return tamper


def run(ws: Workspace, *statements: Any) -> None:
    with ws.db.begin() as tx:
        lift_guards(tx)
        for statement in statements:
            tx.execute(statement)


def edit_new_event(ws: Workspace) -> None:
    place = number_of(ws.db, HistoryEvent) - 1
    run(ws, update(EVENTS).where(EVENTS.c.seq == place).values(envelope="{}"))


def drop_new_event(ws: Workspace) -> None:
    place = number_of(ws.db, HistoryEvent) - 2
    run(ws, delete(EVENTS).where(EVENTS.c.seq == place))


def rebuild(ws: Workspace, keep: int | None = None, edit: int | None = None) -> None:
    """As somebody who knows the code: shorten or edit, then recompute every hash and the head."""
    with ws.db.begin() as tx:
        lift_guards(tx)
        if keep is not None:
            gone = select(EVENTS.c.event_id).where(EVENTS.c.seq >= keep)
            tx.execute(delete(BODIES).where(BODIES.c.event_id.in_(gone)))
            tx.execute(delete(EVENTS).where(EVENTS.c.seq >= keep))
        if edit is not None:
            old = tx.execute(select(EVENTS.c.envelope).where(EVENTS.c.seq == edit)).scalar_one()
            new = old.replace('"via":"', '"via":"x')
            via = json.loads(new)["actor"]["via"]
            values = {"envelope": new, "leaf": tree.leaf_hash(new.encode()), "actor_via": via}
            tx.execute(update(EVENTS).where(EVENTS.c.seq == edit).values(**values))
        leaves = list(tx.execute(select(EVENTS.c.leaf).order_by(EVENTS.c.seq)).scalars())
        frontier = tree.pack(tree.extend([], 0, leaves))
        tx.execute(update(HEAD).values(size=len(leaves), frontier=frontier))


def forged_note(ws: Workspace) -> None:
    (row,) = rows(ws.db, AuditCheckpoint)
    other = SigningKey(ORIGIN, bytes(32))
    set_checkpoint(note=note.sign(Checkpoint(ORIGIN, row.size, row.root), other))(ws)


TAMPERED: list[tuple[str, Callable[[Workspace], None], str]] = [
    ("note", set_checkpoint(note="no note at all"), "checkpoint"),
    ("forged note", forged_note, "checkpoint"),
    ("root", set_checkpoint(root=bytes(32)), "checkpoint"),
    ("frontier", set_checkpoint(frontier=bytes(32)), "checkpoint"),
    ("odd frontier", set_checkpoint(frontier=b"x"), "checkpoint"),
    ("epoch", set_checkpoint(epoch=2), "checkpoint"),
    ("head's frontier", set_head(frontier=bytes(32)), "head"),
    ("head's odd frontier", set_head(frontier=b"x"), "head"),
    ("head's size", set_head(size=1), "truncated"),
    ("new event", edit_new_event, "event"),
    ("gap", drop_new_event, "event"),
    ("shortened, rebuilt", lambda ws: rebuild(ws, keep=4), "truncated"),
    ("early event, rebuilt", lambda ws: rebuild(ws, edit=2), "head"),
]


@pytest.mark.parametrize(
    ("tamper", "problem"), [t[1:] for t in TAMPERED], ids=[t[0] for t in TAMPERED]
)
def test_what_does_not_extend_the_last_one_is_refused_once_in_the_history(
    sealing: Workspace, tamper: Callable[[Workspace], None], problem: str
) -> None:
    seal(sealing, NOON)
    open_some(sealing, 2)
    tamper(sealing)
    said = []
    for n in range(3):
        with pytest.raises(SealRefused) as caught:
            seal(sealing, NOON + n * MINUTES)
        said.append(caught.value.data)
    assert caught.value.exit_code == 1
    assert caught.value.problem == problem
    assert said[0] == said[1] == said[2]
    assert number_of(sealing.db, AuditCheckpoint) == 1
    recorded = rows(sealing.db, HistoryEvent, kind="history.seal_refused")
    assert len(recorded) <= 1
    assert not checked(sealing).ok


def test_a_refusal_stands_in_the_history_until_the_next_checkpoint(sealing: Workspace) -> None:
    seal(sealing, NOON)
    (row,) = rows(sealing.db, AuditCheckpoint)
    open_some(sealing, 1)
    set_checkpoint(root=bytes(32))(sealing)
    for _ in range(3):
        with pytest.raises(SealRefused):
            seal(sealing, NOON)
    (event,) = rows(sealing.db, HistoryEvent, kind="history.seal_refused")
    expected = {"checkpoint": row.size, "epoch": 1, "problem": "checkpoint", "seq": None}
    assert json.loads(event.data) == expected
    assert "检查点" in (refusal(sealing) or "")
    (word,) = rows(sealing.db, Message, template="seal_refused")
    assert (word.unit, word.values) == ("CX", expected)
    set_checkpoint(root=row.root)(sealing)
    assert seal(sealing, NOON)
    assert refusal(sealing) is None
    assert checked(sealing).ok


@pytest.mark.breaks_history
def test_a_refusal_stays_one_where_no_operations_are_published(empty_url: str, home: Path) -> None:
    db = Database(empty_url)
    upgrade(db, NOON)
    ws = Workspace(settings_for(empty_url, home), db)
    unpublished = Workspace(ws.settings.model_copy(update={"audit": audit(ws)}), db)
    set_head(size=7)(unpublished)
    with pytest.raises(SealRefused):
        seal(unpublished, NOON)
    db.close()


def test_the_first_bad_event_is_named(sealing: Workspace) -> None:
    seal(sealing, NOON)
    open_some(sealing, 2)
    edit_new_event(sealing)
    with pytest.raises(SealRefused) as caught:
        seal(sealing, NOON)
    assert caught.value.seq == number_of(sealing.db, HistoryEvent) - 2
    # the refusal's own event came after it


def test_two_sealers_at_once_make_one_checkpoint(
    sealing: Workspace, another: Callable[[], Workspace]
) -> None:
    workers = [Workspace(sealing.settings, another().db, f"sealer-{n}") for n in range(4)]
    start = threading.Barrier(len(workers))

    def work(ws: Workspace) -> Checkpoint | None:
        start.wait()
        return seal(ws, NOON)

    with ThreadPoolExecutor(len(workers)) as pool:
        made = list(pool.map(work, workers))
    assert sum(m is not None for m in made) == 1
    assert number_of(sealing.db, AuditCheckpoint) == 1


def sealed_anew(ws: Workspace, now: datetime) -> Checkpoint:
    """The checkpoint of what is written next."""
    while (made := seal(ws, now)) is None:
        time.sleep(0.005)
    return made


def test_sealing_beside_writers_never_refuses(
    sealing: Workspace, another: Callable[[], Workspace]
) -> None:
    writer, stop = another(), threading.Event()

    def write() -> None:
        while not stop.is_set():
            with writer.db.begin() as tx:
                kind = EventKind.PROGRAM_STARTED.value
                events = [Event(uuid7(), kind, NOON, SYSTEM, {"source": "x"}) for _ in range(7)]
                append(tx, [seal_event(event) for event in events])

    thread = threading.Thread(target=write)
    thread.start()
    try:
        made = [sealed_anew(sealing, moment(n)) for n in range(8)]
    finally:
        stop.set()
        thread.join()
    sizes = [m.size for m in made]
    assert sizes == sorted(set(sizes))
    assert checked(sealing).ok


def test_a_signed_checkpoint_that_was_not_stored_never_leaves(
    sealing: Workspace, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """A kill between signing and storing, then one between storing and publishing."""
    ws = with_ways(sealing, append_to=home / "outside.txt")

    def die(*_: Any) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tasks.audit.seal_history.store", die)
        with pytest.raises(KeyboardInterrupt):
            seal(ws, NOON)
    assert number_of(ws.db, AuditCheckpoint) == 0
    assert not (home / "outside.txt").exists()
    assert seal(ws, NOON)
    counts = asyncio.run(seal_history(ws, lambda: NOON + MINUTES))
    assert counts == {"sealed": 0, "published": 1, "failed": 0}
    (row,) = rows(ws.db, AuditCheckpoint)
    assert (home / "outside.txt").read_text("utf-8") == row.note
    assert not store(ws, dict(row._mapping))


# Outside


@dataclass
class Endpoint:
    """Takes what is posted; answers with `status`."""

    status: int = 204
    taken: list[tuple[str, str, bytes]] = field(default_factory=list)
    url: str = ""


@contextmanager
def endpoint() -> Iterator[Endpoint]:
    found = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.taken.append((self.path, self.headers["Content-Type"], body))
            self.send_response(found.status)
            if 300 <= found.status < 400:
                self.send_header("Location", found.url)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_port}/checkpoints?token=s3cret"
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


def entries(ws: Workspace) -> dict[str, list[tuple[Any, Any]]]:
    """Way -> (ok, error) in order, of the newest checkpoint."""
    row = rows(ws.db, AuditCheckpoint)[-1]
    found: dict[str, list[tuple[Any, Any]]] = {}
    for e in row.published:
        found.setdefault(e["to"].partition(":")[0], []).append((e["ok"], e["error"]))
    return found


def test_every_way_gets_it_and_one_that_fails_is_tried_again(
    sealing: Workspace, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = "robot-key-0123456789"
    with smtp() as (relay, port), wecom(key, clock=time.monotonic) as group, endpoint() as web:
        ws = with_ways(
            sealing,
            mail_to=("audit@bank.example", "nobody@bank.example"),
            append_to=home / "outside.txt",
            wecom_robot="audit.group",
            post_to=web.url,
            smtp={"host": "127.0.0.1", "port": port, "sender": "循环 <cx@bank.example>"},
            wecom={"base_url": group.url, "robots": {"audit_group": key}},
        )
        web.status = 503
        counts = asyncio.run(seal_history(ws, lambda: NOON))
        assert counts == {"sealed": 1, "published": 3, "failed": 2}
        (row,) = rows(ws.db, AuditCheckpoint)
        (mail,) = relay.accepted
        assert mail.rcpt_tos == ["audit@bank.example"]
        parts: Any = message_from_bytes(bytes(mail.content or b"")).get_payload()  # type: ignore[arg-type]
        assert parts[0].get_payload(decode=True).decode().replace("\r\n", "\n") == row.note
        (shown,) = group.shown
        assert row.note in shown.content
        assert (home / "outside.txt").read_text("utf-8") == row.note
        assert [taken[1:] for taken in web.taken] == [
            ("text/plain; charset=utf-8", row.note.encode())
        ]
        assert entries(ws) == {
            "mail": [(True, None), (False, "recipients refused: 550")],
            "wecom": [(True, None)],
            "file": [(True, None)],
            "http": [(False, "HTTP 503")],
        }
        assert len(not_taken(ws)) == 2
        web.status = 302
        assert vars(asyncio.run(publish(ws, NOON + MINUTES))) == {"published": 0, "failed": 2}
        web.status = 200
        assert vars(asyncio.run(publish(ws, NOON + 2 * MINUTES))) == {"published": 1, "failed": 1}
        assert entries(ws)["http"] == [(False, "HTTP 503"), (False, "HTTP 302"), (True, None)]
        (again,) = [e for e in rows(ws.db, AuditCheckpoint)[0].published if "nobody" in e["to"]]
        assert again["tries"] == 3
        assert len(relay.accepted) == len(group.shown) == 1
        assert len(web.taken) == 3
    written = caplog.text + str(rows(ws.db, AuditCheckpoint)[0].published)
    assert "s3cret" not in written
    assert key not in written
    assert KEY.line.split()[2] not in written


def test_mail_and_group_are_told_seldom_the_file_always(sealing: Workspace, home: Path) -> None:
    with smtp() as (relay, port):
        ws = with_ways(
            sealing,
            mail_to=("audit@bank.example",),
            append_to=home / "outside.txt",
            smtp={"host": "127.0.0.1", "port": port},
        )
        for n in range(4):
            open_some(ws, 1)
            asyncio.run(seal_history(ws, partial(moment, n)))
        assert len(relay.accepted) == 1
        counts = asyncio.run(seal_history(ws, lambda: NOON + timedelta(minutes=61)))
        assert counts == {"sealed": 0, "published": 1, "failed": 0}
        assert len(relay.accepted) == 2
    written = split_notes((home / "outside.txt").read_text("utf-8"))
    assert written == [row.note for row in rows(ws.db, AuditCheckpoint)]
    with ws.db.read() as tx:
        outside = [note.verify(text, KEY.public) for text in written]
        report = verify(tx, SIGNER, outside)
    assert report.ok
    assert [v.found for v in report.outside] == ["held"] * 4


def test_publishers_side_by_side_send_once(
    sealing: Workspace, another: Callable[[], Workspace]
) -> None:
    with endpoint() as web:
        ws = with_ways(sealing, post_to=web.url)
        seal(ws, NOON)
        workers = [Workspace(ws.settings, another().db) for _ in range(4)]
        start = threading.Barrier(len(workers))

        def work(worker: Workspace) -> int:
            start.wait()
            return asyncio.run(publish(worker, NOON)).published

        with ThreadPoolExecutor(len(workers)) as pool:
            assert sum(pool.map(work, workers)) == 1
        assert len(web.taken) == 1


def test_an_attempt_that_died_is_made_again_later(
    sealing: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with endpoint() as web:
        ws = with_ways(sealing, post_to=web.url)
        seal(ws, NOON)

        async def die(*_: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("tasks.audit.publish_checkpoints.attempt", die)
            with pytest.raises(KeyboardInterrupt):
                asyncio.run(publish(ws, NOON))
        assert entries(ws) == {"http": [(None, None)]}
        assert asyncio.run(publish(ws, NOON + MINUTES)).published == 0
        assert asyncio.run(publish(ws, NOON + 3 * MINUTES)).published == 1
        assert entries(ws) == {"http": [(True, None)]}
        assert len(web.taken) == 1


def test_a_refusal_does_not_hold_up_publishing(sealing: Workspace, home: Path) -> None:
    ws = with_ways(sealing, append_to=home / "outside.txt")
    seal(ws, NOON)
    open_some(ws, 1)
    set_head(frontier=bytes(32))(ws)
    with pytest.raises(FindingError, match="not signed"):
        asyncio.run(seal_history(ws, lambda: NOON))
    assert newest_outside(home / "outside.txt", SIGNER)


@pytest.mark.parametrize(
    "address", ["http://audit.example/x", "ftp://audit.example", "https:///x", "nonsense"]
)
def test_an_address_in_the_clear_is_refused(ws: Workspace, address: str) -> None:
    with pytest.raises(ValueError, match="https"):
        audit(ws, post_to=address)


def test_the_file_is_closed_off_after_a_torn_write_and_never_doubled(home: Path) -> None:
    path = home / "outside.txt"
    notes = [note.sign(Checkpoint(ORIGIN, n, bytes(32)), KEY) for n in (1, 2, 3)]
    append_note(path, notes[0])
    append_note(path, notes[0])
    assert path.read_text("utf-8") == notes[0]
    with path.open("a", encoding="utf-8") as file:
        file.write("\x1e\n" + notes[1][:40])
    append_note(path, notes[2])
    assert split_notes(path.read_text("utf-8"))[::2] == [notes[0], notes[2]]
    found = newest_outside(path, SIGNER)
    assert found
    assert found.size == 3
    assert newest_outside(home / "absent.txt", SIGNER) is None


def test_a_file_that_cannot_be_written_is_a_failure_with_its_reason(
    sealing: Workspace, home: Path
) -> None:
    ws = with_ways(sealing, append_to=home / "absent" / "outside.txt")
    counts = asyncio.run(seal_history(ws, lambda: NOON))
    assert counts == {"sealed": 1, "published": 0, "failed": 1}
    assert entries(ws) == {"file": [(False, "No such file or directory")]}
    assert [way.to for way in ways(ws)] == [f"file:{home}/absent/outside.txt"]


# Restores


@dataclass
class Backup:
    """All rows of all tables at one time."""

    rows: dict[str, list[dict[str, Any]]]

    @staticmethod
    def of(ws: Workspace) -> "Backup":
        names = ("history_event", "event_body", "audit_head", "audit_checkpoint")
        tables = CHECKPOINTS.metadata.tables
        with ws.db.read() as tx:
            return Backup(
                {n: [dict(r) for r in tx.execute(select(tables[n])).mappings()] for n in names}
            )

    def bring_back(self, ws: Workspace) -> None:
        tables = CHECKPOINTS.metadata.tables
        with ws.db.begin() as tx:
            lift_guards(tx)
            for name, kept in self.rows.items():
                tx.execute(delete(tables[name]))
                if kept:
                    tx.execute(insert(tables[name]), kept)


@pytest.fixture
def lost(sealing: Workspace, home: Path) -> Workspace:
    """Sealed and published twice, then restored from a backup made after the first time."""
    ws = with_ways(sealing, append_to=home / "outside.txt")
    asyncio.run(seal_history(ws, lambda: NOON))
    backup = Backup.of(ws)
    open_some(ws, 5)
    asyncio.run(seal_history(ws, lambda: NOON + MINUTES))
    backup.bring_back(ws)
    return ws


def outside(ws: Workspace) -> list[Checkpoint]:
    path = ws.settings.audit.append_to
    assert path
    return [note.verify(t, KEY.public) for t in split_notes(path.read_text("utf-8"))]


def say_something(ws: Workspace, number: int = 1) -> None:
    with ws.db.begin() as tx:
        kind = EventKind.PROGRAM_STARTED.value
        events = [Event(uuid7(), kind, NOON, SYSTEM, {"source": "x"}) for _ in range(number)]
        append(tx, [seal_event(event) for event in events])


def test_a_restore_that_lost_something_is_reported_and_not_sealed(lost: Workspace) -> None:
    with lost.db.read() as tx:
        assert verify(tx, SIGNER).ok  # from inside all looks well
        report = verify(tx, SIGNER, outside(lost))
    assert not report.ok
    assert [v.found for v in report.outside] == ["held", "truncated"]
    assert "truncated" in (report.problem or "")
    with pytest.raises(SealRefused) as caught:
        seal(lost, NOON + 2 * MINUTES)
    assert caught.value.problem == "outside longer"
    say_something(lost, 30)
    with pytest.raises(SealRefused) as caught:
        seal(lost, NOON + 3 * MINUTES)
    assert caught.value.problem == "outside differs"
    with lost.db.read() as tx:
        report = verify(tx, SIGNER, outside(lost))
    assert [v.found for v in report.outside] == ["held", "rewritten"]
    assert report.seq == outside(lost)[0].size


def test_a_recorded_restore_opens_a_new_epoch(lost: Workspace) -> None:
    kept = outside(lost)
    with lost.db.read() as tx:
        size_before, _ = head(tx)
    assert restored(lost, "磁盘损坏", OPS, NOON, kept[-1]) == Restored(2, kept[0].size, lost=True)
    (event,) = rows(lost.db, HistoryEvent, kind="history.restored")
    assert json.loads(event.data) == {
        "epoch": 2,
        "size": kept[-1].size,
        "root": kept[-1].root.hex(),
        "kept": kept[0].size,
    }
    with lost.db.read() as tx:
        claimed = verify(tx, SIGNER, kept)
    assert not claimed.ok, "a claim that nobody outside has seen signed"
    with pytest.raises(SealRefused) as caught:
        seal(lost, NOON + 2 * MINUTES)
    assert caught.value.problem == "unconfirmed"
    size_before += 1  # the refusal is an event, and operations are told
    made = seal(lost, NOON + 2 * MINUTES, restored=True)
    assert made == Checkpoint(f"{ORIGIN}/epoch-2", size_before + 1, made.root if made else b"")
    asyncio.run(publish(lost, NOON + 2 * MINUTES))
    with lost.db.read() as tx:
        assert not verify(tx, SIGNER, outside(lost)).ok, "a loss that nobody has accepted"
        report = verify(tx, SIGNER, outside(lost), restored=True)
    assert report.ok
    assert [v.found for v in report.outside] == ["held", "lost in a restore", "held"]
    assert report.outside[1].seq == kept[0].size
    say_something(lost)
    assert seal(lost, NOON + 3 * MINUTES)
    assert checked(lost).checkpoints == 3


def test_a_second_restore_of_the_same_backup_gets_a_new_number(lost: Workspace, home: Path) -> None:
    backup = Backup.of(lost)
    restored(lost, "first", OPS, NOON, outside(lost)[-1])
    assert seal(lost, NOON, restored=True)
    asyncio.run(seal_history(lost, lambda: NOON))
    backup.bring_back(lost)
    with pytest.raises(SealRefused) as caught:
        seal(lost, NOON)
    assert caught.value.problem == "outside later"
    newest = newest_outside(home / "outside.txt", SIGNER)
    assert restored(lost, "second", OPS, NOON, newest).epoch == 3
    assert seal(lost, NOON, restored=True)
    asyncio.run(seal_history(lost, lambda: NOON))
    with lost.db.read() as tx:
        report = verify(tx, SIGNER, outside(lost), restored=True)
    assert report.ok
    assert [v.found for v in report.outside] == ["held"] + ["lost in a restore"] * 2 + ["held"]


def test_a_recorded_restore_excuses_no_rewriting(sealing: Workspace) -> None:
    seal(sealing, NOON)
    rebuild(sealing, edit=2)
    restored(sealing, "nothing to see", OPS, NOON, None)
    with pytest.raises(SealRefused) as caught:
        seal(sealing, NOON)
    assert caught.value.problem == "head"


CHECKPOINT_EDITS: list[tuple[str, Callable[[Workspace], None]]] = [
    (name, tamper) for name, tamper, problem in TAMPERED if problem == "checkpoint"
] + [
    ("size", set_checkpoint(size=2)),
    ("deleted events, rebuilt", lambda ws: rebuild(ws, keep=4)),
    ("edited event, rebuilt", lambda ws: rebuild(ws, edit=2)),
]


@pytest.mark.parametrize("tamper", [t[1] for t in CHECKPOINT_EDITS], ids=[
    t[0] for t in CHECKPOINT_EDITS
])  # fmt: skip
def test_verification_finds_what_contradicts_a_stored_checkpoint(
    sealing: Workspace, tamper: Callable[[Workspace], None]
) -> None:
    seal(sealing, NOON)
    assert checked(sealing).ok
    tamper(sealing)
    report = checked(sealing)
    assert not report.ok
    assert "checkpoint" in (report.problem or "")


def test_a_signer_needs_to_read_and_to_insert_checkpoints_only(
    sealing: Workspace, url: str
) -> None:
    if sealing.db.is_sqlite:
        pytest.skip("SQLite has no roles")
    run(
        sealing,
        *map(
            text,
            (
                "DROP ROLE IF EXISTS signer",
                "CREATE ROLE signer",
                "GRANT SELECT ON history_event, audit_head, audit_checkpoint TO signer",
                "GRANT INSERT ON audit_checkpoint TO signer",
            ),
        ),
    )
    from sqlalchemy import event as sql_event

    db = Database(url)
    sql_event.listen(db.engine, "begin", lambda c: c.exec_driver_sql("SET ROLE signer"))
    signer = Workspace(sealing.settings, db)
    assert seal(signer, NOON)
    set_head(frontier=bytes(32))(sealing)
    with pytest.raises(SealRefused):
        seal(signer, NOON)
    db.close()
    assert not rows(sealing.db, HistoryEvent, kind="history.seal_refused")
    run(sealing, text("DROP OWNED BY signer"), text("DROP ROLE signer"))
