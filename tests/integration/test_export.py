"""What the export writes is proven by the stand-alone program: with the zip and the key alone."""

import json
import os
import subprocess
import sys
import time
import zipfile
from collections import Counter
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import delete, func, select, update

from loopwright.errors import ConflictError, EnvironmentFault, FindingError, InputError
from loopwright.history import note
from loopwright.history.append import append, head
from loopwright.history.envelope import Event, seal
from loopwright.history.note import Checkpoint, PublicKey, SigningKey
from loopwright.ids import uuid7
from models.base import table
from models.document import Document
from models.history import AuditCheckpoint, EventBody, HistoryEvent
from models.kinds import Authority, EventKind
from models.loop import Loop
from tasks.audit.bundle_documents import in_force
from tasks.audit.bundle_part import Asked, find_part
from tasks.audit.bundle_proofs import evenly
from tasks.audit.export_history import Exported, export, seal_past
from tasks.audit.sample_history import draw, sample
from tasks.audit.seal_history import restored
from tasks.audit.seal_history import seal as seal_history
from tasks.documents.publish import publish
from tasks.privacy.erase import Order
from tasks.privacy.erase import erase as erase_customer
from tasks.privacy.personal import find_subject
from tasks.workspace import Workspace
from tests.bundles import story
from tests.cast import (
    AUDIT,
    DAY,
    FEE,
    HOUR,
    LOGIN,
    NOON,
    OPS,
    UPDATE,
    documents,
    lift_guards,
    one,
    open_some,
    rows,
    sound,
    take_in,
    withdraw,
)

KEY = SigningKey("bank.example/loop", bytes(range(32)))
OTHER = SigningKey("bank.example/loop", bytes(range(1, 33)))
VERIFIER = Path(__file__).parents[2] / "tools" / "verify_history.py"
WORDS = "我的卡号没有变，但登录不了，太差"
EVIDENCE = "登录不了"

# The verifier gets no socket, no package and no project: only the zip and the key.
ALONE = """
import runpy, socket, sys
def refuse(*_): raise AssertionError("the network was used")
socket.socket = socket.create_connection = refuse
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def take_out(ws: Workspace, asked: Asked, name: str = "bundle.zip") -> Exported:
    def seal_up_to(seq: int) -> None:
        seal_past(ws, seq, lambda: NOON + DAY, 0)

    return export(ws, Path(name), asked, AUDIT, NOON + DAY, seal_up_to)


def verify(path: Path, key: PublicKey = KEY.public, *more: str) -> tuple[int, str]:
    """Exit code and words of the stand-alone program."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, str(VERIFIER), str(path), "--key", str(key), *more],
        capture_output=True,
        text=True,
        env={"PYTHONUTF8": "1"},
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def proven(path: Path, *more: str) -> str:
    code, words = verify(path, KEY.public, *more)
    assert code == 0, words
    return words


def read(path: Path, name: str) -> Any:
    with zipfile.ZipFile(path) as bundle:
        text = bundle.read(name).decode()
    return json.loads(text) if name.endswith(".json") else text


def names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as bundle:
        return bundle.namelist()


def erase(ws: Workspace, event: str) -> None:
    """Take one body away, with the event that says so."""
    data = {"event": event, "why": "customer", "authority": "customer_request"}
    with ws.db.begin() as tx:
        append(tx, [seal(Event(uuid7(), EventKind.BODY_ERASED, NOON + HOUR, OPS, data))])
        tx.execute(delete(table(EventBody)).where(table(EventBody).c.event_id == event))


def body_of(ws: Workspace, loop: str) -> str:
    """The event with the loop's first body."""
    found = (e.event_id for e in rows(ws.db, HistoryEvent, loop_id=loop) if e.body_commit)
    return str(next(found))


@pytest.fixture
def busy(ws: Workspace) -> Workspace:
    """A workspace that signs, with a few loops and two checkpoints."""
    ws.settings.audit.key = SecretStr(KEY.line)
    take_in(ws, {"text": WORDS, "customer": "C1"}, {"text": FEE, "customer": "C2"})
    seal_history(ws, NOON)
    take_in(ws, {"text": UPDATE, "customer": "C3"}, now=NOON + HOUR)
    seal_history(ws, NOON + HOUR)
    return ws


