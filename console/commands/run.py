"""运行一个流程 / Run one flow now."""

import asyncio
import os
from datetime import datetime
from typing import Annotated, Any

import typer

from console.terminal import AsJson, DryRun, emit, say, steps, workspace
from loopwright.errors import InputError
from loopwright.now import parse_now

NAME = "run"


def command(
    flow: Annotated[str, typer.Argument(help="ingest_feedback, triage_feedback, …")],
    no_prefect: Annotated[bool, typer.Option("--no-prefect", help="Run the flow's twin.")] = False,
    now: Annotated[str | None, typer.Option("--now", help="An ISO time to act at.")] = None,
    source: Annotated[str | None, typer.Option("--source", help="For ingest_feedback.")] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """运行一个流程 / Run one flow now, as a Prefect run or without Prefect."""
    from tasks.sweeps import SWEEPS

    if flow not in SWEEPS:
        raise InputError(f"no flow {flow!r}", f"use one of: {', '.join(SWEEPS)}")
    if source is not None and flow != "ingest_feedback":
        raise InputError("--source goes with ingest_feedback only", "leave it out")
    parameters = {"source": source} if source else {}
    moment = parse_now(now) if now else None
    if dry_run:
        counts = count_waiting(moment)
    elif no_prefect:
        counts = asyncio.run(run_twin(flow, moment, parameters))
    else:
        counts = run_flow(flow, parameters | ({"now": moment.isoformat()} if moment else {}))
    words = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    emit({"flow": flow} | counts, as_json, lambda: say(f"✓ {flow}: {words}"))


async def run_twin(flow: str, now: datetime | None, parameters: dict[str, Any]) -> dict[str, int]:
    from loopwright.now import utc_now
    from tasks.sweeps import SWEEPS

    with workspace(program="run") as ws, steps(flow) as step:
        return await SWEEPS[flow](ws, (lambda: now) if now else utc_now, step, **parameters)


def count_waiting(now: datetime | None) -> dict[str, int]:
    """What the flows would find to do."""
    from loopwright.now import utc_now
    from tasks.sweeps import waiting

    with workspace() as ws:
        return waiting(ws, now or utc_now())


def run_flow(flow: str, parameters: dict[str, Any]) -> dict[str, int]:
    """As a real Prefect run: on the configured server, else on one of our own for the moment."""
    from contextlib import nullcontext

    from flows.server import prefect_server
    from loopwright.settings import load_settings

    api = os.environ.get("PREFECT_API_URL")
    with nullcontext() if api else prefect_server(load_settings()):
        return asyncio.run(load_flow(flow)(**parameters))


def load_flow(name: str) -> Any:
    """The flow object of `flows/NAME.py`."""
    from importlib import import_module

    return getattr(import_module(f"flows.{name}"), name)
