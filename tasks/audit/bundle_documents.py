"""Which documents do a bundle's events rest on, and which events published them?"""

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from loopwright.errors import FindingError
from models.kinds import EventKind
from tasks.audit.bundle_part import EVENTS, Part
from tasks.documents.publish import set_hash, stored_files


@dataclass(frozen=True)
class Publication:
    """A set of documents, and the event by which it came into force at `seq`."""

    seq: int
    event: str
    envelope: str
    number: int
    sha256: str


def documents_of(tx: Connection, part: Part, policies: Iterable[str]) -> list[Publication]:
    """The publications that the events name, and all in force while they happened.

    Raises FindingError for one that no event published.
    """
    published = publications(tx)
    numbers = in_force([(one.seq, one.number) for one in published], positions(tx, part))
    numbers |= {int(policy) for policy in policies if policy.isdecimal()}
    known = {one.number: one for one in published}
    if unknown := numbers - known.keys():
        raise FindingError(
            f"events rest on publication {min(unknown)}, which no event published",
            "`loopwright audit replay` says more",
        )
    return [known[number] for number in sorted(numbers)]


def publications(tx: Connection) -> list[Publication]:
    """Every publication, in order."""
    columns = (EVENTS.c.seq, EVENTS.c.event_id, EVENTS.c.envelope, EVENTS.c.data)
    query = select(*columns).where(EVENTS.c.kind == EventKind.DOCUMENTS_PUBLISHED)
    found = [(row, json.loads(row.data)) for row in tx.execute(query.order_by(EVENTS.c.seq))]
    return [
        Publication(row.seq, row.event_id, row.envelope, data["publication"], data["sha256"])
        for row, data in found
    ]


def files_of(tx: Connection, publication: Publication) -> Iterator[tuple[str, bytes]]:
    """Member names and contents, byte for byte.

    Raises FindingError when the stored documents are not those that were published.
    """
    files = stored_files(tx, publication.number)
    if set_hash(files) != publication.sha256:
        raise FindingError(
            f"the documents of publication {publication.number} are not those that were published",
            "`loopwright audit replay` says more",
        )
    for name, content in sorted(files.items()):
        yield f"config/{publication.number}/{name}", content


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
