"""Erasing a customer: every word and key goes, the history still verifies and says who ordered it.

Rows that others hang on stay as tombstones: numbers, times and opaque ids. What stands hashed in
the tree is never touched; it holds nothing personal. Each step is a set of about a thousand rows in
a transaction of its own and finds only what is left, so an erasure that died is simply run again.
The first event, before anything goes, says that an erasure begins, whose and by what authority; the
customer's keys go last, with the event that says it is done.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, select, text, update

from loopwright.db import retry_conflicts
from loopwright.errors import ConflictError, EnvironmentFault, TransitionRefused
from loopwright.history.append import append
from loopwright.history.envelope import Actor, Event, Scalar, seal
from loopwright.ids import uuid7
from loopwright.log import log
from loopwright.mask import mask
from models.kinds import Authority, EventKind, IssueState
from tasks.change import Change, change
from tasks.find import require_words
from tasks.intake.ingest import ERASED, tombstone
from tasks.privacy.personal import (
    BODIES,
    CUSTOMERS,
    DELIVERIES,
    FEEDBACK,
    ISSUES,
    JOURNEY_EVENTS,
    KEYS,
    MESSAGES,
    QUARANTINE,
    RAW,
    SNAPSHOTS,
    Holdings,
    Subject,
    broken_off,
    holdings,
    pieces,
    unparsed,
)
from tasks.settle import stamped
from tasks.tally import Tally
from tasks.workspace import Workspace

SET = 1_000
"""Rows, and so events, of one transaction."""
PASSES = 3
"""Words may come in while a customer is erased; so often they are looked for again."""
RENDERED = (".eml", ".txt", ".html")
GONE = "erased"


@dataclass(frozen=True)
class Order:
    """By whose authority, why (words, kept masked), and who does it."""

    authority: Authority
    why: str
    actor: Actor
    retention: str | None = None
    """The class of the retention document whose time has passed."""


@dataclass
class Erased(Tally):
    """What was erased: event bodies, raw items with all that was read from them, keys; messages
    stripped of addresses, and rendered files. `missing`: files not found in the outbox folder."""

    bodies: int = 0
    items: int = 0
    keys: int = 0
    messages: int = 0
    files: int = 0
    missing: int = 0
    closed: int = 0
    decided: int = 0
    unparsed: int = 0
    """Raw items that are not parsed yet: nobody knows whether they are this customer's."""
    ended: int = 0
    """Erasures that are on record as done now: `customer.erased`."""

    @property
    def nothing(self) -> bool:
        """Nothing was there to erase, and no event says otherwise."""
        return not self.ended


def erase(
    ws: Workspace, subject: Subject, order: Order, now: datetime, *, close: bool = False
) -> Erased:
    """Erase all that is left of a subject. `close`: withdraw what is still open first.

    Raises TransitionRefused while a loop is open, words wait for triage or a conversation runs,
    InputError without a reason, EnvironmentFault for a role that may not, ConflictError when words
    keep coming in.
    """
    require_words(order.why, "an erasure needs a reason", "say who asked for it, and how")
    with ws.db.read() as tx:
        require_right(tx)
        left, total = holdings(tx, ws, subject), Erased(unparsed=unparsed(tx))
        due = not left.empty or subject.name in broken_off(tx)
    refuse_unfinished(left, close)
    if ws.db.dry_run:
        return planned(left, total, due)
    if not due:
        return total
    if not left.empty:
        begin(ws, subject, order, now)
    total += close_all(ws, left, order, now)
    for _ in range(PASSES):
        total += erase_passed(ws, subject, order, now)
        if retry_conflicts(partial(finish, ws, subject, order, total, now)):
            log.info("customer.erased", run=ws.run, customer=subject.name, **asdict(total))
            return total
    raise ConflictError("words of this customer keep coming in", "run it again")


def require_right(tx: Connection) -> None:
    """Half an erasure is none. Raises EnvironmentFault for a role that may not delete."""
    if tx.dialect.name == "postgresql":
        may = text("SELECT has_table_privilege('event_body', 'DELETE')")
        if not tx.execute(may).scalar_one():
            raise EnvironmentFault(
                "this database user may not delete",
                "run it as the eraser: `loopwright db roles` lays the roles out",
            )


def refuse_unfinished(left: Holdings, close: bool) -> None:
    if left.running:
        raise TransitionRefused(
            f"{left.running} conversations of this customer still run",
            "erase when they are over; a source that went silent ends them by itself",
        )
    if left.untriaged:
        raise TransitionRefused(
            f"{left.untriaged} feedback of this customer wait for triage",
            "run `loopwright run triage_feedback` first",
        )
    if not close and (left.open_loops or left.waiting_issues):
        what = ", ".join([*left.open_loops, *(f"issue {i}" for i in left.waiting_issues)])
        raise TransitionRefused(
            f"not closed yet: {what}",
            "close them first, or give --close to withdraw them for the customer",
        )


