"""The SMTP transport against a real peer that refuses, delays, and drops."""

import asyncio
import logging
import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from email import policy as mail_policies
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP as Server
from aiosmtpd.smtp import AuthResult, Envelope, Session

from notifications.smtp import SmtpTransport
from notifications.transport import (
    Outgoing,
    Receipt,
    SmtpSettings,
    TransportError,
    message_id,
    thread_id,
)
from tests.smtp_double import Relay, free_port, smtp

SECRET = b"a secret of this installation"
SENDER = "客户体验 <cx@bank.example>"
OUTGOING = Outgoing(
    message_id=message_id("ticket:T1:assigned", SECRET, "cx.example"),
    to="epay@bank.example",
    subject="[T261121-7K3Q9FAB] P2 新工单：手机银行登录失败",
    text="您好！\n.\n结尾\n",
    html="<!doctype html><html><body>您好</body></html>",
    at=datetime(2026, 11, 21, 1, 5, tzinfo=UTC),
    thread_id=thread_id("L1", SECRET, "cx.example"),
    number="T261121-7K3Q9FAB",
    unit="epay",
)


@pytest.fixture
def relay() -> Iterator[tuple[Relay, SmtpSettings]]:
    with smtp() as (handler, port):
        yield handler, SmtpSettings("127.0.0.1", port, timeout=2)


def batch(settings: SmtpSettings, *messages: Outgoing, sender: str = SENDER) -> list[Any]:
    """Receipts and errors of one batch over one transport."""

    async def send_all() -> list[Any]:
        transport = SmtpTransport(settings, sender)
        results: list[Any] = []
        for message in messages:
            try:
                results.append(await transport.send(message))
            except TransportError as error:
                results.append(error)
        await transport.close()
        return results

    return asyncio.run(send_all())


def raw(envelope: Envelope) -> bytes:
    assert envelope.original_content is not None
    return envelope.original_content


def to(address: str) -> Outgoing:
    return replace(OUTGOING, to=address)


def test_a_message_arrives_whole(relay: tuple[Relay, SmtpSettings]) -> None:
    handler, settings = relay
    (receipt,) = batch(settings, OUTGOING)
    assert receipt == Receipt("2.0.0 queued as 7F3A")
    (envelope,) = handler.accepted
    assert (envelope.mail_from, envelope.rcpt_tos) == ("cx@bank.example", ["epay@bank.example"])
    mail = message_from_bytes(raw(envelope), policy=mail_policies.default)
    plain, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None
    assert html is not None
    assert mail["Subject"] == OUTGOING.subject
    assert mail["Message-ID"] == OUTGOING.message_id
    assert mail["References"] == mail["In-Reply-To"] == OUTGOING.thread_id
    assert mail["X-Loopwright-Ticket"] == OUTGOING.number
    assert plain.get_content().splitlines() == OUTGOING.text.splitlines()
    assert html.get_content().strip() == OUTGOING.html


def test_every_line_is_short_and_seven_bit(relay: tuple[Relay, SmtpSettings]) -> None:
    handler, settings = relay
    batch(settings, replace(OUTGOING, html="<p>" + "长" * 20_000 + "</p>", text="长" * 5_000))
    content = raw(handler.accepted[0])
    assert content.isascii()
    assert max(map(len, content.split(b"\r\n"))) <= 998


@pytest.mark.parametrize(
    ("address", "code", "permanent"),
    [
        ("full@bank.example", "452", False),
        ("nobody@bank.example", "550", True),
        ("nobody@bank.example, full@bank.example", "452, 550", False),
        ("greylist@bank.example", "451", False),
        ("spam@bank.example", "554", True),
        ("no address at all", "no address", True),
        ("", "no address", True),
    ],
)
def test_refusals(
    relay: tuple[Relay, SmtpSettings], address: str, code: str, permanent: bool
) -> None:
    handler, settings = relay
    (error,) = batch(settings, to(address))
    assert isinstance(error, TransportError)
    assert code in error.reason
    assert error.permanent is permanent
    assert "@" not in error.reason, "reasons end in logs and name no address"
    assert handler.accepted == []


def test_refused_sender_is_permanent(relay: tuple[Relay, SmtpSettings]) -> None:
    (error,) = batch(relay[1], OUTGOING, sender="banned@bank.example")
    assert error.permanent
    assert "@" not in error.reason


def test_partial_refusal_is_sent_once_and_told(relay: tuple[Relay, SmtpSettings]) -> None:
    handler, settings = relay
    (receipt,) = batch(settings, to("epay@bank.example, nobody@bank.example, full@bank.example"))
    assert receipt.refused == (550, 452)
    assert [envelope.rcpt_tos for envelope in handler.accepted] == [["epay@bank.example"]]


def test_one_connection_serves_a_batch_with_refusals(relay: tuple[Relay, SmtpSettings]) -> None:
    handler, settings = relay
    results = batch(
        settings,
        OUTGOING,
        to("nobody@bank.example"),
        to("greylist@bank.example"),
        OUTGOING,
        to("full@bank.example"),
        OUTGOING,
    )
    assert [isinstance(result, Receipt) for result in results] == [
        *(True, False, False),
        *(True, False, True),
    ]
    assert len(handler.accepted) == 3
    assert handler.connections == 1


