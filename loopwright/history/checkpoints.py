"""Does the history still extend what was signed last, and in which epoch does it stand?

The last signed checkpoint is believed only after its own signature; its frontier, extended by the
events stored since, must give the head. That costs what is new, never what exists. A restore opens
a new epoch: sizes that were signed before may then come again, under another origin line.
"""

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from loopwright.errors import FindingError
from loopwright.history import note, tree
from loopwright.history.append import EVENTS, head
from loopwright.history.keys import Signer, renewals_in
from loopwright.history.note import Checkpoint, NoteError
from loopwright.history.rows import UNREADABLE, wrong_row
from models.base import table
from models.history import AuditCheckpoint
from models.kinds import EventKind

CHECKPOINTS = table(AuditCheckpoint)

PAGE = 5_000
SEPARATOR = "\x1e\n"
"""Between notes in one file; no note can hold it."""

NOTE = re.compile(r"^[^\n]+\n[0-9]+\n[A-Za-z0-9+/]+=*\n\n(?:\N{EM DASH} \S+ \S+\n)+", re.MULTILINE)
"""A checkpoint and its signature lines."""

PROBLEMS = {
    "checkpoint": "最后的检查点本身不成立，或由未知密钥签署"
    " / the last checkpoint itself does not hold, or an unknown key signed it",
    "truncated": "历史短于已签署的检查点 / the history is shorter than what was signed",
    "event": "事件缺失或被改动 / an event is missing or was changed",
    "head": "事件推不出头部 / the stored events do not give the head",
    "outside longer": "外部留存的检查点更长，历史被截短或来自旧备份"
    " / a checkpoint outside is longer: truncated, or restored from an older backup",
    "outside differs": "外部留存的检查点与历史不符，历史被改写"
    " / a checkpoint outside says otherwise: rewritten",
    "unconfirmed": "数据库称已恢复备份，签署者尚未确认"
    " / the database says that it was restored, which the signer has not confirmed",
    "outside later": "外部留存的检查点属于更新的纪元，本库来自旧备份"
    " / a checkpoint outside is of a later epoch: restored from an older backup",
}


REFUSED_FIX = (
    "keep the database as it is, `loopwright audit verify`; after a restore"
    " `loopwright audit restored`, see docs/operate.md"
)
CONFIRM_FIX = "if it really was, the signer says so: `loopwright audit checkpoint --restored`"


class SealRefused(FindingError):
    """What must not be signed: `problem` is a key of PROBLEMS, `checkpoint` the size that was
    signed last, `seq` the first bad position where it can be told."""

    def __init__(self, problem: str, epoch: int, checkpoint: int, seq: int | None = None) -> None:
        place = f", seq {seq}" if seq is not None else ""
        super().__init__(
            f"拒绝签署 / not signed: {PROBLEMS[problem]} (epoch {epoch}, size {checkpoint}{place})",
            CONFIRM_FIX if problem == "unconfirmed" else REFUSED_FIX,
        )
        self.problem = problem
        self.epoch = epoch
        self.checkpoint = checkpoint
        self.seq = seq

    @property
    def is_contradicted(self) -> bool:
        """What is kept outside says otherwise: nothing that is stored here should go there."""
        return self.problem == "unconfirmed" or self.problem.startswith("outside")

    @property
    def data(self) -> dict[str, int | str | None]:
        """What the event of the refusal carries; the same as long as the state is."""
        return {
            "problem": self.problem,
            "epoch": self.epoch,
            "checkpoint": self.checkpoint,
            "seq": self.seq,
        }


def newest(tx: Connection) -> Any | None:
    """The row of the last checkpoint. Raises SealRefused for one that cannot be read."""
    order = (CHECKPOINTS.c.epoch.desc(), CHECKPOINTS.c.size.desc())
    try:
        return tx.execute(select(CHECKPOINTS).order_by(*order).limit(1)).one_or_none()
    except UNREADABLE:
        raise SealRefused("checkpoint", 1, 0) from None


def last_of(tx: Connection, kind: EventKind) -> Any | None:
    """The newest event of a kind."""
    query = select(EVENTS).where(EVENTS.c.kind == kind.value).order_by(EVENTS.c.seq.desc())
    return tx.execute(query.limit(1)).one_or_none()


@dataclass(frozen=True, slots=True)
class Restore:
    """The event of a restore at `seq` opened `epoch`; `kept` events, under a signature then, were
    still there, so that nothing before them can have been lost."""

    seq: int
    epoch: int
    kept: int


def restore_in(seq: int, data: str) -> Restore:
    """What the event says. Raises ValueError or TypeError for one that nobody can read."""
    said = json.loads(data)
    return Restore(seq, int(said["epoch"]), int(said.get("kept") or 0))


def restores_in(tx: Connection) -> list[Restore]:
    """Every restore on record, in order; an index entry each."""
    columns = (EVENTS.c.seq, EVENTS.c.data)
    query = select(*columns).where(EVENTS.c.kind == EventKind.HISTORY_RESTORED.value)
    return [restore_in(row.seq, row.data) for row in tx.execute(query.order_by(EVENTS.c.seq))]


def epoch_of(restores: Sequence[Restore]) -> int:
    """The present epoch: the latest that a restore opened, 1 without one."""
    return max([1, *(restore.epoch for restore in restores)])


def kept_of(restores: Sequence[Restore], epoch: int) -> int | None:
    """How many events of an epoch every later restore kept; None when there was none later."""
    return min((restore.kept for restore in restores if restore.epoch > epoch), default=None)


