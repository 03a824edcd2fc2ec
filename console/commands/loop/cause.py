"""大循环 / A big loop's plan, effect and end."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.commands.loop.look import outcome_of
from console.effects import tell_effects, tell_plan
from console.terminal import (
    AsJson,
    DryRun,
    Language,
    LoopId,
    Person,
    act,
    actor,
    day,
    emit,
    say,
    workspace,
)
from loopwright.errors import InputError
from loopwright.glossary import title

if TYPE_CHECKING:
    from tasks.causes.big_loops import Closed

app = typer.Typer()


@app.command()
def plan(
    loop: LoopId,
    cause: Annotated[str, typer.Option("--cause", help="The root: a cause code.")],
    why: Annotated[
        list[str], typer.Option("--why", help="How the root was found; once for each why.")
    ],
    actions: Annotated[
        list[str], typer.Option("--actions", help="What is done about it; once for each.")
    ],
    target: Annotated[str, typer.Option("--target", help="What will be so afterwards.")],
    by: Annotated[str, typer.Option("--by", metavar="DATE", help="Until when: 2026-12-31.")],
    person: Person,
    sponsor: Annotated[
        str | None, typer.Option("--sponsor", metavar="PERSON", help="Who answers for it above.")
    ] = None,
    target_percent: Annotated[
        int | None, typer.Option("--target-percent", help="How many per cent fewer are wanted.")
    ] = None,
    baseline_days: Annotated[
        int | None, typer.Option("--baseline-days", help="How long a past it is measured against.")
    ] = None,
    comparison: Annotated[
        str | None,
        typer.Option("--comparison", metavar="TOPIC[/TOUCHPOINT]", help="Compared with."),
    ] = None,
    changed: Annotated[
        str | None, typer.Option("--changed", help="What customers are told, once it is done.")
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """整改计划 / The lead's plan for a big loop; without it no ticket of it is resolved."""
    from tasks.causes import plan_cause

    made = plan_cause.Plan(
        cause,
        why,
        actions,
        target,
        day(by),
        sponsor=sponsor,
        target_percent=target_percent,
        baseline_days=baseline_days,
        comparison=comparison,
        changed=changed,
    )
    act(
        person,
        lambda ws, who, now: plan_cause.plan(ws, loop, made, who, now),
        "{} is planned",
        dry_run=dry_run,
        as_json=as_json,
    )


@app.command()
def effect(loop: LoopId, lang: Language = "zh", as_json: AsJson = False) -> None:
    """成效 / What was measured of a fix, with intervals, and when it is looked at next."""
    from tasks.causes.look_effects import show_effects

    with workspace() as ws:
        shown = show_effects(ws, loop)
    emit(shown, as_json, lambda: tell_measured(shown, lang))


def tell_measured(shown: dict[str, Any], lang: str) -> None:
    say(f"{shown['loop']}  {title('state', shown['state'], lang)}{outcome_of(shown, lang)}")
    tell_plan(shown["plan"], shown["watch"], lang)
    tell_effects(shown["items"], lang)


@app.command()
def changed(
    loop: LoopId,
    text: Annotated[str, typer.Option("--text", help="What changed: customers read this.")],
    person: Person,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """改变了什么 / Write what customers are told: once the big loop closes, or now if it has."""
    from dataclasses import asdict

    from loopwright.now import utc_now
    from tasks.causes import big_loops

    with workspace(dry_run=dry_run) as ws:
        by, now = actor(ws, person), utc_now()
        done = big_loops.describe(ws, loop, text, by, now)
    emit(asdict(done), as_json, lambda: say(f"✓ {done.loop} noted; {told_of(done)}"))


def told_of(done: "Closed") -> str:
    return (
        f"customers told by mail: {done.told}, to be called: {done.to_call}"
        f" (of both later: {done.later})"
    )


@app.command()
def close(
    loop: LoopId,
    outcome: Annotated[
        str,
        typer.Option(
            "--outcome", help="A big loop's: not-proven, abandoned, proven; a small: unfounded."
        ),
    ],
    reason: Annotated[str, typer.Option("--reason", help="Why it ends.")],
    person: Person,
    changed: Annotated[
        str | None, typer.Option("--changed", help="What changed: customers are told this.")
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """关闭循环 / End a big loop, or a small one with nothing to it.

    Of a big loop its units, and the customers linked to it, are told once.
    """
    from dataclasses import asdict

    from loopwright.now import utc_now
    from models.kinds import Outcome
    from tasks.causes import big_loops
    from tasks.routing import decide

    how = outcome.replace("-", " ")
    if how == Outcome.UNFOUNDED:
        if changed is not None:
            raise InputError("nothing has changed where nothing was", "leave out --changed")
        act(
            person,
            lambda ws, by, now: decide.close_unfounded(ws, loop, reason, by, now),
            "{} closed as unfounded",
            dry_run=dry_run,
            as_json=as_json,
        )
        return
    with workspace(dry_run=dry_run) as ws:
        by, now = actor(ws, person), utc_now()
        done = big_loops.close(ws, loop, how, reason, changed, by, now)
    emit(
        asdict(done),
        as_json,
        lambda: say(f"✓ {done.loop} closed as {how}; {told_of(done)}"),
    )
