"""Is it solved? Ask the customer of each resolved loop, ask again, end a silence.

The sweep works in sets: a transaction locks loops that nobody else holds, and asks or closes them
before it lets go, so that any number of workers share the work and no loop is asked twice. What
customers answer is taken by `answers.py`, calls by `call_backs.py`.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, Select, func, literal, or_, select

from loopwright.db import retry_conflicts
from loopwright.ids import uuid7
from models.base import table
from models.clock import Clock
from models.customer import Customer
from models.kinds import (
    Channel,
    EventKind,
    LoopState,
    MessageState,
    Outcome,
    Stops,
    Unverified,
    Way,
)
from models.loop import Loop
from models.message import Message
from models.verification import Verification
from policy.clock_notation import iso
from policy.verify import UNASKED, after_silence, ask_from
from tasks.change import Change, NewMessage, change
from tasks.settle import stamped
from tasks.tally import Tally
from tasks.verification.reach import namesakes, survivors, ways
from tasks.workspace import Workspace

LOOPS = table(Loop)
CLOCKS = table(Clock)
MESSAGES = table(Message)
CUSTOMERS = table(Customer)
VERIFICATIONS = table(Verification)

SET = 300
"""Loops of one transaction."""

QUESTION = "verification_question"
QUESTIONS: Mapping[Way, tuple[str, Channel]] = {
    Way.MAIL: (QUESTION, Channel.CUSTOMER),
    Way.CALL: ("verification_call", Channel.MAIN),
}
"""How a customer can be asked -> the message that does it, or has it done, and its channel."""
ASKED_RECENTLY = "asked recently"


@dataclass
class VerifyCounts(Tally):
    """Customers asked by mail and by call, put off, asked again; loops closed because nobody could
    be asked, or nobody answered."""

    mailed: int = 0
    calls: int = 0
    postponed: int = 0
    reminded: int = 0
    unasked: int = 0
    silent: int = 0


def resolved(now: datetime) -> Select[Any]:
    """Loops whose customers are to be asked by now; one partial index answers it."""
    return select(LOOPS.c.id, LOOPS.c.lead, LOOPS.c.customer_id).where(
        LOOPS.c.state == LoopState.RESOLVED.value, LOOPS.c.ask_at <= now
    )


def unanswered(now: datetime) -> Select[Any]:
    """Questions that waited long enough for an answer or a call; one partial index answers it."""
    return select(VERIFICATIONS.c.loop_id).where(VERIFICATIONS.c.due_at <= now)


def due(now: datetime) -> Select[Any]:
    """One row when there is somebody to ask, to ask again, or a silence to end."""
    return select(literal(1)).where(or_(resolved(now).exists(), unanswered(now).exists()))


def ask(ws: Workspace, now: datetime) -> VerifyCounts:
    """Ask every customer whose loop is resolved, by the contact rules; close at once where nobody
    can be asked."""
    return in_sets(partial(ask_set, ws, now))


def follow_up(ws: Workspace, now: datetime) -> VerifyCounts:
    """Ask those again who did not answer; close as unverified after the policy's contacts."""
    return in_sets(partial(follow_up_set, ws, now))


def in_sets(work: Callable[[], VerifyCounts | None]) -> VerifyCounts:
    total = VerifyCounts()
    while counts := retry_conflicts(work):
        total += counts
    return total


@dataclass
class Asking:
    """What the contact rules look at, for the loops of one transaction.

    `who`: loop -> its customer, `contacted`: customer -> loop -> when they were last contacted
    about it, `tell_by`: loop -> when a clock that waits for them to be told runs out.
    """

    now: datetime
    gap: timedelta
    who: Mapping[str, str]
    contacted: dict[str, dict[str, datetime]] = field(default_factory=dict)
    tell_by: Mapping[str, datetime] = field(default_factory=dict)

    def from_when(self, loop: str) -> datetime:
        others = self.contacted.get(self.who.get(loop, ""), {})
        last = max((at for other, at in others.items() if other != loop), default=None)
        return ask_from(self.now, last, self.gap, self.tell_by.get(loop))

    def contact(self, loop: str) -> None:
        if customer := self.who.get(loop):
            self.contacted.setdefault(customer, {})[loop] = self.now


