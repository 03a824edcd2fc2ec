"""What looks like working for the numbers instead of the customers? Named findings with evidence.

A finding accuses nobody: it names loops and people for a person to look at. Everything is read
from events and rows; the words of customers and staff are compared by hash and never kept.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

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


def look(tx: Connection, since: datetime) -> list[Finding]:
    """Every finding since then, by name and subject."""
    from insight.circles import rejected_in_circles
    from insight.closings import closed_without_contact, copied_resolutions
    from insight.last_moment import last_moment
    from insight.left_out import unhappy_left_out

    looks: Sequence[Callable[[Connection, Since], Iterable[Finding]]] = (
        last_moment,
        closed_without_contact,
        rejected_in_circles,
        unhappy_left_out,
        copied_resolutions,
    )
    start = Since(since, first_seq(tx, since))
    found = [finding for one in looks for finding in one(tx, start)]
    return sorted(found, key=lambda f: (f.name, f.subject))


def first_seq(tx: Connection, since: datetime) -> int:
    """The first position whose event is not before `since`, by halving: time has no index of its
    own, but the history is in its order."""
    low, high = 0, (tx.execute(select(func.max(EVENTS.c.seq))).scalar() or 0) + 1
    while low < high:
        middle = (low + high) // 2
        at = tx.execute(select(EVENTS.c.at).where(EVENTS.c.seq == middle)).scalar()
        low, high = (middle + 1, high) if at is not None and at < since else (low, middle)
    return low


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
