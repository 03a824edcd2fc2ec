"""Two big loops of one cause: what was linked moves, everybody is told, and all of it goes back."""

from datetime import date
from typing import Any

import pytest

from loopwright.db import Database
from loopwright.errors import ConflictError, TransitionRefused
from models.history import HistoryEvent
from models.kinds import EventKind, Relation
from models.loop import Loop, LoopIssue, LoopLink
from models.message import Message
from models.ticket import Ticket
from tasks import merge as module
from tasks.causes.big_loops import close, triage
from tasks.causes.plan_cause import Plan, plan
from tasks.change import Change
from tasks.merge import merge, unlink, unmerge
from tasks.routing.decide import close_unfounded
from tasks.tickets.hand_off import accept, resolve
from tasks.verification.verify import ask
from tasks.workspace import Workspace
from tests.cast import (
    DAY,
    FEE,
    HOUR,
    LOGIN,
    LOST,
    NOON,
    OPS,
    UPDATE,
    ZHANG,
    a_loop,
    change_now,
    number_of,
    one,
    opening,
    rows,
    sound,
    take_in,
    ticket_of,
)

LATER = NOON + HOUR
OTHER = "B-OTHER"
BY_OPS: dict[str, Any] = {"actor": OPS, "now": LATER + DAY}


def said(text: str, *customers: str) -> list[dict[str, str]]:
    return [{"text": text, "customer": c, "mail": f"{c.lower()}@mail.example"} for c in customers]


def two_causes(ws: Workspace) -> tuple[str, str]:
    """A candidate with three customers, and another with four: the third is linked to both."""
    take_in(ws, *said(UPDATE, "C1", "C2", "C3"))
    kept = one(ws.db, Loop, kind="big").id
    before = {row.id for row in rows(ws.db, Loop, kind="small")}
    take_in(ws, *said(LOGIN, "C4", "C5", "C6"))
    fresh = [row.id for row in rows(ws.db, Loop, kind="small") if row.id not in before]
    shared = sorted(before)[-1]
    issue = {loop: one(ws.db, LoopIssue, loop_id=loop).issue_id for loop in (*fresh, shared)}
    change_now(
        ws,
        opening(OTHER, issue[fresh[0]], kind="big", topic="crash", touchpoint="app-use"),
        *(link(OTHER, small, issue[small]) for small in (*fresh, shared)),
    )
    return str(kept), OTHER


def link(big: str, small: str, issue: str) -> Change:
    data = {"small": small, "relation": Relation.SAME_CAUSE, "issue": issue}
    return Change(big, EventKind.LOOP_LINKED, data)


def links_of(ws: Workspace, big: str) -> set[str]:
    return {row.small_id for row in rows(ws.db, LoopLink, big_id=big)}


def belongings(ws: Workspace) -> set[tuple[str, ...]]:
    issues = {(r.loop_id, r.issue_id, r.relation) for r in rows(ws.db, LoopIssue)}
    return issues | {(r.big_id, r.small_id, r.relation) for r in rows(ws.db, LoopLink)}


def test_who_was_linked_to_the_other_is_told_when_the_survivor_closes(ws: Workspace) -> None:
    kept, other = two_causes(ws)
    assert merge(ws, other, kept, OPS, LATER) == kept
    gone = one(ws.db, Loop, id=other)
    assert (gone.state, gone.outcome, gone.merged_into) == ("closed", "merged", kept)
    smalls = {row.id for row in rows(ws.db, Loop, kind="small")}
    assert links_of(ws, kept) == smalls
    assert {r.relation for r in rows(ws.db, LoopIssue, loop_id=kept)} == {"origin", "same_cause"}
    assert len(rows(ws.db, LoopIssue, loop_id=kept)) == 6
    take_on(ws, kept)
    close(ws, kept, "abandoned", "另有原因", "系统已修复", **BY_OPS)
    assert {m.loop_id for m in rows(ws.db, Message, template="cause_closed")} == smalls
    assert sound(ws.db)


