"""Erasing a customer: nowhere shown, nowhere kept, and the history still holds and says so."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import func, make_url, select

from loopwright.db import Database
from loopwright.errors import EnvironmentFault, InputError, TransitionRefused
from loopwright.history.verify import verify
from loopwright.roles import Roles, layout
from models.base import table
from models.customer import Customer, CustomerKey, CustomerSnapshot, JourneyEvent
from models.feedback import Feedback, Quarantine, RawItem
from models.history import EventBody, HistoryEvent
from models.issue import Issue
from models.kinds import Answer, Authority, EventKind, How, Told
from models.loop import Loop
from models.tables import metadata
from tasks.explain import explain_loop
from tasks.intake.quarantine import list_quarantine, replay_quarantine
from tasks.look import list_loops, list_messages, show_loop
from tasks.messages.deliver import deliver_lease
from tasks.privacy.erase import Erased, Order, erase
from tasks.privacy.personal import Subject, broken_off, find_subject
from tasks.privacy.scrub import scrub
from tasks.tickets.hand_off import accept, reject, resolve
from tasks.verification.answers import answer
from tasks.verification.tell import tell_customer
from tasks.verification.verify import ask
from tasks.workspace import Workspace
from tests.cast import (
    AUDIT,
    DAY,
    FEE,
    HOUR,
    LI,
    LOGIN,
    LOST,
    NOON,
    PRAISE,
    UNCLEAR,
    ZHANG,
    drop,
    number_of,
    one,
    rows,
    settings_for,
    sound,
    take_in,
    tell,
    ticket_of,
    triage,
    withdraw,
)

NAME, PHONE, CARD = "欧阳飞雪", "13912345678", "6222600260001072444"
MAIL, NUMBER, COMPLAINT = "feixue@mail.example", "KH77120345", "TS-2026-0099812"
WORDS, STAFF, SPOKEN = "蓝鲸在电梯里唱歌", "已登门致歉并送还雨伞", "电话里说的那句悄悄话"
CANARIES = (NAME, PHONE, CARD, MAIL, NUMBER, COMPLAINT, WORDS, STAFF, SPOKEN)
LATER = NOON + 40 * DAY
ORDER = Order(Authority.CUSTOMER_REQUEST, "客户来函申请删除 13912345678", AUDIT)
ROLES = Roles(*(f"erase_{end}" for end in ("owner", "app", "eraser", "signer", "auditor")))
HEADER = "snapshot,number,phone,mail,band,vulnerable,branch,sms,from,to"


@dataclass
class Story:
    """A customer who left traces everywhere, and another who must keep theirs."""

    ws: Workspace
    loop: Any
    fee: Any
    other: Any

    @property
    def customer(self) -> str:
        return str(self.loop.customer_id)

    def subject(self) -> Subject:
        with self.ws.db.read() as tx:
            return find_subject(tx, self.ws, self.customer)

    def erase(self, **options: Any) -> Erased:
        return erase(self.ws, self.subject(), ORDER, LATER, **options)


@pytest.fixture
def story(ws: Workspace) -> Story:
    """One customer by phone and by number, found to be one; loops, calls, steps, letters."""
    said = f"{LOGIN}，我是{NAME}，卡号{CARD}，电话{PHONE}，{WORDS}"
    take_in(ws, {"id": "A1", "text": said, "phone": PHONE, "mail": MAIL, "complaint": COMPLAINT})
    take_in(ws, {"id": "A2", "text": f"{FEE}，{WORDS}", "customer": NUMBER})
    snapshot = f"S1,{NUMBER},{PHONE},{MAIL},gold,no,B1,yes,2026-01-01,"
    drop(ws, HEADER, snapshot, source="customers")
    step = {"event": "J1", "customer": NUMBER, "touchpoint": "app-login", "channel": "app"}
    step |= {"outcome": "failed"}
    drop(ws, json.dumps(step | {"at": NOON.isoformat()}), source="journey_events")
    call = {"call": "T1", "started": int(NOON.timestamp() * 1000), "caller": {"phone": PHONE}}
    turns = [{"who": "customer", "said": f"{PRAISE}，{SPOKEN}"}, {"who": "agent", "said": NAME}]
    drop(ws, json.dumps({"calls": [call | {"turns": turns}]}), source="calls")
    tell(ws, {"id": "A1", "text": f"{LOGIN}，{WORDS}", "phone": PHONE, "received": "昨天"})
    tell(ws, {"id": "A9", "text": f"{LOGIN}，请回电{PHONE}", "received": "明天"})
    take_in(ws, {"id": "B1", "text": f"{FEE}，别人的话", "customer": "C2", "phone": "13800138000"})
    triage(ws)
    login = next(loop for loop in rows(ws.db, Loop) if loop.complaint_number)
    others = [loop for loop in rows(ws.db, Loop) if loop.id != login.id]
    fee, other = sorted(others, key=lambda loop: loop.customer_id != login.customer_id)
    work_off(ws, login)
    withdraw(ws, fee.id, NOON + DAY)
    return Story(ws, login, fee, other)


def work_off(ws: Workspace, loop: Any) -> None:
    """A department rejects, another resolves with words about the customer, who confirms."""
    deliver(ws)
    reject(ws, ticket_of(ws, loop.id).id, f"{NAME}的卡不归我们", "CC", ZHANG, NOON + HOUR)
    accept(ws, ticket_of(ws, loop.id).id, LI, NOON + HOUR)
    tell_customer(ws, loop.id, Told.FIRST_ANSWER, How.CALL, f"致电{PHONE}", LI, NOON + HOUR)
    resolve(ws, ticket_of(ws, loop.id).id, "C01", STAFF, LI, NOON + HOUR)
    ask(ws, NOON + HOUR)
    deliver(ws, NOON + HOUR)
    answer(ws, loop.id, Answer.YES, SPOKEN, LI, NOON + DAY)
    deliver(ws, NOON + DAY)


def deliver(ws: Workspace, now: Any = NOON) -> None:
    asyncio.run(deliver_lease(ws, now))


def dump(db: Database) -> str:
    """Every value of every table."""
    with db.read() as tx:
        return "\n".join(
            str(value)
            for kept in metadata().tables.values()
            for row in tx.execute(select(kept))
            for value in row
        )


def found_in(text: str) -> list[str]:
    return [canary for canary in CANARIES if canary in text]


def written(folder: Path) -> str:
    return "\n".join(p.read_text("utf-8") for p in folder.rglob("*") if p.is_file())


def test_nothing_is_left_in_any_table(story: Story) -> None:
    assert found_in(dump(story.ws.db)) == list(CANARIES), "the story leaves every trace"
    story.erase()
    assert found_in(dump(story.ws.db)) == []
    assert sound(story.ws.db)


def test_what_was_known_of_them_goes_whole(story: Story) -> None:
    """Rows without a telling word: bands, branches, steps taken, evidence."""
    for kept in (CustomerSnapshot, JourneyEvent):
        assert number_of(story.ws.db, kept) == 1
    story.erase()
    for kept in (CustomerSnapshot, JourneyEvent):
        assert number_of(story.ws.db, kept) == 0
    keys = rows(story.ws.db, CustomerKey)
    assert {key.customer_id for key in keys} == {story.other.customer_id}
    said = {row.id for row in rows(story.ws.db, Feedback) if not row.text}
    assert len(said) == 3
    mine = [issue for issue in rows(story.ws.db, Issue) if issue.feedback_id in said]
    assert {(issue.evidence, issue.reason) for issue in mine} == {(None, None)}


def test_event_data_hold_nothing_personal(story: Story) -> None:
    """What can never be erased: checked over a story with all kinds of traces."""
    data = [row.envelope for row in rows(story.ws.db, HistoryEvent)]
    assert found_in("\n".join(data)) == []


def test_another_customers_words_stay(story: Story) -> None:
    before = rows(story.ws.db, RawItem, key="=B1"), explain_loop(story.ws, story.other.id, "zh")
    story.erase()
    after = rows(story.ws.db, RawItem, key="=B1"), explain_loop(story.ws, story.other.id, "zh")
    assert before == after
    assert one(story.ws.db, Feedback, customer_id=story.other.customer_id).text.startswith(FEE)


def test_what_the_product_shows(story: Story) -> None:
    story.erase()
    ws = story.ws
    shown = [
        show_loop(ws, story.loop.id),
        show_loop(ws, story.fee.id),
        list_loops(ws),
        list_messages(ws),
        [tuple(row) for row in list_quarantine(ws)],
    ]
    assert found_in(str(shown)) == []
    with pytest.raises(InputError, match="no explanation"):
        explain_loop(ws, story.loop.id, "zh")


def test_the_history_says_who_erased_what(story: Story) -> None:
    before = number_of(story.ws.db, EventBody)
    done = story.erase()
    ws = story.ws
    erased = rows(ws.db, HistoryEvent, kind=EventKind.BODY_ERASED)
    data = [json.loads(e.data) for e in erased]
    gone = {d["event"] for d in data}
    assert len(erased) == len(gone) == done.bodies
    assert number_of(ws.db, EventBody) == before - done.bodies + 2, "and two that say why"
    assert {(d["why"], d["authority"]) for d in data} == {("customer", "customer_request")}
    assert {e.actor_id for e in erased} == {AUDIT.id}
    loops = {e.loop_id for e in rows(ws.db, HistoryEvent) if e.event_id in gone}
    assert loops == {story.loop.id, story.fee.id}
    said = one(ws.db, HistoryEvent, kind=EventKind.CUSTOMER_ERASED)
    ordered = {
        "customer": story.subject().customers[0],
        "loop": None,
        "authority": "customer_request",
        "retention": None,
    }
    begun = one(ws.db, HistoryEvent, kind=EventKind.CUSTOMER_ERASURE_BEGUN)
    assert json.loads(begun.data) == ordered
    assert (begun.actor_id, begun.seq < min(e.seq for e in erased)) == (AUDIT.id, True)
    assert json.loads(said.data) == ordered | {
        "loops": 2,
        "bodies": done.bodies,
        "items": done.items,
        "keys": 3,
        "messages": done.messages,
        "files": done.files,
    }
    for event in (begun, said):
        why = json.loads(one(ws.db, EventBody, event_id=event.event_id).body)["why"]
        assert why == "客户来函申请删除 139****5678"
    with ws.db.read() as tx:
        report = verify(tx)
    assert (report.ok, report.erased) == (True, done.bodies)


def test_rendered_files_go(story: Story) -> None:
    folder = story.ws.settings.messages.folder
    assert STAFF in written(folder)
    before = len(list(folder.rglob("*.eml")))
    done = story.erase()
    assert found_in(written(folder)) == []
    assert before - len(list(folder.rglob("*.eml"))) == done.files > 0
    assert done.missing == 0
    assert list(folder.rglob("*.eml")), "the other customer's messages"


def test_a_file_elsewhere_is_counted(story: Story) -> None:
    folder = story.ws.settings.messages.folder
    folder.rename(folder.with_name("moved"))
    done = story.erase()
    assert (done.files, done.missing > 0) == (0, True)


@pytest.mark.parametrize("authority", [a for a in Authority if a != Authority.RETENTION])
def test_every_body_says_why_and_by_what_authority(ws: Workspace, authority: Authority) -> None:
    """Without either, the auditor's program refuses that a body is gone."""
    take_in(ws, {"text": LOGIN})
    loop = one(ws.db, Loop).id
    withdraw(ws, loop)
    with ws.db.read() as tx:
        subject = find_subject(tx, ws, loop)
    assert erase(ws, subject, Order(authority, "来函", AUDIT), LATER).bodies
    gone = [json.loads(e.data) for e in rows(ws.db, HistoryEvent, kind=EventKind.BODY_ERASED)]
    assert {(e["why"], e["authority"]) for e in gone} == {("customer", authority.value)}


