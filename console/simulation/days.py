"""Day after day of a simulated bank: the sweeps and the people act at simulated moments.

Time moves from hour to hour at which something is due. In each such hour people act first, then
feedback arrives and the sweeps run, then people notice what is new; all of it can be done again, so
that a driver that was killed goes on from the database and the hour in its diary.
"""

import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush
from pathlib import Path
from time import perf_counter
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, func, select, update

from console.simulation.acts import Stage
from console.simulation.notices import CLOCKS, LOOPS, VERIFICATIONS, Notices
from console.simulation.pace import spare_disk
from console.simulation.plans import GRID, Plan, Planner, on_grid
from console.simulation.postman import Postman
from console.simulation.slices import slices_in
from models.kinds import LoopState, MessageState, Yields
from tasks.dispatch import BATCHES, DUE, MESSAGES, is_due, warm_up
from tasks.sweeps import SWEEPS, deliver_messages
from tasks.workspace import Workspace, spare_collector

ORDER = (
    "ingest_feedback",
    "triage_feedback",
    "watch_clocks",
    "verify_resolutions",
    "review_causes",
    "deliver_messages",
)
"""The sweeps of one hour; messages last, so that an hour done again sends them then too."""
REVIEW_HOUR = 6
POST_HOURS = 2
"""Messages go out in the even hours (UTC)."""
ONE_DAY = timedelta(days=1)
LAST_DAY_EVERY = timedelta(hours=12)
"""On the last day the flows run so often, as real Prefect runs."""

Run = Callable[[str, datetime, Sequence[str]], Awaitable[object]]
"""Runs a flow at a moment; `ingest_feedback` for the named sources, or for all when none is."""
Tell = Callable[[datetime], None]


@dataclass
class Diary:
    """All that is not in the database: the hour that is being worked on, and what was chosen."""

    path: Path
    now: str
    first: str
    days: int
    seed: int
    shift: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path) -> "Diary":
        return cls(path, **json.loads(path.read_text("utf-8")))

    def write(self, now: datetime) -> None:
        """Whole or not at all."""
        self.now = now.isoformat()
        kept = {name: value for name, value in asdict(self).items() if name != "path"}
        draft = self.path.with_suffix(".draft")
        draft.write_text(json.dumps(kept), "utf-8")
        draft.replace(self.path)

    @property
    def begins(self) -> datetime:
        return datetime.fromisoformat(self.first)

    @property
    def ends(self) -> datetime:
        return self.begins + timedelta(days=self.days)


