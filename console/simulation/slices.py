"""A source's file cut by time of receipt: slices in its own framing that lose no record."""

import codecs
import csv
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import cast
from zoneinfo import ZoneInfo

from policy.source_spec import SourceSpec
from sources.errors import RecordError
from sources.items import CaseItem, CustomerItem, FeedbackItem, Item, JourneyItem, MeasureItem
from sources.parse import compile_parser
from sources.payloads import unpack
from sources.records import open_file, open_records
from sources.unpacking import content_streams

PACKED = {".gz", ".zip"}
GIVE_BACK = "loopwright.give_back"
STAMP = (1980, 1, 1, 0, 0, 0)
"""Of a workbook's members, so that the same records make the same bytes."""
MODIFIED = re.compile(rb"<dcterms:modified[^>]*>[^<]*</dcterms:modified>")
STATED = "%Y%m%dT%H%M"


def _give_back(error: UnicodeError) -> tuple[bytes, int]:
    """The bytes that did not decode when they were read (`sources.payloads`)."""
    failed = cast(UnicodeEncodeError, error)
    lost = failed.object[failed.start : failed.end]
    if any(not 0xDC00 <= ord(char) <= 0xDCFF for char in lost):
        raise error
    return bytes(ord(char) - 0xDC00 for char in lost), failed.end


codecs.register_error(GIVE_BACK, _give_back)


@dataclass(frozen=True)
class Cuttable:
    """A file's records as framed, each with the time it states; None where it states none."""

    spec: SourceSpec
    path: Path
    header: tuple[str, ...]
    texts: list[str]
    stated: list[datetime | None]


def read_records(spec: SourceSpec, path: Path, zone: ZoneInfo) -> Cuttable:
    """Raises SourceError for a file that cannot be used at all."""
    with open_records(spec, path) as delivery:
        parser = compile_parser(spec, delivery.header)
        payloads = [record.payload for record in delivery]
    stated = []
    for payload in payloads:
        try:
            stated.append(time_of(parser.parse(payload), zone))
        except RecordError:
            stated.append(None)
    return Cuttable(spec, path, delivery.header, [unpack(p) for p in payloads], stated)


def time_of(item: Item, zone: ZoneInfo) -> datetime | None:
    """When the item was received; a day's count is known when the day is over."""
    match item:
        case FeedbackItem():
            return item.received_at or item.said_at
        case CustomerItem():
            return item.valid_from
        case MeasureItem():
            over = datetime.combine(item.day, time(), zone) + timedelta(days=1)
            return over.astimezone(UTC)
        case JourneyItem():
            return item.at
        case CaseItem():
            return item.said.received_at


def beside(stated: Sequence[datetime | None]) -> list[datetime | None]:
    """A record without a time travels with the one before it, the first ones with the next."""
    found: list[datetime | None] = []
    last = next((moment for moment in stated if moment is not None), None)
    for moment in stated:
        last = moment or last
        found.append(last)
    return found


def spread(count: int, first: datetime, last: datetime) -> list[datetime]:
    """`count` moments evenly between two, in order."""
    step = (last - first) / max(count, 1)
    return [first + step * n + step / 2 for n in range(count)]


