"""指标 / Measures of the loop: how each is defined, and what it is for a period."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.terminal import AsJson, Language, day, emit, say, table, workspace
from loopwright.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from insight.measures import Figure, Period
    from policy.measures import MeasureSpec
    from tasks.workspace import Workspace

NAME = "measure"
app = typer.Typer(no_args_is_help=True)
QUARTER = 90
"""Days of a period that nobody names."""
Day = Annotated[str | None, typer.Option(metavar="DAY", help="Such as 2026-08-31.")]


@app.command("list")
def list_(lang: Language = "zh", as_json: AsJson = False) -> None:
    """Every measure with its formula, its direction and its least number."""
    from console.commands.clock import known_language

    known_language(lang)
    with workspace() as ws:
        items = [definition(spec) for spec in ws.published.documents.measures]
    emit(
        {"items": items},
        as_json,
        lambda: table(
            f"指标 / measures: {len(items)}",
            ("id", "title", "formula", "better", "least n"),
            [
                (i["id"], i["title"][lang], i["formula"][lang], i["direction"], i["minimum_n"])
                for i in items
            ],
        ),
    )


def definition(spec: "MeasureSpec") -> dict[str, Any]:
    """A measure's document as it stands, and its formula in words."""
    from dataclasses import asdict

    from policy.measures import formula

    return asdict(spec) | {"formula": {lang: formula(spec, lang) for lang in ("zh", "en")}}


@app.command()
def show(
    measure: Annotated[str | None, typer.Argument(help="A measure's id; default: all.")] = None,
    first: Annotated[
        str | None, typer.Option("--from", metavar="DAY", help="First day; default: 90 days.")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="DAY", help="Last day; default: today.")
    ] = None,
    by: Annotated[
        str | None, typer.Option("--by", help="For each unit, topic, source or month.")
    ] = None,
    lang: Language = "zh",
    as_json: AsJson = False,
) -> None:
    """Measures of a period, with n and a 95 % interval; below the least number only n."""
    from console.commands.clock import known_language
    from insight.measures import figures
    from loopwright.now import utc_now
    from policy.measures import BREAKDOWNS, owner_steps

    known_language(lang)
    if by is not None and by not in BREAKDOWNS:
        raise InputError(f"no breakdown by {by!r}", f"use one of: {', '.join(BREAKDOWNS)}")
    with workspace() as ws:
        now, documents = utc_now(), ws.published.documents
        specs, period = chosen(ws, measure), period_of(ws, first, last, now)
        with ws.db.read() as tx:
            found = figures(tx, specs, period, now, by, owner_steps(documents.ladders))
    by_id = {spec.id: spec for spec in specs}
    emit(
        {
            "from": period.first.isoformat(),
            "to": period.last.isoformat(),
            "by": by,
            "items": [as_item(by_id[f.measure], f) for f in found],
        },
        as_json,
        lambda: tell(specs, found, period, by, lang),
    )


def chosen(ws: "Workspace", measure: str | None) -> "Sequence[MeasureSpec]":
    """The named measure, or all. Raises InputError for one that is not defined."""
    specs = ws.published.documents.measures
    found = [s for s in specs if measure in (None, s.id)]
    if not found:
        known = ", ".join(s.id for s in specs)
        fix = f"use one of: {known}" if known else "publish a measures.yaml, as in examples/bank"
        raise InputError(f"no measure {measure!r}" if measure else "no measure is defined", fix)
    return found


def period_of(ws: "Workspace", first: str | None, last: str | None, now: "datetime") -> "Period":
    """Days in the organisation's zone; the last 90 unless told. Raises InputError."""
    from datetime import timedelta
    from zoneinfo import ZoneInfo

    from insight.measures import Period

    zone = ZoneInfo(ws.published.documents.organisation.zone)
    end = day(last) if last else now.astimezone(zone).date()
    start = day(first) if first else end - timedelta(days=QUARTER - 1)
    if start > end:
        raise InputError(f"the period ends ({end}) before it begins ({start})", "swap the two")
    return Period(start, end, zone)


def as_item(spec: "MeasureSpec", figure: "Figure") -> dict[str, Any]:
    """A figure as it is exported: a share between 0 and 1, or days."""
    from dataclasses import asdict

    kept = {"unit": spec.unit, "direction": spec.direction, "minimum_n": spec.minimum_n}
    return asdict(figure) | kept


def tell(
    specs: "Sequence[MeasureSpec]",
    found: "Sequence[Figure]",
    period: "Period",
    by: str | None,
    lang: str,
) -> None:
    by_id = {spec.id: spec for spec in specs}
    if len(specs) == 1:
        describe(specs[0], lang)
    table(
        f"{period.first} – {period.last}",
        ("measure", by or "", "value", "95 %", "n"),
        [
            (
                by_id[f.measure].title[lang],
                f.group or ("全部" if lang == "zh" else "all") if by else "",
                value_of(by_id[f.measure], f.value, lang),
                interval(f),
                f.n if f.value is not None else f"{f.n} (<{by_id[f.measure].minimum_n})",
            )
            for f in found
        ],
    )


def describe(spec: "MeasureSpec", lang: str) -> None:
    from policy.measures import formula

    better = {
        "zh": {"higher": "越高越好", "lower": "越低越好", "neither": "无好坏之分"},
        "en": {"higher": "higher is better", "lower": "lower is better", "neither": "neither"},
    }
    say(f"{spec.title[lang]} ({spec.id})\n  {spec.about[lang]}\n  {formula(spec, lang)}")
    say(f"  {better[lang][spec.direction]} · n ≥ {spec.minimum_n}\n")


def value_of(spec: "MeasureSpec", value: float | None, lang: str) -> str:
    if value is None:
        return "样本不足" if lang == "zh" else "too few"
    if spec.unit == "percent":
        return f"{value * 100:.1f} %"
    return f"{value:.1f} {'天' if lang == 'zh' else 'days'}"


def interval(figure: "Figure") -> str:
    if figure.low is None or figure.high is None:
        return ""
    return f"{figure.low * 100:.1f} – {figure.high * 100:.1f} %"
