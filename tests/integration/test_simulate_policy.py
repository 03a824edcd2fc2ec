"""A draft replayed over the past: who moves, whose load, which clocks, dead and shadowed rules."""

import json
import random
import sys
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from loopwright.db import bulk_insert
from loopwright.errors import DocumentError, InputError
from models.base import table
from models.clock import Clock
from models.customer import Customer, CustomerSnapshot
from models.feedback import Batch, Feedback, Intake, RawItem
from models.history import HistoryEvent
from models.issue import Issue
from models.kinds import IssueKind
from models.loop import Loop, LoopIssue
from tasks.documents.publish import documents_only
from tasks.documents.simulate_policy import load_draft, simulate_policy
from tasks.routing.decide import decide_issue
from tasks.tickets.hand_off import accept, resolve
from tasks.workspace import Workspace
from tests.cast import (
    DAY,
    FEE,
    HOUR,
    LOGIN,
    LOST,
    NOON,
    OPS,
    PRAISE,
    UNCLEAR,
    UPDATE,
    ZHANG,
    a_loop,
    document,
    number_of,
    rows,
    take_in,
    ticket_of,
)

TODAY = date(2026, 8, 3)
MANY = 100_000
"""Past issues of `make prove`; `make check` runs a tenth."""
SECONDS = 20.0

RULE = """  - id: {id}
    title: {{zh: 草案, en: Draft}}
    when: {when}
    then: {{loop: {loop}, lead: owner, priority: P1, clocks: [{clocks}]}}
"""


def rule(name: str, *when: str, loop: str = "small") -> str:
    clocks = "legal, owner, owner-big" if loop == "big" else "legal, owner"
    return RULE.format(id=name, when=json.dumps(when), loop=loop, clocks=clocks)


def draft_of(folder: Path, *before: str, policy: Callable[[str], str] = str, **files: str) -> Path:
    """A folder with the tests' policy, further rules put before its own; untested ones get a
    test that names nothing but them."""
    folder.mkdir(exist_ok=True)
    text = policy(document("policy").replace("given: {topic: login}", "given: {topic: crash}"))
    text = text.replace("rules:\n", "rules:\n" + "".join(before), 1)
    (folder / "policy.yaml").write_text(text, "utf-8")
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(content, "utf-8")
    return folder


def also(text: str, name: str, given: str) -> str:
    return text + f"  - {{name: 草案, given: {{{given}}}, expect: {{rule: {name}}}}}\n"


def simulate(ws: Workspace, folder: Path, **more: Any) -> dict[str, Any]:
    draft = load_draft(ws.published.files, folder)
    now = more.pop("now", NOON + DAY)
    return simulate_policy(ws, draft, TODAY, TODAY, now, **more)


def big_login(text: str) -> str:
    """Signing in becomes a matter of several departments."""
    return also(text, "login-big", "topic: login")


LOGIN_BIG = rule("login-big", "topic == 'login'", "!has_customer", loop="big")


def fill(ws: Workspace) -> None:
    take_in(
        ws,
        {"text": LOGIN},
        {"text": LOGIN + "！"},
        {"text": LOGIN, "customer": "C1"},
        {"text": FEE},
        {"text": UPDATE},
        {"text": LOST},
        {"text": UNCLEAR},
        {"text": PRAISE},
    )


def test_the_same_policy_moves_nobody(ws: Workspace, home: Path) -> None:
    fill(ws)
    found = simulate(ws, draft_of(home / "draft"))
    moves = {
        was: {became: n for became, n in row.items() if n} for was, row in found["moves"].items()
    }
    assert moves == {
        "none": {"none": 1},
        "small": {"small": 4},
        "big": {"big": 1},
        "triage": {"triage": 2},
    }
    assert set(found["changed"].values()) == {0}
    assert found["agreement"] == {"judged": 6, "same": 6}
    assert found["items"] == 8
    assert not found["read_again"]


def test_a_rule_moves_what_it_matches_and_nothing_else(ws: Workspace, home: Path) -> None:
    fill(ws)
    found = simulate(ws, draft_of(home / "draft", LOGIN_BIG, policy=big_login))
    assert found["moves"]["small"] == {"none": 0, "small": 2, "big": 2, "triage": 0}
    assert found["changed"]["loop"] == 2
    moved = [c for c in found["cases"] if c["before"]["loop"] != c["after"]["loop"]]
    assert len(moved) == 2
    assert found["cases"][:2] == moved, "what moves is shown first"
    (after,) = [c for c in moved[0]["after"]["clauses"] if c["rule"] == "login-big"]
    assert after["matched"]
    assert after["clauses"][0] == ["topic == 'login'", True, {"topic": "login"}]
    assert moved[0]["before"]["rule"] == "ordinary"
    assert {c["rule"] for c in moved[0]["before"]["clauses"]} == {"ordinary"}


