"""docs/reference/events.md explains every kind of event and every key the state needs."""

import re
from pathlib import Path

import pytest

from loopwright.history.envelope import SYSTEM, Event, fields
from loopwright.now import utc_now
from models.kinds import EventKind
from policy.effects import EFFECTS
from policy.effects.loops import opened
from policy.story import Happening, Story

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "events.md").read_text("utf-8")
ROWS = {
    kind: (data, meaning)
    for kind, data, meaning in re.findall(
        r"^\| `([a-z]+\.[a-z_]+)` \| [^|]+ \|([^|]*)\|[^|]*\|([^|]*)\|$", PAGE, re.MULTILINE
    )
}


DAY = "2026-11-22"
ANSWERS = {
    "by": DAY,
    "baseline_from": DAY,
    "baseline_to": DAY,
    "outcome": "verified",
    "what": "decision",
}


class Asked(dict[str, str]):
    """Data that answers anything and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.keys_asked: set[str] = set()

    def __missing__(self, key: str) -> str:
        self.keys_asked.add(key)
        return ANSWERS.get(key, "2026-11-22T00:00:00+00:00")

    def get(self, key: str, default: object = None) -> str:
        return self[key]


def test_the_page_names_exactly_the_kinds_there_are() -> None:
    assert ROWS.keys() == set(EventKind)


@pytest.mark.parametrize("kind", EFFECTS)
def test_every_key_the_state_needs_is_documented(kind: EventKind) -> None:
    story, data = Story(), Asked()
    if kind is not EventKind.LOOP_OPENED:
        opened(story, Happening("L", EventKind.LOOP_OPENED, Asked(), utc_now()))
        story.loop["kind"] = "big"
        story.tickets[data["ticket"]] = {
            "id": data["ticket"],
            "state": "assigned",
            "role": "lead",
        }
        story.clocks[data["clock"]] = {"stopped_at": None, "stops": "told", "ticket_id": None}
        asked = dict.fromkeys(("answer", "first_answer", "call_at"))
        asked |= {"contacts": 1, "via": "mail"}
        story.verifications[data["verification"]] = asked
        story.approvals[data["approval"]] = {
            "id": data["approval"],
            "kind": "reply",
            "state": "waiting",
        }
        story.issues[data["issue"]] = "same_complaint"
        story.links[data["small"]] = "same_cause"
        data.keys_asked.clear()
        if kind is EventKind.TICKET_ASSIGNED:
            story.tickets.clear()
    EFFECTS[kind](story, Happening("L", kind, data, utc_now()))
    documented = set(re.findall(r"`([a-z_]+)`", ROWS[kind][0]))
    assert data.keys_asked <= documented


def test_every_member_of_the_envelope_is_named() -> None:
    members = fields(Event("1", "loop.opened", utc_now(), SYSTEM, {}), None)
    named = PAGE.split("## Loops")[0]
    assert [m for m in members if f"`{m}`" not in named] == []
