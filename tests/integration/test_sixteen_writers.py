"""Sixteen writers on the same fifty loops: whatever they try, legal or not, all stays sound."""

import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from threading import Event
from typing import Any

import pytest
from sqlalchemy import func, select

from loopwright.errors import ConflictError, InputError
from models.base import table
from models.history import AuditHead, HistoryEvent
from models.kinds import Answer, EventKind, How, Told
from models.loop import Loop
from models.ticket import Ticket
from tasks.clocks.watch_clocks import watch_lease
from tasks.routing.decide import decide_loop, withdraw
from tasks.tickets.hand_off import accept, reject, resolve, transfer
from tasks.verification.answers import answer
from tasks.verification.tell import tell_customer
from tasks.verification.verify import ask_set, follow_up_set
from tasks.workspace import Workspace
from tests.cast import LI, LOGIN, NOON, OPS, ZHANG, number_of, one, rows, sound, take_in

K = EventKind
LOOPS, TICKETS = table(Loop), table(Ticket)
WRITERS, MANY = 16, 50
TRANSITIONS = 20_000
"""Of `make prove`; `make check` runs a tenth."""
UNITS = ("DB", "CC", "RK")
STEP = timedelta(minutes=4)


@dataclass
class Shared:
    """What all writers see: the loops, the moment, and whether enough has happened."""

    loops: Sequence[str]
    wanted: int
    ticks: "count[int]" = field(default_factory=count)
    done: Event = field(default_factory=Event)

    def now(self) -> datetime:
        return NOON + STEP * next(self.ticks)


@dataclass
class Writer:
    """One worker's tries; `made` counts the events it was told it made, `refused` the words."""

    ws: Workspace
    shared: Shared
    chance: random.Random
    made: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    loop: str = ""
    ticket: str = ""

    def work(self) -> None:
        while not self.shared.done.is_set() and self.made.total() < self.share:
            attempt = self.choose()
            try:
                self.made.update(attempt(self, self.shared.now()))
            except (ConflictError, InputError) as refusal:
                self.refused[type(refusal).__name__ if refusal.what and refusal.fix else "?"] += 1

    @property
    def share(self) -> float:
        return self.shared.wanted / WRITERS

    def choose(self) -> "Try":
        """Mostly what fits the loop as it looks now; others may be quicker. Else just anything."""
        self.loop = self.chance.choice(self.shared.loops)
        found = self.look()
        newest = found[-1]
        if self.chance.random() < 0.3:
            self.ticket = self.chance.choice(found).id
            return self.chance.choice(ANYTHING)
        self.ticket = newest.id
        if newest.arbitration:
            return Writer.decide
        return self.chance.choice(FITTING.get(newest.loop_state) or FITTING[newest.state])

    def look(self) -> Sequence[Any]:
        query = (
            select(TICKETS.c.id, TICKETS.c.state, LOOPS.c.state.label("loop_state"))
            .add_columns(LOOPS.c.arbitration)
            .join(LOOPS, LOOPS.c.id == TICKETS.c.loop_id)
            .where(LOOPS.c.id == self.loop)
            .order_by(TICKETS.c.state != "rejected", TICKETS.c.id)
        )
        with self.ws.db.read() as tx:
            return tx.execute(query).all()

    def unit(self) -> str:
        return self.chance.choice(UNITS)

    def accept(self, now: datetime) -> Sequence[str]:
        accept(self.ws, self.ticket, self.chance.choice([ZHANG, LI]), now)
        return [K.TICKET_ACCEPTED]

    def resolve(self, now: datetime) -> Sequence[str]:
        resolve(self.ws, self.ticket, "C01", "已处理", ZHANG, now)
        return [K.TICKET_RESOLVED]

    def transfer(self, now: datetime) -> Sequence[str]:
        transfer(self.ws, self.ticket, self.unit(), "归他们", ZHANG, now)
        return [K.TICKET_TRANSFERRED]

    def reject(self, now: datetime) -> Sequence[str]:
        reject(self.ws, self.ticket, "不归我们", self.unit(), LI, now)
        return [K.TICKET_REJECTED]

    def answer(self, now: datetime) -> Sequence[str]:
        said = self.chance.choice([Answer.NO, Answer.NO, Answer.PARTLY, Answer.YES])
        answer(self.ws, self.loop, said, "", OPS, now)
        return [K.VERIFICATION_ANSWERED]

    def tell(self, now: datetime) -> Sequence[str]:
        tell_customer(self.ws, self.loop, Told.FIRST_ANSWER, How.CALL, "", OPS, now)
        return [K.LOOP_CUSTOMER_TOLD]

    def decide(self, now: datetime) -> Sequence[str]:
        decide_loop(self.ws, self.loop, self.unit(), OPS, now)
        return [K.LOOP_ARBITRATED]

    def withdraw(self, now: datetime) -> Sequence[str]:
        """Only of the first loops, since nothing leads back."""
        withdraw(self.ws, self.chance.choice(self.shared.loops[:5]), "算了", OPS, now)
        return [K.LOOP_WITHDRAWN]

    def ask(self, now: datetime) -> Sequence[str]:
        asked = ask_set(self.ws, now)
        if asked is None:
            return []
        said = [K.VERIFICATION_ASKED] * (asked.mailed + asked.calls)
        said += [K.VERIFICATION_POSTPONED] * asked.postponed
        return said + [K.LOOP_CLOSED] * asked.unasked

    def follow_up(self, now: datetime) -> Sequence[str]:
        counts = follow_up_set(self.ws, now)
        if counts is None:
            return []
        ended = [K.LOOP_CLOSED] * (counts.silent + counts.unasked)
        return [K.VERIFICATION_REMINDED] * counts.reminded + ended

    def watch(self, now: datetime) -> Sequence[str]:
        seen = watch_lease(self.ws, now, 10)
        if seen is None:
            return []
        kinds = {
            K.CLOCK_REMINDED: seen.reminded,
            K.CLOCK_BREACHED: seen.breached,
            K.CLOCK_CLIMBED: seen.climbed,
        }
        return list(Counter(kinds).elements())


