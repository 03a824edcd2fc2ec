"""What an event does to a loop and its tickets: the transition tables and the fold over events.

Both the door for change and the replay use `apply`, so rows can always be rebuilt from events.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from models.kinds import EventKind, LoopKind, LoopState, Outcome, Relation, TicketState

Row = dict[str, Any]
Data = Mapping[str, Any]

ANY_OPEN = frozenset(LoopState) - {LoopState.CLOSED}
WORKING = frozenset({LoopState.OPEN, LoopState.TRIAGED, LoopState.PLANNED, LoopState.ACTING})

LOOP_FROM: Mapping[EventKind, frozenset[LoopState]] = {
    EventKind.LOOP_JOINED: ANY_OPEN,
    EventKind.LOOP_DETACHED: ANY_OPEN,
    EventKind.LOOP_LINKED: ANY_OPEN,
    EventKind.LOOP_UNLINKED: ANY_OPEN,
    EventKind.LOOP_ROUTED: frozenset({LoopState.TRIAGE}),
    EventKind.LOOP_RESOLVED: WORKING,
    EventKind.LOOP_REOPENED: frozenset({LoopState.RESOLVED, LoopState.VERIFYING, LoopState.CLOSED}),
    EventKind.LOOP_DISPUTED: WORKING,
    EventKind.LOOP_ARBITRATED: WORKING,
    EventKind.LOOP_MERGED: ANY_OPEN,
    EventKind.LOOP_WITHDRAWN: ANY_OPEN,
    EventKind.LOOP_CUSTOMER_IDENTIFIED: frozenset(LoopState),
    EventKind.TICKET_ASSIGNED: WORKING,
    EventKind.TICKET_ACCEPTED: WORKING,
    EventKind.TICKET_REJECTED: WORKING,
    EventKind.TICKET_TRANSFERRED: WORKING,
    EventKind.TICKET_RESOLVED: WORKING,
}
"""In which states of the loop an event may happen. `loop.opened` starts a loop."""

OPENING_STATES = frozenset({LoopState.TRIAGE, LoopState.OPEN, LoopState.CANDIDATE})

TICKET_FROM: Mapping[EventKind, frozenset[TicketState]] = {
    EventKind.TICKET_ACCEPTED: frozenset({TicketState.ASSIGNED}),
    EventKind.TICKET_REJECTED: frozenset({TicketState.ASSIGNED}),
    EventKind.TICKET_TRANSFERRED: frozenset({TicketState.ASSIGNED, TicketState.ACCEPTED}),
    EventKind.TICKET_RESOLVED: frozenset({TicketState.ASSIGNED, TicketState.ACCEPTED}),
}


class Refused(ValueError):
    """The state does not allow this event; the text says why."""


@dataclass(slots=True)
class Story:
    """A loop as its events so far have made it; `loop` is empty before `loop.opened`."""

    loop: Row = field(default_factory=dict)
    tickets: dict[str, Row] = field(default_factory=dict)
    issues: dict[str, str] = field(default_factory=dict)
    """Issue id -> relation."""
    links: dict[str, str] = field(default_factory=dict)
    """Small loop id -> relation, on a big loop."""


@dataclass(frozen=True, slots=True)
class Happening:
    """The part of an event that the state needs."""

    loop: str
    kind: EventKind
    data: Data
    at: datetime
    policy: str | None = None
    rule: str | None = None


def apply(story: Story, event: Happening) -> None:
    """Change `story` as the event says. Raises Refused, leaving `story` as it was."""
    check(story, event)
    EFFECTS[event.kind](story, event)
    story.loop["version"] = story.loop.get("version", -1) + 1


def check(story: Story, event: Happening) -> None:
    if event.kind is EventKind.LOOP_OPENED:
        if story.loop:
            raise Refused(f"loop {event.loop} is open already")
        if event.data["state"] not in OPENING_STATES:
            raise Refused(f"a loop cannot start in {event.data['state']!r}")
        return
    if not story.loop:
        raise Refused(f"there is no loop {event.loop}")
    state = LoopState(story.loop["state"])
    if state not in LOOP_FROM[event.kind]:
        raise Refused(f"loop {event.loop} is {state.value}: no {event.kind.value} from there")
    if event.kind in TICKET_FROM:
        check_ticket(story, event)


def check_ticket(story: Story, event: Happening) -> None:
    ticket = story.tickets.get(event.data["ticket"])
    if ticket is None:
        raise Refused(f"loop {event.loop} has no ticket {event.data['ticket']}")
    if TicketState(ticket["state"]) not in TICKET_FROM[event.kind]:
        raise Refused(
            f"ticket {ticket['id']} is {ticket['state']}: no {event.kind.value} from there"
        )


def follow(story: Story, kind: EventKind) -> EventKind | None:
    """The event that follows by itself: the last ticket's resolution resolves the loop."""
    if kind is not EventKind.TICKET_RESOLVED:
        return None
    live = [t for t in story.tickets.values() if t["state"] != TicketState.REJECTED]
    done = all(t["state"] in (TicketState.RESOLVED, TicketState.DONE) for t in live)
    return EventKind.LOOP_RESOLVED if done else None


