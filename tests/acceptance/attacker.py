"""Somebody with every right in the database who wants the history to say something else.

A `Loot` is the history's three tables in memory. A kind of tampering changes it; `careful` then
makes everything agree again with the program's own code, as somebody who knows it would; `put_back`
writes it over the tables past the triggers.
"""

import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from loopwright.db import bulk_insert
from loopwright.history import tree
from loopwright.history.envelope import canonical
from loopwright.history.rows import columns_of
from loopwright.history.verify import BODIES, EVENTS
from models.base import table
from models.history import AuditHead

HEAD = table(AuditHead)

Rows = list[dict[str, Any]]


@dataclass
class Loot:
    """The events in order, the bodies by event, and the head's size and frontier."""

    events: Rows
    bodies: dict[str, dict[str, Any]]
    size: int
    frontier: bytes

    def renumber(self) -> None:
        """Close gaps and make room: positions are dense again."""
        for seq, row in enumerate(self.events):
            row["seq"] = seq


def take(tx: Connection) -> Loot:
    events = [dict(row) for row in tx.execute(select(EVENTS).order_by(EVENTS.c.seq)).mappings()]
    bodies = {row["event_id"]: dict(row) for row in tx.execute(select(BODIES)).mappings()}
    head = tx.execute(select(HEAD)).one()
    return Loot(events, bodies, head.size, head.frontier)


def put_back(tx: Connection, loot: Loot) -> None:
    for each in (EVENTS, BODIES, HEAD):
        tx.execute(delete(each))
    bulk_insert(tx, EVENTS, loot.events)
    bulk_insert(tx, BODIES, list(loot.bodies.values()))
    tx.execute(insert(HEAD).values(id=1, size=loot.size, frontier=loot.frontier))


def careful(loot: Loot) -> None:
    """Every sequence, commitment, copied column, hash, the frontier and the head made anew."""
    explain_missing_bodies(loot)
    loot.renumber()
    steps = Counter[str]()
    for row in loot.events:
        envelope = json.loads(row["envelope"])
        if loop := envelope["loop"]:
            envelope["loop_seq"] = steps[loop]
            steps[loop] += 1
        if body := loot.bodies.get(envelope["id"]):
            envelope["body"] = commitment(body)
        write(row, envelope)
    kept = {row["event_id"] for row in loot.events}
    loot.bodies = {event: body for event, body in loot.bodies.items() if event in kept}
    loot.size = len(loot.events)
    loot.frontier = tree.pack(tree.extend([], 0, (row["leaf"] for row in loot.events)))


def explain_missing_bodies(loot: Loot) -> None:
    """Words about erasure that no longer fit go; a body that nobody says was erased never was."""
    gone, said = set[str](), set[str]()
    for row in list(loot.events):
        envelope = json.loads(row["envelope"])
        target = envelope["data"].get("event")
        if envelope["kind"] == "body.erased" and target not in gone - said:
            loot.events.remove(row)
        elif envelope["kind"] == "body.erased":
            said.add(target)
        elif envelope["body"] and envelope["id"] not in loot.bodies:
            gone.add(envelope["id"])
    for row in loot.events:
        if json.loads(row["envelope"])["id"] in gone - said:
            rewrite(row, body=None)


def write(row: dict[str, Any], envelope: Mapping[str, Any]) -> None:
    """The row as the program would have written it for this envelope."""
    at = datetime.fromisoformat(envelope["at"].replace("Z", "+00:00"))
    row |= columns_of(envelope) | {"at": at}
    seal_text(row, canonical(envelope))


def seal_text(row: dict[str, Any], envelope: str) -> None:
    row["envelope"] = envelope
    row["leaf"] = tree.leaf_hash(envelope.encode())


def commitment(body: Mapping[str, Any]) -> str:
    return sha256(body["salt"] + body["body"].encode()).hexdigest()


def rewrite(row: dict[str, Any], **changed: Any) -> None:
    """The envelope says something else; nothing around it follows."""
    row["envelope"] = canonical(json.loads(row["envelope"]) | changed)


