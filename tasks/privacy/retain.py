"""Whose words have been kept long enough, or came back with a backup? A person has them erased.

A customer's words are kept together until the last of them has passed its time, in the class that
keeps it longest; so is all that hangs on a loop of nobody known.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Select, func, select

from loopwright.errors import InputError
from loopwright.history.bundle import proven
from loopwright.history.envelope import Actor
from loopwright.history.keys import Signer
from models.base import table
from models.feedback import Feedback, RawItem
from models.issue import Issue
from models.kinds import Authority, LoopKind, LoopState
from models.loop import Loop, LoopIssue
from policy.retention import LEAST_YEARS, RetentionClass, class_of, in_force, keep_until
from tasks.intake.ingest import ERASED
from tasks.privacy.erase import Erased, Order, erase
from tasks.privacy.personal import (
    ERASURES,
    Subject,
    broken_off,
    family,
    feedback_of,
    find_subject,
    name_in,
    nameless,
    pieces,
)
from tasks.workspace import Workspace

LOOPS = table(Loop)
FEEDBACK = table(Feedback)
RAW = table(RawItem)
ISSUES = table(Issue)
LOOP_ISSUES = table(LoopIssue)

PIECE = 500


@dataclass(frozen=True)
class Passed:
    """Somebody whose words have passed their time: since when, and in which class."""

    subject: Subject
    retention: str
    until: datetime
    loops: int
    feedback: int


def classes(ws: Workspace, now: datetime) -> tuple[RetentionClass, ...]:
    """The retention classes of today. Raises InputError when none are published."""
    documents = ws.published.documents
    day = now.astimezone(ZoneInfo(documents.organisation.zone)).date()
    found = in_force(documents.retention, day)
    if not found:
        raise InputError(
            "no retention classes are in force", "publish a retention.yaml; examples/bank has one"
        )
    return found


def passed(ws: Workspace, now: datetime, limit: int | None = None) -> list[Passed]:
    """Those whose words have all passed their time, oldest customers first."""
    found: list[Passed] = []
    with ws.db.read() as tx:
        for one in candidates(tx, ws, now):
            found.append(one)
            if len(found) == limit:
                break
    return found


def candidates(tx: Connection, ws: Workspace, now: datetime) -> Iterator[Passed]:
    kept = classes(ws, now)
    latest = now - timedelta(days=365 * LEAST_YEARS)
    seen: set[str] = set()
    for customer in list(tx.execute(old_customers(latest)).scalars()):
        if customer not in seen:
            subject = family(tx, customer)
            seen.update(subject.customers)
            yield from judged(tx, subject, kept, now)
    for loop in list(tx.execute(old_loops(latest)).scalars()):
        if loop not in seen:
            subject = nameless(tx, loop)
            seen.update(subject.loops)
            yield from judged(tx, subject, kept, now)
    for name in broken_off(tx):
        if name not in seen:
            yield from judged(tx, find_subject(tx, ws, name), kept, now)


def old_customers(latest: datetime) -> Select[Any]:
    """Customers with words left who said nothing since."""
    said = FEEDBACK.join(RAW, RAW.c.id == FEEDBACK.c.id)
    return (
        select(FEEDBACK.c.customer_id)
        .select_from(said)
        .where(FEEDBACK.c.customer_id.is_not(None), RAW.c.key.not_like(f"{ERASED}%"))
        .group_by(FEEDBACK.c.customer_id)
        .having(func.max(FEEDBACK.c.received_at) < latest)
        .order_by(FEEDBACK.c.customer_id)
    )


def old_loops(latest: datetime) -> Select[Any]:
    """Loops of nobody known whose opening words are left, closed before then."""
    return (
        select(LOOPS.c.id)
        .join(LOOP_ISSUES, LOOP_ISSUES.c.loop_id == LOOPS.c.id)
        .join(ISSUES, ISSUES.c.id == LOOP_ISSUES.c.issue_id)
        .join(RAW, RAW.c.id == ISSUES.c.feedback_id)
        .where(
            LOOPS.c.kind == LoopKind.SMALL,
            LOOPS.c.customer_id.is_(None),
            LOOPS.c.closed_at < latest,
            RAW.c.key.not_like(f"{ERASED}%"),
        )
        .distinct()
        .order_by(LOOPS.c.id)
    )


def judged(
    tx: Connection, subject: Subject, kept: Sequence[RetentionClass], now: datetime
) -> Iterator[Passed]:
    """The subject, when the last of its records has passed its time."""
    said = feedback_of(tx, subject)
    ends = [*ends_of_feedback(tx, said, kept), *ends_of_loops(tx, subject, kept)]
    if ends and all(end is not None and end[0] <= now for end in ends):
        until, name = max(end for end in ends if end is not None)
        yield Passed(subject, name, until, len(subject.loops), len(said))


End = tuple[datetime, str] | None
"""When a record has passed its time, and its class; None: not yet, or in no class."""


def ends_of_feedback(
    tx: Connection, said: Sequence[str], kept: Sequence[RetentionClass]
) -> Iterator[End]:
    for piece in pieces(said, PIECE):
        topics: dict[str, set[str]] = {}
        read = select(ISSUES.c.feedback_id, ISSUES.c.topic).where(ISSUES.c.feedback_id.in_(piece))
        for feedback, topic in tx.execute(read):
            topics.setdefault(feedback, set()).add(topic or "")
        columns = select(FEEDBACK.c.id, FEEDBACK.c.source, FEEDBACK.c.received_at)
        for row in tx.execute(columns.where(FEEDBACK.c.id.in_(piece))):
            yield end(kept, topics.get(row.id, set()), row.source, row.received_at)


def ends_of_loops(
    tx: Connection, subject: Subject, kept: Sequence[RetentionClass]
) -> Iterator[End]:
    columns = select(LOOPS.c.topic, LOOPS.c.state, LOOPS.c.closed_at)
    for piece in pieces(subject.loops, PIECE):
        for row in tx.execute(columns.where(LOOPS.c.id.in_(piece))):
            closed = row.state == LoopState.CLOSED
            yield end(kept, {row.topic}, "", row.closed_at) if closed else None


def end(kept: Sequence[RetentionClass], topics: set[str], source: str, since: datetime) -> End:
    found = class_of(kept, topics, source)
    return (keep_until(since, found.years), found.id) if found else None


def erase_passed(
    ws: Workspace, found: Sequence[Passed], why: str, actor: Actor, now: datetime
) -> Erased:
    """Erase these on the authority of their retention classes."""
    orders = [(one.subject, Order(Authority.RETENTION, why, actor, one.retention)) for one in found]
    return erase_each(ws, orders, now)


def erase_again(
    ws: Workspace, bundle: Path, signer: Signer, why: str, actor: Actor, now: datetime
) -> tuple[int, Erased]:
    """After a restore: erase anew whoever an audit bundle proves was erased, or had begun to be,
    by the same authority.

    How many of them the database knows, and what was erased. Raises as `bundle.proven` and `erase`.
    """
    told = (event["data"] for event in proven(bundle, signer, ERASURES))
    orders = []
    for name, data in {name_in(data): data for data in told}.items():
        with ws.db.read() as tx, suppress(InputError):  # came in after the backup, so went with it
            order = Order(Authority(data["authority"]), why, actor, data["retention"])
            orders.append((find_subject(tx, ws, name), order))
    return len(orders), erase_each(ws, orders, now, close=True)


def erase_each(
    ws: Workspace, orders: Sequence[tuple[Subject, Order]], now: datetime, *, close: bool = False
) -> Erased:
    total = Erased()
    for subject, order in orders:
        done = erase(ws, subject, order, now, close=close)
        total += done
        total.unparsed = done.unparsed  # the same items every time
    return total
