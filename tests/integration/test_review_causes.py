"""Recurring causes become candidates once, and customers' loops hang on the big loop of theirs."""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from random import Random
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import update

from models.base import table
from models.feedback import Feedback
from models.history import EventBody, HistoryEvent
from models.issue import Issue
from models.kinds import EventKind
from models.loop import Loop, LoopIssue, LoopLink
from models.message import Message
from policy.recur import Finding
from tasks.causes import review_causes as module
from tasks.causes.count_causes import count_causes, established, observed, spans_of
from tasks.causes.review_causes import link_loops, look, open_candidate, open_candidates
from tasks.change import Change
from tasks.explain import explain_loop
from tasks.merge import merge, unlink
from tasks.messages.context import contexts
from tasks.sweeps import review_causes
from tasks.workspace import Workspace
from tests.cast import (
    DAY,
    FEE,
    LOGIN,
    NOON,
    OPS,
    PRAISE,
    UPDATE,
    a_loop,
    change_now,
    drop,
    one,
    rows,
    sound,
    take_in,
    triage,
)
from tests.hidden_cause import everyday

CAUSE = ("login", "app-login")
Item = dict[str, str]


def day(ago: float, now: datetime = NOON) -> str:
    return (now - timedelta(days=ago)).isoformat()


def said(number: int, ago: float = 1, *, who: str = "C", text: str = LOGIN) -> list[Item]:
    """As many customers, one after the other within an hour, so many days ago."""
    return [
        {"text": text, "customer": f"{who}{n}", "received": day(ago - n / 1e4)}
        for n in range(number)
    ]


def a_past(ws: Workspace, *items: Item, days: int = 70, now: datetime = NOON) -> None:
    """So many whole days with something received on each, and `items`."""
    quiet = [{"text": PRAISE, "received": day(n, now)} for n in range(1, days + 1)]
    take_in(ws, *quiet, *items, now=now)


def review(ws: Workspace, now: datetime = NOON) -> dict[str, int]:
    counts = asyncio.run(review_causes(ws, lambda: now))
    return {name: counts[name] for name in ("causes", "recurring", "candidates", "linked")}


def finding(ws: Workspace, now: datetime = NOON) -> Finding:
    """Of signing in."""
    (found,) = [f for f in look(ws, now).topics if (f.topic, f.touchpoint) == CAUSE]
    return found


def big(ws: Workspace, **where: Any) -> Any:
    return one(ws.db, Loop, kind="big", **where)


def linked(ws: Workspace) -> set[str]:
    return {row.small_id for row in rows(ws.db, LoopLink)}


def smalls(ws: Workspace) -> set[str]:
    return {row.id for row in rows(ws.db, Loop, kind="small")}


def link_events(ws: Workspace) -> int:
    return len(rows(ws.db, HistoryEvent, kind=EventKind.LOOP_LINKED))


def abandon(ws: Workspace, loop: str, now: datetime = NOON) -> None:
    data = {"outcome": "abandoned", "why": "no common cause"}
    change_now(ws, Change(loop, EventKind.LOOP_CLOSED, data, OPS), now=now)


def test_a_recurring_cause_makes_one_candidate_however_often(ws: Workspace) -> None:
    a_past(ws, *said(8, 3))
    counts = review(ws)
    assert counts == {"causes": 1, "recurring": 1, "candidates": 1, "linked": 8}
    for later in (0, 1, 2):
        assert review(ws, NOON + later * DAY)["candidates"] == 0
    loop = big(ws)
    assert (loop.topic, loop.touchpoint) == CAUSE
    assert (loop.state, loop.rule, loop.policy) == ("candidate", "recurrence", "1")
    assert (loop.priority, loop.level, loop.lead) == ("P2", "several", "DB")
    assert loop.received_at.isoformat() == day(3).replace("Z", "+00:00")
    assert linked(ws) == smalls(ws)
    assert len(rows(ws.db, LoopIssue, loop_id=loop.id)) == 8
    assert link_events(ws) == 8
    message = one(ws.db, Message, template="big_loop_candidate")
    assert (message.unit, message.loop_id) == ("CX", loop.id)
    assert sound(ws.db)


