"""From seven people with one hidden trouble to what each of them is told; from a fix to its proof
and its relapse on simulated days: typed as people type it."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.home import Home, small_documents, write_settings
from tests.hidden_cause import HIDDEN, four_hundred, hidden

pytestmark = pytest.mark.acceptance

ZONE = timezone(timedelta(hours=8))
TODAY = datetime.now(ZONE).replace(hour=0, minute=0, second=0, microsecond=0)
SOURCE = """\
  - name: {name}
    title: {{zh: 验收用的来源, en: Source for acceptance tests}}
    channel: {channel}
    format: {{kind: jsonl}}
    map:
      id: id
      text: [text]
      received_at: {{field: at}}
      customer: {{number: customer, mail: mail}}
      unit: unit
"""
PEOPLE = """\
  - name: people
    title: {zh: 客户名单, en: List of customers}
    yields: customers
    format: {kind: jsonl}
    map:
      id: number
      customer: {number: number, mail: mail}
      values: {consent.mail: may_mail, consent.call: may_call}
      times: {valid_from: {field: from}}
"""
CHANNELS = {"hotline": "hotline", "book": "branch", "reviews": "app_store"}
SOURCES = (
    "sources:\n" + "".join(SOURCE.format(name=n, channel=c) for n, c in CHANNELS.items()) + PEOPLE
)
OPS, HEAD = ("--as", "cx.ops1"), ("--as", "db.head")
CHANGED = "相关设备已全部更换 / all devices were replaced"
PLAN = (
    *("--cause", "C02", "--why", "为什么失败：没有测试", "--why", "为什么没有测试：没有要求"),
    *("--actions", "上线前必须回归", "--actions", "指定负责人", "--target", "失败明显减少"),
    *("--by", "2099-12-31", "--sponsor", "ho.vp-retail", "--target-percent", "30"),
    *("--changed", CHANGED),
)


@pytest.fixture
def bank(tmp_path: Path, models: Path) -> Home:
    """The example bank, nothing said yet."""
    write_settings(tmp_path)
    home = Home(tmp_path, {"LOOPWRIGHT_MODELS": str(models)})
    home.do("db", "upgrade")
    home.publish(small_documents(tmp_path / "documents", SOURCES))
    return home


def deliver(home: Home, items: list[dict[str, Any]], source: str = "hotline") -> None:
    path = home.folder / f"{source}.jsonl"
    path.write_text("".join(json.dumps(i, ensure_ascii=False) + "\n" for i in items), "utf-8")
    home.do("ingest", path, "--source", source)


def review(home: Home, days: int) -> dict[str, int]:
    """The review of noon, so many days from now."""
    now = TODAY + timedelta(days=days, hours=12)
    return home.flow("review_causes", "--now", now.isoformat())


def letters(home: Home) -> Counter[str]:
    """How many letters on what changed each customer's mailbox holds."""
    found = (home.folder / ".loopwright/outbox").rglob("*.eml")
    mails = [message_from_bytes(path.read_bytes(), policy=default) for path in found]
    told = [m for m in mails if CHANGED in str(m.get_body(("plain",)).get_content())]  # type: ignore[union-attr]
    return Counter(str(m["To"]) for m in told if "mail.example" in str(m["To"]))


def finish(home: Home, big: str) -> None:
    for ticket in home.ask("loop", "show", big)["tickets"]:
        home.do("ticket", "resolve", ticket["id"], "--cause", "C02", "--done", "做完了", *HEAD)


def test_all_seven_but_those_who_refuse_are_told_once(bank: Home) -> None:
    every = four_hundred(TODAY)
    seven = {i["customer"] for items in every.values() for i in items if i["id"] in hidden(every)}
    assert len(seven) == len(HIDDEN) == 7
    refusing = sorted(seven)[:2]
    for source, items in every.items():
        deliver(bank, [i | {"mail": mail(i["customer"])} for i in items], source)
    deliver(bank, [customer(number, may=number not in refusing) for number in seven], "people")
    bank.flow("triage_feedback")
    assert review(bank, 0)["candidates"] == 1
    waiting = bank.ask("triage", "list", "--limit", "500")["items"]
    (big,) = [item["id"] for item in waiting if "用词相近" in (item["why"] or "")]
    bank.do("triage", "decide", big, "--unit", "DB", "--participants", "IT", *OPS)
    bank.do("loop", "plan", big, *PLAN, *HEAD)
    finish(bank, big)
    early = ("loop", "close", big, "--outcome", "proven", "--reason", "好了", *OPS)
    refused = bank.type(*early)
    assert (refused.code, "nothing measured proves" in refused.err) == (1, True)

    done = bank.ask("loop", "close", big, "--outcome", "not-proven", "--reason", "太少", *OPS)
    assert (done["told"], done["to_call"]) == (5, 0)
    for _ in range(2):
        bank.flow("deliver_messages")
    assert letters(bank) == {mail(number): 1 for number in seven - set(refusing)}
    again = bank.type("loop", "changed", big, "--text", CHANGED, *OPS)
    assert (again.code, "have been told" in again.err) == (2, True)
    check_versions(bank, big)
    assert bank.type("audit", "replay").code == 0


