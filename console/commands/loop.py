"""循环 / Loops: list them, tell one's story, explain a decision, merge two."""

from typing import Annotated, Any

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

NAME = "loop"
app = typer.Typer(no_args_is_help=True)
LoopId = Annotated[str, typer.Argument(help="A loop's id, or its last four or more characters.")]


@app.command("list")
def list_(
    kind: Annotated[str | None, typer.Option(help="small or big")] = None,
    state: Annotated[str | None, typer.Option(help="open, triage, candidate, …")] = None,
    unit: Annotated[str | None, typer.Option(help="Lead unit's code.")] = None,
    topic: Annotated[str | None, typer.Option(help="Topic id.")] = None,
    limit: Limit = 30,
    lang: Language = "zh",
    as_json: AsJson = False,
) -> None:
    """Loops, newest first."""
    from tasks.look import list_loops

    with workspace() as ws:
        items = list_loops(ws, kind=kind, state=state, unit=unit, topic=topic, limit=limit)
    emit(
        {"items": items},
        as_json,
        lambda: table(
            f"循环 / loops: {len(items)}",
            ("id", "kind", "state", "pri", "lead", "topic", "n", "words"),
            [
                (
                    i["id"],
                    title("loop", i["kind"], lang),
                    title("state", i["state"], lang),
                    i["priority"],
                    i["lead"],
                    i["topic"],
                    i["issues"],
                    i["words"],
                )
                for i in items
            ],
        ),
    )


@app.command()
def show(loop: LoopId, lang: Language = "zh", as_json: AsJson = False) -> None:
    """One loop's whole story, from the customer's words to the last event."""
    from tasks.look import show_loop

    with workspace() as ws:
        story = show_loop(ws, loop)
    emit(story, as_json, lambda: tell(story, lang))


def tell(story: dict[str, Any], lang: str) -> None:
    loop = story["loop"]
    say(
        f"{loop['id']}  {title('loop', loop['kind'], lang)} · {title('state', loop['state'], lang)}"
        f" · {loop['priority'] or '-'} · {loop['topic']} › {loop['touchpoint']}"
    )
    say(
        f"  lead {loop['lead'] or '-'} · level {title('level', loop['level'], lang)}"
        f" · received {loop['received_at']} · policy {loop['policy']} rule {loop['rule'] or '-'}"
    )
    for name in ("big", "small"):
        if story[name]:
            say(f"  {title('loop', name, lang)}: {', '.join(story[name])}")
    table(
        "问题 / issues",
        ("relation", "kind", "source", "received", "words"),
        [
            (
                title("relation", i["relation"], lang),
                title("kind", i["kind"], lang),
                i["source"],
                i["received_at"],
                i["text"],
            )
            for i in story["issues"]
        ],
    )
    table(
        "工单 / tickets",
        ("id", "unit", "state", "assigned", "cause"),
        [
            (t["id"], t["unit"], title("ticket", t["state"], lang), t["assigned_at"], t["cause"])
            for t in story["tickets"]
        ],
    )
    table(
        "消息 / messages",
        ("template", "unit", "state", "tries", "sent"),
        [
            (
                m["template"],
                m["unit"],
                title("message", m["state"], lang),
                m["attempts"],
                m["sent_at"],
            )
            for m in story["messages"]
        ],
    )
    table(
        "事件 / events",
        ("#", "at", "what", "who", "words"),
        [
            (
                e["loop_seq"],
                e["at"],
                title("event", e["kind"], lang),
                f"{e['actor_id']} ({e['actor_via']})",
                event_words(e),
            )
            for e in story["events"]
        ],
    )


def event_words(event: dict[str, Any]) -> str:
    shown = [
        str(v)
        for k, v in event["data"].items()
        if k in ("unit", "ticket", "suggested", "cause", "small", "why", "into") and v
    ]
    return " · ".join([*shown, *event["words"].values()])


