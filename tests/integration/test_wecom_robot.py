"""Group robots over real HTTP: limits, refusals, doubt and repetition, and no key anywhere."""

import asyncio
import json
import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import yaml
from pydantic import SecretStr

from loopwright.errors import EnvironmentFault
from loopwright.log import log
from models.history import HistoryEvent
from models.kinds import EventKind
from models.message import Delivery, Message
from notifications.registry import TRANSPORTS, WECOM
from notifications.transport import Outgoing, Receipt, TransportError, WecomSettings
from notifications.wecom_robot import WecomRobotTransport
from notifications.wecom_text import notice_number
from tasks.documents.publish import publish
from tasks.messages.deliver import deliver_lease, send_test
from tasks.messages.outbox import LEASE, DeliveryCounts, claim, requeue
from tasks.workspace import Workspace
from tests.cast import (
    FEE,
    LOGIN,
    NOON,
    OPS,
    a_loop,
    document,
    documents,
    number_of,
    one,
    rows,
    sound,
    take_in,
)
from tests.wecom_double import PATH, Busy, Drop, Fault, Gateway, Slow, WecomDouble, wecom

DB, CC = "key-of-digital-0a1b", "key-of-cards-2c3d"
SECOND = timedelta(seconds=1)


@dataclass
class Clock:
    """The double's and the transport's time, moved by the test."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def double(clock: Clock) -> Iterator[WecomDouble]:
    with wecom(DB, CC, clock=clock) as running:
        yield running


def notice(number: int, to: str = "dept-db", text: str = "客户说：“转圈”") -> Outgoing:
    ticket = f"T261121-{number:08}"
    return Outgoing(
        message_id=f"<{number:024}@cx.example>",
        to=to,
        subject=f"[{ticket}] P2 新工单：登录失败",
        text=text,
        html="",
        at=datetime(2026, 11, 21, tzinfo=UTC),
        number=ticket,
    )


def notices(count: int, to: str = "dept-db") -> list[Outgoing]:
    return [notice(number, to) for number in range(count)]


def settings_of(double: WecomDouble, timeout: float = 5) -> WecomSettings:
    return WecomSettings(double.url, {"dept-db": DB, "DEPT_CC": CC}, timeout)


def batch(
    double: WecomDouble, clock: Clock, *messages: Outgoing, alone: bool = False, timeout: float = 5
) -> list[Any]:
    """Receipts and errors of one batch; `alone`: each message by itself."""

    async def go() -> list[Any]:
        transport = WecomRobotTransport(settings_of(double, timeout), clock)
        groups: Sequence[list[Outgoing]] = transport.bundles(messages)
        if alone:
            groups = [[message] for message in messages]
        try:
            return [o for group in groups for o in await transport.send_bundle(group)]
        finally:
            await transport.close()

    return asyncio.run(go())


def test_a_message_alone_is_shown_in_full(double: WecomDouble, clock: Clock) -> None:
    message = notice(1)
    [receipt] = batch(double, clock, message)
    assert receipt == Receipt(f"dept-db/{notice_number(message)}")
    [shown] = double.shown
    assert (shown.key, shown.kind, shown.mentions) == (DB, "markdown", ())
    assert "客户说" in shown.content
    assert message.number in shown.content
    assert notice_number(message) in shown.content


def test_what_goes_to_one_robot_goes_together(double: WecomDouble, clock: Clock) -> None:
    messages = [notice(1), notice(2, "dept-cc"), notice(3), notice(4)]
    outcomes = batch(double, clock, *messages)
    assert all(isinstance(outcome, Receipt) for outcome in outcomes)
    assert [outcome.reference.split("/")[0] for outcome in outcomes] == ["dept-db"] * 3 + [
        "dept-cc"
    ]
    assert len({outcome.reference for outcome in outcomes}) == 2
    [together] = double.contents(DB)
    assert all(messages[n].number in together for n in (0, 2, 3))
    assert "3 条" in together
    assert "客户说" not in together
    assert len(double.contents(CC)) == 1


def test_two_hundred_messages_pass_within_a_minute(double: WecomDouble, clock: Clock) -> None:
    messages = notices(200)
    outcomes = batch(double, clock, *messages)
    assert all(isinstance(outcome, Receipt) for outcome in outcomes)
    assert len(double.shown) <= 8
    everything = "\n".join(double.contents(DB))
    assert all(message.number in everything for message in messages)
    assert set(double.answers) == {0}


def test_the_twenty_first_waits_without_asking(double: WecomDouble, clock: Clock) -> None:
    messages = notices(25)
    outcomes = batch(double, clock, *messages, alone=True)
    assert [isinstance(outcome, Receipt) for outcome in outcomes] == [True] * 20 + [False] * 5
    assert double.answers == [0] * 20, "nothing was asked in vain"
    assert {outcome.retry_after for outcome in outcomes[20:]} == {timedelta(seconds=60)}
    clock.now += 60
    assert isinstance(batch(double, clock, messages[20])[0], Receipt)


def test_others_may_have_used_the_minute_up(double: WecomDouble, clock: Clock) -> None:
    """Another process knows nothing of us: WeCom itself is the judge, and is asked once."""
    batch(double, clock, *notices(20), alone=True)
    clock.now += 30
    outcomes = batch(double, clock, notice(21), notice(22), notice(23, "dept-cc"), alone=True)
    assert double.answers[20:] == [45009, 0]
    assert [getattr(outcome, "retry_after", None) for outcome in outcomes] == [
        *(timedelta(minutes=1), timedelta(minutes=1), None)
    ]
    assert not any(outcome.permanent or outcome.unknown for outcome in outcomes[:2])


def test_a_robot_that_is_gone_is_asked_once(
    double: WecomDouble, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    double.robots.discard(DB)
    double.forbidden[CC] = 93004
    outcomes = batch(double, clock, notice(1), notice(2), notice(3, "dept-cc"), alone=True)
    assert double.answers == [93000, 93004]
    assert [outcome.permanent for outcome in outcomes] == [True] * 3
    assert ["93000" in o.reason for o in outcomes] == [True, True, False]
    alerts = [r.getMessage() for r in caplog.records if r.name == "loopwright"]
    assert len(alerts) == 2
    assert "dept-db" in alerts[0]


def test_a_robot_without_a_key(double: WecomDouble, clock: Clock) -> None:
    nobody, somebody = batch(double, clock, notice(1, "dept-xx"), notice(2))
    assert nobody.permanent
    assert "dept-xx" in nobody.reason
    assert isinstance(somebody, Receipt)


def test_one_refused_message_does_not_take_the_others_along(
    double: WecomDouble, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = double.take

    def picky(message: Any) -> tuple[int, str]:
        return (40201, "anti spam") if "坏话" in message.content else take(message)

    monkeypatch.setattr(double, "take", picky)
    bad = replace(notice(2), subject="[T2] 坏话")
    outcomes = batch(double, clock, notice(1), bad, notice(3))
    assert [isinstance(outcome, Receipt) for outcome in outcomes] == [True, False, True]
    assert outcomes[1].permanent
    assert len(double.shown) == 2


@pytest.mark.parametrize(
    ("fault", "unknown", "shown"),
    [
        (Busy(), False, 0),
        (Busy(45033), False, 0),
        (Drop(), True, 1),
        (Slow(0.6), True, 1),
        (Gateway(502), True, 0),
        (Gateway(403), False, 0),
        (Gateway(200), True, 0),
        (Gateway(200, '{"errcode": -1, "errmsg": "busy"}'), False, 0),
    ],
)
def test_failures_that_are_tried_again(
    double: WecomDouble, clock: Clock, fault: Fault, unknown: bool, shown: int
) -> None:
    double.faults.append(fault)
    [error] = batch(double, clock, notice(1), timeout=0.3)
    assert isinstance(error, TransportError)
    assert (error.permanent, error.retry_after) == (False, None)
    assert error.unknown is unknown
    assert len(double.shown) == shown
    assert isinstance(batch(double, clock, replace(notice(1), again=unknown))[0], Receipt)
    marked = "（重发）" in double.shown[-1].content
    assert marked is unknown
    assert all(notice_number(notice(1)) in message.content for message in double.shown)


def test_nobody_listens(clock: Clock) -> None:
    with wecom(DB, clock=clock) as double:
        pass
    [error] = batch(double, clock, notice(1))
    assert (error.permanent, error.unknown) == (False, False)


def test_one_connection_serves_a_robots_batch(double: WecomDouble, clock: Clock) -> None:
    batch(double, clock, *notices(5), alone=True)
    assert double.connections == 1


ANSWERS: list[tuple[bytes, int]] = [
    ('{"msgtype":"text","text":{"content":"好"}}'.encode(), 0),
    (b'{"msgtype":"text","text":{"content":"\\u597d"}}', 40033),
    (b'{"msgtype":"text","text":{"content":" "}}', 44004),
    (b'{"msgtype":"markdown"}', 44004),
    (b'{"msgtype":"telegram","telegram":{}}', 40008),
    (b"{}", 40008),
    (b"no json", 40008),
    (b'{"msgtype":"text","text":{"content":"\xff"}}', 40008),
    (f'{{"msgtype":"text","text":{{"content":"{"好" * 683}"}}}}'.encode(), 40058),
    (f'{{"msgtype":"markdown","markdown":{{"content":"{"a" * 4096}"}}}}'.encode(), 0),
    (f'{{"msgtype":"markdown","markdown":{{"content":"{"a" * 4097}"}}}}'.encode(), 40058),
]


@pytest.mark.parametrize(("body", "code"), ANSWERS)
def test_the_double_reads_bodies_as_the_page_says(
    double: WecomDouble, body: bytes, code: int
) -> None:
    response = httpx.post(f"{double.url}{PATH}?key={DB}", content=body, trust_env=False)
    assert response.status_code == 200
    assert response.json()["errcode"] == code
    assert httpx.post(f"{double.url}{PATH}", content=body).json()["errcode"] == 93000


def test_words_that_would_act_do_not(double: WecomDouble, clock: Clock) -> None:
    words = "<@all> <@zhangsan> [点我](http://evil.example) https://evil.example WWW.evil.example"
    hostile = replace(notice(1, text=words + ' <font color="warning">'), subject=words)
    batch(double, clock, hostile)
    batch(double, clock, hostile, replace(hostile, message_id="<2@x>"))
    assert len(double.shown) == 2
    assert [(message.mentions, message.active) for message in double.shown] == [((), [])] * 2
    control = replace(double.shown[0], content=words)
    assert control.mentions == ("all", "zhangsan")
    assert len(control.active) >= 3, "the double would have seen them"


def everything(error: BaseException | None) -> str:
    """All that an exception and what hangs on it would print, addresses of requests included."""
    found = []
    while error is not None:
        found += [repr(error), *traceback.format_exception(error)]
        found.append(str(getattr(error, "_request", "")) + str(vars(error)))
        error = error.__cause__ or error.__context__
    return "".join(found)


FAULTS: list[Callable[[WecomDouble], object]] = [
    lambda _double: None,
    lambda double: double.faults.append(Drop()),
    lambda double: double.faults.append(Slow(0.6)),
    lambda double: double.faults.append(Gateway(500)),
    lambda double: double.faults.append(Gateway(302)),
    lambda double: double.robots.clear(),
    lambda double: setattr(double, "url", "http://127.0.0.1:9"),
]


@pytest.mark.parametrize("prepare", FAULTS)
def test_the_key_is_never_seen(
    double: WecomDouble,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    prepare: Callable[[WecomDouble], object],
) -> None:
    caplog.set_level(logging.DEBUG)
    prepare(double)
    outcomes = batch(double, clock, notice(1), timeout=0.3)
    log.error("test.saw", outcome=str(outcomes))
    told = repr(outcomes) + repr(settings_of(double)) + caplog.text
    for outcome in outcomes:
        told += everything(outcome) if isinstance(outcome, TransportError) else repr(outcome)
    assert "test.saw" in told
    assert not [secret for secret in (DB, CC, "key=", "webhook") if secret in told]


# From here on with the outbox.


def with_robots() -> dict[str, bytes]:
    organisation = yaml.safe_load(document("organisation"))
    robots = {"HO": "house", "DB": "dept-db", "CC": "dept-cc"}
    for unit in organisation["units"]:
        if unit["code"] in robots:
            unit["contact"]["wecom"] = robots[unit["code"]]
    return documents(organisation=yaml.safe_dump(organisation, allow_unicode=True))


@pytest.fixture
def desk(
    ws: Workspace, double: WecomDouble, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Workspace:
    publish(ws.db, with_robots(), OPS, NOON)
    ws.settings.messages.transport = "wecom_robot"
    ws.settings.wecom.base_url = double.url
    ws.settings.wecom.timeout = 0.5
    ws.settings.wecom.robots = {"dept_db": SecretStr(DB), "dept_cc": SecretStr(CC)}
    monkeypatch.setitem(
        TRANSPORTS, "wecom_robot", lambda settings: WecomRobotTransport(settings.wecom, clock)
    )
    return ws


def deliver(ws: Workspace, now: datetime = NOON) -> DeliveryCounts | None:
    return asyncio.run(deliver_lease(ws, now))


def test_an_outbox_of_tickets(desk: Workspace, double: WecomDouble) -> None:
    take_in(desk, *({"text": LOGIN, "customer": f"C{n}"} for n in range(5)), {"text": FEE})
    assert deliver(desk) == DeliveryCounts(sent=6)
    [together], [alone] = double.contents(DB), double.contents(CC)
    sent = rows(desk.db, Message)
    assert {message.state for message in sent} == {"sent"}
    assert all(m.ticket_id in together for m in sent if m.unit == "DB")
    assert "年费" in alone
    references = {m.unit: set[str]() for m in sent}
    for message in sent:
        references[message.unit].add(one(desk.db, Delivery, message_id=message.id).reference)
    assert {unit: len(found) for unit, found in references.items()} == {"DB": 1, "CC": 1}
    events = rows(desk.db, HistoryEvent, kind=EventKind.MESSAGE_SENT)
    assert len(events) == 6
    assert not [e for e in events if DB in e.envelope or CC in e.envelope]
    assert sound(desk.db)


def test_no_room_is_no_attempt(desk: Workspace, double: WecomDouble, clock: Clock) -> None:
    a_loop(desk)
    now = NOON
    for turn in range(1, 12):
        double.use_up(DB)
        assert deliver(desk, now) == DeliveryCounts(retried=1)
        row = one(desk.db, Message)
        assert (row.state, row.attempts - row.spent, row.due_at) == ("queued", 0, now + 60 * SECOND)
        assert number_of(desk.db, Delivery) == turn
        now = row.due_at
    clock.now += 61
    assert deliver(desk, now) == DeliveryCounts(sent=1)
    assert {d.outcome for d in rows(desk.db, Delivery)} == {"postponed", "accepted"}
    assert "重发" not in double.shown[0].content, "it was never in doubt"
    assert sound(desk.db)


def test_workers_that_know_nothing_of_each_other_lose_nothing(
    desk: Workspace, double: WecomDouble, clock: Clock
) -> None:
    """One message a lease, as the dispatcher sends: the minute fills, then few messages do."""
    take_in(desk, *({"text": LOGIN, "customer": f"C{n}"} for n in range(24)))
    fates = [asyncio.run(deliver_lease(desk, NOON, limit=1)) for _ in range(24)]
    assert fates == [DeliveryCounts(sent=1)] * 20 + [DeliveryCounts(retried=1)] * 4
    assert deliver(desk, NOON + 59 * SECOND) is None
    clock.now += 60
    assert deliver(desk, NOON + 60 * SECOND) == DeliveryCounts(sent=4)
    assert len(double.shown) == 21
    everything = "".join(double.contents(DB))
    assert all(everything.count(m.ticket_id + "］") == 1 for m in rows(desk.db, Message))


def test_a_test_message(desk: Workspace, double: WecomDouble) -> None:
    assert asyncio.run(send_test(desk, "dept-db", OPS, NOON)).startswith("dept-db/")
    assert "测试" in double.contents(DB)[0]
    with pytest.raises(EnvironmentFault, match="no key is set for robot nobody"):
        asyncio.run(send_test(desk, "nobody", OPS, NOON))
    events = rows(desk.db, HistoryEvent, kind=EventKind.MESSAGE_TESTED)
    said = [json.loads(event.data) for event in events]
    assert [(s["transport"], s["accepted"]) for s in said] == [(WECOM, True), (WECOM, False)]
    assert "no key is set" in said[1]["reason"]
    assert {event.actor_id for event in events} == {OPS.id}


def test_doubt_is_told_even_after_other_failures(desk: Workspace, double: WecomDouble) -> None:
    a_loop(desk)
    double.faults += [Drop(), Busy()]
    assert deliver(desk) == DeliveryCounts(retried=1)
    assert one(desk.db, Delivery).outcome == "unknown"
    assert deliver(desk, one(desk.db, Message).due_at) == DeliveryCounts(retried=1)
    assert deliver(desk, one(desk.db, Message).due_at) == DeliveryCounts(sent=1)
    first, second = double.contents(DB)
    assert "（重发）" not in first
    assert second == first.replace("\n\n", "（重发）\n\n", 1), "and otherwise the same"


def test_a_dead_worker_may_have_sent_it(desk: Workspace, double: WecomDouble) -> None:
    a_loop(desk)
    claim(desk, "token of the dead", NOON, 10)
    assert deliver(desk, NOON + LEASE) == DeliveryCounts(sent=1)
    assert "（重发）" in double.contents(DB)[0]


def test_a_plain_failure_leaves_no_doubt(desk: Workspace, double: WecomDouble) -> None:
    a_loop(desk)
    double.faults.append(Busy())
    deliver(desk)
    deliver(desk, one(desk.db, Message).due_at)
    assert "重发" not in double.contents(DB)[0]


def test_a_robot_that_is_gone_and_back(desk: Workspace, double: WecomDouble) -> None:
    take_in(desk, {"text": LOGIN}, {"text": FEE})
    double.robots.discard(DB)
    assert deliver(desk) == DeliveryCounts(sent=1, quarantined=1)
    refused = one(desk.db, Message, state="quarantined")
    assert (refused.unit, "93000" in refused.error) == ("DB", True)
    double.robots.add(DB)
    assert requeue(desk, refused.id, OPS, NOON) == 1
    assert deliver(desk) == DeliveryCounts(sent=1)


def test_the_nearest_robot_of_the_line(desk: Workspace, double: WecomDouble) -> None:
    """The branch has none, the head office's has no key."""
    take_in(desk, {"text": "排队太久", "unit": "BR1-01"})
    assert deliver(desk) == DeliveryCounts(quarantined=1)
    assert one(desk.db, Message).error == "no key is set for robot house"
    desk.settings.wecom.robots["House"] = SecretStr(CC)
    requeue(desk, None, OPS, NOON)
    assert deliver(desk) == DeliveryCounts(sent=1)
    assert len(double.contents(CC)) == 1


def test_a_customers_words_reach_the_group_disarmed(desk: Workspace, double: WecomDouble) -> None:
    a_loop(desk, LOGIN + " <@all> [点我](http://evil.example) <@zhang> www.evil.example")
    deliver(desk)
    [shown] = double.shown
    assert "点我" in shown.content
    assert (shown.mentions, shown.active) == ((), [])
