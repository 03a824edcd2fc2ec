"""待判定 / What waits for a person: list it, decide it."""

from typing import TYPE_CHECKING, Annotated

import typer

from console.terminal import AsJson, DryRun, Limit, Person, actor, emit, say, table, workspace
from loopwright.errors import InputError

if TYPE_CHECKING:
    from datetime import datetime

    from loopwright.history.envelope import Actor
    from tasks.workspace import Workspace

NAME = "triage"
app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_(limit: Limit = 30, as_json: AsJson = False) -> None:
    """Issues in doubt, unrouted and disputed loops, candidates, proposed merges; urgent first."""
    from tasks.routing.waiting import list_triage

    with workspace() as ws:
        items = list_triage(ws, limit)
    emit(
        {"items": items},
        as_json,
        lambda: table(
            f"待判定 / waiting: {len(items)}",
            ("what", "id", "kind", "due", "why", "words"),
            [
                (i["what"], i["id"][-12:], i["kind"], i["due_at"], i["why"], i["words"])
                for i in items
            ],
        ),
    )


@app.command()
def decide(
    wanted: Annotated[
        str, typer.Argument(metavar="ID", help="An issue, loop, candidate or proposal.")
    ],
    person: Person,
    kind: Annotated[str | None, typer.Option(help="An issue's kind: complaint, noise, …")] = None,
    topic: Annotated[str | None, typer.Option(help="An issue's topic.")] = None,
    unit: Annotated[str | None, typer.Option(help="The unit that gets or leads a loop.")] = None,
    participants: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="A candidate's; left out: as suggested, '': nobody."),
    ] = None,
    priority: Annotated[str | None, typer.Option(help="A candidate's: P1 to P4.")] = None,
    accept: Annotated[
        bool | None, typer.Option("--accept/--refuse", help="For a proposed merge.")
    ] = None,
    over_limit: Annotated[
        bool, typer.Option("--over-limit", help="Although enough big loops are being worked on.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Decide one: an issue by --kind and --topic, a loop or candidate by --unit, a merge by
    --accept."""
    from loopwright.now import utc_now
    from models.kinds import IssueKind
    from tasks.routing import decide as tasks

    with workspace(dry_run=dry_run) as ws:
        by, now = actor(ws, person), utc_now()
        if unit is not None:
            result = {"loop": give(ws, wanted, unit, participants, priority, over_limit, by, now)}
        elif accept is not None:
            result = {"loop": tasks.decide_proposal(ws, wanted, accept, by, now)}
        elif kind is not None or topic is not None:
            chosen = kind or IssueKind.COMPLAINT
            if chosen not in list(IssueKind):
                raise InputError(f"no kind {chosen!r}", f"use one of: {', '.join(IssueKind)}")
            opening = tasks.decide_issue(ws, wanted, IssueKind(chosen), topic, by, now)
            result = {"fate": str(next(iter(opening.states.values())))}
        else:
            raise InputError(
                "nothing to decide", "give --kind/--topic, or --unit, or --accept/--refuse"
            )
    emit(result, as_json, lambda: say(f"✓ decided: {' '.join(result.values())}"))


def give(
    ws: "Workspace",
    wanted: str,
    unit: str,
    participants: str | None,
    priority: str | None,
    over_limit: bool,
    by: "Actor",
    now: "datetime",
) -> str:
    """A candidate is taken on by a lead and participants; any other loop goes to one unit."""
    from tasks.causes import big_loops
    from tasks.routing.decide import decide_loop

    if big_loops.is_candidate(ws, wanted):
        others = None if participants is None else codes(participants)
        return big_loops.triage(ws, wanted, unit, others, priority, by, now, over_limit=over_limit)
    if participants is not None or priority is not None:
        raise InputError(f"{wanted} is no candidate", "leave out --participants and --priority")
    return decide_loop(ws, wanted, unit, by, now)


def codes(text: str) -> list[str]:
    return [code.strip() for code in text.replace("，", ",").split(",") if code.strip()]
