"""日历 / Working calendars: show a month or a year, check them."""

import calendar as months
import sys
from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.commands.clock import Documents, known_language, load_set, named, parse_start
from console.terminal import AsJson, Language, emit, say, table
from loopwright.errors import InputError

if TYPE_CHECKING:
    from policy.calendar_check import CalendarFinding
    from policy.working_time import DayReading, WorkingCalendar

NAME = "calendar"
app = typer.Typer(no_args_is_help=True)
Now = Annotated[
    str | None, typer.Option("--now", metavar="ISO", help="Instead of the present moment.")
]

MARKS = {
    "zh": {"working": "  ", "rest": "· ", "holiday": "休", "workday": "班", "half_day": "半"},
    "en": {"working": "  ", "rest": "· ", "holiday": "H ", "workday": "W ", "half_day": "½ "},
}
WORDS = {
    "zh": {
        "week": "一 二 三 四 五 六 日",
        "legend": "休 放假  班 调休上班  半 半天班  · 休息日",
        "columns": ("日期", "星期", "是", "班次", "来自", "原因"),
        "working": "工作日",
        "rest": "休息日",
        "holiday": "放假",
        "workday": "上班",
        "half_day": "半天班",
        "override": "本日历",
        "public": "holidays 库",
        "weekday": "星期",
        "unpublished": "尚未公布，仅供参考",
        "special": "特殊日期",
    },
    "en": {
        "week": "Mo Tu We Th Fr Sa Su",
        "legend": "H holiday  W make-up workday  ½ half day  · rest",
        "columns": ("day", "weekday", "is", "shifts", "by", "why"),
        "working": "working",
        "rest": "rest",
        "holiday": "holiday",
        "workday": "workday",
        "half_day": "half day",
        "override": "this calendar",
        "public": "holidays library",
        "weekday": "weekday",
        "unpublished": "not published, provisional",
        "special": "special days",
    },
}


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A calendar's id.")],
    year: Annotated[
        int | None, typer.Option("--year", min=1901, max=2199, help="Default: this year.")
    ] = None,
    month: Annotated[
        int | None,
        typer.Option("--month", min=1, max=12, help="Default: this month, or all of --year."),
    ] = None,
    documents: Documents = None,
    now: Now = None,
    lang: Language = "zh",
    as_json: AsJson = False,
) -> None:
    """Each day of a month or year: working, rest, holiday, make-up workday or half day."""
    from policy.working_time import CalendarError, WorkingCalendar

    known_language(lang)
    working = WorkingCalendar(named("calendar", load_set(documents).calendars, name))
    here = working.local_day(moment(now, working))
    chosen = [month] if month else list(range(1, 13)) if year else [here.month]
    try:
        grids = [month_of(working, year or here.year, m) for m in chosen]
    except CalendarError as error:
        raise InputError(str(error), f"correct the calendar `{name}`") from error
    readings = [reading for grid in grids for reading in grid]
    emit(
        {
            "calendar": name,
            "title": dict(working.spec.title),
            "zone": working.spec.zone,
            "country": working.spec.country,
            "published_years": list(working.spec.published_years),
            "items": [as_item(reading, lang) for reading in readings],
        },
        as_json,
        lambda: tell(working, grids, lang),
    )


@app.command()
def check(
    names: Annotated[list[str] | None, typer.Argument(help="Calendars; default: all.")] = None,
    documents: Documents = None,
    now: Now = None,
    lang: Language = "zh",
    as_json: AsJson = False,
) -> None:
    """Unpublished years, days that contradict the public holidays; exit 1 if there are any."""
    from policy.calendar_check import check_calendar
    from policy.working_time import WorkingCalendar

    known_language(lang)
    known = load_set(documents).calendars
    specs = [named("calendar", known, name) for name in names] if names else list(known)
    findings = [
        finding
        for spec in specs
        for finding in check_calendar(spec, today(now, WorkingCalendar(spec)))
    ]
    items = [finding_item(finding, lang) for finding in findings]

    def human() -> None:
        for item in items:
            say(f"✗ {item['calendar']}: {item['what']}\n  → {item['fix']}")
        if not items:
            done = "个日历，没有问题" if lang == "zh" else "calendars, nothing wrong"
            say(f"✓ {len(specs)} {done}")

    emit({"calendars": len(specs), "items": items}, as_json, human)
    sys.exit(1 if items else 0)


def moment(now: str | None, working: "WorkingCalendar") -> datetime:
    from loopwright.now import utc_now

    return parse_start(now, working.zone) if now else utc_now()


def today(now: str | None, working: "WorkingCalendar") -> date:
    return working.local_day(moment(now, working))


def month_of(working: "WorkingCalendar", year: int, month: int) -> list["DayReading"]:
    length = months.monthrange(year, month)[1]
    return [working.explain(date(year, month, n)) for n in range(1, length + 1)]


def as_item(reading: "DayReading", lang: str) -> dict[str, Any]:
    return {
        "day": reading.day.isoformat(),
        "kind": reading.kind,
        "by": reading.by,
        "title": reading.title[lang],
        "shifts": [list(shift) for shift in reading.shifts],
        "published": reading.published,
    }


def finding_item(finding: "CalendarFinding", lang: str) -> dict[str, Any]:
    return {
        "calendar": finding.calendar,
        "day": finding.day.isoformat() if finding.day else None,
        "what": finding.what[lang],
        "fix": finding.fix[lang],
    }


def tell(working: "WorkingCalendar", grids: Sequence[list["DayReading"]], lang: str) -> None:
    words: dict[str, Any] = WORDS[lang]
    say(f"{working.spec.id}  {working.spec.title[lang]}  ({working.spec.zone})")
    for grid in grids:
        tell_month(grid, lang)
    say(f"\n{words['legend']}\n")
    special = [r for grid in grids for r in grid if r.by != "weekday"]
    if special:
        table(words["special"], words["columns"], [special_row(r, lang) for r in special])


def tell_month(grid: Sequence["DayReading"], lang: str) -> None:
    """A month as people know it from the wall: weeks down, Monday first, two columns a mark."""
    words: dict[str, Any] = WORDS[lang]
    first = grid[0].day
    note = "" if grid[0].published else f"  ⚠ {words['unpublished']}"
    say(f"\n{first:%Y-%m}{note}")
    say("  ".join(f"{name:>2}" if lang == "en" else name for name in words["week"].split()))
    cells = ["    "] * first.weekday()
    cells += [f"{r.day.day:>2}{MARKS[lang][r.kind]}" for r in grid]
    for start in range(0, len(cells), 7):
        say("".join(cells[start : start + 7]).rstrip())


def special_row(reading: "DayReading", lang: str) -> tuple[str, ...]:
    from policy.working_time import WEEKDAYS

    words: dict[str, Any] = WORDS[lang]
    return (
        reading.day.isoformat(),
        WEEKDAYS[reading.day.weekday()][lang],
        words[reading.kind],
        ", ".join("-".join(shift) for shift in reading.shifts),
        words[reading.by],
        reading.title[lang],
    )
