"""Raw items that could not be parsed: list them with their reasons, replay them after a fix."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

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
from sources.parse import compile_parser
from tasks.intake.ingest import Counts, Parsed, Raw, finish_interrupted, ingested, save_state
from tasks.intake.store_items import store_items
from tasks.workspace import Workspace

INTAKES = table(Intake)
RAW = table(RawItem)
QUARANTINE = table(Quarantine)

OPEN = QUARANTINE.c.resolved_at.is_(None)
PAGE = 1_000
REPLAYED = "quarantine"
"""What the event of a replay names as its intake."""


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
    with ws.acting(actor):
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
    done = Parsed(upto=page[-1].number)
    for raw_id, number, payload, version, previous, digest, header in page:
        raw = Raw(raw_id, number, payload, version, previous, digest)
        try:
            done.good.append((raw, compile_parser(spec, tuple(header or ())).parse(payload)))
        except RecordError as error:
            done.bad.append((raw, str(error)))

    def attempt() -> None:
        items = [(raw.id, raw.version, raw.previous, item) for raw, item in done.good]
        with ws.db.begin() as tx:
            store_items(tx, ws, spec, items, now)
            settle(tx, done, now)
            append(tx, [seal(replayed(ws, spec, done, now))])

    retry_conflicts(attempt)
    return Counts(len(page), len(done.good), 0, len(done.bad))


def replayed(ws: Workspace, spec: SourceSpec, done: Parsed, now: datetime) -> Event:
    """Which items these were: they are no run of records, so the root alone would not tell."""
    body = {
        "stored": [raw.id for raw, _ in done.good],
        "quarantined": [raw.id for raw, _ in done.bad],
    }
    return replace(ingested(ws, spec, REPLAYED, done, now), body=body)


def settle(tx: Connection, done: Parsed, now: datetime) -> None:
    """The good leave the quarantine; the bad stay, with the reason they have now."""
    tried = update(QUARANTINE).values(attempts=QUARANTINE.c.attempts + 1)
    good = [raw.id for raw, _ in done.good]
    tx.execute(tried.where(QUARANTINE.c.raw_id.in_(good)).values(resolved_at=now))
    for raw, reason in done.bad:
        tx.execute(tried.where(QUARANTINE.c.raw_id == raw.id).values(reason=reason))
