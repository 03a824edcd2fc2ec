"""来源 / Sources: list them, switch one off or on."""

from typing import Annotated

import typer

from console.terminal import AsJson, DryRun, Person, actor, emit, say, table, workspace

NAME = "source"
app = typer.Typer(no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The source document's name.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Published sources with their state."""
    from tasks.intake.pull import source_states

    with workspace() as ws:
        items = source_states(ws)
    emit(
        {"items": items},
        as_json,
        lambda: table(
            "来源 / sources",
            ("name", "yields", "enabled", "stopped"),
            [(i["name"], i["yields"], i["enabled"], i["stopped_reason"]) for i in items],
        ),
    )


@app.command()
def off(name: Name, person: Person, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Do not pull this source until it is switched on again."""
    switch(name, person, enabled=False, dry_run=dry_run, as_json=as_json)


@app.command()
def on(name: Name, person: Person, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Pull this source again."""
    switch(name, person, enabled=True, dry_run=dry_run, as_json=as_json)


def switch(name: str, person: str, *, enabled: bool, dry_run: bool, as_json: bool) -> None:
    from loopwright.now import utc_now
    from tasks.intake.pull import switch_source

    with workspace(dry_run=dry_run) as ws:
        switch_source(ws, name, enabled, actor(ws, person), utc_now())
    emit(
        {"source": name, "enabled": enabled},
        as_json,
        lambda: say(f"✓ {name} is {'on' if enabled else 'off'}"),
    )
