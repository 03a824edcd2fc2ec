"""Issues into loops: what does each open, join or reopen, given what is already known?

`open_loops` reads the customers' context in the caller's transaction, decides each issue in
order, and returns the changes for the door. Nothing is written here.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, select

from loopwright.history.envelope import Scalar
from loopwright.ids import handle
from models.base import table
from models.issue import Proposal
from models.kinds import EventKind, IssueState, LoopKind, LoopState, Relation
from policy.assign import Assignment, assign
from policy.organisation import Organisation
from policy.relate import Known, Relating, relate
from policy.route import FEATURES, Decision, Features, features_from
from policy.verify import hears_of_reopening
from tasks.change import Change, NewMessage
from tasks.clocks.starting import names_of
from tasks.intake.identify import propose
from tasks.people import today
from tasks.routing.known import (
    Context,
    Found,
    circumstances,
    likeness_of,
    load_context,
    number_hash,
)
from tasks.settle import stamped
from tasks.workspace import Workspace

PROPOSALS = table(Proposal)


@dataclass
class Opening:
    """The fate of every issue of a piece, and the changes that make it so."""

    changes: list[Change] = field(default_factory=list)
    states: dict[str, IssueState] = field(default_factory=dict)
    rules: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    acts: Counter[str] = field(default_factory=Counter)
    proposals: dict[str, str] = field(default_factory=dict)
    """Loop that was there first -> the first one that came with the same words."""

    def propose_merges(self, tx: Connection, now: datetime) -> None:
        """Words said a third time are a common phrase, not one person: they propose nothing."""
        query = select(PROPOSALS.c.into_id).where(PROPOSALS.c.into_id.in_(list(self.proposals)))
        known = set(tx.execute(query).scalars()) if self.proposals else set()
        for into, loop in self.proposals.items():
            if into not in known:
                propose(tx, loop, into, "the same words, customer unknown", now)


def open_loops(tx: Connection, ws: Workspace, found: Sequence[Found], now: datetime) -> Opening:
    """Decide a piece's issues in order; earlier ones count as known for later ones."""
    opening = Opening()
    opens = set(ws.published.documents.rulebook.opens)
    candidates = []
    for one in found:
        if one.reading.kind not in opens:
            opening.states[one.issue_id] = IssueState.NOTED
        elif one.reading.abstained or one.reading.topic is None:
            opening.states[one.issue_id] = IssueState.TRIAGE
        else:
            candidates.append(one)
    if candidates:
        Opener(ws, load_context(tx, ws, candidates, now), opening, now).settle(candidates)
    return opening


