"""Is it solved? Ask the customer of a resolved loop, take the answer, close the loop or reopen it.

The sweep works in sets: a transaction locks loops that nobody else holds, and asks or closes them
before it lets go, so that any number of workers share the work and no loop is asked twice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, Select, literal, or_, select

from loopwright.db import retry_conflicts
from loopwright.errors import InputError, TransitionRefused
from loopwright.history.envelope import Actor
from loopwright.ids import uuid7
from models.base import table
from models.kinds import Answer, Channel, EventKind, How, LoopKind, LoopState, Outcome, Told
from models.loop import Loop
from models.verification import Verification
from policy.clock_notation import iso
from policy.transitions import SETTLED
from tasks.change import Change, NewMessage, change
from tasks.find import match_id
from tasks.hand_off import on_behalf_of
from tasks.known import in_place_of
from tasks.open_loops import clocks_anew
from tasks.reach import Way, ways
from tasks.settle import settle, stamped
from tasks.tally import Tally
from tasks.workspace import Workspace

LOOPS = table(Loop)
VERIFICATIONS = table(Verification)

SET = 300
"""Loops of one transaction."""

QUESTIONS: Mapping[Way, tuple[str, Channel]] = {
    Way.MAIL: ("verification_question", Channel.CUSTOMER),
    Way.CALL: ("verification_call", Channel.MAIN),
}
"""How a customer can be asked -> the message that does it, or has it done, and its channel."""
UNASKED: Mapping[Way, str] = {Way.OPTED_OUT: "opted out", Way.UNREACHABLE: "unreachable"}
SILENT = "silent"
CUSTOMER = "customer"
NEW_FEEDBACK = "take the customer's words in as new feedback"


@dataclass
class VerifyCounts(Tally):
    """Customers asked by mail and by call; loops closed because nobody could be asked, or nobody
    answered."""

    mailed: int = 0
    calls: int = 0
    unasked: int = 0
    silent: int = 0


@dataclass(frozen=True)
class Said:
    """What a customer answers to «is it solved?», and the person who took it down."""

    loop: str
    answer: Answer
    actor: Actor
    words: str = ""


@dataclass(frozen=True)
class Telling:
    """A customer was told something; `reference`: of the call record, message or letter."""

    loop: str
    what: Told
    how: How
    actor: Actor
    reference: str = ""


def resolved() -> Select[Any]:
    """Loops whose customers are to be asked; one partial index answers it."""
    return select(LOOPS.c.id, LOOPS.c.lead).where(LOOPS.c.state == LoopState.RESOLVED.value)


def unanswered(now: datetime) -> Select[Any]:
    """Loops whose customers stayed silent too long; one partial index answers it."""
    return select(VERIFICATIONS.c.loop_id).where(VERIFICATIONS.c.due_at <= now)


def due(now: datetime) -> Select[Any]:
    """One row when there is somebody to ask or a silence to end."""
    return select(literal(1)).where(or_(resolved().exists(), unanswered(now).exists()))


def ask(ws: Workspace, now: datetime) -> VerifyCounts:
    """Ask every customer whose loop is resolved; close at once where nobody can be asked."""
    return in_sets(partial(ask_set, ws, now))


def close_silent(ws: Workspace, now: datetime) -> VerifyCounts:
    """Close as unverified what no customer answered in the policy's time."""
    return in_sets(partial(close_set, ws, now))


def in_sets(work: Callable[[], VerifyCounts | None]) -> VerifyCounts:
    total = VerifyCounts()
    while counts := retry_conflicts(work):
        total += counts
    return total


def ask_set(ws: Workspace, now: datetime) -> VerifyCounts | None:
    """One transaction's loops; None when none waits, or others are at it."""
    with ws.db.begin() as tx:
        mine = resolved().order_by(LOOPS.c.id).limit(SET).with_for_update(skip_locked=True)
        loops = tx.execute(mine).all()
        if not loops:
            return None
        how = ways(tx, ws, [row.id for row in loops], now)
        asked = [question(ws, row, how[row.id], now) for row in loops]
        change(tx, stamped(ws, asked), now)
    taken = list(how.values())
    mailed, calls = taken.count(Way.MAIL), taken.count(Way.CALL)
    return VerifyCounts(mailed, calls, len(taken) - mailed - calls)


