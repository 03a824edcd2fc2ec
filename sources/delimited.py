"""Delimited text to records: each the compact JSON array of its cells, in the header's order."""

import csv
import io
import sys
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO

from policy.source_spec import FormatSpec, Limits, SourceSpec
from sources.errors import SourceError
from sources.framing import Frames, decoded, record_cap
from sources.payloads import compact_cells
from sources.unpacking import content_streams

if TYPE_CHECKING:
    import _csv

csv.field_size_limit(sys.maxsize)  # process-wide in the csv module; the record cap below holds

Rows = Iterator[list[str]]


def frame(delivered: BinaryIO, spec: SourceSpec) -> Frames:
    """Raises SourceError at once without a header row, and later at a quote never closed."""
    contents = (
        _rows(decoded(content, spec.format, ""), spec.format, spec.limits)
        for content in content_streams(delivered, spec.limits)
    )
    first = next(contents, iter(()))
    header = _header(first, spec.format)
    rest = (_same_header(rows, header, spec.format) for rows in contents)
    rows = chain(first, chain.from_iterable(rest))
    return Frames((compact_cells(row) for row in rows), header)


def _header(rows: Rows, form: FormatSpec) -> tuple[str, ...]:
    if not form.header:
        return form.fields
    names = next(rows, None)
    if not names:
        raise SourceError(
            "there is no header row", "set format.header: false and name format.fields"
        )
    return tuple(name.strip() for name in names)


def _same_header(rows: Rows, header: tuple[str, ...], form: FormatSpec) -> Rows:
    if _header(rows, form) != header:
        raise SourceError("the archive's files have different headers", "deliver them one by one")
    return rows


def _rows(text: io.TextIOWrapper, form: FormatSpec, limits: Limits) -> Rows:
    """Rows of cells, blank lines left out."""
    cap = record_cap(limits)
    size = 0

    def lines() -> Iterator[str]:
        nonlocal size
        while line := text.readline(cap + 1):
            size += len(line)
            if size > cap:
                raise _endless(cap)
            yield line

    reader = _reader(lines(), form)
    started = 1
    try:
        for row in reader:
            if row:
                yield row
            size = 0
            started = reader.line_num + 1
    except csv.Error as error:
        raise SourceError(f"line {started}: {error}", "check delimiter and quote") from error
    except SourceError as error:
        raise SourceError(f"the record at line {started}: {error.what}", str(error.fix)) from None


def _reader(lines: Iterator[str], form: FormatSpec) -> "_csv.Reader":
    try:
        if form.quote:
            return csv.reader(lines, delimiter=form.delimiter, quotechar=form.quote)
        return csv.reader(lines, delimiter=form.delimiter, quoting=csv.QUOTE_NONE)
    except (TypeError, ValueError) as error:
        raise SourceError(
            f"format.delimiter and format.quote are one character each: {error}",
            'write for example delimiter: "\\t" or quote: "\'"',
        ) from error


def _endless(cap: int) -> SourceError:
    return SourceError(
        f"longer than {cap:,} characters; a quote is probably never closed",
        "mend the quote there, set format.quote as the sender does (empty for none), or raise"
        " limits.cell_bytes",
    )
