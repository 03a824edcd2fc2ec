"""Whose signature must a checkpoint carry?

A history has one name and, over the years, several keys. Keys come from outside, never from the
history: an event only says from where on which of them signs. So a key that was replaced, stolen
perhaps, signs nothing that is believed once the event of its replacement is covered.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from loopwright.history import note
from loopwright.history.append import EVENTS
from loopwright.history.note import Checkpoint, Note, NoteError, PublicKey, split_origin
from models.kinds import EventKind

UNKNOWN = "the key that the history names from there on, which is not known here"

Renewal = tuple[int, str]
"""The position of the event, and the key that signs whatever covers it, as a vkey."""


@dataclass(frozen=True, slots=True)
class Signer:
    """The keys of one history as they were handed over, the present one first.

    Raises NoteError when there is none or they are of different histories.
    """

    keys: tuple[PublicKey, ...]

    def __post_init__(self) -> None:
        if len({key.name for key in self.keys}) != 1:
            raise NoteError("the keys of a history, present and former, have one name")

    @property
    def name(self) -> str:
        return self.keys[0].name

    def may_sign(self, size: int, renewals: Sequence[Renewal]) -> list[PublicKey]:
        """The known keys whose signature counts below a checkpoint of this size."""
        named = named_at(size, renewals)
        if named is not None:
            return [key for key in self.keys if str(key) == named]
        later = {vkey for _, vkey in renewals}
        return [key for key in self.keys if str(key) not in later]

    def signed(self, text: str, renewals: Sequence[Renewal] = (), *others: PublicKey) -> Checkpoint:
        """The checkpoint in a note that a key of this history, and all others, signed.

        Raises NoteError for any other note.
        """
        said = Note.parse(text)
        checkpoint = Checkpoint.parse(said.text)
        if split_origin(checkpoint.origin)[0] != self.name:
            raise NoteError(f"a checkpoint of {checkpoint.origin}, not of {self.name}")
        due, signers = self.may_sign(checkpoint.size, renewals), said.signers(self.keys)
        if not any(key in signers for key in due):
            raise NoteError(f"not signed by {' or '.join(map(str, due)) or UNKNOWN}")
        if others:
            note.verify(text, *others)
        return checkpoint


def named_at(size: int, renewals: Sequence[Renewal]) -> str | None:
    """The key that the events below this size name last."""
    return next((vkey for seq, vkey in reversed(renewals) if seq < size), None)


def renewals_in(tx: Connection) -> list[Renewal]:
    """Every renewal on record, in order; an index entry each."""
    columns = (EVENTS.c.seq, EVENTS.c.data)
    query = select(*columns).where(EVENTS.c.kind == EventKind.HISTORY_KEY_RENEWED.value)
    rows = tx.execute(query.order_by(EVENTS.c.seq)).all()
    return [(row.seq, key_in(row.data)) for row in rows]


def key_in(data: str) -> str:
    """The vkey that a renewal's event names; what names none names nobody's key."""
    return str(json.loads(data).get("key"))
