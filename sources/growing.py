"""Whole new lines of a file that somebody else still writes, and how to know the file again."""

import os
from dataclasses import dataclass
from pathlib import Path

from policy.source_spec import SourceSpec
from sources.errors import SourceError
from sources.framing import record_cap
from sources.payloads import KEEP_BYTES, pack
from sources.records import open_file

HEAD_BYTES = 4096
MOST_BYTES = 1_048_576
"""Read at once; the rest at the next look."""


@dataclass(frozen=True)
class Glance:
    """A file as it stands: its first bytes, its size, and when it was written to (epoch)."""

    head: bytes
    size: int
    written: float


@dataclass(frozen=True)
class Growth:
    """Payloads of the new lines, blank ones left out, and the byte after the last of them."""

    payloads: tuple[str, ...]
    position: int


def glance(path: Path) -> Glance:
    """Raises SourceError for a path that is not a readable regular file."""
    with open_file(path) as stream:
        head, seen = stream.read(HEAD_BYTES), os.fstat(stream.fileno())
    return Glance(head, seen.st_size, seen.st_mtime)


def new_lines(spec: SourceSpec, path: Path, position: int, *, finished: bool) -> Growth:
    """The whole lines since `position`; a last line without its end only where the file is
    `finished`. Raises SourceError for an endless line."""
    with open_file(path) as stream:
        stream.seek(position)
        data = stream.read(MOST_BYTES)
    whole = data.rfind(b"\n") + 1
    if finished and len(data) < MOST_BYTES:
        whole = len(data)
    if not whole and len(data) > record_cap(spec.limits):
        raise SourceError(
            f"{path.name} has a line without end", "check that it is JSON Lines, one a segment"
        )
    texts = (line.decode(spec.format.encoding, KEEP_BYTES) for line in data[:whole].split(b"\n"))
    kept = tuple(pack(text.rstrip("\r")) for text in texts if text.strip())
    return Growth(kept, position + whole)
