"""A fix is looked at on its days, once each; what is proven closes and is told, what is back
reopens. Counts are even on purpose: chance is for the unit tests of the statistics."""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from insight.effects import Series
from loopwright.errors import InputError
from models.base import table
from models.customer import Measure
from models.effect import Effect
from models.feedback import RawItem
from models.history import HistoryEvent
from models.kinds import EventKind
from models.loop import Loop
from models.message import Message
from models.ticket import Ticket
from tasks.causes.big_loops import close, describe, triage
from tasks.causes.count_days import daily, of_topic
from tasks.causes.look_effects import show_effects
from tasks.causes.measure_effects import measure, reopen_relapsed
from tasks.causes.plan_cause import Plan, plan
from tasks.change import Change
from tasks.messages.context import contexts
from tasks.sweeps import review_causes
from tasks.tickets.hand_off import resolve
from tasks.workspace import Workspace
from tests.cast import (
    DAY,
    FEE,
    HOUR,
    LOGIN,
    NOON,
    OPS,
    PRAISE,
    ZHANG,
    change_now,
    drop,
    kinds_of,
    one,
    opening,
    rows,
    sample_issues,
    sound,
    take_in,
)

CHANGED = "登录失败时会说明停在哪一步"
PAST, WINDOW, WATCH = range(-104, -14), range(-14, 0), range(1, 91)
"""Local days around the day on which the candidate was found and the fix made."""
FIXED = NOON + HOUR


def said(days: range, each: int, text: str = LOGIN, *, mail: bool = False) -> list[dict[str, str]]:
    """So many customers on each day, nobody twice."""
    return [
        {
            "text": text,
            "customer": f"{text[:2]}{day}.{n}",
            "received": (NOON + day * DAY).isoformat(),
        }
        | ({"mail": f"c{day}.{n}@mail.example"} if mail else {})
        for day in days
        for n in range(each)
    ]


def a_past(ws: Workspace, *items: dict[str, str]) -> None:
    """Three customers a day for ninety days, ten a day in the fortnight that raises the alarm, who
    left an address."""
    take_in(ws, *said(PAST, 3), *said(WINDOW, 10, mail=True), *items)


def acted_on(ws: Workspace, *items: dict[str, str], **planned: Any) -> str:
    """The recurring cause found, planned, and its fix in place the same day."""
    a_past(ws, *items)
    review(ws, NOON)
    loop = str(big(ws).id)
    triage(ws, loop, "DB", [], None, OPS, NOON)
    given: dict[str, Any] = {"changed": CHANGED} | planned
    made = Plan("C01", ["没有测试"], ["补测试"], "失败减少", date(2026, 9, 1), **given)
    plan(ws, loop, made, ZHANG, NOON)
    finish(ws, loop, FIXED)
    return loop


def finish(ws: Workspace, loop: str, now: datetime) -> None:
    for ticket in rows(ws.db, Ticket, loop_id=loop):
        resolve(ws, ticket.id, "C01", "做完了", ZHANG, now)


def since_then(ws: Workspace, each: int, days: range = WATCH, text: str = LOGIN) -> None:
    take_in(ws, *said(days, each, text), now=NOON + days[-1] * DAY + HOUR)


def review(ws: Workspace, now: datetime) -> dict[str, int]:
    counts = asyncio.run(review_causes(ws, lambda: now))
    return {name: counts[name] for name in ("measured", "proven", "relapsed")}


def after(days: int) -> datetime:
    return NOON + days * DAY


def big(ws: Workspace) -> Any:
    return one(ws.db, Loop, kind="big")


def effects(ws: Workspace) -> list[tuple[int, str]]:
    found = sorted(rows(ws.db, Effect), key=lambda e: e.measured_at)
    return [(e.horizon, e.verdict) for e in found]


def messages(ws: Workspace, template: str) -> list[tuple[str, str | None]]:
    return sorted((m.unit, m.person) for m in rows(ws.db, Message, template=template))


def letters(ws: Workspace) -> list[str]:
    return [m.loop_id for m in rows(ws.db, Message, template="cause_closed")]


