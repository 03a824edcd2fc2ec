"""How an event's data says that a clock starts: `clock:<spec>` → "<kind> <stops> <due> <next>".

Starts travel inside the event that causes them (a loop opened, a ticket assigned), so that a loop
with three clocks costs no three events more. Times are ISO 8601 in UTC; `-` means none.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

PREFIX = "clock:"
NONE, PROVISIONAL = "-", "provisional"


@dataclass(frozen=True, slots=True)
class Start:
    """A clock as it starts: whose time, what stops it, when it is due, when to look first.

    Times are in UTC.
    """

    kind: str
    stops: str
    due_at: datetime
    next_at: datetime | None
    provisional: bool = False

    def __str__(self) -> str:
        words = [self.kind, self.stops, self.due_at.isoformat(), iso(self.next_at) or NONE]
        return " ".join([*words, PROVISIONAL] if self.provisional else words)


def parse(text: str) -> Start:
    """The inverse of `str(Start)`. Raises ValueError for anything else."""
    kind, stops, due, following, *rest = text.split(" ")
    if rest not in ([], [PROVISIONAL]):
        raise ValueError(f"no start of a clock: {text!r}")
    next_at = None if following == NONE else moment(following)
    return Start(kind, stops, moment(due), next_at, bool(rest))


def starts_in(data: Mapping[str, Any]) -> Iterator[tuple[str, Start]]:
    """The clocks that an event starts, by the id of their specification."""
    for key, value in data.items():
        if key.startswith(PREFIX):
            yield key.removeprefix(PREFIX), parse(value)


def iso(at: datetime | None) -> str | None:
    """A UTC time as the data of an event holds it."""
    return at.astimezone(UTC).isoformat() if at else None


def moment(text: str) -> datetime:
    """The UTC time of an event's time string."""
    return datetime.fromisoformat(text).astimezone(UTC)
