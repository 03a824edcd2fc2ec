"""A worksheet to records: each the compact JSON array of its cells as texts.

Dates and times become ISO, whole numbers lose their `.0`, empty cells are empty texts.
"""

import zipfile
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Any, BinaryIO

from policy.source_spec import FormatSpec, Limits, SourceSpec
from sources.errors import SourceError
from sources.framing import Frames
from sources.payloads import compact_cells
from sources.unpacking import SMALL

RESIDENT_BYTES = 134_217_728
"""openpyxl streams worksheets and keeps everything else, the shared texts above all, in memory."""
SHEETS = "xl/worksheets/"
LAST_ROW = 1_048_576


def frame(delivered: BinaryIO, spec: SourceSpec) -> Frames:
    """Raises SourceError for what is no workbook, lacks the sheet, or unpacks beyond the caps."""
    _refuse_bomb(delivered, spec.limits)
    rows = _rows(delivered, spec.format)
    header = spec.format.fields
    if spec.format.header:
        header = tuple(name.strip() for name in next(rows, []))
        if not any(header):
            raise SourceError("the sheet is empty", "set format.sheet to the one with the rows")
    return Frames((compact_cells(row) for row in rows), header)


def _refuse_bomb(delivered: BinaryIO, limits: Limits) -> None:
    """By declared sizes, which hold here: zipfile never hands out more than a member declares."""
    try:
        with zipfile.ZipFile(delivered) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise _not_a_workbook(error) from error
    unpacked = sum(info.file_size for info in members)
    packed = sum(info.compress_size for info in members)
    resident = sum(info.file_size for info in members if not info.filename.startswith(SHEETS))
    allowed = min(limits.unpacked_bytes, max(SMALL, packed * limits.unpack_ratio))
    if unpacked > allowed or resident > RESIDENT_BYTES:
        raise SourceError(
            f"the workbook unpacks to {unpacked:,} bytes, which is too much",
            "save it as delimited text, or raise limits.unpacked_bytes and limits.unpack_ratio in"
            " the source document if you trust the sender",
        )


def _rows(delivered: BinaryIO, form: FormatSpec) -> Iterator[list[str]]:
    import openpyxl

    if not openpyxl.DEFUSEDXML:
        raise SourceError("defusedxml is missing", "install loopwright with its requirements")
    try:
        book = openpyxl.load_workbook(delivered, read_only=True, data_only=True)
        if form.sheet is not None and form.sheet not in book.sheetnames:
            raise SourceError(
                f"there is no sheet {form.sheet!r}", f"use one of: {', '.join(book.sheetnames)}"
            )
        sheet = book[form.sheet] if form.sheet is not None else book.worksheets[0]
        sheet.reset_dimensions()  # what the file claims of its size may be millions of blanks
        for number, row in enumerate(sheet.iter_rows(values_only=True), 1):
            if number > LAST_ROW:
                raise ValueError("beyond the last row")
            cells = [_text(value) for value in row]
            if any(cells):
                yield cells
    except SourceError:
        raise
    except Exception as error:  # openpyxl raises whatever a damaged part provokes
        raise _not_a_workbook(error) from error


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return str(value)


def _not_a_workbook(error: Exception) -> SourceError:
    return SourceError(
        f"this is no readable XLSX workbook ({type(error).__name__})",
        "save it again as .xlsx, or set format.kind to what it is",
    )
