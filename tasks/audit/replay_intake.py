"""What came in: do raw items still hash to the roots of their events, and is none too many?

An event covers the records of its intake from where the one before it ended. What was erased keeps
its digest, so its root holds; what waits to be parsed, and lines of files that still grow, have no
event yet.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, and_, false, func, or_, select

from loopwright.history import tree
from models.base import table
from models.conversation import FollowedFile
from models.customer import CustomerKey
from models.feedback import Intake, Quarantine, RawItem
from models.history import EventBody
from models.kinds import EventKind
from tasks.audit.replay_events import BROKEN, Entry, Replay
from tasks.intake.ingest import ERASED, root_of
from tasks.intake.quarantine import REPLAYED

RAW = table(RawItem)
INTAKES = table(Intake)
QUARANTINE = table(Quarantine)
FOLLOWED = table(FollowedFile)
BODIES = table(EventBody)
KEYS = table(CustomerKey)

SPANS = 200
"""Events compared by one query."""
PAGE = 1_000
OLD_REPLAYS = (
    "未列明记录的隔离重放（旧版） / replays of quarantined items before their events named them"
)
BROKEN_OFF = (
    "中断的删除所清除、未计入事件的记录"
    " / items erased by runs that broke off, which no event counts"
)

Fingerprint = Callable[[str], bytes]
"""A payload's keyed hash."""


@dataclass(slots=True)
class Root:
    """A tree root as its leaves are found."""

    size: int = 0
    frontier: list[bytes] = field(default_factory=list)

    def add(self, content: bytes) -> None:
        self.frontier = tree.extend(self.frontier, self.size, [tree.leaf_hash(content)])
        self.size += 1

    @property
    def hex(self) -> str:
        return tree.root(self.frontier).hex()


@dataclass(slots=True)
class Span:
    """The records of an intake after `since`, up to `upto`: what is said, and what is there."""

    seq: int
    intake: str
    source: str
    since: int
    upto: int
    stored: int
    quarantined: int
    root: str
    found: Root = field(default_factory=Root)
    set_aside: int = 0
    followed: bool = False
    """Lines of a growing file: those that became part of conversations are there no more."""
    foreign: int = 0
    """Raw items of another source."""


@dataclass(slots=True)
class Progress:
    """How far an intake is by its events."""

    source: str
    upto: int = 0
    stored: int = 0
    quarantined: int = 0


@dataclass(slots=True)
class Again:
    """A replay of quarantined items: the event, and the items its body names, in order."""

    seq: int
    event: str
    source: str
    at: datetime
    stored: int
    quarantined: int
    root: str


