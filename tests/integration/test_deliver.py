"""Out of the outbox: sent once, tried again with patience, given up with a reason, never lost."""

import asyncio
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, update

from loopwright.db import bulk_insert
from loopwright.errors import EnvironmentFault
from loopwright.ids import uuid7s
from models.base import table
from models.feedback import Batch
from models.history import HistoryEvent
from models.kinds import EventKind
from models.message import Delivery, Message
from notifications.registry import TRANSPORTS
from notifications.retry import ATTEMPTS
from notifications.transport import TransportError
from tasks.change import NewMessage, message_row
from tasks.messages import outbox
from tasks.messages.deliver import compose, deliver_lease
from tasks.messages.outbox import LEASE, Attempt, DeliveryCounts, claim, record, requeue
from tasks.routing.triage import claim as claim_batches
from tasks.routing.triage import remind_triage
from tasks.tickets.hand_off import reject
from tasks.workspace import Workspace
from tests.cast import (
    DAY,
    FEE,
    LI,
    LOGIN,
    NOON,
    OPS,
    UNCLEAR,
    UPDATE,
    ZHANG,
    a_loop,
    number_of,
    one,
    rows,
    sound,
    take_in,
    ticket_of,
    withdraw,
)
from tests.fakes import FakeTransport, plug_in

MESSAGES = table(Message)
BUSY = TransportError("451 try later")
UNKNOWN = TransportError("550 no such mailbox", permanent=True)


