"""The red channel: a named senior person hears of a conversation at once, and once.

An alert is a row, an event and a message in the transaction that found the reason; a conversation
that has its alert gets no second, whoever reads it again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import median
from typing import Any

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from loopwright.errors import ConflictError
from loopwright.history.append import append
from loopwright.history.envelope import SYSTEM, Actor, Event, Scalar, seal
from loopwright.ids import handle, uuid7
from models.base import table
from models.customer import CustomerSnapshot
from models.feedback import RawItem
from models.kinds import EventKind
from models.message import Message
from models.red_alert import RedAlert
from policy.assign import assign
from policy.classify import Reading
from policy.organisation import Organisation, Person
from policy.red import RedRules, to_tell
from policy.route import Circumstances, Features, features_from
from policy.rulebook import RedRule
from tasks.change import NewMessage, message_row
from tasks.find import match_id
from tasks.messages.outbox import insert_once
from tasks.people import organisation_now, today
from tasks.workspace import Workspace

ALERTS = table(RedAlert)
RAW = table(RawItem)
MESSAGES = table(Message)
SNAPSHOTS = table(CustomerSnapshot)

DAILY = "daily"
TEMPLATE = "red_alert"
WITHIN_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Heard:
    """One issue of a conversation with what is known around it. `conversation`: keyed hash of its
    name; `unit`: the customer's or the record's own; `arrived_at`: when the words reached us."""

    source: str
    conversation: str
    reading: Reading
    known: Circumstances
    customer: str | None
    unit: str | None
    arrived_at: datetime
    received_at: datetime
    feedback: str | None = None
    loop: str | None = None


@dataclass(frozen=True, slots=True)
class Alarm:
    """An issue for which red rules hold."""

    heard: Heard
    features: Features
    rules: tuple[RedRule, ...]
    branch: str | None


def conversation_name(ws: Workspace, source: str, key: str) -> str:
    """The keyed hash that stands for a conversation: of its item's key, or of its own name."""
    return ws.hasher.digest("conversation", f"{source}:{key.removeprefix('=')}")[:32]


def alarms(tx: Connection, ws: Workspace, heard: Iterable[Heard]) -> list[Alarm]:
    """Those that a red rule holds for. Customers are looked up only where words alone leave it
    open."""
    rules = ws.red_rules
    suspects = [one for one in heard if rules.may_hold(features_of(ws, one))]
    if not suspects:
        return []
    snapshots = snapshots_of(tx, {one.customer for one in suspects if one.customer})
    found = (judged(ws, rules, one, snapshots.get(one.customer or "", [])) for one in suspects)
    return [alarm for alarm in found if alarm.rules]


def judged(ws: Workspace, rules: RedRules, one: Heard, snapshots: Sequence[Any]) -> Alarm:
    at = one.received_at
    snapshot = next(
        (s for s in snapshots if s.valid_from <= at and (s.valid_to is None or at < s.valid_to)),
        None,
    )
    features = features_of(ws, one, snapshot)
    return Alarm(one, features, rules.holding(features), snapshot.branch if snapshot else None)


def features_of(ws: Workspace, one: Heard, snapshot: Any | None = None) -> Features:
    known = Circumstances(
        channel=one.known.channel,
        source=one.source,
        language=one.known.language,
        rating=one.known.rating,
        value_band=(snapshot.value_band or "") if snapshot else "",
        lifecycle=(snapshot.lifecycle or "") if snapshot else "",
        vulnerable=bool(snapshot and snapshot.vulnerable),
        has_customer=one.customer is not None,
    )
    return features_from(one.reading, ws.places, known)


