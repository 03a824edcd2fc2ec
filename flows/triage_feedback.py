"""Classify waiting feedback, route its issues, open or join loops."""

from prefect import flow

from flows.steps import clock_at, run_workspace, step
from tasks import sweeps


@flow(name="triage_feedback")
async def triage_feedback(now: str | None = None) -> dict[str, int]:
    """Lease after lease until nothing waits. Returns counts only."""
    with run_workspace() as ws:
        return await sweeps.triage_feedback(ws, clock_at(now), step)
