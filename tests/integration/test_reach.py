"""How a customer is reached: the right person's address, out of raw items only, or no address."""

from datetime import datetime
from typing import Any

import pytest
import yaml
from sqlalchemy import delete, update

from models.base import table
from models.customer import Customer, CustomerKey
from models.feedback import RawItem
from models.loop import Loop
from tasks.documents.publish import publish
from tasks.verification.reach import ITEMS, addresses, languages, ways
from tasks.workspace import Workspace
from tests.cast import (
    DAY,
    FEE,
    LOGIN,
    NOON,
    OPS,
    PRAISE,
    a_loop,
    document,
    documents,
    drop,
    one,
    rows,
    take_in,
    tell,
)

RAW = table(RawItem)
HEADER = "snapshot,number,phone,mail,band,vulnerable,branch,sms,ok_mail,ok_call,from,to"
HERS, OLD = "lan@mail.example", "old@mail.example"


def with_consent() -> dict[str, bytes]:
    """The test firm's documents, whose customers may refuse mail and calls."""
    sources = yaml.safe_load(document("sources"))
    for source in sources["sources"]:
        if source["name"] == "customers":
            source["map"]["values"] |= {"consent.mail": "ok_mail", "consent.call": "ok_call"}
    return documents(sources=yaml.safe_dump(sources, allow_unicode=True))


@pytest.fixture
def desk(ws: Workspace) -> Workspace:
    publish(ws.db, with_consent(), OPS, NOON)
    return ws


def know(ws: Workspace, **said: str) -> None:
    """A snapshot of customer C1, who agrees to everything unless said otherwise."""
    row = {"number": "C1", "mail": HERS, "from": "2026-01-01", "vulnerable": "no"}
    row |= {"sms": "yes", "ok_mail": "yes", "ok_call": "yes"} | said
    row["snapshot"] = "-".join(row.values())
    drop(ws, HEADER, ",".join(row.get(n, "") for n in HEADER.split(",")), source="customers")


def address(ws: Workspace, loop: str, now: datetime = NOON) -> str | None:
    with ws.db.read() as tx:
        return addresses(tx, ws, [loop], now).get(loop)


def way(ws: Workspace, loop: str, now: datetime = NOON) -> str:
    with ws.db.read() as tx:
        return ways(tx, ws, [loop], now)[loop]


def test_an_address_comes_from_the_feedback(ws: Workspace) -> None:
    loop = a_loop(ws, customer="C1", mail=HERS.upper()).id
    assert address(ws, loop) == HERS
    assert way(ws, loop) == "mail"


def test_the_newest_words_count_and_only_so_many(ws: Workspace) -> None:
    loop = a_loop(ws, customer="C1", mail=OLD).id
    take_in(ws, {"text": LOGIN, "customer": "C1", "mail": HERS})
    assert address(ws, loop) == HERS
    take_in(ws, *({"text": f"{LOGIN}{n}", "customer": "C1"} for n in range(ITEMS - 2)))
    assert address(ws, loop) == HERS
    take_in(ws, {"text": FEE, "customer": "C1"})
    assert address(ws, loop) is None, "long ago"


def test_the_firms_record_comes_before_what_anybody_wrote(desk: Workspace) -> None:
    know(desk, mail=HERS)
    loop = a_loop(desk, customer="C1", mail="somebody@evil.example").id
    assert address(desk, loop) == HERS


def test_somebody_elses_address_beside_a_number_is_not_used(ws: Workspace) -> None:
    """The number decides whose words they are; the address is known as another customer's."""
    tell(ws, {"text": PRAISE, "customer": "C2", "mail": HERS}, {"text": PRAISE, "customer": "C1"})
    loop = a_loop(ws, customer="C1", mail=HERS).id
    assert address(ws, loop) is None
    assert way(ws, loop) == "call"


def test_many_loops_at_once_do_not_mix(ws: Workspace) -> None:
    take_in(
        ws,
        *({"text": LOGIN, "customer": f"C{n}", "mail": f"c{n}@mail.example"} for n in range(30)),
        {"text": FEE},
    )
    loops = rows(ws.db, Loop)
    with ws.db.read() as tx:
        found = addresses(tx, ws, [loop.id for loop in loops], NOON)
        how = ways(tx, ws, [loop.id for loop in loops], NOON)
    assert len(loops) == 31
    assert len(found) == len(set(found.values())) == 30
    for loop in loops:
        if loop.customer_id:
            digest = ws.hasher.digest("mail", found[loop.id])
            assert one(ws.db, CustomerKey, digest=digest).customer_id == loop.customer_id
        else:
            assert how[loop.id] == "unreachable"


def test_a_merged_customer_is_who_they_turned_out_to_be(ws: Workspace) -> None:
    """Two loops on one topic stay two, so one of them still bears the first id."""
    take_in(ws, {"text": LOGIN, "phone": "13900000001"}, {"text": LOGIN, "customer": "C1"})
    know(ws, phone="13900000001")
    merged = [c for c in rows(ws.db, Customer) if c.merged_into]
    assert len(merged) == 1
    left = one(ws.db, Loop, customer_id=merged[0].id)
    assert {address(ws, loop.id) for loop in rows(ws.db, Loop)} == {HERS}
    assert way(ws, left.id) == "mail"


