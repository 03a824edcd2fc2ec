"""Each relation can be undone on its own: a merge, and the link to a common cause."""

import pytest

from loopwright.errors import ConflictError, TransitionRefused
from models.loop import Loop, LoopIssue, LoopLink
from models.ticket import Ticket
from tasks.merge import merge, unlink, unmerge
from tasks.workspace import Workspace
from tests.cast import FEE, HOUR, LOGIN, NOON, OPS, UPDATE, one, rows, sound, tell, triage

LATER = NOON + HOUR


def two_loops(ws: Workspace) -> tuple[Loop, Loop]:
    tell(ws, {"text": LOGIN, "customer": "C1"}, {"text": FEE, "customer": "C2"})
    triage(ws)
    by_topic = sorted(rows(ws.db, Loop), key=lambda loop: loop.topic)
    return by_topic[0], by_topic[1]


def test_a_merge_undone_gives_each_loop_its_own_issues_back(ws: Workspace) -> None:
    kept, other = two_loops(ws)
    before = {(r.loop_id, r.issue_id, r.relation) for r in rows(ws.db, LoopIssue)}
    merge(ws, other.id, kept.id, OPS, NOON)
    assert unmerge(ws, other.id, OPS, LATER) == other.id
    back = one(ws.db, Loop, id=other.id)
    assert (back.state, back.outcome, back.merged_into) == ("open", None, None)
    assert {(r.loop_id, r.issue_id, r.relation) for r in rows(ws.db, LoopIssue)} == before
    assert {t.state for t in rows(ws.db, Ticket) if t.loop_id == other.id} == {"assigned"}
    assert sound(ws.db)


def test_only_a_merge_can_be_unmerged(ws: Workspace) -> None:
    kept, _ = two_loops(ws)
    with pytest.raises(ConflictError, match="not merged"):
        unmerge(ws, kept.id, OPS, LATER)


def test_a_merge_stays_when_the_customer_has_a_new_loop_on_the_topic(ws: Workspace) -> None:
    kept, other = two_loops(ws)
    merge(ws, other.id, kept.id, OPS, NOON)
    number = "C2" if other.topic != "login" else "C1"
    tell(ws, {"text": FEE if number == "C2" else LOGIN, "customer": number}, now=LATER)
    triage(ws, LATER)
    with pytest.raises(ConflictError, match="another open loop"):
        unmerge(ws, other.id, OPS, LATER)
    assert one(ws.db, Loop, id=other.id).state == "closed"
    assert sound(ws.db)


def test_a_loop_leaves_the_cause_it_does_not_share(ws: Workspace) -> None:
    tell(ws, {"text": UPDATE, "customer": "C1"}, {"text": UPDATE, "customer": "C2"})
    triage(ws)
    big = one(ws.db, Loop, kind="big")
    first, second = sorted(link.small_id for link in rows(ws.db, LoopLink))
    unlink(ws, second, big.id, OPS, LATER)
    assert [link.small_id for link in rows(ws.db, LoopLink)] == [first]
    assert one(ws.db, Loop, id=second).state == "open"
    with pytest.raises(TransitionRefused, match="not linked"):
        unlink(ws, second, big.id, OPS, LATER)
    assert sound(ws.db)
