"""循环 / Loops: list, show, explain; customers' answers; big loops' plans and ends; merge, undo."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.terminal import (
    AsJson,
    DryRun,
    Language,
    Limit,
    Person,
    act,
    actor,
    choose,
    emit,
    say,
    table,
    workspace,
)
from loopwright.errors import InputError
from loopwright.glossary import title

if TYPE_CHECKING:
    from datetime import date

NAME = "loop"
app = typer.Typer(no_args_is_help=True)
LINKS = 20
"""So many linked loops are named; --json names all."""
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
        f"{outcome_of(loop, lang)} · {loop['priority'] or '-'}"
        f" · {loop['topic']} › {loop['touchpoint']}"
    )
    say(
        f"  lead {loop['lead'] or '-'} · level {title('level', loop['level'], lang)}"
        f" · received {loop['received_at']} · policy {loop['policy']} rule {loop['rule'] or '-'}"
    )
    tell_links(story, lang)
    tell_issues(story["issues"], lang)
    tell_tickets(story["tickets"], lang)
    tell_clocks(story["clocks"], lang)
    tell_verifications(story["verifications"], lang)
    tell_messages(story["messages"], lang)
    tell_events(story["events"], lang)


def tell_issues(issues: list[dict[str, Any]], lang: str) -> None:
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
            for i in issues
        ],
    )


def tell_tickets(tickets: list[dict[str, Any]], lang: str) -> None:
    table(
        "工单 / tickets",
        ("id", "unit", "state", "assigned", "cause"),
        [
            (t["id"], t["unit"], title("ticket", t["state"], lang), t["assigned_at"], t["cause"])
            for t in tickets
        ],
    )


def tell_messages(messages: list[dict[str, Any]], lang: str) -> None:
    table(
        "消息 / messages",
        ("template", "to", "state", "tries", "sent"),
        [
            (
                m["template"],
                recipient(m),
                title("message", m["state"], lang),
                m["attempts"],
                m["sent_at"],
            )
            for m in messages
        ],
    )


def tell_events(events: list[dict[str, Any]], lang: str) -> None:
    table(
        "事件 / events",
        ("#", "at", "what", "who", "words"),
        [
            (
                e["loop_seq"],
                e["at"],
                title("event", e["kind"], lang),
                f"{e['actor_id']} ({e['actor_via']})",
                event_words(e, lang),
            )
            for e in events
        ],
    )


def tell_links(story: dict[str, Any], lang: str) -> None:
    """What hangs together, and a big loop's plan."""
    for name in ("big", "small"):
        if ids := story[name]:
            more = f" … ({len(ids)})" if len(ids) > LINKS else ""
            say(f"  {title('loop', name, lang)}: {', '.join(ids[:LINKS])}{more}")
    if states := story["small_states"]:
        say("    " + " · ".join(f"{title('state', s, lang)} {n}" for s, n in states.items()))
    if cause := story["loop"]["cause"]:
        say(f"  plan: cause {cause} · due {story['loop']['due_on']}")


def outcome_of(loop: dict[str, Any], lang: str) -> str:
    return f" ({title('outcome', loop['outcome'], lang)})" if loop["outcome"] else ""


def tell_clocks(clocks: list[dict[str, Any]], lang: str) -> None:
    if clocks:
        table(
            "时钟 / clocks",
            ("clock", "kind", "ticket", "due", "reminded", "breached", "step", "stopped"),
            [
                (
                    c["spec"],
                    title("clock", c["kind"], lang),
                    c["ticket_id"],
                    f"{c['due_at']}{' ~' if c['provisional'] else ''}",
                    c["reminded_at"],
                    c["breached_at"],
                    c["step"],
                    c["stopped_at"],
                )
                for c in clocks
            ],
        )


def tell_verifications(verifications: list[dict[str, Any]], lang: str) -> None:
    if verifications:
        table(
            "回访验证 / verifications",
            ("asked", "by", "answer until", "answer", "answered"),
            [
                (
                    v["asked_at"],
                    title("via", v["via"], lang),
                    v["due_at"],
                    v["answer"] and title("answer", v["answer"], lang),
                    v["answered_at"],
                )
                for v in verifications
            ],
        )


def recipient(message: dict[str, Any]) -> str:
    """Who a message is for; `customer` with the unit that answers for it."""
    if message["channel"] == "main":
        return str(message["person"] or message["unit"])
    return f"{message['channel']} ({message['unit']})"


SHOWN = (
    *("unit", "person", "ticket", "suggested", "cause", "small", "into"),
    *("what", "how", "via", "answer", "outcome", "why", "step"),
)
"""What of an event's data is shown."""
GROUPS = {"what": "told"}
"""Its group in the glossary, where that has another name."""


def event_words(event: dict[str, Any], lang: str) -> str:
    data = event["data"]
    names = [name for name in data if name in SHOWN and data[name]]
    shown = [title(GROUPS.get(name, name), data[name], lang) for name in names]
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
        [("✓" if c["holds"] else "✗", c["text"], parts_of(c["values"])) for c in why["clauses"]],
    )
    if why["recurrence"]:
        tell_recurrence(why["recurrence"])
    else:
        tell_reading(why, zh)