@dataclass
class Intakes:
    """The comparison of intakes, raw items and quarantine with the events that count them."""

    result: Replay
    fingerprint: Fingerprint | None = None
    spans: list[Span] = field(default_factory=list)
    open: dict[str, Progress] = field(default_factory=dict)
    """Intakes whose last event has not been seen yet."""
    files: dict[str, tuple[int, str, int]] = field(default_factory=dict)
    """Growing files: seq, source, and the line they are judged up to, by their last event."""
    again: list[Again] = field(default_factory=list)
    raw_items: int = 0
    stored: int = 0
    quarantined: int = 0
    set_aside: int = 0
    resolved: int = 0
    nameless: int = 0
    """Items that left the quarantine by events that do not name them."""
    kinds: Iterable[EventKind] = (EventKind.FEEDBACK_INGESTED, EventKind.FEEDBACK_FOLLOWED)

    def take(self, entry: Entry) -> None:
        intake, source, root = (entry.text(name) for name in ("intake", "source", "root"))
        if entry.kind is EventKind.FEEDBACK_FOLLOWED:
            self.follow(entry, intake, source, root)
            return
        stored, quarantined = entry.number("stored"), entry.number("quarantined")
        if intake == REPLAYED:
            one = Again(entry.seq, entry.event, source, entry.at, stored, quarantined, root)
            self.again.append(one)
            return
        upto, so_far = entry.number("upto"), self.open.setdefault(intake, Progress(source))
        span = Span(entry.seq, intake, source, so_far.upto, upto, stored, quarantined, root)
        self.spans.append(span)
        so_far.upto = max(upto, so_far.upto)
        so_far.stored += stored
        so_far.quarantined += quarantined
        self.stored += stored
        self.quarantined += quarantined

    def follow(self, entry: Entry, intake: str, source: str, root: str) -> None:
        """Lines are numbered without gaps, whether or not older histories tell of the first."""
        upto, quarantined = entry.number("upto"), entry.number("quarantined")
        since = upto - quarantined - entry.number("segments")
        span = Span(entry.seq, intake, source, since, upto, 0, quarantined, root, followed=True)
        self.spans.append(span)
        self.files[intake] = (entry.seq, source, upto)

    def flush(self, tx: Connection) -> None:
        for start in range(0, len(self.spans), SPANS):
            piece = self.spans[start : start + SPANS]
            read_items(tx, piece, self.fingerprint, self.result)
            for span in piece:
                self.compare_span(span)
        self.compare_intakes(tx, {span.intake for span in self.spans})
        for one in self.again:
            self.compare_again(tx, one)
        self.spans, self.again = [], []

    def compare_span(self, span: Span) -> None:
        if not span.followed:  # which are not counted below either
            self.raw_items += span.found.size
            self.set_aside += span.set_aside
        self.result.records += span.found.size
        where = f"raw items of intake {span.intake} up to {span.upto} (seq {span.seq})"
        if span.found.size != (said := span.stored + span.quarantined):
            self.result.differ(f"{where}: {span.found.size}, the event says {said}")
        elif span.found.hex != span.root and not span.followed:
            self.result.differ(f"{where}: their digests do not make the event's root")
        if span.set_aside != span.quarantined:
            words = f"{span.set_aside} in quarantine, the event says {span.quarantined}"
            self.result.differ(f"{where}: {words}")
        if span.foreign:
            self.result.differ(f"{where}: {span.foreign} of another source than {span.source}")

    def compare_intakes(self, tx: Connection, wanted: Iterable[str]) -> None:
        """Intakes whose counts are reached have no further events, and need not be remembered."""
        rows = intakes_of(tx, [intake for intake in wanted if intake in self.open])
        for intake, row in rows.items():
            so_far = self.open[intake]
            if (row.stored, row.quarantined) == (so_far.stored, so_far.quarantined):
                self.compare_intake(intake, self.open.pop(intake), row)

    def compare_intake(self, intake: str, so_far: Progress, row: Any | None) -> None:
        if row is None:
            self.result.differ(f"intake {intake}: only in the events")
            return
        self.result.records += 1
        names = ("source", "stored", "quarantined")
        columns = [name for name in names if getattr(row, name) != getattr(so_far, name)]
        columns += ["parsed"] if row.parsed < so_far.upto else []
        if columns:
            self.result.differ(f"intake {intake}: {', '.join(columns)} differ")

    def compare_again(self, tx: Connection, one: Again) -> None:
        body = tx.execute(select(BODIES.c.body).where(BODIES.c.event_id == one.event)).scalar()
        named = names_in(body)
        if named is None:
            self.result.pass_over(OLD_REPLAYS)
            self.nameless += one.stored
            return
        stored, kept = named
        items = quarantined_items(tx, [*stored, *kept])
        self.result.records += len(items)
        where = f"quarantined items replayed at seq {one.seq}"
        counts = (one.stored, one.quarantined, one.stored + one.quarantined)
        if (len(stored), len(kept), len(items)) != counts:
            self.result.differ(f"{where}: {len(items)} are there, the event says {counts[2]}")
            return
        in_order = sorted((items[raw] for raw in [*stored, *kept]), key=lambda item: item.number)
        if root_of(item.digest for item in in_order) != one.root:
            self.result.differ(f"{where}: their digests do not make the event's root")
        left = [items[raw] for raw in stored]
        self.resolved += sum(not is_erased(item) for item in left)
        for item in left:
            if item.resolved_at != one.at:
                self.result.differ(f"quarantine {item.id}: resolved_at differ (seq {one.seq})")

    def finish(self, tx: Connection) -> None:
        self.flush(tx)
        pending = list(self.open)
        for start in range(0, len(pending), PAGE):
            piece = pending[start : start + PAGE]
            rows = intakes_of(tx, piece)
            for intake in piece:
                self.compare_intake(intake, self.open.pop(intake), rows.get(intake))
        self.compare_files(tx)
        self.compare_counts(tx)

    def compare_files(self, tx: Connection) -> None:
        pending = sorted(self.files)
        for start in range(0, len(pending), PAGE):
            piece = pending[start : start + PAGE]
            query = select(FOLLOWED.c.id, FOLLOWED.c.source, FOLLOWED.c.parsed)
            found = {row.id: row for row in tx.execute(query.where(FOLLOWED.c.id.in_(piece)))}
            for file in piece:
                seq, source, upto = self.files[file]
                row, where = found.get(file), f"followed_file {file}"
                if row is None:
                    self.result.differ(f"{where}: only in the events (seq {seq})")
                elif (row.source, row.parsed) != (source, upto):
                    self.result.differ(f"{where}: source or parsed differ (seq {seq})")

    def compare_counts(self, tx: Connection) -> None:
        """Rows of which no event knows."""
        intakes = select(func.sum(INTAKES.c.stored), func.sum(INTAKES.c.quarantined))
        stored, quarantined = (n or 0 for n in tx.execute(intakes).one())
        if (stored, quarantined) != (self.stored, self.quarantined):
            says = f"the events {self.stored} and {self.quarantined}"
            words = f"the intakes count {stored} stored and {quarantined} quarantined, {says}"
            self.result.differ(words)
        if extra := tx.execute(counted_items()).scalar_one() - self.raw_items:
            self.result.differ(f"{extra} raw items too many: no event counts them")
        if extra := tx.execute(counted_quarantine()).scalar_one() - self.set_aside:
            self.result.differ(f"{extra} quarantined items too many: no event counts them")
        extra = tx.execute(counted_resolved()).scalar_one() - self.resolved
        if extra > self.nameless:
            self.result.differ(f"{extra} quarantined items are resolved and no event did it")


