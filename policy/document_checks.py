"""What a schema cannot see: names that point nowhere, cycles, patterns, clashes between documents.

Each check takes the documents that are sound so far and yields every mistake it finds. A name is
only called unknown when all documents that could define it were read without a mistake.
"""

import codecs
import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import PurePosixPath
from typing import Any
from zoneinfo import ZoneInfo

from models.kinds import ApprovalKind, IssueKind, UnitLevel, Yields
from policy.approval import ROLE, ApprovalRule
from policy.measures import BASES, NOT, RATIO, MeasureSpec
from policy.organisation import Organisation, Unit
from policy.patterns import check_pattern
from policy.red import lint_red, run_red_tests
from policy.regulation import Regulation
from policy.retention import LEAST_YEARS_OF_CREDIT_REPORTING, RetentionClass
from policy.route import lint_rules, run_tests
from policy.rulebook import Recurrence, Rulebook
from policy.source_spec import SEGMENTS, FollowSpec, FormatSpec, SourceSpec, TimeSpec
from policy.taxonomy import Taxonomy, Words
from policy.timing import CalendarSpec, ClockSpec, Ladder, Override

Path = tuple[str | int, ...]
"""Keys and positions that lead to a value inside a document."""


@dataclass(frozen=True)
class Mistake:
    """One thing wrong in a document: where it is and what to do about it."""

    file: str
    line: int
    what: str
    fix: str


@dataclass(frozen=True)
class CalendarYear:
    """The days of one calendar and year that differ: `calendars/NAME-YEAR.yaml`."""

    calendar: str
    year: int
    published: bool
    overrides: tuple[Override, ...]


@dataclass(frozen=True)
class Entry:
    """One built value with its place: `path` within `file`; `lines` knows each path's line."""

    file: str
    lines: Mapping[Path, int]
    path: Path
    value: Any

    def mistake(self, at: Path, what: str, fix: str) -> Mistake:
        return Mistake(self.file, line_of(self.lines, self.path + at), what, fix)


@dataclass(frozen=True)
class Draft:
    """Everything that could be built, by kind, and the kinds that could not be built whole."""

    entries: Mapping[str, tuple[Entry, ...]]
    broken: frozenset[str]

    def of(self, kind: str) -> tuple[Entry, ...]:
        return self.entries.get(kind, ())

    def names(self, kind: str, of: Callable[[Any], Iterable[str]]) -> frozenset[str] | None:
        """The names a kind defines; None when some of them could not be read."""
        if kind in self.broken or not self.of(kind):
            return None
        return frozenset(name for entry in self.of(kind) for name in of(entry.value))

    def units(self) -> frozenset[str] | None:
        return self.names("organisation", lambda o: (u.code for u in o.units))

    def calendars(self) -> frozenset[str] | None:
        return self.names("calendars", lambda c: (c.id,))

    def ladders(self) -> frozenset[str] | None:
        return self.names("ladders", lambda ladder: (ladder.id,))


