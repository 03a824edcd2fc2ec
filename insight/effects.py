"""Did a fix work? The rate of a cause before and after it, with an interval, and when to say so.

An interrupted time series: daily counts, overdispersed Poisson, a step where the fix is in place
(J. L. Bernal, S. Cummins and A. Gasparrini, Interrupted time series regression for the evaluation
of public health interventions, International Journal of Epidemiology 46, 2017). Where a comparison
is given, the difference of both steps.

A cause is looked at because it had risen, and what has risen by chance falls by itself (A. G.
Barnett, J. C. van der Pols and A. J. Dobson, Regression to the mean, International Journal of
Epidemiology 34, 2005). So the days that raised the alarm are never in the baseline.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from math import exp, log, sqrt

import numpy as np
from numpy.typing import NDArray

from insight.effect_words import back, measured, unmeasured
from models.kinds import Verdict
from policy.organisation import Text

WEEK = 7
ALPHA = 0.015
"""Chance that one of all looks calls a fix without effect proven."""
POWER = 2 / 3
"""Chance of seeing the planned fall below which there is too little to decide."""
LEAST_DAYS = 28
"""Observed days, before and after, without which a week's pattern cannot be told from a fall."""
LEAST_EVENTS = 20
"""Events before the fix without which nothing is measured."""
FALLING = 0.025
"""A baseline whose fall would be rarer than this by chance was falling before the fix."""
HALF = 0.5
"""Of an event, added before and after: no logarithm of nothing, and less bias where there is
little (J. B. S. Haldane, The estimation and significance of the logarithm of a ratio of
frequencies, Annals of Human Genetics 20, 1956)."""
STEPS, CLOSE = 50, 1e-9

Numbers = NDArray[np.float64]
Days = tuple[date, date]
"""First and last, both included."""


@dataclass(frozen=True)
class Series:
    """A cause day by day from `first` on: events, and what they are divided by (a denominator, or
    1 for an observed day; 0 where nothing was observed)."""

    first: date
    events: Sequence[int]
    exposure: Sequence[float]


@dataclass(frozen=True)
class Assessment:
    """What the numbers say. `before` and `after` count events; `change` of the rate and the ends of
    its interval are shares of the rate before (-0.3: thirty per cent fewer), None where nothing
    could be measured."""

    verdict: Verdict
    method: str
    before: int
    after: int
    reason: Text
    change: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Stretch:
    """The observed days of a period: ordinals, events and exposure."""

    days: NDArray[np.int64]
    events: Numbers
    exposure: Numbers

    @property
    def total(self) -> int:
        return int(self.events.sum())

    @property
    def counted(self) -> tuple[int, int]:
        return len(self.days), self.total


@dataclass(frozen=True)
class Step:
    """The logarithm of the ratio of the rates after and before, its standard error, the
    dispersion, and how many events were to be expected after had nothing changed."""

    log: float
    error: float
    dispersion: float
    expected: float
    falling: bool = False


def level_of(look: int, looks: Sequence[int], alpha: float = ALPHA) -> float:
    """The one-sided error that a look (one of `looks`, days after the fix) may spend.

    Alpha is spent as by P. C. O'Brien and T. R. Fleming, hardly any of it early: 2 - 2 Φ(z / √t)
    until the share t of the time (K. K. G. Lan and D. L. DeMets, Discrete sequential boundaries for
    clinical trials, Biometrika 70, 1983; in calendar time: Statistics in Medicine 8, 1989). Each
    look spends what has come since the last, so that all together stay below alpha whatever the
    looks have in common.
    """
    before = max((n for n in looks if n < look), default=0)
    return spent(look / max(looks), alpha) - spent(before / max(looks), alpha)


def spent(share: float, alpha: float) -> float:
    from scipy.special import ndtr, ndtri

    return float(2 * ndtr(ndtri(alpha / 2) / sqrt(share))) if share else 0.0