def test_operations_read_the_numbers(ws: Workspace) -> None:
    a_past(ws, *said(1, 40, who="old"), *said(8, 3))
    review(ws)
    message = one(ws.db, Message, template="big_loop_candidate")
    with ws.db.read() as tx:
        (zh,), (en,) = (contexts(tx, ws, [message], language) for language in ("zh", "en"))
    assert zh["evidence"] == "14 天内 8 位客户，为自己过去的 32.0 倍"
    assert en["evidence"] == "8 customers in 14 days, 32.0 times its own past"


def test_a_candidate_says_why(ws: Workspace) -> None:
    a_past(ws, *said(1, 40, who="old"), *said(8, 3))
    review(ws)
    loop = big(ws)
    explained = explain_loop(ws, loop.id, "en")
    assert (explained["rule"], explained["title"]) == (
        "recurrence",
        "the same cause keeps coming back",
    )
    assert "8 customers" in explained["reason"]
    assert "8 位客户" in explain_loop(ws, loop.id, "zh")["reason"]
    # No rule of the policy looked at it, and nobody's words were read.
    assert (explained["rules"], explained["features"], explained["confidence"]) == ([], {}, None)
    assert explained["recurrence"]["customers"] == 8
    assert explained["recurrence"]["rule"]["window_days"] == 14
    assert [c["text"] for c in explained["clauses"]] == ["customers >= 3", "p <= threshold"]
    opened = one(ws.db, HistoryEvent, loop_id=loop.id, kind=EventKind.LOOP_OPENED)
    numbers = json.loads(one(ws.db, EventBody, event_id=opened.event_id).body)["recurrence"]
    assert (numbers["customers"], numbers["past"], numbers["expected"]) == (8, 1, 0.25)
    assert numbers["ratio"] == 32
    assert numbers["exposure"] == {"window": 14, "baseline": 56, "by": "days"}
    assert numbers["p"] < numbers["threshold"] == 0.005
    assert "8 customers" in numbers["reason"]["en"]
    assert (numbers["rule"]["window_days"], numbers["rule"]["alpha"]) == (14, 0.01)


NOTHING: list[tuple[str, list[Item], str]] = [
    ("too few customers", said(2, 3), "2 customers in"),
    ("one customer again and again",
     [{"text": f"{LOGIN}{n}", "customer": "C1", "received": day(n / 2 + 1)} for n in range(9)],
     "1 customers in"),
    ("as often before", [i for n in range(5) for i in said(8, 3 + 14 * n, who=f"W{n}-")],
     "not clearly above"),
    ("the same customers every fortnight", [i for n in range(5) for i in said(8, 3 + 14 * n)],
     "not clearly above"),
    ("today is not over yet", [*said(1, 3), *said(8, 0.1, who="T")], "1 customers in"),
]  # fmt: skip


@pytest.mark.parametrize(("items", "words"), [n[1:] for n in NOTHING], ids=[n[0] for n in NOTHING])
def test_what_does_not_recur(ws: Workspace, items: list[Item], words: str) -> None:
    a_past(ws, *items)
    assert words in finding(ws).reason["en"]
    assert review(ws)["candidates"] == 0
    assert rows(ws.db, Loop, kind="big") == []


@pytest.mark.parametrize(("days", "candidates"), [(27, 0), (28, 1)])
def test_a_past_of_fourteen_days_is_needed(ws: Workspace, days: int, candidates: int) -> None:
    a_past(ws, *said(12, 3), days=days)
    assert review(ws)["candidates"] == candidates


def test_days_without_any_feedback_were_not_observed(ws: Workspace) -> None:
    """Half of the past is missing: what was said on the other days stands for less time."""
    a_past(ws, *said(8, 3), days=42)
    exposure = finding(ws).exposure
    assert exposure is not None
    assert (exposure.window, exposure.baseline) == (14, 28)


def test_a_source_that_has_just_been_connected_proves_nothing(ws: Workspace) -> None:
    a_past(ws)
    drop(ws, *(f"{n}{LOGIN}" for n in range(20)), source="posts", now=NOON - 2 * DAY)
    triage(ws)
    assert len(smalls(ws)) == 20
    assert review(ws) == {"causes": 0, "recurring": 0, "candidates": 0, "linked": 0}


def test_nameless_loops_count_one_each_and_merged_ones_not(ws: Workspace) -> None:
    a_past(ws, *({"text": LOGIN, "received": day(n)} for n in (1, 2, 3, 4, 5, 6)))
    assert finding(ws).customers == 6
    first, second = sorted(smalls(ws))[:2]
    merge(ws, first, second, OPS, NOON)
    assert finding(ws).customers == 5
    review(ws)
    assert linked(ws) == smalls(ws) - {first}


