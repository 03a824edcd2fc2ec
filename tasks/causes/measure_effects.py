"""Did the fixes help? The daily look at big loops that are watched, or were closed as proven.

Each look has its day, so running again finds the same and records nothing twice. What is proven
closes its loop and tells people; what is not is for a person to end; what comes back reopens it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from insight.effects import ALPHA, Assessment, Days, Series, assess, level_of, relapse
from loopwright.db import retry_conflicts
from loopwright.history.envelope import SYSTEM, Scalar
from loopwright.ids import uuid7
from models.base import table
from models.effect import Effect
from models.kinds import EventKind, LoopKind, LoopState, Outcome, Verdict
from models.loop import Loop
from tasks.causes.big_loops import closing
from tasks.causes.candidates import open_big
from tasks.causes.count_days import daily, of_links, of_topic
from tasks.causes.plan_cause import alarm_of, baseline_of, zone_of
from tasks.causes.review_causes import ALIKE
from tasks.causes.tell_changed import Telling, holders, tell_customers, to_units, written_change
from tasks.change import Change, NewMessage, change, queue
from tasks.routing.open_loops import clocks_anew
from tasks.settle import stamped
from tasks.tally import Tally
from tasks.workspace import Workspace

LOOPS = table(Loop)
EFFECTS = table(Effect)

TARGET = 30
"""Per cent fewer that are wanted where the plan does not say."""
RELAPSE_EVERY, RELAPSE_WINDOW = 30, 60
"""Days between looks at a loop closed as proven, and how far back each looks."""
MEASURED, RELAPSED = "effect_measured", "big_loop_relapsed"
DAY = timedelta(1)


@dataclass
class EffectCounts(Tally):
    """Looks at fixes, those that proved one, and fixes that no longer hold."""

    measured: int = 0
    proven: int = 0
    relapsed: int = 0


def measure(ws: Workspace, now: datetime) -> EffectCounts:
    """Take every look at a watched fix whose day has come."""
    total = EffectCounts()
    for loop in ids_of(ws, LOOPS.c.state == LoopState.WATCHING):
        while counts := retry_conflicts(partial(look, ws, loop, now)):
            total += counts
    return total


def reopen_relapsed(ws: Workspace, now: datetime) -> EffectCounts:
    """Look again at fixes that were proven in the policy's time; what is back goes on."""
    since = now - timedelta(ws.published.documents.rulebook.relapse_days)
    held = (LOOPS.c.outcome == Outcome.PROVEN) & (LOOPS.c.closed_at > since)
    total = EffectCounts()
    for loop in ids_of(ws, held):
        total += retry_conflicts(partial(look_back, ws, loop, now))
    return total


def ids_of(ws: Workspace, where: ColumnElement[bool]) -> list[str]:
    query = select(LOOPS.c.id).where(LOOPS.c.kind == LoopKind.BIG, where).order_by(LOOPS.c.id)
    with ws.db.read() as tx:
        return list(tx.execute(query).scalars())


def look(ws: Workspace, loop: str, now: datetime) -> EffectCounts | None:
    """The next look at one fix, in a transaction of its own; None when none is due."""
    with ws.db.read() as tx:
        row = tx.execute(select(LOOPS).where(LOOPS.c.id == loop)).one()
        looks = looks_of(ws)
        horizon = next_look(tx, ws, row, looks, now)
        if horizon is None:
            return None
        found = assessed(tx, ws, row, horizon, looks)
        proven = found.verdict is Verdict.PROVEN
        changes, telling = [measured(row, horizon, found)], Telling()
        if proven:
            ending, telling = proved(tx, ws, row, found, now)
            changes.append(ending)
        elif horizon == looks[-1]:
            changes[0] = replace(changes[0], messages=for_a_person(ws, row))
    with ws.db.begin() as tx:
        change(tx, stamped(ws, changes), now)
        queue(tx, telling.messages)
    return EffectCounts(measured=1, proven=int(proven))


