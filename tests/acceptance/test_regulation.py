"""The regulation's rules and calendars that come late, typed as people type them."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.acceptance.home import BANK, VOICES, Home, small_documents, write_settings

pytestmark = pytest.mark.acceptance

SHANGHAI = ZoneInfo("Asia/Shanghai")
SAID = "年费莫名其妙扣了，没人解释"
OPS, CARDS, CHIEF = ("--as", "cx.ops1"), ("--as", "cc.head"), ("--as", "ho.vp-risk")
LETTER = ("--notice", "函〔2026〕7 号", "--how", "letter")


def ingest(home: Home, *customers: str) -> None:
    lines = [
        json.dumps({"id": c, "text": SAID, "customer": c}, ensure_ascii=False) for c in customers
    ]
    (home.folder / "said.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    home.do("ingest", home.folder / "said.jsonl", "--source", "voices")


def loops(home: Home) -> list[str]:
    return [item["id"] for item in home.ask("loop", "list", "--kind", "small")["items"]]


def clock(home: Home, loop: str, spec: str) -> dict[str, Any]:
    """The loop's newest clock of that name."""
    found = [c for c in home.ask("loop", "show", loop)["clocks"] if c["spec"] == spec]
    return max(found, key=lambda c: c["started_at"])


def end_of_day(days: int) -> str:
    """The end of the day so many days after today in Shanghai."""
    day = datetime.now(SHANGHAI).date() + timedelta(days=days + 1)
    return datetime(day.year, day.month, day.day, tzinfo=SHANGHAI).astimezone(UTC).isoformat()


@pytest.fixture
def bank(tmp_path: Path) -> Home:
    """The example bank with one complaint about a fee, received just now."""
    write_settings(tmp_path)
    home = Home(tmp_path)
    home.do("db", "upgrade")
    home.publish(small_documents(tmp_path / "documents", VOICES))
    ingest(home, "C1")
    home.flow("triage_feedback")
    return home


def test_an_extension_needs_its_approver_and_the_notice(bank: Home) -> None:
    (loop,) = loops(bank)
    assert clock(bank, loop, "legal-cn")["due_at"] == end_of_day(15)
    more = ("loop", "extend", loop, "--reason", "涉及三家机构")
    early = bank.type(*more, "--extension", "especially-complex", *LETTER, *OPS)
    assert (early.code, "time-limits 处理期限" in early.err) == (2, True)
    given = bank.ask(*more, "--extension", "complex", *OPS)
    assert (given["due_at"], given["approval"]) == (end_of_day(30), None)
    untold = bank.type(*more, "--extension", "especially-complex", *OPS)
    assert (untold.code, "time-limits 处理期限" in untold.err) == (2, True)
    assert "--notice" in untold.err
    asked = bank.ask(*more, "--extension", "especially-complex", *LETTER, *OPS)
    assert asked["due_at"] is None
    refused = bank.type("approval", "approve", asked["approval"], *CARDS)
    assert (refused.code, "time-limits" in refused.err) == (1, True)
    assert clock(bank, loop, "legal-cn")["due_at"] == end_of_day(30)
    bank.do("approval", "approve", asked["approval"], *CHIEF)
    assert clock(bank, loop, "legal-cn")["due_at"] == end_of_day(60)
    changes = bank.ask("loop", "show", loop)["clock_changes"]
    assert [(c["why"], c["was"], c["due_at"]) for c in changes] == [
        ("complex", end_of_day(15), end_of_day(30)),
        ("especially-complex", end_of_day(30), end_of_day(60)),
    ]
    assert changes[1]["approval"] == asked["approval"]
    shown = bank.do("loop", "show", loop)
    assert "时钟变更" in shown
    assert "函〔2026〕7 号" in shown
    bank.do("audit", "verify")
    bank.do("audit", "replay")


