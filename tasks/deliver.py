"""Messages out of the outbox: claim what is due, render, send, record.

Never lost, at most one recognisable duplicate per crash and way: the claim is committed with its
attempt before anything is sent, the outcome after; a message whose worker died becomes due again at
the end of its lease and carries the same Message-ID.

A message takes one way out: the installation's own, or WeCom. What a department gets both ways is
two rows, so each has its own attempts and its own fate.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, islice
from random import Random
from time import monotonic
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Update, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from loopwright.db import bulk_insert
from loopwright.errors import EnvironmentFault, InputError
from loopwright.history.append import append
from loopwright.history.envelope import SYSTEM, Event, seal
from loopwright.ids import uuid7
from loopwright.log import log
from loopwright.settings import Settings
from models.base import table
from models.issue import Issue
from models.kinds import Channel, EventKind, IssueState, MessageState
from models.message import Delivery, Message
from notifications.context import TO_CUSTOMERS
from notifications.registry import TRANSPORTS, WECOM
from notifications.retry import ATTEMPTS, backoff
from notifications.templates import RenderError, render
from notifications.transport import (
    BundlingTransport,
    Outgoing,
    Receipt,
    SmtpSettings,
    Transport,
    TransportError,
    TransportSettings,
    WecomSettings,
    message_id,
    thread_id,
)
from notifications.wecom_text import robot_key
from policy.message_templates import MessageTemplate
from tasks.address import Recipient, recipient_of, way_out
from tasks.change import NewMessage, message_row
from tasks.message_context import contexts
from tasks.reach import addresses, languages
from tasks.workspace import Workspace, identity_secret

ISSUES = table(Issue)
MESSAGES = table(Message)
DELIVERIES = table(Delivery)

LEASED_MESSAGES = 200
# A worker stops at half of it, and no handful takes long: 30 s until a relay is given up.
LEASE = timedelta(minutes=15)
PATIENCE = 3
"""After so many handfuls without an answer, one after the other, a way out is left alone."""
PAUSE = timedelta(minutes=5)


@dataclass
class DeliveryCounts:
    """What became of the claimed messages: sent, to be tried again, given up."""

    sent: int = 0
    retried: int = 0
    quarantined: int = 0

    def __iadd__(self, other: "DeliveryCounts") -> "DeliveryCounts":
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)
        return self


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


@dataclass(frozen=True, slots=True)
class Letter:
    """A message with what is decided about it before it is written."""

    message: Any
    recipient: Recipient | str
    language: str
    again: bool


Parcel = list[tuple[Any, Outgoing | str]]
"""Messages that go out in one piece, each as it will be sent; or one, with why it cannot be."""


async def deliver_lease(
    ws: Workspace, now: datetime, limit: int = LEASED_MESSAGES
) -> DeliveryCounts | None:
    """Claim and send up to `limit` due messages and their twins; None when nothing is due.

    The ways out work side by side: one that hangs, fails or cannot be used does not stop the other;
    what it raised is raised when both are done.
    """
    token, total = uuid7(), DeliveryCounts()
    claimed = claim(ws, token, now, limit)
    if not claimed:
        return None
    ways: dict[str, Parcel] = {}
    for message, outgoing in zip(claimed, compose(ws, claimed, now), strict=True):
        ways.setdefault(way_out(ws, message.channel), []).append((message, outgoing))
    results = await asyncio.gather(
        *(deliver_by(ws, kind, token, pairs, now) for kind, pairs in ways.items()),
        return_exceptions=True,
    )
    for result in results:
        if isinstance(result, BaseException):
            raise result
        total += result
    return total


async def deliver_by(
    ws: Workspace, kind: str, token: str, pairs: Parcel, now: datetime
) -> DeliveryCounts:
    """Send by one way, each handful recorded before the next.

    What a crash can send twice is that handful, by default one message. When half the lease is over
    or nobody answers any more, the rest waits a little, untried.
    """
    transport, started = open_transport(ws.settings, kind), monotonic()
    parcels = iter(pack(transport, pairs))
    total, silence = DeliveryCounts(), 0
    try:
        while handful := list(islice(parcels, handful_size(ws, transport))):
            sent = list(chain(*await asyncio.gather(*(send(transport, p) for p in handful))))
            total += record(ws, token, sent, kind, now)
            silence = silence + 1 if all(attempt.silent for attempt in sent) else 0
            if silence == PATIENCE or monotonic() - started > LEASE.total_seconds() / 2:
                break
        if rest := [put_off(message) for message, _ in chain(*parcels)]:
            total += record(ws, token, rest, kind, now)
    finally:
        await transport.close()
    return total


def put_off(message: Any) -> Attempt:
    return Attempt(message, error="the way out is slow or silent", retry_after=PAUSE)


def handful_size(ws: Workspace, transport: Transport) -> int:
    """How much may be under way at once: all of it where sending again shows nobody anything."""
    return LEASED_MESSAGES if transport.repeats_safely else ws.settings.messages.concurrency


def open_transport(settings: Settings, kind: str) -> Transport:
    """A way out as it is configured. Raises EnvironmentFault for an unknown one."""
    smtp, wecom = settings.smtp, settings.wecom
    if kind not in TRANSPORTS:
        raise EnvironmentFault(
            f"messages.transport is {kind!r}", f"use one of: {', '.join(sorted(TRANSPORTS))}"
        )
    password = smtp.password.get_secret_value() if smtp.password else None
    return TRANSPORTS[kind](
        TransportSettings(
            sender=smtp.sender,
            folder=settings.messages.folder,
            smtp=SmtpSettings(
                smtp.host,
                smtp.port,
                smtp.username,
                password,
                smtp.starttls,
                smtp.tls,
                smtp.ca_file,
                smtp.timeout,
            ),
            wecom=WecomSettings(
                wecom.base_url,
                {name: key.get_secret_value() for name, key in wecom.robots.items()},
                wecom.timeout,
                settings.language,
            ),
        )
    )


def claim(ws: Workspace, token: str, now: datetime, limit: int) -> Sequence[Any]:
    """Lease due messages by moving their due time to the lease's end; one attempt is counted.

    What goes beside them by WeCom is queued and leased with them.
    """
    with ws.db.begin() as tx:
        ids = list(tx.execute(due(now, limit)).scalars())
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


def due(now: datetime, limit: int) -> Any:
    """The sweep's query; one partial index answers it on both databases."""
    return (
        select(MESSAGES.c.id)
        .where(MESSAGES.c.state == "queued", MESSAGES.c.due_at <= now)
        .order_by(MESSAGES.c.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )


def compose(ws: Workspace, messages: Sequence[Any], now: datetime) -> list[Outgoing | str]:
    """Each message as it will be sent, or the reason why it cannot be."""
    with ws.db.read() as tx:
        letters = address(tx, ws, messages, now)
        about = contexts_of(tx, ws, letters)
    return [outgoing(ws, letter, about[letter.message.id]) for letter in letters]


def address(tx: Connection, ws: Workspace, messages: Sequence[Any], now: datetime) -> list[Letter]:
    """Each message's recipient and language: a customer's own, otherwise the installation's."""
    to_customers = {m.id: m.loop_id for m in messages if m.channel == Channel.CUSTOMER}
    loops = sorted(set(to_customers.values()))
    mailboxes = addresses(tx, ws, loops, now) if loops else {}
    spoken = languages(tx, loops) if loops else {}
    doubtful = maybe_sent(tx, messages)
    return [
        Letter(
            message,
            recipient_of(ws, message, mailboxes),
            spoken.get(to_customers.get(message.id, ""), ws.settings.language),
            message.id in doubtful,
        )
        for message in messages
    ]


def contexts_of(
    tx: Connection, ws: Workspace, letters: Sequence[Letter]
) -> dict[str, dict[str, Any]]:
    """Message id -> what it may say, in its language."""
    about: dict[str, dict[str, Any]] = {}
    for language in {letter.language for letter in letters}:
        mine = [letter.message for letter in letters if letter.language == language]
        found = contexts(tx, ws, mine, language)
        about |= {message.id: context for message, context in zip(mine, found, strict=True)}
    return about


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


def outgoing(ws: Workspace, letter: Letter, context: dict[str, Any]) -> Outgoing | str:
    message, to = letter.message, letter.recipient
    if isinstance(to, str):
        return to
    template = templates(ws).get(message.template)
    if template is None:
        return f"no template {message.template} is published"
    if (message.channel == Channel.CUSTOMER) != (template.id in TO_CUSTOMERS):
        return f"template {template.id} is written for other readers"
    try:
        rendered = render(template, letter.language, context)
    except RenderError as error:
        return str(error)
    secret, domain = identity_secret(ws.settings), ws.published.documents.organisation.mail_domain
    return Outgoing(
        message_id=message_id(message.key, secret, domain),
        to=to.address,
        unit=to.folder,
        subject=rendered.subject,
        text=rendered.text,
        html=rendered.html,
        at=message.created_at,
        headers={"Reply-To": to.reply_to} if to.reply_to else {},
        thread_id=thread_id(message.loop_id, secret, domain) if message.loop_id else None,
        number=message.ticket_id or message.loop_id or "",
        mentions=to.mentions,
        again=letter.again,
    )


def templates(ws: Workspace) -> dict[str, MessageTemplate]:
    return {t.id: t for t in ws.published.documents.templates}


def pack(transport: Transport, pairs: Parcel) -> list[Parcel]:
    """Each message alone, or with those the way out puts it together with."""
    if not isinstance(transport, BundlingTransport):
        return [[pair] for pair in pairs]
    ready = {o.message_id: (m, o) for m, o in pairs if isinstance(o, Outgoing)}
    bundles = transport.bundles([outgoing for _, outgoing in ready.values()])
    parcels: list[Parcel] = [[ready[o.message_id] for o in bundle] for bundle in bundles]
    return parcels + [[pair] for pair in pairs if isinstance(pair[1], str)]


async def send(transport: Transport, parcel: Parcel) -> list[Attempt]:
    (message, outgoing), *_ = parcel
    if isinstance(outgoing, str):
        return [Attempt(message, error=outgoing, permanent=True)]
    if isinstance(transport, BundlingTransport):
        bundle = [outgoing for _, outgoing in parcel if isinstance(outgoing, Outgoing)]
        outcomes = await transport.send_bundle(bundle)
        return [attempted(m, outcome) for (m, _), outcome in zip(parcel, outcomes, strict=True)]
    try:
        return [attempted(message, await transport.send(outgoing))]
    except TransportError as error:
        return [attempted(message, error)]


def attempted(message: Any, outcome: Receipt | TransportError) -> Attempt:
    if isinstance(outcome, Receipt):
        return Attempt(message, outcome.reference)
    return Attempt(
        message,
        None,
        outcome.reason,
        outcome.permanent,
        outcome.unknown,
        outcome.silent,
        outcome.retry_after,
    )


def record(
    ws: Workspace, token: str, attempts: Sequence[Attempt], transport: str, now: datetime
) -> DeliveryCounts:
    """Write the outcomes, fenced by the lease's token, with one history event per final fate."""
    versions = {t.id: t.version for t in ws.published.documents.templates}
    with ws.db.begin() as tx:
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
        append(
            tx,
            [
                seal(event)
                for attempt, row in zip(held, rows, strict=True)
                if (event := told(ws, attempt, row["state"], versions, transport, now))
            ],
        )
    fates = [row["state"] for row in rows]
    counts = DeliveryCounts(
        fates.count(MessageState.SENT),
        fates.count(MessageState.QUEUED),
        fates.count(MessageState.QUARANTINED),
    )
    log.info("lease.delivered", run=ws.run, **vars(counts))
    return counts


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
    return Event(
        uuid7(),
        kind,
        now,
        SYSTEM,
        data,
        run=ws.run,
        template=f"{message.template}@{versions.get(message.template, '-')}",
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


def insert_once(tx: Connection, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Queue messages unless there are some with their keys; the ids of those queued."""
    if not rows:
        return []
    dialect_insert = sqlite_insert if tx.dialect.name == "sqlite" else postgres_insert
    statement = dialect_insert(MESSAGES).values(list(rows))
    fresh = statement.on_conflict_do_nothing(index_elements=["key"])
    return list(tx.execute(fresh.returning(MESSAGES.c.id)).scalars())


def requeue(ws: Workspace, message: str | None, now: datetime) -> int:
    """Queue a quarantined message (all when None) again with fresh attempts; how many."""
    given_up = update(MESSAGES).where(MESSAGES.c.state == MessageState.QUARANTINED)
    if message is not None:
        given_up = given_up.where(MESSAGES.c.id == message)
    with ws.db.begin() as tx:
        # The count goes on, so that each delivery row keeps a number of its own.
        fresh = given_up.values(
            state=MessageState.QUEUED, due_at=now, error=None, spent=MESSAGES.c.attempts
        )
        result = tx.execute(fresh)
        return result.rowcount


async def send_test(ws: Workspace, to: str, now: datetime) -> str:
    """One message outside the outbox. Raises EnvironmentFault when it is not taken over."""
    domain = ws.published.documents.organisation.mail_domain
    words = {"zh": "Loopwright 测试消息", "en": "Loopwright test message"}[ws.settings.language]
    outgoing = Outgoing(
        message_id=message_id(f"test:{uuid7()}", identity_secret(ws.settings), domain),
        to=to,
        subject=words,
        text=words,
        html=f"<p>{words}</p>",
        at=now,
        number="test",
        unit="test",
    )
    transport = open_transport(ws.settings, ws.settings.messages.transport)
    try:
        return (await transport.send(outgoing)).reference
    except TransportError as error:
        raise EnvironmentFault(
            f"the {transport.kind} transport did not take the message: {error.reason}",
            "check the settings under [messages], [smtp] and [wecom]",
        ) from None
    finally:
        await transport.close()


def latest_context(ws: Workspace, template: str, language: str) -> dict[str, Any]:
    """What the newest message of a template says. Raises InputError when there is none yet."""
    query = select(MESSAGES).where(MESSAGES.c.template == template)
    with ws.db.read() as tx:
        message = tx.execute(query.order_by(MESSAGES.c.created_at.desc()).limit(1)).one_or_none()
        if message is None:
            raise InputError(
                f"no message of template {template} exists yet", "run `loopwright demo` for samples"
            )
        return contexts(tx, ws, [message], language)[0]
