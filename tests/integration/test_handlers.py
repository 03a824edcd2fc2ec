"""Who handles a ticket: given by room, refused in conflict, handed over, on leave."""

import json
import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from loopwright.db import Database
from loopwright.errors import ConflictError, InputError, NotPermitted, TransitionRefused
from loopwright.history.envelope import Actor
from models.absence import Absence
from models.history import EventBody, HistoryEvent
from models.kinds import EventKind
from models.loop import Loop
from models.message import Message
from models.ticket import Ticket
from tasks.causes.big_loops import triage
from tasks.change import Change
from tasks.documents.publish import publish
from tasks.look import show_loop
from tasks.people import organisation_now, record_leave
from tasks.tickets.hand_off import accept, progress, reject, resolve, transfer
from tasks.tickets.hand_over import PIECE, HandedOver, hand_over, list_people
from tasks.tickets.handlers import Given, bar, give
from tasks.workspace import Workspace
from tests.cast import (
    DAY,
    HOUR,
    LI,
    LOGIN,
    NOON,
    OPS,
    UPDATE,
    ZHANG,
    a_loop,
    change_now,
    document,
    documents,
    number_of,
    one,
    open_some,
    rows,
    sound,
    take_in,
    ticket_of,
)

LATER = NOON + HOUR
WANG = Actor("person", "db.wang", "cli")
STAFF = """
  - {id: db.wang, name: 王小川, unit: DB, manager: db.zhang, roles: [owner], capacity: 2}
  - {id: db.zhao, name: 赵一鸣, unit: DB, manager: db.zhang, roles: [owner], capacity: 1}
"""
NAMED = "登录不了，王小川太差"


@pytest.fixture
def firm(ws: Workspace) -> Workspace:
    """The firm, where DB has two more people: one for two tickets, one for one."""
    organisation = document("organisation").replace(
        "- {id: db.zhang, name: 张敏, unit: DB,",
        "- {id: db.zhang, name: 张敏, unit: DB, capacity: 0,",
    )
    publish(ws.db, documents(organisation=organisation.rstrip() + STAFF), OPS, NOON)
    return Workspace(ws.settings, ws.db, run="test-run")


def a_ticket(ws: Workspace, text: str = LOGIN) -> str:
    return str(ticket_of(ws, a_loop(ws, text).id).id)


def handler(ws: Workspace, ticket: str) -> str | None:
    return str(found) if (found := one(ws.db, Ticket, id=ticket).person) else None


@pytest.mark.parametrize(("actor", "person"), [(ZHANG, "db.zhang"), (LI, None), (OPS, None)])
def test_who_accepts_for_their_own_unit_handles_it(
    ws: Workspace, actor: Actor, person: str | None
) -> None:
    ticket = a_ticket(ws)
    accept(ws, ticket, actor, LATER)
    row = one(ws.db, Ticket)
    assert (row.person, row.active_at) == (person, LATER)


def test_a_ticket_goes_to_whoever_has_the_most_room(firm: Workspace) -> None:
    tickets = [a_ticket(firm) for _ in range(4)]
    got = [give(firm, ticket, None, ZHANG, LATER).person for ticket in tickets[:3]]
    assert got == ["db.wang", "db.wang", "db.zhao"] or got == ["db.wang", "db.zhao", "db.wang"]
    with pytest.raises(TransitionRefused, match="nobody of DB") as refusal:
        give(firm, tickets[3], None, ZHANG, LATER)
    assert "ho.chief" in str(refusal.value), "the manager above is suggested"
    assert give(firm, tickets[3], "ho.chief", OPS, LATER).person == "ho.chief"
    told = [(m.person, m.unit) for m in rows(firm.db, Message) if m.key.startswith("ticket_given")]
    assert sorted(told) == [("db.wang", "DB")] * 2 + [("db.zhao", "DB"), ("ho.chief", "DB")]
    assert sound(firm.db)