def opened(story: Story, event: Happening) -> None:
    data = event.data
    story.loop = {
        "id": event.loop,
        "kind": data["kind"],
        "state": data["state"],
        "topic": data["topic"],
        "touchpoint": data["touchpoint"],
        "customer_id": data.get("customer"),
        "complaint_number": data.get("complaint_number"),
        "policy": event.policy,
        "received_at": moment(data["received_at"]),
        "opened_at": event.at,
        "closed_at": None,
        "outcome": None,
        "bounces": 0,
        "arbitration": False,
        "likeness": data.get("likeness"),
        "merged_into": None,
    }
    set_route(story, event)
    story.issues[data["issue"]] = Relation.ORIGIN


def set_route(story: Story, event: Happening) -> None:
    for name in ("priority", "level", "lead", "clocks", "ladder"):
        story.loop[name] = event.data.get(name)
    story.loop["rule"] = event.rule


def routed(story: Story, event: Happening) -> None:
    set_route(story, event)
    for name in ("topic", "touchpoint"):
        story.loop[name] = event.data.get(name) or story.loop[name]
    story.loop["policy"] = event.policy
    story.loop["state"] = LoopState.OPEN


def joined(story: Story, event: Happening) -> None:
    story.issues.setdefault(event.data["issue"], event.data["relation"])


def linked(story: Story, event: Happening) -> None:
    if story.loop["kind"] != LoopKind.BIG:
        raise Refused(f"loop {event.loop} is small: only a big loop has others linked to it")
    story.links.setdefault(event.data["small"], event.data["relation"])
    if issue := event.data.get("issue"):
        story.issues.setdefault(issue, Relation.SAME_CAUSE)


def detached(story: Story, event: Happening) -> None:
    """The issue was another complaint after all; the one that opened the loop stays."""
    issue = event.data["issue"]
    if story.issues.get(issue) not in (Relation.SAME_COMPLAINT, Relation.SAME_CAUSE):
        raise Refused(f"issue {issue} has not joined loop {event.loop}")
    del story.issues[issue]


def unlinked(story: Story, event: Happening) -> None:
    """The small loop had another cause after all."""
    if story.links.pop(event.data["small"], None) is None:
        raise Refused(f"loop {event.data['small']} is not linked to {event.loop}")


def resolved(story: Story, event: Happening) -> None:  # noqa: ARG001
    story.loop["state"] = LoopState.RESOLVED


def reopened(story: Story, event: Happening) -> None:
    small = story.loop["kind"] == LoopKind.SMALL
    story.loop |= {
        "state": LoopState.OPEN if small else LoopState.ACTING,
        "closed_at": None,
        "outcome": None,
        "merged_into": None,
    }
    if issue := event.data.get("issue"):
        story.issues.setdefault(issue, event.data["relation"])
    for ticket in story.tickets.values():
        if ticket["state"] in (TicketState.RESOLVED, TicketState.DONE):
            ticket |= {
                "state": TicketState.ASSIGNED,
                "assigned_at": event.at,
                "accepted_at": None,
                "resolved_at": None,
                "cause": None,
            }


