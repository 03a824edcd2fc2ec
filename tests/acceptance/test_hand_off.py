"""Departments hand on, hand over and hold back, typed as people type it."""

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.home import VOICES, Home, small_documents, write_settings

pytestmark = pytest.mark.acceptance

HANDLER, BARRED = ("--as", "db.handler2"), ("--as", "db.handler1")
OPS, HEAD, CARDS = ("--as", "cx.ops1"), ("--as", "db.head"), ("--as", "cc.head")
SAID = [
    {"id": "1", "text": "登录一直转圈，登录不了，太差", "customer": "C1"},
    {"id": "2", "text": "登录不了，金振邦态度恶劣，太差", "customer": "C2"},
    {"id": "3", "text": "验证码一直收不到，登录不了，太差", "customer": "C3"},
    {"id": "4", "text": "人脸识别总是失败，登录不了，太差", "customer": "C4"},
]
DAY = timedelta(days=1)


@pytest.fixture
def bank(tmp_path: Path) -> Home:
    """The example bank with four complaints for Digital Banking."""
    write_settings(tmp_path)
    home = Home(tmp_path)
    home.do("db", "upgrade")
    home.publish(small_documents(tmp_path / "documents", VOICES))
    lines = [json.dumps(item, ensure_ascii=False) for item in SAID]
    (home.folder / "said.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    home.do("ingest", home.folder / "said.jsonl", "--source", "voices")
    home.flow("triage_feedback")
    return home


def loop_of(home: Home, words: str) -> dict[str, Any]:
    found = [i for i in home.ask("loop", "list", "--kind", "small")["items"] if words in i["words"]]
    assert len(found) == 1, found
    return dict(home.ask("loop", "show", found[0]["id"]))


def ticket(home: Home, words: str) -> str:
    """The ticket that is open of a loop about these words."""
    (one,) = [t for t in loop_of(home, words)["tickets"] if t["state"] in ("assigned", "accepted")]
    return str(one["id"])


def clocks(home: Home, words: str, kind: str) -> list[tuple[str, str, str | None]]:
    shown = loop_of(home, words)["clocks"]
    return [(c["started_at"], c["due_at"], c["stopped_at"]) for c in shown if c["kind"] == kind]


def test_two_reject_and_operations_arbitrate(bank: Home) -> None:
    """A rejects, B rejects, arbitration; the customer's clock ran on through it all."""
    words = "转圈"
    before = {kind: clocks(bank, words, kind) for kind in ("customer", "legal")}
    assert all(len(found) == 1 for found in before.values())
    reject = ("--reason", "不是我们的事")
    bank.do("ticket", "reject", ticket(bank, words), *reject, "--suggest", "CC", *HEAD)
    bank.do("ticket", "reject", ticket(bank, words), *reject, "--suggest", "DB", *CARDS)
    story = loop_of(bank, words)
    assert (story["loop"]["bounces"], bool(story["loop"]["arbitration"])) == (2, True)
    assert {t["state"] for t in story["tickets"]} == {"rejected"}
    (waits,) = [w for w in bank.ask("triage", "list")["items"] if w["why"] == "arbitration"]
    bank.do("triage", "decide", waits["id"], "--unit", "DB", *OPS)
    assert bank.ask("ticket", "list", "--unit", "DB", "--state", "assigned")["items"][0]
    assert {kind: clocks(bank, words, kind) for kind in ("customer", "legal")} == before
    assert all(stopped is None for found in before.values() for *_, stopped in found)
    own = clocks(bank, words, "owner")
    assert [stopped is None for *_, stopped in sorted(own)] == [False, False, True]
    assert bank.type("audit", "replay").code == 0


def test_given_worked_on_and_nominated(bank: Home) -> None:
    mine = ticket(bank, "转圈")
    dry = bank.ask("ticket", "give", mine, *HEAD, "--dry-run")
    given = bank.ask("ticket", "give", mine, *HEAD)
    assert given["person"] == dry["person"]
    assert given["person"] in {
        p["person"] for p in bank.ask("person", "list", "--unit", "DB")["items"]
    }
    bank.do("ticket", "give", mine, "--to", "db.handler2", *HEAD)
    people = {p["person"]: p for p in bank.ask("person", "list")["items"]}
    assert (people["db.handler2"]["tickets"], people["db.handler2"]["capacity"]) == (1, 30)
    bank.do("ticket", "accept", mine, *HANDLER)
    bank.do(
        "ticket", "progress", mine, "--note", "已联系客户 / customer called", "--as", "db.handler2"
    )
    asked = (
        "ticket",
        "more-time",
        mine,
        "--days",
        "2",
        "--reason",
        "等厂商",
        "--as",
        "db.handler2",
    )
    assert bank.ask(*asked)["approval"]
    nominated = bank.ask("ticket", "nominate", mine, "--why", "科技部也要改", *HANDLER)
    assert nominated["candidate"] is True
    (waits,) = [w for w in bank.ask("triage", "list")["items"] if w["what"] == "candidate"]
    assert waits["id"] == nominated["big"]
    shown = bank.do("loop", "show", loop_of(bank, "转圈")["loop"]["id"])
    assert "customer called" in shown
    assert "部门提名" in bank.do("loop", "explain", nominated["big"])
    assert bank.type("audit", "replay").code == 0


def test_a_handler_in_conflict(bank: Home) -> None:
    """Named in the complaint, or declared barred: refused with the regulation's article."""
    named = ticket(bank, "金振邦")
    for typed in (("accept", named, *BARRED), ("give", named, "--to", BARRED[1], *HEAD)):
        before = bank.counts()
        done = bank.type("ticket", *typed)
        assert done.code == 1
        assert "须回避" in done.err
        assert "may not handle it" in done.err
        assert "cn-2020-3" in done.err
        assert bank.counts() == before
    other = ticket(bank, "验证码")
    bank.do("ticket", "give", other, "--to", "db.handler1", *HEAD)
    bar = ("--person", "db.handler1", "--why", "客户是其亲属 / a relative", *OPS)
    bank.do("loop", "bar", loop_of(bank, "验证码")["loop"]["id"], *bar)
    (handler,) = [t["person"] for t in loop_of(bank, "验证码")["tickets"]]
    assert handler not in ("db.handler1", None)
    assert bank.type("ticket", "accept", other, "--as", "db.handler1").code == 1


def test_leave_and_leaving(bank: Home) -> None:
    first = date.today() + DAY  # noqa: DTZ011
    days = ("--from", str(first), "--to", str(first + 5 * DAY), "--deputy", "db.lead")
    leave = ("person", "leave", "db.handler2", *days, *OPS)
    recorded = bank.ask(*leave)
    assert bank.ask(*leave) == recorded, "once, however often"
    one_day = ("--from", str(first), "--to", str(first))
    overlap = bank.type("person", "leave", "db.handler2", *one_day, *OPS)
    assert (overlap.code, "on leave already" in overlap.err) == (2, True)
    wrong = bank.type("person", "leave", "db.handler2", "--from", "soon", "--to", str(first), *OPS)
    assert (wrong.code, "is not a day" in wrong.err) == (2, True)
    tickets = {ticket(bank, words) for words in ("转圈", "金振邦", "验证码", "人脸")}
    for one in tickets:
        bank.do("ticket", "accept", one, *HEAD)
    over = ("person", "hand-over", "db.head", *OPS)
    dry = bank.ask(*over, "--dry-run")
    done = bank.ask(*over)
    assert {t for some in done["tickets"].values() for t in some} == tickets
    assert dry["tickets"].keys() == done["tickets"].keys()
    assert "db.head" not in done["tickets"]
    assert done["left"] == []
    named = next(t for t in tickets if t == ticket(bank, "金振邦"))
    assert named not in done["tickets"].get("db.handler1", [])
    assert bank.ask(*over)["tickets"] == {}
    assert bank.type("audit", "replay").code == 0
