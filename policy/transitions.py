"""Which events may happen to a loop, its tickets and clocks: the transition tables.

Both the door for change and the replay use `apply`, so rows can always be rebuilt from events.
"""

from collections.abc import Mapping

from models.kinds import EventKind, LoopKind, LoopState, Outcome, TicketState
from policy.effects import EFFECTS, start_clocks
from policy.story import Happening, Refused, Story

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
    EventKind.LOOP_CUSTOMER_TOLD: ANY_OPEN,
    EventKind.LOOP_TRIAGED: frozenset({LoopState.CANDIDATE}),
    EventKind.LOOP_PLANNED: frozenset({LoopState.TRIAGED}),
    EventKind.LOOP_STARTED: frozenset({LoopState.PLANNED}),
    EventKind.LOOP_CLOSED: ANY_OPEN,
    EventKind.TICKET_ASSIGNED: WORKING,
    EventKind.TICKET_ACCEPTED: WORKING,
    EventKind.TICKET_REJECTED: WORKING,
    EventKind.TICKET_TRANSFERRED: WORKING,
    # A big loop's tickets are resolved by its plan, so after it.
    EventKind.TICKET_RESOLVED: WORKING - {LoopState.TRIAGED},
    EventKind.VERIFICATION_ASKED: frozenset({LoopState.RESOLVED}),
    EventKind.VERIFICATION_ANSWERED: frozenset(
        {LoopState.RESOLVED, LoopState.VERIFYING, LoopState.CLOSED}
    ),
    EventKind.CLOCK_REMINDED: ANY_OPEN,
    EventKind.CLOCK_BREACHED: ANY_OPEN,
    EventKind.CLOCK_CLIMBED: ANY_OPEN,
    EventKind.CLOCK_MOVED: ANY_OPEN,
}
"""In which states of the loop an event may happen. `loop.opened` starts a loop."""

OPENING_STATES = frozenset({LoopState.TRIAGE, LoopState.OPEN, LoopState.CANDIDATE})

TICKET_FROM: Mapping[EventKind, frozenset[TicketState]] = {
    EventKind.TICKET_ACCEPTED: frozenset({TicketState.ASSIGNED}),
    EventKind.TICKET_REJECTED: frozenset({TicketState.ASSIGNED}),
    EventKind.TICKET_TRANSFERRED: frozenset({TicketState.ASSIGNED, TicketState.ACCEPTED}),
    EventKind.TICKET_RESOLVED: frozenset({TicketState.ASSIGNED, TicketState.ACCEPTED}),
}


SETTLED = frozenset({LoopState.RESOLVED, LoopState.VERIFYING})
CLOSES: Mapping[Outcome, tuple[LoopKind, frozenset[LoopState]]] = {
    Outcome.VERIFIED: (LoopKind.SMALL, SETTLED),
    Outcome.UNVERIFIED: (LoopKind.SMALL, SETTLED),
    Outcome.UNFOUNDED: (LoopKind.SMALL, SETTLED | {LoopState.TRIAGE, LoopState.OPEN}),
    Outcome.NOT_PROVEN: (LoopKind.BIG, frozenset({LoopState.WATCHING})),
    Outcome.ABANDONED: (LoopKind.BIG, ANY_OPEN),
}
"""Which loops `loop.closed` may end so, and from where. `proven` needs evidence that is not
measured yet."""

CLOCK_EVENTS = frozenset(
    {
        EventKind.CLOCK_REMINDED,
        EventKind.CLOCK_BREACHED,
        EventKind.CLOCK_CLIMBED,
        EventKind.CLOCK_MOVED,
    }
)


def apply(story: Story, event: Happening) -> None:
    """Change `story` as the event says. Raises Refused, leaving `story` as it was."""
    check(story, event)
    EFFECTS[event.kind](story, event)
    start_clocks(story, event)
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
    elif event.kind in CLOCK_EVENTS:
        check_clock(story, event)
    elif event.kind is EventKind.LOOP_CLOSED:
        check_outcome(story, event)


def check_ticket(story: Story, event: Happening) -> None:
    ticket = story.tickets.get(event.data["ticket"])
    if ticket is None:
        raise Refused(f"loop {event.loop} has no ticket {event.data['ticket']}")
    if TicketState(ticket["state"]) not in TICKET_FROM[event.kind]:
        raise Refused(
            f"ticket {ticket['id']} is {ticket['state']}: no {event.kind.value} from there"
        )


def check_clock(story: Story, event: Happening) -> None:
    """Each moment of a clock at most once, however often and by how many the clocks are watched."""
    clock = story.clocks.get(event.data["clock"])
    if clock is None:
        raise Refused(f"loop {event.loop} has no clock {event.data['clock']}")
    if clock["stopped_at"] is not None:
        raise Refused(f"clock {clock['id']} has stopped")
    taken = {
        EventKind.CLOCK_REMINDED: clock["reminded_at"] or clock["breached_at"],
        EventKind.CLOCK_BREACHED: clock["breached_at"],
        EventKind.CLOCK_CLIMBED: clock["breached_at"] is None
        or clock["step"] == event.data.get("step"),
    }
    if taken.get(event.kind):
        raise Refused(f"clock {clock['id']}: {event.kind.value} has been or cannot be")


def check_outcome(story: Story, event: Happening) -> None:
    kind, states = CLOSES.get(Outcome(event.data["outcome"]), (None, frozenset()))
    if story.loop["kind"] != kind or story.loop["state"] not in states:
        raise Refused(
            f"a {story.loop['kind']} loop that is {LoopState(story.loop['state']).value}"
            f" cannot close as {event.data['outcome']!r}"
        )


def follow(story: Story, kind: EventKind) -> EventKind | None:
    """The event that follows by itself: the last ticket's resolution resolves the loop, unless it
    is disputed who has more to do, and a planned big loop starts with the first ticket that is
    accepted."""
    tickets = [t for t in story.tickets.values() if t["state"] != TicketState.REJECTED]
    if kind is EventKind.TICKET_RESOLVED:
        done = all(t["state"] in (TicketState.RESOLVED, TicketState.DONE) for t in tickets)
        return EventKind.LOOP_RESOLVED if done and not story.loop["arbitration"] else None
    if kind in (EventKind.TICKET_ACCEPTED, EventKind.LOOP_PLANNED):
        begun = any(t["state"] == TicketState.ACCEPTED for t in tickets)
        planned = story.loop["state"] == LoopState.PLANNED
        return EventKind.LOOP_STARTED if begun and planned else None
    return None
