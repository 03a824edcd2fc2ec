"""What the flows share: a workspace for one run, and steps recorded as Prefect task runs.

A step's work is closed over, never passed: Prefect records no parameters, so no customer's words
can reach its database.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from inspect import iscoroutinefunction
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext

from loopwright.now import parse_now, utc_now
from loopwright.settings import load_settings
from tasks.start import record_version
from tasks.workspace import Workspace, open_workspace


def step(name: str, work: Callable[[], Any]) -> Any:
    """Do one piece of work as a task run. Sync work returns its value, async an awaitable."""

    def run() -> Any:
        return work()

    async def run_async() -> Any:
        return await work()

    body = run_async if iscoroutinefunction(work) else run
    return task(name=name, cache_policy=NO_CACHE, persist_result=False)(body)()


@contextmanager
def run_workspace() -> Iterator[Workspace]:
    """The workspace of this flow run, whose id goes into the history."""
    context = FlowRunContext.get()
    run = str(context.flow_run.id) if context and context.flow_run else None
    ws = open_workspace(load_settings(), run)
    try:
        record_version(ws, "flow", utc_now())
        yield ws
    finally:
        ws.db.close()


def clock_at(now: str | None) -> Callable[[], datetime]:
    """The clock of a run: the present, or a moment that stands still (see `parse_now`)."""
    if now is None:
        return utc_now
    moment = parse_now(now)
    return lambda: moment