class Opener:
    """Decides candidates one by one, keeping the context up to date as loops are made."""

    def __init__(self, ws: Workspace, context: Context, opening: Opening, now: datetime) -> None:
        self.ws, self.context, self.opening, self.now = ws, context, opening, now
        rulebook = ws.published.documents.rulebook
        self.window = timedelta(days=rulebook.reopen_days)
        self.reopened: set[str] = set()

    def settle(self, candidates: Iterable[Found]) -> None:
        for found in candidates:
            features = self.features(found)
            decision = self.ws.router.decide(features)
            self.opening.rules[found.issue_id] = decision.rule
            if decision.reason:
                self.opening.reasons[found.issue_id] = decision.reason
            if decision.loop == "none":
                self.opening.states[found.issue_id] = IssueState.NOTED
            else:
                self.opening.states[found.issue_id] = IssueState.LOOPED
                self.place(found, features, decision)

    def features(self, found: Found) -> Features:
        repeats = self.context.repeats[found.row.customer_id, str(found.reading.topic)]
        known = circumstances(found.row, self.snapshot(found), repeats)
        return features_from(found.reading, self.ws.places, known)

    def snapshot(self, found: Found) -> Any | None:
        """What was known of the customer when the feedback was received."""
        at = found.row.received_at
        for snapshot in self.context.snapshots.get(found.row.customer_id, ()):
            if snapshot.valid_from <= at and (snapshot.valid_to is None or at < snapshot.valid_to):
                return snapshot
        return None

    def place(self, found: Found, features: Features, decision: Decision) -> None:
        relating = self.relate(found)
        if relating.act == "open":
            loop = self.open_small(found, features, decision)
        else:
            loop = str(relating.loop)
            self.follow(found, relating, loop)
        self.opening.acts[relating.act] += 1
        if decision.loop == LoopKind.BIG:
            self.link(found, features, decision, loop)
        self.remember(found, loop)

    def relate(self, found: Found) -> Relating:
        row, topic = found.row, str(found.reading.topic)
        versions = self.context.by_version.get(row.previous_id or "", {})
        return relate(
            versions.get(topic) or next(iter(versions.values()), None),
            self.context.by_number.get(number_hash(self.ws, found) or ""),
            self.context.by_customer.get((row.customer_id, topic), []),
            row.received_at,
            self.window,
        )

    def open_small(self, found: Found, features: Features, decision: Decision) -> str:
        loop, assignment = handle("L", self.now), self.assign(found, decision)
        decision = self.with_clocks(decision)
        in_doubt = decision.loop == "triage" or assignment.lead is None
        likeness = likeness_of(self.ws, found)
        data = (
            opened_data(found, LoopKind.SMALL)
            | route_data(decision, assignment)
            | {
                "state": LoopState.TRIAGE if in_doubt else LoopState.OPEN,
                "customer": found.row.customer_id,
                "complaint_number": number_hash(self.ws, found),
                "likeness": likeness,
            }
            | self.ws.clocks.at_receipt(
                decision.clocks,
                LoopKind.SMALL,
                assignment.lead or self.ws.published.documents.organisation.operations,
                decision.ladder,
                found.row.received_at,
            )
        )
        body = why(found, features, decision, assignment)
        self.add(Change(loop, EventKind.LOOP_OPENED, data, body=body, rule=decision.rule))
        if not in_doubt:
            lead = str(assignment.lead)
            clocks = self.ws.clocks.at_assignment(
                decision.clocks, LoopKind.SMALL, lead, decision.ladder, self.now
            )
            self.add(assign_ticket(loop, lead, "lead", clocks, self.now))
        if likeness and (other := self.context.like.setdefault(likeness, loop)) != loop:
            self.opening.proposals.setdefault(other, loop)
        return loop

    def with_clocks(self, decision: Decision) -> Decision:
        """A loop that no rule decided runs by the policy's own clocks."""
        if decision.clocks:
            return decision
        rulebook = self.ws.published.documents.rulebook
        return replace(decision, clocks=rulebook.clocks, ladder=decision.ladder or rulebook.ladder)

    def assign(self, found: Found, decision: Decision) -> Assignment:
        documents, snapshot = self.ws.published.documents, self.snapshot(found)
        place = self.ws.places.get(found.reading.topic or "")
        unit = found.row.unit or (snapshot.branch if snapshot else None)
        return assign(decision, place.topic if place else None, documents.organisation, unit)

    def follow(self, found: Found, relating: Relating, loop: str) -> None:
        """Join an open loop or reopen one that was resolved or closed."""
        data = {
            "issue": found.issue_id,
            "relation": Relation.SAME_COMPLAINT,
            "why": relating.why,
        }
        if relating.act == "join" or loop in self.reopened:
            self.add(Change(loop, EventKind.LOOP_JOINED, data))
            return
        self.reopened.add(loop)
        row, messages = self.context.routes.get(loop), tuple[NewMessage, ...]()
        if row is not None:
            key = f"loop_reopened:{loop}:{found.issue_id}"
            organisation, day = self.ws.published.documents.organisation, today(self.ws, self.now)
            messages = tell_reopened(organisation, row.lead, key, day)
            data |= clocks_anew(self.ws, row, self.now)
        self.add(Change(loop, EventKind.LOOP_REOPENED, data, messages=messages))

    def link(self, found: Found, features: Features, decision: Decision, small: str) -> None:
        """Hang the customer's loop on the open big loop of its cause, a candidate if it is new."""
        cause = (str(found.reading.topic), found.reading.touchpoint or "")
        big = self.context.big.get(cause)
        if big is None:
            big = self.context.big[cause] = handle("B", self.now)
            assignment = self.assign(found, decision)
            data = opened_data(found, LoopKind.BIG) | route_data(decision, assignment)
            data["state"] = LoopState.CANDIDATE
            body = why(found, features, decision, assignment)
            operations = self.ws.published.documents.organisation.operations
            message = NewMessage(f"big_loop_candidate:{big}", "big_loop_candidate", operations)
            self.add(
                Change(
                    big,
                    EventKind.LOOP_OPENED,
                    data,
                    body=body,
                    rule=decision.rule,
                    messages=(message,),
                )
            )
            self.opening.acts["big"] += 1
        data = {"small": small, "relation": Relation.SAME_CAUSE, "issue": found.issue_id}
        self.add(Change(big, EventKind.LOOP_LINKED, data))

    def remember(self, found: Found, loop: str) -> None:
        row, topic = found.row, str(found.reading.topic)
        known = Known(loop, LoopState.OPEN)
        if row.customer_id is not None:
            others = self.context.by_customer.setdefault((row.customer_id, topic), [])
            others[:] = [known, *(k for k in others if k.id != loop)]
            self.context.repeats[row.customer_id, topic] += 1
        if number := number_hash(self.ws, found):
            self.context.by_number[number] = known
        self.context.by_version.setdefault(row.id, {})[topic] = known

    def add(self, change: Change) -> None:
        self.opening.changes += stamped(self.ws, [change])


