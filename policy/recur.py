"""Is a cause recurring: do more customers than usual bring it, a topic at a touchpoint or the same
words?

A window is compared with the baseline before it, both as counts of distinct customers over an
exposure. All causes looked at on one day are judged together, and so are the days of a quarter.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from policy.organisation import Text
from policy.rulebook import Recurrence

LEAST_PAST = 14
"""Days observed without which there is no past to compare with."""
NOTABLE = 1.5
"""Rate ratio below which a rise, however sure, is no reason for a big loop: counts of a large firm
vary from fortnight to fortnight by more than chance alone."""
CONFIDENCE = 0.95
NODES = 64
"""Points at which the wandering of a rate is weighed."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Period:
    """What was seen of a cause in one period.

    `customers`: distinct ones; in a baseline the sum over stretches as long as the window, so that
    somebody who complains every fortnight counts alike in both. `days` observed. `denominator`:
    sum of the touchpoint's measures, over the `measured` days that have any.
    """

    customers: int
    days: int
    denominator: float = 0.0
    measured: int = 0


@dataclass(frozen=True, slots=True)
class Cause:
    """What is looked at, in the window and in the baseline before it: a topic at a touchpoint, or
    complaints in like words, that speak most often of this topic at this touchpoint."""

    topic: str
    touchpoint: str
    window: Period
    baseline: Period


