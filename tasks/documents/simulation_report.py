"""The figures of a policy simulation: who moves, whose load, what clocks, which rules."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

from loopwright.mask import mask
from models.kinds import LoopKind
from policy.deadline import Deadline, due_many
from policy.organisation import Text
from policy.route import FEATURES, RuleTrace
from tasks.clocks.starting import ANY, ASSIGNMENT
from tasks.documents.past_items import Past
from tasks.documents.policy_side import Case, Outcome, Replay, Side

FATES = ("none", "small", "big", "triage")
OF_CUSTOMERS = frozenset({"value_band", "lifecycle", "vulnerable"})
Both = tuple[Case, Outcome, Outcome]


def report(replay: Replay, policy: str, cases: int, seed: int) -> dict[str, Any]:
    """`policy`: the publication that the draft is held against; `cases`: how many are shown."""
    both = replay.both
    rules = rules_of(replay)
    clocks = deadlines(replay, both)
    return {
        "draft": f"{replay.draft.rulebook.policy} {replay.draft.rulebook.version}",
        "from": replay.first.isoformat(),
        "to": replay.last.isoformat(),
        "items": len(replay.past.items),
        "read_again": replay.again,
        "moves": matrix(both),
        "changed": changed(both),
        "agreement": agreement(both, policy),
        "load": load(replay, both),
        "clocks": clocks,
        "rules": rules,
        "dead": [rule["rule"] for rule in rules if not rule["matched"]],
        "shadowed": [r["rule"] for r in rules if r["matched"] and not r["decided"]],
        "doubts": dict(doubts(replay.draft).most_common()),
        "cases": [described(replay, *one) for one in sample(both, cases, seed)],
        "warnings": list(warnings(replay, clocks)),
    }


def matrix(both: Iterable[Both]) -> dict[str, dict[str, int]]:
    """Loop by the published policy -> loop by the draft -> issues."""
    found: dict[str, dict[str, int]] = {fate: dict.fromkeys(FATES, 0) for fate in FATES}
    for _, before, after in both:
        found[before.loop][after.loop] += 1
    return found


def changed(both: Iterable[Both]) -> dict[str, int]:
    """Issues that would go another way, by what differs; one issue may count in several."""
    names = ("loop", "lead", "priority", "clocks", "participants")
    found = dict.fromkeys(names, 0)
    for _, before, after in both:
        for name in names:
            found[name] += getattr(before, name) != getattr(after, name)
    return found


def agreement(both: Iterable[Both], policy: str) -> dict[str, int]:
    """Of the issues judged under today's publication: how many the replay decides by the same
    rule."""
    judged = [
        (case.item.rule, before.rule)
        for case, before, _ in both
        if case.item.policy == policy and case.item.rule and case.before and before.rule
    ]
    return {"judged": len(judged), "same": sum(a == b for a, b in judged)}


def load(replay: Replay, both: Iterable[Both]) -> list[dict[str, Any]]:
    """New work of each unit by day of receipt: loops it would lead, and issues in doubt for
    operations. What joined a loop that was there brings no new work."""
    zone, days = replay.published.clocks.zone, (replay.last - replay.first).days + 1
    before: dict[str, Counter[str]] = defaultdict(Counter)
    after: dict[str, Counter[str]] = defaultdict(Counter)
    for case, was, is_ in both:
        if not case.item.joined:
            day = case.item.received_at.astimezone(zone).date().isoformat()
            before[was.lead][day] += 1
            after[is_.lead][day] += 1
    units = sorted({*before, *after} - {""}, key=lambda unit: (-after[unit].total(), unit))
    return [
        {"unit": unit, "before": burden(before[unit], days), "after": burden(after[unit], days)}
        for unit in units
    ]


def burden(by_day: Counter[str], days: int) -> dict[str, Any]:
    busiest = max(by_day, key=lambda day: (by_day[day], day), default=None)
    return {
        "total": by_day.total(),
        "a_day": round(by_day.total() / days, 1),
        "most": by_day[busiest] if busiest else 0,
        "on": busiest,
        "days": dict(sorted(by_day.items())),
    }


def deadlines(replay: Replay, both: Sequence[Both]) -> list[dict[str, Any]]:
    """Clock by clock: how many would run under either policy, and what real times say of them."""
    known: Dues = defaultdict(dict)
    before = tally_clocks(replay.published, ((c.item, b) for c, b, _ in both), replay.now, known)
    if not same_times(replay):
        known.clear()
    after = tally_clocks(replay.draft, ((c.item, a) for c, _, a in both), replay.now, known)
    names = dict.fromkeys((*replay.published.clocks.specs, *replay.draft.clocks.specs))
    return [
        {"clock": name, "before": dict(+before[name]), "after": dict(+after[name])}
        for name in names
        if before[name] or after[name]
    ]


def same_times(replay: Replay) -> bool:
    """Whether both policies count time alike, so that a due time worked out once serves both."""
    sides = (replay.published.documents, replay.draft.documents)
    one, other = ((d.clocks, d.calendars, d.regulations, d.organisation.zone) for d in sides)
    return one == other


Start = tuple[datetime, Past]
Dues = dict[tuple[str, str], dict[datetime, Deadline]]
"""Clock and calendar -> start -> due."""


def tally_clocks(
    side: Side, outcomes: Iterable[tuple[Past, Outcome]], now: datetime, known: Dues
) -> dict[str, Counter[str]]:
    """Clock -> due, met, breached, running, unknown, provisional. The clocks of the customer's own
    loop; those of a big loop start with its plan, which the past does not tell."""
    starts: dict[tuple[str, str], list[Start]] = defaultdict(list)
    for item, outcome in outcomes:
        if outcome.loop != "none" and not item.joined:
            for name in running(side, outcome):
                at = started(item, side.clocks.specs[name].starts)
                starts[name, outcome.lead].append((at, item))
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for (name, unit), group in starts.items():
        dues = due_times(side, name, unit, group, known)
        found[name] += tally(side.clocks.specs[name].stops, group, dues, now)
    return found


def running(side: Side, outcome: Outcome) -> Iterator[str]:
    """The clocks that start with the customer's own loop; in doubt nobody is assigned yet."""
    for name in outcome.clocks:
        spec = side.clocks.specs.get(name)
        if spec is None or spec.loop not in (ANY, LoopKind.SMALL):
            continue
        if outcome.loop != "triage" or spec.starts != ASSIGNMENT:
            yield name