def calls(ws: Workspace) -> list[str]:
    return [m.loop_id for m in rows(ws.db, Message, template="cause_closed_call")]


def counts(*numbers: int) -> dict[str, int]:
    return dict(zip(("measured", "proven", "relapsed"), numbers, strict=True))


def test_a_fix_that_works_closes_by_evidence_and_people_are_told(ws: Workspace) -> None:
    loop = acted_on(ws, target_percent=30)
    since_then(ws, 2)
    assert review(ws, after(30)) == counts(0, 0, 0)
    assert review(ws, after(31)) == counts(1, 0, 0)
    assert (big(ws).state, messages(ws, "effect_measured")) == ("watching", [])
    assert review(ws, after(61)) == counts(1, 1, 0)
    row = big(ws)
    assert (row.state, row.outcome, row.closed_at) == ("closed", "proven", after(61))
    assert effects(ws) == [(30, "too_little"), (60, "proven")]
    proof = one(ws.db, Effect, verdict="proven")
    assert (proof.method, proof.before, proof.after) == ("series", 270, 120)
    assert proof.low < proof.change < proof.high < 0
    assert abs(proof.change + 333) < 10
    assert messages(ws, "big_loop_closed") == [("DB", None)]
    assert messages(ws, "effect_measured") == []
    assert len(letters(ws)) == len(set(letters(ws))) == 140
    assert len(calls(ws)) == len(set(calls(ws))) == 180
    assert kinds_of(sorted(rows(ws.db, HistoryEvent, loop_id=loop), key=lambda e: e.loop_seq))[
        -2:
    ] == ["effect.measured", "loop.closed"]


def test_looking_again_finds_nothing_new(ws: Workspace) -> None:
    acted_on(ws)
    since_then(ws, 2)
    assert review(ws, after(61)) == counts(2, 1, 0)
    before = len(rows(ws.db, HistoryEvent)), len(rows(ws.db, Message))
    for later in (61, 62, 91):
        assert review(ws, after(later)) == counts(0, 0, 0)
    assert (len(rows(ws.db, HistoryEvent)), len(rows(ws.db, Message))) == before


def test_workers_side_by_side_take_each_look_once(
    ws: Workspace, another: Callable[[], Workspace]
) -> None:
    acted_on(ws)
    since_then(ws, 2)
    workers = [another() for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda worker: measure(worker, after(61)), workers))
    assert (sum(d.measured for d in done), sum(d.proven for d in done)) == (2, 1)
    assert effects(ws) == [(30, "too_little"), (60, "proven")]


def test_a_late_look_counts_the_days_it_was_for(ws: Workspace) -> None:
    """Ninety days late, the look at thirty days sees thirty days."""
    acted_on(ws)
    since_then(ws, 3, range(1, 181))
    review(ws, after(181))
    assert [e.after for e in sorted(rows(ws.db, Effect), key=lambda e: e.horizon)] == [90, 180, 270]


def test_what_is_not_proven_waits_for_a_person(ws: Workspace) -> None:
    loop = acted_on(ws)
    since_then(ws, 3)
    assert review(ws, after(91)) == counts(3, 0, 0)
    assert [verdict for _, verdict in effects(ws)][-1] == "not_proven"
    assert big(ws).state == "watching"
    assert messages(ws, "effect_measured") == [("CX", None), ("DB", None)]
    assert review(ws, after(92)) == counts(0, 0, 0)
    message = rows(ws.db, Message, template="effect_measured")[0]
    with ws.db.read() as tx:
        (zh,), (en,) = (contexts(tx, ws, [message], language) for language in ("zh", "en"))
    assert "没有证实下降" in zh["effect"]["reason"]
    assert en["effect"]["verdict_title"] == "not proven"
    assert any("loop close" in step["command"] for step in zh["answer"])
    done = close(ws, loop, "not proven", "三个月没有变化", None, OPS, after(92))
    assert (done.loop, big(ws).outcome) == (loop, "not proven")


