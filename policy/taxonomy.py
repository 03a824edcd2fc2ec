"""What feedback can be about and how words betray it: the taxonomy document as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from models.kinds import IssueKind
from policy.organisation import Text


@dataclass(frozen=True)
class Words:
    """Phrases that betray something. Any keyword or pattern is enough; any `unless` forbids.

    `zh` and `en` are plain keywords (`en` matched at word borders, case folded);
    `patterns` and `unless` are RE2 expressions, case folded.
    """

    zh: tuple[str, ...] = ()
    en: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()


@dataclass(frozen=True)
class Touchpoint:
    id: str
    title: Text


@dataclass(frozen=True)
class Stage:
    id: str
    title: Text
    touchpoints: tuple[Touchpoint, ...]


@dataclass(frozen=True)
class Journey:
    id: str
    title: Text
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class Codes:
    """Complaint codes in the manner of JR/T 0169: business (B) and cause (C).

    The channel code (A) comes from the channel the feedback arrived by (`Taxonomy.channels`).
    """

    business: str | None = None
    cause: str | None = None


@dataclass(frozen=True)
class Topic:
    """One thing customers talk about; `owner` is the unit that puts it right."""

    id: str
    title: Text
    touchpoint: str
    owner: str
    words: Words
    departments: tuple[str, ...] = ()
    codes: Codes = Codes()
    weight: float = 1.0


@dataclass(frozen=True)
class Signal:
    """A yes/no reading of the words that policy rules may ask for, with its effects.

    `kind` votes for an issue kind; `emotion` (0-3) and `severity` (0-3) raise the reading to at
    least that value; `sentiment` (-1..1) is added up.
    """

    id: str
    title: Text
    words: Words
    kind: IssueKind | None = None
    emotion: int = 0
    severity: int = 0
    sentiment: float = 0.0


@dataclass(frozen=True)
class CodeEntry:
    code: str
    title: Text


@dataclass(frozen=True)
class CodeTable:
    """The complaint codes in use: channel (A), business (B), cause (C)."""

    channels: tuple[CodeEntry, ...] = ()
    business: tuple[CodeEntry, ...] = ()
    causes: tuple[CodeEntry, ...] = ()


@dataclass(frozen=True)
class Taxonomy:
    taxonomy: str
    version: str
    journeys: tuple[Journey, ...]
    topics: tuple[Topic, ...]
    signals: tuple[Signal, ...]
    codes: CodeTable = CodeTable()
    channel_codes: Mapping[str, str] = field(default_factory=dict)
    """Channel name as sources give it -> channel code (A)."""
    kind_order: tuple[IssueKind, ...] = (
        IssueKind.LEAVE,
        IssueKind.COMPLAINT,
        IssueKind.SUGGESTION,
        IssueKind.ENQUIRY,
        IssueKind.PRAISE,
        IssueKind.NOISE,
    )
    """When several kinds are voted for, the one that asks most of the bank wins."""
