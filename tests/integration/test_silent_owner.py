"""An owner who stays silent: warned at 75 %, then the manager, then senior management; once."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from models.clock import Clock
from models.history import HistoryEvent
from models.kinds import EventKind
from models.loop import Loop
from models.message import Message
from tasks.audit.replay import replay
from tasks.change import Change
from tasks.clocks.watch_clocks import WatchCounts, watch_lease
from tasks.documents.publish import publish
from tasks.people import record_leave
from tasks.tickets.hand_off import accept, progress
from tasks.tickets.handlers import give
from tasks.workspace import Workspace
from tests.cast import (
    DAY,
    HOUR,
    NOON,
    OPS,
    ZHANG,
    a_loop,
    change_now,
    document,
    documents,
    one,
    rows,
    sound,
    ticket_of,
)

SHANGHAI = ZoneInfo("Asia/Shanghai")
LADDERS = """
ladders:
  - id: standard
    title: {zh: 标准, en: Standard}
    quiet: ["21:00", "08:00"]
    stall_hours: 8
    steps:
      - {id: manager, tell: manager, after_hours: 4}
      - {id: senior, tell: senior, after_hours: 8}
  - id: red
    title: {zh: 红色, en: Red}
    stall_hours: 2
    steps:
      - {id: manager, tell: manager, after_hours: 1}
      - {id: senior, tell: senior, after_hours: 2}
"""
ALWAYS = ", ".join(f'{n}: [["00:00", "24:00"]]' for n in range(1, 8))
NIGHTS = f"""
calendars:
  - id: office
    title: {{zh: 夜班, en: Nights}}
    country: CN
    zone: Asia/Shanghai
    published_years: []
    shifts: {{{ALWAYS}}}
"""
"""An office that works day and night, so that clocks run out at night."""


def shanghai(day: int, hour: int, minute: int = 0) -> datetime:
    """A time of August 2026 in Shanghai."""
    return datetime(2026, 8, day, hour, minute, tzinfo=UTC) - 8 * HOUR


def firm(ws: Workspace, **changed: str) -> Workspace:
    """A firm whose chief is senior, whose owners are warned at three quarters and have a ladder of
    their own."""
    mine = {
        "ladders": LADDERS,
        "organisation": document("organisation").replace(
            "unit: HO, roles: [approver]", "unit: HO, roles: [approver, senior]"
        ),
        "clocks": document("clocks").replace(
            "business_days: 3, warn_before_hours: 8", "business_days: 3, warn_at: 0.75"
        ),
    }
    publish(ws.db, documents(**(mine | changed)), OPS, NOON)
    return Workspace(ws.settings, ws.db, run="test-run")


def owners_loop(ws: Workspace) -> str:
    """A loop of which only the owner's clock still runs."""
    loop = str(a_loop(ws).id)
    data = {"what": "decision", "how": "call"}
    change_now(ws, Change(loop, EventKind.LOOP_CUSTOMER_TOLD, data, ZHANG))
    return loop


def watch(ws: Workspace, now: datetime) -> WatchCounts:
    total = WatchCounts()
    while counts := watch_lease(ws, now):
        total += counts
    return total


def told(ws: Workspace) -> list[tuple[str, str | None, str]]:
    """What was sent to whom about the owner's clock, and not before when."""
    mine = [m for m in rows(ws.db, Message) if m.template.startswith("clock_")]
    return [
        (m.template, m.person, f"{m.due_at.astimezone(SHANGHAI):%m-%d %H:%M}")
        for m in sorted(mine, key=lambda m: (m.created_at, m.id))
    ]


SILENT = [
    ("clock_reminder", None, "08-06 09:45"),
    ("clock_breached", None, "08-06 17:00"),
    ("clock_climbed", "db.zhang", "08-07 13:00"),
    ("clock_climbed", "ho.chief", "08-07 17:00"),
]
"""29 working hours from Monday noon, of which 21.75 pass until Thursday 09:45."""


QUARTERS = [NOON + n * timedelta(minutes=15) for n in range(5 * 96)]