def test_a_rise_that_falls_by_itself_proves_nothing(ws: Workspace) -> None:
    """Ten a day in the window, three before and after: against the window it would be a third."""
    acted_on(ws)
    since_then(ws, 3)
    review(ws, after(91))
    assert {e.before for e in rows(ws.db, Effect)} == {270}
    assert big(ws).state == "watching"


def test_too_little_says_so(ws: Workspace) -> None:
    take_in(ws, *said(PAST, 1, PRAISE), *said(range(-104, -15, 6), 1), *said(WINDOW, 2))
    review(ws, NOON)
    loop = str(big(ws).id)
    triage(ws, loop, "DB", [], None, OPS, NOON)
    plan(ws, loop, Plan("C01", ["a"], ["b"], "c", date(2026, 9, 1)), ZHANG, NOON)
    finish(ws, loop, FIXED)
    since_then(ws, 1, WATCH, PRAISE)
    review(ws, after(91))
    assert effects(ws) == [(30, "too_little"), (60, "too_little"), (90, "too_little")]
    assert {(e.change, e.before) for e in rows(ws.db, Effect)} == {(None, 15)}
    shown = show_effects(ws, loop)["items"][-1]
    assert "数据太少" in shown["reason"]["zh"]


def test_of_a_cause_known_by_its_words_only_its_own_loops_count(ws: Workspace) -> None:
    """Its topic is that of most; what else came of the topic is another matter."""
    a_past(ws)
    small = min(rows(ws.db, Loop), key=lambda loop: loop.received_at)
    (issue,) = sample_issues(ws.db, 1)
    opened = replace(opening("B9", issue, kind="big"), rule="similarity")
    link = Change("B9", EventKind.LOOP_LINKED, {"small": small.id, "relation": "same_cause"})
    change_now(ws, opened, link)
    triage(ws, "B9", "DB", [], None, OPS, NOON)
    plan(ws, "B9", Plan("C01", ["a"], ["b"], "c", date(2026, 9, 1)), ZHANG, NOON)
    finish(ws, "B9", FIXED)
    since_then(ws, 2)
    measure(ws, after(91))
    assert {(e.verdict, e.before) for e in rows(ws.db, Effect)} == {("too_little", 1)}


def test_fewer_because_fewer_came_by_is_no_effect(ws: Workspace) -> None:
    """Two instead of three a day, of two thirds of the transactions."""
    acted_on(ws)
    since_then(ws, 2)
    transactions(ws, PAST, 3000)
    transactions(ws, WATCH, 2000)
    assert review(ws, after(91)) == counts(3, 0, 0)


def transactions(ws: Workspace, days: range, each: int) -> None:
    raw = rows(ws.db, RawItem)[0].id
    with ws.db.begin() as tx:
        tx.execute(
            insert(table(Measure)),
            [
                {
                    "touchpoint": "app-login",
                    "unit": "HO",
                    "channel": "app",
                    "day": (NOON + day * DAY).date(),
                    "numerator": 0,
                    "denominator": each,
                    "raw_id": raw,
                }
                for day in days
            ],
        )


def test_a_comparison_takes_out_what_falls_everywhere(ws: Workspace) -> None:
    """Fees came down as much on the same days: no merit of the fix."""
    acted_on(ws, *said(PAST, 3, FEE), *said(WINDOW, 3, FEE), comparison="annual-fee")
    since_then(ws, 2)
    since_then(ws, 2, text=FEE)
    assert review(ws, after(91)) == counts(3, 0, 0)
    assert {e.method for e in rows(ws.db, Effect)} == {"comparison"}


def test_a_source_that_went_away_is_no_effect(ws: Workspace) -> None:
    """Posts came in the baseline only: what they brought does not count."""
    a_past(ws)
    for day in (-104, -60, -15):
        drop(ws, *(f"{day}{n}{LOGIN}" for n in range(5)), source="posts", now=NOON + day * DAY)
    take_in(ws, *said(range(1, 31), 2), now=after(31))
    periods = [local(PAST), local(range(1, 31))]
    with ws.db.read() as tx:
        counted: Series = daily(tx, ws, of_topic("login", "app-login"), "app-login", periods)
    assert sum(counted.events[:90]) == 270


