"""Mail and WeCom side by side: each has its own attempts and fate, neither holds up the other."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from email import message_from_bytes

import pytest
from aiosmtpd.smtp import Envelope
from pydantic import SecretStr

from loopwright.errors import EnvironmentFault
from loopwright.history.verify import verify
from models.history import HistoryEvent
from models.kinds import EventKind
from models.message import Delivery, Message
from notifications.registry import TRANSPORTS, WECOM
from notifications.wecom_robot import WecomRobotTransport
from tasks.documents.publish import publish
from tasks.messages.deliver import PATIENCE, PAUSE, deliver_lease
from tasks.messages.outbox import LEASE, DeliveryCounts, insert_once, requeue
from tasks.workspace import Workspace
from tests.cast import FEE, LOGIN, NOON, OPS, UPDATE, a_loop, number_of, one, rows, sound, take_in
from tests.integration.test_wecom_robot import CC, DB, Clock, with_robots
from tests.smtp_double import Relay, free_port, smtp
from tests.wecom_double import Busy, Drop, Slow, WecomDouble, wecom

BESIDE = "wecom"


@dataclass
class House:
    """A workspace whose mail goes to `relay` and whose robots live in `double`."""

    ws: Workspace
    relay: Relay
    double: WecomDouble
    clock: Clock

    def deliver(self, now: datetime = NOON, limit: int = 200) -> DeliveryCounts | None:
        return asyncio.run(deliver_lease(self.ws, now, limit))

    def row(self, channel: str) -> Message:
        found: Message = one(self.ws.db, Message, channel=channel)
        return found

    def outcomes(self, channel: str) -> list[str]:
        return [d.outcome for d in rows(self.ws.db, Delivery, message_id=self.row(channel).id)]

    def cut_off_mail(self) -> None:
        self.ws.settings.smtp.port = free_port()

    def cut_off_wecom(self) -> None:
        self.ws.settings.wecom.base_url = f"http://127.0.0.1:{free_port()}"


@pytest.fixture
def house(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    publish(ws.db, with_robots(), OPS, NOON)
    clock = Clock()
    monkeypatch.setitem(TRANSPORTS, WECOM, lambda s: WecomRobotTransport(s.wecom, clock))
    with smtp() as (relay, port), wecom(DB, CC, clock=clock) as double:
        ws.settings.messages.transport = "smtp"
        ws.settings.smtp.host, ws.settings.smtp.port = "127.0.0.1", port
        ws.settings.smtp.timeout = ws.settings.wecom.timeout = 2
        ws.settings.wecom.base_url = double.url
        ws.settings.wecom.robots = {"dept_db": SecretStr(DB), "Dept-CC": SecretStr(CC)}
        yield House(ws, relay, double, clock)


def test_a_department_gets_it_both_ways(house: House) -> None:
    loop = a_loop(house.ws, LOGIN, customer="C1")
    assert house.deliver() == DeliveryCounts(sent=2)
    assert house.deliver() is None
    [mail], [group] = house.relay.accepted, house.double.contents(DB)
    assert mail.rcpt_tos == ["db@firm.invalid"]
    assert "登录不了" in group
    main, beside = house.row("main"), house.row(BESIDE)
    assert beside.key == f"{main.key}:wecom"
    assert (main.state, beside.state) == ("sent", "sent")
    assert (beside.unit, beside.ticket_id, beside.loop_id) == ("DB", main.ticket_id, loop.id)
    assert {d.transport for d in rows(house.ws.db, Delivery)} == {"smtp", WECOM}
    told = rows(house.ws.db, HistoryEvent, kind=EventKind.MESSAGE_SENT)
    assert sorted('"transport":"smtp"' in e.envelope for e in told) == [False, True]
    assert sound(house.ws.db)


def test_only_units_with_a_robot_of_their_own(house: House) -> None:
    """The head office's robot has no key, and its group is not everybody's."""
    house.ws.settings.wecom.robots["house"] = SecretStr(CC)
    take_in(house.ws, {"text": "排队太久", "unit": "BR1-01"})
    assert house.deliver() == DeliveryCounts(sent=1)
    assert house.double.shown == []


@pytest.mark.parametrize("transport", ["smtp", "file"])
def test_it_can_be_switched_off(house: House, transport: str) -> None:
    house.ws.settings.messages.transport = transport
    a_loop(house.ws)
    assert house.deliver() == DeliveryCounts(sent=2)
    house.ws.settings.wecom.beside = False
    a_loop(house.ws, FEE)
    assert house.deliver() == DeliveryCounts(sent=1)
    assert house.double.contents(CC) == []


def test_where_robots_are_the_way_they_speak_once(house: House) -> None:
    house.ws.settings.messages.transport = WECOM
    a_loop(house.ws)
    assert house.deliver() == DeliveryCounts(sent=1)
    assert len(house.double.shown) == 1


def test_wecom_is_down_and_mail_goes(house: House) -> None:
    a_loop(house.ws)
    url = house.ws.settings.wecom.base_url
    house.cut_off_wecom()
    assert house.deliver() == DeliveryCounts(sent=1, retried=1)
    assert (house.row("main").state, house.row(BESIDE).state) == ("sent", "queued")
    assert house.outcomes(BESIDE) == ["failed"]
    house.ws.settings.wecom.base_url = url
    assert house.deliver(house.row(BESIDE).due_at) == DeliveryCounts(sent=1)
    assert house.outcomes(BESIDE) == ["failed", "accepted"]
    assert (len(house.relay.accepted), len(house.double.shown)) == (1, 1)
    assert sound(house.ws.db)


def test_mail_is_down_and_wecom_goes(house: House) -> None:
    a_loop(house.ws)
    port = house.ws.settings.smtp.port
    house.cut_off_mail()
    assert house.deliver() == DeliveryCounts(sent=1, retried=1)
    assert (house.row("main").state, house.row(BESIDE).state) == ("queued", "sent")
    house.ws.settings.smtp.port = port
    assert house.deliver(house.row("main").due_at) == DeliveryCounts(sent=1)
    assert (len(house.relay.accepted), len(house.double.shown)) == (1, 1)
    assert number_of(house.ws.db, Message) == 2


def test_each_way_has_its_own_fate(house: House) -> None:
    """The group's robot is gone for good; then somebody mends it."""
    a_loop(house.ws)
    house.double.robots.discard(DB)
    assert house.deliver() == DeliveryCounts(sent=1, quarantined=1)
    assert (house.row("main").state, house.row(BESIDE).state) == ("sent", "quarantined")
    house.double.robots.add(DB)
    assert requeue(house.ws, house.row(BESIDE).id, OPS, NOON) == 1
    assert house.deliver() == DeliveryCounts(sent=1)
    assert (len(house.relay.accepted), len(house.double.shown)) == (1, 1)


