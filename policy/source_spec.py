"""How feedback and its companions come in: the source documents as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from models.kinds import RatingKind, Yields
from policy.organisation import Text


@dataclass(frozen=True)
class FormatSpec:
    """How bytes become records.

    `kind`: delimited, jsonl, json, lines, xlsx. `items`: dotted path to the list inside a JSON
    document. `sheet`: worksheet name (first when None). `fields`: column names when there is no
    header row; for `lines` the one name of its field (`line` when left out).
    """

    kind: str
    encoding: str = "utf-8"
    delimiter: str = ","
    quote: str = '"'
    header: bool = True
    fields: tuple[str, ...] = ()
    sheet: str | None = None
    items: str | None = None


@dataclass(frozen=True)
class FetchSpec:
    """Where deliveries come from when a flow pulls: `file` (a glob) or `http`.

    `http`: `url` is asked with `cursor_parameter`=last cursor; the next cursor is read from
    `cursor_field` (dotted path in the answer); conditional requests use ETag and Last-Modified.
    `secret` names the environment variable whose value is sent in `secret_header`.
    """

    kind: str = "file"
    path: str | None = None
    url: str | None = None
    cursor_parameter: str | None = None
    cursor_field: str | None = None
    page_limit: int = 100
    secret: str | None = None
    secret_header: str = "Authorization"
    allow_private: bool = False


@dataclass(frozen=True)
class TimeSpec:
    """`format`: strptime pattern, `iso`, `epoch_s` or `epoch_ms`; `zone` for naive values."""

    field: str
    format: str = "iso"
    zone: str = "Asia/Shanghai"


@dataclass(frozen=True)
class RatingSpec:
    """`lowest` is the worst mark and `highest` the best, whichever number is greater."""

    field: str
    kind: RatingKind
    lowest: float
    highest: float


@dataclass(frozen=True)
class TurnsSpec:
    """Where a call keeps its segments and which speakers are the customer."""

    items: str
    speaker: str
    text: str
    customer: tuple[str, ...]


SEGMENTS = "segments"
"""Under which name the map finds a followed conversation's segments."""


@dataclass(frozen=True)
class FollowSpec:
    """How the lines of a file that grows are segments of conversations that still run.

    `conversation`: the field that names it. `segment`: the field that numbers a segment within it;
    without one, the same segment word for word is the same one. `ended`: the field that says with
    `ended_value` (without one: with anything but nothing or false) that the conversation is over;
    it also is when nothing came for `quiet_minutes`.
    """

    conversation: str
    segment: str | None = None
    ended: str | None = None
    ended_value: str | None = None
    quiet_minutes: int = 10


@dataclass(frozen=True)
class MapSpec:
    """Which field of a record feeds which property. Dotted paths reach into nested JSON.

    Feedback uses text/turns, id, said_at, received_at, rating, customer, complaint_number,
    touchpoint, unit. The other yields read the fields named for them in `values`.
    """

    id: str | None = None
    text: tuple[str, ...] = ()
    turns: TurnsSpec | None = None
    said_at: TimeSpec | None = None
    received_at: TimeSpec | None = None
    rating: RatingSpec | None = None
    channel: str | None = None
    channel_names: Mapping[str, str] = field(default_factory=dict)
    language: str | None = None
    customer: Mapping[str, str] = field(default_factory=dict)
    """Key kind (number, phone, mail, openid) -> field."""
    complaint_number: str | None = None
    touchpoint: str | None = None
    unit: str | None = None
    status_names: Mapping[str, str] = field(default_factory=dict)
    """Of a case: the older system's word -> assigned, accepted or closed."""
    values: Mapping[str, str] = field(default_factory=dict)
    """For customers, measures and journey events: property name -> field (a customer's consent as
    `consent.CHANNEL`). For cases: topic, owner, person, status, history. For feedback: extra
    fields to keep as attributes, name -> field."""
    times: Mapping[str, TimeSpec] = field(default_factory=dict)
    """For the same yields: property name -> time."""


@dataclass(frozen=True)
class Breaker:
    """A source stops itself after this many failures in a row, or above this share."""

    consecutive: int = 50
    share: float = 0.2


@dataclass(frozen=True)
class Limits:
    """Caps while reading: bytes of one cell, records of one delivery, unpacked bytes and ratio."""

    cell_bytes: int = 65_536
    records: int = 20_000_000
    unpacked_bytes: int = 4_294_967_296
    unpack_ratio: int = 100


@dataclass(frozen=True)
class SourceSpec:
    name: str
    title: Text
    format: FormatSpec
    map: MapSpec
    yields: Yields = Yields.FEEDBACK
    channel: str = "other"
    """Channel when the record does not name one."""
    language: str | None = None
    deliveries: str = "cumulative"
    """`cumulative`: reading again adds nothing. `increments`: the delivery's hash enters keys."""
    received: str = "stated"
    """`stated`: the record's own times say when it was received. `arrival`: it is received when it
    reaches us, whenever it was said."""
    expected_days_late: int = 0
    """T+N: how late this source normally is."""
    arrives: str = "minutes"
    """`live`: while the conversation runs. `minutes`: soon after. `daily`: the day after or later
    (T+1), too late for anything within the minute."""
    follow: FollowSpec | None = None
    """Read while it grows; the map then reads {first fields…, segments: [each line]}."""
    fetch: FetchSpec | None = None
    breaker: Breaker = Breaker()
    limits: Limits = Limits()
