"""An auditor's ten minutes, typed: key, checkpoint, sample, export, verify, and what is refused."""

import json
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.home import ROOT, VOICES, Home, small_documents, write_settings, write_voices

pytestmark = pytest.mark.acceptance

AUDITOR = ("--as", "au.auditor1")


@dataclass(frozen=True)
class Audited:
    """An installation with some history, and what the auditor got at the handover."""

    home: Home
    key: str
    held: Path

    def verify(self, bundle: str, *more: str) -> tuple[int, str]:
        program = [sys.executable, "-I", str(ROOT / "tools" / "verify_history.py")]
        done = subprocess.run(
            [*program, str(self.home.folder / bundle), "--key", self.key, *more],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def manifest(self, bundle: str) -> Any:
        with zipfile.ZipFile(self.home.folder / bundle) as opened:
            return json.loads(opened.read("manifest.json"))


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    folder = tmp_path_factory.mktemp("audit")
    write_settings(folder)
    home = Home(folder)
    home.do("db", "upgrade")
    home.publish(small_documents(folder / "bank", VOICES))
    key = home.ask("audit", "key", "--origin", "bank.example/loop")["vkey"]
    home.do("ingest", write_voices(folder / "voices.jsonl", 60, opening=0.8), "--source", "voices")
    home.flow("triage_feedback")
    held = folder / "held.txt"
    held.write_text(home.ask("audit", "checkpoint")["note"], "utf-8")
    return Audited(home, key, held)


def test_a_day_is_exported_and_proven(audited: Audited) -> None:
    made = audited.home.ask(
        "audit", "export", "day.zip", "--from", "2026-01-01", "--to", "2099-01-01", *AUDITOR
    )
    assert (made["kind"], made["first"], made["bodies"]) == ("range", 0, 0)
    code, words = audited.verify("day.zip", "--since", str(audited.held))
    assert code == 0, words
    assert f"{made['count']:,} events" in words
    assert "au.auditor1" in words
    assert "continues the checkpoint" in words
    assert audited.manifest("day.zip")["query"]["asked"].startswith("--from 2026-01-01T00:00:00")


def test_positions_are_inclusive(audited: Audited) -> None:
    made = audited.home.ask("audit", "export", "p.zip", "--from", "3", "--to", "7", *AUDITOR)
    assert (made["first"], made["count"]) == (3, 5)
    assert audited.verify("p.zip")[0] == 0


def test_a_sampled_loop_is_exported_by_the_end_of_its_name(audited: Audited) -> None:
    drawn = audited.home.ask("audit", "sample", "--n", "2", "--seed", "spring")
    assert drawn == audited.home.ask(
        "audit", "sample", "--n", "2", "--seed", "spring", "--checkpoint", str(drawn["size"])
    )
    first = drawn["items"][0]
    made = audited.home.ask("audit", "export", "loop.zip", "--loop", first["loop"][-8:], *AUDITOR)
    assert (made["kind"], made["first"], made["bodies"] > 0) == ("loop", first["seq"], True)
    code, words = audited.verify("loop.zip")
    assert code == 0, words
    assert first["loop"] in words
    with zipfile.ZipFile(audited.home.folder / "loop.zip") as opened:
        proofs = json.loads(opened.read("proofs.json"))
    assert proofs["events"][first["event"]]["seq"] == first["seq"]


def test_words_say_what_to_do_next(audited: Audited) -> None:
    words = audited.home.do("audit", "export", "said.zip", "--to", "5", *AUDITOR)
    assert "verify_history.py said.zip --key" in words
    assert "recorded at seq" in words
    assert "LOOP.zip --loop" in audited.home.do("audit", "sample", "--n", "1", "--seed", "x")


def test_trying_changes_nothing(audited: Audited) -> None:
    before = audited.home.counts()
    planned = audited.home.ask(
        "audit", "export", "dry.zip", "--bodies", "all", "--dry-run", *AUDITOR
    )
    assert planned["chosen"] > 0
    assert audited.home.counts() == before
    assert not (audited.home.folder / "dry.zip").exists()


REFUSED = [
    (("x.zip", "--loop", "L0000000", *AUDITOR), 2, "no loop L0000000"),
    (("x.zip", "--loop", "L1", "--from", "3", *AUDITOR), 2, "leave --from and --to out"),
    (("x.zip", "--from", "yesterday", *AUDITOR), 2, "neither a time nor a position"),
    (("x.zip", "--from", "99999999", *AUDITOR), 2, "no event is in that range"),
    (("x.zip", "--bodies", "L0000000", *AUDITOR), 2, "no loop L0000000"),
    (("x.zip", "--as", "nobody"), 2, "nobody is called"),
    (("x.zip",), 2, "--as"),
    (("loopwright.toml", *AUDITOR), 2, "already there"),
    (("nowhere/x.zip", *AUDITOR), 2, "no folder"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), REFUSED)
def test_what_cannot_be_exported_is_said(
    audited: Audited, arguments: tuple[str, ...], code: int, words: str
) -> None:
    before = audited.home.counts()
    done = audited.home.type("audit", "export", *arguments)
    assert (done.code, words in done.said) == (code, True), done.said
    assert audited.home.counts() == before
    assert not (audited.home.folder / "x.zip").exists()


def test_without_a_signer_there_is_no_bundle(audited: Audited) -> None:
    key = audited.home.folder / ".loopwright" / "audit.key"
    aside = key.rename(key.with_suffix(".aside"))
    done = audited.home.type("audit", "export", "x.zip", "--wait", "0", *AUDITOR)
    aside.rename(key)
    assert done.code == 1
    assert "no checkpoint covers the export" in done.said
    assert not (audited.home.folder / "x.zip").exists()


def test_an_unknown_checkpoint_cannot_be_sampled(audited: Audited) -> None:
    done = audited.home.type("audit", "sample", "--n", "1", "--seed", "x", "--checkpoint", "2")
    assert (done.code, "no checkpoint of size 2" in done.said) == (2, True)


def test_after_all_this_the_history_is_clean(audited: Audited) -> None:
    assert audited.home.ask("audit", "verify", "--checkpoint", audited.held)["ok"]
    assert audited.home.ask("audit", "replay")["differences"] == 0
