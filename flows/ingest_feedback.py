"""Pull each source since its watermark, store raw, parse, quarantine."""

from prefect import flow

from flows.steps import clock_at, run_workspace, step
from tasks import sweeps


@flow(name="ingest_feedback")
async def ingest_feedback(source: str | None = None, now: str | None = None) -> dict[str, int]:
    """Every source, or the named one. Returns counts only."""
    with run_workspace() as ws:
        return await sweeps.ingest_feedback(ws, clock_at(now), step, source)
