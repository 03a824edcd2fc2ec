"""The auditor's own machine: countersign a checkpoint and keep it. No database, no settings."""

import os
from pathlib import Path

from loopwright.errors import InputError
from loopwright.history import witness
from loopwright.history.checkpoints import SEPARATOR, signed_by, split_notes
from loopwright.history.note import Checkpoint, Note, NoteError, PublicKey, SigningKey
from loopwright.history.witness import Proof


def countersign(
    given: Path, key: PublicKey, own: SigningKey, keep: Path, *, restored: bool
) -> tuple[str, Checkpoint]:
    """The note with our line added, after it was kept, and what it says.

    Raises NoteError for one that `key` did not sign, WitnessRefused for one that must not be
    signed after what `keep` holds, InputError for files that cannot be read.
    """
    proof = Proof.parse(read_text(given))
    checkpoint = signed_by(proof.note, key)
    earlier = split_notes(read_text(keep)) if keep.exists() else []
    kept = signed_by(earlier[-1], key, own.public) if earlier else None
    witness.check(kept, checkpoint, proof, restored=restored)
    signed = Note.parse(proof.note).add(own.sign(checkpoint.text))
    if kept is not None and kept.origin == checkpoint.origin:
        earlier.pop()
    replace(keep, SEPARATOR.join([*earlier, str(signed)]))
    return str(signed), checkpoint


def replace(path: Path, text: str) -> None:
    """Write beside the file, to the disk, and rename."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        beside.unlink(missing_ok=True)


def checkpoints_in(path: Path, key: PublicKey) -> list[Checkpoint]:
    """What the key signed in a file of one or several notes; others' and torn ones are passed over.

    Raises InputError when there is none.
    """
    found, reasons = [], []
    for text in split_notes(read_text(path)):
        try:
            found.append(signed_by(Proof.parse(text).note, key))
        except NoteError as error:
            reasons.append(str(error))
    if not found:
        raise InputError(
            f"{path} holds no checkpoint signed by {key.name}: {'; '.join(reasons[:3]) or 'empty'}",
            "give the file as it was published, and the key as it was handed over",
        )
    return found


def read_text(path: Path) -> str:
    """The file's exact text. Raises InputError."""
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
