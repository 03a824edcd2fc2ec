"""Does the stored history still hold? Recompute every leaf and the root from the rows.

What this proves: no row was changed, dropped, added or moved by somebody who did not also rebuild
hashes and head. What it does not: that nobody rebuilt them; only a checkpoint kept outside does,
for all that stands before it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from loopwright.history import tree
from loopwright.history.append import head
from loopwright.history.keys import Signer
from loopwright.history.note import Checkpoint
from loopwright.history.rows import UNREADABLE, wrong_row
from loopwright.history.signed import Landmarks, Verdict, judge, stored_rows, worst, wrong_stored
from models.base import table
from models.history import EventBody, HistoryEvent
from models.kinds import EventKind

EVENTS = table(HistoryEvent)
BODIES = table(EventBody)

PAGE = 5_000
NO_BODY = (b"", "")
"""In the place of one that cannot be read; it matches no commitment."""


@dataclass(frozen=True)
class StepBack:
    """How far an event's time lies before that of the event in front of it, at most."""

    seconds: float = 0.0
    seq: int | None = None


@dataclass(frozen=True)
class Report:
    """`seq` is the first bad position and `problem` what is wrong there; both None when clean."""

    size: int
    root: str
    bodies: int
    seq: int | None = None
    problem: str | None = None
    checkpoints: int = 0
    outside: tuple[Verdict, ...] = ()
    erased: int = 0
    """Bodies that are gone, each with an event that says who erased it and by what authority."""
    back: StepBack = StepBack()
    """Writers side by side step back by seconds; hours mean that a time was not the clock's."""

    @property
    def ok(self) -> bool:
        return self.problem is None


@dataclass
class Erasures:
    """Bodies that are gone, by event id, and the events that say they were erased."""

    missing: dict[str, int] = field(default_factory=dict)
    said: dict[str, int] = field(default_factory=dict)

    def pass_by(self, row: Mapping[str, Any], body: tuple[bytes, str] | None) -> None:
        if body is None and row["body_commit"] is not None:
            self.missing[row["event_id"]] = row["seq"]
        if row["kind"] == EventKind.BODY_ERASED:
            self.said.setdefault(json.loads(row["data"])["event"], row["seq"])

    def wrong(self) -> tuple[int, str] | None:
        """The first body that is gone without a word, or is said to be gone and is not."""
        unsaid = [seq for event, seq in self.missing.items() if seq > self.said.get(event, -1)]
        if unsaid:
            return min(unsaid), "正文缺失 / the body is missing"
        untrue = [seq for event, seq in self.said.items() if event not in self.missing]
        if untrue:
            return min(untrue), "称已删除的正文仍在 / it says that a body was erased which is there"
        return None


@dataclass
class Times:
    """The largest step back in time between neighbours."""

    back: StepBack = StepBack()
    before: datetime | None = None

    def pass_by(self, row: Mapping[str, Any]) -> None:
        step = (self.before - row["at"]).total_seconds() if self.before else 0.0
        if step > self.back.seconds:
            self.back = StepBack(step, row["seq"])
        self.before = row["at"]


class Unreadable(Exception):
    """A row holds what its column cannot hold."""


def verify(
    tx: Connection,
    signer: Signer | None = None,
    outside: Sequence[Checkpoint] = (),
    *,
    restored: bool = False,
) -> Report:
    """Check every event in order against its envelope, the tree, the head and all checkpoints.

    `signer` is who must have signed the stored checkpoints. `outside` were kept elsewhere, their
    signatures already verified; the report has a verdict on each. `restored`: whoever holds them
    has seen why a restore lost the end of some, and accepts it.
    """
    frontier: list[bytes] = []
    size = bodies = 0
    sequences: dict[str, int] = {}
    erasures, times = Erasures(), Times()
    signed = stored_rows(tx)
    marks = Landmarks(frozenset(c.size for c in (*signed, *outside)))
    try:
        for rows in pages(tx):
            stored = bodies_of(tx, [r["event_id"] for r in rows])
            for row in rows:
                problem = wrong_row(row, size, stored.get(row["event_id"]), sequences)
                if problem:
                    return Report(size, tree.root(frontier).hex(), bodies, size, problem)
                frontier = tree.extend(frontier, size, [row["leaf"]])
                marks.pass_by(row, frontier)
                erasures.pass_by(row, stored.get(row["event_id"]))
                times.pass_by(row)
                size += 1
            bodies += len(stored)
    except Unreadable as unreadable:
        return Report(size, tree.root(frontier).hex(), bodies, size, str(unreadable))
    verdicts = tuple(judge(outside, marks))
    where, what = (
        erasures.wrong()
        or wrong_end(tx, size, frontier, bodies)
        or wrong_stored(signed, marks, signer)
        or wrong_outside(verdicts, restored=restored)
        or (None, None)
    )
    root, gone = tree.root(frontier).hex(), len(erasures.missing)
    return Report(size, root, bodies, where, what, len(signed), verdicts, gone, times.back)


def wrong_outside(verdicts: Sequence[Verdict], *, restored: bool) -> tuple[int | None, str] | None:
    """The first checkpoint held outside that the history does not bear out."""
    bad = worst(verdicts, restored=restored)
    return (bad.seq, f"{bad.found}: {bad.origin} {bad.size} is held outside") if bad else None


def pages(tx: Connection) -> Iterator[Sequence[Any]]:
    """Raises Unreadable behind the last row that can be read."""
    last = None
    while True:
        query = select(EVENTS).order_by(EVENTS.c.seq).limit(PAGE)
        if last is not None:
            query = query.where(EVENTS.c.seq > last)
        try:
            rows: Sequence[Any] = tx.execute(query).mappings().all()
        except UNREADABLE:
            yield from up_to_unreadable(tx, query)
        if not rows:
            return
        yield rows
        last = rows[-1]["seq"]


def up_to_unreadable(tx: Connection, query: Any) -> Iterator[Sequence[Any]]:
    """A page row by row, for the sake of the place."""
    for place in range(PAGE):
        try:
            yield tx.execute(query.limit(1).offset(place)).mappings().all()
        except UNREADABLE as error:
            what = f"此行无法读取 / the row cannot be read ({type(error).__name__})"
            raise Unreadable(what) from None


def bodies_of(tx: Connection, ids: list[str]) -> dict[str, tuple[bytes, str]]:
    query = select(BODIES).where(BODIES.c.event_id.in_(ids))
    try:
        return {r["event_id"]: (r["salt"], r["body"]) for r in tx.execute(query).mappings()}
    except UNREADABLE:
        if len(ids) == 1:
            return dict.fromkeys(ids, NO_BODY)
        return {event: body for one in ids for event, body in bodies_of(tx, [one]).items()}


def wrong_end(
    tx: Connection, size: int, frontier: list[bytes], bodies: int
) -> tuple[int, str] | None:
    try:
        head_size, head_frontier = head(tx)
    except UNREADABLE as error:
        return size, f"头部损坏 / the head is broken: {error}"
    if head_size != size:
        what = f"the head says {head_size} events, the table holds {size}"
        return size, f"头部与表中事件数不符 / {what}"
    if head_frontier != frontier:
        return size, "头部的前沿不符 / the head's frontier differs from the recomputed one"
    stored = tx.execute(select(func.count()).select_from(BODIES)).scalar_one()
    if stored != bodies:
        more = stored - bodies
        return size, f"{more} 份正文不属于任何事件 / {more} bodies belong to no event"
    twice = select(func.count() - func.count(EVENTS.c.event_id.distinct()))
    if tx.execute(twice).scalar_one():
        return size, "有事件编号重复 / an event id stands twice"
    return None
