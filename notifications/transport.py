"""What a way out takes and gives: a message to send, then a receipt or an error."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

ID_LIMIT = 70


@dataclass(frozen=True)
class Outgoing:
    """One message to one unit or person, the same at every attempt.

    `message_id` and `thread_id` come from the functions below, brackets included; `thread_id` is
    the loop's root. `to` may hold several addresses, comma separated. `number` is the ticket or
    loop the reader sees; `unit` the receiving unit's code; `at` (aware) when it was queued.
    """

    message_id: str
    to: str
    subject: str
    text: str
    html: str
    at: datetime
    headers: Mapping[str, str] = field(default_factory=dict)
    thread_id: str | None = None
    number: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Receipt:
    """The message was taken over, which is not yet delivered.

    `reference`: what finds it again (the relay's queue answer, a file's path). `refused`: the
    reply codes of those of several addresses that were turned down while others were accepted;
    they are not tried again, since the others would get a duplicate.
    """

    reference: str
    refused: tuple[int, ...] = ()


class TransportError(Exception):
    """It was not sent. `permanent` means trying again cannot help; `reason` names no address."""

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.permanent = permanent


class Transport(Protocol):
    """A way out. Used in one event loop; `close` ends its connection after a batch."""

    kind: str

    async def send(self, outgoing: Outgoing) -> Receipt:
        """Raises TransportError when the message was not taken over, or nobody can tell."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class SmtpSettings:
    """`tls` from the first byte (465) or `starttls` (587); `ca_file` for a private authority."""

    host: str = "localhost"
    port: int = 25
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    starttls: bool = False
    tls: bool = False
    ca_file: Path | None = None
    timeout: float = 30.0


@dataclass(frozen=True)
class TransportSettings:
    """What the factories in `registry.py` choose from."""

    sender: str = "loopwright@localhost"
    folder: Path = Path(".loopwright/outbox")
    smtp: SmtpSettings = SmtpSettings()


def message_id(key: str, secret: bytes, domain: str) -> str:
    """A Message-ID that is the same at every attempt and cannot be guessed from the key.

    `key` is the outbox row's stable key. Raises ValueError when the whole would pass 70
    characters, from which on mail programs fold it badly.
    """
    digest = hmac.new(secret, f"message:{key}".encode(), hashlib.sha256).hexdigest()[:24]
    return _bracketed(digest, domain)


def thread_id(loop_id: str, secret: bytes, domain: str) -> str:
    """The root id that all messages about one loop refer to."""
    digest = hmac.new(secret, f"thread:{loop_id}".encode(), hashlib.sha256).hexdigest()[:24]
    return _bracketed(digest, domain)


def _bracketed(local: str, domain: str) -> str:
    made = f"<{local}@{domain}>"
    if len(made) > ID_LIMIT:
        raise ValueError(f"mail domain is longer than {ID_LIMIT - len(local) - 3} characters")
    return made
