"""The measures of the loop for a period: one reading of each base gives all of them.

Rows come as plain numbers in chunks; which rows a measure counts, and its hits, are NumPy masks.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as clock_time
from math import sqrt
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, literal

from insight.base_rows import ROWS, days, fact, rows_of, seconds
from policy.measures import MEDIAN, NOT, RATIO, MeasureSpec

CHUNK = 20_000
DAY = 86_400
Z95 = 1.959963984540054
QUANTILES = {MEDIAN: 0.5}
NINETY = 0.9

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Period:
    """Days from `first` to `last`, both included, in the organisation's zone."""

    first: date
    last: date
    zone: ZoneInfo

    def bounds(self) -> tuple[datetime, datetime]:
        return self.start(self.first), self.start(self.last + timedelta(days=1))

    def start(self, day: date) -> datetime:
        return datetime.combine(day, clock_time(), self.zone)

    def months(self) -> list[date]:
        """The first day of each month the period touches."""
        found = [self.first.replace(day=1)]
        while (following := next_month(found[-1])) <= self.last:
            found.append(following)
        return found


@dataclass(frozen=True)
class Figure:
    """One measure of one group (None: everything).

    `n` rows were counted. Below the measure's minimum `hits`, `value` and the interval are None.
    `value`: a share between 0 and 1, or days; `low`, `high`: Wilson's 95 % interval of a share.
    """

    measure: str
    group: str | None
    n: int
    hits: int | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Columns:
    """The rows of one base that anything of the period looks at, as arrays of equal length."""

    moments: Mapping[str, NDArray[np.float64]]
    """Seconds since 1970; not a number where there is none."""
    facts: Mapping[str, Mask]
    values: Mapping[str, NDArray[np.float64]]
    keys: Sequence[str]


def figures(
    tx: Connection,
    specs: Sequence[MeasureSpec],
    period: Period,
    now: datetime,
    by: str | None = None,
    owner_steps: Collection[str] = (),
) -> list[Figure]:
    """Every measure over the whole period, and for each group of `by` (unit, topic, source or
    month), in the order of `specs`.

    `owner_steps`: steps of ladders that tell nobody above the owner.
    """
    read = {
        of: columns(tx, of, [s for s in specs if s.of == of], period, now, by, owner_steps)
        for of in dict.fromkeys(s.of for s in specs)
    }
    return [one for spec in specs for one in figures_of(spec, read[spec.of], period, by)]


def columns(
    tx: Connection,
    of: str,
    specs: Sequence[MeasureSpec],
    period: Period,
    now: datetime,
    by: str | None,
    owner_steps: Collection[str],
) -> Columns:
    """One query over a base for all of its measures."""
    base = ROWS[of]
    moments = sorted({s.when for s in specs})
    facts = sorted({name for s in specs for name in s.facts()})
    values = sorted({s.value for s in specs if s.value})
    key = base.keys.get(by or "", literal(""))
    wanted = [
        *(seconds(base.moments[m]).label(f"moment_{m}") for m in moments),
        *(fact(base.facts[f]).label(f"fact_{f}") for f in facts),
        *(days(*base.values[v]).label(f"value_{v}") for v in values),
        key.label("key"),
    ]
    query = rows_of(base, wanted, moments, period.bounds())
    given = {"now": now, "owner_steps": list(owner_steps)}
    chunks = read_chunks(tx, query, given)
    numbers, keys = joined(chunks, len(wanted) - 1)
    upto = len(moments) + len(facts)
    return Columns(
        dict(zip(moments, numbers, strict=False)),
        {f: numbers[len(moments) + i] > 0 for i, f in enumerate(facts)},
        {v: numbers[upto + i] / DAY for i, v in enumerate(values)},
        keys,
    )


def read_chunks(tx: Connection, query: Any, given: Mapping[str, Any]) -> list[list[Any]]:
    """Per chunk: an array of numbers for each column but the last, and the list of keys."""
    chunks = []
    result = tx.execute(query.execution_options(yield_per=CHUNK), given)
    for rows in result.partitions():
        *numbers, keys = zip(*rows, strict=True)
        chunks.append([*(np.array(n, dtype=np.float64) for n in numbers), list(keys)])
    return chunks


def joined(
    chunks: Sequence[Sequence[Any]], width: int
) -> tuple[list[NDArray[np.float64]], list[str]]:
    empty = [np.empty(0)]
    numbers = [np.concatenate([c[i] for c in chunks] or empty) for i in range(width)]
    return numbers, [key or "-" for c in chunks for key in c[-1]]


def figures_of(spec: MeasureSpec, read: Columns, period: Period, by: str | None) -> list[Figure]:
    counted = inside(read.moments[spec.when], period) & holds(read, spec.denominator)
    if spec.value:
        counted &= ~np.isnan(read.values[spec.value])
    found = [figure(spec, None, read, counted)]
    if by is not None:
        groups, codes = grouped(read, spec.when, period, by)
        found += [figure(spec, g, read, counted & (codes == i)) for i, g in enumerate(groups)]
    return [one for one in found if one.n or one.group is None]


def inside(moments: NDArray[np.float64], period: Period) -> Mask:
    start, end = (moment.timestamp() for moment in period.bounds())
    found: Mask = (moments >= start) & (moments < end)
    return found


def holds(read: Columns, facts: Sequence[str]) -> Mask:
    """Where all the facts hold."""
    every = np.ones(len(read.keys), dtype=bool)
    for name in facts:
        held = read.facts[name.removeprefix(NOT)]
        every &= ~held if name.startswith(NOT) else held
    return every


def grouped(
    read: Columns, when: str, period: Period, by: str
) -> tuple[list[str], NDArray[np.int64]]:
    """The groups in order, and each row's place among them."""
    if by == "month":
        months = period.months()
        starts = np.array([period.start(m).timestamp() for m in months])
        codes = np.searchsorted(starts, read.moments[when], side="right") - 1
        return [f"{m:%Y-%m}" for m in months], codes
    groups = sorted(set(read.keys))
    place = {group: i for i, group in enumerate(groups)}
    return groups, np.array([place[key] for key in read.keys], dtype=np.int64)


def figure(spec: MeasureSpec, group: str | None, read: Columns, counted: Mask) -> Figure:
    n = int(counted.sum())
    if n < spec.minimum_n:
        return Figure(spec.id, group, n)
    if spec.statistic != RATIO:
        values = read.values[str(spec.value)][counted]
        worked = np.quantile(values, QUANTILES.get(spec.statistic, NINETY))
        return Figure(spec.id, group, n, value=float(worked))
    hits = int((counted & holds(read, spec.numerator)).sum())
    return Figure(spec.id, group, n, hits, hits / n, *wilson(hits, n))


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's score interval at 95 % for `hits` of `n`."""
    share, z2 = hits / n, Z95 * Z95
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def next_month(first: date) -> date:
    return (first + timedelta(days=32)).replace(day=1)
