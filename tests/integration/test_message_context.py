"""What messages say of real rows: the present state, and to a customer only what is theirs."""

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import event, insert, update

from loopwright.history.checkpoints import SealRefused
from models.base import table
from models.clock import Clock
from models.kinds import Answer, CallOutcome, Channel, EventKind
from models.message import Message
from notifications.context import CONTEXT, TO_CUSTOMERS
from notifications.templates import Rendered, RenderError, render
from tasks.approval.approvals import refuse, request_more_time
from tasks.audit.seal_history import warn_operations
from tasks.causes.big_loops import close
from tasks.causes.big_loops import triage as take_on
from tasks.causes.plan_cause import Plan, plan
from tasks.change import Change, NewMessage, message_row, queue
from tasks.clocks.recompute import warn
from tasks.clocks.watch_clocks import watch_lease
from tasks.messages.context import contexts
from tasks.messages.facts import gather
from tasks.messages.wording import elapsed, working
from tasks.tickets.hand_off import accept, reject, resolve
from tasks.verification.answers import answer
from tasks.verification.call_backs import called
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
    change_now,
    one,
    rows,
    take_in,
    ticket_of,
)

PHONE = "13900000001"
WORDS = f"还是登录不了，电话{PHONE}"
DONE = f"已为客户重置密码，并电话{PHONE}告知"


def shanghai(day: int, hour: int) -> datetime:
    """A time of August 2026 in Shanghai."""
    return NOON + timedelta(days=day - 3, hours=hour - 12)


def watch(ws: Workspace, *moments: datetime) -> None:
    for now in moments:
        while watch_lease(ws, now):
            pass


def about(ws: Workspace, message: Any, language: str = "zh") -> dict[str, Any]:
    with ws.db.read() as tx:
        return contexts(tx, ws, [message], language)[0]


def written(ws: Workspace, message: Any, language: str = "zh") -> Rendered:
    templates = {t.id: t for t in ws.published.documents.templates}
    return render(templates[message.template], language, about(ws, message, language))


def told(ws: Workspace, template: str, **where: Any) -> Any:
    """The last message of a template."""
    found = rows(ws.db, Message, template=template, **where)
    assert found, f"nobody was told by {template}"
    return max(found, key=lambda m: (m.created_at, m.id))


def of_clock(ws: Workspace, template: str, spec: str) -> Any:
    return next(m for m in rows(ws.db, Message, template=template) if f".{spec}" in m.key)


def post(ws: Workspace, loop: str, template: str, unit: str = "DB", **more: Any) -> Any:
    """A message written directly into the outbox."""
    message = NewMessage(f"{template}:{loop}", template, unit, **more)
    with ws.db.begin() as tx:
        queue(tx, [message_row(message, loop, NOON)])
    return told(ws, template)


def solved(ws: Workspace) -> str:
    loop = str(a_loop(ws, f"{LOGIN}，电话{PHONE}", customer="C1").id)
    resolve(ws, ticket_of(ws, loop).id, "C01", DONE, ZHANG, NOON)
    return loop


def taken_up(ws: Workspace) -> str:
    take_in(ws, *({"text": UPDATE, "customer": who} for who in ("C1", "C2", "C3")))
    return take_on(ws, candidate(ws), "DB", ["RK", "CC"], None, OPS, NOON)


def candidate(ws: Workspace) -> str:
    return str(told(ws, "big_loop_candidate").loop_id)


# Clocks


def test_a_new_ticket_says_when_it_is_due(ws: Workspace) -> None:
    loop = a_loop(ws)
    assert "请在 2026-08-06 17:00 前接单并办结。" in written(ws, told(ws, "ticket_assigned")).text
    reject(ws, ticket_of(ws, loop.id).id, "这是卡部的事", "CC", ZHANG, NOON + DAY)
    again = written(ws, told(ws, "ticket_reassigned")).text
    assert "请在 2026-08-07 17:00 前接单并办结。" in again, "the new unit's own three days"
    assert "数字部：“这是卡部的事”" in again


