"""Conversations while they run: segments are added, judged, and in the end are one item.

`judge_lines` adds stored lines to their conversations and raises red alerts; a conversation that
ended, by its marker or by silence, goes the ordinary way in as one item. Each a transaction under
the lock of the source's state row, as `follow.py` says.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from io import BytesIO
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from loopwright.db import bulk_insert, retry_conflicts
from loopwright.history.append import append
from loopwright.history.envelope import Event, Scalar, seal
from loopwright.ids import uuid7
from loopwright.log import log
from models.base import table
from models.conversation import Conversation, FollowedFile
from models.feedback import Quarantine, RawItem, SourceState
from models.kinds import EventKind
from models.red_alert import RedAlert
from policy.classify import Utterance
from policy.route import Circumstances
from policy.source_spec import SEGMENTS, FollowSpec, SourceSpec
from sources.errors import RecordError
from sources.items import FeedbackItem
from sources.parse import Parser, compile_parser
from sources.payloads import compact, unpack
from sources.reading import Reader
from sources.records import open_records
from tasks.intake.identify import known_keys
from tasks.intake.ingest import Counts, Fuse, ingest, root_of
from tasks.routing.red_channel import Heard, alarms, conversation_name, raise_alerts
from tasks.routing.triage import opinions
from tasks.workspace import Workspace

FILES = table(FollowedFile)
CONVERSATIONS = table(Conversation)
RAW, QUARANTINE = table(RawItem), table(Quarantine)
SOURCE_STATES = table(SourceState)
ALERTS = table(RedAlert)

PIECE = 500
"""Segments that one transaction judges."""
MOST_ENDED = 1_000


def lock_source(tx: Connection, source: str, now: datetime) -> None:
    """One worker at a time stores or judges what a source's files hold."""
    dialect_insert = sqlite_insert if tx.dialect.name == "sqlite" else postgres_insert
    row = {"name": source, "enabled": True, "updated_at": now}
    tx.execute(dialect_insert(SOURCE_STATES).values(row).on_conflict_do_nothing())
    tx.execute(select(SOURCE_STATES.c.name).where(SOURCE_STATES.c.name == source).with_for_update())


def quiet(spec: SourceSpec) -> timedelta:
    return timedelta(minutes=followed(spec).quiet_minutes)


def followed(spec: SourceSpec) -> FollowSpec:
    assert spec.follow is not None, spec.name
    return spec.follow


# Segments into conversations


@dataclass
class Talk:
    """A conversation while a piece of segments is added. `prefixes`: its record after each of them
    that was new."""

    name: str
    record: dict[str, Any]
    arrived_at: datetime
    is_new: bool = False
    over: bool = False
    prefixes: list[dict[str, Any]] = field(default_factory=list)

    def add(self, segment: Mapping[str, Any], follow: FollowSpec) -> None:
        """A segment that is there already, by its number or word for word, changes nothing."""
        segments = self.record.setdefault(SEGMENTS, [])
        if mark_of(segment, follow) in [mark_of(known, follow) for known in segments]:
            return
        segments.append(dict(segment))
        if follow.segment:
            segments.sort(key=lambda one: number_of(one.get(follow.segment)))
        for key, value in segment.items():
            if key != SEGMENTS and self.record.get(key) in (None, ""):
                self.record[key] = value
        self.over |= is_end(segment, follow)
        self.prefixes.append(deepcopy(self.record))


def mark_of(segment: Mapping[str, Any], follow: FollowSpec) -> Any:
    number = segment.get(follow.segment) if follow.segment else None
    return segment if number is None else number


