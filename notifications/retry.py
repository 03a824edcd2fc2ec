"""When to try again: full jitter, so that not everybody meets a relay the moment it is back."""

from collections.abc import Callable
from datetime import timedelta

ATTEMPTS = 8
"""After this many a message is quarantined, with its reason, for a person to replay."""
BASE = timedelta(minutes=1)
FACTOR = 4
LIMIT = timedelta(hours=12)


def backoff(attempt: int, random: Callable[[], float]) -> timedelta:
    """The wait after the `attempt`-th failure (from 1): uniform from 0 to a ceiling of 4^(n-1)
    minutes, at most 12 hours.

    `random` gives a number in [0, 1). Seven waits add up to 15 hours on average and 30 at most,
    so a night without a mail relay costs no message (full jitter: AWS Architecture Blog, 2015).
    Raises ValueError when `attempt` is below 1.
    """
    if attempt < 1:
        raise ValueError("attempts count from 1")
    steps = min(attempt, ATTEMPTS) - 1
    return min(LIMIT, BASE * int(FACTOR**steps)) * random()