@dataclass
class Days:
    """The driver of one installation; `slices` is the folder of what has not yet arrived."""

    ws: Workspace
    diary: Diary
    slices: Path
    tell: Tell
    seconds: dict[str, float] = field(default_factory=dict)
    plans: list[Plan] = field(default_factory=list)
    dropped: set[str] = field(default_factory=set)
    """Sources of what arrived this hour."""

    def __post_init__(self) -> None:
        spare_disk(self.ws.db)
        documents = warm_up(self.ws).published.documents
        spare_collector()
        planner = Planner(documents, self.ws.clocks.calendar_of_unit, self.diary.seed)
        self.every = GRID
        self.zone = ZoneInfo(documents.organisation.zone)
        self.stage = Stage(self.ws, planner)
        self.notices = Notices(self.ws, planner)
        self.arriving = sorted(slices_in(self.slices), reverse=True)

    async def live(self, until: datetime, run: Run, every: timedelta = GRID) -> None:
        """From the diary's hour on to the last one before `until`, every so often."""
        self.every, now = every, datetime.fromisoformat(self.diary.now)
        release(self.ws, now)
        self.recall(now)
        # A killed driver may have left files in the inbox that nobody has read.
        self.dropped = set(self.ws.sources)
        while now < until:
            await self.hour(now, run)
            now = self.next_hour(now, until, every)
            self.diary.write(min(now, until))

    async def hour(self, now: datetime, run: Run) -> None:
        self.act(now)
        self.drop(now)
        ran = set()
        for flow in ORDER:
            if self.is_due(flow, now):
                ran.add(flow)
                with self.timed(flow):
                    await run(flow, now, sorted(self.dropped, key=self.rank))
        self.dropped.clear()
        self.notice(now, doubts="triage_feedback" in ran)
        if self.is_due("review_causes", now):
            # What was imported and compiled since would be walked over after every slice.
            spare_collector()
        self.tell(now)

    def recall(self, now: datetime) -> None:
        """What everybody has in mind; what was to be done before now has been done."""
        self.plans = [plan for plan in self.notices.look(now) if plan.at >= now]
        heapify(self.plans)

    def notice(self, now: datetime, doubts: bool) -> None:
        with self.timed("notice"):
            for plan in self.notices.look(now, doubts):
                if plan.at > now:
                    heappush(self.plans, plan)

    def act(self, now: datetime) -> None:
        due = []
        while self.plans and self.plans[0].at <= now:
            due.append(heappop(self.plans))
        with self.timed("people"):
            self.stage.act(due, now)

    def drop(self, now: datetime) -> None:
        """What has arrived by now goes into the inbox."""
        while self.arriving and self.arriving[-1][0] <= now:
            _, source, path = self.arriving.pop()
            place = self.ws.settings.inbox / source
            place.mkdir(parents=True, exist_ok=True)
            path.rename(place / path.name)
            self.dropped.add(source)

    def is_due(self, flow: str, now: datetime) -> bool:
        """Whether the sweep has something to do; the last hour runs every one."""
        if now >= self.diary.ends:
            return True
        if flow == "ingest_feedback":
            return bool(self.dropped)
        if flow == "review_causes":
            return timedelta(0) <= now - self.review_of(now) < self.every
        return is_due(self.ws, DUE[flow](now))

    def rank(self, source: str) -> tuple[bool, str]:
        """Customers come before what they say, as in any ingest."""
        return self.ws.sources[source].yields is Yields.FEEDBACK, source

    def next_hour(self, now: datetime, until: datetime, every: timedelta) -> datetime:
        """The next full hour at which something is due."""
        review = self.review_of(now)
        moments = [until, review if review > now else review + ONE_DAY, *earliest(self.ws)]
        if self.plans:
            moments.append(self.plans[0].at)
        if self.arriving:
            moments.append(self.arriving[-1][0])
        steps = -((now - min(moments)) // every)
        return on_grid(now + every * max(1, steps))

    def review_of(self, now: datetime) -> datetime:
        """When causes are reviewed on the local day of `now`."""
        return now.astimezone(self.zone).replace(hour=REVIEW_HOUR, minute=0)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        started = perf_counter()
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + perf_counter() - started


def earliest(ws: Workspace) -> Iterator[datetime]:
    """The first moments at which a clock or a question is due."""
    wanted: list[tuple[ColumnElement[datetime], ColumnElement[bool]]] = [
        (CLOCKS.c.next_at, CLOCKS.c.next_at.is_not(None)),
        (VERIFICATIONS.c.due_at, VERIFICATIONS.c.due_at.is_not(None)),
        (LOOPS.c.ask_at, LOOPS.c.state == LoopState.RESOLVED),
    ]
    with ws.db.read() as tx:
        for column, where in wanted:
            if (moment := tx.execute(select(func.min(column)).where(where)).scalar()) is not None:
                yield moment


def release(ws: Workspace, now: datetime) -> None:
    """Free what a killed driver had leased: it was the only worker, and waiting for the leases to
    run out would make everything later than in a run that nobody disturbed."""
    unread = update(BATCHES).where(BATCHES.c.done_at.is_(None))
    unsent = (MESSAGES.c.state == MessageState.QUEUED) & MESSAGES.c.lease_token.is_not(None)
    with ws.db.begin() as tx:
        tx.execute(unread.values(lease_until=BATCHES.c.created_at))
        tx.execute(update(MESSAGES).where(unsent).values(due_at=now))


def twins(ws: Workspace, worker: Postman | None = None) -> Run:
    """The sweeps without Prefect; messages are left to a second worker if there is one."""

    async def run(flow: str, now: datetime, sources: Sequence[str]) -> None:
        if flow == "ingest_feedback":
            for source in sources:
                await SWEEPS[flow](ws, lambda: now, source=source)
        elif worker is None or flow != "deliver_messages":
            await SWEEPS[flow](ws, lambda: now)
        elif now.hour % POST_HOURS == 0:
            # A question that was sent stops clocks, so it must go at its own moment in every run.
            await deliver_messages(ws, lambda: now, customers=True)
            worker.tell(now)

    return run
