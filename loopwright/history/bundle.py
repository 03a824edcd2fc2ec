"""Which events does a bundle prove? For those who act on what it says.

A range bundle is proven as a whole: all of its events, with the frontier of those before them, give
a tree that is the beginning of the one a checkpoint was signed over. Words, documents and the other
checkpoints are not looked at; `tools/verify_history.py` does that, and needs nothing of this.
"""

import json
import struct
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from lzma import LZMAError
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile, ZipFile

from loopwright.errors import FindingError, InputError
from loopwright.history import tree
from loopwright.history.checkpoints import split_notes
from loopwright.history.keys import Renewal, Signer
from loopwright.history.note import Checkpoint, NoteError
from loopwright.history.proof import verify_consistency
from loopwright.history.tree import HASH_BYTES, leaf_hash
from models.kinds import EventKind

PAGE = 5_000
MOST_BYTES = 256 * 2**20
"""Of a member that is read whole."""
MOST_LINE = 2**23
PACKED = (OSError, BadZipFile, zlib.error, LZMAError, struct.error, EOFError, RuntimeError)
UNREADABLE = (*PACKED, KeyError, IndexError, TypeError, ValueError, AttributeError)
"""What a file raises that is no zip, or holds something else than a bundle's members."""

Envelope = dict[str, Any]


class Unproven(FindingError):
    """What a bundle says is not in the history that the key stands for."""

    def __init__(self, path: Path, why: str) -> None:
        fix = "take the bundle as it was exported; --key VKEY is the key that signed it"
        super().__init__(f"未证实 / not proven: {path.name}: {why}", fix)


@dataclass(frozen=True)
class Range:
    """What leads from a range's events to its last checkpoint: [first, end), the frontier before
    it, the size that the proof leads to, and the proof."""

    first: int
    end: int
    frontier: Sequence[bytes]
    size: int
    path: Sequence[bytes]


def proven(path: Path, signer: Signer, kinds: Collection[str]) -> list[Envelope]:
    """The events of these kinds in a range bundle, in order.

    Raises InputError for a file that is no range bundle, Unproven unless the signer's present key
    signed a tree with all of its events in their places.
    """
    try:
        with ZipFile(path) as archive:
            part, last = range_of(archive), split_notes(whole(archive, "checkpoints.txt"))[-1]
            with archive.open("events.ndjson") as lines:
                root, found = read_events(lines, part, {*kinds, EventKind.HISTORY_KEY_RENEWED})
        signed = Signer(signer.keys[:1]).signed(last, renewals(found))
        if not leads_to(part, root, signed):
            raise NoteError("事件与签署的树不符 / its events are not those that were signed")
    except NoteError as error:
        raise Unproven(path, str(error)) from None
    except UNREADABLE:
        fix = "`loopwright audit export` writes one"
        raise InputError(f"{path.name} 不是审计包 / is no audit bundle", fix) from None
    return [event for _, event in found if event["kind"] in kinds]


def range_of(archive: ZipFile) -> Range:
    """Raises InputError for a loop's bundle."""
    said = json.loads(whole(archive, "proofs.json"))
    if "range" not in said:
        fix = "only a range bundle, one made without --loop, holds every event of its range"
        raise InputError("这是单个循环的包 / this is the bundle of a loop", fix)
    first, proof = said["first"], said["range"]
    frontier, path = hashes(said["frontier"]), hashes(proof["consistency"])
    part = Range(first, proof["size"], frontier, proof["checkpoint"], path)
    if len(frontier) != first.bit_count() or not 0 <= first < part.end:
        raise ValueError
    return part


def read_events(
    lines: IO[bytes], part: Range, kinds: Collection[str]
) -> tuple[bytes, list[tuple[int, Envelope]]]:
    """The root up to the range's end, and each event of these kinds with its position.

    Raises ValueError for another number of events, and where one is none.
    """
    frontier, seq, found = part.frontier, part.first, list[tuple[int, Envelope]]()
    names = [f'"kind":"{kind}"'.encode() for kind in kinds]
    whole_lines = ended(lines)
    while page := list(islice(whole_lines, PAGE)):
        frontier = tree.extend(frontier, seq, map(leaf_hash, page))
        wanted = [(at, line) for at, line in enumerate(page, seq) if any(n in line for n in names)]
        found += [(at, json.loads(line)) for at, line in wanted]
        seq += len(page)
    if seq != part.end:
        raise ValueError
    return tree.root(frontier), [(at, event) for at, event in found if event["kind"] in kinds]


def ended(lines: IO[bytes]) -> Iterator[bytes]:
    """Each line without its end. Raises ValueError for one that is too long or does not end."""
    for line in iter(partial(lines.readline, MOST_LINE), b""):
        if not line.endswith(b"\n"):
            raise ValueError
        yield line[:-1]


def leads_to(part: Range, root: bytes, signed: Checkpoint) -> bool:
    same = part.size == signed.size
    return same and verify_consistency(part.end, signed.size, root, signed.root, part.path)


def renewals(found: Sequence[tuple[int, Envelope]]) -> list[Renewal]:
    kind = EventKind.HISTORY_KEY_RENEWED
    return [(at, str(event["data"].get("key"))) for at, event in found if event["kind"] == kind]


def hashes(entries: Sequence[str]) -> list[bytes]:
    """Raises ValueError for what is no hash in hex."""
    found = [bytes.fromhex(entry) for entry in entries]
    if any(len(one) != HASH_BYTES for one in found):
        raise ValueError
    return found


def whole(archive: ZipFile, name: str) -> str:
    if archive.getinfo(name).file_size > MOST_BYTES:
        raise ValueError
    return archive.read(name).decode()