def snapshots_of(tx: Connection, customers: Iterable[str]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    people = sorted(customers)
    query = select(SNAPSHOTS).where(SNAPSHOTS.c.customer_id.in_(people))
    for row in tx.execute(query.order_by(SNAPSHOTS.c.valid_from.desc())) if people else ():
        found.setdefault(row.customer_id, []).append(row)
    return found


def raise_alerts(
    tx: Connection, ws: Workspace, found: Sequence[Alarm], now: datetime
) -> list[Event]:
    """Alerts and messages of conversations that have none yet, in the caller's transaction; the
    events, which the caller appends."""
    organisation = organisation_now(ws, tx, now) if found else None
    events = []
    for alarm in found:
        assert organisation is not None
        unit = unit_of(ws, alarm, organisation)
        person = person_of(ws, alarm, unit, organisation, now)
        row = alert_row(alarm, unit, person, now)
        if insert_alert(tx, row):
            insert_once(tx, [{"id": uuid7()} | message_row(message(row, alarm, person), None, now)])
            events.append(raised(ws, row, alarm, now))
    return events


def unit_of(ws: Workspace, alarm: Alarm, organisation: Organisation) -> str:
    """The unit that would act by the routing rules, else the customer's, else operations."""
    own = alarm.heard.unit or alarm.branch
    place = ws.places.get(alarm.features.topic)
    decision = ws.router.decide(alarm.features)
    lead = assign(decision, place.topic if place else None, organisation, own).lead
    if lead is not None and decision.rule:
        return lead
    return own if own and own in organisation.unit_by_code else organisation.operations


def person_of(
    ws: Workspace, alarm: Alarm, unit: str, organisation: Organisation, now: datetime
) -> Person:
    """Whom the first rule names that finds somebody on duty; else operations."""
    day = today(ws, now).isoformat()
    found = (to_tell(rule, unit, organisation, day) for rule in alarm.rules)
    ops = (p for p in organisation.people if p.unit == organisation.operations)
    return next((p for p in (*found, *ops) if p is not None), organisation.people[0])


def alert_row(alarm: Alarm, unit: str, person: Person, now: datetime) -> dict[str, Any]:
    reasons = (*(rule.id for rule in alarm.rules), *alarm.features.signals)
    return {
        "id": handle("R", now),
        "source": alarm.heard.source,
        "conversation": alarm.heard.conversation,
        "unit": unit,
        "person": person.id,
        "reasons": ",".join(dict.fromkeys(reasons)),
        "arrived_at": alarm.heard.arrived_at,
        "raised_at": now,
    }


def insert_alert(tx: Connection, row: dict[str, Any]) -> bool:
    """Whether the conversation had no alert before."""
    dialect_insert = sqlite_insert if tx.dialect.name == "sqlite" else postgres_insert
    fresh = dialect_insert(ALERTS).values(row)
    once = fresh.on_conflict_do_nothing(index_elements=["source", "conversation"])
    return tx.execute(once.returning(ALERTS.c.id)).first() is not None


def message(row: dict[str, Any], alarm: Alarm, person: Person) -> NewMessage:
    values: dict[str, Scalar] = {"alert": row["id"]}
    if alarm.heard.feedback:
        values["feedback"] = alarm.heard.feedback
    return NewMessage(
        f"{TEMPLATE}:{row['id']}", TEMPLATE, person.unit, values=values, person=person.id
    )


def raised(ws: Workspace, row: dict[str, Any], alarm: Alarm, now: datetime) -> Event:
    data: dict[str, Scalar] = {
        "alert": row["id"],
        "source": row["source"],
        "unit": row["unit"],
        "person": row["person"],
        "reasons": row["reasons"],
        "arrived_at": row["arrived_at"].isoformat(),
        "topic": alarm.features.topic or None,
        "loop": alarm.heard.loop,
    }
    return Event(
        uuid7(),
        EventKind.RED_RAISED,
        now,
        SYSTEM,
        data,
        run=ws.run,
        policy=ws.policy_version,
        rule=alarm.rules[0].id,
    )


def named(tx: Connection, ws: Workspace, found: Sequence[Alarm]) -> list[Alarm]:
    """Alarms of whole items, with their conversation's name: what the item's key says, so that all
    its versions are one, and one that was followed while it ran is known again."""
    ids = sorted({str(alarm.heard.feedback) for alarm in found})
    if not ids:
        return []
    query = select(RAW.c.id, RAW.c.source, RAW.c.key).where(RAW.c.id.in_(ids))
    names = {row.id: conversation_name(ws, row.source, row.key) for row in tx.execute(query)}
    return [
        replace(alarm, heard=replace(alarm.heard, conversation=names[str(alarm.heard.feedback)]))
        for alarm in found
    ]


def link_loops(tx: Connection, found: Iterable[Alarm]) -> None:
    """Which loop an alerted conversation is in, once there is one."""
    for alarm in found:
        if alarm.heard.loop:
            mine = (ALERTS.c.source == alarm.heard.source) & (
                ALERTS.c.conversation == alarm.heard.conversation
            )
            tx.execute(
                update(ALERTS)
                .where(mine, ALERTS.c.loop_id.is_(None))
                .values(loop_id=alarm.heard.loop)
            )


def judge_alert(ws: Workspace, wanted: str, false_alarm: bool, actor: Actor, now: datetime) -> str:
    """Record whether an alert was rightly raised. Raises ConflictError when that is known."""
    with ws.db.begin() as tx:
        alert = match_id(tx, ALERTS, wanted, "alert")
        values = {"false_alarm": false_alarm, "judged_by": actor.id, "judged_at": now}
        mine = (ALERTS.c.id == alert) & ALERTS.c.judged_at.is_(None)
        if tx.execute(update(ALERTS).where(mine).values(values)).rowcount != 1:
            raise ConflictError(f"alert {alert} has been judged", "`red list` says how")
        data: dict[str, Scalar] = {"alert": alert, "false_alarm": false_alarm, "by": actor.id}
        event = Event(uuid7(), EventKind.RED_JUDGED, now, actor, data, run=ws.run)
        append(tx, [seal(event)])
    return alert


def list_alerts(ws: Workspace, limit: int) -> list[dict[str, Any]]:
    """Alerts, newest first, with the seconds from arrival to the message's sending."""
    key = f"{TEMPLATE}:" + ALERTS.c.id
    query = (
        select(ALERTS, MESSAGES.c.sent_at, MESSAGES.c.state.label("message"))
        .outerjoin(MESSAGES, MESSAGES.c.key == key)
        .order_by(ALERTS.c.raised_at.desc(), ALERTS.c.id.desc())
        .limit(limit)
    )
    with ws.db.read() as tx:
        return [listed(ws, row) for row in tx.execute(query)]


def listed(ws: Workspace, row: Any) -> dict[str, Any]:
    spec = ws.sources.get(row.source)
    return {
        "alert": row.id,
        "source": row.source,
        "arrives": spec.arrives if spec else None,
        "person": row.person,
        "unit": row.unit,
        "reasons": row.reasons.split(","),
        "loop": row.loop_id,
        "arrived_at": row.arrived_at.isoformat(),
        "raised_at": row.raised_at.isoformat(),
        "sent_at": row.sent_at.isoformat() if row.sent_at else None,
        "message": row.message,
        "seconds": (row.sent_at - row.arrived_at).total_seconds() if row.sent_at else None,
        "false_alarm": row.false_alarm,
        "judged_by": row.judged_by,
    }


def timeliness(alerts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """How soon alerts were sent, and how many were false. Daily sources are not counted in time:
    their words are a day old when they come. `seconds` is None where nothing was sent yet."""
    rows = list(alerts)
    counted = [row for row in rows if row["arrives"] != DAILY]
    seconds = sorted(row["seconds"] for row in counted if row["seconds"] is not None)
    judged_ = [row for row in rows if row["false_alarm"] is not None]
    false = sum(row["false_alarm"] for row in judged_)
    return {
        "alerts": len(rows),
        "counted": len(counted),
        "daily": len(rows) - len(counted),
        "sent": len(seconds),
        "within_a_minute": sum(value < WITHIN_SECONDS for value in seconds),
        "median_seconds": round(median(seconds), 1) if seconds else None,
        "longest_seconds": round(seconds[-1], 1) if seconds else None,
        "judged": len(judged_),
        "false_alarms": false,
        "false_share": round(false / len(judged_), 4) if judged_ else None,
    }
