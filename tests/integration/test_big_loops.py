"""A common cause from candidate to closing: who gets work, who is told what, what is refused."""

import asyncio
import json
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from sqlalchemy import insert

from loopwright.errors import ConflictError, InputError, TransitionRefused
from models.base import table
from models.clock import Clock
from models.customer import CustomerSnapshot
from models.feedback import RawItem
from models.history import EventBody, HistoryEvent
from models.kinds import EventKind, How, Told, Way
from models.loop import Loop, LoopLink
from models.message import Delivery, Message
from models.ticket import Ticket
from tasks.causes import tell_changed
from tasks.causes.big_loops import Closed, close, describe, is_candidate, triage
from tasks.causes.plan_cause import Plan, plan
from tasks.causes.tell_changed import Telling, tell_customers
from tasks.change import Change
from tasks.documents.publish import publish
from tasks.look import show_loop
from tasks.merge import merge, unlink
from tasks.messages.deliver import deliver_lease
from tasks.routing.decide import decide_loop
from tasks.routing.waiting import list_triage
from tasks.tickets.hand_off import accept, reject, resolve, transfer
from tasks.verification.reach import ways
from tasks.verification.tell import tell_customer
from tasks.verification.verify import ask
from tasks.workspace import Workspace
from tests.cast import (
    DAY,
    FEE,
    HOUR,
    LI,
    NOON,
    OPS,
    UPDATE,
    ZHANG,
    a_loop,
    change_now,
    document,
    documents,
    kinds_of,
    one,
    opening,
    rows,
    sample_issues,
    sound,
    take_in,
    ticket_of,
    withdraw,
)

LATER = NOON + HOUR
SOON = date(2026, 9, 1)
REASON, CHANGED = "三个月观察期已过，没有足够数据", "转账失败时会立即说明原因并退回款项"
WHY, ACTIONS, TARGET = "更新时没有回归测试", "上线前必须回归", "每周失败少于十笔"


def said(*customers: str, mail: bool = True, **more: str) -> list[dict[str, str]]:
    """Complaints of one cause that needs DB and RK."""
    written = {"mail": "{}@mail.example"} if mail else {}
    return [
        {"text": UPDATE, "customer": who, **more}
        | {name: value.format(who.lower()) for name, value in written.items()}
        for who in customers
    ]


def a_candidate(ws: Workspace, *customers: str) -> str:
    take_in(ws, *said(*(customers or ("C1", "C2"))))
    return str(big(ws).id)


def big(ws: Workspace) -> Any:
    return one(ws.db, Loop, kind="big")


def small_of(ws: Workspace, number: int) -> str:
    """The linked loop of the n-th customer to complain."""
    return str(sorted((loop.received_at, loop.id) for loop in smalls(ws))[number][1])


def smalls(ws: Workspace) -> list[Any]:
    return rows(ws.db, Loop, kind="small")


def take_on(ws: Workspace, loop: str) -> str:
    return triage(ws, loop, None, None, None, OPS, NOON)


def make_plan(ws: Workspace, loop: str, **other: Any) -> str:
    words = {"whys": [WHY], "actions": [ACTIONS], "target": TARGET}
    given: dict[str, Any] = {"cause": "C01", "by": SOON} | words | other
    return plan(ws, loop, Plan(**given), ZHANG, NOON)


def finish(ws: Workspace, loop: str) -> None:
    for ticket in rows(ws.db, Ticket, loop_id=loop):
        resolve(ws, ticket.id, "C01", "做完了", ZHANG, LATER)


def watched(ws: Workspace, *customers: str) -> str:
    """A big loop whose work is done."""
    loop = take_on(ws, a_candidate(ws, *customers))
    make_plan(ws, loop)
    finish(ws, loop)
    return loop


def end(ws: Workspace, loop: str, outcome: str = "not proven", **other: Any) -> Closed:
    return close(ws, loop, outcome, **{"reason": REASON, "changed": CHANGED} | other, **BY_OPS)


BY_OPS: dict[str, Any] = {"actor": OPS, "now": LATER + DAY}


def told(ws: Workspace) -> list[str]:
    """The loops whose customers are told what changed."""
    return [m.loop_id for m in rows(ws.db, Message, template="cause_closed")]


def to_call(ws: Workspace) -> list[Any]:
    """What units are asked to call customers about, what changed."""
    return rows(ws.db, Message, template="cause_closed_call")


def units_told(ws: Workspace, template: str) -> list[str]:
    return sorted(m.unit for m in rows(ws.db, Message, template=template))


def events(ws: Workspace, loop: str) -> list[Any]:
    return sorted(rows(ws.db, HistoryEvent, loop_id=loop), key=lambda e: e.loop_seq)


