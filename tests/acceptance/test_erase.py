"""A customer asks to be forgotten: typed, then searched for in all that is shown and kept."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.home import ROOT, VOICES, Home, small_documents

pytestmark = pytest.mark.acceptance

SOURCES = VOICES.replace(
    "customer: {number: customer}", "customer: {number: customer, phone: phone}"
)
NAME, PHONE, CARD, WORDS = "欧阳飞雪", "13912345678", "6222600260001072444", "蓝鲸在电梯里唱歌"
SAID = [
    {
        "id": "1",
        "text": f"转账三天了还没到账，我是{NAME}，卡号{CARD}，电话{PHONE}，{WORDS}",
        "customer": "KH77120345",
        "phone": PHONE,
        "number": "TS-2026-0099812",
    },
    {"id": "2", "text": "年费莫名其妙扣了，没人解释", "customer": "C2"},
]
CANARIES = (NAME, PHONE, CARD, WORDS, "KH77120345", "TS-2026-0099812")
AS, WHY = ("--as", "au.head"), ("--authority", "customer-request", "--why", "客户来函 / by letter")


@pytest.fixture
def bank(home: Home, tmp_path: Path) -> Home:
    home.do("db", "upgrade")
    home.publish(small_documents(tmp_path / "documents", SOURCES))
    lines = [json.dumps(item, ensure_ascii=False) for item in SAID]
    (tmp_path / "said.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    home.do("ingest", tmp_path / "said.jsonl", "--source", "voices")
    home.flow("triage_feedback")
    home.flow("deliver_messages")
    (tmp_path / "said.jsonl").unlink()
    return home


def found_in_files(folder: Path) -> dict[str, set[str]]:
    """Each file of the installation with the canaries its bytes hold."""
    needles = {(c, c.encode(code)) for c in CANARIES for code in ("utf-8", "utf-16-le")}
    found = {}
    for path in (p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        found[path.name] = {canary for canary, needle in needles if needle in content}
    return {name: canaries for name, canaries in found.items() if canaries}


def test_a_customer_is_forgotten(bank: Home) -> None:
    home = bank
    mine = next(x for x in home.ask("loop", "list")["items"] if x["words"].startswith("转账"))
    refused = home.type("audit", "erase", "--phone", PHONE, *WHY, *AS)
    assert (refused.code, PHONE in refused.said) == (1, False)
    assert mine["id"] in refused.err
    tried = home.ask("audit", "erase", "--phone", PHONE, *WHY, *AS, "--close", "--dry-run")
    assert (tried["dry_run"], tried["closed"], tried["keys"]) == (True, 1, 2)
    assert found_in_files(home.folder)
    done = home.type("audit", "erase", "--phone", PHONE, *WHY, *AS, "--close")
    assert (done.code, PHONE in done.said) == (0, False), done.said
    again = home.type("audit", "erase", "--phone", PHONE, *WHY, *AS)
    assert (again.code, PHONE in again.said) == (2, False)
    shown = [
        home.do("loop", "show", mine["id"]),
        home.do("loop", "list"),
        home.do("notify", "outbox"),
        home.type("loop", "explain", mine["id"]).said,
        home.do("quarantine", "list"),
    ]
    assert [c for c in CANARIES if c in "".join(shown)] == []
    verified = home.ask("audit", "verify")
    assert (verified["ok"], verified["erased"] > 0) == (True, True)
    assert home.ask("audit", "replay")["differences"] == 0
    assert home.ask("audit", "scrub")["complete"]
    assert found_in_files(home.folder) == {}


def test_the_bundle_says_so(bank: Home) -> None:
    home = bank
    home.do("audit", "key", "--out", home.folder / "audit.key", "--origin", "bank.example/loop")
    (home.folder / "loopwright.toml").open("a").write('[audit]\nkey_file = "audit.key"\n')
    home.do("audit", "erase", "--number", "KH77120345", *WHY, *AS, "--close")
    home.do("audit", "export", home.folder / "out.zip", "--bodies", "all", *AS)
    key = home.do("audit", "key", "--public").split()[-1]
    verifier = [sys.executable, str(ROOT / "tools" / "verify_history.py"), "out.zip", "--key", key]
    done = subprocess.run(verifier, cwd=home.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "customer_request" in done.stdout
    assert found_in_files(home.folder).get("out.zip") is None
