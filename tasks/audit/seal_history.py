"""Seal the history: sign its size and root, after proving that it extends what was signed before.

Only this process needs the key, so it may run by itself under a user of its own: it reads events
and inserts checkpoints. What is refused is said once in the history, at each run in the log and by
the exit code.
"""

import json
import os
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import DatabaseError, IntegrityError

from loopwright.errors import EnvironmentFault, FindingError, InputError
from loopwright.history import note, tree
from loopwright.history.append import append, head
from loopwright.history.checkpoints import (
    CHECKPOINTS,
    PROBLEMS,
    SealRefused,
    compare_outside,
    epoch_of,
    last_of,
    leaves,
    newest,
    proven_head,
    restores_in,
    root_at,
)
from loopwright.history.envelope import SYSTEM, Actor, Event
from loopwright.history.envelope import seal as seal_event
from loopwright.history.keys import Signer, named_at, renewals_in
from loopwright.history.note import Checkpoint, Note, NoteError, PublicKey, SigningKey
from loopwright.history.proof import Subtrees, consistency_proof
from loopwright.history.witness import Proof
from loopwright.ids import uuid7
from loopwright.log import log
from loopwright.settings import Settings
from models.kinds import EventKind
from tasks.audit.kept_outside import last_signed, newest_outside, remember
from tasks.change import NewMessage, message_row
from tasks.messages.outbox import insert_once
from tasks.workspace import Workspace

OLDEST = (CHECKPOINTS.c.epoch, CHECKPOINTS.c.size)
USED_KEY = (
    "this key has signed before",
    "a key that was replaced is never believed again: `loopwright audit key` makes a new one",
)
RENEW_FIX = "`loopwright audit renewed` puts a new key on record; see docs/operate.md"
KEY_FIX = "`loopwright audit key` makes one; see docs/operate.md"


def signing_key(settings: Settings) -> SigningKey | None:
    """The key this process signs with. Raises InputError or EnvironmentFault for a bad one."""
    audit = settings.audit
    if audit.key is not None:
        key = SigningKey.parse(audit.key.get_secret_value())
    elif os.path.isfile(audit.key_file):
        key = note.read_key(audit.key_file)
    else:
        return None
    if audit.origin not in (None, key.name):
        raise EnvironmentFault(
            f"audit.origin is {audit.origin}, but the signing key belongs to {key.name}",
            "set audit.origin to the key's name",
        )
    return key


def known_signer(settings: Settings) -> Signer | None:
    """The own key and those before it, by which checkpoints are believed here; None without a key.

    Raises InputError or EnvironmentFault for a bad one.
    """
    own = signing_key(settings)
    if own is None:
        return None
    try:
        former = map(PublicKey.parse, settings.audit.former_keys)
        return Signer((own.public, *former))
    except NoteError as error:
        raise EnvironmentFault(f"audit.former_keys: {error}", "see docs/operate.md") from None


def seal(ws: Workspace, now: datetime, *, restored: bool = False) -> Checkpoint | None:
    """Sign and store a checkpoint of what is new. None when nothing is, when there is no key, or
    when another process was quicker.

    `restored`: whoever signs knows of the restore that opened a new epoch. Raises SealRefused, a
    FindingError.
    """
    key, signer = signing_key(ws.settings), known_signer(ws.settings)
    if key is None or signer is None:
        log.info("history.unsealed", reason="no key")
        return None
    try:
        row = sealed_row(ws, key, signer, now, restored=restored)
    except SealRefused as refusal:
        record_refusal(ws, refusal, now)
        raise
    if row is None or not store(ws, row):
        return None
    log.info("history.sealed", size=row["size"], epoch=row["epoch"])
    return Checkpoint(note.origin_line(key.name, row["epoch"]), row["size"], row["root"])


def sealed_row(
    ws: Workspace, key: SigningKey, signer: Signer, now: datetime, *, restored: bool
) -> dict[str, Any] | None:
    """The next checkpoint, or None when nothing is new."""
    audit = ws.settings.audit
    own = last_signed(audit.last_signed, signer)
    outside = [own, newest_outside(audit.append_to, signer)]
    with ws.db.read() as tx:
        last = newest(tx)
        size, frontier = proven_head(tx, last, signer)
        restores = restores_in(tx)
        if problem := unexpected_key(tx, last, size, key.public):
            raise EnvironmentFault(f"not signed: {problem}", RENEW_FIX)
        for checkpoint in filter(None, outside):
            compare_outside(tx, checkpoint, size, restores)
    number = epoch_of(restores)
    if own and number > note.split_origin(own.origin)[1] and not restored:
        raise SealRefused("unconfirmed", number, own.size)
    if size == (last.size if last else 0):
        return None
    checkpoint = Checkpoint(note.origin_line(key.name, number), size, tree.root(frontier))
    signed = note.sign(checkpoint, key)
    if not ws.db.dry_run:
        remember(audit.last_signed, signed, signer)
    return {
        "epoch": number,
        "size": size,
        "root": checkpoint.root,
        "frontier": tree.pack(frontier),
        "note": signed,
        "sealed_at": now,
        "published": [],
    }


def unexpected_key(tx: Connection, last: Any | None, size: int, own: PublicKey) -> str | None:
    """Why the key may not sign yet, or None: that another key signs is on record first."""
    named = named_at(size, renewals_in(tx))
    if named is not None:
        return None if named == str(own) else "the history names another key than this process has"
    if last is None or Note.parse(last.note).signers([own]):
        return None
    return "another key than that of this process signed the last checkpoint"


def key_problem(ws: Workspace, own: PublicKey) -> str | None:
    """Why the key would not sign the history as it stands."""
    with ws.db.read() as tx:
        return unexpected_key(tx, newest(tx), head(tx)[0], own)


