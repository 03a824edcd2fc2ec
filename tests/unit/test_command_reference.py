"""The page of commands is what the program says of itself."""

from typing import Any

import pytest
import typer

from console.main import app
from tools import make_command_reference as reference

COMMANDS: dict[str, Any] = dict(reference.commands(typer.main.get_command(app)))


def test_the_page_is_up_to_date() -> None:
    assert reference.PAGE.read_text("utf-8") == reference.page(), (
        "run `python tools/make_command_reference.py`"
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does_and_takes_json_or_prints_a_document(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    options = {o for p in command.params for o in p.opts}
    assert "--json" in options or name == "org schema"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name: str) -> None:
    unexplained = [p.name for p in COMMANDS[name].params if not p.help]
    assert not unexplained
