"""To whom: one of the staff, a unit in their place, or a customer whose address nobody keeps."""

import asyncio
import logging
from collections.abc import Iterator
from datetime import datetime
from email import message_from_bytes
from email import policy as mail_policies
from email.message import EmailMessage
from typing import Any

import pytest
import yaml
from pydantic import SecretStr
from sqlalchemy import update

from loopwright.ids import uuid7
from models.base import table
from models.feedback import Feedback, RawItem
from models.history import EventBody, HistoryEvent
from models.kinds import Channel, EventKind
from models.message import Delivery, Message
from notifications.registry import TRANSPORTS, WECOM
from notifications.wecom_robot import WecomRobotTransport
from tasks.change import NewMessage, message_row
from tasks.documents.publish import publish
from tasks.messages.deliver import deliver_lease
from tasks.messages.outbox import LEASE, DeliveryCounts, insert_once
from tasks.workspace import Workspace
from tests.cast import LOGIN, NOON, OPS, a_loop, documents, one, rows, sound
from tests.fakes import FakeTransport, plug_in
from tests.integration.test_wecom_robot import CC, DB, Clock, with_robots
from tests.smtp_double import Relay, smtp
from tests.wecom_double import WecomDouble, wecom

HERS, PHONE = "lan.wang@mail.example", "13900000001"
MESSAGES = table(Message)


