"""Is a fix that works found, one that does not left alone, and little data called little?

The simulated causes have a week's pattern and are looked at after 30, 60 and 90 days, as real ones.
"""

import sys
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import pytest
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.stats import binom

from insight.effects import (
    ALPHA,
    Assessment,
    Days,
    Series,
    assess,
    dispersion_of,
    fit,
    level_of,
    relapse,
    weekdays,
)
from models.kinds import Verdict

MONDAY = date(2026, 1, 5)
LOOKS = (30, 60, 90)
PAST, WINDOW, WORK, WATCH = 90, 14, 30, 90
"""Days of the baseline, of the window that raised the alarm, of the work, of watching."""
ALARM = MONDAY + timedelta(PAST)
FIXED = ALARM + timedelta(WINDOW + WORK)
BASELINE = (MONDAY, ALARM - timedelta(1))
WEEK = np.array([1.3, 1.15, 1.1, 1.0, 1.05, 0.8, 0.6])
TOTAL = PAST + WINDOW + WORK + WATCH
PROVEN, NOT_PROVEN, TOO_LITTLE = Verdict.PROVEN, Verdict.NOT_PROVEN, Verdict.TOO_LITTLE

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


def say(words: str) -> None:
    sys.stdout.write(f"\n{words}\n")


def usual(events: float, days: int = TOTAL) -> Floats:
    """Expected events a day, so many in a baseline."""
    week = WEEK[np.arange(days) % 7]
    return np.asarray(week * (events / week[:PAST].sum()), dtype=float)


def drawn(chance: Generator, expected: Floats, dispersion: float = 1.0) -> Counts:
    """Poisson, or negative binomial with a variance that many times its mean."""
    if dispersion == 1:
        return chance.poisson(expected)
    return chance.negative_binomial(expected / (dispersion - 1), 1 / dispersion)


def series(events: Counts, exposure: Floats | None = None) -> Series:
    return Series(
        MONDAY,
        events.tolist(),
        (exposure if exposure is not None else np.ones(len(events))).tolist(),
    )


def looked_at(
    seen: Series, baseline: Days = BASELINE, *, alarm: date = ALARM, other: Series | None = None
) -> tuple[int, Assessment]:
    """The look that proved it, or the last."""
    for look in LOOKS:
        after, level = (FIXED, FIXED + timedelta(look - 1)), level_of(look, LOOKS)
        found = assess(
            seen, baseline, after, alarm=alarm, target=0.3, level=level, comparison=other
        )
        if found.verdict is PROVEN:
            break
    return look, found


def verdicts(number: int, course: Callable[[Generator], Series]) -> Counter[str]:
    chance = np.random.default_rng(20261122)
    return Counter(str(looked_at(course(chance))[1].verdict) for _ in range(number))


def fixed_by(
    change: float, events: float, dispersion: float = 1.0
) -> Callable[[Generator], Series]:
    """A cause at a rate of so many events a baseline, and so many more or fewer after the fix."""

    def course(chance: Generator) -> Series:
        expected = usual(events)
        expected[-WATCH:] *= 1 + change
        return series(drawn(chance, expected, dispersion))

    return course


def chance_spike(events: float, dispersion: float = 1.0) -> Callable[[Generator], Series]:
    """Of 300 causes whose rate never changes, the one whose fortnight was the highest."""

    def course(chance: Generator) -> Series:
        counts = drawn(chance, np.tile(usual(events), (300, 1)), dispersion)
        window = counts[:, PAST : PAST + WINDOW].sum(axis=1)
        return series(counts[int(np.argmax(window))])

    return course


FULL = 1000
SIZES = [100, pytest.param(FULL, marks=pytest.mark.prove)]


def at_most(share: float, number: int) -> int:
    """Of a thousand the share itself; of a hundred, what chance makes of it once in a thousand."""
    return round(share * number) if number == FULL else int(binom.ppf(0.999, number, share))


def at_least(share: float, number: int) -> int:
    return round(share * number) if number == FULL else int(binom.ppf(0.001, number, share))


@pytest.mark.parametrize("number", SIZES)
@pytest.mark.parametrize(("events", "dispersion"), [(250, 1.0), (300, 1.2), (375, 1.5)])
def test_a_fix_that_works_is_proven(number: int, events: int, dispersion: float) -> None:
    found = verdicts(number, fixed_by(-0.3, events, dispersion))
    say(f"-30 %, {events} events, dispersion {dispersion}: {dict(found)}")
    assert found[PROVEN] >= at_least(0.80, number)


