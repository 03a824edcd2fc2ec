"""Customers who answer no message: a list to work through, each call recorded, an end that says
why; and answers that their own words contradict."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from loopwright.errors import InputError, TransitionRefused
from models.history import EventBody, HistoryEvent
from models.kinds import Answer, CallOutcome, EventKind
from models.loop import Loop
from models.message import Message
from models.ticket import Ticket
from models.verification import Verification
from tasks.tickets.hand_off import resolve
from tasks.verification.answers import answer, doubts, settle_doubt
from tasks.verification.call_backs import called, calls
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
    ZHANG,
    a_loop,
    one,
    rows,
    sound,
    take_in,
    ticket_of,
    withdraw,
)
from tests.integration.test_verification import (
    ADDRESS,
    LATER,
    PHONE,
    SILENCE,
    asked,
    last,
    running,
    state,
    sweep,
)


def listed(ws: Workspace, unit: str | None = None) -> list[Any]:
    return [(i["loop"], i["contacts"], i["outcome"]) for i in calls(ws, unit)]


def no_answer(ws: Workspace, loop: str, now: Any, outcome: str = "no_answer") -> str:
    return called(ws, loop, CallOutcome(outcome), "录音 77", ZHANG, now)


def test_who_must_be_called_is_listed_the_oldest_due_first(ws: Workspace) -> None:
    first = asked(ws, **PHONE)
    fee = str(a_loop(ws, FEE, customer="C2").id)
    resolve(ws, ticket_of(ws, fee).id, "C01", "已退", LI, LATER)
    ask(ws, LATER)
    asked(ws, customer="C3", mail="c3@mail.example")
    assert listed(ws) == [(first, 0, None), (fee, 0, None)]
    assert listed(ws, "CC") == [(fee, 0, None)]
    with pytest.raises(InputError, match="no unit"):
        calls(ws, "ZZ")
    no_answer(ws, first, LATER)
    assert listed(ws) == [(fee, 0, None), (first, 1, "no_answer")]
    line = calls(ws)[1]
    assert line["call_at"] == (LATER + DAY).isoformat()
    answer(ws, fee, Answer.YES, "", LI, LATER, "录音 78")
    assert listed(ws) == [(first, 1, "no_answer")]
    event = one(ws.db, HistoryEvent, kind=EventKind.VERIFICATION_ANSWERED)
    assert json.loads(one(ws.db, EventBody, event_id=event.event_id).body) == {
        "recording": "录音 78"
    }
    assert sound(ws.db)


def test_calls_without_an_answer_end_as_unreachable(ws: Workspace) -> None:
    loop = asked(ws, **PHONE)
    assert no_answer(ws, loop[-6:], LATER) == loop
    event = one(ws.db, HistoryEvent, kind=EventKind.VERIFICATION_CALLED)
    data = json.loads(event.data)
    assert (data["outcome"], event.actor_id) == ("no_answer", "db.zhang")
    assert json.loads(one(ws.db, EventBody, event_id=event.event_id).body) == {
        "recording": "录音 77"
    }
    assert state(ws, loop)[0] == "verifying"
    no_answer(ws, loop, LATER + DAY, "busy")
    assert state(ws, loop) == ("closed", "unverified", LATER + DAY)
    assert last(ws, loop)[1]["why"] == "unreachable"
    assert listed(ws) == []
    with pytest.raises(TransitionRefused, match="no question"):
        no_answer(ws, loop, LATER + DAY)
    assert sound(ws.db)


@pytest.mark.parametrize(
    ("outcome", "why"), [("wrong_number", "unreachable"), ("refused", "refused")]
)
def test_some_calls_end_it_at_once(ws: Workspace, outcome: str, why: str) -> None:
    loop = asked(ws, **PHONE)
    no_answer(ws, loop, LATER, outcome)
    assert last(ws, loop) == ("loop.closed", {"outcome": "unverified", "why": why})
    assert sound(ws.db)


def test_who_asks_to_be_called_later_is(ws: Workspace) -> None:
    loop = asked(ws, **PHONE)
    for day in range(3):
        no_answer(ws, loop, LATER + day * DAY, "call_later")
    assert listed(ws) == [(loop, 3, "call_later")]
    assert sound(ws.db)


def test_a_wished_time_is_kept(ws: Workspace) -> None:
    loop = asked(ws, **PHONE)
    wish = LATER + 3 * DAY
    called(ws, loop, CallOutcome.CALL_LATER, "", OPS, LATER, wish)
    assert one(ws.db, Verification).call_at == wish
    assert one(ws.db, Verification).due_at == wish + SILENCE
    assert sound(ws.db)


@pytest.mark.parametrize(
    ("outcome", "wish"),
    [
        (CallOutcome.BUSY, LATER + DAY),
        (CallOutcome.CALL_LATER, LATER),
        (CallOutcome.CALL_LATER, LATER + SILENCE + DAY),
    ],
)
def test_a_time_that_nobody_may_wish(ws: Workspace, outcome: CallOutcome, wish: datetime) -> None:
    loop = asked(ws, **PHONE)
    with pytest.raises(InputError) as caught:
        called(ws, loop, outcome, "", OPS, LATER, wish)
    assert caught.value.fix
    assert listed(ws) == [(loop, 0, None)]


def test_a_call_nobody_made_closes_nothing(ws: Workspace) -> None:
    """The unit is reminded; the law's clock runs on and climbs."""
    loop = asked(ws, **PHONE)
    for week in range(1, 4):
        assert sweep(ws, NOON + week * SILENCE) == {"reminded": 1}
    assert listed(ws) == [(loop, 0, None)]
    assert running(ws, loop) == {"legal", "customer"}
    assert len(rows(ws.db, Message, template="verification_call")) == 4
    assert sound(ws.db)


