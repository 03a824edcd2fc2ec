"""The routing policy document as plain values: ordered CEL rules that carry their own tests."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.kinds import IssueKind, Level, Priority
from policy.organisation import Text


@dataclass(frozen=True)
class Then:
    """What a matching rule decides.

    `loop`: none, small, big or triage. `lead`: `owner` (the topic's owner), `customer_unit` (the
    customer's unit at `level`, else the topic's owner) or `unit:CODE`. `participants`: unit codes,
    or `topic` for the topic's departments.
    """

    loop: str
    level: Level = Level.DEPARTMENT
    lead: str = "owner"
    participants: tuple[str, ...] = ()
    priority: Priority = Priority.P3
    clocks: tuple[str, ...] = ()
    ladder: str | None = None


@dataclass(frozen=True)
class Rule:
    """First rule whose clauses ALL hold decides; each clause is one CEL expression."""

    id: str
    title: Text
    when: tuple[str, ...]
    then: Then


@dataclass(frozen=True)
class RuleTest:
    """`given` overrides neutral features; `expect` names `rule` and any field of `Then`."""

    given: Mapping[str, Any]
    expect: Mapping[str, Any]
    name: str = ""


@dataclass(frozen=True)
class Recurrence:
    """When the same topic and touchpoint from many customers makes a candidate of a big loop.

    At least `customers` of them within `window_days`, and a rate above that of the `baseline_days`
    before: a chance below `alpha` that it is no more than usual.
    """

    customers: int = 5
    window_days: int = 14
    baseline_days: int = 56
    alpha: float = 0.01


@dataclass(frozen=True)
class Rulebook:
    policy: str
    version: str
    opens: tuple[IssueKind, ...]
    """Kinds that may open a loop; the others are noted and open nothing."""
    rules: tuple[Rule, ...]
    tests: tuple[RuleTest, ...]
    confidence: float = 0.5
    """Below this the classifier abstains and a person decides."""
    reopen_days: int = 30
    """Same customer and topic within this many days after closing reopens the loop."""
    bounces: int = 2
    """Rejections of one loop after which it goes to arbitration."""
    triage_hours: int = 24
    """An issue in doubt must be read by a person within this many hours of receipt."""
    clocks: tuple[str, ...] = ()
    """Clocks of a loop that no rule decided, e.g. one that a person opened at triage."""
    ladder: str | None = None
    """Ladder of such a loop."""
    silence_days: int = 7
    """Days without an answer after asking the customer, then the loop closes unverified."""
    recurrence: Recurrence = Recurrence()
