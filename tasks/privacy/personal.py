"""What of a customer stands where? Everything that erasing them must take away, by id.

A customer is the family of all who turned out to be one; where nobody knows who complained, a
single loop. Only what is still there is found, so that an erasure broken off goes on where it was.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Select, func, select

from loopwright.errors import InputError
from models.base import table
from models.conversation import Conversation
from models.customer import Customer, CustomerKey, CustomerSnapshot, JourneyEvent
from models.feedback import Batch, Feedback, Intake, Quarantine, RawItem
from models.history import EventBody, HistoryEvent
from models.issue import Issue
from models.kinds import EventKind, IssueState, LoopKind, LoopState, Relation
from models.loop import Loop, LoopIssue
from models.message import Delivery, Message
from sources.errors import SourceError
from sources.items import Key
from sources.parse import Parser, compile_parser
from tasks.find import SHORTEST_TAIL
from tasks.intake.conversations import as_item, customers_of
from tasks.intake.identify import known_keys
from tasks.intake.ingest import ERASED
from tasks.verification.reach import keys_of, survivors
from tasks.workspace import Workspace

CUSTOMERS = table(Customer)
KEYS = table(CustomerKey)
SNAPSHOTS = table(CustomerSnapshot)
JOURNEY_EVENTS = table(JourneyEvent)
FEEDBACK = table(Feedback)
BATCHES = table(Batch)
RAW = table(RawItem)
INTAKES = table(Intake)
QUARANTINE = table(Quarantine)
ISSUES = table(Issue)
LOOPS = table(Loop)
LOOP_ISSUES = table(LoopIssue)
EVENTS = table(HistoryEvent)
BODIES = table(EventBody)
CONVERSATIONS = table(Conversation)
MESSAGES = table(Message)
DELIVERIES = table(Delivery)

PIECE = 5_000
ERASURES = (EventKind.CUSTOMER_ERASURE_BEGUN, EventKind.CUSTOMER_ERASED)
TELLING = 7
"""Characters below which a key could be anything when it is looked for in a text."""
HOW_TO_NAME = "name a customer's id, the id of a loop of theirs, or give one of their keys"


@dataclass(frozen=True)
class Subject:
    """Who is erased: customers who are one, survivor first, and their own loops."""

    customers: tuple[str, ...]
    loops: tuple[str, ...]

    @property
    def name(self) -> str:
        return (self.customers or self.loops)[0]


@dataclass
class Holdings:
    """Ids of what is left of a subject, and what forbids to erase it yet."""

    open_loops: list[str] = field(default_factory=list)
    waiting_issues: list[str] = field(default_factory=list)
    untriaged: int = 0
    running: int = 0
    """Conversations that have not ended, so are no feedback yet."""
    items: list[str] = field(default_factory=list)
    """Raw items, those in quarantine first."""
    bodies: list[str] = field(default_factory=list)
    """Events whose bodies hold words, in order."""
    messages: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list, repr=False)

    @property
    def empty(self) -> bool:
        """Nothing is left to erase, and nothing is open."""
        held = (self.items, self.bodies, self.messages, self.keys)
        return not any((*held, self.open_loops, self.waiting_issues))


def find_subject(
    tx: Connection, ws: Workspace, who: str | None = None, keys: Iterable[Key] = ()
) -> Subject:
    """The customer meant by an id of theirs or of their loop, or by keys as they would write them.

    Raises InputError for nobody or several; it repeats nothing of what was asked for.
    """
    if who is None:
        hashed = ws.hasher.keys(keys)
        found = set(known_keys(tx, [digest for _, digest in hashed]).values())
        if len(set(survivors(tx, found).values())) > 1:
            raise InputError("these keys belong to different customers", "erase one at a time")
        if not found:
            raise InputError("no customer is known by this key", "it may be erased already")
        return family(tx, found.pop())
    if tx.execute(select(CUSTOMERS.c.id).where(CUSTOMERS.c.id == who)).first():
        return family(tx, who)
    loop = loop_named(tx, who)
    return family(tx, loop.customer_id) if loop.customer_id else nameless(tx, loop.id)


def loop_named(tx: Connection, who: str) -> Any:
    columns = select(LOOPS.c.id, LOOPS.c.customer_id, LOOPS.c.kind)
    found = tx.execute(columns.where(LOOPS.c.id == who.upper())).all()
    if not found and len(who) >= SHORTEST_TAIL:
        tail = func.lower(LOOPS.c.id).endswith(who.lower(), autoescape=True)
        found = tx.execute(columns.where(tail).limit(2)).all()
    if len(found) != 1:
        raise InputError("no single customer or loop has this id", HOW_TO_NAME)
    if found[0].kind == LoopKind.BIG:
        raise InputError("a big loop belongs to no single customer", HOW_TO_NAME)
    return found[0]


def family(tx: Connection, customer: str) -> Subject:
    """All who were merged into one, and all their loops."""
    survivor = survivors(tx, [customer])[customer]
    members, newest = [survivor], [survivor]
    while newest:
        query = select(CUSTOMERS.c.id).where(CUSTOMERS.c.merged_into.in_(newest))
        newest = [one for one in tx.execute(query).scalars() if one not in members]
        members += newest
    own = LOOPS.c.customer_id.in_(members)
    return Subject(tuple(members), with_merged(tx, tx.execute(small_loops(own)).scalars()))


def broken_off(tx: Connection) -> list[str]:
    """The subjects' names, as of now, whose erasure began and has not ended since."""
    query = select(EVENTS.c.seq, EVENTS.c.kind, EVENTS.c.data).where(EVENTS.c.kind.in_(ERASURES))
    begun: dict[str, int] = {}
    ended: dict[str, int] = {}
    for row in tx.execute(query.order_by(EVENTS.c.seq)):
        said = json.loads(row.data)
        (ended if row.kind == EventKind.CUSTOMER_ERASED else begun)[name_in(said)] = row.seq
    left = {name: seq for name, seq in begun.items() if seq > ended.get(name, -1)}
    now = survivors(tx, left)
    return sorted({now[name] for name, seq in left.items() if seq > ended.get(now[name], -1)})


