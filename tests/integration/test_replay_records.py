"""What belongs to no loop follows from the history too: whoever edits it by hand is found."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete, func, insert, select, text, update

from loopwright.history.append import append
from loopwright.history.envelope import Event, seal
from loopwright.ids import uuid7
from models.absence import Absence
from models.base import table
from models.conversation import FollowedFile
from models.customer import Customer, CustomerKey
from models.document import Document, Publication
from models.feedback import Batch, Feedback, Intake, Quarantine, RawItem, SourceState
from models.history import EventBody, HistoryEvent
from models.issue import Correction, Issue, Proposal
from models.kinds import Authority, EventKind, IssueKind, MessageState
from models.message import Message
from models.red_alert import RedAlert
from models.tables import metadata
from tasks.audit.replay import COMPARED, NOT_COMPARED, Replay, replay
from tasks.audit.replay_intake import OLD_REPLAYS
from tasks.audit.replay_issues import OLD_DECISIONS
from tasks.documents.publish import publish
from tasks.intake.ingest import Fuse, SourceStopped, ingest_file, stop_source
from tasks.intake.pull import switch_source
from tasks.intake.quarantine import replay_quarantine
from tasks.messages.deliver import deliver_lease
from tasks.messages.outbox import Attempt, claim, record, requeue
from tasks.people import record_leave
from tasks.privacy.erase import Order, erase
from tasks.privacy.personal import find_subject
from tasks.routing.decide import decide_issue, decide_proposal
from tasks.routing.red_channel import judge_alert
from tasks.workspace import Workspace
from tests.cast import (
    AUDIT,
    DAY,
    FEE,
    HOUR,
    LOGIN,
    NOON,
    OPS,
    PRAISE,
    UNCLEAR,
    drop,
    lift_guards,
    one,
    rows,
    sound,
    take_in,
    triage,
)
from tests.integration.test_identify import snapshot
from tests.integration.test_ingest import mended_survey, survey
from tests.integration.test_red_channel import grow, pull, segment

DANGER = "登录不了，我不想活了"
LONG = "登录不了，每次都要重新认证三遍才进得去，柜员也说不清楚到底是为什么"


def found_in(ws: Workspace, *, secret: bool = True) -> Replay:
    with ws.db.read() as tx:
        return replay(tx, fingerprint(ws) if secret else None)


def fingerprint(ws: Workspace) -> Callable[[str], bytes]:
    return lambda payload: ws.hasher.fingerprint("payload", payload)


def listed(ws: Workspace) -> str:
    found = found_in(ws)
    assert (found.differences > 0) == bool(found.listed)
    return "; ".join(found.listed)


@pytest.fixture
def lived(ws: Workspace, home: Path) -> Workspace:
    """A history with at least one of everything that belongs to no loop."""
    take_in(
        ws,
        {"text": LOGIN, "customer": "C1", "phone": "13900000001"},
        {"text": FEE, "mail": "c1@x.invalid"},
        {"text": DANGER},
        {"text": UNCLEAR},
        {"text": PRAISE},
        {"id": "bad", "said": "x"},
    )
    for _ in range(2):
        take_in(ws, {"text": LONG})
    snapshot(ws, "S1", "C1", "13900000001", "c1@x.invalid")
    decide_issue(ws, one(ws.db, Issue, state="triage").id, IssueKind.COMPLAINT, "login", OPS, NOON)
    decide_proposal(ws, one(ws.db, Proposal).id, False, OPS, NOON + HOUR)
    judge_alert(ws, one(ws.db, RedAlert).id, True, OPS, NOON + HOUR)
    record_leave(ws, "db.zhang", date(2026, 8, 7), date(2026, 8, 9), "ho.chief", OPS, NOON)
    switch_source(ws, "posts", False, OPS, NOON)
    with pytest.raises(SourceStopped):
        stop_source(ws, ws.sources["calls"], Fuse(ws.sources["calls"].breaker, 60, 55), NOON)
    lose_some_messages(ws)
    while asyncio.run(deliver_lease(ws, NOON + HOUR)):
        pass
    return mend_survey(ws, home)


def lose_some_messages(ws: Workspace) -> None:
    """Two are given up; a person queues one of them again, which is then sent."""
    refused = [Attempt(m, error="no such box", permanent=True) for m in claim(ws, "t", NOON, 2)]
    record(ws, "t", refused, "file", NOON)
    requeue(ws, refused[0].message.id, OPS, NOON)


def mend_survey(ws: Workspace, home: Path) -> Workspace:
    """Two answers nobody could parse, one of them after a second look."""
    (home / "s.csv").write_bytes(survey("01.08.2026 09:00", "01-08-2026"))
    ingest_file(ws, ws.sources["survey"], home / "s.csv", NOON)
    replay_quarantine(ws, "survey", OPS, NOON + HOUR)
    publish(ws.db, mended_survey(), OPS, NOON + HOUR)
    mended = Workspace(ws.settings, ws.db)
    replay_quarantine(mended, "survey", OPS, NOON + DAY)
    triage(mended, NOON + DAY)
    return mended


@contextmanager
def by_hand(ws: Workspace, *statements: Any) -> Iterator[Connection]:
    """The database as somebody with full rights left it, foreign keys or not, until the end."""
    with ws.db.engine.connect() as connection:
        if ws.db.is_sqlite:
            connection.connection.cursor().execute("PRAGMA foreign_keys=OFF")
        with connection.begin() as change:
            if not ws.db.is_sqlite:
                connection.execute(text("SET LOCAL session_replication_role = replica"))
            lift_guards(connection)
            for statement in statements:
                connection.execute(statement)
            yield connection
            change.rollback()
        connection.invalidate()


def after(ws: Workspace, *statements: Any) -> Replay:
    with by_hand(ws, *statements) as tx:
        return replay(tx, fingerprint(ws))


def missed(ws: Workspace, statement: Any, words: str) -> str | None:
    """What was said instead, where an edit is not found with these words."""
    said = "; ".join(after(ws, statement).listed)
    return None if words in said else f"{statement.table.name}: not {words!r} in {said!r}"


def test_a_clean_history_has_no_difference(lived: Workspace) -> None:
    found = found_in(lived)
    assert found.listed == []
    assert found.incomparable == {}
    assert found.records > 50
    assert sound(lived.db)


def test_every_table_is_compared_or_said_not_to_be() -> None:
    assert COMPARED.keys() | NOT_COMPARED.keys() == metadata().tables.keys()
    assert not COMPARED.keys() & NOT_COMPARED.keys()


EDITED: list[tuple[Any, dict[str, Any], dict[str, Any], str]] = [
    (Publication, {"number": 1}, {"sha256": "0" * 64}, "publication 1: sha256 differ"),
    (Publication, {"number": 1}, {"published_by": "x"}, "publication 1: published_by differ"),
    (Publication, {"number": 1}, {"published_at": NOON + DAY}, "published_at differ"),
    (Document, {"publication": 1, "name": "policy.yaml"}, {"content": b"x"}, "does not hash to"),
    (Document, {"publication": 1, "name": "policy.yaml"}, {"name": "p.yaml"}, "do not hash to"),
    (RawItem, {"number": 4, "source": "desk"}, {"digest": b"x"}, "do not make the event's root"),
    (RawItem, {"number": 4, "source": "desk"}, {"number": 4_000}, "the event says 6"),
    (
        RawItem,
        {"number": 4, "source": "desk"},
        {"source": "posts"},
        "of another source than desk",
    ),
    (RawItem, {"number": 4, "source": "desk"}, {"payload": "{}"}, "does not hash to the digest"),
    (RawItem, {"source": "survey", "number": 1}, {"digest": b"x"}, "quarantined items replayed"),
    (Intake, {"name": "s.csv"}, {"stored": 2}, "the intakes count"),
    (Intake, {"name": "s.csv"}, {"quarantined": 0}, "quarantined differ"),
    (Intake, {"name": "s.csv"}, {"read": 9}, "read differ"),
    (Intake, {"name": "s.csv"}, {"sha256": "0" * 64}, "sha256 differ"),
    (Intake, {"name": "s.csv"}, {"source": "desk"}, "source differ"),
    (Intake, {"name": "s.csv"}, {"parsed": 0}, "parsed differ"),
    (
        Quarantine,
        {"source": "survey", "resolved_at": NOON + DAY},
        {"resolved_at": NOON},
        "resolved",
    ),
    (Quarantine, {"source": "desk"}, {"resolved_at": NOON}, "resolved and no event did it"),
    (Batch, {"source": "desk", "size": 5}, {"position": 4}, "position differ"),
    (Batch, {"source": "desk", "size": 5}, {"id": "other"}, "only in the events"),
    (Feedback, {"text": PRAISE}, {"ordinal": 77}, "4 feedback are there, the event says 5"),
    (Issue, {"kind": "praise"}, {"kind": "complaint"}, "do not make the event's root"),
    (Issue, {"kind": "praise"}, {"topic": "fees"}, "do not make the event's root"),
    (Issue, {"kind": "praise"}, {"rule": "forged"}, "do not make the event's root"),
    (Issue, {"kind": "praise"}, {"state": "looped"}, "their states are not as"),
    (Issue, {"state": "looped", "topic": "login"}, {"ordinal": 7}, "do not make the event's root"),
    (Correction, {}, {"kind": "praise"}, "kind differ"),
    (Correction, {}, {"topic": "fees"}, "topic differ"),
    (Correction, {}, {"loop": "noted"}, "loop differ"),
    (Correction, {}, {"by": "db.zhang"}, "by differ"),
    (Correction, {}, {"at": NOON + DAY}, "at differ"),
    (Correction, {}, {"issue_id": "another"}, "only in the events"),
    (Proposal, {}, {"accepted": True}, "accepted differ"),
    (Proposal, {}, {"decided_by": "db.zhang"}, "decided_by differ"),
    (Proposal, {}, {"decided_at": NOON + DAY}, "decided_at differ"),
    (Message, {"state": "sent"}, {"sent_at": NOON + DAY}, "sent_at differ"),
    (Message, {"state": "sent"}, {"state": "queued"}, "state differ"),
    (Message, {"state": "sent"}, {"unit": "RK"}, "unit differ"),
    (Message, {"state": "sent"}, {"key": "forged"}, "key differ"),
    (Message, {"state": "sent"}, {"template": "digest"}, "template differ"),
    (Message, {"state": "sent"}, {"loop_id": "elsewhere"}, "loop_id differ"),
    (Message, {"state": "sent"}, {"ticket_id": "elsewhere"}, "ticket_id differ"),
    (Message, {"state": "sent"}, {"attempts": 9}, "attempts differ"),
    (Message, {"state": "quarantined"}, {"state": "sent"}, "state differ"),
    (Message, {"state": "quarantined"}, {"state": "queued"}, "state differ"),
    (Absence, {}, {"last": date(2026, 8, 20)}, "only in the events"),
    (Absence, {}, {"person": "ho.chief"}, "no event tells of it"),
    (Absence, {}, {"deputy": "cx.ops"}, "deputy differ"),
    (Absence, {}, {"recorded_by": "db.zhang"}, "recorded_by differ"),
    (SourceState, {"name": "posts"}, {"enabled": True}, "source_state posts: enabled differ"),
    (SourceState, {"name": "calls"}, {"enabled": False}, "source_state calls: no event tells"),
    (SourceState, {"name": "calls"}, {"stopped_reason": None}, "stopped_reason differ"),
    (SourceState, {"name": "survey"}, {"stopped_at": NOON}, "source_state survey: stopped_at"),
    (RedAlert, {}, {"reasons": "x"}, "reasons differ"),
    (RedAlert, {}, {"person": "db.zhang"}, "person differ"),
    (RedAlert, {}, {"unit": "RK"}, "unit differ"),
    (RedAlert, {}, {"arrived_at": NOON - DAY}, "arrived_at differ"),
    (RedAlert, {}, {"raised_at": NOON + DAY}, "raised_at differ"),
    (RedAlert, {}, {"loop_id": None}, "loop_id differ"),
    (RedAlert, {}, {"false_alarm": False}, "false_alarm differ"),
    (RedAlert, {}, {"judged_by": "db.zhang"}, "judged_by differ"),
]


def of(model: Any, where: dict[str, Any]) -> list[Any]:
    return [table(model).c[name] == value for name, value in where.items()]


def first_of(ws: Workspace, model: Any, where: dict[str, Any]) -> list[Any]:
    """The condition that finds one row of them."""
    kept = table(model)
    target = rows(ws.db, model, **where)[0]
    return [column == getattr(target, column.name) for column in kept.primary_key]


def test_every_edited_row_is_found(lived: Workspace) -> None:
    edits = [
        (update(table(model)).where(*first_of(lived, model, where)).values(**values), words)
        for model, where, values, words in EDITED
    ]
    assert [m for edit, words in edits if (m := missed(lived, edit, words))] == []


REMOVED: list[tuple[Any, dict[str, Any], str]] = [
    (Publication, {"number": 1}, "publication 1: only in the events"),
    (Document, {"publication": 1, "name": "policy.yaml"}, "documents, the event says"),
    (RawItem, {"source": "desk", "number": 5}, "the event says 6"),
    (RawItem, {"source": "survey", "number": 1}, "quarantined items replayed"),
    (Intake, {"name": "s.csv"}, "only in the events"),
    (Quarantine, {"source": "desk"}, "0 in quarantine, the event says 1"),
    (Batch, {"source": "desk"}, "only in the events"),
    (Feedback, {"text": PRAISE}, "feedback are there, the event says 5"),
    (Issue, {"kind": "praise"}, "are there, the event says"),
    (Correction, {}, "only in the events"),
    (Proposal, {}, "only in the events"),
    (Message, {"state": "sent"}, "only in the events"),
    (Message, {"state": "quarantined"}, "only in the events"),
    (Absence, {}, "only in the events"),
    (SourceState, {"name": "posts"}, "source_state posts: only in the events"),
    (RedAlert, {}, "only in the events"),
]


def test_every_removed_row_is_found(lived: Workspace) -> None:
    edits = [(delete(table(model)).where(*of(model, where)), w) for model, where, w in REMOVED]
    assert [m for edit, words in edits if (m := missed(lived, edit, words))] == []


ADDED: list[tuple[Any, dict[str, Any], dict[str, Any], str]] = [
    (Publication, {"number": 1}, {"number": 9}, "publication 9: no event tells of it"),
    (Document, {"publication": 1, "name": "policy.yaml"}, {"publication": 9}, "1 documents belong"),
    (Document, {"publication": 1, "name": "policy.yaml"}, {"name": "new.yaml"}, "documents, the"),
    (
        RawItem,
        {"source": "desk", "number": 5},
        {"id": "new", "key": "=new"},
        "7, the event says 6",
    ),
    (
        RawItem,
        {"source": "desk", "number": 5},
        {"id": "new", "key": "=new", "number": 50},
        "1 raw items too many",
    ),
    (Batch, {"source": "desk", "size": 5}, {"id": "new"}, "feedback as judged, the events"),
    (Issue, {"kind": "praise"}, {"id": "new", "ordinal": 1}, "are there, the event says"),
    (
        Issue,
        {"kind": "praise"},
        {"id": "new", "feedback_id": "nowhere"},
        "1 issues too many",
    ),
    (Correction, {}, {"id": "new"}, "no event tells of it"),
    (Proposal, {}, {"id": "new", "into_id": "elsewhere"}, "proposal new: no event tells of it"),
    (Message, {"state": "sent"}, {"id": "new", "key": "new"}, "message new: no event tells of it"),
    (Absence, {}, {"id": "new", "person": "cx.ops"}, "absence cx.ops"),
    (Absence, {}, {"id": "new"}, "no event tells of it"),
    (SourceState, {"name": "posts"}, {"name": "survey2"}, "source_state survey2: no event"),
    (RedAlert, {}, {"id": "new", "conversation": "new"}, "red_alert new: no event tells of it"),
]


def test_every_added_row_is_found(lived: Workspace) -> None:
    edits = [
        (
            insert(table(model)).values(
                **dict(rows(lived.db, model, **where)[0]._mapping) | values
            ),
            words,
        )
        for model, where, values, words in ADDED
    ]
    assert [m for edit, words in edits if (m := missed(lived, edit, words))] == []


def test_a_customer_united_with_another_is_found(lived: Workspace) -> None:
    other = next(row for row in rows(lived.db, Customer) if row.merged_into)
    customers = table(Customer)
    parted = update(customers).where(customers.c.id == other.id).values(merged_into=None)
    assert missed(lived, parted, f"customer {other.id}: merged_into differ") is None


def test_the_payload_is_held_against_its_digest_where_the_secret_is(ws: Workspace) -> None:
    drop(ws, LOGIN)
    assert found_in(ws, secret=False).differences == found_in(ws).differences == 0
    with ws.db.read() as tx:
        other = replay(tx, lambda payload: b"another secret")
    assert "does not hash to the digest" in other.listed[0]


def test_an_emptied_payload_is_found_without_the_secret(ws: Workspace) -> None:
    drop(ws, LOGIN)
    with by_hand(ws, update(table(RawItem)).values(payload="")) as tx:
        assert "the payload is gone and it is not erased" in replay(tx).listed[0]


# Files that grow

LINES: list[tuple[Any, str]] = [
    (update(table(FollowedFile)).values(parsed=1), "source or parsed differ"),
    (update(table(FollowedFile)).values(source="desk"), "source or parsed differ"),
    (delete(table(FollowedFile)), "only in the events"),
    (delete(table(Quarantine)), "0 in quarantine, the event says 1"),
    (delete(table(RawItem)), "0, the event says 1"),
]


def test_lines_that_became_part_of_conversations(ws: Workspace) -> None:
    grow(ws, segment("K1", 1, LOGIN), "no segment", segment("K1", 2, FEE))
    pull(ws)
    assert found_in(ws).listed == []
    assert [m for edit, words in LINES if (m := missed(ws, edit, words))] == []


# Erasing


def erased(ws: Workspace, number: str) -> str:
    with ws.db.read() as tx:
        subject = find_subject(tx, ws, keys=[("number", number)])
    erase(
        ws, subject, Order(Authority.CUSTOMER_REQUEST, "按客户要求", AUDIT), NOON + DAY, close=True
    )
    return subject.name


def test_what_was_erased_still_makes_its_roots(lived: Workspace) -> None:
    """Also of issues that waited: they are noted, and left no correction."""
    take_in(lived, {"text": UNCLEAR, "customer": "C9"}, {"text": LOGIN, "customer": "C9"})
    erased(lived, "C9")
    erased(lived, "C1")
    found = found_in(lived)
    assert found.listed == []
    assert found.incomparable == {}


def test_keys_of_an_erased_customer_are_found(lived: Workspace) -> None:
    customer = erased(lived, "C1")
    key = {"digest": "back again", "kind": "number", "customer_id": customer}
    back = insert(table(CustomerKey)).values(key)
    assert missed(lived, back, f"customer {customer}: was erased and has keys") is None


def test_words_put_back_are_found(lived: Workspace) -> None:
    erased(lived, "C1")
    items = table(RawItem)
    back = update(items).where(items.c.payload == "").values(payload="back again")
    assert missed(lived, back, "it is erased and has a payload") is None


# Histories of before


def forge(ws: Workspace, kind: EventKind, change: Callable[[dict[str, Any]], Any]) -> int:
    """Change the data of the first event of a kind; its position."""
    event = rows(ws.db, HistoryEvent, kind=kind)[0]
    data = change(json.loads(event.data))
    text_of = data if isinstance(data, str) else json.dumps(data)
    rewrite(ws, event.seq, data=text_of)
    return int(event.seq)


def rewrite(ws: Workspace, seq: int, **values: Any) -> None:
    events = table(HistoryEvent)
    with ws.db.begin() as tx:
        lift_guards(tx)
        tx.execute(update(events).where(events.c.seq == seq).values(**values))


def before(data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if not name.endswith("_was")}


def test_a_decision_that_does_not_say_what_it_changed_is_no_difference(lived: Workspace) -> None:
    forge(lived, EventKind.ISSUE_DECIDED, before)
    found = found_in(lived)
    assert found.listed == []
    assert found.incomparable == {OLD_DECISIONS: 1}


def test_a_noted_decision_of_before_left_a_correction(ws: Workspace) -> None:
    take_in(ws, {"text": UNCLEAR})
    decide_issue(ws, one(ws.db, Issue).id, IssueKind.PRAISE, None, OPS, NOON)
    assert found_in(ws).incomparable == {}
    forge(ws, EventKind.ISSUE_DECIDED, before)
    found = found_in(ws)
    assert (found.listed, found.incomparable) == ([], {OLD_DECISIONS: 1})


def test_a_root_that_cannot_be_made_still_counts(lived: Workspace) -> None:
    forge(lived, EventKind.ISSUE_DECIDED, before)
    issues = table(Issue)
    forged = update(issues).where(issues.c.kind == "praise").values(state="looped")
    assert missed(lived, forged, "their states are not as the event counts them") is None


def test_what_a_decision_says_an_issue_was_is_checked(lived: Workspace) -> None:
    forge(lived, EventKind.ISSUE_DECIDED, lambda data: data | {"kind_was": "praise"})
    assert "do not make the event's root" in listed(lived)


def test_a_replay_that_names_no_items_is_no_difference(lived: Workspace) -> None:
    bodies, events = table(EventBody), table(HistoryEvent)
    ingested = select(events.c.event_id).where(events.c.kind == EventKind.FEEDBACK_INGESTED)
    with lived.db.begin() as tx:
        lift_guards(tx)
        tx.execute(delete(bodies).where(bodies.c.event_id.in_(ingested)))
    found = found_in(lived)
    assert found.listed == []
    assert found.incomparable[OLD_REPLAYS] == 2


def test_a_message_queued_again_before_that_was_an_event(lived: Workspace) -> None:
    messages = table(Message)
    given_up = messages.c.state == MessageState.QUARANTINED
    again = {"state": MessageState.QUEUED, "spent": messages.c.attempts}
    found = after(lived, update(messages).where(given_up).values(**again))
    assert found.listed == []
    assert sum(found.incomparable.values()) == 1


# Forged events are named, not stumbled over

FORGED: list[tuple[dict[str, Any], str]] = [
    ({"kind": "message.invented"}, "there is no kind 'message.invented'"),
    ({"kind": "ticket.accepted"}, "ticket.accepted without a loop"),
    ({"data": "{"}, "data is not JSON"),
    ({"data": "[]"}, "data is no JSON object"),
    ({"data": "[" * 5_000}, "data is not JSON"),
    ({"data": "{}"}, " lacks '"),
]
LOOPLESS = sorted(
    {
        EventKind.FEEDBACK_INGESTED,
        EventKind.INTAKE_FINISHED,
        EventKind.FEEDBACK_TRIAGED,
        EventKind.ISSUE_DECIDED,
        EventKind.PROPOSAL_DECIDED,
        EventKind.DOCUMENTS_PUBLISHED,
        EventKind.MESSAGE_SENT,
        EventKind.MESSAGE_QUARANTINED,
        EventKind.MESSAGE_REQUEUED,
        EventKind.SOURCE_STOPPED,
        EventKind.SOURCE_RESUMED,
        EventKind.SOURCE_SWITCHED,
        EventKind.RED_RAISED,
        EventKind.RED_JUDGED,
        EventKind.PERSON_LEAVE_RECORDED,
        EventKind.CUSTOMER_UNITED,
    }
)


@pytest.mark.parametrize(("values", "words"), FORGED, ids=str)
def test_a_forged_event_is_named(lived: Workspace, values: dict[str, Any], words: str) -> None:
    for kind in LOOPLESS:
        seq = rows(lived.db, HistoryEvent, kind=kind)[0].seq
        rewrite(lived, seq, **values)
        with lived.db.read() as tx:
            found = replay(tx)
        assert any(w.startswith(f"seq {seq}: ") and words in w for w in found.listed), kind
        break_even(lived, seq, kind)


def break_even(ws: Workspace, seq: int, kind: str) -> None:
    """Put an event's columns back, as its envelope has them."""
    envelope = json.loads(rows(ws.db, HistoryEvent, seq=seq)[0].envelope)
    data = json.dumps(envelope["data"], ensure_ascii=False, separators=(",", ":"))
    rewrite(ws, seq, kind=kind, data=data)


