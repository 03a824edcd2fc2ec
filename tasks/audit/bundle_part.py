"""Which events does a bundle hold: a contiguous range of the history, or one loop's story?"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Select,
    and_,
    cast,
    false,
    func,
    select,
    true,
)

from loopwright.errors import InputError
from loopwright.history.append import head
from loopwright.history.envelope import timestamp
from models.base import table
from models.history import HistoryEvent
from models.kinds import EventKind
from models.loop import Loop
from tasks.find import match_id

EVENTS = table(HistoryEvent)
LOOPS = table(Loop)

PAGE = 2_000

Words = Literal["none", "all"] | tuple[str, ...]
"""Whose bodies travel: nobody's, everybody's in the bundle, or those of these loops."""


@dataclass(frozen=True)
class Asked:
    """Which events: of one loop, or from `first` to `last`, positions or moments, both inclusive;
    None is the history's beginning or its end."""

    loop: str | None = None
    first: int | datetime | None = None
    last: int | datetime | None = None
    bodies: Words = "none"
    since: int | None = None
    """The size of a checkpoint that the auditor holds, which the bundle must continue."""

    def __str__(self) -> str:
        bodies = self.bodies if isinstance(self.bodies, str) else ",".join(self.bodies)
        if self.loop is not None:
            return f"--loop {self.loop} --bodies {bodies}"
        parts = [("--from", self.first), ("--to", self.last)]
        said = [f"{option} {spelled(value)}" for option, value in parts if value is not None]
        return " ".join([*said, f"--bodies {bodies}"])


@dataclass(frozen=True)
class Part:
    """The events of a bundle, among the first `size`: a range [first, end) or one loop's.

    A loop's `first` and `end` are the positions of its first event and behind its last one.
    """

    loop: str | None
    first: int
    end: int
    count: int
    size: int
    bodies: Words

    @property
    def kind(self) -> str:
        return "loop" if self.loop else "range"

    @property
    def events(self) -> ColumnElement[bool]:
        inside = and_(EVENTS.c.seq >= self.first, EVENTS.c.seq < self.end)
        return and_(inside, EVENTS.c.loop_id == self.loop) if self.loop else inside

    def holds(self, seq: int) -> bool:
        """Whether the event there, which is no loop's, is in the bundle."""
        return self.loop is None and self.first <= seq < self.end

    @property
    def others(self) -> ColumnElement[bool]:
        """Later events of the history that are not in the bundle."""
        behind = EVENTS.c.seq >= self.end
        if self.loop is None:
            return behind
        return and_(EVENTS.c.seq > self.first, EVENTS.c.loop_id.is_distinct_from(self.loop))

    @property
    def chosen(self) -> ColumnElement[bool]:
        """The events whose bodies were asked for, there or erased."""
        if self.bodies == "none":
            return false()
        with_body = and_(self.events, EVENTS.c.body_commit.is_not(None))
        return with_body if self.bodies == "all" else and_(with_body, self._of_loops)

    @property
    def _of_loops(self) -> ColumnElement[bool]:
        return EVENTS.c.loop_id.in_(self.bodies)

    def select(self, *columns: Any) -> Select[Any]:
        order = EVENTS.c.loop_seq if self.loop else EVENTS.c.seq
        return select(*columns).where(self.events).order_by(order)


def find_part(tx: Connection, asked: Asked) -> Part:
    """The positions asked for. Raises InputError when no event is there."""
    size = head(tx)[0]
    bodies = asked.bodies
    if not isinstance(bodies, str):
        bodies = tuple(dict.fromkeys(known_loop(tx, loop) for loop in bodies))
    if asked.loop is not None:
        loop = known_loop(tx, asked.loop)
        ends = select(func.min(EVENTS.c.seq), func.max(EVENTS.c.seq), func.count())
        first, last, count = tx.execute(ends.where(EVENTS.c.loop_id == loop)).one()
        return Part(loop, first, last + 1, count, size, bodies)
    first, end = range_ends(tx, asked, size)
    if end <= first:
        raise InputError("no event is in that range", f"the history holds {size:,}")
    return Part(None, first, end, end - first, size, bodies)


def known_loop(tx: Connection, wanted: str) -> str:
    """The loop with this id or the end of it; one whose row is gone still has its events.

    Raises InputError for a loop without events.
    """
    own = select(EVENTS.c.loop_id).limit(1)
    if tx.execute(own.where(EVENTS.c.loop_id == wanted)).first():
        return wanted
    loop = match_id(tx, LOOPS, wanted, "loop")
    if tx.execute(own.where(EVENTS.c.loop_id == loop)).first():
        return loop
    raise InputError(f"the loop {loop} has no events", "`loopwright audit replay` says more")


def range_ends(tx: Connection, asked: Asked, size: int) -> tuple[int, int]:
    """The smallest range that holds every event asked for: times need not grow with positions."""
    refuse_backwards(asked)
    first, last = asked.first or 0, size - 1 if asked.last is None else asked.last
    within = between(time_in(EVENTS.c.envelope, tx.dialect.name), first, last)
    if isinstance(first, datetime):
        first = edge(tx, func.min(EVENTS.c.seq), within, size)
    if isinstance(last, datetime):
        last = edge(tx, func.max(EVENTS.c.seq), within, -1)
    return first, min(last + 1, size)


def between(
    said: ColumnElement[str], first: int | datetime, last: int | datetime
) -> ColumnElement[bool]:
    """The events of the time asked for; positions ask for none."""
    late = said >= timestamp(first) if isinstance(first, datetime) else true()
    early = said <= timestamp(last) if isinstance(last, datetime) else true()
    return and_(late, early)


def refuse_backwards(asked: Asked) -> None:
    """Raises InputError for an end before the beginning."""
    first, last = asked.first, asked.last
    if type(first) is type(last) and first is not None and first > last:  # type: ignore[operator]
        what = f"--from {spelled(first)} is after --to {spelled(last)}"  # type: ignore[arg-type]
        raise InputError(what, "give the earlier one first")


def time_in(envelope: ColumnElement[str], dialect: str) -> ColumnElement[str]:
    """An event's time as it was hashed; the column beside it could be changed unseen."""
    if dialect == "sqlite":
        return func.json_extract(envelope, "$.at")
    return func.json_extract_path_text(cast(envelope, JSON), "at")


def edge(tx: Connection, position: Any, which: ColumnElement[bool], none: int) -> int:
    found = tx.execute(select(position).where(which)).scalar()
    return none if found is None else int(found)


def erasures(tx: Connection, part: Part, where: ColumnElement[bool]) -> Iterator[list[Any]]:
    """The events at `where` that erased chosen bodies, in order."""
    query = (
        select(EVENTS.c.seq, EVENTS.c.event_id, EVENTS.c.envelope, EVENTS.c.data)
        .where(EVENTS.c.kind == EventKind.BODY_ERASED, where)
        .order_by(EVENTS.c.seq)
    )
    for rows in pages(tx, query if part.bodies != "none" else query.where(false())):
        targets = [json.loads(row.data)["event"] for row in rows]
        chosen = select(EVENTS.c.event_id).where(EVENTS.c.event_id.in_(targets), part.chosen)
        ours = set(tx.execute(chosen).scalars())
        yield [row for row, target in zip(rows, targets, strict=True) if target in ours]


def pages(tx: Connection, query: Select[Any]) -> Iterator[Sequence[Any]]:
    return tx.execute(query.execution_options(yield_per=PAGE)).partitions()


def spelled(value: int | datetime) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
