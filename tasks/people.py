"""Who works where today: leave as it is recorded, and everything that somebody held to others."""

from collections import defaultdict
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, insert, select

from loopwright.db import retry_conflicts
from loopwright.errors import ConflictError, InputError
from loopwright.history.append import append
from loopwright.history.envelope import Actor, Event, seal
from loopwright.ids import uuid7
from models.absence import Absence
from models.base import table
from models.kinds import EventKind
from policy.organisation import Leave, Organisation, Person, with_leave
from tasks.workspace import Workspace

ABSENCES = table(Absence)

PAST = timedelta(days=31)
"""Leave that ended so recently still counts: a ladder asks who was away at its earlier steps."""


def today(ws: Workspace, now: datetime) -> date:
    """The day it is in the organisation's zone."""
    return now.astimezone(ZoneInfo(ws.published.documents.organisation.zone)).date()


def organisation_now(ws: Workspace, tx: Connection, now: datetime) -> Organisation:
    """The published organisation, its people's leave joined by what was recorded since."""
    recorded: dict[str, list[Leave]] = defaultdict(list)
    query = select(ABSENCES).where(ABSENCES.c.last >= today(ws, now) - PAST)
    for row in tx.execute(query.order_by(ABSENCES.c.last, ABSENCES.c.person)):
        leave = Leave(row.first.isoformat(), row.last.isoformat(), row.deputy)
        recorded[row.person].append(leave)
    return with_leave(ws.published.documents.organisation, recorded)


def record_leave(
    ws: Workspace,
    person: str,
    first: date,
    last: date,
    deputy: str | None,
    actor: Actor,
    now: datetime,
) -> str:
    """Somebody is away from `first` to `last`, both included; `deputy` decides meanwhile. Returns
    the absence's id, which is the old one where the same was recorded before.

    Raises InputError for people nobody knows, days past or the wrong way round, and leave that
    overlaps with other leave.
    """
    check_leave(ws, person, first, last, deputy, now)
    row = {
        "id": uuid7(),
        "person": person,
        "first": first,
        "last": last,
        "deputy": deputy,
        "recorded_by": actor.id,
        "recorded_at": now,
    }
    data = {"person": person, "first": str(first), "last": str(last), "deputy": deputy}
    event = Event(uuid7(), EventKind.PERSON_LEAVE_RECORDED, now, actor, data, run=ws.run)

    def attempt() -> str:
        with ws.db.begin() as tx:
            if (same := recorded(ws, tx, person, first, last, deputy)) is not None:
                return same
            append(tx, [seal(event)])
            # The history's lock is held: whoever recorded at the same time is seen.
            if recorded(ws, tx, person, first, last, deputy) is not None:
                raise ConflictError("somebody recorded the same meanwhile", "look again")
            tx.execute(insert(ABSENCES).values(row))
            return str(row["id"])

    return retry_conflicts(attempt)


def check_leave(
    ws: Workspace, person: str, first: date, last: date, deputy: str | None, now: datetime
) -> None:
    require_person(ws, person)
    if deputy is not None:
        require_person(ws, deputy)
    if deputy == person:
        raise InputError(f"{person} cannot stand in for themselves", "name another person")
    if last < first:
        raise InputError(f"{last} is before {first}", "give the first day, then the last")
    if last < today(ws, now):
        raise InputError(f"{last} is past", "leave is recorded before it ends")


def recorded(
    ws: Workspace, tx: Connection, person: str, first: date, last: date, deputy: str | None
) -> str | None:
    """The id under which the very same is recorded. Raises InputError for leave that overlaps."""
    mine = (ABSENCES.c.person == person) & (ABSENCES.c.first <= last) & (ABSENCES.c.last >= first)
    for row in tx.execute(select(ABSENCES).where(mine)):
        if (row.first, row.last, row.deputy) == (first, last, deputy):
            return str(row.id)
        raise overlapping(person, str(row.first), str(row.last))
    for leave in require_person(ws, person).leave:
        if leave.first <= str(last) and str(first) <= leave.last:
            raise overlapping(person, leave.first, leave.last)
    return None


def overlapping(person: str, first: str, last: str) -> InputError:
    return InputError(
        f"{person} 已登记休假 {first} 至 {last} / is on leave already from {first} to {last}",
        "记录不重叠的日期 / record days that do not overlap",
    )


def require_person(ws: Workspace, person: str) -> Person:
    """Raises InputError for somebody the organisation does not know."""
    people = ws.published.documents.organisation.person_by_id
    if person not in people:
        near = ", ".join(sorted(people)[:8])
        raise InputError(f"nobody is called {person!r}", f"use a person's id, such as {near}")
    return people[person]