ODD: list[Any] = [None, 7, "\0", ["x"], {"x": 1}, -1, 2**40, True, "x" * 300]


@pytest.mark.parametrize("value", ODD, ids=repr)
def test_members_of_any_kind_are_no_crash(lived: Workspace, value: Any) -> None:
    """Every member of every such event, one after the other, holds what it never would."""
    for kind in LOOPLESS:
        seq = rows(lived.db, HistoryEvent, kind=kind)[0].seq
        forge(lived, kind, lambda data: dict.fromkeys(data, value))
        assert found_in(lived).differences > 0
        break_even(lived, seq, kind)
    assert found_in(lived).listed == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kind": "loop.invented"}, "there is no kind 'loop.invented'"),
        ({"kind": "message.sent"}, "message.sent in a loop"),
        ({"kind": "ticket.accepted"}, "there is no loop"),
        ({"data": "{"}, "data is not JSON"),
        ({"data": '{"state": "open"}'}, "loop.opened lacks 'kind'"),
        ({"data": '{"state": []}'}, "loop.opened cannot be followed"),
    ],
    ids=str,
)
def test_a_forged_event_of_a_loop_is_named(
    lived: Workspace, values: dict[str, Any], words: str
) -> None:
    seq = rows(lived.db, HistoryEvent, kind=EventKind.LOOP_OPENED)[0].seq
    rewrite(lived, seq, **values)
    assert any(w.startswith(f"seq {seq}: ") and words in w for w in found_in(lived).listed)