def line_of(lines: Mapping[Path, int], path: Path) -> int:
    """The line of the value at `path`, or of the nearest value around it."""
    while path not in lines and path:
        path = path[:-1]
    return lines.get(path, 1)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like `name`, if any looks like it."""
    lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name[:80].lower(), list(lower), 1, 0.6)
    return lower[close[0]] if close else None


def choose(name: str, known: Iterable[str]) -> str:
    """What to write instead of `name`: the nearest known one, or what there is to choose from."""
    names = sorted(known)
    close = nearest(name, names)
    if close is not None:
        return f"did you mean `{close}`?"
    shown = ", ".join(f"`{n}`" for n in names[:12])
    return (
        f"use one of {shown}" + (", ..." if len(names) > 12 else "") if names else "define it first"
    )


def check(draft: Draft) -> Iterator[Mistake]:
    """Every mistake the documents make among themselves."""
    for each in (
        _organisation, _taxonomy, _policy, _clocks, _ladders, _calendars, _years, _sources,
        _templates, _retention, _measures, _regulations,
    ):  # fmt: skip
        yield from each(draft)


def _unknown(
    entry: Entry, at: Path, noun: str, name: str | None, known: frozenset[str] | None
) -> Iterator[Mistake]:
    if name is not None and known is not None and name not in known:
        yield entry.mistake(at, f"unknown {noun} `{name}`", choose(name, known))


def _repeated(places: Iterable[tuple[Entry, Path, str]], noun: str) -> Iterator[Mistake]:
    seen: dict[str, tuple[str, int]] = {}
    for entry, at, name in places:
        line = line_of(entry.lines, entry.path + at)
        if name in seen:
            file, first = seen[name]
            what = f"{noun} `{name}` is already defined in {file}, line {first}"
            yield entry.mistake(at, what, "give one of them another name or remove it")
        seen.setdefault(name, (entry.file, line))


def _repeated_ids(draft: Draft, kind: str, key: str, noun: str) -> Iterator[Mistake]:
    yield from _repeated(((e, (key,), getattr(e.value, key)) for e in draft.of(kind)), noun)


def _zone(entry: Entry, at: Path, zone: str) -> Iterator[Mistake]:
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        yield entry.mistake(at, f"unknown time zone `{zone}`", "use an IANA name: Asia/Shanghai")


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _cycles(above: Mapping[str, str | None]) -> Iterator[tuple[str, ...]]:
    """Each cycle of a graph in which every node has at most one successor, once."""
    done: set[str] = set()
    for start in above:
        walk: dict[str, None] = {}
        node: str | None = start
        while node is not None and node not in done and node not in walk:
            walk[node] = None
            node = above.get(node)
        if node is not None and node in walk:
            names = list(walk)
            yield tuple(names[names.index(node) :])
        done.update(walk)


# Organisation


def _organisation(draft: Draft) -> Iterator[Mistake]:
    for entry in draft.of("organisation"):
        organisation: Organisation = entry.value
        yield from _zone(entry, ("zone",), organisation.zone)
        yield from _units(entry, organisation, draft.calendars())
        yield from _people(entry, organisation)


def _units(
    entry: Entry, organisation: Organisation, calendars: frozenset[str] | None
) -> Iterator[Mistake]:
    units = organisation.units
    codes = frozenset(u.code for u in units)
    people = frozenset(p.id for p in organisation.people)
    yield from _repeated(
        ((entry, ("units", i, "code"), u.code) for i, u in enumerate(units)), "unit"
    )
    for i, unit in enumerate(units):
        at = ("units", i)
        yield from _unknown(entry, (*at, "parent"), "unit", unit.parent, codes)
        yield from _unknown(entry, (*at, "head"), "person", unit.head, people)
        yield from _unknown(entry, (*at, "calendar"), "calendar", unit.calendar, calendars)
        yield from _placed(entry, (*at, "parent"), unit, organisation)
    position = {u.code: i for i, u in enumerate(units)}
    for cycle in _cycles({u.code: u.parent for u in units}):
        what = "units are their own parents: " + " -> ".join((*cycle, cycle[0]))
        yield entry.mistake(("units", position[cycle[0]], "parent"), what, "break the circle")


def _placed(entry: Entry, at: Path, unit: Unit, organisation: Organisation) -> Iterator[Mistake]:
    order = list(UnitLevel)
    parent = organisation.unit_by_code.get(unit.parent or "")
    if unit.parent is None and unit.level is not UnitLevel.HEAD_OFFICE:
        what = f"unit `{unit.code}` has no parent"
        yield entry.mistake(at[:-1], what, "name the unit above it in `parent`")
    if parent is not None and order.index(parent.level) >= order.index(unit.level) > 1:
        what = f"a {unit.level} cannot stand below a {parent.level}"
        yield entry.mistake(at, what, "name a unit of a higher level in `parent`")


def _people(entry: Entry, organisation: Organisation) -> Iterator[Mistake]:
    people = organisation.people
    ids = frozenset(p.id for p in people)
    codes = frozenset(u.code for u in organisation.units)
    yield from _repeated(
        ((entry, ("people", i, "id"), p.id) for i, p in enumerate(people)), "person"
    )
    for i, person in enumerate(people):
        yield from _unknown(entry, ("people", i, "unit"), "unit", person.unit, codes)
        yield from _unknown(entry, ("people", i, "manager"), "person", person.manager, ids)
        for j, leave in enumerate(person.leave):
            at: Path = ("people", i, "leave", j)
            yield from _leave(entry, at, leave.first, leave.last)
            yield from _unknown(entry, (*at, "deputy"), "person", leave.deputy, ids - {person.id})
    position = {p.id: i for i, p in enumerate(people)}
    for cycle in _cycles({p.id: p.manager for p in people}):
        what = "people are their own managers: " + " -> ".join((*cycle, cycle[0]))
        yield entry.mistake(("people", position[cycle[0]], "manager"), what, "break the circle")


def _leave(entry: Entry, at: Path, first: str, last: str) -> Iterator[Mistake]:
    for key, day in (("first", first), ("last", last)):
        if _day(day) is None:
            yield entry.mistake((*at, key), f"there is no day `{day}`", "write YYYY-MM-DD")
    if _day(first) and _day(last) and last < first:
        yield entry.mistake((*at, "last"), "the leave ends before it begins", "swap the days")


# Taxonomy


def _taxonomy(draft: Draft) -> Iterator[Mistake]:
    for entry in draft.of("taxonomy"):
        taxonomy: Taxonomy = entry.value
        yield from _journeys(entry, taxonomy)
        yield from _topics(entry, taxonomy, draft.units())
        yield from _signals(entry, taxonomy)
        yield from _codes(entry, taxonomy)
        missing = [k for k in IssueKind if k not in taxonomy.kind_order]
        if missing:
            what = "`kind_order` lacks " + ", ".join(f"`{k}`" for k in missing)
            yield entry.mistake(("kind_order",), what, "list every kind once")


def _touchpoints(taxonomy: Taxonomy) -> Iterator[tuple[Path, str]]:
    for i, journey in enumerate(taxonomy.journeys):
        for j, stage in enumerate(journey.stages):
            for k, touchpoint in enumerate(stage.touchpoints):
                yield ("journeys", i, "stages", j, "touchpoints", k, "id"), touchpoint.id


def _journeys(entry: Entry, taxonomy: Taxonomy) -> Iterator[Mistake]:
    journeys = taxonomy.journeys
    stages = [
        (("journeys", i, "stages", j, "id"), stage.id)
        for i, journey in enumerate(journeys)
        for j, stage in enumerate(journey.stages)
    ]
    named = ((entry, ("journeys", i, "id"), j.id) for i, j in enumerate(journeys))
    yield from _repeated(named, "journey")
    yield from _repeated(((entry, at, name) for at, name in stages), "stage")
    yield from _repeated(((entry, at, name) for at, name in _touchpoints(taxonomy)), "touchpoint")


def _topics(entry: Entry, taxonomy: Taxonomy, units: frozenset[str] | None) -> Iterator[Mistake]:
    topics = taxonomy.topics
    touchpoints = frozenset(name for _, name in _touchpoints(taxonomy))
    business = frozenset(c.code for c in taxonomy.codes.business)
    causes = frozenset(c.code for c in taxonomy.codes.causes)
    yield from _repeated(
        ((entry, ("topics", i, "id"), t.id) for i, t in enumerate(topics)), "topic"
    )
    for i, topic in enumerate(topics):
        at = ("topics", i)
        yield from _unknown(entry, (*at, "touchpoint"), "touchpoint", topic.touchpoint, touchpoints)
        yield from _unknown(entry, (*at, "owner"), "unit", topic.owner, units)
        for j, code in enumerate(topic.departments):
            yield from _unknown(entry, (*at, "departments", j), "unit", code, units)
        codes = topic.codes
        yield from _unknown(
            entry, (*at, "codes", "business"), "business code", codes.business, business
        )
        yield from _unknown(entry, (*at, "codes", "cause"), "cause code", codes.cause, causes)
        yield from _words(entry, (*at, "words"), topic.words)


def _signals(entry: Entry, taxonomy: Taxonomy) -> Iterator[Mistake]:
    signals = taxonomy.signals
    named = ((entry, ("signals", i, "id"), s.id) for i, s in enumerate(signals))
    yield from _repeated(named, "signal")
    for i, signal in enumerate(signals):
        yield from _words(entry, ("signals", i, "words"), signal.words)


def _words(entry: Entry, at: Path, words: Words) -> Iterator[Mistake]:
    if not (words.zh or words.en or words.patterns):
        yield entry.mistake(at, "there are no words", "give `zh`, `en` or `patterns`")
    for key in ("patterns", "unless"):
        for i, pattern in enumerate(getattr(words, key)):
            wrong = check_pattern(pattern)
            if wrong:
                what = f"the pattern `{pattern[:60]}` is not valid RE2: {wrong}"
                yield entry.mistake((*at, key, i), what, "mend it; RE2 has no look-around")


def _codes(entry: Entry, taxonomy: Taxonomy) -> Iterator[Mistake]:
    table = taxonomy.codes
    for key, codes in (
        ("channels", table.channels), ("business", table.business), ("causes", table.causes),
    ):  # fmt: skip
        named = ((entry, ("codes", key, i, "code"), c.code) for i, c in enumerate(codes))
        yield from _repeated(named, "code")
    known = frozenset(c.code for c in table.channels)
    for channel, code in taxonomy.channel_codes.items():
        yield from _unknown(entry, ("channel_codes", channel), "channel code", code, known)


# Policy


def _policy(draft: Draft) -> Iterator[Mistake]:
    known = {
        "clock": draft.names("clocks", lambda c: (c.id,)),
        "ladder": draft.ladders(),
    }
    for entry in draft.of("policy"):
        rulebook: Rulebook = entry.value
        yield from _decision(entry, (), vars(rulebook), known)
        yield from _recurrence(entry, rulebook.recurrence)
        yield from _running(entry, rulebook, draft)
        yield from _approvals(entry, rulebook, draft)
        for i, rule in enumerate(rulebook.rules):
            yield from _decision(entry, ("rules", i, "then"), vars(rule.then), known)
        for i, test in enumerate(rulebook.tests):
            yield from _decision(entry, ("tests", i, "expect"), test.expect, known)
            yield from _given(entry, ("tests", i, "given"), test.given, draft)
        if draft.units() is not None and draft.names("taxonomy", lambda t: (t.taxonomy,)):
            organisation = draft.of("organisation")[0].value
            yield from _behaviour(entry, rulebook, draft.of("taxonomy")[0].value, organisation)


def _decision(
    entry: Entry, at: Path, then: Mapping[str, Any], known: Mapping[str, frozenset[str] | None]
) -> Iterator[Mistake]:
    for i, clock in enumerate(then.get("clocks", ())):
        yield from _unknown(entry, (*at, "clocks", i), "clock", clock, known["clock"])
    yield from _unknown(entry, (*at, "ladder"), "ladder", then.get("ladder"), known["ladder"])


def _recurrence(entry: Entry, recurrence: Recurrence) -> Iterator[Mistake]:
    days = recurrence.window_days
    if recurrence.baseline_days < days:
        what = f"a baseline of {recurrence.baseline_days} days is shorter than the window of {days}"
        at = ("recurrence", "baseline_days")
        yield entry.mistake(at, what, f"compare with {days} days or more")


def _approvals(entry: Entry, rulebook: Rulebook, draft: Draft) -> Iterator[Mistake]:
    rules = rulebook.approvals
    levels = ((entry, ("approvals", i), f"{r.kind.value} {r.level}") for i, r in enumerate(rules))
    yield from _repeated(levels, "level of approval")
    yield from _limits(entry, rules)
    roles = draft.names("organisation", lambda o: (role for p in o.people for role in p.roles))
    for i, rule in enumerate(rules):
        for n, who in enumerate(rule.who):
            role = who.removeprefix(ROLE) if who.startswith(ROLE) else None
            yield from _unknown(entry, ("approvals", i, "who", n), "role", role, roles)


def _limits(entry: Entry, rules: tuple[ApprovalRule, ...]) -> Iterator[Mistake]:
    """Only compensations have amounts, and each of their levels a limit of its own."""
    seen: set[int | None] = set()
    for i, rule in enumerate(rules):
        if rule.kind is not ApprovalKind.COMPENSATION and rule.up_to_fen is not None:
            what = f"a {rule.kind.value} has no amount, so no limit"
            yield entry.mistake(("approvals", i, "up_to_fen"), what, "remove `up_to_fen`")
        if rule.kind is ApprovalKind.COMPENSATION and rule.up_to_fen in seen:
            what = "another level of compensation has the same limit"
            yield entry.mistake(("approvals", i), what, "give each level a limit of its own")
        if rule.kind is ApprovalKind.COMPENSATION:
            seen.add(rule.up_to_fen)


def _clock_lists(rulebook: Rulebook) -> Iterator[tuple[Path, tuple[str, ...], str]]:
    """Where clocks are named, which, and the kind of loop they are for."""
    yield ("clocks",), rulebook.clocks, "big"
    for i, rule in enumerate(rulebook.rules):
        if rule.then.loop in ("small", "big"):
            yield ("rules", i, "then", "clocks"), rule.then.clocks, rule.then.loop


def _running(entry: Entry, rulebook: Rulebook, draft: Draft) -> Iterator[Mistake]:
    """Every kind of loop that is opened has a clock, and every clock a loop to run for.

    No clocks at all say that nothing runs. A big loop leaves the customer a small one.
    """
    runs_for = {clock.value.id: clock.value.loop for clock in draft.of("clocks")}
    for at, clocks, opens in _clock_lists(rulebook):
        if not clocks or not runs_for.keys() >= {*clocks}:
            continue
        for kind in ("small", "big") if opens == "big" else ("small",):
            if not {runs_for[clock] for clock in clocks} & {kind, "any"}:
                what = f"none of the clocks runs for a {kind} loop"
                yield entry.mistake(at, what, f"add one whose `loop` is `{kind}` or `any`")
        for i, clock in enumerate(clocks):
            if opens == "small" and runs_for[clock] == "big":
                what = f"clock `{clock}` runs for big loops only, and the rule opens a small one"
                yield entry.mistake((*at, i), what, "remove it")


def _given(entry: Entry, at: Path, given: Mapping[str, Any], draft: Draft) -> Iterator[Mistake]:
    """A test about a topic or signal that does not exist tests nothing."""
    topics = draft.names("taxonomy", lambda t: ("", *(topic.id for topic in t.topics)))
    signals = draft.names("taxonomy", lambda t: (signal.id for signal in t.signals))
    topic, heard = given.get("topic"), given.get("signals")
    if isinstance(topic, str):
        yield from _unknown(entry, (*at, "topic"), "topic", topic, topics)
    for i, signal in enumerate(heard if isinstance(heard, list) else ()):
        yield from _unknown(entry, (*at, "signals", i), "signal", signal, signals)


def _behaviour(
    entry: Entry, rulebook: Rulebook, taxonomy: Taxonomy, organisation: Organisation
) -> Iterator[Mistake]:
    """What the rules themselves and the policy's own tests say."""
    findings = [*lint_rules(rulebook, taxonomy, organisation), *lint_red(rulebook, organisation)]
    for rule, what, fix in findings:
        yield entry.mistake(_clause_at(rulebook, rule, what), f"rule {rule}: {what}", fix)
    try:
        failures = [*run_tests(rulebook), *run_red_tests(rulebook)]
    except ValueError:
        return  # a clause that is not CEL: among the findings
    for failure in failures:
        named = f"test {failure.name or failure.position + 1}"
        fix = "correct the rules or the test"
        yield entry.mistake(("tests", failure.position), f"{named}: {failure.reason}", fix)