def ask_set(ws: Workspace, now: datetime) -> VerifyCounts | None:
    """One transaction's loops; None when none waits, or others are at it."""
    mine = resolved(now).order_by(LOOPS.c.ask_at, LOOPS.c.id).limit(SET)
    with ws.db.begin() as tx:
        waiting = tx.execute(mine.with_for_update(skip_locked=True)).all()
        if not waiting:
            return None
        loops, asking = unshared(tx, ws, waiting, now)
        if not loops:
            return None
        how, counts = ways(tx, ws, [row.id for row in loops], now), VerifyCounts()
        made = [step(ws, row, how[row.id], asking, counts) for row in loops]
        change(tx, stamped(ws, made), now)
    return counts


def unshared(
    tx: Connection, ws: Workspace, loops: Sequence[Any], now: datetime
) -> tuple[Sequence[Any], Asking]:
    """The loops whose customers no other worker is asking about another loop at this moment."""
    rulebook = ws.published.documents.rulebook
    same = survivors(tx, {row.customer_id for row in loops if row.customer_id})
    # Not the strongest lock: feedback of the customer may come in meanwhile.
    free = select(CUSTOMERS.c.id).where(CUSTOMERS.c.id.in_(set(same.values())))
    held = free.order_by(CUSTOMERS.c.id).with_for_update(skip_locked=True, key_share=True)
    ours = set(tx.execute(held).scalars())
    mine = [row for row in loops if row.customer_id is None or same[row.customer_id] in ours]
    gap = timedelta(days=rulebook.contact_gap_days)
    who = {row.id: same[row.customer_id] for row in mine if row.customer_id}
    known = namesakes(tx, {one: to for one, to in same.items() if to in ours})
    asking = Asking(now, gap, who, contacts_since(tx, known, now - gap))
    asking.tell_by = told_by(tx, [row.id for row in mine])
    return mine, asking


def contacts_since(
    tx: Connection, same: Mapping[str, str], since: datetime
) -> dict[str, dict[str, datetime]]:
    """Customer -> loop -> when they were last written to or called about it; `same`: everybody
    known -> who they turned out to be."""
    last = func.max(VERIFICATIONS.c.contacted_at).label("at")
    query = (
        select(LOOPS.c.customer_id, LOOPS.c.id, last)
        .join(VERIFICATIONS, VERIFICATIONS.c.loop_id == LOOPS.c.id)
        .where(LOOPS.c.customer_id.in_(same), VERIFICATIONS.c.contacted_at > since)
        .group_by(LOOPS.c.customer_id, LOOPS.c.id)
    )
    found: dict[str, dict[str, datetime]] = defaultdict(dict)
    for row in tx.execute(query):
        found[same[row.customer_id]][row.id] = row.at
    return found


def told_by(tx: Connection, loops: Sequence[str]) -> dict[str, datetime]:
    """Loop -> when the first running clock ends that waits for its customer to be told."""
    query = (
        select(CLOCKS.c.loop_id, func.min(CLOCKS.c.due_at).label("at"))
        .where(
            CLOCKS.c.loop_id.in_(loops),
            CLOCKS.c.stops == Stops.TOLD,
            CLOCKS.c.stopped_at.is_(None),
            CLOCKS.c.paused_at.is_(None),
        )
        .group_by(CLOCKS.c.loop_id)
    )
    return {row.loop_id: row.at for row in tx.execute(query)}


