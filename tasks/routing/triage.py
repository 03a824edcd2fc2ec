"""Feedback into loops: claim a batch, read it, decide, and open, join or reopen in sets.

Reading and routing are pure and happen outside any transaction. Each piece of a batch is one
transaction: what is already known of its customers is read, relations are decided, issues, loops,
tickets, history and messages are written, and the batch's position moves on.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, func, select, update

from loopwright.db import bulk_insert, retry_conflicts
from loopwright.errors import LoopwrightError
from loopwright.history import tree
from loopwright.history.append import append
from loopwright.history.envelope import SYSTEM, Event, Scalar, seal
from loopwright.ids import uuid7, uuid7s
from loopwright.log import log
from models.base import table
from models.feedback import Batch, Feedback
from models.issue import Issue
from models.kinds import EventKind, IssueState
from policy.classify import Opinion, Reading, Utterance
from policy.route import Circumstances
from tasks.change import NewMessage, change, message_row
from tasks.messages.outbox import insert_once
from tasks.routing.known import Found
from tasks.routing.open_loops import Opening, open_loops
from tasks.routing.red_channel import Heard, alarms, link_loops, named, raise_alerts
from tasks.tally import Tally
from tasks.workspace import Workspace, drop_garbage

ISSUES = table(Issue)
FEEDBACK = table(Feedback)
BATCHES = table(Batch)

LEASE = timedelta(minutes=10)
LEASED_RECORDS = 25_000
PIECE_OPENING = 300
"""Issues that may open loops in one transaction: each makes up to three events."""
PIECE = 5_000
MAX_ATTEMPTS = 8
RECENT = timedelta(days=7)
"""Older words, such as those of a first import, are too late for the red channel."""
# Few enough that a second worker finds batches that are not being looked at.
MOST_BATCHES = 10


@dataclass
class TriageCounts(Tally):
    """What became of feedback: its issues by fate, and the loops touched."""

    feedback: int = 0
    issues: int = 0
    noted: int = 0
    waiting: int = 0
    opened: int = 0
    joined: int = 0
    reopened: int = 0
    big: int = 0


@dataclass(frozen=True, slots=True)
class Claimed:
    """A batch under this worker's lease."""

    id: str
    token: str
    position: int
    size: int


@dataclass(slots=True)
class Piece:
    """Consecutive feedback of a batch with their readings: the work of one transaction."""

    rows: list[Any] = field(default_factory=list)
    readings: list[tuple[Reading, ...]] = field(default_factory=list)

    @property
    def upto(self) -> int:
        return int(self.rows[-1].ordinal) + 1

    def issues(self) -> list[Found]:
        """Every issue of the piece, with a fresh id."""
        ids = iter(uuid7s(sum(map(len, self.readings))))
        return [
            Found(next(ids), row, reading, ordinal)
            for row, readings in zip(self.rows, self.readings, strict=True)
            for ordinal, reading in enumerate(readings)
        ]


class LeaseLost(LoopwrightError):
    """Another worker has taken the batch over; what it decides holds."""


def triage_lease(
    ws: Workspace, now: datetime, records: int = LEASED_RECORDS
) -> TriageCounts | None:
    """Claim and work off up to `records` waiting feedback; None when nothing waits."""
    batches = claim(ws, now, records)
    if not batches:
        return None
    total = TriageCounts()
    for batch in batches:
        total += triage_batch(ws, batch, now)
    log.info("lease.triaged", run=ws.run, **vars(total))
    return total


def claim(ws: Workspace, now: datetime, records: int) -> list[Claimed]:
    """Lease waiting batches, oldest first; those that every attempt died on are given up."""
    waiting = (
        select(BATCHES.c.id, BATCHES.c.size, BATCHES.c.position)
        .where(
            BATCHES.c.done_at.is_(None),
            BATCHES.c.lease_until <= now,
            BATCHES.c.attempts < MAX_ATTEMPTS,
        )
        .order_by(BATCHES.c.lease_until, BATCHES.c.id)
        .limit(MOST_BATCHES)
        .with_for_update(skip_locked=True)
    )
    token = uuid7()
    with ws.db.begin() as tx:
        give_up(tx, ws, now)
        chosen: list[Claimed] = []
        for row in tx.execute(waiting):
            if chosen and sum(c.size - c.position for c in chosen) + row.size > records:
                break
            chosen.append(Claimed(row.id, token, row.position, row.size))
        if chosen:
            tx.execute(
                update(BATCHES)
                .where(BATCHES.c.id.in_([c.id for c in chosen]))
                .values(lease_token=token, lease_until=now + LEASE)
            )
    return chosen


