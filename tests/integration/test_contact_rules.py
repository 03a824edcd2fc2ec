"""Who is asked, when, and who is not: not too often, and nobody left out without a coded reason."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import product
from typing import Any

import pytest
from sqlalchemy import update

from models.base import table
from models.customer import Customer
from models.history import HistoryEvent
from models.kinds import Answer, CallOutcome, EventKind, Unverified
from models.loop import Loop
from models.ticket import Ticket
from models.verification import Verification
from policy.verify import ask_from
from tasks.documents.publish import publish
from tasks.tickets.hand_off import resolve
from tasks.verification import verify
from tasks.verification.answers import answer
from tasks.verification.call_backs import called
from tasks.verification.reach import ways
from tasks.verification.verify import ask
from tasks.workspace import Workspace
from tests.cast import (
    DAY,
    FEE,
    HOUR,
    LI,
    NOON,
    OPS,
    ZHANG,
    a_loop,
    document,
    documents,
    one,
    rows,
    sound,
    take_in,
    ticket_of,
)
from tests.integration.test_reach import HERS, know, with_consent
from tests.integration.test_verification import (
    ADDRESS,
    PHONE,
    SILENCE,
    asked,
    at_once,
    deliver,
    last,
    many,
    solved,
    state,
    sweep,
)

GAP = 7 * DAY


def fee_solved(ws: Workspace, **item: Any) -> str:
    """Another loop of the same customer, resolved."""
    loop = str(a_loop(ws, FEE, **(item or ADDRESS)).id)
    resolve(ws, ticket_of(ws, loop).id, "C01", "已退年费", LI, NOON)
    return loop


def ask_at(ws: Workspace, loop: str) -> datetime | None:
    found: datetime | None = one(ws.db, Loop, id=loop).ask_at
    return found


def test_who_was_asked_about_another_loop_is_asked_after_the_gap(ws: Workspace) -> None:
    asked(ws)
    fee = fee_solved(ws)
    assert sweep(ws, NOON + HOUR) == {"postponed": 1}
    assert (state(ws, fee)[0], ask_at(ws, fee)) == ("resolved", NOON + GAP)
    data = {"until": (NOON + GAP).isoformat(), "why": "asked recently"}
    assert last(ws, fee) == ("verification.postponed", data)
    assert not sweep(ws, NOON + GAP - HOUR)
    deliver(ws)
    assert sweep(ws, NOON + GAP)["mailed"] == 1
    assert ask_at(ws, fee) is None
    assert sound(ws.db)


def test_of_two_resolved_at_once_one_waits(ws: Workspace) -> None:
    first, second = solved(ws, **ADDRESS), fee_solved(ws)
    assert sweep(ws) == {"mailed": 1, "postponed": 1}
    assert {state(ws, loop)[0] for loop in (first, second)} == {"verifying", "resolved"}
    assert sound(ws.db)


def test_the_law_comes_before_the_gap(ws: Workspace) -> None:
    """The question tells the decision: it goes a day before the law's clock runs out."""
    fee = str(a_loop(ws, FEE, **ADDRESS).id)
    legal = datetime.fromisoformat("2026-08-18T16:00:00+00:00")
    loop = str(a_loop(ws, **ADDRESS).id)
    late = legal - 3 * DAY
    resolve(ws, ticket_of(ws, loop).id, "C01", "已重置密码", ZHANG, late)
    assert sweep(ws, late)["mailed"] == 1
    resolve(ws, ticket_of(ws, fee).id, "C01", "已退年费", LI, late)
    assert sweep(ws, late) == {"postponed": 1}
    assert ask_at(ws, fee) == legal - DAY
    assert sound(ws.db)


@pytest.mark.parametrize(
    ("contacted", "tell_by", "expected"),
    [
        (None, None, NOON),
        (None, NOON - DAY, NOON),
        (NOON - GAP, None, NOON),
        (NOON - GAP + HOUR, None, NOON + HOUR),
        (NOON, None, NOON + GAP),
        (NOON, NOON + 20 * DAY, NOON + GAP),
        (NOON, NOON + 3 * DAY, NOON + 2 * DAY),
        (NOON, NOON + HOUR, NOON),
        (NOON, NOON - DAY, NOON),
    ],
)
def test_when_a_customer_may_be_asked(
    contacted: datetime | None, tell_by: datetime | None, expected: datetime
) -> None:
    assert ask_from(NOON, contacted, GAP, tell_by) == expected


def test_the_same_loop_is_asked_about_again_at_once(ws: Workspace) -> None:
    """Between its two questions lies what the customer said."""
    loop = asked(ws)
    answer(ws, loop, Answer.NO, "", OPS, NOON + HOUR)
    resolve(ws, one(ws.db, Ticket).id, "C01", "再次处理", ZHANG, NOON + 2 * HOUR)
    assert sweep(ws, NOON + 2 * HOUR) == {"mailed": 1}
    assert len(rows(ws.db, Verification)) == 2
    assert sound(ws.db)


def test_an_answered_or_failed_call_counts_and_one_to_be_made_does_not(ws: Workspace) -> None:
    first, second = asked(ws, **PHONE), fee_solved(ws, **PHONE)
    assert sweep(ws, NOON + HOUR) == {"calls": 1}, "one call settles both"
    answer(ws, first, Answer.YES, "", ZHANG, NOON + HOUR)
    answer(ws, second, Answer.YES, "", ZHANG, NOON + HOUR)
    third = str(a_loop(ws, "转账失败，要求赔偿", **PHONE).id)
    resolve(ws, ticket_of(ws, third).id, "C01", "已入账", ZHANG, NOON + DAY)
    assert sweep(ws, NOON + DAY) == {"postponed": 1}
    assert ask_at(ws, third) == NOON + HOUR + GAP
    assert sound(ws.db)