def test_a_robot_that_comes_later_repeats_nothing_old(house: House) -> None:
    """The first attempt was before it; a notice now would be news of long ago."""
    a_loop(house.ws)
    house.ws.settings.wecom.beside = False
    house.relay.says = "451 4.7.1 try later"
    house.deliver()
    house.ws.settings.wecom.beside = True
    house.relay.says = "250 ok"
    assert house.deliver(house.row("main").due_at) == DeliveryCounts(sent=1)
    assert house.double.shown == []


def test_a_mailbox_refused_for_good_does_not_bring_another_twin(house: House) -> None:
    a_loop(house.ws)
    house.relay.says = "554 5.7.1 refused"
    assert house.deliver() == DeliveryCounts(sent=1, quarantined=1)
    house.relay.says = "250 ok"
    requeue(house.ws, None, OPS, NOON)
    assert house.deliver() == DeliveryCounts(sent=1)
    assert len(house.double.shown) == 1


def test_a_way_that_cannot_be_opened_does_not_stop_the_other(house: House) -> None:
    a_loop(house.ws)
    house.ws.settings.messages.transport = "pigeon"
    with pytest.raises(EnvironmentFault, match="pigeon"):
        house.deliver()
    assert len(house.double.shown) == 1
    assert (house.row("main").state, house.row(BESIDE).state) == ("queued", "sent")


def test_a_slow_way_does_not_hold_up_the_other(house: House) -> None:
    """Both departments' mails are taken before WeCom answers for the first time."""
    take_in(house.ws, {"text": LOGIN}, {"text": FEE})
    house.double.faults += [Slow(1.0), Slow(1.0)]
    before = time.monotonic()
    assert house.deliver() == DeliveryCounts(sent=4)
    assert len(house.relay.times) == 2
    assert max(house.relay.times) - before < 1.0
    assert time.monotonic() - before > 2.0


def test_a_way_that_is_silent_is_left_alone_for_a_while(house: House) -> None:
    """What was not tried has lost no attempt and is not marked as perhaps sent."""
    number = PATIENCE + 4
    take_in(house.ws, *({"text": LOGIN, "customer": f"C{n}"} for n in range(number)))
    port = house.ws.settings.smtp.port
    house.cut_off_mail()
    assert house.deliver() == DeliveryCounts(sent=number, retried=number)
    waiting = rows(house.ws.db, Message, channel="main", state="queued")
    put_off = [m for m in waiting if m.due_at == NOON + PAUSE]
    assert (len(waiting), len(put_off)) == (number, number - PATIENCE)
    assert all(m.attempts - m.spent == 0 for m in put_off)
    assert all(d.outcome != "sending" for d in rows(house.ws.db, Delivery))
    house.ws.settings.smtp.port = port
    assert house.deliver(NOON + PAUSE) == DeliveryCounts(sent=number)
    assert len(house.relay.accepted) == number
    assert sound(house.ws.db)


