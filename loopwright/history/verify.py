"""Does the stored history still hold? Recompute every leaf and the root from the rows.

What this proves: no row was changed, dropped, added or moved by somebody who did not also rebuild
hashes and head. What it does not: that nobody rebuilt them; only a checkpoint kept outside does,
for all that stands before it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, func, select

from loopwright.history import tree
from loopwright.history.append import head
from loopwright.history.envelope import canonical, timestamp
from loopwright.history.keys import Signer
from loopwright.history.note import Checkpoint
from loopwright.history.signed import Landmarks, Verdict, judge, stored_rows, worst, wrong_stored
from models.base import table
from models.history import EventBody, HistoryEvent
from models.kinds import EventKind

EVENTS = table(HistoryEvent)
BODIES = table(EventBody)

PAGE = 5_000


@dataclass(frozen=True)
class Report:
    """`seq` is the first bad position and `problem` what is wrong there; both None when clean."""

    size: int
    root: str
    bodies: int
    seq: int | None = None
    problem: str | None = None
    checkpoints: int = 0
    outside: tuple[Verdict, ...] = ()
    erased: int = 0
    """Bodies that are gone, each with an event that says who erased it and by what authority."""

    @property
    def ok(self) -> bool:
        return self.problem is None


@dataclass
class Erasures:
    """Bodies that are gone, by event id, and the events that say they were erased."""

    missing: dict[str, int] = field(default_factory=dict)
    said: dict[str, int] = field(default_factory=dict)

    def pass_by(self, row: Mapping[str, Any], body: tuple[bytes, str] | None) -> None:
        if body is None and row["body_commit"] is not None:
            self.missing[row["event_id"]] = row["seq"]
        if row["kind"] == EventKind.BODY_ERASED:
            self.said.setdefault(str(json.loads(row["data"]).get("event")), row["seq"])

    def wrong(self) -> tuple[int, str] | None:
        """The first body that is gone without a word, or is said to be gone and is not."""
        unsaid = [seq for event, seq in self.missing.items() if seq > self.said.get(event, -1)]
        if unsaid:
            return min(unsaid), "the body is missing"
        untrue = [seq for event, seq in self.said.items() if event not in self.missing]
        return (min(untrue), "it says that a body was erased which is there") if untrue else None


def verify(
    tx: Connection, signer: Signer | None = None, outside: Sequence[Checkpoint] = ()
) -> Report:
    """Check every event in order against its envelope, the tree, the head and all checkpoints.

    `signer` is who must have signed the stored checkpoints. `outside` were kept elsewhere, their
    signatures already verified; the report has a verdict on each.
    """
    frontier: list[bytes] = []
    size = bodies = 0
    sequences: dict[str, int] = {}
    erasures = Erasures()
    signed = stored_rows(tx)
    marks = Landmarks(frozenset(c.size for c in (*signed, *outside)))
    for rows in pages(tx):
        stored = bodies_of(tx, [r["event_id"] for r in rows])
        for row in rows:
            problem = wrong_row(row, size, stored.get(row["event_id"]), sequences)
            if problem:
                return Report(size, tree.root(frontier).hex(), bodies, size, problem)
            frontier = tree.extend(frontier, size, [row["leaf"]])
            marks.pass_by(row, frontier)
            erasures.pass_by(row, stored.get(row["event_id"]))
            size += 1
        bodies += len(stored)
    verdicts = tuple(judge(outside, marks))
    where, what = (
        erasures.wrong()
        or wrong_end(tx, size, frontier, bodies)
        or wrong_stored(signed, marks, signer)
        or wrong_outside(verdicts)
        or (None, None)
    )
    root = tree.root(frontier).hex()
    return Report(size, root, bodies, where, what, len(signed), verdicts, len(erasures.missing))


def wrong_outside(verdicts: Sequence[Verdict]) -> tuple[int | None, str] | None:
    """The first checkpoint held outside that the history does not bear out."""
    bad = worst(verdicts)
    return (bad.seq, f"{bad.found}: {bad.origin} {bad.size} is held outside") if bad else None


def pages(tx: Connection) -> Iterator[list[Mapping[str, Any]]]:
    table = EVENTS
    last = None
    while True:
        query = select(table).order_by(table.c.seq).limit(PAGE)
        if last is not None:
            query = query.where(table.c.seq > last)
        rows = list(tx.execute(query).mappings())
        if not rows:
            return
        yield rows  # type: ignore[misc]
        last = rows[-1]["seq"]


def bodies_of(tx: Connection, ids: list[str]) -> dict[str, tuple[bytes, str]]:
    query = select(BODIES).where(BODIES.c.event_id.in_(ids))
    return {r["event_id"]: (r["salt"], r["body"]) for r in tx.execute(query).mappings()}


def wrong_row(
    row: Mapping[str, Any],
    expected_seq: int,
    body: tuple[bytes, str] | None,
    sequences: dict[str, int],
) -> str | None:
    """What is wrong with one row, or None."""
    if row["seq"] != expected_seq:
        return f"gap: expected seq {expected_seq}, found {row['seq']}"
    if sha256(b"\x00" + row["envelope"].encode()).digest() != row["leaf"]:
        return "the envelope does not hash to the leaf"
    try:
        envelope = json.loads(row["envelope"], object_pairs_hook=no_duplicates)
    except ValueError as error:
        return f"the envelope is not JSON: {error}"
    if canonical(envelope) != row["envelope"]:
        return "the envelope is not canonical"
    try:
        columns = columns_of(envelope)
    except (KeyError, TypeError):
        return "the envelope lacks members"
    if different := [name for name, value in columns.items() if row[name] != value]:
        return f"columns differ from the envelope: {', '.join(different)}"
    if timestamp(row["at"]) != envelope.get("at"):
        return "column at differs from the envelope"
    return wrong_sequence(envelope, sequences) or wrong_body(envelope, body)


def columns_of(envelope: Mapping[str, Any]) -> dict[str, Any]:
    """The columns as the envelope has them, `at` aside."""
    return {
        "event_id": envelope["id"],
        "loop_id": envelope["loop"],
        "loop_seq": envelope["loop_seq"],
        "kind": envelope["kind"],
        "actor_type": envelope["actor"]["type"],
        "actor_id": envelope["actor"]["id"],
        "actor_via": envelope["actor"]["via"],
        "on_behalf_of": envelope["on_behalf_of"],
        "run_id": envelope["run"],
        "policy_version": envelope["policy"],
        "rule_version": envelope["rule"],
        "template_version": envelope["template"],
        "hash_alg": envelope["hash"],
        "body_commit": envelope["body"],
        "data": canonical(envelope["data"]),
    }


def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) != len(pairs):
        raise ValueError("duplicate keys")
    return keys


def wrong_sequence(envelope: Mapping[str, Any], sequences: dict[str, int]) -> str | None:
    loop = envelope["loop"]
    if loop is None:
        return None
    expected = sequences.get(loop, -1) + 1
    if envelope["loop_seq"] != expected:
        return f"loop {loop}: expected event {expected}, found {envelope['loop_seq']}"
    sequences[loop] = expected
    return None


def wrong_body(envelope: Mapping[str, Any], body: tuple[bytes, str] | None) -> str | None:
    """A body that is missing may have been erased: `Erasures` knows at the end."""
    if body is None:
        return None
    if envelope["body"] is None:
        return "a body where the envelope has none"
    salt, text = body
    if sha256(salt + text.encode()).hexdigest() != envelope["body"]:
        return "the body does not match its commitment"
    return None


def wrong_end(
    tx: Connection, size: int, frontier: list[bytes], bodies: int
) -> tuple[int, str] | None:
    try:
        head_size, head_frontier = head(tx)
    except ValueError as error:
        return size, f"the head is broken: {error}"
    if head_size != size:
        return size, f"the head says {head_size} events, the table holds {size}"
    if head_frontier != frontier:
        return size, "the head's frontier differs from the recomputed one"
    stored = tx.execute(select(func.count()).select_from(BODIES)).scalar_one()
    return (size, f"{stored - bodies} bodies belong to no event") if stored != bodies else None
