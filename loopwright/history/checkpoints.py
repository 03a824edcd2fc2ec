"""Does the history still extend what was signed last, and in which epoch does it stand?

The last signed checkpoint is believed only after its own signature; its frontier, extended by the
events stored since, must give the head. That costs what is new, never what exists. A restore opens
a new epoch: sizes that were signed before may then come again, under another origin line.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, select

from loopwright.errors import FindingError
from loopwright.history import note, tree
from loopwright.history.append import EVENTS, head
from loopwright.history.keys import Signer, renewals_in
from loopwright.history.note import Checkpoint, NoteError
from loopwright.history.tree import leaf_hash
from models.base import table
from models.history import AuditCheckpoint
from models.kinds import EventKind

CHECKPOINTS = table(AuditCheckpoint)

PAGE = 5_000
SEPARATOR = "\x1e\n"
"""Between notes in one file; no note can hold it."""

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
    "outside later": "外部留存的检查点属于更新的纪元，本库来自旧备份"
    " / a checkpoint outside is of a later epoch: restored from an older backup",
}


class SealRefused(FindingError):
    """What must not be signed: `problem` is a key of PROBLEMS, `checkpoint` the size that was
    signed last, `seq` the first bad position where it can be told."""

    def __init__(self, problem: str, epoch: int, checkpoint: int, seq: int | None = None) -> None:
        place = f", seq {seq}" if seq is not None else ""
        super().__init__(
            f"拒绝签署 / not signed: {PROBLEMS[problem]} (epoch {epoch}, size {checkpoint}{place})",
            "keep the database as it is, `loopwright audit verify`; after a restore"
            " `loopwright audit restored`, see docs/operate.md",
        )
        self.problem = problem
        self.epoch = epoch
        self.checkpoint = checkpoint
        self.seq = seq

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
    """The row of the last checkpoint."""
    order = (CHECKPOINTS.c.epoch.desc(), CHECKPOINTS.c.size.desc())
    return tx.execute(select(CHECKPOINTS).order_by(*order).limit(1)).one_or_none()


def last_of(tx: Connection, kind: EventKind) -> Any | None:
    """The newest event of a kind."""
    query = select(EVENTS).where(EVENTS.c.kind == kind.value).order_by(EVENTS.c.seq.desc())
    return tx.execute(query.limit(1)).one_or_none()


def epoch(tx: Connection) -> int:
    """The present epoch: what the last restore opened, 1 without one."""
    restored = last_of(tx, EventKind.HISTORY_RESTORED)
    return epoch_in(restored.data) if restored else 1


def epoch_in(data: str) -> int:
    """The epoch that a restore's event opens; what says none opens none."""
    number = json.loads(data).get("epoch")
    return number if isinstance(number, int) else 1


def proven_head(tx: Connection, last: Any | None, signer: Signer) -> tuple[int, list[bytes]]:
    """Size and frontier of the head, which extends the last checkpoint. Raises SealRefused."""
    try:
        size, frontier = head(tx)
    except ValueError:
        raise refused("head", last) from None
    if last is None:
        start, base = 0, list[bytes]()
    else:
        start, base = last.size, believed(tx, last, signer)
    if size < start:
        raise refused("truncated", last)
    for leaves in checked_leaves(tx, last, start, size):
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
    except (NoteError, ValueError):
        raise refused("checkpoint", last) from None
    if signed != expected or not is_frontier(frontier, last.size, last.root):
        raise refused("checkpoint", last)
    return frontier


def is_frontier(frontier: Sequence[bytes], size: int, root: bytes) -> bool:
    return len(frontier) == size.bit_count() and tree.root(frontier) == root


def checked_leaves(tx: Connection, last: Any | None, first: int, end: int) -> Iterator[list[bytes]]:
    """Pages of the leaves [first, end), each the hash of its envelope."""
    while first < end:
        columns = (EVENTS.c.seq, EVENTS.c.envelope, EVENTS.c.leaf)
        query = select(*columns).where(EVENTS.c.seq >= first, EVENTS.c.seq < end)
        rows = tx.execute(query.order_by(EVENTS.c.seq).limit(PAGE)).all()
        for place, row in enumerate(rows, first):
            if row.seq != place or leaf_hash(row.envelope.encode()) != row.leaf:
                raise refused("event", last, place)
        if not rows:
            raise refused("event", last, first)
        yield [row.leaf for row in rows]
        first += len(rows)


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


def compare_outside(tx: Connection, outside: Checkpoint, size: int, now_epoch: int) -> None:
    """Refuse to sign what contradicts a checkpoint of ours that is held outside.

    One of an earlier epoch says nothing: a restore may have lost what it held, and said so.
    """
    outside_epoch = note.split_origin(outside.origin)[1]
    if outside_epoch < now_epoch:
        return
    if outside_epoch > now_epoch:
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
