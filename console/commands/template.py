"""消息模板 / Message templates: lint them, preview one, approve what customers are sent."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from console.terminal import AsJson, DryRun, Language, Person, act, emit, say, workspace
from loopwright.errors import InputError

NAME = "template"
app = typer.Typer(no_args_is_help=True)


@app.command()
def lint(
    folders: Annotated[list[Path] | None, typer.Argument(help="Document folders.")] = None,
    as_json: AsJson = False,
) -> None:
    """Report what a template may not hold; exit 1 if there is any."""
    from loopwright.settings import load_settings
    from tasks.documents.publish import lint as lint_files
    from tasks.documents.publish import read_folders

    mistakes = lint_files(read_folders(folders or load_settings().documents))
    problems = [f"{m.file}:{m.line}: {m.what} → {m.fix}" for m in mistakes]

    def human() -> None:
        for problem in problems:
            say(problem)
        say(f"✗ {len(problems)} problems" if problems else "✓ no problems")

    emit({"items": problems}, as_json, human)
    sys.exit(1 if problems else 0)


@app.command()
def preview(
    template: Annotated[str, typer.Argument(help="A template's id, such as ticket_assigned.")],
    lang: Language = "zh",
    html: Annotated[bool, typer.Option("--html", help="Print the HTML part.")] = False,
    as_json: AsJson = False,
) -> None:
    """Render a published template with the newest message of its kind."""
    from notifications.templates import render
    from tasks.messages.deliver import latest_context

    with workspace() as ws:
        found = next((t for t in ws.published.documents.templates if t.id == template), None)
        if found is None:
            raise InputError(f"no template {template!r}", "see templates.yaml for the ids")
        rendered = render(found, lang, latest_context(ws, template, lang))
    emit(
        {"subject": rendered.subject, "text": rendered.text, "html": rendered.html},
        as_json,
        lambda: say(rendered.html if html else f"{rendered.subject}\n\n{rendered.text}"),
    )


@app.command()
def approve(
    template: Annotated[str, typer.Argument(help="A template's id, such as cause_closed.")],
    person: Person,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """审定客户消息模板 / Approve what the published template says now; then customers get it."""
    from tasks.approval import documents as approve_documents

    act(
        person,
        lambda ws, by, now: approve_documents.approve_template(ws, template, by, now),
        f"{template} approved as {{}}",
        dry_run=dry_run,
        as_json=as_json,
        name="approval",
    )
