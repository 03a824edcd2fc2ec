"""审计 / The history: verify it, replay it."""

import sys

import typer

from console.terminal import AsJson, emit, say, workspace

NAME = "audit"
app = typer.Typer(no_args_is_help=True)


@app.command()
def verify(as_json: AsJson = False) -> None:
    """Recompute every leaf and the tree's root; exit 1 at the first thing wrong."""
    from dataclasses import asdict

    from loopwright.history.verify import verify as verify_history

    with workspace() as ws, ws.db.read() as tx:
        report = verify_history(tx)

    def human() -> None:
        if report.ok:
            say(f"✓ {report.size:,} events, {report.bodies:,} bodies, root {report.root}")
            say(
                "  证明：自写入以来，未有人只改行而不重算哈希。不证明：有人重算了全部哈希；"
                "这要靠留存在外部的检查点。"
            )
            say(
                "  This proves that no row was changed without rebuilding the hashes; only a"
                " checkpoint kept outside proves that nobody rebuilt them."
            )
        else:
            say(f"✗ seq {report.seq}: {report.problem}")

    emit(asdict(report) | {"ok": report.ok}, as_json, human)
    sys.exit(0 if report.ok else 1)


@app.command()
def replay(as_json: AsJson = False) -> None:
    """Rebuild loops and tickets from the events and compare; exit 1 on a difference."""
    from dataclasses import asdict

    from tasks.replay import replay as replay_history

    with workspace() as ws, ws.db.read() as tx:
        result = replay_history(tx)

    def human() -> None:
        for line in result.listed:
            say(line)
        mark = "✗" if result.differences else "✓"
        say(
            f"{mark} {result.loops:,} loops from {result.events:,} events,"
            f" {result.differences:,} differences"
        )

    emit(asdict(result), as_json, human)
    sys.exit(1 if result.differences else 0)
