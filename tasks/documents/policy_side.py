"""One policy at work on past issues: what each would become, and which rules hold for it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from policy.assign import assign
from policy.classify import Reading
from policy.documents import DocumentSet
from policy.route import Decision, Features, Router, features_from, places
from tasks.clocks.starting import Clocks
from tasks.documents.past_items import Past, PastItems, Returning
from tasks.routing.known import circumstances


@dataclass(frozen=True, slots=True)
class Case:
    """A past issue as either side reads it; None where that side finds no such issue."""

    item: Past
    before: Reading | None
    after: Reading | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """`loop`: none, small, big or triage; `lead` is '' where no unit would act."""

    loop: str
    lead: str
    participants: tuple[str, ...] = ()
    priority: str = ""
    clocks: tuple[str, ...] = ()
    rule: str = ""
    features: Features | None = None
    decision: Decision | None = None


NOTHING = Outcome("none", "")


@dataclass
class Side:
    """One policy at work. `matched`: draft rules that held, first or not, with who came first."""

    documents: DocumentSet
    outcomes: list[Outcome] = field(default_factory=list)
    matched: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def __post_init__(self) -> None:
        self.rulebook = self.documents.rulebook
        self.router = Router(self.rulebook)
        self.places = places(self.documents.taxonomy)
        self.clocks = Clocks(self.documents)
        self.opens = frozenset(self.rulebook.opens)
        self.window = timedelta(days=self.rulebook.reopen_days)

    def decide_all(self, past: PastItems, readings: Iterable[tuple[Past, Reading | None]]) -> None:
        returning = Returning(past.earlier, self.window)
        for item, reading in readings:
            outcome = self.decide(item, reading, returning) if reading else NOTHING
            self.outcomes.append(outcome)
            if outcome.loop != "none" and reading:
                returning.note(item.row.customer_id, reading.topic, item.received_at)

    def decide(self, item: Past, reading: Reading, returning: Returning) -> Outcome:
        """As triage does: kinds that open nothing are noted, and doubt is for a person."""
        opens = reading.kind in self.opens
        if opens and (reading.abstained or reading.topic is None):
            return Outcome("triage", self.documents.organisation.operations)
        repeats = returning.count(item.row.customer_id, reading.topic, item.received_at)
        known = circumstances(item.row, item.snapshot, repeats)
        features = features_from(reading, self.places, known)
        decision = self.router.decide(features)
        self.note_matches(features, decision)
        if not opens or decision.loop == "none":
            return Outcome("none", "", rule=decision.rule, features=features, decision=decision)
        return self.placed(item, reading, features, decision)

    def note_matches(self, features: Features, decision: Decision) -> None:
        for rule in self.router.matching(features):
            self.matched[rule][decision.rule] += 1

    def placed(
        self, item: Past, reading: Reading, features: Features, decision: Decision
    ) -> Outcome:
        place, row = self.places.get(reading.topic or ""), item.row
        unit = row.unit or (item.snapshot.branch if item.snapshot else None)
        organisation = self.documents.organisation
        found = assign(decision, place.topic if place else None, organisation, unit)
        doubt = decision.loop == "triage" or found.lead is None
        return Outcome(
            "triage" if doubt else decision.loop,
            organisation.operations if doubt else str(found.lead),
            found.participants,
            decision.priority,
            decision.clocks or self.rulebook.clocks,
            decision.rule,
            features,
            decision,
        )


@dataclass(frozen=True, slots=True)
class Replay:
    """The same past under two policies. `again`: whether the draft read the words anew."""

    past: PastItems
    cases: Sequence[Case]
    published: Side
    draft: Side
    first: date
    last: date
    now: datetime
    again: bool

    @property
    def both(self) -> list[tuple[Case, Outcome, Outcome]]:
        return list(zip(self.cases, self.published.outcomes, self.draft.outcomes, strict=True))
