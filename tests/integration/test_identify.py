"""One customer across channels: by number or keyed hashes, never by name."""

import json

import pytest
from sqlalchemy import select

from models.customer import Customer, CustomerKey, CustomerSnapshot, JourneyEvent
from models.feedback import Feedback, RawItem
from models.history import HistoryEvent
from models.issue import Proposal
from models.kinds import EventKind
from models.loop import Loop
from models.tables import metadata
from tasks.intake.identify import Hasher, normalise
from tasks.intake.ingest import Counts
from tasks.routing.decide import decide_proposal
from tasks.workspace import Workspace
from tests.cast import (
    DAY,
    FEE,
    LOGIN,
    NOON,
    OPS,
    a_loop,
    drop,
    number_of,
    one,
    rows,
    sound,
    take_in,
    tell,
    triage,
    withdraw,
)

HEAD = "snapshot,number,phone,mail,band,vulnerable,branch,sms,from,to"


def snapshot(ws: Workspace, name: str, *keys: str) -> Counts:
    """A snapshot with number, phone, mail; '' for one it lacks."""
    line = ",".join([name, *keys, *[""] * (3 - len(keys)), "gold,0,BR1-01,1,2026-01-01,"])
    return drop(ws, HEAD, line, source="customers")


def customers(ws: Workspace) -> set[str | None]:
    return {row.customer_id for row in rows(ws.db, Feedback)}


SPELLINGS = [
    ("phone", "+86 139-0000-0001", "13900000001"),
    ("phone", "13900000001", "13900000001"),
    ("mail", " A.B@Firm.INVALID ", "a.b@firm.invalid"),
    ("number", " c1 ", "C1"),
    ("openid", "oAbC", "oAbC"),
]


@pytest.mark.parametrize(("kind", "value", "expected"), SPELLINGS)
def test_one_spelling_per_key(kind: str, value: str, expected: str) -> None:
    assert normalise(kind, value) == expected


def test_a_snapshot_makes_one_customer_of_three_channels(ws: Workspace) -> None:
    snapshot(ws, "S1", "C1", "13900000001", "a@x.invalid")
    tell(
        ws,
        {"text": LOGIN, "customer": "c1"},
        {"text": FEE, "phone": "+86 139 0000 0001"},
        {"text": LOGIN, "mail": "A@X.invalid"},
    )
    assert customers(ws) == {one(ws.db, CustomerSnapshot).customer_id}
    counts = triage(ws)
    assert (counts.opened, counts.joined) == (2, 1)
    assert number_of(ws.db, Customer) == 1


def test_keys_of_one_item_are_learned(ws: Workspace) -> None:
    tell(ws, {"text": LOGIN, "customer": "C1"})
    tell(ws, {"text": LOGIN, "customer": "C1", "phone": "13900000001"})
    tell(ws, {"text": LOGIN, "phone": "13900000001"})
    assert len(customers(ws)) == 1


def test_conflicting_keys_merge_nobody(ws: Workspace) -> None:
    tell(ws, {"text": LOGIN, "customer": "C1"}, {"text": LOGIN, "phone": "13900000001"})
    tell(ws, {"id": "both", "text": LOGIN, "customer": "C1", "phone": "13900000001"})
    assert number_of(ws.db, Customer) == 2
    number = one(ws.db, CustomerKey, kind="number").customer_id
    assert [r.customer_id for r in rows(ws.db, Feedback)].count(number) == 2


def test_never_by_name_or_words(ws: Workspace) -> None:
    drop(ws, json.dumps({"id": "1", "text": LOGIN, "name": "王五"}),
         json.dumps({"id": "2", "text": LOGIN, "name": "王五"}), source="desk")  # fmt: skip
    assert customers(ws) == {None}
    assert number_of(ws.db, Customer) == 0


@pytest.mark.parametrize("value", ["", "   ", "-", "无"])
def test_an_empty_key_identifies_nobody(ws: Workspace, value: str) -> None:
    tell(ws, {"text": LOGIN, "phone": value}, {"text": FEE, "phone": value})
    assert customers(ws) == {None}


SECRETS = ("13987654321", "secret.mail@x.invalid", "CUST-778899", "openid-zzz")


def test_no_key_can_be_read_in_any_table_but_the_raw_items(ws: Workspace) -> None:
    """Every column of every table, after a snapshot and a whole way in."""
    phone, mail, number, openid = SECRETS
    snapshot(ws, "S1", number, phone, mail)
    take_in(
        ws,
        {"text": LOGIN, "phone": phone, "mail": mail, "openid": openid, "customer": number},
        {"text": FEE, "customer": number},
    )
    seen = 0
    with ws.db.read() as tx:
        for kept in metadata().sorted_tables:
            if kept.name == RawItem.__tablename__:
                continue
            for column in kept.columns:
                for (value,) in tx.execute(select(column).where(column.is_not(None))):
                    seen += 1
                    assert not [s for s in SECRETS if s.casefold() in str(value).casefold()], column
    assert seen > 100