def mail(customer: str) -> str:
    return f"{customer.lower()}@mail.example"


def customer(number: str, *, may: bool) -> dict[str, Any]:
    since = datetime(2020, 1, 1, tzinfo=UTC).isoformat()
    return {"number": number, "mail": mail(number), "from": since, "may_mail": may, "may_call": may}


def check_versions(home: Home, big: str) -> None:
    """Each letter's record names the template's version."""
    shown = [home.ask("loop", "show", small) for small in home.ask("loop", "show", big)["small"]]
    told = [m for story in shown for m in story["messages"] if m["template"] == "cause_closed"]
    assert len(told) == 5
    assert {m["template_version"] for m in told} == {"2026-11-22"}


TROUBLE = "人脸识别总是失败"


def said(days: range, each: int) -> list[dict[str, Any]]:
    """So many customers on each day from today, nobody twice."""
    return [
        {
            "id": f"{day}.{n}",
            "text": TROUBLE,
            "customer": f"K{day}.{n}",
            "at": (TODAY + timedelta(days=day, hours=9)).isoformat(),
        }
        for day in days
        for n in range(each)
    ]


def test_a_fix_is_proven_on_its_day_and_reopened_when_it_no_longer_holds(bank: Home) -> None:
    home = bank
    deliver(home, [*said(range(-126, -14), 3), *said(range(-14, 0), 9)])
    home.flow("triage_feedback")
    assert review(home, 0)["candidates"] == 1
    (big,) = [loop["id"] for loop in home.ask("loop", "list", "--kind", "big")["items"]]
    home.do("triage", "decide", big, "--unit", "DB", "--participants", "", *OPS)
    for nonsense, words in {
        ("--sponsor", "db.handler1"): "cannot be the sponsor",
        ("--baseline-days", "7"): "a baseline of 7 days",
        ("--comparison", "weather"): "no topic 'weather'",
    }.items():
        refused = home.type("loop", "plan", big, *PLAN, *nonsense, *HEAD)
        assert (refused.code, words in refused.err) == (2, True), refused.said
    home.do("loop", "plan", big, *PLAN, *HEAD)
    finish(home, big)
    deliver(home, said(range(1, 62), 2))
    home.flow("triage_feedback")

    assert [review(home, day)["measured"] for day in (30, 31, 31, 32)] == [0, 1, 0, 0]
    assert review(home, 61)["proven"] == 1
    assert review(home, 62)["measured"] == 0
    found = home.ask("loop", "effect", big)
    assert (found["state"], found["outcome"]) == ("closed", "proven")
    assert [i["verdict"] for i in found["items"]] == ["too_little", "proven"]
    proof = found["items"][-1]
    assert (proof["before"], proof["after"]) == (270, 120)
    assert proof["low"] < proof["change"] < proof["high"] < 0
    zh, en = (home.do("loop", "effect", big, "--lang", lang) for lang in ("zh", "en"))
    assert "成效证实" in zh
    assert "修复前 90 天 270 件，修复后 60 天 120 件" in zh
    assert "the fall is proven; the target of −30% is reached" in en
    assert "为什么 2: 为什么没有测试" in zh

    deliver(home, said(range(62, 93), 5))
    home.flow("triage_feedback")
    assert [review(home, day)["relapsed"] for day in (91, 92, 92)] == [0, 1, 0]
    story = home.ask("loop", "show", big)
    assert (story["loop"]["state"], story["loop"]["outcome"]) == ("acting", None)
    assert {t["state"] for t in story["tickets"]} == {"assigned"}
    told = [m for m in story["messages"] if m["template"] == "big_loop_relapsed"]
    assert {m["person"] or m["unit"] for m in told} == {"DB", "CX", "ho.vp-retail"}
    assert home.type("audit", "replay").code == 0