def name_in(said: Mapping[str, Any]) -> str:
    """Whose erasure an event's data tell of: a customer, or the loop of nobody known."""
    return str(said["customer"] or said["loop"])


def nameless(tx: Connection, loop: str) -> Subject:
    return Subject((), with_merged(tx, [loop]))


def small_loops(where: Any) -> Select[Any]:
    return select(LOOPS.c.id).where(LOOPS.c.kind == LoopKind.SMALL, where).order_by(LOOPS.c.id)


def with_merged(tx: Connection, loops: Iterable[str]) -> tuple[str, ...]:
    """Also the loops of nobody known that a person merged into one of these."""
    all_of_them = newest = list(loops)
    while newest:
        merged = LOOPS.c.merged_into.in_(newest) & LOOPS.c.customer_id.is_(None)
        newest = [x for x in tx.execute(small_loops(merged)).scalars() if x not in all_of_them]
        all_of_them = [*all_of_them, *newest]
    return tuple(all_of_them)


def holdings(tx: Connection, ws: Workspace, subject: Subject) -> Holdings:
    """All that is left of a subject."""
    said = feedback_of(tx, subject)
    mine = [*said, *other_items(tx, subject)]
    opened = opened_by(tx, said)
    told = sorted({*subject.loops, *opened})
    waits = (LOOPS.c.state != LoopState.CLOSED) & LOOPS.c.id.in_(subject.loops)
    return Holdings(
        open_loops=ids(tx, small_loops(waits)),
        waiting_issues=ids_of(tx, said, waiting_issues),
        untriaged=len(ids_of(tx, said, untriaged)),
        running=running(tx, ws, subject),
        items=list(dict.fromkeys([*in_quarantine(tx, ws, mine), *ids_of(tx, mine, versions)])),
        bodies=list(dict.fromkeys([*ids_of(tx, subject.loops, bodies), *openings(tx, opened)])),
        messages=ids_of(tx, told, telling_messages),
        keys=ids(tx, select(KEYS.c.digest).where(KEYS.c.customer_id.in_(subject.customers))),
    )


def ids(tx: Connection, query: Select[Any]) -> list[str]:
    return list(tx.execute(query).scalars())


def ids_of(
    tx: Connection, keys: Sequence[str], query: Callable[[Sequence[str]], Select[Any]]
) -> list[str]:
    """What the query finds for any number of keys."""
    return [found for piece in pieces(keys, PIECE) for found in ids(tx, query(piece))]


def pieces(keys: Iterable[str], size: int) -> Iterator[list[str]]:
    rest = iter(keys)
    while piece := list(islice(rest, size)):
        yield piece


def feedback_of(tx: Connection, subject: Subject) -> list[str]:
    """What they said, and what nobody known said in their loops; erased or not."""
    theirs = ids(tx, select(FEEDBACK.c.id).where(FEEDBACK.c.customer_id.in_(subject.customers)))
    return sorted({*theirs, *ids_of(tx, subject.loops, said_by_nobody)})


def said_by_nobody(loops: Sequence[str]) -> Select[Any]:
    return (
        select(FEEDBACK.c.id)
        .join(ISSUES, ISSUES.c.feedback_id == FEEDBACK.c.id)
        .join(LOOP_ISSUES, LOOP_ISSUES.c.issue_id == ISSUES.c.id)
        .where(LOOP_ISSUES.c.loop_id.in_(loops), FEEDBACK.c.customer_id.is_(None))
    )


def other_items(tx: Connection, subject: Subject) -> list[str]:
    return [
        item
        for kept in (SNAPSHOTS, JOURNEY_EVENTS)
        for item in ids(tx, select(kept.c.id).where(kept.c.customer_id.in_(subject.customers)))
    ]


def waiting_issues(said: Sequence[str]) -> Select[Any]:
    waits = ISSUES.c.state == IssueState.TRIAGE
    return select(ISSUES.c.id).where(ISSUES.c.feedback_id.in_(said), waits)


