"""The scheduled work as plain paragraphs: each flow's twin, and what the flow itself runs.

`step` names one piece of work; a Prefect flow passes one that records it as a task run, so both
forms do exactly the same. `clock` gives the present moment for each lease.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, func, select

from loopwright.errors import FindingError, LoopwrightError
from loopwright.history.checkpoints import SealRefused
from models.base import table
from models.clock import Clock as ClockRow
from models.feedback import Batch
from models.kinds import MessageState
from models.message import Message
from tasks.audit.publish_checkpoints import PublishCounts, publish
from tasks.audit.seal_history import seal, unsealed
from tasks.causes.measure_effects import EffectCounts, measure, reopen_relapsed
from tasks.causes.review_causes import ReviewCounts, link_loops, open_candidates
from tasks.clocks.recompute import RecomputeCounts, follow_calendars
from tasks.clocks.watch_clocks import WatchCounts, watch_lease
from tasks.intake.ingest import Counts, IntakeTaken
from tasks.intake.pull import new_files, pull_source, reads_files, sources_to_pull
from tasks.messages.deliver import deliver_lease
from tasks.messages.outbox import DeliveryCounts
from tasks.routing.triage import MAX_ATTEMPTS, TriageCounts, remind_triage, triage_lease
from tasks.verification.verify import VerifyCounts, ask, follow_up, resolved, unanswered
from tasks.workspace import Workspace

BATCHES = table(Batch)
CLOCKS = table(ClockRow)
MESSAGES = table(Message)

T = TypeVar("T")
Clock = Callable[[], datetime]
Step = Callable[[str, Callable[[], Any]], Any]


def call(_name: str, work: Callable[[], T]) -> T:
    """The step without Prefect: just do it."""
    return work()


async def ingest_feedback(
    ws: Workspace, clock: Clock, step: Step = call, source: str | None = None
) -> dict[str, int]:
    """Pull each source since its watermark; one that fails does not hold up the others."""
    total, failures = Counts(), []
    for spec in sources_to_pull(ws, source):
        try:
            total += step(f"pull {spec.name}", partial(pull_source, ws, spec, clock()))
        except IntakeTaken as taken:
            # Another run reads it at this moment. Who asked for it by name wants to know.
            if source is not None:
                failures.append(f"{spec.name}: {taken}")
        except LoopwrightError as error:
            failures.append(f"{spec.name}: {error}")
    if failures:
        raise FindingError("\n".join(failures))
    return vars(total)


async def triage_feedback(ws: Workspace, clock: Clock, step: Step = call) -> dict[str, int]:
    """Classify, route, open or join loops, lease after lease, until nothing waits."""
    total = TriageCounts()
    while counts := step("triage a lease", partial(triage_lease, ws, clock())):
        total += counts
    step("remind operations", partial(remind_triage, ws, clock()))
    return vars(total)


async def deliver_messages(
    ws: Workspace, clock: Clock, step: Step = call, customers: bool | None = None
) -> dict[str, int]:
    """Claim due messages, send, record, until none is due.

    `customers`: only those to them, or only the others; None: all.
    """
    total = DeliveryCounts()
    lease = partial(deliver_lease, customers=customers)
    while counts := await step("deliver a lease", partial(lease, ws, clock())):
        total += counts
    return vars(total)


async def watch_clocks(ws: Workspace, clock: Clock, step: Step = call) -> dict[str, int]:
    """Follow new calendars; remind, note breaches, climb ladders, until no clock is due."""
    counted: RecomputeCounts = step("follow the calendars", partial(follow_calendars, ws, clock()))
    total = WatchCounts()
    while counts := step("watch a lease", partial(watch_lease, ws, clock())):
        total += counts
    return vars(total) | vars(counted)


async def verify_resolutions(ws: Workspace, clock: Clock, step: Step = call) -> dict[str, int]:
    """Ask the customers of resolved loops; ask again who does not answer, then close."""
    total: VerifyCounts = step("ask customers", partial(ask, ws, clock()))
    total += step("ask again, end silences", partial(follow_up, ws, clock()))
    return vars(total)


async def review_causes(ws: Workspace, clock: Clock, step: Step = call) -> dict[str, int]:
    """Reopen what is back; open a candidate for each recurring cause; hang customers' loops on
    their big loop; measure what was done."""
    effects: EffectCounts = step("look for relapses", partial(reopen_relapsed, ws, clock()))
    total: ReviewCounts = step("look for recurring causes", partial(open_candidates, ws, clock()))
    total += step("link customers' loops", partial(link_loops, ws, clock()))
    effects += step("measure effects", partial(measure, ws, clock()))
    return vars(total) | vars(effects)


async def seal_history(ws: Workspace, clock: Clock, step: Step = call) -> dict[str, int]:
    """Sign what is new and bring the newest checkpoint outside, also where signing is refused."""
    refusal = checkpoint = None
    try:
        checkpoint = step("sign what is new", partial(seal, ws, clock()))
    except SealRefused as error:
        if error.is_contradicted:
            raise
        refusal = error
    counts: PublishCounts = await step("publish", partial(publish, ws, clock()))
    if refusal:
        raise refusal
    return {"sealed": int(checkpoint is not None)} | vars(counts)


def waiting(ws: Workspace, now: datetime) -> dict[str, int]:
    """What a sweep would find: new files, untriaged feedback, due clocks, customers to ask and
    those who stayed silent, due messages, events without a checkpoint."""
    files = sum(len(new_files(ws, spec)) for spec in sources_to_pull(ws) if reads_files(spec))
    with ws.db.read() as tx:
        left = func.coalesce(func.sum(BATCHES.c.size - BATCHES.c.position), 0)
        feedback = tx.execute(select(left).where(BATCHES.c.done_at.is_(None))).scalar_one()
        queued = (MESSAGES.c.state == MessageState.QUEUED) & (MESSAGES.c.due_at <= now)
        messages = tx.execute(select(func.count()).where(queued)).scalar_one()
        clocks = tx.execute(select(func.count()).where(CLOCKS.c.next_at <= now)).scalar_one()
        questions, silences = (count_of(tx, found) for found in (resolved(now), unanswered(now)))
    return {
        "files": files,
        "feedback": int(feedback),
        "clocks": clocks,
        "questions": questions,
        "silences": silences,
        "messages": messages,
        "unsealed": unsealed(ws),
    }


def count_of(tx: Connection, query: Select[Any]) -> int:
    return int(tx.execute(select(func.count()).select_from(query.subquery())).scalar_one())


def stuck_batches(ws: Workspace) -> int:
    """Batches that were claimed again and again without getting on: their workers died."""
    given_up = BATCHES.c.done_at.is_(None) & (BATCHES.c.attempts >= MAX_ATTEMPTS)
    with ws.db.read() as tx:
        return int(tx.execute(select(func.count()).where(given_up)).scalar_one())


SWEEPS: dict[str, Callable[..., Awaitable[dict[str, int]]]] = {
    "ingest_feedback": ingest_feedback,
    "triage_feedback": triage_feedback,
    "watch_clocks": watch_clocks,
    "verify_resolutions": verify_resolutions,
    "deliver_messages": deliver_messages,
    "review_causes": review_causes,
    "seal_history": seal_history,
}
"""Flow name -> its twin."""
