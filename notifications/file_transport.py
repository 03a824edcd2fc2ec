"""Writes what would be sent: for the demo, for a look at new templates, for a site without mail.

A folder per unit and per person, one for all customers; per message an `.eml` that mail programs
open, and its `.txt` and `.html`.
"""

import hashlib
import os
import re
from pathlib import Path

from notifications.mail import build_mail
from notifications.transport import Outgoing, Receipt, TransportError


class FileTransport:
    """Sending the same message again writes nothing; a file is there whole or not at all."""

    kind = "file"
    repeats_safely = True

    def __init__(self, folder: Path, sender: str) -> None:
        self.folder = folder
        self.sender = sender

    async def send(self, outgoing: Outgoing) -> Receipt:
        """`reference` is the .eml's path below the folder. Temporary when the disk refuses."""
        mail = build_mail(outgoing, self.sender)
        # Boundaries are random otherwise, and a second attempt would differ.
        mail.set_boundary(_digest(outgoing))
        place = self.folder / (_slug(outgoing.unit) or "other")
        stem = "-".join(filter(None, (_slug(outgoing.number), _digest(outgoing))))
        eml = place / f"{stem}.eml"
        try:
            if not eml.exists():
                place.mkdir(parents=True, exist_ok=True)
                plain = f"{outgoing.subject}\n\n{outgoing.text}"
                write_whole(place / f"{stem}.txt", plain.encode())
                write_whole(place / f"{stem}.html", outgoing.html.encode())
                # Last, since its presence says that the message is complete.
                write_whole(eml, mail.as_bytes())
        except OSError as error:
            raise TransportError(f"cannot write: {error.strerror}") from None
        return Receipt(str(eml.relative_to(self.folder)))

    async def close(self) -> None:
        """Nothing is open between messages."""


def write_whole(path: Path, content: bytes) -> None:
    """Write beside the file and rename, so that no reader ever sees a half."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _digest(outgoing: Outgoing) -> str:
    return hashlib.sha256(outgoing.message_id.encode()).hexdigest()[:12]


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name).strip("_.")[:60]
