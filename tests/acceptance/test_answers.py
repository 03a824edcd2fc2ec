"""From a department's «done» to the customer's answer, typed as people type it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.home import BANK, VOICES, Home, small_documents

pytestmark = pytest.mark.acceptance

SOURCES = VOICES.replace("customer: {number: customer}", "customer: {number: customer, mail: mail}")
TOLD = ("--what", "first-answer", "--how", "call", "--reference", "通话 8841 / call 8841")
SAID = [
    {"id": "1", "text": "转账三天了还没到账", "customer": "C1", "mail": "c1@mail.example"},
    {"id": "2", "text": "年费莫名其妙扣了，没人解释", "customer": "C2", "mail": "c2@mail.example"},
    {"id": "3", "text": "验证码一直收不到", "customer": "C3"},
    {"id": "4", "text": "人脸识别总是失败，登录不了"},
]


@pytest.fixture
def bank(home: Home, tmp_path: Path) -> Home:
    """The example bank, to which four customers have complained."""
    home.do("db", "upgrade")
    home.publish(small_documents(tmp_path / "documents", SOURCES))
    lines = [json.dumps(item, ensure_ascii=False) for item in SAID]
    (tmp_path / "said.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    home.do("ingest", tmp_path / "said.jsonl", "--source", "voices")
    assert home.flow("triage_feedback")["opened"] == len(SAID)
    return home


def head_of(unit: str) -> str:
    organisation = yaml.safe_load((BANK / "organisation.yaml").read_text("utf-8"))
    heads: dict[str, str] = {u["code"]: u["head"] for u in organisation["units"] if "head" in u}
    return heads[unit]


def resolve_all(home: Home) -> None:
    for ticket in home.ask("ticket", "list", "--state", "assigned")["items"]:
        done = ("--cause", "C02", "--done", "已处理 / done", "--as", head_of(ticket["unit"]))
        home.do("ticket", "resolve", ticket["id"], *done)


def loops(home: Home) -> dict[str, dict[str, Any]]:
    """Each loop by the first words that its customer said."""
    found = home.ask("loop", "list", "--kind", "small")["items"]
    return {loop["words"][:2]: loop for loop in found}


def sweep(home: Home, *options: str) -> dict[str, int]:
    """What the flow did."""
    counts = home.flow("verify_resolutions", *options)
    return {name: n for name, n in counts.items() if name != "flow" and n}


def call_back(home: Home, loop: str, person: tuple[str, ...]) -> None:
    """Two calls in vain, each on record."""
    call = ("loop", "called", loop[-6:], "--outcome")
    listed = home.ask("loop", "calls")["items"]
    assert [(i["loop"], i["contacts"], i["outcome"]) for i in listed] == [(loop, 0, None)]
    assert home.ask("loop", "calls", "--unit", "HO")["items"] == []
    home.do(*call, "no-answer", "--recording", "录音 5 / recording 5", *person)
    assert "无人接听" in home.do("loop", "calls")
    assert "no answer" in home.do("loop", "calls", "--lang", "en")
    wrong = home.type(*call, "asleep", *person)
    assert (wrong.code, "wrong-number" in wrong.err) == (2, True)
    home.do(*call, "busy", *person)
    assert home.ask("loop", "calls")["items"] == []
    assert "录音 5" in home.do("loop", "show", loop)


def doubt(home: Home, loop: str, person: tuple[str, ...]) -> None:
    """The reopened loop's customer takes it back, with words that say something else."""
    home.do("loop", "answer", loop, "yes", "--words", "还是没退完 / still not refunded", *person)
    (line,) = home.ask("loop", "doubts")["items"]
    said = (line["loop"], line["state"], line["answer"], line["first_answer"])
    assert said == (loop, "open", "yes", "partly")
    assert "还是没退完" in home.do("loop", "doubts")
    home.do("loop", "settle", loop[-6:], "no", *person)
    assert home.ask("loop", "doubts")["items"] == []
    nothing = home.type("loop", "settle", loop, "yes", *person)
    assert (nothing.code, "loop doubts" in nothing.err) == (1, True)
    told = ("loop", "told", loop, "--what", "decision", "--how", "call")
    bare = home.type(*told, *person)
    assert (bare.code, "--reference" in bare.err) == (2, True)
    home.do(*told, "--reference", "通话 8842 / call 8842", *person)


def test_from_done_to_the_customers_answer(bank: Home) -> None:
    home = bank
    mine = {words: loop["id"] for words, loop in loops(home).items()}
    person = ("--as", head_of(loops(home)["转账"]["lead"]))
    tried = home.type("loop", "told", mine["转账"][-6:], *TOLD, *person, "--dry-run")
    assert (tried.code, "dry run" in tried.err) == (0, True)
    home.do("loop", "told", mine["转账"][-6:], *TOLD, *person)
    told = home.ask("loop", "show", mine["转账"])
    assert [e["kind"] for e in told["events"]].count("loop.customer_told") == 1
    assert {c["stops"] for c in told["clocks"] if c["stopped_at"]} == {"first_answer"}

    resolve_all(home)
    assert home.ask("run", "verify_resolutions", "--dry-run")["questions"] == len(SAID)
    assert sweep(home) == {"mailed": 2, "calls": 1, "unasked": 1}
    assert sweep(home) == {}
    waits = home.ask("loop", "show", mine["年费"])
    assert {c["stops"] for c in waits["clocks"] if not c["stopped_at"]} >= {"told"}
    assert home.flow("deliver_messages")["quarantined"] == 0
    told = home.ask("loop", "show", mine["年费"])
    assert [e["kind"] for e in told["events"]].count("loop.customer_told") == 1
    assert {c["stops"] for c in told["clocks"] if not c["stopped_at"]} <= {"closed"}
    letters = [p.read_text("utf-8") for p in (home.folder / ".loopwright/outbox").rglob("*.eml")]
    assert sum("c1@mail.example" in letter for letter in letters) == 1

    answer = ("loop", "answer")
    assert home.ask(*answer, mine["转账"], "yes", *person) == {"loop": mine["转账"]}
    words = ("--words", "只退了一半 / only half came back")
    assert "open again" in home.do(*answer, mine["年费"], "partly", *words, *person)
    assert sweep(home, "--now", "2036-11-21T09:00+08:00") == {"reminded": 1}, "nobody called yet"
    call_back(home, mine["验证"], person)
    ends = {words: (loop["state"], loop["outcome"]) for words, loop in loops(home).items()}
    assert ends == {
        "转账": ("closed", "verified"),
        "年费": ("open", None),
        "验证": ("closed", "unverified"),
        "人脸": ("closed", "unverified"),
    }

    doubt(home, mine["年费"], person)
    again = home.type(*answer, mine["转账"], "yes", *person)
    assert (again.code, "→" in again.err) == (1, True)
    wrong = home.type(*answer, mine["转账"], "maybe", *person)
    assert (wrong.code, "partly" in wrong.err) == (2, True)

    for language, shown in (("zh", ("部分解决", "承办时钟")), ("en", ("partly solved", "owner"))):
        story = home.do("loop", "show", mine["年费"], "--lang", language)
        assert all(word in story for word in (*shown, "only half came back")), story
    assert home.ask("audit", "verify")["ok"] is True
    assert home.ask("audit", "replay")["differences"] == 0
