"""Quarters in which nothing happens: what customers bring though no rate changes.

Sixty pairs of topic and touchpoint and forty groups of like words, each of the latter some of the
customers of one pair. The mean of a pair is lognormal, median 0.2 customers a day (3 in a window),
from one in two months to five a day. On top of chance:

- the week: Mondays above, weekends well below the mean;
- each pair's days wander by themselves: a gamma factor with a coefficient of variation of 0.4, so
  that counts are negative binomial (weather, pay days, a queue that was long);
- the firm's weeks wander together: a gamma factor of 0.08 (campaigns, holidays, the season).

Together a window's rate has a coefficient of variation of some 0.12: why a policy says 0.15. More
would be people telling one another, and that is news, not quiet.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from policy.recur import p_values, recurs, threshold
from policy.rulebook import Recurrence
from tasks.causes.review_causes import HALF

PAIRS, GROUPS, QUARTER = 60, 40, 91
WEEK = np.array([1.3, 1.15, 1.1, 1.1, 1.05, 0.7, 0.6])
DAY_WANDERS, WEEK_WANDERS = 0.4, 0.08

Counts = npt.NDArray[np.int64]


def quiet(seed: int, days: int) -> Counts:
    """Customers of each day and cause, (days, PAIRS + GROUPS); columns of groups are parts of
    columns of pairs."""
    random = np.random.default_rng(seed)
    means = np.clip(0.2 * np.exp(1.2 * random.standard_normal(PAIRS)), 1 / 60, 5)
    week = np.resize(WEEK, days) * np.repeat(wander(random, WEEK_WANDERS, days // 7 + 1), 7)[:days]
    rates = means * week[:, None] * wander(random, DAY_WANDERS, (days, PAIRS))
    pairs = random.poisson(rates)
    of = random.integers(0, PAIRS, GROUPS)
    parts = random.binomial(pairs[:, of], random.uniform(0.1, 0.6, GROUPS))
    return np.hstack([pairs, parts])


def wander(random: np.random.Generator, variation: float, size: Any) -> npt.NDArray[np.float64]:
    """Gamma factors of mean 1 and this coefficient of variation."""
    shape = variation**-2
    return np.asarray(random.gamma(shape, 1 / shape, size))


def days_needed(rule: Recurrence) -> int:
    return rule.baseline_days + rule.window_days + QUARTER


def alarms(counts: Counts, rule: Recurrence) -> npt.NDArray[np.bool_]:
    """Which cause is found recurring on which day of the quarter, (QUARTER, causes)."""
    total = np.vstack([0 * counts[:1], counts.cumsum(axis=0)])
    ends = len(counts) - QUARTER + 1 + np.arange(QUARTER)
    starts = ends - rule.window_days
    now = total[ends] - total[starts]
    past = total[starts] - total[starts - rule.baseline_days]
    share = np.full(counts.shape[1], rule.window_days / (rule.window_days + rule.baseline_days))
    return np.array([alarm(*one, share, rule) for one in zip(now, past, strict=True)])


def alarm(
    now: Counts, past: Counts, share: npt.NDArray[np.float64], rule: Recurrence
) -> npt.NDArray[np.bool_]:
    """The verdicts of one day, as the daily review reaches them."""
    pairs, groups = slice(None, PAIRS), slice(PAIRS, None)
    limit = np.concatenate(
        [np.full(len(now[one]), threshold((now + past)[one], share[one], rule, HALF))
         for one in (pairs, groups)]
    )  # fmt: skip
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = now / past * (1 - share) / share
    p = p_values(now, past, share, rule.variation)
    return np.asarray(recurs(now, np.nan_to_num(ratio, nan=0.0, posinf=np.inf), p, limit, rule))
