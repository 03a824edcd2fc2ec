"""Who handles a ticket: one of its unit's people, with room for it, against whom nothing speaks.

A person named in a complaint or declared barred may not handle it (回避). The complaint's words are
read where that is asked, and kept nowhere.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, func, select

from loopwright.db import retry_conflicts
from loopwright.errors import ConflictError, InputError, NotPermitted, TransitionRefused
from loopwright.history.envelope import Actor
from models.base import table
from models.feedback import Feedback
from models.issue import Issue
from models.kinds import EventKind, LoopKind, TicketState
from models.loop import Loop, LoopIssue
from models.ticket import Ticket
from policy.capacity import handlers, room, roomiest
from policy.conflict import conflict
from policy.organisation import Organisation, Person
from tasks.change import Change, NewMessage, change
from tasks.find import match_id, require_words
from tasks.people import organisation_now, require_person, today
from tasks.settle import stamped
from tasks.workspace import Workspace

LOOPS = table(Loop)
TICKETS = table(Ticket)
ISSUES = table(Issue)
FEEDBACK = table(Feedback)
LOOP_ISSUES = table(LoopIssue)

RUNNING = (TicketState.ASSIGNED, TicketState.ACCEPTED)
NAMED = 3
"""So many people are named who could take a ticket instead."""
DECLARED = "declared"


@dataclass(frozen=True)
class Case:
    """What may speak against somebody: a complaint's words, and who was declared barred."""

    words: tuple[str, ...] = ()
    barred: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Given:
    """A ticket's loop, and who handles it from now on."""

    loop: str
    person: str


def cases(tx: Connection, loops: Iterable[str]) -> dict[str, Case]:
    """By loop. Of a big loop only who is barred: thousands complain of a cause, not of a person."""
    wanted = sorted(set(loops))
    said: dict[str, list[str]] = defaultdict(list)
    query = (
        select(LOOP_ISSUES.c.loop_id, FEEDBACK.c.text)
        .join(ISSUES, ISSUES.c.id == LOOP_ISSUES.c.issue_id)
        .join(FEEDBACK, FEEDBACK.c.id == ISSUES.c.feedback_id)
        .join(LOOPS, LOOPS.c.id == LOOP_ISSUES.c.loop_id)
        .where(LOOP_ISSUES.c.loop_id.in_(wanted), LOOPS.c.kind == LoopKind.SMALL)
    )
    for loop, text in tx.execute(query):
        said[loop].append(text)
    rows = tx.execute(select(LOOPS.c.id, LOOPS.c.barred).where(LOOPS.c.id.in_(wanted)))
    return {
        loop: Case(tuple(said[loop]), frozenset(filter(None, (barred or "").split(","))))
        for loop, barred in rows
    }


def refuse_conflict(ws: Workspace, person: str, case: Case) -> None:
    """Raises NotPermitted, with the reason and the regulation, for somebody in conflict."""
    organisation = ws.published.documents.organisation
    found = organisation.person_by_id.get(person)
    why = conflict(found, organisation, case.words, case.barred) if found else None
    if found is not None and why is not None:
        raise NotPermitted(
            f"{found.name}（{person}）须回避：{why['zh']} / {person} may not handle it:"
            f" {why['en']}{cited(ws)}",
            "由他人承办 / let another handle it: `loopwright ticket give`",
        )


def cited(ws: Workspace) -> str:
    """The articles that say so, of the regulations that are published."""
    laws = ws.published.documents.regulations
    articles = [law.cite(law.conflict) for law in laws if law.conflict]
    return f" [{'; '.join(articles)}]" if articles else ""


@dataclass(frozen=True)
class Roster:
    """Who is there today, and how many open tickets each holds."""

    organisation: Organisation
    day: date
    held: Counter[str]

    def next(self, unit: str, case: Case) -> Person | None:
        """Who of the unit takes a ticket: on duty, not in conflict, with the most room."""
        return roomiest(self.fit(unit, case), self.held)

    def fit(self, unit: str, case: Case) -> list[Person]:
        on_duty = handlers(self.organisation, unit, self.day)
        return [p for p in on_duty if self.is_clear(p, case)]

    def is_clear(self, person: Person, case: Case) -> bool:
        return conflict(person, self.organisation, case.words, case.barred) is None

    def may_hold(self, person: Person, unit: str) -> bool:
        """The unit's own people, and the managers above it."""
        return person.unit == unit or person in self.organisation.managers(unit)

    def others(self, unit: str, case: Case) -> str:
        """Who could take it instead, the roomiest first; else the first manager above who is there
        and not in conflict."""
        fit = [p for p in self.fit(unit, case) if room(p, self.held) > 0]
        fit.sort(key=lambda p: (-room(p, self.held), self.held[p.id], p.id))
        above = [p for p in self.organisation.managers(unit) if p.unit != unit]
        clear = [p for p in above if self.is_clear(p, case) and self.is_there(p)]
        return ", ".join(p.id for p in fit[:NAMED] or clear[:1]) or "-"

    def is_there(self, person: Person) -> bool:
        return person.leave_on(self.day.isoformat()) is None


def roster(tx: Connection, ws: Workspace, now: datetime) -> Roster:
    """Today's people and what they hold; one partial index has it."""
    holds = TICKETS.c.person.is_not(None) & TICKETS.c.state.in_(RUNNING)
    query = select(TICKETS.c.person, func.count()).where(holds).group_by(TICKETS.c.person)
    held = Counter[str]()
    for person, number in tx.execute(query):
        held[person] = number
    return Roster(organisation_now(ws, tx, now), today(ws, now), held)


