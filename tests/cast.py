"""The people of the tests, and short ways to bring a database into a state worth testing."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, insert, select, text

from loopwright.db import Database
from loopwright.history import tree
from loopwright.history.append import append
from loopwright.history.envelope import SYSTEM, Actor, Event, Scalar, seal
from loopwright.history.verify import verify
from loopwright.ids import uuid7
from loopwright.roles import HISTORY
from loopwright.settings import Settings
from models.absence import Absence
from models.base import table
from models.customer import Customer
from models.feedback import Batch, Feedback, Intake, RawItem
from models.history import HistoryEvent
from models.issue import Issue
from models.kinds import EventKind
from models.loop import Loop
from models.ticket import Ticket
from tasks.audit.replay import replay
from tasks.change import Change, change
from tasks.intake.ingest import Counts, ingest_file, root_of
from tasks.routing.open_loops import assign_ticket
from tasks.routing.triage import TriageCounts, leaf, triage_lease
from tasks.workspace import Workspace

ZHANG = Actor("person", "db.zhang", "cli")
"""张敏 of Digital (DB), which owns signing in, transfers and crashes."""
LI = Actor("person", "cc.li", "cli")
"""李雷 of Cards (CC), the other department."""
OPS = Actor("person", "cx.ops", "cli")
AUDIT = Actor("person", "ho.audit", "cli")

NOON = datetime(2026, 8, 3, 4, 0, tzinfo=UTC)
"""Monday noon in Shanghai."""
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

LOGIN = "登录不了，太差"
FEE = "年费乱收，投诉"
UPDATE = "更新后转账失败"
LOST = "我遗失了雨伞，投诉"
UNCLEAR = "就是觉得别扭"
PRAISE = "谢谢柜员"

TELLING = 6
"""Characters below which words may stand anywhere by chance."""
HERE = Path(__file__).parent
numbers = count(1)


def documents(**changed: str) -> dict[str, bytes]:
    """The tests' document set; `policy=…` replaces the file policy.yaml."""
    files = {path.name: path.read_bytes() for path in (HERE / "documents").glob("*.yaml")}
    files["templates.yaml"] = (HERE.parent / "examples/bank/templates.yaml").read_bytes()
    return files | {f"{name}.yaml": text.encode() for name, text in changed.items()}


def document(name: str) -> str:
    return documents()[f"{name}.yaml"].decode()


def settings_for(url: str, home: Path) -> Settings:
    return Settings(
        database={"url": url},
        identity={"secret": "a secret of the tests"},
        messages={"folder": home / "outbox"},
        inbox=home / "inbox",
        models=home / "models",
    )


def drop(ws: Workspace, *lines: str, source: str = "posts", now: datetime = NOON) -> Counts:
    """Deliver lines of text as one file."""
    path = Path(f"drop-{next(numbers)}.txt")
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return ingest_file(ws, ws.sources[source], path, now)


def tell(ws: Workspace, *items: Mapping[str, Any], now: datetime = NOON) -> Counts:
    """Deliver items to the desk: id, text, customer, phone, complaint, received, …"""
    rows = [{"id": f"D{next(numbers)}", "received": now.isoformat()} | dict(i) for i in items]
    return drop(ws, *(json.dumps(r, ensure_ascii=False) for r in rows), source="desk", now=now)


def triage(ws: Workspace, now: datetime = NOON) -> TriageCounts:
    """Work off all that waits."""
    total = TriageCounts()
    while counts := triage_lease(ws, now):
        total += counts
    return total


def take_in(ws: Workspace, *items: Mapping[str, Any], now: datetime = NOON) -> TriageCounts:
    """Deliver to the desk and triage at once."""
    tell(ws, *items, now=now)
    return triage(ws, now)


def rows(db: Database, model: Any, **where: Any) -> list[Any]:
    """All rows of a model with these values, by primary key."""
    found = table(model)
    query = select(found).order_by(*found.primary_key)
    for name, value in where.items():
        query = query.where(found.c[name] == value)
    with db.read() as tx:
        return list(tx.execute(query).all())


def one(db: Database, model: Any, **where: Any) -> Any:
    found = rows(db, model, **where)
    assert len(found) == 1, f"{len(found)} {model.__name__} rows, not one: {where}"
    return found[0]


