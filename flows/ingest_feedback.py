"""Pull each source since its watermark, store raw, parse, quarantine."""

from prefect import flow

from flows.steps import run_workspace, step
from loopwright.now import utc_now
from tasks import sweeps


@flow(name="ingest_feedback")
async def ingest_feedback(source: str | None = None) -> dict[str, int]:
    """Every source, or the named one. Returns counts only."""
    with run_workspace() as ws:
        return await sweeps.ingest_feedback(ws, utc_now, step, source)