def question(ws: Workspace, row: Any, way: Way, now: datetime) -> Change:
    """How one customer is asked, or why not."""
    if way in UNASKED:
        return closing(row.id, Outcome.UNVERIFIED, UNASKED[way])
    verification, (template, channel) = uuid7(), QUESTIONS[way]
    silence = timedelta(days=ws.published.documents.rulebook.silence_days)
    data = {"verification": verification, "via": way.value, "due_at": iso(now + silence)}
    message = NewMessage(f"{template}:{verification}", template, row.lead, channel=channel)
    return Change(row.id, EventKind.VERIFICATION_ASKED, data, messages=(message,))


def close_set(ws: Workspace, now: datetime) -> VerifyCounts | None:
    """As `ask_set`, for silence."""
    mine = (
        unanswered(now)
        .join(LOOPS, LOOPS.c.id == VERIFICATIONS.c.loop_id)
        # Again under the lock, since an answer may have been first.
        .where(LOOPS.c.state == LoopState.VERIFYING.value)
        .order_by(VERIFICATIONS.c.due_at)
        .limit(SET)
        .with_for_update(skip_locked=True)
    )
    with ws.db.begin() as tx:
        loops = tx.execute(mine).scalars().all()
        if not loops:
            return None
        closed = [closing(loop, Outcome.UNVERIFIED, SILENT) for loop in loops]
        change(tx, stamped(ws, closed), now)
    return VerifyCounts(silent=len(loops))


def answer(
    ws: Workspace, loop_id: str, answer: Answer, words: str, actor: Actor, now: datetime
) -> str:
    """Take one customer's answer; the loop may be named by its id's end. Returns its id."""
    with ws.db.read() as tx:
        loop = match_id(tx, LOOPS, loop_id, "loop")
    return answers(ws, [Said(loop, answer, actor, words)], now)[0]


def answers(ws: Workspace, said: Sequence[Said], now: datetime) -> list[str]:
    """Take a set of answers, all or none; each names its loop by the whole id.

    A yes closes as verified, a no or partly reopens, for a while also what was closed. Returns the
    loops' ids. Raises InputError for a loop without a customer of its own, TransitionRefused for
    one that nobody calls solved or that can no longer be reopened.
    """

    def attempt() -> None:
        with ws.db.begin() as tx:
            rows = loops_of(tx, [one.loop for one in said])
            asked = open_questions(tx, rows)
            for one in said:
                check(tx, ws, rows[one.loop], one, now)
            made = [c for one in said for c in answered(ws, rows[one.loop], asked, one, now)]
            change(tx, stamped(ws, made), now)

    retry_conflicts(attempt)
    return [one.loop for one in said]


def answered(
    ws: Workspace, row: Any, asked: Mapping[str, str], one: Said, now: datetime
) -> list[Change]:
    """The answer, and what follows from it."""
    first = Change(
        row.id,
        EventKind.VERIFICATION_ANSWERED,
        {"verification": asked.get(row.id), "answer": one.answer.value},
        one.actor,
        row.version,
        body={"words": one.words} if one.words.strip() else None,
        on_behalf_of=CUSTOMER,
    )
    why = f"answer {one.answer}"
    if one.answer is Answer.YES:
        return [first, closing(row.id, Outcome.VERIFIED, why)]
    key = f"loop_reopened:{row.id}:{row.version}"
    again = Change(
        row.id,
        EventKind.LOOP_REOPENED,
        {"why": why, **clocks_anew(ws, row, now)},
        messages=(NewMessage(key, "loop_reopened", row.lead),),
    )
    return [first, again]