def _clause_at(rulebook: Rulebook, rule_id: str, what: str) -> Path:
    """Where a finding points: its clause when it quotes one, else its rule, else the tests."""
    places: dict[str, tuple[str, int, tuple[str, ...]]] = {
        rule.id: ("rules", i, rule.when) for i, rule in enumerate(rulebook.rules)
    } | {rule.id: ("red", i, rule.when) for i, rule in enumerate(rulebook.red)}
    if rule_id not in places:
        return ("tests",)
    key, position, clauses = places[rule_id]
    for i, clause in enumerate(clauses):
        if what.startswith(f"{clause}: "):
            return (key, position, "when", i)
    return (key, position)


# Clocks, ladders, calendars


def _clocks(draft: Draft) -> Iterator[Mistake]:
    yield from _repeated_ids(draft, "clocks", "id", "clock")
    for entry in draft.of("clocks"):
        clock: ClockSpec = entry.value
        yield from _unknown(entry, ("calendar",), "calendar", clock.calendar, draft.calendars())
        yield from _unknown(entry, ("ladder",), "ladder", clock.ladder, draft.ladders())


def _ladders(draft: Draft) -> Iterator[Mistake]:
    yield from _repeated_ids(draft, "ladders", "id", "ladder")
    for entry in draft.of("ladders"):
        ladder: Ladder = entry.value
        named = ((entry, ("steps", i, "id"), s.id) for i, s in enumerate(ladder.steps))
        yield from _repeated(named, "step")


