"""Remind before clocks run out, note breaches, climb ladders."""

from prefect import flow

from flows.steps import clock_at, run_workspace, step
from tasks import sweeps


@flow(name="watch_clocks")
async def watch_clocks(now: str | None = None) -> dict[str, int]:
    """Lease after lease until no clock is due. Returns counts only."""
    with run_workspace() as ws:
        return await sweeps.watch_clocks(ws, clock_at(now), step)