def test_a_stopped_clock_sets_no_time(ws: Workspace) -> None:
    loop = a_loop(ws)
    resolve(ws, ticket_of(ws, loop.id).id, "C01", DONE, ZHANG, NOON)
    assert about(ws, told(ws, "ticket_assigned"))["ticket"]["due_at"] == ""


def test_an_owner_is_reminded_in_working_time(ws: Workspace) -> None:
    ticket = ticket_of(ws, a_loop(ws).id)
    watch(ws, shanghai(6, 9))
    message = of_clock(ws, "clock_reminder", "owner")
    made = written(ws, message)
    assert made.subject.startswith(f"[{ticket.id}] P3 即将到期（2026-08-06 17:00）：")
    assert "承办\n2026-08-06 17:00 到期，还剩 8 个工作小时（暂定，" in made.text
    assert "尚未公布）。工单目前：待接单。" in made.text
    assert "按“标准”逐级上报" in made.text
    assert f"接单：loopwright ticket accept {ticket.id} --as …" in made.text
    assert made.text.startswith("数字部负责同事：您好！\n\n有一件客户问题")
    assert (
        "Due 2026-08-06 17:00, 8 working hours left (provisional:"
        in written(ws, message, "en").text
    )


def test_an_accepted_ticket_is_not_asked_to_be_accepted(ws: Workspace) -> None:
    loop = a_loop(ws)
    accept(ws, ticket_of(ws, loop.id).id, ZHANG, NOON)
    watch(ws, shanghai(6, 9))
    titles = [a["title"] for a in about(ws, of_clock(ws, "clock_reminder", "owner"))["answer"]]
    assert titles == ["说明进展", "转给别的部门", "处理完毕", "申请延期"]


def test_a_clock_of_the_customers_asks_for_a_first_answer(ws: Workspace) -> None:
    """It is nobody's ticket, and it counts every hour."""
    loop = a_loop(ws)
    watch(ws, shanghai(4, 8))
    made = written(ws, of_clock(ws, "clock_reminder", "customer"))
    assert made.subject.startswith(f"[{loop.id}] ")
    assert "2026-08-04 12:00 到期，还剩 4 小时。\n" in made.text
    assert f"已联系客户：loopwright loop told {loop.id} --what first-answer" in made.text
    assert "ticket accept" not in made.text


def test_a_message_held_back_overnight_counts_from_the_morning(ws: Workspace) -> None:
    a_loop(ws)
    watch(ws, shanghai(4, 8))
    message = of_clock(ws, "clock_reminder", "customer")
    late = SimpleNamespace(**{**message._mapping, "created_at": shanghai(3, 22)})
    assert about(ws, late)["clock"]["left"] == "4 小时"


def test_the_end_of_a_day_is_not_the_beginning_of_the_next(ws: Workspace) -> None:
    a_loop(ws)
    watch(ws, shanghai(16, 9))
    assert about(ws, of_clock(ws, "clock_reminder", "legal"))["clock"]["due_at"].startswith(
        "2026-08-18 24:00"
    )


def test_a_breach_says_for_how_long(ws: Workspace) -> None:
    a_loop(ws)
    watch(ws, shanghai(7, 10))
    made = written(ws, of_clock(ws, "clock_breached", "owner"))
    assert "已逾期 1 个工作小时（暂定，" in made.text
    customers = written(ws, of_clock(ws, "clock_breached", "customer"))
    assert "已逾期 2 天 22 小时。" in customers.text


def test_superiors_learn_who_was_told_before(ws: Workspace) -> None:
    ticket = ticket_of(ws, a_loop(ws).id)
    watch(ws, shanghai(6, 9), shanghai(6, 17), shanghai(7, 13), shanghai(10, 9))
    first, second = sorted(
        (m for m in rows(ws.db, Message, template="clock_climbed") if ".owner" in m.key),
        key=lambda m: m.created_at,
    )
    assert (first.person, second.person) == ("db.zhang", "ho.chief")
    assert about(ws, first)["told"] == [
        {"who": "数字部", "what": "到期前提醒", "at": "2026-08-06 09:00"},
        {"who": "数字部", "what": "时限已过", "at": "2026-08-06 17:00"},
    ]
    made = written(ws, second)
    assert made.text.startswith(
        "首长，您好！\n\n数字部有一件客户问题逾期未办，现报到您这里（上级负责人）。"
    )
    assert "2026-08-07 13:00 张敏（数字部）：逐级上报" in made.text
    assert "请协调" in made.text
    assert "请今天确认两件事" in written(ws, first).text
    assert f"loopwright ticket transfer {ticket.id} --to" in made.text
    assert "跳过" not in made.text


