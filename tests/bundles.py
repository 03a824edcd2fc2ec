"""History bundles for tests, by the format, from synthetic events and without a database."""

import json
import random
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

from loopwright.history import note, tree
from loopwright.history.envelope import SYSTEM, Actor, Event, canonical, seal
from loopwright.history.note import Checkpoint, SigningKey
from loopwright.history.proof import Subtrees, consistency_proof, inclusion_proof

ORIGIN = "bank.example/loop"
KEY = SigningKey(ORIGIN, bytes(range(32)))
WITNESS = SigningKey("auditor.example", bytes(range(1, 33)))
START = datetime(2026, 3, 2, 1, tzinfo=UTC)
WAVE = 500
KINDS = ["loop.opened", "ticket.assigned", "message.sent", "ticket.accepted", "clock.reminded"]
KINDS += ["ticket.resolved", "loop.resolved", "verification.asked", "verification.answered"]
KINDS += ["loop.closed"]
CONFIG = {
    "config/1/organisation.yaml": "organisation: bank\ntitle: {zh: 示例银行, en: Example Bank}\n",
    "config/1/policy.yaml": "policy: bank\nversion: 3\n",
    "config/2/calendars/bank-2026.yaml": "calendar: bank\nyear: 2026\n",
}

Members = dict[str, bytes]


def story(loops: int, per_loop: int = 10, seed: int = 1) -> Iterator[Event]:
    """Events of many loops, interleaved as in life; the first of each loop has a body."""
    chance, number = random.Random(seed), 0
    for wave in range(0, loops, WAVE):
        for step in range(per_loop):
            for loop in range(wave, min(wave + WAVE, loops)):
                yield loop_event(chance, number, loop, step)
                number += 1


def loop_event(chance: random.Random, number: int, loop: int, step: int) -> Event:
    kind = KINDS[step % len(KINDS)]
    words = {"text": f"第 {loop} 位客户：手机银行登录失败，请回电。", "share": 0.25}
    return Event(
        id=f"{chance.getrandbits(128):032x}",
        kind=kind,
        at=START + timedelta(seconds=7 * number, microseconds=chance.randrange(10**6)),
        actor=Actor("person", f"p-{loop % 40}", "web") if step % 3 == 0 else SYSTEM,
        data={"state": kind, "topic": "登录", "due": None, "count": step, "late": step > 5},
        loop=f"L260302-{loop:08}",
        loop_seq=step,
        run=f"run-{number // 1000}",
        policy="1",
        rule="direct" if step == 0 else None,
        body=words if step == 0 else None,
    )


def control_event(number: int, kind: str, data: Mapping[str, Any]) -> Event:
    at = START + timedelta(days=90, seconds=number)
    return Event(f"{kind}-{number}", kind, at, Actor("person", "p-audit", "cli"), dict(data))


@dataclass
class Log:
    """A history in memory, with its checkpoints and what was erased."""

    key: SigningKey = KEY
    epoch: int = 1
    witnesses: Sequence[SigningKey] = ()
    lines: list[bytes] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)
    bodies: dict[int, bytes] = field(default_factory=dict)
    erased: dict[int, int] = field(default_factory=dict)
    frontier: list[bytes] = field(default_factory=list)
    notes: list[tuple[Checkpoint, str]] = field(default_factory=list)
    unpublished: set[int] = field(default_factory=set)
    """Publications that a faulty exporter brings the documents of, though no event made them."""

    def append(self, event: Event) -> int:
        sealed = seal(event)
        if sealed.body is not None and sealed.salt is not None:
            body = {"event": event.id, "salt": sealed.salt.hex(), "body": sealed.body}
            self.bodies[len(self.lines)] = canonical(body).encode()
        return self.append_line(sealed.envelope.encode())

    def append_line(self, line: bytes) -> int:
        """Any bytes as a leaf: what a signer with a fault could have signed."""
        leaf = tree.leaf_hash(line)
        self.frontier = tree.extend(self.frontier, len(self.lines), [leaf])
        self.lines.append(line)
        self.leaves.append(leaf)
        return len(self.lines) - 1

    def erase(self, seq: int) -> int:
        """An event that the body at `seq` was erased, and the erasure itself."""
        target = json.loads(self.lines[seq])["id"]
        data = {"event": target, "why": "客户请求 request", "authority": "合规部 compliance"}
        self.bodies.pop(seq, None)
        self.erased[seq] = self.append(control_event(len(self.lines), "body.erased", data))
        return self.erased[seq]

    def seal(self) -> None:
        size = len(self.lines)
        origin = note.origin_line(self.key.name, self.epoch)
        checkpoint = Checkpoint(origin, size, tree.root(self.frontier))
        self.notes.append((checkpoint, note.sign(checkpoint, self.key, *self.witnesses)))

    def subtrees(self) -> Subtrees:
        return Subtrees(lambda first, last: self.leaves[first:last], len(self.leaves))


