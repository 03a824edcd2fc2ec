"""What is seen at the terminal: twins apart, a recurrence's numbers, a loop with nothing to it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from console.main import app
from loopwright.errors import InputError
from models.loop import Loop
from tasks.documents.publish import publish
from tasks.messages.deliver import deliver_lease
from tasks.workspace import Workspace
from tests.cast import NOON, OPS, a_loop, change_now, one, opening, sample_issues
from tests.integration.test_wecom_robot import with_robots

RECURRENCE = {
    "customers": 8,
    "past": 1,
    "ratio": 32.0,
    "p": 0.0001,
    "exposure": {"window": 14, "baseline": 56, "by": "days"},
    "reason": {"zh": "14 天内 8 位客户", "en": "8 customers in 14 days"},
    "rule": {"customers": 3, "window_days": 14},
}


Typed = Callable[..., Result]


@pytest.fixture
def typed(url: str, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """A command line of the program on this database."""
    monkeypatch.setenv("LOOPWRIGHT_DATABASE__URL", url)

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, [*words])

    return run


def test_the_outbox_shows_twins_apart(ws: Workspace, typed: Typed) -> None:
    publish(ws.db, with_robots(), OPS, NOON)
    ws.settings.wecom.robots = {"dept_db": SecretStr("k")}
    ws.settings.wecom.base_url = "http://127.0.0.1:9"
    a_loop(ws)
    asyncio.run(deliver_lease(ws, NOON))
    lines = [line for line in typed("notify", "outbox").output.splitlines() if " DB " in line]
    assert len(lines) == 2
    assert sorted("wecom" in line for line in lines) == [False, True]


@pytest.mark.parametrize(
    ("lang", "words"),
    [
        ("zh", ("反复出现", "8 位客户")),
        ("en", ("keeps coming back", "8 customers in")),
    ],
)
def test_a_recurrence_is_explained_by_its_numbers(
    ws: Workspace, typed: Typed, lang: str, words: tuple[str, ...]
) -> None:
    (issue,) = sample_issues(ws.db, 1)
    clauses = [["customers >= 3", True, {"customers": 8}]]
    body = {"clauses": clauses, "evidence": [], "features": {}, "recurrence": RECURRENCE}
    made = replace(opening("B1", issue, kind="big"), body=body, rule="recurrence")
    change_now(ws, made)
    said = typed("loop", "explain", "B1", "--lang", lang)
    assert said.exit_code == 0, said.exception
    for seen in (*words, "customers >= 3", "window_days = 14", "ratio", "32.0", "by = 'days'"):
        assert seen in said.output
    # No rule of the policy was asked, so none is said to have failed.
    assert not any(rule in said.output for rule in ("ordinary", "fraud", "noise"))


def test_a_loop_with_nothing_to_it_is_closed(ws: Workspace, typed: Typed) -> None:
    loop = a_loop(ws, customer="C1").id
    end = ("loop", "close", loop[-6:], "--outcome", "unfounded", "--reason", "查了日志，一切正常")
    tried = typed(*end, "--as", OPS.id, "--dry-run")
    assert tried.exit_code == 0, tried.exception
    assert one(ws.db, Loop).state == "open"
    refused = typed(*end, "--changed", "修好了", "--as", OPS.id)
    assert isinstance(refused.exception, InputError)
    done = typed(*end, "--as", OPS.id)
    assert done.output == f"✓ {loop} closed as unfounded\n"
    assert one(ws.db, Loop).outcome == "unfounded"
    assert "经核实不成立" in typed("loop", "show", loop).output