def number_of(db: Database, model: Any) -> int:
    with db.read() as tx:
        return int(tx.execute(select(func.count()).select_from(table(model))).scalar_one())


def change_now(ws: Workspace, *changes: Change, now: datetime = NOON) -> None:
    with ws.db.begin() as tx:
        change(tx, changes, now)


def withdraw(ws: Workspace, loop: str, now: datetime = NOON) -> None:
    """Close a loop the short way."""
    change_now(ws, Change(loop, EventKind.LOOP_WITHDRAWN, {}, OPS), now=now)


def sample_issues(db: Database, number: int, now: datetime = NOON) -> list[str]:
    """Issues with all that hangs above them, written directly: for tests of the door itself."""
    start = next(numbers)
    ids = [f"issue-{start}-{n}" for n in range(number)]
    intake, batch = f"intake-{start}", f"batch-{start}"
    raws = [f"raw-{start}-{n}" for n in range(number)]
    with db.begin() as tx:
        tx.execute(
            insert(table(Intake)).values(
                id=intake,
                source="desk",
                name="x",
                parsed=number,
                stored=number,
                started_at=now,
                finished_at=now,
            )
        )
        tx.execute(
            insert(table(Batch)).values(
                id=batch,
                source="desk",
                size=number,
                position=number,
                lease_token="sample",
                created_at=now,
                done_at=now,
            )
        )
        tx.execute(
            insert(table(RawItem)),
            [
                {
                    "id": raw,
                    "intake_id": intake,
                    "source": "desk",
                    "key": raw,
                    "number": n + 1,
                    "payload": "{}",
                    "digest": raw.encode(),
                }
                for n, raw in enumerate(raws)
            ],
        )
        tx.execute(
            insert(table(Feedback)),
            [
                {
                    "id": raw,
                    "batch_id": batch,
                    "ordinal": n,
                    "source": "desk",
                    "text": LOGIN,
                    "received_at": now,
                    "arrived_at": now,
                    "channel": "other",
                }
                for n, raw in enumerate(raws)
            ],
        )
        tx.execute(
            insert(table(Issue)),
            [
                {
                    "id": issue,
                    "feedback_id": raw,
                    "ordinal": 0,
                    "state": "looped",
                    "kind": "complaint",
                    "topic": "login",
                    "policy": "1",
                }
                for issue, raw in zip(ids, raws, strict=True)
            ],
        )
        append(tx, [seal(event) for event in taken_in(intake, batch, raws, now)])
    return ids


def taken_in(intake: str, batch: str, raws: Sequence[str], now: datetime) -> Iterator[Event]:
    """What the history says of sample issues."""
    leaves = (tree.leaf_hash(leaf(raw, 0, "complaint", "login", "looped", None)) for raw in raws)
    number, root = len(raws), tree.root(tree.extend([], 0, leaves)).hex()
    came: dict[str, Scalar] = {
        "source": "desk",
        "intake": intake,
        "upto": number,
        "stored": number,
        "quarantined": 0,
    }
    came["root"] = root_of(raw.encode() for raw in raws)
    yield Event(uuid7(), EventKind.FEEDBACK_INGESTED, now, SYSTEM, came)
    found: dict[str, Scalar] = {"batch": batch, "first": 0, "feedback": number, "issues": number}
    fates: dict[str, Scalar] = {"noted": 0, "waiting": 0, "looped": number, "root": root}
    yield Event(uuid7(), EventKind.FEEDBACK_TRIAGED, now, SYSTEM, found | fates)


def on_leave(db: Database, person: str, first: date, last: date, deputy: str | None) -> None:
    """Leave that began before today, as it had been recorded then."""
    data = {"person": person, "first": str(first), "last": str(last), "deputy": deputy}
    event = Event(uuid7(), EventKind.PERSON_LEAVE_RECORDED, NOON, OPS, data)
    days: dict[str, Any] = {"first": first, "last": last, "deputy": deputy}
    row = {"id": f"leave-{person}", "person": person, "recorded_by": OPS.id, "recorded_at": NOON}
    with db.begin() as tx:
        tx.execute(insert(table(Absence)).values(row | days))
        append(tx, [seal(event)])


