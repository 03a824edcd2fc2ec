"""Clocks as they run out: reminded, breached, climbed, each once however often and by how many."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from models.clock import Clock
from models.history import HistoryEvent
from models.kinds import EventKind
from models.message import Message
from tasks.clocks.watch_clocks import WatchCounts, watch_lease
from tasks.documents.publish import publish
from tasks.tickets.hand_off import accept, reject, resolve, transfer
from tasks.workspace import Workspace
from tests.cast import (
    DAY,
    FEE,
    HOUR,
    LI,
    LOST,
    NOON,
    OPS,
    ZHANG,
    a_loop,
    document,
    documents,
    number_of,
    one,
    rows,
    sound,
    take_in,
    ticket_of,
    withdraw,
)

MINUTE = timedelta(minutes=1)


def shanghai(day: int, hour: int, minute: int = 0) -> datetime:
    """A time of August 2026 in Shanghai."""
    return datetime(2026, 8, day, hour, minute, tzinfo=UTC) - 8 * HOUR


def watch(ws: Workspace, now: datetime) -> WatchCounts:
    total = WatchCounts()
    while counts := watch_lease(ws, now):
        total += counts
    return total


def told(ws: Workspace, clock: str) -> list[tuple[str, str, str | None]]:
    """What messages a kind of clock has made, in order: template, unit, person."""
    mine = [m for m in rows(ws.db, Message) if f".{clock}" in m.key]
    return [(m.template, m.unit, m.person) for m in mine]


def test_a_loop_starts_its_clocks(ws: Workspace) -> None:
    """Received Monday noon: 15 days, 24 hours, three business days."""
    loop = a_loop(ws)
    found = {c.spec: c for c in rows(ws.db, Clock)}
    assert {name: (c.kind, c.stops, c.due_at) for name, c in found.items()} == {
        "legal": ("legal", "told", shanghai(19, 0)),
        "customer": ("customer", "first_answer", NOON + DAY),
        "owner": ("owner", "resolved", shanghai(6, 17)),
    }
    ticket = ticket_of(ws, loop.id)
    assert [found[name].ticket_id for name in ("legal", "owner")] == [None, ticket.id]
    assert found["owner"].next_at == shanghai(6, 9)
    assert found["customer"].next_at == shanghai(4, 8), "six in the morning is quiet: at eight"
    assert found["owner"].provisional, "the tests' calendar has no published year"


def test_a_loop_that_no_rule_decided_runs_by_the_policys_own_clocks(ws: Workspace) -> None:
    loop = a_loop(ws, LOST, customer="C1")
    assert (loop.state, loop.clocks, loop.ladder) == (
        "triage",
        "legal,customer,owner,owner-big",
        "standard",
    )
    assert {c.spec for c in rows(ws.db, Clock)} == {"legal", "customer"}


def test_the_customers_clocks_run_since_receipt_not_since_we_noticed(ws: Workspace) -> None:
    take_in(ws, {"text": "登录不了，太差", "received": NOON.isoformat()}, now=NOON + 2 * DAY)
    found = {c.spec: c for c in rows(ws.db, Clock)}
    assert found["customer"].due_at == NOON + DAY
    assert found["owner"].started_at == NOON + 2 * DAY
    assert watch(ws, NOON + 2 * DAY) == WatchCounts(breached=1), "no reminder after the event"
    assert watch(ws, NOON + 2 * DAY) == WatchCounts()


def test_nothing_before_its_time(ws: Workspace) -> None:
    a_loop(ws)
    assert watch_lease(ws, shanghai(4, 8) - MINUTE) is None
    assert watch(ws, shanghai(4, 8)) == WatchCounts(reminded=1)


def test_the_owners_clock_reminds_breaches_and_climbs(ws: Workspace) -> None:
    loop = a_loop(ws)
    story = [
        (shanghai(6, 9) - MINUTE, WatchCounts()),
        (shanghai(6, 9), WatchCounts(reminded=1)),
        (shanghai(6, 17) - MINUTE, WatchCounts()),
        (shanghai(6, 17), WatchCounts(breached=1)),
        (shanghai(7, 13) - MINUTE, WatchCounts()),
        (shanghai(7, 13), WatchCounts(climbed=1)),
        (shanghai(7, 17), WatchCounts(climbed=1)),
    ]
    quiet_customers(ws)
    for now, expected in story:
        assert watch(ws, now) == expected, now
        assert watch(ws, now) == WatchCounts(), now
    assert told(ws, "owner") == [
        ("clock_reminder", "DB", None),
        ("clock_breached", "DB", None),
        ("clock_climbed", "DB", "db.zhang"),
        ("clock_climbed", "HO", "ho.chief"),
    ]
    owner = one(ws.db, Clock, spec="owner")
    assert (owner.breached_at, owner.step) == (shanghai(6, 17), "manager2")
    assert {m.ticket_id for m in rows(ws.db, Message) if "owner" in m.key} == {
        ticket_of(ws, loop.id).id
    }
    assert sound(ws.db)


def quiet_customers(ws: Workspace) -> None:
    """Leave the owner's clock alone: the customer has been told."""
    from tasks.change import Change
    from tests.cast import change_now

    for loop in {c.loop_id for c in rows(ws.db, Clock)}:
        data = {"what": "decision", "how": "call"}
        change_now(ws, Change(loop, EventKind.LOOP_CUSTOMER_TOLD, data, ZHANG))


