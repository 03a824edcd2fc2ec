"""Is it solved? Customers are asked once, their answer or silence ends the loop or reopens it."""

import asyncio
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from email import message_from_bytes
from email.message import Message as Mail
from functools import partial
from itertools import count
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import insert, literal, select, update

from loopwright.errors import ConflictError, InputError, TransitionRefused
from models.base import table
from models.clock import Clock
from models.feedback import RawItem
from models.history import EventBody, HistoryEvent
from models.kinds import Answer, Channel, EventKind, How, Told
from models.loop import Loop
from models.message import Message
from models.ticket import Ticket
from models.verification import Verification
from tasks.change import change
from tasks.documents.publish import publish
from tasks.look import show_loop
from tasks.merge import merge
from tasks.sweeps import deliver_messages, verify_resolutions, waiting
from tasks.tickets.hand_off import resolve
from tasks.verification import answers as tasks_answers
from tasks.verification import verify
from tasks.verification.answers import Said, answer, answers
from tasks.verification.reach import ways
from tasks.verification.tell import tell_customer
from tasks.verification.verify import ask, follow_up
from tasks.workspace import Workspace
from tests.cast import (
    DAY,
    FEE,
    HOUR,
    LI,
    LOGIN,
    NOON,
    OPS,
    UPDATE,
    ZHANG,
    a_loop,
    document,
    documents,
    number_of,
    one,
    open_some,
    rows,
    sound,
    take_in,
    ticket_of,
    withdraw,
)
from tests.integration.test_reach import HERS, know, with_consent

LATER = NOON + HOUR
SILENCE = 7 * DAY
END = NOON + 2 * SILENCE
"""The end of a silence that began at noon."""
MOMENT = timedelta(microseconds=1)
ADDRESS = {"customer": "C1", "mail": HERS}
PHONE = {"customer": "C1"}
WORDS = "还是登录不了，电话13900000001"


def solved(ws: Workspace, text: str = LOGIN, **item: str) -> str:
    """A loop whose department says at noon that it is put right."""
    loop = str(a_loop(ws, text, **item).id)
    resolve(ws, ticket_of(ws, loop).id, "C01", "已重置密码", ZHANG, NOON)
    return loop


def asked(ws: Workspace, text: str = LOGIN, **item: str) -> str:
    """A loop whose customer was asked at noon, and got the question where it was a mail."""
    loop = solved(ws, text, **(item or ADDRESS))
    ask(ws, NOON)
    deliver(ws)
    return loop


def deliver(ws: Workspace, now: datetime = NOON) -> None:
    asyncio.run(deliver_messages(ws, lambda: now))


def sweep(ws: Workspace, now: datetime = NOON) -> dict[str, int]:
    """What the sweep did."""
    counts = asyncio.run(verify_resolutions(ws, lambda: now))
    return {name: number for name, number in counts.items() if number}


def fall_silent(ws: Workspace) -> None:
    """Asked twice, to no avail."""
    follow_up(ws, NOON + SILENCE)
    deliver(ws, NOON + SILENCE)
    follow_up(ws, END)


def state(ws: Workspace, loop: str) -> tuple[str, str | None, datetime | None]:
    row = one(ws.db, Loop, id=loop)
    return row.state, row.outcome, row.closed_at


def running(ws: Workspace, loop: str) -> set[str]:
    return {c.spec for c in rows(ws.db, Clock, loop_id=loop) if c.stopped_at is None}


def last(ws: Workspace, loop: str) -> Any:
    event = max(rows(ws.db, HistoryEvent, loop_id=loop), key=lambda e: e.loop_seq)
    return event.kind, json.loads(event.data)


def test_a_customer_with_an_address_is_asked_by_mail(ws: Workspace) -> None:
    loop = solved(ws, **ADDRESS)
    assert waiting(ws, NOON)["questions"] == 1
    assert sweep(ws) == {"mailed": 1}
    assert state(ws, loop) == ("verifying", None, None)
    question = one(ws.db, Verification)
    assert (question.loop_id, question.via, question.answer) == (loop, "mail", None)
    assert (question.asked_at, question.due_at) == (NOON, NOON + SILENCE)
    message = one(ws.db, Message, template="verification_question")
    assert (message.channel, message.unit, message.loop_id) == (Channel.CUSTOMER, "DB", loop)
    assert message.key == f"verification_question:{question.id}"
    assert sound(ws.db)


