"""What an event changes of a loop's clocks: start, move, pause, extend, stop."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

from models.kinds import EventKind, Stops, TicketState
from policy.clock_notation import moment, starts_in
from policy.story import Happening, Story

RUNNING_ON = frozenset({TicketState.ASSIGNED, TicketState.ACCEPTED})
TOLD_ALL = frozenset({Stops.FIRST_ANSWER, Stops.TOLD})


def start_clocks(story: Story, event: Happening) -> None:
    """The clocks that the event's data names: of its ticket, of the tickets that a reopening took
    back, or of the loop since the customer's receipt or the moment the event names."""
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
                "started_at": started_at(story, event, ticket),
                "due_at": start.due_at,
                "provisional": start.provisional,
                "reminded_at": None,
                "breached_at": None,
                "step": None,
                "climbed_at": None,
                "next_at": start.next_at,
                "paused_at": None,
                "extension": None,
                "stopped_at": None,
            }


def started_at(story: Story, event: Happening, ticket: str | None) -> datetime:
    if named := event.data.get("started_at"):
        return moment(named)
    received: datetime = story.loop["received_at"]
    return event.at if ticket else received


def clocked_tickets(story: Story, event: Happening) -> list[str | None]:
    if event.kind in (EventKind.LOOP_REOPENED, EventKind.LOOP_RELAPSED):
        return [t["id"] for t in story.tickets.values() if t["state"] in RUNNING_ON]
    return [event.data.get("ticket")]


def stop_clocks(story: Story, at: datetime, stops: Collection[Stops], ticket: Any = None) -> None:
    """Stop what still runs: of one ticket, or of the whole loop when `ticket` is None."""
    for clock in story.clocks.values():
        of_ticket = ticket is None or clock["ticket_id"] == ticket
        if clock["stopped_at"] is None and clock["stops"] in stops and of_ticket:
            clock |= {"stopped_at": at, "next_at": None, "paused_at": None}


def clock_reminded(story: Story, event: Happening) -> None:
    move_clock(story, event, reminded_at=event.at)


def clock_breached(story: Story, event: Happening) -> None:
    move_clock(story, event, breached_at=event.at)


def clock_climbed(story: Story, event: Happening) -> None:
    move_clock(story, event, step=event.data["step"], climbed_at=event.at)


def clock_moved(story: Story, event: Happening) -> None:
    """Looked at under other documents than it was started by: nothing to do before `next_at`."""
    move_clock(story, event)


def paused(story: Story, event: Happening) -> None:
    """Nothing is due while it stands still."""
    story.clocks[event.data["clock"]] |= {"paused_at": event.at, "next_at": None}


def resumed(story: Story, event: Happening) -> None:
    set_due(story, event, paused_at=None)


def extended(story: Story, event: Happening) -> None:
    """More time was granted; it is reminded of again before the new due time."""
    set_due(story, event, extension=event.data["extension"], reminded_at=None)


def recomputed(story: Story, event: Happening) -> None:
    """A calendar was edited, or an earlier complaint was merged in; both due times are in the
    event."""
    earlier = event.data.get("started_at")
    set_due(story, event, **({"started_at": moment(earlier)} if earlier else {}))


def restarted(story: Story, event: Happening) -> None:
    """New facts: the old clock stops and stays to be seen; the event's data starts the new one."""
    clock = story.clocks[event.data["clock"]]
    stopped = {"stopped_at": clock["stopped_at"] or event.at, "next_at": None, "paused_at": None}
    clock |= stopped


def set_due(story: Story, event: Happening, **changed: Any) -> None:
    due = {
        "due_at": moment(event.data["due_at"]),
        "provisional": bool(event.data.get("provisional")),
    }
    move_clock(story, event, **due, **changed)


def move_clock(story: Story, event: Happening, **changed: Any) -> None:
    following = event.data.get("next_at")
    story.clocks[event.data["clock"]] |= changed | {
        "next_at": moment(following) if following else None
    }


EFFECTS: Mapping[EventKind, Callable[[Story, Happening], None]] = {
    EventKind.CLOCK_REMINDED: clock_reminded,
    EventKind.CLOCK_BREACHED: clock_breached,
    EventKind.CLOCK_CLIMBED: clock_climbed,
    EventKind.CLOCK_MOVED: clock_moved,
    EventKind.CLOCK_PAUSED: paused,
    EventKind.CLOCK_RESUMED: resumed,
    EventKind.CLOCK_EXTENDED: extended,
    EventKind.CLOCK_RECOMPUTED: recomputed,
    EventKind.CLOCK_RESTARTED: restarted,
}