def untriaged(said: Sequence[str]) -> Select[Any]:
    waits = BATCHES.c.done_at.is_(None) & (FEEDBACK.c.ordinal >= BATCHES.c.position)
    batches = FEEDBACK.join(BATCHES, BATCHES.c.id == FEEDBACK.c.batch_id)
    return select(FEEDBACK.c.id).select_from(batches).where(FEEDBACK.c.id.in_(said), waits)


def running(tx: Connection, ws: Workspace, subject: Subject) -> int:
    """Conversations of theirs that are delivered while they run."""
    parsers = {spec.name: compile_parser(spec) for spec in ws.sources.values() if spec.follow}
    columns = select(CONVERSATIONS.c.source, CONVERSATIONS.c.record)
    rows = tx.execute(columns.where(CONVERSATIONS.c.ended_at.is_(None))) if parsers else ()
    heard = (as_item(parsers[row.source], row.record) for row in rows if row.source in parsers)
    said = [item for item in heard if item is not None]
    return sum(customer in subject.customers for customer in customers_of(tx, ws, said))


def versions(items: Sequence[str]) -> Select[Any]:
    """All versions of these raw items that are not erased, also those that could not be parsed."""
    named = RAW.alias()
    same = (named.c.source == RAW.c.source) & (named.c.key == RAW.c.key)
    left = RAW.c.key.not_like(f"{ERASED}%")
    query = select(RAW.c.id).join(named, same).where(named.c.id.in_(items), left)
    return query.distinct().order_by(RAW.c.id)


def in_quarantine(tx: Connection, ws: Workspace, items: Sequence[str]) -> list[str]:
    """Items that could not be parsed, so belong to nobody, but name one of the customer's keys."""
    telling = {value for value in written_keys(tx, ws, items) if len(value) >= TELLING}
    found: set[str] = set()
    for value in sorted(telling):
        query = (
            select(RAW.c.id)
            .join(QUARANTINE, QUARANTINE.c.raw_id == RAW.c.id)
            .where(RAW.c.payload.contains(value, autoescape=True))
        )
        found |= set(tx.execute(query).scalars())
    return sorted(found - set(items))


def written_keys(tx: Connection, ws: Workspace, items: Sequence[str]) -> set[str]:
    """The keys as the customer's raw items spell them; of erased ones nothing is left."""

    @cache
    def parser(source: str, header: tuple[str, ...]) -> Parser | None:
        try:
            return compile_parser(ws.sources[source], header)
        except (KeyError, SourceError):  # the source is gone, or looks elsewhere now
            return None

    found: set[str] = set()
    columns = select(RAW.c.source, RAW.c.payload, INTAKES.c.header)
    for piece in pieces(items, PIECE):
        query = columns.join(INTAKES, INTAKES.c.id == RAW.c.intake_id).where(RAW.c.id.in_(piece))
        for row in tx.execute(query):
            keys = keys_of(parser(row.source, tuple(row.header or ())), row)
            found |= {value for _, value in keys}
    return found


def opened_by(tx: Connection, said: Sequence[str]) -> list[str]:
    """Loops, big ones too, that these words opened: their explanation quotes them."""
    return sorted(set(ids_of(tx, said, origins)))


def origins(said: Sequence[str]) -> Select[Any]:
    return (
        select(LOOP_ISSUES.c.loop_id)
        .join(ISSUES, ISSUES.c.id == LOOP_ISSUES.c.issue_id)
        .where(ISSUES.c.feedback_id.in_(said), LOOP_ISSUES.c.relation == Relation.ORIGIN)
    )


def bodies(loops: Sequence[str]) -> Select[Any]:
    query = select(EVENTS.c.event_id).join(BODIES, BODIES.c.event_id == EVENTS.c.event_id)
    return query.where(EVENTS.c.loop_id.in_(loops)).order_by(EVENTS.c.seq)


def openings(tx: Connection, loops: Sequence[str]) -> list[str]:
    opened = EVENTS.c.kind == EventKind.LOOP_OPENED
    return ids_of(tx, loops, lambda piece: bodies(piece).where(opened))


def telling_messages(loops: Sequence[str]) -> Select[Any]:
    """Messages about these loops with a way out's word on them: a mailbox, a file's name."""
    tried = select(DELIVERIES.c.message_id).where(DELIVERIES.c.reference.is_not(None))
    telling = MESSAGES.c.error.is_not(None) | MESSAGES.c.id.in_(tried)
    return select(MESSAGES.c.id).where(MESSAGES.c.loop_id.in_(loops), telling)


def unparsed(tx: Connection) -> int:
    """Raw items nobody has parsed, so nobody knows whose they are."""
    query = (
        select(func.count())
        .select_from(RAW.join(INTAKES, INTAKES.c.id == RAW.c.intake_id))
        .where(INTAKES.c.finished_at.is_(None), RAW.c.number > INTAKES.c.parsed)
    )
    return int(tx.execute(query).scalar_one())