@dataclass
class Attack:
    """One act on the events up to `covered`, those that a checkpoint outside knows about."""

    loot: Loot
    chance: random.Random
    covered: int
    careful: bool

    def victim(self) -> dict[str, Any]:
        return self.loot.events[self.chance.randrange(self.covered)]

    def edit_envelope(self) -> None:
        """Somebody else did it."""
        rewrite(self.victim(), actor={"type": "person", "id": "forged", "via": "web"})

    def edit_column(self) -> None:
        """A column that repeats the envelope; with care the envelope too."""
        row = self.victim()
        column, member = self.chance.choice(COPIED if row["loop_id"] else COPIED[1:])
        row[column] = f"forged-{row[column]}"
        if self.careful:
            rewrite(row, **{member: row[column]})

    def edit_data(self) -> None:
        row = self.victim()
        row["data"] = canonical(json.loads(row["data"]) | {"outcome": "verified"})
        if self.careful:
            rewrite(row, data=json.loads(row["data"]))

    def edit_leaf(self) -> None:
        """A leaf of other content; with care, content that hashes to it."""
        row = self.victim()
        row["leaf"] = self.chance.randbytes(32)
        if self.careful:
            rewrite(row, run="a run that never was")

    def delete_middle(self) -> None:
        del self.loot.events[self.chance.randrange(self.covered - 1)]

    def delete_last(self) -> None:
        del self.loot.events[self.covered - 1 :]

    def insert_one(self) -> None:
        """A well-made event that never happened, with its neighbours moved up."""
        row = deepcopy(self.victim())
        envelope = json.loads(row["envelope"]) | {"id": "forged", "body": None}
        decided = {"kind": "issue.decided", "data": {"issue": "forged"}}
        write(row, envelope | {"loop": None, "loop_seq": None} | decided)
        self.loot.events.insert(self.chance.randrange(self.covered), row)
        self.loot.renumber()

    def swap(self) -> None:
        one, two = self.chance.sample(range(self.covered), 2)
        events = self.loot.events
        events[one], events[two] = events[two], events[one]
        self.loot.renumber()

    def backdate(self) -> None:
        row = self.victim()
        row["at"] -= timedelta(hours=self.chance.randrange(1, 999))
        if self.careful:
            rewrite(row, at=row["at"].strftime("%Y-%m-%dT%H:%M:%S.%fZ"))

    def truncate(self) -> None:
        """Everything from somewhere on; with care, a restore is said to have lost it."""
        del self.loot.events[self.chance.randrange(1, self.covered - 1) :]
        if self.careful and self.chance.random() < 0.5:
            self.claim("history.restored", epoch=2, size=None, root=None)

    def claim(self, kind: str, **data: Any) -> None:
        """An event of no loop and without words, put at the end."""
        row = deepcopy(self.loot.events[-1])
        bare = {"loop": None, "loop_seq": None, "body": None}
        write(row, json.loads(row["envelope"]) | bare | {"id": "claim", "kind": kind, "data": data})
        self.loot.events.append(row)

    def wipe(self) -> None:
        self.loot.events.clear()
        self.loot.bodies.clear()

    def duplicate_key(self) -> None:
        """Read once it says one thing, read again another; never in the program's own form."""
        row = self.victim()
        row["envelope"] = (
            '{"actor":{"type":"person","id":"forged","via":"web"},' + (row["envelope"][1:])
        )

    def change_body(self) -> None:
        body = self.loot.bodies[self.chance.choice(self.told())]
        body["body"] = canonical({"words": f"forged {self.chance.random()}"})

    def swap_bodies(self) -> None:
        one, two = (self.loot.bodies[e] for e in self.chance.sample(self.told(), 2))
        for part in ("salt", "body"):
            one[part], two[part] = two[part], one[part]

    def change_head(self) -> None:
        """Another tree is said to stand over the rows; with care, one of other leaves."""
        self.loot.frontier = self.chance.randbytes(len(self.loot.frontier))
        if self.careful:
            self.loot.bodies[self.told()[0]]["salt"] = self.chance.randbytes(32)

    def told(self) -> list[str]:
        """The covered events that have a body."""
        events = self.loot.events[: self.covered]
        return [row["event_id"] for row in events if row["event_id"] in self.loot.bodies]


COPIED = (
    ("loop_id", "loop"),
    ("kind", "kind"),
    ("on_behalf_of", "on_behalf_of"),
    ("run_id", "run"),
    ("policy_version", "policy"),
    ("rule_version", "rule"),
    ("template_version", "template"),
)

KINDS: tuple[Callable[[Attack], None], ...] = (
    Attack.edit_envelope,
    Attack.edit_column,
    Attack.edit_data,
    Attack.edit_leaf,
    Attack.delete_middle,
    Attack.delete_last,
    Attack.insert_one,
    Attack.swap,
    Attack.backdate,
    Attack.truncate,
    Attack.wipe,
    Attack.duplicate_key,
    Attack.change_body,
    Attack.swap_bodies,
    Attack.change_head,
)
SHOWS_ITSELF = Attack.duplicate_key
"""No care helps it: an envelope with two keys of one name is never canonical."""


def attack(loot: Loot, kind: Callable[[Attack], None], covered: int, care: bool, seed: str) -> Loot:
    """The history as this kind of tampering leaves it."""
    forged = deepcopy(loot)
    kind(Attack(forged, random.Random(seed), covered, care))
    if not care:
        return forged
    if kind is SHOWS_ITSELF:
        follow_the_text(forged)
    else:
        careful(forged)
    return forged


def follow_the_text(loot: Loot) -> None:
    """All hashes and the head from the envelopes as they stand."""
    for row in loot.events:
        seal_text(row, row["envelope"])
    loot.frontier = tree.pack(tree.extend([], 0, (row["leaf"] for row in loot.events)))
