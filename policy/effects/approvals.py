"""What an event changes of the approvals asked for. One that belongs to no loop happens to the
empty loop."""

from collections.abc import Callable, Mapping

from models.kinds import ApprovalKind, ApprovalState, EventKind
from policy.story import Happening, Refused, Row, Story

SAID = frozenset({"approval", "kind", "level", "unit", "ticket", "clock", "by"})
"""What a request's data says besides its terms."""


OF_CLOCKS = frozenset({ApprovalKind.MORE_TIME, ApprovalKind.EXTENSION})
"""Kinds that are asked for one at a time, whatever their terms."""


def requested(story: Story, event: Happening) -> None:
    asked = row_of(event)
    for other in story.approvals.values():
        if other["state"] == ApprovalState.WAITING and is_same(asked, other):
            raise Refused(f"{other['id']} asks for it already and waits")
    story.approvals[asked["id"]] = asked


def is_same(asked: Row, other: Row) -> bool:
    if asked["kind"] != other["kind"]:
        return False
    names = ("ticket_id", "clock_id", *(() if asked["kind"] in OF_CLOCKS else ("terms",)))
    return all(asked[name] == other[name] for name in names)


def row_of(event: Happening) -> Row:
    data = event.data
    return {
        "id": data["approval"],
        "loop_id": event.loop or None,
        "kind": data["kind"],
        "level": data["level"],
        "unit": data["unit"],
        "ticket_id": data.get("ticket"),
        "clock_id": data.get("clock"),
        "terms": {name: value for name, value in data.items() if name not in SAID},
        "state": ApprovalState.WAITING,
        "asked_by": data["by"],
        "asked_at": event.at,
        "decided_by": None,
        "decided_at": None,
    }


def granted(story: Story, event: Happening) -> None:
    waiting(story, event).update(decided(event, ApprovalState.GRANTED))


def refused(story: Story, event: Happening) -> None:
    waiting(story, event).update(decided(event, ApprovalState.REFUSED))


def waiting(story: Story, event: Happening) -> Row:
    approval = story.approvals.get(event.data["approval"])
    if approval is None:
        raise Refused(f"there is no approval {event.data['approval']}")
    if approval["state"] != ApprovalState.WAITING:
        raise Refused(f"approval {approval['id']} has been {approval['state']} already")
    return approval


def decided(event: Happening, state: ApprovalState) -> Row:
    return {"state": state, "decided_by": event.data["by"], "decided_at": event.at}


EFFECTS: Mapping[EventKind, Callable[[Story, Happening], None]] = {
    EventKind.APPROVAL_REQUESTED: requested,
    EventKind.APPROVAL_GRANTED: granted,
    EventKind.APPROVAL_REFUSED: refused,
}
