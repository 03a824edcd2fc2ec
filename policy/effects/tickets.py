"""What an event changes of a loop's tickets."""

from collections.abc import Callable, Mapping

from models.kinds import EventKind, Stops, TicketState
from policy.effects.clocks import stop_clocks
from policy.story import Happening, Refused, Story


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
        "person": event.data.get("person"),
        "active_at": None,
    }


def accepted(story: Story, event: Happening) -> None:
    ticket = story.tickets[event.data["ticket"]]
    ticket |= {
        "state": TicketState.ACCEPTED,
        "accepted_at": event.at,
        "active_at": event.at,
        "person": event.data.get("person") or ticket["person"],
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
        "active_at": None,
        "person": None,
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


def given(story: Story, event: Happening) -> None:
    """One of the unit's people handles it from now on."""
    story.tickets[event.data["ticket"]]["person"] = event.data["person"]


def progressed(story: Story, event: Happening) -> None:
    story.tickets[event.data["ticket"]]["active_at"] = event.at


EFFECTS: Mapping[EventKind, Callable[[Story, Happening], None]] = {
    EventKind.TICKET_ASSIGNED: assigned,
    EventKind.TICKET_ACCEPTED: accepted,
    EventKind.TICKET_REJECTED: rejected,
    EventKind.TICKET_TRANSFERRED: transferred,
    EventKind.TICKET_RESOLVED: ticket_resolved,
    EventKind.TICKET_GIVEN: given,
    EventKind.TICKET_PROGRESSED: progressed,
}