@pytest.fixture
def out(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> FakeTransport:
    ws.settings.messages.transport = "fake"
    return plug_in(monkeypatch, FakeTransport())


def deliver(ws: Workspace, now: datetime = NOON) -> DeliveryCounts | None:
    return asyncio.run(deliver_lease(ws, now))


def test_a_message_is_sent_once(ws: Workspace, out: FakeTransport) -> None:
    loop = a_loop(ws, LOGIN, customer="C1")
    assert deliver(ws) == DeliveryCounts(sent=1)
    assert deliver(ws) is None
    assert deliver(ws, NOON + 9 * DAY) is None
    [mail] = out.sent
    assert (mail.to, mail.unit) == ("db@firm.invalid", "DB")
    assert "登录不了" in mail.subject
    assert mail.thread_id
    assert mail.thread_id != mail.message_id
    row, attempt = one(ws.db, Message), one(ws.db, Delivery)
    assert (row.state, row.attempts, row.sent_at, row.error) == ("sent", 1, NOON, None)
    assert (attempt.outcome, attempt.reference, attempt.transport) == (
        "accepted",
        "queued-1",
        "fake",
    )
    told = one(ws.db, HistoryEvent, kind=EventKind.MESSAGE_SENT)
    assert loop.id in told.data
    assert told.template_version.startswith("ticket_assigned@")
    assert "firm.invalid" not in told.envelope
    assert out.closed == 1
    assert sound(ws.db)


def test_messages_of_one_loop_hang_together(ws: Workspace, out: FakeTransport) -> None:
    take_in(ws, {"text": UPDATE, "customer": "C1"}, {"text": FEE, "customer": "C1"})
    deliver(ws)
    assert len({mail.thread_id for mail in out.sent}) == len(out.sent) == 3
    assert len({mail.message_id for mail in out.sent}) == 3


def test_a_temporary_failure_is_tried_again(ws: Workspace, out: FakeTransport) -> None:
    a_loop(ws)
    out.faults["db@firm.invalid"] = BUSY
    waits: list[timedelta] = []
    now = NOON
    for attempt in range(1, 4):
        assert deliver(ws, now) == DeliveryCounts(retried=1)
        row = one(ws.db, Message)
        assert (row.state, row.attempts, row.error) == ("queued", attempt, "451 try later")
        waits.append(row.due_at - now)
        assert deliver(ws, row.due_at - timedelta(microseconds=1)) is None
        now = row.due_at
    assert all(timedelta() <= wait <= timedelta(hours=12) for wait in waits)
    assert rows(ws.db, HistoryEvent, kind=EventKind.MESSAGE_SENT) == []
    out.faults.clear()
    assert deliver(ws, now) == DeliveryCounts(sent=1)
    assert [d.outcome for d in rows(ws.db, Delivery)] == ["failed"] * 3 + ["accepted"]
    assert one(ws.db, Message).error is None


def test_given_up_after_the_last_attempt(ws: Workspace, out: FakeTransport) -> None:
    a_loop(ws)
    out.faults["db@firm.invalid"] = BUSY
    now = NOON
    for _ in range(ATTEMPTS - 1):
        assert deliver(ws, now) == DeliveryCounts(retried=1)
        now = one(ws.db, Message).due_at
    assert deliver(ws, now) == DeliveryCounts(quarantined=1)
    assert deliver(ws, now + 99 * DAY) is None
    assert out.tried == ATTEMPTS
    row = one(ws.db, Message)
    assert (row.state, row.error) == ("quarantined", "451 try later")
    event = one(ws.db, HistoryEvent, kind=EventKind.MESSAGE_QUARANTINED)
    assert json.loads(event.data)["reason"] == "451 try later"
    out.faults.clear()
    assert requeue(ws, row.id, OPS, now) == 1
    assert deliver(ws, now) == DeliveryCounts(sent=1)
    assert sound(ws.db)


def test_who_queued_what_again_is_in_the_history(
    ws: Workspace, out: FakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "SET", 2)
    take_in(ws, {"text": LOGIN}, {"text": LOGIN}, {"text": LOGIN, "customer": "C1"})
    out.faults["db@firm.invalid"] = UNKNOWN
    assert deliver(ws) == DeliveryCounts(quarantined=3)
    first = rows(ws.db, Message)[0]
    assert requeue(ws, first.id, OPS, NOON + DAY) == 1
    assert requeue(ws, None, ZHANG, NOON + DAY) == 2
    assert requeue(ws, None, ZHANG, NOON + DAY) == 0
    events = rows(ws.db, HistoryEvent, kind=EventKind.MESSAGE_REQUEUED)
    said = {json.loads(event.data)["message"]: event.actor_id for event in events}
    assert said == {
        row.id: OPS.id if row.id == first.id else ZHANG.id for row in rows(ws.db, Message)
    }
    data = json.loads(events[0].data)
    assert (data["loop"], data["template"], data["attempts"]) == (first.loop_id, first.template, 1)
    assert {row.state for row in rows(ws.db, Message)} == {"queued"}
    assert sound(ws.db)


def test_trying_to_queue_again_changes_nothing(ws: Workspace, out: FakeTransport) -> None:
    take_in(ws, {"text": LOGIN})
    out.faults["db@firm.invalid"] = UNKNOWN
    deliver(ws)
    ws.db.dry_run = True
    assert requeue(ws, None, OPS, NOON) == 1
    ws.db.dry_run = False
    assert one(ws.db, Message).state == "quarantined"
    assert rows(ws.db, HistoryEvent, kind=EventKind.MESSAGE_REQUEUED) == []


def test_a_permanent_failure_is_given_up_at_once(ws: Workspace, out: FakeTransport) -> None:
    take_in(ws, {"text": LOGIN}, {"text": FEE})
    out.faults["db@firm.invalid"] = UNKNOWN
    assert deliver(ws) == DeliveryCounts(sent=1, quarantined=1)
    refused = one(ws.db, Message, state="quarantined")
    assert (refused.unit, refused.error) == ("DB", "550 no such mailbox")
    assert one(ws.db, Delivery, message_id=refused.id).outcome == "refused"


UNSENDABLE: list[tuple[dict[str, str], str]] = [
    ({"template": "nothing_like_it"}, "no template nothing_like_it"),
    ({"unit": "GONE"}, "unit GONE has no address"),
]


@pytest.mark.parametrize(("changed", "why"), UNSENDABLE)
def test_what_cannot_be_composed_does_not_stop_the_others(
    ws: Workspace, out: FakeTransport, changed: dict[str, str], why: str
) -> None:
    take_in(ws, {"text": LOGIN}, {"text": FEE})
    with ws.db.begin() as tx:
        tx.execute(update(MESSAGES).where(MESSAGES.c.unit == "DB").values(**changed))
    assert deliver(ws) == DeliveryCounts(sent=1, quarantined=1)
    assert why in one(ws.db, Message, state="quarantined").error
    assert [mail.unit for mail in out.sent] == ["CC"]


def test_an_address_is_the_nearest_parents(ws: Workspace, out: FakeTransport) -> None:
    """The sub-branch has no mailbox of its own and neither has its head."""
    take_in(ws, {"text": "排队太久", "unit": "BR1-01"})
    deliver(ws)
    assert out.sent[0].unit == "BR1-01"
    assert out.sent[0].to == "br1-01.head@firm.invalid"


def test_a_dead_workers_lease_expires(ws: Workspace, out: FakeTransport) -> None:
    """Claimed and perhaps sent, then the process died: sent again as the same message."""
    a_loop(ws)
    [claimed] = claim(ws, "token of the dead", NOON, 10)
    [lost] = compose(ws, [claimed], NOON)
    assert deliver(ws, NOON + LEASE - timedelta(seconds=1)) is None
    assert deliver(ws, NOON + LEASE) == DeliveryCounts(sent=1)
    assert not isinstance(lost, str)
    assert out.sent[0].message_id == lost.message_id
    assert out.sent[0] == lost
    assert [d.outcome for d in rows(ws.db, Delivery)] == ["sending", "accepted"]
    assert one(ws.db, Message).attempts == 2


LATE = [(None, False), ("451 try later", False), ("550 no", True)]


@pytest.mark.usefixtures("out")
@pytest.mark.parametrize(("error", "permanent"), LATE)
def test_a_late_result_changes_nothing(ws: Workspace, error: str | None, permanent: bool) -> None:
    """The first worker comes back after a second one has taken over and finished."""
    a_loop(ws)
    [claimed] = claim(ws, "slow", NOON, 10)
    deliver(ws, NOON + LEASE)
    before = one(ws.db, Message)
    events = number_of(ws.db, HistoryEvent)
    late = Attempt(claimed, None if error else "late", error, permanent)
    assert record(ws, "slow", [late], "fake", NOON + LEASE) == DeliveryCounts()
    assert one(ws.db, Message) == before
    assert number_of(ws.db, HistoryEvent) == events
    assert rows(ws.db, Delivery)[0].outcome != "sending"
    assert sound(ws.db)


def test_two_workers_share_what_is_due(ws: Workspace, another: Callable[[], Workspace]) -> None:
    take_in(ws, *({"text": LOGIN, "customer": f"C{n}"} for n in range(6)))
    one_, two = another(), another()
    mine = {m.id for m in claim(one_, "a", NOON, 4)}
    yours = {m.id for m in claim(two, "b", NOON, 4)}
    assert (len(mine), len(yours), mine & yours) == (4, 2, set())


PERSONAL = ("13900000001", "6222021234567890128", "a.person@mail.example")


def test_personal_data_is_masked_in_what_is_sent(ws: Workspace, out: FakeTransport) -> None:
    phone, card, mail = PERSONAL
    a_loop(ws, f"登录不了，我的电话{phone}，卡号{card}，邮箱{mail}", phone=phone)
    deliver(ws)
    for part in (out.sent[0].subject, out.sent[0].text, out.sent[0].html):
        assert not [secret for secret in PERSONAL if secret in part]
    assert "登录不了" in out.sent[0].text


def test_every_kind_of_message_can_be_sent(ws: Workspace, out: FakeTransport) -> None:
    take_in(ws, {"text": UPDATE, "customer": "C1"}, {"text": UNCLEAR})
    loop = a_loop(ws, LOGIN, customer="C2").id
    remind_triage(ws, NOON)
    reject(ws, ticket_of(ws, loop).id, "不是我们", "CC", ZHANG, NOON)
    reject(ws, ticket_of(ws, loop).id, "也不是", "RK", LI, NOON)
    withdraw(ws, loop)
    take_in(ws, {"text": LOGIN, "customer": "C2"})
    kinds = {m.template for m in rows(ws.db, Message)}
    assert len(kinds) == 6
    counts = deliver(ws)
    assert counts is not None
    assert (counts.sent, counts.quarantined) == (number_of(ws.db, Message), 0), [
        m.error for m in rows(ws.db, Message)
    ]
    assert "{{" not in "".join(m.subject + m.text + m.html for m in out.sent)


def test_an_unknown_transport_is_a_fault_and_loses_nothing(ws: Workspace) -> None:
    a_loop(ws)
    ws.settings.messages.transport = "pigeon"
    with pytest.raises(EnvironmentFault, match="pigeon"):
        deliver(ws)
    ws.settings.messages.transport = "file"
    assert "file" in TRANSPORTS
    assert deliver(ws, NOON + LEASE) == DeliveryCounts(sent=1)
    assert list(ws.settings.messages.folder.rglob("*.eml"))


def plan(ws: Workspace, work: Callable[[], object]) -> str:
    """How the database answers the first question of a piece of work."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, *_rest: Any) -> None:
        asked.append((statement, values))

    event.listen(ws.db.engine, "before_cursor_execute", note)
    work()
    event.remove(ws.db.engine, "before_cursor_execute", note)
    statement, values = next(pair for pair in asked if pair[0].startswith("SELECT"))
    prefix = "EXPLAIN QUERY PLAN" if ws.db.is_sqlite else "EXPLAIN"
    with ws.db.begin() as tx:
        return "\n".join(str(row) for row in tx.exec_driver_sql(f"{prefix} {statement}", values))


def analyse(ws: Workspace) -> None:
    with ws.db.begin() as tx:
        tx.exec_driver_sql("ANALYZE")


@pytest.mark.breaks_history
def test_the_sweep_uses_the_partial_index(ws: Workspace) -> None:
    """20,000 sent messages and one that is due."""
    ids = uuid7s(20_000)
    same = message_row(NewMessage("k", "t", "DB"), None, NOON)
    with ws.db.begin() as tx:
        bulk_insert(
            tx,
            MESSAGES,
            [
                same | {"id": i, "key": i, "state": "sent" if n else "queued"}
                for n, i in enumerate(ids)
            ],
        )
    analyse(ws)
    assert "ix_message_due" in plan(ws, lambda: claim(ws, "t", NOON, 200))
    assert one(ws.db, Message, lease_token="t").id == ids[0]
    assert claim(ws, "t", NOON, 200) == []


@pytest.mark.breaks_history
def test_the_batch_claim_uses_the_partial_index(ws: Workspace) -> None:
    ids = uuid7s(5_000)
    same = {"source": "desk", "size": 1, "position": 1, "attempts": 0, "lease_until": NOON}
    with ws.db.begin() as tx:
        bulk_insert(
            tx,
            table(Batch),
            [
                {"id": i, "created_at": NOON, "done_at": NOON if n else None} | same
                for n, i in enumerate(ids)
            ],
        )
    analyse(ws)
    assert "ix_batch_waiting" in plan(ws, lambda: claim_batches(ws, NOON, 10))