def number_of(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("inf")


def is_end(segment: Mapping[str, Any], follow: FollowSpec) -> bool:
    value = segment.get(follow.ended) if follow.ended else None
    return str(value) == follow.ended_value if follow.ended_value is not None else bool(value)


def judge_lines(ws: Workspace, spec: SourceSpec, fuse: Fuse, now: datetime) -> Counts | None:
    """Add one piece of stored lines to their conversations, and raise alerts; None when all are."""
    parser = compile_parser(spec)
    with ws.db.begin() as tx:
        lock_source(tx, spec.name, now)
        file = tx.execute(
            select(FILES)
            .where(FILES.c.source == spec.name, FILES.c.parsed < FILES.c.stored)
            .order_by(FILES.c.arrived_at, FILES.c.id)
            .limit(1)
        ).first()
        if file is None:
            return None
        raws = lines_of(tx, file)
        good, bad = told_apart(spec, raws, fuse)
        talks = add_segments(tx, ws, spec, good, file.arrived_at)
        save_talks(tx, spec, talks, now)
        tx.execute(delete(RAW).where(RAW.c.id.in_([raw.id for raw, *_ in good])))
        set_aside(tx, spec, bad, now)
        tx.execute(update(FILES).where(FILES.c.id == file.id).values(parsed=raws[-1].number))
        found = alarms(tx, ws, heard(tx, ws, spec, parser, talks, now))
        alerts = raise_alerts(tx, ws, found, now)
        events = [judged(ws, spec, raws, len(bad), now), *alerts]
        append(tx, [seal(event) for event in events])
    if alerts:
        log.warning("red.raised", source=spec.name, alerts=len(alerts), run=ws.run)
    return Counts(quarantined=len(bad))


def judged(ws: Workspace, spec: SourceSpec, raws: Sequence[Any], bad: int, now: datetime) -> Event:
    """Lines that became part of conversations, or could not, and are gone now. What is stored when
    a conversation is over, another event counts."""
    data: dict[str, Scalar] = {
        "source": spec.name,
        "intake": raws[0].intake_id,
        "upto": raws[-1].number,
        "segments": len(raws) - bad,
        "quarantined": bad,
        "root": root_of(raw.digest for raw in raws),
    }
    kind = EventKind.FEEDBACK_FOLLOWED
    return Event(uuid7(), kind, now, ws.by, data, run=ws.run, policy=ws.policy_version)


def lines_of(tx: Connection, file: Any) -> Sequence[Any]:
    query = (
        select(RAW.c.id, RAW.c.intake_id, RAW.c.number, RAW.c.payload, RAW.c.digest)
        .where(RAW.c.intake_id == file.id, RAW.c.number > file.parsed)
        .order_by(RAW.c.number)
        .limit(PIECE)
    )
    return tx.execute(query).all()


Segment = tuple[Any, str, dict[str, Any]]
"""Raw row, the conversation's name, the segment's fields."""


def told_apart(
    spec: SourceSpec, raws: Sequence[Any], fuse: Fuse
) -> tuple[list[Segment], list[tuple[str, str]]]:
    """Segments, and raw ids with why they are none."""
    reader, field_ = Reader(spec, ()), followed(spec).conversation
    name_of = reader.text(field_)
    good: list[Segment] = []
    bad: list[tuple[str, str]] = []
    for raw in raws:
        try:
            row = reader.row(raw.payload)
            name = name_of(row)
            if not name:
                raise RecordError(f"no conversation is named in {field_!r}")
            good.append((raw, name, row))
            fuse.blown_by(False)
        except RecordError as error:
            bad.append((raw.id, str(error)))
            fuse.blown_by(True)
    return good, bad


def set_aside(
    tx: Connection, spec: SourceSpec, bad: Sequence[tuple[str, str]], now: datetime
) -> None:
    bulk_insert(
        tx,
        QUARANTINE,
        [
            {"raw_id": raw, "source": spec.name, "reason": reason, "at": now, "attempts": 1}
            for raw, reason in bad
        ],
    )


def add_segments(
    tx: Connection, ws: Workspace, spec: SourceSpec, good: Sequence[Segment], at: datetime
) -> dict[str, Talk]:
    """Keyed name -> the conversation with its new segments."""
    hashes = {name: conversation_name(ws, spec.name, name) for _, name, _ in good}
    query = select(CONVERSATIONS).where(
        CONVERSATIONS.c.source == spec.name, CONVERSATIONS.c.name.in_(sorted(hashes.values()))
    )
    known = {row.name: row for row in tx.execute(query)}
    talks: dict[str, Talk] = {}
    for _, name, segment in good:
        talk = talks.get(hashes[name])
        if talk is None:
            row = known.get(hashes[name])
            talk = talks[hashes[name]] = Talk(name, record_of(tx, spec, name, row), at, row is None)
        talk.add(segment, followed(spec))
    return talks


def record_of(tx: Connection, spec: SourceSpec, name: str, row: Any | None) -> dict[str, Any]:
    """What is known of a conversation: running, or already ended and now an item."""
    if row is None or row.record is not None:
        return dict(row.record) if row else {}
    query = (
        select(RAW.c.payload)
        .where(RAW.c.source == spec.name, RAW.c.key == f"={name}")
        .order_by(RAW.c.version.desc())
        .limit(1)
    )
    payload = tx.execute(query).scalar()
    return dict(json.loads(unpack(payload))) if payload else {}


def save_talks(tx: Connection, spec: SourceSpec, talks: Mapping[str, Talk], now: datetime) -> None:
    for hashed, talk in talks.items():
        if not talk.prefixes:
            continue  # an ended conversation that was read again stays ended
        values = {
            "record": talk.record,
            "segments": len(talk.record[SEGMENTS]),
            "quiet_at": now if talk.over else now + quiet(spec),
            "ended_at": None,
        }
        if talk.is_new:
            key = {"source": spec.name, "name": hashed, "began_at": talk.arrived_at}
            tx.execute(insert(CONVERSATIONS).values(key | values))
        else:
            mine = (CONVERSATIONS.c.source == spec.name) & (CONVERSATIONS.c.name == hashed)
            tx.execute(update(CONVERSATIONS).where(mine).values(values))


# Red


def heard(
    tx: Connection,
    ws: Workspace,
    spec: SourceSpec,
    parser: Parser,
    talks: Mapping[str, Talk],
    now: datetime,
) -> list[Heard]:
    """Each conversation after each new segment, as far as it has no alert yet."""
    if not ws.red_rules.by_id:
        return []
    query = select(ALERTS.c.conversation).where(
        ALERTS.c.source == spec.name, ALERTS.c.conversation.in_(sorted(talks))
    )
    alerted = set(tx.execute(query).scalars())
    said = [
        (hashed, talk, item)
        for hashed, talk in talks.items()
        if hashed not in alerted
        for prefix in talk.prefixes
        if (item := as_item(parser, prefix)) is not None and item.text
    ]
    texts = [item.text for *_, item in said]
    utterances = [
        Utterance(i.text, i.channel, i.language, i.rating.scaled if i.rating else None)
        for *_, i in said
    ]
    readings = ws.classifier.read(utterances, opinions(ws, texts), evidence=False)
    customers = customers_of(tx, ws, [item for *_, item in said])
    return [
        Heard(
            spec.name,
            hashed,
            reading,
            Circumstances(channel=item.channel, language=item.language or ""),
            customer,
            item.unit,
            talk.arrived_at,
            now,
        )
        for (hashed, talk, item), several, customer in zip(said, readings, customers, strict=True)
        for reading in several
    ]


def as_item(parser: Parser, record: Mapping[str, Any]) -> FeedbackItem | None:
    """The conversation so far; None while the customer has said nothing that can be read."""
    try:
        item = parser.parse(compact(record))
    except RecordError:
        return None
    return item if isinstance(item, FeedbackItem) else None


def customers_of(tx: Connection, ws: Workspace, items: Sequence[FeedbackItem]) -> list[str | None]:
    """Customers who are known already, by their keys; nobody is made here."""
    people = [ws.hasher.keys(item.customer_keys) for item in items]
    digests = {digest for keys in people for _, digest in keys}
    known = known_keys(tx, digests) if digests else {}
    return [next((known[d] for _, d in keys if d in known), None) for keys in people]


# Ended conversations


def end_conversations(ws: Workspace, spec: SourceSpec, now: datetime) -> Counts:
    """Those whose end was marked, or of whom nothing was heard, become one item each.

    A run that dies in between does it again: the item is known by its key and content.
    """
    total = Counts()
    while rows := over(ws, spec, now):
        one_a_line = replace(spec, format=replace(spec.format, encoding="utf-8"))
        with open_records(one_a_line, BytesIO(b"".join(lines(rows)))) as delivery:
            counts = ingest(ws, one_a_line, delivery, "conversations", now)
        total += replace(counts, read=0)
        retry_conflicts(partial(mark_ended, ws, rows, now))
        if ws.db.dry_run:
            break
    return total


def over(ws: Workspace, spec: SourceSpec, now: datetime) -> Sequence[Any]:
    query = (
        select(CONVERSATIONS)
        .where(CONVERSATIONS.c.source == spec.name)
        .where(CONVERSATIONS.c.ended_at.is_(None), CONVERSATIONS.c.quiet_at <= now)
        .order_by(CONVERSATIONS.c.quiet_at)
        .limit(MOST_ENDED)
    )
    with ws.db.read() as tx:
        return tx.execute(query).all()


def lines(rows: Sequence[Any]) -> Iterator[bytes]:
    for row in rows:
        yield compact(row.record).encode("utf-8", "backslashreplace") + b"\n"


def mark_ended(ws: Workspace, rows: Sequence[Any], now: datetime) -> None:
    """Their words are the feedback's now; one that has gone on meanwhile ends later."""
    with ws.db.begin() as tx:
        for row in rows:
            same = (CONVERSATIONS.c.source == row.source) & (CONVERSATIONS.c.name == row.name)
            tx.execute(
                update(CONVERSATIONS)
                .where(same, CONVERSATIONS.c.segments == row.segments)
                .values(ended_at=now, record=None)
            )


def conversation_is_over(now: datetime) -> Any:
    """A query that finds the source of a conversation that is to end."""
    return select(CONVERSATIONS.c.source).where(
        CONVERSATIONS.c.ended_at.is_(None), CONVERSATIONS.c.quiet_at <= now
    )