def body_of(ws: Workspace, kind: EventKind) -> dict[str, Any]:
    event = one(ws.db, HistoryEvent, kind=kind)
    words: dict[str, Any] = json.loads(one(ws.db, EventBody, event_id=event.event_id).body)
    return words


def test_the_whole_life_of_a_candidate_by_rule(ws: Workspace) -> None:
    loop = a_candidate(ws)
    before = {(s.id, s.state, s.version) for s in smalls(ws)}
    assert is_candidate(ws, loop)
    assert triage(ws, loop[-5:].lower(), None, None, None, OPS, LATER) == loop
    row = big(ws)
    assert (row.state, row.lead, row.priority) == ("triaged", "DB", "P2")
    tickets = {t.unit: t for t in rows(ws.db, Ticket, loop_id=loop)}
    assert {unit: t.role for unit, t in tickets.items()} == {"DB": "lead", "RK": "participant"}
    assert units_told(ws, "big_loop_assigned") == ["DB", "RK"]

    accept(ws, tickets["DB"].id, ZHANG, LATER)
    assert big(ws).state == "triaged"
    make_plan(ws, loop)
    row = big(ws)
    assert (row.state, row.cause, row.due_on) == ("acting", "C01", SOON)
    finish(ws, loop)
    assert big(ws).state == "watching"
    assert end(ws, loop) == Closed(loop, told=2)
    row = big(ws)
    assert (row.state, row.outcome, row.closed_at) == ("closed", "not proven", LATER + DAY)
    assert {t.state for t in rows(ws.db, Ticket, loop_id=loop)} == {"done"}
    assert units_told(ws, "big_loop_closed") == ["DB", "RK"]
    assert sorted(told(ws)) == sorted(s.id for s in smalls(ws))
    assert {(s.id, s.state, s.version) for s in smalls(ws)} == before
    assert kinds_of(events(ws, loop))[3:] == [
        "loop.triaged",
        "ticket.assigned",
        "ticket.assigned",
        "ticket.accepted",
        "loop.planned",
        "loop.started",
        "ticket.resolved",
        "ticket.resolved",
        "loop.resolved",
        "loop.closed",
    ]
    assert sound(ws.db)


def test_words_stay_in_the_body(ws: Workspace) -> None:
    end(ws, watched(ws))
    planned = {"whys": [WHY], "actions": [ACTIONS], "target": TARGET}
    assert body_of(ws, EventKind.LOOP_PLANNED) == planned
    assert body_of(ws, EventKind.LOOP_CLOSED) == {"reason": REASON, "changed": CHANGED}
    for event in rows(ws.db, HistoryEvent):
        assert not any(words in event.envelope for words in (WHY, ACTIONS, TARGET, REASON, CHANGED))


def test_a_candidate_by_recurrence_runs_by_the_policys_clocks(ws: Workspace) -> None:
    """It was opened by no rule: no clocks, no ladder, no participants were decided."""
    (issue,) = sample_issues(ws.db, 1)
    where = {"topic": "crash", "touchpoint": "app-use", "lead": "DB"}
    change_now(ws, opening("B1", issue, kind="big", **where))
    triage(ws, "B1", "CC", None, "P1", OPS, NOON)
    row = big(ws)
    assert (row.lead, row.priority, row.ladder) == ("CC", "P1", "standard")
    assert row.clocks == "legal,customer,owner,owner-big"
    tickets = {t.unit: t for t in rows(ws.db, Ticket)}
    assert {unit: t.role for unit, t in tickets.items()} == {"CC": "lead", "DB": "participant"}
    clocks = {c.ticket_id: c for c in rows(ws.db, Clock)}
    assert clocks.keys() == {t.id for t in tickets.values()}
    assert {(c.spec, c.kind, c.stops) for c in clocks.values()} == {
        ("owner-big", "owner", "resolved")
    }
    assert all(NOON < c.next_at < c.due_at for c in clocks.values())
    assert sound(ws.db)


def test_each_units_clock_runs_until_its_ticket_is_resolved(ws: Workspace) -> None:
    loop = take_on(ws, a_candidate(ws))
    make_plan(ws, loop)
    assert {c.spec for c in rows(ws.db, Clock, loop_id=loop)} == {"owner-big"}
    first, second = rows(ws.db, Ticket, loop_id=loop)
    resolve(ws, first.id, "C01", "做完了", ZHANG, LATER)
    stopped = {c.ticket_id: c.stopped_at for c in rows(ws.db, Clock, loop_id=loop)}
    assert stopped == {first.id: LATER, second.id: None}
    end(ws, loop, "abandoned")
    stopped = {c.ticket_id: c.stopped_at for c in rows(ws.db, Clock, loop_id=loop)}
    assert stopped == {first.id: LATER, second.id: LATER + DAY}
    assert sound(ws.db)


