"""策略 / The routing policy: lint it, evaluate it on labelled feedback."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.commands.init import example
from console.terminal import AsJson, emit, say, table, workspace
from loopwright.errors import DocumentError, EnvironmentFault

if TYPE_CHECKING:
    from policy.documents import DocumentSet

NAME = "policy"
app = typer.Typer(no_args_is_help=True)
Documents = Annotated[
    list[Path] | None,
    typer.Option("--documents", help="Document folders, later ones overlaid; default: published."),
]


@app.command()
def lint(
    folders: Annotated[list[Path] | None, typer.Argument(help="Document folders.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check the rules and run the policy's own tests; exit 1 if one fails."""
    from loopwright.settings import load_settings
    from policy.documents import load_set
    from tasks.publish import documents_only, read_folders

    files = read_folders(folders or load_settings().documents)
    documents, mistakes = load_set(documents_only(files))
    problems = [f"{m.file}:{m.line}: {m.what} → {m.fix}" for m in mistakes]
    tests = len(documents.rulebook.tests) if documents else 0

    def human() -> None:
        for problem in problems:
            say(problem)
        say(f"✗ {len(problems)} problems" if problems else f"✓ {tests} tests pass")

    emit({"tests": tests, "items": problems}, as_json, human)
    sys.exit(1 if problems else 0)


@app.command()
def evaluate(
    data: Annotated[Path, typer.Option("--data", help="Labelled JSONL(.gz) or CSV.")],
    text: Annotated[str, typer.Option("--text", help="The field with the words.")],
    label: Annotated[str, typer.Option("--label", help="The field with none, small or big.")],
    by: Annotated[
        str | None, typer.Option("--by", help="Also by each value of this field.")
    ] = None,
    documents: Documents = None,
    as_json: AsJson = False,
) -> None:
    """Accuracy, macro-F1, abstained and confusion of the loop decision on labelled rows."""
    from tasks.evaluate_policy import evaluate_policy
    from tasks.records import read_records

    report = evaluate_policy(
        documents_or_example(documents), read_records(data), text=text, label=label, by=by
    )
    emit(report, as_json, lambda: tell(report, data.name))


def tell(report: Mapping[str, Any], name: str) -> None:
    """The figures of the whole, then of each group, on one line each."""
    groups = {"all": report, **report.get("by", {})}
    columns = ("", "labelled", "accuracy", "macro-F1", "abstained", "first department")
    table(
        name,
        columns,
        [
            (
                group,
                f["labelled"],
                f["accuracy"],
                f["macro_f1"],
                f["abstained"]["share"],
                f.get("departments", {}).get("first_right"),
            )
            for group, f in groups.items()
        ],
    )
    table(
        "confusion",
        ("meant", *report["confusion"], "triage"),
        [
            (meant, *(said.get(column, 0) for column in (*report["confusion"], "triage")))
            for meant, said in report["confusion"].items()
        ],
    )


def documents_or_example(folders: list[Path] | None) -> "DocumentSet":
    """As `load_documents`; where nothing is published yet, the example for real feedback."""
    try:
        return load_documents(folders)
    except EnvironmentFault as fault:
        sys.stderr.write(
            f"{fault.what}：按 examples/real 评估 / evaluated by examples/real"
            " (--documents names others)\n"
        )
        return load_documents([example("real")])


def load_documents(folders: list[Path] | None) -> "DocumentSet":
    """The set in the folders, or the published one. Raises EnvironmentFault without either."""
    from tasks.publish import check, read_folders

    if folders is None:
        try:
            with workspace() as ws:
                return ws.published.documents
        except EnvironmentFault as fault:
            raise EnvironmentFault(
                fault.what, "publish documents first, or name folders with --documents"
            ) from None
    found, mistakes = check(read_folders(folders))
    if found is None:
        lines = [f"{m.file}:{m.line}: {m.what} → {m.fix}" for m in mistakes]
        raise DocumentError(f"{len(mistakes)} mistakes in the documents", lines, "mend them first")
    return found