def test_load_is_counted_by_unit_and_day(ws: Workspace, home: Path) -> None:
    fill(ws)
    to_cards = rule("login-cards", "topic == 'login'").replace("lead: owner", 'lead: "unit:CC"')
    folder = draft_of(
        home / "draft", to_cards, policy=lambda t: also(t, "login-cards", "topic: login")
    )
    found = simulate(ws, folder)
    load = {i["unit"]: i for i in found["load"]}
    assert (load["DB"]["before"]["total"], load["DB"]["after"]["total"]) == (4, 1)
    assert (load["CC"]["before"]["total"], load["CC"]["after"]["total"]) == (1, 4)
    assert load["CC"]["after"]["days"] == {"2026-08-03": 4}
    assert load["CX"]["before"]["total"] == 2, "what is in doubt waits at operations"


def test_what_joined_a_loop_brings_no_new_work(ws: Workspace, home: Path) -> None:
    take_in(ws, {"text": LOGIN, "customer": "C1"})
    take_in(ws, {"text": LOGIN, "customer": "C1"})
    found = simulate(ws, draft_of(home / "draft"))
    assert found["items"] == 2
    assert [(i["unit"], i["after"]["total"]) for i in found["load"]] == [("DB", 1)]
    assert {c["clock"]: c["after"]["due"] for c in found["clocks"]}["legal"] == 1


def test_dead_and_shadowed_rules_are_named(ws: Workspace, home: Path) -> None:
    fill(ws)
    shadowed = rule("never", "topic == 'login'")
    dead = rule("dead", "topic == 'dispute'", "severity >= 3")
    folder = draft_of(
        home / "draft",
        rule("first", "touchpoint == 'app-login'"),
        shadowed,
        dead,
        policy=lambda t: also(
            also(also(t, "first", "touchpoint: app-login"), "never", "topic: login"),
            "dead",
            "topic: dispute, severity: 3",
        ),
    )
    found = simulate(ws, folder)
    assert "dead" in found["dead"]
    assert "never" not in found["dead"]
    assert "never" in found["shadowed"]
    (never,) = [r for r in found["rules"] if r["rule"] == "never"]
    assert (never["matched"], never["decided"], never["beaten_by"]) == (3, 0, {"first": 3})


def test_clocks_of_the_draft_run_on_the_real_times(ws: Workspace, home: Path) -> None:
    """Resolved after two days: three working days were enough, one is not."""
    loop = a_loop(ws, customer="C1")
    ticket = ticket_of(ws, loop.id)
    accept(ws, ticket.id, ZHANG, NOON + HOUR)
    resolve(ws, ticket.id, "C01", "重置了密码", ZHANG, NOON + 2 * DAY)
    take_in(ws, {"text": LOGIN, "customer": "C2"})
    clocks = document("clocks").replace("business_days: 3", "business_days: 1")
    found = simulate(ws, draft_of(home / "draft", clocks=clocks), now=NOON + 2 * DAY)
    owner = next(c for c in found["clocks"] if c["clock"] == "owner")
    assert {n: owner["before"].get(n, 0) for n in ("met", "running", "breached")} == {
        "met": 1,
        "running": 1,
        "breached": 0,
    }
    assert owner["after"]["breached"] == 2


def test_what_opened_nothing_then_has_unknown_clocks(ws: Workspace, home: Path) -> None:
    take_in(ws, {"text": "年费太差", "channel": "survey"})
    loud = document("policy").replace(
        "then: {loop: none}\n  - id: fraud", "then: {loop: small, clocks: [legal]}\n  - id: fraud"
    )
    folder = draft_of(
        home / "draft",
        policy=lambda _: loud.replace(
            "rule: small-grumble, loop: none", "rule: small-grumble, loop: small"
        ),
    )
    found = simulate(ws, folder)
    assert found["moves"]["none"]["small"] == 1
    assert found["clocks"] == [{"clock": "legal", "before": {}, "after": {"due": 1, "unknown": 1}}]
    assert any("unknown" in warning["en"] for warning in found["warnings"])


def test_a_changed_taxonomy_is_read_anew(ws: Workspace, home: Path) -> None:
    fill(ws)
    waiting = [i for i in rows(ws.db, Issue, state="triage") if i.topic is None]
    taxonomy = document("taxonomy").replace("[登录不了, 登不上]", "[登不上, 觉得别扭]")
    found = simulate(ws, draft_of(home / "draft", taxonomy=taxonomy))
    assert found["read_again"]
    assert len(waiting) == 1
    assert found["moves"]["triage"]["small"] == 1, "its words are a topic's now"
    assert found["moves"]["small"]["triage"] == 3, "and those of signing in are no longer"