def test_a_ticket_is_given_to_somebody_named(firm: Workspace) -> None:
    first, second = a_ticket(firm), a_ticket(firm)
    assert give(firm, first[-6:].lower(), "db.zhao", ZHANG, LATER).person == "db.zhao"
    give(firm, first, "db.zhao", ZHANG, LATER)
    with pytest.raises(TransitionRefused, match=r"db\.zhao .*has no room") as refusal:
        give(firm, second, "db.zhao", ZHANG, LATER)
    assert "db.wang" in str(refusal.value)
    assert handler(firm, second) is None
    give(firm, first, "db.wang", ZHANG, LATER)
    give(firm, second, "db.zhao", ZHANG, LATER)
    assert (handler(firm, first), handler(firm, second)) == ("db.wang", "db.zhao")
    resolve(firm, second, "C01", "好了", ZHANG, LATER)
    with pytest.raises(TransitionRefused):
        give(firm, second, "db.wang", ZHANG, LATER)
    assert sound(firm.db)


@pytest.mark.parametrize("to", ["cc.li", "br1.head", "nobody", "ho.audit"])
def test_only_the_units_own_people_and_those_above(firm: Workspace, to: str) -> None:
    ticket = a_ticket(firm)
    with pytest.raises(InputError, match="is not of DB nor above it") as refusal:
        give(firm, ticket, to, ZHANG, LATER)
    assert "db.wang" in str(refusal.value)
    assert handler(firm, ticket) is None


def test_nobody_on_leave_is_given_anything(firm: Workspace) -> None:
    record_leave(firm, "db.wang", date(2026, 8, 3), date(2026, 8, 4), None, OPS, NOON)
    ticket, other = a_ticket(firm), a_ticket(firm)
    with pytest.raises(InputError, match="away until 2026-08-04"):
        give(firm, ticket, "db.wang", ZHANG, LATER)
    assert give(firm, ticket, None, ZHANG, LATER).person == "db.zhao"
    assert give(firm, other, "db.wang", ZHANG, NOON + 2 * DAY).person == "db.wang"


def test_a_passed_on_ticket_is_nobodys(firm: Workspace) -> None:
    ticket = a_ticket(firm)
    give(firm, ticket, "db.wang", ZHANG, LATER)
    transfer(firm, ticket, "CC", "他们的事", ZHANG, LATER)
    assert handler(firm, ticket) is None
    assert give(firm, ticket, None, LI, LATER) == Given(one(firm.db, Ticket).loop_id, "cc.li")