def planned(left: Holdings, total: Erased, due: bool) -> Erased:
    total += Erased(
        bodies=len(left.bodies),
        items=len(left.items),
        keys=len(left.keys),
        messages=len(left.messages),
        closed=len(left.open_loops),
        decided=len(left.waiting_issues),
        ended=int(due),
    )
    return total


def begin(ws: Workspace, subject: Subject, order: Order, now: datetime) -> None:
    """Say so before anything goes, so that no erasure, killed or not, is without a trace."""
    kind, body = EventKind.CUSTOMER_ERASURE_BEGUN, {"why": mask(order.why)}
    said = event_of(ws, kind, ordered(subject, order), order, now, body)
    with ws.db.begin() as tx:
        append(tx, [seal(said)])


def close_all(ws: Workspace, left: Holdings, order: Order, now: datetime) -> Erased:
    """Withdraw open loops, and note that issues in doubt will never be read."""
    if not (left.open_loops or left.waiting_issues):
        return Erased()

    def attempt() -> None:
        with ws.db.begin() as tx:
            loops = [
                Change(loop, EventKind.LOOP_WITHDRAWN, {}, order.actor) for loop in left.open_loops
            ]
            waiting = select(ISSUES.c.id, ISSUES.c.kind, ISSUES.c.topic).where(
                ISSUES.c.id.in_(left.waiting_issues)
            )
            noted = [noted_event(ws, row, order, now) for row in tx.execute(waiting)]
            change(tx, stamped(ws, loops), now, noted)
            settled = update(ISSUES).where(ISSUES.c.id.in_(left.waiting_issues))
            tx.execute(settled.values(state=IssueState.NOTED, due_at=None))

    retry_conflicts(attempt)
    return Erased(closed=len(left.open_loops), decided=len(left.waiting_issues))


def noted_event(ws: Workspace, issue: Any, order: Order, now: datetime) -> Event:
    data = {
        "issue": issue.id,
        "kind": issue.kind,
        "topic": issue.topic,
        "fate": IssueState.NOTED.value,
    }
    return event_of(ws, EventKind.ISSUE_DECIDED, data, order, now)


def erase_passed(ws: Workspace, subject: Subject, order: Order, now: datetime) -> Erased:
    """All but the keys, as it stands now."""
    with ws.db.read() as tx:
        left = holdings(tx, ws, subject)
    total = Erased()
    for piece in pieces(left.messages, SET):
        total += retry_conflicts(partial(erase_messages, ws, piece))
    for piece in pieces(left.items, SET):
        total += retry_conflicts(partial(erase_items, ws, piece, now))
    for piece in pieces(left.bodies, SET):
        total += retry_conflicts(partial(erase_bodies, ws, piece, order, now))
    return total


def erase_messages(ws: Workspace, messages: Sequence[str]) -> Erased:
    """Rendered files first, since the rows say where they are."""
    sent = DELIVERIES.c.message_id.in_(messages) & DELIVERIES.c.reference.is_not(None)
    with ws.db.read() as tx:
        query = select(DELIVERIES.c.reference).where(sent, DELIVERIES.c.transport == "file")
        written = list(tx.execute(query).scalars())
    removed = sum(remove(ws.settings.messages.folder, reference) for reference in written)
    with ws.db.begin() as tx:
        mine = MESSAGES.c.id.in_(messages)
        locked = select(MESSAGES.c.id).where(mine).order_by(MESSAGES.c.id).with_for_update()
        tx.execute(locked).all()
        tx.execute(update(MESSAGES).where(mine).values(error=None))
        tx.execute(update(DELIVERIES).where(sent).values(reference=None))
    return Erased(messages=len(messages), files=removed, missing=len(written) - removed)


def remove(folder: Path, reference: str) -> bool:
    """Delete one rendered message; whether its file was there."""
    file = (folder / reference).resolve()
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        return False
    for suffix in RENDERED:
        file.with_suffix(suffix).unlink(missing_ok=True)
    return True


