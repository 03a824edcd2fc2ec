"""What comes out of a source: one plain value per record, ready to be stored. Times are UTC."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from models.kinds import RatingKind

Key = tuple[str, str]
"""A customer key: (kind, value), kind being number, phone, mail or openid."""


@dataclass(frozen=True, slots=True)
class RatingValue:
    """`value` as the customer gave it; `scaled` is -1 at the worst and 1 at the best mark."""

    kind: RatingKind
    value: float
    scaled: float


@dataclass(frozen=True, slots=True)
class Turn:
    speaker: str
    is_customer: bool
    text: str


@dataclass(frozen=True, slots=True)
class FeedbackItem:
    """One thing a customer said. In a call, `text` holds the customer's turns only.

    `text` may be empty when a rating or a complaint number speaks for itself. `attributes` are
    the extra fields the source document asks for, as (name, value).
    """

    text: str
    channel: str
    said_at: datetime | None = None
    received_at: datetime | None = None
    language: str | None = None
    rating: RatingValue | None = None
    customer_keys: tuple[Key, ...] = ()
    complaint_number: str | None = None
    touchpoint: str | None = None
    unit: str | None = None
    turns: tuple[Turn, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class CustomerItem:
    """What is known of a customer between `valid_from` and `valid_to` (None: open)."""

    keys: tuple[Key, ...]
    value_band: str | None
    lifecycle: str | None
    vulnerable: bool
    branch: str | None
    manager: str | None
    consent: Mapping[str, bool]
    valid_from: datetime | None
    valid_to: datetime | None


@dataclass(frozen=True, slots=True)
class MeasureItem:
    """An objective count of one day in the source's own zone, with its denominator."""

    touchpoint: str
    unit: str | None
    channel: str
    day: date
    numerator: float
    denominator: float


@dataclass(frozen=True, slots=True)
class JourneyItem:
    """One step a customer took."""

    customer_keys: tuple[Key, ...]
    touchpoint: str
    channel: str
    at: datetime
    outcome: str | None


@dataclass(frozen=True, slots=True)
class CaseItem:
    """An open case of an older system: what the customer said, and how far it has come there.

    `number`: its number there. `topic`, `owner` and `person` as written there: codes, ids or
    titles. `status`: assigned, accepted or closed. `history`: what was noted on the way.
    """

    said: FeedbackItem
    number: str
    status: str
    topic: str | None = None
    owner: str | None = None
    person: str | None = None
    history: str | None = None


Item = FeedbackItem | CustomerItem | MeasureItem | JourneyItem | CaseItem
