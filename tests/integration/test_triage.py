"""From feedback to loops: relations, doubt, big loops, and batches shared by workers."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from loopwright.errors import LoopwrightError
from models.feedback import Batch, Feedback
from models.history import HistoryEvent
from models.issue import Issue, Proposal
from models.kinds import EventKind
from models.loop import Loop, LoopIssue, LoopLink
from models.message import Message
from models.ticket import Ticket
from tasks.routing import triage as module
from tasks.routing.triage import (
    LEASE,
    MAX_ATTEMPTS,
    TriageCounts,
    claim,
    remind_triage,
    triage_batch,
    triage_lease,
)
from tasks.sweeps import stuck_batches
from tasks.workspace import Workspace
from tests.cast import (
    DAY,
    FEE,
    HOUR,
    LOGIN,
    LOST,
    NOON,
    PRAISE,
    UNCLEAR,
    UPDATE,
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

FATES: list[tuple[str, str, str | None, int]] = [
    (LOGIN, "looped", "ordinary", 1),
    (PRAISE, "noted", None, 0),
    ("请问怎么登录不了", "noted", None, 0),
    (UNCLEAR, "triage", None, 0),
    ("12345", "noted", None, 0),
    (LOST, "looped", "lost", 1),
]


@pytest.mark.parametrize(("text", "state", "rule", "loops"), FATES)
def test_the_fate_of_one_feedback(
    ws: Workspace, text: str, state: str, rule: str | None, loops: int
) -> None:
    take_in(ws, {"text": text})
    issue = one(ws.db, Issue)
    assert (issue.state, issue.rule, issue.policy) == (state, rule, "1")
    assert number_of(ws.db, Loop) == loops
    assert sound(ws.db)


def test_a_loop_has_a_ticket_a_message_and_a_story(ws: Workspace) -> None:
    loop = a_loop(ws, LOGIN, customer="C1")
    ticket = one(ws.db, Ticket)
    assert (loop.state, loop.lead, loop.rule, loop.version) == ("open", "DB", "ordinary", 1)
    assert (ticket.unit, ticket.role, ticket.state) == ("DB", "lead", "assigned")
    message = one(ws.db, Message)
    assert (message.key, message.unit) == (f"ticket_assigned:{ticket.id}", "DB")
    kinds = [e.kind for e in rows(ws.db, HistoryEvent, loop_id=loop.id)]
    assert kinds == [EventKind.LOOP_OPENED, EventKind.TICKET_ASSIGNED]


def test_an_issue_in_doubt_waits_with_a_due_time(ws: Workspace) -> None:
    counts = take_in(ws, {"text": UNCLEAR, "received": (NOON - 3 * HOUR).isoformat()})
    assert (counts.waiting, counts.opened) == (1, 0)
    issue = one(ws.db, Issue)
    assert issue.due_at == NOON - 3 * HOUR + timedelta(hours=24)
    assert issue.reason
    assert number_of(ws.db, Loop) == number_of(ws.db, Message) == 0


def test_a_loop_whose_route_is_in_doubt_starts_in_triage(ws: Workspace) -> None:
    loop = a_loop(ws, LOST, received=(NOON - HOUR).isoformat())
    assert (loop.state, loop.received_at) == ("triage", NOON - HOUR)
    assert number_of(ws.db, Ticket) == number_of(ws.db, Message) == 0


def test_several_issues_of_one_feedback(ws: Workspace) -> None:
    counts = take_in(ws, {"text": "登录不了，太差。年费也乱收，投诉！", "customer": "C1"})
    assert (counts.feedback, counts.issues, counts.opened) == (1, 2, 2)
    assert {row.topic for row in rows(ws.db, Loop)} == {"login", "annual-fee"}
    assert sorted(row.ordinal for row in rows(ws.db, Issue)) == [0, 1]


RELATIONS: list[tuple[str, dict[str, str], dict[str, str], timedelta, tuple[int, int]]] = [
    ("same customer, same topic", {"customer": "C1"}, {"customer": "C1"}, DAY, (0, 1)),
    ("same customer, another topic", {"customer": "C1"}, {"customer": "C1", "text": FEE}, DAY,
     (1, 0)),
    ("another customer", {"customer": "C1"}, {"customer": "C2"}, DAY, (1, 0)),
    ("no customer", {}, {}, DAY, (1, 0)),
    ("customer unknown the second time", {"customer": "C1"}, {}, DAY, (1, 0)),
    ("same number", {"complaint": "N1"}, {"complaint": "N1"}, DAY, (0, 1)),
    ("same number, another topic", {"complaint": "N1"}, {"complaint": "N1", "text": FEE}, DAY,
     (0, 1)),
    ("another number", {"complaint": "N1"}, {"complaint": "N2"}, DAY, (1, 0)),
    ("long open", {"customer": "C1"}, {"customer": "C1"}, 300 * DAY, (0, 1)),
]  # fmt: skip


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    ("first", "second", "after", "expected"),
    [case[1:] for case in RELATIONS],
    ids=[case[0] for case in RELATIONS],
)
def test_the_same_complaint_joins(
    ws: Workspace,
    first: dict[str, str],
    second: dict[str, str],
    after: timedelta,
    expected: tuple[int, int],
    together: bool,
) -> None:
    """Within one transaction and between two."""
    early, late = {"text": LOGIN} | first, {"text": LOGIN} | second
    if together:
        counts = take_in(ws, early, late)
    else:
        counts = take_in(ws, early)
        counts += take_in(ws, late, now=NOON + after)
    assert (counts.opened - 1, counts.joined) == expected
    assert number_of(ws.db, Loop) == number_of(ws.db, Ticket) == 1 + expected[0]
    assert sound(ws.db)


REOPENINGS: list[tuple[dict[str, str], timedelta, int]] = [
    ({"customer": "C1"}, DAY, 1),
    ({"customer": "C1"}, 30 * DAY, 1),
    ({"customer": "C1"}, 31 * DAY, 0),
    ({"complaint": "N1"}, DAY, 1),
    ({"complaint": "N1"}, 31 * DAY, 0),
]


@pytest.mark.parametrize(("who", "after", "reopened"), REOPENINGS)
def test_a_closed_loop_reopens_within_the_window(
    ws: Workspace, who: dict[str, str], after: timedelta, reopened: int
) -> None:
    loop = a_loop(ws, LOGIN, **who)
    withdraw(ws, loop.id)
    counts = take_in(ws, {"text": LOGIN} | who, now=NOON + after)
    assert (counts.reopened, counts.opened) == (reopened, 1 - reopened)
    if reopened:
        assert one(ws.db, Loop).state == "open"
        assert one(ws.db, Ticket).state == "assigned"
        message = one(ws.db, Message, template="loop_reopened", person=None)
        assert (message.unit, message.loop_id) == ("DB", loop.id)
    assert sound(ws.db)


def test_two_more_in_one_piece_reopen_once(ws: Workspace) -> None:
    loop = a_loop(ws, LOGIN, customer="C1")
    withdraw(ws, loop.id)
    counts = take_in(ws, {"text": LOGIN, "customer": "C1"}, {"text": LOGIN, "customer": "C1"})
    assert (counts.reopened, counts.joined, counts.opened) == (1, 1, 0)


@pytest.mark.parametrize("by", ["number", "version"])
def test_a_reopening_that_meets_an_open_loop_joins_it(ws: Workspace, by: str) -> None:
    """Two customers turn out to be one: a closed and an open loop on one topic."""
    same = {"complaint": "N1"} if by == "number" else {"id": "X"}
    closed = a_loop(ws, LOGIN, phone="13900000001", **same)
    withdraw(ws, closed.id)
    opened = a_loop(ws, LOGIN, customer="C1")
    drop(ws, "snapshot,number,phone,mail,band,vulnerable,branch,sms,from,to",
         "S1,C1,13900000001,,,,,,,", source="customers")  # fmt: skip
    counts = take_in(ws, {"text": LOGIN + "！"} | same, now=NOON + DAY)
    assert (counts.opened, counts.reopened, counts.joined) == (0, 0, 1)
    assert one(ws.db, Loop, id=closed.id).state == "closed"
    assert len(rows(ws.db, LoopIssue, loop_id=opened.id)) == 2
    assert sound(ws.db)


LONG = "登录不了，我已经换了三部手机、重装了五次软件，每次都停在同一个地方不动"


@pytest.mark.parametrize(
    ("texts", "proposals"),
    [
        ([LONG, LONG], 1),
        ([LONG, f"  {LONG} "], 1),
        ([LOGIN, LOGIN], 0),
        ([LONG, LONG + "啊"], 0),
    ],
)
def test_equal_long_words_without_a_customer_are_proposed(
    ws: Workspace, texts: list[str], proposals: int
) -> None:
    for text in texts:
        take_in(ws, {"text": text})
    assert number_of(ws.db, Loop) == 2
    found = rows(ws.db, Proposal)
    assert len(found) == proposals
    if found:
        first, second = sorted(rows(ws.db, Loop), key=lambda row: row.opened_at)
        assert {found[0].loop_id, found[0].into_id} == {first.id, second.id}
    assert LONG not in "".join(str(row.likeness) for row in rows(ws.db, Loop))


def test_equal_words_of_known_customers_are_not_proposed(ws: Workspace) -> None:
    take_in(ws, {"text": LONG, "customer": "C1"}, {"text": LONG, "customer": "C2"})
    assert number_of(ws.db, Proposal) == 0


@pytest.mark.parametrize("together", [True, False])
def test_a_big_loop_is_joined_by_the_next_customer(ws: Workspace, together: bool) -> None:
    items = [{"text": UPDATE, "customer": f"C{n}"} for n in range(3)]
    counts = take_in(ws, *items) if together else sum_of(ws, items)
    assert (counts.opened, counts.big) == (3, 1)
    big = one(ws.db, Loop, kind="big")
    small = rows(ws.db, Loop, kind="small")
    assert (big.state, big.customer_id, big.lead) == ("candidate", None, "DB")
    assert [row.state for row in small] == ["open"] * 3
    assert {link.small_id for link in rows(ws.db, LoopLink)} == {row.id for row in small}
    assert rows(ws.db, Ticket, loop_id=big.id) == []
    assert one(ws.db, Message, template="big_loop_candidate").unit == "CX"
    assert sound(ws.db)


def sum_of(ws: Workspace, items: list[dict[str, str]]) -> TriageCounts:
    total = TriageCounts()
    for n, item in enumerate(items):
        total += take_in(ws, item, now=NOON + n * HOUR)
    return total


def test_the_same_customer_again_links_once(ws: Workspace) -> None:
    for n in range(3):
        take_in(ws, {"text": UPDATE, "customer": "C1"}, now=NOON + n * HOUR)
    assert number_of(ws.db, LoopLink) == 1
    big = one(ws.db, Loop, kind="big")
    assert len(rows(ws.db, LoopIssue, loop_id=big.id)) == 3
    assert sound(ws.db)


def test_one_event_for_the_decisions_of_a_piece(ws: Workspace) -> None:
    take_in(ws, {"text": LOGIN}, {"text": PRAISE}, {"text": UNCLEAR}, {"text": PRAISE})
    event = one(ws.db, HistoryEvent, kind=EventKind.FEEDBACK_TRIAGED)
    data = json.loads(event.data)
    assert {k: data[k] for k in ("feedback", "issues", "noted", "waiting", "looped")} == {
        "feedback": 4,
        "issues": 4,
        "noted": 2,
        "waiting": 1,
        "looped": 1,
    }
    assert (event.policy_version, event.run_id) == ("1", "test-run")
    assert event.loop_id is None


def test_pieces_keep_transactions_small(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE_OPENING", 3)
    monkeypatch.setattr(module, "PIECE", 5)
    counts = take_in(ws, *({"text": LOGIN, "customer": f"C{n}"} for n in range(7)),
                     *({"text": PRAISE} for _ in range(6)))  # fmt: skip
    assert (counts.feedback, counts.opened, counts.noted) == (13, 7, 6)
    sizes = [
        json.loads(e.data)["feedback"]
        for e in rows(ws.db, HistoryEvent, kind=EventKind.FEEDBACK_TRIAGED)
    ]
    assert sum(sizes) == 13
    assert max(sizes) <= 5
    assert sound(ws.db)


def test_two_workers_share_batches(ws: Workspace, another: Callable[[], Workspace]) -> None:
    for n in range(6):
        tell(ws, *({"text": LOGIN, "customer": f"C{n}-{m}"} for m in range(3)))
    one_, two = another(), another()
    mine, yours = claim(one_, NOON, 9), claim(two, NOON, 9)
    assert len(mine) == len(yours) == 3
    assert not {b.id for b in mine} & {b.id for b in yours}
    assert claim(ws, NOON, 9) == []
    for worker, batches in ((one_, mine), (two, yours)):
        for batch in batches:
            assert triage_batch(worker, batch, NOON).opened == 3
    assert triage_lease(ws, NOON + 2 * LEASE) is None
    assert number_of(ws.db, Loop) == 18
    assert sound(ws.db)


def test_an_expired_lease_is_taken_over_and_the_late_write_refused(
    ws: Workspace, another: Callable[[], Workspace]
) -> None:
    tell(ws, {"text": LOGIN, "customer": "C1"})
    slow, quick = another(), another()
    [batch] = claim(slow, NOON, 10)
    assert claim(quick, NOON + LEASE - HOUR / 60, 10) == []
    later = NOON + LEASE
    assert triage(quick, later).opened == 1
    assert triage_batch(slow, batch, later) == TriageCounts()
    assert number_of(ws.db, Issue) == number_of(ws.db, Loop) == 1
    assert sound(ws.db)


def test_the_late_worker_is_refused_even_while_the_other_still_works(ws: Workspace) -> None:
    tell(ws, {"text": LOGIN})
    [batch] = claim(ws, NOON, 10)
    claim(ws, NOON + LEASE, 10)
    with pytest.raises(LoopwrightError, match="taken over"), ws.db.begin() as tx:
        module.advance(tx, batch, 1, NOON)
    assert triage_batch(ws, batch, NOON).feedback == 0
    assert number_of(ws.db, Issue) == 0


def test_a_worker_that_died_half_way_is_continued(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECE", 2)
    tell(ws, *({"text": PRAISE} for _ in range(5)))
    real, done = module.settle, []

    def dying(*arguments: object) -> object:
        done.append(1)
        if len(done) == 2:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(module, "settle", dying)
        with pytest.raises(KeyboardInterrupt):
            triage_lease(ws, NOON)
    assert one(ws.db, Batch).position == 2
    assert triage_lease(ws, NOON + LEASE - HOUR / 60) is None
    assert triage(ws, NOON + LEASE).feedback == 3
    assert number_of(ws.db, Issue) == 5
    assert sound(ws.db)


def test_a_batch_that_kills_its_worker_is_left_for_a_person(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the one that was leased with it each time is not."""

    def dying(*_arguments: object) -> None:
        raise KeyboardInterrupt

    tell(ws, {"text": LOGIN})
    tell(ws, {"text": FEE})
    now = NOON
    with monkeypatch.context() as patch:
        patch.setattr(module, "read", dying)
        for _ in range(MAX_ATTEMPTS):
            with pytest.raises(KeyboardInterrupt):
                triage_lease(ws, now)
            now += LEASE
    assert [b.attempts for b in rows(ws.db, Batch)] == [MAX_ATTEMPTS, 0]
    assert triage(ws, now).feedback == 1
    assert one(ws.db, Loop).topic == "annual-fee"
    assert triage_lease(ws, now + LEASE) is None
    event = one(ws.db, HistoryEvent, kind=EventKind.FEEDBACK_GIVEN_UP)
    lost = next(batch for batch in rows(ws.db, Batch) if batch.done_at is None)
    assert json.loads(event.data) == {
        "batch": lost.id,
        "source": "desk",
        "first": 0,
        "feedback": 1,
        "attempts": MAX_ATTEMPTS,
    }
    assert event.at == now, "when its last lease had run out"
    assert one(ws.db, Message, template="triage_stuck").unit == "CX"
    assert stuck_batches(ws) == 1


def test_nothing_waits(ws: Workspace) -> None:
    assert triage_lease(ws, NOON) is None
    drop(ws, LOGIN)
    triage(ws)
    assert triage_lease(ws, NOON + 9 * LEASE) is None


def test_the_customers_words_are_never_altered(ws: Workspace) -> None:
    words = "  登录不了！！ 电话13900000001\t"
    tell(ws, {"text": words})
    before = one(ws.db, Feedback).text
    triage(ws)
    assert one(ws.db, Feedback).text == before
    assert before.strip() == words.strip()


def test_operations_are_reminded_once_a_local_day(ws: Workspace) -> None:
    assert not remind_triage(ws, NOON)
    take_in(ws, {"text": UNCLEAR})
    midnight = NOON + 12 * HOUR  # 00:00 in Shanghai
    told = [remind_triage(ws, at) for at in (NOON, NOON + HOUR, midnight - HOUR / 60, midnight)]
    assert told == [True, False, False, True]
    assert {m.unit for m in rows(ws.db, Message, template="triage_waiting")} == {"CX"}
