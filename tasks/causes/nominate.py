"""A department says that a customer's loop has a cause that several must remove: a big loop.

The loop is linked to the open big loop of its cause, or opens one as a candidate for operations to
take on or turn down.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, select

from loopwright.db import retry_conflicts
from loopwright.errors import InputError, TransitionRefused
from loopwright.history.envelope import Actor
from loopwright.ids import handle
from models.base import table
from models.kinds import EventKind, LoopKind, LoopState, Relation
from models.loop import Loop, LoopIssue, LoopLink
from models.ticket import Ticket
from tasks.causes.candidates import candidate, open_big
from tasks.change import Change, change
from tasks.explain import opening_body
from tasks.find import match_id, require_words
from tasks.settle import stamped
from tasks.tickets.hand_off import on_behalf_of
from tasks.workspace import Workspace

LOOPS = table(Loop)
TICKETS = table(Ticket)
LOOP_ISSUES = table(LoopIssue)
LOOP_LINKS = table(LoopLink)

RULE = "nomination"


@dataclass(frozen=True)
class Nominated:
    """The big loop that a small one hangs on now, and whether it is a new candidate."""

    big: str
    candidate: bool


def nominate_ticket(ws: Workspace, ticket: str, why: str, actor: Actor, now: datetime) -> Nominated:
    """As `nominate`, by a ticket of the loop."""
    with ws.db.read() as tx:
        found = match_id(tx, TICKETS, ticket, "ticket")
        loop = tx.execute(select(TICKETS.c.loop_id).where(TICKETS.c.id == found)).scalar_one()
    return nominate(ws, loop, why, actor, now)


def nominate(ws: Workspace, loop: str, why: str, actor: Actor, now: datetime) -> Nominated:
    """Nominate a small loop's cause as a big loop.

    Raises InputError for a big loop, a closed one or without a reason, TransitionRefused when it
    hangs on the big loop of its cause already.
    """
    require_words(why, "a nomination needs a reason", "say why several departments must act")
    with ws.db.read() as tx:
        found = match_id(tx, LOOPS, loop, "loop")
    return retry_conflicts(partial(nominate_once, ws, found, why, actor, now))


def nominate_once(ws: Workspace, loop: str, why: str, actor: Actor, now: datetime) -> Nominated:
    """A candidate that somebody else opens meanwhile is found by the next try."""
    with ws.db.begin() as tx:
        small = tx.execute(select(LOOPS).where(LOOPS.c.id == loop)).one()
        check(small)
        issue = origin(tx, loop)
        known = open_big(tx, small.topic, small.touchpoint)
        big = known or handle("B", now)
        if known and is_linked(tx, known, loop):
            raise TransitionRefused(f"{loop} hangs on {known} already", "`loopwright loop show`")
        opened = [] if known else [opening(tx, ws, big, small, issue, why, actor)]
        hung = linked(ws, big, small, issue, actor, None if opened else why)
        change(tx, stamped(ws, [*opened, hung]), now)
    return Nominated(big, known is None)


def check(small: Any) -> None:
    if small.kind != LoopKind.SMALL:
        raise InputError(f"{small.id} is a big loop", "nominate a customer's loop")
    if small.state in (LoopState.CLOSED, LoopState.TRIAGE):
        raise InputError(
            f"{small.id} is {small.state}", "nominate a loop that a department works on"
        )


def origin(tx: Connection, loop: str) -> str:
    mine = (LOOP_ISSUES.c.loop_id == loop) & (LOOP_ISSUES.c.relation == Relation.ORIGIN)
    return str(tx.execute(select(LOOP_ISSUES.c.issue_id).where(mine)).scalar_one())


def is_linked(tx: Connection, big: str, small: str) -> bool:
    both = (LOOP_LINKS.c.big_id == big) & (LOOP_LINKS.c.small_id == small)
    return tx.execute(select(LOOP_LINKS.c.small_id).where(both)).first() is not None


def opening(
    tx: Connection, ws: Workspace, big: str, small: Any, issue: str, why: str, actor: Actor
) -> Change:
    """Explained by what was read of the small loop, and by the reason."""
    cause, body = (small.topic, small.touchpoint), {**opening_body(tx, small.id), "reason": why}
    made = candidate(ws, big, cause, small.received_at, issue, RULE, body, lead=small.lead)
    return replace(made, actor=actor, on_behalf_of=on_behalf_of(ws, actor, small.lead))


def linked(
    ws: Workspace, big: str, small: Any, issue: str, actor: Actor, why: str | None
) -> Change:
    return Change(
        big,
        EventKind.LOOP_LINKED,
        {"small": small.id, "relation": Relation.SAME_CAUSE, "issue": issue},
        actor,
        body={"reason": why} if why else None,
        on_behalf_of=on_behalf_of(ws, actor, small.lead),
    )
