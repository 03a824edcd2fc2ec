"""How approval is asked for: what a request says, the row it makes, who is told of it."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, select

from loopwright.errors import InputError
from loopwright.glossary import title
from loopwright.history.envelope import Actor, Scalar
from loopwright.ids import handle
from models.base import table
from models.kinds import ApprovalKind, EventKind
from models.loop import Loop
from policy.approval import Asked, level_for, to_tell
from policy.effects import EFFECTS
from policy.story import Happening, Row, Story
from tasks.change import Change, NewMessage
from tasks.people import organisation_now, today
from tasks.workspace import Workspace

LOOPS = table(Loop)


def request_change(
    ws: Workspace,
    *,
    loop: str,
    kind: ApprovalKind,
    level: str,
    unit: str,
    by: Actor,
    now: datetime,
    terms: Mapping[str, Scalar],
    ticket: str | None = None,
    clock: str | None = None,
    body: Mapping[str, Any] | None = None,
) -> Change:
    """The change that asks for a loop's approval, with the word to those who may grant it.

    `unit`: whose request it is; `terms`: what exactly is asked for, nothing personal; `body`: the
    words (`reason`). The new approval's id is `data["approval"]`. Raises InputError when the policy
    names nobody who could grant it; the door refuses what is asked for already and waits.
    """
    data = request_data(kind, level, unit, by.id, now, terms, ticket, clock)
    asked = folded(EventKind.APPROVAL_REQUESTED, data, {}, now, loop)
    with ws.db.read() as tx:
        people = told_of(ws, tx, asked, now)
    if not people:
        raise InputError(
            f"nobody may grant {kind.value} at level {level} for {unit} today",
            "the policy's `approvals` say who may; for people on leave, their deputies",
        )
    messages = waiting_messages(ws, asked["id"], people)
    return Change(loop, EventKind.APPROVAL_REQUESTED, data, by, body=body, messages=messages)


def request_data(
    kind: ApprovalKind,
    level: str,
    unit: str,
    by: str,
    now: datetime,
    terms: Mapping[str, Scalar],
    ticket: str | None = None,
    clock: str | None = None,
) -> dict[str, Scalar]:
    data: dict[str, Scalar] = {
        "approval": handle("A", now),
        "kind": kind,
        "level": level,
        "unit": unit,
        "by": by,
    }
    about = {"ticket": ticket, "clock": clock}
    return data | {name: value for name, value in about.items() if value} | dict(terms)


def folded(
    kind: EventKind, data: Mapping[str, Scalar], row: Row, now: datetime, loop: str = ""
) -> Row:
    """The approval's row as an event makes it of the row before; `row` is empty before a request.

    Raises Refused when it has been decided.
    """
    approval = str(data["approval"])
    story = Story(approvals={approval: dict(row)} if row else {})
    EFFECTS[kind](story, Happening(loop, kind, data, now))
    return story.approvals[approval]


def told_of(ws: Workspace, tx: Connection, row: Row, now: datetime) -> dict[str, str | None]:
    """Who is told of a request, and whom they stand in for: those nearest to it who may grant it
    today."""
    rules, organisation = ws.published.documents.rulebook.approvals, organisation_now(ws, tx, now)
    return to_tell(rules, asked_in(row, barred_of(tx, row)), organisation, today(ws, now))


def asked_in(row: Row, barred: frozenset[str]) -> Asked:
    kind = ApprovalKind(row["kind"])
    return Asked(kind, row["level"], row["unit"], row["asked_by"], barred)


def barred_of(tx: Connection, row: Row) -> frozenset[str]:
    query = select(LOOPS.c.barred).where(LOOPS.c.id == row["loop_id"])
    return people_in(tx.execute(query).scalar())


def people_in(barred: str | None) -> frozenset[str]:
    """The people that a loop's `barred` names."""
    return frozenset(filter(None, (barred or "").split(",")))


def waiting_messages(
    ws: Workspace, approval: str, people: Mapping[str, str | None]
) -> tuple[NewMessage, ...]:
    return tuple(
        NewMessage(
            f"approval_waiting:{approval}:{person}",
            "approval_waiting",
            unit_of(ws, person),
            values={"approval": approval} | ({"absent": absent} if absent else {}),
            person=person,
        )
        for person, absent in people.items()
    )


def unit_of(ws: Workspace, person: str) -> str:
    return ws.published.documents.organisation.person_by_id[person].unit


def level_of(ws: Workspace, kind: ApprovalKind, fen: int | None = None) -> str:
    """The lowest level that can grant it. Raises InputError when the policy has none."""
    rule = level_for(ws.published.documents.rulebook.approvals, kind, fen)
    if rule is None:
        raise InputError(
            f"the policy says of nobody that they may grant this {kind.value}",
            "publish a level for it under `approvals` in policy.yaml",
        )
    return rule.level


def shown_terms(terms: Mapping[str, Any], language: str) -> list[dict[str, str]]:
    """What is asked for, a `title` and what it `says` each: amounts in yuan, hashes short."""
    return [
        {"title": title("term", name, language), "says": shown_term(name, value)}
        for name, value in terms.items()
        if value is not None
    ]


def shown_term(name: str, value: Any) -> str:
    if name.endswith("fen"):
        return f"¥{Decimal(value) / 100:,.2f}"
    return str(value)[:12] if name == "sha256" else str(value)
