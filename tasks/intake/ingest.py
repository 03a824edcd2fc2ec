"""One delivery into the database: raw first, then parsed, quarantined where it cannot be.

Two transactions a chunk: `receive` stores what is new exactly as it came, `store` parses it. A
run that dies in between leaves raw items behind the intake's `parsed` mark, which the next run
parses first. Reading the same delivery again adds nothing, and the history says so.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select, update

from loopwright.db import bulk_insert, retry_conflicts
from loopwright.errors import FindingError
from loopwright.history import tree
from loopwright.history.append import append
from loopwright.history.envelope import Event, Scalar, seal
from loopwright.ids import uuid7, uuid7s
from loopwright.log import log
from models.base import table
from models.feedback import Intake, Quarantine, RawItem, SourceState
from models.history import HistoryEvent
from models.kinds import EventKind
from policy.source_spec import Breaker, SourceSpec
from sources.errors import RecordError
from sources.items import Item
from sources.keys import Occurrences, content_key
from sources.parse import Parser, compile_parser
from sources.preflight import check_file
from sources.records import Delivery, Record, open_records
from tasks.intake.store_items import store_items
from tasks.tally import Tally
from tasks.workspace import Workspace, drop_garbage

INTAKES = table(Intake)
RAW = table(RawItem)
EVENTS = table(HistoryEvent)
QUARANTINE = table(Quarantine)
SOURCE_STATES = table(SourceState)

CHUNK = 5_000
CHUNK_CHARACTERS = 4_000_000
ERASED = "!"
"""Where the keys of erased items begin; others begin with = or ~."""

Progress = Callable[[int, int], None]
"""Called with bytes read so far and bytes in all."""


@dataclass
class Counts(Tally):
    """`read` = stored + duplicates + quarantined (+ `waiting` when the source stopped itself)."""

    read: int = 0
    stored: int = 0
    duplicates: int = 0
    quarantined: int = 0
    waiting: int = 0


@dataclass(slots=True)
class Raw:
    """A raw item as the parser needs it."""

    id: str
    number: int
    payload: str
    version: int
    previous: str | None
    digest: bytes


@dataclass
class Fuse:
    """The breaker's count within one intake."""

    spec: Breaker
    seen: int = 0
    failed: int = 0
    in_a_row: int = 0
    blown: bool = False

    def blown_by(self, failure: bool) -> bool:
        """Count one record; whether too many have failed by now."""
        self.seen += 1
        self.failed += failure
        self.in_a_row = self.in_a_row + 1 if failure else 0
        share = self.failed > self.spec.share * self.seen
        self.blown |= self.in_a_row >= self.spec.consecutive
        self.blown |= failure and share and self.failed >= self.spec.consecutive
        return self.blown


@dataclass
class Parsed:
    """What came of parsing raw items in order, up to where the breaker stopped."""

    good: list[tuple[Raw, Item]] = field(default_factory=list)
    bad: list[tuple[Raw, str]] = field(default_factory=list)
    upto: int = 0
    blown: bool = False


class IntakeTaken(FindingError):
    """Another run parses the same intake; it holds, and this one gives way."""


class SourceStopped(FindingError):
    """The source's breaker has opened; what was received waits for a mended source document."""


def ingest_file(
    ws: Workspace, spec: SourceSpec, path: Path, now: datetime, progress: Progress | None = None
) -> Counts:
    """Read one file whole. Raises SourceError for a file that cannot be used at all (nothing is
    stored then) and SourceStopped when its records fail wholesale."""
    check_file(spec, path)
    stat = path.stat()
    with open_records(spec, path) as delivery:
        return ingest(
            ws, spec, delivery, path.name, now, f"{stat.st_size}:{stat.st_mtime_ns}", progress
        )


def ingest(
    ws: Workspace,
    spec: SourceSpec,
    delivery: Delivery,
    name: str,
    now: datetime,
    cursor: str | None = None,
    progress: Progress | None = None,
) -> Counts:
    refuse_stopped(ws, spec)
    finish_interrupted(ws, spec, now)
    parser = compile_parser(spec, delivery.header)
    intake = start_intake(ws, spec, delivery, name, cursor, now)
    fuse, seen, total = Fuse(spec.breaker), Occurrences(), Counts()
    since = 0
    for records in chunks(delivery, CHUNK):
        raws = receive(ws, spec, parser, intake, records, seen, delivery.sha256)
        mark = (since, records[-1].number)
        done = store(ws, spec, parser, intake, raws, fuse, now, mark)
        since = mark[1]
        drop_garbage()
        total += Counts(
            len(records), done.stored, len(records) - len(raws), done.quarantined, done.waiting
        )
        if progress:
            progress(delivery.position, delivery.size)
        if fuse.blown:
            stop_source(ws, spec, fuse, now)
    finish_intake(ws, intake, total, delivery, now)
    log.info("intake.finished", source=spec.name, run=ws.run, **vars(total))
    return total


