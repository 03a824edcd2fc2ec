"""A clock's reminder, breach and ladder: each once, in order, however often somebody looks."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.kinds import UnitLevel
from policy.climb import Act, Recipient, Ticking, acts, first_moment, next_moment, undisturbed
from policy.deadline import business_hours_between, due
from policy.organisation import Leave, Organisation, Person, Unit
from policy.timing import CalendarSpec, ClockSpec, Ladder, Step
from policy.working_time import WorkingCalendar

T = {"zh": "测试", "en": "Test"}
SHANGHAI = ZoneInfo("Asia/Shanghai")
SHIFTS = (("09:00", "12:00"), ("13:30", "18:00"))
CALENDAR = WorkingCalendar(
    CalendarSpec("t", T, "CN", "Asia/Shanghai", (2026,), {str(n): SHIFTS for n in range(1, 6)})
)
SMALL = ClockSpec("o", "owner", T, "assignment", "resolved", business_days=3, warn_before_hours=8)
LEGAL = ClockSpec("l", "legal", T, "receipt", "told", calendar_days=15, warn_before_hours=72)
URGENT = ClockSpec("u", "owner", T, "assignment", "resolved", business_hours=2)

UNIT, HEAD, CHIEF, TOP, OPS = (
    Recipient("DB"),
    Recipient("DB", "head"),
    Recipient("HO", "chief"),
    Recipient("HO", "top"),
    Recipient("CX"),
)


def people(**leave: tuple[str, ...]) -> Organisation:
    """DB's head reports to the chief, who reports to the top, who is senior; CX has operations."""
    rows = [
        ("top", "HO", None, ("senior",)),
        ("chief", "HO", "top", ()),
        ("head", "DB", "chief", ()),
        ("ops", "CX", "chief", ("ops",)),
    ]
    return Organisation(
        organisation="t",
        title=T,
        zone="Asia/Shanghai",
        language="zh",
        units=(
            Unit("HO", UnitLevel.HEAD_OFFICE, T, head="top"),
            Unit("DB", UnitLevel.DEPARTMENT, T, "HO", head="head"),
            Unit("CX", UnitLevel.DEPARTMENT, T, "HO", head="ops"),
            Unit("NB", UnitLevel.DEPARTMENT, T, "HO"),
        ),
        people=tuple(
            Person(i, i, u, m, r, leave=(Leave(*leave[i]),) if i in leave else ())
            for i, u, m, r in rows
        ),
    )


def ladder(*steps: tuple[str, float], quiet: tuple[str, str] | None = None) -> Ladder:
    """Steps named by whom they tell and when, e.g. `manager+4`."""
    return Ladder("l", T, tuple(Step(f"{t}{h:+g}", t, h) for t, h in steps), quiet)


def quietly(begin: str, end: str) -> Ladder:
    return ladder(("owner", -1), quiet=(begin, end))


STANDARD = ladder(
    ("owner", -8), ("owner", 0), ("manager", 4), ("manager2", 16), ("ops", 24), ("senior", 40),
    quiet=("21:00", "08:00"),
)  # fmt: skip


def cn(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=SHANGHAI)


def shown(moment: datetime | None) -> str | None:
    return f"{moment.astimezone(SHANGHAI):%m-%d %H:%M}" if moment else None


def look(
    clock: Ticking, now: datetime, steps: Ladder | None = STANDARD, who: Organisation | None = None
) -> list[Act]:
    return acts(clock, SMALL, steps, CALENDAR, SHANGHAI, "DB", who or people(), now)


def after(clock: Ticking, act: Act, now: datetime) -> Ticking:
    """The clock as the event of the act leaves it."""
    if act.what == "remind":
        return replace(clock, reminded=True)
    if act.what == "breach":
        return replace(clock, breached_at=now)
    told = clock.told | ({act.to} if act.to else set())
    return replace(clock, step=act.step, climbed_at=now, told=told)


NINE, DUE = cn("2026-08-03 09:30"), cn("2026-08-06 18:00")
"""A Monday, and the end of the third working day after it."""
FRESH = Ticking(NINE, DUE)
BREACHED = replace(FRESH, reminded=True, breached_at=DUE)


