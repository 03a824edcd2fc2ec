"""Parsed items into their tables: feedback with its batch, customers, measures, journey events."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, select

from loopwright.db import bulk_insert
from loopwright.history.append import append
from loopwright.history.envelope import Event, Scalar, seal
from loopwright.ids import uuid7
from models.base import table
from models.customer import CustomerSnapshot, JourneyEvent, Measure
from models.feedback import Batch, Feedback
from models.kinds import EventKind, Yields
from policy.source_spec import SourceSpec
from sources.items import CustomerItem, FeedbackItem, JourneyItem, MeasureItem
from tasks.intake.identify import identify, unite
from tasks.workspace import Workspace

FEEDBACK = table(Feedback)
BATCHES = table(Batch)
SNAPSHOTS = table(CustomerSnapshot)
JOURNEY_EVENTS = table(JourneyEvent)
MEASURES = table(Measure)

Stored = tuple[str, int, str | None, Any]
"""Raw id, version, id of the version before, item."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Parsed items of one source that are stored together."""

    ws: Workspace
    spec: SourceSpec
    items: Sequence[Stored]
    now: datetime


def store_items(
    tx: Connection, ws: Workspace, spec: SourceSpec, items: Sequence[Stored], now: datetime
) -> None:
    """Insert one chunk's items in the caller's transaction."""
    if items:
        STORES[spec.yields](tx, Chunk(ws, spec, items, now))


def store_cases(tx: Connection, chunk: Chunk) -> None:
    """What was said in an older system's cases; no batch waits, since a person imports them."""
    said = [(raw_id, version, before, item.said) for raw_id, version, before, item in chunk.items]
    store_feedback(tx, replace(chunk, items=said), done_at=chunk.now)


def store_feedback(tx: Connection, chunk: Chunk, done_at: datetime | None = None) -> None:
    """Feedback rows, and one batch that lets triage find them, unless it is done already."""
    items = linked(tx, chunk.items)
    people = [chunk.ws.hasher.keys(item.customer_keys) for *_, item in items]
    customers = identify(tx, people, chunk.now)
    batch = uuid7()
    bulk_insert(
        tx,
        BATCHES,
        [
            {
                "id": batch,
                "source": chunk.spec.name,
                "size": len(chunk.items),
                "position": len(chunk.items) if done_at else 0,
                "attempts": 0,
                "lease_until": chunk.now,
                "created_at": chunk.now,
                "done_at": done_at,
            }
        ],
    )
    bulk_insert(
        tx,
        FEEDBACK,
        [
            feedback_row(stored, batch, n, customer, chunk.spec, chunk.now)
            for n, (stored, customer) in enumerate(zip(items, customers, strict=True))
        ],
    )


def linked(tx: Connection, items: Sequence[Stored]) -> list[Stored]:
    """The items, without links to versions that are no feedback since they are in quarantine."""
    previous = sorted({before for _, _, before, _ in items if before})
    if not previous:
        return list(items)
    query = select(FEEDBACK.c.id).where(FEEDBACK.c.id.in_(previous))
    known = {*tx.execute(query).scalars(), *(raw_id for raw_id, *_ in items)}
    return [(r, v, before if before in known else None, i) for r, v, before, i in items]


def feedback_row(
    stored: Stored,
    batch: str,
    ordinal: int,
    customer: str | None,
    spec: SourceSpec,
    now: datetime,
) -> dict[str, Any]:
    raw_id, version, previous, item = stored
    assert isinstance(item, FeedbackItem)
    rating = item.rating
    stated = item.received_at or item.said_at
    received = stated if stated and spec.received == "stated" else now
    return {
        "id": raw_id,
        "batch_id": batch,
        "ordinal": ordinal,
        "source": spec.name,
        "version": version,
        "previous_id": previous,
        "text": item.text,
        "said_at": item.said_at,
        "received_at": received,
        "arrived_at": now,
        "days_late": days_late(received, now, spec),
        "channel": item.channel,
        "language": item.language or spec.language,
        "rating_kind": rating.kind if rating else None,
        "rating_value": rating.value if rating else None,
        "rating": rating.scaled if rating else None,
        "customer_id": customer,
        "complaint_number": item.complaint_number,
        "touchpoint": item.touchpoint,
        "unit": item.unit,
        "turns": [[t.speaker, t.is_customer, t.text] for t in item.turns] or None,
    }