def _calendars(draft: Draft) -> Iterator[Mistake]:
    yield from _repeated_ids(draft, "calendars", "id", "calendar")
    for entry in draft.of("calendars"):
        calendar: CalendarSpec = entry.value
        yield from _zone(entry, ("zone",), calendar.zone)
        for weekday, shifts in calendar.shifts.items():
            yield from _shifts(entry, ("shifts", weekday), shifts)
        yield from _overrides(entry, calendar.overrides)
        yield from _published(entry, calendar, draft)


def _shifts(entry: Entry, at: Path, shifts: tuple[tuple[str, str], ...]) -> Iterator[Mistake]:
    for i, (start, end) in enumerate(shifts):
        if end <= start:
            fix = "end it later, or split it at midnight"
            yield entry.mistake((*at, i), f"the shift {start}-{end} ends before it begins", fix)
        for other in shifts[:i]:
            if start < other[1] and other[0] < end:
                what = f"the shifts {other[0]}-{other[1]} and {start}-{end} overlap"
                yield entry.mistake((*at, i), what, "let one end before the other begins")


def _overrides(entry: Entry, overrides: tuple[Override, ...]) -> Iterator[Mistake]:
    days = ((entry, ("overrides", i, "day"), o.day) for i, o in enumerate(overrides))
    yield from _repeated(days, "day")
    for i, override in enumerate(overrides):
        if _day(override.day) is None:
            what = f"there is no day `{override.day}`"
            yield entry.mistake(("overrides", i, "day"), what, "write YYYY-MM-DD")
        yield from _shifts(entry, ("overrides", i, "shifts"), override.shifts or ())
        if override.shifts and override.kind == "holiday":
            what = f"{override.day} is a holiday and has shifts"
            yield entry.mistake(("overrides", i, "shifts"), what, "make it a workday or half_day")