def chunks(records: Iterable[Record], size: int) -> Iterator[list[Record]]:
    """Up to `size` records each, fewer where they are long: a chunk's rows are held in memory."""
    chunk: list[Record] = []
    characters = 0
    for record in records:
        chunk.append(record)
        characters += len(record.payload)
        if len(chunk) == size or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def start_intake(
    ws: Workspace,
    spec: SourceSpec,
    delivery: Delivery,
    name: str,
    cursor: str | None,
    now: datetime,
) -> str:
    intake = uuid7()
    row = {
        "id": intake,
        "source": spec.name,
        "name": name,
        "header": list(delivery.header),
        "cursor": cursor,
        "parsed": 0,
        "read": 0,
        "stored": 0,
        "duplicates": 0,
        "quarantined": 0,
        "started_at": now,
    }
    with ws.db.begin() as tx:
        bulk_insert(tx, INTAKES, [row])
    return intake


def receive(
    ws: Workspace,
    spec: SourceSpec,
    parser: Parser,
    intake: str,
    records: Sequence[Record],
    seen: Occurrences,
    delivery_sha256: str,
) -> list[Raw]:
    """Store the records nobody has seen yet, raw; one transaction. Returns them in order."""
    keys = keys_of(spec, parser, records, seen, delivery_sha256)
    digests = [ws.hasher.fingerprint("payload", record.payload) for record in records]

    def attempt() -> list[Raw]:
        with ws.db.begin() as tx:
            known = known_versions(tx, ws, spec.name, keys)
            fresh, rows = new_items(records, keys, digests, known, intake, spec.name)
            bulk_insert(tx, RAW, rows)
            # Another worker may have taken this intake for an interrupted one and finished it.
            tx.execute(update(INTAKES).where(INTAKES.c.id == intake).values(finished_at=None))
            return fresh

    return retry_conflicts(attempt)


def keys_of(
    spec: SourceSpec,
    parser: Parser,
    records: Sequence[Record],
    seen: Occurrences,
    delivery_sha256: str,
) -> list[str]:
    own = [parser.key(record.payload) for record in records]
    nameless = [r.payload for r, key in zip(records, own, strict=True) if key is None]
    counts = iter(seen.count(nameless, spec.channel) if nameless else ())
    increment = delivery_sha256 if spec.deliveries == "increments" else None
    return [
        f"={key}"
        if key is not None
        else f"~{content_key(r.payload, spec.channel, next(counts), increment)}"
        for r, key in zip(records, own, strict=True)
    ]


def tombstone(ws: Workspace, source: str, key: str) -> str:
    """The key of an erased item: delivered again as it was, it is still known."""
    return ERASED + ws.hasher.digest("raw", f"{source}:{key}")


def any_erased(tx: Connection) -> bool:
    """Whether anybody was ever erased; most histories never pay for the tombstones."""
    kinds = (EventKind.CUSTOMER_ERASURE_BEGUN, EventKind.CUSTOMER_ERASED)
    query = select(EVENTS.c.seq).where(EVENTS.c.kind.in_(kinds)).limit(1)
    return tx.execute(query).first() is not None


Versions = dict[str, tuple[int, str, set[bytes]]]
"""Key -> newest version, its id, and the digests of all versions."""


def known_versions(tx: Connection, ws: Workspace, source: str, keys: Sequence[str]) -> Versions:
    erased = {tombstone(ws, source, k): k for k in keys} if any_erased(tx) else {}
    query = (
        select(RAW.c.key, RAW.c.version, RAW.c.id, RAW.c.digest)
        .where(RAW.c.source == source, RAW.c.key.in_([*keys, *erased]))
        .order_by(RAW.c.version)
    )
    known: Versions = {}
    for stored, version, raw_id, digest in tx.execute(query):
        key = erased.get(stored, stored)
        _, _, digests = known.get(key, (0, "", set()))
        known[key] = (version, raw_id, digests | {digest})
    return known