def clocks_anew(ws: Workspace, row: Any, now: datetime) -> dict[str, str]:
    """The owner's time when a loop is reopened. `row`: its kind, lead, clocks and ladder."""
    return ws.clocks.at_assignment(
        names_of(row.clocks), LoopKind(row.kind), row.lead, row.ladder, now
    )


def tell_reopened(
    organisation: Organisation, lead: str, key: str, day: date
) -> tuple[NewMessage, ...]:
    """What the lead unit and its manager get when a loop is open again."""
    unit = NewMessage(key, "loop_reopened", lead)
    above = hears_of_reopening(organisation, lead, day.isoformat())
    if above is None:
        return (unit,)
    return unit, NewMessage(f"{key}:manager", "loop_reopened", lead, person=above.id)


def assign_ticket(
    loop: str,
    unit: str,
    role: str,
    clocks: Mapping[str, str],
    now: datetime,
    template: str = "ticket_assigned",
    values: Mapping[str, Scalar] = MappingProxyType({}),
) -> Change:
    """The change that gives a unit a ticket of a loop, with its clocks, and tells it so."""
    ticket = handle("T", now)
    message = NewMessage(f"{template}:{ticket}", template, unit, ticket, values)
    data = {"ticket": ticket, "unit": unit, "role": role, **clocks}
    return Change(loop, EventKind.TICKET_ASSIGNED, data, messages=(message,))


def opened_data(found: Found, kind: LoopKind) -> dict[str, Any]:
    return {
        "kind": kind,
        "topic": found.reading.topic,
        "touchpoint": found.reading.touchpoint or "",
        "received_at": found.row.received_at.astimezone(UTC).isoformat(),
        "issue": found.issue_id,
    }


def route_data(decision: Decision, assignment: Assignment) -> dict[str, Any]:
    return {
        "priority": decision.priority,
        "level": decision.level,
        "lead": assignment.lead,
        "clocks": ",".join(decision.clocks) or None,
        "ladder": decision.ladder,
        "participants": ",".join(assignment.participants) or None,
    }


def why(
    found: Found, features: Features, decision: Decision, assignment: Assignment
) -> dict[str, Any]:
    """The explanation frozen with the loop; it holds words, so it lives in the erasable body."""
    return {
        "features": {name: getattr(features, name) for name in FEATURES},
        "clauses": [[c.text, c.holds, dict(c.values)] for c in decision.clauses],
        "evidence": [[e.about, e.words, e.by] for e in found.reading.evidence],
        "reason": decision.reason or assignment.reason or None,
        "feedback": found.row.id,
    }
