"""Whether a calendar can be relied on: are its years published, do its days contradict others'?"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta

from policy.organisation import Text
from policy.timing import CalendarSpec, Override
from policy.working_time import CalendarError, DayReading, WorkingCalendar, public_days

NOTICE_DAYS = 31
"""The next year must be published so many days before it begins."""

KINDS: dict[str, Text] = {
    "working": {"zh": "工作日", "en": "a working day"},
    "rest": {"zh": "休息日", "en": "a day of rest"},
    "holiday": {"zh": "放假", "en": "a holiday"},
    "workday": {"zh": "上班", "en": "a workday"},
    "half_day": {"zh": "半天班", "en": "a half day"},
}


@dataclass(frozen=True)
class CalendarFinding:
    """One thing wrong with a calendar. `day` is None for a finding about a year or the whole."""

    calendar: str
    day: date | None
    what: Text
    fix: Text


def check_calendar(spec: CalendarSpec, today: date) -> list[CalendarFinding]:
    """Everything wrong with a calendar as seen on a local day."""
    try:
        return [
            *_unpublished(spec, today),
            *_idle(spec, today),
            *_without_make_up_days(spec),
            *_contradictions(spec),
        ]
    except CalendarError as error:
        what = {"zh": f"日历无法使用：{error}", "en": str(error)}
        fix = {"zh": "更正 country 或年份", "en": "correct `country` or the years"}
        return [CalendarFinding(spec.id, None, what, fix)]


def _unpublished(spec: CalendarSpec, today: date) -> Iterator[CalendarFinding]:
    years = {today.year, (today + timedelta(days=NOTICE_DAYS)).year}
    for year in sorted(years - set(spec.published_years)):
        file = f"calendars/{spec.id}-{year}.yaml"
        what = {
            "zh": f"{year} 年尚未公布，跨入该年的到期日一律为暂定",
            "en": f"{year} is not published: deadlines that reach into it are provisional",
        }
        fix = {
            "zh": f"官方安排发布后添加 {file}，写明 published: true",
            "en": f"once the official list is out, add {file} with `published: true`",
        }
        yield CalendarFinding(spec.id, None, what, fix)


def _idle(spec: CalendarSpec, today: date) -> Iterator[CalendarFinding]:
    if not WorkingCalendar(spec).year(today.year).total:
        what = {
            "zh": f"{today.year} 年没有任何工作时间",
            "en": f"there is no working time in {today.year}",
        }
        fix = {"zh": "在 shifts 中填写班次", "en": "give `shifts` for the weekdays that work"}
        yield CalendarFinding(spec.id, None, what, fix)


def _without_make_up_days(spec: CalendarSpec) -> Iterator[CalendarFinding]:
    """Years said to be published for which nobody names a make-up workday, unlike the year before:
    the library then knows only the days of the law, not the official list."""
    named = {int(o.day[:4]) for o in spec.overrides if o.kind == "workday"}
    for year in spec.published_years:
        if year in named or make_up_days(spec.country, year):
            continue
        if make_up_days(spec.country, year - 1):
            what = {
                "zh": f"{year} 年标为已公布，但日历与 holidays 库都没有调休上班日",
                "en": f"{year} is said to be published, but neither the calendar nor the"
                " `holidays` library names a make-up workday",
            }
            fix = {
                "zh": f"在 calendars/{spec.id}-{year}.yaml 中补录，或改为 published: false",
                "en": f"add them to calendars/{spec.id}-{year}.yaml, or unpublish the year",
            }
            yield CalendarFinding(spec.id, None, what, fix)


def make_up_days(country: str, year: int) -> list[date]:
    """The make-up workdays of a year that the `holidays` library knows."""
    return sorted(d for d in public_days(country, year).weekend_workdays if d.year == year)


def _contradictions(spec: CalendarSpec) -> Iterator[CalendarFinding]:
    bare = WorkingCalendar(replace(spec, overrides=()))
    for override in spec.overrides:
        said = bare.explain(date.fromisoformat(override.day))
        if _contradicts(spec, override, said):
            yield _contradiction(spec, override, said)


def _contradicts(spec: CalendarSpec, override: Override, public: DayReading) -> bool:
    """Whether a day is a holiday here and a make-up workday there, or the other way round.

    Work on a holiday or weekend is meant where its `shifts` are given, and in a calendar that
    works all seven days anyway.
    """
    if override.kind == "holiday":
        return public.kind == "workday"
    if override.shifts is not None or all(spec.shifts.get(str(n)) for n in range(1, 8)):
        return False
    if public.kind == "holiday":
        return True
    weekend = public.day.weekday() in public_days(spec.country, public.day.year).weekend
    return (
        override.kind == "workday"
        and weekend
        and public.by == "weekday"
        and bool(make_up_days(spec.country, public.day.year))
    )


def _contradiction(spec: CalendarSpec, override: Override, public: DayReading) -> CalendarFinding:
    ours, theirs = KINDS[override.kind], KINDS[public.kind]
    days = ", ".join(d.isoformat() for d in make_up_days(spec.country, public.day.year))
    what = {
        "zh": f"{override.day}：日历写的是{ours['zh']}（{override.title['zh']}），"
        f"holidays 库（{spec.country}）认为是{theirs['zh']}（{public.title['zh']}）",
        "en": f"{override.day}: the calendar says {ours['en']} ({override.title['en']}), the"
        f" `holidays` library ({spec.country}) says {theirs['en']} ({public.title['en']})",
    }
    if override.kind == "holiday":
        fix = {
            "zh": "核对官方安排；写错则删去这一天",
            "en": "compare with the official list; remove the day if it is wrong",
        }
    else:
        fix = {
            "zh": f"核对官方安排，写错则更正；当年调休上班日：{days or '无'}；"
            "确要上班则写明 shifts",
            "en": "compare with the official list and correct the day; make-up workdays of the"
            f" year: {days or 'none'}; if it is worked on purpose, give its `shifts`",
        }
    return CalendarFinding(spec.id, public.day, what, fix)
