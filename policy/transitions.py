"""Which events may happen to a loop, its tickets and clocks: the transition tables.

Both the door for change and the replay use `apply`, so rows can always be rebuilt from events.
"""

from collections.abc import Mapping

from models.kinds import (
    Answer,
    EventKind,
    LoopKind,
    LoopState,
    Outcome,
    TicketState,
    Told,
    Unverified,
    Verdict,
)
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
    # Once it is closed only of what changed, by `check_told`.
    EventKind.LOOP_CUSTOMER_TOLD: frozenset(LoopState),
    EventKind.LOOP_TRIAGED: frozenset({LoopState.CANDIDATE}),
    EventKind.LOOP_PLANNED: frozenset({LoopState.TRIAGED}),
    EventKind.LOOP_STARTED: frozenset({LoopState.PLANNED}),
    EventKind.LOOP_CLOSED: ANY_OPEN,
    EventKind.LOOP_RELAPSED: frozenset({LoopState.WATCHING, LoopState.CLOSED}),
    EventKind.LOOP_CHANGE_DESCRIBED: frozenset(
        {
            LoopState.TRIAGED,
            LoopState.PLANNED,
            LoopState.ACTING,
            LoopState.WATCHING,
            LoopState.CLOSED,
        }
    ),
    EventKind.LOOP_REVIEW_REQUESTED: frozenset(
        {LoopState.RESOLVED, LoopState.VERIFYING, LoopState.CLOSED}
    ),
    EventKind.LOOP_HANDLER_BARRED: ANY_OPEN,
    EventKind.LOOP_COMPENSATED: frozenset(LoopState),
    EventKind.EFFECT_MEASURED: frozenset({LoopState.WATCHING, LoopState.CLOSED}),
    EventKind.APPROVAL_REQUESTED: ANY_OPEN,
    EventKind.APPROVAL_GRANTED: frozenset(LoopState),
    EventKind.APPROVAL_REFUSED: frozenset(LoopState),
    EventKind.TICKET_ASSIGNED: WORKING,
    EventKind.TICKET_ACCEPTED: WORKING,
    EventKind.TICKET_REJECTED: WORKING,
    EventKind.TICKET_TRANSFERRED: WORKING,
    # A big loop's tickets are resolved by its plan, so after it.
    EventKind.TICKET_RESOLVED: WORKING - {LoopState.TRIAGED},
    EventKind.TICKET_GIVEN: WORKING,
    EventKind.TICKET_PROGRESSED: WORKING,
    EventKind.VERIFICATION_ASKED: frozenset({LoopState.RESOLVED}),
    EventKind.VERIFICATION_POSTPONED: frozenset({LoopState.RESOLVED}),
    EventKind.VERIFICATION_REMINDED: frozenset({LoopState.VERIFYING}),
    EventKind.VERIFICATION_CALLED: frozenset({LoopState.VERIFYING}),
    # Also of a loop that a first answer opened again: people change their minds.
    EventKind.VERIFICATION_ANSWERED: frozenset(
        {LoopState.OPEN, LoopState.RESOLVED, LoopState.VERIFYING, LoopState.CLOSED}
    ),
    # Also where an answer that was changed in doubt had opened or closed the loop before.
    EventKind.VERIFICATION_SETTLED: frozenset(
        {LoopState.OPEN, LoopState.VERIFYING, LoopState.CLOSED}
    ),
    EventKind.CLOCK_REMINDED: ANY_OPEN,
    EventKind.CLOCK_BREACHED: ANY_OPEN,
    EventKind.CLOCK_CLIMBED: ANY_OPEN,
    EventKind.CLOCK_MOVED: ANY_OPEN,
    EventKind.CLOCK_PAUSED: ANY_OPEN,
    EventKind.CLOCK_RESUMED: ANY_OPEN,
    EventKind.CLOCK_EXTENDED: ANY_OPEN,
    EventKind.CLOCK_RESTARTED: ANY_OPEN,
    EventKind.CLOCK_RECOMPUTED: ANY_OPEN,
}
"""In which states of the loop an event may happen. `loop.opened` starts a loop."""

OPENING_STATES = frozenset({LoopState.TRIAGE, LoopState.OPEN, LoopState.CANDIDATE})