def measure(ws: Workspace, first: int, last: int, denominator: int) -> None:
    lines = [
        f"app-login,DB,app,{(NOON - n * DAY).date()},1,{denominator}"
        for n in range(last, first + 1)
    ]
    head = "touchpoint,unit,channel,day,numerator,denominator"
    drop(ws, head, *lines, source="measures")


@pytest.mark.parametrize(("now", "recurring"), [(100, True), (900, False)])
def test_measures_are_the_denominators(ws: Workspace, now: int, recurring: bool) -> None:
    """Nine times the customers signing in explain as many complaints."""
    a_past(ws, *said(4, 30, who="old"), *said(9, 3))
    measure(ws, 70, 15, 100)
    measure(ws, 14, 1, now)
    found = finding(ws)
    assert found.recurring is recurring
    assert found.exposure is not None
    assert (found.exposure.window, found.exposure.baseline) == (now * 14, 5600)
    assert found.exposure.by == "measures"


def test_new_small_loops_are_linked_later(ws: Workspace) -> None:
    a_past(ws, *said(8, 3))
    review(ws)
    before, tomorrow = smalls(ws), NOON + DAY
    take_in(ws, *said(2, -0.5, who="N"), *said(1, -0.5, who="F", text=FEE), now=tomorrow)
    assert review(ws, tomorrow) | {"causes": 0} == {
        "causes": 0, "recurring": 1, "candidates": 0, "linked": 2,
    }  # fmt: skip
    fee = {row.id for row in rows(ws.db, Loop, kind="small", topic="annual-fee")}
    assert linked(ws) == smalls(ws) - fee > before
    assert review(ws, tomorrow)["linked"] == 0
    assert link_events(ws) == 10
    assert sound(ws.db)


def test_loops_of_a_big_loop_that_policy_made_are_linked_too(ws: Workspace) -> None:
    early = a_loop(ws, "转账失败，投诉", customer="C0", received=day(1))
    a_loop(ws, UPDATE, customer="C1")
    loop = big(ws)
    later = a_loop(ws, "转账失败，投诉", customer="C2", received=day(-1))
    assert review(ws, NOON + DAY)["linked"] == 1
    assert later.id in linked(ws)
    assert early.id not in linked(ws)
    issue = one(ws.db, LoopIssue, loop_id=later.id).issue_id
    assert one(ws.db, LoopIssue, loop_id=loop.id, issue_id=issue).relation == "same_cause"


def test_closed_and_merged_loops(ws: Workspace) -> None:
    """A customer whose own loop was closed is told as well; a merged one is another's."""
    a_past(ws, *said(8, 3))
    review(ws)
    tomorrow = NOON + DAY
    take_in(ws, *said(3, -0.5, who="N"), now=tomorrow)
    merged, into, closed = sorted(smalls(ws) - linked(ws))
    merge(ws, merged, into, OPS, tomorrow)
    change_now(ws, Change(closed, EventKind.LOOP_WITHDRAWN, {}, OPS), now=tomorrow)
    review(ws, tomorrow)
    assert smalls(ws) - linked(ws) == {merged}


def test_what_a_person_unlinked_stays_unlinked(ws: Workspace) -> None:
    a_past(ws, *said(8, 3))
    review(ws)
    loop, gone = big(ws), min(smalls(ws))
    unlink(ws, gone, loop.id, OPS, NOON)
    for later in (0, 1):
        assert review(ws, NOON + later * DAY)["linked"] == 0
    assert gone not in linked(ws)
    assert sound(ws.db)


def test_an_abandoned_candidate_comes_back_from_new_feedback_only(ws: Workspace) -> None:
    a_past(ws, *said(8, 3))
    review(ws)
    first = big(ws)
    abandon(ws, first.id)
    for later in range(4):
        assert review(ws, NOON + later * DAY)["candidates"] == 0
    again = NOON + 40 * DAY
    quiet = [{"text": PRAISE, "received": day(n, again)} for n in range(40)]
    take_in(ws, *quiet, now=again)
    assert review(ws, again)["candidates"] == 0
    items = [i | {"received": day(2, again)} for i in said(9, who="again")]
    take_in(ws, *items, now=again)
    assert review(ws, again) | {"causes": 0} == {
        "causes": 0, "recurring": 1, "candidates": 1, "linked": 9,
    }  # fmt: skip
    second = big(ws, state="candidate")
    assert second.id != first.id
    assert len(rows(ws.db, LoopLink, big_id=second.id)) == 9
    assert sound(ws.db)