Try = Callable[[Writer, datetime], Sequence[str]]
FITTING: dict[str, list[Try]] = {
    "assigned": [Writer.accept, Writer.accept, Writer.transfer, Writer.reject, Writer.tell],
    "accepted": [Writer.resolve, Writer.transfer],
    "resolved": [Writer.ask, Writer.answer],
    "verifying": [Writer.answer],
    "closed": [Writer.answer, Writer.watch],
}
"""By the loop's state, else by its ticket's."""
ANYTHING: list[Try] = [
    *(Writer.accept, Writer.resolve, Writer.transfer, Writer.reject, Writer.answer, Writer.tell),
    *(Writer.decide, Writer.withdraw, Writer.ask, Writer.follow_up, Writer.watch),
]
COUNTED = (
    K.TICKET_ACCEPTED,
    K.TICKET_RESOLVED,
    K.TICKET_TRANSFERRED,
    K.TICKET_REJECTED,
    K.VERIFICATION_ASKED,
    K.VERIFICATION_ANSWERED,
    K.LOOP_CUSTOMER_TOLD,
    K.LOOP_ARBITRATED,
    K.LOOP_WITHDRAWN,
    K.CLOCK_REMINDED,
    K.CLOCK_BREACHED,
    K.CLOCK_CLIMBED,
)
"""The kinds of which every event comes from a try that was told so."""


def write_together(ws: Workspace, another: Callable[[], Workspace], transitions: int) -> None:
    take_in(ws, *({"text": LOGIN, "customer": f"C{n}"} for n in range(MANY)))
    shared = Shared([row.id for row in rows(ws.db, Loop, kind="small")], transitions)
    assert len(shared.loops) == MANY
    before = number_of(ws.db, HistoryEvent)
    writers = [Writer(another(), shared, random.Random(n)) for n in range(WRITERS)]
    with ThreadPoolExecutor(WRITERS) as pool:
        working = [pool.submit(writer.work) for writer in writers]
        wait(working, return_when=FIRST_EXCEPTION)
        shared.done.set()
        for each in working:
            each.result()
    made = sum((writer.made for writer in writers), Counter[str]())
    refused = sum((writer.refused for writer in writers), Counter[str]())
    events = number_of(ws.db, HistoryEvent) - before
    sys.stderr.write(
        f"{ws.db.url.get_backend_name()}: {made.total():,} transitions of {WRITERS} writers,"
        f" {events:,} events, refused {dict(refused)}\n"
    )
    assert made.total() >= transitions
    assert refused["TransitionRefused"] > 0
    assert refused["?"] == 0, "a refusal without words"
    nothing_is_lost(ws, writers)
    assert sound(ws.db)


def nothing_is_lost(ws: Workspace, writers: Sequence[Writer]) -> None:
    """Each writer's events are those that it was told it made, and the sequence has no gap."""
    for writer in writers:
        found = events_of(ws, str(writer.ws.run))
        assert {k: found[k] for k in COUNTED} == {k: writer.made[k] for k in COUNTED}
    events = rows(ws.db, HistoryEvent)
    assert [event.seq for event in events] == list(range(len(events)))
    assert one(ws.db, AuditHead).size == len(events)


def events_of(ws: Workspace, run: str) -> Counter[Any]:
    events = table(HistoryEvent)
    query = select(events.c.kind, func.count()).where(events.c.run_id == run)
    with ws.db.read() as tx:
        return Counter({row.kind: row[1] for row in tx.execute(query.group_by("kind"))})


def test_sixteen_writers(ws: Workspace, another: Callable[[], Workspace]) -> None:
    write_together(ws, another, TRANSITIONS // 10)


@pytest.mark.prove
def test_sixteen_writers_at_length(ws: Workspace, another: Callable[[], Workspace]) -> None:
    write_together(ws, another, TRANSITIONS)