def store(ws: Workspace, row: dict[str, Any]) -> bool:
    """Whether it was stored; another sealer's of the same size says the same."""
    try:
        with ws.db.begin() as tx:
            tx.execute(insert(CHECKPOINTS).values(row))
    except IntegrityError:
        return False
    return True


def record_refusal(ws: Workspace, refusal: SealRefused, now: datetime) -> None:
    """Say in the history and to operations, once for each state, that there is something that must
    not be signed."""
    log.error("history.seal_refused", **refusal.data)
    for say in (append_refusal, warn_operations):
        try:
            say(ws, refusal, now)
        except (DatabaseError, EnvironmentFault, FindingError, ValueError, IndexError) as error:
            # A signer may have no right to write, a broken head takes nothing more, and without
            # documents, or with forged ones, there are no operations.
            log.error("history.refusal_unrecorded", error=type(error).__name__)


def append_refusal(ws: Workspace, refusal: SealRefused, now: datetime) -> None:
    kind = EventKind.HISTORY_SEAL_REFUSED
    event = Event(uuid7(), kind.value, now, SYSTEM, refusal.data, run=ws.run)
    with ws.db.begin() as tx:
        before = last_of(tx, kind)
        if before is None or json.loads(before.data) != refusal.data:
            append(tx, [seal_event(event)])


def warn_operations(ws: Workspace, refusal: SealRefused, now: datetime) -> None:
    operations = ws.published.documents.organisation.operations
    key = ":".join(["seal_refused", *map(str, refusal.data.values())])
    word = NewMessage(key, "seal_refused", operations, values=refusal.data)
    with ws.db.begin() as tx:
        insert_once(tx, [{"id": uuid7()} | message_row(word, None, now)])


@dataclass(frozen=True)
class Restored:
    """What a restore's event says: the epoch it opens, how many signed events the backup held, and
    whether a checkpoint outside shows that more had been there."""

    epoch: int
    kept: int
    lost: bool


def restored(
    ws: Workspace, reason: str, actor: Actor, now: datetime, outside: Checkpoint | None
) -> Restored:
    """Say that the database was restored from a backup, which opens a new epoch.

    `outside`: the newest checkpoint known outside, by which the epoch's number surely is new.
    """
    known = note.split_origin(outside.origin)[1] if outside else 1
    with ws.db.begin() as tx:
        number, last = max(epoch_of(restores_in(tx)), known) + 1, newest(tx)
        lost = outside is not None and (
            outside.size > head(tx)[0] or root_at(tx, outside.size) != outside.root
        )
        data = {
            "epoch": number,
            "size": outside.size if outside else None,
            "root": outside.root.hex() if outside else None,
            "kept": last.size if last else 0,
        }
        kind = EventKind.HISTORY_RESTORED.value
        event = Event(uuid7(), kind, now, actor, data, run=ws.run, body={"reason": reason})
        append(tx, [seal_event(event)])
    return Restored(number, last.size if last else 0, lost)


def renewed(ws: Workspace, key: PublicKey, reason: str, actor: Actor, now: datetime) -> None:
    """Say that from here on another key signs.

    Raises InputError for a key of another history and for one that has been named before: a key
    that was replaced is never believed again.
    """
    with ws.db.begin() as tx:
        if first := tx.execute(select(CHECKPOINTS.c.note).order_by(*OLDEST).limit(1)).scalar():
            refuse_old_key(Note.parse(first), key)
        if str(key) in {vkey for _, vkey in renewals_in(tx)}:
            raise InputError(*USED_KEY)
        kind = EventKind.HISTORY_KEY_RENEWED.value
        data = {"key": str(key)}
        event = Event(uuid7(), kind, now, actor, data, run=ws.run, body={"reason": reason})
        append(tx, [seal_event(event)])


def refuse_old_key(first: Note, key: PublicKey) -> None:
    """Only the first of a history's keys is named by no event; the first checkpoint carries it."""
    name, _ = note.split_origin(Checkpoint.parse(first.text).origin)
    if name != key.name:
        fix = f"make the key under that name: `loopwright audit key --origin {name} --out FILE`"
        raise InputError(f"this history is called {name}, not {key.name}", fix)
    if first.signers([key]):
        raise InputError(*USED_KEY)


def newest_proof(ws: Workspace, since: int | None) -> Proof:
    """The newest stored checkpoint and the consistency proof from `since` leaves to it.

    Raises EnvironmentFault when nothing is sealed, InputError for a `since` beyond it.
    """
    with ws.db.read() as tx:
        last = newest(tx)
        if last is None:
            raise EnvironmentFault("no checkpoint has been made yet", KEY_FIX)
        if since is None:
            return Proof(last.note)
        if not 0 <= since <= last.size:
            raise InputError(
                f"the newest checkpoint has the size {last.size}, less than {since}",
                "if yours is larger, the history was truncated: `loopwright audit verify`",
            )
        subtrees = Subtrees(lambda first, end: leaves(tx, first, end), last.size)
        return Proof(last.note, since, tuple(consistency_proof(subtrees, since, last.size)))


def unsealed(ws: Workspace) -> int:
    """How many events no checkpoint covers yet."""
    with ws.db.read() as tx:
        last = tx.execute(select(CHECKPOINTS.c.size).order_by(CHECKPOINTS.c.size.desc()).limit(1))
        return max(0, head(tx)[0] - (last.scalar() or 0))


def refusal(ws: Workspace) -> str | None:
    """Why sealing was refused, unless a checkpoint has been made since."""
    with ws.db.read() as tx:
        event, last = last_of(tx, EventKind.HISTORY_SEAL_REFUSED), newest(tx)
    if event is None or (last is not None and last.size > event.seq):
        return None
    return PROBLEMS[json.loads(event.data)["problem"]]
