"""Raw items that could not be parsed: list them with their reasons, replay them after a fix."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select, update

from loopwright.db import retry_conflicts
from loopwright.errors import InputError
from loopwright.history.append import append
from loopwright.history.envelope import Actor, Event, seal
from loopwright.ids import uuid7
from models.base import table
from models.feedback import Intake, Quarantine, RawItem
from models.kinds import EventKind
from policy.source_spec import SourceSpec
from sources.errors import RecordError
from sources.items import Item
from sources.parse import compile_parser
from tasks.ingest import Counts, Raw, finish_interrupted, save_state
from tasks.store_items import store_items
from tasks.workspace import Workspace

INTAKES = table(Intake)
RAW = table(RawItem)
QUARANTINE = table(Quarantine)

OPEN = QUARANTINE.c.resolved_at.is_(None)
PAGE = 1_000


def list_quarantine(ws: Workspace, source: str | None = None, limit: int = 100) -> Sequence[Any]:
    """Open quarantined items, oldest first: raw_id, source, reason, at, attempts, number, name."""
    query = (
        select(
            QUARANTINE.c.raw_id,
            QUARANTINE.c.source,
            QUARANTINE.c.reason,
            QUARANTINE.c.at,
            QUARANTINE.c.attempts,
            RAW.c.number,
            INTAKES.c.name,
        )
        .join(RAW, RAW.c.id == QUARANTINE.c.raw_id)
        .join(INTAKES, INTAKES.c.id == RAW.c.intake_id)
        .where(OPEN)
        .order_by(QUARANTINE.c.raw_id)
        .limit(limit)
    )
    if source:
        query = query.where(QUARANTINE.c.source == source)
    with ws.db.read() as tx:
        return tx.execute(query).all()


def replay_quarantine(ws: Workspace, source: str, actor: Actor, now: datetime) -> Counts:
    """Parse a source's quarantined items again, with the source document that runs now.

    Also starts a source that stopped itself, and parses what it had received by then.
    """
    spec = ws.sources.get(source)
    if spec is None:
        raise InputError(f"no source {source!r}", f"use one of: {', '.join(sorted(ws.sources))}")
    resume_source(ws, source, actor, now)
    total, after = Counts(), ""
    while page := quarantined(ws, source, after):
        after = page[-1].raw_id
        total += replay_page(ws, spec, page, now)
    total += finish_interrupted(ws, spec, now)
    return total


def resume_source(ws: Workspace, source: str, actor: Actor, now: datetime) -> None:
    with ws.db.begin() as tx:
        save_state(tx, source, now, stopped_reason=None, stopped_at=None)
        event = Event(uuid7(), EventKind.SOURCE_RESUMED, now, actor, {"source": source}, run=ws.run)
        append(tx, [seal(event)])


def quarantined(ws: Workspace, source: str, after: str) -> Sequence[Any]:
    query = (
        select(
            QUARANTINE.c.raw_id,
            RAW.c.number,
            RAW.c.payload,
            RAW.c.version,
            RAW.c.previous_id,
            RAW.c.digest,
            INTAKES.c.header,
        )
        .join(RAW, RAW.c.id == QUARANTINE.c.raw_id)
        .join(INTAKES, INTAKES.c.id == RAW.c.intake_id)
        .where(OPEN, QUARANTINE.c.source == source, QUARANTINE.c.raw_id > after)
        .order_by(QUARANTINE.c.raw_id)
        .limit(PAGE)
    )
    with ws.db.read() as tx:
        return tx.execute(query).all()


def replay_page(ws: Workspace, spec: SourceSpec, page: Sequence[Any], now: datetime) -> Counts:
    good: list[tuple[Raw, Item]] = []
    bad: list[tuple[str, str]] = []
    for raw_id, number, payload, version, previous, digest, header in page:
        raw = Raw(raw_id, number, payload, version, previous, digest)
        try:
            good.append((raw, compile_parser(spec, tuple(header or ())).parse(payload)))
        except RecordError as error:
            bad.append((raw_id, str(error)))

    def attempt() -> None:
        with ws.db.begin() as tx:
            store_items(tx, ws, spec, [(r.id, r.version, r.previous, i) for r, i in good], now)
            done = update(QUARANTINE).where(QUARANTINE.c.raw_id.in_([r.id for r, _ in good]))
            tx.execute(done.values(resolved_at=now, attempts=QUARANTINE.c.attempts + 1))
            for raw_id, reason in bad:
                again = update(QUARANTINE).where(QUARANTINE.c.raw_id == raw_id)
                tx.execute(again.values(reason=reason, attempts=QUARANTINE.c.attempts + 1))

    retry_conflicts(attempt)
    return Counts(len(page), len(good), 0, len(bad))
