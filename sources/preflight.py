"""Is this the file the source document describes? Asked before anything of it is stored.

A file that is wrong as a whole is refused here with what to change; single records that are
wrong pass, since each of them is quarantined on its own.
"""

import codecs
import json
import re
import zipfile
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from policy.source_spec import SourceSpec
from sources.errors import SourceError
from sources.framing import require_encoding
from sources.parse import compile_parser
from sources.payloads import KEEP_BYTES, unpack
from sources.reading import path_getter
from sources.records import open_file
from sources.registry import framing
from sources.unpacking import ZIP, content_streams

HEAD = 262_144
SAMPLE = 20
FOREIGN = {
    b"%PDF": "a PDF",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file (.xls, .doc)",
    b"SQLite format 3": "an SQLite database",
    b"PAR1": "a Parquet file",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\x7fELF": "a program",
}
CANDIDATES = ("utf-8", "gb18030", "big5", "shift_jis", "cp1252")
WIDE = ("utf-16", "utf-32")
LOST = re.compile("[\udc00-\udcff]")
CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
UNMISTAKABLE = 8
"""So many multi-byte characters of valid UTF-8 are not met by chance in another encoding."""


def check_file(spec: SourceSpec, path: Path | str) -> None:
    """Raises SourceError: missing, directory, empty, binary, wrong encoding, wrong columns."""
    path = Path(path)
    with open_file(path) as stream:
        if not stream.read(1):
            raise _empty(path)
        stream.seek(0)
        if spec.format.kind != "xlsx":
            _check_text(spec, path, stream)
            stream.seek(0)
        frames = framing(spec.format.kind)(stream, spec)
        compile_parser(spec, frames.header)
        if spec.format.kind in {"json", "jsonl"}:
            _check_json(spec, path, [unpack(text) for text in islice(frames.texts, SAMPLE)])


def _check_text(spec: SourceSpec, path: Path, stream: BinaryIO) -> None:
    _refuse_workbook(path, stream)
    stream.seek(0)
    content = next(content_streams(stream, spec.limits), None)
    head = content.read(HEAD) if content else b""
    if not head:
        raise _empty(path)
    require_encoding(spec.format.encoding, head)
    _refuse_binary(spec.format.encoding, path, head)
    _refuse_encoding(spec, path, head)


def _empty(path: Path) -> SourceError:
    return SourceError(f"{path} is empty", "have it delivered again")


def _refuse_workbook(path: Path, stream: BinaryIO) -> None:
    if not stream.read(4).startswith(ZIP):
        return
    try:
        names = zipfile.ZipFile(stream).namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return
    if "[Content_Types].xml" in names:
        raise SourceError(
            f"{path} is an Office file", "set format.kind: xlsx, or save it as delimited text"
        )


def _refuse_binary(encoding: str, path: Path, head: bytes) -> None:
    for magic, what in FOREIGN.items():
        if head.startswith(magic):
            raise SourceError(f"{path} is {what}", "deliver delimited text, JSON, lines or XLSX")
    if _is_wide(encoding) or _wide_guess(head):
        return
    if len(CONTROL.findall(head)) > len(head) // 50:
        raise SourceError(f"{path} is a binary file", "deliver delimited text, JSON, lines or XLSX")


def _is_wide(encoding: str) -> bool:
    return encoding.lower().replace("_", "-").startswith(WIDE)