TICKET_FROM: Mapping[EventKind, frozenset[TicketState]] = {
    EventKind.TICKET_ACCEPTED: frozenset({TicketState.ASSIGNED}),
    EventKind.TICKET_REJECTED: frozenset({TicketState.ASSIGNED}),
    EventKind.TICKET_TRANSFERRED: frozenset({TicketState.ASSIGNED, TicketState.ACCEPTED}),
    EventKind.TICKET_RESOLVED: frozenset({TicketState.ASSIGNED, TicketState.ACCEPTED}),
    EventKind.TICKET_GIVEN: frozenset({TicketState.ASSIGNED, TicketState.ACCEPTED}),
    EventKind.TICKET_PROGRESSED: frozenset({TicketState.ASSIGNED, TicketState.ACCEPTED}),
}


SETTLED = frozenset({LoopState.RESOLVED, LoopState.VERIFYING})
CLOSES: Mapping[Outcome, tuple[LoopKind, frozenset[LoopState]]] = {
    Outcome.VERIFIED: (LoopKind.SMALL, SETTLED | {LoopState.OPEN}),
    Outcome.UNVERIFIED: (LoopKind.SMALL, SETTLED),
    Outcome.UNFOUNDED: (LoopKind.SMALL, SETTLED | {LoopState.TRIAGE, LoopState.OPEN}),
    Outcome.PROVEN: (LoopKind.BIG, frozenset({LoopState.WATCHING})),
    Outcome.NOT_PROVEN: (LoopKind.BIG, frozenset({LoopState.WATCHING})),
    Outcome.ABANDONED: (LoopKind.BIG, ANY_OPEN),
}
"""Which loops `loop.closed` may end so, and from where. A loop whose last measurement does not say
`proven` cannot close so; an open one is verified only by a customer who takes a no back; and one
without its customer's word closes for a coded reason only."""

CLOCK_EVENTS = frozenset(
    {
        EventKind.CLOCK_REMINDED,
        EventKind.CLOCK_BREACHED,
        EventKind.CLOCK_CLIMBED,
        EventKind.CLOCK_MOVED,
        EventKind.CLOCK_PAUSED,
        EventKind.CLOCK_RESUMED,
        EventKind.CLOCK_EXTENDED,
        EventKind.CLOCK_RESTARTED,
        EventKind.CLOCK_RECOMPUTED,
    }
)
VERIFICATION_EVENTS = frozenset(
    {
        EventKind.VERIFICATION_REMINDED,
        EventKind.VERIFICATION_CALLED,
        EventKind.VERIFICATION_SETTLED,
    }
)
ONLY: Mapping[EventKind, LoopKind] = {
    EventKind.LOOP_REVIEW_REQUESTED: LoopKind.SMALL,
    EventKind.EFFECT_MEASURED: LoopKind.BIG,
}
"""Events of one kind of loop."""
WHILE_PAUSED = frozenset(
    {
        EventKind.CLOCK_RESUMED,
        EventKind.CLOCK_EXTENDED,
        EventKind.CLOCK_RESTARTED,
        EventKind.CLOCK_RECOMPUTED,
    }
)
"""What may happen to a clock that stands still."""


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
    elif event.kind in VERIFICATION_EVENTS:
        check_verification(story, event)
    elif event.kind is EventKind.LOOP_CUSTOMER_TOLD:
        check_told(story, event)
    elif event.kind is EventKind.LOOP_RELAPSED:
        check_relapse(story)
    elif event.kind in ONLY and story.loop["kind"] != ONLY[event.kind]:
        raise Refused(f"no {event.kind.value} of a {story.loop['kind']} loop")
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
        # The customer was told, and comes back with new facts.
        if event.kind is EventKind.CLOCK_RESTARTED:
            return
        raise Refused(f"clock {clock['id']} has stopped")
    if (clock["paused_at"] is not None) != (event.kind is EventKind.CLOCK_RESUMED):
        if clock["paused_at"] is None:
            raise Refused(f"clock {clock['id']} is not paused")
        if event.kind not in WHILE_PAUSED:
            raise Refused(f"clock {clock['id']} is paused")
    taken = {
        EventKind.CLOCK_REMINDED: clock["reminded_at"] or clock["breached_at"],
        EventKind.CLOCK_BREACHED: clock["breached_at"],
        EventKind.CLOCK_CLIMBED: clock["breached_at"] is None
        or clock["step"] == event.data.get("step"),
    }
    if taken.get(event.kind):
        raise Refused(f"clock {clock['id']}: {event.kind.value} has been or cannot be")


