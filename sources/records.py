"""Bytes to records: one delivery as a stream of raw records, each a text any database stores.

Nothing is understood here and nothing is lost here: a record is framed exactly as delivered, so
that it can be stored before anybody tries to parse it (`sources.parse`). Memory does not grow
with the delivery.
"""

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self, cast

from policy.source_spec import SourceSpec
from sources.errors import SourceError
from sources.payloads import pack, storable
from sources.registry import framing

BUFFER = 1_048_576


class Record(NamedTuple):
    """`number` counts the records of a delivery from 1 (a header is none); see `payloads`."""

    number: int
    payload: str


class Delivery:
    """One file or answer being read: iterate it once for its records; use it with `with`.

    `sha256` and `size` are of the bytes as delivered (still packed) and known before reading.
    `header` holds the column names of delimited text and worksheets, else it is empty; store it
    beside the records, since a record is parsed from its payload and this header alone.
    `position` says how many delivered bytes were read so far, for a progress bar.
    """

    def __init__(self, spec: SourceSpec, stream: BinaryIO) -> None:
        self.spec = spec
        self._stream = stream
        self.sha256, self.size = _fingerprint(stream)
        self._frames = framing(spec.format.kind)(stream, spec)
        self.header = self._frames.header
        if not all(map(storable, self.header)):
            raise SourceError(
                f"the header does not decode as {spec.format.encoding}",
                "set format.encoding to the encoding the file is really in",
            )

    @property
    def position(self) -> int:
        return min(self._stream.tell(), self.size)

    def __iter__(self) -> Iterator[Record]:
        """Raises SourceError where the rest cannot be framed and when a cap is passed."""
        limit = self.spec.limits.records
        for number, text in enumerate(self._frames.texts, 1):
            if number > limit:
                raise SourceError(
                    f"the delivery holds more than {limit:,} records",
                    "deliver it in parts, or raise limits.records in the source document",
                )
            yield Record(number, pack(text))
        self._refuse_if_it_grew()

    def _refuse_if_it_grew(self) -> None:
        if self._stream.seek(0, io.SEEK_END) != self.size:
            raise SourceError(
                "the file changed while it was read",
                "have it written under another name and renamed when complete, then read it again",
            )

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_records(spec: SourceSpec, source: Path | str | BinaryIO) -> Delivery:
    """A delivery from a file or a stream (closed with it). Raises SourceError if unreadable."""
    stream = open_file(Path(source)) if isinstance(source, Path | str) else _seekable(source)
    try:
        return Delivery(spec, stream)
    except BaseException:
        stream.close()
        raise


def open_file(path: Path) -> BinaryIO:
    """Raises SourceError for a path that is not a readable regular file."""
    if path.is_dir():
        raise SourceError(f"{path} is a directory", "name a file in it")
    if not path.exists():
        raise SourceError(f"{path} does not exist", "check the path")
    if not path.is_file():
        raise SourceError(f"{path} is not a regular file", "name a file")
    try:
        return open(path, "rb", buffering=BUFFER)
    except OSError as error:
        raise SourceError(
            f"{path} cannot be opened: {os.strerror(error.errno or 0)}", "check its permissions"
        ) from error


def _seekable(stream: BinaryIO) -> BinaryIO:
    if stream.seekable():
        return stream
    copy = cast(BinaryIO, SpooledTemporaryFile(max_size=8 * BUFFER))  # noqa: SIM115
    while chunk := stream.read(BUFFER):
        copy.write(chunk)
    copy.seek(0)
    return copy


def _fingerprint(stream: BinaryIO) -> tuple[str, int]:
    stream.seek(0)
    digest = hashlib.sha256()
    size = 0
    while chunk := stream.read(BUFFER):
        digest.update(chunk)
        size += len(chunk)
    stream.seek(0)
    return digest.hexdigest(), size
