"""Who was told what: a fact of its own, by a person who did it or by a message that was sent.

It stops the clocks that wait for it. A question whether it is solved says what was decided; so its
customer has been told when it was sent, not when it was queued, and by a quarantined one never.
For what changed no clock waits, and customers of closed loops are told of it, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from loopwright.errors import TransitionRefused
from loopwright.history.envelope import Actor
from models.base import table
from models.kinds import EventKind, How, LoopState, Told
from models.loop import Loop
from tasks.approval.approvals import demands_reply_approval, granted_reply
from tasks.change import Change
from tasks.find import customers_loops, match_id, require_words
from tasks.settle import settle
from tasks.tickets.hand_off import on_behalf_of
from tasks.workspace import Workspace

LOOPS = table(Loop)

TELL_DECISIONS = frozenset({"verification_question"})
"""Templates that tell a customer what was decided."""
EVIDENCED: Mapping[Told, str] = {Told.DECISION: "a decision", Told.CHANGE: "what changed"}
"""What counts as told with evidence only."""


@dataclass(frozen=True)
class Telling:
    """A customer was told something; `reference`: of the call record, message or letter."""

    loop: str
    what: Told
    how: How
    actor: Actor
    reference: str = ""
    approval: str | None = None
    """Of the letter, where the policy wants letters to be approved."""


def tell_customer(
    ws: Workspace,
    loop_id: str,
    what: Told,
    how: How,
    reference: str,
    actor: Actor,
    now: datetime,
    approval: str | None = None,
) -> str:
    """Record what one customer was told; the loop may be named by its id's end. Returns its id."""
    with ws.db.read() as tx:
        loop = match_id(tx, LOOPS, loop_id, "loop")
    return tell_customers(ws, [Telling(loop, what, how, actor, reference, approval)], now)[0]


def tell_customers(ws: Workspace, tellings: Sequence[Telling], now: datetime) -> list[str]:
    """Record a set of what customers were told, all or none; each names its loop by the whole id.

    Stops the clocks that wait for it. Returns the loops' ids. Raises InputError for a loop without
    a customer of its own and for a decision or what changed without evidence, TransitionRefused for
    a closed loop, but not of what changed, and for a letter that was not approved where it must be.
    """
    for one in tellings:
        if one.what in EVIDENCED:
            require_words(
                one.reference,
                f"{EVIDENCED[one.what]} counts as told with evidence only",
                "give --reference: of the call record, the message or the letter",
            )
    with ws.db.read() as tx:
        rows = customers_loops(tx, [one.loop for one in tellings])
        tellings = [replace(one, approval=letters_approval(tx, ws, one)) for one in tellings]
    settle(ws, [told(ws, rows[one.loop], one) for one in tellings], now)
    return [one.loop for one in tellings]


def letters_approval(tx: Connection, ws: Workspace, one: Telling) -> str | None:
    """The grant of the letter that told it; None where none is named and none is needed."""
    if one.approval is not None:
        return granted_reply(tx, one.loop, one.approval)
    if (one.what, one.how) == (Told.DECISION, How.LETTER) and demands_reply_approval(ws):
        raise TransitionRefused(
            "a letter with the decision must be approved first",
            "`loopwright loop reply LOOP --file LETTER` asks for it; then give --approval",
        )
    return None


def told(ws: Workspace, row: Any, one: Telling) -> Change:
    data = {"what": one.what.value, "how": one.how.value}
    return Change(
        row.id,
        EventKind.LOOP_CUSTOMER_TOLD,
        data | ({"approval": one.approval} if one.approval else {}),
        one.actor,
        body={"reference": one.reference} if one.reference.strip() else None,
        on_behalf_of=on_behalf_of(ws, one.actor, row.lead),
    )


def told_by_messages(tx: Connection, sent: Sequence[Any]) -> list[Change]:
    """What follows from messages that were sent: their customers know the decision.

    Locks the loops that are not closed; of a closed one nothing follows.
    """
    telling = [m for m in sent if m.template in TELL_DECISIONS]
    if not telling:
        return []
    mine = LOOPS.c.id.in_({m.loop_id for m in telling}) & (LOOPS.c.state != LoopState.CLOSED)
    query = select(LOOPS.c.id).where(mine).order_by(LOOPS.c.id).with_for_update()
    still_open = set(tx.execute(query).scalars())
    said = {"what": Told.DECISION.value, "how": How.MESSAGE.value}
    return [
        Change(m.loop_id, EventKind.LOOP_CUSTOMER_TOLD, said | {"message": m.key})
        for m in sorted(telling, key=lambda m: (m.loop_id, m.key))
        if m.loop_id in still_open
    ]