@pytest.mark.parametrize(
    ("lead", "participants", "units"),
    [
        (None, None, ["DB", "RK"]),
        ("RK", None, ["RK", "DB"]),
        ("CX", None, ["CX", "DB", "RK"]),
        ("CC", ["RK", "BR1", "RK", "CC"], ["CC", "RK", "BR1"]),
        (None, [], ["DB"]),
    ],
)
def test_who_gets_a_ticket(
    ws: Workspace, lead: str | None, participants: list[str] | None, units: list[str]
) -> None:
    loop = a_candidate(ws)
    triage(ws, loop, lead, participants, None, OPS, NOON)
    roles = {t.unit: t.role for t in rows(ws.db, Ticket, loop_id=loop)}
    assert roles == dict.fromkeys(units, "participant") | {units[0]: "lead"}
    event = one(ws.db, HistoryEvent, kind=EventKind.LOOP_TRIAGED)
    data = json.loads(event.data)
    assert (data["lead"], data["participants"]) == (units[0], ",".join(units[1:]) or None)
    assert event.actor_id == OPS.id


def test_a_plan_before_anybody_accepted_waits_for_the_first_who_does(ws: Workspace) -> None:
    loop = take_on(ws, a_candidate(ws))
    make_plan(ws, loop)
    assert big(ws).state == "planned"
    accept(ws, rows(ws.db, Ticket, loop_id=loop)[1].id, LI, LATER)
    assert big(ws).state == "acting"
    assert sound(ws.db)


def test_a_participants_refusal_leaves_the_lead(ws: Workspace) -> None:
    loop = take_on(ws, a_candidate(ws))
    other = one(ws.db, Ticket, loop_id=loop, unit="RK")
    reject(ws, other.id, "这是卡部的事", "CC", LI, LATER)
    assert big(ws).lead == "DB"
    assert one(ws.db, Ticket, loop_id=loop, unit="CC").role == "participant"
    make_plan(ws, loop)
    transfer(ws, one(ws.db, Ticket, loop_id=loop, unit="CC").id, "CX", "转给体验部", LI, LATER)
    end(ws, loop, "abandoned", changed=None)
    assert units_told(ws, "big_loop_closed") == ["CX", "DB"]
    assert sound(ws.db)


def dispute(ws: Workspace, loop: str) -> None:
    """Two units say that a participant's piece is not theirs."""
    reject(ws, one(ws.db, Ticket, loop_id=loop, unit="RK").id, "不是我们", "CC", LI, LATER)
    reject(ws, one(ws.db, Ticket, loop_id=loop, unit="CC").id, "也不是我们", "RK", LI, LATER)


def test_a_dispute_keeps_the_loop_from_being_done(ws: Workspace) -> None:
    loop = take_on(ws, a_candidate(ws))
    make_plan(ws, loop)
    dispute(ws, loop)
    resolve(ws, one(ws.db, Ticket, loop_id=loop, unit="DB").id, "C01", "做完了", ZHANG, LATER)
    assert (big(ws).state, big(ws).arbitration) == ("planned", True)
    assert [waits["why"] for waits in list_triage(ws)] == ["arbitration"]
    decide_loop(ws, loop, "RK", OPS, LATER)
    given = one(ws.db, Ticket, loop_id=loop, state="assigned")
    assert (given.unit, given.role, big(ws).lead) == ("RK", "participant", "DB")
    assert one(ws.db, Message, ticket_id=given.id).template == "big_loop_assigned"
    resolve(ws, given.id, "C01", "做完了", ZHANG, LATER)
    assert (big(ws).state, big(ws).arbitration) == ("watching", False)
    assert sound(ws.db)


def test_a_dispute_ends_with_its_loop(ws: Workspace) -> None:
    loop = take_on(ws, a_candidate(ws))
    dispute(ws, loop)
    end(ws, loop, "abandoned", changed=None)
    assert list_triage(ws) == []
    assert units_told(ws, "big_loop_closed") == ["DB"]
    assert sound(ws.db)


def test_a_unit_with_two_tickets_is_told_once(ws: Workspace) -> None:
    loop = take_on(ws, a_candidate(ws))
    reject(ws, one(ws.db, Ticket, loop_id=loop, unit="RK").id, "数字部也能做", "DB", LI, LATER)
    end(ws, loop, "abandoned", changed=None)
    assert units_told(ws, "big_loop_closed") == ["DB"]
    assert sound(ws.db)


def test_who_plans_for_another_unit_is_said(ws: Workspace) -> None:
    loop = take_on(ws, a_candidate(ws))
    plan(ws, loop, Plan("C01", [WHY], [ACTIONS], TARGET, SOON), LI, NOON)
    assert one(ws.db, HistoryEvent, kind=EventKind.LOOP_PLANNED).on_behalf_of == "DB"


