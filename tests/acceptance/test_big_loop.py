"""A common cause, from the candidate to what customers are told, typed as people type it."""

import json
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.home import VOICES, Home, small_documents, write_settings

pytestmark = pytest.mark.acceptance

SOURCES = VOICES.replace("customer: {number: customer}", "customer: {number: customer, mail: mail}")
BROKEN = "更新后人脸识别总是失败，登录不了"
SAID = [
    {"id": "1", "text": BROKEN, "customer": "C1", "mail": "c1@mail.example"},
    {"id": "2", "text": BROKEN, "customer": "C2", "mail": "c2@mail.example"},
    {"id": "3", "text": BROKEN, "customer": "C3"},
    {"id": "4", "text": "年费莫名其妙扣了", "customer": "C4", "mail": "c4@mail.example"},
]
OPS, HEAD = ("--as", "cx.ops1"), ("--as", "db.head")
PLAN = {
    "--why": "更新未做回归测试 / no regression test",
    "--actions": "上线前必须回归 / always test",
    "--target": "失败率低于百分之一 / under 1 %",
    "--by": "2099-12-31",
}
CHANGED = "人脸识别已修复 / face recognition works again"


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Home:
    """The example bank, to which three customers have complained of one cause, a fourth of
    another. What changes it comes last here."""
    folder = tmp_path_factory.mktemp("bank")
    write_settings(folder)
    home = Home(folder, {"LOOPWRIGHT_MODELS": str(models)})
    home.do("db", "upgrade")
    home.publish(small_documents(folder / "documents", SOURCES))
    say(home, *SAID)
    assert home.flow("triage_feedback")["big"] == 1
    return home


