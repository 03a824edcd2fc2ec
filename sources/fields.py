"""What each part of a map compiles to: readers of single properties of a row.

Those that end in None for an unmapped property let the builders in `parse` skip it; all raise
SourceError while compiling and RecordError while reading.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from policy.source_spec import MapSpec, SourceSpec, TimeSpec
from sources.errors import RecordError, SourceError
from sources.items import Key, RatingValue, Turn
from sources.reading import LINE, Reader, Row
from sources.times import compile_time
from sources.values import as_text, compile_rating, customer_key

Text = Callable[[Row], str | None]

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
LONGEST_NAME = 256


def optional_text(reader: Reader, field: str | None) -> Text | None:
    """The trimmed text of a field, None when empty."""
    if field is None:
        return None
    get = reader.text(field)
    return lambda row: get(row) or None


def optional_short(reader: Reader, field: str | None) -> Text | None:
    return None if field is None else short_text(reader, field)


def short_text(reader: Reader, field: str) -> Text:
    """As `optional_text` for what ends up in an indexed column."""
    get = reader.text(field)

    def read(row: Row) -> str | None:
        value = get(row)
        if len(value) > LONGEST_NAME:
            raise RecordError(f"longer than {LONGEST_NAME} characters", field)
        return value or None

    return read


def words(spec: SourceSpec, reader: Reader) -> Callable[[Row], str]:
    fields = spec.map.text
    if spec.format.kind == "lines" and not fields:
        fields = spec.format.fields[:1] or (LINE,)
    if not fields and not spec.map.turns and not spec.map.rating:
        raise SourceError("the map names no text", "set map.text to one field or several")
    texts = [reader.text(field) for field in fields]
    if len(texts) == 1:
        return texts[0]
    return lambda row: "\n".join(filter(None, [get(row) for get in texts]))


def turns(spec: SourceSpec, reader: Reader) -> Callable[[Row], tuple[Turn, ...]] | None:
    if spec.map.turns is None:
        return None
    if not reader.names_fields:
        raise SourceError("map.turns needs nested JSON", "set format.kind to jsonl or json")
    form = spec.map.turns
    get = reader.getter(form.items)
    speaker, text = reader.getter(form.speaker), reader.getter(form.text)

    def turn(part: Any) -> Turn:
        if not isinstance(part, dict):
            raise RecordError("a turn that is no object", form.items)
        who = as_text(speaker(part), form.speaker)
        return Turn(who, who in form.customer, as_text(text(part), form.text))

    def read(row: Row) -> tuple[Turn, ...]:
        parts = get(row)
        if parts is None:
            return ()
        if not isinstance(parts, list):
            raise RecordError("expected a list of turns", form.items)
        return tuple(one for one in map(turn, parts) if one.text)

    return read


def iso_too(spec: SourceSpec) -> bool:
    return spec.format.kind == "xlsx"


def optional_time(
    spec: SourceSpec, reader: Reader, when: TimeSpec | None, bounded: bool = True
) -> Callable[[Row], datetime | None] | None:
    """Empty is None; `bounded` refuses placeholders such as year 1 or 9999."""
    if when is None:
        return None
    get, read = reader.text(when.field), compile_time(when, iso_too(spec))

    def at(row: Row) -> datetime | None:
        text = get(row)
        if not text:
            return None
        moment = read(text)
        if bounded and not EARLIEST <= moment < LATEST:
            raise RecordError("a time outside 1970 to 2099", when.field)
        return moment

    return at


def optional_times(
    spec: SourceSpec, reader: Reader, allowed: tuple[str, ...]
) -> dict[str, Callable[[Row], datetime | None]]:
    _refuse_unknown("times", spec.map.times, allowed)
    found = {
        name: optional_time(spec, reader, when, False) for name, when in spec.map.times.items()
    }
    return {name: read for name, read in found.items() if read}


def required_time(spec: SourceSpec, name: str) -> TimeSpec:
    _refuse_unknown("times", spec.map.times, (name,))
    if name not in spec.map.times:
        raise SourceError(f"map.times.{name} is missing", f"name the field that holds {name}")
    return spec.map.times[name]


def rating(form: MapSpec, reader: Reader) -> Callable[[Row], RatingValue | None] | None:
    if form.rating is None:
        return None
    field = form.rating.field
    get, read = reader.text(field), compile_rating(form.rating)

    def mark(row: Row) -> RatingValue | None:
        text = get(row)
        return read(text) if text else None

    return mark


def channel(spec: SourceSpec, reader: Reader, field: str | None) -> Callable[[Row], str]:
    if field is None:
        return lambda _: spec.channel
    named = short_text(reader, field)
    names = spec.map.channel_names

    def channel(row: Row) -> str:
        value = named(row)
        return names.get(value, value) if value else spec.channel

    return channel


def customer_keys(form: MapSpec, reader: Reader) -> Callable[[Row], tuple[Key, ...]] | None:
    if not form.customer:
        return None
    fields = [(kind, reader.text(field)) for kind, field in form.customer.items()]

    def keys(row: Row) -> tuple[Key, ...]:
        found = [customer_key(kind, get(row)) for kind, get in fields]
        return tuple([key for key in found if key])

    return keys


def required_keys(spec: SourceSpec, reader: Reader) -> Callable[[Row], tuple[Key, ...]]:
    keys = customer_keys(spec.map, reader)
    if keys is None:
        raise SourceError(
            f"map.customer is missing, which {spec.yields} need",
            "name the field of at least one key: number, phone, mail or openid",
        )

    def read(row: Row) -> tuple[Key, ...]:
        found = keys(row)
        if not found:
            raise RecordError("no usable customer key")
        return found

    return read


def attributes(
    form: MapSpec, reader: Reader
) -> Callable[[Row], tuple[tuple[str, str], ...]] | None:
    if not form.values:
        return None
    fields = [(name, reader.text(field)) for name, field in form.values.items()]
    return lambda row: tuple([(name, text) for name, get in fields if (text := get(row))])


def values(
    form: MapSpec, reader: Reader, allowed: tuple[str, ...], prefix: str | None = None
) -> dict[str, Text]:
    _refuse_unknown("values", form.values, allowed, prefix)
    return {name: short_text(reader, field) for name, field in form.values.items()}


def _refuse_unknown(
    part: str, given: Mapping[str, Any], allowed: tuple[str, ...], prefix: str | None = None
) -> None:
    for name in given:
        if name not in allowed and not (prefix and name.startswith(prefix)):
            more = f" and {prefix}CHANNEL" if prefix else ""
            raise SourceError(
                f"map.{part}.{name} is unknown", f"use one of: {', '.join(allowed)}{more}"
            )


def required(spec: SourceSpec, part: str) -> Any:
    """A part of the map that this yield needs. Raises SourceError without it."""
    found = getattr(spec.map, part)
    if not found:
        raise SourceError(f"map.{part} is missing, which {spec.yields} need", f"set map.{part}")
    return found


STATUSES = ("assigned", "accepted", "closed")


def status(form: MapSpec, written: str | None) -> str:
    """A case's status in our words: as mapped, ours as it is, assigned when empty."""
    found = form.status_names.get(written or "", written or STATUSES[0])
    if found not in STATUSES:
        raise RecordError("a status that map.status_names does not know", form.values["status"])
    return found


def required_value(spec: SourceSpec, reader: Reader, name: str) -> Callable[[Row], str]:
    if name not in spec.map.values:
        raise SourceError(f"map.values.{name} is missing", f"name the field that holds {name}")
    return required_text(reader, spec.map.values[name])


def required_text(reader: Reader, field: str) -> Callable[[Row], str]:
    """As `short_text`, with RecordError for an empty field."""
    read = short_text(reader, field)

    def text(row: Row) -> str:
        value = read(row)
        if not value:
            raise RecordError("empty", field)
        return value

    return text