def test_a_second_time_finds_nothing(story: Story) -> None:
    story.erase()
    size = number_of(story.ws.db, HistoryEvent)
    assert story.erase().nothing
    assert number_of(story.ws.db, HistoryEvent) == size


def test_a_dry_run_counts_and_changes_nothing(
    story: Story, another: Callable[[], Workspace]
) -> None:
    before = dump(story.ws.db)
    trial = another()
    trial.db.dry_run = True
    counted = erase(trial, story.subject(), ORDER, LATER)
    assert dump(story.ws.db) == before
    done = story.erase()
    assert (counted.bodies, counted.items, counted.keys, counted.messages) == (
        done.bodies,
        done.items,
        done.keys,
        done.messages,
    )


@pytest.mark.parametrize(
    "keys",
    [[("phone", "+86 139-1234-5678")], [("mail", MAIL.upper())], [("number", NUMBER.lower())]],
)
def test_a_customer_is_found_by_a_key(story: Story, keys: list[tuple[str, str]]) -> None:
    with story.ws.db.read() as tx:
        assert find_subject(tx, story.ws, keys=keys) == story.subject()


def test_a_customer_is_found_by_any_of_their_ids(story: Story) -> None:
    with story.ws.db.read() as tx:
        everybody = {c.id for c in rows(story.ws.db, Customer)} - {story.other.customer_id}
        names = [*everybody, story.loop.id, story.fee.id[-5:].lower()]
        assert {find_subject(tx, story.ws, name) for name in names} == {story.subject()}
        assert len(everybody) == 2, "two who turned out to be one"


