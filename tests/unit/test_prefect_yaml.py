"""Does every entry of prefect.yaml load, with a valid schedule and valid parameters?"""

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

# Before Prefect is imported, so that no test ever touches a real Prefect home.
os.environ.setdefault("PREFECT_HOME", tempfile.mkdtemp(prefix="loopwright-prefect-"))
os.environ.setdefault("DO_NOT_TRACK", "1")

ROOT = Path(__file__).parents[2]
DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "prefect.yaml").read_text("utf-8"))
DEPLOYMENTS: list[dict[str, Any]] = DOCUMENT["deployments"]
FLOWS = {
    "ingest_feedback",
    "triage_feedback",
    "deliver_messages",
    "verify_resolutions",
    "review_causes",
}

each = pytest.mark.parametrize("entry", DEPLOYMENTS, ids=lambda entry: str(entry["name"]))


def load(entrypoint: str) -> Any:
    from prefect.flows import load_flow_from_entrypoint

    return load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)


def minutes(cron: str) -> set[int]:
    """The minutes of an hour at which a cron expression fires."""
    found: set[int] = set()
    for part in cron.split()[0].split(","):
        span, _, step = part.partition("/")
        first, last = (0, 59) if span == "*" else map(int, (span + "-" + span).split("-")[:2])
        found |= set(range(first, last + 1, int(step or 1)))
    return found


@each
def test_the_entrypoint_is_a_module_path_that_loads(entry: dict[str, Any]) -> None:
    assert ".py:" not in entry["entrypoint"]
    assert load(entry["entrypoint"]).name == entry["entrypoint"].rsplit(".", 1)[1]


@each
def test_the_schedules_are_valid_and_named(entry: dict[str, Any]) -> None:
    from prefect.client.schemas.schedules import CronSchedule

    schedules = entry["schedules"]
    assert schedules
    for schedule in schedules:
        CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])
        assert schedule["timezone"] == "Asia/Shanghai"
        assert schedule["slug"]
    assert len({schedule["slug"] for schedule in schedules}) == len(schedules)


@each
def test_the_parameters_fit_the_flow(entry: dict[str, Any]) -> None:
    from prefect.exceptions import ParameterTypeError, SignatureMismatchError

    flow = load(entry["entrypoint"])
    for schedule in entry["schedules"]:
        flow.validate_parameters(entry["parameters"] | schedule.get("parameters", {}))
    with pytest.raises((SignatureMismatchError, ParameterTypeError)):
        flow.validate_parameters(entry["parameters"] | {"nonsense": 1})
    assert entry["enforce_parameter_schema"] is True


@each
def test_the_flow_is_a_coroutine_with_a_description(entry: dict[str, Any]) -> None:
    assert load(entry["entrypoint"]).isasync
    assert "/" in entry["description"], "Chinese first, English second"
    assert entry["work_pool"]["name"] == "loopwright"


def test_every_flow_has_a_schedule() -> None:
    from tasks.sweeps import SWEEPS

    scheduled = {entry["entrypoint"].rsplit(".", 1)[1] for entry in DEPLOYMENTS}
    assert scheduled == SWEEPS.keys() >= FLOWS


def test_messages_leave_off_minute_0_and_30() -> None:
    (entry,) = [e for e in DEPLOYMENTS if e["name"] == "deliver-messages"]
    assert minutes("*/5 * * * *") >= {0, 30}
    for schedule in entry["schedules"]:
        assert minutes(schedule["cron"]).isdisjoint({0, 30})


def test_the_pinned_prefect_is_the_installed_one() -> None:
    from importlib.metadata import version

    assert DOCUMENT["prefect-version"] == version("prefect")
