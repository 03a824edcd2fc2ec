"""Look for recurring causes; hang customers' loops on theirs; measure what was done about them."""

from prefect import flow

from flows.steps import clock_at, run_workspace, step
from tasks import sweeps


@flow(name="review_causes")
async def review_causes(now: str | None = None) -> dict[str, int]:
    """Relapses, candidates, links, effects. Returns counts only."""
    with run_workspace() as ws:
        return await sweeps.review_causes(ws, clock_at(now), step)
