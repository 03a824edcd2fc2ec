"""Claim due messages, send them, record what became of each."""

from prefect import flow

from flows.steps import clock_at, run_workspace, step
from tasks import sweeps


@flow(name="deliver_messages")
async def deliver_messages(now: str | None = None) -> dict[str, int]:
    """Lease after lease until none is due. Returns counts only."""
    with run_workspace() as ws:
        return await sweeps.deliver_messages(ws, clock_at(now), step)