def test_what_waits_is_listed_with_its_evidence(ws: Workspace) -> None:
    loop = a_candidate(ws, "C1", "C2", "C1")
    (waits,) = list_triage(ws)
    assert (waits["what"], waits["id"], waits["kind"]) == ("candidate", loop, "big")
    assert (waits["customers"], waits["evidence"]) == (2, {"rule": "after-update"})
    assert waits["why"] == "after-update"
    assert "transfer › app-use" in waits["words"]
    take_on(ws, loop)
    assert list_triage(ws) == []


def test_the_numbers_of_a_recurrence_are_its_evidence(ws: Workspace) -> None:
    (issue,) = sample_issues(ws.db, 1)
    body = {"reason": "14 天内 8 位客户", "recurrence": {"customers": 8, "p": 0.0001}}
    change_now(ws, replace(opening("B1", issue, kind="big"), body=body, rule="recurrence"))
    (waits,) = list_triage(ws)
    assert (waits["why"], waits["evidence"]["customers"]) == ("14 天内 8 位客户", 8)


REFUSED_TRIAGE = [
    ({"lead": "ZZ"}, "no unit 'ZZ'"),
    ({"participants": ["RK", "ZZ"]}, "no unit 'ZZ'"),
    ({"priority": "P9"}, "no priority 'P9'"),
]


@pytest.mark.parametrize(("given", "why"), REFUSED_TRIAGE)
def test_a_triage_that_names_nobody_we_know(ws: Workspace, given: dict[str, Any], why: str) -> None:
    loop = a_candidate(ws)
    asked = {"lead": None, "participants": None, "priority": None} | given
    with pytest.raises(InputError, match=why):
        triage(ws, loop, **asked, actor=OPS, now=NOON)
    assert big(ws).state == "candidate"


def test_a_candidate_without_a_suggested_lead_needs_one(ws: Workspace) -> None:
    (issue,) = sample_issues(ws.db, 1)
    change_now(ws, opening("B1", issue, kind="big", lead=None))
    with pytest.raises(InputError, match="nobody is suggested"):
        take_on(ws, "B1")


def test_a_candidate_is_taken_on_once(ws: Workspace) -> None:
    loop = take_on(ws, a_candidate(ws))
    assert not is_candidate(ws, loop)
    with pytest.raises(TransitionRefused, match="is triaged"):
        take_on(ws, loop)
    with pytest.raises(ConflictError, match="not disputed"):
        decide_loop(ws, loop, "CC", OPS, NOON)
    assert len(rows(ws.db, Ticket, loop_id=loop)) == 2


@pytest.mark.parametrize("act", [take_on, make_plan, end])
def test_a_customers_own_loop_has_none_of_this(ws: Workspace, act: Any) -> None:
    loop = a_loop(ws, customer="C1").id
    with pytest.raises(TransitionRefused):
        act(ws, loop)
    assert one(ws.db, Loop).state == "open"


REFUSED_PLANS = [
    ({"cause": "C99"}, "no cause code 'C99'"),
    ({"whys": [" "]}, "words for its why"),
    ({"whys": []}, "words for its why"),
    ({"whys": [WHY, WHY]}, "the same why stands twice"),
    ({"whys": [f"{WHY}{n}" for n in range(11)]}, "at most 10"),
    ({"actions": []}, "words for its actions"),
    ({"actions": [ACTIONS, ""]}, "words for its actions"),
    ({"target": ""}, "words for its target"),
    ({"by": date(2026, 8, 2)}, "2026-08-02 is past"),
    ({"sponsor": "nobody"}, "'nobody' cannot be the sponsor"),
    ({"sponsor": "db.zhang"}, "'db.zhang' cannot be the sponsor"),
    ({"target_percent": 0}, "0 per cent"),
    ({"target_percent": 101}, "101 per cent"),
    ({"baseline_days": 27}, "a baseline of 27 days"),
    ({"baseline_days": 366}, "a baseline of 366 days"),
    ({"comparison": "nothing"}, "no topic 'nothing'"),
    ({"comparison": "login/nowhere"}, "no touchpoint 'nowhere'"),
    ({"comparison": "transfer/app-use"}, "compared with itself"),
    ({"changed": " "}, "told what changed"),
]


@pytest.mark.parametrize(("other", "why"), REFUSED_PLANS)
def test_a_plan_that_says_too_little(ws: Workspace, other: dict[str, Any], why: str) -> None:
    loop = take_on(ws, a_candidate(ws))
    with pytest.raises(InputError, match=why):
        make_plan(ws, loop, **other)
    assert big(ws).state == "triaged"


def test_today_is_a_local_day(ws: Workspace) -> None:
    """At noon in Shanghai it is the third; an hour past midnight there, the fourth."""
    loop = take_on(ws, a_candidate(ws))
    with pytest.raises(InputError, match="is past"):
        plan(ws, loop, Plan("C01", "a", "b", "c", date(2026, 8, 3)), ZHANG, NOON + 13 * HOUR)
    make_plan(ws, loop, by=date(2026, 8, 3))