def _published(entry: Entry, calendar: CalendarSpec, draft: Draft) -> Iterator[Mistake]:
    if "calendar" in draft.broken:
        return
    years = {y.value.year for y in draft.of("calendar") if y.value.calendar == calendar.id}
    for i, year in enumerate(calendar.published_years):
        if year not in years:
            file = f"calendars/{calendar.id}-{year}.yaml"
            what = f"{year} is said to be published, but there is no {file}"
            yield entry.mistake(("published_years", i), what, f"add {file} or remove the year")


def _years(draft: Draft) -> Iterator[Mistake]:
    named = ((e, ("year",), f"{e.value.calendar}-{e.value.year}") for e in draft.of("calendar"))
    yield from _repeated(named, "calendar year")
    listed = {(e.value.id, y) for e in draft.of("calendars") for y in e.value.published_years}
    for entry in draft.of("calendar"):
        year: CalendarYear = entry.value
        yield from _unknown(entry, ("calendar",), "calendar", year.calendar, draft.calendars())
        yield from _overrides(entry, year.overrides)
        yield from _right_year(entry, year)
        if (year.calendar, year.year) in listed and not year.published:
            what = f"`{year.calendar}` lists {year.year} as published, this file does not"
            yield entry.mistake(("published",), what, "write `published: true` or unlist the year")


def _right_year(entry: Entry, year: CalendarYear) -> Iterator[Mistake]:
    expected = f"{year.calendar}-{year.year}"
    if PurePosixPath(entry.file).stem != expected:
        what = f"the file is about `{year.calendar}` in {year.year}, its name says otherwise"
        yield entry.mistake(("year",), what, f"name it calendars/{expected}.yaml")
    for i, override in enumerate(year.overrides):
        day = _day(override.day)
        if day is not None and day.year != year.year:
            what = f"the day {override.day} is not in {year.year}"
            yield entry.mistake(("overrides", i, "day"), what, "move it to its own year's file")