def test_a_person_s_reading_stands(ws: Workspace, home: Path) -> None:
    take_in(ws, {"text": UNCLEAR})
    (issue,) = rows(ws.db, Issue)
    decide_issue(ws, issue.id, IssueKind.COMPLAINT, "queue", OPS, NOON)
    taxonomy = document("taxonomy").replace("[登录不了, 登不上]", "[觉得别扭]")
    found = simulate(ws, draft_of(home / "draft", taxonomy=taxonomy))
    (case,) = found["cases"]
    assert case["topic"] == "queue"
    assert any("by a person" in warning["en"] for warning in found["warnings"])


def test_missing_snapshots_are_said(ws: Workspace, home: Path) -> None:
    take_in(ws, {"text": LOGIN, "customer": "C1"}, {"text": LOGIN})
    gold = rule("gold", "value_band == 'gold'")
    folder = draft_of(home / "draft", gold, policy=lambda t: also(t, "gold", "value_band: gold"))
    words = [warning["en"] for warning in simulate(ws, folder)["warnings"]]
    assert "1 issues of known customers without a snapshot then: value_band taken as empty" in words
    assert "1 issues without a customer: value_band taken as empty" in words


def test_a_returning_customer_is_counted_under_either_policy(ws: Workspace, home: Path) -> None:
    for _ in range(3):
        take_in(ws, {"text": LOGIN, "customer": "C1"})
    again = rule("again", "repeats >= 2", loop="big")
    folder = draft_of(home / "draft", again, policy=lambda t: also(t, "again", "repeats: 2"))
    assert simulate(ws, folder)["moves"]["small"] == {"none": 0, "small": 2, "big": 1, "triage": 0}


def test_cases_show_no_personal_number_and_are_the_same_every_time(
    ws: Workspace, home: Path
) -> None:
    take_in(ws, *({"text": f"{LOGIN}，我的电话13800138000，第{n}次"} for n in range(30)))
    folder = draft_of(home / "draft")
    first, second = simulate(ws, folder), simulate(ws, folder)
    assert len(first["cases"]) == 20
    assert first["cases"] == second["cases"]
    assert "13800138000" not in json.dumps(first)
    assert first["cases"] != simulate(ws, folder, seed=2)["cases"]


def test_nothing_is_written(ws: Workspace, home: Path) -> None:
    fill(ws)
    before = number_of(ws.db, HistoryEvent)
    simulate(ws, draft_of(home / "draft", LOGIN_BIG, policy=big_login))
    assert number_of(ws.db, HistoryEvent) == before


def test_a_whole_draft_stands_alone_and_a_broken_one_is_refused(ws: Workspace, home: Path) -> None:
    folder = home / "whole"
    folder.mkdir()
    for name, content in documents_only(ws.published.files).items():
        (folder / name).write_bytes(content)
    assert load_draft({}, folder) == ws.published.documents
    (folder / "policy.yaml").write_text("policy: x\n", "utf-8")
    with pytest.raises(DocumentError):
        load_draft({}, folder)
    with pytest.raises(InputError, match="after"):
        simulate_policy(ws, ws.published.documents, TODAY + DAY, TODAY, NOON)