@pytest.mark.parametrize(
    ("spec", "steps", "start", "expected"),
    [
        (SMALL, None, "2026-08-03 09:30", "08-05 17:30"),  # 7.5 working hours make a day
        (SMALL, STANDARD, "2026-08-03 09:30", "08-05 17:30"),
        (LEGAL, None, "2026-08-03 09:30", "08-16 00:00"),
        (LEGAL, STANDARD, "2026-08-03 09:30", "08-16 08:00"),  # midnight is quiet
        (URGENT, None, "2026-08-03 09:30", "08-03 11:30"),  # nobody warns
        (URGENT, ladder(("owner", -1)), "2026-08-03 09:30", "08-03 10:30"),
        (URGENT, ladder(("owner", -8), ("owner", -0.5)), "2026-08-03 09:30", "08-03 11:00"),
        (URGENT, STANDARD, "2026-08-03 09:30", "08-03 11:30"),  # 8 hours before is no reminder
        (URGENT, quietly("10:00", "11:00"), "2026-08-03 09:30", "08-03 11:00"),
        (URGENT, quietly("10:00", "12:00"), "2026-08-03 09:30", "08-03 11:30"),
        (replace(SMALL, warn_before_hours=0), STANDARD, "2026-08-03 09:30", "08-06 18:00"),
        # 29.5 hours long, 7.375 left; it goes before the hours
        (replace(SMALL, warn_at=0.75), STANDARD, "2026-08-03 09:30", "08-06 09:07"),
        (replace(URGENT, warn_at=0.75), None, "2026-08-03 11:30", "08-03 14:30"),
        (replace(LEGAL, warn_at=0.5), None, "2026-08-03 12:00", "08-11 06:00"),
        (replace(LEGAL, warn_at=0.5), STANDARD, "2026-08-03 12:00", "08-11 08:00"),
    ],
)  # fmt: skip
def test_first_moment(spec: ClockSpec, steps: Ladder | None, start: str, expected: str) -> None:
    begin = cn(start)
    end = due(begin, spec, CALENDAR, SHANGHAI).due
    found = first_moment(begin, end, spec, steps, CALENDAR, SHANGHAI)
    assert shown(found) == expected
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    ("clock", "now", "expected"),
    [
        (FRESH, "2026-08-05 17:29", []),
        (FRESH, "2026-08-05 17:30", [("remind", None, UNIT, "08-06 18:00")]),
        (replace(FRESH, reminded=True), "2026-08-06 17:59", []),
        # a reminder that nobody sent in time is not sent after
        (FRESH, "2026-08-06 18:00", [("breach", None, UNIT, "08-07 14:30")]),
        (FRESH, "2026-08-09 12:00", [("breach", None, UNIT, "08-10 14:30")]),
        (BREACHED, "2026-08-07 14:29", []),
        (BREACHED, "2026-08-07 14:30", [("climb", "manager+4", HEAD, "08-11 10:00")]),
        (
            BREACHED,
            "2026-08-12 09:00",
            [
                ("climb", "manager+4", HEAD, "08-11 10:00"),
                ("climb", "manager2+16", CHIEF, "08-12 10:30"),
            ],
        ),
        (
            replace(BREACHED, step="manager2+16"),
            "2026-08-20 00:00",
            [("climb", "ops+24", OPS, "08-14 11:30"), ("climb", "senior+40", TOP, None)],
        ),
        (replace(BREACHED, step="senior+40"), "2026-09-20 00:00", []),
        (replace(BREACHED, step="no longer there"), "2026-09-20 00:00", []),
    ],
)
def test_acts(
    clock: Ticking, now: str, expected: Sequence[tuple[str, str | None, Recipient, str | None]]
) -> None:
    found = look(clock, cn(now))
    assert [(a.what, a.step, a.to, shown(a.next_at)) for a in found] == expected


def test_a_share_of_the_length_is_counted_back_from_an_extended_deadline() -> None:
    spec, extended = replace(LEGAL, warn_at=0.8), cn("2026-09-03 00:00")
    found = first_moment(cn("2026-08-03 00:00"), extended, spec, None, CALENDAR, SHANGHAI)
    assert shown(found) == "08-30 19:12", "a fifth of 16 days before"


PAIR = ladder(("manager", 1), ("manager2", 2), ("ops", 3))