def sample_customer(db: Database, now: datetime = NOON) -> str:
    customer = f"customer-{next(numbers)}"
    with db.begin() as tx:
        tx.execute(insert(table(Customer)).values(id=customer, created_at=now))
    return customer


def opening(
    loop: str, issue: str, customer: str | None = None, kind: str = "small", **data: Any
) -> Change:
    """The change that opens a loop about signing in."""
    opened = {
        "kind": kind,
        "state": "open" if kind == "small" else "candidate",
        "topic": "login",
        "touchpoint": "app-login",
        "customer": customer,
        "received_at": NOON.isoformat(),
        "issue": issue,
        "lead": "DB",
        "priority": "P3",
    }
    body: dict[str, Any] = {"features": {}, "clauses": [], "evidence": []}
    return Change(loop, EventKind.LOOP_OPENED, opened | data, body=body, policy="1", rule="x")


def open_some(ws: Workspace, number: int, *, tickets: bool = True) -> list[str]:
    """Loops opened through the door, without customers; their ids in order."""
    start = next(numbers)
    loops = [f"L{start}-{n:04}" for n in range(number)]
    changes: list[Change] = []
    for loop, issue in zip(loops, sample_issues(ws.db, number), strict=True):
        changes.append(opening(loop, issue))
        if tickets:
            changes.append(assign_ticket(loop, "DB", "lead", {}, NOON))
    change_now(ws, *changes)
    return loops


def a_loop(ws: Workspace, text: str = LOGIN, **item: Any) -> Any:
    """One loop the whole way, from words to a ticket; the loop's row."""
    before = {row.id for row in rows(ws.db, Loop)}
    take_in(ws, {"text": text} | item)
    made = [row for row in rows(ws.db, Loop, kind="small") if row.id not in before]
    assert len(made) == 1
    return made[0]


def ticket_of(ws: Workspace, loop: str) -> Any:
    """The loop's newest ticket."""
    return max(rows(ws.db, Ticket, loop_id=loop), key=lambda t: (t.state != "rejected", t.id))


def kinds_of(events: Iterable[Any]) -> Sequence[str]:
    return [event.kind for event in events]


def lift_guards(tx: Connection) -> None:
    """Take the history's triggers away, as somebody with full rights could."""
    if tx.dialect.name == "postgresql":
        for name in HISTORY:
            tx.execute(text(f"ALTER TABLE {name} DISABLE TRIGGER USER"))
        return
    names = tx.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars()
    for name in names.all():
        tx.execute(text(f"DROP TRIGGER {name}"))


def is_guarded(db: Database) -> bool:
    """Whether nobody has lifted the guards of the history."""
    query = (
        "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'guard_%'"
        if db.is_sqlite
        else "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'guard_%' AND tgenabled = 'A'"
    )
    with db.read() as tx:
        return bool(tx.execute(text(query)).scalar_one() > 0)


def sound(db: Database) -> bool:
    """The history verifies, the tables follow from it, and what can never be erased holds nothing
    of a customer; fails with words otherwise."""
    with db.read() as tx:
        report, again = verify(tx), replay(tx)
    assert personal_in_envelopes(db) == []
    assert report.ok, report
    assert again.differences == 0, again.listed
    return True


def personal_in_envelopes(db: Database) -> list[str]:
    """Customers' words, keys and complaint numbers that stand where they cannot be erased."""
    feedback, raw, events = table(Feedback), table(RawItem), table(HistoryEvent)
    with db.read() as tx:
        envelopes = "\n".join(tx.execute(select(events.c.envelope)).scalars())
        said = tx.execute(select(feedback.c.text, feedback.c.complaint_number)).all()
        keys = tx.execute(select(raw.c.key, raw.c.payload)).all()
    words = {text for text, _ in said if len(text) >= TELLING}
    numbers = {number for _, number in said if number} | {
        key[1:] for key, _ in keys if len(key) > TELLING
    }
    phones = {p for _, payload in keys for p in re.findall(r"(?<!\d)1[3-9]\d{9}(?!\d)", payload)}
    found = {w for w in words | phones if w in envelopes}
    # A shorter key is also a version or a count.
    return sorted(found | {n for n in numbers if len(n) > 3 and f'"{n}"' in envelopes})
