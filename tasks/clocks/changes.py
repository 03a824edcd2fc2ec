"""What may be done with a running clock: let it stand still for a reason, run on, give it time,
begin it anew.

A due time is always counted from the start: by the specification that started the clock, with the
time granted and the pauses that its history holds, on the calendars that are published now. So a
calendar edit, a pause and an extension agree in whatever order they come.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, select

from loopwright.errors import InputError, TransitionRefused
from loopwright.history.envelope import SYSTEM, Actor, Scalar
from models.base import table
from models.clock import Clock
from models.history import HistoryEvent
from models.kinds import EventKind
from models.loop import Loop
from models.ticket import Ticket
from policy.climb import first_moment
from policy.clock_notation import PREFIX, iso
from policy.deadline import STRAIGHT, Course, Deadline, due_many
from policy.regulation import Regulation
from policy.timing import ClockSpec, PauseReason
from policy.working_time import WorkingCalendar
from tasks.change import Change
from tasks.clocks.starting import Clocks
from tasks.find import match_id, require_words
from tasks.settle import settle
from tasks.workspace import Workspace

LOOPS = table(Loop)
CLOCKS = table(Clock)
TICKETS = table(Ticket)
EVENTS = table(HistoryEvent)

COURSE_KINDS = (EventKind.CLOCK_PAUSED, EventKind.CLOCK_RESUMED, EventKind.CLOCK_EXTENDED)
LIST = "`loopwright loop show` lists the loop's clocks"


@dataclass(frozen=True)
class Past:
    """What a clock has behind it: the publication that started it (None: not known), its course,
    and since when it stands still."""

    publication: str | None
    course: Course = STRAIGHT
    paused_at: datetime | None = None


@dataclass(frozen=True)
class Held:
    """A clock as it runs: its row with its loop's lead and ladder and its ticket's unit; `terms`:
    by which it started, `spec` among them; `unit`: whose working time counts; its past."""

    row: Any
    terms: Clocks
    spec: ClockSpec
    unit: str
    past: Past

    @property
    def calendar(self) -> WorkingCalendar | None:
        return self.terms.calendar(self.spec, self.unit)

    @property
    def law(self) -> Regulation | None:
        return self.terms.regulations.get(self.spec.id)


@dataclass(frozen=True)
class Proof:
    """Why a clock should stand still, with the references of the proof and of the word to the
    customer."""

    reason: str
    evidence: str
    notice: str = ""


# Reading


def clock_rows() -> Select[Any]:
    return (
        select(CLOCKS, LOOPS.c.lead, LOOPS.c.ladder, TICKETS.c.unit)
        .join(LOOPS, LOOPS.c.id == CLOCKS.c.loop_id)
        .outerjoin(TICKETS, TICKETS.c.id == CLOCKS.c.ticket_id)
    )


def held_clocks(ws: Workspace, tx: Connection, rows: Sequence[Any]) -> list[Held]:
    """Clocks with their past; one whose specification nobody knows any more is left out."""
    known, found = pasts(tx, rows), []
    for row in rows:
        past, terms = known[row.id], ws.clocks_of(known[row.id].publication)
        spec = terms.specs.get(row.spec)
        if spec is not None:
            found.append(Held(row, terms, spec, unit_of(ws, row), past))
    return found


def unit_of(ws: Workspace, row: Any) -> str:
    unit: str = row.unit or row.lead or ws.published.documents.organisation.operations
    return unit


def pasts(tx: Connection, rows: Iterable[Any]) -> dict[str, Past]:
    """What the history says of clocks, by their ids."""
    loops = {row.loop_id for row in rows}
    mine = EVENTS.c.loop_id.in_(loops)
    moved = select(EVENTS.c.kind, EVENTS.c.at, EVENTS.c.data).where(mine)
    moved = moved.where(EVENTS.c.kind.in_(COURSE_KINDS)).order_by(EVENTS.c.loop_id, EVENTS.c.seq)
    happened: dict[str, list[tuple[str, datetime, Mapping[str, Any]]]] = {}
    for kind, at, text in tx.execute(moved):
        data = json.loads(text)
        happened.setdefault(data["clock"], []).append((kind, at, data))
    first = {row.id: start_seq(row) for row in rows}
    started = select(EVENTS.c.loop_id, EVENTS.c.loop_seq, EVENTS.c.policy_version)
    started = started.where(mine, EVENTS.c.loop_seq.in_(set(first.values())))
    by = {(e.loop_id, e.loop_seq): e.policy_version for e in tx.execute(started)}
    return {
        row.id: past_of(by.get((row.loop_id, first[row.id])), happened.get(row.id, ()))
        for row in rows
    }


def start_seq(row: Any) -> int:
    """The loop sequence of the event that started a clock, which its id holds."""
    return int(row.id.removeprefix(f"{row.loop_id}.").split(".", 1)[0])


def past_of(
    publication: str | None, events: Iterable[tuple[str, datetime, Mapping[str, Any]]]
) -> Past:
    course, paused_at = STRAIGHT, None
    for kind, at, data in events:
        if kind == EventKind.CLOCK_PAUSED:
            paused_at = at
        elif kind == EventKind.CLOCK_EXTENDED:
            course = course.extended(data.get("days") or 0, (data.get("minutes") or 0) / 60)
        elif paused_at is not None:
            course, paused_at = course.paused(paused_at, at), None
    return Past(publication, course, paused_at)


def running(ws: Workspace, tx: Connection, loop: str, wanted: str) -> Held:
    """The loop's clock that has that id, or runs by that specification.

    Raises InputError when none or several do, TransitionRefused when it has stopped.
    """
    rows = tx.execute(clock_rows().where(CLOCKS.c.loop_id == loop).order_by(CLOCKS.c.id)).all()
    named = [row for row in rows if wanted in (row.id, row.spec)]
    live = [row for row in named if row.stopped_at is None]
    if len(live) > 1:
        ids = ", ".join(row.id for row in live)
        raise InputError(f"several clocks {wanted} run", f"name one by its id: {ids}")
    if named and not live:
        raise TransitionRefused(f"clock {wanted} has stopped", LIST)
    found = held_clocks(ws, tx, live)
    if not found:
        known = ", ".join(sorted({row.spec for row in rows if row.stopped_at is None}))
        raise InputError(f"loop {loop} has no clock {wanted!r}", f"running: {known or '-'}; {LIST}")
    return found[0]


def clock_of(ws: Workspace, tx: Connection, clock: str) -> Held:
    """A running clock by its id. Raises TransitionRefused when it does not run."""
    rows = tx.execute(clock_rows().where(CLOCKS.c.id == clock, CLOCKS.c.stopped_at.is_(None))).all()
    found = held_clocks(ws, tx, rows)
    if not found:
        raise TransitionRefused(f"clock {clock} does not run any more", LIST)
    return found[0]


# Counting


def deadline_of(held: Held, course: Course, started_at: datetime | None = None) -> Deadline:
    """When a clock is due after all that happened to it, on the calendars published now."""
    start = started_at or held.row.started_at
    (deadline,) = due_many([start], held.spec, held.calendar, held.terms.zone, course)
    return deadline


def next_look(
    held: Held, deadline: Deadline, *, reminded: bool, started_at: datetime | None = None
) -> datetime | None:
    """When a clock that is due anew must be looked at; a breach stays, and its climb with it."""
    if held.row.breached_at is not None:
        at: datetime | None = held.row.next_at
        return at
    if reminded:
        return deadline.due
    start, ladder = started_at or held.row.started_at, held.terms.ladder(held.spec, held.row.ladder)
    return first_moment(start, deadline.due, held.spec, ladder, held.calendar, held.terms.zone)


def due_data(deadline: Deadline, next_at: datetime | None) -> dict[str, Scalar]:
    return {
        "due_at": iso(deadline.due),
        "next_at": iso(next_at),
        "provisional": deadline.provisional,
    }


# Changes for the door


def extended(
    ws: Workspace,
    tx: Connection,
    clock: str,
    *,
    extension: str,
    days: int = 0,
    hours: float = 0.0,
    approval: str | None = None,
    actor: Actor = SYSTEM,
    body: Mapping[str, Any] | None = None,
) -> Change:
    """The change that gives a running clock more time, in its own measure: working days or hours
    of a clock of working time, else calendar days. One that stands still stays so.

    `extension`: what it is called. Raises TransitionRefused when the clock does not run, ValueError
    for hours of a legal clock.
    """
    held = clock_of(ws, tx, clock)
    deadline = deadline_of(held, held.past.course.extended(days, hours))
    still = held.row.paused_at is not None
    at = None if still else next_look(held, deadline, reminded=False)
    data: dict[str, Scalar] = {"clock": clock, "extension": extension, "approval": approval}
    data |= {"was": iso(held.row.due_at), "days": days or None}
    data |= {"minutes": round(hours * 60) or None}
    data |= due_data(deadline, at)
    return Change(held.row.loop_id, EventKind.CLOCK_EXTENDED, data, actor, body=body)


def recomputed(
    held: Held, why: str, started_at: datetime | None = None, **more: Scalar
) -> Change | None:
    """The change that corrects a clock's due time, with the old and the new one; None when it is
    right. `started_at`: it started then after all."""
    deadline = deadline_of(held, held.past.course, started_at)
    same = (deadline.due, deadline.provisional) == (held.row.due_at, held.row.provisional)
    if same and started_at in (None, held.row.started_at):
        return None
    reminded, still = held.row.reminded_at is not None, held.row.paused_at is not None
    at = None if still else next_look(held, deadline, reminded=reminded, started_at=started_at)
    data: dict[str, Scalar] = {"clock": held.row.id, "why": why, "was": iso(held.row.due_at)}
    data |= due_data(deadline, at) | more
    if started_at is not None:
        data |= {"started_at": iso(started_at), "started_was": iso(held.row.started_at)}
    return Change(held.row.loop_id, EventKind.CLOCK_RECOMPUTED, data)


def restarted(
    held: Held, why: str, at: datetime, actor: Actor, body: Mapping[str, Any] | None = None
) -> Change:
    """The change that stops a clock for good and starts another by the same specification at `at`;
    the old one stays to be seen."""
    row = held.row
    start = held.terms.started(held.spec, held.unit, row.ladder, at)
    data: dict[str, Scalar] = {"clock": row.id, "why": why, "started_at": iso(at)}
    data |= {"ticket": row.ticket_id, "was": iso(row.due_at), PREFIX + row.spec: str(start)}
    return Change(row.loop_id, EventKind.CLOCK_RESTARTED, data, actor, body=body)


# What people do


def pause(
    ws: Workspace,
    loop_id: str,
    clock: str,
    proof: Proof,
    actor: Actor,
    now: datetime,
) -> str:
    """Let a clock stand still, for a reason that its specification knows and with the proof that
    it asks for. Returns the loop's id.

    Raises InputError for another reason or a proof that is missing, TransitionRefused for a clock
    that stands still, has stopped or has run out.
    """
    with ws.db.read() as tx:
        loop = match_id(tx, LOOPS, loop_id, "loop")
        held = running(ws, tx, loop, clock)
    if held.row.paused_at is not None:
        raise TransitionRefused(f"clock {held.row.spec} stands still already", "resume it first")
    require_time_left(held, now)
    known = reason_of(held, proof.reason)
    require_proof(known, proof.evidence, proof.notice)
    data = {"clock": held.row.id, "reason": known.id, "article": known.article}
    said = {"proof": proof.evidence, "notice": proof.notice}
    body = {name: words for name, words in said.items() if words.strip()}
    settle(ws, [Change(loop, EventKind.CLOCK_PAUSED, data, actor, body=body)], now)
    return loop


def reason_of(held: Held, reason: str) -> PauseReason:
    known = {one.id: one for one in held.spec.pauses}
    if reason in known:
        return known[reason]
    said = f" ({held.law.law['zh']} / {held.law.law['en']})" if held.law else ""
    if not known:
        raise InputError(f"clock {held.spec.id} never stands still{said}", "it runs on")
    names = ", ".join(f"{one.id} {one.title['zh']} {one.article or ''}" for one in known.values())
    raise InputError(f"clock {held.spec.id} does not stand still for {reason!r}{said}", names)


def require_proof(reason: PauseReason, evidence: str, notice: str) -> None:
    article = f" ({reason.article})" if reason.article else ""
    what = f"a pause for {reason.id} needs proof{article}"
    if reason.proof == "asked":
        fix = "give --evidence: the reference of the message or call that asked the customer"
    else:
        fix = "give --evidence: the reference of the order or agreement for the work outside"
    require_words(evidence, what, fix)
    if reason.notice:
        what = f"a pause for {reason.id} must be told to the complainant{article}"
        require_words(notice, what, "tell them, and give --notice: its reference")


def resume(ws: Workspace, loop_id: str, clock: str, actor: Actor, now: datetime) -> str:
    """Let a clock that stands still run on; what passed meanwhile is given back. Returns the loop's
    id; raises TransitionRefused for one that runs."""
    with ws.db.read() as tx:
        loop = match_id(tx, LOOPS, loop_id, "loop")
        held = running(ws, tx, loop, clock)
    since = held.past.paused_at
    if since is None:
        raise TransitionRefused(f"clock {held.row.spec} is not paused", LIST)
    deadline = deadline_of(held, held.past.course.paused(since, now))
    at = next_look(held, deadline, reminded=held.row.reminded_at is not None)
    data = {"clock": held.row.id, "was": iso(held.row.due_at), **due_data(deadline, at)}
    settle(ws, [Change(loop, EventKind.CLOCK_RESUMED, data, actor)], now)
    return loop


def extension_follows(ws: Workspace, tx: Connection, approval: Mapping[str, Any]) -> list[Change]:
    """What a granted extension brings about: the regulation's days for the clock it was asked for.

    Raises TransitionRefused when the clock has stopped, has run out or was extended meanwhile.
    """
    terms, clock = approval["terms"], approval["clock_id"]
    held = clock_of(ws, tx, clock)
    require_time_left(held)
    if held.row.extension != terms.get("after"):
        raise TransitionRefused(f"clock {held.spec.id} was extended meanwhile", "ask again")
    more = {name: terms[name] for name in ("article", "how") if terms.get(name)}
    made = extended(
        ws, tx, clock, extension=terms["extension"], days=terms["days"], approval=approval["id"]
    )
    return [replace(made, data={**made.data, **more})]


def require_time_left(held: Held, now: datetime | None = None) -> None:
    """Raises TransitionRefused for a clock that has run out, or whose breach is on record."""
    if held.row.breached_at is not None or (now is not None and held.row.due_at <= now):
        what = f"clock {held.spec.id} ran out at {iso(held.row.due_at)}: it comes too late"
        raise TransitionRefused(what, "a breach stays on record; tell the customer the decision")
