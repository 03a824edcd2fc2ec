"""The routing policy document as plain values: ordered CEL rules that carry their own tests."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.kinds import IssueKind, Level, Priority
from policy.approval import ApprovalRule
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
class RedRule:
    """When all clauses hold, one person hears of the conversation within the minute.

    `tell`: a person's id, or `senior`: the first senior above the unit that would act.
    """

    id: str
    title: Text
    when: tuple[str, ...]
    tell: str = "senior"


@dataclass(frozen=True)
class RuleTest:
    """`given` overrides neutral features; `expect` names `rule` and any field of `Then`, and under
    `red` the red rules that hold."""

    given: Mapping[str, Any]
    expect: Mapping[str, Any]
    name: str = ""


@dataclass(frozen=True)
class Recurrence:
    """When the same cause from many customers makes a candidate of a big loop.

    At least `customers` of them within `window_days`, and a rate above that of the `baseline_days`
    before: as long as nothing changes, the chance of any candidate in `horizon_days` daily looks at
    all causes is at most `alpha`. `variation` is how far the rate of a window strays by itself in
    quiet times, besides chance: the standard deviation of its logarithm.
    """

    customers: int = 5
    window_days: int = 14
    baseline_days: int = 112
    alpha: float = 0.01
    horizon_days: int = 91
    variation: float = 0.15


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
    """Days without an answer after each contact; after the last the loop closes unverified."""
    contacts: int = 2
    """How often a customer is asked the same question, calls without an answer included."""
    call_again_hours: int = 24
    """Hours after a call that brought no answer until the next one."""
    contact_gap_days: int = 7
    """Days between questions to one customer about different loops; a later one waits."""
    answer_change_days: int = 7
    """Days in which a customer may take an answer back."""
    big_loops_at_once: int = 20
    """How many big loops may be worked on together; another candidate waits."""
    watch_days: tuple[int, ...] = (30, 60, 90)
    """Days after a fix is in place at which its effect is measured."""
    relapse_days: int = 180
    """Days after a big loop closed as proven in which its cause coming back reopens it."""
    red: tuple[RedRule, ...] = ()
    recurrence: Recurrence = Recurrence()
    approvals: tuple[ApprovalRule, ...] = ()
    """Levels of approval; a kind without any cannot be granted, or needs no approval."""
