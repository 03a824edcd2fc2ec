"""演示 / Ninety days of a bank on example feedback, or on files of your own."""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.terminal import AsJson, emit, say, table
from loopwright.errors import InputError
from loopwright.glossary import title

if TYPE_CHECKING:
    from concurrent.futures import Future

    from console.simulation.days import Diary
    from loopwright.settings import Settings

NAME = "demo"
HOME = Path(".loopwright")
MARK = HOME / "demo"
SLICES = HOME / "slices"
BEGINS = "2026-08-24T00:00:00+08:00"
"""The first day of the example's data; its calendars are published for the whole year."""


def command(
    data: Annotated[
        Path | None,
        typer.Option("--data", help="A folder of files named as sources of examples/real."),
    ] = None,
    days: Annotated[int, typer.Option("--days", min=2, max=120, help="How many days.")] = 90,
    seed: Annotated[int, typer.Option("--seed", help="Other people, other decisions.")] = 15,
    go_on: Annotated[
        bool, typer.Option("--continue", help="Go on with a demo that was interrupted.")
    ] = False,
    no_prefect: Annotated[
        bool, typer.Option("--no-prefect", help="The last day's flows as twins, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """演示 / Ninety days: feedback comes, departments answer, clocks run, loops close."""
    from loopwright.settings import load_settings

    started = time.monotonic()
    settings = load_settings()
    diary = interrupted() if go_on else begin(settings, data, days, seed)
    prepared = time.monotonic() - started
    spent = live(settings, diary, prefect=not no_prefect)
    seconds = {"prepare": prepared} | spent | {"all": time.monotonic() - started}
    result = report() | {
        "first": diary.first,
        "days": diary.days,
        "seed": diary.seed,
        "shift": diary.shift,
        "seconds": {part: round(value, 1) for part, value in seconds.items()},
    }
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


def begin(settings: "Settings", data: Path | None, days: int, seed: int) -> "Diary":
    """Publish the example organisation, cut the files into slices, open the diary."""
    from zoneinfo import ZoneInfo

    from console.commands.init import example, write_secret
    from console.simulation.days import Diary
    from console.simulation.prepare import Period, cut_files, publish_documents

    clear()
    write_secret(settings.identity.secret_path)
    first, mapped = datetime.fromisoformat(BEGINS), data is not None
    organisation = example("real" if mapped else "bank")
    documents = publish_documents(settings, organisation, first, mapped=mapped)
    diary = Diary(MARK, BEGINS, BEGINS, days, seed)
    period = Period(first, diary.ends, ZoneInfo(documents.organisation.zone))
    folder = data or organisation / "data"
    diary.shift = cut_files(documents, folder, SLICES, period, mapped=mapped)
    diary.write(first)
    return diary


def interrupted() -> "Diary":
    from console.simulation.days import Diary

    if not MARK.is_file() or not MARK.stat().st_size:
        raise InputError("there is no demo to go on with", "run `loopwright demo`")
    return Diary.open(MARK)


def live(settings: "Settings", diary: "Diary", *, prefect: bool) -> dict[str, float]:
    """All the days, the last one's flows as Prefect runs; the seconds each part took."""
    from console.simulation.days import Days
    from tasks.workspace import open_workspace

    with server_meanwhile(settings, prefect) as server:
        ws = open_workspace(settings)
        days = Days(ws, diary, SLICES, Weeks(ws, diary))
        try:
            return asyncio.run(live_through(days, server))
        finally:
            ws.db.close()


async def live_through(days: Any, server: "Future[str] | None") -> dict[str, float]:
    from console.simulation.days import LAST_DAY_EVERY, ONE_DAY, twins
    from console.simulation.plans import GRID
    from console.simulation.postman import postman

    ends = days.diary.ends
    with postman() as worker:
        await days.live(ends - ONE_DAY, twins(days.ws, worker))
    spent = dict(days.seconds) | {"deliver_messages": worker.done["seconds"]}
    if server is not None:
        server.result()
    started = time.monotonic()
    run = twins(days.ws) if server is None else flow_run
    await days.live(ends + GRID, run, LAST_DAY_EVERY)
    return spent | {"last_day": time.monotonic() - started}


async def flow_run(flow: str, now: datetime, _sources: Sequence[str]) -> None:
    """One flow as a real Prefect run at a simulated moment."""
    from console.commands.run import load_flow

    await load_flow(flow)(now=now.isoformat())


@contextmanager
def server_meanwhile(settings: "Settings", wanted: bool) -> Iterator["Future[str] | None"]:
    """A Prefect server that starts while the first days pass."""
    if not wanted:
        yield None
        return
    from concurrent.futures import ThreadPoolExecutor

    from flows.server import prefect_server

    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        yield pool.submit(stack.enter_context, prefect_server(settings))


class Weeks:
    """One line on standard error for each simulated week."""

    def __init__(self, ws: Any, diary: "Diary") -> None:
        self.ws, self.diary = ws, diary
        self.week = (datetime.fromisoformat(diary.now) - diary.begins).days // 7

    def __call__(self, now: datetime) -> None:
        week = (now - self.diary.begins).days // 7
        if week > self.week:
            self.week = week
            sys.stderr.write(f"{self.line(now, week)}\n")

    def line(self, now: datetime, week: int) -> str:
        from tasks.look import LOOPS, count_by

        with self.ws.db.read() as tx:
            states = count_by(tx, LOOPS.c.state)
        loops, closed = sum(states.values()), states.get("closed", 0)
        zone = self.diary.begins.tzinfo
        return (
            f"第 {week} 周结束 / week {week} is over · {now.astimezone(zone):%Y-%m-%d} · "
            f"循环 / loops {loops:,} · 已关闭 / closed {closed:,}"
        )


def report() -> dict[str, Any]:
    from console.simulation.outcome import outcome
    from console.terminal import workspace

    with workspace() as ws:
        return outcome(ws)


def tell(result: Mapping[str, Any], lang: str) -> None:
    zh = lang == "zh"
    if result["shift"]:
        tell_shift(result["shift"], zh)
    counted("反馈 / feedback" if zh else "feedback", result["feedback"])
    for group, name in COUNTED:
        counts = {title(group, key, lang) if group else key: n for key, n in result[name].items()}
        counted(HEADINGS[name][0 if zh else 1], counts)
    units = result["units"]
    tickets = {
        f"{code} {units.get(code, {}).get(lang, '')}": n for code, n in result["tickets"].items()
    }
    counted(HEADINGS["tickets"][0 if zh else 1], tickets)
    counted(HEADINGS["moves"][0 if zh else 1], moves(result, zh))
    tell_causes(result["causes"], lang)
    tell_seconds(result, zh)
    for hint in HINTS[0 if zh else 1]:
        say(f"  {hint.replace('loopwright', program())}")
    say(f"  {'发出的消息' if zh else 'what was sent'}: {result['outbox']}/<unit>/*.html")


def moves(result: Mapping[str, Any], zh: bool) -> dict[str, int]:
    return {MOVES[name][0 if zh else 1]: result[name] for name in MOVES}


def tell_shift(lines: Sequence[Mapping[str, Any]], zh: bool) -> None:
    """From which dates to which each source's items were moved."""
    heading = ("来源", "条数", "原日期", "模拟日期", "位移中位数（天）")
    english = ("source", "items", "own dates", "simulated dates", "median shift, days")
    table(
        "按时间顺序映射到模拟日 / mapped in time order" if zh else "mapped in time order",
        heading if zh else english,
        [
            (
                line["source"],
                f"{line['records']:,}",
                " – ".join(line["own"] or ["-"]),
                " – ".join(line["simulated"] or ["-"]),
                line["median_shift_days"],
            )
            for line in lines
        ],
    )


def tell_causes(causes: Sequence[Mapping[str, Any]], lang: str) -> None:
    """Big loops: what they found."""
    zh = lang == "zh"
    heading = ("编号", "主题", "触点", "客户", "倍数", "由何立项", "首诉后天数", "根因", "状态")
    english = ("id", "topic", "touchpoint", "customers", "× past", "opened by", "days", "cause")
    sys.stdout.write("\n")
    table(
        f"大循环 / big loops: {len(causes)}" if zh else f"big loops: {len(causes)}",
        heading if zh else (*english, "state"),
        [
            (
                line["id"],
                f"{line['topic']} {line['title'].get(lang, '')}",
                line["touchpoint"],
                line["customers"],
                line["ratio"],
                title("rule", line["opened_by"] or "person", lang),
                line["days_after_first"],
                line["cause"],
                title("outcome", line["outcome"], lang)
                if line["outcome"]
                else title("state", line["state"], lang),
            )
            for line in causes
        ],
    )


def tell_seconds(result: Mapping[str, Any], zh: bool) -> None:
    parts = " · ".join(f"{part} {value}" for part, value in result["seconds"].items())
    events = f"{result['events']:,} {'条历史事件' if zh else 'history events'}"
    say(f"\n{events} · {result['days']} {'天' if zh else 'days'} · s: {parts}")


def program() -> str:
    """How this program can be called from here."""
    found = shutil.which("loopwright")
    return "loopwright" if found else os.path.relpath(sys.argv[0])


COUNTED: Sequence[tuple[str | None, str]] = (
    ("kind", "issues"),
    ("fate", "fates"),
    ("loop", "loops"),
    ("outcome", "closed"),
    ("why", "unverified"),
    ("state", "open"),
    ("answer", "answered"),
    ("clock", "breached"),
    (None, "climbed"),
    ("message", "messages"),
    (None, "quarantined"),
)
"""Group of the glossary -> part of the result."""
HEADINGS: Mapping[str, tuple[str, str]] = {
    "issues": ("问题类型 / issues by kind", "issues by kind"),
    "fates": ("问题去向 / what became of them", "what became of them"),
    "loops": ("循环 / loops", "loops"),
    "closed": ("小循环结果 / small loops closed", "small loops closed"),
    "unverified": ("未获确认的原因 / unverified, by why", "unverified, by why"),
    "open": ("仍未关闭 / small loops still open", "small loops still open"),
    "answered": ("客户答复 / what customers answered", "what customers answered"),
    "breached": ("超时的时钟 / clocks that ran out", "clocks that ran out"),
    "climbed": ("升级 / steps climbed", "steps climbed"),
    "tickets": ("各部门工单 / tickets by department", "tickets by department"),
    "moves": ("其间 / on the way", "on the way"),
    "messages": ("消息 / messages", "messages"),
    "quarantined": ("隔离 / quarantined", "quarantined"),
}
MOVES: Mapping[str, tuple[str, str]] = {
    "reminded": ("到期前提醒 / reminders before due", "reminders before due"),
    "bounced": ("退回 / tickets rejected", "tickets rejected"),
    "transferred": ("转办 / tickets transferred", "tickets transferred"),
    "arbitrated": ("仲裁 / arbitrations", "arbitrations"),
    "reopened": ("重开 / loops reopened", "loops reopened"),
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
