"""组织文档 / The organisation's documents: lint, publish, schemas."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from console.terminal import (
    AsJson,
    DryRun,
    Person,
    actor,
    emit,
    note_two_person_rule,
    say,
    workspace,
)

if TYPE_CHECKING:
    from loopwright.history.envelope import Actor
    from tasks.documents.publish import Published

NAME = "org"
app = typer.Typer(no_args_is_help=True)
Folders = Annotated[
    list[Path] | None,
    typer.Argument(help="Document folders; a later one replaces files of the same name."),
]


@app.command()
def lint(folders: Folders = None, as_json: AsJson = False) -> None:
    """Report every mistake with file, line and what to do; exit 1 if there is any."""
    from dataclasses import asdict

    from loopwright.settings import load_settings
    from tasks.documents.publish import lint as lint_files
    from tasks.documents.publish import read_folders

    files = read_folders(folders or load_settings().documents)
    mistakes = lint_files(files)

    def human() -> None:
        for m in mistakes:
            say(f"{m.file}:{m.line}: {m.what} → {m.fix}")
        say(f"✗ {len(mistakes)} mistakes" if mistakes else f"✓ {len(files)} files, no mistakes")

    emit({"files": len(files), "items": [asdict(m) for m in mistakes]}, as_json, human)
    sys.exit(1 if mistakes else 0)


@app.command()
def publish(
    folders: Folders = None,
    person: Person = "",
    request: Annotated[
        bool, typer.Option("--request", help="Only ask another person to approve the set.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Store a checked set as the one that runs from now on.

    Where the running policy wants another person to approve it first, ask for that; exit 1.
    """
    from loopwright.db import Database
    from loopwright.migrate import require_current
    from loopwright.now import utc_now
    from loopwright.settings import load_settings
    from tasks.documents.publish import is_unapproved, read_folders
    from tasks.documents.publish import publish as publish_set
    from tasks.start import COMMANDS, record_before_writing
    from tasks.workspace import Workspace

    settings = load_settings()
    files = read_folders(folders or settings.documents)
    if dry_run:
        rehearse(files, as_json)
    db = Database(settings.database.url)
    require_current(db)
    record_before_writing(Workspace(settings, db), COMMANDS, utc_now)
    if request or is_unapproved(db, files):
        ask(files, person, as_json)
    by = publisher(files, person)
    note_two_person_rule(settings.language)
    done = publish_set(db, files, by, utc_now())
    asked = ask_for_templates()
    emit(
        {
            "publication": done.number,
            "sha256": done.sha256,
            "files": len(files),
            "approvals": asked,
        },
        as_json,
        lambda: say_published(done, asked),
    )


def rehearse(files: Mapping[str, bytes], as_json: bool) -> NoReturn:
    from tasks.documents.publish import lint as lint_files
    from tasks.documents.publish import set_hash

    mistakes = lint_files(files)
    emit(
        {"sha256": set_hash(files), "mistakes": len(mistakes)},
        as_json,
        lambda: say(f"{len(files)} files, {len(mistakes)} mistakes; nothing was published"),
    )
    sys.exit(1 if mistakes else 0)


def ask(files: Mapping[str, bytes], person: str, as_json: bool) -> NoReturn:
    """Ask for the set's approval, and say how it goes on."""
    from loopwright.now import utc_now
    from tasks.approval.documents import request_publication
    from tasks.documents.publish import set_hash

    with workspace() as ws:
        approval = request_publication(ws, files, actor(ws, person), utc_now())
    emit(
        {"approval": approval, "sha256": set_hash(files), "files": len(files)},
        as_json,
        lambda: say(
            f"{approval}: 这套文档须由另一人审批后再发布，尚未发布。"
            " / the set waits for another person's approval; nothing was published\n"
            f"  → loopwright approval approve {approval} --as …\n"
            "  → loopwright org publish FOLDER --as …"
        ),
    )
    sys.exit(1)


def ask_for_templates() -> list[str]:
    """Approvals asked for of what customers may be sent by the set that runs now."""
    from loopwright.now import utc_now
    from tasks.approval.documents import request_templates

    with workspace() as ws:
        return request_templates(ws, utc_now())


def say_published(done: "Published", asked: Sequence[str]) -> None:
    say(f"✓ publication {done.number} runs now ({len(done.files)} files, {done.sha256[:12]})")
    if asked:
        say(
            f"客户消息模板待审批，审批前不发送。 / {len(asked)} templates wait for approval;"
            " customers are not sent them before: loopwright approval list"
        )


def publisher(files: Mapping[str, bytes], person: str) -> "Actor":
    """Who publishes: a person of the set itself; `operator` when nobody is named."""
    from loopwright.errors import InputError
    from loopwright.history.envelope import Actor
    from tasks.documents.publish import check

    documents, _ = check(files)
    if person and documents and person not in documents.organisation.person_by_id:
        raise InputError(f"nobody is called {person!r}", "use the id of a person in the set")
    return Actor("person", person or "operator", "cli")


@app.command()
def schema(kind: Annotated[str, typer.Argument(help="A document kind, such as policy.")]) -> None:
    """Print a document kind's JSON Schema, for editors."""
    from loopwright.errors import InputError
    from policy.documents import KINDS
    from policy.documents import schema as schema_of

    if kind not in KINDS:
        raise InputError(f"no document kind {kind!r}", f"use one of: {', '.join(KINDS)}")
    sys.stdout.write(schema_of(kind).decode())
