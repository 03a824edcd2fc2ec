"""Events, words, documents and erasures of a bundle: all that its exported event vouches for."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, func, select

from loopwright.errors import FindingError
from loopwright.history.envelope import canonical
from models.base import table
from models.history import EventBody
from tasks.audit.bundle_documents import documents_of, files_of
from tasks.audit.bundle_file import Bundle
from tasks.audit.bundle_part import EVENTS, Part, erasures, pages

BODIES = table(EventBody)


@dataclass
class Written:
    """What went into the bundle so far, counted while it went by."""

    kinds: Counter[str] = field(default_factory=Counter)
    policies: set[str] = field(default_factory=set)
    loops: int = 0
    bodies: int = 0
    chosen: int = 0
    listed: list[str] | None = None
    erasures: list[tuple[int, str]] = field(default_factory=list)
    publications: list[tuple[int, str]] = field(default_factory=list)

    @property
    def outside(self) -> list[tuple[int, str]]:
        """Position and id of the events that travel though they are not in the part."""
        return [*self.erasures, *self.publications]


def write_contents(tx: Connection, bundle: Bundle, part: Part) -> Written:
    """Everything that the exported event covers. Raises FindingError for words that are gone."""
    written = Written(listed=None if isinstance(part.bodies, str) else [])
    bundle.write("events.ndjson", event_lines(tx, part, written))
    bundle.write("bodies.ndjson", body_lines(tx, part, written))
    published = documents_of(tx, part, written.policies)
    for publication in published:
        for name, content in files_of(tx, publication):
            bundle.write(name, [content])
    bundle.write("erasures.ndjson", erasure_lines(tx, part, written))
    elsewhere = [one for one in published if not part.holds(one.seq)]
    written.publications += [(one.seq, one.event) for one in elsewhere]
    bundle.write("publications.ndjson", [ended(one.envelope for one in elsewhere)])
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


def erasure_lines(tx: Connection, part: Part, written: Written) -> Iterator[bytes]:
    """Events outside the bundle that erased chosen bodies."""
    for rows in erasures(tx, part, part.others):
        written.erasures += [(row.seq, row.event_id) for row in rows]
        yield ended(row.envelope for row in rows)


def refuse_lost_words(tx: Connection, part: Part, written: Written) -> None:
    """A chosen body is there or an event says that it was erased."""
    inside = sum(len(rows) for rows in erasures(tx, part, part.events))
    lost = written.chosen - written.bodies - inside - len(written.erasures)
    if lost:
        raise FindingError(
            f"{lost:,} chosen bodies are not there and no event says that they were erased",
            "`loopwright audit verify` names the first; `--bodies none` exports without words",
        )


def ended(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
