"""红色通道 / The red channel: alerts that went to a named person at once, and whether rightly."""

from typing import Annotated, Any

import typer

from console.terminal import AsJson, DryRun, Limit, Person, act, emit, say, table, workspace
from loopwright.errors import InputError

NAME = "red"
app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_(limit: Limit = 50, as_json: AsJson = False) -> None:
    """红色预警 / Alerts, newest first: how soon they were sent, and the share of false ones."""
    from tasks.routing.red_channel import list_alerts, timeliness

    with workspace() as ws:
        items = list_alerts(ws, limit)
    figures = timeliness(items)
    emit({"items": items, "figures": figures}, as_json, lambda: tell(items, figures))


def tell(items: list[dict[str, Any]], figures: dict[str, Any]) -> None:
    columns = ("alert", "source", "person", "reasons", "arrived", "seconds", "verdict", "loop")
    table(
        f"红色预警 / red alerts: {len(items)}",
        columns,
        [
            (
                i["alert"],
                i["source"],
                i["person"],
                ", ".join(i["reasons"]),
                i["arrived_at"],
                seconds(i),
                verdict(i["false_alarm"]),
                i["loop"],
            )
            for i in items
        ],
    )
    say(
        f"一分钟内送达 / within a minute: {figures['within_a_minute']} of {figures['sent']} sent;"
        f" 最长 / longest: {figures['longest_seconds']} s"
    )
    if figures["daily"]:
        say(f"T+1 来源不计入 / from daily sources, not counted: {figures['daily']}")
    if figures["judged"]:
        say(
            f"误报 / false alarms: {figures['false_alarms']} of {figures['judged']} judged"
            f" ({figures['false_share']:.0%})"
        )


def seconds(item: dict[str, Any]) -> str:
    if item["arrives"] == "daily":
        return "T+1"
    return "…" if item["seconds"] is None else f"{item['seconds']:.1f}"


def verdict(false_alarm: bool | None) -> str:
    if false_alarm is None:
        return ""
    return "误报 / false" if false_alarm else "属实 / real"


@app.command()
def judge(
    alert: Annotated[str, typer.Argument(help="An alert's id, or its last four characters.")],
    person: Person,
    false_alarm: Annotated[
        bool | None, typer.Option("--false-alarm/--real", help="Was it rightly raised?")
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """核定 / Record whether an alert was a false alarm."""
    from tasks.routing.red_channel import judge_alert

    if false_alarm is None:
        raise InputError("was it rightly raised?", "say --real or --false-alarm")
    rightly = "a false alarm" if false_alarm else "real"
    act(
        person,
        lambda ws, by, now: judge_alert(ws, alert, bool(false_alarm), by, now),
        f"{{}} was {rightly}",
        dry_run=dry_run,
        as_json=as_json,
        name="alert",
    )