def looks_of(ws: Workspace) -> Sequence[int]:
    return sorted(ws.published.documents.rulebook.watch_days)


def next_look(
    tx: Connection, ws: Workspace, row: Any, looks: Sequence[int], now: datetime
) -> int | None:
    """The first look, in days watched, that is due and has not been taken since the fix."""
    if row.state != LoopState.WATCHING:
        return None
    taken, today = taken_looks(tx, row), now.astimezone(zone_of(ws)).date()
    due = (n for n in looks if n not in taken and watched_days(ws, row, n)[1] < today)
    return next(due, None)


def taken_looks(tx: Connection, row: Any) -> set[int]:
    """Days watched at which the fix has been looked at, since it was last in place."""
    query = select(EFFECTS.c.horizon).where(
        EFFECTS.c.loop_id == row.id, EFFECTS.c.measured_at >= row.watched_from
    )
    return set(tx.execute(query).scalars())


def watched_days(ws: Workspace, row: Any, horizon: int) -> Days:
    """So many whole local days from the day after the fix was in place."""
    first = row.watched_from.astimezone(zone_of(ws)).date() + DAY
    return first, first + timedelta(horizon - 1)


def assessed(
    tx: Connection, ws: Workspace, row: Any, horizon: int, looks: Sequence[int]
) -> Assessment:
    baseline, after = planned_baseline(ws, row), watched_days(ws, row, horizon)
    series, comparison = counted(tx, ws, row, (baseline, after))
    return assess(
        series,
        baseline,
        after,
        alarm=alarm_of(ws, row),
        target=(row.target_percent or TARGET) / 100,
        level=level_of(horizon, looks),
        comparison=comparison,
    )


def planned_baseline(ws: Workspace, row: Any) -> Days:
    """As the plan says; of a plan made before plans said so, as a plan would now."""
    if row.baseline_from and row.baseline_to:
        return row.baseline_from, row.baseline_to
    return baseline_of(ws, row, None)


def counted(
    tx: Connection, ws: Workspace, row: Any, periods: Sequence[Days]
) -> tuple[Series, Series | None]:
    """The cause, and what the plan compares it with, day by day."""
    cause = of_links(row.id) if row.rule == ALIKE else of_topic(row.topic, row.touchpoint)
    series = daily(tx, ws, cause, row.touchpoint, periods)
    if row.comparison is None:
        return series, None
    topic, touchpoint = row.comparison.split("/")
    return series, daily(tx, ws, of_topic(topic, touchpoint), touchpoint, periods)


def measured(row: Any, horizon: int, found: Assessment) -> Change:
    data: dict[str, Scalar] = {
        "effect": uuid7(),
        "horizon": horizon,
        "method": found.method,
        "verdict": found.verdict.value,
        "before": found.before,
        "after": found.after,
        "change": per_mille(found.change),
        "low": per_mille(found.low),
        "high": per_mille(found.high),
    }
    body = {"reason": dict(found.reason)}
    return Change(row.id, EventKind.EFFECT_MEASURED, data, SYSTEM, row.version, body=body)


def per_mille(share: float | None) -> int | None:
    return None if share is None else min(round(1000 * share), 1_000_000)


def proved(
    tx: Connection, ws: Workspace, row: Any, found: Assessment, now: datetime
) -> tuple[Change, Telling]:
    """The loop closes. Its units hear at once, customers as soon as it is written what changed;
    where nobody has, the lead is asked to."""
    words = written_change(tx, row.id)
    telling = tell_customers(tx, ws, row.id, now) if words else Telling()
    said = {"reason": spoken(ws, found), "changed": words}
    ending = closing(row, Outcome.PROVEN, said, SYSTEM, holders(tx, row.id))
    if words is None:
        ending = replace(ending, messages=(*ending.messages, *for_a_person(ws, row)))
    return ending, telling


def spoken(ws: Workspace, found: Assessment) -> str:
    return found.reason.get(ws.published.documents.organisation.language) or found.reason["zh"]


