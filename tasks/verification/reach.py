"""How is a loop's customer reached? By an address out of the customer's own raw items, or a call.

Customers' keys are kept as hashes only, so an address is read again where it arrived: raw items are
parsed with the source's document as it stands. Nothing found here is stored, logged or told.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, func, select

from models.base import table
from models.customer import Customer, CustomerSnapshot
from models.feedback import Feedback, Intake, RawItem
from models.issue import Issue
from models.kinds import Relation, Way
from models.loop import Loop, LoopIssue
from notifications.registry import WECOM
from sources.errors import RecordError, SourceError
from sources.items import CustomerItem, FeedbackItem, Key
from sources.parse import Parser, compile_parser
from tasks.intake.identify import known_keys
from tasks.workspace import Workspace

LOOPS = table(Loop)
CUSTOMERS = table(Customer)
SNAPSHOTS = table(CustomerSnapshot)
FEEDBACK = table(Feedback)
RAW = table(RawItem)
INTAKES = table(Intake)
ISSUES = table(Issue)
LOOP_ISSUES = table(LoopIssue)

ITEMS = 5
"""So many raw items a customer are looked at: the valid snapshot, then what was said last."""
MAIL, CALL = "mail", "call"
"""What a source document calls our two ways: `consent.mail`, `consent.call`."""
LANGUAGES = ("zh", "en")
# One plain address: no list, no name, nothing that could end a header.
ADDRESS = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[\w-]+(\.[\w-]+)+", re.ASCII)


@dataclass
class Reach:
    """What is known of one customer: the raw items to look at, and the ways refused."""

    items: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    address: str | None = field(default=None, repr=False)

    def way(self, can_mail: bool) -> Way:
        if {MAIL, CALL} <= self.refused:
            return Way.OPTED_OUT
        if can_mail and self.address:
            return Way.MAIL
        return Way.UNREACHABLE if CALL in self.refused else Way.CALL


def addresses(tx: Connection, ws: Workspace, loops: Sequence[str], now: datetime) -> dict[str, str]:
    """Loop id -> the address of its customer; loops without one are left out.

    An address counts when its key is this customer's and the snapshot valid at `now` does not
    refuse e-mail. The firm's own record comes before what a customer wrote, the newer before the
    older.
    """
    found = reaches(tx, ws, loops, now)
    return {loop: reach.address for loop, reach in found.items() if reach.address}


def ways(
    tx: Connection,
    ws: Workspace,
    loops: Sequence[str],
    now: datetime,
    no_mail: Collection[str] = (),
) -> dict[str, Way]:
    """Loop id -> how its customer can be asked, for every loop given.

    `opted_out`: refused mail and calls; `unreachable`: nobody knows who it was, or no way is left.
    `no_mail`: loops whose customers mail did not reach.
    """
    mails = ws.settings.messages.transport != WECOM
    found = reaches(tx, ws, loops, now)
    return {
        loop: found[loop].way(mails and loop not in no_mail) if loop in found else Way.UNREACHABLE
        for loop in loops
    }


def languages(tx: Connection, loops: Sequence[str]) -> dict[str, str]:
    """Loop id -> the language (zh or en) of the words that opened it, where it is known."""
    query = (
        select(LOOP_ISSUES.c.loop_id, FEEDBACK.c.language)
        .join(ISSUES, ISSUES.c.id == LOOP_ISSUES.c.issue_id)
        .join(FEEDBACK, FEEDBACK.c.id == ISSUES.c.feedback_id)
        .where(LOOP_ISSUES.c.loop_id.in_(loops), LOOP_ISSUES.c.relation == Relation.ORIGIN)
        .where(FEEDBACK.c.language.is_not(None))
    )
    spoken = {loop: language[:2].lower() for loop, language in tx.execute(query)}
    return {loop: language for loop, language in spoken.items() if language in LANGUAGES}


def reaches(tx: Connection, ws: Workspace, loops: Sequence[str], now: datetime) -> dict[str, Reach]:
    """Loop id -> its customer's, for loops that have one; five queries for any number."""
    mine = LOOPS.c.id.in_(loops) & LOOPS.c.customer_id.is_not(None)
    rows = tx.execute(select(LOOPS.c.id, LOOPS.c.customer_id).where(mine))
    customer_of = {row.id: row.customer_id for row in rows}
    same = survivors(tx, set(customer_of.values()))
    known = {customer: Reach() for customer in same.values()}
    read_snapshots(tx, known, now)
    read_feedback(tx, known)
    find_addresses(tx, ws, known)
    return {loop: known[same[customer]] for loop, customer in customer_of.items()}


