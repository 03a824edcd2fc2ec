"""Each way of working for the numbers is found when planted; an innocent history raises none."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from insight.findings.evidence import Finding
from insight.findings.look import first_seq, look
from loopwright.history.envelope import Actor
from models.base import table
from models.issue import Issue
from models.kinds import EventKind
from tasks.change import Change
from tasks.workspace import Workspace
from tests.cast import LI, NOON, OPS, ZHANG, change_now
from tests.integration.test_measures import Teller, at, clock

EARLY, LATE = 1.0, 2.9
"""Days after assignment; the owner's clock is due on day 3."""
DONE = "已为客户退回费用并致电说明"
SECOND = timedelta(seconds=1)


def findings(ws: Workspace, since: float = -1) -> list[Finding]:
    with ws.db.read() as tx:
        return look(tx, at(since))


PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "findings.md").read_text("utf-8")


def only(ws: Workspace, name: str) -> Finding:
    assert f"| `{name}` |" in PAGE
    found = findings(ws)
    assert [f.name for f in found] == [name]
    for lang in ("zh", "en"):
        assert found[0].subject in found[0].words[lang]
    return found[0]


def loops_with_tickets(t: Teller, number: int, unit: str = "DB") -> list[tuple[str, str]]:
    made = [(f"L{n}", f"T{n}") for n in range(number)]
    for loop, ticket in made:
        t.open(loop)
        t.ticket(0, loop, ticket, due=3, unit=unit)
    return made


# The last moment


def pause(t: Teller, day: float, loop: str, ticket: str, actor: Actor) -> None:
    named = f"{loop}.1.owner.{ticket}"
    t.tell(day, loop, EventKind.CLOCK_PAUSED, actor, clock=named, reason="customer")


def ask_for_time(t: Teller, day: float, loop: str, ticket: str, actor: Actor) -> None:
    asked = {"approval": f"A{loop}", "kind": "more_time", "level": "manager", "unit": "DB"}
    data = asked | {"by": actor.id, "ticket": ticket}
    t.do(day, Change(loop, EventKind.APPROVAL_REQUESTED, data, actor))


def transfer(t: Teller, day: float, loop: str, ticket: str, actor: Actor) -> None:
    starts = clock("owner", "resolved", day + 3)
    t.tell(day, loop, EventKind.TICKET_TRANSFERRED, actor, ticket=ticket, unit="CC", **starts)


LAST_MOMENT = [
    ("pause_before_due", pause),
    ("extension_at_the_last_moment", ask_for_time),
    ("transfer_before_due", transfer),
]


@pytest.mark.parametrize(("name", "act"), LAST_MOMENT)
def test_late_every_time(ws: Workspace, name: str, act: Any) -> None:
    t = Teller(ws)
    for n, (loop, ticket) in enumerate(loops_with_tickets(t, 10)):
        if n < 7:
            act(t, LATE, loop, ticket, ZHANG)
        else:
            act(t, EARLY, loop, ticket, LI)
    found = only(ws, name)
    assert (found.subject, found.people) == ("db.zhang", ("db.zhang",))
    assert found.counts == {"acts": 7, "late": 7}
    assert found.loops == tuple(f"L{n}" for n in range(7))


@pytest.mark.parametrize(("name", "act"), LAST_MOMENT)
def test_late_now_and_then(ws: Workspace, name: str, act: Any) -> None:
    t = Teller(ws)
    for n, (loop, ticket) in enumerate(loops_with_tickets(t, 12)):
        act(t, LATE if n < 3 else EARLY, loop, ticket, ZHANG)
    assert findings(ws) == [], name


def test_a_clock_that_was_given_time_is_not_late_at_its_old_due_time(ws: Workspace) -> None:
    t = Teller(ws)
    for loop, ticket in loops_with_tickets(t, 7):
        data: dict[str, Any] = {"extension": "x", "due_at": at(9).isoformat(), "next_at": None}
        t.tell(1, loop, EventKind.CLOCK_EXTENDED, OPS, clock=f"{loop}.1.owner.{ticket}", **data)
        pause(t, LATE, loop, ticket, ZHANG)
    assert findings(ws) == []


