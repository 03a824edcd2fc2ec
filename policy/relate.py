"""Is this a complaint we already have? Same item again, same complaint, or something new.

The same complaint is the same customer with the same topic while that loop is open, or within the
policy's window after it closed, or the same complaint number, or a new version of the very item
that opened a loop. Coming again after it was resolved or closed reopens it. Without a customer
nothing is merged by itself.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter

from models.kinds import LoopState


@dataclass(frozen=True, slots=True)
class Known:
    """A loop this issue might belong to."""

    id: str
    state: str
    closed_at: datetime | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class Relating:
    """`act`: open, join or reopen; `loop` is the one joined or reopened; `why` in one word."""

    act: str
    loop: str | None = None
    why: str = "new"


def relate(
    by_version: Known | None,
    by_number: Known | None,
    by_customer: list[Known],
    received_at: datetime,
    window: timedelta,
) -> Relating:
    """What to do with an issue, given the loops found for it, most certain relation first.

    `by_customer`: small loops of the same customer and topic, open or closed. An open one is
    joined before a closed one is reopened, so that a reopening never meets an open loop.
    """
    certain = [("version", by_version), ("complaint number", by_number)]
    for why, known in certain:
        if known is not None and is_open(known):
            return meet(known, why)
    for known in by_customer:
        if is_open(known):
            return meet(known, "customer and topic")
    for why, known in [*certain, *(("customer and topic", k) for k in newest_first(by_customer))]:
        if known is not None and within(known, received_at, window):
            return Relating("reopen", known.id, why)
    return Relating("open")


def meet(known: Known, why: str) -> Relating:
    """Join an open loop; one that a department calls resolved is not, says the customer."""
    settled = known.state in (LoopState.RESOLVED, LoopState.VERIFYING)
    return Relating("reopen" if settled else "join", known.id, why)


def is_open(known: Known) -> bool:
    return known.state != LoopState.CLOSED


def newest_first(loops: list[Known]) -> list[Known]:
    closed = [(known.closed_at, known) for known in loops if known.closed_at is not None]
    return [known for _, known in sorted(closed, key=itemgetter(0), reverse=True)]


def within(known: Known, received_at: datetime, window: timedelta) -> bool:
    return known.closed_at is not None and received_at - known.closed_at <= window