def started(item: Past, starts: str) -> datetime:
    """Receipt is known; assignment where a loop was opened, else it is the arrival."""
    at: datetime = item.received_at
    if starts == ASSIGNMENT:
        at = item.fate.opened_at if item.fate else item.row.arrived_at
    return at


def due_times(
    side: Side, name: str, unit: str, group: Iterable[Start], known: Dues
) -> Mapping[datetime, Deadline]:
    """A due time for each start; days are counted alike for all starts of a day."""
    spec, zone = side.clocks.specs[name], side.clocks.zone
    calendar = side.clocks.calendar(spec, unit)
    made = known[name, calendar.spec.id if calendar else ""]
    alike: dict[Any, list[datetime]] = defaultdict(list)
    by_days = spec.business_days is not None or (spec.calendar_days and spec.kind == "legal")
    zones = {zone, calendar.zone if calendar else zone}
    for at in {at for at, _ in group} - made.keys():
        alike[tuple(at.astimezone(z).date() for z in zones) if by_days else at].append(at)
    dues = due_many((starts[0] for starts in alike.values()), spec, calendar, zone)
    for starts, deadline in zip(alike.values(), dues, strict=True):
        made.update(dict.fromkeys(starts, deadline))
    return made


def tally(
    stops: str, group: Sequence[Start], dues: Mapping[datetime, Deadline], now: datetime
) -> Counter[str]:
    found = Counter(due=len(group), provisional=sum(dues[at].provisional for at, _ in group))
    found.update(met(item, stops, dues[at].due, now) for at, item in group)
    return found


def met(item: Past, stops: str, due: datetime, now: datetime) -> str:
    if item.fate is None:
        return "unknown"
    stopped = item.fate.stop(stops)
    if stopped is None:
        return "breached" if now > due else "running"
    return "breached" if stopped > due else "met"


def rules_of(replay: Replay) -> list[dict[str, Any]]:
    """Every rule of the draft: issues whose clauses all hold, those it decides, and who decides
    the others before it."""
    draft, published = replay.draft, replay.published
    return [
        {
            "rule": rule.id,
            "title": rule.title,
            "matched": draft.matched[rule.id].total(),
            "decided": draft.matched[rule.id][rule.id],
            "decided_before": published.matched[rule.id][rule.id],
            "beaten_by": {
                name: count
                for name, count in draft.matched[rule.id].most_common()
                if name != rule.id
            },
        }
        for rule in draft.rulebook.rules
    ]


def doubts(draft: Side) -> Counter[str]:
    """Why the draft's rules would leave issues to a person."""
    return Counter(
        o.decision.reason or f"rule {o.rule}"
        for o in draft.outcomes
        if o.loop == "triage" and o.decision is not None
    )