def erase_items(ws: Workspace, items: Sequence[str], now: datetime) -> Erased:
    """Raw items and what was read from them. A tombstone keeps who delivered it, when, and keyed
    hashes by which the same record is known again."""
    with ws.db.begin() as tx:
        left = RAW.c.id.in_(items) & RAW.c.key.not_like(f"{ERASED}%")
        mine = select(RAW.c.id, RAW.c.source, RAW.c.key, RAW.c.version).where(left)
        rows = tx.execute(mine.order_by(RAW.c.id).with_for_update()).all()
        for kept in (SNAPSHOTS, JOURNEY_EVENTS):
            tx.execute(delete(kept).where(kept.c.id.in_(items)))
        found = update(ISSUES).where(ISSUES.c.feedback_id.in_(items))
        tx.execute(found.values(evidence=None, reason=None))
        said = update(FEEDBACK).where(FEEDBACK.c.id.in_(items))
        tx.execute(said.values(text="", turns=None, unit=None, complaint_number=None))
        broken = update(QUARANTINE).where(QUARANTINE.c.raw_id.in_(items))
        resolved = func.coalesce(
            QUARANTINE.c.resolved_at, bindparam("at", now, QUARANTINE.c.at.type)
        )
        tx.execute(broken.values(reason=GONE, resolved_at=resolved))
        bury(tx, ws, rows)
    return Erased(items=len(rows))


def bury(tx: Connection, ws: Workspace, rows: Sequence[Any]) -> None:
    """Raw items become tombstones. Of a record that has one, since it was delivered again after an
    erasure broke off, they are further versions."""
    if not rows:
        return
    keys = {row.id: tombstone(ws, row.source, row.key) for row in rows}
    newest = select(RAW.c.key, func.max(RAW.c.version).label("version"))
    there = newest.where(RAW.c.key.in_(keys.values())).group_by(RAW.c.key)
    taken = {row.key: row.version for row in tx.execute(there)}
    buried = {"payload": "", "key": bindparam("k"), "version": bindparam("v")}
    tx.execute(
        update(RAW).where(RAW.c.id == bindparam("b_id")).values(buried),
        [
            {"b_id": row.id, "k": keys[row.id], "v": row.version + taken.get(keys[row.id], 0)}
            for row in rows
        ],
    )


def erase_bodies(ws: Workspace, events: Sequence[str], order: Order, now: datetime) -> Erased:
    """Bodies, each with an event that says so; a second worker finds none left."""
    why = f"retention:{order.retention}" if order.retention else "customer"
    with ws.db.begin() as tx:
        mine = delete(BODIES).where(BODIES.c.event_id.in_(events)).returning(BODIES.c.event_id)
        gone = set(tx.execute(mine).scalars())
        said = [
            event_of(
                ws,
                EventKind.BODY_ERASED,
                {"event": event, "why": why, "authority": order.authority.value},
                order,
                now,
            )
            for event in events
            if event in gone
        ]
        append(tx, [seal(event) for event in said])
    return Erased(bodies=len(gone))


def finish(ws: Workspace, subject: Subject, order: Order, total: Erased, now: datetime) -> bool:
    """Take the keys away and say that it is done; False when something came in meanwhile.

    Who brings words of these customers now waits for their rows, or was seen here.
    """
    with ws.db.begin() as tx:
        own = CUSTOMERS.c.id.in_(subject.customers)
        tx.execute(select(CUSTOMERS.c.id).where(own).order_by(CUSTOMERS.c.id).with_for_update())
        left = holdings(tx, ws, subject)
        if left.items or left.bodies or left.messages:
            return False
        tx.execute(delete(KEYS).where(KEYS.c.customer_id.in_(subject.customers)))
        total.keys, total.ended = len(left.keys), 1
        append(tx, [seal(erased_event(ws, subject, order, total, now))])
    return True


def ordered(subject: Subject, order: Order) -> dict[str, Scalar]:
    """Who is erased, and by what authority."""
    return {
        "customer": subject.customers[0] if subject.customers else None,
        "loop": None if subject.customers else subject.loops[0],
        "authority": order.authority.value,
        "retention": order.retention,
    }


def erased_event(
    ws: Workspace, subject: Subject, order: Order, total: Erased, now: datetime
) -> Event:
    data: dict[str, Scalar] = {
        **ordered(subject, order),
        "loops": len(subject.loops),
        "bodies": total.bodies,
        "items": total.items,
        "keys": total.keys,
        "messages": total.messages,
        "files": total.files,
    }
    body = {"why": mask(order.why)}
    return event_of(ws, EventKind.CUSTOMER_ERASED, data, order, now, body)


def event_of(
    ws: Workspace,
    kind: EventKind,
    data: dict[str, Scalar],
    order: Order,
    now: datetime,
    body: dict[str, str] | None = None,
) -> Event:
    return Event(
        uuid7(), kind, now, order.actor, data, run=ws.run, policy=ws.policy_version, body=body
    )
