"""Fifteen kinds of tampering, by somebody with every right, by rows only and with all hashes made
anew: each is found wherever a checkpoint outside is later than the row; clean ones never are.
"""

import random
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from sqlalchemy import Connection, delete, select

from loopwright.db import Database
from loopwright.history import tree
from loopwright.history.append import append, head
from loopwright.history.envelope import SYSTEM, Actor, Event, seal
from loopwright.history.note import Checkpoint
from loopwright.history.verify import BODIES, EVENTS, verify
from loopwright.migrate import upgrade
from models.kinds import EventKind
from tests.acceptance.attacker import (
    KINDS,
    SHOWS_ITSELF,
    attack,
    put_back,
    take,
)
from tests.cast import OPS, lift_guards

pytestmark = pytest.mark.acceptance

START = datetime(2026, 8, 3, 4, tzinfo=UTC)
ORIGIN = "bank.example/loop"
SEEDS, CLEAN = 100, 1_000
"""Of `make prove`; `make check` runs a tenth."""
BOUND = (EventKind.HISTORY_RESTORED, EventKind.BODY_ERASED, EventKind.DOCUMENTS_PUBLISHED)
"""What these say must be true."""
FEW = 12
"""So many events at least stand before the checkpoint that the auditor holds."""


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def db(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """A database with an empty history; each trial rolls its own back."""
    url = (
        f"sqlite:///{tmp_path_factory.mktemp('tamper') / 'loopwright.db'}"
        if request.param == "sqlite"
        else request.getfixturevalue("new_database")()
    )
    made = Database(url)
    upgrade(made)
    yield made
    made.close()


def story(chance: random.Random) -> Iterator[Event]:
    """Some tens of events of a few loops, with bodies and every column in use."""
    steps, kinds = Counter[str](), [kind for kind in EventKind if kind not in BOUND]
    for n in range(chance.randrange(20, 60)):
        loop = chance.choice(["L1", "L2", "L3", None])
        yield Event(
            id=f"{chance.getrandbits(128):032x}",
            kind=chance.choice(kinds),
            at=START + timedelta(minutes=n, microseconds=chance.randrange(10**6)),
            actor=chance.choice([SYSTEM, Actor("person", "db.zhang", "cli")]),
            data={"ticket": f"T{n}", "topic": "登录", "count": n, "due": None, "late": n > 9},
            loop=loop,
            loop_seq=steps[loop] if loop else None,
            on_behalf_of=chance.choice([None, "DB"]),
            run=f"run-{n // 7}",
            policy="1",
            rule=chance.choice([None, "direct"]),
            template=chance.choice([None, "ticket_assigned@1"]),
            body={"words": f"第 {n} 次来电：登录不了"} if n < 2 or chance.random() < 0.4 else None,
        )
        if loop:
            steps[loop] += 1


@contextmanager
def history(db: Database, seed: int) -> Iterator[tuple[Connection, list[Checkpoint]]]:
    """A history, in a transaction that leaves nothing, and the checkpoints that left the house."""
    chance, outside = random.Random(seed), list[Checkpoint]()
    with db.engine.connect() as tx:
        left = list(story(chance))
        while left:
            many = chance.randrange(1, 12)
            append(tx, [seal(event) for event in left[:many]])
            left = left[many:]
            if chance.random() < 0.3:
                erase_one(tx, chance)
            size, frontier = head(tx)
            outside.append(Checkpoint(ORIGIN, size, tree.root(frontier)))
        yield tx, outside
        tx.rollback()


def erase_one(tx: Connection, chance: random.Random) -> None:
    """Neither of the first two, so that there are always two bodies to tamper with."""
    kept = EVENTS.c.body_commit.is_not(None) & EVENTS.c.event_id.in_(select(BODIES.c.event_id))
    found = tx.execute(select(EVENTS.c.event_id).where(kept).order_by(EVENTS.c.seq)).scalars().all()
    if len(found) > 2:
        target = chance.choice(found[2:])
        tx.execute(delete(BODIES).where(BODIES.c.event_id == target))
        data = {"event": target, "why": "request", "authority": "customer_request"}
        append(tx, [seal(Event(f"erasure of {target}", EventKind.BODY_ERASED, START, OPS, data))])


def hunt(db: Database, seeds: range) -> Counter[tuple[str, str]]:
    """Every kind in both strengths on the history of each seed; what found it, how often."""
    finders = Counter[tuple[str, str]]()
    for seed in seeds:
        with history(db, seed) as (tx, outside):
            loot = take(tx)
            lift_guards(tx)
            for kind, care in product(KINDS, (False, True)):
                name = f"{seed} {kind.__name__} {care}"
                held = random.Random(name).choice([c for c in outside if c.size >= FEW])
                put_back(tx, attack(loot, kind, held.size, care, name))
                assert not verify(tx, outside=[held]).ok, f"not found: {name}"
                inside = not verify(tx).ok
                assert inside is not care or kind is SHOWS_ITSELF, f"half an attacker: {name}"
                finders["careful" if care else "rows only", "inside" if inside else "outside"] += 1
    return finders


def clean(db: Database, seeds: range) -> None:
    """No alarm, neither by the rows nor by any of the checkpoints that ever left."""
    for seed in seeds:
        with history(db, seed) as (tx, outside):
            report = verify(tx, outside=outside)
            assert report.ok, f"false alarm: {seed}: {report}"
            assert len(report.outside) == len(outside)


def test_tampering_is_found(db: Database) -> None:
    finders = hunt(db, range(SEEDS // 10))
    assert finders.total() == len(KINDS) * 2 * SEEDS // 10
    assert len(KINDS) == 15


def test_clean_histories_raise_no_alarm(db: Database) -> None:
    clean(db, range(CLEAN // 10))


@pytest.mark.prove
def test_all_tampering_is_found(db: Database) -> None:
    finders = hunt(db, range(SEEDS))
    sys.stderr.write(f"{db.url.get_backend_name()}: all {finders.total():,} found: {finders}\n")


@pytest.mark.prove
def test_a_thousand_clean_histories(db: Database) -> None:
    clean(db, range(CLEAN))
