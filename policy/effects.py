"""What each event changes: the fold of a loop's history into its rows.

A change that is not allowed never comes here: `policy/transitions.py` refuses it first, but for
the few that only an effect can see.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime
from typing import Any

from models.kinds import EventKind, LoopKind, LoopState, Outcome, Relation, Stops, TicketState, Told
from policy.clock_notation import moment, starts_in
from policy.story import Happening, Refused, Row, Story

RUNNING_ON = frozenset({TicketState.ASSIGNED, TicketState.ACCEPTED})
TOLD_ALL = frozenset({Stops.FIRST_ANSWER, Stops.TOLD})


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
        "cause": None,
        "due_on": None,
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
    """A small loop waits to be verified; a big one is watched for its effect."""
    small = story.loop["kind"] == LoopKind.SMALL
    story.loop["state"] = LoopState.RESOLVED if small else LoopState.WATCHING


def reopened(story: Story, event: Happening) -> None:
    """The work begins again; a loop whose merge is undone goes on where it was, in `state`."""
    small, before = story.loop["kind"] == LoopKind.SMALL, event.data.get("state")
    story.loop |= {
        "state": before or (LoopState.OPEN if small else LoopState.ACTING),
        "closed_at": None,
        "outcome": None,
        "merged_into": None,
    }
    if issue := event.data.get("issue"):
        story.issues.setdefault(issue, event.data["relation"])
    for ticket in story.tickets.values():
        if ticket["state"] in (TicketState.RESOLVED, TicketState.DONE):
            ticket |= {"state": state_by_times(ticket)} if before else begun_again(event.at)
    settle_verifications(story)


def state_by_times(ticket: Row) -> TicketState:
    """The state that closing its loop took from a ticket."""
    if ticket["resolved_at"]:
        return TicketState.RESOLVED
    return TicketState.ACCEPTED if ticket["accepted_at"] else TicketState.ASSIGNED


def begun_again(at: datetime) -> Row:
    return {
        "state": TicketState.ASSIGNED,
        "assigned_at": at,
        "accepted_at": None,
        "resolved_at": None,
        "cause": None,
    }


def disputed(story: Story, event: Happening) -> None:  # noqa: ARG001
    story.loop["arbitration"] = True


def arbitrated(story: Story, event: Happening) -> None:  # noqa: ARG001
    story.loop["arbitration"] = False


def close(story: Story, at: datetime, outcome: Outcome) -> None:
    closed = {"state": LoopState.CLOSED, "closed_at": at, "outcome": outcome}
    story.loop |= closed | {"arbitration": False}
    stop_clocks(story, at, frozenset(Stops))
    settle_verifications(story)
    for ticket in story.tickets.values():
        if ticket["state"] != TicketState.REJECTED:
            ticket["state"] = TicketState.DONE


def merged(story: Story, event: Happening) -> None:
    close(story, event.at, Outcome.MERGED)
    story.loop["merged_into"] = event.data["into"]


def withdrawn(story: Story, event: Happening) -> None:
    close(story, event.at, Outcome.WITHDRAWN)


def closed(story: Story, event: Happening) -> None:
    close(story, event.at, Outcome(event.data["outcome"]))


def triaged(story: Story, event: Happening) -> None:
    """A person takes a candidate on: who leads, how urgent it is, by which clocks."""
    for name in ("lead", "priority", "clocks", "ladder"):
        story.loop[name] = event.data.get(name)
    story.loop["state"] = LoopState.TRIAGED


def planned(story: Story, event: Happening) -> None:
    story.loop |= {
        "state": LoopState.PLANNED,
        "cause": event.data["cause"],
        "due_on": date.fromisoformat(event.data["by"]),
    }


def started(story: Story, event: Happening) -> None:  # noqa: ARG001
    story.loop["state"] = LoopState.ACTING


def customer_told(story: Story, event: Happening) -> None:
    """Told the decision, the customer has also had a first answer."""
    first = event.data["what"] == Told.FIRST_ANSWER
    stop_clocks(story, event.at, {Stops.FIRST_ANSWER} if first else TOLD_ALL)


def asked(story: Story, event: Happening) -> None:
    """Asking by mail tells the customer the decision; a call is still to be made."""
    data = event.data
    story.loop["state"] = LoopState.VERIFYING
    story.verifications[data["verification"]] = {
        "id": data["verification"],
        "loop_id": event.loop,
        "via": data["via"],
        "asked_at": event.at,
        "due_at": moment(data["due_at"]),
        "answer": None,
        "answered_at": None,
    }
    if data["via"] == "mail":
        stop_clocks(story, event.at, TOLD_ALL)


def answered(story: Story, event: Happening) -> None:
    """Whoever answers has been told."""
    stop_clocks(story, event.at, TOLD_ALL)
    verification = story.verifications.get(event.data.get("verification") or "")
    if verification is not None:
        verification |= {"answer": event.data["answer"], "answered_at": event.at, "due_at": None}


def settle_verifications(story: Story) -> None:
    """Nobody waits for an answer any more."""
    for verification in story.verifications.values():
        verification["due_at"] = None


def clock_reminded(story: Story, event: Happening) -> None:
    move_clock(story, event, reminded_at=event.at)


def clock_breached(story: Story, event: Happening) -> None:
    move_clock(story, event, breached_at=event.at)


def clock_climbed(story: Story, event: Happening) -> None:
    move_clock(story, event, step=event.data["step"])


def clock_moved(story: Story, event: Happening) -> None:
    """Looked at under other documents than it was started by: nothing to do before `next_at`."""
    move_clock(story, event)


def move_clock(story: Story, event: Happening, **changed: Any) -> None:
    following = event.data.get("next_at")
    story.clocks[event.data["clock"]] |= changed | {
        "next_at": moment(following) if following else None
    }


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
    stop_clocks(story, event.at, {Stops.RESOLVED}, event.data["ticket"])


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
    stop_clocks(story, event.at, {Stops.RESOLVED}, ticket["id"])


def ticket_resolved(story: Story, event: Happening) -> None:
    stop_clocks(story, event.at, {Stops.RESOLVED}, event.data["ticket"])
    story.tickets[event.data["ticket"]] |= {
        "state": TicketState.RESOLVED,
        "resolved_at": event.at,
        "cause": event.data["cause"],
    }


def start_clocks(story: Story, event: Happening) -> None:
    """The clocks that the event's data names: of its ticket, of the tickets that a reopening took
    back, or of the loop since the customer's receipt."""
    for spec, start in starts_in(event.data):
        first = f"{event.loop}.{story.loop.get('version', -1) + 1}.{spec}"
        for ticket in clocked_tickets(story, event):
            clock = f"{first}.{ticket}" if ticket else first
            story.clocks[clock] = {
                "id": clock,
                "loop_id": event.loop,
                "ticket_id": ticket,
                "spec": spec,
                "kind": start.kind,
                "stops": start.stops,
                "started_at": event.at if ticket else story.loop["received_at"],
                "due_at": start.due_at,
                "provisional": start.provisional,
                "reminded_at": None,
                "breached_at": None,
                "step": None,
                "next_at": start.next_at,
                "stopped_at": None,
            }


