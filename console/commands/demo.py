"""演示 / The main job on example feedback, or on files of your own."""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.terminal import AsJson, emit, say
from loopwright.errors import InputError
from loopwright.glossary import title

if TYPE_CHECKING:
    from loopwright.settings import Settings

NAME = "demo"
HOME = Path(".loopwright")
MARK = HOME / "demo"
FLOWS = ("ingest_feedback", "triage_feedback", "deliver_messages")


def command(
    data: Annotated[
        Path | None,
        typer.Option("--data", help="A folder of files named as sources of examples/real."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """演示 / From feedback to tickets in departments' hands, with real Prefect runs."""
    from loopwright.settings import load_settings

    started = time.monotonic()
    clear()
    settings = load_settings()
    set_up(settings, data)
    runs = run_flows(settings)
    result = report(settings) | {"runs": runs, "seconds": round(time.monotonic() - started, 1)}
    emit(result, as_json, lambda: tell(result, settings.language))


def clear() -> None:
    """Start afresh, but never over an installation that is not a demo's."""
    kept = HOME / "loopwright.db"
    if Path("loopwright.toml").exists() or (kept.exists() and not MARK.exists()):
        raise InputError(
            "this folder holds an installation", "run the demo in another folder, or remove it"
        )
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir()
    MARK.touch()


def set_up(settings: "Settings", data: Path | None) -> None:
    """Publish the example organisation and drop the files into its inbox."""
    from console.commands.init import example, publish_folders, write_secret

    write_secret(settings.identity.secret_path)
    folders = [example("bank" if data is None else "real")]
    publish_folders(settings, folders)
    drop_files(settings, data or example("bank") / "data")


def drop_files(settings: "Settings", folder: Path) -> None:
    """Each file goes to the source that is named as its stem."""
    from console.terminal import workspace

    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder", "name the folder with the sources' files")
    with workspace() as ws:
        known = set(ws.sources)
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and p.stem in known]
    if not files:
        raise InputError(
            f"{folder} holds no file named as a source", f"sources: {', '.join(sorted(known))}"
        )
    for path in files:
        place = settings.inbox / path.stem
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place / path.name)


def run_flows(settings: "Settings") -> dict[str, dict[str, int]]:
    """The three flows as Prefect runs on a server of our own."""
    from console.commands.run import load_flow
    from flows.server import prefect_server

    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    with prefect_server(settings):
        return {name: asyncio.run(load_flow(name)()) for name in FLOWS}


def report(settings: "Settings") -> dict[str, Any]:
    from console.terminal import workspace
    from tasks.look import summary

    with workspace() as ws:
        units = ws.published.documents.organisation.unit_by_code
        titles = {code: dict(unit.title) for code, unit in units.items()}
        return summary(ws) | {"units": titles, "outbox": str(settings.messages.folder)}


def tell(result: Mapping[str, Any], lang: str) -> None:
    zh = lang == "zh"
    counted("反馈 / feedback" if zh else "feedback", result["feedback"])
    for group, name in (
        ("kind", "issues"),
        ("fate", "fates"),
        ("loop", "loops"),
        ("message", "messages"),
    ):
        counts = {title(group, key, lang): n for key, n in result[name].items()}
        counted(HEADINGS[name][0 if zh else 1], counts)
    units = result["units"]
    tickets = {
        f"{code} {units.get(code, {}).get(lang, '')}": n for code, n in result["tickets"].items()
    }
    counted(HEADINGS["tickets"][0 if zh else 1], tickets)
    counted(HEADINGS["quarantined"][0 if zh else 1], result["quarantined"])
    sys.stdout.write("\n")
    say(f"{result['events']:,} {'条历史事件' if zh else 'history events'}, {result['seconds']} s")
    for hint in HINTS[0 if zh else 1]:
        say(f"  {hint.replace('loopwright', program())}")
    say(f"  {'发出的消息' if zh else 'what was sent'}: {result['outbox']}/<unit>/*.html")


def program() -> str:
    """How this program can be called from here."""
    found = shutil.which("loopwright")
    return "loopwright" if found else os.path.relpath(sys.argv[0])


HEADINGS: Mapping[str, tuple[str, str]] = {
    "issues": ("问题类型 / issues by kind", "issues by kind"),
    "fates": ("问题去向 / what became of them", "what became of them"),
    "loops": ("循环 / loops", "loops"),
    "tickets": ("各部门工单 / tickets by department", "tickets by department"),
    "messages": ("消息 / messages", "messages"),
    "quarantined": ("隔离 / quarantined", "quarantined"),
}
HINTS = (
    (
        "接下来：loopwright loop list            循环列表",
        "        loopwright loop show <ID>      一个循环的始末",
        "        loopwright loop explain <ID>   为何如此判定",
        "        loopwright triage list         待人工判定",
        "        loopwright audit verify        核验历史",
    ),
    (
        "next: loopwright loop list            the loops",
        "      loopwright loop show <ID>      one loop's story",
        "      loopwright loop explain <ID>   why it was decided so",
        "      loopwright triage list         what waits for a person",
        "      loopwright audit verify        check the history",
    ),
)


def counted(heading: str, counts: Mapping[str, int]) -> None:
    say(f"\n{heading}: {sum(counts.values()):,}")
    for name, count in counts.items():
        say(f"  {count:>7,}  {name}")