@app.command()
def explain(loop: LoopId, lang: Language = "zh", as_json: AsJson = False) -> None:
    """Why it was decided so: rule, version, each clause with its value, evidence, model score."""
    from tasks.look import explain_loop

    with workspace() as ws:
        why = explain_loop(ws, loop, lang)
    emit(why, as_json, lambda: tell_why(why, lang))


def tell_why(why: dict[str, Any], lang: str) -> None:
    zh = lang == "zh"
    made = why["decision"]
    level = title("level", made["level"], lang)
    say(
        f"{why['loop']}: {title('loop', why['kind'], lang)} · {level} · {made['lead']}"
        f" · {made['priority']}"
    )
    published = f"{'发布' if zh else 'publication'} {why['publication']}"
    say(
        f"{'规则' if zh else 'rule'} {why['rule'] or '-'} {why['title'] or ''}"
        f" ({why['policy']} {why['version']}, {published})"
    )
    if why["reason"]:
        say(f"{'原因' if zh else 'reason'}: {why['reason']}")
    table(
        "条款 / clauses",
        ("", "clause", "values"),
        [("✓" if c["holds"] else "✗", c["text"], values_of(c)) for c in why["clauses"]],
    )
    table(
        "证据 / evidence",
        ("about", "words", "by"),
        [(e["about"], e["words"], e["by"]) for e in why["evidence"]],
    )
    say(f"{'置信度' if zh else 'confidence'}: {why['confidence']:.2f}")
    table(
        "先前未命中的规则 / rules that did not match",
        ("rule", "title", "first clause that failed"),
        [(r["rule"], r["title"], failing(r)) for r in why["rules"] if not r["matched"]],
    )


def values_of(clause: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {value!r}" for name, value in clause["values"].items())


def failing(rule: dict[str, Any]) -> str:
    clause = next((c for c in rule["clauses"] if c["holds"] is not True), None)
    return f"{clause['text']}  ({values_of(clause)})" if clause else ""


@app.command()
def merge(
    loop: LoopId,
    into: Annotated[str, typer.Option("--into", help="The loop that goes on.")],
    person: Person,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """One complaint opened twice: close LOOP as merged, its issues join the other."""
    from loopwright.now import utc_now
    from tasks.decide import merge as merge_loops

    with workspace(dry_run=dry_run) as ws:
        kept = merge_loops(ws, loop, into, actor(ws, person), utc_now())
    emit({"into": kept}, as_json, lambda: say(f"✓ merged into {kept}"))


@app.command()
def unmerge(loop: LoopId, person: Person, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """撤销合并 / Undo a merge: the loop opens again with its own issues."""
    from loopwright.now import utc_now
    from tasks.decide import unmerge as undo

    with workspace(dry_run=dry_run) as ws:
        opened = undo(ws, loop, actor(ws, person), utc_now())
    emit({"loop": opened}, as_json, lambda: say(f"✓ {opened} is open again"))


@app.command()
def unlink(
    loop: LoopId,
    big: Annotated[str, typer.Option("--from", help="The big loop it does not belong to.")],
    person: Person,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """解除同因 / Undo «same cause»: the customer's loop leaves the big one."""
    from loopwright.now import utc_now
    from tasks.decide import unlink as undo

    with workspace(dry_run=dry_run) as ws:
        small = undo(ws, loop, big, actor(ws, person), utc_now())
    emit({"loop": small}, as_json, lambda: say(f"✓ {small} stands alone"))


@app.command()
def withdraw(
    loop: LoopId,
    reason: Annotated[str, typer.Option("--reason", help="How the customer took it back.")],
    person: Person,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """客户撤回 / The customer takes the complaint back."""
    from loopwright.now import utc_now
    from tasks.decide import withdraw as withdraw_loop

    with workspace(dry_run=dry_run) as ws:
        closed = withdraw_loop(ws, loop, reason, actor(ws, person), utc_now())
    emit({"loop": closed}, as_json, lambda: say(f"✓ {closed} closed as withdrawn"))
