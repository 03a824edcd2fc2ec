"""The door's fold without a database: what a set of changes adds up to."""

from datetime import timedelta
from typing import Any

import pytest

from loopwright.errors import ConflictError, TransitionRefused
from models.kinds import EventKind
from policy.story import Story
from tasks.change import Change, Ledger, NewMessage, fold, message_row, new_issues, new_links
from tests.cast import NOON, ZHANG, opening

K = EventKind


def ledger(*loops: str) -> Ledger:
    return Ledger(NOON, {loop: Story() for loop in loops}, {}, set())


def known(version: int = 4) -> Ledger:
    """A ledger with one stored loop and its assigned ticket."""
    made = ledger("L1")
    run(made, opening("L1", "I1"), assign("T1"))
    made.stories["L1"].loop["version"] = version
    return Ledger(NOON + timedelta(hours=1), made.stories, {"L1": version}, {"T1"})


def assign(ticket: str, **changed: Any) -> Change:
    data = {"ticket": ticket, "unit": "DB", "role": "lead"}
    return Change("L1", K.TICKET_ASSIGNED, data, **changed)


def resolve(ticket: str, **changed: Any) -> Change:
    return Change("L1", K.TICKET_RESOLVED, {"ticket": ticket, "cause": "C01"}, ZHANG, **changed)


def run(made: Ledger, *changes: Change) -> Ledger:
    ids = iter(f"E{n}" for n in range(100))
    for one in changes:
        fold(made, one, ids)
    return made


def test_sequence_follows_version() -> None:
    made = run(ledger("L1", "L2"), opening("L1", "I1"), opening("L2", "I2"), assign("T1"))
    assert [(e.loop, e.loop_seq) for e in made.events] == [("L1", 0), ("L2", 0), ("L1", 1)]
    assert made.stories["L1"].loop["version"] == 1


def test_a_resolution_brings_its_follower() -> None:
    made = run(known(), resolve("T1", policy="7", run="r"))
    assert [(e.kind, e.loop_seq) for e in made.events] == [
        (K.TICKET_RESOLVED, 5),
        (K.LOOP_RESOLVED, 6),
    ]
    assert [e.actor.id for e in made.events] == ["db.zhang", "loopwright"]
    assert {e.policy for e in made.events} == {"7"}
    assert {e.at for e in made.events} == {made.now}


@pytest.mark.parametrize("version", [0, 3, 5])
def test_a_stale_decider_is_refused(version: int) -> None:
    with pytest.raises(ConflictError, match="has changed since you looked"):
        run(known(4), resolve("T1", version=version))


def test_a_version_holds_for_the_whole_set() -> None:
    made = run(known(4), assign("T2", version=4), resolve("T2", version=4))
    assert made.stories["L1"].loop["version"] == 6


def test_a_refusal_names_the_state() -> None:
    made = run(known(), resolve("T1"))
    with pytest.raises(TransitionRefused, match="L1 is resolved") as caught:
        run(made, resolve("T1"))
    assert caught.value.fix


def test_new_relations_are_noted_once() -> None:
    made = run(ledger("B1"), opening("B1", "I1", kind="big"))
    link = Change("B1", K.LOOP_LINKED, {"small": "S1", "relation": "same_cause", "issue": "I2"})
    run(made, link, link)
    assert [i["issue_id"] for i in new_issues(made)] == ["I1", "I2"]
    assert [(n["big_id"], n["small_id"]) for n in new_links(made)] == [("B1", "S1")]


def test_a_message_row_is_due_at_once() -> None:
    row = message_row(NewMessage("k", "ticket_assigned", "DB", "T1", {"a": 1}), "L1", NOON)
    assert (row["state"], row["attempts"], row["due_at"]) == ("queued", 0, NOON)
    assert (row["loop_id"], row["ticket_id"], row["values"]) == ("L1", "T1", {"a": 1})
