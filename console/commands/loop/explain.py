"""依据 / Why a loop was decided as it was."""

from typing import Any

import typer

from console.terminal import AsJson, Language, LoopId, emit, say, table, workspace
from loopwright.glossary import title

app = typer.Typer()


@app.command()
def explain(loop: LoopId, lang: Language = "zh", as_json: AsJson = False) -> None:
    """Why it was decided so: rule, version, each clause with its value, evidence, model score."""
    from tasks.explain import explain_loop

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
        [(name, shown(value)) for name, value in counted.items() if value is not None],
    )


def shown(value: Any) -> Any:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return parts_of(value) if isinstance(value, dict) else value


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
