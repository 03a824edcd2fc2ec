"""A customer asks to be forgotten: typed, then searched for in all that is shown and kept."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from zipfile import ZipFile

import pytest

from loopwright.history.note import SigningKey
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


NOTHING, BYTES = "nothing was there to erase", "bytes are still in"


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


def signing(home: Home) -> None:
    home.do("audit", "key", "--out", home.folder / "audit.key", "--origin", "bank.example/loop")
    (home.folder / "loopwright.toml").open("a").write('[audit]\nkey_file = "audit.key"\n')


def test_who_is_not_there_is_not_erased(bank: Home) -> None:
    """Nothing to erase is said as such, leaves no event and is no failure."""
    home = bank
    loop = next(x for x in home.ask("loop", "list")["items"] if x["words"].startswith("年费"))["id"]
    first = home.do("audit", "erase", "--customer", loop, *WHY, *AS, "--close")
    assert (NOTHING in first, BYTES in first) == (False, True)
    before = home.counts()["history_event"]
    for who in (("--customer", loop, *WHY), ("--expired", "--why", "到期")):
        said = home.do("audit", "erase", *who, *AS)
        assert (NOTHING in said, BYTES in said) == (True, False)
        assert home.ask("audit", "erase", *who, *AS)["ended"] == 0
    assert home.counts()["history_event"] == before


def test_after_a_restore_the_bundle_erases_again(bank: Home) -> None:
    """A backup brings words back; a bundle that the own key signed takes them away."""
    home, again = bank, ("audit", "erase", "--why", "恢复之后", *AS, "--again")
    signing(home)
    stored = home.folder / ".loopwright" / "loopwright.db"
    backup = home.folder / "backup.db"
    with closing(sqlite3.connect(stored)) as db:
        db.execute("VACUUM INTO ?", [str(backup)])
    home.do("audit", "erase", "--number", "KH77120345", *WHY, *AS, "--close")
    bundle = home.folder / "out.zip"
    home.do("audit", "export", bundle, *AS)
    for left in stored.parent.glob("loopwright.db*"):
        left.unlink()
    backup.rename(stored)
    assert "转账三天" in home.do("loop", "list")
    invented = home.folder / "invented.zip"
    with ZipFile(bundle) as whole, ZipFile(invented, "w") as other:
        for name in whole.namelist():
            other.writestr(name, whole.read(name).replace(b'"customer_request"', b'"court"'))
    key = home.do("audit", "key", "--public").split()[-1]
    strange = ("--key", str(SigningKey("bank.example/loop", bytes(32)).public))
    for refused in (home.type(*again, invented), home.type(*again, bundle, *strange)):
        assert (refused.code, "not proven" in refused.err) == (1, True)
    assert "转账三天" in home.do("loop", "list")
    done = home.do(*again, bundle, "--key", key)
    assert NOTHING not in done
    assert "转账三天" not in home.do("loop", "list")
    assert NOTHING in home.do(*again, bundle)
    assert home.ask("audit", "replay")["differences"] == 0
    verified = home.ask("audit", "verify")
    assert (verified["ok"], verified["erased"] > 0) == (True, True)


def test_who_signed_is_for_bundles(bank: Home) -> None:
    refused = bank.type("audit", "erase", "--customer", "x", *WHY, *AS, "--key", "x+y+z")
    assert (refused.code, "--again" in refused.err) == (2, True)


def test_without_a_key_no_bundle_is_believed(bank: Home) -> None:
    refused = bank.type("audit", "erase", "--again", "out.zip", "--why", "恢复之后", *AS)
    assert (refused.code, "--key VKEY" in refused.err) == (2, True)


def test_the_bundle_says_so(bank: Home) -> None:
    home = bank
    signing(home)
    home.do("audit", "erase", "--number", "KH77120345", *WHY, *AS, "--close")
    home.do("audit", "export", home.folder / "out.zip", "--bodies", "all", *AS)
    key = home.do("audit", "key", "--public").split()[-1]
    verifier = [sys.executable, str(ROOT / "tools" / "verify_history.py"), "out.zip", "--key", key]
    done = subprocess.run(verifier, cwd=home.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "customer_request" in done.stdout
    assert found_in_files(home.folder).get("out.zip") is None
