"""Ninety days of a bank, as a user types it."""

from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.home import STREAM, Home

pytestmark = pytest.mark.acceptance

PLANTED = {
    ("face-recognition", "app-login"),
    ("annual-fee", "card-bill"),
    ("queue-time", "queue"),
    ("sms-code", "app-login"),
}
"""examples/bank/data/README.md says when and where."""


@pytest.fixture
def place(tmp_path: Path, models: Path) -> Home:
    """A folder of no installation: the demo makes its own."""
    return Home(tmp_path, {"LOOPWRIGHT_MODELS": str(models)})


def check_sums(result: dict[str, Any]) -> None:
    """The table adds up."""
    loops, closed, still = result["loops"], result["closed"], result["open"]
    assert sum(closed.values()) + sum(still.values()) == loops["small"]
    assert len(result["causes"]) == loops["big"]
    assert sum(result["loop_states"].values()) == sum(loops.values())
    assert sum(result["fates"].values()) == sum(result["issues"].values())
    assert sum(result["unverified"].values()) >= closed["unverified"]
    assert result["answered"]["yes"] >= closed["verified"]


def check_history(home: Home) -> None:
    home.do("audit", "verify")
    home.do("audit", "replay")


def test_fifteen_days_end_with_the_whole_table(place: Home) -> None:
    result = place.ask("demo", "--days", "15")
    check_sums(result)
    assert result["days"] == 15
    assert result["closed"]["verified"] > 0
    assert result["closed"]["unverified"] > 0
    assert result["reminded"] > 0
    assert result["climbed"]["tell-manager"] > 0
    assert result["seconds"]["last_day"] > 0
    with place.database() as db, db.read() as tx:
        runs = tx.exec_driver_sql(
            "SELECT count(DISTINCT run_id) FROM history_event WHERE run_id IS NOT NULL"
        ).scalar_one()
    assert runs >= 2, "the last day's flows were no Prefect runs"
    check_history(place)
    loop = place.ask("loop", "list")["items"][0]["id"]
    assert place.ask("loop", "show", loop)["events"]


def test_an_interrupted_demo_goes_on_and_a_finished_one_is_replaced(place: Home) -> None:
    done = place.type("demo", "--continue")
    assert done.code == 2
    assert "loopwright demo" in done.said
    first = place.ask("demo", "--days", "3", "--no-prefect")
    assert place.ask("demo", "--continue", "--no-prefect")["events"] >= first["events"]
    again = place.ask("demo", "--days", "3", "--no-prefect")
    for part in ("feedback", "fates", "loops", "loop_states", "closed", "messages"):
        assert again[part] == first[part]


@pytest.mark.prove
def test_ninety_days_find_the_planted_causes(place: Home) -> None:
    result = place.ask("demo")
    check_sums(result)
    check_history(place)
    big = [line for line in result["causes"] if line["outcome"] != "abandoned"]
    found = {(line["topic"], line["touchpoint"]): line for line in big}
    assert found.keys() >= PLANTED
    assert {line["opened_by"] for line in big} >= {"recurrence", "broke-after-change"}
    assert result["closed"].keys() >= {"verified", "unverified", "withdrawn"}
    assert result["unverified"].keys() >= {"silent", "unreachable", "opted out"}
    assert {line["outcome"] for line in result["causes"]} >= {"not proven", "abandoned"}
    assert result["answered"].keys() == {"yes", "partly", "no"}
    for part in ("reopened", "bounced", "transferred", "arbitrated", "reminded"):
        assert result[part] > 0, part
    assert {"tell-manager", "tell-manager2"} <= result["climbed"].keys()
    assert result["breached"].keys() >= {"customer", "owner"}
    assert result["seconds"]["all"] < 120


@pytest.mark.prove
@pytest.mark.skipif(not STREAM.is_dir(), reason="needs ../shared/data/stream")
def test_ninety_days_of_the_stream(place: Home) -> None:
    result = place.ask("demo", "--data", STREAM)
    check_sums(result)
    check_history(place)
    assert sum(result["feedback"].values()) == 11_633
    assert sum(line["records"] for line in result["shift"]) == 11_633
    assert result["seconds"]["all"] < 120