def test_what_is_refused_is_not_silence(house: House) -> None:
    take_in(house.ws, *({"text": LOGIN, "customer": f"C{n}"} for n in range(PATIENCE + 4)))
    house.relay.says = "451 4.7.1 try later"
    house.deliver()
    waiting = rows(house.ws.db, Message, channel="main")
    assert all(m.attempts - m.spent == 1 for m in waiting)


class Killed(BaseException):
    pass


def test_a_crash_between_gives_one_recognisable_duplicate_a_way(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both were sent, neither was recorded: the worker was killed."""
    a_loop(house.ws)
    with monkeypatch.context() as patch:
        patch.setattr("tasks.messages.deliver.record", kill)
        with pytest.raises(Killed):
            house.deliver()
    assert (len(house.relay.accepted), len(house.double.shown)) == (1, 1)
    assert house.deliver(NOON + LEASE - timedelta(seconds=1)) is None
    assert house.deliver(NOON + LEASE) == DeliveryCounts(sent=2)
    assert house.deliver(NOON + 2 * LEASE) is None
    assert len({message_id_of(mail) for mail in house.relay.accepted}) == 1
    first, second = house.double.contents(DB)
    assert second == first.replace("\n\n", "（重发）\n\n", 1)
    assert (len(house.relay.accepted), number_of(house.ws.db, Message)) == (2, 2)
    for channel in ("main", BESIDE):
        assert house.outcomes(channel) == ["sending", "accepted"]


def kill(*_: object) -> None:
    raise Killed


def message_id_of(envelope: Envelope) -> str:
    assert envelope.original_content is not None
    return str(message_from_bytes(envelope.original_content)["Message-ID"])


def test_doubt_about_one_way_repeats_only_that(house: House) -> None:
    """WeCom took it and hung up without an answer."""
    a_loop(house.ws)
    house.double.faults.append(Drop())
    assert house.deliver() == DeliveryCounts(sent=1, retried=1)
    assert house.outcomes(BESIDE) == ["unknown"]
    assert house.deliver(house.row(BESIDE).due_at) == DeliveryCounts(sent=1)
    first, second = house.double.contents(DB)
    assert second == first.replace("\n\n", "（重发）\n\n", 1)
    assert len(house.relay.accepted) == 1


def test_busy_robots_use_up_their_own_attempts_only(house: House) -> None:
    a_loop(house.ws)
    house.double.faults.append(Busy())
    house.deliver()
    main, beside = house.row("main"), house.row(BESIDE)
    assert (main.state, main.attempts, beside.state, beside.attempts) == ("sent", 1, "queued", 1)


def test_one_due_message_brings_its_twin_whatever_the_limit(house: House) -> None:
    take_in(house.ws, {"text": LOGIN}, {"text": UPDATE, "customer": "C1"}, {"text": FEE})
    total = DeliveryCounts()
    while counts := house.deliver(limit=1):
        total += counts
    assert total.sent == number_of(house.ws.db, Message)
    assert total.retried == total.quarantined == 0
    mains = rows(house.ws.db, Message, channel="main")
    with_group = [m.key for m in mains if m.unit in ("DB", "CC")]
    twins = [m.key for m in rows(house.ws.db, Message, channel=BESIDE)]
    assert sorted(twins) == sorted(f"{key}:wecom" for key in with_group)


@pytest.mark.breaks_history
def test_a_twin_that_is_there_already_stays_as_it_is(house: House) -> None:
    a_loop(house.ws)
    main = house.row("main")
    with house.ws.db.begin() as tx:
        row = dict(main._mapping) | {  # type: ignore[attr-defined]
            "id": "T",
            "key": f"{main.key}:wecom",
            "channel": BESIDE,
            "state": "sent",
        }
        assert insert_once(tx, [row]) == ["T"]
    assert house.deliver() == DeliveryCounts(sent=1)
    assert house.double.shown == []


def test_no_key_in_history_or_rows(house: House) -> None:
    a_loop(house.ws)
    house.deliver()
    seen = [*rows(house.ws.db, HistoryEvent), *rows(house.ws.db, Delivery)]
    seen += rows(house.ws.db, Message)
    assert not [row for row in seen if DB in repr(row)]
    with house.ws.db.read() as tx:
        assert verify(tx).ok
