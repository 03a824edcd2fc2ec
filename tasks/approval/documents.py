"""What is published, and what customers may be sent: approvals that belong to no loop.

A set of documents is approved by its hash, a template by that of its content; change a character,
and it is another one that nobody has approved.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from loopwright.db import retry_conflicts
from loopwright.errors import InputError
from loopwright.history.append import head
from loopwright.history.envelope import SYSTEM, Actor, Scalar
from models.approval import Approval
from models.base import table
from models.document import Publication
from models.kinds import ApprovalKind, ApprovalState, EventKind
from notifications.context import TO_CUSTOMERS
from policy.message_templates import MessageTemplate
from tasks.approval.approvals import decide_in, write_alone
from tasks.approval.request import (
    folded,
    level_of,
    request_data,
    told_of,
    unit_of,
    waiting_messages,
)
from tasks.change import Change
from tasks.documents.publish import checked, digest, set_hash
from tasks.settle import stamped
from tasks.workspace import Workspace

APPROVALS = table(Approval)
PUBLICATIONS = table(Publication)


def request_publication(
    ws: Workspace, files: Mapping[str, bytes], actor: Actor, now: datetime
) -> str:
    """Ask another person to approve a set, which can then be published. Returns the approval's id;
    of a set that waits or is granted already, its own.

    Raises DocumentError for a broken set, InputError when the policy names nobody who could.
    """
    checked(files)
    terms: dict[str, Scalar] = {"sha256": set_hash(files), "files": len(files)}
    body = {"changed": changed_files(ws, files)}
    with ws.db.begin() as tx:
        one_at_a_time(tx)
        for row in alone(tx, ApprovalKind.PUBLICATION):
            if row["terms"]["sha256"] == terms["sha256"] and row["state"] != ApprovalState.REFUSED:
                return str(row["id"])
        unit = unit_of(ws, actor.id)
        return ask(tx, ws, ApprovalKind.PUBLICATION, unit, actor.id, actor, now, terms, body)


def changed_files(ws: Workspace, files: Mapping[str, bytes]) -> list[str]:
    """Names of the files that differ from those that run, or are gone."""
    running = ws.published.files
    return sorted(
        name
        for name in {*files, *running}
        if name not in files or name not in running or digest(files[name]) != digest(running[name])
    )


def customers_templates(ws: Workspace) -> list[MessageTemplate]:
    return [t for t in ws.published.documents.templates if t.id in TO_CUSTOMERS]


def request_templates(ws: Workspace, now: datetime) -> list[str]:
    """Ask to approve what customers may be sent by the set that runs, in its publisher's name.
    Returns the new approvals' ids: none for what was asked for before, or in an example."""
    if ws.published.documents.organisation.example:
        return []
    with ws.db.begin() as tx:
        one_at_a_time(tx)
        known = {row["terms"]["sha256"] for row in alone(tx, ApprovalKind.TEMPLATE)}
        fresh = [t for t in customers_templates(ws) if t.content_hash() not in known]
        return [request_template(tx, ws, template, now) for template in fresh]


def approve_template(ws: Workspace, template: str, actor: Actor, now: datetime) -> str:
    """Approve the present content of a template that customers are sent. Returns the approval's id.

    Raises InputError for a template that customers do not get, NotPermitted as `approve` does,
    TransitionRefused when this content was decided on before.
    """
    mine = {t.id: t for t in customers_templates(ws)}
    if template not in mine:
        raise InputError(
            f"customers are not sent {template!r}", f"use one of: {', '.join(sorted(mine))}"
        )

    def attempt() -> str:
        with ws.db.begin() as tx:
            one_at_a_time(tx)
            rows = {row["terms"]["sha256"]: row for row in alone(tx, ApprovalKind.TEMPLATE)}
            row = rows.get(mine[template].content_hash())
            approval = str(row["id"]) if row else request_template(tx, ws, mine[template], now)
            decide_in(tx, ws, approval, EventKind.APPROVAL_GRANTED, actor, now)
        return approval

    return retry_conflicts(attempt)


def one_at_a_time(tx: Connection) -> None:
    """Wait for whoever else asks, so that the same is asked for once: there is no row to lock yet
    but the history's own."""
    head(tx, lock=True)


def approved_templates(tx: Connection, ws: Workspace) -> dict[str, str]:
    """Template -> the approval of its present content, for those that customers may be sent."""
    granted = {
        row["terms"]["sha256"]: str(row["id"])
        for row in alone(tx, ApprovalKind.TEMPLATE)
        if row["state"] == ApprovalState.GRANTED
    }
    hashes = {t.id: t.content_hash() for t in customers_templates(ws)}
    return {id_: granted[content] for id_, content in hashes.items() if content in granted}


def unapproved_templates(ws: Workspace) -> list[str]:
    """Templates whose messages wait in quarantine until somebody approves what they say now; none
    in an example organisation."""
    if ws.published.documents.organisation.example:
        return []
    with ws.db.read() as tx:
        approved = approved_templates(tx, ws)
    return sorted(t.id for t in customers_templates(ws) if t.id not in approved)


def request_template(
    tx: Connection, ws: Workspace, template: MessageTemplate, now: datetime
) -> str:
    organisation = ws.published.documents.organisation
    number = PUBLICATIONS.c.number == ws.published.number
    publisher = tx.execute(select(PUBLICATIONS.c.published_by).where(number)).scalar_one()
    known = publisher in organisation.person_by_id
    unit = unit_of(ws, publisher) if known else organisation.operations
    terms: dict[str, Scalar] = {
        "template": template.id,
        "version": template.version,
        "sha256": template.content_hash(),
    }
    return ask(tx, ws, ApprovalKind.TEMPLATE, unit, publisher, SYSTEM, now, terms)


def ask(
    tx: Connection,
    ws: Workspace,
    kind: ApprovalKind,
    unit: str,
    by: str,
    actor: Actor,
    now: datetime,
    terms: Mapping[str, Scalar],
    body: Mapping[str, Any] | None = None,
) -> str:
    """Write a request that belongs to no loop, and tell those nearest who may grant it."""
    data = request_data(kind, level_of(ws, kind), unit, by, now, terms)
    asked = folded(EventKind.APPROVAL_REQUESTED, data, {}, now)
    people = told_of(ws, tx, asked, now)
    messages = waiting_messages(ws, asked["id"], people)
    said = Change("", EventKind.APPROVAL_REQUESTED, data, actor, body=body, messages=messages)
    write_alone(tx, stamped(ws, [said])[0], {}, now)
    return str(asked["id"])


def alone(tx: Connection, kind: ApprovalKind) -> list[dict[str, Any]]:
    """The approvals of a kind that belong to no loop, the oldest first."""
    mine = APPROVALS.c.loop_id.is_(None) & (APPROVALS.c.kind == kind)
    query = select(APPROVALS).where(mine).order_by(APPROVALS.c.asked_at, APPROVALS.c.id)
    return [dict(row) for row in tx.execute(query).mappings()]
