"""Events, words, documents and erasures of a bundle: all that its exported event vouches for."""

import json
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, func, select

from loopwright.errors import FindingError
from loopwright.history.envelope import canonical
from models.base import table
from models.document import Document
from models.history import EventBody
from models.kinds import EventKind
from tasks.audit.bundle_file import Bundle
from tasks.audit.bundle_part import EVENTS, Part, erasures, pages

BODIES = table(EventBody)
DOCUMENTS = table(Document)


@dataclass
class Written:
    """What went into the bundle so far, counted while it went by."""

    kinds: Counter[str] = field(default_factory=Counter)
    policies: set[str] = field(default_factory=set)
    loops: int = 0
    bodies: int = 0
    chosen: int = 0
    listed: list[str] | None = None
    outside: list[tuple[int, str]] = field(default_factory=list)


def write_contents(tx: Connection, bundle: Bundle, part: Part) -> Written:
    """Everything that the exported event covers. Raises FindingError for words that are gone."""
    written = Written(listed=None if isinstance(part.bodies, str) else [])
    bundle.write("events.ndjson", event_lines(tx, part, written))
    bundle.write("bodies.ndjson", body_lines(tx, part, written))
    for name, content in config(tx, part, written):
        bundle.write(name, [content])
    bundle.write("erasures.ndjson", erasure_lines(tx, part, written))
    written.loops = tx.execute(
        select(func.count(EVENTS.c.loop_id.distinct())).where(part.events)
    ).scalar_one()
    refuse_lost_words(tx, part, written)
    return written


def event_lines(tx: Connection, part: Part, written: Written) -> Iterator[bytes]:
    columns = (EVENTS.c.envelope, EVENTS.c.kind, EVENTS.c.policy_version)
    number = 0
    for rows in pages(tx, part.select(*columns)):
        written.kinds.update(row.kind for row in rows)
        written.policies.update(row.policy_version for row in rows if row.policy_version)
        number += len(rows)
        yield ended(row.envelope for row in rows)
    if number != part.count:
        raise FindingError(
            f"{part.count:,} events should be there, {number:,} are",
            "`loopwright audit verify` names the place",
        )


def body_lines(tx: Connection, part: Part, written: Written) -> Iterator[bytes]:
    """The chosen bodies that are still there; counts the erased ones too."""
    both = EVENTS.outerjoin(BODIES, BODIES.c.event_id == EVENTS.c.event_id)
    columns = (EVENTS.c.event_id, BODIES.c.salt, BODIES.c.body)
    for rows in pages(tx, part.select(*columns).select_from(both).where(part.chosen)):
        there = [row for row in rows if row.body is not None]
        written.chosen += len(rows)
        written.bodies += len(there)
        if written.listed is not None:
            written.listed += [row.event_id for row in rows]
        yield ended(body_line(row) for row in there)


def body_line(row: Any) -> str:
    return canonical({"event": row.event_id, "salt": row.salt.hex(), "body": row.body})


def config(tx: Connection, part: Part, written: Written) -> Iterator[tuple[str, bytes]]:
    """Every file of every publication in force: its hash stands in the event that published it."""
    numbers = in_force(publications(tx, part), positions(tx, part))
    numbers |= {int(policy) for policy in written.policies if policy.isdecimal()}
    for number in sorted(numbers):
        query = select(DOCUMENTS.c.name, DOCUMENTS.c.content).order_by(DOCUMENTS.c.name)
        for row in tx.execute(query.where(DOCUMENTS.c.publication == number)):
            yield f"config/{number}/{row.name}", row.content


def publications(tx: Connection, part: Part) -> list[tuple[int, int]]:
    """Where each publication came into force before the part's end: position, number."""
    query = (
        select(EVENTS.c.seq, EVENTS.c.data)
        .where(EVENTS.c.kind == EventKind.DOCUMENTS_PUBLISHED, EVENTS.c.seq < part.end)
        .order_by(EVENTS.c.seq)
    )
    return [(row.seq, json.loads(row.data)["publication"]) for row in tx.execute(query)]


def positions(tx: Connection, part: Part) -> Iterable[tuple[int, int]]:
    """The part as stretches [first, end) of positions."""
    if part.loop is None:
        return [(part.first, part.end)]
    return [(row.seq, row.seq + 1) for row in tx.execute(part.select(EVENTS.c.seq))]


def in_force(
    published: Sequence[tuple[int, int]], stretches: Iterable[tuple[int, int]]
) -> set[int]:
    """The publications that ran at some position of the stretches."""
    starts = [seq for seq, _ in published]
    found: set[int] = set()
    for first, end in stretches:
        running = max(bisect_right(starts, first) - 1, 0)
        found |= {number for _, number in published[running : bisect_left(starts, end)]}
    return found


def erasure_lines(tx: Connection, part: Part, written: Written) -> Iterator[bytes]:
    """Events outside the bundle that erased chosen bodies."""
    for rows in erasures(tx, part, part.others):
        written.outside += [(row.seq, row.event_id) for row in rows]
        yield ended(row.envelope for row in rows)


def refuse_lost_words(tx: Connection, part: Part, written: Written) -> None:
    """A chosen body is there or an event says that it was erased."""
    inside = sum(len(rows) for rows in erasures(tx, part, part.events))
    lost = written.chosen - written.bodies - inside - len(written.outside)
    if lost:
        raise FindingError(
            f"{lost:,} chosen bodies are not there and no event says that they were erased",
            "`loopwright audit verify` names the first; `--bodies none` exports without words",
        )


def ended(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