def days_late(received: datetime, now: datetime, spec: SourceSpec) -> int:
    """Whole days beyond what the source document calls normal; never negative."""
    return max(0, (now - received) // timedelta(days=1) - spec.expected_days_late)


def store_customers(tx: Connection, chunk: Chunk) -> None:
    """Snapshots; keys that one snapshot names together belong to one customer from chunk.now on."""
    people = [chunk.ws.hasher.keys(item.keys) for *_, item in chunk.items]
    customers = identify(tx, people, chunk.now)
    pairs = [
        (customer, other)
        for keys, customer in zip(people, customers, strict=True)
        if customer is not None and len(keys) > 1
        for other in unite(tx, keys, customer, chunk.now)
    ]
    bulk_insert(
        tx,
        SNAPSHOTS,
        [
            snapshot_row(raw_id, item, customer, chunk.now)
            for (raw_id, _, _, item), customer in zip(chunk.items, customers, strict=True)
            if customer
        ],
    )
    append(tx, [seal(united(chunk, *pair)) for pair in pairs])


def united(chunk: Chunk, customer: str, other: str) -> Event:
    """The ids are opaque: who they were goes with their keys."""
    data: dict[str, Scalar] = {
        "customer": customer,
        "other": other,
        "source": chunk.spec.name,
    }
    ws, kind = chunk.ws, EventKind.CUSTOMER_UNITED
    return Event(uuid7(), kind, chunk.now, ws.by, data, run=ws.run)


def snapshot_row(raw_id: str, item: CustomerItem, customer: str, now: datetime) -> dict[str, Any]:
    return {
        "id": raw_id,
        "customer_id": customer,
        "value_band": item.value_band,
        "lifecycle": item.lifecycle,
        "vulnerable": item.vulnerable,
        "branch": item.branch,
        "manager": item.manager,
        "consent": dict(item.consent),
        "valid_from": item.valid_from or now,
        "valid_to": item.valid_to,
    }


def store_measures(tx: Connection, chunk: Chunk) -> None:
    """Counts by touchpoint, unit, channel and day; a corrected count replaces the one before."""
    rows = {
        tuple(measure_key(item).values()): measure_row(raw_id, item)
        for raw_id, _, _, item in chunk.items
    }
    table = MEASURES
    same = and_(*(column == bindparam(f"b_{column.name}") for column in table.primary_key))
    tx.execute(delete(table).where(same), [measure_key(item) for *_, item in chunk.items])
    bulk_insert(tx, MEASURES, list(rows.values()))


def measure_key(item: MeasureItem) -> dict[str, Any]:
    return {
        "b_touchpoint": item.touchpoint,
        "b_unit": item.unit or "",
        "b_channel": item.channel,
        "b_day": item.day,
    }


def measure_row(raw_id: str, item: MeasureItem) -> dict[str, Any]:
    return {
        "touchpoint": item.touchpoint,
        "unit": item.unit or "",
        "channel": item.channel,
        "day": item.day,
        "numerator": item.numerator,
        "denominator": item.denominator,
        "raw_id": raw_id,
    }


def store_journey_events(tx: Connection, chunk: Chunk) -> None:
    customers = identify(
        tx, [chunk.ws.hasher.keys(item.customer_keys) for *_, item in chunk.items], chunk.now
    )
    bulk_insert(
        tx,
        JOURNEY_EVENTS,
        [
            journey_row(raw_id, item, customer)
            for (raw_id, _, _, item), customer in zip(chunk.items, customers, strict=True)
        ],
    )


def journey_row(raw_id: str, item: JourneyItem, customer: str | None) -> dict[str, Any]:
    return {
        "id": raw_id,
        "customer_id": customer,
        "touchpoint": item.touchpoint,
        "channel": item.channel,
        "at": item.at,
        "outcome": item.outcome or "",
    }


STORES: Mapping[Yields, Callable[[Connection, Chunk], None]] = {
    Yields.FEEDBACK: store_feedback,
    Yields.CUSTOMERS: store_customers,
    Yields.MEASURES: store_measures,
    Yields.JOURNEY_EVENTS: store_journey_events,
    Yields.CASES: store_cases,
}
