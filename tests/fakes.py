"""Stand-ins for what lies outside: a way out that keeps what it is given."""

from collections.abc import Mapping

import pytest

from notifications.registry import TRANSPORTS
from notifications.transport import Outgoing, Receipt, TransportError


class FakeTransport:
    """Keeps every message in `sent`; `faults` maps an address to the error it answers with."""

    kind = "fake"
    repeats_safely = False

    def __init__(self, faults: Mapping[str, TransportError] | None = None) -> None:
        self.faults = dict(faults or {})
        self.sent: list[Outgoing] = []
        self.tried = 0
        self.closed = 0

    async def send(self, outgoing: Outgoing) -> Receipt:
        self.tried += 1
        if fault := self.faults.get(outgoing.to):
            raise fault
        self.sent.append(outgoing)
        return Receipt(f"queued-{len(self.sent)}")

    async def close(self) -> None:
        self.closed += 1


def plug_in(monkeypatch: pytest.MonkeyPatch, transport: FakeTransport) -> FakeTransport:
    """Let the registry know the fake, as it would know a new way out."""
    monkeypatch.setitem(TRANSPORTS, "fake", lambda _settings: transport)
    return transport