# Sources


FORMAT_OPTIONS = {
    "delimited": {"encoding", "delimiter", "quote", "header", "fields"},
    "jsonl": {"encoding"},
    "json": {"encoding", "items"},
    "lines": {"encoding", "fields"},
    "xlsx": {"sheet", "header", "fields"},
}
"""Which options each form of file understands, beside `kind`."""

FETCH_NEEDS = {"file": "path", "http": "url"}

PROPERTIES = {
    Yields.CUSTOMERS: (
        {"value_band", "lifecycle", "vulnerable", "branch", "manager"},
        {"valid_from", "valid_to"},
    ),
    Yields.MEASURES: ({"touchpoint", "unit", "channel", "numerator", "denominator"}, {"day"}),
    Yields.JOURNEY_EVENTS: ({"touchpoint", "channel", "outcome"}, {"at"}),
    Yields.CASES: ({"topic", "owner", "person", "status", "history"}, set()),
}
"""What `map.values` and `map.times` may name, beside `consent.CHANNEL` of customers."""

NEEDED = {
    Yields.CUSTOMERS: ("customer",),
    Yields.MEASURES: ("values.touchpoint", "values.numerator", "values.denominator", "times.day"),
    Yields.JOURNEY_EVENTS: ("customer", "values.touchpoint", "times.at"),
    Yields.CASES: ("id", "text", "received_at"),
}


def _sources(draft: Draft) -> Iterator[Mistake]:
    yield from _repeated_ids(draft, "sources", "name", "source")
    channels = draft.names("taxonomy", lambda t: (*t.channel_codes, "other"))
    for entry in draft.of("sources"):
        source: SourceSpec = entry.value
        yield from _format(entry, source.format)
        yield from _mapped(entry, source)
        for at, spec in _times(source):
            yield from _time(entry, at, spec)
        if (
            source.fetch is not None
            and getattr(source.fetch, FETCH_NEEDS[source.fetch.kind]) is None
        ):
            need = FETCH_NEEDS[source.fetch.kind]
            what = f"a fetch of kind `{source.fetch.kind}` has no `{need}`"
            yield entry.mistake(("fetch",), what, f"add `{need}`")
        if source.yields in (Yields.FEEDBACK, Yields.CASES):
            yield from _channels(entry, source, channels)
        if source.yields is Yields.CASES and source.fetch is not None:
            what = "open cases are imported by a person, not fetched"
            yield entry.mistake(("fetch",), what, "remove `fetch`; see `loopwright loop import`")
        if source.follow is not None and _is_encoding(source.format.encoding):
            yield from _followed(entry, source, source.follow)


FOLLOWED_ENCODINGS = frozenset({"utf-8", "ascii", "gb18030", "gbk", "gb2312", "big5"})
"""In which a line's end is a byte of its own, wherever one looks."""


def _followed(entry: Entry, source: SourceSpec, follow: FollowSpec) -> Iterator[Mistake]:
    """A file that grows line by line: each line is a segment of the conversation that it names."""
    if source.format.kind != "jsonl" or source.yields is not Yields.FEEDBACK:
        what = "only feedback as JSON Lines can be followed while it grows"
        yield entry.mistake(("follow",), what, "use the format `jsonl`, or remove `follow`")
    if source.fetch is not None and source.fetch.kind != "file":
        yield entry.mistake(("fetch",), "only a file can be followed", "use `kind: file`")
    if codecs.lookup(source.format.encoding).name not in FOLLOWED_ENCODINGS:
        what = f"lines of {source.format.encoding} cannot be told while the file grows"
        yield entry.mistake(("format", "encoding"), what, "use e.g. utf-8 or gb18030")
    if source.map.id != follow.conversation:
        what = f"`map.id` is not `{follow.conversation}`, the field that names the conversation"
        yield entry.mistake(("map",), what, f"set `map.id: {follow.conversation}`")
    if source.map.turns is None or source.map.turns.items != SEGMENTS:
        what = "the words of a conversation come from its segments"
        fix = f"set `map.turns` with `items: {SEGMENTS}`, the speaker's and the words' field"
        yield entry.mistake(("map",), what, fix)


def _format(entry: Entry, spec: FormatSpec) -> Iterator[Mistake]:
    written = {p[-1] for p in entry.lines if p[:-1] == (*entry.path, "format")}
    allowed = FORMAT_OPTIONS[spec.kind]
    for option in sorted(written - allowed - {"kind"}, key=str):
        what = f"`{option}` means nothing for the format `{spec.kind}`"
        fix = "remove it; allowed: " + ", ".join(f"`{o}`" for o in sorted(allowed))
        yield entry.mistake(("format", option), what, fix)
    if not _is_encoding(spec.encoding):
        what = f"unknown encoding `{spec.encoding}`"
        yield entry.mistake(("format", "encoding"), what, "use e.g. utf-8, utf-8-sig or gb18030")
    if not spec.header and not spec.fields:
        what = "there is no header row and no column names"
        yield entry.mistake(("format", "header"), what, "list the columns in `fields`")


