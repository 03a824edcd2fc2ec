"""What became of an older system's cases: their status, for that system to read back.

They leave the house, so the history is told before they do: what, how much, to whom and who sent
them. Where they then do not arrive, it has promised too much, never too little.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, func, select

from loopwright.errors import EnvironmentFault
from loopwright.history.append import append
from loopwright.history.envelope import Actor, Event, Scalar, seal
from loopwright.ids import uuid7
from models.base import table
from models.clock import Clock
from models.feedback import RawItem
from models.history import HistoryEvent
from models.issue import Issue
from models.kinds import ClockKind, EventKind
from models.loop import Loop, LoopIssue
from notifications.signed_post import key_of, post
from policy.source_spec import SourceSpec
from tasks.workspace import Workspace

RAW = table(RawItem)
LOOPS = table(Loop)
CLOCKS = table(Clock)
ISSUES = table(Issue)
EVENTS = table(HistoryEvent)
LOOP_ISSUES = table(LoopIssue)

PAGE = 500
WAITING = "waiting"
OWN = "="
"""Where the key of an item with a number of its own begins; what was erased has lost its number."""
RISKY = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet take a cell for a formula."""


@dataclass(frozen=True)
class CaseStatus:
    """One case by its number there. `loop` is None while a person still has to read it; due times
    are of the clocks that run, ISO in UTC; `changed_at`: the loop's last event."""

    number: str
    loop: str | None
    state: str
    outcome: str | None
    unit: str | None
    merged_into: str | None
    legal_due: str | None
    customer_due: str | None
    owner_due: str | None
    changed_at: str | None


def statuses(ws: Workspace, spec: SourceSpec, since: datetime | None = None) -> list[CaseStatus]:
    """Cases of a source whose loops changed since then, by number; all of them by default."""
    with ws.db.read() as tx:
        rows = tx.execute(cases_of(spec, since)).all()
        dues = due_times(tx, [row.loop for row in rows if row.loop])
    return [status_of(row, dues) for row in rows]


def cases_of(spec: SourceSpec, since: datetime | None) -> Any:
    """A case's number with its loop's row and last event."""
    last = (EVENTS.c.loop_id == LOOPS.c.id) & (EVENTS.c.loop_seq == LOOPS.c.version)
    query = (
        select(
            RAW.c.key,
            LOOPS.c.id.label("loop"),
            LOOPS.c.state,
            LOOPS.c.outcome,
            LOOPS.c.lead,
            LOOPS.c.merged_into,
            EVENTS.c.at,
        )
        .join(ISSUES, ISSUES.c.feedback_id == RAW.c.id)
        .outerjoin(LOOP_ISSUES, LOOP_ISSUES.c.issue_id == ISSUES.c.id)
        .outerjoin(LOOPS, (LOOPS.c.id == LOOP_ISSUES.c.loop_id) & (LOOPS.c.kind == "small"))
        .outerjoin(EVENTS, last)
        .where(RAW.c.source == spec.name, RAW.c.key.startswith(OWN))
        .where(LOOPS.c.id.is_not(None) | LOOP_ISSUES.c.loop_id.is_(None))
        .order_by(RAW.c.key, LOOPS.c.id)
    )
    return query if since is None else query.where(EVENTS.c.at >= since)


def due_times(tx: Connection, loops: Sequence[str]) -> dict[tuple[str, str], datetime]:
    """Loop and kind of clock -> when the first of those that run is due."""
    found: dict[tuple[str, str], datetime] = {}
    for start in range(0, len(loops), PAGE):
        query = (
            select(CLOCKS.c.loop_id, CLOCKS.c.kind, func.min(CLOCKS.c.due_at))
            .where(CLOCKS.c.loop_id.in_(loops[start : start + PAGE]))
            .where(CLOCKS.c.stopped_at.is_(None))
            .group_by(CLOCKS.c.loop_id, CLOCKS.c.kind)
        )
        found |= {(loop, kind): due for loop, kind, due in tx.execute(query)}
    return found


