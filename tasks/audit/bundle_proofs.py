"""What leads from a bundle's events to a signed checkpoint: notes and the proofs of RFC 9162."""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select

from loopwright.errors import FindingError
from loopwright.history import tree
from loopwright.history.checkpoints import CHECKPOINTS, SEPARATOR, leaves
from loopwright.history.envelope import canonical
from loopwright.history.note import Checkpoint, Note
from loopwright.history.proof import Subtrees, consistency_proof, inclusion_proof
from tasks.audit.bundle_contents import Written
from tasks.audit.bundle_file import Bundle
from tasks.audit.bundle_part import EVENTS, Part, pages

MOST_CHECKPOINTS = 1_000
"""Checkpoints inside a range that travel with it; of more, as many evenly spaced ones. The last
one vouches for all events, and each costs the verifier a signature."""

NO_SEAL = (
    "it is recorded but no bundle was made: let the signer run (`loopwright audit checkpoint`,"
    " or the flow seal_history), then export again"
)


def write_proofs(
    tx: Connection,
    bundle: Bundle,
    part: Part,
    written: Written,
    exported: tuple[str, int],
    since: int | None,
) -> Checkpoint:
    """The checkpoints, and what leads from the events to the last of them, which is returned."""
    ends = (part.first, part.end) if part.loop is None else (exported[1], exported[1])
    notes = notes_around(tx, *ends, exported[1], since)
    trees = Subtrees(partial(leaves, tx), notes[-1][0].size)
    for checkpoint, _ in notes:
        refuse_other_tree(trees, checkpoint)
    bundle.write("checkpoints.txt", [SEPARATOR.join(note for _, note in notes).encode()])
    sizes = [checkpoint.size for checkpoint, _ in notes]
    proven = proven_events(tx, part, written, exported)
    bundle.write("proofs.json", proof_lines(trees, part, ends, sizes, proven))
    return notes[-1][0]


def notes_around(
    tx: Connection, first: int, end: int, seq: int, since: int | None
) -> list[tuple[Checkpoint, str]]:
    """The last checkpoint before the events, those inside, that of the size `since`, and the first
    that covers `seq`.

    Raises FindingError when none covers it.
    """
    size = CHECKPOINTS.c.size
    before = select(func.max(size)).where(size <= first).scalar_subquery()
    after = select(func.min(size)).where(size > seq).scalar_subquery()
    inside = and_(size > first, size <= end)
    query = select(CHECKPOINTS.c.note, size, inside.label("inside")).order_by(
        CHECKPOINTS.c.epoch, size
    )
    rows = tx.execute(query.where(or_(size.in_([before, after, since]), inside))).all()
    thinned = evenly([row for row in rows if row.inside], MOST_CHECKPOINTS)
    kept = [row.note for row in rows if not row.inside or row in thinned or row.size == since]
    notes = [(Checkpoint.parse(Note.parse(note).text), note) for note in kept]
    if not notes or notes[-1][0].size <= seq:
        raise FindingError("no checkpoint covers the export", NO_SEAL)
    return notes


def evenly(rows: Sequence[Any], most: int) -> set[Any]:
    """At most so many of the rows, evenly spaced, the last one among them."""
    if len(rows) <= most:
        return set(rows)
    return {rows[(n + 1) * len(rows) // most - 1] for n in range(most)}


def refuse_other_tree(trees: Subtrees, checkpoint: Checkpoint) -> None:
    if tree.root(trees.frontier(checkpoint.size)) != checkpoint.root:
        raise FindingError(
            f"the checkpoint of size {checkpoint.size:,} is of another history than the stored one",
            "`loopwright audit verify`; compare with a checkpoint kept outside",
        )


def proven_events(
    tx: Connection, part: Part, written: Written, exported: tuple[str, int]
) -> Iterator[tuple[str, int]]:
    """Event and position of all that are proven singly."""
    if part.loop:
        columns = (EVENTS.c.event_id, EVENTS.c.seq)
        for rows in pages(tx, part.select(*columns)):
            yield from ((row.event_id, row.seq) for row in rows)
    yield from ((event, seq) for seq, event in written.outside)
    yield exported


def proof_lines(
    trees: Subtrees,
    part: Part,
    ends: tuple[int, int],
    sizes: Sequence[int],
    proven: Iterable[tuple[str, int]],
) -> Iterator[bytes]:
    """proofs.json, each event's proof on a line of its own."""
    last = sizes[-1]
    yield b'{"events":{'
    for number, (event, seq) in enumerate(proven):
        entry = {"seq": seq, "size": last, "path": hexes(inclusion_proof(trees, seq, last))}
        yield f"{',' if number else ''}\n{json.dumps(event)}:{canonical(entry)}".encode()
    rest: dict[str, Any] = {"checkpoints": between(trees, ends, sizes)}
    if part.loop is None:
        path = hexes(consistency_proof(trees, part.end, last))
        rest |= {"first": part.first, "frontier": hexes(trees.frontier(part.first))}
        rest |= {"range": {"size": part.end, "checkpoint": last, "consistency": path}}
    yield f"\n}},\n{canonical(rest)[1:]}\n".encode()


def between(trees: Subtrees, ends: tuple[int, int], sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Proofs from one checkpoint to the next where the events themselves do not show it."""
    return [
        {"from": old, "to": new, "consistency": hexes(consistency_proof(trees, old, new))}
        for old, new in pairwise(sizes)
        if not (ends[0] <= old and new <= ends[1])
    ]


def hexes(hashes: Iterable[bytes]) -> list[str]:
    return [entry.hex() for entry in hashes]