def test_feedback_from_before_the_closing_that_comes_late_does_not_count(ws: Workspace) -> None:
    a_past(ws, *said(8, 30))
    assert finding(ws).past == 8
    change_now(ws, candidate_of(ws, NOON - 29 * DAY), now=NOON - 29 * DAY)
    abandon(ws, big(ws).id, NOON - 20 * DAY)
    take_in(ws, *said(9, 21, who="late"), *said(5, 3, who="new"))
    found = finding(ws)
    assert (found.customers, found.past) == (5, 0)
    assert "too little past: 5 days" in found.reason["en"]


def candidate_of(ws: Workspace, now: datetime) -> Change:
    issue = rows(ws.db, LoopIssue)[0].issue_id
    data = {"kind": "big", "state": "candidate", "topic": "login", "touchpoint": "app-login",
            "issue": issue, "received_at": now.isoformat()}  # fmt: skip
    return Change("B-1", EventKind.LOOP_OPENED, data, policy="1")


def test_a_closing_between_look_and_change_is_heeded(ws: Workspace) -> None:
    """Somebody opens and abandons the candidate after this worker has looked."""
    a_past(ws, *said(8, 3))
    looked = finding(ws)
    review(ws)
    abandon(ws, big(ws).id)
    assert open_candidate(ws, looked, NOON).candidates == 0
    assert len(rows(ws.db, Loop, kind="big")) == 1


def test_two_workers_make_one_candidate(ws: Workspace, another: Callable[[], Workspace]) -> None:
    a_past(ws, *said(8, 3), *said(8, 3, who="F", text=FEE))
    together = Barrier(4)

    def work(worker: Workspace) -> dict[str, int]:
        findings = [f for f in look(worker, NOON).topics if f.recurring]
        assert len(findings) == 2
        together.wait()
        return review(worker)

    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(work, [another() for _ in range(4)]))
    assert sum(c["candidates"] for c in counts) == 2
    assert sum(c["linked"] for c in counts) == 16
    assert {row.topic for row in rows(ws.db, Loop, kind="big")} == {"login", "annual-fee"}
    assert linked(ws) == smalls(ws)
    assert link_events(ws) == 16
    assert len(rows(ws.db, Message, template="big_loop_candidate")) == 2
    assert sound(ws.db)


