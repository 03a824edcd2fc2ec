"""What does somebody see of approvals? Read only; what people wrote is masked here."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select

from loopwright.mask import mask
from models.approval import Approval
from models.base import table
from models.kinds import ApprovalState
from tasks.approval.approvals import Deciders, deciders
from tasks.find import match_id
from tasks.messages.facts import Event, decisions
from tasks.workspace import Workspace

APPROVALS = table(Approval)
SAID = ("reason", "letter", "notice")
"""What people write into an approval's events."""


def list_approvals(
    ws: Workspace,
    now: datetime,
    *,
    person: str | None = None,
    every: bool = False,
    limit: int = 30,
) -> list[dict[str, Any]]:
    """What waits, the oldest first, each with those it waits `for`; only this person's if named.

    With `every` all there are, newest first; of a person, what they asked, decided or may decide.
    """
    with ws.db.read() as tx:
        waiting = {row["id"]: (row, may) for row, may in deciders(ws, tx, now)}
        rows = [row for row, _ in waiting.values()]
        if every:
            rows = [dict(row) for row in tx.execute(newest(person, limit)).mappings()]
    items = [line(row, waiting.get(row["id"], (row, {}))[1]) for row in rows]
    return [item for item in items if person is None or concerns(item, person, every)][:limit]


def newest(person: str | None, limit: int) -> Select[Any]:
    """All approvals; of a person, what they asked for or decided, and what may wait for them."""
    query = select(APPROVALS).order_by(APPROVALS.c.asked_at.desc(), APPROVALS.c.id)
    if person is None:
        return query.limit(limit)
    mine = (APPROVALS.c.asked_by == person) | (APPROVALS.c.decided_by == person)
    return query.where(mine | (APPROVALS.c.state == ApprovalState.WAITING))


def concerns(item: dict[str, Any], person: str, every: bool) -> bool:
    mine = person in (item["asked_by"], item["decided_by"])
    return person in item["for"] or (every and mine)


def line(row: dict[str, Any], may: Deciders) -> dict[str, Any]:
    times = {name: row[name] and row[name].isoformat() for name in ("asked_at", "decided_at")}
    return row | times | {"for": list(may), "on_behalf_of": {p: a for p, a in may.items() if a}}


def show_approval(ws: Workspace, wanted: str, now: datetime) -> dict[str, Any]:
    """One approval with what people wrote. Raises InputError when there is none."""
    with ws.db.read() as tx:
        approval = match_id(tx, APPROVALS, wanted, "approval")
        row = tx.execute(select(APPROVALS).where(APPROVALS.c.id == approval)).one()
        events = decisions(tx, [row]).get(approval, [])
        found = deciders(ws, tx, now) if row.state == ApprovalState.WAITING else []
    may = next((may for one, may in found if one["id"] == approval), {})
    return line(dict(row._mapping), may) | {"words": words_of(events)}


def words_of(events: Sequence[Event]) -> dict[str, str]:
    return {
        f"{event.kind.removeprefix('approval.')} {name}": mask(str(event.body[name]))
        for event in events
        for name in SAID
        if event.body.get(name)
    }