def test_superiors_learn_who_was_passed_over(ws: Workspace) -> None:
    a_loop(ws)
    watch(ws, shanghai(6, 17))
    clock = one(ws.db, Clock, spec="owner")
    message = NewMessage("climbed", "clock_climbed", "CX", clock.ticket_id, {"clock": clock.id})
    data = {
        **{"clock": clock.id, "step": "ops", "unit": "CX", "person": None, "next_at": None},
        "passed": "manager,manager2",
    }
    climbed = Change(clock.loop_id, EventKind.CLOCK_CLIMBED, data, messages=(message,))
    change_now(ws, climbed, now=shanghai(7, 17))
    row = one(ws.db, Message, key="climbed")
    assert "跳过（休假、空缺或已告知）：部门负责人、上级负责人\n" in written(ws, row).text
    assert "问清责任部门卡在哪里" in written(ws, row).text
    assert "the unit's head, the head's manager\n" in written(ws, row, "en").text


@pytest.mark.breaks_history
def test_a_clock_that_is_no_longer_published_is_still_told(ws: Workspace) -> None:
    loop = a_loop(ws)
    with ws.db.begin() as tx:
        gone = dict(rows(ws.db, Clock, spec="owner")[0]._mapping)
        tx.execute(insert(table(Clock)).values(gone | {"id": "gone", "spec": "forgotten"}))
    message = post(ws, loop.id, "clock_breached", values={"clock": "gone"})
    assert "forgotten\n2026-08-06 17:00" in written(ws, message).text


# Verification


def test_a_customer_reads_only_what_is_theirs(ws: Workspace) -> None:
    loop = solved(ws)
    ask(ws, NOON)
    message = post(ws, loop, "verification_question", channel=Channel.CUSTOMER)
    context = about(ws, message)
    known = {"organisation", "matter", "done", "answer_by", "changed", "asked_on", "final"}
    assert set(context) <= known
    assert context["matter"] == {
        "number": loop,
        "topic_title": context["matter"]["topic_title"],
        "said_on": "2026年8月3日",
    }
    made = written(ws, message)
    whole = made.subject + made.text + made.html
    assert PHONE not in whole
    assert "已为客户重置密码，并电话139****0001告知" in made.text
    assert "请您在2026年8月10日前答复" in made.text
    for secret in ("loopwright", ticket_of(ws, loop).id, "P3", "数字部", "张敏", "ordinary"):
        assert secret not in whole
    english = written(ws, message, "en")
    assert "On 3 August 2026 you told us" in english.text
    assert "Please answer by 10 August 2026." in english.text


@pytest.mark.parametrize(
    ("template", "channel"),
    [("ticket_assigned", Channel.CUSTOMER), ("verification_question", Channel.MAIN)],
)
def test_words_for_staff_and_for_customers_never_change_places(
    ws: Workspace, template: str, channel: Channel
) -> None:
    message = post(ws, solved(ws), template, channel=channel)
    assert message.channel == channel
    with pytest.raises(RenderError):
        written(ws, message)


def test_the_last_resolution_is_the_one_told(ws: Workspace) -> None:
    loop = solved(ws)
    answer(ws, loop, Answer.NO, WORDS, ZHANG, NOON)
    resolve(ws, ticket_of(ws, loop).id, "C01", "又修了一次", ZHANG, NOON + HOUR)
    message = post(ws, loop, "verification_question", channel=Channel.CUSTOMER)
    assert about(ws, message)["done"] == "又修了一次"