def _wide_guess(head: bytes) -> str | None:
    """UTF-16 by its byte order mark, or by NULs on places of one parity and text between them."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    sample = head[:4096]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if max(even, odd) * 100 < len(sample) or min(even, odd) * 20 > max(even, odd) or not even + odd:
        return None
    name = "utf-16-be" if even > odd else "utf-16-le"
    text = sample.decode(name, "replace")
    readable = sum(char.isprintable() or char in "\t\r\n" for char in text)
    return name if readable > 0.9 * len(text) else None


@dataclass(frozen=True)
class _Lines:
    """How the lines of a head decode."""

    total: int
    good: int
    """Lines with more than ASCII that decode."""
    bad: int
    first_bad: bool


def _refuse_encoding(spec: SourceSpec, path: Path, head: bytes) -> None:
    """A wrong encoding shows in many lines, damage in few: the breaker's share divides them."""
    encoding = spec.format.encoding
    wide = None if _is_wide(encoding) else _wide_guess(head)
    lines = _decoding_lines(head, encoding)
    header_lost = lines.first_bad and spec.format.kind == "delimited"
    mostly = lines.bad > lines.total * spec.breaker.share and lines.bad > lines.good
    if wide or header_lost or mostly:
        offset = 0 if wide else _first_failure(head, encoding)
        line = head.count(b"\n", 0, offset) + 1
        raise SourceError(
            f"{path} does not decode as {encoding}: byte {offset:,}, line {line:,}",
            f"set format.encoding: {wide or _guess(head)} in the source document",
        )
    if _is_legacy(encoding) and _utf8_characters(head) >= UNMISTAKABLE:
        raise SourceError(
            f"{path} is UTF-8, the source document says {encoding}",
            "set format.encoding: utf-8 in the source document",
        )


def _decoding_lines(head: bytes, encoding: str) -> _Lines:
    lines = _decode_head(head, encoding, KEEP_BYTES).splitlines()
    lost = [bool(LOST.search(line)) for line in lines]
    good = sum(not line.isascii() and not bad for line, bad in zip(lines, lost, strict=True))
    return _Lines(len(lines), good, sum(lost), bool(lost and lost[0]))


def _decode_head(head: bytes, encoding: str, errors: str) -> str:
    """A character cut in two by the end of the head is no error."""
    return codecs.getincrementaldecoder(encoding)(errors).decode(head)


def _first_failure(head: bytes, encoding: str) -> int:
    try:
        head.decode(encoding)
    except UnicodeDecodeError as error:
        return error.start
    return 0


def _guess(head: bytes) -> str:
    for encoding in CANDIDATES[:-1]:
        try:
            _decode_head(head, encoding, "strict")
        except UnicodeDecodeError:
            continue
        return encoding
    return CANDIDATES[-1]


def _is_legacy(encoding: str) -> bool:
    return not codecs.lookup(encoding).name.startswith("utf")


def _utf8_characters(head: bytes) -> int:
    try:
        return len(re.findall(r"[^\x00-\x7f]", _decode_head(head, "utf-8", "strict")))
    except UnicodeDecodeError:
        return 0


def _check_json(spec: SourceSpec, path: Path, sample: list[str]) -> None:
    """Fields of JSON are optional one by one; a mapped text or id that no record has is a slip.

    Of several texts a handful of records may lack one by chance, but not all.
    """
    objects = [found for text in sample if isinstance(found := _loaded(text), dict)]
    if sample and not objects:
        raise SourceError(
            f"none of the first {len(sample)} records of {path} is a JSON object",
            "set format.kind to what the file is (delimited, lines), or format.items",
        )
    texts = [field for field in spec.map.text if not _any_has(objects, field)]
    if len(objects) < SAMPLE and len(texts) < len(spec.map.text):
        texts = []
    turns = [spec.map.turns.items] if spec.map.turns else []
    others = [field for field in (spec.map.id, *turns) if field and not _any_has(objects, field)]
    for field in (*texts, *others):
        names = sorted({name for found in objects for name in found})
        raise SourceError(
            f"the map names the field {field!r}, which none of the first {len(objects)}"
            f" records of {path} has",
            f"fields found: {', '.join(names) or 'none'}",
        )


def _any_has(records: list[dict[str, Any]], field: str) -> bool:
    get, first = path_getter(field), field.split(".")[0]
    return any(get(record) is not None or first in record for record in records)


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