@pytest.mark.parametrize("who", [PHONE, "L260101-XXXXXXXX", "abc", ""])
def test_nobody_is_found_and_nothing_repeated(story: Story, who: str) -> None:
    with story.ws.db.read() as tx, pytest.raises(InputError) as refusal:
        find_subject(tx, story.ws, who)
    assert not who or who not in str(refusal.value)


def test_an_unknown_key_is_not_repeated(story: Story) -> None:
    with story.ws.db.read() as tx, pytest.raises(InputError) as refusal:
        find_subject(tx, story.ws, keys=[("phone", "13700000000")])
    assert "137" not in str(refusal.value)


def test_open_loops_must_be_closed_first(story: Story) -> None:
    take_in(story.ws, {"text": LOST, "customer": NUMBER}, {"text": UNCLEAR, "customer": NUMBER})
    before = dump(story.ws.db)
    with pytest.raises(TransitionRefused, match="not closed yet"):
        story.erase()
    assert dump(story.ws.db) == before
    done = story.erase(close=True)
    assert done.closed + done.decided == 2
    assert {loop.state for loop in rows(story.ws.db, Loop) if loop.id != story.other.id} == {
        "closed"
    }
    assert not [i for i in rows(story.ws.db, Issue) if i.state == "triage"]
    assert sound(story.ws.db)


