"""The one door for change: all or none, stale people refused, dense sequences, many writers."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from random import Random
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

import tasks.routing.triage
from loopwright.db import Database, retry_conflicts
from loopwright.errors import ConflictError, TransitionRefused
from loopwright.history.append import head
from models.base import table
from models.history import AuditHead, EventBody, HistoryEvent
from models.kinds import EventKind
from models.loop import Loop, LoopIssue, LoopLink
from models.message import Message
from models.ticket import Ticket
from tasks.change import Change, NewMessage, change, fold, load, swap_rows
from tasks.routing.open_loops import Opening, assign_ticket, open_loops
from tasks.routing.triage import claim, triage_batch
from tasks.workspace import Workspace
from tests.cast import (
    HOUR,
    LOGIN,
    NOON,
    ZHANG,
    change_now,
    number_of,
    one,
    open_some,
    opening,
    rows,
    sample_customer,
    sample_issues,
    sound,
    tell,
    triage,
    withdraw,
)

K = EventKind
WRITTEN = (Loop, Ticket, LoopIssue, LoopLink, Message, HistoryEvent, EventBody, AuditHead)


def contents(db: Database) -> list[list[object]]:
    return [[tuple(row) for row in rows(db, model)] for model in WRITTEN]


def withdrawn(loop: str) -> Change:
    return Change(loop, K.LOOP_WITHDRAWN, {})


def test_an_error_in_the_middle_leaves_nothing(ws: Workspace) -> None:
    [loop] = open_some(ws, 1)
    [issue] = sample_issues(ws.db, 1)
    before = contents(ws.db)
    with pytest.raises(TransitionRefused):
        change_now(ws, opening("L-new", issue), withdrawn(loop), withdrawn(loop))
    assert contents(ws.db) == before


def test_a_message_key_is_never_used_twice(ws: Workspace) -> None:
    """The last insert of the set fails: nothing before it may stay."""
    [loop] = open_some(ws, 1)
    before = contents(ws.db)
    used = rows(ws.db, Message)[0].key
    again = Change(loop, K.LOOP_RESOLVED, {}, messages=(NewMessage(used, "ticket_assigned", "DB"),))
    with pytest.raises(IntegrityError):
        change_now(ws, again)
    assert contents(ws.db) == before


def test_a_stale_person_is_refused(ws: Workspace) -> None:
    [loop] = open_some(ws, 1)
    seen = one(ws.db, Loop, id=loop).version
    ticket = one(ws.db, Ticket).id
    accept = Change(loop, K.TICKET_ACCEPTED, {"ticket": ticket}, ZHANG, seen)
    change_now(ws, Change(loop, K.LOOP_JOINED, {"issue": sample_issues(ws.db, 1)[0],
                                                "relation": "same_complaint"}))  # fmt: skip
    before = contents(ws.db)
    with pytest.raises(ConflictError, match="has changed since you looked"):
        change_now(ws, accept)
    assert contents(ws.db) == before


def test_compare_and_swap_refuses_a_row_changed_behind_the_lock(ws: Workspace) -> None:
    """A row with another version than the one that was loaded is not overwritten."""
    [loop] = open_some(ws, 1)
    with ws.db.begin() as tx:
        ledger = load(tx, [withdrawn(loop)], NOON)
        fold(ledger, withdrawn(loop), iter(["E1", "E2"]))
        ledger.existing[loop] -= 1
        with pytest.raises(ConflictError):
            swap_rows(tx, ledger)
    assert one(ws.db, Loop).state == "open"


def test_a_set_of_hundreds(ws: Workspace) -> None:
    loops = open_some(ws, 400)
    tickets = {t.loop_id: t.id for t in rows(ws.db, Ticket)}
    change_now(
        ws,
        *(
            Change(loop, K.TICKET_RESOLVED, {"ticket": tickets[loop], "cause": "C01"}, ZHANG, 1)
            for loop in reversed(loops)
        ),
        now=NOON + HOUR,
    )
    assert {row.state for row in rows(ws.db, Loop)} == {"resolved"}
    assert {row.version for row in rows(ws.db, Loop)} == {3}
    events = rows(ws.db, HistoryEvent)
    assert [e.seq for e in events] == list(range(4 + 400 * 4))
    assert sound(ws.db)


def test_version_is_the_last_loop_sequence(ws: Workspace) -> None:
    loops = open_some(ws, 5)
    change_now(ws, withdrawn(loops[0]), withdrawn(loops[3]))
    change_now(ws, Change(loops[3], K.LOOP_REOPENED, {}))
    events = table(HistoryEvent)
    query = (
        select(events.c.loop_id, func.max(events.c.loop_seq))
        .where(events.c.loop_id.is_not(None))
        .group_by(events.c.loop_id)
    )
    with ws.db.read() as tx:
        last = {row.loop_id: row[1] for row in tx.execute(query)}
        size, _ = head(tx)
    assert {row.id: row.version for row in rows(ws.db, Loop)} == last
    assert size == number_of(ws.db, HistoryEvent)


def test_only_what_changes_is_touched(ws: Workspace) -> None:
    loops = open_some(ws, 3)
    others = [tuple(r) for r in rows(ws.db, Loop) if r.id != loops[1]]
    withdraw(ws, loops[1], NOON + HOUR)
    assert [tuple(r) for r in rows(ws.db, Loop) if r.id != loops[1]] == others


@pytest.mark.parametrize(
    ("first", "second", "allowed"),
    [
        ({}, {}, False),
        ({}, {"topic": "transfer"}, True),
        ({"state": "triage"}, {}, False),
    ],
)
def test_one_open_small_loop_per_customer_and_topic(
    ws: Workspace, first: dict[str, str], second: dict[str, str], allowed: bool
) -> None:
    customer = sample_customer(ws.db)
    one_, two = sample_issues(ws.db, 2)
    change_now(ws, opening("L1", one_, customer, **first))
    if allowed:
        change_now(ws, opening("L2", two, customer, **second))
    else:
        with pytest.raises(IntegrityError):
            change_now(ws, opening("L2", two, customer, **second))
        withdraw(ws, "L1")
        change_now(ws, opening("L2", two, customer, **second))
    assert sound(ws.db)


def test_reopening_cannot_make_two_open(ws: Workspace) -> None:
    customer = sample_customer(ws.db)
    one_, two = sample_issues(ws.db, 2)
    change_now(ws, opening("L1", one_, customer))
    withdraw(ws, "L1")
    change_now(ws, opening("L2", two, customer))
    with pytest.raises(IntegrityError):
        change_now(ws, Change("L1", K.LOOP_REOPENED, {}))


def test_one_open_big_loop_per_cause(ws: Workspace) -> None:
    one_, two = sample_issues(ws.db, 2)
    change_now(ws, opening("B1", one_, kind="big"))
    with pytest.raises(IntegrityError):
        change_now(ws, opening("B2", two, kind="big"))


def test_the_same_link_again_in_a_later_transaction(ws: Workspace) -> None:
    one_, two, three = sample_issues(ws.db, 3)
    change_now(ws, opening("B1", one_, kind="big"), opening("L1", two))
    for issue in (two, three, three):
        change_now(
            ws,
            Change("B1", K.LOOP_LINKED,
                   {"small": "L1", "relation": "same_cause", "issue": issue}),
        )  # fmt: skip
    assert number_of(ws.db, LoopLink) == 1
    assert [r.issue_id for r in rows(ws.db, LoopIssue, loop_id="B1")] == [one_, two, three]
    assert sound(ws.db)


def test_joining_the_same_issue_again(ws: Workspace) -> None:
    one_, two = sample_issues(ws.db, 2)
    change_now(ws, opening("L1", one_))
    join = Change("L1", K.LOOP_JOINED, {"issue": two, "relation": "same_complaint"})
    change_now(ws, join)
    change_now(ws, join)
    assert sound(ws.db)


def test_reopening_gives_the_ticket_back(ws: Workspace) -> None:
    [loop] = open_some(ws, 1)
    withdraw(ws, loop)
    assert one(ws.db, Ticket).state == "done"
    change_now(ws, Change(loop, K.LOOP_REOPENED, {}), now=NOON + HOUR)
    ticket = one(ws.db, Ticket)
    assert (ticket.state, ticket.assigned_at) == ("assigned", NOON + HOUR)
    assert sound(ws.db)


def test_two_workers_meet_on_one_customer_and_topic(
    ws: Workspace, another: Callable[[], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both look before either has written; one opens, the other joins."""
    tell(ws, {"text": LOGIN, "customer": "C1"})
    tell(ws, {"text": LOGIN + "，急", "customer": "C1"})
    meeting, met = Barrier(2), list[int]()

    def meet(*arguments: Any) -> Opening:
        opening_ = open_loops(*arguments)
        if len(met) < 2 and not ws.db.is_sqlite:  # SQLite's writers come one at a time anyhow
            met.append(1)
            meeting.wait(20)
        return opening_

    monkeypatch.setattr(tasks.routing.triage, "open_loops", meet)
    work = [(w, batch) for w in (another(), another()) for batch in claim(w, NOON, 1)]
    with ThreadPoolExecutor(2) as pool:
        totals = list(pool.map(lambda pair: triage_batch(pair[0], pair[1], NOON), work))
    assert sorted((t.opened, t.joined) for t in totals) == [(0, 1), (1, 0)]
    loop = one(ws.db, Loop)
    assert len(rows(ws.db, LoopIssue, loop_id=loop.id)) == 2
    assert sound(ws.db)