def test_a_whole_history_is_proven_without_its_words(busy: Workspace) -> None:
    made = take_out(busy, Asked())
    words = proven(made.path)
    assert (made.kind, made.first, made.bodies) == ("range", 0, 0)
    assert f"{made.count:,} events" in words
    assert read(made.path, "bodies.ndjson") == ""
    with zipfile.ZipFile(made.path) as bundle:
        text = b"".join(bundle.read(n) for n in bundle.namelist() if "config/" not in n).decode()
    assert EVIDENCE not in text
    assert sound(busy.db)


def test_the_event_names_who_took_what(busy: Workspace) -> None:
    made = take_out(busy, Asked(bodies="all"))
    event = one(busy.db, HistoryEvent, kind=EventKind.HISTORY_EXPORTED)
    assert (event.actor_id, event.actor_via, event.seq) == ("ho.audit", "cli", made.seq)
    data = json.loads(event.data)
    assert data["bodies"] == made.bodies > 0
    assert (data["kind"], data["first"], data["count"], data["loop"]) == (
        "range", 0, made.count, None,
    )  # fmt: skip
    assert event.body_commit is None


def test_words_travel_when_asked_for(busy: Workspace) -> None:
    made = take_out(busy, Asked(bodies="all"))
    assert EVIDENCE in proven_bodies(made.path)
    assert f"{made.bodies:,} chosen" in proven(made.path)


def proven_bodies(path: Path) -> str:
    proven(path)
    return str(read(path, "bodies.ndjson"))


def test_words_of_chosen_loops_only(busy: Workspace) -> None:
    loop = rows(busy.db, HistoryEvent, kind=EventKind.LOOP_OPENED)[0].loop_id
    made = take_out(busy, Asked(bodies=(loop,)))
    proven(made.path)
    listed = read(made.path, "manifest.json")["bodies"]["chosen"]
    own = [e.event_id for e in rows(busy.db, HistoryEvent, loop_id=loop) if e.body_commit]
    assert listed == own
    assert made.bodies == len(own)


@pytest.mark.parametrize("bodies", ["none", "all"])
def test_every_range_is_proven(busy: Workspace, bodies: Any) -> None:
    with busy.db.read() as tx:
        size = head(tx)[0]
    for first, last in [(0, 0), (1, 1), (2, size - 2), (size - 1, None), (3, size + 50)]:
        name = f"{first}-{last}.zip"
        made = take_out(busy, Asked(first=first, last=last, bodies=bodies), name)
        assert made.first == first
        proven(made.path)


def test_a_loop_is_proven_with_its_words(busy: Workspace) -> None:
    opened = rows(busy.db, HistoryEvent, kind=EventKind.LOOP_OPENED)[0]
    withdraw(busy, opened.loop_id)
    made = take_out(busy, Asked(loop=opened.loop_id, bodies="all"))
    words = proven(made.path)
    assert "nothing came later" in words
    events = read(made.path, "events.ndjson").splitlines()
    assert [json.loads(e)["loop_seq"] for e in events] == list(range(made.count))
    assert read(made.path, "manifest.json")["first"] is None


def test_moments_are_inclusive_and_cover_every_event_between(busy: Workspace) -> None:
    at = [e.at for e in rows(busy.db, HistoryEvent)]
    made = take_out(busy, Asked(first=NOON + HOUR, last=NOON + HOUR))
    kept = [json.loads(line)["at"] for line in read(made.path, "events.ndjson").splitlines()]
    assert made.count >= at.count(NOON + HOUR) > 0
    assert made.first == at.index(NOON + HOUR)
    assert kept[0] == kept[-1] == note_time(NOON + HOUR)
    proven(made.path)


def note_time(moment: Any) -> str:
    return str(moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))


