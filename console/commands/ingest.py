"""读入一个文件 / Read one file of a source."""

from pathlib import Path
from typing import Annotated

import typer

from console.terminal import (
    AsJson,
    DryRun,
    Person,
    actor_or_program,
    emit,
    progress,
    say,
    workspace,
)

NAME = "ingest"


def command(
    path: Annotated[Path, typer.Argument(help="The file to read.")],
    source: Annotated[str, typer.Option("--source", help="The source document's name.")],
    person: Person = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """读入一个文件 / Read one file: store it raw, parse it, quarantine what cannot be parsed."""
    from loopwright.now import utc_now
    from sources.preflight import check_file
    from tasks.intake.follow import follow_file
    from tasks.intake.ingest import ingest_file
    from tasks.intake.pull import source_named

    with workspace() as ws:
        spec = source_named(ws, source)
        if dry_run:
            check_file(spec, path)
            emit(
                {"source": source, "path": str(path), "usable": True},
                as_json,
                lambda: say(f"✓ {path.name} can be read as {source}; nothing was stored"),
            )
            return
        with ws.acting(actor_or_program(ws, person)), progress(path.name) as bar:
            counts = (
                follow_file(ws, spec, path, utc_now())
                if spec.follow
                else ingest_file(ws, spec, path, utc_now(), bar)
            )
    emit(
        {"source": source} | vars(counts),
        as_json,
        lambda: say(
            f"✓ {source}: read {counts.read:,} = stored {counts.stored:,}"
            f" + duplicates {counts.duplicates:,} + quarantined {counts.quarantined:,}"
        ),
    )