@dataclass
class Erasures:
    """What `customer.erased` says must be gone."""

    result: Replay
    customers: dict[str, int] = field(default_factory=dict)
    items: int = 0
    kinds: Iterable[EventKind] = (EventKind.CUSTOMER_ERASED,)

    def take(self, entry: Entry) -> None:
        self.items += entry.number("items")
        if entry.data["customer"] is not None:
            self.customers[entry.text("customer")] = entry.seq

    def flush(self, tx: Connection) -> None:
        if self.customers:
            query = select(KEYS.c.customer_id).where(KEYS.c.customer_id.in_(self.customers))
            for customer in sorted(set(tx.execute(query).scalars())):
                words = f"was erased and has keys (seq {self.customers[customer]})"
                self.result.differ(f"customer {customer}: {words}")
        self.customers = {}

    def finish(self, tx: Connection) -> None:
        self.flush(tx)
        erased = select(func.count()).where(RAW.c.key.like(f"{ERASED}%"))
        beyond = tx.execute(erased).scalar_one() - self.items
        self.result.pass_over(BROKEN_OFF, max(0, beyond))


def read_items(
    tx: Connection, spans: Iterable[Span], fingerprint: Fingerprint | None, result: Replay
) -> None:
    """Find the raw items of spans and hash them in order."""
    by_intake: dict[str, list[Span]] = {}
    for span in spans:
        by_intake.setdefault(span.intake, []).append(span)
    for row in tx.execute(items_of(by_intake)):
        mine = next((s for s in by_intake[row.intake_id] if s.since < row.number <= s.upto), None)
        if mine is None:
            continue
        mine.found.add(row.digest)
        mine.set_aside += row.set_aside is not None
        mine.foreign += row.source != mine.source
        if wrong := wrong_payload(row, fingerprint):
            result.differ(f"raw_item {row.id}: {wrong}")


