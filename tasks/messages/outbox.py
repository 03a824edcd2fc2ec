"""The outbox's rows: which messages are due, whose turn it is, and what became of each.

A claim moves a message's due time to the end of its lease, so that a worker that dies leaves
nothing to clean up; the outcome is fenced by the lease's token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Any

from sqlalchemy import Connection, Update, bindparam, select, update
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from loopwright.db import bulk_insert, retry_conflicts
from loopwright.history.append import append
from loopwright.history.envelope import SYSTEM, Actor, Event, seal
from loopwright.ids import uuid7
from loopwright.log import log
from loopwright.mask import mask
from models.base import table
from models.kinds import Channel, EventKind, MessageState
from models.message import Delivery, Message
from notifications.registry import WECOM
from notifications.retry import ATTEMPTS, backoff
from notifications.wecom_text import robot_key
from tasks.approval.documents import approved_templates
from tasks.change import change
from tasks.messages.address import way_out
from tasks.settle import stamped
from tasks.tally import Tally
from tasks.verification.tell import told_by_messages
from tasks.workspace import Workspace

MESSAGES = table(Message)
DELIVERIES = table(Delivery)

# A worker stops at half of it, and no handful takes long: 30 s until a relay is given up.
LEASE = timedelta(minutes=15)
SET = 1_000
"""Messages, and so events, that are queued again in one transaction."""


@dataclass
class DeliveryCounts(Tally):
    """What became of the claimed messages: sent, to be tried again, given up."""

    sent: int = 0
    retried: int = 0
    quarantined: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """A claimed message and what came of sending it; `error` None means accepted."""

    message: Any
    reference: str | None = None
    error: str | None = None
    permanent: bool = False
    unknown: bool = False
    silent: bool = False
    retry_after: timedelta | None = None


def claim(
    ws: Workspace,
    token: str,
    now: datetime,
    limit: int,
    customers: bool | None = None,
    template: str | None = None,
) -> Sequence[Any]:
    """Lease due messages by moving their due time to the lease's end; one attempt is counted.

    What goes beside them by WeCom is queued and leased with them.
    """
    with ws.db.begin() as tx:
        ids = list(tx.execute(due(now, limit, customers, template)).scalars())
        if not ids:
            return []
        ids += queue_beside(tx, ws, ids, now)
        tx.execute(
            update(MESSAGES)
            .where(MESSAGES.c.id.in_(ids))
            .values(lease_token=token, due_at=now + LEASE, attempts=MESSAGES.c.attempts + 1)
        )
        query = select(MESSAGES).where(MESSAGES.c.id.in_(ids)).order_by(MESSAGES.c.id)
        messages = tx.execute(query).all()
        bulk_insert(
            tx,
            DELIVERIES,
            [
                {
                    "message_id": m.id,
                    "attempt": m.attempts,
                    "outcome": "sending",
                    "started_at": now,
                    "transport": way_out(ws, m.channel),
                }
                for m in messages
            ],
        )
    return messages


def due(
    now: datetime, limit: int, customers: bool | None = None, template: str | None = None
) -> Any:
    """The sweep's query; one partial index answers it on both databases.

    `customers`: only messages to them, or only the others. `template`: only its messages.
    """
    query = select(MESSAGES.c.id).where(MESSAGES.c.state == "queued", MESSAGES.c.due_at <= now)
    if customers is not None:
        query = query.where((MESSAGES.c.channel == Channel.CUSTOMER) == customers)
    if template is not None:
        query = query.where(MESSAGES.c.template == template)
    return query.order_by(MESSAGES.c.due_at).limit(limit).with_for_update(skip_locked=True)


def queue_beside(tx: Connection, ws: Workspace, ids: Sequence[str], now: datetime) -> list[str]:
    """Queue WeCom's twin of each message that a unit with a robot of its own gets for the first
    time; the twins' ids. What is for one person, or a customer, is for no group."""
    units = units_beside(ws)
    if not units:
        return []
    query = select(MESSAGES).where(
        MESSAGES.c.id.in_(ids),
        MESSAGES.c.attempts == 0,
        MESSAGES.c.channel == Channel.MAIN,
        MESSAGES.c.person.is_(None),
        MESSAGES.c.unit.in_(units),
    )
    return insert_once(tx, [twin(message, now) for message in tx.execute(query)])


