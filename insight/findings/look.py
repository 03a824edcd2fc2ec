"""Every finding since a day: all ways of looking, one after the other."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection, func, select

from insight.findings.circles import rejected_in_circles
from insight.findings.closings import closed_without_contact, copied_resolutions
from insight.findings.evidence import EVENTS, Finding, Since
from insight.findings.last_moment import last_moment
from insight.findings.left_out import unhappy_left_out


def look(tx: Connection, since: datetime) -> list[Finding]:
    """Every finding since then, by name and subject."""
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
