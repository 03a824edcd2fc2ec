"""The one door for change: every change of a loop or ticket, its history and its messages.

`change` takes a set. It locks the loops in id order, folds the events through the transition
table, compares and swaps each version, appends the history and queues the messages, all in the
caller's transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, select, update

from loopwright.db import bulk_insert
from loopwright.errors import ConflictError, TransitionRefused
from loopwright.history.append import append
from loopwright.history.envelope import SYSTEM, Actor, Event, Scalar, seal
from loopwright.ids import uuid7s
from models.approval import Approval
from models.base import table
from models.clock import Clock
from models.effect import Effect
from models.kinds import Channel, EventKind, MessageState
from models.loop import Loop, LoopIssue, LoopLink
from models.message import Message
from models.ticket import Ticket
from models.verification import Verification
from policy.story import Happening, Refused, Row, Story
from policy.transitions import apply, follow

LOOPS = table(Loop)
MESSAGES = table(Message)
LOOP_ISSUES = table(LoopIssue)
LOOP_LINKS = table(LoopLink)

PARTS: Mapping[str, Table] = {
    "tickets": table(Ticket),
    "clocks": table(Clock),
    "verifications": table(Verification),
    "approvals": table(Approval),
    "effects": table(Effect),
}
"""A story's rows that belong to its loop, by their name in `Story`."""

RARE: Mapping[str, frozenset[EventKind]] = {
    "approvals": frozenset(
        {EventKind.APPROVAL_REQUESTED, EventKind.APPROVAL_GRANTED, EventKind.APPROVAL_REFUSED}
    ),
    "effects": frozenset({EventKind.EFFECT_MEASURED, EventKind.LOOP_CLOSED}),
}
"""Parts that are read only for the events that look at them."""

FIXED = {"id", "loop_id", "role", "opened_at", "received_at", "kind"}


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to queue. `key` says what it is about and is never used twice.

    `due_at`: not before then; None: at once.
    """

    key: str
    template: str
    unit: str
    ticket: str | None = None
    values: Mapping[str, Scalar] = field(default_factory=dict)
    person: str | None = None
    channel: Channel = Channel.MAIN
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One event of one loop. `version` is the version its decider saw (None: don't care)."""

    loop: str
    kind: EventKind
    data: Mapping[str, Scalar]
    actor: Actor = SYSTEM
    version: int | None = None
    body: Mapping[str, Any] | None = None
    policy: str | None = None
    rule: str | None = None
    run: str | None = None
    on_behalf_of: str | None = None
    messages: tuple[NewMessage, ...] = ()


@dataclass(slots=True)
class Ledger:
    """What a set of changes adds up to while it is folded."""

    now: datetime
    stories: dict[str, Story]
    existing: dict[str, int]
    old_parts: dict[str, dict[str, Row]]
    """Part -> id -> the row as it was loaded."""
    old_issues: dict[str, set[str]] = field(default_factory=dict)
    old_links: dict[str, set[str]] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)


def change(
    tx: Connection, changes: Sequence[Change], now: datetime, others: Sequence[Event] = ()
) -> None:
    """Make a set of changes, all or none, in the caller's transaction.

    `others` are events that belong to no loop (a batch's counts) and enter the history after the
    loops' events. Raises ConflictError when a loop has changed since its decider looked, and
    TransitionRefused when a state does not allow an event.
    """
    ledger = load(tx, changes, now)
    ids = iter(uuid7s(2 * len(changes)))
    for one in changes:
        fold(ledger, one, ids)
    swap_rows(tx, ledger)
    append(tx, [seal(event) for event in (*ledger.events, *others)])
    insert_rows(tx, ledger)