def test_sixteen_writers_on_twenty_loops(ws: Workspace, another: Callable[[], Workspace]) -> None:
    """400 transitions: no lost update, no gap, no deadlock."""
    loops = open_some(ws, 20, tickets=False)
    worker = another()

    def work(seed: int) -> int:
        dice, done = Random(seed), 0
        for n in range(25):
            loop = dice.choice(loops)
            one_ = assign_ticket(loop, "DB", "participant", {}, NOON + timedelta(minutes=n))

            def attempt(changes: list[Change]) -> None:
                with worker.db.begin() as tx:
                    change(tx, changes, NOON)

            retry_conflicts(lambda changes=[one_]: attempt(changes))  # type: ignore[misc]
            done += 1
        return done

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(work, range(16))) == 400
    assert number_of(ws.db, Ticket) == 400
    assert sum(row.version for row in rows(ws.db, Loop)) == 400
    assert [e.seq for e in rows(ws.db, HistoryEvent)] == list(range(4 + 20 + 400))
    assert sound(ws.db)


def test_sets_that_overlap_do_not_deadlock(ws: Workspace, another: Callable[[], Workspace]) -> None:
    """Each set names the loops in its own order; they are locked in id order all the same."""
    loops = open_some(ws, 12, tickets=False)
    worker = another()

    def work(seed: int) -> None:
        dice = Random(seed)
        for _ in range(6):
            chosen = dice.sample(loops, 8)
            with worker.db.begin() as tx:
                change(tx, [assign_ticket(loop, "DB", "participant", {}, NOON) for loop in chosen],
                       NOON)  # fmt: skip

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert number_of(ws.db, Ticket) == 6 * 6 * 8
    assert sound(ws.db)


def test_nothing_to_change_writes_nothing(ws: Workspace) -> None:
    before = contents(ws.db)
    change_now(ws)
    triage(ws)
    assert contents(ws.db) == before