def give_up(tx: Connection, ws: Workspace, now: datetime) -> None:
    """Say it of batches whose last attempt did not come back either, once each: the history,
    operations, and the log."""
    lost = (
        select(BATCHES)
        .where(
            BATCHES.c.done_at.is_(None),
            BATCHES.c.lease_until <= now,
            BATCHES.c.attempts == MAX_ATTEMPTS,
        )
        .with_for_update(skip_locked=True)
    )
    batches = tx.execute(lost.order_by(BATCHES.c.id)).all()
    if not batches:
        return
    # One more than there can be: given up, and said so.
    beyond = update(BATCHES).where(BATCHES.c.id.in_([batch.id for batch in batches]))
    tx.execute(beyond.values(attempts=MAX_ATTEMPTS + 1))
    append(tx, [seal(given_up(ws, batch, now)) for batch in batches])
    operations = ws.published.documents.organisation.operations
    insert_once(tx, [warning(batch, operations, now) for batch in batches])
    for batch in batches:
        log.error("batch.given_up", batch=batch.id, source=batch.source, run=ws.run)


def given_up(ws: Workspace, batch: Any, now: datetime) -> Event:
    kind, data = EventKind.FEEDBACK_GIVEN_UP, left_of(batch)
    return Event(uuid7(), kind, now, SYSTEM, data, run=ws.run, policy=ws.policy_version)


def warning(batch: Any, operations: str, now: datetime) -> dict[str, Any]:
    word = NewMessage(f"triage_stuck:{batch.id}", "triage_stuck", operations, values=left_of(batch))
    return {"id": uuid7()} | message_row(word, None, now)


def left_of(batch: Any) -> dict[str, Scalar]:
    return {
        "batch": batch.id,
        "source": batch.source,
        "first": batch.position,
        "feedback": batch.size - batch.position,
        "attempts": batch.attempts,
    }


def triage_batch(ws: Workspace, batch: Claimed, now: datetime) -> TriageCounts:
    count_attempt(ws, batch)
    rows = feedback_of(ws, batch)
    readings = read(ws, rows)
    total = TriageCounts()
    for piece in pieces(ws, rows, readings):
        try:
            total += retry_conflicts(partial(settle, ws, batch, piece, now))
        except LeaseLost:
            break
    drop_garbage()
    return total


def count_attempt(ws: Workspace, batch: Claimed) -> None:
    """Before the work begins, so that a batch that kills its worker is seen to do so, and not
    those that were leased with it."""
    mine = (BATCHES.c.id == batch.id) & (BATCHES.c.lease_token == batch.token)
    with ws.db.begin() as tx:
        tx.execute(update(BATCHES).where(mine).values(attempts=BATCHES.c.attempts + 1))


def feedback_of(ws: Workspace, batch: Claimed) -> Sequence[Any]:
    query = (
        select(FEEDBACK)
        .where(FEEDBACK.c.batch_id == batch.id, FEEDBACK.c.ordinal >= batch.position)
        .order_by(FEEDBACK.c.ordinal)
    )
    with ws.db.read() as tx:
        return tx.execute(query).all()


def read(ws: Workspace, rows: Sequence[Any]) -> list[tuple[Reading, ...]]:
    """Classify a whole batch at once."""
    texts = [row.text for row in rows]
    utterances = [Utterance(r.text, r.channel, r.language, r.rating) for r in rows]
    return ws.classifier.read(utterances, opinions(ws, texts))


def opinions(ws: Workspace, texts: Sequence[str]) -> list[tuple[Opinion, ...]] | None:
    if ws.model is None:
        return None
    indices, confidences = ws.model.predict(texts)
    labels, name = ws.model.labels, f"model:{ws.model.version[:12]}"
    return [
        (Opinion(labels[i], c, name),)
        for i, c in zip(indices.tolist(), confidences.tolist(), strict=True)
    ]


def pieces(
    ws: Workspace, rows: Sequence[Any], readings: Sequence[tuple[Reading, ...]]
) -> Iterator[Piece]:
    """Cut a batch so that no transaction makes more than about a thousand events."""
    opens = set(ws.published.documents.rulebook.opens)
    piece, opening = Piece(), 0
    for row, found in zip(rows, readings, strict=True):
        may_open = sum(r.kind in opens and not r.abstained for r in found)
        if piece.rows and (opening + may_open > PIECE_OPENING or len(piece.rows) >= PIECE):
            yield piece
            piece, opening = Piece(), 0
        piece.rows.append(row)
        piece.readings.append(found)
        opening += may_open
    if piece.rows:
        yield piece


def settle(ws: Workspace, batch: Claimed, piece: Piece, now: datetime) -> TriageCounts:
    """One piece, one transaction."""
    with ws.db.begin() as tx:
        advance(tx, batch, piece.upto, now)
        found = piece.issues()
        opening = open_loops(tx, ws, found, now)
        bulk_insert(tx, ISSUES, [issue_row(ws, f, opening) for f in found])
        red = named(tx, ws, alarms(tx, ws, heard(ws, found, opening, now)))
        alerts = raise_alerts(tx, ws, red, now)
        event = triaged(ws, batch, piece, found, opening, now)
        change(tx, opening.changes, now, [event, *alerts])
        link_loops(tx, red)
        opening.propose_merges(tx, now)
    return counts_of(piece, found, opening)


