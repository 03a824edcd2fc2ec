"""How each word of `policy/measures.py` is read from the database: bases, moments, facts, values.

Facts become 0 or 1 and moments whole seconds in the database itself, so that hundreds of thousands
of rows are read as plain numbers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Select,
    Table,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement

from models.base import UtcDateTime, table
from models.clock import Clock
from models.feedback import Feedback
from models.history import HistoryEvent
from models.issue import Correction, Issue
from models.kinds import (
    EventKind,
    IssueState,
    LoopState,
    Outcome,
    Relation,
    TicketState,
    Unverified,
)
from models.loop import Loop, LoopIssue
from models.ticket import Ticket
from models.verification import Verification

LOOPS = table(Loop)
CLOCKS = table(Clock)
TICKETS = table(Ticket)
QUESTIONS = table(Verification)
ISSUES = table(Issue)
FEEDBACK = table(Feedback)
LOOP_ISSUES = table(LoopIssue)
CORRECTIONS = table(Correction)
EVENTS = table(HistoryEvent)

NOW = bindparam("now", type_=UtcDateTime)
OWNER_STEPS: Any = bindparam("owner_steps", expanding=True)
"""Steps of ladders that tell the owner only: no climb above it."""

Condition = ColumnElement[bool]


class seconds(FunctionElement[int]):
    """Whole seconds since 1970 of a UTC column."""

    type = BigInteger()
    name = "seconds"
    inherit_cache = True


@compiles(seconds, "sqlite")
def _sqlite_seconds(element: Any, compiler: Any, **kw: Any) -> str:
    return f"CAST(strftime('%s', {compiler.process(element.clauses, **kw)}) AS INTEGER)"


@compiles(seconds)
def _standard_seconds(element: Any, compiler: Any, **kw: Any) -> str:
    return f"CAST(FLOOR(EXTRACT(EPOCH FROM {compiler.process(element.clauses, **kw)})) AS BIGINT)"


@dataclass(frozen=True)
class BaseRows:
    """One base: its table, what always comes with it, and what is joined when a word needs it."""

    table: Table
    moments: Mapping[str, ColumnElement[Any]]
    facts: Mapping[str, Condition]
    values: Mapping[str, tuple[ColumnElement[Any], ColumnElement[Any]]]
    """From when to when."""
    keys: Mapping[str, ColumnElement[Any]]
    """What it can be broken down by, beside the month."""
    parts: tuple[tuple[FromClause, Condition], ...] = ()
    """Outer joins, made only for the words that read them."""
    always: tuple[tuple[FromClause, Condition], ...] = ()


def fact(condition: Condition) -> ColumnElement[int]:
    """1 when it holds, 0 when it does not or nobody knows."""
    return case((condition, 1), else_=0)


def days(start: ColumnElement[Any], end: ColumnElement[Any]) -> ColumnElement[int]:
    """Seconds between two moments; null when one of them is."""
    return seconds(end) - seconds(start)


def rows_of(
    base: BaseRows,
    columns: Iterable[ColumnElement[Any]],
    moments: Iterable[str],
    span: tuple[Any, Any],
) -> Select[Any]:
    """The base's rows that one of the moments puts into the span."""
    wanted = list(columns)
    used = select(*wanted).get_final_froms()
    source: FromClause = base.table
    for other, on in base.always:
        source = source.join(other, on)
    for other, on in base.parts:
        if other in used:
            source = source.outerjoin(other, on)
    inside = [(base.moments[m] >= span[0]) & (base.moments[m] < span[1]) for m in sorted(moments)]
    return select(*wanted).select_from(source).where(or_(*inside))


# Loops

CLIMBED = (
    select(CLOCKS.c.loop_id)
    .where(CLOCKS.c.step.is_not(None), CLOCKS.c.step.not_in(OWNER_STEPS))
    .distinct()
    .subquery("climbed")
)
ASKED = select(QUESTIONS.c.loop_id).distinct().subquery("asked")
ORIGIN = (
    select(LOOP_ISSUES.c.loop_id, FEEDBACK.c.source)
    .join(ISSUES, ISSUES.c.id == LOOP_ISSUES.c.issue_id)
    .join(FEEDBACK, FEEDBACK.c.id == ISSUES.c.feedback_id)
    .where(LOOP_ISSUES.c.relation == Relation.ORIGIN)
    .subquery("origin")
)
UNDONE = EVENTS.c.data.contains('"state":', autoescape=True)
"""A reopening that only undoes a merge says the state to go back to."""
HAPPENED = (
    select(
        EVENTS.c.loop_id,
        func.max(fact(EVENTS.c.kind == EventKind.LOOP_RESOLVED)).label("resolved"),
        func.max(fact((EVENTS.c.kind == EventKind.LOOP_REOPENED) & ~UNDONE)).label("reopened"),
        func.max(fact(EVENTS.c.kind == EventKind.LOOP_REVIEW_REQUESTED)).label("review"),
    )
    .where(
        EVENTS.c.kind.in_(
            (
                EventKind.LOOP_RESOLVED,
                EventKind.LOOP_REOPENED,
                EventKind.LOOP_REVIEW_REQUESTED,
            )
        )
    )
    .group_by(EVENTS.c.loop_id)
    .subquery("happened")
)
ENDED = EVENTS.alias("ended")


