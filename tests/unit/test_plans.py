"""What simulated people mean to do: alike whenever asked, in working time, as often as stated."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest

from console.simulation.plans import GRID, Plan, Planner, Told, choose, draw, on_grid
from console.simulation.rates import RATES
from policy.documents import DocumentSet
from tasks.clocks.starting import Clocks
from tasks.documents.publish import check, read_folders
from tests.acceptance.home import BANK

AT = datetime(2026, 9, 30, 2, tzinfo=UTC)
"""A Wednesday morning before the national holiday."""
TICKET = Told("T1", ("app_reviews", "=AR-1", "1", "0"), AT, "DB", "face-recognition", "small")


@cache
def documents() -> DocumentSet:
    found, _ = check(read_folders([BANK]))
    assert found is not None
    return found


@cache
def planner(seed: int = 1) -> Planner:
    return Planner(documents(), Clocks(documents()).calendar_of_unit, seed)


def tickets(count: int) -> list[Told]:
    return [replace(TICKET, key=("s", str(n))) for n in range(count)]


def test_a_draw_is_the_same_for_the_same_words_and_even_over_others() -> None:
    assert draw(1, "a", "b") == draw(1, "a", "b")
    assert draw(1, "a", "b") != draw(2, "a", "b")
    assert draw(1, "ab") != draw(1, "a", "b")
    tenths = Counter(int(10 * draw(1, str(n))) for n in range(10_000))
    assert sorted(tenths) == list(range(10))
    assert min(tenths.values()) > 850


@pytest.mark.parametrize(
    ("share", "name"), [(0.0, "a"), (0.19, "a"), (0.2, "b"), (0.49, "b"), (0.5, "z"), (0.99, "z")]
)
def test_choose_gives_each_its_share(share: float, name: str) -> None:
    assert choose(share, [("a", 0.2), ("b", 0.3)], "z") == name


@pytest.mark.parametrize("minute", [0, 1, 59])
def test_moments_lie_on_the_hour(minute: int) -> None:
    moment = AT.replace(minute=minute)
    assert on_grid(moment) == (AT if minute == 0 else AT + GRID)


def test_plans_are_made_again_alike_and_differ_by_seed() -> None:
    assert list(planner().ticket(TICKET)) == list(planner().ticket(TICKET))
    both = [[list(planner(seed).ticket(t)) for t in tickets(20)] for seed in (1, 2)]
    assert both[0] != both[1]


def test_departments_act_as_often_as_stated() -> None:
    count = 4_000
    characters = Counter(planner().character(ticket) for ticket in tickets(count))
    stated = {
        "reject": RATES.rejects,
        "transfer": RATES.transfers,
        "sleep": RATES.sleeps,
        "dawdle": RATES.dawdles,
    }
    for name, rate in stated.items():
        assert characters[name] / count == pytest.approx(rate, abs=0.015), name


def test_who_was_rejected_to_rejects_more_and_arbitration_ends_it() -> None:
    again = [replace(t, bounces=1) for t in tickets(1_000)]
    rejected = sum(planner().character(t) == "reject" for t in again) / len(again)
    assert rejected == pytest.approx(RATES.rejects_again, abs=0.05)
    settled = [replace(t, bounces=2) for t in tickets(1_000)]
    assert not any(planner().character(t) == "reject" for t in settled)


def plans(count: int = 200) -> list[Plan]:
    return [plan for ticket in tickets(count) for plan in planner().ticket(ticket)]


def test_departments_act_later_on_the_hour_and_in_their_working_time() -> None:
    calendar = Clocks(documents()).calendar_of_unit("DB")
    assert calendar is not None
    for plan in plans():
        assert plan.at >= AT + GRID
        assert plan.at == on_grid(plan.at)
        if plan.act != "first_answer":
            day = calendar.local_day(plan.at)
            inside = [s < plan.at <= e + GRID for s, e in calendar.shifts_of(day)]
            assert any(inside), (plan.act, plan.at)


def test_a_rejection_names_another_unit_of_the_topic() -> None:
    others = {plan.unit for plan in plans(1_000) if plan.act in ("reject", "transfer")}
    assert others
    assert others <= set(planner().departments["face-recognition"]) - {"DB"}


def test_a_sleeper_wakes_when_the_manager_is_told() -> None:
    sleeper = next(t for t in tickets(200) if planner().character(t) == "sleep")
    worker = next(t for t in tickets(200) if planner().character(t) == "work")
    woken = list(planner().woken(sleeper, AT + timedelta(days=20)))
    assert [plan.act for plan in woken] == ["accept", "first_answer", "resolve"]
    assert all(plan.at > AT + timedelta(days=20) for plan in woken)
    assert list(planner().woken(worker, AT)) == []


def test_customers_answer_when_awake() -> None:
    said = [p for t in tickets(500) for p in planner().asked(t)]
    words = Counter(plan.word for plan in said)
    assert words["yes"] > words["no"] > 0 < words["partly"]
    assert len(said) / 500 == pytest.approx(RATES.yes + RATES.partly + RATES.no, abs=0.06)
    again = [p for t in tickets(500) for p in planner().asked_again(t, "mail")]
    assert len(again) / 500 == pytest.approx(RATES.answers_again, abs=0.06)
    zone = Clocks(documents()).zone
    first, last = RATES.awake
    assert all(first <= plan.at.astimezone(zone).hour <= last for plan in said)


def test_silent_customers_are_called() -> None:
    for asked in (planner().asked, planner().asked_again):
        acts = Counter(p.act for t in tickets(500) for p in asked(t, "call"))
        assert acts["answer"] + acts["call"] == 500
        assert acts["call"] > 100
    words = Counter(planner().call(t) for t in tickets(2_000))
    assert words.most_common(2)[0][0] == "no_answer"
    assert words["busy"] / 2_000 == pytest.approx(RATES.busy, abs=0.03)
    assert words["refused"] > 0 < words["wrong_number"]