@pytest.mark.parametrize("late", [timedelta(0), DAY, 40 * DAY])
def test_found_late_it_breaches_now_and_climbs_from_now(ws: Workspace, late: timedelta) -> None:
    a_loop(ws)
    quiet_customers(ws)
    found = shanghai(7, 9) + late
    assert watch(ws, found) == WatchCounts(breached=1)
    assert watch(ws, found + HOUR) == WatchCounts()
    assert watch(ws, found + 4 * DAY).climbed > 0


@pytest.mark.parametrize("minutes", [5, 97, 1_440, 9_999])
def test_however_often_it_is_watched(ws: Workspace, minutes: int) -> None:
    a_loop(ws)
    total, now = WatchCounts(), NOON
    while now < NOON + 50 * DAY:
        counts = watch_lease(ws, now)
        total += counts or WatchCounts()
        now += timedelta(minutes=minutes)
    assert total.breached == 3
    keys = [m.key for m in rows(ws.db, Message)]
    assert len(keys) == len(set(keys))
    steps = [
        json.loads(e.data) for e in rows(ws.db, HistoryEvent, kind=EventKind.CLOCK_CLIMBED.value)
    ]
    assert len({(s["clock"], s["step"]) for s in steps}) == len(steps) == total.climbed
    assert all(c.next_at is None for c in rows(ws.db, Clock))
    assert sound(ws.db)


ENDINGS: list[tuple[str, Callable[[Workspace, str, str], object], set[str]]] = [
    ("accepted", lambda ws, _, t: accept(ws, t, ZHANG, NOON), {"legal", "customer", "owner"}),
    (
        "resolved",
        lambda ws, _, t: resolve(ws, t, "C01", "好了", ZHANG, NOON),
        {"legal", "customer"},
    ),
    ("withdrawn", lambda ws, loop, _: withdraw(ws, loop), set()),
]


@pytest.mark.parametrize(("end", "left"), [e[1:] for e in ENDINGS], ids=[e[0] for e in ENDINGS])
def test_a_clock_that_stopped_is_silent(
    ws: Workspace, end: Callable[[Workspace, str, str], object], left: set[str]
) -> None:
    loop = a_loop(ws)
    end(ws, loop.id, ticket_of(ws, loop.id).id)
    watch(ws, NOON + 40 * DAY)
    breached = {c.spec for c in rows(ws.db, Clock) if c.breached_at is not None}
    assert breached == left
    assert sound(ws.db)


def test_another_unit_gets_its_own_time_and_the_customer_none_more(ws: Workspace) -> None:
    loop = a_loop(ws)
    before = {c.spec: c.due_at for c in rows(ws.db, Clock)}
    transfer(ws, ticket_of(ws, loop.id).id, "CC", "他们的事", ZHANG, NOON + DAY)
    reject(ws, ticket_of(ws, loop.id).id, "不是我们", "RK", LI, NOON + 2 * DAY)
    running = [c for c in rows(ws.db, Clock) if c.stopped_at is None]
    assert {c.spec for c in running} == {"legal", "customer", "owner"}
    after = {c.spec: c.due_at for c in running}
    assert (after["legal"], after["customer"]) == (before["legal"], before["customer"])
    assert after["owner"] == shanghai(10, 17), "three business days over a weekend"
    assert number_of(ws.db, Clock) == 5
    watch(ws, NOON + 30 * DAY)
    assert [m[1] for m in told(ws, "owner")][:1] == ["RK"]
    assert sound(ws.db)


