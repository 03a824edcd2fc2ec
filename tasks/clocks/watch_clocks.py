"""Clocks that run out: remind, note the breach, climb the ladder, each at most once.

A lease finds clocks whose next moment has come, locks their loops, reads them again under the
lock, and takes what is due through the door, which refuses a moment that was taken. Loops that
somebody else works on are skipped and found by the next look.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, select

from loopwright.db import retry_conflicts
from loopwright.log import log
from models.base import table
from models.clock import Clock
from models.history import HistoryEvent
from models.kinds import ClockKind, EventKind
from models.loop import Loop
from models.ticket import Ticket
from policy.climb import Act, Recipient, Ticking, acts, next_moment, undisturbed
from policy.clock_notation import iso
from policy.organisation import Organisation
from tasks.change import Change, NewMessage, change
from tasks.people import organisation_now
from tasks.settle import stamped
from tasks.tally import Tally
from tasks.workspace import Workspace

LOOPS = table(Loop)
CLOCKS = table(Clock)
TICKETS = table(Ticket)
EVENTS = table(HistoryEvent)

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
            watch = Watch(ws, organisation_now(ws, tx, now), told_by(tx, clocks), now)
            changes = [made for clock in clocks for made in watch.changes_of(clock)]
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
        select(
            CLOCKS,
            LOOPS.c.lead,
            LOOPS.c.ladder,
            LOOPS.c.policy,
            TICKETS.c.unit,
            TICKETS.c.accepted_at,
            TICKETS.c.active_at,
        )
        .join(LOOPS, LOOPS.c.id == CLOCKS.c.loop_id)
        .outerjoin(TICKETS, TICKETS.c.id == CLOCKS.c.ticket_id)
        .where(CLOCKS.c.id.in_([row.id for row in found]), LOOPS.c.id.in_(held))
        # Again, since another look may have been first.
        .where(CLOCKS.c.next_at <= now)
        .order_by(CLOCKS.c.id)
    )
    return tx.execute(query).all()


def told_by(tx: Connection, clocks: Sequence[Any]) -> dict[str, set[Recipient]]:
    """Whom the steps taken so far told, by clock."""
    climbing = {clock.loop_id for clock in clocks if clock.step is not None}
    told: dict[str, set[Recipient]] = defaultdict(set)
    if climbing:
        climbed = EVENTS.c.kind == EventKind.CLOCK_CLIMBED
        query = select(EVENTS.c.data).where(EVENTS.c.loop_id.in_(climbing), climbed)
        for data in map(json.loads, tx.execute(query).scalars()):
            if data["unit"] is not None:
                told[data["clock"]].add(Recipient(data["unit"], data["person"]))
    return told


@dataclass(frozen=True)
class Watch:
    """One look at clocks that are due: who is on duty, and whom their ladders have told."""

    ws: Workspace
    organisation: Organisation
    told: Mapping[str, set[Recipient]]
    now: datetime

    def changes_of(self, clock: Any) -> list[Change]:
        """Everything a clock is due for by now, by what its loop was judged by."""
        clocks, now = self.ws.clocks_of(clock.policy), self.now
        unit = clock.unit or clock.lead or self.organisation.operations
        spec = clocks.specs.get(clock.spec)
        if spec is None and clock.breached_at is not None:
            return [moved(clock, None)]
        if spec is None:
            # Its specification is nowhere to be read: note the breach, and leave it at that.
            return [change_of(clock, Act("breach", None, Recipient(unit)), now)]
        ladder, calendar = clocks.ladder(spec, clock.ladder), clocks.calendar(spec, unit)
        terms = (spec, ladder, calendar, clocks.zone, unit, self.organisation)
        ticking = self.ticking(clock)
        if taken := acts(ticking, *terms, now):
            # What happens at night is written down at once, and told in the morning.
            due_at = undisturbed(now, ladder, clocks.zone)
            return [change_of(clock, act, due_at) for act in taken]
        # Work shows signs of life, or another calendar was published: it is too early.
        later = next_moment(ticking, *terms)
        return [moved(clock, later if later and later > now else None)]

    def ticking(self, clock: Any) -> Ticking:
        """Acceptance stops the climb of the owner's clock alone: the customer has no less time."""
        of_owner = clock.kind == ClockKind.OWNER
        return Ticking(
            clock.started_at,
            clock.due_at,
            clock.reminded_at is not None,
            clock.breached_at,
            clock.step,
            clock.climbed_at,
            frozenset(self.told.get(clock.id, ())),
            clock.accepted_at if of_owner else None,
            clock.active_at if of_owner else None,
        )


def moved(clock: Any, next_at: datetime | None) -> Change:
    data = {"clock": clock.id, "next_at": iso(next_at)}
    return Change(clock.loop_id, EventKind.CLOCK_MOVED, data)


def change_of(clock: Any, act: Act, due_at: datetime) -> Change:
    """The event of an act, and the message that goes at `due_at`."""
    data: dict[str, Any] = {
        "clock": clock.id,
        "unit": act.to.unit if act.to else None,
        "person": act.to.person if act.to else None,
        "next_at": iso(act.next_at),
    }
    if act.what == "climb":
        data |= {"step": act.step, "passed": ",".join(act.passed) or None}
    messages = () if act.to is None else (message_of(clock, act, act.to, due_at),)
    return Change(clock.loop_id, KINDS[act.what], data, messages=messages)


def message_of(clock: Any, act: Act, to: Recipient, due_at: datetime) -> NewMessage:
    template = TEMPLATES[act.what]
    # An extended clock is reminded of again.
    again = f":{clock.extension}" if clock.extension else ""
    return NewMessage(
        f"{template}:{clock.id}:{act.step or act.what}{again}",
        template,
        to.unit,
        clock.ticket_id,
        {"clock": clock.id},
        to.person,
        due_at=due_at,
    )


def counts_of(changes: Sequence[Change]) -> WatchCounts:
    kinds = [one.kind for one in changes]
    return WatchCounts(*(kinds.count(kind) for kind in KINDS.values()))
