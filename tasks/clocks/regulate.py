"""What people do by a regulation's rules: extend its clock, begin it anew on new facts, object.

What the law does not allow is refused with its article.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, select

from loopwright.errors import ConflictError, InputError, TransitionRefused
from loopwright.history.envelope import Actor, Scalar
from models.base import table
from models.clock import Clock
from models.kinds import ApprovalKind, ClockKind, EventKind, How, LoopKind, LoopState, Stops
from models.loop import Loop
from policy.clock_notation import PREFIX, iso
from policy.regulation import (
    Extension,
    Regulation,
    Review,
    Unlawful,
    check_extension,
    check_review,
    extension_of,
)
from tasks.approval.request import request_change
from tasks.change import Change
from tasks.clocks.changes import (
    Held,
    clock_rows,
    extended,
    held_clocks,
    require_time_left,
    restarted,
)
from tasks.clocks.starting import names_of
from tasks.find import match_id, require_words
from tasks.routing.known import in_place_of
from tasks.routing.open_loops import assign_ticket
from tasks.settle import settle
from tasks.workspace import Workspace

LOOPS = table(Loop)
CLOCKS = table(Clock)

Found = TypeVar("Found")


@dataclass(frozen=True)
class Asked:
    """An extension asked for: given at once (`due_at`), or waiting for approval `approval`."""

    loop: str
    clock: str
    extension: str
    article: str
    approval: str | None
    due_at: str | None


@dataclass(frozen=True)
class Wish:
    """What somebody says for an extension. `notice`: reference of the word to the complainant,
    which went by `how`; `evidence`: reference of what shows the need."""

    extension: str
    reason: str
    notice: str = ""
    how: How | None = None
    evidence: str = ""


def extend(ws: Workspace, loop_id: str, wish: Wish, actor: Actor, now: datetime) -> Asked:
    """Ask for a regulation's extension of the loop's legal clock; it is given at once where nobody
    has to approve it.

    Raises InputError with the article for what the regulation does not allow, TransitionRefused for
    a clock that has run out, ConflictError when it is asked for already.
    """
    require_words(wish.reason, "an extension needs a reason", "say what makes it so complex")
    with ws.db.read() as tx:
        loop = match_id(tx, LOOPS, loop_id, "loop")
        held, law = lawful(extendable(ws, tx, loop), loop)
        wanted = allowed(partial(extension_of, law, wish.extension, held.row.extension))
        allowed(partial(check_extension, law, wanted, wish.notice, wish.evidence))
        require_time_left(held, now)
        made = asking(ws, tx, held, law, wanted, wish, actor, now)
    settle(ws, [made], now)
    approval, due_at = made.data.get("approval"), made.data.get("due_at")
    return Asked(
        loop,
        held.row.id,
        wanted.id,
        law.cite(wanted.article),
        str(approval) if approval else None,
        str(due_at) if due_at else None,
    )


def asking(
    ws: Workspace,
    tx: Connection,
    held: Held,
    law: Regulation,
    wanted: Extension,
    wish: Wish,
    actor: Actor,
    now: datetime,
) -> Change:
    """The change that gives the extension, or asks whoever has to approve it."""
    said = {"reason": wish.reason, "notice": wish.notice, "proof": wish.evidence}
    body = {name: words for name, words in said.items() if words.strip()}
    terms: dict[str, Scalar] = {
        "extension": wanted.id,
        "days": wanted.days,
        "after": wanted.after,
        "article": f"{law.regulation} {wanted.article}",
        "how": wish.how,
    }
    if wanted.level is None:
        made = extended(
            ws, tx, held.row.id, extension=wanted.id, days=wanted.days, actor=actor, body=body
        )
        return replace(made, data={**made.data, "article": terms["article"], "how": wish.how})
    return request_change(
        ws,
        loop=held.row.loop_id,
        kind=ApprovalKind.EXTENSION,
        level=wanted.level,
        unit=held.unit,
        by=actor,
        now=now,
        terms={name: value for name, value in terms.items() if value is not None},
        clock=held.row.id,
        body=body,
    )


def lawful(found: Sequence[Held], loop: str) -> tuple[Held, Regulation]:
    """The one clock that a regulation's rule is about, and the regulation."""
    for held in found:
        if held.law is not None:
            return held, held.law
    raise InputError(
        f"no clock of a regulation is there on loop {loop}",
        "the set's regulation documents say which clocks the law knows",
    )


def extendable(ws: Workspace, tx: Connection, loop: str) -> list[Held]:
    """The legal clocks that run for the loop, first those whose law knows extensions."""
    held = held_clocks(ws, tx, legal_rows(tx, loop, running=True))
    return sorted(held, key=lambda one: not (one.law and one.law.extensions))


def legal_rows(tx: Connection, loop: str, *, running: bool) -> Sequence[Any]:
    """The loop's legal clocks, last started first."""
    query = clock_rows().where(CLOCKS.c.loop_id == loop, CLOCKS.c.kind == ClockKind.LEGAL)
    if running:
        query = query.where(CLOCKS.c.stopped_at.is_(None))
    return tx.execute(query.order_by(CLOCKS.c.started_at.desc(), CLOCKS.c.id.desc())).all()