@pytest.mark.parametrize(
    ("leave", "expected"),
    [
        ((), [("manager+1", HEAD, ()), ("manager2+2", CHIEF, ()), ("ops+3", OPS, ())]),
        (("head",), [("manager2+2", CHIEF, ("manager+1",)), ("ops+3", OPS, ())]),
        (("chief",), [("manager+1", HEAD, ()), ("ops+3", OPS, ("manager2+2",))]),
        (("head", "chief"), [("ops+3", OPS, ("manager+1", "manager2+2"))]),
    ],
)
def test_people_on_leave_are_passed(
    leave: Sequence[str], expected: list[tuple[str, Recipient, tuple[str, ...]]]
) -> None:
    away = people(**dict.fromkeys(leave, ("2026-08-07", "2026-08-07")))
    found = look(BREACHED, cn("2026-08-07 18:00"), PAIR, away)
    assert [(a.step, a.to, a.passed) for a in found] == expected


@pytest.mark.parametrize(
    ("away", "told"),
    [
        ({"head": ("2026-08-07", "2026-08-07", "ops")}, [Recipient("CX", "ops"), CHIEF, OPS]),
        ({"head": ("2026-08-07", "2026-08-07", "chief")}, [CHIEF, OPS]),  # not told twice
        ({"head": ("2026-08-07", "2026-08-07", "nobody")}, [CHIEF, OPS]),
        (
            {
                "head": ("2026-08-07", "2026-08-07", "ops"),
                "ops": ("2026-08-01", "2026-08-09", "top"),
            },
            [CHIEF, OPS],
        ),
    ],
)
def test_a_deputy_stands_in(away: dict[str, tuple[str, ...]], told: list[Recipient]) -> None:
    found = look(BREACHED, cn("2026-08-07 18:00"), PAIR, people(**away))
    assert [act.to for act in found] == told


STALLING = replace(STANDARD, stall_hours=8)


def held(accepted: str, active: str | None = None, climbed: str | None = None) -> Ticking:
    """A breached clock whose ticket was accepted and then worked on; the manager told or not."""
    clock = replace(BREACHED, accepted_at=cn(accepted), active_at=cn(active or accepted))
    if climbed is None:
        return clock
    return replace(clock, step="manager+4", climbed_at=cn(climbed), told=frozenset({HEAD}))


@pytest.mark.parametrize(
    ("clock", "steps", "expected"),
    [
        (BREACHED, STALLING, "08-07 14:30"),
        # eight hours idle before it was due: nothing is held back
        (held("2026-08-05 09:00"), STALLING, "08-07 14:30"),
        # 10:00 and eight hours: the next day at 10:30; four more
        (held("2026-08-06 10:00"), STALLING, "08-07 16:00"),
        (held("2026-08-06 10:00"), STANDARD, "08-07 14:30"),  # it stops nothing
        (held("2026-08-06 10:00", "2026-08-07 10:00"), STALLING, "08-10 16:00"),
        # one hour of four had passed
        (held("2026-08-07 10:00"), STALLING, "08-10 15:00"),
        (held("2026-08-07 16:00"), STALLING, "08-10 16:30"),  # overdue, and nobody looked
        # of sixteen hours four and a half had passed
        (held("2026-08-07 15:00", climbed="2026-08-07 14:30"), STALLING, "08-12 10:30"),
        # told since acceptance: twelve more hours from then, or from the next stall
        (held("2026-08-07 10:00", climbed="2026-08-10 15:00"), STALLING, "08-12 10:30"),
        (
            held("2026-08-07 10:00", "2026-08-11 09:00", "2026-08-10 15:00"),
            STALLING,
            "08-13 15:30",
        ),
    ],
)
def test_acceptance_stops_the_climb_and_a_stall_resumes_it(
    clock: Ticking, steps: Ladder, expected: str
) -> None:
    assert shown(next_moment(clock, SMALL, steps, CALENDAR, SHANGHAI, "DB", people())) == expected
    at = next_moment(clock, SMALL, steps, CALENDAR, SHANGHAI, "DB", people())
    assert at is not None
    assert look(clock, at - timedelta(minutes=1), steps) == []
    assert len(look(clock, at, steps)) == 1


def test_a_stalled_climb_does_not_ring_everybody_at_once() -> None:
    """Weeks later, found late: one step, the next counted from then."""
    found = look(held("2026-08-06 10:00"), cn("2026-09-01 09:00"), STALLING)
    assert [(a.step, shown(a.next_at)) for a in found] == [("manager+4", "09-02 15:00")]