def test_an_erasure_behind_the_range_travels_with_it(busy: Workspace) -> None:
    loop = rows(busy.db, HistoryEvent, kind=EventKind.LOOP_OPENED)[0].loop_id
    with busy.db.read() as tx:
        size = head(tx)[0]
    erase(busy, body_of(busy, loop))
    made = take_out(busy, Asked(last=size - 1, bodies="all"))
    assert made.erased == 1
    words = proven(made.path)
    assert "1 erased by an event" in words
    assert "customer_request" in words
    assert read(made.path, "erasures.ndjson").count("\n") == 1


@pytest.mark.parametrize("bodies", ["none", "all"])
def test_an_erasure_inside_the_range_needs_no_copy(busy: Workspace, bodies: Any) -> None:
    loop = rows(busy.db, HistoryEvent, kind=EventKind.LOOP_OPENED)[0].loop_id
    erase(busy, body_of(busy, loop))
    made = take_out(busy, Asked(bodies=bodies))
    assert read(made.path, "erasures.ndjson") == ""
    assert ("1 erased" in proven(made.path)) == (bodies == "all")


def test_a_loop_says_what_was_erased(busy: Workspace) -> None:
    loop = rows(busy.db, HistoryEvent, kind=EventKind.LOOP_OPENED)[0].loop_id
    erase(busy, body_of(busy, loop))
    made = take_out(busy, Asked(loop=loop, bodies="all"))
    assert made.erased == 1
    assert "1 erased" in proven(made.path)


def test_erasures_of_what_was_not_chosen_stay_away(busy: Workspace) -> None:
    first, second = (e.loop_id for e in rows(busy.db, HistoryEvent, kind="loop.opened")[:2])
    with busy.db.read() as tx:
        size = head(tx)[0]
    erase(busy, body_of(busy, first))
    made = take_out(busy, Asked(last=size - 1, bodies=(second,)))
    assert (made.erased, read(made.path, "erasures.ndjson")) == (0, "")
    proven(made.path)


def test_documents_of_every_publication_in_force(busy: Workspace) -> None:
    publish(busy.db, documents(), OPS, NOON + 2 * HOUR)
    with busy.db.read() as tx:
        second = head(tx)[0]
    later = Workspace(busy.settings, busy.db, run="later")
    take_in(later, {"text": LOGIN, "customer": "C9"}, now=NOON + 3 * HOUR)
    whole = take_out(busy, Asked(), "whole.zip")
    after = take_out(busy, Asked(first=second), "after.zip")
    proven(whole.path)
    proven(after.path)
    assert publications_in(whole.path) == {"1", "2"}
    assert publications_in(after.path) == {"2"}
    with zipfile.ZipFile(whole.path) as bundle:
        assert bundle.read("config/2/policy.yaml") == documents()["policy.yaml"]


def publications_in(path: Path) -> set[str]:
    return {name.split("/")[1] for name in names(path) if name.startswith("config/")}


def test_a_loop_brings_the_documents_it_was_judged_by(busy: Workspace) -> None:
    loop = rows(busy.db, HistoryEvent, kind=EventKind.LOOP_OPENED)[0].loop_id
    publish(busy.db, documents(), OPS, NOON + 2 * HOUR)
    made = take_out(busy, Asked(loop=loop))
    assert publications_in(made.path) == {"1"}


def test_an_export_after_an_export(busy: Workspace) -> None:
    take_out(busy, Asked(), "first.zip")
    again = take_out(busy, Asked(), "second.zip")
    assert '"history.exported"' in read(again.path, "events.ndjson")
    proven(again.path)


def test_the_verifier_holds_the_bundle_against_an_older_checkpoint(busy: Workspace) -> None:
    held = Path("held.txt")
    held.write_text(rows(busy.db, AuditCheckpoint)[0].note, "utf-8")
    made = take_out(busy, Asked())
    assert "continues the checkpoint" in proven(made.path, "--since", str(held))


def test_another_key_is_refused(busy: Workspace) -> None:
    code, words = verify(take_out(busy, Asked()).path, OTHER.public)
    assert code == 1
    assert "not signed by" in words


