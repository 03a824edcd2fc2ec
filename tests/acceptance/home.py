"""An installation in a folder of its own, used as a user would: by typing commands."""

import atexit
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from sqlalchemy import func, select, text

from loopwright.db import Database
from models.tables import metadata

ROOT = Path(__file__).parents[2]
BANK = ROOT / "examples" / "bank"
REAL = ROOT / "examples" / "real"
STREAM = ROOT.parent / "shared" / "data" / "stream"
PROGRAM = Path(sys.executable).with_name("loopwright")
SECRET = "acceptance-tests-only-0123456789abcdef"
QUIET = {"DO_NOT_TRACK": "1", "COLUMNS": "200"}


@dataclass(frozen=True)
class Done:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


class Typist:
    """The process of `typist.py`, one for all commands of a test session."""

    def __init__(self) -> None:
        self.folder = Path(mkdtemp(prefix="typist-"))
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("typist.py"))],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        atexit.register(self.end)

    def type(self, arguments: Sequence[str], folder: Path, env: Mapping[str, str]) -> Done:
        streams = {name: str(self.folder / name) for name in ("out", "err")}
        for path in streams.values():
            Path(path).write_bytes(b"")
        request = {"arguments": arguments, "folder": str(folder), "env": dict(env), **streams}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        code = int(self.process.stdout.readline())
        out, err = (Path(path).read_text("utf-8") for path in streams.values())
        return Done(code, out, err)

    def end(self) -> None:
        self.process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@cache
def typist() -> Typist:
    return Typist()


@dataclass
class Home:
    """One installation's folder; `env` on top of this process's environment without our names."""

    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.env.get(
            "LOOPWRIGHT_DATABASE__URL", f"sqlite:///{self.folder}/.loopwright/loopwright.db"
        )

    def environment(self) -> dict[str, str]:
        # Compiled modules may be kept: without them every command takes three times as long.
        ours = ("LOOPWRIGHT_", "PREFECT_", "PYTHONDONTWRITEBYTECODE")
        outside = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        return outside | QUIET | {"LOOPWRIGHT_IDENTITY__SECRET": SECRET} | dict(self.env)

    def start(self, *arguments: str | Path, **env: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [str(PROGRAM), *map(str, arguments)],
            cwd=self.folder,
            env=self.environment() | env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def type(self, *arguments: str | Path, **env: str) -> Done:
        """Type one command and wait for its end."""
        done = typist().type([str(one) for one in arguments], self.folder, self.environment() | env)
        assert "Traceback" not in done.err, done.err
        return done

    def do(self, *arguments: str | Path, **env: str) -> str:
        """A command that must succeed; its output."""
        done = self.type(*arguments, **env)
        assert done.code == 0, f"{arguments}: {done.code}\n{done.said}"
        return done.out

    def ask(self, *arguments: str | Path, **env: str) -> Any:
        """A command that must succeed, with --json; its document."""
        return json.loads(self.do(*arguments, "--json", **env))

    @contextmanager
    def database(self) -> Iterator[Database]:
        db = Database(self.url)
        try:
            yield db
        finally:
            db.close()

    def counts(self) -> dict[str, int]:
        """Rows of every table: what a refused command must leave as it is."""
        with self.database() as db, db.read() as tx:
            return {
                name: tx.execute(select(func.count()).select_from(table)).scalar_one()
                for name, table in metadata().tables.items()
            }

    def sql(self, statement: str, **values: Any) -> None:
        with self.database() as db, db.begin() as tx:
            tx.execute(text(statement), values)

    def publish(self, *folders: Path) -> None:
        self.do("org", "publish", *folders)

    def flow(self, name: str, *arguments: str) -> dict[str, int]:
        counts: dict[str, int] = self.ask("run", name, "--no-prefect", *arguments)
        return counts


def write_settings(folder: Path, url: str = "sqlite:///.loopwright/loopwright.db") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "loopwright.toml").write_text(f'[database]\nurl = "{url}"\n', "utf-8")


def small_documents(folder: Path, sources: str) -> Path:
    """The example bank without its model, which only takes time here, and with other sources."""
    shutil.copytree(
        BANK,
        folder,
        ignore=shutil.ignore_patterns("data", "model.yaml", "training.jsonl", "sources.yaml"),
    )
    (folder / "sources.yaml").write_text(sources, "utf-8")
    return folder