def many_issues(ws: Workspace, number: int) -> None:
    """A past of many issues with customers, loops and clocks, written directly."""
    chance = random.Random(7)
    topics = ["login", "transfer", "crash", "annual-fee", "dispute", "queue", "staff", "lost"]
    people = [f"customer-{n}" for n in range(number // 4)]
    moments = sorted(NOON - timedelta(seconds=chance.randrange(30 * 86_400)) for _ in range(number))
    raws = [f"many-{n:06}" for n in range(number)]
    with ws.db.begin() as tx:
        tx.execute(
            insert(table(Intake)).values(
                id="many", source="desk", name="x", started_at=NOON, finished_at=NOON
            )
        )
        tx.execute(
            insert(table(Batch)).values(
                id="many",
                source="desk",
                size=number,
                position=number,
                created_at=NOON,
                done_at=NOON,
            )
        )
        bulk_insert(tx, table(Customer), [{"id": p, "created_at": NOON} for p in people])
        bulk_insert(
            tx,
            table(RawItem),
            [
                {
                    "id": raw,
                    "intake_id": "many",
                    "source": "desk",
                    "key": raw,
                    "version": 1,
                    "number": n + 1,
                    "payload": "{}",
                    "digest": raw.encode(),
                }
                for n, raw in enumerate(raws)
            ],
        )
        bulk_insert(
            tx,
            table(CustomerSnapshot),
            [
                {
                    "id": raws[n],
                    "customer_id": p,
                    "value_band": chance.choice(["gold", "basic"]),
                    "lifecycle": "active",
                    "vulnerable": chance.random() < 0.05,
                    "branch": "BR1-01",
                    "valid_from": NOON - 90 * DAY,
                }
                for n, p in enumerate(people)
            ],
        )
        bulk_insert(
            tx,
            table(Feedback),
            [
                {
                    "id": raw,
                    "batch_id": "many",
                    "ordinal": n,
                    "source": "desk",
                    "version": 1,
                    "text": f"{chance.choice((LOGIN, FEE, UPDATE, LOST))}，第{n}次了",
                    "received_at": at,
                    "arrived_at": at,
                    "days_late": 0,
                    "channel": chance.choice(["app_store", "survey", "hotline"]),
                    "rating": chance.choice([None, -1.0, -0.5]),
                    "customer_id": chance.choice(people) if chance.random() < 0.6 else None,
                }
                for n, (raw, at) in enumerate(zip(raws, moments, strict=True))
            ],
        )
        bulk_insert(
            tx,
            table(Issue),
            [
                {
                    "id": f"i-{raw}",
                    "feedback_id": raw,
                    "ordinal": 0,
                    "state": "looped",
                    "kind": "complaint",
                    "topic": chance.choice(topics),
                    "touchpoint": "app-use",
                    "sentiment": round(chance.uniform(-1, 0), 2),
                    "emotion": chance.randrange(4),
                    "severity": chance.randrange(4),
                    "confidence": round(chance.random(), 3),
                    "signals": chance.choice([None, ["complaint"], ["complaint", "after-update"]]),
                    "rule": "ordinary",
                    "policy": "1",
                }
                for raw in raws
            ],
        )
        bulk_insert(
            tx,
            table(Loop),
            [
                {
                    "id": f"l-{raw}",
                    "version": 1,
                    "kind": "small",
                    "state": "closed",
                    "topic": "login",
                    "touchpoint": "x",
                    "policy": "1",
                    "received_at": at,
                    "opened_at": at,
                    "closed_at": at + 3 * DAY,
                    "outcome": "verified",
                    "bounces": 0,
                    "arbitration": False,
                }
                for raw, at in zip(raws, moments, strict=True)
            ],
        )
        bulk_insert(
            tx,
            table(LoopIssue),
            [{"loop_id": f"l-{raw}", "issue_id": f"i-{raw}", "relation": "origin"} for raw in raws],
        )
        bulk_insert(
            tx,
            table(Clock),
            [
                {
                    "id": f"c-{kind}-{raw}",
                    "loop_id": f"l-{raw}",
                    "spec": kind,
                    "kind": kind,
                    "stops": stops,
                    "started_at": at,
                    "due_at": at + 3 * DAY,
                    "provisional": False,
                    "stopped_at": at + timedelta(hours=chance.randrange(400)),
                }
                for kind, stops in (("legal", "told"), ("owner", "resolved"))
                for raw, at in zip(raws, moments, strict=True)
            ],
        )


def replayed(ws: Workspace, home: Path, number: int, **files: str) -> tuple[dict[str, Any], float]:
    many_issues(ws, number)
    draft = load_draft(
        ws.published.files, draft_of(home / "draft", LOGIN_BIG, policy=big_login, **files)
    )
    start = time.perf_counter()
    found = simulate_policy(ws, draft, TODAY - 31 * DAY, TODAY, NOON)
    return found, time.perf_counter() - start


@pytest.mark.breaks_history
def test_ten_thousand_past_issues(ws: Workspace, home: Path) -> None:
    found, _ = replayed(ws, home, MANY // 10)
    assert found["items"] == MANY // 10
    assert sum(sum(row.values()) for row in found["moves"].values()) == MANY // 10
    assert found["moves"]["small"]["big"] > 0
    opened = sum(n for row in found["moves"].values() for fate, n in row.items() if fate != "none")
    assert sum(i["after"]["total"] for i in found["load"]) == opened


@pytest.mark.prove
@pytest.mark.breaks_history
@pytest.mark.parametrize("anew", [False, True], ids=["as-read", "read-anew"])
def test_a_hundred_thousand_past_issues(ws: Workspace, home: Path, anew: bool) -> None:
    taxonomy = {"taxonomy": document("taxonomy").replace("[闪退]", "[闪退, 卡死]")} if anew else {}
    found, seconds = replayed(ws, home, MANY, **taxonomy)
    sys.stdout.write(f"\n{MANY:,} past issues in {seconds:.1f} s, read anew: {anew}\n")
    assert found["read_again"] is anew
    assert found["items"] == MANY
    assert seconds < SECONDS
