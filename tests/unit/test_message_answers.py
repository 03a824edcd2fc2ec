"""How to answer: what each state allows, by commands that exist."""

from types import SimpleNamespace as Row

import pytest

from tasks.messages.answering import (
    ANSWERS,
    answers,
    of_clock,
    of_operations,
    of_superior,
    of_ticket,
)
from tests.unit.test_docs_commands import problem

SMALL = Row(kind="small", state="open", arbitration=False)
TRIAGED = Row(kind="big", state="triaged", arbitration=False)
ACTING = Row(kind="big", state="acting", arbitration=False)

OF_TICKETS = [
    ("assigned", "lead", SMALL, ["accept", "reject", "resolve"]),
    ("accepted", "lead", SMALL, ["transfer", "resolve"]),
    ("assigned", "lead", TRIAGED, ["accept", "reject", "plan"]),
    ("accepted", "lead", TRIAGED, ["transfer", "plan"]),
    ("assigned", "participant", TRIAGED, ["accept", "reject"]),
    ("accepted", "participant", ACTING, ["transfer", "resolve"]),
    ("resolved", "lead", SMALL, ["show"]),
    ("done", "lead", ACTING, ["show"]),
    ("rejected", "lead", SMALL, ["show"]),
]


@pytest.mark.parametrize(("state", "role", "loop", "names"), OF_TICKETS)
def test_what_a_unit_can_do_with_its_ticket(
    state: str, role: str, loop: Row, names: list[str]
) -> None:
    assert of_ticket(Row(state=state, role=role), loop) == names


@pytest.mark.parametrize(
    ("stops", "names"),
    [
        ("first_answer", ["first_answer"]),
        ("told", ["told"]),
        ("resolved", ["progress", "transfer", "resolve", "more_time"]),
        ("closed", ["progress", "transfer", "resolve", "more_time"]),
    ],
)
def test_what_stops_a_clock(stops: str, names: list[str]) -> None:
    ticket = Row(state="accepted", role="lead")
    assert of_clock(Row(stops=stops), ticket, SMALL) == names
    if stops == "closed":
        assert of_clock(Row(stops=stops), None, SMALL) == ["show"]
        done = Row(state="done", role="lead")
        assert of_clock(Row(stops=stops), done, SMALL) == ["show"]


def test_what_superiors_and_operations_can_do() -> None:
    assert of_superior(Row(state="assigned")) == ["show", "give", "transfer"]
    assert of_superior(Row(state="resolved")) == of_superior(None) == ["show"]
    assert of_operations(Row(state="open", arbitration=True)) == ["show", "arbitrate"]
    assert of_operations(Row(state="candidate", arbitration=False)) == [
        "show",
        "take_up",
        "turn_down",
    ]


IDS = {"loop": "L1", "ticket": "T1", "approval": "A1", "alert": "R1"}


@pytest.mark.parametrize("name", ANSWERS)
def test_every_command_exists(name: str) -> None:
    (line,) = answers([name], "zh", **IDS)
    assert line["command"].startswith("loopwright ")
    assert problem(line["command"].split()[1:]) is None
    assert line["title"] == ANSWERS[name][0]
    assert answers([name], "en", **IDS)[0]["title"] == ANSWERS[name][1]
