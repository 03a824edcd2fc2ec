"""The plan against a common cause: its root and how it was found, what is done, and how all will
see whether it helped.

What the effect is measured against is settled here, before anything has changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from insight.effects import LEAST_DAYS, Days
from loopwright.errors import InputError
from loopwright.history.envelope import Actor
from models.kinds import EventKind
from tasks.causes.big_loops import found
from tasks.change import Change
from tasks.find import require_cause, require_words
from tasks.settle import settle
from tasks.tickets.hand_off import on_behalf_of
from tasks.workspace import Workspace

SPONSORS = frozenset({"senior", "approver"})
"""Roles of which a sponsor has one."""
LONGEST = 365
"""Days of a baseline, beyond which it says little about now."""
MOST_WHYS = 10


@dataclass(frozen=True)
class Plan:
    """What the lead hands in.

    `cause`: the root, a code of the taxonomy; `whys`: how it was found, each why of the one before
    (five is the custom, one the least); `actions`: the countermeasures; `target`: what will be so
    afterwards, in words; `by`: a local day. `sponsor`: a person above; `target_percent`: the fall
    of the cause that is wanted; `baseline_days`: how long a past it is measured against, None: as
    long as it is watched; `comparison`: `topic` or `topic/touchpoint`, the same days of which are
    compared with; `changed`: what customers are told once it is done.
    """

    cause: str
    whys: Sequence[str]
    actions: Sequence[str]
    target: str
    by: date
    sponsor: str | None = None
    target_percent: int | None = None
    baseline_days: int | None = None
    comparison: str | None = None
    changed: str | None = None


def plan(ws: Workspace, wanted: str, made: Plan, actor: Actor, now: datetime) -> str:
    """The lead plans a big loop; without it no ticket of it is resolved. Returns the loop's id.

    Raises InputError for a plan that says too little or cannot be, TransitionRefused for a loop
    that does not wait for one.
    """
    check_words(made)
    check_names(ws, made)
    check_numbers(made)
    if made.by < now.astimezone(zone_of(ws)).date():
        raise InputError(f"{made.by} is past", "plan for a day to come")
    with ws.db.read() as tx:
        row = found(tx, wanted)
    first, last = baseline_of(ws, row, made.baseline_days)
    data = {
        "cause": made.cause,
        "by": made.by.isoformat(),
        "sponsor": made.sponsor,
        "target_percent": made.target_percent,
        "baseline_from": first.isoformat(),
        "baseline_to": last.isoformat(),
        "comparison": comparison_of(ws, row, made.comparison),
    }
    body = {"whys": [*made.whys], "actions": [*made.actions], "target": made.target}
    if made.changed is not None:
        body["changed"] = made.changed
    behalf = on_behalf_of(ws, actor, row.lead)
    planned = Change(row.id, EventKind.LOOP_PLANNED, data, actor, body=body, on_behalf_of=behalf)
    settle(ws, [planned], now)
    return str(row.id)


def check_words(made: Plan) -> None:
    for name, said in {"why": made.whys, "actions": made.actions, "target": [made.target]}.items():
        for words in said or [""]:
            require_words(words, f"a plan needs words for its {name}", "say it in a sentence")
    if len({words.strip() for words in made.whys}) < len(made.whys):
        raise InputError("the same why stands twice", "ask why of the last answer")
    if len(made.whys) > MOST_WHYS:
        raise InputError(f"{len(made.whys)} whys", f"the root is found in at most {MOST_WHYS}")
    if made.changed is not None:
        require_words(made.changed, "customers must be told what changed", "say it for them")


def check_names(ws: Workspace, made: Plan) -> None:
    require_cause(ws, made.cause)
    if made.sponsor is None:
        return
    people = ws.published.documents.organisation.person_by_id
    if made.sponsor not in people or not SPONSORS & set(people[made.sponsor].roles):
        able = sorted(p.id for p in people.values() if SPONSORS & set(p.roles))
        raise InputError(
            f"{made.sponsor!r} cannot be the sponsor", f"use one of: {', '.join(able[:8])}"
        )


def check_numbers(made: Plan) -> None:
    percent, days = made.target_percent, made.baseline_days
    if percent is not None and not 1 <= percent <= 100:
        raise InputError(f"a target of {percent} per cent fewer", "use 1 to 100")
    if days is not None and not LEAST_DAYS <= days <= LONGEST:
        raise InputError(f"a baseline of {days} days", f"use {LEAST_DAYS} to {LONGEST}")


def comparison_of(ws: Workspace, row: Any, named: str | None) -> str | None:
    """`topic/touchpoint`; a topic alone has its own touchpoint."""
    if named is None:
        return None
    topic, _, touchpoint = named.partition("/")
    place = ws.places.get(topic)
    if place is None:
        raise InputError(f"no topic {topic!r} to compare with", "the taxonomy names the topics")
    touchpoint = touchpoint or place.topic.touchpoint
    journeys = ws.published.documents.taxonomy.journeys
    known = {t.id for journey in journeys for stage in journey.stages for t in stage.touchpoints}
    if touchpoint not in known:
        raise InputError(f"no touchpoint {touchpoint!r} to compare with", "see the taxonomy")
    if (topic, touchpoint) == (row.topic, row.touchpoint):
        raise InputError("a cause cannot be compared with itself", "name another topic")
    return f"{topic}/{touchpoint}"


def baseline_of(ws: Workspace, row: Any, days: int | None) -> Days:
    """The days before those that raised the alarm, as many as are watched unless said otherwise."""
    length = days or max(ws.published.documents.rulebook.watch_days)
    last = alarm_of(ws, row) - timedelta(1)
    return last - timedelta(length - 1), last


def alarm_of(ws: Workspace, row: Any) -> date:
    """The first local day of what raised the alarm: of the window in which the cause recurred, or
    of the first words in it. A rise that somebody saw is no measure of what is usual."""
    zone = zone_of(ws)
    window = timedelta(ws.published.documents.rulebook.recurrence.window_days)
    opened = row.opened_at.astimezone(zone).date()
    received: date = row.received_at.astimezone(zone).date()
    first: date = min(received, opened - window)
    return first


def zone_of(ws: Workspace) -> ZoneInfo:
    return ZoneInfo(ws.published.documents.organisation.zone)