def test_words_that_wait_are_triaged_first(story: Story) -> None:
    tell(story.ws, {"text": LOST, "customer": NUMBER})
    with pytest.raises(TransitionRefused, match="wait for triage"):
        story.erase(close=True)


def test_a_reason_is_needed(story: Story) -> None:
    with pytest.raises(InputError, match="reason"):
        erase(story.ws, story.subject(), Order(Authority.COURT, " ", AUDIT), LATER)


def test_a_loop_of_nobody_known(ws: Workspace) -> None:
    take_in(ws, {"text": f"{LOGIN}，{WORDS}"}, {"text": FEE})
    loop = next(r for r in rows(ws.db, Loop) if r.topic == "login")
    withdraw(ws, loop.id)
    with ws.db.read() as tx:
        subject = find_subject(tx, ws, loop.id)
    assert erase(ws, subject, ORDER, LATER).items == 1
    assert WORDS not in dump(ws.db)
    assert FEE in dump(ws.db)
    said = json.loads(one(ws.db, HistoryEvent, kind=EventKind.CUSTOMER_ERASED).data)
    assert (said["customer"], said["loop"]) == (None, loop.id)
    assert sound(ws.db)


def test_delivered_again_as_it_was_it_does_not_come_back(story: Story) -> None:
    ws = story.ws
    item = {"id": "A5", "text": f"{PRAISE}，{WORDS}", "customer": NUMBER}
    take_in(ws, item)
    drop(ws, f"{WORDS}，没有编号", source="posts")
    story.erase()
    assert tell(ws, item).duplicates == 1
    assert tell(ws, item | {"text": f"{PRAISE}，新的话"}).stored == 1, "new words are new"
    assert sound(ws.db)


