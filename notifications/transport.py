"""What a way out takes and gives: a message to send, then a receipt or an error."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol, runtime_checkable

ID_LIMIT = 70


@dataclass(frozen=True)
class Outgoing:
    """One message to one unit or person, the same at every attempt.

    `message_id` and `thread_id` come from the functions below, brackets included; `thread_id` is
    the loop's root. `to` may hold several addresses, comma separated. `number` is the ticket or
    loop the reader sees; `unit` whose it is: a unit's code, a person's id, or `customers`; `at`
    (aware) when it was queued. `mentions`: userids to call, where the way out can.
    `again`, the one thing that differs: an earlier attempt may have arrived. Ways out whose
    messages carry no id of their own say so to the reader.
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
    mentions: tuple[str, ...] = ()
    again: bool = field(default=False, compare=False)


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
    """It was not sent. `permanent` means trying again cannot help; `reason` names no address.

    `unknown`: it may have been sent all the same. `silent`: nobody answers, so other messages would
    hardly fare better. `retry_after`: the way out has no room before then; no attempt is counted,
    since the message was not looked at.
    """

    def __init__(
        self,
        reason: str,
        *,
        permanent: bool = False,
        unknown: bool = False,
        silent: bool = False,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.permanent = permanent
        self.unknown = unknown
        self.silent = silent
        self.retry_after = retry_after


class Transport(Protocol):
    """A way out. Used in one event loop; `close` ends its connection after a batch."""

    kind: str
    repeats_safely: bool
    """Whether sending the same message again is not seen by anybody."""

    async def send(self, outgoing: Outgoing) -> Receipt:
        """Raises TransportError when the message was not taken over, or nobody can tell."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class BundlingTransport(Transport, Protocol):
    """A way out that can put several messages into one."""

    def bundles(self, messages: Sequence[Outgoing]) -> list[list[Outgoing]]:
        """The messages in groups that go out in one piece each."""
        ...

    async def send_bundle(self, bundle: Sequence[Outgoing]) -> list[Receipt | TransportError]:
        """What came of each message of one group, in its order."""
        ...


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
class WecomSettings:
    """`robots`: a group robot's name as contacts give it -> its key, which is its only secret."""

    base_url: str = "https://qyapi.weixin.qq.com"
    robots: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 10.0
    language: str = "zh"


@dataclass(frozen=True)
class TransportSettings:
    """What the factories in `registry.py` choose from."""

    sender: str = "loopwright@localhost"
    folder: Path = Path(".loopwright/outbox")
    smtp: SmtpSettings = SmtpSettings()
    wecom: WecomSettings = WecomSettings()


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