def status_of(row: Any, dues: dict[tuple[str, str], datetime]) -> CaseStatus:
    legal, customer, owner = (dues.get((row.loop, kind.value)) for kind in ClockKind)
    return CaseStatus(
        row.key[1:],
        row.loop,
        row.state or WAITING,
        row.outcome,
        row.lead,
        row.merged_into,
        *(at.isoformat() if at else None for at in (legal, customer, owner, row.at)),
    )


def as_csv(items: Iterable[CaseStatus]) -> str:
    """A header and one line each, safe to open in a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(CaseStatus)])
    for item in items:
        writer.writerow([guarded(value or "") for value in asdict(item).values()])
    return text.getvalue()


def write_statuses(
    ws: Workspace,
    spec: SourceSpec,
    items: Sequence[CaseStatus],
    out: Path,
    actor: Actor,
    now: datetime,
) -> None:
    """Write cases to a CSV file. Raises EnvironmentFault where it cannot be written."""
    content = as_csv(items).encode("utf-8-sig")
    if not out.parent.is_dir():
        raise EnvironmentFault(f"there is no folder {out.parent}", "make it, or name another")
    record_leaving(ws, spec, len(items), ("file", None), [content], actor, now)
    if not ws.db.dry_run:
        try:
            out.write_bytes(content)
        except OSError as error:
            fix = "name a file that you may write"
            raise EnvironmentFault(f"{out} cannot be written: {error.strerror}", fix) from None


def record_leaving(
    ws: Workspace,
    spec: SourceSpec,
    count: int,
    to: tuple[str, str | None],
    bodies: Sequence[bytes],
    actor: Actor,
    now: datetime,
) -> None:
    """`to`: file, or post and the host. An address may hold a token, a path a name."""
    kind, host = to
    data: dict[str, Scalar] = {
        "source": spec.name,
        "cases": count,
        "to": kind,
        "host": host,
        "sha256": sha256(b"".join(bodies)).hexdigest(),
    }
    with ws.db.begin() as tx:
        append(tx, [seal(Event(uuid7(), EventKind.CASES_EXPORTED, now, actor, data, run=ws.run))])


def post_statuses(
    ws: Workspace, spec: SourceSpec, items: Sequence[CaseStatus], actor: Actor, now: datetime
) -> int:
    """Post cases to the older system in signed messages of up to `PAGE`; returns how many messages.

    Raises EnvironmentFault without an address and a secret, PostFailed when one is not taken; what
    went before it was.
    """
    address, secret = ws.settings.cases.post_to, ws.settings.cases.secret
    if address is None or secret is None:
        raise EnvironmentFault(
            "nothing says where the status of cases is posted",
            "set LOOPWRIGHT_CASES__POST_TO and LOOPWRIGHT_CASES__SECRET (or …_SECRET_FILE)",
        )
    key = key_of(secret.get_secret_value())
    bodies = list(messages(spec, items))
    if bodies:
        to = ("post", urlsplit(address.get_secret_value()).hostname)
        record_leaving(ws, spec, len(items), to, bodies, actor, now)
    if not ws.db.dry_run:
        for body in bodies:
            post(address.get_secret_value(), key, body, now)
    return len(bodies)


def messages(spec: SourceSpec, items: Sequence[CaseStatus]) -> Iterator[bytes]:
    """Their bodies; the time in it is the last change, so that the same cases make the same id."""
    for start in range(0, len(items), PAGE):
        page = items[start : start + PAGE]
        body = {
            "type": "cases.changed",
            "timestamp": max(item.changed_at or "" for item in page),
            "data": {"source": spec.name, "items": [asdict(item) for item in page]},
        }
        yield json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def guarded(cell: str) -> str:
    return f"'{cell}" if cell.startswith(RISKY) else cell
