"""Every measure of the example bank against a little history worked out by hand."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import insert, update

from insight.measures import Figure, Period, figures, wilson
from loopwright.history.envelope import SYSTEM, Actor
from models.base import table
from models.clock import Clock
from models.issue import Correction, Issue
from models.kinds import EventKind, Unverified
from policy.clock_notation import Start
from policy.documents import load_set
from policy.measures import MeasureSpec
from tasks.change import Change
from tasks.workspace import Workspace
from tests.cast import (
    DAY,
    NOON,
    OPS,
    ZHANG,
    change_now,
    documents,
    opening,
    rows,
    sample_customer,
    sample_issues,
)

BANK = Path(__file__).parents[2] / "examples" / "bank" / "measures.yaml"
ZONE = ZoneInfo("Asia/Shanghai")
PERIOD = Period(date(2026, 8, 3), date(2026, 8, 23), ZONE)
OWNER_STEPS = ("remind", "due")

pytestmark = pytest.mark.breaks_history
"""Corrections and doubts are put there by hand."""


def bank_measures() -> tuple[MeasureSpec, ...]:
    found, mistakes = load_set(documents(measures=BANK.read_text("utf-8")))
    assert mistakes == []
    assert found is not None
    return found.measures


MEASURES = {spec.id: spec for spec in bank_measures()}


class Teller:
    """Tells loops' stories day by day; day 0 is NOON."""

    def __init__(self, ws: Workspace, issues: int = 12) -> None:
        self.ws = ws
        self.issues = iter(sample_issues(ws.db, issues))

    def open(self, loop: str, *, customer: bool = True, clocks: bool = False, **more: Any) -> None:
        kind = more.pop("kind", "small")
        who = sample_customer(self.ws.db) if customer else None
        if clocks:
            more |= clock("legal", "told", 15) | clock("customer", "first_answer", 1)
        self.do(0, opening(loop, next(self.issues), who, kind, **more))

    def ticket(
        self, day: float, loop: str, ticket: str, due: float | None = None, unit: str = "DB"
    ) -> None:
        starts = clock("owner", "resolved", due) if due is not None else {}
        data = {"ticket": ticket, "unit": unit, "role": "lead", **starts}
        self.do(day, Change(loop, EventKind.TICKET_ASSIGNED, data))

    def tell(self, day: float, loop: str, kind: EventKind, actor: Actor = SYSTEM, **d: Any) -> None:
        self.do(day, Change(loop, kind, d, actor))

    def resolve(self, day: float, loop: str, ticket: str) -> None:
        self.tell(day, loop, EventKind.TICKET_RESOLVED, ZHANG, ticket=ticket, cause="C01")

    def ask(self, day: float, loop: str) -> None:
        due = at(day + 7).isoformat()
        data: dict[str, Any] = {"verification": f"V{loop}", "via": "mail", "due_at": due}
        self.tell(day, loop, EventKind.VERIFICATION_ASKED, **data)

    def answer(self, day: float, loop: str, said: str) -> None:
        data: dict[str, Any] = {"verification": f"V{loop}", "answer": said}
        self.tell(day, loop, EventKind.VERIFICATION_ANSWERED, OPS, **data)

    def close(self, day: float, loop: str, outcome: str, why: str, actor: Actor = SYSTEM) -> None:
        self.tell(day, loop, EventKind.LOOP_CLOSED, actor, outcome=outcome, why=why)

    def do(self, day: float, *changes: Change) -> None:
        change_now(self.ws, *changes, now=at(day))


def at(day: float) -> datetime:
    return NOON + day * DAY


def clock(kind: str, stops: str, due: float) -> dict[str, Any]:
    return {f"clock:{kind}": str(Start(kind, stops, at(due), at(due)))}