def new_items(
    records: Sequence[Record],
    keys: Sequence[str],
    digests: Sequence[bytes],
    known: Versions,
    intake: str,
    source: str,
) -> tuple[list[Raw], list[dict[str, Any]]]:
    """The records that are new or changed, and their rows. `known` learns them on the way."""
    fresh: list[Raw] = []
    rows: list[dict[str, Any]] = []
    ids = uuid7s(len(records))
    for record, key, digest, raw_id in zip(records, keys, digests, ids, strict=True):
        version, previous, seen = known.get(key, (0, None, set()))
        if digest in seen:
            continue
        known[key] = (version + 1, raw_id, seen | {digest})
        fresh.append(Raw(raw_id, record.number, record.payload, version + 1, previous, digest))
        rows.append(
            {
                "id": raw_id,
                "intake_id": intake,
                "source": source,
                "key": key,
                "version": version + 1,
                "previous_id": previous,
                "number": record.number,
                "payload": record.payload,
                "digest": digest,
            }
        )
    return fresh, rows


def store(
    ws: Workspace,
    spec: SourceSpec,
    parser: Parser,
    intake: str,
    raws: Sequence[Raw],
    fuse: Fuse,
    now: datetime,
    mark: tuple[int, int],
) -> Counts:
    """Parse received items; one transaction with their counts in the history.

    `mark`: how far the intake was parsed when its items were read, and how far it then is.
    Raises IntakeTaken when another run has parsed them in between.
    """
    since, upto = mark
    parsed = parse(parser, raws, fuse, upto)

    def attempt() -> None:
        with ws.db.begin() as tx:
            advance(tx, intake, since, parsed)
            store_items(
                tx, ws, spec, [(r.id, r.version, r.previous, i) for r, i in parsed.good], now
            )
            bulk_insert(
                tx,
                QUARANTINE,
                [
                    {
                        "raw_id": raw.id,
                        "source": spec.name,
                        "reason": reason,
                        "at": now,
                        "attempts": 1,
                    }
                    for raw, reason in parsed.bad
                ],
            )
            if parsed.good or parsed.bad:
                append(tx, [seal(ingested(ws, spec, intake, parsed, now))])

    retry_conflicts(attempt)
    handled = len(parsed.good) + len(parsed.bad)
    return Counts(0, len(parsed.good), 0, len(parsed.bad), len(raws) - handled)


def advance(tx: Connection, intake: str, since: int, parsed: Parsed) -> None:
    """Move the intake's mark on, unless somebody else already has."""
    moved = tx.execute(
        update(INTAKES)
        .where(INTAKES.c.id == intake, INTAKES.c.parsed == since)
        .values(
            parsed=parsed.upto,
            stored=INTAKES.c.stored + len(parsed.good),
            quarantined=INTAKES.c.quarantined + len(parsed.bad),
        )
    )
    if moved.rowcount != 1:
        raise IntakeTaken(
            "another run reads this source at the same time",
            "run again when it is done; nothing was lost",
        )


def parse(parser: Parser, raws: Sequence[Raw], fuse: Fuse, upto: int) -> Parsed:
    parsed = Parsed(upto=upto)
    for raw in raws:
        try:
            parsed.good.append((raw, parser.parse(raw.payload)))
            failure = False
        except RecordError as error:
            parsed.bad.append((raw, str(error)))
            failure = True
        if fuse.blown_by(failure):
            parsed.upto, parsed.blown = raw.number, True
            break
    return parsed


def ingested(ws: Workspace, spec: SourceSpec, intake: str, parsed: Parsed, now: datetime) -> Event:
    """The chunk's event: counts, and a tree root over the payloads' hashes in order."""
    raws = [raw for raw, _ in (*parsed.good, *parsed.bad)]
    root = root_of(raw.digest for raw in sorted(raws, key=lambda raw: raw.number))
    data: dict[str, Scalar] = {
        "source": spec.name,
        "intake": intake,
        "upto": parsed.upto,
        "stored": len(parsed.good),
        "quarantined": len(parsed.bad),
        "root": root,
    }
    return Event(
        uuid7(),
        EventKind.FEEDBACK_INGESTED,
        now,
        ws.by,
        data,
        run=ws.run,
        policy=ws.policy_version,
    )


def root_of(digests: Iterable[bytes]) -> str:
    """The tree root over payloads' hashes, in the order of their records."""
    return tree.root(tree.extend([], 0, map(tree.leaf_hash, digests))).hex()


def finish_intake(
    ws: Workspace, intake: str, total: Counts, delivery: Delivery, now: datetime
) -> None:
    """The delivery was read to its end. A page that a pull found nothing new on is no event: one
    every few minutes would be all that an idle source says."""
    with ws.db.begin() as tx:
        tx.execute(
            update(INTAKES)
            .where(INTAKES.c.id == intake)
            .values(
                read=total.read,
                duplicates=total.duplicates,
                sha256=delivery.sha256,
                bytes=delivery.size,
                finished_at=now,
            )
        )
        row = tx.execute(select(INTAKES).where(INTAKES.c.id == intake)).one()
        if row.cursor is not None or row.stored or row.quarantined:
            append(tx, [seal(finished(ws, row, now))])