def test_each_once_under_racing_runs_and_replays(
    ws: Workspace, another: Callable[[], Workspace]
) -> None:
    firm(ws)
    owners_loop(Workspace(ws.settings, ws.db))
    workers = [another() for _ in range(3)]
    start = threading.Barrier(len(workers))
    failed: list[Exception] = []

    def work(worker: Workspace) -> None:
        start.wait()
        try:
            for now in QUARTERS:
                watch_lease(worker, now)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert told(ws) == SILENT
    watch(Workspace(ws.settings, ws.db), NOON + 60 * DAY)
    assert told(ws) == SILENT
    with ws.db.read() as tx:
        assert replay(tx).differences == 0


def test_however_often_the_flow_runs(ws: Workspace) -> None:
    silent = firm(ws)
    owners_loop(silent)
    for now in QUARTERS:
        watch(silent, now)
        watch(silent, now)
    assert told(ws) == SILENT
    steps = [json.loads(e.data)["step"] for e in climbs(ws)]
    assert steps == ["manager", "senior"]


def climbs(ws: Workspace) -> list[HistoryEvent]:
    return rows(ws.db, HistoryEvent, kind=EventKind.CLOCK_CLIMBED.value)


@pytest.mark.parametrize(
    ("deputy", "expected"),
    [
        (None, [("ho.chief", "08-07 13:00")]),
        ("cc.li", [("cc.li", "08-07 13:00"), ("ho.chief", "08-07 17:00")]),
    ],
)
def test_nobody_on_duty_is_passed_over(
    ws: Workspace, deputy: str | None, expected: list[tuple[str, str]]
) -> None:
    """Leave recorded after the clock began; a deputy is told in place."""
    silent = firm(ws)
    owners_loop(silent)
    record_leave(
        silent, "db.zhang", date(2026, 8, 7), date(2026, 8, 20), deputy, OPS, shanghai(6, 9)
    )
    for hours in range(0, 10 * 24):
        watch(silent, NOON + hours * HOUR)
    assert [(person, at) for what, person, at in told(ws) if person] == expected
    if deputy is None:
        assert json.loads(climbs(ws)[0].data)["passed"] == "manager"


def test_whoever_was_told_is_remembered_after_the_leave(ws: Workspace) -> None:
    """A later look tells nobody twice, however long the leave has ended by then."""
    between = "- {id: ops, tell: ops, after_hours: 6}"
    silent = firm(ws, ladders=LADDERS.replace("- {id: senior", f"{between}\n      - {{id: senior"))
    loop = owners_loop(silent)
    record_leave(silent, "db.zhang", date(2026, 8, 7), date(2026, 8, 7), "ho.chief", OPS, NOON)
    watch(silent, shanghai(6, 17))
    watch(silent, shanghai(7, 13))
    assert [person for _, person, _ in told(ws) if person] == ["ho.chief"]
    assert watch(silent, shanghai(7, 15)).climbed == 1, "operations"
    assert watch(silent, NOON + 120 * DAY) == WatchCounts()
    assert [person for _, person, _ in told(ws) if person] == ["ho.chief"]
    assert one(ws.db, Clock, loop_id=loop, spec="owner").next_at is None


def test_acceptance_stops_the_climb_and_a_stall_resumes_it(ws: Workspace) -> None:
    silent = firm(ws)
    loop = owners_loop(silent)
    ticket = ticket_of(silent, loop).id
    watch(silent, shanghai(6, 17))
    accept(silent, ticket, ZHANG, shanghai(7, 10))
    watch(silent, shanghai(7, 13))
    assert climbs(ws) == []
    moved = one(ws.db, HistoryEvent, kind=EventKind.CLOCK_MOVED.value)
    assert json.loads(moved.data)["next_at"] == shanghai(10, 13).isoformat()
    progress(silent, ticket, "查到一半", ZHANG, shanghai(10, 12))
    watch(silent, shanghai(10, 13))
    watch(silent, shanghai(11, 14, 59))
    assert climbs(ws) == []
    # idle for eight hours since noon, and three of the four that had been left
    watch(silent, shanghai(11, 15))
    assert len(climbs(ws)) == 1
    watch(silent, NOON + 30 * DAY)
    assert [person for _, person, _ in told(ws) if person] == ["db.zhang", "ho.chief"]
    assert sound(ws.db)


def test_being_given_to_somebody_is_no_sign_of_work(ws: Workspace) -> None:
    silent = firm(ws)
    ticket = ticket_of(silent, owners_loop(silent)).id
    watch(silent, shanghai(6, 17))
    give(silent, ticket, "db.zhang", OPS, shanghai(7, 9))
    assert watch(silent, shanghai(7, 13)).climbed == 1