def test_concurrent_sends_share_the_connection(relay: tuple[Relay, SmtpSettings]) -> None:
    handler, settings = relay

    async def together() -> list[Receipt]:
        transport = SmtpTransport(settings, SENDER)
        receipts = await asyncio.gather(*(transport.send(OUTGOING) for _ in range(8)))
        await transport.close()
        return list(receipts)

    assert len(asyncio.run(together())) == len(handler.accepted) == 8
    assert handler.connections == 1


def test_drop_after_data_is_tried_again_with_the_same_id(
    relay: tuple[Relay, SmtpSettings],
) -> None:
    """Nobody can tell whether it was taken: the duplicate is known by its Message-ID."""
    handler, settings = relay
    handler.drops = 1
    error, receipt = batch(settings, OUTGOING, OUTGOING)
    assert isinstance(error, TransportError)
    assert not error.permanent
    assert isinstance(receipt, Receipt)
    ids = {message_from_bytes(raw(envelope))["Message-ID"] for envelope in handler.accepted}
    assert len(handler.accepted) == 2
    assert ids == {OUTGOING.message_id}


def test_a_slow_relay_times_out_and_the_next_message_gets_a_new_connection(
    relay: tuple[Relay, SmtpSettings],
) -> None:
    handler, settings = relay
    handler.delay = 1.0

    async def slow_then_quick() -> tuple[TransportError, Receipt]:
        transport = SmtpTransport(replace(settings, timeout=0.3), SENDER)
        with pytest.raises(TransportError) as caught:
            await transport.send(OUTGOING)
        handler.delay = 0.0
        receipt = await transport.send(OUTGOING)
        await transport.close()
        return caught.value, receipt

    error, receipt = asyncio.run(slow_then_quick())
    assert "Timeout" in error.reason
    assert not error.permanent
    assert receipt.refused == ()
    assert handler.connections == 2


def test_no_relay_at_all_is_tried_again() -> None:
    (error,) = batch(SmtpSettings("127.0.0.1", free_port(), timeout=1), OUTGOING)
    assert isinstance(error, TransportError)
    assert not error.permanent


def test_starttls_that_the_relay_lacks_sends_nothing(relay: tuple[Relay, SmtpSettings]) -> None:
    handler, settings = relay
    (error,) = batch(replace(settings, starttls=True), OUTGOING)
    assert isinstance(error, TransportError)
    assert not error.permanent
    assert handler.accepted == []


def test_tls_to_a_plain_port_sends_nothing(relay: tuple[Relay, SmtpSettings]) -> None:
    handler, settings = relay
    (error,) = batch(replace(settings, tls=True), OUTGOING)
    assert isinstance(error, TransportError)
    assert not error.permanent
    assert handler.accepted == []


@pytest.fixture
def authority(tmp_path: Any) -> tuple[Any, ssl.SSLContext]:
    """A certificate for 127.0.0.1 that only its own file vouches for."""
    return make_certificate(tmp_path)


def make_certificate(folder: Any) -> tuple[Any, ssl.SSLContext]:
    import ipaddress
    from datetime import timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "relay")])
    today = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    file = folder / "relay.pem"
    file.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    return file, context


def check_password(
    _server: Server, _session: Session, _envelope: Envelope, _mechanism: str, login: Any
) -> AuthResult:
    return AuthResult(success=login.password == b"right", handled=False)


@pytest.mark.parametrize(
    ("password", "trusts", "arrives"),
    [("right", True, True), ("wrong", True, False), ("right", False, False)],
)
def test_starttls_with_login(
    authority: tuple[Any, ssl.SSLContext], password: str, trusts: bool, arrives: bool
) -> None:
    file, context = authority
    handler = Relay()
    controller = Controller(
        handler,
        hostname="127.0.0.1",
        port=free_port(),
        tls_context=context,
        require_starttls=True,
        auth_required=True,
        authenticator=check_password,
    )
    controller.start()
    settings = SmtpSettings(
        "127.0.0.1",
        controller.port,
        username="cx",
        password=password,
        starttls=True,
        ca_file=file if trusts else None,
        timeout=2,
    )
    (result,) = batch(settings, OUTGOING)
    controller.stop()
    assert isinstance(result, Receipt) is arrives
    assert len(handler.accepted) == arrives
    if not arrives:
        assert not result.permanent, "a wrong password is the set-up's fault, not the message's"


def test_nothing_personal_is_logged(
    relay: tuple[Relay, SmtpSettings], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    batch(relay[1], OUTGOING, to("nobody@bank.example"))
    own = [record.getMessage() for record in caplog.records if "mail.log" not in record.name]
    assert not any("@" in line or "登录" in line for line in own)


def test_settings_never_show_the_password() -> None:
    assert "right" not in repr(SmtpSettings(password="right"))
