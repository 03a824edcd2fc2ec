"""客户 / What customers are told and asked, and what they answer."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.commands.loop.clocks import moment_in
from console.terminal import (
    AsJson,
    DryRun,
    Language,
    LoopId,
    Person,
    act,
    choose,
    emit,
    table,
    workspace,
)
from loopwright.glossary import title

if TYPE_CHECKING:
    from models.kinds import Answer

app = typer.Typer()


Recording = Annotated[str, typer.Option("--recording", help="Reference of the call's recording.")]


@app.command()
def answer(
    loop: LoopId,
    said: Annotated[str, typer.Argument(metavar="yes|no|partly", help="Is it solved?")],
    person: Person,
    words: Annotated[str, typer.Option("--words", help="What the customer said.")] = "",
    recording: Recording = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """客户答复 / The customer's answer: yes closes the loop, no or partly opens it again.

    Words that say the opposite leave it to a person: `loop doubts`."""
    from models.kinds import Answer
    from tasks.verification import answers

    heard = choose(Answer, said, "answer")
    act(
        person,
        lambda ws, by, now: answers.answer(ws, loop, heard, words, by, now, recording),
        said_of(heard, words),
        dry_run=dry_run,
        as_json=as_json,
    )


def said_of(heard: "Answer", words: str) -> str:
    """What became of it, in words with {} for the loop."""
    from policy.doubt import contradicts

    if contradicts(heard, words):
        return "{}: the words say otherwise, so a person settles it: `loop doubts`"
    return "{} closed as verified" if heard == "yes" else "{} is open again"


@app.command()
def doubts(lang: Language = "zh", as_json: AsJson = False) -> None:
    """存疑答复 / Answers that the customer's own words contradict: somebody must settle them."""
    from tasks.verification import answers

    with workspace() as ws:
        items = answers.doubts(ws)
    emit({"items": items}, as_json, lambda: tell_doubts(items, lang))


def tell_doubts(items: list[dict[str, Any]], lang: str) -> None:
    table(
        f"存疑答复 / answers in doubt: {len(items)}",
        ("loop", "unit", "answer", "before", "answered", "words"),
        [
            (
                i["loop"],
                i["unit"],
                title("answer", i["answer"], lang),
                i["first_answer"] and title("answer", i["first_answer"], lang),
                i["answered_at"],
                i["words"],
            )
            for i in items
        ],
    )


@app.command()
def settle(
    loop: LoopId,
    meant: Annotated[str, typer.Argument(metavar="yes|no|partly", help="What was meant.")],
    person: Person,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """判定存疑答复 / Say what an answer in doubt meant; the loop closes or opens again by it."""
    from models.kinds import Answer
    from tasks.verification import answers

    heard = choose(Answer, meant, "answer")
    act(
        person,
        lambda ws, by, now: answers.settle_doubt(ws, loop, heard, by, now),
        "answer of {} settled",
        dry_run=dry_run,
        as_json=as_json,
    )


@app.command()
def calls(
    unit: Annotated[str | None, typer.Option(help="Lead unit's code.")] = None,
    lang: Language = "zh",
    as_json: AsJson = False,
) -> None:
    """回访电话 / Customers who must be called, the oldest due first."""
    from tasks.verification import call_backs

    with workspace() as ws:
        items = call_backs.calls(ws, unit)
    emit({"items": items}, as_json, lambda: tell_calls(items, lang))


def tell_calls(items: list[dict[str, Any]], lang: str) -> None:
    table(
        f"回访电话 / customers to call: {len(items)}",
        ("loop", "unit", "pri", "topic", "not before", "tried", "last time"),
        [
            (
                i["loop"],
                i["unit"],
                i["priority"],
                i["topic"],
                i["call_at"],
                i["contacts"],
                i["outcome"] and title("call", i["outcome"], lang),
            )
            for i in items
        ],
    )


@app.command()
def called(
    loop: LoopId,
    outcome: Annotated[
        str,
        typer.Option("--outcome", help="no-answer, busy, call-later, wrong-number or refused"),
    ],
    person: Person,
    recording: Recording = "",
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="ISO", help="With call-later: when the customer wished it."),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """回访未果 / A call that brought no answer; one that did is `loop answer`."""
    from models.kinds import CallOutcome
    from tasks.verification import call_backs

    ended = choose(CallOutcome, outcome, "--outcome")
    act(
        person,
        lambda ws, by, now: call_backs.called(
            ws, loop, ended, recording, by, now, moment_in(ws, at) if at else None
        ),
        "call about {} noted",
        dry_run=dry_run,
        as_json=as_json,
    )


@app.command()
def told(
    loop: LoopId,
    what: Annotated[
        str, typer.Option("--what", help="first-answer, decision or change: what has changed since")
    ],
    how: Annotated[str, typer.Option("--how", help="call, message or letter")],
    person: Person,
    reference: Annotated[
        str,
        typer.Option(
            "--reference",
            help="Of the call record, message or letter; decision and change need one.",
        ),
    ] = "",
    approval: Annotated[
        str | None, typer.Option("--approval", help="Of the letter: `loop reply` asks for it.")
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """已告知客户 / The customer was told: stops the clocks that wait for it.

    Of a closed loop's customer only what has changed since, once the cause is dealt with.
    """
    from models.kinds import How, Told
    from tasks.verification import tell as tasks

    news, way = choose(Told, what, "--what"), choose(How, how, "--how")
    act(
        person,
        lambda ws, by, now: tasks.tell_customer(ws, loop, news, way, reference, by, now, approval),
        "noted; loop {}",
        dry_run=dry_run,
        as_json=as_json,
    )
