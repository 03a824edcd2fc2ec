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
from time import monotonic
from typing import Any

from sqlalchemy import Connection, select

from loopwright.errors import EnvironmentFault, InputError
from loopwright.history.append import append
from loopwright.history.envelope import Actor, Event, Scalar, seal
from loopwright.ids import uuid7
from loopwright.mask import mask
from loopwright.settings import Settings
from models.base import table
from models.kinds import Channel, EventKind
from models.message import Message
from notifications.context import TO_CUSTOMERS
from notifications.registry import TRANSPORTS
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
from policy.message_templates import MessageTemplate
from tasks.approval.documents import approved_templates
from tasks.messages.address import Recipient, recipient_of, way_out
from tasks.messages.context import contexts
from tasks.messages.outbox import LEASE, Attempt, DeliveryCounts, claim, maybe_sent, record
from tasks.verification.reach import addresses, languages
from tasks.workspace import Workspace, identity_secret

MESSAGES = table(Message)

LEASED_MESSAGES = 200
PATIENCE = 3
"""After so many handfuls without an answer, one after the other, a way out is left alone."""
PAUSE = timedelta(minutes=5)


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
    ws: Workspace,
    now: datetime,
    limit: int = LEASED_MESSAGES,
    customers: bool | None = None,
    template: str | None = None,
) -> DeliveryCounts | None:
    """Claim and send up to `limit` due messages and their twins; None when nothing is due.

    `customers`: only those to them, or only the others; None: all. `template`: only its messages.

    The ways out work side by side: one that hangs, fails or cannot be used does not stop the other;
    what it raised is raised when both are done.
    """
    token, total = uuid7(), DeliveryCounts()
    claimed = claim(ws, token, now, limit, customers, template)
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


def compose(ws: Workspace, messages: Sequence[Any], now: datetime) -> list[Outgoing | str]:
    """Each message as it will be sent, or the reason why it cannot be."""
    with ws.db.read() as tx:
        letters = address(tx, ws, messages, now)
        about = contexts_of(tx, ws, letters)
        barred = unapproved(tx, ws, messages)
    return [
        barred.get(letter.message.id) or outgoing(ws, letter, about[letter.message.id])
        for letter in letters
    ]


def unapproved(tx: Connection, ws: Workspace, messages: Sequence[Any]) -> dict[str, str]:
    """Message id -> why it must not be sent: nobody approved what its customer would read. In an
    example organisation nobody need."""
    to_customers = [m for m in messages if m.channel == Channel.CUSTOMER]
    if not to_customers or ws.published.documents.organisation.example:
        return {}
    approved = approved_templates(tx, ws)
    return {
        m.id: f"nobody has approved what template {m.template} says now;"
        f" `loopwright template approve {m.template} --as PERSON`"
        for m in to_customers
        if m.template not in approved
    }


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


async def send_test(ws: Workspace, to: str, actor: Actor, now: datetime) -> str:
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
        receipt = await transport.send(outgoing)
        record_test(ws, transport.kind, None, actor, now)
        return receipt.reference
    except TransportError as error:
        record_test(ws, transport.kind, error.reason, actor, now)
        raise EnvironmentFault(
            f"the {transport.kind} transport did not take the message: {error.reason}",
            "check the settings under [messages], [smtp] and [wecom]",
        ) from None
    finally:
        await transport.close()


def record_test(
    ws: Workspace, transport: str, refusal: str | None, actor: Actor, now: datetime
) -> None:
    """That it was tried and how it went; the address is nobody's business but theirs."""
    data: dict[str, Scalar] = {"transport": transport, "accepted": refusal is None}
    if refusal is not None:
        data["reason"] = mask(refusal)
    with ws.db.begin() as tx:
        event = Event(uuid7(), EventKind.MESSAGE_TESTED, now, actor, data, run=ws.run)
        append(tx, [seal(event)])


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