def test_another_secret_gives_other_hashes() -> None:
    key = ("phone", "13900000001")
    assert Hasher(b"a").keys([key]) != Hasher(b"b").keys([key])
    assert Hasher(b"a").keys([key]) == Hasher(b"a").keys([("phone", "+8613900000001")])


def test_uniting_moves_everything_over(ws: Workspace) -> None:
    take_in(ws, {"text": LOGIN, "customer": "C1"}, {"text": FEE, "phone": "13900000001"})
    drop(
        ws,
        json.dumps(
            {
                "event": "E",
                "customer": "C1",
                "touchpoint": "queue",
                "channel": "x",
                "outcome": "y",
                "at": NOON.isoformat(),
            }
        ),
        source="journey_events",
    )
    snapshot(ws, "S1", "C1", "13900000001")
    number = one(ws.db, CustomerKey, kind="number").customer_id
    assert {row.customer_id for row in rows(ws.db, CustomerKey)} == {number}
    assert customers(ws) == {number}
    assert {row.customer_id for row in rows(ws.db, Loop)} == {number}
    assert {row.customer_id for row in rows(ws.db, JourneyEvent)} == {number}
    gone = next(row for row in rows(ws.db, Customer) if row.id != number)
    assert gone.merged_into == number
    event = one(ws.db, HistoryEvent, kind=EventKind.CUSTOMER_UNITED)
    said = {"customer": number, "other": gone.id, "source": "customers"}
    assert json.loads(event.data) == said
    snapshot(ws, "S2", "C1", "13900000001")
    assert one(ws.db, HistoryEvent, kind=EventKind.CUSTOMER_UNITED), "once"
    assert number_of(ws.db, Proposal) == 0
    assert sound(ws.db)


def test_two_open_loops_on_one_topic_are_proposed(ws: Workspace) -> None:
    kept = a_loop(ws, LOGIN, customer="C1")
    other = a_loop(ws, LOGIN, phone="13900000001")
    fee = a_loop(ws, FEE, phone="13900000001")
    snapshot(ws, "S1", "C1", "13900000001")
    proposal = one(ws.db, Proposal)
    assert (proposal.loop_id, proposal.into_id) == (other.id, kept.id)
    assert proposal.decided_at is None
    assert one(ws.db, Loop, id=fee.id).customer_id == kept.customer_id
    snapshot(ws, "S2", "C1", "13900000001")
    assert number_of(ws.db, Proposal) == 1
    decide_proposal(ws, proposal.id, True, OPS, NOON)
    assert one(ws.db, Loop, id=other.id).merged_into == kept.id
    assert sound(ws.db)


def test_closed_loops_follow_their_customer(ws: Workspace) -> None:
    old = a_loop(ws, LOGIN, phone="13900000001")
    withdraw(ws, old.id)
    kept = a_loop(ws, LOGIN, customer="C1")
    snapshot(ws, "S1", "C1", "13900000001")
    assert one(ws.db, Loop, id=old.id).customer_id == kept.customer_id
    assert number_of(ws.db, Proposal) == 0
    assert sound(ws.db)


def test_uniting_is_in_the_history(ws: Workspace) -> None:
    loop = a_loop(ws, LOGIN, phone="13900000001")
    tell(ws, {"text": FEE, "customer": "C1"})
    snapshot(ws, "S1", "C1", "13900000001")
    event = one(ws.db, HistoryEvent, kind=EventKind.LOOP_CUSTOMER_IDENTIFIED)
    assert event.loop_id == loop.id
    assert "13900000001" not in event.envelope


def test_the_snapshot_of_that_day_decides(ws: Workspace) -> None:
    """Who leaves is for the branch the customer belonged to when it was said."""
    drop(ws, HEAD,
         "S1,C1,,,gold,0,BR1-01,1,2026-01-01,2026-08-03",
         "S2,C1,,,gold,0,CC,1,2026-08-03,", source="customers")  # fmt: skip
    take_in(ws, {"text": "我要销户，登录不了", "customer": "C1"}, now=NOON - DAY)
    loop = one(ws.db, Loop)
    assert (loop.lead, loop.level, loop.rule) == ("BR1", "branch", "leaving")
    assert loop.received_at == NOON - DAY