def test_a_call_about_a_mail_counts_as_a_contact(ws: Workspace) -> None:
    loop = asked(ws, **ADDRESS)
    called(ws, loop, CallOutcome.NO_ANSWER, "", OPS, LATER)
    assert last(ws, loop)[1]["why"] == "unreachable"
    assert one(ws.db, Verification).contacts == 2


@pytest.mark.parametrize("outcome", list(CallOutcome))
def test_where_there_is_nobody_to_call(ws: Workspace, outcome: CallOutcome) -> None:
    still_open = str(a_loop(ws, customer="C9").id)
    gone = asked(ws, customer="C8")
    withdraw(ws, gone)
    for loop in (still_open, gone):
        with pytest.raises(TransitionRefused, match="no question") as refused:
            called(ws, loop, outcome, "", OPS, LATER)
        assert "loop calls" in str(refused.value.fix)


# Words that say something else than the answer

DOUBTED = [(Answer.YES, "还是登录不了"), (Answer.NO, "已经解决了，谢谢")]


@pytest.mark.parametrize(("said", "words"), DOUBTED)
def test_words_against_the_answer_change_nothing_and_go_to_operations(
    ws: Workspace, said: Answer, words: str
) -> None:
    loop = asked(ws)
    answer(ws, loop, said, words, OPS, LATER)
    assert state(ws, loop)[0] == "verifying"
    message = one(ws.db, Message, template="answer_doubted")
    assert (message.unit, message.loop_id) == ("CX", loop)
    kind, data = last(ws, loop)
    assert (kind, data["answer"], data["doubt"]) == ("verification.answered", said.value, True)
    line = doubts(ws)[0]
    assert (line["loop"], line["answer"], line["words"]) == (loop, said.value, words)
    assert not sweep(ws, NOON + 3 * SILENCE), "nobody is asked again meanwhile"
    assert sound(ws.db)


