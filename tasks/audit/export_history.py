"""What does an auditor take home? A bundle of exact events, sealed before it closes.

The format is `loopwright-bundle/1` (docs/audit.md; `tools/verify_history.py` reads it). Members are
streamed, so that memory does not grow with the history. The order is what makes it a proof: events,
words and documents are written first, their hashes then stand in a `history.exported` event, a
checkpoint covers that event, and only then the proofs are made and the file gets its name.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select

from loopwright.db import Database
from loopwright.errors import ConflictError, EnvironmentFault, InputError
from loopwright.history.append import append
from loopwright.history.checkpoints import CHECKPOINTS
from loopwright.history.envelope import Actor, Event, Scalar, seal
from loopwright.history.note import Checkpoint, split_origin
from loopwright.ids import uuid7
from models.kinds import EventKind
from tasks.audit.bundle_contents import Written, write_contents
from tasks.audit.bundle_file import Bundle, new_file
from tasks.audit.bundle_part import EVENTS, Asked, Part, erasures, find_part
from tasks.audit.bundle_proofs import write_proofs
from tasks.audit.seal_history import KEY_FIX, signing_key
from tasks.audit.seal_history import seal as seal_history
from tasks.workspace import Workspace

FORMAT = "loopwright-bundle/1"
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Exported:
    """A finished bundle: where it is, what it holds, the event that says so, and its checkpoint."""

    path: Path
    kind: str
    first: int
    count: int
    loops: int
    bodies: int
    erased: int
    documents: int
    event: str
    seq: int
    checkpoint: int
    size: int


def export(
    ws: Workspace,
    out: Path,
    asked: Asked,
    by: Actor,
    now: datetime,
    seal_up_to: Callable[[int], None],
) -> Exported:
    """Write the bundle `out`. `seal_up_to(seq)` returns when a checkpoint covers that position.

    Raises InputError for a file that is there already or a part without events, FindingError
    when the history does not hold what it must, ConflictError when bodies were erased meanwhile.
    """
    refuse_endless_wait(ws)
    with new_file(out) as file, Bundle(file) as bundle:
        with snapshot(ws.db) as tx:
            part = find_part(tx, asked)
            require_checkpoint(tx, asked.since)
            written = write_contents(tx, bundle, part)
        sealed, seq = record_export(ws, bundle, part, asked, written, by, now)
        seal_up_to(seq)
        with snapshot(ws.db) as tx:
            last = write_proofs(tx, bundle, part, written, (sealed.event.id, seq), asked.since)
        manifest = manifest_of(ws, asked, part, written, bundle, (sealed.event.id, seq), last)
        bundle.write("manifest.json", [pretty(manifest)])
    return Exported(
        out,
        part.kind,
        part.first,
        part.count,
        written.loops,
        written.bodies,
        written.chosen - written.bodies,
        sum(name.startswith("config/") for name in bundle.hashes),
        sealed.event.id,
        seq,
        last.size,
        out.stat().st_size,
    )


def require_checkpoint(tx: Connection, size: int | None) -> None:
    """Raises InputError where none of this size is stored."""
    if size is None:
        return
    if not tx.execute(select(CHECKPOINTS.c.size).where(CHECKPOINTS.c.size == size)).first():
        raise InputError(
            f"no checkpoint of the size {size:,} is stored here",
            "give the second line of the checkpoint that the auditor holds; if it is gone here,"
            " `loopwright audit verify --checkpoint FILE`",
        )


def refuse_endless_wait(ws: Workspace) -> None:
    """Raises EnvironmentFault where nobody ever signed and this process cannot."""
    if signing_key(ws.settings) is not None:
        return
    with ws.db.read() as tx:
        if not tx.execute(select(CHECKPOINTS.c.size).limit(1)).first():
            raise EnvironmentFault("an export is sealed by a checkpoint: nobody signs yet", KEY_FIX)


def seal_past(
    ws: Workspace,
    seq: int,
    clock: Callable[[], datetime],
    wait: float,
    say_waiting: Callable[[], None] = lambda: None,
) -> None:
    """Return when a checkpoint covers the position: signed here where the key is, or by the
    signer's own process, for which this waits so many seconds, having said so."""
    for attempt in range(1 + int(wait / POLL_SECONDS)):
        if attempt == 1:
            say_waiting()
        time.sleep(POLL_SECONDS if attempt else 0)
        seal_history(ws, clock())
        with ws.db.read() as tx:
            if tx.execute(select(CHECKPOINTS.c.size).where(CHECKPOINTS.c.size > seq)).first():
                return