def log_of(events: Iterable[Event], seal_every: int = 100, **settings: Any) -> Log:
    """A log with a checkpoint after every so many events."""
    log = Log(**settings)
    for event in events:
        log.append(event)
        if len(log.lines) % seal_every == 0:
            log.seal()
    return log


def export_range(
    log: Log,
    first: int,
    count: int,
    chosen: Any = "all",
    documents: Mapping[str, str] = CONFIG,
) -> Members:
    """The members of a bundle of the events [first, first + count); the log goes on."""
    seqs = range(first, first + count)
    members = events_and_bodies(log, seqs, chosen, documents)
    members |= erasures_outside(log, seqs, chosen)
    return finished(log, members, seqs, chosen, first=first, loop=None)


def export_loop(log: Log, loop: str, chosen: Any = "all") -> Members:
    """The members of a bundle of one loop's events; the log goes on."""
    seqs = [seq for seq, line in enumerate(log.lines) if loop_of(line) == loop]
    members = events_and_bodies(log, seqs, chosen)
    members |= erasures_outside(log, seqs, chosen)
    return finished(log, members, seqs, chosen, first=None, loop=loop)


def publish(log: Log, publication: int, documents: Mapping[str, str] = CONFIG) -> int:
    """The event that the documents of a publication were published."""
    folder = f"config/{publication}/"
    files = {n.removeprefix(folder): c for n, c in documents.items() if n.startswith(folder)}
    lines = [f"{sha256(c.encode()).hexdigest()}  {n}\n" for n, c in sorted(files.items())]
    digest = sha256("".join(lines).encode()).hexdigest()
    data = {"publication": publication, "sha256": digest, "files": len(files)}
    return log.append(control_event(len(log.lines), "documents.published", data))


def loop_of(line: bytes) -> Any:
    return json.loads(line)["loop"]


def events_and_bodies(
    log: Log, seqs: Sequence[int], chosen: Any, documents: Mapping[str, str] = CONFIG
) -> Members:
    bodies = [log.bodies[seq] for seq in chosen_of(log, seqs, chosen) if seq in log.bodies]
    return {
        "events.ndjson": ended(log.lines[seq] for seq in seqs),
        "bodies.ndjson": ended(bodies),
    } | {name: text.encode() for name, text in documents.items()}


def chosen_of(log: Log, seqs: Sequence[int], chosen: Any) -> list[int]:
    """The positions of the chosen bodies, there or erased."""
    with_body = [seq for seq in seqs if seq in log.bodies or seq in log.erased]
    if chosen == "all":
        return with_body
    return [s for s in with_body if chosen != "none" and json.loads(log.lines[s])["id"] in chosen]


def erasures_outside(log: Log, seqs: Sequence[int], chosen: Any) -> Members:
    found = [log.erased[seq] for seq in chosen_of(log, seqs, chosen) if seq in log.erased]
    return {"erasures.ndjson": ended(log.lines[seq] for seq in found if seq not in seqs)}


def publications_outside(log: Log, seqs: Sequence[int], documents: Mapping[str, str]) -> Members:
    """Events outside the range that published the documents; made now where there are none."""
    seen = [n for n, line in enumerate(log.lines) if b'"kind":"documents.published"' in line]
    made = {json.loads(log.lines[seq])["data"]["publication"]: seq for seq in seen}
    for number in sorted({int(name.split("/")[1]) for name in documents} - log.unpublished):
        if number not in made:
            made[number] = publish(log, number, documents)
    outside = sorted(seq for seq in made.values() if seq not in seqs)
    return {"publications.ndjson": ended(log.lines[seq] for seq in outside)}


def finished(log: Log, members: Members, seqs: Sequence[int], chosen: Any, **what: Any) -> Members:
    """Append the exported event, seal it, and add what leads from the events to the checkpoint."""
    documents = {n: c.decode() for n, c in members.items() if n.startswith("config/")}
    members |= publications_outside(log, seqs, documents)
    kind = "range" if what["loop"] is None else "loop"
    number = len(chosen_of(log, seqs, chosen))
    data = {"kind": kind, "count": len(seqs), "bodies": number, **what, **hashes_of(members)}
    exported = log.append(control_event(len(log.lines), "history.exported", data))
    log.seal()
    members |= {"exported.json": log.lines[exported]}
    members |= outlook(log, members, seqs, exported, kind)
    return members | {"manifest.json": manifest(log, members, exported, chosen, kind, what)}


def hashes_of(members: Members) -> dict[str, str]:
    config = {n: sha256(c).hexdigest() for n, c in members.items() if n.startswith("config/")}
    lines = "".join(sorted(f"{digest}  {name}\n" for name, digest in config.items()))
    covered = ("events.ndjson", "bodies.ndjson", "erasures.ndjson", "publications.ndjson")
    hashes = {f"sha256:{name}": sha256(members[name]).hexdigest() for name in covered}
    return hashes | {"sha256:config": sha256(lines.encode()).hexdigest()}