CONSENTS: list[tuple[dict[str, str], str]] = [
    ({}, "mail"),
    ({"mail": ""}, "call"),
    ({"ok_mail": "no"}, "call"),
    ({"ok_call": "no"}, "mail"),
    ({"ok_call": "no", "mail": ""}, "unreachable"),
    ({"ok_call": "no", "ok_mail": "no"}, "opted_out"),
    ({"ok_call": "no", "ok_mail": "no", "sms": "no"}, "opted_out"),
    ({"sms": "no"}, "mail"),
]


@pytest.mark.parametrize(("said", "expected"), CONSENTS)
def test_what_a_customer_refuses(desk: Workspace, said: dict[str, str], expected: str) -> None:
    loop = a_loop(desk, customer="C1").id
    know(desk, **said)
    assert way(desk, loop) == expected
    assert (address(desk, loop) is not None) == (expected == "mail")


def test_a_refusal_holds_for_addresses_from_anywhere(desk: Workspace) -> None:
    loop = a_loop(desk, customer="C1", mail=HERS).id
    know(desk, mail="", ok_mail="no")
    assert address(desk, loop) is None


def test_consent_is_that_of_the_valid_snapshot(desk: Workspace) -> None:
    loop = a_loop(desk, customer="C1").id
    know(desk, ok_mail="no", to="2026-09-01")
    know(desk, **{"from": "2026-09-01"})
    assert address(desk, loop, NOON) is None
    assert address(desk, loop, NOON + 60 * DAY) == HERS


def test_a_snapshot_for_a_while_gives_way_again(desk: Workspace) -> None:
    loop = a_loop(desk, customer="C1").id
    know(desk)
    know(desk, mail=OLD, **{"from": "2026-08-01", "to": "2026-09-01"})
    assert address(desk, loop) == OLD
    assert address(desk, loop, NOON + 60 * DAY) == HERS


def test_what_is_not_yet_valid_does_not_count(desk: Workspace) -> None:
    loop = a_loop(desk, customer="C1").id
    know(desk, **{"from": "2026-09-01"})
    assert address(desk, loop) is None


def test_a_refusal_does_not_end_with_its_snapshot(desk: Workspace) -> None:
    loop = a_loop(desk, customer="C1", mail=HERS).id
    know(desk, ok_mail="no", to="2026-02-01")
    assert address(desk, loop) is None


def test_nobody_known_is_unreachable(ws: Workspace) -> None:
    assert way(ws, a_loop(ws).id) == "unreachable"


def test_robots_cannot_mail(ws: Workspace) -> None:
    loop = a_loop(ws, customer="C1", mail=HERS).id
    ws.settings.messages.transport = "wecom_robot"
    assert way(ws, loop) == "call"


@pytest.mark.breaks_history
@pytest.mark.parametrize("payload", ["", "{", "[]", '{"id": 1}', '{"text": "x", "mail": "***"}'])
def test_what_was_erased_gives_no_address(ws: Workspace, payload: str) -> None:
    loop = a_loop(ws, customer="C1", mail=HERS).id
    with ws.db.begin() as tx:
        tx.execute(update(RAW).values(payload=payload))
    assert address(ws, loop) is None
    assert way(ws, loop) == "call"


def test_without_the_customers_keys_no_address_is_theirs(ws: Workspace) -> None:
    loop = a_loop(ws, customer="C1", mail=HERS).id
    with ws.db.begin() as tx:
        tx.execute(delete(table(CustomerKey)))
    assert address(ws, loop) is None


def without_mail(source: dict[str, Any]) -> None:
    del source["map"]["customer"]["mail"]


def without_name(source: dict[str, Any]) -> None:
    source["name"] = "counter"


@pytest.mark.parametrize("alter", [without_mail, without_name])
def test_a_source_that_changed_since(ws: Workspace, alter: Any) -> None:
    loop = a_loop(ws, customer="C1", mail=HERS).id
    sources = yaml.safe_load(document("sources"))
    alter(sources["sources"][0])
    publish(ws.db, documents(sources=yaml.safe_dump(sources, allow_unicode=True)), OPS, NOON)
    later = Workspace(ws.settings, ws.db)
    assert address(later, loop) is None


@pytest.mark.parametrize(
    "written",
    [
        "lan",
        "a@b",
        "a@x.example,b@x.example",
        "a@x.example\nBcc: b@x.example",
        "兰@x.example",
        "<a@x.example>",
    ],
)
def test_only_one_plain_address_is_one(ws: Workspace, written: str) -> None:
    assert address(ws, a_loop(ws, customer="C1", mail=written).id) is None


def test_the_language_is_that_of_the_words(ws: Workspace) -> None:
    loop = a_loop(ws, customer="C1").id
    with ws.db.read() as tx:
        assert languages(tx, [loop, "none"]).get(loop, "zh") == "zh"
