"""启动全部 / Start everything from one command."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from console.terminal import AsJson, emit, say, workspace

NAME = "up"


def command(
    port: Annotated[
        int | None,
        typer.Option(
            "--port", min=1, max=65535, help="Of Prefect's API on 127.0.0.1; 4200 if free."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """启动全部 / Run Prefect's server, the schedules and the dispatcher until Ctrl-C or SIGTERM."""
    from flows.up import up
    from tasks.workspace import identity_secret

    with workspace() as ws:
        publication, settings = ws.published.number, ws.settings
        identity_secret(settings)

    def ready(url: str) -> None:
        inbox = str(Path(settings.inbox).absolute())
        emit(
            {"prefect": url, "inbox": inbox, "publication": publication},
            as_json,
            lambda: say(f"✓ 就绪 / ready: Prefect {url}, inbox {inbox}, publication {publication}"),
        )
        sys.stdout.flush()

    up(settings, port, ready)