@pytest.mark.parametrize("meant", list(Answer))
@pytest.mark.parametrize(("said", "words"), DOUBTED)
def test_a_person_settles_what_was_meant(
    ws: Workspace, said: Answer, words: str, meant: Answer
) -> None:
    loop = asked(ws)
    answer(ws, loop, said, words, OPS, LATER)
    assert settle_doubt(ws, loop[-6:], meant, OPS, LATER + HOUR) == loop
    if meant is Answer.YES:
        assert state(ws, loop) == ("closed", "verified", LATER + HOUR)
    else:
        assert state(ws, loop)[0] == "open"
        assert len(rows(ws.db, Message, template="loop_reopened")) == 2
    question = one(ws.db, Verification)
    assert (question.answer, question.doubt) == (meant.value, False)
    assert doubts(ws) == []
    with pytest.raises(TransitionRefused, match="in doubt"):
        settle_doubt(ws, loop, meant, OPS, LATER + HOUR)
    assert sound(ws.db)


def test_a_plain_answer_ends_a_doubt(ws: Workspace) -> None:
    loop = asked(ws)
    answer(ws, loop, Answer.YES, "还是没解决", OPS, LATER)
    answer(ws, loop, Answer.NO, "点错了，没解决", OPS, LATER + HOUR)
    assert state(ws, loop)[0] == "open"
    question = one(ws.db, Verification)
    assert (question.first_answer, question.answer, question.doubt) == ("yes", "no", False)
    assert sound(ws.db)


def test_a_doubtful_answer_before_the_question_is_settled_by_asking(ws: Workspace) -> None:
    loop = str(a_loop(ws, LOGIN, **ADDRESS).id)
    resolve(ws, ticket_of(ws, loop).id, "C01", "已重置", ZHANG, NOON)
    answer(ws, loop, Answer.YES, "还是登录不了", ZHANG, NOON)
    assert state(ws, loop)[0] == "resolved"
    assert doubts(ws) == []
    assert sweep(ws, LATER) == {"mailed": 1}
    assert sound(ws.db)


def test_a_no_taken_back_in_doubt_leaves_the_work_open(ws: Workspace) -> None:
    loop = asked(ws)
    answer(ws, loop, Answer.NO, "", OPS, LATER)
    answer(ws, loop, Answer.YES, "还是没解决", OPS, LATER + HOUR)
    assert state(ws, loop)[0] == "open"
    settle_doubt(ws, loop, Answer.NO, OPS, LATER + DAY)
    assert (state(ws, loop)[0], doubts(ws)) == ("open", [])
    answer(ws, loop, Answer.YES, "好了", OPS, LATER + 2 * DAY)
    assert state(ws, loop)[1] == "verified"
    assert sound(ws.db)


def test_a_yes_changed_in_doubt_stays_closed_until_settled(ws: Workspace) -> None:
    loop = asked(ws)
    answer(ws, loop, Answer.YES, "", OPS, LATER)
    answer(ws, loop, Answer.NO, "已经解决了谢谢", OPS, LATER + HOUR)
    assert state(ws, loop)[1] == "verified"
    settle_doubt(ws, loop, Answer.NO, OPS, LATER + DAY)
    assert state(ws, loop)[0] == "open"
    assert one(ws.db, Verification).first_answer == "yes"
    assert sound(ws.db)


def test_work_that_goes_on_ends_a_doubt(ws: Workspace) -> None:
    loop = asked(ws)
    answer(ws, loop, Answer.YES, "还是没解决", OPS, LATER)
    take_in(ws, {"text": LOGIN, "customer": "C1"}, now=LATER)
    assert (state(ws, loop)[0], doubts(ws)) == ("open", [])
    resolve(ws, one(ws.db, Ticket).id, "C01", "再次处理", ZHANG, LATER)
    assert sweep(ws, LATER) == {"mailed": 1}
    assert one(ws.db, Loop).state == "verifying"
    assert sound(ws.db)


def test_calls_and_mails_end_at_the_policys_contacts(ws: Workspace) -> None:
    loop = asked(ws, **PHONE)
    no_answer(ws, loop, LATER)
    due = LATER + DAY + SILENCE
    assert not sweep(ws, due - timedelta(microseconds=1))
    assert vars(follow_up(ws, due))["reminded"] == 1
    assert listed(ws) == [(loop, 1, "no_answer")], "reminding the unit is no contact"
    no_answer(ws, loop, due)
    assert state(ws, loop)[1] == "unverified"
