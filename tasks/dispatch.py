"""The resident dispatcher: does at once what the schedules would do within minutes.

Each second it asks cheap questions: did a folder of the inbox change, is feedback waiting, is a
clock, a question to a customer or a message due? Then it calls the same sweeps under the same
leases, so any number of dispatchers and scheduled runs may work side by side. It is never the
guarantee, the schedules are.

Files that grow while conversations run, and red alerts to be sent, have a thread of their own, so
that neither a long import, triage nor a full outbox holds up a red alert.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any

from sqlalchemy import Select, func, select

from loopwright.log import log
from models.base import table
from models.document import Publication
from models.feedback import Batch
from models.kinds import MessageState
from models.message import Message
from tasks.clocks.watch_clocks import due as clock_is_due
from tasks.intake.conversations import conversation_is_over
from tasks.intake.follow import files_of
from tasks.intake.pull import new_files, reads_files, sources_to_pull
from tasks.messages.deliver import deliver_lease
from tasks.routing.red_channel import TEMPLATE
from tasks.routing.triage import MAX_ATTEMPTS
from tasks.sweeps import SWEEPS, Clock
from tasks.verification.verify import due as verification_is_due
from tasks.workspace import Workspace

BATCHES = table(Batch)
MESSAGES = table(Message)
PUBLICATIONS = table(Publication)

LOOK_SECONDS = 1.0
MOST_LOOKS = 5
"""A file that still grows after so many looks is read as it is; its rest is read when it rests."""
LONGEST_PAUSE = 60.0


def feedback_waits(now: datetime) -> Select[Any]:
    return select(BATCHES.c.id).where(
        BATCHES.c.done_at.is_(None),
        BATCHES.c.lease_until <= now,
        BATCHES.c.attempts < MAX_ATTEMPTS,
    )


def message_is_due(now: datetime) -> Select[Any]:
    return select(MESSAGES.c.id).where(
        MESSAGES.c.state == MessageState.QUEUED.value, MESSAGES.c.due_at <= now
    )


DUE: Mapping[str, Callable[[datetime], Select[Any]]] = {
    "triage_feedback": feedback_waits,
    "watch_clocks": clock_is_due,
    "verify_resolutions": verification_is_due,
    "deliver_messages": message_is_due,
}
"""Flow -> a query that finds a row when its sweep has something to do; in the order of work."""

Signature = dict[Path, tuple[int, int]]


@dataclass
class Inbox:
    """Files dropped below `folder`, noticed when they have come to rest.

    Only folders' times are looked at until one changes. A file that is replaced in place changes
    none: the scheduled sweep finds it. `failed`: sources that could not be read, perhaps because
    another process reads them, and are tried again.
    """

    folder: Path
    times: dict[Path, int] = field(default_factory=dict)
    moving: dict[str, tuple[int, Signature]] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)

    def changed(self) -> bool:
        """Whether files came, went or were renamed since the last look."""
        before = self.times
        if before and {folder: modified(folder) for folder in before} == before:
            return False
        folders = [self.folder, *(p for p in self.folder.rglob("*") if p.is_dir())]
        self.times = {folder: modified(folder) for folder in folders}
        return True

    def rested(self, ws: Workspace) -> list[str]:
        """Sources with new files that stayed the same for one look."""
        changed = self.changed()
        if not changed and not self.moving:
            return []
        pulled = sources_to_pull(ws)
        names = [spec.name for spec in pulled if reads_files(spec) and not spec.follow]
        if changed:
            self.moving = {name: (0, {}) for name in names} | self.moving
        rested = []
        for name, (looks, before) in list(self.moving.items()):
            files = signature(ws, name) if name in names else {}
            if files and files != before and looks < MOST_LOOKS:
                self.moving[name] = looks + 1, files
                continue
            del self.moving[name]
            if files:
                rested.append(name)
        return rested


def modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def signature(ws: Workspace, source: str) -> Signature:
    """Size and time of a source's unread files."""
    return stamps(new_files(ws, ws.sources[source]))


def stamps(paths: Iterable[Path]) -> Signature:
    found: Signature = {}
    for path in paths:
        with suppress(OSError):
            seen = path.stat()
            found[path] = seen.st_size, seen.st_mtime_ns
    return found


@dataclass
class Rest:
    """Flows that failed and rest a while: one second, then twice as long each time."""

    until: dict[str, float] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)

    def is_over(self, flow: str) -> bool:
        return monotonic() >= self.until.get(flow, 0.0)

    def note(self, flow: str, *, failed: bool) -> None:
        if not failed:
            self.failures.pop(flow, None)
            self.until.pop(flow, None)
            return
        count = self.failures[flow] = self.failures.get(flow, 0) + 1
        self.until[flow] = monotonic() + min(2.0 ** (count - 1), LONGEST_PAUSE)


