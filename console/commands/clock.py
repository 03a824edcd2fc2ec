"""时钟 / Clocks: when a deadline falls due, and why then."""

import math
from datetime import datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from console.terminal import AsJson, Language, emit, say, table
from loopwright.errors import InputError

if TYPE_CHECKING:
    from policy.deadline import Course, Deadline, DeadlineStep
    from policy.documents import DocumentSet
    from policy.regulation import Extension, Regulation
    from policy.timing import ClockSpec
    from policy.working_time import WorkingCalendar

NAME = "clock"
app = typer.Typer(no_args_is_help=True)
Documents = Annotated[
    list[Path] | None,
    typer.Option("--documents", help="Document folders, later ones overlaid; default: published."),
]


@app.callback()
def _group() -> None:
    """Keeps `due` a verb of its own while it is the only one."""


@app.command()
def due(
    start: Annotated[
        str, typer.Option("--start", metavar="ISO", help="When it starts; local without an offset.")
    ],
    business_hours: Annotated[
        float | None, typer.Option("--business-hours", help="Length in working hours.")
    ] = None,
    business_days: Annotated[
        int | None, typer.Option("--business-days", help="Length in working days.")
    ] = None,
    calendar_days: Annotated[
        int | None, typer.Option("--calendar-days", help="Length in days, counted as the law does.")
    ] = None,
    clock: Annotated[
        str | None, typer.Option("--clock", help="A clock of the documents, instead of a length.")
    ] = None,
    regulation: Annotated[
        str | None, typer.Option("--regulation", help="A regulation: its first clock, or --clock.")
    ] = None,
    extension: Annotated[
        list[str] | None,
        typer.Option("--extension", help="Extensions of the regulation, in order."),
    ] = None,
    more_days: Annotated[
        int, typer.Option("--more-days", min=0, help="Days granted besides, as the clock counts.")
    ] = 0,
    pause: Annotated[
        list[str] | None,
        typer.Option("--pause", metavar="FROM/TO", help="When it stood still; any number."),
    ] = None,
    calendar: Annotated[
        str | None,
        typer.Option("--calendar", help="Working time; default: the clock's or the head unit's."),
    ] = None,
    documents: Documents = None,
    lang: Language = "zh",
    as_json: AsJson = False,
) -> None:
    """When a clock is due, whether provisionally, and every day on the way."""
    from policy.working_time import WorkingCalendar

    known_language(lang)
    found = load_set(documents)
    zone = ZoneInfo(found.organisation.zone)
    law = named("regulation", found.regulations, regulation, "regulation") if regulation else None
    if law and clock is None and not any((business_hours, business_days, calendar_days)):
        clock = law.clocks[0].id
    spec = spec_of(found, clock, business_hours, business_days, calendar_days)
    working = WorkingCalendar(
        named("calendar", found.calendars, calendar or spec.calendar or usual_calendar(found))
    )
    extensions = extensions_of(law, extension or [])
    pauses = [parse_span(text, zone) for text in pause or []]
    course = course_of(extensions, more_days, pauses)
    deadline = counted(parse_start(start, zone), spec, working, zone, course)
    document = as_document(deadline, zone, lang) | {
        "changes": changes_of(law, extensions, more_days, pauses, spec, working, zone, lang),
        "regulation": law.regulation if law else None,
        "law": law.law[lang] if law else None,
    }
    emit(document, as_json, lambda: tell(deadline, spec, working, zone, lang, document))


def counted(
    start: datetime,
    spec: "ClockSpec",
    working: "WorkingCalendar",
    zone: ZoneInfo,
    course: "Course",
) -> "Deadline":
    from policy.deadline import due as due_of
    from policy.working_time import CalendarError

    try:
        return due_of(start, spec, working, zone, course)
    except (CalendarError, OverflowError) as error:
        fix = "choose a shorter length or another calendar; see `loopwright calendar show NAME`"
        raise InputError(str(error), fix) from error
    except ValueError as error:
        raise InputError(str(error), "write pauses as FROM/TO, the earlier time first") from error


