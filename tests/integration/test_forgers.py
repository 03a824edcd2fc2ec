"""People with every right on the database, who know the code, and an honest signer."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text, update

from loopwright.errors import EnvironmentFault, FindingError, InputError
from loopwright.history import note
from loopwright.history.append import append
from loopwright.history.checkpoints import SealRefused, notes_in, split_notes
from loopwright.history.envelope import SYSTEM, Event
from loopwright.history.envelope import seal as seal_event
from loopwright.history.note import Checkpoint
from loopwright.history.verify import verify
from loopwright.ids import uuid7
from models.base import table
from models.document import Document
from models.history import AuditHead, HistoryEvent
from models.kinds import EventKind
from tasks.audit.kept_outside import last_signed, newest_outside
from tasks.audit.seal_history import restored, seal
from tasks.documents.publish import published
from tasks.sweeps import seal_history
from tasks.workspace import Workspace
from tests.cast import NOON, OPS, lift_guards, open_some, rows
from tests.integration.test_seal import (
    CHECKPOINTS,
    EVENTS,
    MINUTES,
    SIGNER,
    Backup,
    outside,
    rebuild,
    run,
    say_something,
    sealing,
    with_ways,
)

__all__ = ["sealing"]
pytestmark = pytest.mark.breaks_history
HEAD = table(AuditHead)


def claim_a_restore(ws: Workspace, kept: int = 0) -> None:
    """Not by the program, which would count what was kept."""
    data = {"epoch": 2, "size": None, "root": None, "kept": kept}
    with ws.db.begin() as tx:
        kind = EventKind.HISTORY_RESTORED.value
        append(tx, [seal_event(Event(uuid7(), kind, NOON, OPS, data))])


@pytest.mark.parametrize("published_file", [True, False])
def test_a_claimed_restore_hides_no_rewriting(
    sealing: Workspace, home: Path, published_file: bool
) -> None:
    ws = with_ways(sealing, append_to=home / "outside.txt")
    asyncio.run(seal_history(ws, lambda: NOON))
    held = outside(ws)
    rebuild(ws, edit=3)
    run(ws, delete(CHECKPOINTS))
    claim_a_restore(ws)
    if not published_file:
        (home / "outside.txt").unlink()
    with pytest.raises(SealRefused) as caught:
        seal(ws, NOON + MINUTES)
    assert caught.value.problem == "unconfirmed"
    with ws.db.read() as tx:
        assert verify(tx, SIGNER).ok, "from inside all looks well"
        report = verify(tx, SIGNER, held)
    assert not report.ok
    assert [v.found for v in report.outside] == ["lost in a restore"]


def test_not_even_a_confirmed_restore_excuses_what_the_backup_held(sealing: Workspace) -> None:
    """The signer believes the operator; whoever holds a checkpoint sees it all the same."""
    assert seal(sealing, NOON)
    held = [Checkpoint(KEY_NAME, row.size, row.root) for row in stored(sealing)]
    rebuild(sealing, edit=3)
    run(sealing, delete(CHECKPOINTS))
    claim_a_restore(sealing, kept=held[0].size)
    with pytest.raises(SealRefused) as caught:
        seal(sealing, NOON, restored=True)
    assert caught.value.problem == "outside differs"
    with sealing.db.read() as tx:
        report = verify(tx, SIGNER, held, restored=True)
    assert [v.found for v in report.outside] == ["rewritten"]
    assert not report.ok


KEY_NAME = SIGNER.name


def stored(ws: Workspace) -> list[Any]:
    with ws.db.read() as tx:
        return list(tx.execute(select(CHECKPOINTS).order_by(CHECKPOINTS.c.size)).all())


def test_the_signer_remembers_what_the_database_has_forgotten(sealing: Workspace) -> None:
    assert seal(sealing, NOON)
    open_some(sealing, 2)
    signed = seal(sealing, NOON)
    memory = sealing.settings.audit.last_signed
    assert last_signed(memory, SIGNER) == signed
    run(sealing, delete(CHECKPOINTS))
    open_some(sealing, 1)
    assert seal(sealing, NOON), "the events are as they were"
    rebuild(sealing, edit=3)
    run(sealing, delete(CHECKPOINTS))
    with pytest.raises(SealRefused) as caught:
        seal(sealing, NOON)
    assert caught.value.problem == "outside differs"


def test_a_history_cut_short_with_its_checkpoints_is_not_signed(sealing: Workspace) -> None:
    open_some(sealing, 4)
    assert seal(sealing, NOON)
    rebuild(sealing, keep=5)
    run(sealing, delete(CHECKPOINTS))
    with pytest.raises(SealRefused) as caught:
        seal(sealing, NOON)
    assert caught.value.problem == "outside longer"


def test_a_memory_that_says_nothing_stops_the_signer(sealing: Workspace) -> None:
    assert seal(sealing, NOON)
    sealing.settings.audit.last_signed.write_text("torn", "utf-8")
    open_some(sealing, 1)
    with pytest.raises(EnvironmentFault, match="signed last"):
        seal(sealing, NOON)


def test_what_is_only_planned_is_not_remembered(sealing: Workspace) -> None:
    dry = type(sealing.db)(sealing.db.url.render_as_string(hide_password=False), dry_run=True)
    assert seal(Workspace(sealing.settings, dry), NOON)
    dry.close()
    assert last_signed(sealing.settings.audit.last_signed, SIGNER) is None


@pytest.mark.parametrize("tail", ["an older note", "junk"])
def test_the_published_file_counts_by_its_largest_note(
    sealing: Workspace, home: Path, tail: str
) -> None:
    ws = with_ways(sealing, append_to=home / "outside.txt")
    asyncio.run(seal_history(ws, lambda: NOON))
    open_some(ws, 2)
    asyncio.run(seal_history(ws, lambda: NOON + MINUTES))
    path = home / "outside.txt"
    first, second = split_notes(path.read_text("utf-8"))
    more = first if tail == "an older note" else "x" * 70_000
    path.write_text(path.read_text("utf-8") + "\x1e\n" + more, "utf-8")
    assert newest_outside(path, SIGNER) == note.verify(second, *SIGNER.keys)


def test_nothing_is_published_by_a_database_that_is_behind(sealing: Workspace, home: Path) -> None:
    """What would be said is older than what is known, and would bury it."""
    ws = with_ways(sealing, append_to=home / "outside.txt")
    assert seal(ws, NOON)
    backup = Backup.of(ws)
    open_some(ws, 5)
    asyncio.run(seal_history(ws, lambda: NOON + MINUTES))
    before = (home / "outside.txt").read_text("utf-8")
    backup.bring_back(ws)
    for n in (2, 3):
        with pytest.raises(SealRefused):
            asyncio.run(seal_history(ws, lambda n=n: NOON + n * MINUTES))  # type: ignore[misc]
    assert (home / "outside.txt").read_text("utf-8") == before


def test_a_second_story_of_a_loop_is_not_signed(sealing: Workspace) -> None:
    """Its guard, a unique index, is gone; tree and head are well made."""
    assert seal(sealing, NOON)
    loop = rows(sealing.db, HistoryEvent, kind="loop.opened")[0].loop_id
    with sealing.db.begin() as tx:
        tx.execute(text("DROP INDEX uq_history_event_loop"))
        forged = Event(uuid7(), "loop.opened", NOON, SYSTEM, {}, loop=loop, loop_seq=0)
        size = append(tx, [seal_event(forged)])
    with pytest.raises(SealRefused) as caught:
        seal(sealing, NOON)
    assert (caught.value.problem, caught.value.seq) == ("event", size - 1)


def test_an_event_that_no_verifier_reads_is_not_signed(sealing: Workspace) -> None:
    with sealing.db.begin() as tx:
        size = append(tx, [seal_event(Event(uuid7(), "body.erased", NOON, SYSTEM, {}))])
    with pytest.raises(SealRefused) as caught:
        seal(sealing, NOON)
    assert (caught.value.problem, caught.value.seq) == ("event", size - 1)


DOCUMENTS = table(Document)


def test_documents_that_nobody_published_do_not_run(sealing: Workspace) -> None:
    sheet = DOCUMENTS.c.name == "policy.yaml"
    with sealing.db.begin() as tx:
        lift_guards(tx)
        content = tx.execute(select(DOCUMENTS.c.content).where(sheet)).scalar_one()
        tx.execute(update(DOCUMENTS).where(sheet).values(content=content + b"# kinder\n"))
    with pytest.raises(FindingError, match="not what was published"):
        published(sealing.db)


def test_a_publication_without_its_event_does_not_run(sealing: Workspace) -> None:
    publications = DOCUMENTS.metadata.tables["publication"]
    with sealing.db.begin() as tx:
        lift_guards(tx)
        for kept, number in ((publications, "number"), (DOCUMENTS, "publication")):
            for row in tx.execute(select(kept)).mappings().all():
                tx.execute(insert(kept).values(dict(row) | {number: 2}))
    with pytest.raises(FindingError, match="publication 2"):
        published(sealing.db)


def test_a_second_event_of_a_publication_counts_for_nothing(sealing: Workspace) -> None:
    event = rows(sealing.db, HistoryEvent, kind="documents.published")[0]
    data = json.loads(event.data) | {"sha256": "00" * 32}
    with sealing.db.begin() as tx:
        append(tx, [seal_event(Event(uuid7(), event.kind, NOON, OPS, data))])
    assert published(sealing.db).number == 1


def test_a_restore_where_nothing_was_lost_says_so(sealing: Workspace) -> None:
    signed = seal(sealing, NOON)
    said = restored(sealing, "rehearsal", OPS, NOON, signed)
    assert signed
    assert (said.epoch, said.kept, said.lost) == (2, signed.size, False)
    assert seal(sealing, NOON, restored=True)


@pytest.mark.parametrize(
    "wrap",
    [
        "{}",
        "\ufeff{}",
        "检查点 / Checkpoint bank.example/loop 7\n请原样保存\n\n{}",
        "{}\n-- \nsent from a phone\n",
        "{}\x1e\n{}",
        "{}\n\n{}",
    ],
)
def test_notes_are_found_as_people_keep_them(sealing: Workspace, wrap: str) -> None:
    seal(sealing, NOON)
    kept = stored(sealing)[0].note
    for line_end in ("\n", "\r\n"):
        held = wrap.format(kept, kept).replace("\n", line_end)
        assert set(notes_in(held)) == {kept}
        assert set(notes_in(held.rstrip())) == {kept}


def test_a_range_goes_by_the_times_that_were_hashed(sealing: Workspace) -> None:
    """The column beside them could be changed without a trace in the bundle."""
    from tasks.audit.bundle_part import Asked, find_part

    with sealing.db.read() as tx:
        whole = find_part(tx, Asked(first=NOON, last=NOON + MINUTES))
    with sealing.db.begin() as tx:
        lift_guards(tx)
        late = EVENTS.c.seq >= whole.end - 3
        tx.execute(update(EVENTS).where(late).values(at=NOON.replace(year=2030)))
    with sealing.db.read() as tx:
        assert find_part(tx, Asked(first=NOON, last=NOON + MINUTES)) == whole
        with pytest.raises(InputError, match="after --to"):
            find_part(tx, Asked(first=NOON, last=NOON - MINUTES))
        with pytest.raises(InputError, match="after --to"):
            find_part(tx, Asked(first=5, last=2))


def test_the_restore_command_knows_the_signers_memory(sealing: Workspace) -> None:
    from tasks.audit.kept_outside import newest_known

    signed = seal(sealing, NOON)
    say_something(sealing)
    assert newest_known(sealing.settings.audit, SIGNER, []) == signed
    assert newest_known(sealing.settings.audit, None, []) is None
