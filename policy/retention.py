"""How long may what a customer said be kept? Classes of records with years, as dated configuration.

At least three years after a complaint is closed, ten for credit reporting; which rule says so is
written down with each class and signed off by compliance.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

Text = Mapping[str, str]

LEAST_YEARS = 3
LEAST_YEARS_OF_CREDIT_REPORTING = 10


@dataclass(frozen=True)
class RetentionClass:
    """Records that are kept equally long. `rule`: what says so; `effective`: from which day on.

    A class without topics and sources takes all that no other takes. The same id again with a
    later day replaces it from then on.
    """

    id: str
    title: Text
    years: int
    effective: str
    rule: Text
    topics: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    credit_reporting: bool = False

    @property
    def takes_the_rest(self) -> bool:
        return not (self.topics or self.sources)


def in_force(classes: Iterable[RetentionClass], day: date) -> tuple[RetentionClass, ...]:
    """The classes as they hold on a day."""
    newest: dict[str, RetentionClass] = {}
    for one in sorted(classes, key=lambda c: c.effective):
        if date.fromisoformat(one.effective) <= day:
            newest[one.id] = one
    return tuple(newest.values())


def class_of(
    classes: Sequence[RetentionClass], topics: Iterable[str], source: str
) -> RetentionClass | None:
    """The class a record belongs to, the longest of several; None where none takes it."""
    about = set(topics)
    named = [c for c in classes if about & set(c.topics) or source in c.sources]
    rest = [c for c in classes if c.takes_the_rest]
    return max(named or rest, key=lambda c: c.years, default=None)


def keep_until(since: datetime, years: int) -> datetime:
    """The same day so many years on; the 29 February's is 1 March where there is none."""
    try:
        return since.replace(year=since.year + years)
    except ValueError:
        return since.replace(year=since.year + years, month=3, day=1)