def test_what_the_system_does_is_nobodys_game(ws: Workspace) -> None:
    t = Teller(ws)
    for loop, ticket in loops_with_tickets(t, 7):
        pause(t, LATE, loop, ticket, Actor("system", "system", "flow"))
    assert findings(ws) == []


# Closing without contact


def close_all(t: Teller, told: int, what: str = "decision") -> None:
    """Ten loops closed by operations, the first `told` of them after a call to the customer."""
    for n, (loop, _) in enumerate(loops_with_tickets(t, 10)):
        if n < told:
            t.tell(1, loop, EventKind.LOOP_CUSTOMER_TOLD, ZHANG, what=what, how="call")
        if n % 2:
            t.tell(2, loop, EventKind.LOOP_WITHDRAWN, OPS)
        else:
            t.close(2, loop, "unfounded", "checked", OPS)


def test_closed_without_contact(ws: Workspace) -> None:
    close_all(Teller(ws), told=7)
    found = only(ws, "closed_without_contact")
    assert found.subject == "cx.ops"
    assert found.counts == {"closed": 10, "without_contact": 3}
    assert found.loops == ("L7", "L8", "L9")


def test_what_changed_is_no_word_of_the_customers_own_matter(ws: Workspace) -> None:
    close_all(Teller(ws), told=7, what="change")
    assert only(ws, "closed_without_contact").counts == {"closed": 10, "without_contact": 10}


def test_closed_after_contact_but_for_two(ws: Workspace) -> None:
    close_all(Teller(ws), told=8)
    assert findings(ws) == []


def test_twice_is_no_habit(ws: Workspace) -> None:
    t = Teller(ws)
    for loop, _ in loops_with_tickets(t, 2):
        t.tell(2, loop, EventKind.LOOP_WITHDRAWN, OPS)
    assert findings(ws) == []


def test_nobody_can_speak_to_nobody(ws: Workspace) -> None:
    t = Teller(ws)
    for n in range(5):
        t.open(f"L{n}", customer=False)
        t.close(1, f"L{n}", "unfounded", "checked", OPS)
    assert findings(ws) == []


# Circles


def round_trip(t: Teller, loop: str, *units: str) -> None:
    """Each unit in turn rejects, the next one gets a ticket."""
    t.open(loop)
    for n, unit in enumerate(units):
        t.ticket(n, loop, f"{loop}-{n}", unit=unit)
        following = units[(n + 1) % len(units)]
        t.tell(
            n + 0.5,
            loop,
            EventKind.TICKET_REJECTED,
            ZHANG,
            ticket=f"{loop}-{n}",
            suggested=following,
        )


def test_a_circle_of_rejections(ws: Workspace) -> None:
    t = Teller(ws)
    round_trip(t, "L0", "DB", "CC", "DB")
    round_trip(t, "L1", "DB", "RK", "CC", "DB")
    found = {f.subject: f for f in findings(ws)}
    assert found.keys() == {"DB → CC", "DB → CC → RK"}
    assert found["DB → CC"].loops == ("L0",)
    assert found["DB → CC"].name == "rejections_in_a_circle"


def test_a_circle_of_transfers(ws: Workspace) -> None:
    t = Teller(ws)
    t.open("L0")
    t.ticket(0, "L0", "T0", unit="DB")
    for day, unit in ((1, "CC"), (2, "DB"), (3, "CC")):
        t.tell(day, "L0", EventKind.TICKET_TRANSFERRED, ZHANG, ticket="T0", unit=unit)
    assert only(ws, "rejections_in_a_circle").subject == "DB → CC"


@pytest.mark.parametrize(
    "units", [("DB", "CC"), ("DB", "CC", "RK"), ("DB", "DB", "DB")], ids=["two", "three", "same"]
)
def test_no_circle(ws: Workspace, units: tuple[str, ...]) -> None:
    round_trip(Teller(ws), "L0", *units)
    assert findings(ws) == []


# The unhappy left out


