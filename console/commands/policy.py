"""策略 / The routing policy: lint it, evaluate it on labelled feedback, simulate a draft."""

import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.commands.init import example
from console.terminal import AsJson, Language, emit, say, table, workspace
from loopwright.errors import DocumentError, EnvironmentFault
from loopwright.glossary import title

if TYPE_CHECKING:
    from policy.documents import DocumentSet

NAME = "policy"
DAY = ["%Y-%m-%d"]
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
    from tasks.documents.publish import documents_only, read_folders

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
    from tasks.documents.evaluate_policy import evaluate_policy
    from tasks.documents.records import read_records

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


@app.command()
def simulate(
    draft: Annotated[
        Path, typer.Option("--draft", help="Folder of the draft; laid over the published set.")
    ],
    first: Annotated[datetime, typer.Option("--from", formats=DAY, help="First day of receipt.")],
    last: Annotated[datetime, typer.Option("--to", formats=DAY, help="Last day, included.")],
    cases: Annotated[int, typer.Option(min=0, max=200, help="How many cases to show.")] = 20,
    lang: Language = "zh",
    as_json: AsJson = False,
) -> None:
    """模拟草案 / Replay a draft over past feedback: who would move, whose load, which clocks."""
    from loopwright.now import utc_now
    from tasks.documents.simulate_policy import load_draft, simulate_policy

    with workspace() as ws:
        documents = load_draft(ws.published.files, draft)
        found = simulate_policy(ws, documents, first.date(), last.date(), utc_now(), cases=cases)
    emit(found, as_json, lambda: tell_simulation(found, lang))


def tell_simulation(found: Mapping[str, Any], lang: str) -> None:
    say(f"{found['from']} – {found['to']}: {found['items']:,} 个问题 / issues")
    for warning in found["warnings"]:
        say(f"⚠ {warning.get(lang) or warning['zh']}")
    fates = tuple(found["moves"])
    table(
        f"流转 / moves: 已发布 {found['policy']} ↓ 草案 {found['draft']} →",
        ("", *fates),
        [(was, *(f"{counts[fate]:,}" for fate in fates)) for was, counts in found["moves"].items()],
    )
    say("改变 / changed: " + ", ".join(f"{what} {n:,}" for what, n in found["changed"].items()))
    same, judged = found["agreement"]["same"], found["agreement"]["judged"]
    say(f"重放与当时一致 / replay agrees with the record: {same:,} of {judged:,}")
    tell_load(found["load"])
    tell_clocks(found["clocks"])
    tell_rules(found["rules"])
    for case in found["cases"]:
        tell_case(case, lang)


def tell_load(load: list[dict[str, Any]]) -> None:
    columns = ("unit", "before", "a day", "most", "after", "a day", "most", "on")
    table(
        "各部门新增 / new work by unit",
        columns,
        [
            (
                i["unit"],
                *(i["before"][n] for n in ("total", "a_day", "most")),
                *(i["after"][n] for n in ("total", "a_day", "most", "on")),
            )
            for i in load
        ],
    )


def tell_clocks(clocks: list[dict[str, Any]]) -> None:
    names = ("due", "met", "breached", "running", "unknown")
    table(
        "时钟 / clocks",
        ("clock", *names, *(f"→ {name}" for name in names)),
        [
            (i["clock"], *(i[side].get(name, 0) for side in ("before", "after") for name in names))
            for i in clocks
        ],
    )


def tell_rules(rules: list[dict[str, Any]]) -> None:
    table(
        "草案规则 / rules of the draft",
        ("rule", "matched", "decides", "before", ""),
        [(i["rule"], i["matched"], i["decided"], i["decided_before"], verdict(i)) for i in rules],
    )


def verdict(rule: Mapping[str, Any]) -> str:
    """What is wrong with a rule that decides nothing."""
    if rule["decided"]:
        return ""
    beaten = ", ".join(f"{name} ({count})" for name, count in rule["beaten_by"].items())
    return f"被遮蔽 / shadowed by {beaten}" if beaten else "从不命中 / dead"


def tell_case(case: Mapping[str, Any], lang: str) -> None:
    say()
    say(f"{case['issue']}  {case['topic']}  {case['words']}")
    for side, name in (("before", "已发布 / published"), ("after", "草案 / draft")):
        made = case[side]
        fate = (
            title("loop", made["loop"], lang) if made["loop"] in ("small", "big") else made["loop"]
        )
        say(f"  {name}: {fate} {made['lead']} {made['priority']} ← {made['rule']}")
        for trace in made["clauses"]:
            for text, holds, values in trace["clauses"]:
                said = ", ".join(f"{feature}={value}" for feature, value in values.items())
                say(f"    {'✓' if holds else '✗'} {trace['rule']}: {text}  [{said}]")


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
    from tasks.documents.publish import check, read_folders

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
