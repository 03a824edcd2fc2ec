"""时钟 / What may be done with a loop's clocks, and the regulation's steps."""

from typing import TYPE_CHECKING, Annotated

import typer

from console.terminal import (
    AsJson,
    DryRun,
    LoopId,
    Person,
    act,
    actor,
    choose,
    emit,
    say,
    workspace,
)

if TYPE_CHECKING:
    from datetime import datetime

    from tasks.workspace import Workspace

app = typer.Typer()


ClockId = Annotated[str, typer.Option("--clock", help="A running clock's specification or id.")]


Received = Annotated[
    str, typer.Option("--received", metavar="ISO", help="When it came in; local without an offset.")
]


Notice = Annotated[
    str, typer.Option("--notice", help="Reference of the word to the complainant, if needed.")
]


@app.command()
def pause(
    loop: LoopId,
    clock: ClockId,
    reason: Annotated[str, typer.Option("--reason", help="One that the clock's document knows.")],
    evidence: Annotated[str, typer.Option("--evidence", help="Reference of the proof.")],
    person: Person,
    notice: Notice = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """暂停计时 / Let a clock stand still, for a reason and with the proof its document asks for."""
    from tasks.clocks import changes as clock_changes

    act(
        person,
        lambda ws, by, now: clock_changes.pause(
            ws, loop, clock, clock_changes.Proof(reason, evidence, notice), by, now
        ),
        f"clock {clock} stands still; loop {{}}",
        dry_run=dry_run,
        as_json=as_json,
    )


@app.command()
def resume(
    loop: LoopId, clock: ClockId, person: Person, dry_run: DryRun = False, as_json: AsJson = False
) -> None:
    """恢复计时 / Let a clock run on; what passed meanwhile is given back."""
    from tasks.clocks import changes as clock_changes

    act(
        person,
        lambda ws, by, now: clock_changes.resume(ws, loop, clock, by, now),
        f"clock {clock} runs on; loop {{}}",
        dry_run=dry_run,
        as_json=as_json,
    )


@app.command()
def extend(
    loop: LoopId,
    extension: Annotated[str, typer.Option("--extension", help="One the regulation knows.")],
    reason: Annotated[str, typer.Option("--reason", help="What makes it so.")],
    person: Person,
    notice: Notice = "",
    how: Annotated[
        str | None, typer.Option("--how", help="How they were told: call, message, letter.")
    ] = None,
    evidence: Annotated[str, typer.Option("--evidence", help="Reference, if needed.")] = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """延长法定期限 / Extend the legal clock as its regulation allows, by approval if needed."""
    from dataclasses import asdict

    from loopwright.now import utc_now
    from models.kinds import How
    from tasks.clocks import regulate

    way = choose(How, how, "--how") if how else None
    wish = regulate.Wish(extension, reason, notice, way, evidence)
    with workspace(dry_run=dry_run) as ws:
        asked = regulate.extend(ws, loop, wish, actor(ws, person), utc_now())
    given = f"due {asked.due_at}" if asked.due_at else f"waits for approval {asked.approval}"
    emit(
        asdict(asked),
        as_json,
        lambda: say(f"✓ {asked.loop} {asked.extension}: {given}\n  {asked.article}"),
    )


@app.command("new-facts")
def new_facts(
    loop: LoopId,
    received: Received,
    what: Annotated[str, typer.Option("--what", help="What is new about it.")],
    person: Person,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """新的事实和理由 / New facts: the legal period begins again, the old clock stays to be seen."""
    from tasks.clocks import regulate

    act(
        person,
        lambda ws, by, now: regulate.new_facts(ws, loop, moment_in(ws, received), what, by, now),
        "the period begins again; loop {}",
        dry_run=dry_run,
        as_json=as_json,
    )


@app.command()
def review(
    loop: LoopId,
    received: Received,
    reason: Annotated[str, typer.Option("--reason", help="What the complainant objects to.")],
    person: Person,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """核查申请 / The complainant objects to the decision: the superior unit looks at it again."""
    from tasks.clocks import regulate

    act(
        person,
        lambda ws, by, now: regulate.review(ws, loop, moment_in(ws, received), reason, by, now),
        "{} is open again, for the unit above",
        dry_run=dry_run,
        as_json=as_json,
    )


def moment_in(ws: "Workspace", text: str) -> "datetime":
    """A time as a person writes it, in the organisation's zone without an offset."""
    from console.commands.clock import parse_start

    return parse_start(text, ws.clocks.zone)