def test_capacity_holds_for_those_who_give_at_once(
    firm: Workspace, another: Callable[[], Workspace]
) -> None:
    tickets = [a_ticket(firm) for _ in range(8)]
    refused: list[Exception] = []

    def work(worker: Workspace, mine: list[str]) -> None:
        for ticket in mine:
            try:
                give(worker, ticket, "db.wang", ZHANG, LATER)
            except ConflictError as error:
                refused.append(error)

    workers = [another() for _ in range(4)]
    threads = [
        threading.Thread(target=work, args=(w, tickets[n::4])) for n, w in enumerate(workers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = [handler(firm, ticket) for ticket in tickets].count("db.wang")
    assert held <= 2
    assert held + len(refused) == 8


def test_progress_is_a_sign_of_work(firm: Workspace) -> None:
    ticket = a_ticket(firm)
    loop = progress(firm, ticket, "已联系客户13900000001", ZHANG, LATER)
    assert one(firm.db, Ticket).active_at == LATER
    event = one(firm.db, HistoryEvent, kind=EventKind.TICKET_PROGRESSED)
    assert "已联系" not in event.envelope
    assert "已联系" in one(firm.db, EventBody, event_id=event.event_id).body
    assert show_loop(firm, loop)["events"][-1]["words"]["note"].startswith("已联系客户139****")
    with pytest.raises(InputError, match="needs words"):
        progress(firm, ticket, " ", ZHANG, LATER)


HANDLE: list[Callable[[Workspace, str], object]] = [
    lambda ws, ticket: accept(ws, ticket, WANG, LATER),
    lambda ws, ticket: progress(ws, ticket, "在办", WANG, LATER),
    lambda ws, ticket: resolve(ws, ticket, "C01", "好了", WANG, LATER),
    lambda ws, ticket: give(ws, ticket, "db.wang", ZHANG, LATER),
]


@pytest.mark.parametrize("act", HANDLE, ids=["accept", "progress", "resolve", "give"])
@pytest.mark.parametrize("barred", [False, True])
def test_who_is_in_conflict_handles_nothing(
    firm: Workspace, act: Callable[[Workspace, str], object], barred: bool
) -> None:
    """Named in the complaint, or declared barred; anybody else may, and may pass it on."""
    loop = a_loop(firm, LOGIN if barred else NAMED)
    ticket = ticket_of(firm, loop.id).id
    if barred:
        bar(firm, loop.id, "db.wang", "是客户的兄弟", OPS, LATER)
    size = number_of(firm.db, HistoryEvent)
    with pytest.raises(NotPermitted, match=r"须回避.*db\.wang may not handle it"):
        act(firm, ticket)
    assert number_of(firm.db, HistoryEvent) == size
    assert give(firm, ticket, None, ZHANG, LATER).person == "db.zhao"
    reject(firm, ticket, "不是我们", "CC", WANG, LATER)


def test_without_a_conflict_each_of_them_works(firm: Workspace) -> None:
    for act in HANDLE:
        act(firm, a_ticket(firm))


def test_a_conflict_with_the_only_handler(ws: Workspace) -> None:
    """DB has its head alone: the manager above is suggested, and can take it."""
    ticket = a_ticket(ws, "登录不了，张敏太差")
    with pytest.raises(TransitionRefused, match="nobody of DB") as refusal:
        give(ws, ticket, None, OPS, LATER)
    assert "ho.chief" in str(refusal.value)
    assert give(ws, ticket, "ho.chief", OPS, LATER).person == "ho.chief"


def test_the_regulations_article_is_named_where_one_is_published(ws: Workspace) -> None:
    law = Path(__file__).parents[2] / "examples/bank/regulations/cn-2020-3.yaml"
    publish(ws.db, documents() | {"regulations/cn-2020-3.yaml": law.read_bytes()}, OPS, NOON)
    regulated = Workspace(ws.settings, ws.db)
    ticket = a_ticket(regulated, "登录不了，张敏太差")
    with pytest.raises(NotPermitted, match=r"\[cn-2020-3 .*回避"):
        accept(regulated, ticket, ZHANG, LATER)


def test_words_in_a_big_loop_bar_nobody(firm: Workspace) -> None:
    """Thousands may complain of a cause; only who is declared barred keeps away."""
    take_in(firm, {"text": UPDATE + "，王小川不管", "customer": "C1"})
    big = one(firm.db, Loop, kind="big")
    triage(firm, big.id, "DB", [], None, OPS, LATER)
    accept(firm, ticket_of(firm, big.id).id, WANG, LATER)
    assert ticket_of(firm, big.id).person == "db.wang"


def test_barring_takes_tickets_away(firm: Workspace) -> None:
    loop = a_loop(firm)
    ticket = ticket_of(firm, loop.id).id
    give(firm, ticket, "db.wang", ZHANG, LATER)
    assert bar(firm, loop.id[-6:].lower(), "db.wang", "亲属", OPS, LATER).loop == loop.id
    assert handler(firm, ticket) == "db.zhao"
    bar(firm, loop.id, "db.zhao", "同学", OPS, LATER)
    assert handler(firm, ticket) is None, "nobody is left"
    assert one(firm.db, Loop).barred == "db.wang,db.zhao"
    event = rows(firm.db, HistoryEvent, kind=EventKind.LOOP_HANDLER_BARRED)[0]
    assert json.loads(event.data) == {"person": "db.wang", "why": "declared"}
    assert "亲属" not in event.envelope
    for person, why, words in (("nobody", "x", "nobody is called"), ("db.zhao", " ", "a reason")):
        with pytest.raises(InputError, match=words):
            bar(firm, loop.id, person, why, OPS, LATER)
    assert sound(firm.db)


def test_leave_is_recorded_once(ws: Workspace) -> None:
    days = date(2026, 8, 10), date(2026, 8, 14)
    first = record_leave(ws, "db.zhang", *days, "cc.li", OPS, NOON)
    assert record_leave(ws, "db.zhang", *days, "cc.li", OPS, LATER) == first
    row = one(ws.db, Absence)
    assert (row.person, row.first, row.last, row.deputy, row.recorded_by) == (
        *("db.zhang", *days, "cc.li", "cx.ops"),
    )
    event = one(ws.db, HistoryEvent, kind=EventKind.PERSON_LEAVE_RECORDED)
    assert json.loads(event.data) == {
        "person": "db.zhang",
        "first": "2026-08-10",
        "last": "2026-08-14",
        "deputy": "cc.li",
    }
    with ws.db.read() as tx:
        people = organisation_now(ws, tx, NOON).person_by_id
        later = organisation_now(ws, tx, NOON + 90 * DAY).person_by_id
    found = people["db.zhang"].leave_on("2026-08-12")
    assert found is not None
    assert (found.last, found.deputy) == ("2026-08-14", "cc.li")
    assert later["db.zhang"].leave == ()


@pytest.mark.parametrize(
    ("first", "last", "deputy", "why"),
    [
        ("2026-08-14", "2026-08-20", None, "on leave already from 2026-08-10 to 2026-08-14"),
        ("2026-08-01", "2026-08-10", None, "on leave already"),
        ("2026-08-11", "2026-08-12", None, "on leave already"),
        ("2026-08-10", "2026-08-14", None, "on leave already"),  # another deputy
        ("2026-09-09", "2026-09-01", None, "is before"),
        ("2026-08-01", "2026-08-02", None, "is past"),
        ("2026-09-01", "2026-09-02", "db.zhang", "stand in for themselves"),
        ("2026-09-01", "2026-09-02", "xx", "nobody is called"),
    ],
)
def test_leave_that_cannot_be(
    ws: Workspace, first: str, last: str, deputy: str | None, why: str
) -> None:
    record_leave(ws, "db.zhang", date(2026, 8, 10), date(2026, 8, 14), "cc.li", OPS, NOON)
    days = date.fromisoformat(first), date.fromisoformat(last)
    with pytest.raises(InputError, match=why):
        record_leave(ws, "db.zhang", *days, deputy, OPS, NOON)
    assert number_of(ws.db, Absence) == 1


def test_leave_of_the_document_counts_too(ws: Workspace) -> None:
    organisation = document("organisation").replace(
        "name: 张敏, unit: DB,",
        "name: 张敏, unit: DB, leave: [{first: 2026-08-10, last: 2026-08-14}],",
    )
    publish(ws.db, documents(organisation=organisation), OPS, NOON)
    away = Workspace(ws.settings, ws.db)
    with pytest.raises(InputError, match="on leave already"):
        record_leave(away, "db.zhang", date(2026, 8, 14), date(2026, 8, 15), None, OPS, NOON)


def test_the_same_leave_recorded_by_many_at_once(
    ws: Workspace, another: Callable[[], Workspace]
) -> None:
    found: list[str] = []

    def work(worker: Workspace) -> None:
        days = date(2026, 8, 10), date(2026, 8, 14)
        found.append(record_leave(worker, "db.zhang", *days, None, OPS, NOON))

    threads = [threading.Thread(target=work, args=(another(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [one(ws.db, Absence).id] * 4


def held_by_zhang(ws: Workspace, number: int) -> list[str]:
    """Tickets that 张敏 of DB has accepted."""
    loops = open_some(ws, number)
    tickets = [ticket for ticket in rows(ws.db, Ticket) if ticket.loop_id in loops]
    taken = [{"ticket": ticket.id, "person": "db.zhang"} for ticket in tickets]
    change_now(
        ws,
        *(
            Change(ticket.loop_id, EventKind.TICKET_ACCEPTED, data, ZHANG)
            for ticket, data in zip(tickets, taken, strict=True)
        ),
    )
    return [ticket.id for ticket in tickets]


def test_everything_of_a_person_is_handed_over(firm: Workspace) -> None:
    tickets = held_by_zhang(firm, 5)
    kept = a_ticket(firm)
    done = hand_over(firm, "db.zhang", None, OPS, LATER)
    assert {person: len(some) for person, some in done.tickets.items()} == {
        "db.wang": 2,
        "db.zhao": 1,
    }
    assert len(done.left) == 2, "the others are full"
    assert {handler(firm, t) for t in done.left} == {None}
    assert {t for some in done.tickets.values() for t in some} | {*done.left} == {*tickets}
    event = one(firm.db, HistoryEvent, kind=EventKind.PERSON_HANDED_OVER)
    assert json.loads(event.data) == {"person": "db.zhang", "to": None, "tickets": 5}
    assert hand_over(firm, "db.zhang", None, OPS, LATER) == HandedOver({})
    assert handler(firm, kept) is None
    assert {t.state for t in rows(firm.db, Ticket) if t.id in tickets} == {"accepted"}
    assert sound(firm.db)


def test_to_one_person_as_far_as_they_may(firm: Workspace) -> None:
    """What ho.chief may not handle goes to another of the unit."""
    tickets = held_by_zhang(firm, 3)
    barred = one(firm.db, Ticket, id=tickets[0]).loop_id
    bar(firm, barred, "ho.chief", "亲属", OPS, LATER)
    done = hand_over(firm, "db.zhang", "ho.chief", OPS, LATER)
    assert {p: len(some) for p, some in done.tickets.items()} == {"ho.chief": 2, "db.wang": 1}
    for to, why in (("db.wang", None), ("db.zhang", "themselves"), ("xx", "nobody is called")):
        if why:
            with pytest.raises(InputError, match=why):
                hand_over(firm, "db.zhang", to, OPS, LATER)


@pytest.mark.parametrize(
    ("to", "why"), [("cc.li", "is not of DB nor above it"), ("db.zhao", "room for 1 of 3")]
)
def test_nothing_is_handed_over_to_who_cannot_take_it(firm: Workspace, to: str, why: str) -> None:
    tickets = held_by_zhang(firm, 3)
    with pytest.raises((InputError, TransitionRefused), match=why):
        hand_over(firm, "db.zhang", to, OPS, LATER)
    assert {handler(firm, ticket) for ticket in tickets} == {"db.zhang"}


def test_many_tickets_go_in_pieces(ws: Workspace) -> None:
    held_by_zhang(ws, PIECE + 5)
    done = hand_over(ws, "db.zhang", "ho.chief", OPS, LATER)
    assert len(done.tickets["ho.chief"]) == PIECE + 5
    events = rows(ws.db, HistoryEvent, kind=EventKind.PERSON_HANDED_OVER)
    assert [json.loads(e.data)["tickets"] for e in events] == [PIECE, 5]


def test_a_dry_run_ends_and_changes_nothing(ws: Workspace) -> None:
    held_by_zhang(ws, 3)
    size = number_of(ws.db, HistoryEvent)
    dry = Database(ws.settings.database.url, dry_run=True)
    try:
        done = hand_over(Workspace(ws.settings, dry), "db.zhang", "ho.chief", OPS, LATER)
    finally:
        dry.close()
    assert len(done.tickets["ho.chief"]) == 3
    assert number_of(ws.db, HistoryEvent) == size


def test_the_list_of_people(firm: Workspace) -> None:
    give(firm, a_ticket(firm), "db.wang", ZHANG, LATER)
    record_leave(firm, "db.zhao", date(2026, 8, 3), date(2026, 8, 9), "db.wang", OPS, NOON)
    found = {row["person"]: row for row in list_people(firm, "DB", LATER)}
    assert found.keys() == {"db.zhang", "db.wang", "db.zhao"}
    assert (found["db.wang"]["tickets"], found["db.wang"]["capacity"]) == (1, 2)
    assert (found["db.zhao"]["away_until"], found["db.zhao"]["deputy"]) == ("2026-08-09", "db.wang")
    assert len(list_people(firm, None, LATER)) == 10
    with pytest.raises(InputError, match="no unit"):
        list_people(firm, "ZZ", LATER)