def say(home: Home, *items: dict[str, str]) -> None:
    lines = [json.dumps(item, ensure_ascii=False) for item in items]
    (home.folder / "said.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    home.do("ingest", home.folder / "said.jsonl", "--source", "voices")


def candidate(home: Home) -> dict[str, Any]:
    (item,) = home.ask("triage", "list")["items"]
    assert item["what"] == "candidate"
    return dict(item)


def plan(loop: str, **other: str) -> tuple[str, ...]:
    words = PLAN | {"--cause": "C02"} | {f"--{name}": said for name, said in other.items()}
    return ("loop", "plan", loop, *(part for pair in words.items() for part in pair), *HEAD)


def letters(home: Home) -> dict[str, str]:
    """What each customer was written."""
    found = (home.folder / ".loopwright/outbox").rglob("*.eml")
    mails = [message_from_bytes(path.read_bytes(), policy=default) for path in found]
    return {
        str(mail["To"]): str(mail.get_body(("plain",)).get_content())  # type: ignore[union-attr]
        for mail in mails
        if "mail.example" in str(mail["To"])
    }


@pytest.mark.parametrize(
    ("typed", "code", "words"),
    [
        (("triage", "decide", "BIG", "--unit", "ZZ", *OPS), 2, ("ZZ", "DB")),
        (("triage", "decide", "BIG", "--unit", "DB", "--participants", "XX", *OPS), 2, ("XX",)),
        (("triage", "decide", "BIG", "--unit", "DB", "--priority", "P7", *OPS), 2, ("P7", "P1")),
        (
            ("triage", "decide", "SMALL", "--unit", "DB", "--priority", "P1", *OPS),
            2,
            ("candidate",),
        ),
        (("loop", "plan", "BIG"), 1, ("candidate",)),
        (("loop", "close", "BIG", "--outcome", "proven", "--reason", "x", *OPS), 1, ("cannot",)),
        (("loop", "close", "BIG", "--outcome", "done", "--reason", "x", *OPS), 2, ("abandoned",)),
        (
            ("loop", "close", "BIG", "--outcome", "not-proven", "--reason", "x", *OPS),
            1,
            ("cannot",),
        ),
        (
            ("loop", "close", "SMALL", "--outcome", "abandoned", "--reason", "x", *OPS),
            1,
            ("small",),
        ),
    ],
)
def test_what_is_refused(
    bank: Home, typed: tuple[str, ...], code: int, words: tuple[str, ...]
) -> None:
    ids = {"BIG": candidate(bank)["id"]}
    ids["SMALL"] = bank.ask("loop", "list", "--kind", "small")["items"][0]["id"]
    named = [ids.get(word, word) for word in typed]
    before = bank.counts()
    done = bank.type(*(plan(ids["BIG"]) if named[1] == "plan" else named))
    assert done.code == code, done.said
    assert all(word in done.err for word in words), done.err
    assert "→" in done.err
    assert bank.counts() == before


@pytest.mark.parametrize("by", ["tomorrow", "2026-13-01", "2020-01-01"])
def test_a_day_that_cannot_be(bank: Home, by: str) -> None:
    done = bank.type(*plan(candidate(bank)["id"], by=by))
    assert (done.code, by in done.err) == (2, True), done.said


def test_a_common_cause_to_its_end(bank: Home) -> None:
    home, waits = bank, candidate(bank)
    big = waits["id"]
    assert (waits["customers"], waits["evidence"]) == (3, {"rule": "broke-after-change"})
    assert "face-recognition" in home.do("triage", "list")

    decide = ("triage", "decide", big[-6:].lower(), "--unit", "DB", *OPS)
    assert home.type(*decide, "--dry-run").code == 0
    assert candidate(home)["id"] == big
    assert home.ask(*decide, "--participants", "IT, RK", "--priority", "P1") == {"loop": big}
    tickets = {t["unit"]: t["id"] for t in home.ask("loop", "show", big)["tickets"]}
    assert tickets.keys() == {"DB", "IT", "RK"}

    resolve = ("ticket", "resolve", tickets["IT"], "--cause", "C02", "--done", "做完了", *HEAD)
    early = home.type(*resolve)
    assert (early.code, "is triaged" in early.err) == (1, True)
    home.do("ticket", "accept", tickets["DB"], *HEAD)
    assert home.ask(*plan(big)) == {"loop": big}
    for ticket in tickets.values():
        home.do("ticket", "resolve", ticket, "--cause", "C02", "--done", "做完了", *HEAD)
    shown = home.do("loop", "show", big)
    assert "观察中" in shown
    assert "原因 C02 · 完成日 2099-12-31" in shown
    assert PLAN["--target"] in shown
    assert home.ask("loop", "show", big)["small_states"] == {"open": 3}

    end = ("loop", "close", big, "--outcome", "not-proven", "--reason", "观察期满", *OPS)
    silent = home.type(*end)
    assert (silent.code, "what changed" in silent.err) == (2, True)
    done = home.ask(*end, "--changed", CHANGED)
    assert done == {"loop": big, "told": 2, "later": 0, "to_call": 1}
    smalls = [home.ask("loop", "show", loop) for loop in home.ask("loop", "show", big)["small"]]
    asked = {m["template"]: s["loop"]["id"] for s in smalls for m in s["messages"]}[
        "cause_closed_call"
    ]
    assert home.flow("deliver_messages")["quarantined"] == 0
    written = letters(home)
    assert written.keys() == {"c1@mail.example", "c2@mail.example"}
    assert all(CHANGED in words for words in written.values())
    call(home, asked)
    assert home.type("audit", "replay").code == 0


def call(home: Home, loop: str) -> None:
    """Who left no address is called, and the call recorded as the message says."""
    found = (home.folder / ".loopwright/outbox").rglob("*.txt")
    (script,) = [t for t in (path.read_text("utf-8") for path in found) if "--what change" in t]
    assert f"loop told {loop} --what change --how call --reference" in script
    assert CHANGED in script
    told = ("loop", "told", loop, "--what", "change", "--how", "call")
    bare = home.type(*told, *HEAD)
    assert (bare.code, "--reference" in bare.err) == (2, True)
    home.do(*told, "--reference", "通话 8843 / call 8843", *HEAD)
    assert home.ask("loop", "show", loop)["events"][-1]["kind"] == "loop.customer_told"


def test_a_candidate_that_is_none(bank: Home) -> None:
    """The cause comes back after its loop was closed."""
    say(bank, SAID[0] | {"id": "9", "customer": "C9"})
    bank.flow("triage_feedback")
    end = ("--outcome", "abandoned", "--reason", "已经在办 / under way")
    assert "closed as abandoned" in bank.do("loop", "close", candidate(bank)["id"], *end, *OPS)
    assert bank.ask("triage", "list") == {"items": []}