def ended(why: Unverified) -> Condition:
    """Closed without an answer, for this reason."""
    said = ENDED.c.data.contains(f'"why":"{why.value}"', autoescape=True)
    return (LOOPS.c.outcome == Outcome.UNVERIFIED) & said


LOOP_ROWS = BaseRows(
    LOOPS,
    moments={
        "received": LOOPS.c.received_at,
        "opened": LOOPS.c.opened_at,
        "closed": LOOPS.c.closed_at,
    },
    facts={
        "small": LOOPS.c.kind == "small",
        "big": LOOPS.c.kind == "big",
        "has_customer": LOOPS.c.customer_id.is_not(None),
        "closed": LOOPS.c.state == LoopState.CLOSED,
        "verified": LOOPS.c.outcome == Outcome.VERIFIED,
        "unverified": LOOPS.c.outcome == Outcome.UNVERIFIED,
        "withdrawn": LOOPS.c.outcome == Outcome.WITHDRAWN,
        "merged": LOOPS.c.outcome == Outcome.MERGED,
        "unfounded": LOOPS.c.outcome == Outcome.UNFOUNDED,
        "proven": LOOPS.c.outcome == Outcome.PROVEN,
        "not_proven": LOOPS.c.outcome == Outcome.NOT_PROVEN,
        "abandoned": LOOPS.c.outcome == Outcome.ABANDONED,
        "silent": ended(Unverified.SILENT),
        "unreachable": ended(Unverified.UNREACHABLE),
        "opted_out": ended(Unverified.OPTED_OUT),
        "refused": ended(Unverified.REFUSED),
        "resolved": HAPPENED.c.resolved == 1,
        "reopened": HAPPENED.c.reopened == 1,
        "review_requested": HAPPENED.c.review == 1,
        "disputed": LOOPS.c.bounces > 0,
        "asked": ASKED.c.loop_id.is_not(None),
        "escalated": CLIMBED.c.loop_id.is_not(None),
        "red": LOOPS.c.priority == "P1",
    },
    values={"days_to_close": (LOOPS.c.received_at, LOOPS.c.closed_at)},
    keys={"unit": LOOPS.c.lead, "topic": LOOPS.c.topic, "source": ORIGIN.c.source},
    parts=(
        (CLIMBED, CLIMBED.c.loop_id == LOOPS.c.id),
        (ASKED, ASKED.c.loop_id == LOOPS.c.id),
        (HAPPENED, HAPPENED.c.loop_id == LOOPS.c.id),
        (
            ENDED,
            and_(
                ENDED.c.loop_id == LOOPS.c.id,
                ENDED.c.kind == EventKind.LOOP_CLOSED,
                ENDED.c.at == LOOPS.c.closed_at,
            ),
        ),
        (ORIGIN, ORIGIN.c.loop_id == LOOPS.c.id),
    ),
)

# Clocks

LATE = or_(
    CLOCKS.c.breached_at.is_not(None),
    CLOCKS.c.stopped_at > CLOCKS.c.due_at,
    CLOCKS.c.stopped_at.is_(None) & CLOCKS.c.paused_at.is_(None) & (CLOCKS.c.due_at <= NOW),
)
"""Also of a clock that was extended only after it had run out."""
NEXT = CLOCKS.alias("next")
PASSED_ON = (
    select(NEXT.c.id)
    .where(
        NEXT.c.loop_id == CLOCKS.c.loop_id,
        NEXT.c.ticket_id == CLOCKS.c.ticket_id,
        NEXT.c.spec == CLOCKS.c.spec,
        NEXT.c.id != CLOCKS.c.id,
        NEXT.c.started_at == CLOCKS.c.stopped_at,
    )
    .correlate(CLOCKS)
    .exists()
)
"""A transfer: the same ticket's clock starts anew in the moment this one stops."""
BEGUN_ANEW = (
    select(EVENTS.c.seq)
    .where(
        EVENTS.c.kind == EventKind.CLOCK_RESTARTED,
        EVENTS.c.loop_id == CLOCKS.c.loop_id,
        EVENTS.c.at == CLOCKS.c.stopped_at,
    )
    .correlate(CLOCKS)
    .exists()
)
CALLED_OFF = LOOPS.c.outcome.in_((Outcome.MERGED, Outcome.WITHDRAWN)) & (
    CLOCKS.c.stopped_at == LOOPS.c.closed_at
)