def survivors(tx: Connection, customers: Collection[str]) -> dict[str, str]:
    """Each customer -> who they turned out to be; all rows but loops' bear that id."""
    same = {customer: customer for customer in customers}
    merged = CUSTOMERS.c.merged_into.is_not(None)
    query = select(CUSTOMERS.c.id, CUSTOMERS.c.merged_into).where(merged)
    while found := tx.execute(query.where(CUSTOMERS.c.id.in_(set(same.values())))).all():
        into = {row.id: row.merged_into for row in found}
        same = {customer: into.get(one, one) for customer, one in same.items()}
    return same


def namesakes(tx: Connection, same: Mapping[str, str]) -> dict[str, str]:
    """As `survivors` gave it, with everybody else who turned out to be one of them."""
    known, newest = dict(same), sorted(set(same.values()))
    while newest:
        query = select(CUSTOMERS.c.id, CUSTOMERS.c.merged_into)
        rows = tx.execute(query.where(CUSTOMERS.c.merged_into.in_(newest))).all()
        newest = [row.id for row in rows if row.id not in known]
        known |= {row.id: known.get(row.merged_into, row.merged_into) for row in rows}
    return known | {one: one for one in same.values()}


def read_snapshots(tx: Connection, known: Mapping[str, Reach], now: datetime) -> None:
    """The snapshot valid at `now`; where all have ended the last, since a refusal does not end."""
    ended = SNAPSHOTS.c.valid_to.is_not(None) & (SNAPSHOTS.c.valid_to <= now)
    query = (
        select(SNAPSHOTS.c.id, SNAPSHOTS.c.customer_id, SNAPSHOTS.c.consent)
        .where(SNAPSHOTS.c.customer_id.in_(known), SNAPSHOTS.c.valid_from <= now)
        .order_by(ended.desc(), SNAPSHOTS.c.valid_from, SNAPSHOTS.c.id)
    )
    for row in tx.execute(query):
        reach = known[row.customer_id]
        reach.items = [row.id]
        reach.refused = {way for way, given in (row.consent or {}).items() if not given}


def read_feedback(tx: Connection, known: Mapping[str, Reach]) -> None:
    """The newest items of each customer, one less than allowed; ids grow with time."""
    customer = FEEDBACK.c.customer_id
    newest = func.row_number().over(partition_by=customer, order_by=FEEDBACK.c.id.desc())
    ranked = select(FEEDBACK.c.id, customer, newest.label("nth")).where(customer.in_(known))
    ranks = ranked.subquery()
    query = select(ranks.c.id, ranks.c.customer_id).where(ranks.c.nth < ITEMS)
    for row in tx.execute(query.order_by(ranks.c.nth)):
        known[row.customer_id].items.append(row.id)


def find_addresses(tx: Connection, ws: Workspace, known: Mapping[str, Reach]) -> None:
    open_to_mail = {c: reach for c, reach in known.items() if MAIL not in reach.refused}
    written = mail_keys(tx, ws, [item for reach in open_to_mail.values() for item in reach.items])
    offered = {
        customer: [address for item in reach.items for address in written.get(item, ())]
        for customer, reach in open_to_mail.items()
    }
    digests = {a: digest(ws, a) for mine in offered.values() for a in mine}
    owners = known_keys(tx, set(digests.values()))
    for customer, mine in offered.items():
        # Somebody else's address may stand beside this customer's number.
        own = (a for a in mine if owners.get(digests[a]) == customer)
        open_to_mail[customer].address = next(own, None)


def digest(ws: Workspace, address: str) -> str:
    return ws.hasher.keys([("mail", address)])[0][1]


def mail_keys(tx: Connection, ws: Workspace, items: Sequence[str]) -> dict[str, list[str]]:
    """Raw id -> usable addresses among its customer keys."""
    query = (
        select(RAW.c.id, RAW.c.source, RAW.c.payload, INTAKES.c.header)
        .join(INTAKES, INTAKES.c.id == RAW.c.intake_id)
        .where(RAW.c.id.in_(items))
    )

    @cache
    def parser(source: str, header: tuple[str, ...]) -> Parser | None:
        try:
            return compile_parser(ws.sources[source], header)
        except (KeyError, SourceError):  # the source is gone, or looks elsewhere now
            return None

    return {
        row.id: list(plain_addresses(keys_of(parser(row.source, tuple(row.header or ())), row)))
        for row in tx.execute(query)
    }


def keys_of(parser: Parser | None, row: Any) -> Sequence[Key]:
    """The item's customer keys; none where it was erased or can no longer be read."""
    try:
        item = parser.parse(row.payload) if parser else None
    except RecordError:
        return ()
    if isinstance(item, FeedbackItem):
        return item.customer_keys
    return item.keys if isinstance(item, CustomerItem) else ()


def plain_addresses(keys: Iterable[Key]) -> Iterator[str]:
    return (value for kind, value in keys if kind == "mail" and ADDRESS.fullmatch(value))