def load(tx: Connection, changes: Sequence[Change], now: datetime) -> Ledger:
    wanted = sorted({c.loop for c in changes if c.kind is not EventKind.LOOP_OPENED})
    stories = {loop: Story() for loop in {c.loop for c in changes}}
    for row in locked(tx, wanted):
        stories[row["id"]].loop = row
    kinds = {c.kind for c in changes}
    old_parts = {
        name: load_part(tx, name, wanted, stories) if RARE.get(name, kinds) & kinds else {}
        for name in PARTS
    }
    load_relations(tx, changes, wanted, stories)
    return Ledger(
        now,
        stories,
        existing={loop: s.loop["version"] for loop, s in stories.items() if s.loop},
        old_parts=old_parts,
        old_issues={loop: set(s.issues) for loop, s in stories.items()},
        old_links={loop: set(s.links) for loop, s in stories.items()},
    )


def locked(tx: Connection, loops: Sequence[str]) -> list[Row]:
    """The loops' rows; what belongs to a loop is safe under its lock."""
    if not loops:
        return []
    query = select(LOOPS).where(LOOPS.c.id.in_(loops)).order_by(LOOPS.c.id).with_for_update()
    return [dict(row) for row in tx.execute(query).mappings()]


def load_part(
    tx: Connection, name: str, loops: Sequence[str], stories: dict[str, Story]
) -> dict[str, Row]:
    """Put a part's rows into the stories; returns them as they were."""
    kept, old = PARTS[name], {}
    if loops:
        query = select(kept).where(kept.c.loop_id.in_(loops)).order_by(kept.c.id)
        for row in tx.execute(query).mappings():
            getattr(stories[row["loop_id"]], name)[row["id"]] = dict(row)
            old[row["id"]] = dict(row)
    return old


def load_relations(
    tx: Connection, changes: Iterable[Change], wanted: Sequence[str], stories: dict[str, Story]
) -> None:
    """Only those relations that the changes may make again; a big loop can have thousands."""
    issues = sorted({str(c.data["issue"]) for c in changes if c.data.get("issue")})
    smalls = sorted({str(c.data["small"]) for c in changes if c.data.get("small")})
    if wanted and issues:
        both = LOOP_ISSUES.c.loop_id.in_(wanted) & LOOP_ISSUES.c.issue_id.in_(issues)
        for row in tx.execute(select(LOOP_ISSUES).where(both)):
            stories[row.loop_id].issues[row.issue_id] = row.relation
    if wanted and smalls:
        both = LOOP_LINKS.c.big_id.in_(wanted) & LOOP_LINKS.c.small_id.in_(smalls)
        for row in tx.execute(select(LOOP_LINKS).where(both)):
            stories[row.big_id].links[row.small_id] = row.relation


def fold(ledger: Ledger, one: Change, ids: Any) -> None:
    story = ledger.stories[one.loop]
    if one.version is not None and one.version != ledger.existing.get(one.loop):
        raise ConflictError(
            f"loop {one.loop} has changed since you looked", "look again and decide again"
        )
    happen(ledger, one, next(ids))
    if (kind := follow(story, one.kind)) is not None:
        happen(ledger, Change(one.loop, kind, {}, policy=one.policy, run=one.run), next(ids))


def happen(ledger: Ledger, one: Change, event_id: str) -> None:
    story = ledger.stories[one.loop]
    try:
        apply(story, Happening(one.loop, one.kind, one.data, ledger.now, one.policy, one.rule))
    except Refused as refusal:
        raise TransitionRefused(str(refusal), "look at the loop's present state") from None
    ledger.events.append(event_of(one, event_id, story.loop["version"], ledger.now))
    ledger.messages += [message_row(m, one.loop, ledger.now) for m in one.messages]


def event_of(one: Change, event_id: str, seq: int, now: datetime) -> Event:
    return Event(
        id=event_id,
        kind=one.kind,
        at=now,
        actor=one.actor,
        data=one.data,
        loop=one.loop,
        loop_seq=seq,
        on_behalf_of=one.on_behalf_of,
        run=one.run,
        policy=one.policy,
        rule=one.rule,
        body=one.body,
    )