def test_a_passed_step_takes_the_next_at_once() -> None:
    away = people(head=("2026-08-07", "2026-08-07"))
    found = look(BREACHED, cn("2026-08-07 10:00"), PAIR, away)
    assert [(a.step, shown(a.next_at)) for a in found] == [("manager2+2", "08-07 12:00")]


@pytest.mark.parametrize(
    ("first", "last", "told"),
    [("2026-08-06", "2026-08-06", True), ("2026-08-08", "2026-08-09", True),
     ("2026-08-01", "2026-08-07", False), ("2026-08-07", "2026-08-31", False)],
)  # fmt: skip
def test_leave_includes_both_its_days(first: str, last: str, told: bool) -> None:
    found = look(BREACHED, cn("2026-08-07 10:00"), PAIR, people(head=(first, last)))
    assert (found[0].to == HEAD) is told


def test_who_was_passed_over_may_be_told_by_a_later_step() -> None:
    away = people(top=("2026-08-07", "2026-08-07"))
    steps = ladder(("manager", 1), ("ops", 2), ("senior", 16))
    clock = replace(BREACHED, step="ops+2")
    now = cn("2026-08-11 12:00")
    [act] = acts(clock, SMALL, steps, CALENDAR, SHANGHAI, "HO", away, now)
    assert act == Act("climb", None, TOP, "senior+16")


def test_nobody_left_to_tell_is_said_once() -> None:
    away = people(head=("2026-08-07", "2026-08-07"))
    found = look(BREACHED, cn("2026-08-07 18:00"), ladder(("manager", 1)), away)
    assert found == [Act("climb", None, None, "manager+1", ("manager+1",))]


@pytest.mark.parametrize(
    ("steps", "unit", "next_at", "told"),
    [
        (None, "DB", None, []),
        (ladder(("owner", -8), ("owner", 0)), "DB", None, []),
        (ladder(("manager", 1)), "NB", None, []),  # it has no head
        (ladder(("manager", 1), ("ops", 2)), "NB", "08-07 10:00", [OPS]),
        (ladder(("manager", 0)), "DB", "08-06 18:00", [HEAD]),
        (ladder(("manager", 0), ("owner", 0)), "DB", "08-06 18:00", [HEAD]),
        (ladder(("owner", 1), ("owner", 2)), "DB", "08-07 10:00", [UNIT]),
        (ladder(("manager", 1), ("senior", 2)), "HO", "08-07 10:00", [TOP]),  # one and the same
        (ladder(("ops", 2), ("manager", 1)), "DB", "08-07 10:00", [HEAD, OPS]),
        (ladder(("ops", 0), quiet=("17:00", "20:00")), "DB", "08-06 20:00", [OPS]),
    ],
)
def test_ladders(
    steps: Ladder | None, unit: str, next_at: str | None, told: list[Recipient]
) -> None:
    breach, *rest = acts(FRESH, SMALL, steps, CALENDAR, SHANGHAI, unit, people(), DUE)
    assert (breach.what, breach.to, shown(breach.next_at)) == ("breach", Recipient(unit), next_at)
    breached = replace(BREACHED, step=rest[-1].step) if rest else BREACHED
    late = DUE + timedelta(days=30)
    rest += acts(breached, SMALL, steps, CALENDAR, SHANGHAI, unit, people(), late)
    assert [act.to for act in rest] == told


@pytest.mark.parametrize(
    ("clock", "steps", "expected"),
    [
        (FRESH, STANDARD, "08-05 17:30"),
        (replace(FRESH, reminded=True), STANDARD, "08-06 18:00"),
        (BREACHED, STANDARD, "08-07 14:30"),
        (BREACHED, None, None),
        (replace(BREACHED, step="manager+4"), STANDARD, "08-11 10:00"),
        (replace(BREACHED, step="senior+40"), STANDARD, None),
        (replace(BREACHED, step="no longer there"), STANDARD, None),
        (
            replace(BREACHED, step="manager+1", told=frozenset({HEAD})),
            ladder(("manager", 1), ("manager", 9)),
            None,
        ),
    ],
)
def test_next_moment(clock: Ticking, steps: Ladder | None, expected: str | None) -> None:
    assert shown(next_moment(clock, SMALL, steps, CALENDAR, SHANGHAI, "DB", people())) == expected


