"""What will the people of a simulated bank do with what has just come to them, and when?

Every plan is a pure function of the seed and the natural key of the thing it is about (what the
customer said, the unit, the moment it came), never of a running generator: a driver that was
killed plans the same again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from hashlib import blake2b
from zoneinfo import ZoneInfo

from console.simulation.rates import RATES, Hours, Rates
from models.kinds import Answer, CallOutcome, IssueKind, Priority, Way
from policy.deadline import add_business_hours
from policy.documents import DocumentSet
from policy.working_time import WorkingCalendar

GRID = timedelta(hours=1)
"""Simulated people and sweeps act on the hour."""


@dataclass(frozen=True, order=True)
class Plan:
    """At `at` somebody does `act` with `thing`, if it still is as it was `since`.

    `key` is natural, so that plans of one moment have one order.
    """

    at: datetime
    key: tuple[str, ...]
    act: str
    thing: str
    since: datetime | None = None
    unit: str | None = None
    word: str = ""


@dataclass(frozen=True)
class Told:
    """A ticket, loop, issue or question as its planner sees it; `key` is its natural key."""

    id: str
    key: tuple[str, ...]
    at: datetime
    unit: str
    topic: str = ""
    kind: str = ""
    priority: str | None = None
    bounces: int = 0


def on_grid(moment: datetime) -> datetime:
    """The first full hour at or after a moment."""
    floor = moment.replace(minute=0, second=0, microsecond=0)
    return floor if floor == moment else floor + GRID


def draw(seed: int, *key: str) -> float:
    """A number in [0, 1) that is always the same for the same words."""
    digest = blake2b("\x1f".join([str(seed), *key]).encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big") / 2**56


def choose(share: float, chances: Sequence[tuple[str, float]], rest: str) -> str:
    """The name into whose share a drawn number falls, one after the other."""
    for name, chance in chances:
        if share < chance:
            return name
        share -= chance
    return rest


@dataclass(frozen=True)
class Planner:
    """The people of one organisation."""

    documents: DocumentSet
    calendar_of: Callable[[str], WorkingCalendar | None]
    seed: int
    rates: Rates = RATES

    @cached_property
    def departments(self) -> Mapping[str, tuple[str, ...]]:
        """Topic -> its owner, then the other units that have to do with it."""
        return {
            topic.id: tuple(dict.fromkeys([topic.owner, *topic.departments]))
            for topic in self.documents.taxonomy.topics
        }

    @cached_property
    def causes(self) -> Mapping[str, str]:
        return {t.id: t.codes.cause for t in self.documents.taxonomy.topics if t.codes.cause}

    @cached_property
    def codes(self) -> Sequence[str]:
        return [entry.code for entry in self.documents.taxonomy.codes.causes] or ["-"]

    @property
    def operations(self) -> str:
        return self.documents.organisation.operations

    def share(self, about: Told, *what: str) -> float:
        return draw(self.seed, *about.key, *what)

    def after(self, about: Told, what: str, hours: Hours, unit: str, part: float = 1.0) -> datetime:
        """When the unit gets to it: later than now, on the hour, in its working time."""
        low, high = hours
        wanted = part * (low + (high - low) * self.share(about, "hours", what))
        calendar = self.calendar_of(unit)
        if calendar is None:
            return on_grid(about.at + max(GRID, timedelta(hours=wanted)))
        return on_grid(max(about.at + GRID, add_business_hours(about.at, wanted, calendar)))

    def ticket(self, ticket: Told) -> Iterator[Plan]:
        """A department with a ticket of a customer's own loop."""
        character = self.character(ticket)
        if character in ("reject", "transfer"):
            other = self.other_unit(ticket)
            at = self.after(ticket, character, self.rates.hand_on, ticket.unit)
            yield self.plan(ticket, at, character, unit=other)
        elif character == "sleep":
            at = self.after(ticket, "wakes", self.rates.wakes_anyway, ticket.unit)
            yield self.plan(ticket, at, "resolve", word=self.cause(ticket))
        else:
            yield from self.work(ticket, character)

    def character(self, ticket: Told) -> str:
        """What this unit does with this ticket."""
        rates = self.rates
        rejects = rates.rejects_again if ticket.bounces == 1 else rates.rejects
        if self.other_unit(ticket) is None or ticket.bounces > 1:
            rejects = 0.0
        chances = [
            ("reject", rejects),
            ("transfer", rates.transfers if rejects else 0.0),
            ("sleep", rates.sleeps),
            ("dawdle", rates.dawdles),
        ]
        return choose(self.share(ticket, "character"), chances, "work")

    def work(self, ticket: Told, character: str) -> Iterator[Plan]:
        rates = self.rates
        part = rates.urgent if ticket.priority == Priority.P1 else 1.0
        accepted = self.after(ticket, "accept", rates.accept, ticket.unit, part)
        yield self.plan(ticket, accepted, "accept")
        if self.share(ticket, "calls") < rates.calls_first:
            desk = self.share(ticket, "desk") < rates.desk
            called = self.by_day(ticket, rates.desk_calls) if desk else accepted
            yield self.plan(ticket, called, "first_answer")
        hours = rates.dawdle if character == "dawdle" else rates.resolve
        resolved = max(accepted + GRID, self.after(ticket, "resolve", hours, ticket.unit, part))
        yield self.plan(ticket, resolved, "resolve", word=self.cause(ticket))
        if self.share(ticket, "tells") < rates.tells_decision:
            yield self.plan(ticket, resolved, "decision")

    def woken(self, ticket: Told, at: datetime) -> Iterator[Plan]:
        """The manager was told at `at` of a ticket that nobody has touched."""
        if self.character(ticket) == "sleep":
            told = Told(ticket.id, (*ticket.key, "woken"), at, ticket.unit)
            when = self.after(told, "woken", self.rates.woken, ticket.unit)
            yield self.plan(ticket, when, "accept")
            yield self.plan(ticket, when, "first_answer")
            later = when + 4 * GRID
            yield self.plan(ticket, later, "resolve", word=self.cause(ticket))

    def other_unit(self, ticket: Told) -> str | None:
        """Whom the unit thinks right: another one that has to do with the topic."""
        others = [u for u in self.departments.get(ticket.topic, ()) if u != ticket.unit]
        return others[int(self.share(ticket, "other") * len(others))] if others else None

    def cause(self, about: Told) -> str:
        """Mostly the topic's own code, else any."""
        own = self.causes.get(about.topic)
        if own in self.codes and self.share(about, "cause") < 0.8:
            return str(own)
        return self.codes[int(self.share(about, "any cause") * len(self.codes))]

    def customer(self, loop: Told) -> Iterator[Plan]:
        """A customer may take the complaint back before it is answered."""
        if self.share(loop, "withdraws") < self.rates.withdraws:
            yield self.plan(loop, self.by_day(loop, self.rates.withdraw), "withdraw")

    def asked(self, question: Told, via: str = Way.MAIL) -> Iterator[Plan]:
        """Is it solved? Some never say."""
        yield from self.answered(question, via, self.share(question, "answer"))

    def asked_again(self, question: Told, via: str) -> Iterator[Plan]:
        """Written to once more, or called in vain."""
        rates = self.rates
        silent = self.share(question, "says now") >= rates.answers_again
        said = self.share(question, "answer") * (rates.yes + rates.partly + rates.no)
        yield from self.answered(question, via, 1.0 if silent else said)

    def answered(self, question: Told, via: str, share: float) -> Iterator[Plan]:
        rates = self.rates
        chances = [(Answer.YES, rates.yes), (Answer.PARTLY, rates.partly), (Answer.NO, rates.no)]
        if word := choose(share, chances, ""):
            yield self.plan(question, self.by_day(question, rates.answer), "answer", word=word)
        elif via == Way.CALL:
            at = self.after(question, "call", rates.call, question.unit)
            yield self.plan(question, at, "call", word=self.call(question))

    def call(self, question: Told) -> str:
        """How a call ends that brings no answer."""
        rates = self.rates
        chances = [
            (CallOutcome.WRONG_NUMBER, rates.wrong_number),
            (CallOutcome.REFUSED, rates.refuses),
            (CallOutcome.BUSY, rates.busy),
        ]
        return choose(self.share(question, "rings"), chances, CallOutcome.NO_ANSWER)

    def by_day(self, about: Told, hours: Hours) -> datetime:
        """A moment at which a customer is awake."""
        low, high = hours
        at = about.at + timedelta(hours=low + (high - low) * self.share(about, "waits"))
        local = at.astimezone(ZoneInfo(self.documents.organisation.zone))
        first, last = self.rates.awake
        if local.hour < first:
            local = local.replace(hour=first, minute=0)
        elif local.hour >= last:
            local = local.replace(hour=first, minute=0) + timedelta(days=1)
        return on_grid(max(about.at + GRID, local.astimezone(about.at.tzinfo)))

    def doubt(self, issue: Told) -> Iterator[Plan]:
        """Operations read a part of what the classifier would not."""
        if self.share(issue, "decides") < self.rates.decides:
            at = self.after(issue, "decide", self.rates.decide, self.operations)
            known = issue.topic in self.departments
            yield self.plan(issue, at, "decide", word=issue.kind if known else IssueKind.NOISE)

    def proposal(self, proposal: Told) -> Iterator[Plan]:
        at = self.after(proposal, "decide", self.rates.decide, self.operations)
        word = "yes" if self.share(proposal, "merges") < self.rates.merges else "no"
        yield self.plan(proposal, at, "merge", word=word)

    def unrouted(self, loop: Told) -> Iterator[Plan]:
        """A loop no rule gave to anybody, or about which two units disagree."""
        at = self.after(loop, "arbitrate", self.rates.arbitrate, self.operations)
        owner = next(iter(self.departments.get(loop.topic, ())), self.operations)
        yield self.plan(loop, at, "arbitrate", unit=owner)

    def candidate(self, big: Told) -> Iterator[Plan]:
        """Operations take a common cause on, or explain why not."""
        at = self.after(big, "triage", self.rates.triage_cause, self.operations)
        if self.share(big, "abandons") < self.rates.abandons:
            yield self.plan(big, at, "abandon")
        else:
            owner = next(iter(self.departments.get(big.topic, ())), self.operations)
            yield self.plan(big, at, "take_on", unit=big.unit or owner)

    def participants(self, topic: str, lead: str) -> tuple[str, ...]:
        """Up to two other units that have to do with the topic."""
        return tuple([u for u in self.departments.get(topic, ()) if u != lead][:2])

    def taken_on(self, big: Told) -> Iterator[Plan]:
        at = self.after(big, "plan", self.rates.plan, big.unit)
        yield self.plan(big, at, "plan", unit=big.unit, word=self.cause(big))

    def cause_ticket(self, ticket: Told) -> Iterator[Plan]:
        at = self.after(ticket, "accept", self.rates.accept_cause, ticket.unit)
        yield self.plan(ticket, at, "accept")

    def planned(self, ticket: Told, at: datetime) -> Iterator[Plan]:
        """The plan stands since `at`: each unit does its part."""
        since = Told(ticket.id, (*ticket.key, "planned"), at, ticket.unit)
        when = self.after(since, "act", self.rates.act, ticket.unit)
        yield self.plan(ticket, when, "resolve", word=self.cause(ticket))

    def watched(self, big: Told) -> Iterator[Plan]:
        yield self.plan(big, self.after(big, "watch", self.rates.watch, self.operations), "close")

    def plan(
        self, about: Told, at: datetime, act: str, unit: str | None = None, word: str = ""
    ) -> Plan:
        return Plan(at, (*about.key, act), act, about.id, about.at, unit, word)