def test_a_time_that_is_none_is_named(lived: Workspace) -> None:
    """PostgreSQL would not keep one."""
    if lived.db.is_sqlite:
        with lived.db.begin() as tx:
            lift_guards(tx)
            tx.execute(text("UPDATE history_event SET at = 'yesterday' WHERE seq = 3"))
        assert "at is no time: 'yesterday'" in listed(lived)


def test_an_event_of_what_never_was_is_found(lived: Workspace) -> None:
    """Well sealed and in its place; no row bears it out."""
    data = json.loads(rows(lived.db, HistoryEvent, kind=EventKind.MESSAGE_SENT)[0].data)
    event = Event(uuid7(), EventKind.MESSAGE_SENT, NOON, OPS, data | {"message": "never"})
    with lived.db.begin() as tx:
        lift_guards(tx)
        append(tx, [seal(event)])
    assert "message never: only in the events" in listed(lived)


ELSEWHERE = {"verification", "approval", "effect", "loop_link", "followed_file"}
"""Tables of loops, and of files that grow."""


def test_there_is_one_of_everything(lived: Workspace) -> None:
    """What the tests above edit is there at all."""
    kinds = {row.kind for row in rows(lived.db, HistoryEvent)}
    assert set(LOOPLESS) <= kinds
    with lived.db.read() as tx:
        for name in COMPARED.keys() - ELSEWHERE:
            kept = metadata().tables[name]
            assert tx.execute(select(func.count()).select_from(kept)).scalar_one(), name