def middle(member: zipfile.ZipInfo) -> int:
    """A position within the packed content: behind the header, its name and its zip64 sizes."""
    return member.header_offset + 30 + len(member.filename) + 20 + member.compress_size // 2


def test_flipped_bytes_are_refused(busy: Workspace) -> None:
    """One in the middle of each member's packed content; dates in zip headers prove nothing."""
    made = take_out(busy, Asked(bodies="all"))
    sound_bytes = made.path.read_bytes()
    with zipfile.ZipFile(made.path) as bundle:
        middles = [middle(m) for m in bundle.infolist() if m.file_size]
    for at in middles:
        changed = bytearray(sound_bytes)
        changed[at] ^= 1
        Path("flipped.zip").write_bytes(changed)
        assert verify(Path("flipped.zip"))[0] == 1, at


def test_an_edited_row_is_exported_but_not_believed(busy: Workspace) -> None:
    """A row behind the last checkpoint's back: the signer reads only what is new."""
    event = rows(busy.db, HistoryEvent)[1]
    forged = event.envelope.replace('"via":"', '"via":"x')
    with busy.db.begin() as tx:
        lift_and_update(tx, event.seq, forged)
    code, words = verify(take_out(busy, Asked()).path)
    assert code == 1
    assert "one was changed, removed, added or moved" in words


def lift_and_update(tx: Any, seq: int, envelope: str) -> None:
    lift_guards(tx)
    events = table(HistoryEvent)
    tx.execute(events.update().where(events.c.seq == seq).values(envelope=envelope))


@pytest.mark.breaks_history
def test_words_that_are_gone_without_an_event_stop_the_export(busy: Workspace) -> None:
    with busy.db.begin() as tx:
        tx.execute(delete(table(EventBody)))
    with pytest.raises(FindingError, match="no event says"):
        take_out(busy, Asked(bodies="all"))
    assert not rows(busy.db, HistoryEvent, kind=EventKind.HISTORY_EXPORTED)
    assert list(Path().glob("*bundle*")) == []


def test_words_erased_meanwhile_do_not_leave(busy: Workspace, monkeypatch: Any) -> None:
    import tasks.audit.export_history as step

    loop = rows(busy.db, HistoryEvent, kind=EventKind.LOOP_OPENED)[0].loop_id
    event, real = body_of(busy, loop), step.exported_data

    def erased_first(*given: Any) -> Any:
        erase(busy, event)
        return real(*given)

    monkeypatch.setattr(step, "exported_data", erased_first)
    with pytest.raises(ConflictError, match="erased meanwhile"):
        take_out(busy, Asked(bodies="all"))
    assert not Path("bundle.zip").exists()
    assert not rows(busy.db, HistoryEvent, kind=EventKind.HISTORY_EXPORTED)


def test_an_existing_file_is_never_replaced(busy: Workspace) -> None:
    Path("bundle.zip").write_text("mine")
    with pytest.raises(InputError, match="already there"):
        take_out(busy, Asked())
    assert Path("bundle.zip").read_text() == "mine"
    with pytest.raises(InputError, match="no folder"):
        take_out(busy, Asked(), "nowhere/bundle.zip")
    assert not rows(busy.db, HistoryEvent, kind=EventKind.HISTORY_EXPORTED)


def test_only_its_owner_reads_a_bundle(busy: Workspace) -> None:
    assert os.stat(take_out(busy, Asked()).path).st_mode & 0o077 == 0


@pytest.mark.parametrize("asked", [Asked(loop="L0"), Asked(first=10**6), Asked(first=5, last=4)])
def test_nothing_to_export_is_said(busy: Workspace, asked: Asked) -> None:
    with pytest.raises(InputError):
        take_out(busy, asked)


def test_without_a_checkpoint_there_is_no_bundle(busy: Workspace) -> None:
    with pytest.raises(FindingError, match="no checkpoint covers"):
        export(busy, Path("bundle.zip"), Asked(), AUDIT, NOON, lambda _seq: None)
    assert not Path("bundle.zip").exists()