@pytest.mark.parametrize("starts", ["receipt", "assignment"])
def test_the_customers_clock_climbs_whoever_accepted(ws: Workspace, starts: str) -> None:
    clocks = document("clocks").replace(
        "starts: receipt, stops: first_answer", f"starts: {starts}, stops: first_answer"
    )
    silent = firm(ws, clocks=clocks)
    loop = a_loop(silent).id
    accept(silent, ticket_of(silent, loop).id, ZHANG, NOON + 23 * HOUR)
    for hours in range(24, 60):
        watch(silent, NOON + hours * HOUR)
    steps = [json.loads(e.data) for e in climbs(ws)]
    customers = one(ws.db, Clock, spec="customer").id
    assert [(s["clock"], s["step"]) for s in steps] == [
        (customers, "manager"),
        (customers, "senior"),
    ]


def test_a_clock_may_have_a_ladder_of_its_own(ws: Workspace) -> None:
    own = document("clocks").replace(
        "business_days: 3, warn_before_hours: 8", "business_days: 3, ladder: red"
    )
    silent = firm(ws, clocks=own)
    owners_loop(silent)
    for hours in range(0, 6 * 24):
        watch(silent, NOON + hours * HOUR)
    assert told(ws) == [
        ("clock_breached", None, "08-06 17:00"),
        ("clock_climbed", "db.zhang", "08-07 10:00"),
        ("clock_climbed", "ho.chief", "08-07 11:00"),
    ]


@pytest.mark.parametrize("ladder", ["standard", "red"])
def test_nothing_at_night_but_red(ws: Workspace, ladder: str) -> None:
    """An office that never sleeps: all is written down on time, and told at eight, but for red."""
    policy = document("policy").replace("ladder: standard", f"ladder: {ladder}")
    clocks = document("clocks").replace(
        "business_days: 3, warn_before_hours: 8", "business_hours: 12, warn_at: 0.75"
    )
    busy = firm(ws, calendars=NIGHTS, policy=policy, clocks=clocks)
    owners_loop(busy)
    for hours in range(0, 48):
        watch(busy, NOON + hours * HOUR)
    owner = one(ws.db, Clock, spec="owner")
    assert owner.breached_at == shanghai(4, 0), "noon and twelve hours"
    times = [at for _, _, at in told(ws)]
    if ladder == "red":
        assert times == ["08-03 21:00", "08-04 00:00", "08-04 01:00", "08-04 02:00"]
    else:
        assert times == ["08-04 08:00", "08-04 08:00", "08-04 08:00"]


def test_a_paused_clock_does_nothing(ws: Workspace) -> None:
    silent = firm(ws)
    loop = owners_loop(silent)
    clock = one(ws.db, Clock, loop_id=loop, spec="owner").id
    paused = Change(loop, EventKind.CLOCK_PAUSED, {"clock": clock, "reason": "customer"}, ZHANG)
    change_now(silent, paused, now=NOON + HOUR)
    assert watch(silent, NOON + 60 * DAY) == WatchCounts()
    assert told(ws) == []


def test_an_extended_clock_is_reminded_of_again(ws: Workspace) -> None:
    silent = firm(ws)
    loop = owners_loop(silent)
    clock = one(ws.db, Clock, loop_id=loop, spec="owner").id
    assert watch(silent, shanghai(6, 9, 45)) == WatchCounts(reminded=1)
    more = {
        "clock": clock,
        "extension": "more_time",
        "due_at": shanghai(10, 17).isoformat(),
        "next_at": shanghai(7, 9).isoformat(),
        "provisional": False,
    }
    change_now(silent, Change(loop, EventKind.CLOCK_EXTENDED, more, ZHANG), now=shanghai(6, 16))
    for hours in range(0, 14 * 24):
        watch(silent, shanghai(6, 17) + hours * HOUR)
    assert [(what, at) for what, person, at in told(ws) if person is None] == [
        ("clock_reminder", "08-06 09:45"),
        ("clock_reminder", "08-10 10:00"),
        ("clock_breached", "08-10 17:00"),
    ]
    assert one(ws.db, Loop).state == "open"