def test_a_department_is_told_how_to_ask(ws: Workspace) -> None:
    loop = solved(ws)
    ask(ws, NOON)
    made = written(ws, told(ws, "verification_call"))
    assert made.text.startswith("数字部负责同事：您好！")
    assert "您好，这里是测试公司。您在2026年8月3日反映过" in made.text
    for said in ("yes", "partly", "no"):
        assert f"loopwright loop answer {loop} {said} --words … --as …" in made.text
    assert "请在2026年8月10日前打。" in made.text
    assert "没打过的不会关闭" in made.text
    called(ws, loop, CallOutcome.BUSY, "", ZHANG, NOON + DAY)
    again = written(ws, told(ws, "verification_call"))
    assert "【已经打过】\n2026-08-04 12:00 占线\n" in again.text
    assert f"loopwright loop called {loop} --outcome no-answer" in again.text


@pytest.mark.breaks_history
def test_who_is_asked_again_reads_when_the_first_time_was(ws: Workspace) -> None:
    loop = str(a_loop(ws, customer="C1", mail="c1@mail.example").id)
    resolve(ws, ticket_of(ws, loop).id, "C01", DONE, ZHANG, NOON)
    ask(ws, NOON)
    first = told(ws, "verification_question")
    assert "问过您" not in written(ws, first).text
    assert "先结束这次回访" not in written(ws, first).text, "not the last time"
    with ws.db.begin() as tx:
        tx.execute(update(table(Message)).values(state="sent"))
    follow_up(ws, NOON + 7 * DAY)
    again = written(ws, told(ws, "verification_question"))
    assert "我们在2026年8月3日问过您是否解决" in again.text
    assert "请您在2026年8月17日前答复；没有收到答复，我们会先结束这次回访" in again.text


def test_an_answer_in_doubt_goes_to_operations_with_the_words(ws: Workspace) -> None:
    loop = solved(ws)
    ask(ws, NOON)
    answer(ws, loop, Answer.YES, WORDS, OPS, NOON)
    made = written(ws, told(ws, "answer_doubted"))
    assert "选的是：已解决\n说的是：“还是登录不了，电话139****0001”" in made.text
    for meant in ("yes", "partly", "no"):
        assert f"loopwright loop settle {loop} {meant} --as …" in made.text


def test_the_manager_reads_the_first_answer_of_a_reopened_loop(ws: Workspace) -> None:
    loop = solved(ws)
    ask(ws, NOON)
    answer(ws, loop, Answer.YES, "", OPS, NOON)
    answer(ws, loop, Answer.PARTLY, "又不行了", OPS, NOON + DAY)
    unit, manager = (told(ws, "loop_reopened", person=who) for who in (None, "db.zhang"))
    assert written(ws, unit).text.startswith("数字部负责同事：您好！")
    made = written(ws, manager)
    assert made.text.startswith("张敏，您好！")
    assert "“客户回访时说：部分解决。又不行了”\n客户第一次的答复：已解决\n" in made.text
    assert PHONE not in made.text


def test_a_reopened_ticket_says_what_the_customer_answered(ws: Workspace) -> None:
    loop = solved(ws)
    answer(ws, loop, Answer.PARTLY, WORDS, ZHANG, NOON + HOUR)
    message = told(ws, "loop_reopened")
    made = written(ws, message)
    assert "“客户回访时说：部分解决。还是登录不了，电话139****0001”" in made.text
    assert "请在 2026-08-06 17:00 前重新处理。" in made.text
    assert "the customer says: partly solved. 还是" in written(ws, message, "en").text


def test_who_complains_again_has_not_answered(ws: Workspace) -> None:
    solved(ws)
    take_in(ws, {"text": LOGIN, "customer": "C1"}, now=NOON + HOUR)
    assert "“客户再次反馈同一问题”" in written(ws, told(ws, "loop_reopened")).text


# Big loops


def test_each_unit_learns_its_part_in_a_big_loop(ws: Workspace) -> None:
    taken_up(ws)
    lead = written(ws, told(ws, "big_loop_assigned", unit="DB"))
    other = written(ws, told(ws, "big_loop_assigned", unit="RK"))
    assert "请贵部门牵头。" in lead.text
    assert "请贵部门配合。" in other.text
    assert "牵头：数字部\n配合：卡部、风险部\n" in other.text
    assert "涉及客户 3 位" in other.text
    assert "loopwright loop plan B" in lead.text
    assert "loopwright loop plan" not in other.text
    assert "ticket resolve" not in lead.text, "there is no plan yet"
    assert "办结时限：2026-08-24 17:00。" in lead.text