def outlook(log: Log, members: Members, seqs: Sequence[int], exported: int, kind: str) -> Members:
    """Checkpoints and proofs."""
    first, end = (seqs[0], seqs[-1] + 1) if kind == "range" else (exported, exported)
    notes = notes_around(log, first, end)
    trees, last = log.subtrees(), notes[-1][0].size
    outside = members["erasures.ndjson"] + members["publications.ndjson"]
    singly = [log.lines.index(line) for line in outside.splitlines()]
    proven = [*(seqs if kind == "loop" else ()), *singly, exported]
    proofs: dict[str, Any] = {
        "checkpoints": between(trees, [c.size for c, _ in notes], first, end),
        "events": {event_id(log, seq): event_proof(trees, seq, last) for seq in proven},
    }
    if kind == "range":
        path = hexes(consistency_proof(trees, end, last))
        proofs["first"], proofs["frontier"] = first, hexes(trees.frontier(first))
        proofs["range"] = {"size": end, "checkpoint": last, "consistency": path}
    return {
        "checkpoints.txt": "\x1e\n".join(text for _, text in notes).encode(),
        "proofs.json": proof_lines(proofs),
    }


def proof_lines(proofs: Any) -> bytes:
    """Each event's proof on a line of its own; what has no such events is plain JSON."""
    if not isinstance(proofs, dict) or not isinstance(proofs.get("events"), dict):
        return json.dumps(proofs).encode()
    singly = proofs["events"].items()
    lines = [f"{json.dumps(event)}:{json.dumps(entry)}" for event, entry in singly]
    rest = json.dumps({name: value for name, value in proofs.items() if name != "events"})
    return "\n".join(['{"events":{', ",\n".join(lines), "},", rest[1:], ""]).encode()


def notes_around(log: Log, first: int, end: int) -> list[tuple[Checkpoint, str]]:
    """One before the range, all inside, and the last, which covers the exported event."""
    before = [entry for entry in log.notes if entry[0].size <= first][-1:]
    inside = [entry for entry in log.notes if first < entry[0].size <= end]
    return list(dict.fromkeys([*before, *inside, log.notes[-1]]))


def between(trees: Subtrees, sizes: list[int], first: int, end: int) -> list[dict[str, Any]]:
    """Proofs from one checkpoint to the next where the events themselves do not show it."""
    return [
        {"from": old, "to": new, "consistency": hexes(consistency_proof(trees, old, new))}
        for old, new in pairwise(sizes)
        if not (first <= old and new <= end)
    ]


def event_id(log: Log, seq: int) -> str:
    return str(json.loads(log.lines[seq])["id"])


def event_proof(trees: Subtrees, seq: int, size: int) -> dict[str, Any]:
    return {"seq": seq, "size": size, "path": hexes(inclusion_proof(trees, seq, size))}


def hexes(hashes: Iterable[bytes]) -> list[str]:
    return [entry.hex() for entry in hashes]


def manifest(
    log: Log, members: Members, exported: int, chosen: Any, kind: str, what: Mapping[str, Any]
) -> bytes:
    """The manifest, with totals counted from the members."""
    kinds, loops = Counter[str](), set()
    for line in members["events.ndjson"].splitlines():
        event = json.loads(line)
        kinds[event["kind"]] += 1
        loops.add(event["loop"])
    data = json.loads(log.lines[exported])["data"]
    bodies = members["bodies.ndjson"].count(b"\n")
    control = {
        "events": kinds.total(),
        "loops": len(loops - {None}),
        "bodies": bodies,
        "erased": data["bodies"] - bodies,
    }
    value = {
        "format": "loopwright-bundle/1",
        "kind": kind,
        "query": {"asked": "audit export"},
        "first": what["first"],
        "count": kinds.total(),
        "loop": what["loop"],
        "origin": log.key.name,
        "epoch": log.epoch,
        "counts": dict(kinds),
        "control": control,
        "bodies": {"chosen": chosen},
        "software": {"loopwright": "0.1.0"},
        "people": [{"id": "p-audit", "unit": "AUD", "roles": ["auditor"]}],
        "exported": {"event": event_id(log, exported), "seq": exported},
        "members": {name: sha256(content).hexdigest() for name, content in members.items()},
    }
    return json.dumps(value, ensure_ascii=False, indent=1).encode()


def ended(lines: Iterable[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def edited(members: Members, name: str, change: Any) -> Members:
    """The members with one of them changed, and the manifest's hash of it renewed.

    `change` gets the parsed JSON of a .json member to change in place, or else the bytes and
    returns new ones.
    """
    if name.endswith(".json") and name != "exported.json":
        value = json.loads(members[name])
        change(value)
        made = proof_lines if name == "proofs.json" else json_text
        content = made(value)
    else:
        content = change(members[name])
    result = members | {name: content}
    if name != "manifest.json":
        value = json.loads(members["manifest.json"])
        value["members"][name] = sha256(content).hexdigest()
        result["manifest.json"] = json_text(value)
    return result


def json_text(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def pack(path: Path, members: Mapping[str, bytes]) -> Path:
    """The bundle as a file, members in the order given."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in members.items():
            bundle.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return path