def finished(ws: Workspace, intake: Any, now: datetime) -> Event:
    """What became of all records of a delivery, as its row has it."""
    data: dict[str, Scalar] = {
        "source": intake.source,
        "intake": intake.id,
        "read": intake.read,
        "stored": intake.stored,
        "duplicates": intake.duplicates,
        "quarantined": intake.quarantined,
        "sha256": intake.sha256,
    }
    return Event(uuid7(), EventKind.INTAKE_FINISHED, now, ws.by, data, run=ws.run)


def finish_interrupted(ws: Workspace, spec: SourceSpec, now: datetime) -> Counts:
    """Parse what earlier runs received but did not get to, in order."""
    query = (
        select(INTAKES.c.id, INTAKES.c.header, INTAKES.c.parsed)
        .where(
            INTAKES.c.source == spec.name,
            INTAKES.c.finished_at.is_(None),
        )
        .order_by(INTAKES.c.started_at, INTAKES.c.id)
    )
    with ws.db.read() as tx:
        interrupted = tx.execute(query).all()
    total = Counts()
    for intake in interrupted:
        parser = compile_parser(spec, tuple(intake.header or ()))
        fuse, parsed = Fuse(spec.breaker), intake.parsed
        while raws := unparsed(ws, intake.id, parsed):
            mark = (parsed, raws[-1].number)
            done = store(ws, spec, parser, intake.id, raws, fuse, now, mark)
            total += done
            if fuse.blown:
                stop_source(ws, spec, fuse, now)
            parsed = raws[-1].number
            drop_garbage()
        finish_parsed(ws, intake.id, parsed, now)
    return total


def finish_parsed(ws: Workspace, intake: str, parsed: int, now: datetime) -> None:
    """An interrupted intake is parsed; unless its own run lives after all, and has received more
    meanwhile: whoever comes next goes on with it."""
    mine = INTAKES.c.id == intake
    more = select(RAW.c.id).where(RAW.c.intake_id == intake, RAW.c.number > parsed).limit(1)
    with ws.db.begin() as tx:
        tx.execute(update(INTAKES).where(mine).values(finished_at=now))  # and hold its row
        if tx.execute(more).first() is not None:
            tx.execute(update(INTAKES).where(mine).values(finished_at=None))
            return
        row = tx.execute(select(INTAKES).where(mine)).one()
        append(tx, [seal(finished(ws, row, now))])


def unparsed(ws: Workspace, intake: str, parsed: int) -> list[Raw]:
    query = (
        select(
            RAW.c.id, RAW.c.number, RAW.c.payload, RAW.c.version, RAW.c.previous_id, RAW.c.digest
        )
        .where(RAW.c.intake_id == intake, RAW.c.number > parsed)
        .order_by(RAW.c.number)
        .limit(CHUNK)
    )
    with ws.db.read() as tx:
        return [Raw(*row) for row in tx.execute(query)]


def refuse_stopped(ws: Workspace, spec: SourceSpec) -> None:
    with ws.db.read() as tx:
        reason = tx.execute(
            select(SOURCE_STATES.c.stopped_reason).where(SOURCE_STATES.c.name == spec.name)
        ).scalar()
    if reason:
        raise SourceStopped(
            f"source {spec.name} has stopped itself: {reason}",
            f"mend its source document, publish it, then run"
            f" `loopwright quarantine replay --source {spec.name} --as PERSON`",
        )


def stop_source(ws: Workspace, spec: SourceSpec, fuse: Fuse, now: datetime) -> None:
    """Open the breaker, with an event; always raises SourceStopped."""
    reason = f"{fuse.failed} of {fuse.seen} records could not be parsed"
    with ws.db.begin() as tx:
        save_state(tx, spec.name, now, stopped_reason=reason, stopped_at=now)
        data: dict[str, Scalar] = {"source": spec.name, "failed": fuse.failed, "seen": fuse.seen}
        event = Event(uuid7(), EventKind.SOURCE_STOPPED, now, ws.by, data, run=ws.run)
        append(tx, [seal(event)])
    log.warning("source.stopped", source=spec.name, failed=fuse.failed, seen=fuse.seen)
    refuse_stopped(ws, spec)


def save_state(tx: Connection, source: str, now: datetime, **values: Any) -> None:
    """Set columns of a source's state, making its row at first use."""
    known = update(SOURCE_STATES).where(SOURCE_STATES.c.name == source)
    if tx.execute(known.values(updated_at=now, **values)).rowcount == 0:
        row = {"name": source, "enabled": True, "updated_at": now} | values
        tx.execute(insert(SOURCE_STATES).values(row))