CLOCK_ROWS = BaseRows(
    CLOCKS,
    moments={"due": CLOCKS.c.due_at, "started": CLOCKS.c.started_at},
    facts={
        "legal": CLOCKS.c.kind == "legal",
        "customer": CLOCKS.c.kind == "customer",
        "owner": CLOCKS.c.kind == "owner",
        "stops_told": CLOCKS.c.stops == "told",
        "stops_first_answer": CLOCKS.c.stops == "first_answer",
        "stops_closed": CLOCKS.c.stops == "closed",
        "stops_resolved": CLOCKS.c.stops == "resolved",
        "late": LATE,
        "extended": CLOCKS.c.extension.is_not(None),
        "provisional": CLOCKS.c.provisional,
        "paused": CLOCKS.c.paused_at.is_not(None),
        "void": and_(
            CLOCKS.c.breached_at.is_(None),
            CLOCKS.c.stopped_at <= CLOCKS.c.due_at,
            or_(
                CALLED_OFF,
                TICKETS.c.state == TicketState.REJECTED,
                PASSED_ON,
                BEGUN_ANEW,
            ),
        ),
    },
    values={"days_run": (CLOCKS.c.started_at, CLOCKS.c.stopped_at)},
    keys={
        "unit": func.coalesce(TICKETS.c.unit, LOOPS.c.lead),
        "topic": LOOPS.c.topic,
        "source": ORIGIN.c.source,
    },
    parts=(
        (TICKETS, TICKETS.c.id == CLOCKS.c.ticket_id),
        (ORIGIN, ORIGIN.c.loop_id == CLOCKS.c.loop_id),
    ),
    always=((LOOPS, LOOPS.c.id == CLOCKS.c.loop_id),),
)

# Tickets, questions, issues

TAKEN_AT = func.coalesce(TICKETS.c.accepted_at, TICKETS.c.resolved_at)
TICKET_ROWS = BaseRows(
    TICKETS,
    moments={"assigned": TICKETS.c.assigned_at},
    facts={
        "lead": TICKETS.c.role == "lead",
        "accepted": TAKEN_AT.is_not(None),
        "rejected": TICKETS.c.state == TicketState.REJECTED,
        "resolved": TICKETS.c.resolved_at.is_not(None),
    },
    values={
        "days_to_accept": (TICKETS.c.assigned_at, TAKEN_AT),
        "days_to_resolve": (TICKETS.c.assigned_at, TICKETS.c.resolved_at),
    },
    keys={"unit": TICKETS.c.unit, "topic": LOOPS.c.topic, "source": ORIGIN.c.source},
    parts=((ORIGIN, ORIGIN.c.loop_id == TICKETS.c.loop_id),),
    always=((LOOPS, LOOPS.c.id == TICKETS.c.loop_id),),
)

QUESTION_ROWS = BaseRows(
    QUESTIONS,
    moments={"asked": QUESTIONS.c.asked_at},
    facts={
        "by_mail": QUESTIONS.c.via == "mail",
        "by_call": QUESTIONS.c.via == "call",
        "waiting": QUESTIONS.c.answer.is_(None) & QUESTIONS.c.due_at.is_not(None),
        "answered": QUESTIONS.c.answer.is_not(None),
        "yes": QUESTIONS.c.answer == "yes",
        "partly": QUESTIONS.c.answer == "partly",
        "no": QUESTIONS.c.answer == "no",
        "changed": QUESTIONS.c.first_answer != QUESTIONS.c.answer,
    },
    values={"days_to_answer": (QUESTIONS.c.asked_at, QUESTIONS.c.answered_at)},
    keys={"unit": LOOPS.c.lead, "topic": LOOPS.c.topic, "source": ORIGIN.c.source},
    parts=((ORIGIN, ORIGIN.c.loop_id == QUESTIONS.c.loop_id),),
    always=((LOOPS, LOOPS.c.id == QUESTIONS.c.loop_id),),
)

CORRECTED = select(CORRECTIONS.c.issue_id).distinct().subquery("corrected")
BY_A_PERSON = or_(ISSUES.c.state == IssueState.TRIAGE, CORRECTED.c.issue_id.is_not(None))
ISSUE_ROWS = BaseRows(
    ISSUES,
    moments={"arrived": FEEDBACK.c.arrived_at},
    facts={
        "complaint": ISSUES.c.kind == "complaint",
        "opens": or_(ISSUES.c.state != IssueState.NOTED, CORRECTED.c.issue_id.is_not(None)),
        "to_a_person": BY_A_PERSON,
        "waiting": ISSUES.c.state == IssueState.TRIAGE,
    },
    values={},
    keys={"unit": FEEDBACK.c.unit, "topic": ISSUES.c.topic, "source": FEEDBACK.c.source},
    parts=((CORRECTED, CORRECTED.c.issue_id == ISSUES.c.id),),
    always=((FEEDBACK, FEEDBACK.c.id == ISSUES.c.feedback_id),),
)

ROWS: Mapping[str, BaseRows] = {
    "loops": LOOP_ROWS,
    "clocks": CLOCK_ROWS,
    "tickets": TICKET_ROWS,
    "questions": QUESTION_ROWS,
    "issues": ISSUE_ROWS,
}