VOICES = """\
sources:
  - name: voices
    title: {zh: 验收用的来源, en: Source for acceptance tests}
    channel: hotline
    format: {kind: jsonl}
    map:
      id: id
      text: [text]
      said_at: {field: at}
      customer: {number: customer}
      complaint_number: number
"""
# Words of the example taxonomy around our own small talk.
TROUBLES = (
    "转账三天了还没到账，{0}",
    "转账限额太低，{0}",
    "误转到别人的账户，{0}",
    "验证码一直收不到，{0}",
    "人脸识别总是失败，{0}",
    "年费莫名其妙扣了，{0}",
    "My transfer has not arrived and {1}",
    "The annual fee was charged and {1}",
)
PRAISE = ("柜员态度很好，点赞{0}", "非常满意，谢谢{0}")
ASIDES = (
    ("请尽快处理", "nobody answers"),
    ("等了很久", "I have been waiting"),
    ("怎么回事", "this is not acceptable"),
)


def write_voices(path: Path, count: int, seed: int = 7, opening: float = 0.3) -> Path:
    """`count` generated items: customers who come back with the same topic, items with and
    without an id or a customer, repeated words, complaint numbers, and praise that opens nothing.
    """
    chance = random.Random(seed)
    lines = []
    for n in range(count):
        trouble = chance.random() < opening
        patterns = TROUBLES if trouble else PRAISE
        which = chance.randrange(len(patterns))
        zh, en = chance.choice(ASIDES)
        item: dict[str, Any] = {
            "text": patterns[which].format(f"{zh}{n % 97}", f"{en} {n % 97}"),
            "at": f"2026-11-{1 + n % 20:02}T{n % 24:02}:{n % 60:02}:00+08:00",
        }
        if chance.random() < 0.8:
            item["id"] = f"V-{n}"
        if chance.random() < 0.7:
            customer = chance.randrange(max(2, count // 12))
            item["customer"] = f"C{customer:07}"
            if trouble and chance.random() < 0.2:
                item["number"] = f"N-{customer}-{which}"
        lines.append(json.dumps(item, ensure_ascii=False))
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@dataclass(frozen=True)
class Story:
    """What an installation holds, named by what customers said and never by generated ids."""

    feedback: Counter[Any]
    issues: Counter[Any]
    loops: Counter[Any]
    tickets: Counter[Any]
    messages: Counter[Any]


def story(home: Home) -> Story:
    with home.database() as db, db.read() as tx:

        def rows(query: str) -> list[Any]:
            return list(tx.execute(text(query)).all())

        said = {
            r.id: (r.source, r.key, r.version)
            for r in rows("SELECT id, source, key, version FROM raw_item")
        }
        feedback = Counter(said[r.id] for r in rows("SELECT id FROM feedback"))
        issue = {
            r.id: (said[r.feedback_id], r.ordinal)
            for r in rows("SELECT id, feedback_id, ordinal FROM issue")
        }
        issues = Counter(
            (issue[r.id], r.kind, r.topic, r.state)
            for r in rows("SELECT id, kind, topic, state FROM issue")
        )
        origin: dict[str, Any] = {}
        joined: dict[str, set[Any]] = {}
        for r in rows("SELECT loop_id, issue_id, relation FROM loop_issue"):
            if r.relation == "origin":
                origin[r.loop_id] = issue[r.issue_id]
            joined.setdefault(r.loop_id, set()).add((issue[r.issue_id], r.relation))
        name = {}
        loops: Counter[Any] = Counter()
        for r in rows("SELECT id, kind, topic, touchpoint, lead, state, rule FROM loop"):
            name[r.id] = (origin[r.id], r.kind)
            loops[
                (*name[r.id], r.topic, r.touchpoint, r.lead, r.state, r.rule),
                frozenset(joined[r.id]),
            ] += 1
        links = rows("SELECT big_id, small_id FROM loop_link")
        loops.update(("link", name[r.big_id], name[r.small_id]) for r in links)
        tickets = Counter(
            (name[r.loop_id], r.unit, r.role, r.state)
            for r in rows("SELECT loop_id, unit, role, state FROM ticket")
        )
        messages = Counter(
            (r.template, r.unit, name.get(r.loop_id), r.state)
            for r in rows("SELECT template, unit, loop_id, state FROM message")
        )
    return Story(feedback, issues, loops, tickets, messages)