@pytest.fixture
def told(ws: Workspace) -> Workspace:
    """Ten customers' loops and a big one over twenty days; see each loop's comment."""
    t = Teller(ws)
    verified_in_time(t)
    late_and_silent(t)
    rejected_and_reopened(t)
    # Nobody to ask; closed on day 1.
    t.open("D", customer=False)
    t.ticket(0, "D", "TD")
    t.resolve(1, "D", "TD")
    t.close(1, "D", "unverified", "unreachable")
    # Taken back on day 1: its clocks say nothing.
    t.open("E", clocks=True)
    t.ticket(0, "E", "TE", due=3)
    t.tell(1, "E", EventKind.LOOP_WITHDRAWN, OPS)
    # One complaint opened twice.
    t.open("F")
    t.tell(1, "F", EventKind.LOOP_MERGED, OPS, into="A")
    # Nothing to it.
    t.open("G")
    t.ticket(0, "G", "TG")
    t.close(2, "G", "unfounded", "checked", OPS)
    # Wants no questions.
    t.open("H")
    t.ticket(0, "H", "TH")
    t.resolve(1, "H", "TH")
    t.close(1, "H", "unverified", "opted out")
    # Verified, then a review was requested: open again.
    t.open("I")
    t.ticket(0, "I", "TI")
    t.resolve(1, "I", "TI")
    t.ask(1, "I")
    t.answer(2, "I", "yes")
    t.close(2, "I", "verified", "answer yes")
    t.tell(5, "I", EventKind.LOOP_REVIEW_REQUESTED, OPS, on="decision")
    # Merged by mistake and taken apart again; the customer is being asked on day 20.
    t.open("J")
    t.ticket(0, "J", "TJ")
    t.tell(1, "J", EventKind.LOOP_MERGED, OPS, into="A")
    t.tell(2, "J", EventKind.LOOP_REOPENED, OPS, why="unmerged", state="open")
    t.resolve(19, "J", "TJ")
    t.ask(19, "J")
    proven(t)
    with ws.db.begin() as tx:
        correct(tx, t)
    return ws


def verified_in_time(t: Teller) -> None:
    """A: accepted on day ¼, first answer ½, more legal time 1, resolved 2, yes 3."""
    t.open("A", clocks=True)
    t.ticket(0, "A", "TA", due=3)
    t.tell(0.25, "A", EventKind.TICKET_ACCEPTED, ZHANG, ticket="TA")
    t.tell(0.5, "A", EventKind.LOOP_CUSTOMER_TOLD, ZHANG, what="first_answer", how="call")
    data: dict[str, Any] = {"extension": "complex", "due_at": at(18).isoformat(), "next_at": None}
    t.tell(1, "A", EventKind.CLOCK_EXTENDED, OPS, clock="A.0.legal", **data)
    t.resolve(2, "A", "TA")
    t.ask(2, "A")
    t.answer(3, "A", "yes")
    t.close(3, "A", "verified", "answer yes")


def late_and_silent(t: Teller) -> None:
    """B: nobody told before day 4, after the legal day 3; the owner's clock ran out on day 3 and
    climbed to the manager; silence until 11."""
    t.open("B", **clock("legal", "told", 3), **clock("customer", "first_answer", 1))
    t.ticket(0, "B", "TB", due=3)
    t.tell(3, "B", EventKind.CLOCK_BREACHED, clock="B.1.owner.TB")
    t.tell(3.5, "B", EventKind.CLOCK_CLIMBED, clock="B.1.owner.TB", step="manager")
    t.resolve(4, "B", "TB")
    t.ask(4, "B")
    t.close(11, "B", "unverified", "silent")


def rejected_and_reopened(t: Teller) -> None:
    """C: rejected by CC, resolved by DB on day 2, «no» on day 3, open since, late again on 6."""
    t.open("C", clocks=True)
    t.ticket(0, "C", "TC1", due=3, unit="CC")
    t.tell(1, "C", EventKind.TICKET_REJECTED, OPS, ticket="TC1", suggested="DB")
    t.ticket(1, "C", "TC2", due=4)
    t.resolve(2, "C", "TC2")
    t.ask(2, "C")
    t.answer(3, "C", "no")
    data = {"why": "answer no", **clock("owner", "resolved", 6)}
    t.tell(3, "C", EventKind.LOOP_REOPENED, **data)
    late = one_clock(t.ws, "C", due=6)
    t.tell(6, "C", EventKind.CLOCK_BREACHED, clock=late)
    t.tell(6, "C", EventKind.CLOCK_CLIMBED, clock=late, step="due")


def one_clock(ws: Workspace, loop: str, due: float) -> str:
    (found,) = [c for c in rows(ws.db, Clock, loop_id=loop) if c.due_at == at(due)]
    return str(found.id)


