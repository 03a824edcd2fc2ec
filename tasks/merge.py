"""Two loops were one after all, or one cause two: merge them, and undo each relation on its own.

What a big loop has by the thousand moves set by set while both loops are open, so that a merge that
was broken off is finished by doing it again; in the same way it moves back.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, select

from loopwright.db import retry_conflicts
from loopwright.errors import ConflictError, InputError
from loopwright.history.envelope import Actor
from models.base import table
from models.clock import Clock
from models.history import HistoryEvent
from models.kinds import EventKind, LoopKind, LoopState, Relation
from models.loop import Loop, LoopIssue, LoopLink
from policy.clock_notation import moment
from tasks.change import Change, change
from tasks.clocks.changes import clock_rows, held_clocks, recomputed, restarted
from tasks.find import match_id
from tasks.routing.known import in_place_of
from tasks.routing.open_loops import clocks_anew
from tasks.settle import settle, stamped
from tasks.workspace import Workspace

LOOPS = table(Loop)
CLOCKS = table(Clock)
EVENTS = table(HistoryEvent)
LOOP_ISSUES = table(LoopIssue)
LOOP_LINKS = table(LoopLink)

PIECE = 300
"""So many changes of one transaction, but for one more at the very end."""


def merge(ws: Workspace, loop_id: str, into_id: str, actor: Actor, now: datetime) -> str:
    """One complaint, or one cause, opened twice: close `loop_id` as merged; its issues join
    `into_id`, and the loops linked to it are linked there. Returns the surviving loop's id.

    Raises InputError for loops that are not two of one kind, TransitionRefused for a closed one.
    """
    with ws.db.read() as tx:
        loop = match_id(tx, LOOPS, loop_id, "loop")
        into = match_id(tx, LOOPS, into_id, "loop")
        check_pair(tx, loop, into)
    while not retry_conflicts(partial(merge_some, ws, loop, into, actor, now)):
        pass
    return into


def check_pair(tx: Connection, loop: str, into: str) -> None:
    if loop == into:
        raise InputError("a loop cannot be merged into itself", "name two loops")
    kinds = select(LOOPS.c.kind).where(LOOPS.c.id.in_([loop, into])).distinct()
    if len(tx.execute(kinds).all()) > 1:
        raise InputError(
            "a customer's own loop and a big loop are not merged", "name two loops of one kind"
        )


def merge_some(ws: Workspace, loop: str, into: str, actor: Actor, now: datetime) -> bool:
    """One transaction of a merge, the last of which closes the loop; whether it was the last."""
    with ws.db.begin() as tx:
        row = tx.execute(select(LOOPS).where(LOOPS.c.id == loop)).one()
        made = moves(tx, row, into, actor)
        last = fit(ws, made) or row.state == LoopState.CLOSED
        if last:
            made = [merging(row, into, actor), *made, *earliest_clocks(ws, tx, row, into, actor)]
        else:
            made = made[:PIECE]
        change(tx, stamped(ws, made), now)
    return last


def fit(ws: Workspace, changes: Sequence[Change]) -> bool:
    """Whether one transaction takes them all. In a dry run it must: nothing of a set would stay."""
    return len(changes) <= PIECE or ws.db.dry_run


def merging(row: Any, into: str, actor: Actor) -> Change:
    data = {"into": into, "state": row.state}
    return Change(row.id, EventKind.LOOP_MERGED, data, actor, row.version)


def moves(tx: Connection, row: Any, into: str, actor: Actor) -> list[Change]:
    """Brings what one loop has to another that has it not."""
    relation = Relation.SAME_COMPLAINT if row.kind == LoopKind.SMALL else Relation.SAME_CAUSE
    known, linked = set(issues_of(tx, into)), set(links_of(tx, into))
    joining = {"relation": relation, "why": "merged by a person", "merged": row.id}
    linking = {"relation": Relation.SAME_CAUSE, "merged": row.id}
    return [
        *(
            Change(into, EventKind.LOOP_JOINED, {"issue": issue, **joining}, actor)
            for issue in issues_of(tx, row.id)
            if issue not in known
        ),
        *(
            Change(into, EventKind.LOOP_LINKED, {"small": small, **linking}, actor)
            for small in links_of(tx, row.id)
            if small not in linked
        ),
    ]


def earliest_clocks(
    ws: Workspace, tx: Connection, row: Any, into: str, actor: Actor
) -> list[Change]:
    """The same complaint keeps its earliest clock: where the merged loop's started before, the
    other's starts then too; what was granted stays granted, and pauses count as they were."""
    if row.kind != LoopKind.SMALL:
        return []
    since = {clock.spec: clock.started_at for clock in clocks_of_loop(tx, row.id)}
    made = [
        recomputed(held, "merged", since[held.spec.id], merged=row.id)
        for held in held_clocks(ws, tx, clocks_of_loop(tx, into))
        if since.get(held.spec.id, held.row.started_at) < held.row.started_at
    ]
    return [replace(one, actor=actor) for one in made if one is not None]


def clocks_of_loop(tx: Connection, loop: str) -> Sequence[Any]:
    """The clocks that run for the loop itself, not for a ticket."""
    mine = (CLOCKS.c.loop_id == loop) & CLOCKS.c.ticket_id.is_(None)
    return tx.execute(clock_rows().where(mine, CLOCKS.c.stopped_at.is_(None))).all()


def clocks_given_back(ws: Workspace, tx: Connection, row: Any, actor: Actor) -> list[Change]:
    """Takes back from the other loop's clocks the start that a merge brought them."""
    brought = {
        data["clock"]: moment(data["started_was"])
        for data in data_of(tx, row.merged_into, [EventKind.CLOCK_RECOMPUTED])
        if data.get("merged") == row.id
    }
    held = held_clocks(ws, tx, clocks_of_loop(tx, row.merged_into))
    made = [
        recomputed(one, "merge undone", brought[one.row.id])
        for one in held
        if one.row.id in brought
    ]
    return [replace(one, actor=actor) for one in made if one is not None]


