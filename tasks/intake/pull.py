"""A source's deliveries since its watermark: new files in its folder, or pages over HTTP."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import select

from loopwright.errors import InputError
from loopwright.history.append import append
from loopwright.history.envelope import Actor, Event, Scalar, seal
from loopwright.ids import uuid7
from models.base import table
from models.feedback import Intake, SourceState
from models.kinds import EventKind
from policy.source_spec import SourceSpec
from sources.http_pull import PullState, fetch
from tasks.intake.follow import files_of, follow_source, grown_files
from tasks.intake.ingest import (
    Counts,
    finish_interrupted,
    ingest,
    ingest_file,
    refuse_stopped,
    save_state,
)
from tasks.workspace import Workspace

INTAKES = table(Intake)
SOURCE_STATES = table(SourceState)


def sources_to_pull(ws: Workspace, only: str | None = None) -> list[SourceSpec]:
    """The published sources, unless an operator switched them off; without a `fetch` of its own a
    source is read from the inbox folder of its name.

    Customers, measures and journey events come first: decisions about feedback need them.
    """
    with ws.db.read() as tx:
        off = set(
            tx.execute(
                select(SOURCE_STATES.c.name).where(SOURCE_STATES.c.enabled.is_(False))
            ).scalars()
        )
    wanted = [
        spec for spec in ws.sources.values() if spec.name not in off and only in (None, spec.name)
    ]
    return sorted(wanted, key=lambda spec: (spec.yields == "feedback", spec.name))


def pull_source(ws: Workspace, spec: SourceSpec, now: datetime) -> Counts:
    """Everything new from one source. Raises SourceError or SourceStopped, keeping what came."""
    refuse_stopped(ws, spec)
    total = finish_interrupted(ws, spec, now)
    if spec.follow:
        total += follow_source(ws, spec, now)
    elif not reads_files(spec):
        total += pull_pages(ws, spec, now)
    else:
        for path in new_files(ws, spec):
            total += ingest_file(ws, spec, path, now)
    return total


def reads_files(spec: SourceSpec) -> bool:
    return spec.fetch is None or spec.fetch.kind == "file"


def pull_pages(ws: Workspace, spec: SourceSpec, now: datetime) -> Counts:
    """Each page is stored before the watermark moves past it."""
    total = Counts()
    with ws.db.read() as tx:
        cursor = tx.execute(
            select(SOURCE_STATES.c.cursor).where(SOURCE_STATES.c.name == spec.name)
        ).scalar()
    for page in fetch(spec, PullState.from_json(cursor)):
        with page.delivery as delivery:
            total += ingest(ws, spec, delivery, "http", now)
        with ws.db.begin() as tx:
            save_state(tx, spec.name, now, cursor=page.state.to_json())
    return total


def new_files(ws: Workspace, spec: SourceSpec) -> Sequence[Path]:
    """Files of the source's folder that were not read to the end in their present form."""
    if spec.follow:
        return grown_files(ws, spec)
    query = select(INTAKES.c.name, INTAKES.c.cursor).where(
        INTAKES.c.source == spec.name,
        INTAKES.c.sha256.is_not(None),
    )
    with ws.db.read() as tx:
        known = {(row.name, row.cursor) for row in tx.execute(query)}
    return [
        p
        for p in files_of(ws, spec)
        if (p.name, f"{p.stat().st_size}:{p.stat().st_mtime_ns}") not in known
    ]


def source_named(ws: Workspace, name: str) -> SourceSpec:
    """A published source. Raises InputError for an unknown name."""
    spec = ws.sources.get(name)
    if spec is None:
        raise InputError(f"no source {name!r}", f"use one of: {', '.join(sorted(ws.sources))}")
    return spec


def switch_source(ws: Workspace, name: str, enabled: bool, actor: Actor, now: datetime) -> None:
    """Whether a published source is pulled from now on. Raises InputError for an unknown name."""
    source_named(ws, name)
    data: dict[str, Scalar] = {"source": name, "enabled": enabled}
    event = Event(uuid7(), EventKind.SOURCE_SWITCHED, now, actor, data, run=ws.run)
    with ws.db.begin() as tx:
        save_state(tx, name, now, enabled=enabled)
        append(tx, [seal(event)])


def source_states(ws: Workspace) -> list[dict[str, object]]:
    """Every published source: whether it is pulled, and why it stopped itself."""
    with ws.db.read() as tx:
        states = {row.name: row for row in tx.execute(select(SOURCE_STATES))}
    return [
        {
            "name": name,
            "yields": spec.yields,
            "channel": spec.channel,
            "enabled": states[name].enabled if name in states else True,
            "stopped_reason": states[name].stopped_reason if name in states else None,
        }
        for name, spec in sorted(ws.sources.items())
    ]