def tell_recurrence(counted: dict[str, Any]) -> None:
    """The numbers that made a cause recur, and the policy's measure for them."""
    table(
        "复发 / recurrence",
        ("what", "value"),
        [
            (name, parts_of(value) if isinstance(value, dict) else value)
            for name, value in counted.items()
            if value is not None
        ],
    )


def tell_reading(why: dict[str, Any], zh: bool) -> None:
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


def parts_of(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {value!r}" for name, value in values.items())


def failing(rule: dict[str, Any]) -> str:
    clause = next((c for c in rule["clauses"] if c["holds"] is not True), None)
    return f"{clause['text']}  ({parts_of(clause['values'])})" if clause else ""


@app.command()
def answer(
    loop: LoopId,
    said: Annotated[str, typer.Argument(metavar="yes|no|partly", help="Is it solved?")],
    person: Person,
    words: Annotated[str, typer.Option("--words", help="What the customer said.")] = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """客户答复 / The customer's answer: yes closes the loop, no or partly opens it again."""
    from models.kinds import Answer
    from tasks import verify

    heard = choose(Answer, said, "answer")
    act(
        person,
        lambda ws, by, now: verify.answer(ws, loop, heard, words, by, now),
        "{} closed as verified" if heard is Answer.YES else "{} is open again",
        dry_run=dry_run,
        as_json=as_json,
    )


@app.command()
def told(
    loop: LoopId,
    what: Annotated[str, typer.Option("--what", help="first-answer or decision")],
    how: Annotated[str, typer.Option("--how", help="call, message or letter")],
    person: Person,
    reference: Annotated[
        str, typer.Option("--reference", help="Of the call record, message or letter.")
    ] = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """已告知客户 / The customer was told: stops the clocks that wait for it."""
    from models.kinds import How, Told
    from tasks import verify

    news, way = choose(Told, what, "--what"), choose(How, how, "--how")
    act(
        person,
        lambda ws, by, now: verify.tell_customer(ws, loop, news, way, reference, by, now),
        "noted; loop {}",
        dry_run=dry_run,
        as_json=as_json,
    )


@app.command()
def merge(
    loop: LoopId,
    into: Annotated[str, typer.Option("--into", help="The loop that goes on.")],
    person: Person,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """合并 / One complaint opened twice: close LOOP as merged, its issues join the other."""
    from tasks import merge as tasks

    act(
        person,
        lambda ws, by, now: tasks.merge(ws, loop, into, by, now),
        "merged into {}",
        dry_run=dry_run,
        as_json=as_json,
        name="into",
    )


@app.command()
def unmerge(loop: LoopId, person: Person, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """撤销合并 / Undo a merge: the loop opens again with its own issues."""
    from tasks import merge as tasks

    act(
        person,
        lambda ws, by, now: tasks.unmerge(ws, loop, by, now),
        "{} is open again",
        dry_run=dry_run,
        as_json=as_json,
    )


@app.command()
def unlink(
    loop: LoopId,
    big: Annotated[str, typer.Option("--from", help="The big loop it does not belong to.")],
    person: Person,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """解除同因 / Undo «same cause»: the customer's loop leaves the big one."""
    from tasks import merge as tasks

    act(
        person,
        lambda ws, by, now: tasks.unlink(ws, loop, big, by, now),
        "{} stands alone",
        dry_run=dry_run,
        as_json=as_json,
    )


@app.command()
def withdraw(
    loop: LoopId,
    reason: Annotated[str, typer.Option("--reason", help="How the customer took it back.")],
    person: Person,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """客户撤回 / The customer takes the complaint back."""
    from tasks import decide

    act(
        person,
        lambda ws, by, now: decide.withdraw(ws, loop, reason, by, now),
        "{} closed as withdrawn",
        dry_run=dry_run,
        as_json=as_json,
    )


@app.command()
def plan(
    loop: LoopId,
    cause: Annotated[str, typer.Option("--cause", help="The root: a cause code.")],
    why: Annotated[str, typer.Option("--why", help="How the root was found.")],
    actions: Annotated[str, typer.Option("--actions", help="What is done about it.")],
    target: Annotated[str, typer.Option("--target", help="What will be so afterwards.")],
    by: Annotated[str, typer.Option("--by", metavar="DATE", help="Until when: 2026-12-31.")],
    person: Person,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """整改计划 / The lead's plan for a big loop; without it no ticket of it is resolved."""
    from tasks import big_loops

    due = day(by)
    act(
        person,
        lambda ws, who, now: big_loops.plan(ws, loop, cause, why, actions, target, due, who, now),
        "{} is planned",
        dry_run=dry_run,
        as_json=as_json,
    )


def day(text: str) -> "date":
    from datetime import date

    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(f"{text!r} is not a day", "write it as 2026-12-31") from None


@app.command()
def close(
    loop: LoopId,
    outcome: Annotated[
        str,
        typer.Option("--outcome", help="A big loop's: not-proven, abandoned; a small: unfounded."),
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
    from tasks import big_loops, decide

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
        lambda: say(
            f"✓ {done.loop} closed as {how}; customers told by mail: {done.told},"
            f" who can only be called: {done.to_call}"
        ),
    )