def end_all(ws: Workspace, unasked: dict[str, int], emotion: int = 3) -> None:
    """Twelve complaints for each unit, the first `unasked` of which end without a question."""
    t = Teller(ws, 36)
    for unit in ("DB", "CC", "RK"):
        for n in range(12):
            loop = f"{unit}{n:02}"
            t.open(loop)
            t.ticket(0, loop, f"T{loop}", unit=unit)
            t.resolve(1, loop, f"T{loop}")
            if n < unasked.get(unit, 0):
                t.close(2, loop, "unverified", "opted out")
            else:
                t.ask(2, loop)
    with ws.db.begin() as tx:
        tx.execute(update(table(Issue)).values(emotion=emotion))


def test_a_unit_that_asks_only_the_happy(ws: Workspace) -> None:
    end_all(ws, {"DB": 9, "CC": 1})
    found = only(ws, "unhappy_left_out")
    assert found.subject == "DB"
    counts = {"unhappy": 12, "unasked": 9, "others_unhappy": 24, "others_unasked": 1}
    assert found.counts == counts
    assert found.loops == tuple(f"DB{n:02}" for n in range(9))


@pytest.mark.parametrize(
    "unasked", [{"DB": 3, "CC": 2, "RK": 2}, {"DB": 9, "CC": 8, "RK": 8}], ids=["few", "all alike"]
)
def test_units_that_are_alike(ws: Workspace, unasked: dict[str, int]) -> None:
    end_all(ws, unasked)
    assert findings(ws) == []


def test_leaving_out_the_calm_is_another_matter(ws: Workspace) -> None:
    end_all(ws, {"DB": 9}, emotion=1)
    assert findings(ws) == []


# Copies


def resolve_all(ws: Workspace, gap: timedelta, *, vary: bool = False, link: bool = False) -> None:
    """Six tickets resolved one after the other."""
    t = Teller(ws)
    if link:
        t.open("B", customer=False, kind="big")
    for n, (loop, ticket) in enumerate(loops_with_tickets(t, 6)):
        body = {"done": f"{DONE} {n if vary else ''}"}
        data = {"ticket": ticket, "cause": "C01"}
        if link:
            t.tell(0, "B", EventKind.LOOP_LINKED, OPS, small=loop, relation="same_cause")
        resolving = Change(loop, EventKind.TICKET_RESOLVED, data, ZHANG, body=body)
        change_now(ws, resolving, now=at(1) + n * gap)


def test_copied_within_seconds(ws: Workspace) -> None:
    resolve_all(ws, 20 * SECOND)
    found = only(ws, "copied_resolutions")
    assert (found.subject, found.counts) == ("db.zhang", {"tickets": 6, "runs": 1})
    assert DONE not in str(found)


@pytest.mark.parametrize(
    ("gap", "vary", "link"),
    [(600 * SECOND, False, False), (20 * SECOND, True, False), (20 * SECOND, False, True)],
    ids=["in their own time", "in their own words", "one cause"],
)
def test_no_copies(ws: Workspace, gap: timedelta, vary: bool, link: bool) -> None:
    resolve_all(ws, gap, vary=vary, link=link)
    assert findings(ws) == []


# Since


def test_what_lies_before_is_not_looked_at(ws: Workspace) -> None:
    close_all(Teller(ws), told=0)
    assert [f.name for f in findings(ws)] == ["closed_without_contact"]
    assert findings(ws, since=2.5) == []


def test_the_history_is_searched_by_halving(ws: Workspace) -> None:
    t = Teller(ws)
    for day in range(1, 7):
        t.do(day, Change(f"L{day}", EventKind.LOOP_OPENED, opened(t), policy="1", rule="x"))
    with ws.db.read() as tx:
        seqs = [first_seq(tx, at(day)) for day in range(1, 8)]
        assert first_seq(tx, at(-1)) == 0
    assert seqs == list(range(seqs[0], seqs[0] + 7))


def opened(t: Teller) -> dict[str, Any]:
    return {
        "kind": "small",
        "state": "open",
        "topic": "login",
        "touchpoint": "app-login",
        "received_at": NOON.isoformat(),
        "issue": next(t.issues),
    }