@pytest.mark.parametrize("number", SIZES)
@pytest.mark.parametrize(("events", "dispersion"), [(250, 1.0), (250, 1.5), (1500, 1.2)])
def test_a_chance_spike_is_not_proven_to_be_fixed(
    number: int, events: int, dispersion: float
) -> None:
    found = verdicts(number, chance_spike(events, dispersion))
    say(f"no effect after a chance spike, {events} events, {dispersion}: {dict(found)}")
    assert found[PROVEN] <= at_most(0.025, number)


def test_the_guard_is_what_keeps_a_spike_from_proving_a_fix() -> None:
    """Half as many again from the alarm until the work ends, then as ever: measured against those
    days, a fix that did nothing looks like one that works."""
    chance, expected = np.random.default_rng(20261122), usual(500)
    expected[PAST:-WATCH] *= 1.5
    spikes = [series(drawn(chance, expected)) for _ in range(100)]
    naive = (ALARM, FIXED - timedelta(1))
    fooled = [looked_at(spike, naive, alarm=FIXED)[1].verdict for spike in spikes]
    guarded = [looked_at(spike)[1].verdict for spike in spikes]
    assert fooled.count(PROVEN) >= 50
    assert guarded.count(PROVEN) <= at_most(0.025, 100)
    with pytest.raises(ValueError, match="raised the alarm"):
        looked_at(spikes[0], (MONDAY, ALARM))


@pytest.mark.parametrize("number", SIZES)
@pytest.mark.parametrize(("events", "change"), [(100, -0.3), (60, -0.3), (60, 0.0), (10, -0.9)])
def test_too_little_is_said_to_be_too_little(number: int, events: int, change: float) -> None:
    found = verdicts(number, fixed_by(change, events))
    say(f"{change:+.0%}, {events} events: {dict(found)}")
    assert found[TOO_LITTLE] >= at_least(0.95, number)


def test_little_is_enough_for_a_fall_far_beyond_the_target() -> None:
    assert verdicts(100, fixed_by(-0.9, 80))[PROVEN] >= 90


def season(events: float, change: float) -> Callable[[Generator], tuple[Series, Series]]:
    """A cause and another at the same place: both fall by thirty per cent with the season, the
    first by `change` more."""

    def course(chance: Generator) -> tuple[Series, Series]:
        expected, other = usual(events), usual(2 * events)
        expected[-WATCH:] *= 0.7 * (1 + change)
        other[-WATCH:] *= 0.7
        return series(drawn(chance, expected)), series(drawn(chance, other))

    return course


@pytest.mark.parametrize("number", SIZES)
def test_a_comparison_takes_the_season_out(number: int) -> None:
    chance, alone, compared, true = np.random.default_rng(7), 0, 0, 0
    for _ in range(number):
        cause, other = season(400, 0.0)(chance)
        alone += looked_at(cause)[1].verdict is PROVEN
        compared += looked_at(cause, other=other)[1].verdict is PROVEN
        cause, other = season(600, -0.35)(chance)
        true += looked_at(cause, other=other)[1].verdict is PROVEN
    say(f"season only: alone {alone}, compared {compared}; -35 % beside it: {true} of {number}")
    assert alone > number / 2
    assert compared <= at_most(0.025, number)
    assert true >= at_least(0.8, number)


@pytest.mark.parametrize("number", SIZES)
def test_what_was_falling_before_is_no_merit_of_the_fix(number: int) -> None:
    """The rate halves in the four months from the first day to the middle of watching."""
    chance, found = np.random.default_rng(11), Counter[str]()
    expected = usual(2500) * 0.5 ** (np.arange(TOTAL) / 120)
    for _ in range(number):
        found[looked_at(series(drawn(chance, expected)))[1].verdict] += 1
    say(f"falling before the fix: {dict(found)}")
    assert found[PROVEN] <= at_most(0.025, number)


def test_a_denominator_that_fell_is_no_effect() -> None:
    """Thirty per cent fewer events of thirty per cent fewer transactions."""
    expected, exposure = usual(1000), np.full(TOTAL, 5000.0)
    expected[-WATCH:] *= 0.7
    exposure[-WATCH:] *= 0.7
    counts = drawn(np.random.default_rng(3), expected)
    assert looked_at(series(counts))[1].verdict is PROVEN
    assert looked_at(series(counts, exposure))[1].verdict is NOT_PROVEN


def test_days_that_nobody_observed_do_not_count() -> None:
    counts, exposure = drawn(np.random.default_rng(3), usual(1000)), np.ones(TOTAL)
    counts[-WATCH::2], exposure[-WATCH::2] = 0, 0
    look, found = looked_at(series(counts, exposure))
    assert (look, found.verdict) == (90, NOT_PROVEN)
    assert found.after == counts[-WATCH:].sum()
    assert "45 天" in found.reason["zh"]