def test_a_checkpoint_of_another_history_is_refused(busy: Workspace) -> None:
    checkpoints = table(AuditCheckpoint)
    forged = note.sign(Checkpoint(KEY.name, rows(busy.db, AuditCheckpoint)[0].size, bytes(32)), KEY)
    with busy.db.begin() as tx:
        lift_guards(tx)
        lowest = select(func.min(checkpoints.c.size)).scalar_subquery()
        tx.execute(checkpoints.update().where(checkpoints.c.size == lowest).values(note=forged))
    with pytest.raises(FindingError, match="another history"):
        take_out(busy, Asked())


@pytest.mark.parametrize(
    ("stretches", "expected"),
    [
        ([(0, 1)], {1}),
        ([(4, 5)], {1}),
        ([(4, 6)], {1, 2}),
        ([(5, 6)], {2}),
        ([(20, 30)], {3}),
        ([(1, 2), (20, 21)], {1, 3}),
        ([(0, 30)], {1, 2, 3}),
    ],
)
def test_in_force(stretches: Any, expected: set[int]) -> None:
    assert in_force([(0, 1), (5, 2), (9, 3)], stretches) == expected


def test_many_checkpoints_are_thinned_evenly() -> None:
    assert evenly(range(5), 10) == set(range(5))
    kept = sorted(evenly(range(10_000), 1_000))
    assert len(kept) == 1_000
    assert kept[-1] == 9_999
    assert {b - a for a, b in pairwise(kept)} == {10}


SIZES = [1, 2, 3, 7, 1000, 2**40 + 1]


@pytest.mark.parametrize("size", SIZES[:5])
def test_every_position_is_drawn_once(size: int) -> None:
    assert sorted(draw(bytes(32), "s", size)) == list(range(size))


def test_a_draw_follows_from_root_and_seed_alone() -> None:
    first = list(islice(draw(bytes(32), "2026-Q3", 1_000_000), 5))
    assert first == list(islice(draw(bytes(32), "2026-Q3", 1_000_000), 5))
    assert first != list(islice(draw(bytes(32), "2026-Q4", 1_000_000), 5))
    assert first != list(islice(draw(bytes([1] * 32), "2026-Q3", 1_000_000), 5))


def test_draws_are_even() -> None:
    counts = Counter(
        position for seed in range(3_000) for position in islice(draw(bytes(32), str(seed), 10), 3)
    )
    assert all(abs(n - 900) < 120 for n in counts.values())


def test_loops_are_drawn_by_their_first_event(busy: Workspace) -> None:
    with busy.db.read() as tx:
        drawn = sample(tx, 2, "a seed")
        again = sample(tx, 2, "a seed")
        all_of_them = sample(tx, 99, "a seed")
        events = sample(tx, 4, "a seed", events=True)
    assert drawn == again
    assert all_of_them.drawn[:2] == drawn.drawn
    opened = {e.seq: e.loop_id for e in rows(busy.db, HistoryEvent, loop_seq=0)}
    assert {d.seq: d.loop for d in all_of_them.drawn} == opened
    positions = draw(drawn.checkpoint.root, "a seed", drawn.checkpoint.size)
    assert [d.seq for d in events.drawn] == list(islice(positions, 4))


def test_a_sample_of_an_older_checkpoint_stays(busy: Workspace) -> None:
    size = rows(busy.db, AuditCheckpoint)[0].size
    with busy.db.read() as tx:
        before = sample(tx, 5, "x", size=size)
    take_in(busy, {"text": LOGIN, "customer": "C8"}, now=NOON + 2 * HOUR)
    seal_history(busy, NOON + 2 * HOUR)
    with busy.db.read() as tx:
        assert sample(tx, 5, "x", size=size) == before
        assert sample(tx, 5, "x").checkpoint.size > size
        with pytest.raises(InputError, match="no checkpoint of size 3"):
            sample(tx, 5, "x", size=3)