def proven(t: Teller) -> None:
    """P: a big loop accepted on day 1, done on day 2, proven on day 15."""
    t.open("P", customer=False, kind="big")
    t.tell(0, "P", EventKind.LOOP_TRIAGED, OPS, lead="DB", priority="P2")
    plan: dict[str, Any] = {"cause": "C01", "by": "2026-09-01"}
    t.tell(0, "P", EventKind.LOOP_PLANNED, OPS, **plan)
    t.ticket(0, "P", "TP")
    t.tell(1, "P", EventKind.TICKET_ACCEPTED, ZHANG, ticket="TP")
    t.resolve(2, "P", "TP")
    seen: dict[str, Any] = {"effect": "EP", "horizon": 30, "method": "m", "verdict": "proven"}
    t.tell(15, "P", EventKind.EFFECT_MEASURED, before=9, after=1, **seen)
    t.close(15, "P", "proven", "measured")


def correct(tx: Any, t: Teller) -> None:
    """One issue was read by a person; another opened nothing."""
    issues = table(Issue)
    noted = next(t.issues)
    tx.execute(update(issues).where(issues.c.id == noted).values(state="noted"))
    first = noted.rsplit("-", 1)[0] + "-0"
    row = {"id": "K", "issue_id": first, "kind": "complaint", "by": "cx.ops", "at": NOON}
    tx.execute(insert(table(Correction)).values(row))


BY_HAND: Mapping[str, tuple[int, int | None, float | None]] = {
    # Received, no merge: A B C D E G H I J; closed by day 20: A B D E G H.
    "closing-rate": (9, 6, None),
    "verified-closure-rate": (6, 1, None),
    "unverified-silent": (6, 1, None),
    "unverified-unreachable": (6, 1, None),
    "unverified-opted-out": (6, 1, None),
    "unverified-refused": (6, 0, None),
    "unfounded-rate": (6, 1, None),
    # Days: A 3, B 11, D 1, G 2, H 1; p90 lies 0.6 of the way from the 4th to the 5th.
    "days-to-close-median": (5, None, 2.0),
    "days-to-close-p90": (5, None, 7.8),
    # A 3, B 3, C 4 without the rejected; late: B all three, C's first answer and second time.
    "timeliness": (10, 5, None),
    "legal-breach-rate": (3, 1, None),
    "first-contact-timeliness": (3, 1, None),
    "owner-timeliness": (4, 2, None),
    "extension-rate": (10, 1, None),
    # B climbed to the manager; C only told its owner.
    "escalation-rate": (9, 1, None),
    # TA TB TC1 TC2 TD TE TG TH TI TJ TP.
    "rejection-rate": (11, 1, None),
    # A ¼, B 4, D H I P 1, J 19; C's were taken back.
    "days-to-accept-median": (7, None, 1.0),
    "triage-share": (11, 1, None),
    # Closed, with a customer, once called solved: A B H.
    "follow-up-rate": (3, 2, None),
    # A yes, B silent, C no, I yes; J is waited for.
    "satisfaction-of-asked": (4, 2, None),
    "satisfaction-of-answered": (3, 2, None),
    "answer-rate": (4, 3, None),
    # Once called solved: A B C D H I J.
    "reopen-rate": (7, 1, None),
    "review-rate": (7, 1, None),
    "proven-rate": (1, 1, None),
}


def look(
    ws: Workspace, *specs: MeasureSpec, minimum: int = 1, by: str | None = None, **more: Any
) -> list[Figure]:
    asked = [replace(spec, minimum_n=minimum) for spec in specs]
    period = more.get("period", PERIOD)
    with ws.db.read() as tx:
        return figures(tx, asked, period, at(20), by, OWNER_STEPS)


def test_every_measure_of_the_bank_is_worked_out_by_hand() -> None:
    assert BY_HAND.keys() == MEASURES.keys()


def test_measures_by_hand(told: Workspace) -> None:
    found = {f.measure: f for f in look(told, *MEASURES.values())}
    for name, (n, hits, value) in BY_HAND.items():
        figure = found[name]
        assert (figure.n, figure.hits) == (n, hits), name
        expected = hits / n if hits is not None else value
        assert figure.value == pytest.approx(expected), name
        if hits is not None:
            assert (figure.low, figure.high) == pytest.approx(wilson(hits, n)), name


