"""隔离区 / What could not be parsed: list it with reasons, replay it after a fix."""

from typing import Annotated

import typer

from console.terminal import AsJson, Limit, Person, actor, emit, say, table, workspace

NAME = "quarantine"
app = typer.Typer(no_args_is_help=True)
Source = Annotated[str | None, typer.Option("--source", help="Only this source.")]


@app.command("list")
def list_(source: Source = None, limit: Limit = 50, as_json: AsJson = False) -> None:
    """Quarantined records, oldest first."""
    from tasks.intake.quarantine import list_quarantine

    with workspace() as ws:
        rows = list_quarantine(ws, source, limit)
    items = [dict(row._mapping) | {"at": row.at.isoformat()} for row in rows]
    emit(
        {"items": items},
        as_json,
        lambda: table(
            f"隔离 / quarantined: {len(items)}",
            ("source", "file", "record", "reason", "tries"),
            [(i["source"], i["name"], i["number"], i["reason"], i["attempts"]) for i in items],
        ),
    )


@app.command()
def replay(
    source: Annotated[str, typer.Option("--source", help="The source whose document was mended.")],
    person: Person,
    as_json: AsJson = False,
) -> None:
    """Parse again with the published source document; starts a stopped source."""
    from loopwright.now import utc_now
    from tasks.intake.quarantine import replay_quarantine

    with workspace() as ws:
        counts = replay_quarantine(ws, source, actor(ws, person), utc_now())
    emit(
        vars(counts),
        as_json,
        lambda: say(
            f"✓ {source}: {counts.stored:,} stored, {counts.quarantined:,} still quarantined"
        ),
    )