def open_questions(tx: Connection, rows: Mapping[str, Any]) -> dict[str, str]:
    """Loop -> the question that an answer now is about: the last one put, unless it was answered
    or the loop has been resolved anew since."""
    loops = [loop for loop, row in rows.items() if row.state != LoopState.RESOLVED]
    query = (
        select(VERIFICATIONS.c.loop_id, VERIFICATIONS.c.id, VERIFICATIONS.c.answer)
        .where(VERIFICATIONS.c.loop_id.in_(loops))
        .order_by(VERIFICATIONS.c.asked_at, VERIFICATIONS.c.id)
    )
    last = {row.loop_id: row for row in tx.execute(query)}
    return {loop: row.id for loop, row in last.items() if row.answer is None}


def check(tx: Connection, ws: Workspace, row: Any, one: Said, now: datetime) -> None:
    if row.state in SETTLED:
        return
    if row.state != LoopState.CLOSED:
        raise TransitionRefused(
            f"loop {row.id} is {row.state}: nobody calls it solved",
            "the customer is asked when its tickets are resolved",
        )
    if row.outcome not in (Outcome.VERIFIED, Outcome.UNVERIFIED):
        raise TransitionRefused(f"loop {row.id} is closed as {row.outcome}", NEW_FEEDBACK)
    if one.answer is Answer.YES:
        raise TransitionRefused(
            f"loop {row.id} is closed as {row.outcome}: a yes comes too late to change it",
            "only a no or partly opens it again",
        )
    check_reopening(tx, ws, row, now)


def check_reopening(tx: Connection, ws: Workspace, row: Any, now: datetime) -> None:
    """A closed loop opens again in the policy's window, unless another has taken its place."""
    days = ws.published.documents.rulebook.reopen_days
    if now - row.closed_at > timedelta(days=days):
        raise TransitionRefused(
            f"loop {row.id} has been closed for more than {days} days", NEW_FEEDBACK
        )
    if other := in_place_of(tx, row):
        raise TransitionRefused(
            f"the customer of loop {row.id} has another open loop on its topic",
            f"that one goes on: `loopwright loop show {other}`",
        )


def tell_customer(
    ws: Workspace,
    loop_id: str,
    what: Told,
    how: How,
    reference: str,
    actor: Actor,
    now: datetime,
) -> str:
    """Record what one customer was told; the loop may be named by its id's end. Returns its id."""
    with ws.db.read() as tx:
        loop = match_id(tx, LOOPS, loop_id, "loop")
    return tell_customers(ws, [Telling(loop, what, how, actor, reference)], now)[0]


def tell_customers(ws: Workspace, tellings: Sequence[Telling], now: datetime) -> list[str]:
    """Record a set of what customers were told, all or none; each names its loop by the whole id.

    Stops the clocks that wait for it. Returns the loops' ids. Raises InputError for a loop without
    a customer of its own, TransitionRefused for a closed one.
    """
    with ws.db.read() as tx:
        rows = loops_of(tx, [one.loop for one in tellings])
    settle(ws, [told(ws, rows[one.loop], one) for one in tellings], now)
    return [one.loop for one in tellings]


def told(ws: Workspace, row: Any, one: Telling) -> Change:
    return Change(
        row.id,
        EventKind.LOOP_CUSTOMER_TOLD,
        {"what": one.what.value, "how": one.how.value},
        one.actor,
        body={"reference": one.reference} if one.reference.strip() else None,
        on_behalf_of=on_behalf_of(ws, one.actor, row.lead),
    )


def loops_of(tx: Connection, loops: Sequence[str]) -> dict[str, Any]:
    """Customers' own loops by id. Raises InputError for any other."""
    query = select(LOOPS).where(LOOPS.c.id.in_(loops), LOOPS.c.kind == LoopKind.SMALL)
    found = {row.id: row for row in tx.execute(query)}
    for loop in loops:
        if loop not in found:
            raise InputError(
                f"{loop} is no customer's own loop",
                "name a small one: `loopwright loop list --kind small` shows them",
            )
    return found


def closing(loop: str, outcome: Outcome, why: str) -> Change:
    return Change(loop, EventKind.LOOP_CLOSED, {"outcome": outcome.value, "why": why})
