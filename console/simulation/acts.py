"""What simulated people planned for this hour, done through the same functions that people use.

A plan is done only if its thing is still as it was when it was planned, so that an hour that is
done again after a crash does nothing twice.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Table, select

from console.simulation import words
from console.simulation.notices import (
    CLOCKS,
    ISSUES,
    LOOPS,
    PIECE,
    PROPOSALS,
    TICKETS,
    VERIFICATIONS,
)
from console.simulation.plans import Plan, Planner, draw
from loopwright.history.envelope import Actor
from models.kinds import (
    Answer,
    CallOutcome,
    EventKind,
    How,
    IssueKind,
    IssueState,
    LoopState,
    Outcome,
    Stops,
    TicketState,
    Told,
)
from tasks.causes import big_loops, plan_cause
from tasks.routing import decide
from tasks.tickets import hand_off
from tasks.verification import answers, call_backs, tell
from tasks.workspace import Workspace

T = TypeVar("T")

SET = 250
"""Answers of one transaction: each makes up to three events."""
HOW = (How.CALL, How.CALL, How.MESSAGE)
MONTH = timedelta(days=30)

TICKET_ACTS: Mapping[str, tuple[EventKind, Sequence[str], tuple[TicketState, ...]]] = {
    "accept": (EventKind.TICKET_ACCEPTED, ("",), (TicketState.ASSIGNED,)),
    "reject": (EventKind.TICKET_REJECTED, words.REASONS, (TicketState.ASSIGNED,)),
    "transfer": (
        EventKind.TICKET_TRANSFERRED,
        words.HANDED_ON,
        (TicketState.ASSIGNED, TicketState.ACCEPTED),
    ),
    "resolve": (
        EventKind.TICKET_RESOLVED,
        words.DONE,
        (TicketState.ASSIGNED, TicketState.ACCEPTED),
    ),
}
"""Act -> event, words to choose from, and the states from which it can be done."""
TOLD: Mapping[str, tuple[Told, tuple[Stops, ...]]] = {
    "first_answer": (Told.FIRST_ANSWER, (Stops.FIRST_ANSWER,)),
    "decision": (Told.DECISION, (Stops.FIRST_ANSWER, Stops.TOLD)),
}
"""Act -> what the customer is told, and the clocks of which one must still run."""


@dataclass(frozen=True)
class Stage:
    """The organisation whose people act."""

    ws: Workspace
    planner: Planner

    def act(self, plans: Sequence[Plan], now: datetime) -> None:
        """Do what is planned for now; plans of one kind go together in sets."""
        ordered = sorted(plans)
        # First, for a ticket that is done is at nobody's hand: who is killed in between would not
        # know that a word to its customer is owed.
        self.tell_customers([p for p in ordered if p.act in TOLD], now)
        self.answer_tickets([p for p in ordered if p.act in TICKET_ACTS], now)
        self.answer_questions([p for p in ordered if p.act == "answer"], now)
        for plan in ordered:
            if plan.act in ONE_BY_ONE:
                ONE_BY_ONE[plan.act](self, plan, now)

    def answer_tickets(self, plans: Sequence[Plan], now: datetime) -> None:
        for wave in waves(plans):
            rows = self.rows(TICKETS, [plan.thing for plan in wave])
            said = [
                self.ticket_answer(plan, rows[plan.thing])
                for plan in wave
                if self.is_as_planned(plan, rows.get(plan.thing))
            ]
            for some in sets(said):
                hand_off.answer(self.ws, some, now)

    def is_as_planned(self, plan: Plan, ticket: Any) -> bool:
        _, _, states = TICKET_ACTS[plan.act]
        return bool(ticket) and ticket.assigned_at == plan.since and ticket.state in states

    def ticket_answer(self, plan: Plan, ticket: Any) -> hand_off.Answer:
        kind, sentences, _ = TICKET_ACTS[plan.act]
        return hand_off.Answer(
            plan.thing,
            kind,
            self.head(ticket.unit),
            unit=plan.unit,
            cause=plan.word or None,
            words=self.say(plan, sentences),
        )

    def tell_customers(self, plans: Sequence[Plan], now: datetime) -> None:
        """Only while a clock still waits for it: nobody is told the same twice."""
        rows = self.rows(TICKETS, [plan.thing for plan in plans])
        running = self.running([row.loop_id for row in rows.values()])
        told = {}
        for plan in plans:
            ticket, (what, stops) = rows[plan.thing], TOLD[plan.act]
            loop, actor = ticket.loop_id, self.head(ticket.unit)
            if ticket.assigned_at == plan.since and running.get(loop, set()) & {*stops}:
                how, kept = How(self.say(plan, HOW)), self.say(plan, words.EVIDENCE)
                told[loop] = tell.Telling(loop, what, how, actor, kept)
        for some in sets(list(told.values())):
            tell.tell_customers(self.ws, some, now)

    def running(self, loops: Sequence[str]) -> dict[str, set[str]]:
        """Loop -> what its running clocks wait for."""
        found: dict[str, set[str]] = {}
        with self.ws.db.read() as tx:
            for n in range(0, len(loops), PIECE):
                query = select(CLOCKS.c.loop_id, CLOCKS.c.stops).where(
                    CLOCKS.c.loop_id.in_(loops[n : n + PIECE]), CLOCKS.c.stopped_at.is_(None)
                )
                for loop, stops in tx.execute(query):
                    found.setdefault(loop, set()).add(stops)
        return found

    def rows(self, table: Table, wanted: Sequence[str]) -> dict[str, Any]:
        """Rows by id, as they are now."""
        found = {}
        with self.ws.db.read() as tx:
            for n in range(0, len(wanted), PIECE):
                query = select(table).where(table.c.id.in_(wanted[n : n + PIECE]))
                found.update({row.id: row for row in tx.execute(query)})
        return found

    def row(self, table: Table, plan: Plan) -> Any:
        return self.rows(table, [plan.thing])[plan.thing]

    def answer_questions(self, plans: Sequence[Plan], now: datetime) -> None:
        """Customers say whether it is solved; who asked them takes it down."""
        rows = self.rows(VERIFICATIONS, [plan.thing for plan in plans])
        actor = self.head(self.planner.operations)
        said = [
            answers.Said(
                rows[plan.thing].loop_id,
                Answer(plan.word),
                actor,
                self.say(plan, words.ANSWERS[plan.word]),
            )
            for plan in plans
            if rows[plan.thing].due_at is not None
        ]
        for some in sets(said):
            answers.answers(self.ws, some, now)

    def call_back(self, plan: Plan, now: datetime) -> None:
        """A call that brings no answer, unless one has come meanwhile, and only one an hour."""
        question = self.row(VERIFICATIONS, plan)
        if question.call_at is not None and question.contacted_at != now:
            kept, actor = self.say(plan, words.EVIDENCE), self.head(self.planner.operations)
            outcome = CallOutcome(plan.word)
            call_backs.called(self.ws, question.loop_id, outcome, kept, actor, now)

    def withdraw(self, plan: Plan, now: datetime) -> None:
        if self.row(LOOPS, plan).state in (LoopState.TRIAGE, LoopState.OPEN):
            actor = self.head(self.planner.operations)
            decide.withdraw(self.ws, plan.thing, self.say(plan, words.WITHDRAWN), actor, now)

    def decide_issue(self, plan: Plan, now: datetime) -> None:
        issue = self.row(ISSUES, plan)
        if issue.state == IssueState.TRIAGE:
            kind = IssueKind(plan.word)
            topic = issue.topic if kind is not IssueKind.NOISE else None
            actor = self.head(self.planner.operations)
            decide.decide_issue(self.ws, plan.thing, kind, topic, actor, now)

    def decide_proposal(self, plan: Plan, now: datetime) -> None:
        proposal = self.row(PROPOSALS, plan)
        both = self.rows(LOOPS, [proposal.loop_id, proposal.into_id])
        is_open = all(loop.state != LoopState.CLOSED for loop in both.values())
        if proposal.decided_at is None and is_open:
            actor = self.head(self.planner.operations)
            decide.decide_proposal(self.ws, plan.thing, plan.word == "yes", actor, now)

    def arbitrate(self, plan: Plan, now: datetime) -> None:
        loop = self.row(LOOPS, plan)
        disputed = loop.arbitration and loop.state == LoopState.OPEN
        if disputed or loop.state == LoopState.TRIAGE:
            actor = self.head(self.planner.operations)
            decide.decide_loop(self.ws, plan.thing, str(plan.unit), actor, now)

    def take_on(self, plan: Plan, now: datetime) -> None:
        loop = self.row(LOOPS, plan)
        if loop.state == LoopState.CANDIDATE:
            lead, actor = str(plan.unit), self.head(self.planner.operations)
            others = self.planner.participants(loop.topic, lead)
            big_loops.triage(self.ws, plan.thing, lead, others, None, actor, now)

    def make_plan(self, plan: Plan, now: datetime) -> None:
        if self.row(LOOPS, plan).state == LoopState.TRIAGED:
            made = plan_cause.Plan(
                plan.word,
                [self.say(plan, words.REASONS)],
                [self.say(plan, words.PLANS)],
                self.say(plan, words.TARGETS),
                (now + MONTH).date(),
            )
            plan_cause.plan(self.ws, plan.thing, made, self.head(str(plan.unit)), now)

    def close_cause(self, plan: Plan, now: datetime) -> None:
        watching = plan.act == "close"
        wanted = LoopState.WATCHING if watching else LoopState.CANDIDATE
        if self.row(LOOPS, plan).state == wanted:
            outcome = Outcome.NOT_PROVEN if watching else Outcome.ABANDONED
            why = self.say(plan, words.CLOSINGS if watching else words.ABANDONED)
            changed = words.CHANGED if watching else None
            actor = self.head(self.planner.operations)
            big_loops.close(self.ws, plan.thing, outcome, why, changed, actor, now)

    def head(self, unit: str) -> Actor:
        """Who answers for the unit."""
        managers = self.planner.documents.organisation.managers(unit)
        return Actor("person", managers[0].id if managers else unit, "demo")

    def say(self, plan: Plan, sentences: Sequence[str]) -> str:
        return sentences[int(draw(self.planner.seed, *plan.key, "says") * len(sentences))]


def sets(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for n in range(0, len(items), SET):
        yield items[n : n + SET]


def waves(plans: Sequence[Plan]) -> Iterator[list[Plan]]:
    """Sets in which no ticket is named twice, in order."""
    left = list(plans)
    while left:
        wave: dict[str, Plan] = {}
        for plan in left:
            wave.setdefault(plan.thing, plan)
        yield list(wave.values())
        left = [plan for plan in left if wave[plan.thing] is not plan]


ONE_BY_ONE: Mapping[str, Callable[[Stage, Plan, datetime], None]] = {
    "call": Stage.call_back,
    "withdraw": Stage.withdraw,
    "decide": Stage.decide_issue,
    "merge": Stage.decide_proposal,
    "arbitrate": Stage.arbitrate,
    "take_on": Stage.take_on,
    "abandon": Stage.close_cause,
    "plan": Stage.make_plan,
    "close": Stage.close_cause,
}
