"""审批 / Approvals: what waits for whom; grant or refuse it."""

from typing import Annotated, Any

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

NAME = "approval"
app = typer.Typer(no_args_is_help=True)
ApprovalId = Annotated[
    str, typer.Argument(help="An approval's id, or its last four or more characters.")
]


@app.command("list")
def list_(
    person: Annotated[
        str | None, typer.Option("--for", metavar="PERSON", help="What waits for this person.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Also what has been decided.")] = False,
    limit: Limit = 30,
    lang: Language = "zh",
    as_json: AsJson = False,
) -> None:
    """待审批 / What waits for approval, oldest first; with --all everything, newest first."""
    from loopwright.now import utc_now
    from tasks.approval.look import list_approvals

    with workspace() as ws:
        who = actor(ws, person).id if person is not None else None
        items = list_approvals(ws, utc_now(), person=who, every=every, limit=limit)
    emit({"items": items}, as_json, lambda: show_list(items, lang))


def show_list(items: list[dict[str, Any]], lang: str) -> None:
    table(
        f"审批 / approvals: {len(items)}",
        ("id", "kind", "asks for", "unit", "by", "about", "state", "for"),
        [
            (
                i["id"],
                title("approval", i["kind"], lang),
                terms_of(i, lang),
                i["unit"],
                i["asked_by"],
                i["ticket_id"] or i["loop_id"],
                title("approval_state", i["state"], lang),
                ", ".join(i["for"]) or i["decided_by"],
            )
            for i in items
        ],
    )


def terms_of(item: dict[str, Any], lang: str) -> str:
    from tasks.approval.request import shown_terms

    return " · ".join(f"{t['title']} {t['says']}" for t in shown_terms(item["terms"], lang))


@app.command()
def show(approval: ApprovalId, lang: Language = "zh", as_json: AsJson = False) -> None:
    """查看申请 / One request: what is asked for and why, its letter, and the decision."""
    from loopwright.now import utc_now
    from tasks.approval.look import show_approval

    with workspace() as ws:
        item = show_approval(ws, approval, utc_now())
    emit(item, as_json, lambda: tell(item, lang))


def tell(item: dict[str, Any], lang: str) -> None:
    say(
        f"{item['id']}  {title('approval', item['kind'], lang)}"
        f" · {title('approval_state', item['state'], lang)} · {item['level']}"
    )
    say(f"  {terms_of(item, lang)}")
    say(f"  {item['unit']} {item['asked_by']} {item['asked_at']}")
    if item["decided_by"]:
        say(f"  {title('approval_state', item['state'], lang)}: {item['decided_by']}")
    elif item["for"]:
        say(f"  {'可由' if lang == 'zh' else 'for'}: {', '.join(item['for'])}")
    for about in filter(None, (item["loop_id"], item["ticket_id"], item["clock_id"])):
        say(f"  {about}")
    for words in item["words"].values():
        say(f"\n{words}")


@app.command()
def approve(
    approval: ApprovalId, person: Person, dry_run: DryRun = False, as_json: AsJson = False
) -> None:
    """同意 / Grant it; what was asked for happens at once."""
    from tasks.approval import approvals

    act(
        person,
        lambda ws, by, now: approvals.approve(ws, approval, by, now),
        "{} granted",
        dry_run=dry_run,
        as_json=as_json,
        name="approval",
    )


@app.command()
def refuse(
    approval: ApprovalId,
    reason: Annotated[str, typer.Option("--reason", help="What would have to be different.")],
    person: Person,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """不同意 / Refuse it, with a reason."""
    from tasks.approval import approvals

    act(
        person,
        lambda ws, by, now: approvals.refuse(ws, approval, reason, by, now),
        "{} refused",
        dry_run=dry_run,
        as_json=as_json,
        name="approval",
    )
