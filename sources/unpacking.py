"""Bytes as delivered to bytes of content: plain, .gz or .zip, with caps counted while reading.

What a file is told by its first bytes, never by its name; header sizes in archives may lie, so
unpacked bytes are counted as they come out. Member names are never used as paths.
"""

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

from policy.source_spec import Limits
from sources.errors import SourceError

GZIP = b"\x1f\x8b"
ZIP = (b"PK\x03\x04", b"PK\x05\x06")
MEMBERS = 1_000
MACOS = "__MACOSX/"
"""Finder puts a second, binary entry here for every file it packs."""
SMALL = 1_048_576
"""Below this many unpacked bytes the ratio says nothing: short repetitive files pack very well."""


def content_streams(delivered: BinaryIO, limits: Limits) -> Iterator[io.BufferedReader]:
    """Each file inside the delivery (one unless it is a .zip); use each before taking the next.

    Raises SourceError for a damaged or encrypted archive and when a cap is passed.
    """
    head = delivered.read(4)
    delivered.seek(0)
    if head.startswith(ZIP):
        yield from _members(delivered, limits)
    elif head.startswith(GZIP):
        packed = delivered.seek(0, io.SEEK_END)
        delivered.seek(0)
        unpacked = cast(BinaryIO, gzip.GzipFile(fileobj=delivered))
        yield _counted(unpacked, Count(limits, packed))
    else:
        yield _counted(delivered, None)


def _members(delivered: BinaryIO, limits: Limits) -> Iterator[io.BufferedReader]:
    try:
        archive = zipfile.ZipFile(delivered)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise _damaged(error) from error
    files = [
        info
        for info in archive.infolist()
        if not info.is_dir() and not info.filename.startswith(MACOS)
    ]
    if len(files) > MEMBERS:
        raise SourceError(
            f"the archive holds {len(files):,} files; at most {MEMBERS:,} are taken",
            "deliver fewer, larger files",
        )
    count = Count(limits, delivered.seek(0, io.SEEK_END))
    for info in files:
        try:
            member = archive.open(info)
        except (RuntimeError, NotImplementedError, zipfile.BadZipFile, OSError) as error:
            raise _damaged(error) from error
        yield _counted(cast(BinaryIO, member), count)


class Count:
    """Unpacked bytes so far of one delivery, against its caps."""

    def __init__(self, limits: Limits, packed: int) -> None:
        by_ratio = max(SMALL, packed * limits.unpack_ratio)
        self.allowed = min(limits.unpacked_bytes, by_ratio)
        self.unpacked = 0

    def add(self, size: int) -> None:
        self.unpacked += size
        if self.unpacked > self.allowed:
            raise SourceError(
                f"the archive unpacks to more than {self.allowed:,} bytes",
                "deliver it unpacked or in parts, or raise limits.unpacked_bytes and"
                " limits.unpack_ratio in the source document if you trust the sender",
            )


class _CountingReader(io.RawIOBase):
    """Closing it leaves the delivery open, which outlives the text read from it."""

    def __init__(self, inner: BinaryIO, count: Count | None) -> None:
        self._inner = inner
        self._count = count

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        try:
            chunk = self._inner.read(len(buffer))
        except (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile) as error:
            raise _damaged(error) from error
        buffer[: len(chunk)] = chunk
        if self._count:
            self._count.add(len(chunk))
        return len(chunk)


def _counted(inner: BinaryIO, count: Count | None) -> io.BufferedReader:
    return io.BufferedReader(_CountingReader(inner, count), 65_536)


def _damaged(error: Exception) -> SourceError:
    return SourceError(f"the archive cannot be unpacked: {error}", "have it delivered again")