def sample(both: Sequence[Both], number: int, seed: int) -> list[Both]:
    """The same every time; first of those that go another way."""
    parts: tuple[list[Both], list[Both]] = ([], [])
    for one in both:
        parts[route_of(one[1]) == route_of(one[2])].append(one)
    chance = random.Random(seed)
    chosen = chance.sample(parts[0], min(number, len(parts[0])))
    rest = min(number - len(chosen), len(parts[1]))
    return chosen + chance.sample(parts[1], rest)


route_of = attrgetter("loop", "lead", "priority", "clocks", "participants")


def described(replay: Replay, case: Case, before: Outcome, after: Outcome) -> dict[str, Any]:
    """One case for a person: no word but the masked, both decisions, and the clauses of both
    deciding rules under both policies."""
    rules = {before.rule, after.rule} - {""}
    reading = case.after or case.before
    features = after.features or before.features
    return {
        "issue": case.item.issue,
        "received_at": case.item.received_at.isoformat(),
        "words": mask(case.item.row.text)[:200],
        "topic": reading.topic if reading else None,
        "features": {name: getattr(features, name) for name in FEATURES} if features else None,
        "before": said(before, replay.published, rules),
        "after": said(after, replay.draft, rules),
    }


def said(outcome: Outcome, side: Side, rules: set[str]) -> dict[str, Any]:
    traces = side.router.explain(outcome.features) if outcome.features else []
    return {
        "loop": outcome.loop,
        "rule": outcome.rule,
        "lead": outcome.lead,
        "participants": list(outcome.participants),
        "priority": str(outcome.priority),
        "clocks": list(outcome.clocks),
        "clauses": [clauses_of(trace) for trace in traces if trace.rule in rules],
    }


def clauses_of(trace: RuleTrace) -> dict[str, Any]:
    return {
        "rule": trace.rule,
        "matched": trace.matched,
        "clauses": [[c.text, c.holds, dict(c.values)] for c in trace.clauses],
    }


def warnings(replay: Replay, clocks: Sequence[Mapping[str, Any]]) -> Iterator[Text]:
    """Where the past lacks what the draft needs, with numbers."""
    items, asked = replay.past.items, replay.draft.router.asks
    if not items:
        yield {"zh": "这些日子没有反馈", "en": "nothing was received in these days"}
    if waiting := replay.past.untriaged:
        yield counted(waiting, "条反馈尚未分诊，未计入", "feedback not triaged yet: left out")
    yield from of_customers(items, sorted(asked & OF_CUSTOMERS))
    if "text_chars" in asked and (several := sum(item.ordinal > 0 for item in items)):
        yield counted(
            several,
            "条与同一反馈的其他问题共用全文，text_chars 偏大",
            "issues share their feedback's words: text_chars is of the whole text",
        )
    if replay.again:
        yield from of_reading(replay)
    yield from of_clocks(clocks)


def of_customers(items: Sequence[Past], asked: Sequence[str]) -> Iterator[Text]:
    if not asked:
        return
    known = [item for item in items if item.row.customer_id is not None]
    names = "、".join(asked), ", ".join(asked)
    if missing := sum(item.snapshot is None for item in known):
        yield counted(
            missing,
            f"条有客户但当时无客户快照，{names[0]} 按空值计",
            f"issues of known customers without a snapshot then: {names[1]} taken as empty",
        )
    if len(known) < len(items):
        yield counted(
            len(items) - len(known),
            f"条没有客户，{names[0]} 按空值计",
            f"issues without a customer: {names[1]} taken as empty",
        )


def of_reading(replay: Replay) -> Iterator[Text]:
    kept = sum(case.before is case.after for case in replay.cases)
    if kept:
        yield counted(
            kept,
            "条由人判定或原文已删除，沿用原判定",
            "issues decided by a person, or erased since, keep their reading",
        )
    if replay.published.documents.model != replay.draft.documents.model:
        yield {
            "zh": "草案改了模型配方；本次模拟仍用已发布的模型",
            "en": "the draft changes the model's recipe; the published model was asked here",
        }


def of_clocks(clocks: Sequence[Mapping[str, Any]]) -> Iterator[Text]:
    unknown = max((c["after"].get("unknown", 0) for c in clocks), default=0)
    if unknown:
        yield counted(
            unknown,
            "条当时未开单，草案的时钟会否超时无从得知",
            "issues opened no loop then: whether the draft's clocks were met is unknown",
        )
    provisional = sum(c["after"].get("provisional", 0) for c in clocks)
    if provisional:
        yield counted(
            provisional,
            "个到期时间为暂定（日历未公布）",
            "due times are provisional: their calendar is not published",
        )


def counted(number: int, zh: str, en: str) -> Text:
    return {"zh": f"{number:,} {zh}", "en": f"{number:,} {en}"}
