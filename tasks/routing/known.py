"""What is known already of the customers and topics of these issues?

Read once for a whole piece, in the caller's transaction; what decides by it keeps it up to date.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select, text

from models.base import table
from models.customer import CustomerSnapshot
from models.issue import Issue
from models.kinds import LoopKind, LoopState, Outcome
from models.loop import OPEN_BIG, OPEN_SMALL, Loop, LoopIssue
from policy.classify import Reading
from policy.relate import Known
from policy.route import Circumstances
from tasks.workspace import Workspace

LOOPS = table(Loop)
ISSUES = table(Issue)
SNAPSHOTS = table(CustomerSnapshot)
LOOP_ISSUES = table(LoopIssue)

LIKE_ENOUGH = 30
"""Characters below which equal words of unknown customers say nothing about being one case."""

KNOWN = (
    LOOPS.c.id,
    LOOPS.c.state,
    LOOPS.c.closed_at,
    LOOPS.c.version,
    LOOPS.c.customer_id,
    LOOPS.c.topic,
    LOOPS.c.complaint_number,
    LOOPS.c.kind,
    LOOPS.c.lead,
    LOOPS.c.clocks,
    LOOPS.c.ladder,
)
ALIVE = (LOOPS.c.kind == LoopKind.SMALL) & (
    LOOPS.c.outcome.is_(None) | (LOOPS.c.outcome != Outcome.MERGED)
)


@dataclass(frozen=True, slots=True)
class Found:
    """An issue with its feedback row (columns of `feedback`) and its place in it."""

    issue_id: str
    row: Any
    reading: Reading
    ordinal: int


@dataclass(slots=True)
class Context:
    """What the database knows of the customers and topics at hand."""

    by_customer: dict[tuple[str, str], list[Known]] = field(default_factory=dict)
    by_number: dict[str, Known] = field(default_factory=dict)
    by_version: dict[str, dict[str, Known]] = field(default_factory=dict)
    big: dict[tuple[str, str], str] = field(default_factory=dict)
    like: dict[str, str] = field(default_factory=dict)
    repeats: Counter[tuple[str, str]] = field(default_factory=Counter)
    snapshots: dict[str, list[Any]] = field(default_factory=dict)
    routes: dict[str, Any] = field(default_factory=dict)
    """Loop -> its row, for who has it and by which clocks."""
    owners: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Loop -> its customer and topic."""


def load_context(
    tx: Connection, ws: Workspace, candidates: Sequence[Found], now: datetime
) -> Context:
    context = Context()
    since = now - timedelta(days=ws.published.documents.rulebook.reopen_days)
    customers = sorted({f.row.customer_id for f in candidates if f.row.customer_id})
    if customers:
        load_loops_of(tx, context, customers, since)
        load_snapshots(tx, context, customers)
    load_numbers(tx, context, sorted({n for f in candidates if (n := number_hash(ws, f))}))
    load_versions(tx, context, sorted({p for f in candidates if (p := f.row.previous_id)}))
    prefer_open(tx, context)
    load_big(tx, context, sorted({str(f.reading.topic) for f in candidates}))
    load_like(tx, context, ws, candidates)
    return context


def known_of(context: Context, row: Any) -> Known:
    if row.lead:
        context.routes[row.id] = row
    if row.customer_id:
        context.owners[row.id] = (row.customer_id, row.topic)
    return Known(row.id, row.state, row.closed_at, row.version)


def load_loops_of(
    tx: Connection, context: Context, customers: Sequence[str], since: datetime
) -> None:
    recent = LOOPS.c.closed_at.is_(None) | (LOOPS.c.closed_at >= since)
    query = select(*KNOWN).where(ALIVE, recent, LOOPS.c.customer_id.in_(customers))
    for row in tx.execute(query):
        key = (row.customer_id, row.topic)
        context.by_customer.setdefault(key, []).append(known_of(context, row))
    count = (
        select(LOOPS.c.customer_id, LOOPS.c.topic, func.count())
        .join(LOOP_ISSUES, LOOP_ISSUES.c.loop_id == LOOPS.c.id)
        .where(ALIVE, recent, LOOPS.c.customer_id.in_(customers))
        .group_by(LOOPS.c.customer_id, LOOPS.c.topic)
    )
    for customer, topic, issues in tx.execute(count):
        context.repeats[customer, topic] = issues


def load_snapshots(tx: Connection, context: Context, customers: Sequence[str]) -> None:
    query = (
        select(SNAPSHOTS)
        .where(SNAPSHOTS.c.customer_id.in_(customers))
        .order_by(SNAPSHOTS.c.valid_from.desc())
    )
    for row in tx.execute(query):
        context.snapshots.setdefault(row.customer_id, []).append(row)


