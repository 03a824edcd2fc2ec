"""Are the unhappy left out when customers are asked? Units whose resolved complaints end unasked.

Of loops with strong emotion or severity that were called solved: how many ended without the
customer being asked, in this unit and in all others? Fisher's exact test, one-sided, over all
units together.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, or_, select

from insight.findings.evidence import ALPHA, LEAST, Finding, Since, happened, pages
from models.base import table
from models.issue import Issue
from models.kinds import EventKind, IssueKind, LoopState, Relation
from models.loop import Loop, LoopIssue
from models.verification import Verification

LOOPS = table(Loop)
ISSUES = table(Issue)
LOOP_ISSUES = table(LoopIssue)
QUESTIONS = table(Verification)

UNHAPPY = 2
"""Emotion or severity, of 0 to 3, from which on a complaint counts as unhappy."""


@dataclass
class Tally:
    """A unit's unhappy loops that were called solved, by whether the customer was asked."""

    asked: list[str] = field(default_factory=list)
    unasked: list[str] = field(default_factory=list)

    @property
    def n(self) -> int:
        return len(self.asked) + len(self.unasked)


def unhappy_left_out(tx: Connection, since: Since) -> Iterator[Finding]:
    resolved = {event.loop_id for event in happened(tx, since, (EventKind.LOOP_RESOLVED,))}
    units: dict[str, Tally] = {}
    for page in pages(resolved):
        for row in fates(tx, page):
            tally = units.setdefault(row.lead or "-", Tally())
            (tally.asked if row.question else tally.unasked).append(row.id)
    for unit, tally in sorted(units.items()):
        if len(tally.unasked) >= LEAST and fisher(tally, units) <= ALPHA / len(units):
            yield finding(unit, tally, units)


def fates(tx: Connection, loops: Sequence[str]) -> Sequence[Any]:
    """Unhappy customers' loops that were asked about, or are closed without; once each."""
    asked = select(QUESTIONS.c.id).where(QUESTIONS.c.loop_id == LOOPS.c.id).exists()
    query = (
        select(LOOPS.c.id, LOOPS.c.lead, asked.label("question"))
        .join(LOOP_ISSUES, LOOP_ISSUES.c.loop_id == LOOPS.c.id)
        .join(ISSUES, ISSUES.c.id == LOOP_ISSUES.c.issue_id)
        .where(
            LOOPS.c.id.in_(loops),
            LOOPS.c.kind == "small",
            LOOPS.c.customer_id.is_not(None),
            LOOP_ISSUES.c.relation == Relation.ORIGIN,
            ISSUES.c.kind.in_([IssueKind.COMPLAINT.value, IssueKind.LEAVE.value]),
            or_(ISSUES.c.emotion >= UNHAPPY, ISSUES.c.severity >= UNHAPPY),
            or_(LOOPS.c.state == LoopState.CLOSED.value, asked),
        )
    )
    return tx.execute(query).all()


def fisher(tally: Tally, units: Mapping[str, Tally]) -> float:
    """How likely so many of the unasked are this unit's, if all units were alike."""
    from scipy.stats import hypergeom

    everything = sum(t.n for t in units.values())
    unasked = sum(len(t.unasked) for t in units.values())
    return float(hypergeom.sf(len(tally.unasked) - 1, everything, unasked, tally.n))


def finding(unit: str, tally: Tally, units: Mapping[str, Tally]) -> Finding:
    others = [t for name, t in units.items() if name != unit]
    counts = {
        "unhappy": tally.n,
        "unasked": len(tally.unasked),
        "others_unhappy": sum(t.n for t in others),
        "others_unasked": sum(len(t.unasked) for t in others),
    }
    return Finding(
        "unhappy_left_out",
        unit,
        counts,
        tuple(sorted(tally.unasked)),
        (),
        {
            "zh": "{unit} 情绪强烈的投诉 {unhappy} 个，{unasked} 个未问客户即结束；其他机构"
            " {others_unhappy} 个中 {others_unasked} 个".format(unit=unit, **counts),
            "en": "{unit}: {unasked} of {unhappy} strong complaints ended without asking the"
            " customer; elsewhere {others_unasked} of {others_unhappy}".format(unit=unit, **counts),
        },
    )
