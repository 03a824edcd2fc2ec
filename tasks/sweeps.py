"""The scheduled work as plain paragraphs: each flow's twin, and what the flow itself runs.

`step` names one piece of work; a Prefect flow passes one that records it as a task run, so both
forms do exactly the same. `clock` gives the present moment for each lease.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from loopwright.errors import FindingError, LoopwrightError
from tasks.deliver import DeliveryCounts, deliver_lease, remind_triage
from tasks.ingest import Counts
from tasks.pull import pull_source, sources_to_pull
from tasks.triage import TriageCounts, triage_lease
from tasks.workspace import Workspace

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


async def deliver_messages(ws: Workspace, clock: Clock, step: Step = call) -> dict[str, int]:
    """Claim due messages, send, record, until none is due."""
    total = DeliveryCounts()
    while counts := await step("deliver a lease", partial(deliver_lease, ws, clock())):
        total += counts
    return vars(total)


SWEEPS: dict[str, Callable[..., Awaitable[dict[str, int]]]] = {
    "ingest_feedback": ingest_feedback,
    "triage_feedback": triage_feedback,
    "deliver_messages": deliver_messages,
}
"""Flow name -> its twin."""
