"""The deployments of prefect.yaml, served on a Prefect server of our own."""

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.deployments.runner import RunnerDeployment
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.runner import Runner
from prefect.schedules import Cron
from prefect.states import Crashed
from prefect.types.entrypoint import EntrypointType

from flows.supervise import announce
from loopwright.errors import EnvironmentFault

LIMIT = 4
START_SECONDS = 120
LOOK_SECONDS = 0.2


def build(path: Path, paused: frozenset[str] = frozenset()) -> Iterator[RunnerDeployment]:
    """The deployments of a prefect.yaml, by module path; those named in `paused` stay paused."""
    for entry in yaml.safe_load(path.read_text("utf-8"))["deployments"]:
        entrypoint = entry["entrypoint"]
        flow: Flow[..., Any] = load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
        deployment = flow.to_deployment(
            entry["name"],
            description=entry["description"],
            tags=entry["tags"],
            parameters=entry["parameters"],
            enforce_parameter_schema=entry["enforce_parameter_schema"],
            schedules=[cron(schedule) for schedule in entry["schedules"]],
            paused=entry["name"] in paused,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        assert isinstance(deployment, RunnerDeployment)  # a coroutine only inside a running loop
        yield deployment


def cron(schedule: Mapping[str, Any]) -> Any:
    return Cron(
        schedule["cron"],
        timezone=schedule["timezone"],
        slug=schedule["slug"],
        parameters=schedule.get("parameters", {}),
    )


def paused_by_hand() -> frozenset[str]:
    """Deployments that an operator paused on this server.

    Prefect pauses all of them at every clean stop unless told not to, and takes the pause away at
    every start: told not to, what is paused was paused by a person.
    """
    with get_client(sync_client=True) as client:
        return frozenset(d.name for d in client.read_deployments() if d.paused)


def bury_dead_runs() -> None:
    """Runs that a killed process left behind as running: nobody else runs any on this server."""
    states = FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING])
    unfinished = FlowRunFilter(state=FlowRunFilterState(type=states))
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=unfinished):
            if run.deployment_id is not None:
                client.set_flow_run_state(run.id, Crashed(message="its process died"), force=True)


async def await_server(url: str) -> None:
    """Returns when the server answers. Raises EnvironmentFault when it does not in time."""
    async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
        for _ in range(int(START_SECONDS / LOOK_SECONDS)):
            try:
                if (await client.get(url)).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(LOOK_SECONDS)
    raise EnvironmentFault("the Prefect server does not answer", "see server.log in Prefect's home")


def main() -> None:
    asyncio.run(await_server(f"{os.environ['PREFECT_API_URL']}/health"))
    bury_dead_runs()
    runner = Runner(limit=LIMIT, pause_on_shutdown=False)
    for deployment in build(Path("prefect.yaml"), paused_by_hand()):
        runner.add_deployment(deployment)
    announce()
    with suppress(KeyboardInterrupt):
        asyncio.run(runner.start())


if __name__ == "__main__":
    main()