def for_a_person(ws: Workspace, row: Any) -> tuple[NewMessage, ...]:
    """What was measured, to those who go on from there: lead and operations."""
    return messages_to(row, MEASURED, [row.lead, ws.published.documents.organisation.operations])


def messages_to(row: Any, template: str, units: Sequence[str]) -> tuple[NewMessage, ...]:
    key = f"{template}:{row.id}:{row.version}"
    return tuple(NewMessage(f"{key}:{unit}", template, unit) for unit in dict.fromkeys(units))


def look_back(ws: Workspace, loop: str, now: datetime) -> EffectCounts:
    """Whether a fix that was proven still holds; nothing where it is not the day, or where the
    cause is in work already."""
    with ws.db.read() as tx:
        row = tx.execute(select(LOOPS).where(LOOPS.c.id == loop)).one()
        recent = recent_days(ws, row, now)
        if recent is None or open_big(tx, row.topic, row.touchpoint):
            return EffectCounts()
        found = held_up(tx, ws, row, recent)
        if found is None or found.verdict is not Verdict.NOT_PROVEN:
            return EffectCounts()
        units = holders(tx, row.id)
    changes = [measured(row, days_since(ws, row, recent[1]), found), back(ws, row, units, now)]
    with ws.db.begin() as tx:
        change(tx, stamped(ws, changes), now)
    return EffectCounts(relapsed=1)


def recent_days(ws: Workspace, row: Any, now: datetime) -> Days | None:
    """What the newest look at a closed loop looks at; None before the first."""
    if row.outcome != Outcome.PROVEN:
        return None
    zone = zone_of(ws)
    closed, today = row.closed_at.astimezone(zone).date(), now.astimezone(zone).date()
    number = ((today - closed).days - 1) // RELAPSE_EVERY
    last = closed + timedelta(number * RELAPSE_EVERY)
    return (max(closed + DAY, last - timedelta(RELAPSE_WINDOW - 1)), last) if number else None


def days_since(ws: Workspace, row: Any, day: date) -> int:
    return int((day - watched_days(ws, row, 1)[0]).days + 1)


def held_up(tx: Connection, ws: Workspace, row: Any, recent: Days) -> Assessment | None:
    """The recent days against those that proved the fix. All looks at one loop share the error of
    one (Bonferroni), since each might be the one that cries wolf."""
    query = (
        select(EFFECTS)
        .where(EFFECTS.c.loop_id == row.id, EFFECTS.c.verdict == Verdict.PROVEN)
        .where(EFFECTS.c.measured_at >= row.watched_from)
    )
    proof = tx.execute(query).first()
    if proof is None:
        return None
    watched = watched_days(ws, row, proof.horizon)
    series, comparison = counted(tx, ws, row, (watched, recent))
    looks = max(ws.published.documents.rulebook.relapse_days // RELAPSE_EVERY, 1)
    effect = max(proof.change / 1000, -0.999)
    return relapse(
        series, watched, recent, effect=effect, level=ALPHA / looks, comparison=comparison
    )


def back(ws: Workspace, row: Any, units: Sequence[Any], now: datetime) -> Change:
    """The loop goes on: its units have their tickets again; sponsor and operations hear of it."""
    organisation = ws.published.documents.organisation
    messages = [
        *to_units(row, RELAPSED, units),
        *messages_to(row, RELAPSED, [organisation.operations]),
    ]
    sponsor = organisation.person_by_id.get(row.sponsor or "")
    if sponsor is not None:
        key = f"{RELAPSED}:{row.id}:{row.version}:{sponsor.id}"
        messages.append(NewMessage(key, RELAPSED, sponsor.unit, person=sponsor.id))
    told = {message.key: message for message in messages}
    data = {"why": "rate is back", **clocks_anew(ws, row, now)}
    return Change(
        row.id, EventKind.LOOP_RELAPSED, data, SYSTEM, row.version, messages=tuple(told.values())
    )