def closed(ws: Workspace) -> str:
    loop = taken_up(ws)
    made = Plan("C01", ["没有回归测试"], ["先回归"], "少于十笔", date(2026, 9, 1))
    plan(ws, loop, made, ZHANG, NOON)
    for unit, actor in (("DB", ZHANG), ("RK", LI), ("CC", LI)):
        ticket = told(ws, "big_loop_assigned", unit=unit).ticket_id
        resolve(ws, ticket, "C01", "已完成", actor, NOON)
    close(ws, loop, "not proven", "观察期已满", f"失败会立即退款，问{PHONE}", OPS, NOON + DAY)
    return loop


def test_all_learn_how_a_big_loop_ended(ws: Workspace) -> None:
    closed(ws)
    for unit in ("DB", "RK", "CC"):
        made = written(ws, told(ws, "big_loop_closed", unit=unit))
        assert "结果：成效未证实。" in made.text
        assert "【关闭的理由】\n观察期已满\n" in made.text
        assert "【改变了什么】\n失败会立即退款，问139****0001\n" in made.text


def test_a_customer_learns_what_has_changed(ws: Workspace) -> None:
    big = closed(ws)
    small = min(m.loop_id for m in rows(ws.db, Message, template="ticket_assigned"))
    message = post(ws, small, "cause_closed", values={"big": big}, channel=Channel.CUSTOMER)
    made = written(ws, message)
    assert "改变了什么：\n失败会立即退款，问139****0001\n" in made.text
    assert f"受理编号 {small}" in made.subject
    assert big not in made.subject + made.text + made.html
    assert "观察期已满" not in made.html


def test_a_department_is_told_how_to_say_what_has_changed(ws: Workspace) -> None:
    big = closed(ws)
    message = told(ws, "cause_closed_call")
    made, english = written(ws, message), written(ws, message, "en")
    assert made.text.startswith("数字部负责同事：您好！")
    assert "您好，这里是测试公司。您在2026年8月3日反映过" in made.text
    assert "“失败会立即退款，问139****0001”\n" in made.text
    assert f"【客户当时说】\n“{UPDATE}”\n" in made.text
    said = f"loopwright loop told {message.loop_id} --what change --how call --reference … --as …"
    assert said in made.text
    assert said in english.text
    assert "On 3 August 2026 you told us" in english.text
    assert big not in made.subject + made.text + made.html


def test_nobody_is_asked_to_say_nothing(ws: Workspace) -> None:
    message = post(ws, solved(ws), "cause_closed_call", values={"big": "B1"})
    with pytest.raises(RenderError, match="changed"):
        written(ws, message)


def measured(ws: Workspace, big: str) -> None:
    """A look at its fix, and the messages that quote it."""
    data = {"effect": "F1", "horizon": 90, "method": "series", "verdict": "not_proven"}
    numbers = {"before": 262, "after": 241, "change": -80, "low": -240, "high": 110}
    body = {"reason": {"zh": "没有证实下降", "en": "no fall is proven"}}
    change_now(ws, Change(big, EventKind.EFFECT_MEASURED, data | numbers, body=body))
    for template in ("effect_measured", "big_loop_relapsed"):
        post(ws, big, template, "DB")


def test_what_was_measured_is_said(ws: Workspace) -> None:
    big = closed(ws)
    measured(ws, big)
    for template in ("effect_measured", "big_loop_relapsed"):
        zh, en = (written(ws, told(ws, template), language) for language in ("zh", "en"))
        assert "没有证实下降" in zh.text
        assert "no fall is proven" in en.text
        assert f"loopwright loop effect {big}" in zh.text
    assert "已观察 90 天，结果：未证实" in written(ws, told(ws, "effect_measured")).text


def test_operations_are_told_how_to_take_a_candidate_up(ws: Workspace) -> None:
    take_in(ws, {"text": UPDATE, "customer": "C1"})
    context = about(ws, told(ws, "big_loop_candidate"))
    assert [a["title"] for a in context["answer"]] == ["查看始末", "立项", "不立项"]
    assert context["evidence"] == ""


# All of them