def items_of(by_intake: Mapping[str, list[Span]]) -> Select[Any]:
    ranges = (
        and_(
            RAW.c.intake_id == intake,
            RAW.c.number > min(span.since for span in spans),
            RAW.c.number <= max(span.upto for span in spans),
        )
        for intake, spans in by_intake.items()
    )
    columns = (RAW.c.id, RAW.c.intake_id, RAW.c.source, RAW.c.key, RAW.c.number, RAW.c.digest)
    return (
        select(*columns, RAW.c.payload, QUARANTINE.c.raw_id.label("set_aside"))
        .select_from(RAW.outerjoin(QUARANTINE, QUARANTINE.c.raw_id == RAW.c.id))
        .where(or_(false(), *ranges))
        .order_by(RAW.c.intake_id, RAW.c.number)
        .execution_options(yield_per=PAGE)
    )


def wrong_payload(row: Any, fingerprint: Fingerprint | None) -> str | None:
    if is_erased(row):
        return "it is erased and has a payload" if row.payload else None
    if fingerprint is not None and fingerprint(row.payload) != row.digest:
        return "the payload does not hash to the digest"
    return None if row.payload else "the payload is gone and it is not erased"


def is_erased(row: Any) -> bool:
    return str(row.key).startswith(ERASED)


def intakes_of(tx: Connection, wanted: list[str]) -> dict[str, Any]:
    query = select(
        INTAKES.c.id, INTAKES.c.source, INTAKES.c.stored, INTAKES.c.quarantined, INTAKES.c.parsed
    )
    return {row.id: row for row in tx.execute(query.where(INTAKES.c.id.in_(wanted)))}


def names_in(body: str | None) -> tuple[list[str], list[str]] | None:
    """Ids of the items that left the quarantine and of those that stayed; None: it names none."""
    try:
        said = json.loads(body or "")
        return [str(raw) for raw in said["stored"]], [str(raw) for raw in said["quarantined"]]
    except BROKEN:
        return None


def quarantined_items(tx: Connection, wanted: list[str]) -> dict[str, Any]:
    columns = (RAW.c.id, RAW.c.key, RAW.c.number, RAW.c.digest, QUARANTINE.c.resolved_at)
    query = select(*columns).join(QUARANTINE, QUARANTINE.c.raw_id == RAW.c.id)
    return {row.id: row for row in tx.execute(query.where(RAW.c.id.in_(wanted)))}


def counted_items() -> Select[Any]:
    """Raw items that were parsed, so that an event counts them."""
    waits = INTAKES.c.finished_at.is_(None) & (RAW.c.number > INTAKES.c.parsed)
    known = RAW.outerjoin(INTAKES, INTAKES.c.id == RAW.c.intake_id)
    joined = known.outerjoin(FOLLOWED, FOLLOWED.c.id == RAW.c.intake_id)
    counted = FOLLOWED.c.id.is_(None) & (INTAKES.c.id.is_(None) | ~waits)
    return select(func.count()).select_from(joined).where(counted)


def counted_quarantine() -> Select[Any]:
    """Quarantined items that were parsed as others are; lines of growing files have no event."""
    joined = QUARANTINE.join(RAW, RAW.c.id == QUARANTINE.c.raw_id).outerjoin(
        FOLLOWED, FOLLOWED.c.id == RAW.c.intake_id
    )
    return select(func.count()).select_from(joined).where(FOLLOWED.c.id.is_(None))


def counted_resolved() -> Select[Any]:
    joined = QUARANTINE.join(RAW, RAW.c.id == QUARANTINE.c.raw_id)
    left = QUARANTINE.c.resolved_at.is_not(None) & RAW.c.key.not_like(f"{ERASED}%")
    return select(func.count()).select_from(joined).where(left)
