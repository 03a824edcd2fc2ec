"""Whose words are these? One customer across channels, by number or keyed hashes, never by name."""

import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, select, update

from loopwright.db import bulk_insert
from loopwright.ids import uuid7, uuid7s
from models.base import table
from models.customer import Customer, CustomerKey, CustomerSnapshot, JourneyEvent
from models.feedback import Feedback
from models.issue import Proposal
from models.kinds import EventKind, LoopKind, LoopState, Relation
from models.loop import Loop
from tasks.change import Change, change

LOOPS = table(Loop)
FEEDBACK = table(Feedback)
CUSTOMERS = table(Customer)
KEYS = table(CustomerKey)
SNAPSHOTS = table(CustomerSnapshot)
JOURNEY_EVENTS = table(JourneyEvent)
PROPOSALS = table(Proposal)

KINDS = ("number", "phone", "mail", "openid")
"""Most telling first: a number decides where several keys lead to different customers."""

Key = tuple[str, str]
Keys = tuple[Key, ...]


def normalise(kind: str, value: str) -> str:
    """One spelling per key: phones as digits without +86, mails lower case, numbers upper case."""
    value = value.strip()
    if kind == "phone":
        digits = re.sub(r"\D", "", value)
        return digits[2:] if len(digits) == 13 and digits.startswith("86") else digits
    return value.casefold() if kind == "mail" else value if kind == "openid" else value.upper()


class Hasher:
    """Keyed hashes of customer keys, so that the database holds no phone or mail to read."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def keys(self, raw: Iterable[Key]) -> Keys:
        """(kind, HMAC-SHA256 hex) of each usable key, most telling first."""
        usable = ((kind, normalise(kind, value)) for kind, value in raw)
        hashed = [(kind, self.digest(kind, value)) for kind, value in usable if value]
        return tuple(sorted(hashed, key=lambda key: KINDS.index(key[0])))

    def digest(self, kind: str, value: str) -> str:
        return self.fingerprint(kind, value).hex()

    def fingerprint(self, kind: str, value: str) -> bytes:
        """HMAC-SHA256 of a value, 32 bytes: what is left of it tells nobody without the secret."""
        return hmac.digest(self._secret, f"{kind}:{value}".encode(), "sha256")


def identify(tx: Connection, people: Sequence[Keys], now: datetime) -> list[str | None]:
    """The customer id of each key set, made where nobody is known yet; None without keys.

    Unknown keys of a recognised customer are learned. Where keys of one set lead to several
    customers the most telling key decides and nothing is merged: snapshots do that.
    """
    wanted = {key for keys in people for key in keys}
    if not wanted:
        return [None] * len(people)
    known = known_keys(tx, {digest for _, digest in wanted})
    fresh: dict[Key, str] = {}
    made: list[str] = []
    spare = iter(uuid7s(len(people)))
    found: list[str | None] = []
    for keys in people:
        customer = next((known[digest] for _, digest in keys if digest in known), None)
        if customer is None and keys:
            customer = next(spare)
            made.append(customer)
        for kind, digest in keys:
            if digest not in known and customer is not None:
                known[digest] = fresh[kind, digest] = customer
        found.append(customer)
    learn(tx, made, fresh, now)
    return found


def known_keys(tx: Connection, digests: Iterable[str]) -> dict[str, str]:
    query = select(KEYS.c.digest, KEYS.c.customer_id).where(KEYS.c.digest.in_(sorted(digests)))
    return {row.digest: row.customer_id for row in tx.execute(query)}


def learn(tx: Connection, made: Sequence[str], fresh: Mapping[Key, str], now: datetime) -> None:
    bulk_insert(tx, CUSTOMERS, [{"id": c, "merged_into": None, "created_at": now} for c in made])
    bulk_insert(
        tx,
        KEYS,
        [{"kind": k, "digest": d, "customer_id": c} for (k, d), c in sorted(fresh.items())],
    )


def unite(tx: Connection, keys: Keys, customer: str, now: datetime) -> list[str]:
    """All keys of one snapshot belong to one customer: bring others' keys and loops over; the ids
    of the others.

    A loop that cannot follow because the customer has an open one on the topic is left where it
    is and proposed to a person.
    """
    others = sorted(set(known_keys(tx, [digest for _, digest in keys]).values()) - {customer})
    for other in others:
        for owned in (KEYS, SNAPSHOTS, FEEDBACK, JOURNEY_EVENTS):
            theirs = update(owned).where(owned.c.customer_id == other)
            tx.execute(theirs.values(customer_id=customer))
        tx.execute(update(CUSTOMERS).where(CUSTOMERS.c.id == other).values(merged_into=customer))
        move_loops(tx, other, customer, now)
    return others


def move_loops(tx: Connection, other: str, customer: str, now: datetime) -> None:
    columns = select(LOOPS.c.id, LOOPS.c.topic, LOOPS.c.state).where(LOOPS.c.kind == LoopKind.SMALL)
    theirs = tx.execute(columns.where(LOOPS.c.customer_id == other)).all()
    open_topics = {
        row.topic: row.id
        for row in tx.execute(columns.where(LOOPS.c.customer_id == customer))
        if row.state != LoopState.CLOSED
    }
    moves = []
    for row in theirs:
        if row.state != LoopState.CLOSED and row.topic in open_topics:
            propose(tx, row.id, open_topics[row.topic], "the same customer by number", now)
        else:
            data = {"customer": customer}
            moves.append(Change(row.id, EventKind.LOOP_CUSTOMER_IDENTIFIED, data))
    change(tx, moves, now)


def propose(tx: Connection, loop: str, into: str, reason: str, now: datetime) -> None:
    """Suggest to a person that two loops are one complaint; each pair only once."""
    known = select(PROPOSALS.c.id).where(PROPOSALS.c.loop_id == loop, PROPOSALS.c.into_id == into)
    if tx.execute(known).first() is None:
        row = {
            "id": uuid7(),
            "relation": Relation.SAME_COMPLAINT,
            "loop_id": loop,
            "into_id": into,
            "reason": reason,
            "at": now,
        }
        bulk_insert(tx, PROPOSALS, [row])