def disputed(story: Story, event: Happening) -> None:  # noqa: ARG001
    story.loop["arbitration"] = True


def arbitrated(story: Story, event: Happening) -> None:  # noqa: ARG001
    story.loop["arbitration"] = False


def close(story: Story, at: datetime, outcome: Outcome) -> None:
    story.loop |= {"state": LoopState.CLOSED, "closed_at": at, "outcome": outcome}
    for ticket in story.tickets.values():
        if ticket["state"] != TicketState.REJECTED:
            ticket["state"] = TicketState.DONE


def merged(story: Story, event: Happening) -> None:
    close(story, event.at, Outcome.MERGED)
    story.loop["merged_into"] = event.data["into"]


def withdrawn(story: Story, event: Happening) -> None:
    close(story, event.at, Outcome.WITHDRAWN)


def customer_identified(story: Story, event: Happening) -> None:
    story.loop["customer_id"] = event.data["customer"]


def assigned(story: Story, event: Happening) -> None:
    ticket = event.data["ticket"]
    if ticket in story.tickets:
        raise Refused(f"ticket {ticket} exists already")
    if event.data["role"] == "lead":
        story.loop["lead"] = event.data["unit"]
    story.tickets[ticket] = {
        "id": ticket,
        "loop_id": event.loop,
        "unit": event.data["unit"],
        "role": event.data["role"],
        "state": TicketState.ASSIGNED,
        "assigned_at": event.at,
        "accepted_at": None,
        "resolved_at": None,
        "cause": None,
        "suggested": None,
    }


def accepted(story: Story, event: Happening) -> None:
    story.tickets[event.data["ticket"]] |= {
        "state": TicketState.ACCEPTED,
        "accepted_at": event.at,
    }


def rejected(story: Story, event: Happening) -> None:
    story.tickets[event.data["ticket"]] |= {
        "state": TicketState.REJECTED,
        "suggested": event.data["suggested"],
    }
    story.loop["bounces"] += 1


def transferred(story: Story, event: Happening) -> None:
    """Another unit goes on with the same ticket; no bounce, and no clock of the customer's
    begins again."""
    ticket = story.tickets[event.data["ticket"]]
    ticket |= {
        "unit": event.data["unit"],
        "state": TicketState.ASSIGNED,
        "assigned_at": event.at,
        "accepted_at": None,
    }
    if ticket["role"] == "lead":
        story.loop["lead"] = event.data["unit"]


def ticket_resolved(story: Story, event: Happening) -> None:
    story.tickets[event.data["ticket"]] |= {
        "state": TicketState.RESOLVED,
        "resolved_at": event.at,
        "cause": event.data["cause"],
    }


EFFECTS: Mapping[EventKind, Callable[[Story, Happening], None]] = {
    EventKind.LOOP_OPENED: opened,
    EventKind.LOOP_JOINED: joined,
    EventKind.LOOP_DETACHED: detached,
    EventKind.LOOP_LINKED: linked,
    EventKind.LOOP_UNLINKED: unlinked,
    EventKind.LOOP_ROUTED: routed,
    EventKind.LOOP_RESOLVED: resolved,
    EventKind.LOOP_REOPENED: reopened,
    EventKind.LOOP_DISPUTED: disputed,
    EventKind.LOOP_ARBITRATED: arbitrated,
    EventKind.LOOP_MERGED: merged,
    EventKind.LOOP_WITHDRAWN: withdrawn,
    EventKind.LOOP_CUSTOMER_IDENTIFIED: customer_identified,
    EventKind.TICKET_ASSIGNED: assigned,
    EventKind.TICKET_ACCEPTED: accepted,
    EventKind.TICKET_REJECTED: rejected,
    EventKind.TICKET_TRANSFERRED: transferred,
    EventKind.TICKET_RESOLVED: ticket_resolved,
}


def moment(text: str) -> datetime:
    """The UTC time of an event's `…_at` string."""
    return datetime.fromisoformat(text).astimezone(UTC)
