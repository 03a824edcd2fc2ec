"""From a stored payload back to its fields: a getter per mapped field, compiled once."""

import json
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from operator import itemgetter
from typing import Any

from policy.source_spec import SourceSpec
from sources.errors import RecordError, SourceError
from sources.payloads import MARK, storable, unpack
from sources.values import as_text

Row = Any
"""A list of cells, a JSON object, or a line, by format."""
Getter = Callable[[Row], Any]
GetText = Callable[[Row], str]

DECODE = json.JSONDecoder().raw_decode

LINE = "line"
"""What the only field of the `lines` format is called when format.fields names it not."""


class Reader:
    """Turns payloads of one source into rows and hands out getters for their fields."""

    def __init__(self, spec: SourceSpec, header: tuple[str, ...]) -> None:
        self._spec = spec
        self._kind = spec.format.kind
        self._header = self._columns(header)
        self._cap = spec.limits.cell_bytes

    def _columns(self, header: tuple[str, ...]) -> tuple[str, ...]:
        if self._kind == "lines":
            return self._spec.format.fields[:1] or (LINE,)
        return header or self._spec.format.fields

    @property
    def names_fields(self) -> bool:
        """Whether each record names its own fields, as JSON does."""
        return self._kind in {"jsonl", "json"}

    def getter(self, field: str) -> Getter:
        """Raises SourceError for a column that is not in the header, or is there twice."""
        if self.names_fields:
            return path_getter(field)
        if self._kind == "lines":
            self._column(field)
            return lambda row: row
        return itemgetter(self._column(field))

    def text(self, field: str) -> GetText:
        """As `getter`, trimmed, "" when empty; it raises RecordError for lists and objects."""
        if self.names_fields:
            get = path_getter(field)
            return lambda row: as_text(get(row), field)
        index = self._column(field)
        if self._kind == "lines":
            return str.strip
        return lambda row: row[index].strip()

    def _column(self, field: str) -> int:
        if field not in self._header:
            raise self._no_column(field)
        if self._header.count(field) > 1:
            raise SourceError(
                f"the column {field!r} is there {self._header.count(field)} times",
                "rename the columns, or set format.header: false and name format.fields",
            )
        return self._header.index(field)

    def _no_column(self, field: str) -> SourceError:
        near = get_close_matches(field, self._header, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return SourceError(
            f"the map names the column {field!r}, which is not there",
            f"{hint}columns found: {', '.join(self._header) or 'none'}",
        )

    def row(self, payload: str) -> Row:
        """Raises RecordError for broken JSON, a wrong number of cells and what no cap allows."""
        try:
            text = unpack(payload) if payload.startswith(MARK) else payload
            row = text if self._kind == "lines" else _loads(text)
        except RecursionError:
            raise RecordError("JSON nested too deeply") from None
        except ValueError as error:
            raise RecordError(f"no valid JSON: {_place(error)}") from None
        if self.names_fields:
            if not isinstance(row, dict):
                raise RecordError(f"expected a JSON object, found {type(row).__name__}")
        elif self._kind != "lines":
            row = self._cells(row)
        if len(payload) * 4 > self._cap or "\\u" in payload or payload.startswith(MARK):
            self._inspect(row)
        return row

    def _cells(self, row: Any) -> list[str]:
        if not isinstance(row, list):
            raise RecordError(f"expected an array of cells, found {type(row).__name__}")
        width = len(self._header)
        if len(row) == width:
            return row
        if len(row) > width and not any(row[width:]):
            return row[:width]
        if self._kind == "xlsx" and len(row) < width:
            return row + [""] * (width - len(row))
        raise RecordError(
            f"{len(row)} cells where the header has {width}; look for a stray delimiter,"
            " line break or quote"
        )

    def _inspect(self, row: Row) -> None:
        for text in _texts(row):
            if not storable(text):
                raise RecordError(_why_unstorable(text, self._spec.format.encoding))
            if len(text) * 4 > self._cap and len(text.encode()) > self._cap:
                raise RecordError(f"a cell of more than {self._cap:,} bytes")


def _loads(text: str) -> Any:
    """As json.loads, without its checks of the input's type: half a microsecond a record."""
    try:
        value, end = DECODE(text)
    except ValueError:
        return json.loads(text)
    return value if end == len(text) else json.loads(text)


def _why_unstorable(text: str, encoding: str) -> str:
    if "\0" in text:
        return "holds a NUL character"
    return f"holds bytes that do not decode as {encoding}"


def _place(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos + 1}"
    return "a number too long"


def _texts(value: Any) -> Iterator[str]:
    """Every text inside a row, keys of objects too, without recursion."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict):
            waiting.extend(part)
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def path_getter(path: str) -> Getter:
    """A dotted path into nested JSON; a number counts into a list; None where it leads nowhere."""
    if "." not in path:
        return lambda row: row.get(path)
    steps = path.split(".")

    def walk(row: Row) -> Any:
        if path in row:
            return row[path]
        value = row
        for step in steps:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
                value = value[int(step)]
            else:
                return None
        return value

    return walk