def step(ws: Workspace, row: Any, way: Way, asking: Asking, counts: VerifyCounts) -> Change:
    """What becomes of one resolved loop: its customer is asked now or later, or why not."""
    if way in UNASKED:
        counts.unasked += 1
        return closing(row.id, Outcome.UNVERIFIED, UNASKED[way])
    if (until := asking.from_when(row.id)) > asking.now:
        counts.postponed += 1
        data = {"until": iso(until), "why": ASKED_RECENTLY}
        return Change(row.id, EventKind.VERIFICATION_POSTPONED, data)
    counts.mailed += way is Way.MAIL
    counts.calls += way is Way.CALL
    if way is Way.MAIL:
        asking.contact(row.id)
    return question(ws, row, way, asking.now)


def question(ws: Workspace, row: Any, way: Way, now: datetime) -> Change:
    """How one customer is asked; told the decision they are once the message was sent."""
    verification, (template, channel) = uuid7(), QUESTIONS[way]
    data = {
        "verification": verification,
        "via": way.value,
        "due_at": iso(now + silence(ws)),
        "told": False,
    }
    message = NewMessage(f"{template}:{verification}", template, row.lead, channel=channel)
    return Change(row.id, EventKind.VERIFICATION_ASKED, data, messages=(message,))


def silence(ws: Workspace) -> timedelta:
    return timedelta(days=ws.published.documents.rulebook.silence_days)


def follow_up_set(ws: Workspace, now: datetime) -> VerifyCounts | None:
    """As `ask_set`, for questions that nobody answered."""
    mine = (
        select(VERIFICATIONS, LOOPS.c.lead, LOOPS.c.version)
        .join(LOOPS, LOOPS.c.id == VERIFICATIONS.c.loop_id)
        # Again under the lock, since an answer may have been first.
        .where(VERIFICATIONS.c.due_at <= now, LOOPS.c.state == LoopState.VERIFYING.value)
        .order_by(VERIFICATIONS.c.due_at)
        .limit(SET)
        .with_for_update(skip_locked=True)
    )
    with ws.db.begin() as tx:
        asked = tx.execute(mine).all()
        if not asked:
            return None
        arrived, counts = arrivals(tx, [row.loop_id for row in asked]), VerifyCounts()
        unreached = {r.loop_id for r in asked if r.via == Way.MAIL and r.id not in arrived}
        how = ways(tx, ws, [row.loop_id for row in asked], now, no_mail=unreached)
        made = [again(ws, r, how[r.loop_id], r.id in arrived, now, counts) for r in asked]
        change(tx, stamped(ws, made), now)
    return counts


def arrivals(tx: Connection, loops: Collection[str]) -> set[str]:
    """Questions of which a message was sent."""
    query = select(MESSAGES.c.key).where(
        MESSAGES.c.loop_id.in_(loops),
        MESSAGES.c.template == QUESTION,
        MESSAGES.c.state == MessageState.SENT,
    )
    return {key.split(":")[1] for key in tx.execute(query).scalars()}


def again(
    ws: Workspace, row: Any, way: Way, arrived: bool, now: datetime, counts: VerifyCounts
) -> Change:
    """A customer who did not answer is asked again, or the loop closes; nobody called: the unit is
    reminded to."""
    most = ws.published.documents.rulebook.contacts
    then = after_silence(Way(row.via), way, row.contacts, most, arrived)
    if isinstance(then, Unverified):
        counts.silent += then is Unverified.SILENT
        counts.unasked += then is not Unverified.SILENT
        return closing(row.loop_id, Outcome.UNVERIFIED, then)
    counts.reminded += 1
    template, channel = QUESTIONS[then]
    nth = row.contacts + 1 if then is Way.MAIL else f"v{row.version}"
    message = NewMessage(f"{template}:{row.id}:{nth}", template, row.lead, channel=channel)
    data = {"verification": row.id, "via": then.value, "due_at": iso(now + silence(ws))}
    return Change(row.loop_id, EventKind.VERIFICATION_REMINDED, data, messages=(message,))


def closing(loop: str, outcome: Outcome, why: str) -> Change:
    return Change(loop, EventKind.LOOP_CLOSED, {"outcome": outcome.value, "why": str(why)})