def test_a_customer_without_one_is_called_by_the_department(ws: Workspace) -> None:
    loop = solved(ws, **PHONE)
    assert sweep(ws) == {"calls": 1}
    assert state(ws, loop)[0] == "verifying"
    assert one(ws.db, Verification).via == "call"
    message = one(ws.db, Message, template="verification_call")
    assert (message.channel, message.unit, message.person) == (Channel.MAIN, "DB", None)
    assert sound(ws.db)


def test_a_question_tells_its_customer_when_it_is_sent(ws: Workspace) -> None:
    loop = solved(ws, **ADDRESS)
    ask(ws, LATER)
    assert running(ws, loop) == {"legal", "customer"}, "queued is not told"
    deliver(ws, LATER + HOUR)
    assert running(ws, loop) == set()
    told = one(ws.db, HistoryEvent, kind=EventKind.LOOP_CUSTOMER_TOLD)
    message = one(ws.db, Message, template="verification_question")
    said = {"what": "decision", "how": "message", "message": message.key}
    assert (json.loads(told.data), told.actor_type) == (said, "system")
    assert (told.at, told.policy_version) == (LATER + HOUR, "1")
    deliver(ws, LATER + DAY)
    assert len(rows(ws.db, HistoryEvent, kind=EventKind.LOOP_CUSTOMER_TOLD)) == 1
    assert sound(ws.db)


def test_a_call_is_still_to_be_made(ws: Workspace) -> None:
    loop = asked(ws, **PHONE)
    assert running(ws, loop) == {"legal", "customer"}
    answer(ws, loop, Answer.NO, "", ZHANG, LATER)
    assert running(ws, loop) == {"owner"}, "who answers has been told"
    assert sound(ws.db)


def test_a_quarantined_question_tells_nobody(ws: Workspace) -> None:
    loop = solved(ws, **ADDRESS)
    ask(ws, NOON)
    forget_addresses(ws)
    deliver(ws)
    assert one(ws.db, Message, template="verification_question").state == "quarantined"
    assert running(ws, loop) == {"legal", "customer"}
    assert not rows(ws.db, HistoryEvent, kind=EventKind.LOOP_CUSTOMER_TOLD)
    assert sweep(ws, NOON + SILENCE) == {"reminded": 1}
    question = one(ws.db, Verification)
    assert (question.via, question.call_at) == ("call", NOON + SILENCE), "mail did not reach them"
    assert one(ws.db, Message, template="verification_call").unit == "DB"
    assert sound(ws.db)


@pytest.mark.breaks_history
def test_a_mailbox_that_took_nothing_is_not_written_to_again(ws: Workspace) -> None:
    loop = solved(ws, **ADDRESS)
    ask(ws, NOON)
    with ws.db.begin() as tx:
        tx.execute(update(table(Message)).values(state="quarantined"))
    assert sweep(ws, NOON + SILENCE) == {"reminded": 1}
    assert one(ws.db, Verification).via == "call"
    assert len(rows(ws.db, Message, template="verification_question")) == 1
    assert state(ws, loop)[0] == "verifying"


def forget_addresses(ws: Workspace) -> None:
    with ws.db.begin() as tx:
        tx.execute(update(table(RawItem)).values(payload="{}"))


def test_of_a_loop_closed_meanwhile_nothing_follows(ws: Workspace) -> None:
    loop = solved(ws, **ADDRESS)
    ask(ws, NOON)
    withdraw(ws, loop)
    deliver(ws)
    assert one(ws.db, Message, template="verification_question").state == "sent"
    assert not rows(ws.db, HistoryEvent, kind=EventKind.LOOP_CUSTOMER_TOLD)
    assert sound(ws.db)


