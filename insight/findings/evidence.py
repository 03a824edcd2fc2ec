"""What a finding is, and the events it is found in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from models.base import table
from models.history import HistoryEvent
from models.kinds import EventKind
from policy.organisation import Text

EVENTS = table(HistoryEvent)
ALPHA = 0.01
"""How often chance alone may raise a kind of finding in one look, over all who are looked at."""
LEAST = 3
"""Cases below which nothing is said of anybody."""
PAGE = 500


@dataclass(frozen=True)
class Finding:
    """`subject`: the person or unit (several joined by →). `counts`: the numbers behind it.

    `loops` and `people`: ids to look at. `words`: what was seen, in both languages.
    """

    name: str
    subject: str
    counts: Mapping[str, int]
    loops: tuple[str, ...]
    people: tuple[str, ...]
    words: Text


@dataclass(frozen=True)
class Since:
    """From when on is looked, and the history's position there."""

    at: datetime
    seq: int


def happened(
    tx: Connection, since: Since, kinds: Iterable[EventKind], *columns: Any
) -> Sequence[Any]:
    """Events of these kinds since then, oldest first: loop_id, kind, at, actor_id, actor_type, data
    and further columns."""
    query = (
        select(
            EVENTS.c.loop_id,
            EVENTS.c.kind,
            EVENTS.c.at,
            EVENTS.c.actor_id,
            EVENTS.c.actor_type,
            EVENTS.c.data,
            *columns,
        )
        .where(EVENTS.c.kind.in_([k.value for k in kinds]), EVENTS.c.seq >= since.seq)
        .where(EVENTS.c.at >= since.at)
        .order_by(EVENTS.c.seq)
    )
    return tx.execute(query).all()


def by_person(events: Iterable[Any]) -> dict[str, list[Any]]:
    """The events that people made, by who."""
    people: dict[str, list[Any]] = {}
    for event in events:
        if event.actor_type == "person":
            people.setdefault(event.actor_id, []).append(event)
    return people


def pages(ids: Iterable[str]) -> Iterable[list[str]]:
    ordered = sorted(set(ids))
    for start in range(0, len(ordered), PAGE):
        yield ordered[start : start + PAGE]


def tail(hits: int, n: int, chance: float) -> float:
    """How likely `hits` or more of `n` are, each with this chance."""
    from scipy.stats import binom

    return float(binom.sf(hits - 1, n, chance))