def extensions_of(law: "Regulation | None", names: list[str]) -> list["Extension"]:
    """The regulation's extensions in the order given. Raises InputError where it allows another."""
    from policy.regulation import Unlawful, extension_of

    if names and law is None:
        raise InputError("an extension belongs to a regulation", "name it with --regulation")
    given: list[Extension] = []
    for name in names:
        try:
            given.append(extension_of(law, name, given[-1].id if given else None))  # type: ignore[arg-type]
        except Unlawful as refusal:
            raise InputError(str(refusal), refusal.fix) from refusal
    return given


def course_of(
    extensions: list["Extension"], more_days: int, pauses: list[tuple[datetime, datetime]]
) -> "Course":
    from policy.deadline import Course

    return Course(sum((one.days for one in extensions), more_days), 0.0, tuple(pauses))


def changes_of(
    law: "Regulation | None",
    extensions: list["Extension"],
    more_days: int,
    pauses: list[tuple[datetime, datetime]],
    spec: "ClockSpec",
    working: "WorkingCalendar",
    zone: ZoneInfo,
    lang: str,
) -> list[dict[str, Any]]:
    """What was granted, with its article, and what of the clock's time each pause took."""
    from policy.deadline import elapsed

    granted = [
        {
            "what": "extended",
            "days": one.days,
            "why": one.title[lang],
            "article": law.cite(one.article) if law else None,
        }
        for one in extensions
    ]
    if more_days:
        granted.append({"what": "extended", "days": more_days, "why": None, "article": None})
    stood = [
        {
            "what": "paused",
            "from": first.astimezone(zone).isoformat(),
            "to": last.astimezone(zone).isoformat(),
            "minutes": elapsed(first, last, spec, working, zone).total_seconds() / 60,
        }
        for first, last in pauses
    ]
    return [*granted, *stood]


def parse_span(text: str, zone: ZoneInfo) -> tuple[datetime, datetime]:
    first, slash, last = text.partition("/")
    if not slash:
        raise InputError(f"{text!r} is not a pause", "write it as FROM/TO, two times")
    return parse_start(first, zone), parse_start(last, zone)


def load_set(folders: list[Path] | None) -> "DocumentSet":
    """The documents of the folders, or the published ones. Raises EnvironmentFault without any."""
    from console.commands.policy import load_documents

    found: DocumentSet = load_documents(folders)
    return found


def spec_of(
    documents: "DocumentSet",
    clock: str | None,
    hours: float | None,
    days: int | None,
    calendar_days: int | None,
) -> "ClockSpec":
    """The named clock, or one of the given length. Raises InputError unless exactly one is."""
    from policy.timing import ClockSpec

    lengths = [length for length in (hours, days, calendar_days) if length is not None]
    if (clock is not None) + len(lengths) != 1:
        options = "--business-hours, --business-days, --calendar-days or --clock"
        raise InputError("a deadline has exactly one length", f"give one of {options}")
    if clock is not None:
        found: ClockSpec = named("clock", documents.clocks, clock)
        return found
    if not 0 < lengths[0] < math.inf:
        raise InputError(f"the length cannot be {lengths[0]}", "give a number above 0")
    kind = "owner" if calendar_days is None else "legal"
    title = {"zh": "临时计算", "en": "asked for"}
    return ClockSpec("asked", kind, title, "receipt", "closed", hours, days, calendar_days)


def named(noun: str, specs: tuple[Any, ...], name: str, key: str = "id") -> Any:
    """The document entry with that id. Raises InputError with what there is to choose from."""
    by_id = {getattr(spec, key): spec for spec in specs}
    if name not in by_id:
        known = ", ".join(sorted(by_id))
        raise InputError(f"there is no {noun} {name!r}", f"use one of: {known}")
    return by_id[name]


def usual_calendar(documents: "DocumentSet") -> str:
    """The calendar of the unit at the top, or the first there is."""
    tops = (u.calendar for u in documents.organisation.units if u.parent is None)
    return next(filter(None, tops), documents.calendars[0].id)


