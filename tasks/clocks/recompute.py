"""Clocks after a publication whose calendars differ: each that runs is counted anew, with both due
times in the history; and word to operations when clocks wait for a calendar that is missing.

A chunk is one transaction, which also notes how far it came, so that any worker goes on from there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, and_, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from loopwright.db import retry_conflicts
from loopwright.ids import uuid7
from loopwright.log import log
from models.base import table
from models.clock import UNCERTAIN, Clock, Recount
from models.document import Publication
from models.loop import Loop
from models.message import Message
from policy.documents import DocumentSet
from tasks.change import NewMessage, change, message_row
from tasks.clocks.changes import clock_rows, held_clocks, recomputed
from tasks.documents.publish import documents_of
from tasks.messages.outbox import insert_once
from tasks.settle import stamped
from tasks.tally import Tally
from tasks.workspace import Workspace

LOOPS = table(Loop)
CLOCKS = table(Clock)
RECOUNTS = table(Recount)
PUBLICATIONS = table(Publication)
MESSAGES = table(Message)

CHUNK = 300
"""Clocks of one transaction; at most an event each."""
WHY = "calendar"


@dataclass
class RecomputeCounts(Tally):
    """Clocks looked at again, and those whose due time moved; warnings to operations."""

    recounted: int = 0
    recomputed: int = 0
    warned: int = 0


def follow_calendars(ws: Workspace, now: datetime) -> RecomputeCounts:
    """Count all clocks anew that the newest calendars may move; warn of years that are missing."""
    total = RecomputeCounts()
    while counts := recompute_lease(ws, now):
        total += counts
    total.warned = int(warn_provisional(ws, now))
    return total


def recompute_lease(ws: Workspace, now: datetime, limit: int = CHUNK) -> RecomputeCounts | None:
    """Count up to `limit` clocks anew; None when the newest publication needs no more of it."""
    with ws.db.read() as tx:
        newest = tx.execute(select(func.max(PUBLICATIONS.c.number))).scalar()
        if newest is None or tx.execute(finished(newest)).first():
            return None
    if newest != ws.published.number:
        return None  # opened before it was published: for a worker that knows it

    def attempt() -> RecomputeCounts | None:
        with ws.db.begin() as tx:
            mark = marked(tx, ws, now)
            return None if mark.done_at else recount(tx, ws, mark, now, limit)

    counts = retry_conflicts(attempt)
    if counts is not None:
        log.info("lease.recomputed", run=ws.run, **vars(counts))
    return counts


def finished(publication: int) -> Select[Any]:
    done = RECOUNTS.c.done_at.is_not(None)
    return select(RECOUNTS.c.publication).where(RECOUNTS.c.publication == publication, done)


def marked(tx: Connection, ws: Workspace, now: datetime) -> Any:
    """How far it is with this publication, under lock; done at once when it changes no calendar."""
    number = ws.published.number
    made: dict[str, Any] = {"publication": number, "moved": 0}
    if not calendars_changed(tx, ws):
        made["done_at"] = now
    dialect_insert = sqlite_insert if tx.dialect.name == "sqlite" else postgres_insert
    tx.execute(dialect_insert(RECOUNTS).values(made).on_conflict_do_nothing())
    mine = select(RECOUNTS).where(RECOUNTS.c.publication == number).with_for_update()
    return tx.execute(mine).one()


def calendars_changed(tx: Connection, ws: Workspace) -> bool:
    """Against the last publication that was worked off, or the first there was."""
    number = ws.published.number
    done = select(func.max(RECOUNTS.c.publication)).where(RECOUNTS.c.done_at.is_not(None))
    before = tx.execute(done).scalar() or 1
    if before == number:
        return False
    older = documents_of(tx, before)
    return older is None or counting(older) != counting(ws.published.documents)


def counting(documents: DocumentSet) -> tuple[Any, ...]:
    """What of the documents working time follows from."""
    organisation = documents.organisation
    units = sorted((u.code, u.parent or "", u.calendar or "") for u in organisation.units)
    return organisation.zone, units, sorted(documents.calendars, key=lambda c: c.id)


def recount(tx: Connection, ws: Workspace, mark: Any, now: datetime, limit: int) -> RecomputeCounts:
    found = tx.execute(after(mark).limit(limit)).all()
    held = held_clocks(ws, tx, locked(tx, found))
    changes = [made for one in held if (made := recomputed(one, WHY)) is not None]
    change(tx, stamped(ws, changes), now)
    values: dict[str, Any] = {"moved": mark.moved + len(changes)}
    if found:
        values |= {"upto_due": found[-1].due_at, "upto": found[-1].id}
    if len(found) < limit:
        values["done_at"] = now
    mine = RECOUNTS.c.publication == mark.publication
    tx.execute(update(RECOUNTS).where(mine).values(values))
    return RecomputeCounts(len(found), len(changes))


def after(mark: Any) -> Select[Any]:
    """The running clocks that come after those counted, in the order of the index that finds them.
    One that moves on is met again, and then right."""
    query = select(CLOCKS.c.id, CLOCKS.c.loop_id, CLOCKS.c.due_at)
    query = query.where(CLOCKS.c.stopped_at.is_(None), CLOCKS.c.breached_at.is_(None))
    if mark.upto is not None:
        later = CLOCKS.c.due_at > mark.upto_due
        same = and_(CLOCKS.c.due_at == mark.upto_due, CLOCKS.c.id > mark.upto)
        query = query.where(CLOCKS.c.due_at >= mark.upto_due, or_(later, same))
    return query.order_by(CLOCKS.c.due_at, CLOCKS.c.id)


def locked(tx: Connection, found: Sequence[Any]) -> Sequence[Any]:
    """Those that still run, read under their loops' locks; one that stands still is counted when it
    runs on."""
    if not found:
        return []
    loops = select(LOOPS.c.id).where(LOOPS.c.id.in_({row.loop_id for row in found}))
    tx.execute(loops.order_by(LOOPS.c.id).with_for_update()).all()
    running = CLOCKS.c.stopped_at.is_(None) & CLOCKS.c.breached_at.is_(None)
    mine = CLOCKS.c.id.in_([row.id for row in found])
    query = clock_rows().where(mine, running, CLOCKS.c.paused_at.is_(None))
    return tx.execute(query.order_by(CLOCKS.c.id)).all()


def warn_provisional(ws: Workspace, now: datetime) -> bool:
    """Tell operations, once per publication and year, that clocks wait for a year's calendar."""
    with ws.db.read() as tx:
        first, last = tx.execute(uncertain()).one()
        if first is None:
            return False
        years = missing_years(ws.published.documents, ws.clocks.zone, first, last)
        wanted = {f"calendar_missing:{ws.published.number}:{year}": year for year in years}
        known = select(MESSAGES.c.key).where(MESSAGES.c.key.in_(wanted))
        new = wanted.keys() - set(tx.execute(known).scalars())
    return bool(new) and warn(ws, {key: wanted[key] for key in sorted(new)}, now)


def uncertain() -> Select[Any]:
    """When the first and the last of the clocks are due that are provisional; one partial index
    answers it."""
    ends = [
        select(CLOCKS.c.due_at).where(text(UNCERTAIN)).order_by(order).limit(1).scalar_subquery()
        for order in (CLOCKS.c.due_at, CLOCKS.c.due_at.desc())
    ]
    return select(*ends)


def missing_years(documents: DocumentSet, zone: Any, first: datetime, last: datetime) -> list[int]:
    """The years between two moments that some calendar has not published."""
    known = [set(calendar.published_years) for calendar in documents.calendars]
    between = range(first.astimezone(zone).year, last.astimezone(zone).year + 1)
    return [year for year in between if any(year not in years for years in known)]


def warn(ws: Workspace, years: Mapping[str, int], now: datetime) -> bool:
    operations = ws.published.documents.organisation.operations
    words = [
        NewMessage(key, "calendar_missing", operations, values={"year": year})
        for key, year in years.items()
    ]
    with ws.db.begin() as tx:
        made = [{"id": uuid7()} | message_row(word, None, now) for word in words]
        return bool(insert_once(tx, made))
