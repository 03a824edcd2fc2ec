"""Customers who must be called: the list to work through, and how each call ended."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from loopwright.db import retry_conflicts
from loopwright.errors import InputError, TransitionRefused
from loopwright.history.envelope import Actor
from models.base import table
from models.kinds import CallOutcome, EventKind, LoopState, Outcome, Way
from models.loop import Loop
from models.verification import Verification
from policy.clock_notation import iso
from policy.verify import after_call
from tasks.change import Change, change
from tasks.find import customers_loops, match_id, require_unit
from tasks.look import plain
from tasks.settle import stamped
from tasks.tickets.hand_off import on_behalf_of
from tasks.verification.answers import last_questions
from tasks.verification.verify import closing, silence
from tasks.workspace import Workspace

LOOPS = table(Loop)
VERIFICATIONS = table(Verification)


def calls(ws: Workspace, unit: str | None = None) -> list[dict[str, Any]]:
    """Loops whose customers must be called, the oldest due first; of one lead unit or all.

    `call_at`: not before then; `contacts`: how often the customer was tried; `outcome`: how the
    last call ended. Raises InputError for an unknown unit.
    """
    query = (
        select(
            VERIFICATIONS.c.loop_id.label("loop"),
            LOOPS.c.lead.label("unit"),
            LOOPS.c.topic,
            LOOPS.c.priority,
            VERIFICATIONS.c.asked_at,
            VERIFICATIONS.c.call_at,
            VERIFICATIONS.c.contacts,
            VERIFICATIONS.c.contacted_at,
            VERIFICATIONS.c.outcome,
        )
        .join(LOOPS, LOOPS.c.id == VERIFICATIONS.c.loop_id)
        .where(VERIFICATIONS.c.call_at.is_not(None))
        .order_by(VERIFICATIONS.c.call_at, VERIFICATIONS.c.id)
    )
    if unit is not None:
        require_unit(ws, unit)
        query = query.where(LOOPS.c.lead == unit)
    with ws.db.read() as tx:
        return [plain(row) for row in tx.execute(query)]


def called(
    ws: Workspace,
    loop_id: str,
    outcome: CallOutcome,
    recording: str,
    actor: Actor,
    now: datetime,
    call_at: datetime | None = None,
) -> str:
    """Record a call that brought no answer; after the policy's contacts, a wrong number or a
    refusal the loop closes as unverified. `call_at`: when a customer asked to be called later. The
    loop may be named by its id's end; returns its id.

    Raises InputError for a loop without a customer of its own and for a time that nobody may wish,
    TransitionRefused where no question is open.
    """
    if call_at is not None:
        check_wish(ws, outcome, call_at, now)
    with ws.db.read() as tx:
        loop = match_id(tx, LOOPS, loop_id, "loop")

    def attempt() -> None:
        with ws.db.begin() as tx:
            row = customers_loops(tx, [loop])[loop]
            asked = last_questions(tx, [loop]).get(loop)
            if row.state != LoopState.VERIFYING or asked is None or asked.answer is not None:
                raise TransitionRefused(
                    f"no question to the customer of loop {loop} is open",
                    "`loopwright loop calls` lists whom to call",
                )
            made = call_made(ws, row, asked, outcome, recording, actor, now, call_at)
            change(tx, stamped(ws, made), now)

    retry_conflicts(attempt)
    return loop


def check_wish(ws: Workspace, outcome: CallOutcome, call_at: datetime, now: datetime) -> None:
    """Only who asked for it, and no later than a silence would be waited for: a call that is put
    off and off is none."""
    if outcome is not CallOutcome.CALL_LATER:
        raise InputError(f"{outcome} is no wish to be called later", "leave out the time")
    if not now < call_at <= now + silence(ws):
        days = silence(ws).days
        raise InputError(
            "this is no time for the next call", f"give one from now on, within {days} days"
        )


def call_made(
    ws: Workspace,
    row: Any,
    asked: Any,
    outcome: CallOutcome,
    recording: str,
    actor: Actor,
    now: datetime,
    call_at: datetime | None,
) -> list[Change]:
    """The call, and the loop's end where nobody calls again."""
    rulebook = ws.published.documents.rulebook
    next_call = call_at or now + timedelta(hours=rulebook.call_again_hours)
    by_call = asked.via == Way.CALL
    data = {
        "verification": asked.id,
        "outcome": outcome.value,
        "call_at": iso(next_call) if by_call else None,
        "due_at": iso((next_call if by_call else now) + silence(ws)),
    }
    made = Change(
        row.id,
        EventKind.VERIFICATION_CALLED,
        data,
        actor,
        row.version,
        body={"recording": recording} if recording.strip() else None,
        on_behalf_of=on_behalf_of(ws, actor, row.lead),
    )
    ends = after_call(outcome, asked.contacts + 1, rulebook.contacts)
    return [made] if ends is None else [made, closing(row.id, Outcome.UNVERIFIED, ends)]