def test_nothing_is_planned_or_solved_too_early(ws: Workspace) -> None:
    loop = a_candidate(ws)
    with pytest.raises(TransitionRefused, match="is candidate"):
        make_plan(ws, loop)
    take_on(ws, loop)
    ticket = rows(ws.db, Ticket, loop_id=loop)[0].id
    accept(ws, ticket, ZHANG, NOON)
    with pytest.raises(TransitionRefused, match=r"is triaged: no ticket\.resolved"):
        resolve(ws, ticket, "C01", "做完了", ZHANG, NOON)
    make_plan(ws, loop)
    with pytest.raises(TransitionRefused, match="is acting"):
        make_plan(ws, loop)
    assert sound(ws.db)


Refused = list[tuple[str, dict[str, Any], type[Exception], str]]
REFUSED_ENDS: Refused = [
    ("proven", {}, TransitionRefused, "nothing measured proves|cannot close as 'proven'"),
    ("verified", {}, InputError, "no outcome 'verified'"),
    ("merged", {}, InputError, "no outcome 'merged'"),
    ("not proven", {"reason": " "}, InputError, "needs a reason"),
]
REFUSED_WATCHED: Refused = [
    ("not proven", {"changed": None}, InputError, "must be told what changed"),
    ("abandoned", {"changed": " "}, InputError, "must be told what changed"),
]
REFUSED_ACTING: Refused = [("not proven", {}, TransitionRefused, "that is acting cannot close")]


@pytest.mark.parametrize(("outcome", "other", "error", "why"), REFUSED_ENDS + REFUSED_WATCHED)
def test_how_a_watched_loop_cannot_end(
    ws: Workspace, outcome: str, other: dict[str, Any], error: type[Exception], why: str
) -> None:
    loop = watched(ws)
    with pytest.raises(error, match=why):
        end(ws, loop, outcome, **other)
    assert big(ws).state == "watching"
    assert told(ws) == []


@pytest.mark.parametrize(("outcome", "other", "error", "why"), REFUSED_ENDS + REFUSED_ACTING)
def test_how_a_loop_in_work_cannot_end(
    ws: Workspace, outcome: str, other: dict[str, Any], error: type[Exception], why: str
) -> None:
    loop = take_on(ws, a_candidate(ws))
    make_plan(ws, loop)
    accept(ws, rows(ws.db, Ticket, loop_id=loop)[0].id, ZHANG, NOON)
    with pytest.raises(error, match=why):
        end(ws, loop, outcome, **other)
    assert big(ws).state == "acting"
    assert told(ws) == []


def test_a_loop_ends_once(ws: Workspace) -> None:
    loop = watched(ws)
    end(ws, loop)
    before = len(rows(ws.db, Message))
    with pytest.raises(TransitionRefused, match="is closed"):
        end(ws, loop, "abandoned")
    assert len(rows(ws.db, Message)) == before
    assert sound(ws.db)


def test_of_an_abandoned_candidate_nobody_hears(ws: Workspace) -> None:
    loop = a_candidate(ws)
    with pytest.raises(InputError, match="nothing has changed"):
        end(ws, loop, "abandoned")
    assert end(ws, loop, "abandoned", changed=None) == Closed(loop)
    assert told(ws) == []
    assert units_told(ws, "big_loop_closed") == []
    assert sound(ws.db)


@pytest.mark.parametrize("changed", [None, CHANGED])
def test_of_an_abandoned_loop_customers_hear_what_changed(
    ws: Workspace, changed: str | None
) -> None:
    loop = take_on(ws, a_candidate(ws))
    assert end(ws, loop, "abandoned", changed=changed).told == (2 if changed else 0)
    assert units_told(ws, "big_loop_closed") == ["DB", "RK"]
    assert len(told(ws)) == (2 if changed else 0)
    assert sound(ws.db)


def test_what_a_customer_is_told_of(ws: Workspace) -> None:
    loop = watched(ws, "C1")
    end(ws, loop)
    letter, (small,) = one(ws.db, Message, template="cause_closed"), smalls(ws)
    assert (letter.loop_id, letter.unit, letter.channel) == (small.id, small.lead, "customer")
    assert letter.values == {"big": loop}
    assert (letter.state, letter.due_at) == ("queued", LATER + DAY)


def test_each_customer_is_told_once(ws: Workspace) -> None:
    """C1 took a complaint back and, long after, complained again: two loops, one customer."""
    take_in(ws, *said("C1"))
    first = smalls(ws)[0].id
    withdraw(ws, first)
    long_after = NOON + 60 * DAY
    take_in(ws, *said("C1", received=long_after.isoformat()), now=long_after)
    assert len(smalls(ws)) == len(rows(ws.db, LoopLink)) == 2
    loop = take_on(ws, big(ws).id)
    assert end(ws, loop, "abandoned").told == 1
    assert told(ws) == [first]