def assess(
    series: Series,
    baseline: Days,
    after: Days,
    *,
    alarm: date,
    target: float,
    level: float,
    comparison: Series | None = None,
) -> Assessment:
    """Whether the cause's rate has come down since the fix.

    `alarm`: first day of what raised the alarm; `target`: the planned fall as a share; `level`: the
    one-sided error allowed, see `level_of`. The interval is that of the look: its upper end is
    below none exactly where the fall is sure (C. Jennison and B. W. Turnbull, Interim analyses: the
    repeated confidence interval approach, Journal of the Royal Statistical Society B 51, 1989).

    1. Too few days or events: too little.
    2. A fall that is sure: proven. Where the events would show a fall of `target` with a chance
       below `POWER`, only a fall that is surely greater than `target`: chance findings in small
       numbers are exaggerated (A. Gelman and J. Carlin, Beyond power calculations, Perspectives on
       Psychological Science 9, 2014).
    3. Otherwise not proven, or too little where step 2 says that the chance was too small.

    Raises ValueError for a baseline that reaches into the alarm.
    """
    if baseline[1] >= alarm:
        raise ValueError("the baseline holds days that raised the alarm")
    was, now = cut(series, baseline), cut(series, after)
    method = "comparison" if comparison else "series"
    others = [(cut(comparison, baseline), cut(comparison, after))] if comparison else []
    if not all(measurable(*pair) for pair in [(was, now), *others]):
        return nothing(method, was, now)
    step = difference(was, now, others)
    method = "trend" if step.falling else method
    change, low, high = interval(step, level)
    enough = can_see(step, now.total, target, level)
    verdict = judge(high, target, enough)
    spoken = (change, low, high)
    reason = measured(verdict, was.counted, now.counted, spoken, target, step.falling)
    return Assessment(verdict, method, was.total, now.total, reason, change, low, high)


def judge(high: float, target: float, enough: bool) -> Verdict:
    if high < (0.0 if enough else -target):
        return Verdict.PROVEN
    return Verdict.NOT_PROVEN if enough else Verdict.TOO_LITTLE


def relapse(
    series: Series,
    watched: Days,
    recent: Days,
    *,
    effect: float,
    level: float,
    comparison: Series | None = None,
) -> Assessment:
    """Whether a cause that had come down by `effect` (a share below 0) is back.

    Back (`not_proven`): the recent rate is surely above that of the watched days, and at least half
    of the way back to the rate before the fix, on the logarithm. Otherwise the proof stands.
    """
    was, now = cut(series, watched), cut(series, recent)
    others = [(cut(comparison, watched), cut(comparison, recent))] if comparison else []
    if not all(enough_days(*pair) for pair in [(was, now), *others]):
        return nothing("relapse", was, now)
    step = difference(was, now, others, trends=False)
    change, low, high = interval(step, level)
    is_back = low > 0 and step.log >= -log(1 + effect) / 2
    verdict = Verdict.NOT_PROVEN if is_back else Verdict.PROVEN
    reason = back(is_back, was.counted, now.counted, (change, low, high))
    return Assessment(verdict, "relapse", was.total, now.total, reason, change, low, high)


def nothing(method: str, was: Stretch, now: Stretch) -> Assessment:
    reason = unmeasured(was.counted, now.counted, LEAST_DAYS, LEAST_EVENTS)
    return Assessment(Verdict.TOO_LITTLE, method, was.total, now.total, reason)


def cut(series: Series, days: Days) -> Stretch:
    """The observed days from the first to the last given."""
    start = series.first.toordinal()
    ordinals = np.arange(days[0].toordinal(), days[1].toordinal() + 1)
    ordinals = ordinals[(ordinals >= start) & (ordinals < start + len(series.events))]
    exposure = np.asarray(series.exposure, dtype=float)[ordinals - start]
    events = np.asarray(series.events, dtype=float)[ordinals - start]
    seen = exposure > 0
    return Stretch(ordinals[seen], events[seen], exposure[seen])


def enough_days(was: Stretch, now: Stretch) -> bool:
    return min(len(was.days), len(now.days)) >= LEAST_DAYS


def measurable(was: Stretch, now: Stretch) -> bool:
    return enough_days(was, now) and was.total >= LEAST_EVENTS


def difference(
    was: Stretch, now: Stretch, others: Sequence[tuple[Stretch, Stretch]], *, trends: bool = True
) -> Step:
    """The step of the cause, less the steps of what it is compared with."""
    step = step_of(was, now, trend=trends and not others and is_falling(was))
    for other in others:
        compared = step_of(*other, trend=False)
        error = sqrt(step.error**2 + compared.error**2)
        step = Step(step.log - compared.log, error, step.dispersion, step.expected)
    return step