@contextmanager
def snapshot(db: Database) -> Iterator[Connection]:
    """One unchanging state for many statements."""
    with db.read() as tx:
        yield tx if db.is_sqlite else tx.execution_options(isolation_level="REPEATABLE READ")


def plan(ws: Workspace, asked: Asked) -> dict[str, Any]:
    """What an export would hold, without making it. Raises InputError as it would."""
    with snapshot(ws.db) as tx:
        part = find_part(tx, asked)
        bodies = select(func.count()).select_from(EVENTS).where(part.chosen)
        return {
            "kind": part.kind,
            "loop": part.loop,
            "first": part.first,
            "count": part.count,
            "chosen": tx.execute(bodies).scalar_one(),
        }


def record_export(
    ws: Workspace,
    bundle: Bundle,
    part: Part,
    asked: Asked,
    written: Written,
    by: Actor,
    now: datetime,
) -> tuple[Any, int]:
    """Append the exported event; it and its position."""
    data = exported_data(bundle.hashes, part, written) | {"asked": str(asked)}
    sealed = seal(Event(uuid7(), EventKind.HISTORY_EXPORTED, now, by, data, run=ws.run))
    with ws.db.begin() as tx:
        size = append(tx, [sealed])
        refuse_late_erasures(tx, part)
    bundle.write("exported.json", [sealed.envelope.encode()])
    return sealed, size - 1


def exported_data(hashes: Mapping[str, str], part: Part, written: Written) -> dict[str, Scalar]:
    documents = [f"{h}  {name}\n" for name, h in hashes.items() if name.startswith("config/")]
    covered = ("events.ndjson", "bodies.ndjson", "erasures.ndjson", "publications.ndjson")
    return {
        "kind": part.kind,
        "first": None if part.loop else part.first,
        "count": part.count,
        "loop": part.loop,
        "bodies": written.chosen,
        **{f"sha256:{name}": hashes[name] for name in covered},
        "sha256:config": sha256("".join(sorted(documents)).encode()).hexdigest(),
    }


def refuse_late_erasures(tx: Connection, part: Part) -> None:
    """Words that were erased while the bundle was written must not leave with it."""
    if any(rows for rows in erasures(tx, part, EVENTS.c.seq >= part.size)):
        raise ConflictError("bodies in the bundle were erased meanwhile", "export again")


def manifest_of(
    ws: Workspace,
    asked: Asked,
    part: Part,
    written: Written,
    bundle: Bundle,
    exported: tuple[str, int],
    last: Checkpoint,
) -> dict[str, Any]:
    origin, epoch = split_origin(last.origin)
    return {
        "format": FORMAT,
        "kind": part.kind,
        "query": {"asked": str(asked), "size": part.size},
        "first": None if part.loop else part.first,
        "count": part.count,
        "loop": part.loop,
        "origin": origin,
        "epoch": epoch,
        "counts": dict(sorted(written.kinds.items())),
        "control": {
            "events": part.count,
            "loops": written.loops,
            "bodies": written.bodies,
            "erased": written.chosen - written.bodies,
        },
        "bodies": {"chosen": part.bodies if written.listed is None else written.listed},
        "software": software(),
        "people": people(ws),
        "exported": {"event": exported[0], "seq": exported[1]},
        "members": bundle.hashes,
    }


def software() -> dict[str, str]:
    from importlib.metadata import version
    from platform import python_version

    return {"loopwright": version("loopwright"), "python": python_version()}


def people(ws: Workspace) -> list[dict[str, Any]]:
    """Who works here by now; earlier states stand in each publication's organisation."""
    return [
        {"id": person.id, "unit": person.unit, "roles": list(person.roles)}
        for person in ws.published.documents.organisation.people
    ]


def pretty(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n"
