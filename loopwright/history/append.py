"""Appending events inside the business transaction: the last lock taken, the first row inserted.

The head row serialises appends. It is locked after all business rows and only inserts follow, so
that no two transactions can wait for each other.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select, update

from loopwright.db import bulk_insert
from loopwright.errors import FindingError
from loopwright.history import tree
from loopwright.history.envelope import HASH_ALG, Sealed
from models.base import table
from models.history import AuditHead, EventBody, HistoryEvent

EVENTS = table(HistoryEvent)
BODIES = table(EventBody)
HEAD = table(AuditHead)


def append(tx: Connection, sealed: Sequence[Sealed]) -> int:
    """Append sealed events in order; returns the tree's new size.

    Raises FindingError where somebody took the head row away.
    """
    if not sealed:
        return head(tx)[0]
    size, frontier = head(tx, lock=True)
    frontier = tree.extend(frontier, size, (s.leaf for s in sealed))
    new_size = size + len(sealed)
    moved = tx.execute(update(HEAD).values(size=new_size, frontier=tree.pack(frontier)))
    if moved.rowcount != 1:
        raise FindingError(
            "the history has no head row", "keep the database as it is; `loopwright audit verify`"
        )
    bulk_insert(tx, EVENTS, [row(s, size + n) for n, s in enumerate(sealed)])
    bulk_insert(tx, BODIES, [body_row(s) for s in sealed if s.body is not None])
    return new_size


def head(tx: Connection, *, lock: bool = False) -> tuple[int, list[bytes]]:
    """The tree's size and frontier; the migration that guards it plants the empty tree."""
    query = select(HEAD.c.size, HEAD.c.frontier).where(HEAD.c.id == 1)
    found = tx.execute(query.with_for_update() if lock else query).one_or_none()
    if found is None:
        return 0, []
    return found.size, tree.unpack(found.frontier)


def row(sealed: Sealed, seq: int) -> dict[str, Any]:
    event = sealed.event
    return {
        "seq": seq,
        "event_id": event.id,
        "loop_id": event.loop,
        "loop_seq": event.loop_seq,
        "kind": event.kind,
        "at": event.at,
        "actor_type": event.actor.type,
        "actor_id": event.actor.id,
        "actor_via": event.actor.via,
        "on_behalf_of": event.on_behalf_of,
        "run_id": event.run,
        "policy_version": event.policy,
        "rule_version": event.rule,
        "template_version": event.template,
        "hash_alg": HASH_ALG,
        "body_commit": sealed.commit,
        "data": sealed.data,
        "envelope": sealed.envelope,
        "leaf": sealed.leaf,
    }


def body_row(sealed: Sealed) -> dict[str, Any]:
    return {"event_id": sealed.event.id, "salt": sealed.salt, "body": sealed.body}