def check_verification(story: Story, event: Happening) -> None:
    asked = story.verifications.get(event.data["verification"])
    if asked is None:
        raise Refused(f"loop {event.loop} has no question {event.data['verification']}")
    settling = event.kind is EventKind.VERIFICATION_SETTLED
    if settling and not asked["doubt"]:
        raise Refused(f"the answer to question {asked['id']} is not in doubt")
    if not settling and asked["answer"] is not None:
        raise Refused(f"question {asked['id']} has been answered")


def check_told(story: Story, event: Happening) -> None:
    """A common cause may be gone long after a customer's own loop was closed."""
    if story.loop["state"] == LoopState.CLOSED and event.data["what"] != Told.CHANGE:
        raise Refused(f"loop {event.loop} is closed: no {event.kind.value} from there")


def check_relapse(story: Story) -> None:
    loop = story.loop
    ended = loop["state"] == LoopState.CLOSED and loop["outcome"] != Outcome.PROVEN
    if loop["kind"] != LoopKind.BIG or ended:
        raise Refused("only a big loop that is watched, or was closed as proven, can relapse")


def check_outcome(story: Story, event: Happening) -> None:
    kind, states = CLOSES.get(Outcome(event.data["outcome"]), (None, frozenset()))
    outcome, still_open = event.data["outcome"], story.loop["state"] == LoopState.OPEN
    unconfirmed = outcome == Outcome.VERIFIED and still_open and not taken_back(story)
    if story.loop["kind"] != kind or story.loop["state"] not in states or unconfirmed:
        raise Refused(
            f"a {story.loop['kind']} loop that is {LoopState(story.loop['state']).value}"
            f" cannot close as {outcome!r}"
        )
    if outcome == Outcome.UNVERIFIED and event.data.get("why") not in set(Unverified):
        raise Refused(f"no reason to close as unverified: {event.data.get('why')!r}")
    if outcome == Outcome.PROVEN and last_verdict(story) != Verdict.PROVEN:
        raise Refused(f"nothing measured proves that loop {event.loop} made a difference")


def taken_back(story: Story) -> bool:
    """Whether the customer said no to the last question first, and yes now."""
    asked = story.verifications.values()
    last = max(asked, key=lambda v: (v["asked_at"], v["id"]), default=None)
    return last is not None and last["answer"] == Answer.YES and last["first_answer"] is not None


def last_verdict(story: Story) -> str | None:
    """What the last look at the fix said, since it was last in place."""
    since = story.loop["watched_from"]
    looks = [e for e in story.effects.values() if since is not None and e["measured_at"] >= since]
    last = max(looks, key=lambda e: (e["measured_at"], e["horizon"]), default=None)
    return last["verdict"] if last else None


def follow(story: Story, kind: EventKind) -> EventKind | None:
    """The event that follows by itself: the last ticket's resolution resolves the loop, unless it
    is disputed who has more to do; a planned big loop starts with the first ticket that is
    accepted; and what is open again with every ticket rejected has nobody, so it is disputed."""
    tickets = [t for t in story.tickets.values() if t["state"] != TicketState.REJECTED]
    if kind is EventKind.TICKET_RESOLVED:
        done = all(t["state"] in (TicketState.RESOLVED, TicketState.DONE) for t in tickets)
        return EventKind.LOOP_RESOLVED if done and not story.loop["arbitration"] else None
    if kind in (EventKind.TICKET_ACCEPTED, EventKind.LOOP_PLANNED):
        begun = any(t["state"] == TicketState.ACCEPTED for t in tickets)
        planned = story.loop["state"] == LoopState.PLANNED
        return EventKind.LOOP_STARTED if begun and planned else None
    if kind is EventKind.LOOP_REOPENED and story.loop["state"] == LoopState.OPEN:
        return EventKind.LOOP_DISPUTED if story.tickets and not tickets else None
    return None
