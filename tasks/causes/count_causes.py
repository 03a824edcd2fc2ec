"""What was said about each cause, now and before: the counts that the daily review judges.

Only whole local days count, so that a look gives the same findings all day long. Sources that have
not delivered long enough are left out: their voices are new, not the cause.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, Select, bindparam, case, func, literal, select

from models.base import table
from models.customer import Measure
from models.feedback import Feedback
from models.issue import Issue
from models.kinds import LoopKind, Outcome
from models.loop import Loop, LoopIssue
from policy.recur import LEAST_PAST, Cause, Period
from tasks.workspace import Workspace

FEEDBACK = table(Feedback)
ISSUES = table(Issue)
LOOPS = table(Loop)
LOOP_ISSUES = table(LoopIssue)
MEASURES = table(Measure)

Key = tuple[str, str]
"""A cause: topic and touchpoint."""

FOUND = (
    FEEDBACK.join(ISSUES, ISSUES.c.feedback_id == FEEDBACK.c.id)
    .join(LOOP_ISSUES, LOOP_ISSUES.c.issue_id == ISSUES.c.id)
    .join(LOOPS, LOOPS.c.id == LOOP_ISSUES.c.loop_id)
)
"""From feedback to the loops that its issues opened or joined."""

WHO = func.coalesce(LOOPS.c.customer_id, LOOPS.c.id)
"""The customer, or whoever the loop is about when nobody knows."""
# Not `= 'small'`: SQLite would begin with an index on kind, which holds nearly all loops ever.
COUNTED = (LOOPS.c.kind != LoopKind.BIG) & (
    LOOPS.c.outcome.is_(None) | (LOOPS.c.outcome != Outcome.MERGED)
)
"""Small loops, but not the merged: the one they went into has their issues."""


@dataclass(frozen=True)
class Spans:
    """Baseline and window as whole local days: `first` <= baseline < `window` <= window < `end`."""

    first: date
    window: date
    end: date
    zone: ZoneInfo

    def at(self, day: date) -> datetime:
        """When a local day begins, in UTC."""
        return datetime(day.year, day.month, day.day, tzinfo=self.zone).astimezone(UTC)

    def days(self) -> list[date]:
        return [self.first + timedelta(days=n) for n in range((self.end - self.first).days)]

    def stretches(self) -> list[datetime]:
        """The begin of the window, then of every stretch of its length before it."""
        length, start = self.end - self.window, self.window
        starts = [start]
        while start > self.first:
            start = max(start - length, self.first)
            starts.append(start)
        return [self.at(day) for day in starts]


def spans_of(ws: Workspace, now: datetime) -> Spans:
    """The window ends with the last whole day before `now`."""
    documents = ws.published.documents
    rule, zone = documents.rulebook.recurrence, ZoneInfo(documents.organisation.zone)
    end = now.astimezone(zone).date()
    window = end - timedelta(days=rule.window_days)
    return Spans(window - timedelta(days=rule.baseline_days), window, end, zone)


def count_causes(
    tx: Connection, sources: Sequence[str], days: Sequence[date], spans: Spans
) -> list[Cause]:
    """Every topic at a touchpoint that anybody brought to these sources; `days` were observed."""
    counts = count_customers(tx, sources, spans)
    measures = sum_measures(tx, sorted({touchpoint for _, touchpoint in counts}), spans)
    closed = {(row.topic, row.touchpoint): row.at for row in tx.execute(closings())}
    causes = []
    for key, people in sorted(counts.items()):
        seen = days_after(days, closed.get(key), spans.zone)
        recent = sum(day >= spans.window for day in seen)
        now, past = measures[key[1], True], measures[key[1], False]
        window = Period(people[True], recent, *now)
        baseline = Period(people[False], len(seen) - recent, *past)
        causes.append(Cause(*key, window, baseline))
    return causes


def established(tx: Connection, ws: Workspace, spans: Spans) -> list[str]:
    """Sources that delivered long enough before the window to have a past of their own."""
    until = spans.at(spans.window - timedelta(days=LEAST_PAST - 1))
    probe = received(bindparam("source"), spans.at(spans.first), until).limit(1)
    return [name for name in ws.sources if tx.execute(probe, {"source": name}).first()]


def received(source: Any, since: Any, until: Any) -> Select[Any]:
    return select(literal(1)).where(
        FEEDBACK.c.source == source,
        FEEDBACK.c.received_at >= since,
        FEEDBACK.c.received_at < until,
    )


def observed(tx: Connection, sources: Sequence[str], spans: Spans) -> list[date]:
    """Days on which anything at all was received; the others say nothing about a cause."""
    probe = received(bindparam("source"), bindparam("since"), bindparam("until")).limit(1)
    bounds = [(day, spans.at(day), spans.at(day + timedelta(days=1))) for day in spans.days()]
    return [
        day
        for day, since, until in bounds
        if any(
            tx.execute(probe, {"source": name, "since": since, "until": until}).first()
            for name in sources
        )
    ]


def days_after(days: Sequence[date], closed_at: datetime | None, zone: ZoneInfo) -> Sequence[date]:
    if closed_at is None:
        return days
    return [day for day in days if day > closed_at.astimezone(zone).date()]


def closings() -> Select[Any]:
    """When a big loop of each cause was last closed: what came before has been decided on."""
    return (
        select(LOOPS.c.topic, LOOPS.c.touchpoint, func.max(LOOPS.c.closed_at).label("at"))
        .where(LOOPS.c.kind == LoopKind.BIG, LOOPS.c.closed_at.is_not(None))
        .group_by(LOOPS.c.topic, LOOPS.c.touchpoint)
    )


def evidence(sources: Sequence[str], since: datetime, until: datetime) -> Select[Any]:
    """Small loops with what was received for them, after the last closing of their cause."""
    closed = closings().subquery()
    same = (closed.c.topic == LOOPS.c.topic) & (closed.c.touchpoint == LOOPS.c.touchpoint)
    return (
        select()
        .select_from(FOUND.outerjoin(closed, same))
        .where(
            FEEDBACK.c.source.in_(sources),
            FEEDBACK.c.received_at >= since,
            FEEDBACK.c.received_at < until,
            COUNTED,
            closed.c.at.is_(None) | (FEEDBACK.c.received_at > closed.c.at),
        )
    )


def count_customers(
    tx: Connection, sources: Sequence[str], spans: Spans
) -> dict[Key, Counter[bool]]:
    """Distinct customers of each cause, in the window (True) and before it (see `Period`)."""
    starts = spans.stretches()
    stretch = stretch_of(starts).label("stretch")
    query = (
        evidence(sources, starts[-1], spans.at(spans.end))
        .add_columns(LOOPS.c.topic, LOOPS.c.touchpoint, stretch, func.count(WHO.distinct()))
        .group_by(LOOPS.c.topic, LOOPS.c.touchpoint, stretch)
    )
    counts: dict[Key, Counter[bool]] = defaultdict(Counter)
    for topic, touchpoint, number, people in tx.execute(query):
        counts[topic, touchpoint][number == 0] += people
    return counts


def stretch_of(starts: Sequence[datetime]) -> ColumnElement[int]:
    """0 for the window, then 1 and so on back in time."""
    return case(*((FEEDBACK.c.received_at >= start, n) for n, start in enumerate(starts)))


def sum_measures(
    tx: Connection, touchpoints: Sequence[str], spans: Spans
) -> dict[tuple[str, bool], tuple[float, int]]:
    """Sum of denominators and days that have any, per touchpoint, in the window (True) and
    before."""
    recent = (MEASURES.c.day >= spans.window).label("recent")
    query = (
        select(
            MEASURES.c.touchpoint,
            recent,
            func.sum(MEASURES.c.denominator),
            func.count(MEASURES.c.day.distinct()),
        )
        .where(
            MEASURES.c.touchpoint.in_(touchpoints),
            MEASURES.c.day >= spans.first,
            MEASURES.c.day < spans.end,
        )
        .group_by(MEASURES.c.touchpoint, recent)
    )
    sums: dict[tuple[str, bool], tuple[float, int]] = defaultdict(lambda: (0.0, 0))
    for touchpoint, is_recent, denominator, days in tx.execute(query):
        sums[touchpoint, bool(is_recent)] = (denominator, days)
    return sums