def test_who_was_unlinked_is_told_nothing(ws: Workspace) -> None:
    loop = watched(ws, "C1", "C2", "C3")
    gone = small_of(ws, 1)
    unlink(ws, gone, loop, OPS, LATER)
    assert end(ws, loop).told == 2
    assert gone not in told(ws)
    assert sound(ws.db)


def test_a_merged_loop_is_followed_to_the_one_that_goes_on(ws: Workspace) -> None:
    loop = watched(ws, "C1", "C2")
    first, second = small_of(ws, 0), small_of(ws, 1)
    take_in(ws, {"text": FEE, "customer": "C3", "mail": "c3@mail.example"})
    (third,) = {s.id for s in smalls(ws)} - {first, second}
    merge(ws, first, second, OPS, LATER)
    merge(ws, second, third, OPS, LATER)
    assert end(ws, loop).told == 1
    assert told(ws) == [third]
    assert sound(ws.db)


def test_only_who_can_be_written_to_is_written_to(ws: Workspace) -> None:
    """C2 left no address, so is to be called; of somebody unknown nothing can be done at all."""
    take_in(ws, *said("C1"), *said("C2", mail=False), {"text": UPDATE})
    assert len(rows(ws.db, LoopLink)) == 3
    loop = take_on(ws, big(ws).id)
    assert end(ws, loop, "abandoned") == Closed(loop, told=1, to_call=1)
    assert len(told(ws)) == 1
    script = to_call(ws)[0]
    small = one(ws.db, Loop, id=script.loop_id)
    assert small.customer_id not in {one(ws.db, Loop, id=t).customer_id for t in told(ws)}
    assert (script.key, script.values) == (
        f"cause_closed_call:{loop}:{small.id}",
        {"big": loop},
    )
    assert (script.unit, script.channel, script.state) == (small.lead, "main", "queued")
    assert script.due_at == LATER + DAY
    assert sound(ws.db)


def test_who_no_unit_leads_for_is_called_by_operations(ws: Workspace) -> None:
    take_in(ws, {"text": FEE, "customer": "C1"})
    who, (issue, other) = smalls(ws)[0].customer_id, sample_issues(ws.db, 2)
    link = Change("B1", EventKind.LOOP_LINKED, {"small": "S1", "relation": "same_cause"})
    mine = opening("S1", other, who, state="triage", lead=None, topic="crash")
    change_now(ws, mine, opening("B1", issue, kind="big"), link)
    take_on(ws, "B1")
    assert end(ws, "B1", "abandoned") == Closed("B1", to_call=1)
    assert to_call(ws)[0].unit == "CX"


def test_who_was_told_one_way_is_not_told_the_other(ws: Workspace) -> None:
    """C1 refuses mail after the letter, C2 leaves an address after the call."""
    take_in(ws, *said("C1"), *said("C2", mail=False))
    loop = take_on(ws, big(ws).id)
    assert end(ws, loop, "abandoned") == Closed(loop, told=1, to_call=1)
    (written,), (called,) = told(ws), to_call(ws)
    refuse(ws, one(ws.db, Loop, id=written).customer_id, call=True)
    take_in(ws, *said("C2"), now=LATER + 2 * DAY)
    with ws.db.read() as tx:
        now = ways(tx, ws, [written, called.loop_id], LATER + 2 * DAY)
        again = tell_customers(tx, ws, loop, LATER + 90 * DAY)
    assert now == {written: Way.CALL, called.loop_id: Way.MAIL}
    assert again == Telling()


def test_where_all_are_called_words_are_told_once(ws: Workspace) -> None:
    take_in(ws, *said("C1", mail=False), *said("C2", mail=False))
    loop = take_on(ws, big(ws).id)
    assert end(ws, loop, "abandoned") == Closed(loop, to_call=2)
    with pytest.raises(InputError, match="have been told"):
        describe(ws, loop, "又一种说法", OPS, LATER + 3 * DAY)


