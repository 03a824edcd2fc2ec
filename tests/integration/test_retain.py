"""Whose time has passed: nobody's too early, the whole customer at once."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from loopwright.errors import InputError
from loopwright.history.bundle import Unproven
from loopwright.history.envelope import Event, seal
from loopwright.history.keys import Signer
from loopwright.history.note import SigningKey
from models.feedback import Feedback
from models.history import HistoryEvent
from models.kinds import Authority, EventKind
from models.loop import Loop
from policy.retention import keep_until
from tasks.documents.publish import publish
from tasks.privacy.erase import Erased, Order, erase
from tasks.privacy.personal import find_subject
from tasks.privacy.retain import erase_again, erase_passed, passed
from tasks.workspace import Workspace
from tests.bundles import KEY, control_event, export_range, log_of, pack
from tests.cast import (
    DAY,
    FEE,
    LOGIN,
    NOON,
    OPS,
    PRAISE,
    documents,
    number_of,
    one,
    rows,
    sound,
    take_in,
    withdraw,
)

CLASSES = """retention:
  - {id: rest, years: 3, effective: "2026-01-01", title: {zh: 余, en: Rest}, rule: {zh: 规, en: R}}
  - {id: fees, years: 10, effective: "2026-01-01", title: {zh: 费, en: Fees}, rule: {zh: 规, en: R},
     topics: [annual-fee]}
