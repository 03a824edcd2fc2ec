"""工单 / Tickets: list them, accept, give, reject, transfer, ask for time, nominate, resolve."""

from typing import Annotated

import typer

from console.terminal import (
    AsJson,
    DryRun,
    Language,
    Limit,
    Person,
    act,
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
            ("id", "unit", "person", "state", "pri", "topic", "loop", "assigned"),
            [
                (
                    i["id"],
                    i["unit"],
                    i["person"],
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
    from tasks.tickets import hand_off

    act(
        person,
        lambda ws, by, now: hand_off.accept(ws, ticket, by, now),
        "accepted; loop {}",
        dry_run=dry_run,
        as_json=as_json,
    )


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
    from tasks.tickets import hand_off

    act(
        person,
        lambda ws, by, now: hand_off.reject(ws, ticket, reason, suggest, by, now),
        "rejected; loop {}",
        dry_run=dry_run,
        as_json=as_json,
    )


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
    from tasks.tickets import hand_off

    act(
        person,
        lambda ws, by, now: hand_off.transfer(ws, ticket, unit, reason, by, now),
        f"transferred to {unit}; loop {{}}",
        dry_run=dry_run,
        as_json=as_json,
    )


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
    from tasks.tickets import hand_off

    act(
        person,
        lambda ws, by, now: hand_off.resolve(ws, ticket, cause, done, by, now),
        "resolved; loop {}",
        dry_run=dry_run,
        as_json=as_json,
    )


@app.command()
def give(
    ticket: TicketId,
    person: Person,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="PERSON", help="Left out: who on duty has the most room."),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """指定经办人 / One of the unit's people handles it from now on."""
    from loopwright.now import utc_now
    from tasks.tickets import handlers

    with workspace(dry_run=dry_run) as ws:
        given = handlers.give(ws, ticket, to, actor(ws, person), utc_now())
    emit(
        {"loop": given.loop, "person": given.person},
        as_json,
        lambda: say(f"✓ {given.person}; loop {given.loop}"),
    )


@app.command()
def progress(
    ticket: TicketId,
    note: Annotated[str, typer.Option("--note", help="What has been done so far.")],
    person: Person,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """处理进展 / A sign of work; while there is one, nobody above is told."""
    from tasks.tickets import hand_off

    act(
        person,
        lambda ws, by, now: hand_off.progress(ws, ticket, note, by, now),
        "noted; loop {}",
        dry_run=dry_run,
        as_json=as_json,
    )


@app.command("more-time")
def more_time(
    ticket: TicketId,
    days: Annotated[int, typer.Option("--days", min=1, help="Working days.")],
    reason: Annotated[str, typer.Option("--reason", help="What holds it up.")],
    person: Person,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """申请延期 / Ask for more of the unit's own time; the customer's clocks run on."""
    from tasks.approval import approvals

    act(
        person,
        lambda ws, by, now: approvals.request_more_time(ws, ticket, days, reason, by, now),
        "asked for; approval {}",
        dry_run=dry_run,
        as_json=as_json,
        name="approval",
    )


@app.command()
def nominate(
    ticket: TicketId,
    why: Annotated[str, typer.Option("--why", help="Why several departments must act.")],
    person: Person,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """提名大循环 / Its cause needs several departments: nominate it as a big loop."""
    from loopwright.now import utc_now
    from tasks.causes.nominate import nominate_ticket

    with workspace(dry_run=dry_run) as ws:
        done = nominate_ticket(ws, ticket, why, actor(ws, person), utc_now())
    emit(
        {"big": done.big, "candidate": done.candidate},
        as_json,
        lambda: say(f"✓ {done.big}{' (new candidate)' if done.candidate else ''}"),
    )