def units_beside(ws: Workspace) -> list[str]:
    """Codes of the units that get by WeCom what they get by mail or file."""
    keys = {robot_key(name) for name in ws.settings.wecom.robots}
    anyway = ws.settings.messages.transport == WECOM
    if anyway or not keys or not ws.settings.wecom.beside:
        return []
    units = ws.published.documents.organisation.units
    return [u.code for u in units if u.contact.wecom and robot_key(u.contact.wecom) in keys]


def twin(message: Any, now: datetime) -> dict[str, Any]:
    changed = {"id": uuid7(), "key": f"{message.key}:wecom", "channel": Channel.WECOM}
    return dict(message._mapping) | changed | {"due_at": now}


def insert_once(tx: Connection, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Queue messages unless there are some with their keys; the ids of those queued."""
    if not rows:
        return []
    dialect_insert = sqlite_insert if tx.dialect.name == "sqlite" else postgres_insert
    statement = dialect_insert(MESSAGES).values(list(rows))
    fresh = statement.on_conflict_do_nothing(index_elements=["key"])
    return list(tx.execute(fresh.returning(MESSAGES.c.id)).scalars())


def maybe_sent(tx: Connection, messages: Sequence[Any]) -> set[str]:
    """Ids of messages of which an earlier attempt may have arrived: it died, or no answer came."""
    retried = [message.id for message in messages if message.attempts > 1]
    if not retried:
        return set()
    same = DELIVERIES.c.message_id == MESSAGES.c.id
    earlier = DELIVERIES.c.attempt < MESSAGES.c.attempts
    in_doubt = DELIVERIES.c.outcome.in_(("sending", "unknown"))
    query = select(MESSAGES.c.id).join(DELIVERIES, same & earlier & in_doubt)
    return set(tx.execute(query.where(MESSAGES.c.id.in_(retried))).scalars())


def record(
    ws: Workspace, token: str, attempts: Sequence[Attempt], transport: str, now: datetime
) -> DeliveryCounts:
    """Write the outcomes, fenced by the lease's token, with one history event per final fate; who
    was told something by them, was told it in the same transaction."""
    versions = {t.id: t.version for t in ws.published.documents.templates}
    with ws.db.begin() as tx:
        approvals = approvals_of(tx, ws, attempts)
        held = still_held(tx, token, attempts)
        rows = [outcome(attempt, token, now) for attempt in held]
        if rows:
            tx.execute(update_fates(), rows)
        tx.execute(
            update(DELIVERIES)
            .where(
                DELIVERIES.c.message_id == bindparam("b_id"),
                DELIVERIES.c.attempt == bindparam("b_attempt"),
            )
            .values(
                {n: bindparam(n) for n in ("outcome", "reference", "template_version", "ended_at")}
            ),
            [delivery(attempt, versions, now) for attempt in attempts],
        )
        final = [
            event
            for attempt, row in zip(held, rows, strict=True)
            if (event := told(ws, attempt, row["state"], versions, approvals, transport, now))
        ]
        fates = [row["state"] for row in rows]
        sent = [a.message for a, f in zip(held, fates, strict=True) if f == MessageState.SENT]
        change(tx, stamped(ws, told_by_messages(tx, sent)), now, final)
    counts = DeliveryCounts(
        fates.count(MessageState.SENT),
        fates.count(MessageState.QUEUED),
        fates.count(MessageState.QUARANTINED),
    )
    log.info("lease.delivered", run=ws.run, **vars(counts))
    return counts


def approvals_of(tx: Connection, ws: Workspace, attempts: Sequence[Attempt]) -> dict[str, str]:
    """Template -> its approval, when any of these went to a customer."""
    to_customers = any(attempt.message.channel == Channel.CUSTOMER for attempt in attempts)
    return approved_templates(tx, ws) if to_customers else {}


def still_held(tx: Connection, token: str, attempts: Sequence[Attempt]) -> list[Attempt]:
    """The attempts whose lease nobody took over; the fate of the others is not ours to write."""
    ids = [attempt.message.id for attempt in attempts]
    mine = MESSAGES.c.id.in_(ids) & (MESSAGES.c.lease_token == token)
    query = select(MESSAGES.c.id).where(mine).order_by(MESSAGES.c.id).with_for_update()
    held = set(tx.execute(query).scalars())
    return [attempt for attempt in attempts if attempt.message.id in held]


def update_fates() -> Update:
    same = (MESSAGES.c.id == bindparam("b_id")) & (MESSAGES.c.lease_token == bindparam("b_token"))
    fates: dict[str, Any] = {
        n: bindparam(n) for n in ("state", "due_at", "error", "sent_at", "spent")
    }
    return update(MESSAGES).where(same).values(fates)


def outcome(attempt: Attempt, token: str, now: datetime) -> dict[str, Any]:
    message, error = attempt.message, attempt.error
    state, due_at, spent = MessageState.SENT, now, message.spent
    if attempt.retry_after is not None:
        state, due_at, spent = MessageState.QUEUED, now + attempt.retry_after, spent + 1
    elif error is not None:
        tried = message.attempts - message.spent
        given_up = attempt.permanent or tried >= ATTEMPTS
        state = MessageState.QUARANTINED if given_up else MessageState.QUEUED
        # Seeded by the message, so that a rerun of the same attempt waits equally long.
        due_at = now + backoff(
            message.attempts - message.spent, Random(f"{message.id}:{message.attempts}").random
        )
    return {
        "b_id": message.id,
        "b_token": token,
        "state": state,
        "due_at": due_at,
        "error": error,
        "sent_at": now if error is None else None,
        "spent": spent,
    }


def delivery(attempt: Attempt, versions: dict[str, str], now: datetime) -> dict[str, Any]:
    return {
        "b_id": attempt.message.id,
        "b_attempt": attempt.message.attempts,
        "outcome": fate(attempt),
        "reference": attempt.reference,
        "template_version": versions.get(attempt.message.template),
        "ended_at": now,
    }


def fate(attempt: Attempt) -> str:
    """What the delivery row says; `unknown`: it may have arrived."""
    if attempt.error is None:
        return "accepted"
    if attempt.retry_after is not None:
        return "postponed"
    if attempt.unknown:
        return "unknown"
    return "refused" if attempt.permanent else "failed"


def told(
    ws: Workspace,
    attempt: Attempt,
    state: MessageState,
    versions: dict[str, str],
    approvals: dict[str, str],
    transport: str,
    now: datetime,
) -> Event | None:
    """The history of a message's final fate: ids and versions, never words or addresses."""
    if state == MessageState.QUEUED:
        return None
    message = attempt.message
    kind = EventKind.MESSAGE_SENT if state == MessageState.SENT else EventKind.MESSAGE_QUARANTINED
    data = {
        "message": message.id,
        "key": message.key,
        "template": message.template,
        "unit": message.unit,
        "loop": message.loop_id,
        "ticket": message.ticket_id,
        "attempts": message.attempts,
        "transport": transport,
    }
    if approval := approvals.get(message.template):
        data["approval"] = approval
    if attempt.error is not None:
        # It names no address; masked all the same, since it can never be taken back.
        data["reason"] = mask(attempt.error)
    return Event(
        uuid7(),
        kind,
        now,
        SYSTEM,
        data,
        run=ws.run,
        template=f"{message.template}@{versions.get(message.template, '-')}",
    )


def requeue(ws: Workspace, message: str | None, actor: Actor, now: datetime) -> int:
    """Queue a quarantined message (all when None) again with fresh attempts; how many."""
    total, after = 0, ""
    while given_up := retry_conflicts(partial(requeue_some, ws, message, after, actor, now)):
        total, after = total + len(given_up), given_up[-1]
    return total


def requeue_some(
    ws: Workspace, message: str | None, after: str, actor: Actor, now: datetime
) -> list[str]:
    """A set of those behind `after`, one transaction with an event for each; their ids."""
    given_up = select(MESSAGES).where(
        MESSAGES.c.state == MessageState.QUARANTINED, MESSAGES.c.id > after
    )
    if message is not None:
        given_up = given_up.where(MESSAGES.c.id == message)
    with ws.db.begin() as tx:
        found = tx.execute(given_up.order_by(MESSAGES.c.id).limit(SET).with_for_update()).all()
        ids = [row.id for row in found]
        # The count goes on, so that each delivery row keeps a number of its own.
        tx.execute(
            update(MESSAGES)
            .where(MESSAGES.c.id.in_(ids))
            .values(state=MessageState.QUEUED, due_at=now, error=None, spent=MESSAGES.c.attempts)
        )
        append(tx, [seal(requeued(ws, row, actor, now)) for row in found])
    return ids


def requeued(ws: Workspace, message: Any, actor: Actor, now: datetime) -> Event:
    data = {
        "message": message.id,
        "key": message.key,
        "template": message.template,
        "unit": message.unit,
        "loop": message.loop_id,
        "ticket": message.ticket_id,
        "attempts": message.attempts,
    }
    return Event(uuid7(), EventKind.MESSAGE_REQUEUED, now, actor, data, run=ws.run)