def test_two_workers_link_each_loop_once(
    ws: Workspace, another: Callable[[], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECE", 5)
    a_past(ws, *said(30, 3))
    assert open_candidates(ws, NOON).linked == 4
    with ThreadPoolExecutor(2) as pool:
        counts = list(pool.map(lambda w: link_loops(w, NOON).linked, [another(), another()]))
    assert sum(counts) == 26
    assert link_events(ws) == 30
    assert sound(ws.db)


def test_the_rest_of_many_is_linked_after_a_crash(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loops that were opened long before and joined within the window come first."""
    monkeypatch.setattr(module, "PIECE", 4)
    old = [{"text": LOGIN, "customer": f"C{n}", "received": day(30)} for n in range(2)]
    a_past(ws, *old, *said(12, 3))
    assert open_candidates(ws, NOON).linked == 3
    assert review(ws) == {"causes": 1, "recurring": 1, "candidates": 0, "linked": 9}
    assert linked(ws) == smalls(ws)
    assert len(smalls(ws)) == 12
    assert sound(ws.db)


@pytest.mark.breaks_history
def test_a_topic_that_the_taxonomy_no_longer_has(ws: Workspace) -> None:
    a_past(ws, *said(8, 3))
    with ws.db.begin() as tx:
        tx.execute(update(table(Loop)).values(topic="gone"))
    found = next(f for f in look(ws, NOON).topics if f.recurring)
    assert open_candidate(ws, found, NOON).candidates == 1
    assert big(ws).lead is None


def test_a_look_reads_no_feedback_from_before_the_baseline(ws: Workspace) -> None:
    a_past(ws, *said(3, 71, who="ancient"), *said(2, 60, who="old"), *said(8, 3))
    spans = spans_of(ws, NOON)
    with ws.db.read() as tx:
        sources = established(tx, ws, spans)
        (cause,) = count_causes(tx, sources, observed(tx, sources, spans), spans)
    assert (cause.window.customers, cause.baseline.customers) == (8, 2)
    assert (cause.window.days, cause.baseline.days) == (14, 56)


BANDS = [
    "蓝鲸手环登录不了，一直转圈，投诉",
    "用蓝鲸手环付钱，转账失败，投诉",
    "绑了蓝鲸手环手机就闪退，太差",
    "排队半天，蓝鲸手环还是刷不开，投诉",
    "戴着蓝鲸手环被盗刷三笔，投诉",
    "蓝鲸手环要收年费？没人说过，投诉",
    "换了蓝鲸手环之后登不上，太差",
]
"""One trouble told under six topics."""
TOPICS = ("登录不了", "转账失败", "闪退", "年费", "排队", "盗刷")


def bands(ws: Workspace) -> set[str]:
    """Seven customers in the last days tell of a wristband among sixty other complaints."""
    chance = Random(5)
    others = [
        {"text": f"{said}，{TOPICS[n % 6]}，投诉", "customer": f"O{n}", "received": day(n % 69 + 1)}
        for n, said in enumerate(everyday(chance, 60))
    ]
    told = [
        {"text": text, "customer": f"B{n}", "received": day(n + 1)} for n, text in enumerate(BANDS)
    ]
    a_past(ws, *others, *told)
    return about(ws, "手环")


def about(ws: Workspace, word: str) -> set[str]:
    """Small loops in whose feedback the word stands."""
    said = {row.id for row in rows(ws.db, Feedback) if word in row.text}
    issues = {row.id for row in rows(ws.db, Issue) if row.feedback_id in said}
    return {row.loop_id for row in rows(ws.db, LoopIssue) if row.issue_id in issues} & smalls(ws)


def test_like_words_over_many_topics_make_one_candidate(ws: Workspace) -> None:
    seven = bands(ws)
    assert review(ws)["candidates"] == 1
    loop = big(ws)
    assert (loop.rule, loop.state, linked(ws) == seven, len(seven)) == (
        "similarity", "candidate", True, 7,
    )  # fmt: skip
    why = explain_loop(ws, loop.id, "en")
    assert "蓝鲸手环" in why["recurrence"]["words"]
    assert set(why["recurrence"]["loops"]) == seven
    assert len(why["recurrence"]["topics"]) == 6
    assert why["reason"].startswith("like words (蓝鲸手环")
    for later in (0, 1, 5):
        assert review(ws, NOON + later * DAY) | {"causes": 0, "recurring": 0} == {
            "causes": 0, "recurring": 0, "candidates": 0, "linked": 0,
        }  # fmt: skip
    assert sound(ws.db)


def test_later_loops_join_by_words_and_not_by_topic(ws: Workspace) -> None:
    seven = bands(ws)
    review(ws)
    gone = min(seven)
    unlink(ws, gone, big(ws).id, OPS, NOON)
    tomorrow = NOON + DAY
    more = [("蓝鲸手环又是登录不了，投诉", "N1"), (LOGIN, "N2"), ("排队太久，投诉", "N3")]
    take_in(
        ws,
        *({"text": text, "customer": who, "received": day(-0.1)} for text, who in more),
        now=tomorrow,
    )
    assert review(ws, tomorrow + DAY)["linked"] == 1
    assert linked(ws) == about(ws, "手环") - {gone}
    assert len(linked(ws)) == 7


def test_an_abandoned_group_is_not_opened_again_from_the_same_loops(ws: Workspace) -> None:
    bands(ws)
    review(ws)
    abandon(ws, big(ws).id)
    for later in range(3):
        assert review(ws, NOON + later * DAY)["candidates"] == 0


def test_a_group_joins_the_open_big_loop_of_its_topic(ws: Workspace) -> None:
    seven = bands(ws)
    (group,) = [found for found in look(ws, NOON).groups if found[1].recurring]
    place = {"topic": group[1].topic, "touchpoint": group[1].touchpoint}
    issue = rows(ws.db, LoopIssue)[0].issue_id
    data = {"kind": "big", "state": "candidate", "issue": issue, "received_at": day(30)} | place
    change_now(ws, Change("B-1", EventKind.LOOP_OPENED, data, policy="1"))
    assert review(ws)["candidates"] == 0
    assert seven <= linked(ws)