def everything(ws: Workspace) -> list[Any]:
    """Messages of every kind, of many loops."""
    measured(ws, closed(ws))
    loop = a_loop(ws, FEE, customer="C9")
    reject(ws, ticket_of(ws, loop.id).id, "不是我们", "DB", LI, NOON)
    reject(ws, ticket_of(ws, loop.id).id, "也不是我们", "RK", ZHANG, NOON)
    again = solved(ws)
    answer(ws, again, Answer.NO, WORDS, ZHANG, NOON)
    watch(ws, shanghai(6, 9), shanghai(6, 17), shanghai(7, 13))
    resolve(ws, ticket_of(ws, again).id, "C01", DONE, ZHANG, shanghai(7, 13))
    ask(ws, shanghai(7, 13))
    more = ticket_of(ws, a_loop(ws, customer="C8").id).id
    approval = request_more_time(ws, more, 2, f"等客户 {PHONE} 回电", LI, NOON)
    refuse(ws, approval, "人手够", ZHANG, NOON)
    big, values = candidate(ws), {"big": candidate(ws)}
    post(ws, again, "verification_question", channel=Channel.CUSTOMER)
    post(ws, again, "cause_closed", values=values, channel=Channel.CUSTOMER)
    post(ws, again, "verification_call")
    post(ws, again, "answer_doubted", "CX")
    post(ws, big, "triage_waiting", "CX")
    take_in(ws, {"text": f"登录不了，我不想活了，打 {PHONE}"})
    warn(ws, {"calendar_missing:1:2027": 2027}, NOON)
    warn_operations(ws, SealRefused("event", 1, 40, 38), NOON)
    stuck = {"batch": "B1", "source": "desk", "feedback": 3, "attempts": 8}
    post(ws, big, "triage_stuck", "CX", values=stuck)
    return rows(ws.db, Message)


@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_message_can_be_written(ws: Workspace, language: str) -> None:
    messages = everything(ws)
    assert {m.template for m in messages} == set(CONTEXT)
    for message in messages:
        made = written(ws, message, language)
        whole = made.subject + made.text
        assert not re.search(r"None|\[\]|\{|\bopen\b.*_", whole), whole
        assert PHONE not in whole
        if message.template in TO_CUSTOMERS:
            assert "loopwright" not in whole


def statements(ws: Workspace, messages: Sequence[Any]) -> int:
    seen: list[str] = []
    with ws.db.read() as tx:
        event.listen(tx, "before_cursor_execute", lambda *a: seen.append(a[2]))
        gather(tx, messages)
    return len(seen)


def test_many_messages_cost_no_more_queries_than_one(ws: Workspace) -> None:
    for n in range(5):
        a_loop(ws, customer=f"C{n}")
    messages = rows(ws.db, Message)
    assert statements(ws, messages) == statements(ws, messages[:1]) <= 9


SPANS = [
    (timedelta(minutes=25), "25 分钟", "25 min"),
    (timedelta(hours=1), "1 小时", "1 h"),
    (timedelta(hours=3, minutes=20, seconds=40), "3 小时 20 分钟", "3 h 20 min"),
    (timedelta(days=2, hours=4, minutes=59), "2 天 4 小时", "2 d 4 h"),
    (timedelta(days=2, minutes=59), "2 天", "2 d"),
    (timedelta(seconds=59), "", ""),
    (-DAY, "", ""),
]


@pytest.mark.parametrize(("span", "zh", "en"), SPANS)
def test_time_in_words(span: timedelta, zh: str, en: str) -> None:
    assert (elapsed(span, "zh"), elapsed(span, "en")) == (zh, en)


HOURS = [
    (8.0, "8 个工作小时", "8 working hours"),
    (7.4, "7.5 个工作小时", "7.5 working hours"),
    (1.0, "1 个工作小时", "1 working hour"),
    (0.5, "30 分钟工作时间", "30 working minutes"),
    (0.0, "", ""),
    (-3.0, "", ""),
]


@pytest.mark.parametrize(("hours", "zh", "en"), HOURS)
def test_working_time_in_words(hours: float, zh: str, en: str) -> None:
    assert (working(hours, "zh"), working(hours, "en")) == (zh, en)