def parse_start(text: str, zone: ZoneInfo) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        fix = "write it as 2026-09-30T17:00 or 2026-09-30T17:00:00+08:00"
        raise InputError(f"{text!r} is not a time", fix) from None
    if not 1900 < moment.year < 2200:
        raise InputError(f"the year {moment.year} is out of range", "use a year near the present")
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def as_document(deadline: "Deadline", zone: ZoneInfo, lang: str) -> dict[str, Any]:
    def iso(moment: datetime | None) -> str | None:
        return moment.astimezone(zone).isoformat() if moment else None

    return {
        "due": iso(deadline.due),
        "provisional": deadline.provisional,
        "steps": [
            {
                "day": step.day.isoformat(),
                "what": step.what,
                "why": step.why[lang],
                "from": iso(step.from_),
                "to": iso(step.to),
                "minutes": step.minutes,
            }
            for step in deadline.steps
        ],
    }


WORDS = {
    "zh": {
        "due": "到期",
        "provisional": "暂定：途经尚未公布的年份，公布后重算",
        "calendar": "工作日历",
        "columns": ("日期", "计算", "时段", "分钟", "原因"),
        "worked": "计时",
        "counted": "计入",
        "skipped": "跳过",
        "started": "起算",
        "paused": "暂停",
        "added": "补回",
        "rolled": "顺延",
        "extended": "延长",
        "days": "天",
        "minutes": "分钟",
        "law": "依据",
    },
    "en": {
        "due": "due",
        "provisional": "provisional: reaches an unpublished year, computed again once it is",
        "calendar": "calendar",
        "columns": ("day", "", "time", "minutes", "why"),
        "worked": "worked",
        "counted": "counted",
        "skipped": "skipped",
        "started": "started",
        "paused": "paused",
        "added": "added",
        "rolled": "rolled",
        "extended": "extended",
        "days": "days",
        "minutes": "minutes",
        "law": "law",
    },
}


def tell(
    deadline: "Deadline",
    spec: "ClockSpec",
    calendar: "WorkingCalendar",
    zone: ZoneInfo,
    lang: str,
    document: dict[str, Any],
) -> None:
    words: dict[str, Any] = WORDS[lang]
    when = f"{words['due']}: {local(deadline.due, zone):%Y-%m-%d %H:%M} ({zone.key})"
    say(f"{when}  ⚠ {words['provisional']}" if deadline.provisional else when)
    if spec.calendar_days is None:
        say(f"{words['calendar']}: {calendar.spec.id} {calendar.spec.title[lang]}")
    if document["regulation"]:
        say(f"{words['law']}: {document['regulation']} {document['law']}")
    for change in document["changes"]:
        say(f"{words[change['what']]}: {told_change(change, words)}")
    say()
    rows = [
        (s.day.isoformat(), words[s.what], span(s, zone), f"{s.minutes:g}", s.why[lang])
        for s in deadline.steps
    ]
    table("", words["columns"], rows)


def told_change(change: dict[str, Any], words: dict[str, Any]) -> str:
    if change["what"] == "extended":
        days = f"{change['days']} {words['days']}"
        return " · ".join(filter(None, (days, change["why"], change["article"])))
    took = f"{change['minutes']:g} {words['minutes']}"
    return f"{change['from'][:16]} – {change['to'][:16]} · {took}"


def span(step: "DeadlineStep", zone: ZoneInfo) -> str:
    if step.from_ is None or step.to is None:
        return ""
    end = local(step.to, zone)
    midnight = end.time() == time() and step.minutes < 1440
    return f"{local(step.from_, zone):%H:%M}-{'24:00' if midnight else f'{end:%H:%M}'}"


def local(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.astimezone(zone)


def known_language(lang: str) -> str:
    """The language. Raises InputError for one we do not speak."""
    if lang not in ("zh", "en"):
        raise InputError(f"there is no language {lang!r}", "use zh or en")
    return lang
