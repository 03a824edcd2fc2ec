"""What do checkpoints that are kept outside the database say?

The signer's own memory lies beside its key: somebody who rewrites the database, its checkpoints
included, does not reach it. The published file is the second opinion, where there is one.
"""

import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from loopwright.errors import EnvironmentFault, InputError
from loopwright.history import note
from loopwright.history.checkpoints import split_notes
from loopwright.history.keys import Signer
from loopwright.history.note import Checkpoint, NoteError
from loopwright.log import log
from loopwright.settings import Audit
from tasks.audit.witness import replace

MEMORY_FIX = (
    "set audit.last_signed to a file of the signer's own, on a disk that stays; a key that was"
    " renewed needs the one before it in audit.former_keys"
)
TAIL_BYTES = 1 << 16


def last_signed(path: Path, signer: Signer) -> Checkpoint | None:
    """What this signer remembers to have signed last; the database is not asked.

    Raises EnvironmentFault for a file that is there and holds none.
    """
    try:
        return signer.signed(path.read_bytes().decode(errors="replace"))
    except FileNotFoundError:
        return None
    except (OSError, NoteError) as error:
        raise EnvironmentFault(
            f"{path} does not say what was signed last: {error}", MEMORY_FIX
        ) from None


def remember(path: Path, text: str, signer: Signer) -> None:
    """Keep a note ahead of its being stored, unless a later one was signed meanwhile.

    Raises EnvironmentFault: what cannot be remembered is not signed.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f"{path.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = last_signed(path, signer)
            if before is None or age(before) < age(signer.signed(text)):
                replace(path, text)
    except (OSError, InputError) as error:
        raise EnvironmentFault(f"{path} cannot be kept: {error}", MEMORY_FIX) from None


def newest_outside(path: Path | None, signer: Signer) -> Checkpoint | None:
    """The signer's largest checkpoint of the latest epoch near the end of the published file."""
    if path is None:
        return None
    try:
        found = signed_at_end(path, signer)
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("history.outside_unreadable", error=error.strerror)
        return None
    return max(found, key=age, default=None)


def newest_known(
    audit: Audit, signer: Signer | None, given: Sequence[Checkpoint]
) -> Checkpoint | None:
    """The latest of those at hand, in the published file and in the signer's memory."""
    own = (
        [newest_outside(audit.append_to, signer), last_signed(audit.last_signed, signer)]
        if (signer)
        else []
    )
    return max([*given, *filter(None, own)], key=age, default=None)


def signed_at_end(path: Path, signer: Signer) -> list[Checkpoint]:
    """What the signer signed in the file's end, which reaches back until there is something."""
    with path.open("rb") as file:
        end, back = file.seek(0, os.SEEK_END), TAIL_BYTES
        while True:
            file.seek(max(0, end - back))
            found = []
            for text in split_notes(file.read().decode(errors="replace")):
                with suppress(NoteError):
                    found.append(signer.signed(text))
            if found or back >= end:
                return found
            back *= 4


def age(checkpoint: Checkpoint) -> tuple[int, int]:
    """By which checkpoints of one history follow each other: epoch and size."""
    return note.split_origin(checkpoint.origin)[1], checkpoint.size