def message_row(message: NewMessage, loop: str | None, now: datetime) -> dict[str, Any]:
    """An outbox row; its id is given when it is inserted."""
    return {
        "key": message.key,
        "template": message.template,
        "unit": message.unit,
        "person": message.person,
        "channel": message.channel,
        "loop_id": loop,
        "ticket_id": message.ticket,
        "values": dict(message.values),
        "state": MessageState.QUEUED,
        "attempts": 0,
        "spent": 0,
        "due_at": message.due_at or now,
        "created_at": now,
    }


def swap_rows(tx: Connection, ledger: Ledger) -> None:
    loops = [ledger.stories[loop].loop for loop in sorted(ledger.existing)]
    if not loops:
        return
    names = [c.key for c in LOOPS.c if c.key not in FIXED]
    rows = [
        {"b_id": r["id"], "b_version": ledger.existing[r["id"]]} | {n: r[n] for n in names}
        for r in loops
    ]
    matching = (LOOPS.c.id == bindparam("b_id")) & (LOOPS.c.version == bindparam("b_version"))
    statement = update(LOOPS).where(matching).values({n: bindparam(n) for n in names})
    if tx.execute(statement, rows).rowcount not in (len(rows), -1):
        raise ConflictError("a loop was changed by somebody else", "try again")
    for name in PARTS:
        swap_part(tx, ledger, name)
    drop_relations(tx, ledger)


def swap_part(tx: Connection, ledger: Ledger, part: str) -> None:
    """Write back the rows of a part that the events changed."""
    kept, old = PARTS[part], ledger.old_parts[part]
    names = [c.key for c in kept.c if c.key not in FIXED]
    rows = [
        {"b_id": row["id"]} | {n: row[n] for n in names}
        for story in ledger.stories.values()
        for row in getattr(story, part).values()
        if row["id"] in old and row != old[row["id"]]
    ]
    if rows:
        statement = update(kept).where(kept.c.id == bindparam("b_id"))
        tx.execute(statement.values({n: bindparam(n) for n in names}), rows)


def new_issues(ledger: Ledger) -> list[dict[str, Any]]:
    return [
        {"loop_id": loop, "issue_id": issue, "relation": relation}
        for loop, story in ledger.stories.items()
        for issue, relation in story.issues.items()
        if issue not in ledger.old_issues.get(loop, ())
    ]


def new_links(ledger: Ledger) -> list[dict[str, Any]]:
    return [
        {"big_id": loop, "small_id": small, "relation": relation}
        for loop, story in ledger.stories.items()
        for small, relation in story.links.items()
        if small not in ledger.old_links.get(loop, ())
    ]


def drop_relations(tx: Connection, ledger: Ledger) -> None:
    """Relations that were undone."""
    for loop, story in ledger.stories.items():
        if gone := ledger.old_issues.get(loop, set()) - story.issues.keys():
            mine = LOOP_ISSUES.c.loop_id == loop
            tx.execute(delete(LOOP_ISSUES).where(mine, LOOP_ISSUES.c.issue_id.in_(sorted(gone))))
        if gone := ledger.old_links.get(loop, set()) - story.links.keys():
            mine = LOOP_LINKS.c.big_id == loop
            tx.execute(delete(LOOP_LINKS).where(mine, LOOP_LINKS.c.small_id.in_(sorted(gone))))


def insert_rows(tx: Connection, ledger: Ledger) -> None:
    stories = ledger.stories.values()
    bulk_insert(tx, LOOPS, [s.loop for s in stories if s.loop["id"] not in ledger.existing])
    for part, kept in PARTS.items():
        old, rows = ledger.old_parts[part], (getattr(s, part).values() for s in stories)
        bulk_insert(tx, kept, [row for of in rows for row in of if row["id"] not in old])
    bulk_insert(tx, LOOP_ISSUES, new_issues(ledger))
    bulk_insert(tx, LOOP_LINKS, new_links(ledger))
    queue(tx, ledger.messages)


def queue(tx: Connection, messages: Sequence[dict[str, Any]]) -> None:
    """Insert outbox rows made by `message_row`."""
    ids = uuid7s(len(messages)) if messages else []
    bulk_insert(tx, MESSAGES, [{"id": i} | m for i, m in zip(ids, messages, strict=True)])