def _is_encoding(name: str) -> bool:
    try:
        "".encode(name)
    except (LookupError, ValueError):
        return False
    return True


def _mapped(entry: Entry, source: SourceSpec) -> Iterator[Mistake]:
    if source.yields is Yields.FEEDBACK:
        wordless = not source.map.text and source.map.turns is None and source.map.rating is None
        if wordless and source.format.kind != "lines":
            what = "nothing says where the customer's words are"
            yield entry.mistake(("map",), what, "give `text` or `turns`")
        return
    for path in NEEDED[source.yields]:
        part, _, name = path.partition(".")
        mapped = getattr(source.map, part)
        if not mapped or (name and name not in mapped):
            what = f"a source of {source.yields} needs `map.{path}`"
            yield entry.mistake(("map",), what, f"say which field holds `{name or 'a key'}`")
    for part, known in zip(("values", "times"), PROPERTIES[source.yields], strict=True):
        for name in getattr(source.map, part):
            if source.yields is Yields.CUSTOMERS and name.startswith("consent."):
                continue
            yield from _unknown(entry, ("map", part, name), "property", name, frozenset(known))


def _times(source: SourceSpec) -> Iterator[tuple[Path, TimeSpec]]:
    for key in ("said_at", "received_at"):
        spec = getattr(source.map, key)
        if spec is not None:
            yield ("map", key), spec
    for name, spec in source.map.times.items():
        yield ("map", "times", name), spec


def _time(entry: Entry, at: Path, spec: TimeSpec) -> Iterator[Mistake]:
    yield from _zone(entry, (*at, "zone"), spec.zone)
    if spec.format not in {"iso", "epoch_s", "epoch_ms"} and not _reads_back(spec.format):
        what = f"`{spec.format}` is not a form of time"
        fix = "use iso, epoch_s, epoch_ms or a pattern such as %Y-%m-%d %H:%M:%S"
        yield entry.mistake((*at, "format"), what, fix)


def _reads_back(pattern: str) -> bool:
    """Whether a strptime pattern has a date and every directive in it is known."""
    moment = datetime(2026, 8, 24, 9, 30)  # noqa: DTZ001 - a probe, not a time
    try:
        return datetime.strptime(moment.strftime(pattern), pattern).date() == moment.date()  # noqa: DTZ007
    except ValueError:
        return False


def _channels(entry: Entry, source: SourceSpec, known: frozenset[str] | None) -> Iterator[Mistake]:
    yield from _unknown(entry, ("channel",), "channel", source.channel, known)
    for name, channel in source.map.channel_names.items():
        yield from _unknown(entry, ("map", "channel_names", name), "channel", channel, known)


def _templates(draft: Draft) -> Iterator[Mistake]:
    yield from _repeated_ids(draft, "templates", "id", "template")


# Retention


def _retention(draft: Draft) -> Iterator[Mistake]:
    topics = draft.names("taxonomy", lambda t: (topic.id for topic in t.topics))
    sources = draft.names("sources", lambda s: (s.name,))
    entries = draft.of("retention")
    named = ((e, ("id",), f"{e.value.id} from {e.value.effective}") for e in entries)
    yield from _repeated(named, "retention class")
    for entry in entries:
        kept: RetentionClass = entry.value
        if _day(kept.effective) is None:
            what = f"there is no day `{kept.effective}`"
            yield entry.mistake(("effective",), what, "write YYYY-MM-DD")
        if kept.credit_reporting and kept.years < LEAST_YEARS_OF_CREDIT_REPORTING:
            least = LEAST_YEARS_OF_CREDIT_REPORTING
            what = f"credit reporting is kept {kept.years} years only"
            yield entry.mistake(("years",), what, f"write {least} or more")
        for i, topic in enumerate(kept.topics):
            yield from _unknown(entry, ("topics", i), "topic", topic, topics)
        for i, source in enumerate(kept.sources):
            yield from _unknown(entry, ("sources", i), "source", source, sources)
    if entries and "retention" not in draft.broken:
        yield from _rest(entries)


def _rest(entries: tuple[Entry, ...]) -> Iterator[Mistake]:
    takers = sorted({e.value.id for e in entries if e.value.takes_the_rest})
    if len(takers) != 1:
        what = "no class takes the rest" if not takers else "several classes take the rest"
        fix = "have exactly one class without `topics` and `sources`"
        yield entries[0].mistake((), what, fix)


# Measures


