"""补偿与回避 / What is asked of those above: compensation and letters; who may not handle it."""

import re
from pathlib import Path
from typing import Annotated

import typer

from console.terminal import AsJson, DryRun, LoopId, Person, act
from loopwright.errors import InputError

app = typer.Typer()


@app.command()
def compensate(
    loop: LoopId,
    yuan: Annotated[str, typer.Option("--yuan", help="How much: 88.50")],
    reason: Annotated[str, typer.Option("--reason", help="What it makes good.")],
    person: Person,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """补偿 / Ask to compensate the customer; how much decides who must approve."""
    from tasks.approval import approvals

    fen = fen_of(yuan)
    act(
        person,
        lambda ws, by, now: approvals.compensate(ws, loop, fen, reason, by, now),
        "{} waits for approval",
        dry_run=dry_run,
        as_json=as_json,
        name="approval",
    )


def fen_of(yuan: str) -> int:
    if not re.fullmatch(r"\d{1,12}(\.\d{1,2})?", yuan, re.ASCII):
        raise InputError(f"{yuan!r} is no amount", "write it in yuan, as 88 or 88.50")
    whole, _, rest = yuan.partition(".")
    return int(whole) * 100 + int(rest.ljust(2, "0"))


@app.command()
def reply(
    loop: LoopId,
    file: Annotated[Path, typer.Option("--file", help="The letter, a text file in UTF-8.")],
    person: Person,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """答复函 / Ask to send the customer this letter with the decision."""
    from tasks.approval import approvals

    letter = letter_in(file)
    act(
        person,
        lambda ws, by, now: approvals.reply(ws, loop, letter, by, now),
        "{} waits for approval",
        dry_run=dry_run,
        as_json=as_json,
        name="approval",
    )


def letter_in(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}", "name a text file in UTF-8") from None


@app.command()
def bar(
    loop: LoopId,
    who: Annotated[str, typer.Option("--person", metavar="PERSON", help="Who keeps away.")],
    why: Annotated[str, typer.Option("--why", help="What the conflict of interest is.")],
    person: Person,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """回避 / Somebody may not handle it; tickets of it that they hold go to others."""
    from tasks.tickets import handlers

    act(
        person,
        lambda ws, by, now: handlers.bar(ws, loop, who, why, by, now).loop,
        f"{who} keeps away from {{}}",
        dry_run=dry_run,
        as_json=as_json,
    )
