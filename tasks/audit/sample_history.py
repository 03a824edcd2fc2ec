"""Which loops does an auditor look at? A sample that anybody can draw again from a checkpoint.

Positions of the history are drawn from SHA-256(root ‖ seed ‖ counter), the counter in 8 bytes from
0 on. The first 8 bytes of each hash are a number x; x at or above the largest multiple of the size
below 2^64 is passed over, so that every position x mod size is equally likely; one drawn before is
passed over too. Events are taken as they are drawn. A loop is drawn when the position of its first
event is, so each loop of the history has the same chance, however long its story is. The root is
fixed by the checkpoint, so neither side can choose a seed for a sample it likes beforehand.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Any

from sqlalchemy import Connection, func, select

from loopwright.errors import FindingError, InputError
from loopwright.history.keys import Signer, renewals_in
from loopwright.history.note import Checkpoint, Note
from models.base import table
from models.history import AuditCheckpoint, HistoryEvent

EVENTS = table(HistoryEvent)
CHECKPOINTS = table(AuditCheckpoint)

PAGE = 500


@dataclass(frozen=True)
class Drawn:
    """The event at a drawn position; `loop` is None for what belongs to no loop."""

    seq: int
    event: str
    kind: str
    loop: str | None


@dataclass(frozen=True)
class Sample:
    """What was drawn by which checkpoint, in the order drawn, and how many draws that took."""

    checkpoint: Checkpoint
    drawn: list[Drawn]
    draws: int


def draw(root: bytes, seed: str, size: int) -> Iterator[int]:
    """Positions below `size`, each once, in the order that root and seed give."""
    limit = 2**64 // size * size
    seen: set[int] = set()
    counter = 0
    while len(seen) < size:
        block = sha256(root + seed.encode() + counter.to_bytes(8, "big")).digest()
        x, counter = int.from_bytes(block[:8], "big"), counter + 1
        if x < limit and x % size not in seen:
            seen.add(x % size)
            yield x % size


def sample(
    tx: Connection,
    number: int,
    seed: str,
    *,
    size: int | None = None,
    events: bool = False,
    signer: Signer | None = None,
) -> Sample:
    """`number` loops (or events) of the history at the checkpoint of `size`, or the last one.

    All there are where these are fewer. Raises InputError without such a checkpoint, NoteError for
    one that the signer, where known, did not sign: its root would be anybody's choice.
    """
    checkpoint = find_checkpoint(tx, size, signer)
    number = min(number, checkpoint.size if events else loops_before(tx, checkpoint.size))
    positions = draw(checkpoint.root, seed, checkpoint.size)
    drawn, draws = list[Drawn](), 0
    while len(drawn) < number:
        page = list(islice(positions, PAGE))
        for at in found(tx, page):
            draws += 1
            if events or at.loop_seq == 0:
                drawn.append(Drawn(at.seq, at.event_id, at.kind, at.loop_id))
            if len(drawn) == number:
                break
    return Sample(checkpoint, drawn, draws)


def find_checkpoint(tx: Connection, size: int | None, signer: Signer | None) -> Checkpoint:
    query = select(CHECKPOINTS.c.note).order_by(
        CHECKPOINTS.c.epoch.desc(), CHECKPOINTS.c.size.desc()
    )
    query = query.where(CHECKPOINTS.c.size > 0 if size is None else CHECKPOINTS.c.size == size)
    note = tx.execute(query.limit(1)).scalar()
    if note is None:
        raise InputError(
            "there is no checkpoint" + (f" of size {size:,}" if size is not None else ""),
            "`loopwright audit checkpoint` makes one and shows the last",
        )
    if signer is not None:
        return signer.signed(note, renewals_in(tx))
    return Checkpoint.parse(Note.parse(note).text)


def loops_before(tx: Connection, size: int) -> int:
    query = select(func.count()).where(EVENTS.c.seq < size, EVENTS.c.loop_seq == 0)
    return int(tx.execute(query).scalar_one())


def found(tx: Connection, positions: list[int]) -> list[Any]:
    """The events at the positions, in that order. Raises FindingError where one is missing."""
    columns = (EVENTS.c.seq, EVENTS.c.event_id, EVENTS.c.kind, EVENTS.c.loop_id, EVENTS.c.loop_seq)
    query = select(*columns).where(EVENTS.c.seq.in_(positions))
    rows = {row.seq: row for row in tx.execute(query)}
    if len(rows) != len(positions) or not positions:
        raise FindingError("events of the checkpoint are missing", "`loopwright audit verify`")
    return [rows[position] for position in positions]