def _measures(draft: Draft) -> Iterator[Mistake]:
    yield from _repeated_ids(draft, "measures", "id", "measure")
    for entry in draft.of("measures"):
        measure: MeasureSpec = entry.value
        base = BASES[measure.of]
        yield from _unknown(entry, ("when",), "moment", measure.when, frozenset(base.moments))
        for part in ("denominator", "numerator"):
            for i, fact in enumerate(getattr(measure, part)):
                known, name = frozenset(base.facts), fact.removeprefix(NOT)
                yield from _unknown(entry, (part, i), f"fact of {measure.of}", name, known)
        yield from _worked_out(entry, measure)


def _worked_out(entry: Entry, measure: MeasureSpec) -> Iterator[Mistake]:
    """A ratio has a numerator and is in per cent; a median or p90 has a value in days."""
    of = (bool(measure.numerator), measure.value is not None, measure.unit)
    if of != ((True, False, "percent") if measure.statistic == RATIO else (False, True, "days")):
        what = f"a {measure.statistic} cannot be worked out so"
        fix = (
            "give `numerator`, no `value`, and `unit: percent`"
            if measure.statistic == RATIO
            else "give `value`, no `numerator`, and `unit: days`"
        )
        yield entry.mistake(("statistic",), what, fix)
    elif measure.value is not None:
        known = frozenset(BASES[measure.of].values)
        yield from _unknown(entry, ("value",), "value", measure.value, known)


# Regulations


def _regulations(draft: Draft) -> Iterator[Mistake]:
    yield from _repeated_ids(draft, "regulation", "regulation", "regulation")
    for entry in draft.of("regulation"):
        law: Regulation = entry.value
        yield from _signed(entry, law, draft)
        yield from _articles(entry, law)
        yield from _extensions(entry, law, draft)
        clocks = frozenset(clock.id for clock in law.clocks)
        answer = law.review.clock if law.review else None
        yield from _unknown(entry, ("review", "clock"), "clock of its own", answer, clocks)
        yield from _kept_long_enough(entry, law, draft)
        for key in ("effective", "signed_on"):
            day = getattr(law, key)
            if day is not None and _day(day) is None:
                yield entry.mistake((key,), f"there is no day `{day}`", "write YYYY-MM-DD")


def _signed(entry: Entry, law: Regulation, draft: Draft) -> Iterator[Mistake]:
    """Compliance confirms every value; only an example runs without."""
    people = draft.names("organisation", lambda o: (p.id for p in o.people))
    yield from _unknown(entry, ("signed_by",), "person", law.signed_by, people)
    if law.signed_by and law.signed_on:
        return
    fix = "have compliance check every value, then write `signed_by` and `signed_on`"
    if law.signed_by or law.signed_on:
        what = f"the regulation `{law.regulation}` is signed by halves"
        yield entry.mistake(("signed_by" if law.signed_by else "signed_on",), what, fix)
    elif people is not None and not draft.of("organisation")[0].value.example:
        what = f"the regulation `{law.regulation}` is not signed off and would run unconfirmed"
        yield entry.mistake(("regulation",), what, fix)


def _articles(entry: Entry, law: Regulation) -> Iterator[Mistake]:
    named = ((entry, ("articles", i, "id"), a.id) for i, a in enumerate(law.articles))
    yield from _repeated(named, "article")
    known = frozenset(article.id for article in law.articles)
    for key in ("merging", "new_facts", "withdrawal", "conflict"):
        yield from _unknown(entry, (key,), "article", getattr(law, key), known)
    for key in ("extensions", "exclusions"):
        for i, one in enumerate(getattr(law, key)):
            yield from _unknown(entry, (key, i, "article"), "article", one.article, known)
    for key in ("review", "transfers", "retention"):
        part = getattr(law, key)
        if part is not None:
            yield from _unknown(entry, (key, "article"), "article", part.article, known)


def _extensions(entry: Entry, law: Regulation, draft: Draft) -> Iterator[Mistake]:
    for key, noun in (("extensions", "extension"), ("exclusions", "exclusion")):
        named = ((entry, (key, i, "id"), o.id) for i, o in enumerate(getattr(law, key)))
        yield from _repeated(named, noun)
    # A policy without any level of approval grants nothing, and says so when asked.
    levels = draft.names(
        "policy", lambda p: (a.level for a in p.approvals if a.kind is ApprovalKind.EXTENSION)
    )
    before: set[str] = set()
    for i, one in enumerate(law.extensions):
        at = ("extensions", i)
        yield from _unknown(
            entry, (*at, "after"), "extension before it", one.after, frozenset(before)
        )
        yield from _unknown(entry, (*at, "level"), "level of approval", one.level, levels or None)
        before.add(one.id)


def _kept_long_enough(entry: Entry, law: Regulation, draft: Draft) -> Iterator[Mistake]:
    """The set's retention classes against what the law wants at least."""
    if law.retention is None:
        return
    for kept in (e.value for e in draft.of("retention")):
        credit = law.retention.credit_reporting_years if kept.credit_reporting else None
        least = max(law.retention.years, credit or 0)
        if kept.years < least:
            what = f"the retention class `{kept.id}` keeps {kept.years} years, the law {least}"
            yield entry.mistake(("retention",), what, f"keep that class {least} years or more")