def arrivals(moments: Sequence[datetime], first: datetime, every: timedelta) -> list[datetime]:
    """The first export at or after each moment; what lies before the first goes with it."""
    return [first + every * max(0, -((first - moment) // every)) for moment in moments]


def write_slices(file: Cuttable, arriving: Sequence[datetime], folder: Path) -> int:
    """Write `folder`/TIME.EXT per time of arrival, records in the file's order; how many.

    Equal slices are told apart by blank lines at their end, which no framing reads: a source of
    increments would take the second for a repeat of the first.
    """
    groups: dict[datetime, list[str]] = {}
    for text, at in zip(file.texts, arriving, strict=True):
        groups.setdefault(at, []).append(text)
    folder.mkdir(parents=True)
    suffix = "" if file.path.suffix in PACKED else file.path.suffix
    seen: set[bytes] = set()
    for at, texts in sorted(groups.items()):
        content = WRITERS[file.spec.format.kind](file, texts, at)
        blank = encoded(file, "\n", mark=False)
        while content in seen:
            content += blank
        seen.add(content)
        (folder / f"{at.astimezone(UTC):{STATED}}{suffix}").write_bytes(content)
    return len(groups)


def arrival_of(path: Path) -> datetime:
    """When a slice is due, by its name."""
    return datetime.strptime(path.name[:13], STATED).replace(tzinfo=UTC)


def encoded(file: Cuttable, text: str, *, mark: bool = True) -> bytes:
    """In the source's encoding, with the byte order mark its file began with."""
    name = file.spec.format.encoding
    if not mark:
        name = {"utf-8-sig": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}.get(name, name)
    content = text.encode(name, GIVE_BACK)
    return codecs.BOM_UTF8 + content if mark and marked(file, content) else content


def marked(file: Cuttable, content: bytes) -> bool:
    """Whether the file begins with a mark that its encoding does not write by itself."""
    with open_file(file.path) as stream:
        inside = next(content_streams(stream, file.spec.limits))
        begins = inside.peek(3).startswith(codecs.BOM_UTF8)
    return begins and not content.startswith(codecs.BOM_UTF8)


def delimited(file: Cuttable, texts: Sequence[str], at: datetime) -> bytes:  # noqa: ARG001
    form = file.spec.format
    out = io.StringIO(newline="")
    rows = [json.loads(text) for text in texts]
    if form.header:
        rows.insert(0, list(file.header))
    if form.quote:
        csv.writer(
            out, delimiter=form.delimiter, quotechar=form.quote, lineterminator="\n"
        ).writerows(rows)
    else:
        out.writelines(form.delimiter.join(row) + "\n" for row in rows)
    return encoded(file, out.getvalue())


def lines(file: Cuttable, texts: Sequence[str], at: datetime) -> bytes:  # noqa: ARG001
    return encoded(file, "".join(text + "\n" for text in texts))


def document(file: Cuttable, texts: Sequence[str], at: datetime) -> bytes:  # noqa: ARG001
    """The list alone, under the same path into the document."""
    steps = file.spec.format.items.split(".") if file.spec.format.items else []
    around = "".join(f"{{{json.dumps(step, ensure_ascii=False)}:" for step in steps)
    items = ",\n".join(texts)
    return encoded(file, f"{around}[{items}]{'}' * len(steps)}\n")


def workbook(file: Cuttable, texts: Sequence[str], at: datetime) -> bytes:
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell

    form = file.spec.format
    book = Workbook(write_only=True)
    sheet = book.create_sheet(form.sheet)
    if form.header:
        sheet.append(list(file.header))
    for text in texts:
        cells = [WriteOnlyCell(sheet, value) for value in json.loads(text)]
        for cell in cells:
            cell.data_type = "s"  # a text that begins with = is no formula
        sheet.append(cells)
    book.properties.created = at.astimezone(UTC).replace(tzinfo=None)
    out = io.BytesIO()
    book.save(out)
    return restamped(out)


def restamped(packed: io.BytesIO) -> bytes:
    """The workbook without the moment at which it was made, which stands in it twice."""
    out = io.BytesIO()
    with zipfile.ZipFile(packed) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = MODIFIED.sub(b"", old.read(name))
            new.writestr(zipfile.ZipInfo(name, STAMP), content, zipfile.ZIP_DEFLATED)
    return out.getvalue()


WRITERS: dict[str, Callable[[Cuttable, Sequence[str], datetime], bytes]] = {
    "delimited": delimited,
    "jsonl": lines,
    "lines": lines,
    "json": document,
    "xlsx": workbook,
}


def slices_in(folder: Path) -> Iterator[tuple[datetime, str, Path]]:
    """What has not yet arrived: (time of arrival, source, file)."""
    for path in folder.glob("*/*"):
        yield arrival_of(path), path.parent.name, path
