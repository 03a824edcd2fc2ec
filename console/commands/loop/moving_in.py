"""迁入 / Open cases from an older system, and their status back."""

from pathlib import Path
from typing import Annotated, Any

import typer

from console.commands.loop.clocks import moment_in
from console.terminal import AsJson, DryRun, Person, actor, emit, listed, say, table, workspace

app = typer.Typer()


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="Open cases: CSV, XLSX or JSON lines.")],
    source: Annotated[str, typer.Option("--source", help="A source that yields cases.")],
    person: Person,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Send units no message about each ticket.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """迁入在办 / Take in open cases of an older system; a second time changes nothing."""
    from dataclasses import asdict

    from loopwright.now import utc_now
    from tasks.intake.pull import source_named
    from tasks.moving_in.import_loops import import_cases, preview

    with workspace() as ws:
        spec, by = source_named(ws, source), actor(ws, person)
        if dry_run:
            done = preview(ws, spec, file)
        else:
            done = import_cases(ws, spec, file, by, utc_now(), quiet=quiet)
    document = {"source": source, "dry_run": dry_run} | asdict(done)
    emit(document, as_json, lambda: tell_import(document))
    raise typer.Exit(1 if done.refused else 0)


def tell_import(done: dict[str, Any]) -> None:
    names = ("read", "opened", "joined", "reopened", "waiting", "closed", "unchanged")
    say(("试运行 / dry run: " if done["dry_run"] else "✓ ") + done["source"])
    say("  " + " · ".join(f"{name} {done[name]:,}" for name in names))
    if done["changed"]:
        say(f"  原系统已变、未更新 / changed there, left as they are: {listed(done['changed'])}")
    if done["refused"]:
        table(
            f"未迁入 / not taken in: {len(done['refused'])}",
            ("file", "line", "number", "column", "reason"),
            [
                (r["file"], r["line"], r["number"], r["column"], r["reason"])
                for r in done["refused"]
            ],
        )


@app.command()
def status(
    source: Annotated[str, typer.Option("--source", help="A source that yields cases.")],
    since: Annotated[
        str | None, typer.Option("--since", metavar="ISO", help="Changed since then; default: all.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write a CSV file here.")] = None,
    post: Annotated[
        bool, typer.Option("--post", help="Post them, signed, to cases.post_to.")
    ] = False,
    person: Person = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """回传状态 / What became of an older system's cases, by their numbers there.

    Where they leave the house, with --out or --post, somebody must answer for it: --as PERSON.
    """
    from dataclasses import asdict

    from loopwright.now import utc_now
    from tasks.intake.pull import source_named
    from tasks.moving_in.import_loops import require_cases
    from tasks.moving_in.status_back import post_statuses, statuses, write_statuses

    with workspace(dry_run=dry_run) as ws:
        spec = source_named(ws, source)
        require_cases(spec)
        by = actor(ws, person) if out or post or person else None
        found = statuses(ws, spec, moment_in(ws, since) if since else None)
        posted = post_statuses(ws, spec, found, by, utc_now()) if by and post else 0
        if by and out:
            write_statuses(ws, spec, found, out, by, utc_now())
    document = {"items": [asdict(item) for item in found], "out": out and str(out)}
    emit(document | {"posted": posted}, as_json, lambda: tell_status(document, posted))


def tell_status(document: dict[str, Any], posted: int) -> None:
    items = document["items"]
    if document["out"] or posted:
        where = document["out"] or f"{posted} messages"
        say(f"✓ {where}: {len(items):,}")
        return
    names = ("number", "loop", "state", "outcome", "unit", "legal_due", "changed_at")
    table(
        f"迁入案件 / imported cases: {len(items)}",
        names,
        [tuple(item[name] for name in names) for item in items],
    )
