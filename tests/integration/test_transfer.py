"""A ticket goes on in another unit: the same ticket, no bounce, the new unit is told why."""

import pytest

from loopwright.errors import InputError
from models.loop import Loop
from models.message import Message
from models.ticket import Ticket
from tasks.messages.context import contexts
from tasks.tickets.hand_off import accept, resolve, transfer
from tasks.workspace import Workspace
from tests.cast import HOUR, LI, NOON, ZHANG, a_loop, one, rows, sound, ticket_of

LATER = NOON + HOUR


def test_transfer_keeps_the_ticket_and_counts_no_bounce(ws: Workspace) -> None:
    ticket = ticket_of(ws, a_loop(ws).id).id
    accept(ws, ticket, ZHANG, NOON)
    transfer(ws, ticket, "CC", "卡片的事", ZHANG, LATER)
    now, loop = one(ws.db, Ticket), one(ws.db, Loop)
    assert (now.id, now.unit, now.state, now.accepted_at) == (ticket, "CC", "assigned", None)
    assert (loop.lead, loop.bounces, loop.state) == ("CC", 0, "open")
    resolve(ws, ticket, "C01", "已退费", LI, LATER)
    assert one(ws.db, Loop).state == "resolved"
    assert sound(ws.db)


def test_the_new_unit_is_told_from_whom_and_why(ws: Workspace) -> None:
    ticket = ticket_of(ws, a_loop(ws).id).id
    transfer(ws, ticket, "CC", "卡片的事", ZHANG, LATER)
    told = [m for m in rows(ws.db, Message) if m.template == "ticket_reassigned"]
    assert [m.unit for m in told] == ["CC"]
    with ws.db.read() as tx:
        (context,) = contexts(tx, ws, told, "zh")
    assert context["reason"] == "卡片的事"
    assert context["from_unit"]["title"]
    assert context["ticket"]["id"] == ticket


@pytest.mark.parametrize(
    ("unit", "reason"), [("DB", "同一部门"), ("XX", "没有这个部门"), ("CC", " ")]
)
def test_what_a_transfer_needs(ws: Workspace, unit: str, reason: str) -> None:
    ticket = ticket_of(ws, a_loop(ws).id).id
    with pytest.raises(InputError):
        transfer(ws, ticket, unit, reason, ZHANG, LATER)
    assert one(ws.db, Ticket).unit == "DB"