def test_without_a_calendar_hours_are_plain() -> None:
    clock = Ticking(NINE, NINE + timedelta(days=15), breached_at=NINE + timedelta(days=15))
    [act] = acts(clock, LEGAL, PAIR, None, SHANGHAI, "DB", people(), NINE + timedelta(days=15.05))
    assert act.to == HEAD
    assert shown(act.next_at) == "08-18 11:30"


@pytest.mark.parametrize(
    ("quiet", "moment", "expected"),
    [
        (("21:00", "08:00"), "2026-08-03 20:59", "08-03 20:59"),
        (("21:00", "08:00"), "2026-08-03 21:00", "08-04 08:00"),
        (("21:00", "08:00"), "2026-08-03 00:00", "08-03 08:00"),
        (("21:00", "08:00"), "2026-08-03 08:00", "08-03 08:00"),
        (("12:00", "13:30"), "2026-08-03 12:15", "08-03 13:30"),
        (("12:00", "12:00"), "2026-08-03 12:00", "08-03 12:00"),
        (None, "2026-08-03 23:00", "08-03 23:00"),
    ],
)
def test_undisturbed(quiet: tuple[str, str] | None, moment: str, expected: str) -> None:
    assert shown(undisturbed(cn(moment), ladder(quiet=quiet), SHANGHAI)) == expected


TELLS = st.sampled_from(["owner", "manager", "manager2", "senior", "ops"])
CLOCKS = st.from_regex(r"([01][0-9]|2[0-3]):[0-5][0-9]", fullmatch=True)
MOMENTS = st.integers(0, 330 * 1440).map(lambda n: cn("2026-01-05") + timedelta(minutes=n))


@st.composite
def ladders(draw: st.DrawFn) -> Ladder | None:
    hours = draw(st.lists(st.integers(-20, 40), max_size=6))
    steps = tuple(Step(f"s{n}", draw(TELLS), hour) for n, hour in enumerate(hours))
    quiet = draw(st.none() | st.tuples(CLOCKS, CLOCKS))
    return Ladder("l", T, steps, quiet) if draw(st.integers(0, 9)) else None


@st.composite
def organisations(draw: st.DrawFn) -> Organisation:
    days = st.dates(date(2026, 1, 1), date(2026, 12, 31))
    leave = {}
    for person in draw(st.sets(st.sampled_from(["head", "chief", "top"]))):
        first = draw(days)
        last = first + timedelta(days=draw(st.integers(0, 60)))
        leave[person] = (first.isoformat(), last.isoformat())
    return people(**leave)


SPECS = st.sampled_from(
    [
        SMALL,
        LEGAL,
        URGENT,
        replace(SMALL, warn_before_hours=None),
        replace(SMALL, warn_at=0.75),
        replace(LEGAL, warn_at=0.9),
    ]
)
GAPS = st.lists(st.floats(0.01, 300.0), min_size=1, max_size=40)


def run(
    spec: ClockSpec, steps: Ladder | None, who: Organisation, start: datetime, gaps: list[float]
) -> list[tuple[datetime, Act]]:
    """Looks at irregular times, then exactly when asked to; each act with the time it was done."""
    end = due(start, spec, CALENDAR, SHANGHAI).due
    next_at: datetime | None = first_moment(start, end, spec, steps, CALENDAR, SHANGHAI)
    clock, done, now = Ticking(start, end), [], start
    for gap in [*gaps, *[None] * 20]:
        if next_at is None:
            break
        now = max(now, next_at) if gap is None else now + timedelta(hours=gap)
        found = acts(clock, spec, steps, CALENDAR, SHANGHAI, "DB", who, now)
        assert found == acts(clock, spec, steps, CALENDAR, SHANGHAI, "DB", who, now)
        assert bool(found) is (now >= next_at)
        for act in found:
            clock, next_at = after(clock, act, now), act.next_at
            done.append((now, act))
    assert next_at is None
    return done