def test_a_customer_who_comes_back_is_somebody_new(story: Story) -> None:
    story.erase()
    take_in(story.ws, {"text": LOGIN, "phone": PHONE}, now=LATER)
    newest = rows(story.ws.db, Feedback)[-1]
    assert newest.customer_id not in story.subject().customers
    assert sound(story.ws.db)


def test_a_replay_of_quarantine_leaves_it_alone(story: Story) -> None:
    story.erase()
    replay_quarantine(story.ws, "desk", AUDIT, LATER)
    assert {q.reason for q in rows(story.ws.db, Quarantine)} == {"erased"}
    assert list_quarantine(story.ws) == []


def test_a_big_loop_opened_by_their_words_keeps_its_own(ws: Workspace) -> None:
    """Its explanation quotes the customer and goes; what the firm decided about it stays."""
    take_in(ws, {"text": f"更新后转账失败，{WORDS}", "customer": NUMBER})
    small, big = one(ws.db, Loop, kind="small"), one(ws.db, Loop, kind="big")
    withdraw(ws, small.id)
    deliver(ws)
    with ws.db.read() as tx:
        subject = find_subject(tx, ws, small.id)
    erase(ws, subject, ORDER, LATER)
    assert WORDS not in dump(ws.db) + written(ws.settings.messages.folder)
    assert one(ws.db, Loop, kind="big") == big
    assert show_loop(ws, big.id)["small"] == [small.id]
    with pytest.raises(InputError, match="no explanation"):
        explain_loop(ws, big.id, "zh")
    assert sound(ws.db)


