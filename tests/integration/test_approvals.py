"""Approvals end to end on both databases: granted once, by whom the policy says, with what follows;
those of documents and templates too, which belong to no loop."""

import asyncio
import json
import threading
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select

from loopwright.db import Database
from loopwright.errors import (
    ConflictError,
    FindingError,
    InputError,
    NotPermitted,
    TransitionRefused,
)
from loopwright.history.envelope import Actor
from models.approval import Approval
from models.base import table
from models.clock import Clock
from models.history import EventBody, HistoryEvent
from models.kinds import EventKind, How, Told
from models.message import Delivery, Message
from notifications.templates import render
from tasks.approval import approvals
from tasks.approval import documents as approve_documents
from tasks.approval.look import list_approvals, show_approval
from tasks.documents.publish import publish
from tasks.messages.context import contexts
from tasks.messages.deliver import deliver_lease
from tasks.verification.tell import tell_customer
from tasks.workspace import Workspace
from tests.cast import (
    DAY,
    HOUR,
    LI,
    NOON,
    OPS,
    ZHANG,
    a_loop,
    change_now,
    document,
    documents,
    one,
    rows,
    ticket_of,
    withdraw,
)
from tests.cast import on_leave as recorded_leave

CHIEF = Actor("person", "ho.chief", "cli")
RISK = Actor("person", "rk.head", "cli")
LATER = NOON + HOUR
WHY = "等总行系统修复"
OVER_THE_WEEKEND = 4 * DAY
"""Two working days more than Thursday are Monday."""


def ask_time(ws: Workspace, days: int = 2, by: Actor = LI) -> tuple[Any, str]:
    """A loop of Digital, and the approval of more time that somebody asks for."""
    loop = a_loop(ws, phone="13800138000")
    ticket = ticket_of(ws, loop.id)
    return loop, approvals.request_more_time(ws, ticket.id[-6:], days, WHY, by, NOON)


def events(db: Database, kind: str) -> list[dict[str, Any]]:
    found = table(HistoryEvent)
    query = select(found.c.data).where(found.c.kind == kind).order_by(found.c.seq)
    with db.read() as tx:
        return [json.loads(data) for data in tx.execute(query).scalars()]


def owners_clock(db: Database, loop: str) -> Any:
    return one(db, Clock, loop_id=loop, kind="owner")


def on_leave(db: Database, person: str, deputy: str | None) -> None:
    """From the day before the tests' day until the day after it."""
    day = NOON.date()
    recorded_leave(db, person, day - DAY, day + DAY, deputy)


# More time


def test_more_time_is_granted_by_the_line_and_moves_the_owners_clock_alone(ws: Workspace) -> None:
    loop, approval = ask_time(ws)
    before = {c.id: c.due_at for c in rows(ws.db, Clock, loop_id=loop.id)}
    assert [row["id"] for row in approvals.waiting_for(ws, "db.zhang", NOON)] == [approval]
    approvals.approve(ws, approval[-4:].lower(), ZHANG, LATER)
    moved = {
        c.id: c.due_at - before[c.id]
        for c in rows(ws.db, Clock, loop_id=loop.id)
        if c.due_at != before[c.id]
    }
    assert moved == {owners_clock(ws.db, loop.id).id: OVER_THE_WEEKEND}
    row = one(ws.db, Approval)
    assert (row.state, row.decided_by, row.terms) == ("granted", "db.zhang", {"working_days": 2})
    assert [e["approval"] for e in events(ws.db, "clock.extended")] == [approval]
    assert approvals.waiting_for(ws, "db.zhang", LATER) == []


def test_the_words_stand_where_they_can_be_erased(ws: Workspace) -> None:
    _, approval = ask_time(ws)
    approvals.refuse(ws, approval, "人手够", ZHANG, LATER)
    bodies = " ".join(row.body for row in rows(ws.db, EventBody))
    assert WHY in bodies
    assert "人手够" in bodies
    told = json.dumps(events(ws.db, "approval.refused"), ensure_ascii=False)
    assert "人手够" not in told


