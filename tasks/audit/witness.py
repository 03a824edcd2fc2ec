"""The auditor's own machine: countersign a checkpoint and keep it. No database, no settings."""

import os
from dataclasses import dataclass
from pathlib import Path

from loopwright.errors import InputError
from loopwright.history import witness
from loopwright.history.checkpoints import SEPARATOR, notes_in, split_notes
from loopwright.history.keys import Signer
from loopwright.history.note import Checkpoint, Note, NoteError, SigningKey
from loopwright.history.witness import Proof


def countersign(
    given: Path, signer: Signer, own: SigningKey, keep: Path, *, restored: bool
) -> tuple[str, Checkpoint]:
    """The note with our line added, after it was kept, and what it says.

    Raises NoteError for one that the signer's present key did not sign, WitnessRefused for one that
    must not be signed after what `keep` holds, InputError for files that cannot be read.
    """
    proof = Proof.parse(read_text(given).removeprefix("\ufeff").replace("\r\n", "\n"))
    checkpoint = Signer(signer.keys[:1]).signed(proof.note)
    earlier = split_notes(read_text(keep)) if keep.exists() else []
    kept = signer.signed(earlier[-1], (), own.public) if earlier else None
    witness.check(kept, checkpoint, proof, restored=restored)
    signed = only_of(signer, Note.parse(proof.note)).add(own.sign(checkpoint.text))
    if kept is not None and kept.origin == checkpoint.origin:
        earlier.pop()
    replace(keep, SEPARATOR.join([*earlier, str(signed)]))
    return str(signed), checkpoint


def only_of(signer: Signer, note: Note) -> Note:
    """The note without lines of strangers, which could fill it up."""
    known = {(key.name, key.id) for key in signer.keys}
    return Note(note.text, tuple(s for s in note.signatures if (s.name, s.key) in known))


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


@dataclass(frozen=True)
class Kept:
    """The checkpoints of a file, and why others in it do not count."""

    checkpoints: list[Checkpoint]
    passed_over: list[str]


def checkpoints_in(path: Path, signer: Signer) -> Kept:
    """What the signer signed in a file of one or several notes.

    Raises InputError when there is none.
    """
    found, reasons = [], []
    for text in notes_in(read_text(path)):
        try:
            found.append(signer.signed(text))
        except NoteError as error:
            reasons.append(str(error))
    if not found:
        raise InputError(
            f"{path} holds no checkpoint of {signer.name}: {'; '.join(reasons[:3]) or 'empty'}",
            "give the file as it was published, and the keys as they were handed over",
        )
    return Kept(found, reasons)


def read_text(path: Path) -> str:
    """The file's exact text. Raises InputError."""
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