def test_a_fix_that_makes_it_worse_is_not_proven() -> None:
    worse = usual(500)
    worse[-WATCH:] *= 1.5
    found = looked_at(series(drawn(np.random.default_rng(5), worse)))
    assert found[1].verdict is NOT_PROVEN
    assert found[1].low is not None
    assert found[1].low > 0


def test_a_measurement_says_what_it_is_made_of() -> None:
    expected = usual(400)
    expected[-WATCH:] *= 0.5
    counts = drawn(np.random.default_rng(1), expected)
    look, found = looked_at(series(counts))
    assert (look, found.verdict, found.method) == (60, PROVEN, "series")
    assert (found.before, found.after) == (counts[:PAST].sum(), counts[-WATCH : -WATCH + 60].sum())
    assert found.low is not None
    assert found.high is not None
    assert -1 < found.low < float(found.change or 0) < found.high < 0
    assert "下降得到证实；达到了目标 −30%" in found.reason["zh"]
    assert "the fall is proven; the target of −30% is reached" in found.reason["en"]


@pytest.mark.parametrize(
    "after", [(FIXED, FIXED + timedelta(26)), (FIXED + timedelta(300), FIXED + timedelta(390))]
)
def test_fewer_than_four_weeks_measure_nothing(after: Days) -> None:
    seen = series(drawn(np.random.default_rng(1), usual(400)))
    found = assess(seen, BASELINE, after, alarm=ALARM, target=0.3, level=0.01)
    assert (found.verdict, found.change) == (TOO_LITTLE, None)
    assert "28 天" in found.reason["zh"]


def test_nothing_at_all_after_the_fix_can_be_told() -> None:
    counts = drawn(np.random.default_rng(1), usual(300))
    counts[-WATCH:] = 0
    look, found = looked_at(series(counts))
    assert (look, found.verdict, found.after) == (60, PROVEN, 0)


@pytest.mark.parametrize("looks", [(30, 60, 90), (90,), (14, 28, 56, 112), (180, 30)])
def test_all_looks_together_spend_what_is_allowed(looks: tuple[int, ...]) -> None:
    levels = [level_of(look, looks) for look in sorted(looks)]
    assert sum(levels) == pytest.approx(ALPHA)
    assert levels == sorted(levels)


def test_the_regression_is_that_of_statsmodels() -> None:
    """statsmodels 0.14: GLM(Poisson, offset of the logarithm), scale X2."""
    days = np.arange(738000, 738070)
    since = np.repeat([0.0, 1.0], 35)
    events = np.array([(7 * k * k + 3 * k) % 11 + (4 if k < 35 else 0) for k in range(70)], float)
    exposure = np.array([100 + (13 * k) % 37 for k in range(70)], float)
    design = np.column_stack([weekdays(days), since])
    found, spread, expected = fit(events, exposure, design)
    pearson = float(((events - expected) ** 2 / expected).sum()) / (70 - 8)
    assert found[[0, -1]] == pytest.approx([-2.7947267946272465, -0.7023919051535994])
    assert pearson == pytest.approx(2.5519353856659834)
    assert np.sqrt(pearson * spread[-1, -1]) == pytest.approx(0.1655734149055038)
    assert dispersion_of(events, expected, days, since, 8) >= pearson


PROVEN_DAYS = (MONDAY, MONDAY + timedelta(89))
RECENT = (MONDAY + timedelta(120), MONDAY + timedelta(179))


def after_proof(rise: float, events: float) -> Callable[[Generator], Series]:
    """A cause that brought so many in ninety days when it was proven, then so many more."""

    def course(chance: Generator) -> Series:
        expected = usual(events, 180)
        expected[90:] *= 1 + rise
        return series(drawn(chance, expected))

    return course


@pytest.mark.parametrize(
    ("rise", "events", "least", "most"),
    [(1 / 0.7 - 1, 700, 80, 100), (1.0, 175, 80, 100), (0.0, 175, 0, 3), (0.15, 5000, 0, 3)],
    ids=["back", "twice as much", "as it was proven", "a little more"],
)
def test_a_relapse(rise: float, events: float, least: int, most: int) -> None:
    """As before the fix; much more; no more; sure, but not half the way back."""
    chance = np.random.default_rng(20261122)
    found = [
        relapse(
            after_proof(rise, events)(chance), PROVEN_DAYS, RECENT, effect=-0.3, level=ALPHA / 6
        )
        for _ in range(100)
    ]
    assert least <= [one.verdict for one in found].count(NOT_PROVEN) <= most


def test_a_relapse_needs_days() -> None:
    seen = series(drawn(np.random.default_rng(1), usual(400, 180)))
    short = (RECENT[0], RECENT[0] + timedelta(20))
    assert relapse(seen, PROVEN_DAYS, short, effect=-0.3, level=0.01).verdict is TOO_LITTLE
