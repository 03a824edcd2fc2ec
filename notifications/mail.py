"""An outgoing message as an e-mail: headers that thread and never answer back, text and HTML."""

from email import headerregistry, policy
from email._header_value_parser import get_unstructured
from email.message import EmailMessage
from email.utils import getaddresses
from functools import cache, lru_cache
from typing import Any, ClassVar

from notifications.transport import Outgoing, TransportError

OWN_HEADERS = {
    "Auto-Submitted": "auto-generated",
    "X-Auto-Response-Suppress": "OOF, AutoReply",
}


class RawTokens:
    """Header of ids or addresses in angle brackets, folded between and never inside them.

    The standard policy writes a token of 78 characters or more as an encoded word, which breaks
    threading (measured; see reference on e-mail).
    """

    max_count: ClassVar[int] = 1

    @classmethod
    def parse(cls, value: str, kwds: dict[str, Any]) -> None:
        kwds["parse_tree"], kwds["decoded"] = get_unstructured(value), value

    def fold(self, *, policy: policy.EmailPolicy) -> str:
        tokens = (policy.linesep + " ").join(str(self).split())
        return f"{self.name}: {tokens}{policy.linesep}"  # type: ignore[attr-defined]


class Headers(headerregistry.HeaderRegistry):
    """Remembers the classes it makes and what it has parsed: most headers are the same in every
    mail, and reading and writing them was half the work of putting mails into files."""

    @cache  # noqa: B019 (there is one registry)
    def __getitem__(self, name: str) -> type:
        return super().__getitem__(name)

    @lru_cache(maxsize=1024)  # noqa: B019
    def __call__(self, name: str, value: Any) -> Any:
        return super().__call__(name, value)


class MailPolicy(policy.EmailPolicy):
    """SMTP lines, ids that are never folded, and headers that are folded once."""

    @lru_cache(maxsize=1024)  # noqa: B019
    def fold_binary(self, name: str, value: str) -> bytes:
        return super().fold_binary(name, value)


def _mail_policy() -> MailPolicy:
    registry = Headers(use_default_map=True)
    for name in ("references", "in-reply-to", "list-unsubscribe", "message-id"):
        registry.map_to_type(name, RawTokens)  # type: ignore[arg-type]
    return MailPolicy(linesep="\r\n", header_factory=registry)


MAIL_POLICY = _mail_policy()


def build_mail(outgoing: Outgoing, sender: str) -> EmailMessage:
    """The message as mail. Raises TransportError (permanent) when a header cannot be written."""
    mail = EmailMessage(MAIL_POLICY)
    try:
        for name, value in _headers(outgoing, sender).items():
            mail[name] = value
    except (ValueError, IndexError):
        raise TransportError("a header cannot be written", permanent=True) from None
    # Base64 keeps every line short and 7-bit whatever the relay can do.
    mail.set_content(outgoing.text, cte="base64")
    mail.add_alternative(outgoing.html, subtype="html", cte="base64")
    return mail


def _headers(outgoing: Outgoing, sender: str) -> dict[str, Any]:
    headers: dict[str, Any] = {
        "From": sender,
        "To": outgoing.to,
        "Subject": outgoing.subject,
        "Date": outgoing.at,
        "Message-ID": outgoing.message_id,
        **OWN_HEADERS,
    }
    if outgoing.thread_id:
        headers |= {"In-Reply-To": outgoing.thread_id, "References": outgoing.thread_id}
    if outgoing.number:
        headers["X-Loopwright-Ticket"] = outgoing.number
    return headers | dict(outgoing.headers)


def addresses(to: str) -> list[str]:
    """The plain addresses in `to`. Raises TransportError (permanent) when there is none."""
    found = [address for _, address in getaddresses([to]) if "@" in address]
    if not found:
        raise TransportError("no address", permanent=True)
    return found
