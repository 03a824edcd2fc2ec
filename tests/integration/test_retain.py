"""Whose time has passed: nobody's too early, the whole customer at once."""

import json
from datetime import datetime
from pathlib import Path
from zipfile import ZipFile

import pytest

from loopwright.errors import InputError
from models.feedback import Feedback
from models.history import HistoryEvent
from models.kinds import Authority, EventKind
from models.loop import Loop
from policy.retention import keep_until
from tasks.documents.publish import publish
from tasks.privacy.erase import Order, erase
from tasks.privacy.personal import find_subject
from tasks.privacy.retain import erase_again, erase_passed, passed
from tasks.workspace import Workspace
from tests.cast import (
    DAY,
    FEE,
    LOGIN,
    NOON,
    OPS,
    PRAISE,
    documents,
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
    why = {
        json.loads(e.data)["why"] for e in rows(kept.db, HistoryEvent, kind=EventKind.BODY_ERASED)
    }
    assert why == {"retention:rest"}
    assert names(kept, THREE) == [], "nothing is left of them"
    assert sound(kept.db)


def test_without_classes_nothing_is_judged(ws: Workspace) -> None:
    with pytest.raises(InputError, match="no retention classes"):
        passed(ws, NOON)


def bundle_of(ws: Workspace, path: Path) -> Path:
    envelopes = [row.envelope for row in rows(ws.db, HistoryEvent)]
    with ZipFile(path, "w") as archive:
        archive.writestr("events.ndjson", "".join(f"{e}\n" for e in envelopes))
    return path


def test_after_a_restore_they_are_erased_again(kept: Workspace, home: Path) -> None:
    take_in(kept, {"text": LOGIN, "customer": "C1"}, {"text": FEE, "customer": "C2"})
    close_all(kept)
    loop = rows(kept.db, Loop)[0]
    with kept.db.read() as tx:
        subject = find_subject(tx, kept, loop.id)
    envelope = {"kind": "customer.erased", "data": {"customer": subject.name, "loop": None,
        "authority": "court", "retention": None}}  # fmt: skip
    gone = {"kind": "customer.erased", "data": {"customer": "came-later", "loop": None,
        "authority": "court", "retention": None}}  # fmt: skip
    path = home / "bundle.zip"
    with ZipFile(path, "w") as archive:
        archive.writestr("events.ndjson", f"{json.dumps(envelope)}\n{json.dumps(gone)}\n")
    known, done = erase_again(kept, path, "恢复备份之后", OPS, NOON)
    assert (known, done.items) == (1, 1)
    said = json.loads(one(kept.db, HistoryEvent, kind=EventKind.CUSTOMER_ERASED).data)
    assert (said["customer"], said["authority"]) == (subject.name, "court")
    assert erase_again(kept, bundle_of(kept, home / "own.zip"), "再次", OPS, NOON)[1].nothing
    assert sound(kept.db)


def test_a_file_that_is_no_bundle(kept: Workspace, home: Path) -> None:
    (home / "x.zip").write_text("no zip")
    with pytest.raises(InputError, match="no audit bundle"):
        erase_again(kept, home / "x.zip", "再次", OPS, NOON)


def test_a_second_order_erases_what_came_since(kept: Workspace) -> None:
    take_in(kept, {"text": LOGIN, "customer": "C1"})
    close_all(kept)
    with kept.db.read() as tx:
        subject = find_subject(tx, kept, rows(kept.db, Loop)[0].id)
    order = Order(Authority.REGULATOR, "监管要求", OPS)
    assert erase(kept, subject, order, NOON).items == 1
    assert erase(kept, subject, order, NOON).nothing
