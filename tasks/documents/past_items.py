"""Past issues as a policy would meet them again: what was read, known and done at the time."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Select, func, select

from models.base import table
from models.clock import Clock
from models.customer import CustomerSnapshot
from models.feedback import Batch, Feedback
from models.issue import Correction, Issue
from models.kinds import IssueKind, IssueState, Relation, Stops
from models.loop import Loop, LoopIssue
from models.ticket import Ticket
from policy.classify import Reading

FEEDBACK, ISSUES = table(Feedback), table(Issue)
BATCHES, CORRECTIONS = table(Batch), table(Correction)
LOOPS, LOOP_ISSUES = table(Loop), table(LoopIssue)
CLOCKS, TICKETS = table(Clock), table(Ticket)
SNAPSHOTS = table(CustomerSnapshot)

Said = tuple[str, str, datetime]
"""Customer, topic and moment of receipt of an issue that opened or joined a loop."""


@dataclass(slots=True)
class Fate:
    """A loop as it went: when it was opened, and when each kind of its clocks was stopped."""

    id: str
    opened_at: datetime
    closed_at: datetime | None
    stopped: dict[str, datetime] = field(default_factory=dict)

    def stop(self, stops: str) -> datetime | None:
        """When what ends such a clock came about; None while it has not."""
        return self.stopped.get(stops) or self.closed_at


@dataclass(slots=True)
class Past:
    """One past issue. `row`: columns of its feedback; `reading`: as stored, with the feedback's
    whole words; `snapshot`: what was known of the customer then; `fate`: of the loop it opened."""

    issue: str
    ordinal: int
    received_at: datetime
    row: Any
    reading: Reading
    policy: str
    rule: str | None
    snapshot: Any | None
    fate: Fate | None
    joined: bool
    by_person: bool


@dataclass(frozen=True, slots=True)
class PastItems:
    """Issues received within the days, in order of receipt. `earlier`: of the days before, for
    counting who comes back; `untriaged`: feedback of the days that nobody has read yet."""

    items: list[Past]
    earlier: list[Said]
    untriaged: int


def load_past(
    tx: Connection, first: date, last: date, zone: ZoneInfo, before: timedelta
) -> PastItems:
    """All issues whose feedback was received from `first` to `last`, both included, local days."""
    start = datetime.combine(first, time(), zone)
    end = datetime.combine(last + timedelta(days=1), time(), zone)
    received = (FEEDBACK.c.received_at >= start) & (FEEDBACK.c.received_at < end)
    snapshots, fates = load_snapshots(tx, received), load_fates(tx, received)
    decided = set(tx.execute(select(CORRECTIONS.c.issue_id)).scalars())
    items = [
        past(row, snapshots, fates.get(row.issue_id), decided)
        for row in tx.execute(found(received))
    ]
    join_marks(tx, received, items)
    return PastItems(items, said_before(tx, start - before, start), untriaged(tx, received))


def found(received: Any) -> Select[Any]:
    """Issues beside their feedback; a feedback that a newer version replaced counts as it came."""
    return (
        select(
            FEEDBACK,
            ISSUES.c.id.label("issue_id"),
            ISSUES.c.ordinal.label("place"),
            ISSUES.c.touchpoint.label("read_touchpoint"),
            *(ISSUES.c[name] for name in STORED),
        )
        .join(ISSUES, ISSUES.c.feedback_id == FEEDBACK.c.id)
        .where(received)
        .order_by(FEEDBACK.c.received_at, FEEDBACK.c.id, ISSUES.c.ordinal)
    )


STORED = (
    "state",
    "kind",
    "topic",
    "sentiment",
    "emotion",
    "severity",
    "confidence",
    "signals",
    "reason",
    "rule",
    "policy",
)


def past(
    row: Any, snapshots: Mapping[str, list[Any]], fate: Fate | None, decided: set[str]
) -> Past:
    return Past(
        row.issue_id,
        row.place,
        row.received_at,
        row,
        stored_reading(row),
        row.policy,
        row.rule,
        snapshot_at(snapshots.get(row.customer_id, ()), row.received_at),
        fate,
        False,
        row.issue_id in decided,
    )


def stored_reading(row: Any) -> Reading:
    """What was read, or decided by a person, at the time."""
    waits = row.state == IssueState.TRIAGE
    return Reading(
        kind=IssueKind(row.kind),
        topic=row.topic,
        touchpoint=row.read_touchpoint,
        sentiment=row.sentiment,
        emotion=row.emotion,
        severity=row.severity,
        confidence=row.confidence,
        abstained=waits and row.topic is None,
        reason=row.reason or "",
        signals=tuple(row.signals or ()),
        evidence=(),
        text=row.text,
    )


def snapshot_at(snapshots: Iterable[Any], at: datetime) -> Any | None:
    """What was known of the customer when the feedback was received."""
    for snapshot in snapshots:
        if snapshot.valid_from <= at and (snapshot.valid_to is None or at < snapshot.valid_to):
            return snapshot
    return None


def load_snapshots(tx: Connection, received: Any) -> dict[str, list[Any]]:
    """Customer -> what was known of them, newest first."""
    people = select(FEEDBACK.c.customer_id).where(received, FEEDBACK.c.customer_id.is_not(None))
    query = (
        select(SNAPSHOTS)
        .where(SNAPSHOTS.c.customer_id.in_(people))
        .order_by(SNAPSHOTS.c.valid_from.desc())
    )
    known: dict[str, list[Any]] = {}
    for row in tx.execute(query):
        known.setdefault(row.customer_id, []).append(row)
    return known


def load_fates(tx: Connection, received: Any) -> dict[str, Fate]:
    """Issue -> the small loop it opened, with the first stop of each kind of clock."""
    origins = (
        select(LOOP_ISSUES.c.loop_id, LOOP_ISSUES.c.issue_id)
        .join(ISSUES, ISSUES.c.id == LOOP_ISSUES.c.issue_id)
        .join(FEEDBACK, FEEDBACK.c.id == ISSUES.c.feedback_id)
        .join(LOOPS, LOOPS.c.id == LOOP_ISSUES.c.loop_id)
        .where(received, LOOP_ISSUES.c.relation == Relation.ORIGIN, LOOPS.c.kind == "small")
    )
    loops = tx.execute(origins.add_columns(LOOPS.c.opened_at, LOOPS.c.closed_at)).all()
    fates = {row.loop_id: Fate(row.loop_id, row.opened_at, row.closed_at) for row in loops}
    mine = origins.with_only_columns(LOOP_ISSUES.c.loop_id)
    stops = (
        select(CLOCKS.c.loop_id, CLOCKS.c.stops, func.min(CLOCKS.c.stopped_at))
        .where(CLOCKS.c.loop_id.in_(mine), CLOCKS.c.stopped_at.is_not(None))
        .group_by(CLOCKS.c.loop_id, CLOCKS.c.stops)
    )
    for loop, kind, at in tx.execute(stops):
        fates[loop].stopped[kind] = at
    resolved = (
        select(TICKETS.c.loop_id, func.min(TICKETS.c.resolved_at))
        .where(TICKETS.c.loop_id.in_(mine), TICKETS.c.resolved_at.is_not(None))
        .group_by(TICKETS.c.loop_id)
    )
    for loop, at in tx.execute(resolved):
        fates[loop].stopped.setdefault(Stops.RESOLVED, at)
    return {row.issue_id: fates[row.loop_id] for row in loops}


def join_marks(tx: Connection, received: Any, items: Iterable[Past]) -> None:
    """Which issues joined a loop that was there: they start no clock and bring no ticket."""
    query = (
        select(LOOP_ISSUES.c.issue_id)
        .join(ISSUES, ISSUES.c.id == LOOP_ISSUES.c.issue_id)
        .join(FEEDBACK, FEEDBACK.c.id == ISSUES.c.feedback_id)
        .where(received, LOOP_ISSUES.c.relation == Relation.SAME_COMPLAINT)
    )
    joined = set(tx.execute(query).scalars())
    for item in items:
        item.joined = item.issue in joined


def said_before(tx: Connection, start: datetime, end: datetime) -> list[Said]:
    """Issues of known customers in loops, received from `start` until `end`."""
    query = (
        select(FEEDBACK.c.customer_id, ISSUES.c.topic, FEEDBACK.c.received_at)
        .join(ISSUES, ISSUES.c.feedback_id == FEEDBACK.c.id)
        .where(
            FEEDBACK.c.received_at >= start,
            FEEDBACK.c.received_at < end,
            FEEDBACK.c.customer_id.is_not(None),
            ISSUES.c.state == IssueState.LOOPED,
        )
        .order_by(FEEDBACK.c.received_at)
    )
    return [(row[0], row[1], row[2]) for row in tx.execute(query)]


def untriaged(tx: Connection, received: Any) -> int:
    query = (
        select(func.count())
        .select_from(FEEDBACK)
        .join(BATCHES, BATCHES.c.id == FEEDBACK.c.batch_id)
        .where(received, BATCHES.c.done_at.is_(None), FEEDBACK.c.ordinal >= BATCHES.c.position)
    )
    return int(tx.execute(query).scalar_one())


class Returning:
    """How often a customer has come with a topic within the policy's window, item by item."""

    def __init__(self, earlier: Iterable[Said], window: timedelta) -> None:
        self.window = window
        self.times: dict[tuple[str, str], list[datetime]] = {}
        for customer, topic, at in earlier:
            self.note(customer, topic, at)

    def note(self, customer: str | None, topic: str | None, at: datetime) -> None:
        if customer is not None and topic is not None:
            self.times.setdefault((customer, topic), []).append(at)

    def count(self, customer: str | None, topic: str | None, at: datetime) -> int:
        times = self.times.get((customer or "", topic or ""), [])
        return len(times) - bisect_right(times, at - self.window)
