"""Clocks that run out: remind, note the breach, climb the ladder, each at most once.

A lease finds clocks whose next moment has come, locks their loops, reads them again under the
lock, and takes what is due through the door, which refuses a moment that was taken. Loops that
somebody else works on are skipped and found by the next look.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, select

from loopwright.db import retry_conflicts
from loopwright.log import log
from models.base import table
from models.clock import Clock
from models.kinds import EventKind
from models.loop import Loop
from models.ticket import Ticket
from policy.climb import Act, Recipient, Ticking, acts, next_moment, undisturbed
from policy.clock_notation import iso
from tasks.change import Change, NewMessage, change
from tasks.settle import stamped
from tasks.tally import Tally
from tasks.workspace import Workspace

LOOPS = table(Loop)
CLOCKS = table(Clock)
TICKETS = table(Ticket)

LEASED_CLOCKS = 200
"""In one transaction: each makes a handful of events at most."""

KINDS = {
    "remind": EventKind.CLOCK_REMINDED,
    "breach": EventKind.CLOCK_BREACHED,
    "climb": EventKind.CLOCK_CLIMBED,
}
TEMPLATES = {"remind": "clock_reminder", "breach": "clock_breached", "climb": "clock_climbed"}


@dataclass
class WatchCounts(Tally):
    """What happened to clocks: reminders, breaches, steps up a ladder."""

    reminded: int = 0
    breached: int = 0
    climbed: int = 0


def watch_lease(ws: Workspace, now: datetime, limit: int = LEASED_CLOCKS) -> WatchCounts | None:
    """Take what is due of up to `limit` clocks; None when nothing is due, or others are at it."""

    def attempt() -> WatchCounts | None:
        with ws.db.begin() as tx:
            clocks = claim(tx, now, limit)
            if not clocks:
                return None
            changes = [made for clock in clocks for made in changes_of(ws, clock, now)]
            change(tx, stamped(ws, changes), now)
            return counts_of(changes)

    counts = retry_conflicts(attempt)
    if counts is not None:
        log.info("lease.watched", run=ws.run, **vars(counts))
    return counts


def due(now: datetime) -> Select[Any]:
    """The sweep's query; one partial index answers it on both databases."""
    return (
        select(CLOCKS.c.id, CLOCKS.c.loop_id)
        .where(CLOCKS.c.next_at.is_not(None), CLOCKS.c.next_at <= now)
        .order_by(CLOCKS.c.next_at)
    )


def claim(tx: Connection, now: datetime, limit: int) -> Sequence[Any]:
    """Clocks that are due and whose loops nobody holds, with their loops' and tickets' units."""
    found = tx.execute(due(now).limit(limit)).all()
    if not found:
        return []
    mine = (
        select(LOOPS.c.id)
        .where(LOOPS.c.id.in_({row.loop_id for row in found}))
        .order_by(LOOPS.c.id)
        .with_for_update(skip_locked=True)
    )
    held = tx.execute(mine).scalars().all()
    query = (
        select(CLOCKS, LOOPS.c.lead, LOOPS.c.ladder, TICKETS.c.unit)
        .join(LOOPS, LOOPS.c.id == CLOCKS.c.loop_id)
        .outerjoin(TICKETS, TICKETS.c.id == CLOCKS.c.ticket_id)
        .where(CLOCKS.c.id.in_([row.id for row in found]), LOOPS.c.id.in_(held))
        # Again, since another look may have been first.
        .where(CLOCKS.c.next_at <= now)
        .order_by(CLOCKS.c.id)
    )
    return tx.execute(query).all()


def changes_of(ws: Workspace, clock: Any, now: datetime) -> list[Change]:
    """Everything a clock is due for by now."""
    documents, clocks = ws.published.documents, ws.clocks
    unit = clock.unit or clock.lead or documents.organisation.operations
    spec, ladder = clocks.specs.get(clock.spec), clocks.ladders.get(clock.ladder or "")
    if spec is None:
        # Its specification is no longer published: note the breach, and leave it at that.
        return [change_of(ws, clock, Act("breach", None, Recipient(unit)), now)]
    ticking = Ticking(
        clock.started_at,
        clock.due_at,
        clock.reminded_at is not None,
        clock.breached_at,
        clock.step,
    )
    calendar, zone = clocks.calendar(spec, unit), clocks.zone
    taken = acts(ticking, spec, ladder, calendar, zone, unit, documents.organisation, now)
    if taken:
        return [change_of(ws, clock, act, now) for act in taken]
    # Another ladder or calendar was published since, by which it is too early.
    later = next_moment(ticking, spec, ladder, calendar, zone, unit, documents.organisation)
    return [moved(clock, later if later and later > now else None)]


def moved(clock: Any, next_at: datetime | None) -> Change:
    data = {"clock": clock.id, "next_at": iso(next_at)}
    return Change(clock.loop_id, EventKind.CLOCK_MOVED, data)


def change_of(ws: Workspace, clock: Any, act: Act, now: datetime) -> Change:
    data: dict[str, Any] = {
        "clock": clock.id,
        "unit": act.to.unit if act.to else None,
        "person": act.to.person if act.to else None,
        "next_at": iso(act.next_at),
    }
    if act.what == "climb":
        data |= {"step": act.step, "passed": ",".join(act.passed) or None}
    messages = () if act.to is None else (message_of(ws, clock, act, act.to, now),)
    return Change(clock.loop_id, KINDS[act.what], data, messages=messages)


def message_of(ws: Workspace, clock: Any, act: Act, to: Recipient, now: datetime) -> NewMessage:
    """Held back through the ladder's quiet hours; a breach is told when it happens."""
    template, ladder = TEMPLATES[act.what], ws.clocks.ladders.get(clock.ladder or "")
    later = now if act.what == "breach" else undisturbed(now, ladder, ws.clocks.zone)
    return NewMessage(
        f"{template}:{clock.id}:{act.step or act.what}",
        template,
        to.unit,
        clock.ticket_id,
        {"clock": clock.id},
        to.person,
        due_at=later,
    )


def counts_of(changes: Sequence[Change]) -> WatchCounts:
    kinds = [one.kind for one in changes]
    return WatchCounts(*(kinds.count(kind) for kind in KINDS.values()))