def test_no_gap_no_waiting(ws: Workspace) -> None:
    publish(ws.db, documents(policy=with_rule("contact_gap_days: 0")), OPS, NOON)
    ws = Workspace(ws.settings, ws.db)
    solved(ws, **ADDRESS)
    fee_solved(ws)
    assert sweep(ws) == {"mailed": 2}


def with_rule(rule: str) -> str:
    return document("policy").replace("silence_days: 7", f"silence_days: 7\n{rule}")


def test_one_contact_only_where_the_policy_says_so(ws: Workspace) -> None:
    publish(ws.db, documents(policy=with_rule("contacts: 1")), OPS, NOON)
    ws = Workspace(ws.settings, ws.db)
    loop = asked(ws)
    assert sweep(ws, NOON + SILENCE) == {"silent": 1}
    assert state(ws, loop)[1] == "unverified"


def test_the_gap_holds_for_who_turned_out_to_be_one_customer(ws: Workspace) -> None:
    asked(ws, mail=HERS)
    fee = fee_solved(ws, customer="C1")
    people = {row.customer_id for row in rows(ws.db, Loop)}
    assert len(people) == 2
    with ws.db.begin() as tx:
        one_of, other = sorted(people)
        kept = table(Customer)
        tx.execute(update(kept).where(kept.c.id == one_of).values(merged_into=other))
    assert sweep(ws, NOON + HOUR) == {"postponed": 1}
    assert state(ws, fee)[0] == "resolved"


def test_two_workers_do_not_ask_one_customer_about_two_loops(
    ws: Workspace, another: Callable[[], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "SET", 1)
    for n in range(6):
        item = {"customer": f"K{n}", "mail": f"k{n}@mail.example"}
        solved(ws, **item)
        fee_solved(ws, **item)
    at_once(lambda space: ask(space, NOON), another(), another())
    ask(ws, NOON)
    assert len(rows(ws.db, Verification)) == 6
    assert len(rows(ws.db, HistoryEvent, kind=EventKind.VERIFICATION_POSTPONED)) == 6
    assert sound(ws.db)


def test_a_customer_whom_another_worker_asks_is_left_to_it(
    ws: Workspace, another: Callable[[], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    if ws.db.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    monkeypatch.setattr(verify, "SET", 1)
    solved(ws, **ADDRESS)
    fee_solved(ws)
    other, meanwhile = another(), list[Any]()

    def slow(*arguments: Any) -> Any:
        if not meanwhile:
            meanwhile.append(verify.ask_set(other, NOON))
        return ways(*arguments)

    monkeypatch.setattr(verify, "ways", slow)
    counts = ask(ws, NOON)
    assert meanwhile == [None]
    assert (counts.mailed, counts.postponed) == (1, 1)
    assert sound(ws.db)


CONSENT = {"ok_mail": ("yes", "no"), "ok_call": ("yes", "no"), "mail": (HERS, "")}
WHYS = {why.value for why in Unverified}


@pytest.mark.parametrize("mood", ["太差", "还可以"])
def test_nobody_can_leave_out_the_unhappy(ws: Workspace, mood: str) -> None:
    """Whatever is known of a customer: asked, waiting to be, or a coded reason."""
    publish(ws.db, with_consent(), OPS, NOON)
    ws = Workspace(ws.settings, ws.db)
    for n, known in enumerate(product(*CONSENT.values())):
        customer = f"N{n}"
        take_in(ws, {"text": f"登录不了，{mood}", "customer": customer})
        said = dict(zip(CONSENT, known, strict=True))
        mail = said["mail"] and f"n{n}@mail.example"
        know(ws, **(said | {"number": customer, "mail": mail}))
    take_in(ws, {"text": "登录不了，太差"})
    loops = [row.id for row in rows(ws.db, Loop, kind="small")]
    for loop in loops:
        resolve(ws, ticket_of(ws, loop).id, "C01", "已重置密码", ZHANG, NOON)
    ask(ws, NOON)
    assert rows(ws.db, Loop, state="resolved") == []
    check_each_is_accounted_for(ws, loops)
    deliver(ws)
    now = NOON
    for _ in range(6):
        now += timedelta(days=8)
        sweep(ws, now)
        deliver(ws, now)
        for question in rows(ws.db, Verification):
            if question.call_at is not None and question.call_at <= now:
                called(ws, question.loop_id, CallOutcome.NO_ANSWER, "", ZHANG, now)
    assert {row.state for row in rows(ws.db, Loop, kind="small")} == {"closed"}
    check_each_is_accounted_for(ws, loops)
    assert sound(ws.db)


def check_each_is_accounted_for(ws: Workspace, loops: list[str]) -> None:
    questions = {row.loop_id for row in rows(ws.db, Verification)}
    closings = {
        event.loop_id: json.loads(event.data)["why"]
        for event in rows(ws.db, HistoryEvent, kind=EventKind.LOOP_CLOSED)
    }
    assert questions | closings.keys() == set(loops)
    assert set(closings.values()) <= WHYS
    unasked = {closings[loop] for loop in set(loops) - questions}
    assert unasked <= {"opted out", "unreachable"}


def test_verified_is_counted_apart(ws: Workspace) -> None:
    loops = many(ws, 3)
    ask(ws, NOON)
    deliver(ws)
    answer(ws, loops[0], Answer.YES, "", OPS, NOON + HOUR)
    sweep(ws, NOON + SILENCE)
    deliver(ws, NOON + SILENCE)
    sweep(ws, NOON + 2 * SILENCE)
    assert [state(ws, loop)[1] for loop in loops] == ["verified", "unverified", "unverified"]