@dataclass
class Growing:
    """Files that are followed while they grow, noticed by size and time at every look."""

    seen: dict[str, Signature] = field(default_factory=dict)

    def grown(self, ws: Workspace, now: datetime) -> list[str]:
        """Followed sources whose files have changed, or a conversation of whom is over."""
        if not any(spec.follow for spec in ws.sources.values()):
            return []
        followed = [spec for spec in sources_to_pull(ws) if spec.follow]
        with ws.db.read() as tx:
            over = set(tx.execute(conversation_is_over(now)).scalars())
        found = []
        for spec in followed:
            files = stamps(files_of(ws, spec))
            if files != self.seen.get(spec.name, {}) or spec.name in over:
                found.append(spec.name)
            self.seen[spec.name] = files
        return found

    def forget(self, source: str) -> None:
        """Look at it again: it could not be read."""
        self.seen.pop(source, None)


@dataclass
class Post:
    """What both loops work with: the newest publication's workspace, renewed by the first."""

    ws: Workspace
    clock: Clock
    stop: threading.Event = field(default_factory=threading.Event)


async def dispatch(
    ws: Workspace, clock: Clock, stop: asyncio.Event, on_ready: Callable[[], None]
) -> None:
    """Look and work until `stop` is set."""
    post = Post(current(ws), clock)
    live = threading.Thread(target=lambda: asyncio.run(watch_growing(post)), daemon=True)
    live.start()
    inbox = Inbox(ws.settings.inbox)

    async def all_round(rest: Rest) -> None:
        post.ws = current(post.ws)
        await look(post.ws, clock, inbox, rest)

    on_ready()
    rest = Rest()
    try:
        while not stop.is_set():
            await try_to(all_round, rest)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_SECONDS)
    finally:
        post.stop.set()
        await asyncio.to_thread(live.join)


async def watch_growing(post: Post) -> None:
    """Read what grows, and send what it raised, until `post.stop` is set."""
    growing, rest = Growing(), Rest()

    async def at_growing(rest: Rest) -> None:
        await look_at_growing(post.ws, post.clock, growing, rest)

    while not post.stop.wait(LOOK_SECONDS):
        await try_to(at_growing, rest)


async def try_to(work: Callable[[Rest], Awaitable[None]], rest: Rest) -> None:
    if not rest.is_over("look"):
        return
    try:
        await work(rest)
        rest.note("look", failed=False)
    except Exception as error:  # a database that is away comes back
        log.error("dispatch.failed", flow="look", error=type(error).__name__)
        rest.note("look", failed=True)


async def look_at_growing(ws: Workspace, clock: Clock, growing: Growing, rest: Rest) -> None:
    """One look at the growing files; red alerts, whoever raised them, go out before all else."""
    for source in growing.grown(ws, clock()):
        rests = not rest.is_over(f"ingest_feedback {source}")
        if rests or not await sweep(ws, clock, rest, "ingest_feedback", source=source):
            growing.forget(source)
        await send_alerts(ws, clock)
    await send_alerts(ws, clock)


async def send_alerts(ws: Workspace, clock: Clock) -> None:
    if is_due(ws, message_is_due(clock()).where(MESSAGES.c.template == TEMPLATE)):
        while await deliver_lease(ws, clock(), template=TEMPLATE):
            pass


async def look(ws: Workspace, clock: Clock, inbox: Inbox, rest: Rest) -> None:
    """One look: read files that came or could not be read before, then whatever is due."""
    again = [source for source in inbox.failed if rest.is_over(f"ingest_feedback {source}")]
    for source in dict.fromkeys((*inbox.rested(ws), *again)):
        inbox.failed.discard(source)
        if not await sweep(ws, clock, rest, "ingest_feedback", source=source):
            inbox.failed.add(source)
    for flow, due in DUE.items():
        if rest.is_over(flow) and is_due(ws, due(clock())):
            await sweep(ws, clock, rest, flow)


async def sweep(ws: Workspace, clock: Clock, rest: Rest, flow: str, **parameters: str) -> bool:
    """One flow's twin; whether it went well. What it raises is logged by name: its words may be a
    customer's."""
    name = " ".join((flow, *parameters.values()))
    try:
        counts = await SWEEPS[flow](ws, clock, **parameters)
    except Exception as error:
        log.error("dispatch.failed", flow=flow, error=type(error).__name__, **parameters)
        rest.note(name, failed=True)
        return False
    log.info("dispatch.swept", flow=flow, **parameters, **counts)
    rest.note(name, failed=False)
    return True


def is_due(ws: Workspace, query: Select[Any]) -> bool:
    with ws.db.read() as tx:
        return tx.execute(query.limit(1)).first() is not None


def current(ws: Workspace) -> Workspace:
    """A workspace of the newest publication: this one, unless another was published."""
    with ws.db.read() as tx:
        newest = tx.execute(select(func.max(PUBLICATIONS.c.number))).scalar()
    if newest == ws.publication:
        return ws
    return warm_up(Workspace(ws.settings, ws.db, ws.run, newest))


def warm_up(ws: Workspace) -> Workspace:
    """Read the documents and the model now, so that the first item need not wait for them."""
    _ = ws.classifier, ws.router, ws.places, ws.model, ws.hasher
    return ws