@pytest.fixture
def out(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> FakeTransport:
    ws.settings.messages.transport = "fake"
    return plug_in(monkeypatch, FakeTransport())


def deliver(ws: Workspace, now: datetime = NOON) -> DeliveryCounts | None:
    return asyncio.run(deliver_lease(ws, now))


def queue(ws: Workspace, loop: Any, message: NewMessage) -> None:
    """One more message about a loop; what it queued by itself has gone out."""
    deliver(ws)
    row = {"id": uuid7()} | message_row(message, loop.id, NOON)
    with ws.db.begin() as tx:
        assert insert_once(tx, [row])


def to_person(person: str, unit: str = "DB") -> NewMessage:
    return NewMessage(f"for {person}", "loop_reopened", unit, person=person)


def to_customer(key: str = "ask", template: str = "verification_question") -> NewMessage:
    return NewMessage(key, template, "DB", channel=Channel.CUSTOMER)


def firm(**changed: dict[str, Any]) -> dict[str, bytes]:
    """The test firm, some of whose people have other contacts: `db_zhang={...}`."""
    organisation = yaml.safe_load(with_robots()["organisation.yaml"])
    for person in organisation["people"]:
        person["contact"] = changed.get(person["id"].replace(".", "_"), person["contact"])
    return documents(organisation=yaml.safe_dump(organisation, allow_unicode=True))


def test_a_person_gets_it_alone(ws: Workspace, out: FakeTransport) -> None:
    loop = a_loop(ws)
    queue(ws, loop, to_person("ho.chief"))
    assert deliver(ws) == DeliveryCounts(sent=1)
    assert (out.sent[-1].to, out.sent[-1].unit) == ("ho.chief@firm.invalid", "ho.chief")


FALLBACKS = [
    ("rk.head", "rk@firm.invalid", "RK"),
    ("br1-01.head", "br1@firm.invalid", "BR1-01"),
    ("left.long-ago", "db@firm.invalid", "DB"),
]


@pytest.mark.parametrize(("person", "address", "folder"), FALLBACKS)
def test_without_an_address_their_unit_gets_it(
    ws: Workspace, out: FakeTransport, person: str, address: str, folder: str
) -> None:
    nothing: dict[str, Any] = {"rk_head": {}, "br1-01_head": {}}
    publish(ws.db, firm(**nothing), OPS, NOON)
    queue(ws, a_loop(ws), to_person(person))
    assert deliver(ws) == DeliveryCounts(sent=1)
    assert (out.sent[-1].to, out.sent[-1].unit) == (address, folder)


def test_files_lie_in_a_folder_of_the_persons_name(ws: Workspace) -> None:
    queue(ws, a_loop(ws), to_person("ho.chief"))
    deliver(ws)
    assert len(list((ws.settings.messages.folder / "ho.chief").glob("*.eml"))) == 1


@pytest.fixture
def groups(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[WecomDouble]:
    publish(ws.db, firm(db_zhang={"wecom": "zhangmin"}, cc_li={"wecom": "all"}), OPS, NOON)
    clock = Clock()
    monkeypatch.setitem(TRANSPORTS, WECOM, lambda s: WecomRobotTransport(s.wecom, clock))
    with wecom(DB, CC, clock=clock) as double:
        ws.settings.messages.transport = WECOM
        ws.settings.wecom.base_url = double.url
        ws.settings.wecom.robots = {"dept-db": SecretStr(DB), "dept-cc": SecretStr(CC)}
        yield double


MENTIONS = [
    ("db.zhang", DB, ("zhangmin",)),
    ("cc.li", CC, ()),
    ("nobody", DB, ()),
]


@pytest.mark.parametrize(("person", "group", "mentions"), MENTIONS)
def test_a_person_is_called_in_the_group(
    ws: Workspace, groups: WecomDouble, person: str, group: str, mentions: tuple[str, ...]
) -> None:
    """Somebody whose userid reads `all` must not call everybody."""
    queue(ws, a_loop(ws), to_person(person))
    assert deliver(ws) == DeliveryCounts(sent=1)
    assert (groups.shown[-1].key, groups.shown[-1].mentions) == (group, mentions)


def test_a_mention_survives_bundling(ws: Workspace, groups: WecomDouble) -> None:
    loop = a_loop(ws)
    deliver(ws)
    before = len(groups.shown)
    new = [to_person("db.zhang")]
    new += [NewMessage(f"k{n}", "loop_reopened", "DB") for n in range(60)]
    made = [{"id": uuid7()} | message_row(message, loop.id, NOON) for message in new]
    with ws.db.begin() as tx:
        insert_once(tx, made)
    assert deliver(ws) == DeliveryCounts(sent=61)
    shown = groups.shown[before:]
    assert [m.mentions for m in shown].count(("zhangmin",)) == 1
    assert sum(m.content.count(loop.id) for m in shown) >= 61, "no line was cut away"


def test_what_is_for_one_person_goes_to_no_group_beside_mail(
    ws: Workspace, groups: WecomDouble
) -> None:
    ws.settings.messages.transport = "file"
    queue(ws, a_loop(ws), to_person("ho.chief"))
    before = len(groups.shown)
    assert deliver(ws) == DeliveryCounts(sent=1)
    assert len(groups.shown) == before


# Customers.


@pytest.fixture
def relay(ws: Workspace) -> Iterator[Relay]:
    with smtp() as (relay, port):
        ws.settings.messages.transport = "smtp"
        ws.settings.smtp.host, ws.settings.smtp.port = "127.0.0.1", port
        yield relay


def hers(ws: Workspace, **item: Any) -> Any:
    """A loop of a customer who left number, phone and mail."""
    words = f"{LOGIN}，我的电话{PHONE}"
    return a_loop(ws, words, customer="C1", phone=PHONE, mail=HERS, **item)


def opened(relay: Relay) -> EmailMessage:
    content = relay.accepted[-1].original_content
    assert content is not None
    mail = message_from_bytes(content, policy=mail_policies.default)
    assert isinstance(mail, EmailMessage)
    return mail


def whole(mail: EmailMessage) -> str:
    parts = [str(part.get_content()) for part in mail.walk() if not part.is_multipart()]
    return "\n".join([*parts, *(f"{name}: {value}" for name, value in mail.items())])


def test_a_customer_is_written_to(ws: Workspace, relay: Relay) -> None:
    loop = hers(ws)
    queue(ws, loop, to_customer())
    assert deliver(ws) == DeliveryCounts(sent=1)
    mail = opened(relay)
    assert relay.accepted[-1].rcpt_tos == [HERS]
    assert (mail["To"], mail["Reply-To"]) == (HERS, "db@firm.invalid")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert loop.id in mail["Subject"]
    text = whole(mail)
    known = [PHONE, "C1", "db.zhang", "张敏", ws.hasher.digest("mail", HERS), loop.customer_id]
    assert not [secret for secret in known if secret in text]
    assert text.count(HERS) == 1, "in To alone"


def test_the_address_is_nowhere_afterwards(
    ws: Workspace, relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    loop = hers(ws)
    queue(ws, loop, to_customer())
    relay.says = f"250 2.0.0 taken for {HERS.upper()} as 7F3B"
    deliver(ws)
    assert one(ws.db, Message, channel="customer").state == "sent"
    seen: list[Any] = [r.getMessage() for r in caplog.records if r.name != "mail.log"]
    for model in (Message, Delivery, HistoryEvent, EventBody):
        seen += rows(ws.db, model)
    assert "7F3B" in repr(seen)
    assert not [row for row in seen if HERS.lower() in repr(row).lower()]
    assert sound(ws.db)


REFUSALS = ["nobody@mail.example", "full@mail.example", "spam@mail.example"]


@pytest.mark.usefixtures("relay")
@pytest.mark.parametrize("address", REFUSALS)
def test_a_relays_refusal_names_nobody(ws: Workspace, address: str) -> None:
    loop = a_loop(ws, customer="C1", mail=address)
    queue(ws, loop, to_customer())
    deliver(ws)
    row = one(ws.db, Message, channel="customer")
    assert row.error
    assert address not in repr([row, *rows(ws.db, Delivery), *rows(ws.db, HistoryEvent)])


GONE = "no e-mail address of the customer is left to use"


def erase(ws: Workspace) -> None:
    with ws.db.begin() as tx:
        tx.execute(update(table(RawItem)).values(payload=""))


def say_nothing(ws: Workspace) -> None:
    ws.settings.messages.transport = WECOM


@pytest.mark.parametrize(
    ("happens", "why"), [(erase, GONE), (say_nothing, "customers are reached by mail")]
)
@pytest.mark.breaks_history
def test_without_an_address_it_is_quarantined(
    ws: Workspace, relay: Relay, happens: Any, why: str
) -> None:
    queue(ws, hers(ws), to_customer())
    sent = len(relay.accepted)
    happens(ws)
    assert deliver(ws) == DeliveryCounts(quarantined=1)
    row = one(ws.db, Message, channel="customer")
    assert (row.state, why in row.error) == ("quarantined", True)
    assert one(ws.db, HistoryEvent, kind=EventKind.MESSAGE_QUARANTINED)
    assert len(relay.accepted) == sent


def test_nobody_known_gets_nothing(ws: Workspace, out: FakeTransport) -> None:
    queue(ws, a_loop(ws), to_customer())
    assert deliver(ws) == DeliveryCounts(quarantined=1)
    assert [mail.to for mail in out.sent] == ["db@firm.invalid"]


CROSSED = [
    to_customer("k", "ticket_assigned"),
    NewMessage("k", "verification_question", "DB"),
]


@pytest.mark.parametrize("message", CROSSED)
def test_no_letter_reaches_the_wrong_readers(
    ws: Workspace, out: FakeTransport, message: NewMessage
) -> None:
    queue(ws, hers(ws), message)
    assert deliver(ws) == DeliveryCounts(quarantined=1)
    assert "written for other readers" in one(ws.db, Message, state="quarantined").error
    assert len(out.sent) == 1


@pytest.mark.parametrize(("language", "word"), [("en", "Dear"), ("en-US", "Dear"), ("ja", "您好")])
def test_a_customer_is_written_to_in_their_language(
    ws: Workspace, out: FakeTransport, language: str, word: str
) -> None:
    loop = hers(ws)
    with ws.db.begin() as tx:
        tx.execute(update(table(Feedback)).values(language=language))
    queue(ws, loop, to_customer())
    with ws.db.begin() as tx:
        row = {"id": uuid7()} | message_row(NewMessage("k", "loop_reopened", "DB"), loop.id, NOON)
        insert_once(tx, [row])
    assert deliver(ws) == DeliveryCounts(sent=2)
    by_reader = {mail.to: mail.text for mail in out.sent}
    assert word in by_reader[HERS]
    assert "客户" in by_reader["db@firm.invalid"], "staff read the installation's language"


def test_files_to_customers_lie_together(ws: Workspace) -> None:
    queue(ws, hers(ws), to_customer())
    deliver(ws)
    [mail] = (ws.settings.messages.folder / "customers").glob("*.eml")
    assert HERS in mail.read_text("utf-8")
    assert HERS not in str(mail)
    assert one(ws.db, Delivery, message_id=one(ws.db, Message, channel="customer").id).reference


def test_a_dead_worker_writes_to_the_customer_again_as_the_same_message(
    ws: Workspace, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue(ws, hers(ws), to_customer())
    sent = len(relay.accepted)
    with monkeypatch.context() as patch:
        patch.setattr("tasks.messages.deliver.record", kill)
        with pytest.raises(Killed):
            deliver(ws)
    assert deliver(ws, NOON + LEASE) == DeliveryCounts(sent=1)
    copies = [message_from_bytes(e.original_content or b"") for e in relay.accepted[sent:]]
    assert len(copies) == 2
    assert len({mail["Message-ID"] for mail in copies}) == 1


class Killed(BaseException):
    pass


def kill(*_: object) -> None:
    raise Killed


def test_customers_are_in_no_group(ws: Workspace, groups: WecomDouble) -> None:
    ws.settings.messages.transport = "file"
    queue(ws, hers(ws), to_customer())
    before = len(groups.shown)
    assert deliver(ws) == DeliveryCounts(sent=1)
    assert len(groups.shown) == before
