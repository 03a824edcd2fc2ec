"""Is a cause recurring: do more customers than usual bring the same topic at one touchpoint?

A window is compared with the baseline before it, both as counts of distinct customers over an
exposure. All causes looked at on one day are judged together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from policy.organisation import Text
from policy.rulebook import Recurrence

LEAST_PAST = 14
"""Days observed without which there is no past to compare with."""
NOTABLE = 1.5
"""Rate ratio below which a rise, however sure, is no reason for a big loop: counts of a large firm
vary from fortnight to fortnight by more than chance alone."""
CONFIDENCE = 0.95


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
    """A topic at a touchpoint, in the window and in the baseline before it."""

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


def review(causes: Sequence[Cause], rule: Recurrence) -> list[Finding]:
    """Judge the causes of one day together, in the order given.

    1. Fewer than `LEAST_PAST` days observed in the baseline, or none in the window: no verdict.
    2. At least `rule.customers` in the window, a rate ratio of at least `NOTABLE`, and
       `p_value` <= `rule.alpha` / m: recurring.

    Dividing by m (Bonferroni) keeps the chance of any false alarm among the causes of one day
    below alpha, whatever they have to do with each other. m counts only causes that could be
    found at all given their customers in both periods together, on which the test is conditional
    (R. E. Tarone, A modified Bonferroni method for discrete data, Biometrics 46, 1990).
    """
    tested = sum(has_past(c) and could_recur(c, rule) for c in causes)
    return [judge(cause, rule, rule.alpha / max(tested, 1)) for cause in causes]


def has_past(cause: Cause) -> bool:
    return cause.baseline.days >= LEAST_PAST and cause.window.days > 0


def could_recur(cause: Cause, rule: Recurrence) -> bool:
    return cause.window.customers + cause.baseline.customers >= rule.customers


def judge(cause: Cause, rule: Recurrence, threshold: float) -> Finding:
    now, past = cause.window.customers, cause.baseline.customers
    if not has_past(cause):
        return Finding(cause.topic, cause.touchpoint, now, past, False, too_little_past(cause))
    exposure = exposure_of(cause)
    p = p_value(now, past, exposure.share)
    expected = past * exposure.window / exposure.baseline
    ratio = now / expected if past else None
    low, high = ratio_interval(now, past, exposure)
    recurring, reason = verdict(rule, now, ratio, p, threshold)
    return Finding(
        topic=cause.topic,
        touchpoint=cause.touchpoint,
        customers=now,
        past=past,
        recurring=recurring,
        reason=reason,
        exposure=exposure,
        expected=expected,
        ratio=ratio,
        low=low,
        high=high,
        p=p,
        threshold=threshold,
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


def p_value(now: int, past: int, share: float) -> float:
    """The chance of `now` or more of the customers in the window if the rate had not changed.

    The conditional test of two Poisson rates: of now + past customers, each falls into the window
    with probability `share` (J. Przyborowski and H. Wilenski, Homogeneity of results in testing
    samples from Poisson series, Biometrika 31, 1940). One-sided; the binomial tail as a regularised
    incomplete beta function.
    """
    from scipy.special import betainc

    return float(betainc(now, past + 1, share)) if now else 1.0


def ratio_interval(now: int, past: int, exposure: Exposure) -> tuple[float, float | None]:
    """The 95 % interval of the rate ratio, from that of the binomial share by C. J. Clopper and
    E. S. Pearson (Biometrika 26, 1934); None where it has no upper end."""
    from scipy.special import betaincinv

    tail = (1 - CONFIDENCE) / 2
    scale = exposure.baseline / exposure.window
    low = float(betaincinv(now, past + 1, tail)) if now else 0.0
    if not past:
        return odds(low) * scale, None
    return odds(low) * scale, odds(float(betaincinv(now + 1, past, 1 - tail))) * scale


def odds(share: float) -> float:
    return share / (1 - share)


def verdict(
    rule: Recurrence, now: int, ratio: float | None, p: float, threshold: float
) -> tuple[bool, Text]:
    zh, en = f"{rule.window_days} 天内 {now} 位客户", f"{now} customers in {rule.window_days} days"
    if now < rule.customers:
        few = f"，少于 {rule.customers} 位", f", fewer than {rule.customers}"
        return False, {"zh": zh + few[0], "en": en + few[1]}
    if p > threshold:
        usual = "，没有明显多于自己的过去", ", not clearly above its own past"
        limit = f"（p = {p:.2g}，界限 {threshold:.2g}）", f" (p = {p:.2g}, limit {threshold:.2g})"
        return False, {"zh": zh + usual[0] + limit[0], "en": en + usual[1] + limit[1]}
    if ratio is None:
        return True, {"zh": zh + "，过去没有人提过", "en": en + ", nobody before"}
    times = f"，为自己过去的 {ratio:.1f} 倍", f", {ratio:.1f} times its own past"
    if ratio < NOTABLE:
        small = f"，不到 {NOTABLE} 倍", f", less than {NOTABLE} times"
        return False, {"zh": zh + times[0] + small[0], "en": en + times[1] + small[1]}
    return True, {"zh": zh + times[0], "en": en + times[1]}


def too_little_past(cause: Cause) -> Text:
    days = cause.baseline.days if cause.window.days else 0
    return {
        "zh": f"过去太短：只观察了 {days} 天，至少要 {LEAST_PAST} 天",
        "en": f"too little past: {days} days observed, at least {LEAST_PAST} are needed",
    }