def test_a_customer_clock_that_waits_for_the_end(ws: Workspace) -> None:
    """Two targets for one customer: a first answer, and verified or closed."""
    clocks = document("clocks").replace(
        "clocks:",
        "clocks:\n  - {id: whole, kind: customer, title: {zh: 办结, en: Solved}, starts: receipt,"
        " stops: closed, calendar_days: 20, loop: small}",
    )
    policy = document("policy").replace(
        "[legal, customer, owner]", "[legal, customer, whole, owner]"
    )
    publish(ws.db, documents(clocks=clocks, policy=policy), OPS, NOON)
    ws = Workspace(ws.settings, ws.db)
    loop = asked(ws)
    assert running(ws, loop) == {"whole"}, "told, and so answered"
    answer(ws, loop, Answer.NO, "", OPS, LATER)
    assert running(ws, loop) == {"whole", "owner"}
    resolve(ws, one(ws.db, Ticket).id, "C01", "再次处理", ZHANG, LATER)
    answer(ws, loop, Answer.YES, "", OPS, LATER)
    assert running(ws, loop) == set()
    assert sound(ws.db)


def test_nobody_to_ask(ws: Workspace) -> None:
    loop = solved(ws)
    assert sweep(ws, LATER) == {"unasked": 1}
    assert state(ws, loop) == ("closed", "unverified", LATER)
    assert last(ws, loop) == ("loop.closed", {"outcome": "unverified", "why": "unreachable"})
    assert running(ws, loop) == set()
    assert one(ws.db, Ticket).state == "done"
    assert number_of(ws.db, Verification) == 0
    assert sound(ws.db)


def test_a_customer_who_opted_out_is_left_in_peace(ws: Workspace) -> None:
    publish(ws.db, with_consent(), OPS, NOON)
    loop = solved(ws, **ADDRESS)
    know(ws, ok_mail="no", ok_call="no")
    messages = number_of(ws.db, Message)
    assert ask(ws, LATER).unasked == 1
    assert last(ws, loop) == ("loop.closed", {"outcome": "unverified", "why": "opted out"})
    assert number_of(ws.db, Message) == messages
    assert sound(ws.db)


def test_only_what_is_resolved_is_asked_about(ws: Workspace) -> None:
    a_loop(ws, customer="C1")
    a_loop(ws, FEE, customer="C2")
    withdraw(ws, rows(ws.db, Loop)[0].id)
    assert not any(sweep(ws).values())
    assert number_of(ws.db, Verification) == 0


def test_a_yes_closes_as_verified(ws: Workspace) -> None:
    loop = asked(ws)
    assert answer(ws, loop[-4:].lower(), Answer.YES, "好了", OPS, LATER) == loop
    assert state(ws, loop) == ("closed", "verified", LATER)
    question = one(ws.db, Verification)
    assert (question.answer, question.answered_at, question.due_at) == ("yes", LATER, None)
    assert one(ws.db, Ticket).state == "done"
    assert last(ws, loop) == ("loop.closed", {"outcome": "verified", "why": "answer yes"})
    event = one(ws.db, HistoryEvent, kind=EventKind.VERIFICATION_ANSWERED)
    assert (event.actor_id, event.on_behalf_of) == ("cx.ops", "customer")
    assert not any(sweep(ws, LATER + SILENCE).values())
    assert sound(ws.db)


@pytest.mark.parametrize("said", [Answer.NO, Answer.PARTLY])
def test_a_no_opens_it_again(ws: Workspace, said: Answer) -> None:
    loop = asked(ws)
    owner = one(ws.db, Clock, loop_id=loop, spec="owner")
    answer(ws, loop, said, WORDS, OPS, LATER)
    assert state(ws, loop) == ("open", None, None)
    question = one(ws.db, Verification)
    assert (question.answer, question.due_at) == (said.value, None)
    ticket = one(ws.db, Ticket)
    assert (ticket.state, ticket.assigned_at) == ("assigned", LATER)
    assert running(ws, loop) == {"owner"}, "the customer has been told, the owner starts anew"
    fresh = max(rows(ws.db, Clock, loop_id=loop, spec="owner"), key=lambda c: c.started_at)
    assert (fresh.id != owner.id, fresh.started_at) == (True, LATER)
    message = one(ws.db, Message, template="loop_reopened", person=None)
    assert (message.unit, message.loop_id) == ("DB", loop)
    above = one(ws.db, Message, template="loop_reopened", person="db.zhang")
    assert above.key == f"{message.key}:manager"
    assert not any(sweep(ws, LATER + SILENCE).values())
    assert sound(ws.db)


