"""Does every command that the documentation names exist, with the options it shows?"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from console.main import app

ROOT = Path(__file__).parents[2]
DOCUMENTS = [p for p in (*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))) if p.is_file()]
SPAN = re.compile(r"```[a-z]*\n(.*?)```|`([^`\n]+)`", re.DOTALL)
WORD = re.compile(r"^[a-z][a-z-]*$")
COMMAND: Any = typer.main.get_command(app)


def commands(text: str) -> Iterator[list[str]]:
    """The words after `loopwright` in each code span or line of a code block."""
    for block, span in SPAN.findall(text):
        for line in (block or span).replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\|\||;|\s\|\s", line):
                words = split(part)
                if words[:1] == ["$"]:
                    words = words[1:]
                while words and re.match(r"^[A-Z_]+=", words[0]):
                    words = words[1:]
                if words and words[0].rsplit("/", 1)[-1] == "loopwright":
                    yield words[1:]


def split(line: str) -> list[str]:
    line = re.sub(r"\s#.*$", "", line)
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def problem(words: list[str]) -> str | None:
    """What is wrong with a command line, or None."""
    command, path = COMMAND, ["loopwright"]
    rest = list(words)
    while hasattr(command, "commands") and rest and WORD.match(rest[0]):
        name = rest.pop(0)
        if name not in command.commands:
            return f"{' '.join(path)} has no command {name}"
        command, path = command.commands[name], [*path, name]
    known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
    known |= {"--help", "-h"}
    for word in rest:
        option = re.sub(r"[=\]).,]+.*$", "", word.strip("[(")).strip()
        if option.startswith("--") and option != "--" and option not in known:
            return f"{' '.join(path)} has no option {option}"
    return None


NAMED = [
    pytest.param(words, id=f"{path.relative_to(ROOT)}: {' '.join(words)[:60]}")
    for path in DOCUMENTS
    for words in commands(path.read_text("utf-8"))
]


@pytest.mark.parametrize("words", NAMED)
def test_a_named_command_exists(words: list[str]) -> None:
    assert problem(words) is None


@pytest.mark.parametrize(
    "line",
    [
        "loop lst",
        "loop list --colour",
        "frobnicate",
        "db upgrade --hard",
        "ticket accept T1 --who x",
    ],
)
def test_a_wrong_command_is_seen(line: str) -> None:
    assert problem(line.split()) is not None


def test_commands_are_found_in_blocks_and_spans() -> None:
    text = (
        "`loopwright db check` or\n```sh\n$ loopwright ingest F --source S && loopwright x\n```\n"
    )
    assert list(commands(text)) == [["db", "check"], ["ingest", "F", "--source", "S"], ["x"]]
