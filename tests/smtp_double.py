"""A mail relay on loopback: what it answers depends on the address, as with real ones."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP as Server
from aiosmtpd.smtp import Envelope, Session


class Relay:
    """A peer whose answers depend on the address, as real relays' do."""

    def __init__(self) -> None:
        self.accepted: list[Envelope] = []
        self.times: list[float] = []
        self.connections = 0
        self.drops = 0
        self.delay = 0.0
        self.says = "250 2.0.0 queued as 7F3A"

    async def handle_EHLO(
        self,
        server: Server,
        session: Session,
        envelope: Envelope,
        hostname: str,
        responses: list[str],
    ) -> list[str]:
        self.connections += 1
        session.host_name = hostname
        return responses

    async def handle_MAIL(
        self, server: Server, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("banned"):
            return "550 5.7.1 sender banned@bank.example refused"
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(
        self, server: Server, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("full"):
            return f"452 4.2.2 mailbox of {address} is full"
        if address.startswith("nobody"):
            return f"550 5.1.1 {address} does not exist"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Server, session: Session, envelope: Envelope) -> str:
        await asyncio.sleep(self.delay)
        if envelope.rcpt_tos[0].startswith("spam"):
            return "554 5.7.1 content refused"
        if envelope.rcpt_tos[0].startswith("greylist"):
            return "451 4.7.1 try later"
        self.accepted.append(envelope)
        self.times.append(time.monotonic())
        if self.drops:
            self.drops -= 1
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
        return self.says


@contextmanager
def smtp() -> Iterator[tuple[Relay, int]]:
    """A running relay and its port."""
    handler = Relay()
    controller = Controller(handler, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        yield handler, controller.port
    finally:
        controller.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