MEASURED = """
import resource, sys, time
from datetime import UTC, datetime
from pathlib import Path
from loopwright.history.envelope import Actor
from loopwright.settings import load_settings
from tasks.audit.bundle_part import Asked, find_part
from tasks.audit.export_history import export, seal_past
from tasks.workspace import open_workspace

now, started = datetime(2027, 1, 1, tzinfo=UTC), time.perf_counter()
ws = open_workspace(load_settings())
ws.published
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
made = export(
    ws, Path("bundle.zip"), Asked(first=int(sys.argv[1]), bodies="all"),
    Actor("person", "ho.audit", "cli"), now, lambda seq: seal_past(ws, seq, lambda: now, 0),
)
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(made.count, made.size, round(seconds, 1), peak - base)
"""


def grow(ws: Workspace, loops: int) -> None:
    """A history of ten events a loop, a checkpoint for every 5,000 events."""
    events = story(loops)
    while chunk := list(islice(events, 5_000)):
        with ws.db.begin() as tx:
            append(tx, [seal(event) for event in chunk])
        seal_history(ws, NOON)


def measured_export(ws: Workspace, first: int) -> tuple[int, int, float, int]:
    """Events, bytes, seconds and the MB it took above the loaded program, in its own process."""
    environment = os.environ | {
        "LOOPWRIGHT_DATABASE__URL": ws.settings.database.url,
        "LOOPWRIGHT_AUDIT__KEY": KEY.line.strip(),
        "PYTHONPATH": str(VERIFIER.parents[1]),
    }
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(first)],
        capture_output=True, text=True, env=environment, check=True,
    )  # fmt: skip
    count, size, seconds, grown = done.stdout.split()
    return int(count), int(size), float(seconds), int(grown)


@pytest.mark.breaks_history
@pytest.mark.parametrize(
    ("loops", "seconds", "megabytes"),
    [
        (10_000, 60, 60),
        pytest.param(100_000, 400, 60, marks=pytest.mark.prove),
    ],
)
def test_a_large_export_streams(ws: Workspace, loops: int, seconds: float, megabytes: int) -> None:
    ws.settings.audit.key = SecretStr(KEY.line)
    with ws.db.read() as tx:
        first = head(tx)[0]
    grow(ws, loops)
    count, size, took, grown = measured_export(ws, first)
    started = time.perf_counter()
    proven(Path("bundle.zip"))
    verified = time.perf_counter() - started
    sys.stderr.write(f"\n{count:,} events: {took} s, {grown} MB more, {size} B; {verified:.1f} s\n")
    assert count == 10 * loops
    assert took < seconds
    assert grown < megabytes


def test_a_customer_erased_by_the_product(busy: Workspace) -> None:
    """The words are gone from every bundle, and each bundle says by whose authority."""
    loop = next(row.id for row in rows(busy.db, Loop) if row.topic == "login")
    with busy.db.read() as tx:
        size, subject = head(tx)[0], find_subject(tx, busy, loop, [])
    order = Order(Authority.CUSTOMER_REQUEST, "来函", OPS)
    done = erase_customer(busy, subject, order, NOON + 2 * HOUR, close=True)
    before = take_out(busy, Asked(last=size - 1, bodies="all"), "before.zip")
    after = take_out(busy, Asked(bodies="all"), "after.zip")
    own = take_out(busy, Asked(loop=loop, bodies="all"), "own.zip")
    assert before.erased == done.bodies > 0
    assert own.erased == own_bodies(busy, loop)
    for made in (before, after, own):
        assert "customer_request" in proven(made.path)
        assert EVIDENCE not in read(made.path, "bodies.ndjson")


def own_bodies(ws: Workspace, loop: str) -> int:
    return sum(e.body_commit is not None for e in rows(ws.db, HistoryEvent, loop_id=loop))


def test_a_bundle_across_a_restore(busy: Workspace) -> None:
    with busy.db.read() as tx:
        before = head(tx)[0]
    restored(busy, "disk", OPS, NOON + 2 * HOUR, None)
    seal_history(busy, NOON + 2 * HOUR, restored=True)
    whole = take_out(busy, Asked(bodies="all"), "whole.zip")
    assert "bank.example/loop/epoch-2" in proven(whole.path)
    assert read(whole.path, "manifest.json")["epoch"] == 2
    proven(take_out(busy, Asked(last=before - 1), "earlier.zip").path)
    loop = rows(busy.db, Loop)[0].id
    proven(take_out(busy, Asked(loop=loop, bodies="all"), "loop.zip").path)


