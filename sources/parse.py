"""Records to items: the map of a source document compiled into one pure function.

`compile_parser` checks the map against the columns once; `Parser.parse` then gives the item of a
stored payload or says why it cannot. No clock, no file, no network: a replay gives the same item.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from models.kinds import Yields
from policy.source_spec import SourceSpec
from sources import fields
from sources.errors import RecordError
from sources.items import (
    CaseItem,
    CustomerItem,
    FeedbackItem,
    Item,
    JourneyItem,
    MeasureItem,
)
from sources.reading import Reader, Row
from sources.times import compile_day, compile_time
from sources.values import as_number, as_yes

Build = Callable[[Row], Item]

LONGEST_ID = 256
CUSTOMER_VALUES = ("value_band", "lifecycle", "vulnerable", "branch", "manager")
MEASURE_VALUES = ("touchpoint", "unit", "channel", "numerator", "denominator")
JOURNEY_VALUES = ("touchpoint", "channel", "outcome")
CASE_VALUES = ("topic", "owner", "person", "status")


@dataclass(frozen=True, slots=True)
class Parser:
    """Both methods take a payload as `open_records` framed it."""

    _reader: Reader
    _id: fields.Text | None
    _build: Build

    def key(self, payload: str) -> str | None:
        """The record's own id; None without a usable one, also when the record is unreadable."""
        if self._id is None:
            return None
        try:
            own = self._id(self._reader.row(payload))
        except RecordError:
            return None
        return own if own and len(own) <= LONGEST_ID else None

    def parse(self, payload: str) -> Item:
        """Raises RecordError with the reason; never anything else."""
        return self._build(self._reader.row(payload))


def compile_parser(spec: SourceSpec, header: tuple[str, ...] = ()) -> Parser:
    """Raises SourceError for a map that cannot work: an unknown column, zone, value or yield."""
    reader = Reader(spec, header)
    return Parser(
        reader, fields.optional_text(reader, spec.map.id), BUILDERS[spec.yields](spec, reader)
    )


def _feedback(spec: SourceSpec, reader: Reader) -> Callable[[Row], FeedbackItem]:
    said = fields.words(spec, reader)
    turns = fields.turns(spec, reader)
    said_at = fields.optional_time(spec, reader, spec.map.said_at)
    received_at = fields.optional_time(spec, reader, spec.map.received_at)
    rating = fields.rating(spec.map, reader)
    channel = fields.channel(spec, reader, spec.map.channel)
    language = fields.optional_short(reader, spec.map.language)
    keys = fields.customer_keys(spec.map, reader)
    number = fields.optional_short(reader, spec.map.complaint_number)
    touchpoint = fields.optional_short(reader, spec.map.touchpoint)
    unit = fields.optional_short(reader, spec.map.unit)
    extras = fields.attributes(spec.map, reader)

    def build(row: Row) -> FeedbackItem:
        spoken = turns(row) if turns else ()
        text = said(row)
        if spoken:
            text = "\n".join(filter(None, [text, *(t.text for t in spoken if t.is_customer)]))
        mark = rating(row) if rating else None
        complaint = number(row) if number else None
        if not text and mark is None and not complaint:
            raise RecordError("nothing was said: no text, rating or complaint number")
        return FeedbackItem(
            text,
            channel(row),
            said_at(row) if said_at else None,
            received_at(row) if received_at else None,
            (language(row) if language else None) or spec.language,
            mark,
            keys(row) if keys else (),
            complaint,
            touchpoint(row) if touchpoint else None,
            unit(row) if unit else None,
            spoken,
            extras(row) if extras else (),
        )

    return build


def _customer(spec: SourceSpec, reader: Reader) -> Build:
    values = fields.values(spec.map, reader, CUSTOMER_VALUES, "consent.")
    keys = fields.required_keys(spec, reader)
    times = fields.optional_times(spec, reader, ("valid_from", "valid_to"))
    vulnerable = spec.map.values.get("vulnerable", "")
    consents = {name: name.removeprefix("consent.") for name in values if "." in name}

    def build(row: Row) -> CustomerItem:
        read = {name: value(row) for name, value in values.items()}
        consent = {
            channel: as_yes(read[name] or "", spec.map.values[name])
            for name, channel in consents.items()
        }
        return CustomerItem(
            keys(row),
            read.get("value_band"),
            read.get("lifecycle"),
            as_yes(read.get("vulnerable") or "", vulnerable),
            read.get("branch"),
            read.get("manager"),
            consent,
            times["valid_from"](row) if "valid_from" in times else None,
            times["valid_to"](row) if "valid_to" in times else None,
        )

    return build


def _measure(spec: SourceSpec, reader: Reader) -> Build:
    values = fields.values(spec.map, reader, MEASURE_VALUES)
    touchpoint = fields.required_value(spec, reader, "touchpoint")
    numerator = fields.required_value(spec, reader, "numerator")
    denominator = fields.required_value(spec, reader, "denominator")
    unit = values.get("unit")
    channel = fields.channel(spec, reader, spec.map.values.get("channel"))
    when = fields.required_time(spec, "day")
    get_day = fields.required_text(reader, when.field)
    read_day = compile_day(when, fields.iso_too(spec))

    def build(row: Row) -> MeasureItem:
        top = as_number(numerator(row), spec.map.values["numerator"])
        bottom = as_number(denominator(row), spec.map.values["denominator"])
        if top < 0 or bottom <= 0:
            raise RecordError("a measure needs a numerator of 0 or more over more than 0")
        return MeasureItem(
            touchpoint(row),
            unit(row) if unit else None,
            channel(row),
            read_day(get_day(row)),
            top,
            bottom,
        )

    return build


def _journey(spec: SourceSpec, reader: Reader) -> Build:
    values = fields.values(spec.map, reader, JOURNEY_VALUES)
    touchpoint = fields.required_value(spec, reader, "touchpoint")
    outcome = values.get("outcome")
    channel = fields.channel(spec, reader, spec.map.values.get("channel"))
    keys = fields.required_keys(spec, reader)
    when = fields.required_time(spec, "at")
    get_at = fields.required_text(reader, when.field)
    read_at = compile_time(when, fields.iso_too(spec))

    def build(row: Row) -> JourneyItem:
        return JourneyItem(
            keys(row),
            touchpoint(row),
            channel(row),
            read_at(get_at(row)),
            outcome(row) if outcome else None,
        )

    return build


def _case(spec: SourceSpec, reader: Reader) -> Build:
    said = _feedback(replace(spec, map=replace(spec.map, values={})), reader)
    number = fields.required_text(reader, fields.required(spec, "id"))
    given = {k: v for k, v in spec.map.values.items() if k != "history"}
    values = fields.values(replace(spec.map, values=given), reader, CASE_VALUES)
    history = fields.optional_text(reader, spec.map.values.get("history"))
    received = fields.required(spec, "received_at").field

    def build(row: Row) -> CaseItem:
        words, own = said(row), number(row)
        if words.received_at is None:
            raise RecordError("empty", received)
        read = {name: value(row) for name, value in values.items()}
        return CaseItem(
            replace(words, complaint_number=words.complaint_number or own),
            own,
            fields.status(spec.map, read.get("status")),
            read.get("topic"),
            read.get("owner"),
            read.get("person"),
            history(row) if history else None,
        )

    return build


BUILDERS: Mapping[Yields, Callable[[SourceSpec, Reader], Build]] = {
    Yields.FEEDBACK: _feedback,
    Yields.CUSTOMERS: _customer,
    Yields.MEASURES: _measure,
    Yields.JOURNEY_EVENTS: _journey,
    Yields.CASES: _case,
}
