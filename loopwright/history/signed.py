"""Do the checkpoints, stored here and held outside, agree with the events?

Verification passes every event once; `Landmarks` keeps what checkpoints are compared with on the
way. What a checkpoint of an earlier epoch says may have been lost in a restore, though never what
the backup still held. Somebody who alters a history can claim a restore too, so a loss is accepted
only by who says so, having seen the reason, and only where a checkpoint of a later epoch, held
outside as well, shows that the restore was signed; it is reported all the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select

from loopwright.history import note, tree
from loopwright.history.checkpoints import CHECKPOINTS, Restore, is_frontier, kept_of, restore_in
from loopwright.history.keys import Renewal, Signer, key_in
from loopwright.history.note import Checkpoint, Note, NoteError
from loopwright.history.rows import UNREADABLE
from models.kinds import EventKind

HELD = "held"
TRUNCATED = "truncated"
REWRITTEN = "rewritten"
LOST = "lost in a restore"


@dataclass(frozen=True)
class Verdict:
    """What the history says to a checkpoint held outside; `seq` is where they part."""

    origin: str
    size: int
    found: str
    seq: int | None = None


@dataclass
class Landmarks:
    """The roots at the sizes that are asked for, where restores opened epochs, and keys changed."""

    sizes: frozenset[int]
    roots: dict[int, bytes] = field(default_factory=lambda: {0: tree.EMPTY_ROOT})
    restores: list[Restore] = field(default_factory=list)
    renewals: list[Renewal] = field(default_factory=list)
    size: int = 0

    def pass_by(self, row: Mapping[str, Any], frontier: Sequence[bytes]) -> None:
        """`frontier` already holds the row."""
        self.size = row["seq"] + 1
        if self.size in self.sizes:
            self.roots[self.size] = tree.root(frontier)
        if row["kind"] == EventKind.HISTORY_RESTORED:
            self.restores.append(restore_in(row["seq"], row["data"]))
        if row["kind"] == EventKind.HISTORY_KEY_RENEWED:
            self.renewals.append((row["seq"], key_in(row["data"])))

    def epoch_at(self, size: int) -> int:
        """The epoch in which a checkpoint of this size would be signed."""
        return max([1, *(restore.epoch for restore in self.restores if restore.seq < size)])

    def agreed(self, checkpoint: Checkpoint, others: Sequence[Checkpoint]) -> int:
        """The largest size up to which a smaller one, of no later epoch, vouches for the events."""
        epoch = epoch_of(checkpoint)
        smaller = [c for c in others if c.size < checkpoint.size and epoch_of(c) <= epoch]
        return max([0, *(c.size for c in smaller if self.has(c))])

    def has(self, checkpoint: Checkpoint) -> bool:
        return self.roots.get(checkpoint.size) == checkpoint.root


def epoch_of(said: Checkpoint | Verdict) -> int:
    return note.split_origin(said.origin)[1]


def stored_rows(tx: Connection) -> Sequence[Any]:
    said = [CHECKPOINTS.c[name] for name in ("epoch", "size", "root", "frontier", "note")]
    return tx.execute(select(*said).order_by(CHECKPOINTS.c.epoch, CHECKPOINTS.c.size)).all()


def wrong_row(row: Any, marks: Landmarks, signer: Signer | None) -> str | None:
    """What is wrong with one stored checkpoint, or None."""
    try:
        return wrong_checkpoint(row, marks, signer)
    except UNREADABLE as error:
        return f"it cannot be read ({type(error).__name__})"


def wrong_checkpoint(row: Any, marks: Landmarks, signer: Signer | None) -> str | None:
    try:
        said = Checkpoint.parse(Note.parse(row.note).text)
        if signer is not None:
            signer.signed(row.note, marks.renewals)
        frontier = tree.unpack(row.frontier)
    except NoteError as error:
        return str(error)
    epoch = epoch_of(said)
    if (epoch, said.size, said.root) != (row.epoch, row.size, row.root):
        return "the columns differ from the note"
    if not is_frontier(frontier, row.size, row.root):
        return "the frontier does not hash to the root"
    if row.size > marks.size:
        return f"it was signed over {row.size} events, the history has {marks.size}"
    if marks.roots[row.size] != row.root:
        return "the events up to there have another root than was signed"
    if row.epoch != marks.epoch_at(row.size):
        return f"it is of epoch {row.epoch}, the events say {marks.epoch_at(row.size)}"
    return None


def wrong_stored(
    rows: Sequence[Any], marks: Landmarks, signer: Signer | None
) -> tuple[int, str] | None:
    """The first stored checkpoint that does not agree: from where on it may be wrong, and what."""
    agreed = 0
    for row in rows:
        if problem := wrong_row(row, marks, signer):
            what = f"检查点 / checkpoint {row.size} of epoch {row.epoch}: {problem}"
            return min(agreed, marks.size), what
        agreed = row.size
    return None


def judge(outside: Sequence[Checkpoint], marks: Landmarks) -> list[Verdict]:
    """What the history says to each checkpoint held outside."""
    return [judge_one(checkpoint, marks, outside) for checkpoint in outside]


def judge_one(checkpoint: Checkpoint, marks: Landmarks, others: Sequence[Checkpoint]) -> Verdict:
    origin, size = checkpoint.origin, checkpoint.size
    epoch = epoch_of(checkpoint)
    if marks.has(checkpoint):
        return Verdict(origin, size, HELD)
    agreed = marks.agreed(checkpoint, others)
    kept = kept_of(marks.restores, epoch)
    if kept is not None and size > kept:
        return Verdict(origin, size, LOST, max(agreed, kept))
    if kept is not None:
        return Verdict(origin, size, REWRITTEN, agreed)
    if epoch > marks.epoch_at(marks.size):
        return Verdict(origin, size, TRUNCATED, agreed)
    if size > marks.size:
        return Verdict(origin, size, TRUNCATED, marks.size)
    return Verdict(origin, size, REWRITTEN, agreed)


def worst(verdicts: Sequence[Verdict], *, restored: bool) -> Verdict | None:
    """The first verdict that must not be accepted, or None; `restored`: a loss may be."""
    held = [epoch_of(v) for v in verdicts if v.found == HELD]
    for verdict in verdicts:
        documented = restored and epoch_of(verdict) < max(held, default=0)
        if verdict.found != HELD and not (verdict.found == LOST and documented):
            return verdict
    return None