@given(SPECS, ladders(), organisations(), MOMENTS, GAPS)
def test_each_thing_once_and_in_order(
    spec: ClockSpec,
    steps: Ladder | None,
    who: Organisation,
    start: datetime,
    gaps: list[float],
) -> None:
    end = due(start, spec, CALENDAR, SHANGHAI).due
    done = run(spec, steps, who, start, gaps)
    whats = [act.what for _, act in done]
    assert whats.count("breach") == 1
    assert whats[: whats.index("breach")] in ([], ["remind"])
    taken = [s for _, act in done for s in dict.fromkeys((*act.passed, act.step)) if s]
    ladder_steps = sorted(steps.steps if steps else (), key=lambda s: s.after_hours)
    past = [
        s.id for s in ladder_steps if s.after_hours >= 0 and (s.after_hours, s.tell) != (0, "owner")
    ]
    assert taken == past[: len(taken)]
    for now, act in done:
        assert now > start
        assert (now < end) is (act.what == "remind")
        person = who.person_by_id.get(act.to.person or "") if act.to else None
        day = now.astimezone(SHANGHAI).date().isoformat()
        assert not any(off.first <= day <= off.last for off in (person.leave if person else ()))


@given(SPECS, ladders(), organisations(), MOMENTS)
def test_in_time_nobody_is_disturbed_or_told_twice(
    spec: ClockSpec, steps: Ladder | None, who: Organisation, start: datetime
) -> None:
    done = run(spec, steps, who, start, [0.01])
    told = [act.to for _, act in done if act.what == "climb" and act.to]
    assert len(told) == len(set(told))
    quiet = steps.quiet if steps and steps.quiet else ("", "")
    for now, act in done:
        clock = f"{now.astimezone(SHANGHAI):%H:%M}"
        begin, end = quiet
        loud = not begin <= clock < end if begin <= end else end <= clock < begin
        assert loud or act.what == "breach"


@given(
    ladders(),
    MOMENTS,
    st.floats(0.5, 60),
    st.lists(st.floats(0, 900), min_size=1, max_size=5),
    GAPS,
)
def test_nobody_above_is_told_while_work_shows_signs_of_life(
    steps: Ladder | None, start: datetime, stall: float, signs: list[float], gaps: list[float]
) -> None:
    """Accepted and worked on at any times, looked at at any others: each step once, in order, and
    none within the stall's hours of working time after a sign of work."""
    steps = replace(steps, stall_hours=stall) if steps else None
    alive = sorted(start + timedelta(hours=hours) for hours in signs)
    clock = Ticking(start, start, breached_at=start)
    now, taken = start, list[str]()
    for gap in [*gaps, *[100.0] * 40]:
        now += timedelta(hours=gap)
        if seen := [at for at in alive if at <= now]:
            clock = replace(clock, accepted_at=seen[0], active_at=seen[-1])
        for act in look(clock, now, steps):
            if seen:
                assert business_hours_between(seen[-1], now, CALENDAR) >= stall - 1e-6
            taken += [*act.passed, str(act.step)] if act.to else act.passed
            clock = after(clock, act, now)
        at = next_moment(clock, SMALL, steps, CALENDAR, SHANGHAI, "DB", people())
        assert at is None or at > now
    assert len(taken) == len(set(taken))
    assert at is None, "it came to its end"


@given(ladders(), MOMENTS, st.floats(0, 500), GAPS)
def test_steps_wait_for_the_breach_that_was_found_late(
    steps: Ladder | None, start: datetime, late: float, gaps: list[float]
) -> None:
    """So many hours after it was found as after due, had it been found in time."""
    end = due(start, SMALL, CALENDAR, SHANGHAI).due
    found_at = end + timedelta(hours=late)
    late_one = Ticking(start, end, breached_at=found_at)
    in_time = Ticking(start, found_at, breached_at=found_at)
    now = found_at + timedelta(hours=sum(gaps))
    assert look(late_one, now, steps) == look(in_time, now, steps)


@given(
    st.sampled_from(["Asia/Shanghai", "America/New_York", "Europe/Lisbon", "Australia/Lord_Howe"]),
    CLOCKS,
    CLOCKS,
    MOMENTS,
)
def test_undisturbed_waits_less_than_a_day_and_ends(
    name: str, begin: str, end: str, moment: datetime
) -> None:
    zone, steps = ZoneInfo(name), ladder(quiet=(begin, end))
    found = undisturbed(moment, steps, zone)
    assert moment <= found < moment + timedelta(hours=25)
    assert undisturbed(found, steps, zone) == found