def proven_head(tx: Connection, last: Any | None, signer: Signer) -> tuple[int, list[bytes]]:
    """Size and frontier of the head, which extends the last checkpoint. Raises SealRefused."""
    try:
        size, frontier = head(tx)
    except UNREADABLE:
        raise refused("head", last) from None
    if last is None:
        start, base = 0, list[bytes]()
    else:
        start, base = last.size, believed(tx, last, signer)
    if size < start:
        raise refused("truncated", last)
    for leaves in checked_leaves(tx, start, size, last):
        base = tree.extend(base, start, leaves)
        start += len(leaves)
    if base != frontier:
        raise refused("head", last)
    return size, frontier


def believed(tx: Connection, last: Any, signer: Signer) -> list[bytes]:
    """The frontier of a stored checkpoint whose note we signed and which is the row's own."""
    expected = Checkpoint(note.origin_line(signer.name, last.epoch), last.size, last.root)
    try:
        frontier = tree.unpack(last.frontier)
        signed = signer.signed(last.note, renewals_in(tx))
    except (NoteError, *UNREADABLE):
        raise refused("checkpoint", last) from None
    if signed != expected or not is_frontier(frontier, last.size, last.root):
        raise refused("checkpoint", last)
    return frontier


def is_frontier(frontier: Sequence[bytes], size: int, root: bytes) -> bool:
    return len(frontier) == size.bit_count() and tree.root(frontier) == root


def checked_leaves(tx: Connection, first: int, end: int, last: Any | None) -> Iterator[list[bytes]]:
    """Pages of the leaves [first, end), each event checked as a verifier would.

    Raises SealRefused at the first that is wrong: once signed, no bundle could be proven again.
    """
    sequences: dict[str, int] = {}
    while first < end:
        query = select(EVENTS).where(EVENTS.c.seq >= first, EVENTS.c.seq < end)
        try:
            found = tx.execute(query.order_by(EVENTS.c.seq).limit(PAGE)).mappings()
            rows: Sequence[Any] = found.all()
        except UNREADABLE:
            raise refused("event", last, first) from None
        sequences |= numbers_before(tx, first, {row["loop_id"] for row in rows} - sequences.keys())
        for place, row in enumerate(rows, first):
            if wrong_row(row, place, None, sequences):
                raise refused("event", last, place)
        if not rows:
            raise refused("event", last, first)
        yield [row["leaf"] for row in rows]
        first += len(rows)


def numbers_before(tx: Connection, first: int, loops: Collection[str | None]) -> dict[str, int]:
    """Each loop's last number before the position."""
    query = (
        select(EVENTS.c.loop_id, func.max(EVENTS.c.loop_seq).label("number"))
        .where(EVENTS.c.loop_id.in_([loop for loop in loops if loop]), EVENTS.c.seq < first)
        .group_by(EVENTS.c.loop_id)
    )
    return {row.loop_id: row.number for row in tx.execute(query)}


def refused(problem: str, last: Any | None, seq: int | None = None) -> SealRefused:
    return SealRefused(problem, last.epoch if last else 1, last.size if last else 0, seq)


def leaves(tx: Connection, first: int, end: int) -> list[bytes]:
    """The stored leaf hashes of the positions [first, end); fewer where rows are missing."""
    query = select(EVENTS.c.leaf).where(EVENTS.c.seq >= first, EVENTS.c.seq < end)
    return list(tx.execute(query.order_by(EVENTS.c.seq)).scalars())


def root_at(tx: Connection, size: int) -> bytes | None:
    """The root of the first `size` stored leaves, all read; None where some are missing."""
    frontier: list[bytes] = []
    for first in range(0, size, PAGE):
        page = leaves(tx, first, min(first + PAGE, size))
        if len(page) != min(PAGE, size - first):
            return None
        frontier = tree.extend(frontier, first, page)
    return tree.root(frontier)


def compare_outside(
    tx: Connection, outside: Checkpoint, size: int, restores: Sequence[Restore]
) -> None:
    """Refuse to sign what contradicts a checkpoint of ours that is kept outside the database.

    A restore may have lost what one of an earlier epoch says, though nothing that it kept.
    """
    outside_epoch = note.split_origin(outside.origin)[1]
    kept = kept_of(restores, outside_epoch)
    if kept is not None and outside.size > kept:
        return
    if outside_epoch > epoch_of(restores):
        raise SealRefused("outside later", outside_epoch, outside.size)
    if outside.size > size:
        raise SealRefused("outside longer", outside_epoch, outside.size)
    same = (CHECKPOINTS.c.epoch == outside_epoch) & (CHECKPOINTS.c.size == outside.size)
    stored = tx.execute(select(CHECKPOINTS.c.root).where(same)).scalar()
    if stored != outside.root and root_at(tx, outside.size) != outside.root:
        raise SealRefused("outside differs", outside_epoch, outside.size)


def split_notes(text: str) -> list[str]:
    """The notes of a file, in its order."""
    return [piece for piece in text.split(SEPARATOR) if piece.strip()]


def notes_in(text: str) -> list[str]:
    """Every note in a text as people keep it: saved from a mail, copied from a group, with a byte
    order mark, other line ends or words around it. What a note says stays exactly as it is."""
    plain = text.removeprefix("\ufeff").replace("\r\n", "\n").rstrip("\n") + "\n"
    return [found[0] for found in NOTE.finditer(plain)]