def step_of(was: Stretch, now: Stretch, *, trend: bool) -> Step:
    """Weekdays have rates of their own; a baseline that was falling goes on falling."""
    days = np.concatenate([was.days, now.days])
    since = np.concatenate([np.zeros(len(was.days)), np.ones(len(now.days))])
    extra = [since, (days - days[0]) / 365] if trend else [since]
    exposure = np.concatenate([was.exposure, now.exposure])
    events = np.concatenate([was.events, now.events])
    little = np.concatenate([HALF * s.exposure / s.exposure.sum() for s in (was, now)])
    design = np.column_stack([weekdays(days), *extra])
    found, spread, expected = fit(events + little, exposure, design)
    at = design.shape[1] - len(extra)
    dispersion = dispersion_of(events, expected, days, since, design.shape[1])
    error = sqrt(dispersion * spread[at, at])
    unchanged = float(expected[since > 0].sum()) / exp(found[at])
    return Step(float(found[at]), error, dispersion, unchanged, trend)


def is_falling(was: Stretch) -> bool:
    """Whether the rate was coming down already, one-sided, before anything was done."""
    from scipy.special import ndtri

    design = np.column_stack([weekdays(was.days), (was.days - was.days[0]) / 365])
    little = HALF * was.exposure / was.exposure.sum()
    found, spread, expected = fit(was.events + little, was.exposure, design)
    since = np.zeros(len(was.days))
    dispersion = dispersion_of(was.events, expected, was.days, since, design.shape[1])
    return bool(found[-1] / sqrt(dispersion * spread[-1, -1]) < ndtri(FALLING))


def weekdays(days: NDArray[np.int64]) -> Numbers:
    """A column for each weekday that occurs."""
    found = (days[:, None] - 1) % WEEK == np.arange(WEEK)
    return np.asarray(found[:, found.any(axis=0)], dtype=float)


def fit(events: Numbers, exposure: Numbers, design: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Poisson regression with logarithmic link: coefficients, their covariance at dispersion 1, and
    the expected events. Iteratively reweighted least squares (P. McCullagh and J. A. Nelder,
    Generalized Linear Models, 2nd edition, 1989, section 2.5)."""
    expected = exposure * (events.sum() / exposure.sum())
    found = np.zeros(design.shape[1])
    for _ in range(STEPS):
        working = np.log(expected / exposure) + (events - expected) / expected
        weighted = (design * expected[:, None]).T
        before, found = found, np.linalg.solve(weighted @ design, weighted @ working)
        expected = exposure * np.exp(np.clip(design @ found, -50, 50))
        if np.abs(found - before).max() < CLOSE:
            break
    return found, np.linalg.inv((design * expected[:, None]).T @ design), expected


def dispersion_of(
    events: Numbers, expected: Numbers, days: NDArray[np.int64], since: Numbers, parameters: int
) -> float:
    """Pearson's: of days, and of weeks, where days that hang together show; at least 1."""
    daily = float(((events - expected) ** 2 / expected).sum()) / max(len(days) - parameters, 1)
    weeks = np.unique(
        np.column_stack([since, (days - days[0]) // WEEK]), axis=0, return_inverse=True
    )
    seen, usual = (np.bincount(weeks[1].ravel(), of) for of in (events, expected))
    free = max(len(seen) - 1 - int(since.any()), 1)
    return max(1.0, daily, float(((seen - usual) ** 2 / usual).sum()) / free)


def interval(step: Step, level: float) -> tuple[float, float, float]:
    """The change and its interval at the look's level, as shares of the rate before."""
    from scipy.special import ndtri

    width = -float(ndtri(level)) * step.error
    low, high = (exp(min(step.log + side * width, 50)) - 1 for side in (-1, 1))
    return exp(step.log) - 1, low, high


def can_see(step: Step, after: int, target: float, level: float) -> bool:
    """Whether a fall of `target` would have shown with a chance of `POWER`, had it been there."""
    from scipy.special import ndtri

    planned = step.dispersion / (step.expected * (1 - target) + HALF)
    error = step.error**2 + planned - step.dispersion / (after + HALF)
    needed = float(ndtri(POWER) - ndtri(level)) * sqrt(max(error, planned))
    return -log(1 - target) >= needed if target < 1 else True