def allowed(rule: Callable[[], Found]) -> Found:
    """What a rule of the regulation says; its refusal as an error with the article."""
    try:
        return rule()
    except Unlawful as refusal:
        raise InputError(str(refusal), refusal.fix) from refusal


def new_facts(
    ws: Workspace, loop_id: str, received: datetime, what: str, actor: Actor, now: datetime
) -> str:
    """New facts or reasons came: the regulation's period begins again when they were received, and
    the old clock stays to be seen. Returns the loop's id.

    Raises InputError where no regulation says so, or for a time before the complaint or to come.
    """
    require_words(what, "new facts need words", "say what is new about it")
    with ws.db.read() as tx:
        loop = match_id(tx, LOOPS, loop_id, "loop")
        held = latest(held_clocks(ws, tx, legal_rows(tx, loop, running=False)))
    first, law = lawful(held, loop)
    if law.new_facts is None:
        raise InputError(f"{law.regulation} knows no new beginning", "its period runs on")
    if not first.row.started_at <= received <= now:
        raise InputError(
            f"new facts of {iso(received)} do not fit a period that began"
            f" {iso(first.row.started_at)}: {law.cite(law.new_facts)}",
            "give --received: when the new material came in",
        )
    article = f"{law.regulation} {law.new_facts}"
    changes = [
        replace(made, data={**made.data, "article": article})
        for one in held
        if one.law is law
        for made in [restarted(one, "new facts", received, actor, {"facts": what})]
    ]
    settle(ws, changes, now)
    return loop


def latest(held: Sequence[Held]) -> list[Held]:
    """Those that run; when none does, of each specification the one that started last."""
    running = [one for one in held if one.row.stopped_at is None]
    last = {one.spec.id: one for one in reversed(held)}
    return running or list(last.values())


def review(
    ws: Workspace, loop_id: str, received: datetime, reason: str, actor: Actor, now: datetime
) -> str:
    """The complainant objects to the decision: the unit above those who decided gets the case.
    Returns the loop's id.

    Raises InputError with the article for a request that came too late, or where no regulation
    knows a review; TransitionRefused before there is a decision; ConflictError when another open
    loop stands in its place.
    """
    require_words(reason, "a request for review needs words", "say what the complainant objects to")
    if received > now:
        raise InputError(f"{iso(received)} is yet to come", "check --received")
    with ws.db.read() as tx:
        row = tx.execute(select(LOOPS).where(LOOPS.c.id == match_id(tx, LOOPS, loop_id, "loop")))
        loop = row.one()
        decided, law = decided_clock(ws, tx, loop)
    zone = decided.terms.zone
    asked = allowed(partial(check_review, law, decided.row.stopped_at, received, zone))
    unit = superior(ws, decided.unit)
    data: dict[str, Any] = {
        "on": received.astimezone(zone).date().isoformat(),
        "unit": unit,
        "article": f"{law.regulation} {asked.article}",
        **clock_of_answer(decided, asked, unit, received),
    }
    said = {"reason": reason}
    kind = EventKind.LOOP_REVIEW_REQUESTED
    requested = Change(loop.id, kind, data, actor, loop.version, said)
    names = names_of(loop.clocks)
    clocks = ws.clocks.at_assignment(names, LoopKind.SMALL, unit, loop.ladder, now)
    settle(ws, [requested, assign_ticket(loop.id, unit, "lead", clocks, now)], now)
    return str(loop.id)


def decided_clock(ws: Workspace, tx: Connection, loop: Any) -> tuple[Held, Regulation]:
    """The legal clock that stopped when the complainant was told the decision, and its law."""
    held = held_clocks(ws, tx, legal_rows(tx, loop.id, running=False))
    first, law = lawful([one for one in held if one.spec.stops == Stops.TOLD], loop.id)
    if law.review and law.review.clock in {one.spec.id for one in held}:
        what = f"a review was asked for already: {law.cite(law.review.article)}"
        raise InputError(what, "take it in as a new complaint")
    if first.row.stopped_at is None:
        raise TransitionRefused(f"nothing is decided in loop {loop.id} yet", "see `loop told`")
    if loop.state == LoopState.CLOSED and (other := in_place_of(tx, loop)):
        raise ConflictError(f"the same customer has another open loop: {other}", "use that one")
    return first, law


def clock_of_answer(
    decided: Held, review: Review, unit: str, received: datetime
) -> dict[str, Scalar]:
    """The start of the clock that runs for the answer to the review, where the law knows one."""
    if review.clock is None:
        return {}
    spec = decided.terms.specs[review.clock]
    start = decided.terms.started(spec, unit, decided.row.ladder, received)
    return {"started_at": iso(received), PREFIX + spec.id: str(start)}


def superior(ws: Workspace, unit: str) -> str:
    """The unit above. Raises InputError for the top one."""
    line = ws.published.documents.organisation.lineage(unit)
    if len(line) < 2:
        raise InputError(f"nobody stands above {unit}", "its own decision is the last in the house")
    return line[1].code
