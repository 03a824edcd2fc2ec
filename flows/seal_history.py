"""Sign a checkpoint of what is new in the history and bring it outside."""

from prefect import flow

from flows.steps import clock_at, run_workspace, step
from tasks import sweeps


@flow(name="seal_history")
async def seal_history(now: str | None = None) -> dict[str, int]:
    """Seal, then publish. Returns counts only."""
    with run_workspace() as ws:
        return await sweeps.seal_history(ws, clock_at(now), step)
