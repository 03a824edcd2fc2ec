"""消息 / Messages: look at the outbox, send a test."""

import asyncio
from typing import Annotated

import typer

from console.terminal import (
    AsJson,
    DryRun,
    Limit,
    Person,
    actor,
    actor_or_program,
    emit,
    say,
    table,
    workspace,
)

NAME = "notify"
app = typer.Typer(no_args_is_help=True)


@app.command()
def outbox(
    state: Annotated[str | None, typer.Option(help="queued, sent or quarantined")] = None,
    limit: Limit = 30,
    as_json: AsJson = False,
) -> None:
    """Messages, newest first, with what became of them."""
    from tasks.look import list_messages

    with workspace() as ws:
        items = list_messages(ws, state=state, limit=limit)
    emit(
        {"items": items},
        as_json,
        lambda: table(
            f"消息 / messages: {len(items)}",
            ("template", "unit", "person", "channel", "state", "tries", "due", "ticket", "error"),
            [
                (
                    i["template"],
                    i["unit"],
                    i["person"],
                    i["channel"],
                    i["state"],
                    i["attempts"],
                    i["due_at"],
                    i["ticket_id"],
                    i["error"],
                )
                for i in items
            ],
        ),
    )


@app.command("test")
def send_one(
    to: Annotated[str, typer.Option("--to", help="The address to send to.")],
    person: Person = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Send one test message by the configured transport."""
    from loopwright.now import utc_now
    from tasks.messages.deliver import send_test

    with workspace() as ws:
        transport, by = ws.settings.messages.transport, actor_or_program(ws, person)
        reference = None if dry_run else asyncio.run(send_test(ws, to, by, utc_now()))
    emit(
        {"transport": transport, "reference": reference},
        as_json,
        lambda: say(
            f"{'would send' if dry_run else '✓ accepted'} by {transport} {reference or ''}"
        ),
    )


@app.command()
def replay(
    message: Annotated[str, typer.Argument(help="A quarantined message's id, or `all`.")],
    person: Person,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Queue quarantined messages again, after what stopped them was mended."""
    from loopwright.now import utc_now
    from tasks.messages.outbox import requeue

    with workspace(dry_run=dry_run) as ws:
        by = actor(ws, person)
        count = requeue(ws, None if message == "all" else message, by, utc_now())
    emit({"queued": count}, as_json, lambda: say(f"✓ {count} queued again"))