def test_a_bundle_of_any_part_continues_the_checkpoint_that_the_auditor_holds(
    busy: Workspace,
) -> None:
    """The part lies far behind it, so only its own consistency proof can show it."""
    held = Path("held.txt")
    first = rows(busy.db, AuditCheckpoint)[0]
    held.write_text(first.note, "utf-8")
    open_some(busy, 5)
    seal_history(busy, NOON + HOUR)
    begin = head_size(busy)
    open_some(busy, 5)
    loop = rows(busy.db, HistoryEvent, kind=EventKind.LOOP_OPENED)[-1].loop_id
    for number, asked in enumerate((Asked(first=begin), Asked(loop=loop))):
        alone = take_out(busy, asked, f"alone-{number}.zip")
        code, words = verify(alone.path, KEY.public, "--since", str(held))
        assert (code, f"--since {first.size}" in words) == (1, True), words
        tied = take_out(busy, replace(asked, since=first.size), f"tied-{number}.zip")
        assert "continues the checkpoint" in proven(tied.path, "--since", str(held))


def head_size(ws: Workspace) -> int:
    with ws.db.read() as tx:
        return head(tx)[0]


def test_a_checkpoint_that_is_not_here_cannot_be_continued(busy: Workspace) -> None:
    with pytest.raises(InputError, match="no checkpoint of the size 7"):
        take_out(busy, Asked(since=7))


def test_where_nobody_ever_signed_an_export_is_refused_at_once(ws: Workspace) -> None:
    open_some(ws, 1)
    before = head_size(ws)
    with pytest.raises(EnvironmentFault, match="nobody signs yet"):
        export(ws, Path("out.zip"), Asked(), OPS, NOON, lambda _: None)
    assert head_size(ws) == before


@pytest.mark.breaks_history
def test_documents_that_were_changed_are_not_handed_out(busy: Workspace) -> None:
    kept = table(Document)
    with busy.db.begin() as tx:
        lift_guards(tx)
        tx.execute(update(kept).where(kept.c.name == "policy.yaml").values(content=b"policy: x"))
    with pytest.raises(FindingError, match="not those that were published"):
        take_out(busy, Asked())
    assert not Path("history.zip").exists()


def test_what_was_asked_for_is_on_record(busy: Workspace) -> None:
    made = take_out(busy, Asked(first=NOON, last=NOON + HOUR))
    event = next(e for e in rows(busy.db, HistoryEvent) if e.event_id == made.event)
    assert json.loads(event.data)["asked"] == (
        f"--from {NOON.isoformat()} --to {(NOON + HOUR).isoformat()} --bodies none"
    )
    assert f"--from {NOON.isoformat()}" in proven(made.path)


def test_a_period_holds_what_happened_in_it_and_what_lies_between(busy: Workspace) -> None:
    """An event with a later time far ahead of it does not draw the beginning forward."""
    before = head_size(busy)
    for at in (NOON + 30 * DAY, NOON + 10 * DAY, NOON + 11 * DAY, NOON + 40 * DAY):
        with busy.db.begin() as tx:
            append(tx, [seal(Event(uuid7(), EventKind.PROGRAM_STARTED, at, OPS, {}))])
    with busy.db.read() as tx:
        part = find_part(tx, Asked(first=NOON + 9 * DAY, last=NOON + 12 * DAY))
        assert (part.first, part.end) == (before + 1, before + 3)
        part = find_part(tx, Asked(first=NOON + 9 * DAY, last=NOON + 35 * DAY))
        assert (part.first, part.end) == (before, before + 3)
        part = find_part(tx, Asked(first=NOON + 35 * DAY))
        assert (part.first, part.end) == (before + 3, before + 4)