def circumstances(row: Any, snapshot: Any | None, repeats: int) -> Circumstances:
    """`row`: columns of the feedback; `snapshot`: what was known of its customer at receipt;
    `repeats`: how often the customer had said the like before."""
    return Circumstances(
        channel=row.channel,
        source=row.source,
        language=row.language or "",
        rating=row.rating,
        value_band=(snapshot.value_band or "") if snapshot else "",
        lifecycle=(snapshot.lifecycle or "") if snapshot else "",
        vulnerable=bool(snapshot and snapshot.vulnerable),
        repeats=repeats,
        has_customer=row.customer_id is not None,
    )


def load_numbers(tx: Connection, context: Context, numbers: Sequence[str]) -> None:
    """Loops with these complaint numbers; a merged one leads to the loop it went into."""
    if not numbers:
        return
    named = LOOPS.alias()
    target = LOOPS.c.id == func.coalesce(named.c.merged_into, named.c.id)
    query = (
        select(*KNOWN, named.c.complaint_number.label("number"))
        .select_from(named.join(LOOPS, target))
        .where(ALIVE, named.c.complaint_number.in_(numbers))
        .order_by(LOOPS.c.opened_at)
    )
    for row in tx.execute(query):
        context.by_number[row.number] = known_of(context, row)


def load_versions(tx: Connection, context: Context, previous: Sequence[str]) -> None:
    """Loops of the items that these are new versions of."""
    if previous:
        query = (
            select(ISSUES.c.feedback_id, *KNOWN)
            .join(LOOP_ISSUES, LOOP_ISSUES.c.issue_id == ISSUES.c.id)
            .join(LOOPS, LOOPS.c.id == LOOP_ISSUES.c.loop_id)
            .where(ALIVE, ISSUES.c.feedback_id.in_(previous))
        )
        for row in tx.execute(query):
            loops = context.by_version.setdefault(row.feedback_id, {})
            loops[row.topic] = known_of(context, row)


def prefer_open(tx: Connection, context: Context) -> None:
    """An open loop stands for a closed one of the same customer and topic that a number or version
    leads to: reopening that one would make two."""
    found = (context.by_number, *context.by_version.values())
    closed = {k.id for loops in found for k in loops.values() if k.closed_at is not None}
    owners = {loop: context.owners[loop] for loop in closed if loop in context.owners}
    if owners:
        customers = sorted({customer for customer, _ in owners.values()})
        query = select(*KNOWN).where(
            ALIVE, LOOPS.c.closed_at.is_(None), LOOPS.c.customer_id.in_(customers)
        )
        stand_in = {(r.customer_id, r.topic): known_of(context, r) for r in tx.execute(query)}
        for loops in found:
            for key, known in loops.items():
                loops[key] = stand_in.get(owners.get(known.id, ("", "")), known)


def load_big(tx: Connection, context: Context, topics: Sequence[str]) -> None:
    query = select(LOOPS.c.id, LOOPS.c.topic, LOOPS.c.touchpoint).where(
        LOOPS.c.kind == LoopKind.BIG, LOOPS.c.state != LoopState.CLOSED, LOOPS.c.topic.in_(topics)
    )
    for row in tx.execute(query):
        context.big[row.topic, row.touchpoint] = row.id


def load_like(tx: Connection, context: Context, ws: Workspace, candidates: Sequence[Found]) -> None:
    hashes = sorted({h for f in candidates if (h := likeness_of(ws, f))})
    if hashes:
        query = select(LOOPS.c.likeness, LOOPS.c.id).where(
            LOOPS.c.likeness.in_(hashes), LOOPS.c.state != LoopState.CLOSED
        )
        for row in tx.execute(query.order_by(LOOPS.c.opened_at.desc(), LOOPS.c.id)):
            context.like[row.likeness] = row.id


def number_hash(ws: Workspace, found: Found) -> str | None:
    """The keyed hash that stands for a complaint number in loops and their events, else None."""
    number = found.row.complaint_number
    return ws.hasher.digest("complaint", number) if number else None


def likeness_of(ws: Workspace, found: Found) -> str | None:
    """A keyed hash of long words nobody put a name to, else None."""
    words = "".join(found.row.text.split())
    if found.row.customer_id is not None or len(words) < LIKE_ENOUGH:
        return None
    return ws.hasher.digest("words", f"{found.reading.topic}:{words}")[:32]


def in_place_of(tx: Connection, row: Any) -> str | None:
    """The open loop beside which a closed one cannot open again: of the same customer and topic,
    or of the same cause."""
    same = (LOOPS.c.topic == row.topic) & (
        text(OPEN_SMALL) & (LOOPS.c.customer_id == row.customer_id)
        if row.kind == LoopKind.SMALL
        else text(OPEN_BIG) & (LOOPS.c.touchpoint == row.touchpoint)
    )
    other: str | None = tx.execute(select(LOOPS.c.id).where(same)).scalar()
    return other