def test_a_merge_of_big_loops_is_undone_to_the_last_link(ws: Workspace) -> None:
    """What the survivor had before stays, also where the other one had it too."""
    kept, other = two_causes(ws)
    before = belongings(ws)
    merge(ws, other, kept, OPS, NOON)
    assert unmerge(ws, other, OPS, LATER) == other
    assert belongings(ws) == before
    assert one(ws.db, Loop, id=other).state == "candidate"
    assert one(ws.db, Loop, id=kept).state == "candidate"
    assert sound(ws.db)


def test_what_a_person_unlinked_meanwhile_is_no_obstacle(ws: Workspace) -> None:
    kept, other = two_causes(ws)
    moved = min(links_of(ws, other) - links_of(ws, kept))
    merge(ws, other, kept, OPS, NOON)
    unlink(ws, moved, kept, OPS, NOON)
    unmerge(ws, other, OPS, LATER)
    assert len(links_of(ws, kept)) == 3
    assert len(links_of(ws, other)) == 4
    assert sound(ws.db)


def test_thousands_move_set_by_set(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six changes in sets of two; nothing says merged before all of it has moved."""
    monkeypatch.setattr(module, "PIECE", 2)
    kept, other = two_causes(ws)
    before, size = belongings(ws), number_of(ws.db, HistoryEvent)
    assert not module.merge_some(ws, other, kept, OPS, NOON)
    assert number_of(ws.db, HistoryEvent) == size + 2
    assert one(ws.db, Loop, id=other).state == "candidate"
    merge(ws, other, kept, OPS, NOON)
    assert one(ws.db, Loop, id=other).state == "closed"
    assert len(links_of(ws, kept)) == 6
    assert number_of(ws.db, HistoryEvent) == size + 7
    assert not module.unmerge_some(ws, other, OPS, LATER)
    assert one(ws.db, Loop, id=other).state == "closed"
    unmerge(ws, other, OPS, LATER)
    assert belongings(ws) == before
    assert sound(ws.db)


def test_a_dry_run_of_a_large_merge_ends(
    ws: Workspace, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECE", 2)
    kept, other = two_causes(ws)
    dry = Database(url, dry_run=True)
    merge(Workspace(ws.settings, dry), other, kept, OPS, NOON)
    dry.close()
    assert one(ws.db, Loop, id=other).state == "candidate"


def test_a_closed_loop_is_merged_with_nothing(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECE", 2)
    kept, other = two_causes(ws)
    close(ws, other, "abandoned", "另有原因", None, **BY_OPS)
    before = belongings(ws)
    for loop, into in ((other, kept), (kept, other)):
        with pytest.raises(TransitionRefused, match="is closed"):
            merge(ws, loop, into, OPS, LATER)
    assert belongings(ws) == before


def test_a_merge_stays_when_its_cause_has_a_new_loop(ws: Workspace) -> None:
    take_in(ws, *said(UPDATE, "C1", "C2"))
    first = one(ws.db, Loop, kind="big")
    take_in(ws, {"text": LOGIN, "customer": "C3"})
    issue = one(ws.db, LoopIssue, loop_id=one(ws.db, Loop, topic="login").id).issue_id
    change_now(ws, opening(OTHER, issue, kind="big"))
    merge(ws, first.id, OTHER, OPS, NOON)
    take_in(ws, *said(UPDATE, "C4"), now=LATER)
    assert len(rows(ws.db, Loop, kind="big", state="candidate")) == 2
    with pytest.raises(ConflictError, match="another open loop"):
        unmerge(ws, first.id, OPS, LATER)
    assert one(ws.db, Loop, id=first.id).state == "closed"
    assert sound(ws.db)


def take_on(ws: Workspace, loop: str) -> None:
    triage(ws, loop, "DB", ["RK"], None, OPS, NOON)


def set_plan(ws: Workspace, loop: str) -> None:
    take_on(ws, loop)
    made = Plan("C01", ["没有测试"], ["加测试"], "每周少于十笔", date(2026, 9, 1))
    plan(ws, loop, made, ZHANG, NOON)


def begin(ws: Workspace, loop: str) -> None:
    set_plan(ws, loop)
    accept(ws, ticket_of_unit(ws, loop, "DB"), ZHANG, NOON)
    resolve(ws, ticket_of_unit(ws, loop, "RK"), "C01", "做完了", ZHANG, NOON)


def finish(ws: Workspace, loop: str) -> None:
    begin(ws, loop)
    resolve(ws, ticket_of_unit(ws, loop, "DB"), "C01", "做完了", ZHANG, NOON)


def ticket_of_unit(ws: Workspace, loop: str, unit: str) -> str:
    return str(one(ws.db, Ticket, loop_id=loop, unit=unit).id)


BIG_STATES = [
    (lambda ws, loop: None, "candidate", []),
    (take_on, "triaged", ["assigned", "assigned"]),
    (set_plan, "planned", ["assigned", "assigned"]),
    (begin, "acting", ["accepted", "resolved"]),
    (finish, "watching", ["resolved", "resolved"]),
]


@pytest.mark.parametrize(("act", "state", "tickets"), BIG_STATES, ids=[s for _, s, _ in BIG_STATES])
def test_a_big_loop_goes_on_where_it_was_merged(
    ws: Workspace, act: Any, state: str, tickets: list[str]
) -> None:
    kept, other = two_causes(ws)
    act(ws, other)
    before = one(ws.db, Loop, id=other)
    assert before.state == state
    merge(ws, other, kept, OPS, NOON)
    assert {t.state for t in rows(ws.db, Ticket, loop_id=other)} <= {"done"}
    unmerge(ws, other, OPS, LATER)
    again = one(ws.db, Loop, id=other)
    assert (again.state, again.cause, again.due_on) == (state, before.cause, before.due_on)
    assert sorted(t.state for t in rows(ws.db, Ticket, loop_id=other)) == tickets
    assert sound(ws.db)


def test_a_loop_merged_while_it_was_untriaged_waits_again(ws: Workspace) -> None:
    kept, other = a_loop(ws, LOGIN).id, a_loop(ws, LOST, customer="C1").id
    merge(ws, other, kept, OPS, NOON)
    unmerge(ws, other, OPS, LATER)
    assert one(ws.db, Loop, id=other).state == "triage"
    assert sound(ws.db)


@pytest.mark.parametrize("asked", [False, True])
def test_a_customer_whose_loop_was_merged_when_solved_is_asked_again(
    ws: Workspace, asked: bool
) -> None:
    kept, other = a_loop(ws, LOGIN).id, a_loop(ws, FEE, customer="C1", phone="13900000001").id
    resolve(ws, ticket_of(ws, other).id, "C03", "已退", ZHANG, NOON)
    if asked:
        assert ask(ws, NOON).calls == 1
        assert one(ws.db, Loop, id=other).state == "verifying"
    merge(ws, other, kept, OPS, NOON)
    unmerge(ws, other, OPS, LATER)
    assert (one(ws.db, Loop, id=other).state, ticket_of(ws, other).state) == ("resolved",) * 2
    assert ask(ws, LATER).calls == 1
    assert sound(ws.db)


def test_what_opens_again_otherwise_begins_again(ws: Workspace) -> None:
    """A complaint that was unfounded comes back: its ticket is work again."""
    loop = a_loop(ws, LOGIN, customer="C1").id
    close_unfounded(ws, loop, "查了日志，登录正常", OPS, NOON)
    take_in(ws, {"text": LOGIN, "customer": "C1"}, now=LATER)
    assert one(ws.db, Loop, id=loop).state == "open"
    assert ticket_of(ws, loop).state == "assigned"
    assert ticket_of(ws, loop).assigned_at == LATER
    assert sound(ws.db)