def test_a_repeat_after_it_was_resolved_reopens_with_fresh_time(ws: Workspace) -> None:
    loop = a_loop(ws, customer="C1")
    resolve(ws, ticket_of(ws, loop.id).id, "C01", "好了", ZHANG, NOON + HOUR)
    counts = take_in(ws, {"text": "登录不了，太差", "customer": "C1"}, now=NOON + DAY)
    assert (counts.opened, counts.reopened) == (0, 1)
    old, new = sorted(rows(ws.db, Clock, spec="owner"), key=lambda c: c.started_at)
    assert (old.stopped_at, new.started_at, new.stopped_at) == (NOON + HOUR, NOON + DAY, None)
    assert sound(ws.db)


def test_many_workers_take_each_moment_once(
    ws: Workspace, another: Callable[[], Workspace]
) -> None:
    take_in(ws, *({"text": "登录不了，太差", "customer": f"C{n}"} for n in range(40)))
    workers = [another() for _ in range(4)]
    found: list[WatchCounts] = []

    def work(worker: Workspace) -> None:
        for hour in range(0, 30 * 24, 7):
            while counts := watch_lease(worker, NOON + hour * HOUR, limit=9):
                found.append(counts)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    watch(ws, NOON + 31 * DAY)
    breached = number_of_kind(ws, EventKind.CLOCK_BREACHED)
    assert breached == 3 * 40
    assert len({m.key for m in rows(ws.db, Message)}) == number_of(ws.db, Message)
    assert sum(c.breached for c in found) <= breached
    assert sound(ws.db)


def number_of_kind(ws: Workspace, kind: EventKind) -> int:
    return len(rows(ws.db, HistoryEvent, kind=kind.value))


def republished(ws: Workspace, **changed: str) -> Workspace:
    publish(ws.db, documents(**changed), OPS, NOON)
    return Workspace(ws.settings, ws.db)


def test_the_ladder_in_force_is_frozen_on_the_loop(ws: Workspace) -> None:
    """One published since is for loops to come."""
    a_loop(ws)
    quiet_customers(ws)
    slower = document("ladders")
    for short, long in (("4}", "80}"), ("8}", "90}"), ("24}", "99}")):
        slower = slower.replace(f"after_hours: {short}", f"after_hours: {long}")
    later = republished(ws, ladders=slower)
    watch(later, shanghai(6, 17))
    assert watch(later, shanghai(7, 18)) == WatchCounts(climbed=2)
    a_loop(later, FEE)
    quiet_customers(later)
    watch(later, NOON + 5 * DAY)
    assert watch(later, NOON + 10 * DAY).climbed == 1, "the first loop's last step"
    assert sound(ws.db)


def test_terms_are_read_once_and_those_of_now_stand_in_for_unreadable_ones(ws: Workspace) -> None:
    before = ws.clocks.ladders
    later = republished(ws, ladders=document("ladders").replace("4}", "80}"))
    first = later.clocks_of("1")
    assert first is later.clocks_of("1")
    assert first.ladders == before != later.clocks.ladders
    assert first.calendars.keys() == later.clocks.calendars.keys()
    for unreadable in ("999", "no number", None):
        assert later.clocks_of(unreadable) is later.clocks


def test_a_calendar_published_since_counts_for_every_clock(ws: Workspace) -> None:
    """The row says «now», the calendar says «later»: the clock waits for it."""
    a_loop(ws)
    quiet_customers(ws)
    watch(ws, shanghai(6, 17))
    closed = document("calendars").replace('5: [["09:00", "17:00"]]', "5: []")
    later = republished(ws, calendars=closed)
    assert watch(later, shanghai(7, 13)) == WatchCounts()
    assert number_of_kind(ws, EventKind.CLOCK_MOVED) == 1
    assert one(ws.db, Clock, spec="owner").next_at > shanghai(8, 0)
    assert watch(later, NOON + 60 * DAY).climbed > 0
    assert sound(ws.db)


def test_a_clock_that_is_published_no_more_still_breaches(ws: Workspace) -> None:
    a_loop(ws)
    quiet_customers(ws)
    gone = Workspace(ws.settings, ws.db)
    gone.clocks.specs.clear()
    assert watch(gone, shanghai(6, 17)) == WatchCounts(breached=1)
    assert watch(gone, NOON + 60 * DAY) == WatchCounts()
    assert sound(ws.db)


def test_a_clock_that_is_published_no_more_climbs_no_more(ws: Workspace) -> None:
    a_loop(ws)
    quiet_customers(ws)
    watch(ws, shanghai(6, 17))
    gone = Workspace(ws.settings, ws.db)
    gone.clocks.specs.clear()
    assert watch(gone, NOON + 60 * DAY) == WatchCounts()
    assert one(ws.db, Clock, spec="owner").next_at is None
    assert sound(ws.db)