def test_the_customers_words_are_private(ws: Workspace) -> None:
    loop = asked(ws)
    answer(ws, loop, Answer.NO, WORDS, OPS, LATER)
    event = one(ws.db, HistoryEvent, kind=EventKind.VERIFICATION_ANSWERED)
    assert "登录" not in event.envelope
    assert json.loads(one(ws.db, EventBody, event_id=event.event_id).body) == {"words": WORDS}
    story = show_loop(ws, loop)
    assert "还是登录不了" in str(story["events"])
    assert "13900000001" not in str(story)


def test_each_reopening_tells_the_lead(ws: Workspace) -> None:
    loop = asked(ws)
    for day in range(3):
        answer(ws, loop, Answer.NO, "", OPS, NOON + day * DAY)
        resolve(ws, one(ws.db, Ticket).id, "C01", "再次处理", ZHANG, NOON + day * DAY)
        ask(ws, NOON + day * DAY)
    assert len(rows(ws.db, Message, template="loop_reopened", person=None)) == 3
    assert [q.answer for q in rows(ws.db, Verification)].count(None) == 1
    assert len(rows(ws.db, Message, template="verification_question")) == 4
    assert sound(ws.db)


def test_an_answer_may_come_before_the_question(ws: Workspace) -> None:
    """The department asked on the phone what was to be asked."""
    loop = solved(ws, **ADDRESS)
    answer(ws, loop, Answer.YES, "", ZHANG, LATER)
    assert state(ws, loop)[1] == "verified"
    event = one(ws.db, HistoryEvent, kind=EventKind.VERIFICATION_ANSWERED)
    assert json.loads(event.data) == {"verification": None, "answer": "yes"}
    assert not any(sweep(ws, LATER).values())
    assert sound(ws.db)


def test_an_old_question_is_not_what_a_new_answer_is_about(ws: Workspace) -> None:
    """Asked, complained again, resolved anew and not yet asked again."""
    loop = asked(ws)
    take_in(ws, {"text": LOGIN, "customer": "C1"})
    resolve(ws, one(ws.db, Ticket).id, "C01", "再次处理", ZHANG, LATER)
    answer(ws, loop, Answer.YES, "", OPS, LATER)
    assert one(ws.db, Verification).answer is None
    assert sound(ws.db)


def test_silence_is_asked_again_and_ends_at_its_moment(ws: Workspace) -> None:
    loop = asked(ws)
    assert not sweep(ws, NOON + SILENCE - MOMENT)
    assert waiting(ws, NOON + SILENCE)["silences"] == 1
    assert sweep(ws, NOON + SILENCE) == {"reminded": 1}
    question = one(ws.db, Verification)
    assert (question.contacts, question.contacted_at) == (2, NOON + SILENCE)
    assert (question.asked_at, question.due_at) == (NOON, END)
    keys = sorted(m.key for m in rows(ws.db, Message, template="verification_question"))
    assert keys == [f"verification_question:{question.id}{n}" for n in ("", ":2")]
    deliver(ws, NOON + SILENCE)
    assert len([mail for mail in mails(ws) if HERS in str(mail["To"])]) == 2
    assert not sweep(ws, END - MOMENT)
    assert sweep(ws, END) == {"silent": 1}
    assert state(ws, loop) == ("closed", "unverified", END)
    assert last(ws, loop) == ("loop.closed", {"outcome": "unverified", "why": "silent"})
    question = one(ws.db, Verification)
    assert (question.answer, question.due_at) == (None, None)
    assert not sweep(ws, END + SILENCE)
    assert sound(ws.db)