def give(ws: Workspace, ticket: str, to: str | None, actor: Actor, now: datetime) -> Given:
    """Give a ticket to one of the unit's people, or to a manager above; without `to` to whoever on
    duty has the most room.

    Raises InputError for somebody else or away, TransitionRefused where there is no room, and
    NotPermitted for somebody in conflict; all name who could.
    """
    with ws.db.read() as tx:
        found = match_id(tx, TICKETS, ticket, "ticket")
    return retry_conflicts(partial(give_once, ws, found, to, actor, now))


def give_once(ws: Workspace, ticket: str, to: str | None, actor: Actor, now: datetime) -> Given:
    with ws.db.begin() as tx:
        row = held_tickets(tx, TICKETS.c.id == ticket)[0]
        there, case = roster(tx, ws, now), cases(tx, [row.loop_id])[row.loop_id]
        person = named(ws, there, to, row, case) if to else suggested(there, row, case)
        change(tx, stamped(ws, [giving(row, person.id, actor)]), now)
        # The history's lock is held: whoever gave at the same time is counted.
        if room(person, roster(tx, ws, now).held) < 0:
            raise ConflictError(f"{person.id} was given another ticket meanwhile", "try again")
        return Given(row.loop_id, person.id)


def held_tickets(tx: Connection, where: Any, limit: int | None = None) -> Sequence[Any]:
    """Tickets with their loops' kind and version."""
    query = (
        select(TICKETS, LOOPS.c.kind, LOOPS.c.version)
        .join(LOOPS, LOOPS.c.id == TICKETS.c.loop_id)
        .where(where)
        .order_by(TICKETS.c.assigned_at, TICKETS.c.id)
        .limit(limit)
    )
    return tx.execute(query).all()


def named(ws: Workspace, there: Roster, to: str, row: Any, case: Case) -> Person:
    """The person asked for, if they can take it."""
    others = f"可以交给 / it could go to: {there.others(row.unit, case)}"
    person = there.organisation.person_by_id.get(to)
    if person is None or not there.may_hold(person, row.unit):
        raise InputError(
            f"{to} 不是 {row.unit} 的人员或上级 / is not of {row.unit} nor above it", others
        )
    refuse_conflict(ws, to, case)
    if leave := person.leave_on(there.day.isoformat()):
        raise InputError(f"{to} 休假至 / is away until {leave.last}", others)
    if person.id != row.person and room(person, there.held) <= 0:
        raise TransitionRefused(
            f"{to} 已有 {there.held[to]} 件工单，已满 / holds {there.held[to]} tickets and has no"
            " room",
            others,
        )
    return person


def suggested(there: Roster, row: Any, case: Case) -> Person:
    """Whoever of the unit has the most room."""
    person = there.next(row.unit, case)
    if person is None:
        raise TransitionRefused(
            f"{row.unit} 当前无人可承办（休假、已满或须回避）/ nobody of {row.unit} can take it:"
            " away, full or in conflict",
            f"可以交给其上级 / its manager could: {there.others(row.unit, case)}",
        )
    return person


def giving(row: Any, person: str | None, actor: Actor) -> Change:
    """The change that makes `person` the handler (None: nobody is), and the word to them."""
    data = {"ticket": row.id, "person": person}
    messages = (word_to(row, person),) if person is not None and person != row.person else ()
    return Change(row.loop_id, EventKind.TICKET_GIVEN, data, actor, messages=messages)


def word_to(row: Any, person: str) -> NewMessage:
    template = "big_loop_assigned" if row.kind == LoopKind.BIG else "ticket_assigned"
    key = f"ticket_given:{row.id}:{person}:{row.version}"
    return NewMessage(key, template, row.unit, row.id, person=person)


def bar(ws: Workspace, loop: str, person: str, why: str, actor: Actor, now: datetime) -> Given:
    """Declare that somebody must keep away from a loop. Tickets of it that they hold go to another
    of the unit, or back to the unit where nobody can take them. Returns the loop and the person.

    Raises InputError for an unknown person or without a reason.
    """
    require_words(why, "barring somebody needs a reason", "say what the conflict of interest is")
    require_person(ws, person)
    with ws.db.read() as tx:
        found = match_id(tx, LOOPS, loop, "loop")
    data = {"person": person, "why": DECLARED}
    barred = Change(found, EventKind.LOOP_HANDLER_BARRED, data, actor, body={"reason": why})

    def attempt() -> None:
        with ws.db.begin() as tx:
            rows = held_tickets(tx, (TICKETS.c.loop_id == found) & held_by(person))
            onward = passing_on(roster(tx, ws, now), rows, cases(tx, [found]), actor)
            change(tx, stamped(ws, [barred, *onward]), now)

    retry_conflicts(attempt)
    return Given(found, person)


def held_by(person: str) -> Any:
    return (TICKETS.c.person == person) & TICKETS.c.state.in_(RUNNING)


def passing_on(
    there: Roster, rows: Iterable[Any], case: Mapping[str, Case], actor: Actor
) -> list[Change]:
    """Each ticket to whoever else of its unit has the most room then, or to nobody."""
    made = []
    for row in rows:
        left = Case(case[row.loop_id].words, case[row.loop_id].barred | {row.person})
        person = there.next(row.unit, left)
        if person is not None:
            there.held[person.id] += 1
        made.append(giving(row, person.id if person else None, actor))
    return made