STEPS = ("close_all", "erase_messages", "erase_items", "erase_bodies", "finish")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("done", [False, True])
def test_killed_it_leaves_a_trace_and_can_be_run_again(
    story: Story, monkeypatch: pytest.MonkeyPatch, step: str, done: bool
) -> None:
    """At a step's beginning, or when its transaction has just been committed."""
    take_in(story.ws, {"text": LOST, "customer": NUMBER})
    real, size = erase.__globals__[step], number_of(story.ws.db, HistoryEvent)

    def killed(*arguments: Any) -> None:
        if done:
            real(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(f"tasks.privacy.erase.{step}", killed)
        with pytest.raises(KeyboardInterrupt):
            story.erase(close=True)
    new = sorted(rows(story.ws.db, HistoryEvent), key=lambda event: event.seq)[size:]
    assert (new[0].kind, new[0].actor_id) == (EventKind.CUSTOMER_ERASURE_BEGUN, AUDIT.id)
    assert json.loads(new[0].data)["authority"] == "customer_request"
    story.erase(close=True)
    assert found_in(dump(story.ws.db)) == []
    assert one(story.ws.db, HistoryEvent, kind=EventKind.CUSTOMER_ERASED)
    assert sound(story.ws.db)


def test_killed_when_nothing_was_left_it_still_ends(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of nobody known there are no keys that go last."""
    take_in(ws, {"text": LOGIN})
    loop = one(ws.db, Loop).id
    withdraw(ws, loop)
    with ws.db.read() as tx:
        subject = find_subject(tx, ws, loop)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("tasks.privacy.erase.finish", killed)
        with pytest.raises(KeyboardInterrupt):
            erase(ws, subject, ORDER, LATER)
    again = erase(ws, subject, ORDER, LATER)
    assert (again.ended, again.items, again.bodies) == (1, 0, 0)
    assert one(ws.db, HistoryEvent, kind=EventKind.CUSTOMER_ERASURE_BEGUN)
    assert one(ws.db, HistoryEvent, kind=EventKind.CUSTOMER_ERASED)
    assert erase(ws, subject, ORDER, LATER).nothing


def test_delivered_again_after_it_broke_off(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that offers its records again must not stand in the way of the rerun."""
    item = {"id": "A5", "text": f"{PRAISE}，{WORDS}", "customer": NUMBER}
    take_in(ws, item)
    take_in(ws, item | {"text": f"{PRAISE}，{SPOKEN}"})
    with ws.db.read() as tx:
        subject = find_subject(tx, ws, keys=[("number", NUMBER)])

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("tasks.privacy.erase.finish", killed)
        with pytest.raises(KeyboardInterrupt):
            erase(ws, subject, ORDER, LATER)
    take_in(ws, item)
    erase(ws, subject, ORDER, LATER)
    assert found_in(dump(ws.db)) == []
    assert tell(ws, item).duplicates == 1
    assert sound(ws.db)


def test_why_an_item_is_set_aside_quotes_nothing(story: Story) -> None:
    for broken in ({"received": WORDS}, {"complaint": [PHONE]}, {"text": {NAME: CARD}}):
        tell(story.ws, {"text": LOGIN, "phone": PHONE} | broken)
    reasons = [row.reason for row in rows(story.ws.db, Quarantine)]
    assert len(reasons) == 5
    assert found_in("\n".join(reasons)) == []
    story.erase()
    assert {row.reason for row in rows(story.ws.db, Quarantine)} == {"erased"}


def test_one_who_was_united_with_another_meanwhile(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The erasure began under one name and ends under another."""

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    ws, other = story.ws, story.other
    withdraw(ws, other.id, NOON + DAY)
    with monkeypatch.context() as patched, ws.db.read() as tx:
        subject = find_subject(tx, ws, other.customer_id)
        patched.setattr("tasks.privacy.erase.erase_items", killed)
        with pytest.raises(KeyboardInterrupt):
            erase(ws, subject, ORDER, LATER)
    drop(ws, HEADER, "S2,C2,13800138000,,gold,no,B1,yes,2026-01-01,", source="customers")
    drop(ws, HEADER, f"S3,C2,{PHONE},,gold,no,B1,yes,2026-01-02,", source="customers")
    survivor = story.subject()
    assert other.customer_id in survivor.customers
    with ws.db.read() as tx:
        assert broken_off(tx) == [survivor.name]
    story.erase()
    with ws.db.read() as tx:
        assert broken_off(tx) == []


class Died(Exception):
    pass


@contextmanager
def dying(db: Database, after: int) -> Iterator[list[int]]:
    """The connection dies at the n-th commit from now."""
    count = [0]

    def commit(_connection: Any) -> None:
        count[0] += 1
        if count[0] == after:
            raise Died

    sqlalchemy_event.listen(db.engine, "commit", commit)
    try:
        yield count
    finally:
        sqlalchemy_event.remove(db.engine, "commit", commit)


def test_broken_off_anywhere_it_ends_the_same(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.privacy.erase.SET", 2)
    take_in(story.ws, {"text": LOST, "customer": NUMBER})
    for after in range(1, 100):
        try:
            with dying(story.ws.db, after):
                story.erase(close=True)
            break
        except Died:
            continue
    assert 5 < after < 99
    assert found_in(dump(story.ws.db)) == []
    data = [json.loads(e.data) for e in rows(story.ws.db, HistoryEvent, kind="body.erased")]
    assert len({d["event"] for d in data}) == len(data), "each body once"
    assert one(story.ws.db, HistoryEvent, kind=EventKind.CUSTOMER_ERASED)
    assert sound(story.ws.db)


def test_words_that_come_in_meanwhile_are_erased_too(
    story: Story, another: Callable[[], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    other, real = another(), erase.__globals__["erase_passed"]

    def passed(*arguments: Any) -> Erased:
        done: Erased = real(*arguments)
        if number_of(story.ws.db, Feedback) == before:
            take_in(other, {"text": f"{PRAISE}，{SPOKEN}", "customer": NUMBER})
        return done

    before = number_of(story.ws.db, Feedback)
    monkeypatch.setattr("tasks.privacy.erase.erase_passed", passed)
    story.erase()
    assert number_of(story.ws.db, Feedback) == before + 1
    assert found_in(dump(story.ws.db)) == []


@pytest.mark.breaks_history
def test_a_body_that_goes_without_a_word_is_found(story: Story) -> None:
    story.erase()
    with story.ws.db.begin() as tx:
        bodies = table(EventBody)
        left = tx.execute(select(bodies.c.event_id).order_by(bodies.c.event_id)).scalars().first()
        tx.execute(bodies.delete().where(bodies.c.event_id == left))
    with story.ws.db.read() as tx:
        assert verify(tx).problem == "正文缺失 / the body is missing"


@pytest.mark.breaks_history
def test_a_body_that_comes_back_is_found(story: Story) -> None:
    """For instance out of a backup, put back by hand."""
    body = rows(story.ws.db, EventBody)[0]
    held = story.loop.id
    ids = [e.event_id for e in rows(story.ws.db, HistoryEvent, loop_id=held) if e.body_commit]
    body = one(story.ws.db, EventBody, event_id=ids[0])
    story.erase()
    with story.ws.db.begin() as tx:
        tx.execute(table(EventBody).insert().values(**body._mapping))
    with story.ws.db.read() as tx:
        assert "body was erased which is there" in str(verify(tx).problem)


def places(url: str, home: Path) -> list[Path]:
    """All files the database keeps."""
    folder = Path(url.split("host=")[1].split("&")[0]) if "host=" in url else home
    names = "*" if "host=" in url else "loopwright.db*"
    return [path for path in folder.rglob(names) if path.is_file()]


def bytes_found(files: list[Path]) -> set[str]:
    needles = {(c, c.encode(code)) for c in CANARIES for code in ("utf-8", "utf-16-le")}
    found = set()
    for file in files:
        content = file.read_bytes()
        found |= {canary for canary, needle in needles if needle in content}
    return found


def keep_bytes(db: Database) -> None:
    """As a database does that was built and used without thought of erasing."""
    with db.begin() as tx:
        tx.exec_driver_sql("PRAGMA secure_delete = OFF" if db.is_sqlite else "ANALYZE")


def test_after_a_scrub_no_byte_is_left(story: Story, url: str, home: Path) -> None:
    keep_bytes(story.ws.db)
    story.erase()
    assert bytes_found(places(url, home)), "erased rows are still in the files"
    result = scrub(story.ws.db, AUDIT, NOON)
    assert result.complete, result.left
    assert bytes_found(places(url, home)) == set()
    event = one(story.ws.db, HistoryEvent, kind=EventKind.DATABASE_SCRUBBED)
    assert (event.actor_id, json.loads(event.data)) == (
        AUDIT.id,
        {"done": len(result.done), "left": 0},
    )
    assert sound(story.ws.db)


def test_a_scrub_of_sqlite_says_when_it_is_in_use(
    story: Story, another: Callable[[], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.privacy.scrub.PATIENCE_MS", 100)
    if not story.ws.db.is_sqlite:
        pytest.skip("PostgreSQL serves many at once")
    story.erase()
    with another().db.read() as tx:
        tx.execute(select(func.count()).select_from(table(Loop))).scalar_one()
        result = scrub(story.ws.db, AUDIT, NOON)
    assert "-wal" in result.left[0]


@pytest.fixture
def acting(story: Story, url: str, home: Path) -> Iterator[Callable[[str], Workspace]]:
    """The story's database with the role layout; a workspace as one of the roles."""
    if story.ws.db.is_sqlite:
        pytest.skip("SQLite has no roles")
    with story.ws.db.begin() as tx:
        tx.exec_driver_sql(layout(ROLES))
    made: list[Database] = []

    def make(role: str) -> Workspace:
        address = make_url(url).set(username=role).render_as_string(hide_password=False)
        made.append(Database(address))
        return Workspace(settings_for(address, home), made[-1], run="as-role")

    yield make
    for db in made:
        db.close()


def test_the_eraser_may_and_the_application_may_not(
    story: Story, acting: Callable[[str], Workspace]
) -> None:
    before, subject = dump(story.ws.db), story.subject()
    with pytest.raises(EnvironmentFault, match="may not delete"):
        erase(acting(ROLES.application), subject, ORDER, LATER)
    assert dump(story.ws.db) == before
    erase(acting(ROLES.eraser), subject, ORDER, LATER)
    assert found_in(dump(story.ws.db)) == []
    assert sound(story.ws.db)


def test_an_owner_without_more_rights_says_what_is_left(
    story: Story, acting: Callable[[str], Workspace]
) -> None:
    story.erase()
    result = scrub(acting(ROLES.owner).db, AUDIT, NOON)
    assert 'VACUUM FULL "feedback"' in result.done
    left = "\n".join(result.left)
    for step in ("wal_recycle", "pg_statistic", "CHECKPOINT"):
        assert step in left
        assert step not in result.done