def test_who_is_linked_while_it_closes_is_told_too(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, late = watched(ws, "C1"), iter(["C2"])

    def slowly(*given: Any) -> Any:
        for customer in late:
            take_in(ws, *said(customer))
        return ways(*given)

    monkeypatch.setattr(tell_changed, "ways", slowly)
    assert end(ws, loop).told == 2
    assert len(told(ws)) == 2
    assert sound(ws.db)


def test_thousands_are_told_by_one_event(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tell_changed, "PIECE", 400)
    loop = watched(ws, *(f"C{n}" for n in range(1000)))
    size = len(rows(ws.db, HistoryEvent))
    assert end(ws, loop) == Closed(loop, told=1000)
    assert len(rows(ws.db, HistoryEvent)) == size + 1
    assert sorted(told(ws)) == sorted(s.id for s in smalls(ws))
    assert sound(ws.db)


def test_the_same_cause_after_closing_is_a_new_candidate(ws: Workspace) -> None:
    closed = watched(ws)
    end(ws, closed)
    take_in(ws, *said("C9"), now=LATER + 2 * DAY)
    assert one(ws.db, Loop, id=closed).state == "closed"
    again = one(ws.db, Loop, kind="big", state="candidate")
    assert len(rows(ws.db, LoopLink, big_id=again.id)) == 1
    assert ticket_of(ws, closed).state == "done"
    assert sound(ws.db)


def test_a_plan_settles_what_it_will_be_measured_by(ws: Workspace) -> None:
    """The words came on 3 August, the window before it began on 20 July: the past ends there."""
    loop = take_on(ws, a_candidate(ws))
    wanted = {"sponsor": "ho.chief", "target_percent": 40, "baseline_days": 56}
    make_plan(ws, loop, comparison="login", changed=CHANGED, whys=[WHY, "没有人负责"], **wanted)
    row = big(ws)
    assert (row.sponsor, row.target_percent, row.comparison) == ("ho.chief", 40, "login/app-login")
    assert (row.baseline_from, row.baseline_to) == (date(2026, 5, 25), date(2026, 7, 19))
    assert body_of(ws, EventKind.LOOP_PLANNED)["whys"] == [WHY, "没有人负责"]
    shown = show_loop(ws, loop)["plan"]
    assert (shown["whys"], shown["changed"]) == ([WHY, "没有人负责"], CHANGED)


def test_a_plan_measures_against_as_long_as_is_watched(ws: Workspace) -> None:
    make_plan(ws, take_on(ws, a_candidate(ws)))
    assert (big(ws).baseline_to - big(ws).baseline_from).days == 89


def with_rules(ws: Workspace, **rules: Any) -> Workspace:
    lines = "".join(f"{name}: {value}\n" for name, value in rules.items())
    publish(ws.db, documents(policy=document("policy") + lines), OPS, NOON)
    return Workspace(ws.settings, ws.db, run="test-run")


def test_no_more_big_loops_at_once_than_the_policy_allows(ws: Workspace) -> None:
    ws = with_rules(ws, big_loops_at_once=1)
    (issue, other) = sample_issues(ws.db, 2)
    change_now(
        ws, opening("B1", issue, kind="big"), opening("B2", other, kind="big", topic="crash")
    )
    take_on(ws, "B1")
    with pytest.raises(InputError, match="1 big loops are being worked on, the policy allows 1"):
        take_on(ws, "B2")
    triage(ws, "B2", None, None, None, OPS, NOON, over_limit=True)
    assert {b.state for b in rows(ws.db, Loop, kind="big")} == {"triaged"}


def test_what_is_watched_leaves_room_for_another(ws: Workspace) -> None:
    ws = with_rules(ws, big_loops_at_once=1)
    watched(ws)
    (issue,) = sample_issues(ws.db, 1)
    change_now(ws, opening("B1", issue, kind="big"))
    assert take_on(ws, "B1") == "B1"


def test_what_changed_may_be_written_before(ws: Workspace) -> None:
    """In the plan, or by whoever knows since; the newest words count."""
    loop = take_on(ws, a_candidate(ws))
    make_plan(ws, loop, changed="计划中的话")
    finish(ws, loop)
    assert describe(ws, loop, CHANGED, ZHANG, LATER) == Closed(loop)
    assert end(ws, loop, changed=None).told == 2
    assert body_of(ws, EventKind.LOOP_CLOSED)["changed"] == CHANGED
    assert one(ws.db, HistoryEvent, kind=EventKind.LOOP_CHANGE_DESCRIBED).data == "{}"
    assert sound(ws.db)


def test_of_what_is_abandoned_the_plans_words_are_not_told(ws: Workspace) -> None:
    loop = take_on(ws, a_candidate(ws))
    make_plan(ws, loop, changed=CHANGED)
    assert end(ws, loop, "abandoned", changed=None).told == 0


def test_what_changed_may_be_written_after(ws: Workspace) -> None:
    loop = take_on(ws, a_candidate(ws))
    end(ws, loop, "abandoned", changed=None)
    assert describe(ws, loop, CHANGED, OPS, LATER + 2 * DAY).told == 2
    assert len(told(ws)) == 2
    with pytest.raises(InputError, match="have been told"):
        describe(ws, loop, "又一种说法", OPS, LATER + 3 * DAY)
    with pytest.raises(InputError, match="must be told what changed"):
        describe(ws, loop, " ", OPS, LATER)


def test_nothing_is_written_of_a_candidate_or_a_customers_own_loop(ws: Workspace) -> None:
    loop = a_candidate(ws, "C1")
    for other in (loop, smalls(ws)[0].id):
        with pytest.raises(TransitionRefused):
            describe(ws, other, CHANGED, OPS, LATER)


def test_who_was_asked_lately_is_told_later(ws: Workspace) -> None:
    """C1 was asked about their own loop the day before the big one closed: the week's gap counts
    from there; C2 hears at once."""
    loop = watched(ws, "C1", "C2")
    first = small_of(ws, 0)
    for ticket in rows(ws.db, Ticket, loop_id=first):
        resolve(ws, ticket.id, "C01", "做完了", ZHANG, LATER)
    ask(ws, LATER)
    assert end(ws, loop) == Closed(loop, told=2, later=1)
    due = {m.loop_id: m.due_at for m in rows(ws.db, Message, template="cause_closed")}
    assert due == {first: LATER + 7 * DAY, small_of(ws, 1): LATER + DAY}


def test_who_is_told_of_one_cause_hears_of_another_later(ws: Workspace) -> None:
    first = watched(ws, "C1")
    end(ws, first)
    (small,), (issue,) = smalls(ws), sample_issues(ws.db, 1)
    link = Change("B2", EventKind.LOOP_LINKED, {"small": small.id, "relation": "same_cause"})
    change_now(ws, opening("B2", issue, kind="big", topic="crash"), link)
    take_on(ws, "B2")
    assert close(ws, "B2", "abandoned", REASON, CHANGED, OPS, LATER + 3 * DAY).later == 1
    due = [m.due_at for m in rows(ws.db, Message, template="cause_closed")]
    assert sorted(due) == [LATER + DAY, LATER + 8 * DAY]


def test_a_call_that_waits_is_a_contact(ws: Workspace) -> None:
    take_in(ws, *said("C1", mail=False))
    end(ws, take_on(ws, big(ws).id), "abandoned")
    (small,), (issue,) = smalls(ws), sample_issues(ws.db, 1)
    link = Change("B2", EventKind.LOOP_LINKED, {"small": small.id, "relation": "same_cause"})
    change_now(ws, opening("B2", issue, kind="big", topic="crash"), link)
    take_on(ws, "B2")
    done = close(ws, "B2", "abandoned", REASON, CHANGED, OPS, LATER + 3 * DAY)
    assert done == Closed("B2", later=1, to_call=1)
    assert sorted(m.due_at for m in to_call(ws)) == [LATER + DAY, LATER + 8 * DAY]


def test_the_call_is_recorded_of_a_loop_that_was_closed(ws: Workspace) -> None:
    take_in(ws, *said("C1", mail=False))
    (small,) = smalls(ws)
    withdraw(ws, small.id)
    end(ws, take_on(ws, big(ws).id), "abandoned")
    asyncio.run(deliver_lease(ws, LATER + 2 * DAY))
    (script,) = to_call(ws)
    assert (script.loop_id, script.state) == (small.id, "sent")
    tell_customer(ws, small.id, Told.CHANGE, How.CALL, "通话 8841", ZHANG, LATER + 3 * DAY)
    assert events(ws, small.id)[-1].kind == EventKind.LOOP_CUSTOMER_TOLD
    assert sound(ws.db)


def test_opted_out_customers_are_told_nothing(ws: Workspace) -> None:
    loop = watched(ws, "C1", "C2")
    customer = one(ws.db, Loop, id=small_of(ws, 0)).customer_id
    refuse(ws, customer)
    assert end(ws, loop) == Closed(loop, told=1)
    assert told(ws) == [small_of(ws, 1)]


def refuse(ws: Workspace, customer: str, *, call: bool = False) -> None:
    """The customer wants no mail, and no calls but where `call`."""
    raw = rows(ws.db, RawItem)[0].id
    consent = {"mail": False, "call": call}
    with ws.db.begin() as tx:
        tx.execute(
            insert(table(CustomerSnapshot)).values(
                id=raw, customer_id=customer, consent=consent, valid_from=NOON
            )
        )


def test_the_templates_version_stands_on_the_record(ws: Workspace) -> None:
    loop = watched(ws, "C1")
    end(ws, loop)
    asyncio.run(deliver_lease(ws, LATER + 2 * DAY))
    message = one(ws.db, Message, template="cause_closed")
    version = next(t.version for t in ws.published.documents.templates if t.id == "cause_closed")
    assert one(ws.db, Delivery, message_id=message.id).template_version == version
    (shown,) = [m for m in show_loop(ws, message.loop_id)["messages"] if m["id"] == message.id]
    assert (shown["state"], shown["template_version"]) == ("sent", version)
    sent = [e for e in rows(ws.db, HistoryEvent, kind="message.sent") if message.id in e.data]
    assert [e.template_version for e in sent] == [f"cause_closed@{version}"]
