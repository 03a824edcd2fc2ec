"""E-mail through a relay.

One connection serves a batch and is opened again after a failure. A relay's 250 means accepted,
not delivered. Reasons carry the reply code and the step, never the relay's words, since those
repeat addresses.
"""

import asyncio
import re

from aiosmtplib import (
    SMTP,
    SMTPException,
    SMTPRecipientsRefused,
    SMTPResponseException,
)

from notifications.mail import MAIL_POLICY, addresses, build_mail
from notifications.transport import Outgoing, Receipt, SmtpSettings, TransportError


class SmtpTransport:
    """One relay; `sender` is both the From header and the envelope's sender."""

    kind = "smtp"
    repeats_safely = False

    def __init__(self, settings: SmtpSettings, sender: str) -> None:
        self.settings = settings
        self.sender = sender
        self.client: SMTP | None = None
        self.opening = asyncio.Lock()

    async def send(self, outgoing: Outgoing) -> Receipt:
        """Temporary: 4xx, no connection, time-out, refused login. Permanent: 5xx."""
        mail, to = build_mail(outgoing, self.sender), addresses(outgoing.to)
        client = await self.connected()
        try:
            refused, answer = await client.sendmail(
                addresses(self.sender)[0], to, mail.as_bytes(policy=MAIL_POLICY)
            )
        except (SMTPException, OSError, ValueError) as error:
            raise _as_transport_error(error) from None
        codes = tuple(reply.code for reply in refused.values())
        return Receipt(_without(to, answer)[:200], codes)

    async def connected(self) -> SMTP:
        """The open connection; the library closes it after a time-out or a broken answer.

        What fails here, a refused login too, is never the message's fault.
        """
        async with self.opening:
            if self.client is None or not self.client.is_connected:
                client = _client(self.settings)
                try:
                    await client.connect()
                except (SMTPException, OSError, ValueError) as error:
                    client.close()
                    reason = f"cannot connect: {type(error).__name__}"
                    raise TransportError(reason, silent=True) from None
                self.client = client
            return self.client

    async def close(self) -> None:
        client, self.client = self.client, None
        if client is not None and client.is_connected:
            try:
                await client.quit()
            except (SMTPException, OSError):
                client.close()


def _client(settings: SmtpSettings) -> SMTP:
    return SMTP(
        hostname=settings.host,
        port=settings.port,
        username=settings.username,
        password=settings.password,
        use_tls=settings.tls,
        start_tls=settings.starttls,
        cert_bundle=str(settings.ca_file) if settings.ca_file else None,
        timeout=settings.timeout,
    )


def _without(to: list[str], answer: str) -> str:
    """The relay's answer, which finds the message again, but names nobody."""
    for address in to:
        answer = re.sub(re.escape(address), "…", answer, flags=re.IGNORECASE)
    return answer


def _as_transport_error(error: Exception) -> TransportError:
    if isinstance(error, SMTPRecipientsRefused):
        codes = sorted({refusal.code for refusal in error.recipients})
        reason = f"recipients refused: {', '.join(map(str, codes))}"
        return TransportError(reason, permanent=all(code >= 500 for code in codes))
    if isinstance(error, SMTPResponseException):
        return TransportError(f"{type(error).__name__}: {error.code}", permanent=error.code >= 500)
    # A certificate that nobody vouches for is a ValueError too, but no fault of the message.
    if isinstance(error, ValueError) and not isinstance(error, OSError):
        return TransportError("the message cannot be written", permanent=True)
    return TransportError(type(error).__name__, silent=True)
