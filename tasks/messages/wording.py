"""How the organisation's things, moments and spans are called in one language."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from policy.deadline import business_hours_between
from policy.documents import DocumentSet
from policy.route import Place
from policy.working_time import WorkingCalendar


class Wording:
    """Titles of the published documents, and times in the organisation's zone."""

    def __init__(self, documents: DocumentSet, places: Mapping[str, Place], language: str) -> None:
        self.documents, self.places, self.language = documents, places, language
        self.zone = ZoneInfo(documents.organisation.zone)

    def say(self, text: Mapping[str, str]) -> str:
        return text.get(self.language) or text["zh"]

    def unit(self, code: str) -> str:
        unit = self.documents.organisation.unit_by_code.get(code)
        return self.say(unit.title) if unit else code

    def name(self, person: str | None) -> str:
        found = self.documents.organisation.person_by_id.get(person or "")
        return found.name if found else ""

    def topic(self, topic: str) -> str:
        place = self.places.get(topic)
        return self.say(place.topic.title) if place else topic

    def ground(self, name: str) -> str:
        """A red rule or a signal in words."""
        rulebook, taxonomy = self.documents.rulebook, self.documents.taxonomy
        titles = {signal.id: signal.title for signal in taxonomy.signals}
        titles |= {rule.id: rule.title for rule in rulebook.red}
        return self.say(titles[name]) if name in titles else name

    def listed(self, titles: Iterable[str]) -> str:
        return ("、" if self.language == "zh" else ", ").join(titles)

    def when(self, at: datetime | None) -> str:
        return at.astimezone(self.zone).strftime("%Y-%m-%d %H:%M") if at else ""

    def deadline(self, at: datetime | None) -> str:
        """As `when`, but the end of a day is not the beginning of the next."""
        if at is not None and f"{at.astimezone(self.zone):%H:%M}" == "00:00":
            return self.when(at - timedelta(days=1)).replace("00:00", "24:00")
        return self.when(at)

    def day(self, at: datetime | None) -> str:
        """A day as one writes it in a letter."""
        if at is None:
            return ""
        local = at.astimezone(self.zone)
        if self.language == "zh":
            return f"{local.year}年{local.month}月{local.day}日"
        return f"{local.day} {local:%B %Y}"

    def provisional(self) -> str:
        if self.language == "zh":
            return "暂定，该年日历尚未公布"
        return "provisional: that year's calendar is not published yet"

    def span(self, start: datetime, end: datetime, calendar: WorkingCalendar | None) -> str:
        """How long it is, in working time where a calendar counts it; empty for none at all."""
        if calendar is not None:
            return working(business_hours_between(start, end, calendar), self.language)
        return elapsed(end - start, self.language)


def working(hours: float, language: str) -> str:
    """Working time in words, to the half hour; the last one to the minute."""
    minutes = round(hours * 60)
    if minutes <= 0:
        return ""
    if minutes < 60:
        return f"{minutes} 分钟工作时间" if language == "zh" else f"{minutes} working minutes"
    halves = round(minutes / 30) / 2
    if language == "zh":
        return f"{halves:g} 个工作小时"
    return f"{halves:g} working hour{'s' if halves != 1 else ''}"


def elapsed(span: timedelta, language: str) -> str:
    """Time in words, its two largest parts: days and hours, hours and minutes, or minutes."""
    minutes = span // timedelta(minutes=1)
    if minutes <= 0:
        return ""
    parts = [minutes // 1440, minutes // 60 % 24, minutes % 60]
    first = next(n for n, part in enumerate(parts) if part)
    units = ("天", "小时", "分钟") if language == "zh" else ("d", "h", "min")
    shown = list(zip(parts, units, strict=True))[first : first + 2]
    return " ".join(f"{part} {unit}" for part, unit in shown if part)