def heard(
    ws: Workspace, found: Iterable[Found], opening: Opening, now: datetime
) -> Iterator[Heard]:
    """Every issue that is recent enough to be a matter of minutes, as the red rules ask for it."""
    loops: dict[str, str] = {}
    for one in opening.changes:
        if "issue" in one.data:
            loops.setdefault(str(one.data["issue"]), one.loop)
    for issue in found:
        row, spec = issue.row, ws.sources.get(issue.row.source)
        late = timedelta(days=spec.expected_days_late if spec else 0)
        if now - row.received_at <= RECENT + late:
            known = Circumstances(row.channel, row.source, row.language or "", row.rating)
            yield Heard(
                row.source,
                "",
                issue.reading,
                known,
                row.customer_id,
                row.unit,
                row.arrived_at,
                row.received_at,
                row.id,
                loops.get(issue.issue_id),
            )


def advance(tx: Connection, batch: Claimed, upto: int, now: datetime) -> None:
    """Move the batch on under its lease; done at its end. Raises LeaseLost."""
    done = now if upto >= batch.size else None
    moved = tx.execute(
        update(BATCHES)
        .where(BATCHES.c.id == batch.id, BATCHES.c.lease_token == batch.token)
        .values(position=upto, done_at=done, attempts=0)
    )
    if moved.rowcount != 1:
        raise LeaseLost("the batch was taken over by another worker")


def issue_row(ws: Workspace, found: Found, opening: Opening) -> dict[str, Any]:
    reading, state = found.reading, opening.states[found.issue_id]
    hours = ws.published.documents.rulebook.triage_hours
    return {
        "id": found.issue_id,
        "feedback_id": found.row.id,
        "ordinal": found.ordinal,
        "state": state,
        "kind": reading.kind,
        "topic": reading.topic,
        "touchpoint": reading.touchpoint,
        "sentiment": reading.sentiment,
        "emotion": reading.emotion,
        "severity": reading.severity,
        "confidence": reading.confidence,
        "signals": reading.signals or None,
        "evidence": [[e.about, e.words, e.by] for e in reading.evidence] or None,
        "reason": opening.reasons.get(found.issue_id) or reading.reason or None,
        "rule": opening.rules.get(found.issue_id),
        "policy": ws.policy_version,
        "due_at": found.row.received_at + timedelta(hours=hours)
        if state == IssueState.TRIAGE
        else None,
    }


def triaged(
    ws: Workspace,
    batch: Claimed,
    piece: Piece,
    found: Sequence[Found],
    opening: Opening,
    now: datetime,
) -> Event:
    """One event for all decisions of a piece: counts, and a tree root over each decision."""
    leaves = (
        tree.leaf_hash(
            leaf(
                f.row.id,
                f.ordinal,
                f.reading.kind,
                f.reading.topic,
                opening.states[f.issue_id],
                opening.rules.get(f.issue_id),
            )
        )
        for f in found
    )
    fates = Counter(opening.states.values())
    data: dict[str, Scalar] = {
        "batch": batch.id,
        "first": int(piece.rows[0].ordinal),
        "feedback": len(piece.rows),
        "issues": len(found),
        "noted": fates[IssueState.NOTED],
        "waiting": fates[IssueState.TRIAGE],
        "looped": fates[IssueState.LOOPED],
        "root": tree.root(tree.extend([], 0, leaves)).hex(),
    }
    return Event(
        uuid7(), EventKind.FEEDBACK_TRIAGED, now, SYSTEM, data, run=ws.run, policy=ws.policy_version
    )


def leaf(
    feedback: str, ordinal: int, kind: str, topic: str | None, state: str, rule: str | None
) -> bytes:
    """What of one issue's decision stands in the root."""
    return f"{feedback}|{ordinal}|{kind}|{topic}|{state}|{rule}".encode()


def counts_of(piece: Piece, found: Sequence[Found], opening: Opening) -> TriageCounts:
    fates = Counter(opening.states.values())
    return TriageCounts(
        feedback=len(piece.rows),
        issues=len(found),
        noted=fates[IssueState.NOTED],
        waiting=fates[IssueState.TRIAGE],
        opened=opening.acts["open"],
        joined=opening.acts["join"],
        reopened=opening.acts["reopen"],
        big=opening.acts["big"],
    )


def remind_triage(ws: Workspace, now: datetime) -> bool:
    """Tell operations, once per local day, that issues wait for a person."""
    organisation = ws.published.documents.organisation
    with ws.db.begin() as tx:
        waiting = tx.execute(
            select(func.count()).select_from(ISSUES).where(ISSUES.c.state == IssueState.TRIAGE)
        ).scalar_one()
        if not waiting:
            return False
        day = now.astimezone(ZoneInfo(organisation.zone)).date()
        reminder = NewMessage(f"triage_waiting:{day}", "triage_waiting", organisation.operations)
        return bool(insert_once(tx, [{"id": uuid7()} | message_row(reminder, None, now)]))