def unmerge(ws: Workspace, loop_id: str, actor: Actor, now: datetime) -> str:
    """Undo a merge: the loop opens again as it was, and what came with it leaves the other loop.
    Returns its id.

    Raises ConflictError when another loop stands in its place by now.
    """
    with ws.db.read() as tx:
        loop = match_id(tx, LOOPS, loop_id, "loop")
    while not retry_conflicts(partial(unmerge_some, ws, loop, actor, now)):
        pass
    return loop


def unmerge_some(ws: Workspace, loop: str, actor: Actor, now: datetime) -> bool:
    """One transaction of an unmerge, the last of which opens the loop; whether it was the last."""
    with ws.db.begin() as tx:
        row = tx.execute(select(LOOPS).where(LOOPS.c.id == loop)).one()
        check_merged(tx, row)
        back = given_back(tx, row, actor)
        last = fit(ws, back)
        if last:
            back = [
                *back,
                *clocks_given_back(ws, tx, row, actor),
                *reopening(tx, ws, row, actor, now),
            ]
        made = back if last else back[:PIECE]
        change(tx, stamped(ws, made), now)
    return last


def check_merged(tx: Connection, row: Any) -> None:
    if row.merged_into is None:
        raise ConflictError(f"loop {row.id} is not merged", "only a merge can be undone")
    if other := in_place_of(tx, row):
        raise ConflictError(
            f"another open loop is in the place of {row.id}: {other}", "merge into that one"
        )


def given_back(tx: Connection, row: Any, actor: Actor) -> list[Change]:
    """Takes out of a loop what a merge brought it and is still there."""
    into = row.merged_into
    joins = data_of(tx, into, [EventKind.LOOP_JOINED, EventKind.LOOP_LINKED])
    brought = [data for data in joins if data.get("merged") == row.id]
    issues, smalls = set(issues_of(tx, into)), set(links_of(tx, into))
    return [
        *(
            Change(into, EventKind.LOOP_DETACHED, {"issue": issue}, actor)
            for issue in dict.fromkeys(data.get("issue") for data in brought)
            if issue in issues
        ),
        *(
            Change(into, EventKind.LOOP_UNLINKED, {"small": small}, actor)
            for small in dict.fromkeys(data.get("small") for data in brought)
            if small in smalls
        ),
    ]


def data_of(tx: Connection, loop: str, kinds: Sequence[EventKind]) -> list[dict[str, Any]]:
    """The data of a loop's events of these kinds, in order."""
    query = select(EVENTS.c.data).where(EVENTS.c.loop_id == loop, EVENTS.c.kind.in_(kinds))
    return [json.loads(data) for data in tx.execute(query.order_by(EVENTS.c.loop_seq)).scalars()]


def reopening(tx: Connection, ws: Workspace, row: Any, actor: Actor, now: datetime) -> list[Change]:
    """A customer who was being asked when the loop was merged is asked again; the clocks of the
    loop that the merge stopped run again since they first started."""
    state = data_of(tx, row.id, [EventKind.LOOP_MERGED])[-1].get("state")
    if state == LoopState.VERIFYING:
        state = LoopState.RESOLVED
    data = {"why": "merge undone", "state": state}
    clocks = clocks_anew(ws, row, now) if row.lead else {}
    mine = (CLOCKS.c.loop_id == row.id) & CLOCKS.c.ticket_id.is_(None)
    stopped = tx.execute(clock_rows().where(mine, CLOCKS.c.stopped_at == row.closed_at)).all()
    return [
        Change(row.id, EventKind.LOOP_REOPENED, data | clocks, actor, row.version),
        *(
            restarted(held, "merge undone", held.row.started_at, actor)
            for held in held_clocks(ws, tx, stopped)
        ),
    ]


def unlink(ws: Workspace, small_id: str, big_id: str, actor: Actor, now: datetime) -> str:
    """Undo «same cause»: the customer's loop leaves the big one. Returns the small loop's id."""
    with ws.db.read() as tx:
        small = match_id(tx, LOOPS, small_id, "loop")
        big = match_id(tx, LOOPS, big_id, "loop")
        shared = set(issues_of(tx, small)) & set(joined_issues_of(tx, big))
    changes = [
        Change(big, EventKind.LOOP_UNLINKED, {"small": small}, actor),
        *(Change(big, EventKind.LOOP_DETACHED, {"issue": i}, actor) for i in sorted(shared)),
    ]
    settle(ws, changes, now)
    return small


def issues_of(tx: Connection, loop: str) -> Sequence[str]:
    query = select(LOOP_ISSUES.c.issue_id).where(LOOP_ISSUES.c.loop_id == loop)
    return tx.execute(query.order_by(LOOP_ISSUES.c.issue_id)).scalars().all()


def links_of(tx: Connection, big: str) -> Sequence[str]:
    query = select(LOOP_LINKS.c.small_id).where(LOOP_LINKS.c.big_id == big)
    return tx.execute(query.order_by(LOOP_LINKS.c.small_id)).scalars().all()


def joined_issues_of(tx: Connection, loop: str) -> Sequence[str]:
    """Without the issue that opened the loop, which stays."""
    joined = LOOP_ISSUES.c.relation != Relation.ORIGIN
    query = select(LOOP_ISSUES.c.issue_id).where(LOOP_ISSUES.c.loop_id == loop, joined)
    return tx.execute(query).scalars().all()