def test_who_opts_out_meanwhile_is_not_asked_again(ws: Workspace) -> None:
    publish(ws.db, with_consent(), OPS, NOON)
    loop = asked(ws)
    know(ws, ok_mail="no", ok_call="no")
    assert sweep(ws, NOON + SILENCE) == {"unasked": 1}
    assert last(ws, loop)[1]["why"] == "opted out"
    assert sound(ws.db)


def test_an_answer_to_the_second_question(ws: Workspace) -> None:
    loop = asked(ws)
    sweep(ws, NOON + SILENCE)
    answer(ws, loop, Answer.YES, "好了", OPS, NOON + SILENCE + HOUR)
    assert state(ws, loop)[1] == "verified"
    assert not sweep(ws, END)
    assert sound(ws.db)


def test_a_late_no_opens_what_silence_closed(ws: Workspace) -> None:
    loop = asked(ws)
    fall_silent(ws)
    answer(ws, loop, Answer.NO, WORDS, OPS, END + 30 * DAY)
    assert state(ws, loop) == ("open", None, None)
    assert one(ws.db, Verification).answer == "no"
    assert one(ws.db, Message, template="loop_reopened", person=None).unit == "DB"
    assert sound(ws.db)


def test_a_second_thought_opens_what_a_yes_closed(ws: Workspace) -> None:
    loop = asked(ws)
    answer(ws, loop, Answer.YES, "", OPS, LATER)
    answer(ws, loop, Answer.PARTLY, "又不行了", OPS, LATER + DAY)
    assert state(ws, loop)[0] == "open"
    question = one(ws.db, Verification)
    assert (question.first_answer, question.answer) == ("yes", "partly"), "both stay said"
    assert sound(ws.db)


def test_long_after_a_yes_a_no_is_no_change_of_that_answer(ws: Workspace) -> None:
    loop = asked(ws)
    answer(ws, loop, Answer.YES, "", OPS, LATER)
    answer(ws, loop, Answer.NO, "又不行了", OPS, LATER + 7 * DAY + MOMENT)
    assert state(ws, loop)[0] == "open"
    question = one(ws.db, Verification)
    assert (question.first_answer, question.answer) == (None, "yes")
    assert sound(ws.db)


def test_a_no_taken_back_closes_what_it_opened(ws: Workspace) -> None:
    loop = asked(ws)
    answer(ws, loop, Answer.NO, "", OPS, LATER)
    answer(ws, loop, Answer.YES, "看错了", OPS, LATER + 7 * DAY)
    assert state(ws, loop) == ("closed", "verified", LATER + 7 * DAY)
    question = one(ws.db, Verification)
    assert (question.first_answer, question.answer) == ("no", "yes")
    assert one(ws.db, Ticket).state == "done"
    assert running(ws, loop) == set()
    assert sound(ws.db)


def test_a_no_is_taken_back_in_the_window_only(ws: Workspace) -> None:
    loop = asked(ws)
    answer(ws, loop, Answer.NO, "", OPS, LATER)
    with pytest.raises(TransitionRefused, match="older than 7 days"):
        answer(ws, loop, Answer.YES, "", OPS, LATER + 7 * DAY + MOMENT)
    with pytest.raises(TransitionRefused, match="nobody calls it solved"):
        answer(ws, loop, Answer.NO, "", OPS, LATER + DAY)
    assert state(ws, loop)[0] == "open"


def test_too_late(ws: Workspace) -> None:
    loop = asked(ws)
    fall_silent(ws)
    with pytest.raises(TransitionRefused, match="more than 30 days"):
        answer(ws, loop, Answer.NO, "", OPS, END + 30 * DAY + MOMENT)
    with pytest.raises(TransitionRefused, match="a yes comes too late"):
        answer(ws, loop, Answer.YES, "", OPS, END)
    assert state(ws, loop)[1] == "unverified"


def test_another_open_loop_has_taken_its_place(ws: Workspace) -> None:
    """The customer's words were read as another topic first, so a second loop could open."""
    loop = asked(ws)
    fall_silent(ws)
    much_later = END + 31 * DAY
    take_in(ws, {"text": LOGIN, "customer": "C1"}, now=much_later)
    other = one(ws.db, Loop, state="open").id
    assert other != loop
    before = number_of(ws.db, HistoryEvent)
    with pytest.raises(ConflictError, match="another open loop") as refused:
        answer(ws, loop, Answer.NO, "", OPS, END + DAY)
    assert other in str(refused.value)
    assert number_of(ws.db, HistoryEvent) == before


