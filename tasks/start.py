"""Which program works on this database, since when? A start and a new version are events."""

import json
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection, func, select

from loopwright.errors import RightMissing
from loopwright.history.append import EVENTS, append
from loopwright.history.envelope import CLI, SYSTEM, Event, seal
from loopwright.ids import uuid7
from loopwright.log import log
from loopwright.migrate import current, program_version
from models.base import table
from models.document import Publication
from models.kinds import EventKind
from tasks.workspace import Workspace

PUBLICATIONS = table(Publication)
COMMANDS = "cli"
"""What the programs are called that come and go with each command."""
SAYS_VERSION = (EventKind.PROGRAM_STARTED, EventKind.DATABASE_MIGRATED)


def record_start(ws: Workspace, program: str, now: datetime) -> None:
    """A resident program (`up`) begins to work."""
    with ws.db.begin() as tx:
        append(tx, [seal(started(tx, ws, program, now))])


def record_version(ws: Workspace, program: str, now: datetime) -> None:
    """The first run of a version that nobody has recorded: by a program that comes and goes."""
    with ws.db.read() as tx:
        if last_version(tx) == program_version():
            return
    try:
        record_start(ws, program, now)
    except RightMissing:
        # A signer of its own has no right to append.
        log.info("program.start_unrecorded", program=program)


def record_before_writing(ws: Workspace, program: str, clock: Callable[[], datetime]) -> None:
    """Let a version say itself ahead of its first write: who only looks leaves nothing behind."""
    ws.db.before_writing = lambda: record_version(ws, program, clock())


def started(tx: Connection, ws: Workspace, program: str, now: datetime) -> Event:
    """Before anything is published it runs by no policy."""
    data = {"program": program, "version": program_version(), "revision": current(tx)}
    kind, by = EventKind.PROGRAM_STARTED, CLI if program == COMMANDS else SYSTEM
    number = tx.execute(select(func.max(PUBLICATIONS.c.number))).scalar()
    return Event(uuid7(), kind, now, by, data, run=ws.run, policy=number and str(number))


def last_version(tx: Connection) -> str | None:
    """What the newest of these events calls the program; one index entry each."""
    newest = [
        tx.execute(
            select(EVENTS.c.seq, EVENTS.c.data)
            .where(EVENTS.c.kind == kind.value)
            .order_by(EVENTS.c.seq.desc())
            .limit(1)
        ).first()
        for kind in SAYS_VERSION
    ]
    found = [row for row in newest if row]
    return str(json.loads(max(found).data)["version"]) if found else None
