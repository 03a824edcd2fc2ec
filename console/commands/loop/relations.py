"""关系 / Merging, linking, withdrawing, and undoing it; nominating a common cause."""

from typing import Annotated

import typer

from console.terminal import AsJson, DryRun, LoopId, Person, act

app = typer.Typer()


@app.command()
def merge(
    loop: LoopId,
    into: Annotated[str, typer.Option("--into", help="The loop that goes on.")],
    person: Person,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """合并 / One complaint opened twice: close LOOP as merged, its issues join the other."""
    from tasks import merge as tasks

    act(
        person,
        lambda ws, by, now: tasks.merge(ws, loop, into, by, now),
        "merged into {}",
        dry_run=dry_run,
        as_json=as_json,
        name="into",
    )


@app.command()
def unmerge(loop: LoopId, person: Person, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """撤销合并 / Undo a merge: the loop opens again with its own issues."""
    from tasks import merge as tasks

    act(
        person,
        lambda ws, by, now: tasks.unmerge(ws, loop, by, now),
        "{} is open again",
        dry_run=dry_run,
        as_json=as_json,
    )


@app.command()
def unlink(
    loop: LoopId,
    big: Annotated[str, typer.Option("--from", help="The big loop it does not belong to.")],
    person: Person,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """解除同因 / Undo «same cause»: the customer's loop leaves the big one."""
    from tasks import merge as tasks

    act(
        person,
        lambda ws, by, now: tasks.unlink(ws, loop, big, by, now),
        "{} stands alone",
        dry_run=dry_run,
        as_json=as_json,
    )


@app.command()
def withdraw(
    loop: LoopId,
    reason: Annotated[str, typer.Option("--reason", help="How the customer took it back.")],
    person: Person,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """客户撤回 / The customer takes the complaint back."""
    from tasks.routing import decide

    act(
        person,
        lambda ws, by, now: decide.withdraw(ws, loop, reason, by, now),
        "{} closed as withdrawn",
        dry_run=dry_run,
        as_json=as_json,
    )


@app.command()
def nominate(
    loop: LoopId,
    why: Annotated[str, typer.Option("--why", help="Why several departments must act.")],
    person: Person,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """提名大循环 / Its cause needs several departments: nominate it as a big loop."""
    from tasks.causes.nominate import nominate as put_forward

    act(
        person,
        lambda ws, by, now: put_forward(ws, loop, why, by, now).big,
        "hangs on {}",
        dry_run=dry_run,
        as_json=as_json,
        name="big",
    )
