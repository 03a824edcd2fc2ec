"""清单与经过 / The list of loops, and one loop's story."""

from typing import Annotated, Any

import typer

from console.effects import tell_effects, tell_plan
from console.terminal import AsJson, Language, Limit, LoopId, emit, listed, say, table, workspace
from loopwright.glossary import title

app = typer.Typer()


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
    tell_clock_changes(story["clock_changes"], lang)
    tell_verifications(story["verifications"], lang)
    tell_approvals(story["approvals"], lang)
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
        ("id", "unit", "person", "state", "assigned", "cause"),
        [
            (
                t["id"],
                t["unit"],
                t["person"],
                title("ticket", t["state"], lang),
                t["assigned_at"],
                t["cause"],
            )
            for t in tickets
        ],
    )


def tell_messages(messages: list[dict[str, Any]], lang: str) -> None:
    table(
        "消息 / messages",
        ("template", "version", "to", "state", "tries", "sent"),
        [
            (
                m["template"],
                m["template_version"],
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
            say(f"  {title('loop', name, lang)}: {listed(ids)}")
    if states := story["small_states"]:
        say("    " + " · ".join(f"{title('state', s, lang)} {n}" for s, n in states.items()))
    tell_plan(story["plan"], story["watch"], lang)
    tell_effects(story["effects"], lang)


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
                    due_of(c),
                    c["reminded_at"],
                    c["breached_at"],
                    c["step"],
                    c["stopped_at"],
                )
                for c in clocks
            ],
        )


def due_of(clock: dict[str, Any]) -> str:
    """When it is due; a tilde for provisionally, a bar while it stands still."""
    return f"{clock['due_at']}{' ~' * clock['provisional']}{' ‖' if clock['paused_at'] else ''}"


def tell_clock_changes(changes: list[dict[str, Any]], lang: str) -> None:
    """Pauses, extensions, recounts and restarts, each with both due times."""
    if changes:
        table(
            "时钟变更 / clock changes",
            ("at", "clock", "what", "why", "due before", "due now"),
            [
                (
                    c["at"],
                    c["clock"],
                    title("event", c["kind"], lang),
                    c["why"],
                    c["was"],
                    f"{c['due_at'] or ''}{' ~' if c['provisional'] else ''}",
                )
                for c in changes
            ],
        )


def tell_verifications(verifications: list[dict[str, Any]], lang: str) -> None:
    if verifications:
        table(
            "回访验证 / verifications",
            ("asked", "by", "contacts", "answer until", "answer", "before", "answered"),
            [
                (
                    v["asked_at"],
                    title("via", v["via"], lang),
                    v["contacts"],
                    v["due_at"],
                    answer_of(v, lang),
                    v["first_answer"] and title("answer", v["first_answer"], lang),
                    v["answered_at"],
                )
                for v in verifications
            ],
        )


def tell_approvals(approvals: list[dict[str, Any]], lang: str) -> None:
    from console.commands.approval import terms_of

    if approvals:
        table(
            "审批 / approvals",
            ("id", "kind", "asks for", "by", "asked", "state", "decided by"),
            [
                (
                    a["id"],
                    title("approval", a["kind"], lang),
                    terms_of(a, lang),
                    a["asked_by"],
                    a["asked_at"],
                    title("approval_state", a["state"], lang),
                    a["decided_by"],
                )
                for a in approvals
            ],
        )


def answer_of(verification: dict[str, Any], lang: str) -> str:
    """What the customer says; a question mark where the words say something else."""
    said = verification["answer"]
    return f"{title('answer', said, lang)}{' ?' * verification['doubt']}" if said else ""


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
    groups = GROUPS | ({"outcome": "call"} if event["kind"] == "verification.called" else {})
    shown = [title(groups.get(name, name), data[name], lang) for name in names]
    return " · ".join([*shown, *event["words"].values()])