"""
THREE, TEN = keep_until(NOON, 3), keep_until(NOON, 10)


@pytest.fixture
def kept(ws: Workspace) -> Workspace:
    publish(ws.db, documents(retention=CLASSES), OPS, NOON)
    return ws


def close_all(ws: Workspace, now: datetime = NOON) -> None:
    for loop in rows(ws.db, Loop):
        if loop.state != "closed":
            withdraw(ws, loop.id, now)


def names(ws: Workspace, now: datetime) -> list[tuple[str, str]]:
    return [(one.subject.name, one.retention) for one in passed(ws, now)]


def test_not_a_day_too_early_and_the_longest_class_counts(kept: Workspace) -> None:
    take_in(kept, {"text": LOGIN, "customer": "C1"}, {"text": FEE, "customer": "C2"})
    close_all(kept, NOON + DAY)
    short, long = one(kept.db, Loop, topic="login"), one(kept.db, Loop, topic="annual-fee")
    assert names(kept, THREE) == [], "the loop was closed a day later"
    assert names(kept, THREE + DAY) == [(short.customer_id, "rest")]
    assert {name for name, _ in names(kept, TEN + DAY)} == {short.customer_id, long.customer_id}


def test_newer_words_keep_the_older(kept: Workspace) -> None:
    take_in(kept, {"text": LOGIN, "customer": "C1"})
    close_all(kept)
    take_in(kept, {"text": PRAISE, "customer": "C1"}, now=NOON + 300 * DAY)
    assert names(kept, THREE + DAY) == []
    assert len(names(kept, THREE + 301 * DAY)) == 1


def test_an_open_loop_is_kept_for_ever(kept: Workspace) -> None:
    take_in(kept, {"text": LOGIN, "customer": "C1"}, {"text": LOGIN})
    assert names(kept, TEN + 9000 * DAY) == []


def test_a_loop_of_nobody_known(kept: Workspace) -> None:
    take_in(kept, {"text": LOGIN})
    close_all(kept)
    assert names(kept, THREE) == [(one(kept.db, Loop).id, "rest")]


def test_erased_with_the_class_as_authority(kept: Workspace) -> None:
    take_in(kept, {"text": LOGIN, "customer": "C1"}, {"text": FEE, "customer": "C2"})
    close_all(kept)
    done = erase_passed(kept, passed(kept, THREE), "到期", OPS, THREE)
    assert done.items == 1
    texts = [row.text for row in rows(kept.db, Feedback)]
    assert sorted(texts) == ["", FEE]
    said = json.loads(one(kept.db, HistoryEvent, kind=EventKind.CUSTOMER_ERASED).data)
    assert (said["authority"], said["retention"]) == ("retention", "rest")
    gone = [json.loads(e.data) for e in rows(kept.db, HistoryEvent, kind=EventKind.BODY_ERASED)]
    assert {(e["why"], e["authority"]) for e in gone} == {("retention:rest", "retention")}
    assert names(kept, THREE) == [], "nothing is left of them"
    assert sound(kept.db)


def test_without_classes_nothing_is_judged(ws: Workspace) -> None:
    with pytest.raises(InputError, match="no retention classes"):
        passed(ws, NOON)


def told(number: int, kind: EventKind, name: str, **data: Any) -> Event:
    """What a history says of an erasure by a court."""
    said = {"customer": name, "loop": None, "authority": "court", "retention": None}
    return control_event(number, kind.value, said | data)


def bundle_of(*events: Event, key: SigningKey = KEY) -> Path:
    """The bundle of a history of these events, signed by its key."""
    log = log_of(events, key=key)
    return pack(Path("bundle.zip"), export_range(log, 0, len(events)))


def again(ws: Workspace, bundle: Path) -> tuple[int, Erased]:
    return erase_again(ws, bundle, Signer((KEY.public,)), "恢复备份之后", OPS, NOON)


@pytest.fixture
def two(kept: Workspace) -> list[str]:
    """Two customers who complained, and are closed."""
    take_in(kept, {"text": LOGIN, "customer": "C1"}, {"text": FEE, "customer": "C2"})
    close_all(kept)
    loops = rows(kept.db, Loop)
    return [loop.customer_id for loop in sorted(loops, key=lambda loop: str(loop.topic))]


BEGUN, ERASED = EventKind.CUSTOMER_ERASURE_BEGUN, EventKind.CUSTOMER_ERASED


@pytest.mark.parametrize("kinds", [[ERASED], [BEGUN], [BEGUN, ERASED], [BEGUN, BEGUN]])
def test_after_a_restore_they_are_erased_again(
    kept: Workspace, two: list[str], kinds: list[EventKind]
) -> None:
    """Also whose erasure had only begun, or came after the backup."""
    fee, login = two
    events = [told(n, kind, fee) for n, kind in enumerate([*kinds, EventKind.CUSTOMER_UNITED])]
    known, done = again(kept, bundle_of(*events, told(9, ERASED, "came-later")))
    assert (known, done.items) == (1, 1)
    assert [row.text for row in rows(kept.db, Feedback, customer_id=login)] == [LOGIN]
    said = json.loads(one(kept.db, HistoryEvent, kind=ERASED).data)
    assert (said["customer"], said["authority"]) == (fee, "court")
    assert sound(kept.db)


def test_a_loop_of_nobody_known_again(kept: Workspace) -> None:
    take_in(kept, {"text": LOGIN})
    close_all(kept)
    loop = one(kept.db, Loop).id
    bundle = bundle_of(told(0, ERASED, "", customer=None, loop=loop, authority="regulator"))
    assert again(kept, bundle)[1].items == 1
    said = json.loads(one(kept.db, HistoryEvent, kind=ERASED).data)
    assert (said["loop"], said["authority"]) == (loop, "regulator")


def test_a_retention_class_again(kept: Workspace, two: list[str]) -> None:
    bundle = bundle_of(told(0, ERASED, two[0], authority="retention", retention="fees"))
    again(kept, bundle)
    gone = rows(kept.db, HistoryEvent, kind=EventKind.BODY_ERASED)
    why = {(json.loads(e.data)["why"], json.loads(e.data)["authority"]) for e in gone}
    assert why == {("retention:fees", "retention")}


def test_what_was_erased_again_is_not_a_third_time(kept: Workspace, two: list[str]) -> None:
    bundle = bundle_of(told(0, ERASED, two[0]))
    again(kept, bundle)
    size = number_of(kept.db, HistoryEvent)
    known, done = again(kept, bundle)
    assert (known, done.nothing) == (1, True)
    assert number_of(kept.db, HistoryEvent) == size


def test_a_bundle_that_nobody_signed_erases_nobody(kept: Workspace, two: list[str]) -> None:
    size = number_of(kept.db, HistoryEvent)
    invented = bundle_of(told(0, ERASED, two[0]), key=SigningKey(KEY.name, bytes(32)))
    with pytest.raises(Unproven):
        again(kept, invented)
    with ZipFile("plain.zip", "w") as archive:
        archive.writestr("events.ndjson", seal(told(0, ERASED, two[0])).envelope + "\n")
    with pytest.raises(InputError, match="no audit bundle"):
        again(kept, Path("plain.zip"))
    assert sorted(row.text for row in rows(kept.db, Feedback)) == sorted([LOGIN, FEE])
    assert number_of(kept.db, HistoryEvent) == size


def test_a_broken_off_erasure_comes_up_again(
    kept: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its raw items are gone, so nothing else tells of what is left."""
    take_in(kept, {"text": LOGIN, "customer": "C1"}, {"text": LOGIN}, {"text": FEE})
    close_all(kept)
    due = names(kept, THREE)
    assert len(due) == 2

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("tasks.privacy.erase.erase_bodies", killed)
        for found in passed(kept, THREE):
            with pytest.raises(KeyboardInterrupt):
                erase_passed(kept, [found], "到期", OPS, THREE)
    assert names(kept, THREE) == due
    assert erase_passed(kept, passed(kept, THREE), "到期", OPS, THREE).bodies > 0
    assert names(kept, THREE) == []
    assert len(rows(kept.db, HistoryEvent, kind=ERASED)) == 2


def test_items_that_nobody_parsed_are_counted_once(
    kept: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_in(kept, {"text": LOGIN, "customer": "C1"}, {"text": LOGIN, "customer": "C2"})
    close_all(kept)
    monkeypatch.setattr("tasks.privacy.erase.unparsed", lambda _: 7)
    done = erase_passed(kept, passed(kept, THREE), "到期", OPS, THREE)
    assert (done.ended, done.unparsed) == (2, 7)


def test_a_second_order_erases_what_came_since(kept: Workspace) -> None:
    take_in(kept, {"text": LOGIN, "customer": "C1"})
    close_all(kept)
    with kept.db.read() as tx:
        subject = find_subject(tx, kept, rows(kept.db, Loop)[0].id)
    order = Order(Authority.REGULATOR, "监管要求", OPS)
    assert erase(kept, subject, order, NOON).items == 1
    assert erase(kept, subject, order, NOON).nothing
