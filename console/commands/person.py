"""人员 / People: who is there and holds what, their leave, and handing over what they hold."""

from typing import TYPE_CHECKING, Annotated

import typer

from console.terminal import AsJson, DryRun, Person, act, actor, day, emit, say, table, workspace

if TYPE_CHECKING:
    pass

NAME = "person"
app = typer.Typer(no_args_is_help=True)
Someone = Annotated[str, typer.Argument(metavar="PERSON", help="A person's id.")]


@app.command("list")
def list_(
    unit: Annotated[str | None, typer.Option(help="Only this unit's.")] = None,
    as_json: AsJson = False,
) -> None:
    """人员、在手工单与请假 / People with the tickets they hold, their capacity, and leave today."""
    from loopwright.now import utc_now
    from tasks.tickets.hand_over import list_people

    with workspace() as ws:
        items = list_people(ws, unit, utc_now())
    emit(
        {"items": items},
        as_json,
        lambda: table(
            f"人员 / people: {len(items)}",
            ("person", "name", "unit", "tickets", "capacity", "away until", "deputy"),
            [
                (
                    i["person"],
                    i["name"],
                    i["unit"],
                    i["tickets"],
                    i["capacity"],
                    i["away_until"],
                    i["deputy"],
                )
                for i in items
            ],
        ),
    )


@app.command()
def leave(
    who: Someone,
    first: Annotated[str, typer.Option("--from", metavar="DAY", help="First day, 2026-12-01.")],
    last: Annotated[str, typer.Option("--to", metavar="DAY", help="Last day, included.")],
    person: Person,
    deputy: Annotated[
        str | None, typer.Option(metavar="PERSON", help="Who decides meanwhile.")
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """登记请假 / Record leave; a deputy decides meanwhile."""
    from tasks.people import record_leave

    days = day(first), day(last)
    act(
        person,
        lambda ws, by, now: record_leave(ws, who, *days, deputy, by, now),
        f"{who} {first} … {last}",
        dry_run=dry_run,
        as_json=as_json,
        name="absence",
    )


@app.command("hand-over")
def hand_over(
    who: Someone,
    person: Person,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="PERSON", help="Left out: by free capacity in each unit."),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """工作移交 / Everything that somebody holds goes to others."""
    from loopwright.now import utc_now
    from tasks.tickets import hand_over as tasks

    with workspace(dry_run=dry_run) as ws:
        done = tasks.hand_over(ws, who, to, actor(ws, person), utc_now())
    emit(
        {"person": who, "tickets": done.tickets, "left": list(done.left)},
        as_json,
        lambda: tell(done.tickets, done.left),
    )


def tell(tickets: dict[str, list[str]], left: tuple[str, ...]) -> None:
    say(f"✓ {sum(len(some) for some in tickets.values())} tickets")
    for heir, some in sorted(tickets.items()):
        say(f"  {heir}: {', '.join(some)}")
    if left:
        say(f"  暂无人承办，回到部门 / nobody could take: {', '.join(left)}")