def test_a_loop_that_opens_in_the_same_moment_is_seen_by_the_next_try(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asked(ws)
    fall_silent(ws)
    take_in(ws, {"text": LOGIN, "customer": "C1"}, now=END + 31 * DAY)
    original, checks = tasks_answers.check_reopening, count()

    def blind_once(*arguments: Any) -> None:
        if next(checks):
            original(*arguments)

    monkeypatch.setattr(tasks_answers, "check_reopening", blind_once)
    with pytest.raises(ConflictError, match="another open loop"):
        answer(ws, loop, Answer.NO, "", OPS, END + DAY)
    assert next(checks) == 2
    assert sound(ws.db)


def test_loops_of_nobody_do_not_stand_in_each_others_way(ws: Workspace) -> None:
    loop = solved(ws)
    ask(ws, NOON)
    a_loop(ws)
    answer(ws, loop, Answer.NO, "客户在网点说", OPS, LATER)
    assert state(ws, loop)[0] == "open"
    assert sound(ws.db)


def withdrawn(ws: Workspace) -> str:
    loop = asked(ws)
    withdraw(ws, loop)
    return loop


def merged(ws: Workspace) -> str:
    loop = asked(ws)
    merge(ws, loop, a_loop(ws, FEE).id, OPS, NOON)
    return loop


def opened(ws: Workspace) -> str:
    return str(a_loop(ws).id)


REFUSED: list[tuple[Callable[[Workspace], str], str]] = [
    (opened, "nobody calls it solved"),
    (withdrawn, "closed as withdrawn"),
    (merged, "closed as merged"),
]


@pytest.mark.parametrize(("make", "why"), REFUSED)
@pytest.mark.parametrize("said", list(Answer))
def test_where_there_is_nothing_to_answer(
    ws: Workspace, make: Callable[[Workspace], str], why: str, said: Answer
) -> None:
    loop = make(ws)
    before = number_of(ws.db, HistoryEvent)
    with pytest.raises(TransitionRefused, match=why) as refused:
        answer(ws, loop, said, "", OPS, LATER)
    assert refused.value.fix
    assert number_of(ws.db, HistoryEvent) == before


def test_a_big_loop_has_no_customer(ws: Workspace) -> None:
    take_in(ws, {"text": UPDATE, "customer": "C1"})
    big = one(ws.db, Loop, kind="big").id
    with pytest.raises(InputError, match="no customer's own loop"):
        answer(ws, big, Answer.YES, "", OPS, NOON)
    with pytest.raises(InputError, match="no customer's own loop"):
        tell_customer(ws, big, Told.DECISION, How.CALL, "8841", OPS, NOON)


def test_a_set_of_answers_is_taken_whole_or_not_at_all(ws: Workspace) -> None:
    loops = [asked(ws, customer=f"C{n}") for n in range(4)]
    said = [Said(loop, list(Answer)[n % 3], OPS) for n, loop in enumerate(loops)]
    with pytest.raises(TransitionRefused):
        answers(ws, [*said, said[0]], LATER)
    assert {state(ws, loop)[0] for loop in loops} == {"verifying"}
    assert answers(ws, said, LATER) == loops
    assert [state(ws, loop)[0] for loop in loops] == ["closed", "open", "open", "closed"]
    assert sound(ws.db)


def test_a_customer_who_complains_again_while_asked(ws: Workspace) -> None:
    loop = asked(ws)
    take_in(ws, {"text": LOGIN, "customer": "C1"}, now=LATER)
    assert state(ws, loop)[0] == "open"
    assert one(ws.db, Verification).due_at is None
    assert not any(vars(follow_up(ws, NOON + SILENCE)).values())
    with pytest.raises(TransitionRefused, match="nobody calls it solved"):
        answer(ws, loop, Answer.YES, "", OPS, LATER)
    resolve(ws, one(ws.db, Ticket).id, "C01", "换了验证方式", ZHANG, LATER)
    assert ask(ws, LATER).mailed == 1
    assert len(rows(ws.db, Message, template="verification_question")) == 2
    assert sound(ws.db)


@pytest.mark.parametrize(
    ("what", "left"),
    [
        (Told.FIRST_ANSWER, {"legal", "owner"}),
        (Told.DECISION, {"owner"}),
        (Told.CHANGE, {"legal", "customer", "owner"}),
    ],
)
def test_telling_the_customer_stops_what_waits_for_it(
    ws: Workspace, what: Told, left: set[str]
) -> None:
    loop = a_loop(ws).id
    assert running(ws, loop) == {"legal", "customer", "owner"}
    assert tell_customer(ws, loop[-6:], what, How.CALL, "通话 8841", ZHANG, LATER) == loop
    assert running(ws, loop) == left
    kind, data = last(ws, loop)
    assert (kind, data) == ("loop.customer_told", {"what": what.value, "how": "call"})
    event = one(ws.db, HistoryEvent, kind=EventKind.LOOP_CUSTOMER_TOLD)
    assert event.on_behalf_of is None
    assert json.loads(one(ws.db, EventBody, event_id=event.event_id).body) == {
        "reference": "通话 8841"
    }
    assert sound(ws.db)


def test_who_tells_for_another_unit_is_said(ws: Workspace) -> None:
    loop = a_loop(ws).id
    tell_customer(ws, loop, Told.DECISION, How.LETTER, "信 12", LI, LATER)
    assert one(ws.db, HistoryEvent, kind=EventKind.LOOP_CUSTOMER_TOLD).on_behalf_of == "DB"
    withdraw(ws, loop)
    with pytest.raises(TransitionRefused):
        tell_customer(ws, loop, Told.DECISION, How.LETTER, "信 12", LI, LATER)


def test_of_a_closed_loop_only_what_changed_is_told(ws: Workspace) -> None:
    loop = a_loop(ws).id
    withdraw(ws, loop)
    for what in (Told.FIRST_ANSWER, Told.DECISION):
        with pytest.raises(TransitionRefused, match="is closed"):
            tell_customer(ws, loop, what, How.CALL, "通话 8841", ZHANG, LATER)
    assert tell_customer(ws, loop, Told.CHANGE, How.CALL, "通话 8841", ZHANG, LATER) == loop
    assert last(ws, loop) == ("loop.customer_told", {"what": "change", "how": "call"})
    assert one(ws.db, Loop, id=loop).state == "closed"
    assert sound(ws.db)


@pytest.mark.parametrize("what", [Told.DECISION, Told.CHANGE])
@pytest.mark.parametrize("reference", ["", "  "])
def test_what_is_told_with_evidence_only(ws: Workspace, reference: str, what: Told) -> None:
    loop = a_loop(ws).id
    with pytest.raises(InputError, match="evidence") as refused:
        tell_customer(ws, loop, what, How.CALL, reference, ZHANG, LATER)
    assert "--reference" in str(refused.value.fix)
    tell_customer(ws, loop, Told.FIRST_ANSWER, How.CALL, reference, ZHANG, LATER)
    assert running(ws, loop) == {"legal", "owner"}


def many(ws: Workspace, number: int) -> list[str]:
    """Resolved loops of as many customers."""
    items = [{"text": LOGIN, "customer": f"C{n}", "mail": f"c{n}@m.example"} for n in range(number)]
    take_in(ws, *items)
    for ticket in rows(ws.db, Ticket):
        resolve(ws, ticket.id, "C01", "已重置密码", ZHANG, NOON)
    return [loop.id for loop in rows(ws.db, Loop)]


def at_once(work: Callable[[Workspace], Any], *spaces: Workspace) -> list[Any]:
    """The same work by several workers that start together."""
    gate = Barrier(len(spaces))

    def one_worker(space: Workspace) -> Any:
        _ = space.published, space.sources, space.hasher
        gate.wait()
        return work(space)

    with ThreadPoolExecutor(len(spaces)) as pool:
        return list(pool.map(one_worker, spaces))


def test_two_workers_ask_each_customer_once(
    ws: Workspace, another: Callable[[], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "SET", 3)
    loops = many(ws, 20)
    counts = at_once(lambda space: ask(space, NOON).mailed, another(), another())
    assert sum(counts) == 20
    assert sorted(q.loop_id for q in rows(ws.db, Verification)) == loops
    assert len(rows(ws.db, Message, template="verification_question")) == 20
    deliver(ws)
    for now, what in ((NOON + SILENCE, "reminded"), (END, "silent")):
        work = partial(follow_up, now=now)
        done = [vars(counts) for counts in at_once(work, another(), another())]
        assert sum(counts[what] for counts in done) == 20
        deliver(ws, now)
    assert {loop.outcome for loop in rows(ws.db, Loop)} == {"unverified"}
    assert sound(ws.db)


def test_a_worker_does_not_wait_for_another(
    ws: Workspace, another: Callable[[], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one is at work on a set, a second takes the next."""
    if ws.db.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    monkeypatch.setattr(verify, "SET", 2)
    many(ws, 4)
    meanwhile: list[int] = []
    other = another()

    def slow(*arguments: Any) -> Any:
        if not meanwhile:
            meanwhile.append(0)
            counts = verify.ask_set(other, NOON)
            meanwhile.append(counts.mailed if counts else 0)
        return ways(*arguments)

    monkeypatch.setattr(verify, "ways", slow)
    assert ask(ws, NOON).mailed == 2
    assert meanwhile == [0, 2]
    assert sound(ws.db)


def mails(ws: Workspace) -> list[Mail]:
    found = sorted(ws.settings.messages.folder.rglob("*.eml"))
    return [message_from_bytes(path.read_bytes()) for path in found]


def test_killed_between_asking_and_sending_one_mail_goes_out(
    ws: Workspace, another: Callable[[], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = solved(ws, **ADDRESS)

    def killed(*arguments: Any) -> None:
        change(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(verify, "change", killed)
    with pytest.raises(KeyboardInterrupt):
        sweep(ws)
    assert state(ws, loop)[0] == "resolved", "nothing was kept"
    monkeypatch.setattr(verify, "change", change)
    for worker in (ws, another(), another()):
        sweep(worker)
        deliver(worker)
    assert len(rows(ws.db, Message, template="verification_question")) == 1
    assert [mail["To"] for mail in mails(ws) if HERS in str(mail["To"])] == [HERS]
    assert sound(ws.db)


def plan(ws: Workspace, query: Any) -> str:
    """The database's own plan for a statement."""
    with ws.db.begin() as tx:
        compiled = query.compile(dialect=tx.dialect, compile_kwargs={"literal_binds": True})
        explain = "EXPLAIN QUERY PLAN" if ws.db.is_sqlite else "EXPLAIN"
        found = tx.exec_driver_sql(f"{explain} {str(compiled).replace('%', '%%')}")
        return "\n".join(str(row[-1]) for row in found)


def fill(ws: Workspace, number: int) -> None:
    """So many loops whose customers were asked and have time left."""
    open_some(ws, number, tickets=False)
    loops, questions = table(Loop), table(Verification)
    left = select(loops.c.id, loops.c.id, literal("call"), literal(NOON), literal(NOON + SILENCE))
    names = ["id", "loop_id", "via", "asked_at", "due_at"]
    with ws.db.begin() as tx:
        tx.execute(update(loops).values(state="verifying", ask_at=None))
        tx.execute(insert(questions).from_select(names, left))
    with ws.db.begin() as tx:
        tx.exec_driver_sql("ANALYZE")


@pytest.mark.breaks_history
def test_looking_asks_the_partial_indexes(ws: Workspace) -> None:
    fill(ws, 1_000)
    found = plan(ws, verify.due(NOON))
    sys.stdout.write(f"{found}\n")
    assert "ix_loop_resolved" in found
    assert "ix_verification_due" in found
    assert not any(sweep(ws).values())
