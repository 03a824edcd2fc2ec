"""Events as the replay reads them, and what it finds.

Nothing that stands in an event may stop the replay: what cannot be read is a difference, named with
its place.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, Text, select, type_coerce

from models.base import table
from models.history import HistoryEvent
from models.kinds import EventKind
from policy.effects import EFFECTS as OF_LOOPS
from policy.effects.approvals import EFFECTS as OF_APPROVALS
from policy.story import Happening, Refused

EVENTS = table(HistoryEvent)

KINDS = frozenset(EventKind)
LISTED = 20
MOST = 2**31 - 1
"""What an integer column holds."""
BROKEN = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)
"""What reading a forged value may raise."""


@dataclass
class Replay:
    """What was rebuilt, and what differs (the first few in words).

    `made`, `stored`: rows of loops, from the events and in the tables. `records`: rows of the other
    tables that were held against events. `incomparable`: what cannot be known, and how often.
    """

    loops: int = 0
    events: int = 0
    made: int = 0
    stored: int = 0
    records: int = 0
    differences: int = 0
    listed: list[str] = field(default_factory=list)
    incomparable: Counter[str] = field(default_factory=Counter)

    def differ(self, words: str, times: int = 1) -> None:
        self.differences += times
        if len(self.listed) < LISTED:
            self.listed.append(words)

    def pass_over(self, what: str, times: int = 1) -> None:
        if times:
            self.incomparable[what] += times


@dataclass(frozen=True, slots=True)
class Entry:
    """An event that could be read. `event`: its id; `loop`: empty where it belongs to none."""

    seq: int
    event: str
    loop: str
    kind: EventKind
    at: datetime
    actor: str
    data: dict[str, Any]
    policy: str | None
    rule: str | None

    @property
    def happening(self) -> Happening:
        return Happening(self.loop, self.kind, self.data, self.at, self.policy, self.rule)

    def text(self, name: str) -> str:
        """A member that is text and can be looked for. Raises KeyError, ValueError."""
        value = self.data[name]
        if not isinstance(value, str) or "\0" in value:
            raise ValueError(f"{name} is {value!r}")
        value.encode()
        return value

    def number(self, name: str) -> int:
        """A member that is a whole number, from 0. Raises KeyError, ValueError."""
        value = self.data[name]
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST:
            raise ValueError(f"{name} is {value!r}")
        return value


def read_events() -> Select[Any]:
    return select(
        EVENTS.c.seq,
        EVENTS.c.event_id,
        EVENTS.c.loop_id,
        EVENTS.c.kind,
        # As text where the database keeps text: a forged one is for `moment` to refuse.
        type_coerce(EVENTS.c.at, Text).label("at"),
        EVENTS.c.actor_id,
        EVENTS.c.data,
        EVENTS.c.policy_version,
        EVENTS.c.rule_version,
    )


def entries(rows: Iterable[Any], result: Replay) -> Iterator[Entry]:
    """The events that can be read; each other is a difference."""
    for row in rows:
        result.events += 1
        try:
            entry = entry_of(row)
        except BROKEN as error:
            result.differ(f"seq {row.seq}: {error}")
            continue
        if (bool(entry.loop) and entry.kind in OF_LOOPS) or may_be_loopless(entry):
            yield entry
        else:
            where = "in a loop" if entry.loop else "without a loop"
            result.differ(f"seq {row.seq}: {entry.kind.value} {where}")


def may_be_loopless(entry: Entry) -> bool:
    return not entry.loop and (entry.kind not in OF_LOOPS or entry.kind in OF_APPROVALS)


def entry_of(row: Any) -> Entry:
    """Raises ValueError with what is wrong."""
    if row.kind not in KINDS:
        raise ValueError(f"there is no kind {row.kind!r}")
    return Entry(
        row.seq,
        row.event_id,
        row.loop_id or "",
        EventKind(row.kind),
        moment(row.at),
        row.actor_id,
        data_of(row.data),
        row.policy_version,
        row.rule_version,
    )


def data_of(text: Any) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except BROKEN as error:
        raise ValueError(f"data is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise ValueError("data is no JSON object")
    return data


def moment(stored: Any) -> datetime:
    """A stored time in UTC, as SQLite keeps it or as PostgreSQL gives it."""
    if isinstance(stored, datetime):
        return stored.astimezone(UTC)
    try:
        return datetime.fromisoformat(stored).replace(tzinfo=UTC)
    except BROKEN:
        raise ValueError(f"at is no time: {stored!r}") from None


def heed(result: Replay, entry: Entry, act: Callable[[Entry], None]) -> None:
    """Do what an event asks for; where it asks for what cannot be, that is a difference."""
    where = f"seq {entry.seq}: "
    try:
        act(entry)
    except Refused as refusal:
        result.differ(f"{where}{refusal}")
    except KeyError as error:
        result.differ(f"{where}{entry.kind.value} lacks {error}")
    except BROKEN as error:
        result.differ(f"{where}{entry.kind.value} cannot be followed: {error}")