def test_a_clock_stands_still_with_proof_only(bank: Home) -> None:
    (loop,) = loops(bank)
    pause = ("loop", "pause", loop, "--clock", "legal-cn", "--reason", "external_appraisal")
    untold = bank.type(*pause, "--evidence", "委托书 118", *OPS)
    assert (untold.code, "(outside-work)" in untold.err) == (2, True)
    other = bank.type(*pause[:-1], "waiting_for_customer", "--evidence", "来电 7712", *OPS)
    assert (other.code, "external_appraisal" in other.err) == (2, True)
    bank.do(*pause, "--evidence", "委托书 118", "--notice", "短信 88231", *OPS)
    assert clock(bank, loop, "legal-cn")["paused_at"]
    assert "‖" in bank.do("loop", "show", loop)
    bank.do("loop", "resume", loop, "--clock", "legal-cn", *OPS)
    assert bank.type("loop", "resume", loop, "--clock", "legal-cn", *OPS).code == 1
    assert clock(bank, loop, "legal-cn")["paused_at"] is None
    owner = ("loop", "pause", loop, "--clock", "owner-small", "--reason", "waiting_for_customer")
    bank.do(*owner, "--evidence", "来电 7712", *CARDS)


def test_new_facts_and_a_review(bank: Home) -> None:
    (loop,) = loops(bank)
    now = datetime.now(UTC).isoformat()
    bank.do("loop", "new-facts", loop, "--received", now, "--what", "补交账单截图", *OPS)
    both = [c for c in bank.ask("loop", "show", loop)["clocks"] if c["spec"] == "legal-cn"]
    assert [bool(c["stopped_at"]) for c in both] == [True, False]
    review = ("loop", "review", loop, "--received", datetime.now(UTC).isoformat())
    early = bank.type(*review, "--reason", "不认可", *OPS)
    assert (early.code, "nothing is decided" in early.err) == (1, True)
    (ticket,) = [t["id"] for t in bank.ask("loop", "show", loop)["tickets"]]
    bank.do("ticket", "resolve", ticket, "--cause", "C05", "--done", "已退费", *CARDS)
    told = ("loop", "told", loop, "--what", "decision", "--how", "call", "--reference", "录音 9")
    bank.do(*told, *CARDS)
    later = (datetime.now(UTC) + timedelta(days=31)).isoformat()
    late = bank.type("loop", "review", loop, "--received", later, "--reason", "不认可", *OPS)
    assert late.code == 2
    now = datetime.now(UTC).isoformat()
    bank.do("loop", "review", loop, "--received", now, "--reason", "不认可处理结果", *OPS)
    story = bank.ask("loop", "show", loop)
    assert (story["loop"]["state"], story["loop"]["lead"]) == ("open", "HO")
    assert clock(bank, loop, "legal-cn-review")["due_at"] == end_of_day(30)
    again = bank.type("loop", "review", loop, "--received", now, "--reason", "不认可", *OPS)
    assert again.code != 0


def test_a_year_that_comes_late_is_provisional_warned_of_and_recounted(tmp_path: Path) -> None:
    """Received 2026-12-28 with five business days."""
    write_settings(tmp_path)
    home = Home(tmp_path)
    home.do("db", "upgrade")
    folder = small_documents(tmp_path / "documents", VOICES)
    clocks = folder / "clocks.yaml"
    text = clocks.read_text("utf-8")
    clocks.write_text(
        text.replace("business_days: 3\n", "business_days: 5\n    calendar: cn-office\n"), "utf-8"
    )
    home.publish(folder)
    ingest(home, "C1")
    home.flow("triage_feedback", "--now", "2026-12-28T10:00+08:00")
    (loop,) = loops(home)
    before = clock(home, loop, "owner-small")
    assert (before["due_at"], before["provisional"]) == ("2027-01-05T10:00:00+00:00", True)
    counts = home.flow("watch_clocks", "--now", "2026-12-28T10:05+08:00")
    assert counts["warned"] == 1
    assert home.flow("watch_clocks", "--now", "2026-12-28T10:10+08:00")["warned"] == 0
    assert "calendar_missing" in home.do("notify", "outbox")

    for name in ("cn-office", "cn-counter", "cn-hotline"):
        (folder / "calendars" / f"{name}-2027.yaml").write_text(year(name, 2027), "utf-8")
    home.publish(folder)
    counts = home.flow("watch_clocks", "--now", "2026-12-29T10:00+08:00")
    assert (counts["recomputed"], counts["warned"]) == (1, 0)
    after = clock(home, loop, "owner-small")
    assert (after["due_at"], after["provisional"]) == ("2027-01-06T10:00:00+00:00", False)
    (change,) = home.ask("loop", "show", loop)["clock_changes"]
    assert (change["why"], change["was"], change["due_at"]) == (
        "calendar",
        before["due_at"],
        after["due_at"],
    )
    home.do("audit", "replay")


