"""Who closes without a word to the customer, and who resolves in seconds with copied words?"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, select

from insight.findings.evidence import EVENTS, LEAST, Finding, Since, by_person, happened, pages
from models.base import table
from models.history import EventBody
from models.kinds import EventKind
from models.loop import Loop, LoopLink

LOOPS = table(Loop)
LINKS = table(LoopLink)
BODIES = table(EventBody)

SILENT_SHARE = 0.2
"""Share of somebody's own closings that may be without contact."""
CONTACTS = (
    EventKind.VERIFICATION_REMINDED,
    EventKind.VERIFICATION_CALLED,
    EventKind.VERIFICATION_ANSWERED,
)
"""Beside a question by mail, for one to be put by call is none until the call; and beside what
customers were told of their own matter, which is not what changed since."""
COPIES = 5
PAUSE = timedelta(seconds=60)
"""Between one ticket and the next of a run of copies."""


def closed_without_contact(tx: Connection, since: Since) -> Iterator[Finding]:
    """People who close loops of customers they never spoke to, more than now and then."""
    closings = happened(tx, since, (EventKind.LOOP_CLOSED, EventKind.LOOP_WITHDRAWN))
    people = by_person(closings)
    mine = {event.loop_id for of in people.values() for event in of}
    reachable = {loop for page in pages(mine) for loop in of_customers(tx, page)}
    contacted = {loop for page in pages(reachable) for loop in in_contact(tx, page)}
    for person, events in sorted(people.items()):
        closed = {event.loop_id for event in events} & reachable
        silent = closed - contacted
        if len(silent) < LEAST or len(silent) <= SILENT_SHARE * len(closed):
            continue
        n, k = len(closed), len(silent)
        yield Finding(
            "closed_without_contact",
            person,
            {"closed": n, "without_contact": k},
            tuple(sorted(silent)),
            (person,),
            {
                "zh": f"{person} 关闭 {n} 个客户问题，其中 {k} 个从未联系客户",
                "en": f"{person} closed {n} customers' loops, {k} without any word to the customer",
            },
        )


def of_customers(tx: Connection, loops: Sequence[str]) -> Iterable[str]:
    query = select(LOOPS.c.id).where(
        LOOPS.c.id.in_(loops), LOOPS.c.kind == "small", LOOPS.c.customer_id.is_not(None)
    )
    return tx.execute(query).scalars().all()


def in_contact(tx: Connection, loops: Sequence[str]) -> Iterable[str]:
    """Those of the loops whose customer heard from us, or was at least called."""
    by_mail = (EVENTS.c.kind == EventKind.VERIFICATION_ASKED) & EVENTS.c.data.contains(
        '"via":"mail"', autoescape=True
    )
    told = (EVENTS.c.kind == EventKind.LOOP_CUSTOMER_TOLD) & ~EVENTS.c.data.contains(
        '"what":"change"', autoescape=True
    )
    contact = EVENTS.c.kind.in_([k.value for k in CONTACTS]) | by_mail | told
    query = select(EVENTS.c.loop_id).where(EVENTS.c.loop_id.in_(loops), contact).distinct()
    return tx.execute(query).scalars().all()


def copied_resolutions(tx: Connection, since: Since) -> Iterator[Finding]:
    """People who resolve a run of tickets within seconds of each other with the same words.

    Loops linked to a big loop are left out: one cause may well have one answer.
    """
    resolved = happened(tx, since, (EventKind.TICKET_RESOLVED,), EVENTS.c.event_id)
    people = by_person(resolved)
    linked = {
        loop
        for page in pages(e.loop_id for of in people.values() for e in of)
        for loop in tx.execute(select(LINKS.c.small_id).where(LINKS.c.small_id.in_(page))).scalars()
    }
    for person, events in sorted(people.items()):
        own = [event for event in events if event.loop_id not in linked]
        if len(own) < COPIES:
            continue
        marks = {m: h for page in pages(e.event_id for e in own) for m, h in hashes(tx, page)}
        yield from copies(person, own, marks)


def hashes(tx: Connection, events: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Event -> a hash of its words; what was erased has none."""
    query = select(BODIES.c.event_id, BODIES.c.body).where(BODIES.c.event_id.in_(events))
    for event, body in tx.execute(query):
        words = "".join(str(json.loads(body).get("done") or "").split())
        if words:
            yield event, hashlib.blake2b(words.encode(), digest_size=16).digest()


def copies(person: str, events: Sequence[Any], marks: dict[str, bytes]) -> Iterator[Finding]:
    """One finding for each person: all their runs of copies together."""
    runs = [run for run in runs_of(events, marks) if len(run) >= COPIES]
    if not runs:
        return
    n = sum(len(run) for run in runs)
    yield Finding(
        "copied_resolutions",
        person,
        {"tickets": n, "runs": len(runs)},
        tuple(sorted({event.loop_id for run in runs for event in run})),
        (person,),
        {
            "zh": f"{person} 用完全相同的文字在数秒内连续办结 {n} 张工单（{len(runs)} 批）",
            "en": f"{person} resolved {n} tickets within seconds of each other in the same words"
            f" ({len(runs)} runs)",
        },
    )


def runs_of(events: Sequence[Any], marks: dict[str, bytes]) -> Iterator[list[Any]]:
    """Stretches of events with one hash, each shortly after the one before."""
    run: list[Any] = []
    for event in events:
        mark = marks.get(event.event_id)
        follows = run and mark == marks.get(run[-1].event_id) and event.at - run[-1].at <= PAUSE
        if run and not follows:
            yield run
            run = []
        if mark is not None:
            run.append(event)
    if run:
        yield run
