"""PostgreSQL's roles at the command line: a missing right is one clear error, never a traceback."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.acceptance.home import VOICES, Done, Home, small_documents, write_settings, write_voices
from tests.cast import sound

PREFIX = "work"
ORIGIN = "bank.example/loop"


@dataclass
class Bank:
    """One installation that a person of any role can type in."""

    home: Home

    def lay_out(self, *options: str) -> None:
        """What the documentation has a superuser do after each upgrade."""
        sql = self.home.ask("db", "roles", "--prefix", PREFIX, *options)["sql"]
        with self.home.database() as db, db.begin() as tx:
            tx.exec_driver_sql(sql)

    def acting(self, role: str, *arguments: str | Path) -> Done:
        url = make_url(self.home.url).set(username=f"{PREFIX}_{role}")
        address = url.render_as_string(hide_password=False)
        return self.home.type(*arguments, LOOPWRIGHT_DATABASE__URL=address)

    def refused(self, role: str, *arguments: str | Path) -> str:
        """The error, of two lines and with exit code 3; `home.type` refuses tracebacks."""
        done = self.acting(role, *arguments)
        assert done.code == 3, done.said
        *notes, what, fix = done.err.splitlines()
        assert len(notes) <= 1, done.err
        assert what.startswith("✗ 数据库用户")
        assert fix.startswith("  → ")
        assert "SQL" not in done.err
        return done.err


@pytest.fixture
def bank(tmp_path: Path, models: Path, new_database: Callable[[], str]) -> Bank:
    env = {
        "LOOPWRIGHT_AUDIT__ORIGIN": ORIGIN,
        "LOOPWRIGHT_DATABASE__URL": new_database(),
        "LOOPWRIGHT_MODELS": str(models),
    }
    folder = tmp_path / "bank"
    write_settings(folder)
    home = Home(folder, env)
    home.do("db", "upgrade")
    bank = Bank(home)
    bank.lay_out("--own-signer")
    home.publish(small_documents(folder / "documents", VOICES))
    home.do("audit", "key")
    voices = write_voices(folder / "voices.jsonl", 12)
    assert bank.acting("app", "ingest", voices, "--source", "voices").code == 0
    assert bank.acting("app", "run", "triage_feedback", "--no-prefect").code == 0
    return bank


def test_each_role_does_its_work_and_is_told_what_is_not_its_own(bank: Bank) -> None:
    home = bank.home
    for zip_name, role, verb, table, fit in (
        ("1.zip", "signer", "may not read", "event_body", "应用 loopwright_app"),
        ("2.zip", "auditor", "may not change", "audit_head", "应用 loopwright_app"),
        ("3.zip", "app", "may not add rows to", "audit_checkpoint", "签署 loopwright_signer"),
    ):
        said = bank.refused(role, "audit", "export", zip_name, "--as", "au.head")
        assert f"{PREFIX}_{role} {verb}: {table}" in said
        assert fit in said
        assert not (home.folder / zip_name).exists()
    note = bank.acting("signer", "audit", "checkpoint").out
    assert note.startswith(ORIGIN)
    for verb in ("verify", "replay"):
        assert bank.acting("auditor", "audit", verb).code == 0
    with home.database() as db:
        assert sound(db)


@pytest.mark.parametrize(
    ("role", "arguments"),
    [
        ("signer", ["loop", "list"]),
        ("signer", ["triage", "list"]),
        ("signer", ["run", "triage_feedback", "--no-prefect"]),
        ("auditor", ["run", "deliver_messages", "--no-prefect"]),
        ("auditor", ["org", "publish", "documents"]),
        ("auditor", ["source", "off", "voices", "--as", "cx.ops1"]),
        ("auditor", ["quarantine", "replay", "--source", "voices", "--as", "cx.ops1"]),
        ("auditor", ["audit", "restored", "--reason", "x", "--as", "cx.ops1"]),
        ("app", ["audit", "checkpoint"]),
    ],
)
def test_no_command_shows_a_traceback(bank: Bank, role: str, arguments: list[str]) -> None:
    bank.refused(role, *arguments)
