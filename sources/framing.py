"""What every framing shares: decoded text that never fails on a byte, and lines with a cap."""

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass

from policy.source_spec import FormatSpec, Limits
from sources.errors import SourceError
from sources.payloads import KEEP_BYTES

BOM = "\ufeff"
MARKED = b"\xff\xfe\0\0\x00\xd8\x81\xff"
MARKS = {
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}


@dataclass(frozen=True)
class Frames:
    """`texts` yields one record after the other; `header` is empty where records name fields."""

    texts: Iterator[str]
    header: tuple[str, ...] = ()


def decoded(content: io.BufferedReader, form: FormatSpec, newline: str) -> io.TextIOWrapper:
    """Text in the declared encoding without its BOM; undecodable bytes are kept, see payloads.

    Raises SourceError for an encoding Python does not know.
    """
    require_encoding(form.encoding, content.peek(4))
    text = io.TextIOWrapper(content, form.encoding, errors=KEEP_BYTES, newline=newline)
    mark = BOM.encode(form.encoding, "ignore")
    if not _reads_its_mark(form.encoding) and content.peek(len(mark)).startswith(mark):
        content.read(len(mark))
    return text


def _reads_its_mark(encoding: str) -> bool:
    return codecs.lookup(encoding).name in MARKS


def require_encoding(name: str, head: bytes) -> None:
    """Raises SourceError unless the name is a text encoding that can read what begins so."""
    try:
        io.TextIOWrapper(io.BytesIO(MARKED), name, errors=KEEP_BYTES).read()
        BOM.encode(name, "ignore")
    except (LookupError, ValueError):
        raise SourceError(
            f"format.encoding {name!r} is not a text encoding Python knows",
            "use a name such as utf-8, gb18030, big5, utf-16 or cp1252",
        ) from None
    marks = MARKS.get(codecs.lookup(name).name)
    if head and marks and not head.startswith(marks):
        raise SourceError(
            f"the file has no byte order mark, which {name} needs",
            f"set format.encoding to {name}-le, {name}-be or what the file is really in",
        )


def record_cap(limits: Limits) -> int:
    """The most characters of one framed record: room for 64 cells of the largest size."""
    return 64 * limits.cell_bytes


def capped_lines(text: io.TextIOWrapper, limits: Limits) -> Iterator[str]:
    """Lines without their ends, blank ones left out. Raises SourceError for an endless line."""
    cap = record_cap(limits)
    number = 0
    while line := text.readline(cap + 1):
        number += 1
        if len(line) > cap:
            raise SourceError(
                f"line {number} is longer than {cap:,} characters",
                "check format.kind, or raise limits.cell_bytes (64 cells make a record)",
            )
        line = line.rstrip("\r\n")
        if line and not line.isspace():
            yield line