@dataclass(frozen=True, slots=True)
class Exposure:
    """What the customers of both periods are divided by: `measures` or `days`, as `by` says."""

    window: float
    baseline: float
    by: str

    @property
    def share(self) -> float:
        """The window's part of the whole: how customers would fall if nothing had changed."""
        return self.window / (self.window + self.baseline)


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether a cause is recurring, and why.

    `customers` in the window, `past` in the baseline; `expected` in the window at the baseline's
    rate. `ratio` of the rates with its 95 % interval `low` to `high` (ratio and high are None where
    the baseline had nobody). `p` is compared with `threshold`. What needs a past is None without
    one.
    """

    topic: str
    touchpoint: str
    customers: int
    past: int
    recurring: bool
    reason: Text
    exposure: Exposure | None = None
    expected: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    threshold: float | None = None


def review(causes: Sequence[Cause], rule: Recurrence, part: float = 1.0) -> list[Finding]:
    """Judge the causes of one day together, in the order given, with this part of alpha.

    1. Fewer than `LEAST_PAST` days observed in the baseline, or none in the window: no verdict.
    2. At least `rule.customers` in the window, a rate ratio of at least `NOTABLE`, and
       `p_values` <= `threshold`: recurring.

    The chance of any false alarm among all causes on all of `rule.horizon_days` daily looks is at
    most `part` of `rule.alpha`, whatever the looks and the causes have to do with each other.
    """
    known = [cause for cause in causes if has_past(cause)]
    shares = np.array([exposure_of(cause).share for cause in known])
    now = np.array([cause.window.customers for cause in known], np.int64)
    past = np.array([cause.baseline.customers for cause in known], np.int64)
    limit = threshold(now + past, shares, rule, part)
    p = p_values(now, past, shares, rule.variation)
    judged = (judge(c, rule, float(one), limit) for c, one in zip(known, p, strict=True))
    return [next(judged) if has_past(cause) else unknown(cause) for cause in causes]


def has_past(cause: Cause) -> bool:
    return cause.baseline.days >= LEAST_PAST and cause.window.days > 0


def p_values(now: Ints, past: Ints, share: Floats, variation: float) -> Floats:
    """The chance of `now` or more of the customers in the window if nothing had changed.

    The conditional test of two Poisson rates: of now + past customers, each falls into the window
    with probability `share` (J. Przyborowski and H. Wilenski, Homogeneity of results in testing
    samples from Poisson series, Biometrika 31, 1940); one-sided, the binomial tail as a regularised
    incomplete beta function. Rates also wander by themselves: the window's is the baseline's times
    a lognormal factor whose logarithm has the standard deviation `variation`, over which the tail
    is averaged (M. G. Bulmer, On fitting the Poisson lognormal distribution, Biometrics 30, 1974;
    that surveillance must allow for it: C. P. Farrington et al., J. R. Stat. Soc. A 159, 1996).
    """
    from scipy.special import betainc

    at, weight = np.polynomial.hermite_e.hermegauss(NODES if variation else 1)
    odd = (share / (1 - share))[:, None] * np.exp(variation * at)
    tails = betainc(np.maximum(now, 1)[:, None], past[:, None] + 1, odd / (1 + odd))
    return np.where(now > 0, tails @ weight / weight.sum(), 1.0)


def threshold(customers: Ints, share: Floats, rule: Recurrence, part: float = 1.0) -> float:
    """What a p may be on one day, given the customers of each cause in both periods together.

    alpha, spent evenly over the looks of the horizon (Bonferroni; windows of neighbouring days
    overlap, but at such small p a rise that crosses does so on its own day: little is lost), and
    over the causes of a day that could be found at all: k is the smallest number such that no more
    than k causes could reach alpha / k (R. E. Tarone, A modified Bonferroni method for discrete
    data, Biometrics 46, 1990).
    """
    spent = part * rule.alpha / rule.horizon_days
    could = customers >= rule.customers
    best = np.sort(p_values(customers[could], 0 * customers[could], share[could], rule.variation))
    k = np.arange(1, len(best) + 1)
    enough = np.searchsorted(best, spent / k, side="right") <= k
    return spent / float(k[enough][0]) if len(best) else spent


def recurs(
    now: Ints | int,
    ratio: Floats | float,
    p: Floats | float,
    limit: Floats | float,
    rule: Recurrence,
) -> Bools | bool:
    """The decision, of one cause or of many at once; a ratio to nobody is infinite."""
    return (now >= rule.customers) & (ratio >= NOTABLE) & (p <= limit)


def unknown(cause: Cause) -> Finding:
    now, past = cause.window.customers, cause.baseline.customers
    return Finding(cause.topic, cause.touchpoint, now, past, False, too_little_past(cause))


def judge(cause: Cause, rule: Recurrence, p: float, limit: float) -> Finding:
    now, past = cause.window.customers, cause.baseline.customers
    exposure = exposure_of(cause)
    expected = past * exposure.window / exposure.baseline
    ratio = now / expected if past else None
    low, high = ratio_interval(now, past, exposure)
    return Finding(
        topic=cause.topic,
        touchpoint=cause.touchpoint,
        customers=now,
        past=past,
        recurring=bool(recurs(now, ratio or np.inf, p, limit, rule)),
        reason=verdict(rule, now, ratio, p, limit),
        exposure=exposure,
        expected=expected,
        ratio=ratio,
        low=low,
        high=high,
        p=p,
        threshold=limit,
    )


def exposure_of(cause: Cause) -> Exposure:
    """Measures where both periods have some, else days observed.

    An observed day without a measure counts as the mean of the measured ones, so that measures
    which come a few days late do not make the window's rate look high.
    """
    window, baseline = cause.window, cause.baseline
    if window.denominator > 0 and baseline.denominator > 0:
        return Exposure(filled(window), filled(baseline), "measures")
    return Exposure(window.days, baseline.days, "days")


def filled(period: Period) -> float:
    return period.denominator * period.days / period.measured


def ratio_interval(now: int, past: int, exposure: Exposure) -> tuple[float, float | None]:
    """The 95 % interval of the rate ratio, of the counts alone, from that of the binomial share by
    C. J. Clopper and E. S. Pearson (Biometrika 26, 1934); None where it has no upper end."""
    from scipy.special import betaincinv

    tail = (1 - CONFIDENCE) / 2
    scale = exposure.baseline / exposure.window
    low = float(betaincinv(now, past + 1, tail)) if now else 0.0
    if not past:
        return odds(low) * scale, None
    return odds(low) * scale, odds(float(betaincinv(now + 1, past, 1 - tail))) * scale


def odds(share: float) -> float:
    return share / (1 - share)


def verdict(rule: Recurrence, now: int, ratio: float | None, p: float, threshold: float) -> Text:
    zh, en = f"{rule.window_days} 天内 {now} 位客户", f"{now} customers in {rule.window_days} days"
    if now < rule.customers:
        few = f"，少于 {rule.customers} 位", f", fewer than {rule.customers}"
        return {"zh": zh + few[0], "en": en + few[1]}
    if p > threshold:
        usual = "，没有明显多于自己的过去", ", not clearly above its own past"
        limit = f"（p = {p:.2g}，界限 {threshold:.2g}）", f" (p = {p:.2g}, limit {threshold:.2g})"
        return {"zh": zh + usual[0] + limit[0], "en": en + usual[1] + limit[1]}
    if ratio is None:
        return {"zh": zh + "，过去没有人提过", "en": en + ", nobody before"}
    times = f"，为自己过去的 {ratio:.1f} 倍", f", {ratio:.1f} times its own past"
    if ratio < NOTABLE:
        small = f"，不到 {NOTABLE} 倍", f", less than {NOTABLE} times"
        return {"zh": zh + times[0] + small[0], "en": en + times[1] + small[1]}
    return {"zh": zh + times[0], "en": en + times[1]}


def too_little_past(cause: Cause) -> Text:
    days = cause.baseline.days if cause.window.days else 0
    return {
        "zh": f"过去太短：只观察了 {days} 天，至少要 {LEAST_PAST} 天",
        "en": f"too little past: {days} days observed, at least {LEAST_PAST} are needed",
    }
