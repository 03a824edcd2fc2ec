"""Ask customers whether it is solved; close loops whose customers stayed silent."""

from prefect import flow

from flows.steps import clock_at, run_workspace, step
from tasks import sweeps


@flow(name="verify_resolutions")
async def verify_resolutions(now: str | None = None) -> dict[str, int]:
    """Everybody who is to be asked, and every silence that is to end. Returns counts only."""
    with run_workspace() as ws:
        return await sweeps.verify_resolutions(ws, clock_at(now), step)