@pytest.mark.parametrize(
    ("person", "why"),
    [
        (LI, "own request"),
        (OPS, "takes the level"),
        (RISK, "takes the level"),
    ],
)
def test_nobody_else_decides(ws: Workspace, person: Actor, why: str) -> None:
    loop, approval = ask_time(ws)
    due = owners_clock(ws.db, loop.id).due_at
    for decide in (
        lambda: approvals.approve(ws, approval, person, LATER),
        lambda: approvals.refuse(ws, approval, "no", person, LATER),
    ):
        with pytest.raises(NotPermitted, match=why):
            decide()
    assert one(ws.db, Approval).state == "waiting"
    assert owners_clock(ws.db, loop.id).due_at == due


def test_the_head_asks_the_next_above(ws: Workspace) -> None:
    _, approval = ask_time(ws, by=ZHANG)
    assert approvals.waiting_for(ws, "db.zhang", NOON) == []
    assert [row["id"] for row in approvals.waiting_for(ws, "ho.chief", NOON)] == [approval]
    with pytest.raises(NotPermitted, match="own request"):
        approvals.approve(ws, approval, ZHANG, LATER)
    approvals.approve(ws, approval, CHIEF, LATER)


def test_a_refused_one_cannot_be_granted(ws: Workspace) -> None:
    loop, approval = ask_time(ws)
    due = owners_clock(ws.db, loop.id).due_at
    approvals.refuse(ws, approval, "不同意", ZHANG, LATER)
    with pytest.raises(TransitionRefused, match="refused already"):
        approvals.approve(ws, approval, CHIEF, LATER)
    assert owners_clock(ws.db, loop.id).due_at == due


def test_it_waits_once_and_can_be_asked_for_again_when_decided(ws: Workspace) -> None:
    loop, approval = ask_time(ws)
    ticket = ticket_of(ws, loop.id).id
    with pytest.raises(ConflictError, match=approval):
        approvals.request_more_time(ws, ticket, 5, WHY, LI, NOON)
    approvals.refuse(ws, approval, "不同意", ZHANG, LATER)
    assert approvals.request_more_time(ws, ticket, 5, WHY, LI, NOON) != approval


@pytest.mark.parametrize(
    ("days", "why", "error"), [(0, WHY, "no more time"), (1, " ", "needs a reason")]
)
def test_what_is_asked_for_must_say_something(
    ws: Workspace, days: int, why: str, error: str
) -> None:
    ticket = ticket_of(ws, a_loop(ws).id).id
    with pytest.raises(InputError, match=error):
        approvals.request_more_time(ws, ticket, days, why, LI, NOON)


def test_time_for_a_closed_loop_is_no_longer_asked_for(ws: Workspace) -> None:
    loop, approval = ask_time(ws)
    withdraw(ws, loop.id, LATER)
    assert approvals.waiting_for(ws, "db.zhang", LATER) == []
    with pytest.raises(TransitionRefused):
        approvals.approve(ws, approval, ZHANG, LATER)
    approvals.refuse(ws, approval, "已关闭", ZHANG, LATER)