def clocked_tickets(story: Story, event: Happening) -> list[str | None]:
    if event.kind is EventKind.LOOP_REOPENED:
        return [t["id"] for t in story.tickets.values() if t["state"] in RUNNING_ON]
    return [event.data.get("ticket")]


def stop_clocks(story: Story, at: datetime, stops: Collection[Stops], ticket: Any = None) -> None:
    """Stop what still runs: of one ticket, or of the whole loop when `ticket` is None."""
    for clock in story.clocks.values():
        of_ticket = ticket is None or clock["ticket_id"] == ticket
        if clock["stopped_at"] is None and clock["stops"] in stops and of_ticket:
            clock |= {"stopped_at": at, "next_at": None}


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
    EventKind.LOOP_CUSTOMER_TOLD: customer_told,
    EventKind.LOOP_TRIAGED: triaged,
    EventKind.LOOP_PLANNED: planned,
    EventKind.LOOP_STARTED: started,
    EventKind.LOOP_CLOSED: closed,
    EventKind.TICKET_ASSIGNED: assigned,
    EventKind.TICKET_ACCEPTED: accepted,
    EventKind.TICKET_REJECTED: rejected,
    EventKind.TICKET_TRANSFERRED: transferred,
    EventKind.TICKET_RESOLVED: ticket_resolved,
    EventKind.VERIFICATION_ASKED: asked,
    EventKind.VERIFICATION_ANSWERED: answered,
    EventKind.CLOCK_REMINDED: clock_reminded,
    EventKind.CLOCK_BREACHED: clock_breached,
    EventKind.CLOCK_CLIMBED: clock_climbed,
    EventKind.CLOCK_MOVED: clock_moved,
}