@pytest.mark.parametrize(
    ("why", "fact"),
    [
        (Unverified.SILENT, "silent"),
        (Unverified.UNREACHABLE, "unreachable"),
        (Unverified.OPTED_OUT, "opted-out"),
        (Unverified.REFUSED, "refused"),
    ],
)
def test_why_nobody_said_yes(ws: Workspace, why: Unverified, fact: str) -> None:
    t = Teller(ws)
    t.open("L0")
    t.ticket(0, "L0", "T0")
    t.resolve(1, "L0", "T0")
    t.close(2, "L0", "unverified", why.value)
    specs = [spec for name, spec in MEASURES.items() if name.startswith("unverified-")]
    assert {f.measure: f.hits for f in look(ws, *specs)} == {
        spec.id: int(spec.id == f"unverified-{fact}") for spec in specs
    }


def handed_on(t: Teller, loop: str, day: float) -> None:
    """A ticket due on day 3 goes to another unit, whose time is kept."""
    t.open(loop)
    t.ticket(0, loop, f"T{loop}", due=3)
    starts = clock("owner", "resolved", day + 3)
    t.tell(day, loop, EventKind.TICKET_TRANSFERRED, ZHANG, ticket=f"T{loop}", unit="CC", **starts)
    t.resolve(day + 1, loop, f"T{loop}")


def test_a_clock_that_was_handed_on_in_time_says_nothing(ws: Workspace) -> None:
    t = Teller(ws)
    handed_on(t, "L0", day=1)
    assert [(f.n, f.hits) for f in look(ws, MEASURES["owner-timeliness"])] == [(1, 1)]
    # Once it was late, handing it on helps nobody.
    handed_on(t, "L1", day=3.5)
    assert [(f.n, f.hits) for f in look(ws, MEASURES["owner-timeliness"])] == [(3, 2)]


def test_a_clock_that_began_anew_says_nothing_of_its_first_run(ws: Workspace) -> None:
    t = Teller(ws)
    t.open("L0", **clock("legal", "told", 5))
    data: dict[str, Any] = {"clock": "L0.0.legal", "why": "new facts"}
    starts = clock("legal", "told", 9)
    t.tell(2, "L0", EventKind.CLOCK_RESTARTED, OPS, started_at=at(1).isoformat(), **data, **starts)
    (found,) = look(ws, MEASURES["legal-breach-rate"])
    assert (found.n, found.hits) == (1, 1)


def test_below_the_minimum_there_is_a_number_and_no_rate(told: Workspace) -> None:
    spec = MEASURES["reopen-rate"]
    assert look(told, spec, minimum=8) == [Figure("reopen-rate", None, 7)]
    assert look(told, spec, minimum=7)[0].value == pytest.approx(1 / 7)


def test_by_unit(told: Workspace) -> None:
    found = {f.group: (f.n, f.hits) for f in look(told, MEASURES["rejection-rate"], by="unit")}
    assert found == {None: (11, 1), "CC": (1, 1), "DB": (10, 0)}


@pytest.mark.parametrize(("by", "group"), [("topic", "login"), ("source", "desk")])
def test_by_topic_and_source(told: Workspace, by: str, group: str) -> None:
    specs = list(MEASURES.values())
    for figure in look(told, *specs, by=by):
        assert figure.group in (None, group)
        assert (figure.n, figure.hits) == BY_HAND[figure.measure][:2]


def test_by_month_in_the_zone_of_the_organisation(told: Workspace) -> None:
    # 2026-08-03 12:00 in Shanghai; a period of two months, the second one empty.
    period = Period(date(2026, 7, 20), date(2026, 9, 2), ZONE)
    found = look(told, MEASURES["closing-rate"], by="month", period=period)
    assert [(f.group, f.n) for f in found] == [(None, 9), ("2026-08", 9)]


def test_a_period_ends_with_its_last_day(told: Workspace) -> None:
    # Closed on days 1 1 1 2 3 11 of those measured: the first four lie before the 6th of August.
    period = Period(date(2026, 8, 3), date(2026, 8, 5), ZONE)
    (found,) = look(told, MEASURES["verified-closure-rate"], period=period)
    assert (found.n, found.hits) == (4, 0)


def test_of_nothing_there_is_nothing(ws: Workspace) -> None:
    assert [(f.n, f.value) for f in look(ws, *MEASURES.values())] == [(0, None)] * len(MEASURES)


def test_wilson_as_published() -> None:
    # Newcombe 1998, table I: 81 of 263 and 15 of 148.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20)[0] == 0.0
