"""A cause day by day: how many customers brought it, and what they are divided by.

Only sources that delivered all along are counted, at the beginning and the end of every period:
one that came or went would look like an effect.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, func, literal, select

from insight.effects import Days, Series
from models.base import table
from models.customer import Measure
from models.feedback import Feedback
from models.kinds import LoopKind
from models.loop import Loop, LoopLink
from tasks.causes.count_causes import COUNTED, FOUND, WHO
from tasks.workspace import Workspace

FEEDBACK = table(Feedback)
LOOPS = table(Loop)
MEASURES = table(Measure)
LOOP_LINKS = table(LoopLink)

Cause = ColumnElement[bool]

EDGE = 14
"""Days at the beginning and at the end of a period in which a source must have delivered."""


def of_topic(topic: str, touchpoint: str) -> Cause:
    small = LOOPS.c.kind == LoopKind.SMALL
    return small & (LOOPS.c.topic == topic) & (LOOPS.c.touchpoint == touchpoint)


def of_links(big: str) -> Cause:
    """Of a cause that only its words tell from others: what hangs on its big loop."""
    return LOOPS.c.id.in_(select(LOOP_LINKS.c.small_id).where(LOOP_LINKS.c.big_id == big))


def daily(
    tx: Connection, ws: Workspace, cause: Cause, touchpoint: str, periods: Sequence[Days]
) -> Series:
    """From the first day of the first period to the last of the last; local days. `cause`: its
    loops.

    An event is a customer on a day on which they brought the cause; exposure is the touchpoint's
    denominators where each period has some (a day without any counts as its period's mean), else 1
    for each day on which anything was received.
    """
    zone = ZoneInfo(ws.published.documents.organisation.zone)
    sources = steady(tx, ws, periods, zone)
    first, last = periods[0][0], periods[-1][1]
    people = customers(tx, cause, sources, (first, last), zone)
    seen = [day for period in periods for day in observed(tx, sources, period, zone)]
    shares = denominators(tx, touchpoint, periods)
    exposure = {day: shares.get(day, 0.0) if shares else 1.0 for day in seen}
    days = [first + timedelta(n) for n in range((last - first).days + 1)]
    return Series(first, [people[d] for d in days], [exposure.get(d, 0.0) for d in days])


def begins(day: date, zone: ZoneInfo) -> datetime:
    """When a local day begins, in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def days_of(period: Days) -> list[date]:
    return [period[0] + timedelta(n) for n in range((period[1] - period[0]).days + 1)]


def steady(tx: Connection, ws: Workspace, periods: Sequence[Days], zone: ZoneInfo) -> list[str]:
    edges = [edge for first, last in periods for edge in edges_of(first, last)]
    return [
        source
        for source in ws.sources
        if all(delivered(tx, [source], edge, zone) for edge in edges)
    ]


def edges_of(first: date, last: date) -> tuple[Days, Days]:
    length = timedelta(EDGE - 1)
    return (first, min(first + length, last)), (max(last - length, first), last)


def delivered(tx: Connection, sources: Sequence[str], days: Days, zone: ZoneInfo) -> bool:
    """Whether any of the sources brought anything; one look at an index each."""
    since, until = begins(days[0], zone), begins(days[1] + timedelta(1), zone)
    received = (FEEDBACK.c.received_at >= since) & (FEEDBACK.c.received_at < until)
    probe = select(literal(1)).where(received).limit(1)
    return any(tx.execute(probe.where(FEEDBACK.c.source == source)).first() for source in sources)


def observed(tx: Connection, sources: Sequence[str], period: Days, zone: ZoneInfo) -> list[date]:
    return [day for day in days_of(period) if delivered(tx, sources, (day, day), zone)]


def customers(
    tx: Connection, cause: Cause, sources: Sequence[str], days: Days, zone: ZoneInfo
) -> Counter[date]:
    """Distinct customers of each local day."""
    query: Any = (
        select(FEEDBACK.c.received_at, WHO.label("who"))
        .select_from(FOUND)
        .where(
            COUNTED,
            cause,
            FEEDBACK.c.source.in_(sources),
            FEEDBACK.c.received_at >= begins(days[0], zone),
            FEEDBACK.c.received_at < begins(days[1] + timedelta(1), zone),
        )
    )
    found = {(row.received_at.astimezone(zone).date(), row.who) for row in tx.execute(query)}
    return Counter(day for day, _ in found)


def denominators(tx: Connection, touchpoint: str, periods: Sequence[Days]) -> dict[date, float]:
    """Every day's, filled up; empty where a period has none."""
    found: dict[date, float] = {}
    for first, last in periods:
        measured = measures_of(tx, touchpoint, first, last)
        if not measured:
            return {}
        mean = sum(measured.values()) / len(measured)
        found |= {day: measured.get(day, mean) for day in days_of((first, last))}
    return found


def measures_of(tx: Connection, touchpoint: str, first: date, last: date) -> dict[date, float]:
    total = func.sum(MEASURES.c.denominator)
    query = (
        select(MEASURES.c.day, total.label("total"))
        .where(MEASURES.c.touchpoint == touchpoint, MEASURES.c.day >= first, MEASURES.c.day <= last)
        .group_by(MEASURES.c.day)
        .having(total > 0)
    )
    return {row.day: float(row.total) for row in tx.execute(query)}
