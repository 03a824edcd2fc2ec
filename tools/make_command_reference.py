"""Writes docs/reference/commands.md from the commands themselves.

Run it after a change of any command. With --check nothing is written; exit 1 says that the page is
out of date.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "commands.md"

HEAD = """\
# Commands 命令

Written by `python tools/make_command_reference.py` from the program; do not edit this page.

`loopwright NOUN VERB`. Results go to standard output, progress and errors to standard error.
`--json` prints one document, lists under `items`. `-h` or `--help` explains each command. Ids of
loops and tickets may be shortened to their last four or more characters.

| exit code | 含义 | meaning |
|---|---|---|
| 0 | 正常 | done |
| 1 | 有发现 | the work was done and found something wrong, or somebody changed it first |
| 2 | 用法有误 | what was given cannot be used: option, file, document, id |
| 3 | 环境有误 | database, documents, Prefect or mail cannot be used as set up |
| 130 | 中断 | Ctrl-C |
"""

CONFLICT = "the state does not allow it, or somebody changed it first"
STOPPED = "the source stopped itself"
EXIT_ONE: Mapping[str, str] = {
    "ingest": STOPPED,
    "run": "a source could not be read or stopped itself, the others went on; sealing was refused",
    "org lint": "there are mistakes",
    "org publish": "`--dry-run` found mistakes (2 without it)",
    "quarantine replay": STOPPED + " again",
    "loop merge": CONFLICT,
    "ticket accept": CONFLICT,
    "ticket reject": CONFLICT,
    "ticket resolve": CONFLICT,
    "triage decide": CONFLICT,
    "calendar check": "a year is not published, or a day contradicts the public holidays",
    "policy lint": "there are mistakes, or a test of the policy fails",
    "template lint": "there are problems",
    "audit verify": "the history does not hold; the first bad position is named",
    "audit checkpoint": "refused: the history does not extend what was signed before",
    "audit witness": "refused: not signed, smaller, a second root, or growth without proof",
    "audit replay": "tables and events differ",
    "audit erase": "something of the customer's is still open or waits for triage",
    "audit scrub": "something had to be left, for lack of rights or because it is in use",
}
"""What exit code 1 says, where it says more than an error message."""


def commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every command with its full name, in the order of the help."""
    for name, command in group.commands.items():
        full = f"{prefix} {name}".strip()
        if hasattr(command, "commands"):
            yield from commands(command, full)
        else:
            yield full, command


def page() -> str:
    """The whole page. Raises ValueError when EXIT_ONE names a command that is gone."""
    from console.main import app

    found = dict(commands(typer.main.get_command(app)))
    if gone := EXIT_ONE.keys() - found.keys():
        raise ValueError(f"no such command: {', '.join(sorted(gone))}")
    return HEAD + "".join(section(name, command) for name, command in found.items())


def section(name: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    usage = " ".join(["loopwright", name, *map(placeholder, arguments)])
    lines = ["", f"## {name}", "", f"`{usage}`", "", one_line(command.help), ""]
    lines += ["| | default | |", "|---|---|---|", *map(row, command.params)]
    if meaning := EXIT_ONE.get(name):
        lines += ["", f"Exit 1: {meaning}."]
    return "\n".join(lines) + "\n"


def placeholder(argument: Any) -> str:
    word = argument.metavar or argument.name.upper()
    many = f"{word} …" if argument.nargs == -1 else word
    return many if argument.required else f"[{many}]"


def row(parameter: Any) -> str:
    name = (
        placeholder(parameter)
        if parameter.param_type_name == "argument"
        else " / ".join([*parameter.opts, *parameter.secondary_opts])
    )
    return f"| `{name}` | {default(parameter)} | {one_line(parameter.help)} |"


def default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    value = parameter.default
    if isinstance(value, bool):
        return "yes" if value else ""
    return "" if value in (None, "") else f"`{value}`"


def one_line(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def main() -> int:
    made = page()
    if "--check" in sys.argv[1:]:
        current = PAGE.read_text("utf-8") if PAGE.exists() else ""
        if current != made:
            sys.stderr.write(f"{PAGE.name} is out of date: run tools/make_command_reference.py\n")
        return int(current != made)
    PAGE.write_text(made, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
