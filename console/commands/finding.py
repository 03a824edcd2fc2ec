"""发现 / Findings: what looks like working for the numbers instead of the customers."""

import sys
from typing import Annotated

import typer

from console.terminal import AsJson, Language, day, emit, say, table, workspace

NAME = "finding"
app = typer.Typer(no_args_is_help=True)
DAYS = 90
"""How far back is looked unless told."""
SHOWN = 6


@app.callback()
def _group() -> None:
    """Keeps `list` a verb of its own while it is the only one."""


@app.command("list")
def list_(
    since: Annotated[
        str | None, typer.Option("--since", metavar="DAY", help="First day; default: 90 days.")
    ] = None,
    lang: Language = "zh",
    as_json: AsJson = False,
) -> None:
    """Findings with their numbers and loops; exit 1 when there are any."""
    from dataclasses import asdict
    from datetime import datetime, time, timedelta
    from zoneinfo import ZoneInfo

    from console.commands.clock import known_language
    from insight.findings.look import look
    from loopwright.now import utc_now

    known_language(lang)
    with workspace() as ws:
        zone = ZoneInfo(ws.published.documents.organisation.zone)
        today = utc_now().astimezone(zone).date()
        first = day(since) if since else today - timedelta(days=DAYS)
        with ws.db.read() as tx:
            found = look(tx, datetime.combine(first, time(), zone))

    def human() -> None:
        if not found:
            say(f"✓ 自 {first} 起没有发现 / nothing found since {first}")
            return
        table(
            f"发现 / findings since {first}: {len(found)}",
            ("name", "what", "loops"),
            [(f.name, f.words[lang], some(f.loops)) for f in found],
        )

    emit({"since": first.isoformat(), "items": [asdict(f) for f in found]}, as_json, human)
    sys.exit(1 if found else 0)


def some(loops: tuple[str, ...]) -> str:
    """The first few; --json names all."""
    return ", ".join(loops[:SHOWN]) + (f" … ({len(loops)})" if len(loops) > SHOWN else "")