def year(name: str, number: int) -> str:
    """A calendar year in which the first Monday is off."""
    first = date(number, 1, 1)
    monday = first + timedelta(days=-first.weekday() % 7)
    return (
        f"calendar: {name}\nyear: {number}\npublished: true\noverrides:\n"
        f"  - {{day: {monday}, kind: holiday, title: {{zh: 放假, en: Day off}}}}\n"
        f"  - {{day: {monday + timedelta(days=5)}, kind: workday,"
        " title: {zh: 调休上班, en: Make-up day}}\n"
    )


def test_what_is_not_signed_off_runs_in_an_example_only(tmp_path: Path) -> None:
    folder = small_documents(tmp_path / "documents", VOICES)
    organisation = folder / "organisation.yaml"
    text = organisation.read_text("utf-8")
    organisation.write_text(text.replace("example: true\n", ""), "utf-8")
    home = Home(tmp_path)
    done = home.type("org", "lint", folder)
    assert done.code == 1
    assert "`cn-2020-3` is not signed off" in done.said
    for law in ("cn-2020-3", "us-cfpb"):
        path = folder / "regulations" / f"{law}.yaml"
        signed = 'signed_by: lg.head\nsigned_on: "2026-11-20"\n'
        path.write_text(path.read_text("utf-8") + signed, "utf-8")
    assert "is not signed off" not in home.type("org", "lint", folder).said


def test_the_arithmetic_of_a_regulations_clock(tmp_path: Path) -> None:
    home = Home(tmp_path)
    ask = ("clock", "due", "--start", "2026-02-13T16:30", "--documents", BANK)
    plain = home.ask(*ask, "--regulation", "cn-2020-3")
    assert plain["due"] == "2026-03-01T00:00:00+08:00"
    assert plain["regulation"] == "cn-2020-3"
    more = home.ask(*ask, "--regulation", "cn-2020-3", "--extension", "complex")
    assert more["due"] == "2026-03-16T00:00:00+08:00"
    (change,) = more["changes"]
    assert (change["days"], "time-limits" in change["article"]) == (15, True)
    stood = home.ask(
        *ask, "--regulation", "cn-2020-3", "--pause", "2026-02-16T09:00/2026-02-18T09:00"
    )
    assert stood["due"] == "2026-03-03T00:00:00+08:00"
    days = [step["day"] for step in stood["steps"] if step["what"] == "paused"]
    assert days == ["2026-02-16", "2026-02-17"]
    other = home.ask(*ask, "--regulation", "us-cfpb", "--clock", "legal-us-final")
    assert other["due"] == "2026-04-15T00:00:00+08:00"
    hours = home.ask(*ask, "--business-hours", "8", "--pause", "2026-02-13T17:00/2026-02-14T10:00")
    assert hours["due"] == "2026-02-24T10:00:00+08:00"
    assert sum(s["minutes"] for s in hours["steps"] if s["what"] == "worked") == 480
    assert home.type(*ask, "--extension", "complex", "--calendar-days", "15").code == 2
    wrong = home.type(*ask, "--regulation", "cn-2020-3", "--extension", "especially-complex")
    assert (wrong.code, "time-limits" in wrong.err) == (2, True)
