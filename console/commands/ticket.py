"""工单 / Tickets: list them, accept, reject, transfer, resolve."""

from typing import Annotated

import typer

from console.terminal import (
    AsJson,
    DryRun,
    Language,
    Limit,
    Person,
    actor,
    emit,
    say,
    table,
    workspace,
)
from loopwright.glossary import title

NAME = "ticket"
app = typer.Typer(no_args_is_help=True)
TicketId = Annotated[
    str, typer.Argument(help="A ticket's id, or its last four or more characters.")
]


@app.command("list")
def list_(
    unit: Annotated[str | None, typer.Option(help="Only this unit's.")] = None,
    state: Annotated[str | None, typer.Option(help="assigned, accepted, …")] = None,
    limit: Limit = 30,
    lang: Language = "zh",
    as_json: AsJson = False,
) -> None:
    """Tickets, newest first."""
    from tasks.look import list_tickets

    with workspace() as ws:
        items = list_tickets(ws, unit=unit, state=state, limit=limit)
    emit(
        {"items": items},
        as_json,
        lambda: table(
            f"工单 / tickets: {len(items)}",
            ("id", "unit", "state", "pri", "topic", "loop", "assigned"),
            [
                (
                    i["id"],
                    i["unit"],
                    title("ticket", i["state"], lang),
                    i["priority"],
                    i["topic"],
                    i["loop_id"],
                    i["assigned_at"],
                )
                for i in items
            ],
        ),
    )


@app.command()
def accept(
    ticket: TicketId, person: Person, dry_run: DryRun = False, as_json: AsJson = False
) -> None:
    """接单 / Take the ticket."""
    from loopwright.now import utc_now
    from tasks import hand_off

    with workspace(dry_run=dry_run) as ws:
        loop = hand_off.accept(ws, ticket, actor(ws, person), utc_now())
    emit({"loop": loop}, as_json, lambda: say(f"✓ accepted; loop {loop}"))


@app.command()
def reject(
    ticket: TicketId,
    reason: Annotated[str, typer.Option("--reason", help="Why it is not yours.")],
    suggest: Annotated[str, typer.Option("--suggest", metavar="UNIT", help="Whose it is.")],
    person: Person,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """不是我们的 / Not ours: say why and whose it is."""
    from loopwright.now import utc_now
    from tasks import hand_off

    with workspace(dry_run=dry_run) as ws:
        loop = hand_off.reject(ws, ticket, reason, suggest, actor(ws, person), utc_now())
    emit({"loop": loop}, as_json, lambda: say(f"✓ rejected; loop {loop}"))


@app.command()
def transfer(
    ticket: TicketId,
    unit: Annotated[str, typer.Option("--to", metavar="UNIT", help="Who goes on with it.")],
    reason: Annotated[str, typer.Option("--reason", help="Why.")],
    person: Person,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """转办 / Another unit goes on with it, both agreeing."""
    from loopwright.now import utc_now
    from tasks import hand_off

    with workspace(dry_run=dry_run) as ws:
        loop = hand_off.transfer(ws, ticket, unit, reason, actor(ws, person), utc_now())
    emit({"loop": loop}, as_json, lambda: say(f"✓ transferred to {unit}; loop {loop}"))


@app.command()
def resolve(
    ticket: TicketId,
    cause: Annotated[str, typer.Option("--cause", help="A cause code of the taxonomy.")],
    done: Annotated[str, typer.Option("--done", help="What was done for the customer.")],
    person: Person,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """处理完毕 / Put right, with a coded cause and what was done."""
    from loopwright.now import utc_now
    from tasks import hand_off

    with workspace(dry_run=dry_run) as ws:
        loop = hand_off.resolve(ws, ticket, cause, done, actor(ws, person), utc_now())
    emit({"loop": loop}, as_json, lambda: say(f"✓ resolved; loop {loop}"))
