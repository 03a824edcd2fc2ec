"""A department nominates a customer's loop as a big one: a candidate, or one more of its voices."""

import json
import threading
from collections.abc import Callable

import pytest

from loopwright.errors import InputError, TransitionRefused
from models.history import EventBody, HistoryEvent
from models.kinds import EventKind
from models.loop import Loop, LoopLink
from models.message import Message
from tasks.causes.big_loops import triage as take_on
from tasks.causes.nominate import Nominated, nominate, nominate_ticket
from tasks.explain import explain_loop
from tasks.merge import unlink
from tasks.routing.waiting import list_triage
from tasks.workspace import Workspace
from tests.cast import (
    FEE,
    HOUR,
    LI,
    LOST,
    NOON,
    OPS,
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

LATER = NOON + HOUR
WHY = "要改柜面系统，科技部也要动手"


def test_a_nomination_opens_a_candidate(ws: Workspace) -> None:
    small = a_loop(ws, customer="C1")
    done = nominate(ws, small.id[-6:].lower(), WHY, ZHANG, LATER)
    big = one(ws.db, Loop, kind="big")
    assert done == Nominated(big.id, True)
    assert (big.state, big.rule, big.topic, big.touchpoint, big.lead) == (
        *("candidate", "nomination", small.topic, small.touchpoint, "DB"),
    )
    assert big.received_at == small.received_at
    link = one(ws.db, LoopLink)
    assert (link.big_id, link.small_id, link.relation) == (big.id, small.id, "same_cause")
    assert one(ws.db, Message, template="big_loop_candidate").unit == "CX"
    event = one(ws.db, HistoryEvent, kind=EventKind.LOOP_OPENED, loop_id=big.id)
    assert (event.actor_id, WHY in event.envelope) == ("db.zhang", False)
    assert explain_loop(ws, big.id, "zh")["reason"] == WHY
    assert [w["id"] for w in list_triage(ws) if w["what"] == "candidate"] == [big.id]
    take_on(ws, big.id, "DB", ["CC"], None, OPS, LATER)
    assert one(ws.db, Loop, id=small.id).state == "open", "the customer's own case goes on"
    assert sound(ws.db)


def test_a_second_one_hangs_on_the_same(ws: Workspace) -> None:
    first, second = (a_loop(ws, customer=c) for c in ("C1", "C2"))
    big = nominate(ws, first.id, WHY, ZHANG, LATER).big
    assert nominate_ticket(ws, ticket_of(ws, second.id).id, WHY, ZHANG, LATER) == Nominated(
        big, False
    )
    assert {link.small_id for link in rows(ws.db, LoopLink)} == {first.id, second.id}
    said = rows(ws.db, HistoryEvent, kind=EventKind.LOOP_LINKED)[-1]
    assert WHY in one(ws.db, EventBody, event_id=said.event_id).body
    assert json.loads(said.data)["small"] == second.id
    size = number_of(ws.db, HistoryEvent)
    with pytest.raises(TransitionRefused, match=r"hangs on .* already"):
        nominate(ws, second.id, WHY, ZHANG, LATER)
    assert number_of(ws.db, HistoryEvent) == size
    other = a_loop(ws, FEE, customer="C3")
    assert nominate(ws, other.id, WHY, LI, LATER).candidate, "another cause"
    assert sound(ws.db)


def test_a_person_may_put_back_what_a_person_took_out(ws: Workspace) -> None:
    small = a_loop(ws, customer="C1")
    big = nominate(ws, small.id, WHY, ZHANG, LATER).big
    unlink(ws, small.id, big, OPS, LATER)
    assert nominate(ws, small.id, WHY, ZHANG, LATER) == Nominated(big, False)
    assert sound(ws.db)


def test_what_cannot_be_nominated(ws: Workspace) -> None:
    small = a_loop(ws, customer="C1")
    with pytest.raises(InputError, match="needs a reason"):
        nominate(ws, small.id, " ", ZHANG, LATER)
    big = nominate(ws, small.id, WHY, ZHANG, LATER).big
    with pytest.raises(InputError, match="is a big loop"):
        nominate(ws, big, WHY, ZHANG, LATER)
    withdraw(ws, small.id)
    with pytest.raises(InputError, match="is closed"):
        nominate(ws, small.id, WHY, ZHANG, LATER)
    unrouted = a_loop(ws, LOST, customer="C2")
    with pytest.raises(InputError, match="is triage"):
        nominate(ws, unrouted.id, WHY, ZHANG, LATER)


def test_many_who_nominate_at_once(ws: Workspace, another: Callable[[], Workspace]) -> None:
    take_in(ws, *({"text": "登录不了，太差", "customer": f"C{n}"} for n in range(3)))
    loops, found = [row.id for row in rows(ws.db, Loop)], []

    def work(worker: Workspace, loop: str) -> None:
        found.append(nominate(worker, loop, WHY, ZHANG, LATER))

    threads = [threading.Thread(target=work, args=(another(), loop)) for loop in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    big = one(ws.db, Loop, kind="big")
    assert {nomination.big for nomination in found} == {big.id}
    assert sum(nomination.candidate for nomination in found) == 1
    assert len(rows(ws.db, LoopLink)) == 3
