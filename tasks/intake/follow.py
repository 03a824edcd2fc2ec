"""Files that grow while conversations run: what is new in them, stored raw.

`store_growth` keeps new whole lines as raw items and moves the file's position on, in one
transaction under the lock of the source's state row, so that any number of workers may look at the
same file. What the lines say is for `conversations.py`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select, update

from loopwright.db import bulk_insert, retry_conflicts
from loopwright.ids import uuid7, uuid7s
from models.base import table
from models.conversation import FollowedFile
from models.feedback import Intake, RawItem
from policy.source_spec import SourceSpec
from sources.growing import HEAD_BYTES, Glance, glance, new_lines
from tasks.intake.conversations import end_conversations, judge_lines, lock_source, quiet
from tasks.intake.ingest import Counts, Fuse, refuse_stopped, stop_source
from tasks.workspace import Workspace

FILES = table(FollowedFile)
INTAKES, RAW = table(Intake), table(RawItem)


def follow_source(ws: Workspace, spec: SourceSpec, now: datetime) -> Counts:
    """Everything new from a source's growing files; what ended becomes feedback."""
    refuse_stopped(ws, spec)
    total = Counts()
    for path in grown_files(ws, spec):
        total += follow_file(ws, spec, path, now)
    total += end_conversations(ws, spec, now)
    return total


def follow_file(ws: Workspace, spec: SourceSpec, path: Path, now: datetime) -> Counts:
    """Store and judge what one file has grown by. `read` counts segments."""
    total = Counts()
    while stored := retry_conflicts(partial(store_growth, ws, spec, path, now)):
        total += Counts(read=stored)
        if ws.db.dry_run:
            break  # what was rolled back would be found again for ever
    fuse = Fuse(spec.breaker)
    while (judged := retry_conflicts(partial(judge_lines, ws, spec, fuse, now))) is not None:
        total += judged
        if fuse.blown:
            stop_source(ws, spec, fuse, now)
    return total


# Which files have grown


def grown_files(ws: Workspace, spec: SourceSpec) -> list[Path]:
    """Files of the source's folder with bytes, or stored lines, that were not looked at."""
    with ws.db.read() as tx:
        known = tx.execute(select(FILES).where(FILES.c.source == spec.name)).all()
    behind = any(row.parsed < row.stored for row in known)
    return [p for p in files_of(ws, spec) if behind or has_grown(ws, p, known)]


def files_of(ws: Workspace, spec: SourceSpec) -> list[Path]:
    pattern = (spec.fetch.path if spec.fetch else None) or f"{spec.name}/*"
    found = ws.settings.inbox.glob(pattern.removeprefix("inbox/"))
    return sorted(p for p in found if p.is_file() and not p.name.startswith("."))


def has_grown(ws: Workspace, path: Path, known: Sequence[Any]) -> bool:
    seen = glance(path)
    row = recognised(ws, seen, path.name, known)
    return seen.size > (row.position if row else 0)


def recognised(ws: Workspace, seen: Glance, name: str, known: Sequence[Any]) -> Any | None:
    """The life that a file goes on with: one that began with the same bytes and is no shorter now,
    under the same name if possible. None for a file that is new, was truncated or replaced."""
    same = [
        row
        for row in known
        if row.position <= seen.size and row.head == head_of(ws, seen, row.head_bytes)
    ]
    return next((row for row in same if row.name == name), same[-1] if same else None)


def head_of(ws: Workspace, seen: Glance, length: int) -> str:
    return ws.hasher.digest("head", seen.head[:length].decode("latin-1"))


# Raw, before anybody tries to understand it


def store_growth(ws: Workspace, spec: SourceSpec, path: Path, now: datetime) -> int:
    """Keep new whole lines of a file as they are; how many."""
    with ws.db.begin() as tx:
        lock_source(tx, spec.name, now)
        known = tx.execute(
            select(FILES).where(FILES.c.source == spec.name).order_by(FILES.c.arrived_at)
        ).all()
        seen = glance(path)
        row = recognised(ws, seen, path.name, known)
        position = row.position if row else 0
        written = min(now, datetime.fromtimestamp(seen.written, UTC))
        growth = new_lines(spec, path, position, finished=now - written >= quiet(spec))
        if growth.position == position:
            return 0
        file = row.id if row else begin_life(tx, spec, path.name, now)
        stored = row.stored if row else 0
        keep_lines(tx, ws, spec, file, stored, growth.payloads)
        head_bytes = min(growth.position, HEAD_BYTES)
        tx.execute(
            update(FILES)
            .where(FILES.c.id == file)
            .values(
                name=path.name,
                position=growth.position,
                head=head_of(ws, seen, head_bytes),
                head_bytes=head_bytes,
                stored=stored + len(growth.payloads),
                arrived_at=written,
            )
        )
    return len(growth.payloads)


def begin_life(tx: Connection, spec: SourceSpec, name: str, now: datetime) -> str:
    """An intake of its own. It counts as finished: nothing of it is parsed the ordinary way."""
    file = uuid7()
    counts = dict.fromkeys(("parsed", "read", "stored", "duplicates", "quarantined"), 0)
    intake = {"id": file, "source": spec.name, "name": name} | counts
    bulk_insert(tx, INTAKES, [intake | {"started_at": now, "finished_at": now}])
    row = {"id": file, "source": spec.name, "name": name, "position": 0, "head": ""}
    numbers = {"head_bytes": 0, "stored": 0, "parsed": 0}
    bulk_insert(tx, FILES, [row | numbers | {"arrived_at": now}])
    return file


def keep_lines(
    tx: Connection,
    ws: Workspace,
    spec: SourceSpec,
    file: str,
    stored: int,
    payloads: Sequence[str],
) -> None:
    bulk_insert(
        tx,
        RAW,
        [
            {
                "id": raw,
                "intake_id": file,
                "source": spec.name,
                "key": f"@{file}:{number}",
                "version": 1,
                "number": number,
                "payload": payload,
                "digest": ws.hasher.fingerprint("payload", payload),
            }
            for number, (raw, payload) in enumerate(
                zip(uuid7s(len(payloads)), payloads, strict=True), stored + 1
            )
        ],
    )