def race(*deciders: Any) -> list[BaseException | None]:
    """Let several decide at once; what came of each."""
    start, found = threading.Barrier(len(deciders)), [None] * len(deciders)

    def run(n: int, decide: Any) -> None:
        start.wait()
        try:
            decide()
        except Exception as error:
            found[n] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(deciders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_two_who_grant_at_once_grant_once(ws: Workspace) -> None:
    loop, approval = ask_time(ws)
    due = owners_clock(ws.db, loop.id).due_at
    came = race(
        lambda: approvals.approve(ws, approval, ZHANG, LATER),
        lambda: approvals.approve(ws, approval, CHIEF, LATER),
    )
    assert sorted(type(error).__name__ for error in came) == ["NoneType", "TransitionRefused"]
    assert owners_clock(ws.db, loop.id).due_at - due == OVER_THE_WEEKEND
    assert len(events(ws.db, "approval.granted")) == 1


def test_two_who_approve_a_template_at_once_approve_once(ws: Workspace) -> None:
    came = race(*[lambda: approve_documents.approve_template(ws, "cause_closed", CHIEF, LATER)] * 2)
    assert sorted(type(error).__name__ for error in came) == ["NoneType", "TransitionRefused"]
    assert len(events(ws.db, "approval.granted")) == 1


# Leave


def test_a_deputy_decides_only_while_the_other_is_away(ws: Workspace) -> None:
    _, approval = ask_time(ws)
    with pytest.raises(NotPermitted):
        approvals.approve(ws, approval, RISK, NOON)
    on_leave(ws.db, "db.zhang", "rk.head")
    (mine,) = approvals.waiting_for(ws, "rk.head", NOON)
    assert mine["on_behalf_of"] == "db.zhang"
    with pytest.raises(NotPermitted, match="leave"):
        approvals.approve(ws, approval, ZHANG, NOON)
    with pytest.raises(NotPermitted):
        approvals.approve(ws, approval, RISK, NOON + 3 * DAY)
    approvals.approve(ws, approval, RISK, NOON)
    granted = one(ws.db, HistoryEvent, kind="approval.granted")
    assert (granted.actor_id, granted.on_behalf_of) == ("rk.head", "db.zhang")


def test_the_deputy_is_told_in_whose_place(ws: Workspace) -> None:
    on_leave(ws.db, "db.zhang", "rk.head")
    _, approval = ask_time(ws)
    message = one(ws.db, Message, template="approval_waiting")
    assert (message.person, message.unit) == ("rk.head", "RK")
    assert message.values == {"approval": approval, "absent": "db.zhang"}


# Compensation


@pytest.mark.parametrize(
    ("fen", "level", "told"),
    [(20_000, "unit", "db.zhang"), (20_001, "area", "db.zhang"), (200_001, "chief", "ho.chief")],
)
def test_the_amount_decides_who_is_asked(ws: Workspace, fen: int, level: str, told: str) -> None:
    clerk(ws)
    loop = a_loop(ws)
    approvals.compensate(ws, loop.id, fen, "误收年费", CLERK, NOON)
    assert one(ws.db, Approval).level == level
    assert one(ws.db, Message, template="approval_waiting").person == told


CLERK = Actor("person", "db.clerk", "cli")


def clerk(ws: Workspace, **changed: str) -> None:
    """Publish the tests' organisation with a clerk in Digital."""
    people = "people:\n  - {id: db.clerk, name: 柜员, unit: DB, manager: db.zhang}\n"
    organisation = document("organisation").replace("people:\n", people)
    files = documents(organisation=organisation, **changed)
    publish(ws.db, files, OPS, NOON)
    ws.__dict__.pop("published", None)


def test_sums_are_not_split_past_a_limit(ws: Workspace) -> None:
    clerk(ws)
    loop = a_loop(ws)
    first = approvals.compensate(ws, loop.id, 15_000, "误收年费", CLERK, NOON)
    approvals.approve(ws, first, ZHANG, NOON)
    approvals.compensate(ws, loop.id, 15_000, "再补一次", CLERK, NOON)
    approvals.compensate(ws, loop.id, 180_000, "又一次", CLERK, NOON)
    assert sorted(row.level for row in rows(ws.db, Approval)) == ["area", "chief", "unit"]
    assert events(ws.db, "loop.compensated") == [{"approval": first, "fen": 15_000}]


def test_two_who_ask_at_once_do_not_both_stay_below_a_limit(ws: Workspace) -> None:
    clerk(ws)
    loop = a_loop(ws)
    came = race(
        *(
            partial(approvals.compensate, ws, loop.id, fen, "误收年费", CLERK, NOON)
            for fen in (15_000, 16_000)
        )
    )
    levels = [row.level for row in rows(ws.db, Approval)]
    assert levels.count("unit") == 1
    assert len(levels) == came.count(None)


def test_a_refused_sum_does_not_count(ws: Workspace) -> None:
    clerk(ws)
    loop = a_loop(ws)
    first = approvals.compensate(ws, loop.id, 190_000, "误收年费", CLERK, NOON)
    approvals.refuse(ws, first, "太多", ZHANG, NOON)
    approvals.compensate(ws, loop.id, 15_000, "误收年费", CLERK, NOON)
    assert events(ws.db, "loop.compensated") == []
    assert [row.level for row in rows(ws.db, Approval, state="waiting")] == ["unit"]


def test_who_may_not_handle_the_case_grants_nothing_of_it(ws: Workspace) -> None:
    clerk(ws)
    loop = a_loop(ws)
    approval = approvals.compensate(ws, loop.id, 100, "误收年费", CLERK, NOON)
    change_now(
        ws,
        approvals.Change(
            loop.id, EventKind.LOOP_HANDLER_BARRED, {"person": "db.zhang", "why": "named"}, OPS
        ),
    )
    assert approvals.waiting_for(ws, "db.zhang", NOON) == []
    with pytest.raises(NotPermitted, match="handle"):
        approvals.approve(ws, approval, ZHANG, NOON)
    approvals.approve(ws, approval, CHIEF, NOON)


# Letters


@pytest.fixture
def letters(ws: Workspace) -> Workspace:
    """The firm with a policy that wants letters to be approved."""
    level = '  - {kind: reply, level: words, title: {zh: 函, en: Letters}, who: ["role:approver"]}'
    clerk(ws, policy=document("policy").replace("approvals:\n", f"approvals:\n{level}\n"))
    return ws


def test_a_letter_is_sent_when_it_was_granted(letters: Workspace) -> None:
    ws = letters
    loop, other = a_loop(ws), a_loop(ws, "年费乱收，投诉", phone="13900139000")
    approval = approvals.reply(ws, loop.id, "尊敬的客户：已退还年费。", ZHANG, NOON)
    with ws.db.read() as tx, pytest.raises(TransitionRefused, match="waiting"):
        approvals.granted_reply(tx, loop.id, approval)
    approvals.approve(ws, approval, CHIEF, NOON)
    with ws.db.read() as tx:
        assert approvals.granted_reply(tx, loop.id, approval[-5:]) == approval
        with pytest.raises(InputError, match="no letter of loop"):
            approvals.granted_reply(tx, other.id, approval)
    tell = (ws, loop.id, Told.DECISION, How.LETTER, "函 12", ZHANG, NOON)
    with pytest.raises(TransitionRefused, match="approved first"):
        tell_customer(*tell)
    tell_customer(*tell, approval[-4:])
    assert [e["approval"] for e in events(ws.db, "loop.customer_told")] == [approval]


def test_a_letters_words_are_shown_masked_and_kept_out_of_the_envelope(letters: Workspace) -> None:
    letter = "尊敬的客户：您的来电号码 13800138000 已登记，年费已退还。"
    approval = approvals.reply(letters, a_loop(letters).id, letter, ZHANG, NOON)
    shown = show_approval(letters, approval[-4:], NOON)
    assert shown["for"] == ["ho.chief"]
    assert shown["words"] == {
        "requested letter": "尊敬的客户：您的来电号码 138****8000 已登记，年费已退还。"
    }


# Documents and templates

REAL = document("organisation").replace("example: true\n", "")


@pytest.fixture
def real(ws: Workspace) -> Workspace:
    """The same firm, but no longer an example: what it publishes and sends is approved."""
    publish(ws.db, documents(organisation=REAL), OPS, NOON)
    return Workspace(ws.settings, ws.db)


def draft() -> dict[str, bytes]:
    return documents(
        organisation=REAL, policy=document("policy").replace("bounces: 2", "bounces: 3")
    )


def test_a_set_is_published_after_another_persons_grant(real: Workspace) -> None:
    with pytest.raises(FindingError, match="not been approved"):
        publish(real.db, draft(), OPS, NOON)
    approval = approve_documents.request_publication(real, draft(), OPS, NOON)
    assert approve_documents.request_publication(real, draft(), OPS, NOON) == approval
    with pytest.raises(FindingError):
        publish(real.db, draft(), OPS, NOON)
    with pytest.raises(NotPermitted):
        approvals.approve(real, approval, OPS, NOON)
    approvals.approve(real, approval, CHIEF, NOON)
    with pytest.raises(FindingError):
        publish(real.db, draft() | documents(policy=document("policy")), OPS, NOON)
    done = publish(real.db, draft(), OPS, NOON)
    assert events(real.db, "documents.published")[-1]["approval"] == approval
    assert done.documents.rulebook.bounces == 3


def test_a_refused_set_is_asked_for_anew(real: Workspace) -> None:
    approval = approve_documents.request_publication(real, draft(), OPS, NOON)
    approvals.refuse(real, approval, "先试运行", CHIEF, NOON)
    with pytest.raises(FindingError):
        publish(real.db, draft(), OPS, NOON)
    assert approve_documents.request_publication(real, draft(), OPS, NOON) != approval


def test_no_draft_frees_itself_of_approval(real: Workspace) -> None:
    free = (
        document("policy")
        .replace("kind: publication", "kind: reply")
        .replace("level: four-eyes", "level: other")
    )
    for files in (
        documents(),
        documents(organisation=REAL, policy=free),
    ):
        with pytest.raises(FindingError):
            publish(real.db, files, OPS, NOON)


def test_a_request_names_the_files_that_change(real: Workspace) -> None:
    approval = approve_documents.request_publication(real, draft(), OPS, NOON)
    event = one(real.db, HistoryEvent, kind="approval.requested")
    body = json.loads(one(real.db, EventBody, event_id=event.event_id).body)
    assert body == {"changed": ["policy.yaml"]}
    assert (event.loop_id, json.loads(event.data)["approval"]) == (None, approval)


def test_templates_for_customers_are_asked_for_once(real: Workspace) -> None:
    asked = approve_documents.request_templates(real, NOON)
    assert len(asked) == len(approve_documents.customers_templates(real))
    assert approve_documents.request_templates(real, NOON) == []
    assert {row.terms["template"] for row in rows(real.db, Approval)} >= {
        "cause_closed",
        "verification_question",
    }
    assert {m.person for m in rows(real.db, Message, template="approval_waiting")} == {"ho.chief"}


def test_an_example_asks_for_none(ws: Workspace) -> None:
    assert approve_documents.request_templates(ws, NOON) == []


def test_nobody_approves_the_template_they_published(real: Workspace) -> None:
    with pytest.raises(NotPermitted, match="own request"):
        approve_documents.approve_template(real, "cause_closed", OPS, NOON)
    assert rows(real.db, Approval) == []
    approval = approve_documents.approve_template(real, "cause_closed", CHIEF, NOON)
    assert one(real.db, Approval).id == approval
    with pytest.raises(TransitionRefused, match="granted already"):
        approve_documents.approve_template(real, "cause_closed", CHIEF, NOON)
    with pytest.raises(InputError, match="customers are not sent"):
        approve_documents.approve_template(real, "ticket_assigned", CHIEF, NOON)


def to_customer(ws: Workspace) -> Any:
    """A message to a customer who wrote by mail, due now."""
    loop = a_loop(ws, mail="kunde@post.invalid")
    message = approvals.NewMessage(
        f"verification_question:{loop.id}",
        "verification_question",
        loop.lead,
        channel="customer",
    )
    with ws.db.begin() as tx:
        approvals.queue(tx, [approvals.message_row(message, loop.id, NOON)])
    return loop


def deliver(ws: Workspace) -> Any:
    while asyncio.run(deliver_lease(ws, LATER)):
        pass
    return one(ws.db, Message, template="verification_question")


def test_unapproved_words_do_not_reach_a_customer(real: Workspace) -> None:
    to_customer(real)
    message = deliver(real)
    assert message.state == "quarantined"
    assert "nobody has approved" in message.error


def test_approved_words_do_and_the_record_says_by_which_approval(real: Workspace) -> None:
    approval = approve_documents.approve_template(real, "verification_question", CHIEF, NOON)
    to_customer(real)
    message = deliver(real)
    assert message.state == "sent", message.error
    assert one(real.db, Delivery, message_id=message.id).template_version is not None
    sent = [e for e in events(real.db, "message.sent") if e["message"] == message.id]
    assert [e["approval"] for e in sent] == [approval]


def test_another_content_is_another_template(real: Workspace) -> None:
    approve_documents.approve_template(real, "verification_question", CHIEF, NOON)
    files = draft()
    text = files["templates.yaml"].decode()
    files["templates.yaml"] = text.replace("问题解决了吗", "问题处理好了吗").encode()
    assert files["templates.yaml"].decode() != text
    approval = approve_documents.request_publication(real, files, OPS, NOON)
    approvals.approve(real, approval, CHIEF, NOON)
    publish(real.db, files, OPS, NOON)
    real.__dict__.pop("published")
    to_customer(real)
    assert deliver(real).state == "quarantined"


# Being told


def test_who_asked_is_told_what_was_decided(ws: Workspace) -> None:
    _, approval = ask_time(ws)
    approvals.refuse(ws, approval, "人手够", ZHANG, LATER)
    waiting = one(ws.db, Message, template="approval_waiting")
    decided = one(ws.db, Message, template="approval_decided")
    assert waiting.key == f"approval_waiting:{approval}:db.zhang"
    assert (decided.key, decided.person) == (f"approval_decided:{approval}", "cc.li")
    asyncio.run(deliver_lease(ws, LATER))
    assert {m.state for m in rows(ws.db, Message)} == {"sent"}
    letters = {
        path.parent.name: path.read_text("utf-8")
        for path in ws.settings.messages.folder.rglob("*.txt")
        if approval in path.read_text("utf-8")
    }
    assert WHY in letters["db.zhang"]
    assert "增加工作日：2" in letters["db.zhang"]
    assert "人手够" in letters["cc.li"]


def test_they_are_told_in_english_too(ws: Workspace) -> None:
    _, approval = ask_time(ws)
    approvals.refuse(ws, approval, "enough hands", ZHANG, LATER)
    templates = {t.id: t for t in ws.published.documents.templates}
    messages = [m for m in rows(ws.db, Message) if m.template.startswith("approval_")]
    with ws.db.read() as tx:
        about = contexts(tx, ws, messages, "en")
    said = {
        message.template: render(templates[message.template], "en", context)
        for message, context in zip(messages, about, strict=True)
    }
    waiting, decided = said["approval_waiting"], said["approval_decided"]
    assert waiting.subject == f"[{approval}] For your approval: more time (Digital)"
    assert "Level: The unit's managers." in waiting.text
    assert "working days more: 2" in waiting.text
    assert decided.subject == f"[{approval}] refused: more time"
    assert "They say: enough hands" in decided.text
    assert "None" not in waiting.text + decided.text


def test_requests_without_a_loop_are_told_too(real: Workspace) -> None:
    approve_documents.request_publication(real, draft(), OPS, NOON)
    asyncio.run(deliver_lease(real, LATER))
    message = one(real.db, Message, template="approval_waiting")
    assert (message.state, message.person, message.loop_id) == ("sent", "ho.chief", None)


def test_the_list_says_what_waits_for_whom(letters: Workspace) -> None:
    ws = letters
    _, approval = ask_time(ws)
    letter = approvals.reply(ws, a_loop(ws, "年费乱收，投诉").id, "尊敬的客户", ZHANG, LATER)
    assert [i["id"] for i in list_approvals(ws, LATER)] == [approval, letter]
    mine = list_approvals(ws, LATER, person="db.zhang")
    assert [(i["id"], i["for"]) for i in mine] == [(approval, ["db.zhang", "ho.chief"])]
    approvals.approve(ws, letter, CHIEF, LATER)
    assert [i["id"] for i in list_approvals(ws, LATER, person="ho.chief")] == [approval]
    assert [i["id"] for i in list_approvals(ws, LATER, every=True)] == [letter, approval]
    asked = list_approvals(ws, LATER, person="db.zhang", every=True)
    assert [i["state"] for i in asked] == ["granted", "waiting"]


def test_a_policy_without_levels_grants_nothing(ws: Workspace) -> None:
    policy = document("policy")
    start = policy.index("approvals:")
    end = policy.index("\n\n", start)
    clerk(ws, policy=policy[:start] + policy[end:])
    loop = a_loop(ws)
    with pytest.raises(InputError, match="approvals"):
        approvals.compensate(ws, loop.id, 100, "误收年费", CLERK, NOON)
    assert not approvals.demands_reply_approval(ws)
