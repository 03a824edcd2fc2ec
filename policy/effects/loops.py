"""What an event changes of a loop itself: its row, its issues and links, the tickets with it."""

from collections.abc import Callable, Mapping
from datetime import date, datetime

from models.kinds import EventKind, LoopKind, LoopState, Outcome, Relation, Stops, TicketState, Told
from policy.clock_notation import moment
from policy.effects.clocks import TOLD_ALL, stop_clocks
from policy.effects.verifications import settle_verifications
from policy.story import Happening, Refused, Row, Story


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
        "ask_at": None,
        "barred": None,
        "sponsor": None,
        "target_percent": None,
        "baseline_from": None,
        "baseline_to": None,
        "comparison": None,
        "watched_from": None,
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


def resolved(story: Story, event: Happening) -> None:
    """A small loop waits to be verified; a big one is watched for its effect."""
    if story.loop["kind"] == LoopKind.SMALL:
        story.loop |= {"state": LoopState.RESOLVED, "ask_at": event.at}
    else:
        story.loop |= {"state": LoopState.WATCHING, "watched_from": event.at}


def reopened(story: Story, event: Happening) -> None:
    """The work begins again; a loop whose merge is undone goes on where it was, in `state`."""
    small, before = story.loop["kind"] == LoopKind.SMALL, event.data.get("state")
    story.loop |= {
        "state": before or (LoopState.OPEN if small else LoopState.ACTING),
        "closed_at": None,
        "outcome": None,
        "merged_into": None,
        "ask_at": event.at if before == LoopState.RESOLVED else None,
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
        "active_at": None,
    }


def disputed(story: Story, event: Happening) -> None:  # noqa: ARG001
    story.loop["arbitration"] = True


def arbitrated(story: Story, event: Happening) -> None:  # noqa: ARG001
    story.loop["arbitration"] = False


def close(story: Story, at: datetime, outcome: Outcome) -> None:
    closed = {"state": LoopState.CLOSED, "closed_at": at, "outcome": outcome}
    story.loop |= closed | {"arbitration": False, "ask_at": None}
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
        "sponsor": event.data.get("sponsor"),
        "target_percent": event.data.get("target_percent"),
        "baseline_from": day_of(event.data.get("baseline_from")),
        "baseline_to": day_of(event.data.get("baseline_to")),
        "comparison": event.data.get("comparison"),
    }


def day_of(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def started(story: Story, event: Happening) -> None:  # noqa: ARG001
    story.loop["state"] = LoopState.ACTING


STOPPED_BY: Mapping[Told, frozenset[Stops]] = {
    Told.FIRST_ANSWER: frozenset({Stops.FIRST_ANSWER}),
    Told.DECISION: TOLD_ALL,
    Told.CHANGE: frozenset(),
}
"""What a customer was told -> the clocks that waited for it. Told the decision, they have also had
a first answer; what changed is no answer to their own matter."""


def customer_told(story: Story, event: Happening) -> None:
    stop_clocks(story, event.at, STOPPED_BY[Told(event.data["what"])])


def customer_identified(story: Story, event: Happening) -> None:
    story.loop["customer_id"] = event.data["customer"]


def relapsed(story: Story, event: Happening) -> None:
    """The cause is back: the big loop's work begins again."""
    story.loop |= {
        "state": LoopState.ACTING,
        "closed_at": None,
        "outcome": None,
        "watched_from": None,
    }
    for ticket in story.tickets.values():
        if ticket["state"] in (TicketState.RESOLVED, TicketState.DONE):
            ticket |= begun_again(event.at)


def review_requested(story: Story, event: Happening) -> None:  # noqa: ARG001
    """The complainant objects to the decision: whoever stands above gets a ticket of their own,
    those that decided stay as they are."""
    story.loop |= {"state": LoopState.OPEN, "closed_at": None, "outcome": None, "ask_at": None}
    settle_verifications(story)


def handler_barred(story: Story, event: Happening) -> None:
    barred = (story.loop["barred"] or "").split(",")
    people = sorted({*filter(None, barred), event.data["person"]})
    story.loop["barred"] = ",".join(people)


def compensated(story: Story, event: Happening) -> None:
    """A fact of its own; no row follows from it."""


def change_described(story: Story, event: Happening) -> None:
    """What customers are told has changed: words only."""


def effect_measured(story: Story, event: Happening) -> None:
    data = event.data
    story.effects[data["effect"]] = {
        "id": data["effect"],
        "loop_id": event.loop,
        "horizon": data["horizon"],
        "method": data["method"],
        "verdict": data["verdict"],
        "before": data["before"],
        "after": data["after"],
        "change": data.get("change"),
        "low": data.get("low"),
        "high": data.get("high"),
        "measured_at": event.at,
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
    EventKind.LOOP_CUSTOMER_TOLD: customer_told,
    EventKind.LOOP_TRIAGED: triaged,
    EventKind.LOOP_PLANNED: planned,
    EventKind.LOOP_STARTED: started,
    EventKind.LOOP_CLOSED: closed,
    EventKind.LOOP_RELAPSED: relapsed,
    EventKind.LOOP_CHANGE_DESCRIBED: change_described,
    EventKind.LOOP_REVIEW_REQUESTED: review_requested,
    EventKind.LOOP_HANDLER_BARRED: handler_barred,
    EventKind.LOOP_COMPENSATED: compensated,
    EventKind.EFFECT_MEASURED: effect_measured,
}