def local(days: range) -> tuple[date, date]:
    first = NOON + days[0] * DAY
    return first.date(), (first + timedelta(len(days) - 1)).date()


def proven(ws: Workspace, **planned: Any) -> str:
    loop = acted_on(ws, **planned)
    since_then(ws, 2, range(1, 62))
    assert review(ws, after(61))["proven"] == 1
    return loop


def test_what_comes_back_reopens_its_loop(ws: Workspace) -> None:
    loop = proven(ws, sponsor="ho.chief")
    since_then(ws, 4, range(62, 92))
    assert review(ws, after(91)) == counts(0, 0, 0)
    assert review(ws, after(92)) == counts(0, 0, 1)
    row = big(ws)
    assert (row.id, row.state, row.outcome, row.closed_at) == (loop, "acting", None, None)
    assert {t.state for t in rows(ws.db, Ticket, loop_id=loop)} == {"assigned"}
    assert messages(ws, "big_loop_relapsed") == [("CX", None), ("DB", None), ("HO", "ho.chief")]
    assert one(ws.db, Effect, method="relapse").verdict == "not_proven"
    assert reopen_relapsed(ws, after(92)).relapsed == 0
    assert sound(ws.db)


def test_a_relapsed_loop_is_watched_anew_and_tells_the_new_customers(ws: Workspace) -> None:
    loop = proven(ws)
    assert (len(letters(ws)), len(calls(ws))) == (140, 2 * 61)
    since_then(ws, 4, range(62, 92))
    review(ws, after(92))
    finish(ws, loop, after(92) + HOUR)
    assert big(ws).watched_from == after(92) + HOUR
    take_in(ws, *said(range(93, 154), 1, mail=True), now=after(154))
    assert review(ws, after(152)) == counts(1, 0, 0)
    assert review(ws, after(153)) == counts(1, 1, 0)
    assert [v for _, v in effects(ws)][-1] == "proven"
    assert len(rows(ws.db, Message, template="big_loop_closed")) == 2
    assert len(set(letters(ws))) == len(letters(ws)) == 140 + 61
    assert len(set(calls(ws))) == len(calls(ws)) == 2 * 61 + 4 * 30
    assert not set(letters(ws)) & set(calls(ws))


@pytest.mark.parametrize("each", [2, 1])
def test_what_stays_better_stays_closed(ws: Workspace, each: int) -> None:
    proven(ws)
    since_then(ws, each, range(62, 122))
    for day in (92, 122):
        assert review(ws, after(day)) == counts(0, 0, 0)
    assert big(ws).outcome == "proven"


def test_customers_wait_for_words_and_the_lead_is_asked_for_them(ws: Workspace) -> None:
    loop = acted_on(ws, changed=None)
    since_then(ws, 2)
    review(ws, after(61))
    assert big(ws).outcome == "proven"
    assert messages(ws, "effect_measured") == [("CX", None), ("DB", None)]
    assert messages(ws, "cause_closed") == []
    done = describe(ws, loop, CHANGED, ZHANG, after(62))
    assert (done.told, done.to_call, len(letters(ws))) == (140, 180, 140)
    assert len(calls(ws)) == len(set(calls(ws))) == 180
    with pytest.raises(InputError, match="have been told"):
        describe(ws, loop, CHANGED, ZHANG, after(62))


def test_what_is_shown_of_a_fix(ws: Workspace) -> None:
    loop = acted_on(ws, target_percent=35)
    shown = show_effects(ws, loop[-5:].lower())
    assert shown["plan"]["target_percent"] == 35
    assert [look["on"] for look in shown["watch"]] == ["2026-09-03", "2026-10-03", "2026-11-02"]
    since_then(ws, 1)
    review(ws, after(61))
    shown = show_effects(ws, loop)
    assert [(i["horizon"], i["verdict"]) for i in shown["items"]] == effects(ws)
    assert shown["items"][-1]["reason"]["en"].startswith("270 in 90 days before the fix, 60 in 60")
    assert shown["watch"] == []
    event = rows(ws.db, HistoryEvent, kind="effect.measured")[0]
    assert all(isinstance(v, int | str | None) for v in json.loads(event.data).values())
