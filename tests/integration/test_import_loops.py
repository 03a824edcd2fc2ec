"""Open cases of an older system become loops once, with their receipt, owner and history."""

import csv
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from loopwright.errors import InputError
from models.clock import Clock
from models.feedback import Feedback, RawItem
from models.history import EventBody, HistoryEvent
from models.issue import Issue
from models.kinds import Authority, EventKind
from models.loop import Loop, LoopIssue
from models.message import Message
from models.ticket import Ticket
from tasks.clocks.watch_clocks import watch_lease
from tasks.documents.publish import publish
from tasks.intake.ingest import ingest_file
from tasks.look import show_loop
from tasks.moving_in import import_loops
from tasks.moving_in.import_loops import Imported, Refusal, import_cases, preview
from tasks.moving_in.status_back import CaseStatus, as_csv, statuses
from tasks.privacy.erase import Order, erase
from tasks.privacy.personal import find_subject
from tasks.routing.decide import withdraw
from tasks.workspace import Workspace
from tests.cast import (
    AUDIT,
    DAY,
    FEE,
    LOGIN,
    NOON,
    OPS,
    documents,
    kinds_of,
    number_of,
    one,
    rows,
    settings_for,
    take_in,
    triage,
)

CASES = """
sources:
  - name: old
    title: {zh: 旧系统, en: Old system}
    yields: cases
    format: {kind: KIND}
    map:
      id: number
      text: [words]
      received_at: {field: received, format: "%Y-%m-%d %H:%M"}
      customer: {number: customer}
      status_names: {办理中: accepted, 已结: closed}
      values: {topic: topic, owner: owner, person: person, status: status, history: history}
"""
HEADER = [
    "number",
    "received",
    "customer",
    "words",
    "topic",
    "owner",
    "person",
    "status",
    "history",
]
CASE = {
    "number": "OLD-0001",
    "received": "2026-07-10 09:00",
    "customer": "C900001",
    "words": LOGIN,
    "topic": "login",
    "owner": "RK",
    "person": "rk.head",
    "status": "办理中",
    "history": "7-11 致电客户\n7-20 已请科技查",
}
"""Received on 10 July in Shanghai; by NOON, 3 August, its legal fifteen days have run out."""


@pytest.fixture
def moved(ws: Workspace, url: str, home: Path) -> Workspace:
    """A workspace whose documents know the older system."""
    return with_source(ws, url, home, "delimited")


def with_source(ws: Workspace, url: str, home: Path, kind: str) -> Workspace:
    publish(ws.db, documents(cases=CASES.replace("KIND", kind)), OPS, NOON)
    return Workspace(settings_for(url, home), ws.db, run="import-run")


def case(at: int = 1, **changed: str) -> dict[str, str]:
    own = {"number": f"OLD-{at:04}", "customer": f"C90000{at}"}
    return CASE | own | changed


def written(*cases: dict[str, str]) -> Path:
    text = io.StringIO()
    writer = csv.DictWriter(text, HEADER)
    writer.writeheader()
    writer.writerows(cases)
    path = Path("open.csv")
    path.write_text(text.getvalue(), "utf-8")
    return path


def take(ws: Workspace, *cases: dict[str, str], **more: Any) -> Imported:
    return import_cases(ws, ws.sources["old"], written(*cases), OPS, NOON, **more)


def test_a_case_comes_with_all_it_has(moved: Workspace) -> None:
    done = take(moved, case())
    assert (done.read, done.opened, done.refused) == (1, 1, [])
    loop, ticket = one(moved.db, Loop), one(moved.db, Ticket)
    assert (loop.state, loop.topic, loop.lead, loop.rule) == ("open", "login", "RK", "ordinary")
    assert loop.received_at == datetime(2026, 7, 10, 1, tzinfo=UTC)
    assert (ticket.unit, ticket.person, ticket.state) == ("RK", "rk.head", "accepted")
    events = rows(moved.db, HistoryEvent, loop_id=loop.id)
    assert kinds_of(events) == ["loop.opened", "ticket.assigned", "ticket.accepted"]
    assert {event.actor_id for event in events} == {"cx.ops"}


def test_clocks_run_from_the_original_receipt_and_the_owners_from_now(moved: Workspace) -> None:
    take(moved, case())
    clocks = {clock.kind: clock for clock in rows(moved.db, Clock)}
    assert clocks["legal"].started_at == datetime(2026, 7, 10, 1, tzinfo=UTC)
    assert clocks["legal"].due_at == datetime(2026, 7, 25, 16, tzinfo=UTC)
    assert clocks["owner"].started_at == NOON


def test_a_legal_clock_past_due_is_found_breached_and_climbs(moved: Workspace) -> None:
    take(moved, case(status=""))
    watch(moved, NOON)
    clocks = {clock.kind: clock for clock in rows(moved.db, Clock)}
    assert (clocks["legal"].breached_at, clocks["legal"].step) == (NOON, None)
    assert (clocks["customer"].breached_at, clocks["owner"].breached_at) == (NOON, None)
    watch(moved, NOON + 5 * DAY)
    assert one(moved.db, Clock, kind="legal").step == "ops"


def watch(ws: Workspace, now: datetime) -> None:
    while watch_lease(ws, now):
        pass


def test_a_second_import_changes_nothing(moved: Workspace) -> None:
    take(moved, case(1), case(2))
    before = number_of(moved.db, HistoryEvent)
    again = take(moved, case(1), case(2))
    assert (again.read, again.unchanged, again.opened, again.changed) == (2, 2, 0, [])
    # That the file was read, and all of it known.
    assert number_of(moved.db, HistoryEvent) == before + 1
    assert number_of(moved.db, Loop) == 2


def test_what_changed_there_is_said_and_changes_nothing_here(moved: Workspace) -> None:
    take(moved, case(1), case(2))
    done = take(moved, case(1, status="已结"), case(2))
    assert (done.opened, done.unchanged, done.changed) == (0, 1, ["OLD-0001"])
    assert {loop.state for loop in rows(moved.db, Loop)} == {"open"}
    assert triage(moved).feedback == 0


def test_history_is_in_the_body_and_erasable(moved: Workspace) -> None:
    take(moved, case())
    events = {e.event_id: e for e in rows(moved.db, HistoryEvent, kind=EventKind.LOOP_OPENED)}
    (body,) = [b.body for b in rows(moved.db, EventBody) if b.event_id in events]
    assert "7-20 已请科技查" in body
    (event,) = events.values()
    assert "OLD-0001" not in event.envelope
    assert "7-20" not in event.envelope


def test_what_was_erased_stays_erased(moved: Workspace) -> None:
    take(moved, case(1), case(2))
    with moved.db.read() as tx:
        subject = find_subject(tx, moved, None, [("number", "C900001")])
    order = Order(Authority.CUSTOMER_REQUEST, "客户来函", AUDIT)
    erase(moved, subject, order, NOON + DAY, close=True)
    assert not any("OLD-0001" in b.body for b in rows(moved.db, EventBody))
    assert any("OLD-0002" in b.body for b in rows(moved.db, EventBody))
    # The same file once more brings nothing back; status tells nothing of it.
    again = take(moved, case(1), case(2))
    assert (again.unchanged, again.opened, again.changed, again.refused) == (2, 0, [], [])
    assert [s.number for s in statuses(moved, moved.sources["old"])] == ["OLD-0002"]


def test_history_is_shown_masked(moved: Workspace) -> None:
    take(moved, case(history="7-11 致电 13812345678"))
    shown = show_loop(moved, one(moved.db, Loop).id)["events"][0]["words"]
    assert "致电" in shown["history"]
    assert "13812345678" not in shown["history"]


BAD = [
    ({"topic": "外星"}, "topic", "this topic is unknown here"),
    ({"owner": "外星部"}, "owner", "this owner is unknown here"),
    ({"person": "谁"}, "person", "this person is unknown here"),
    ({"received": "昨天"}, "received", "not a time of the form"),
    ({"received": ""}, "received", "empty"),
    ({"status": "搁置"}, "status", "a status that map.status_names does not know"),
]


@pytest.mark.parametrize(("broken", "column", "reason"), BAD)
def test_a_bad_line_is_named_and_the_rest_goes_in(
    moved: Workspace, broken: dict[str, str], column: str, reason: str
) -> None:
    done = take(moved, case(1), case(2, **broken), case(3))
    assert done.opened == 2
    (refused,) = done.refused
    assert (refused.file, refused.line, refused.number) == ("open.csv", 3, "OLD-0002")
    assert refused.column == column
    assert reason in refused.reason
    # Mended, it goes in; what is in stays as it is.
    again = take(moved, case(1), case(2), case(3))
    assert (again.opened, again.unchanged, again.refused) == (1, 2, [])


def test_titles_will_do_as_well_as_codes(moved: Workspace) -> None:
    take(moved, case(topic="登录不了", owner="risk", person="风控"))
    loop, ticket = one(moved.db, Loop), one(moved.db, Ticket)
    assert (loop.topic, loop.lead, ticket.person) == ("login", "RK", "rk.head")


def test_without_topic_and_owner_the_words_and_the_policy_decide(moved: Workspace) -> None:
    take(moved, case(words=FEE, topic="", owner="", person="", status=""))
    loop, ticket = one(moved.db, Loop), one(moved.db, Ticket)
    assert (loop.topic, loop.lead) == ("annual-fee", "CC")
    assert (ticket.person, ticket.state) == (None, "assigned")


def test_words_that_say_no_topic_wait_for_a_person(moved: Workspace) -> None:
    done = take(moved, case(words="就是觉得别扭", topic=""))
    assert (done.opened, done.waiting) == (0, 1)
    assert one(moved.db, Issue).state == "triage"
    assert take(moved, case(words="就是觉得别扭", topic="")).waiting == 0


def test_what_is_closed_there_stays_out(moved: Workspace) -> None:
    done = take(moved, case(1, status="已结"), case(2))
    assert (done.opened, done.closed, number_of(moved.db, Loop)) == (1, 1, 1)


def test_two_cases_of_one_customer_and_topic_are_one_loop(moved: Workspace) -> None:
    done = take(moved, case(1), case(2, customer="C900001"))
    assert (done.opened, done.joined) == (1, 1)
    assert number_of(moved.db, LoopIssue) == 2


def test_a_case_joins_the_loop_its_customer_has_here(moved: Workspace) -> None:
    take_in(moved, {"text": LOGIN, "customer": "C900001"})
    assert take(moved, case()).joined == 1
    assert one(moved.db, Loop).lead == "DB"


def test_later_feedback_with_the_old_number_joins(moved: Workspace) -> None:
    take(moved, case())
    counts = take_in(moved, {"text": LOGIN, "complaint": "OLD-0001"})
    assert (counts.opened, counts.joined) == (0, 1)


def test_units_are_told_unless_asked_not_to(moved: Workspace) -> None:
    take(moved, case(1))
    assert [m.template for m in rows(moved.db, Message)] == ["ticket_assigned"]
    take(moved, case(2), quiet=True)
    assert number_of(moved.db, Message) == 1


def test_ordinary_triage_never_takes_a_case(moved: Workspace) -> None:
    ingest_file(moved, moved.sources["old"], written(case()), NOON)
    assert triage(moved).feedback == 0
    assert take(moved, case()).opened == 1


def test_an_import_that_dies_is_finished_by_the_next(
    moved: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_loops, "PIECE", 2)
    real, calls = import_loops.settle, []

    def dying(*given: Any) -> None:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(*given)

    monkeypatch.setattr(import_loops, "settle", dying)
    cases = [case(n) for n in range(1, 6)]
    with pytest.raises(KeyboardInterrupt):
        take(moved, *cases)
    assert number_of(moved.db, Loop) == 2
    monkeypatch.setattr(import_loops, "settle", real)
    done = take(moved, *cases)
    assert (done.opened, done.unchanged, number_of(moved.db, Loop)) == (3, 5, 5)


def test_two_workers_open_each_case_once(
    moved: Workspace, another: Callable[[], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_loops, "PIECE", 3)
    ingest_file(moved, moved.sources["old"], written(*(case(n) for n in range(1, 10))), NOON)
    path = written(*(case(n) for n in range(1, 10)))
    workers = [another() for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda w: import_cases(w, w.sources["old"], path, OPS, NOON), workers))
    assert sum(one.opened for one in done) == number_of(moved.db, Loop) == 9


def test_looking_first_stores_nothing(moved: Workspace) -> None:
    take(moved, case(1), case(2))
    before = {m: number_of(moved.db, m) for m in (RawItem, Feedback, Loop, HistoryEvent)}
    path = written(
        case(1),
        case(2, words="改了"),
        case(3),
        case(4, owner="外星部"),
        case(5, received="?"),
        case(6, status="已结"),
    )
    done = preview(moved, moved.sources["old"], path)
    assert (done.read, done.unchanged, done.opened, done.closed) == (6, 1, 1, 1)
    assert done.changed == ["OLD-0002"]
    assert [(r.line, r.column) for r in done.refused] == [(5, "owner"), (6, "received")]
    assert {m: number_of(moved.db, m) for m in before} == before


def test_a_worksheet_comes_in_too(ws: Workspace, url: str, home: Path) -> None:
    moved = with_source(ws, url, home, "xlsx")
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.append(HEADER)
    book.active.append([case()[name] for name in HEADER])
    book.active.append([case(2, owner="?")[name] for name in HEADER])
    book.save("open.xlsx")
    done = import_cases(moved, moved.sources["old"], Path("open.xlsx"), OPS, NOON)
    assert done.opened == 1
    reason = "this owner is unknown here: write an id, or mend the documents"
    assert done.refused == [Refusal("open.xlsx", 3, "OLD-0002", "owner", reason)]


def test_only_a_source_of_cases_can_be_imported(moved: Workspace) -> None:
    with pytest.raises(InputError, match="yields feedback, no cases"):
        import_cases(moved, moved.sources["desk"], written(case()), OPS, NOON)


# Status back


def test_status_flows_back_by_the_old_numbers(moved: Workspace) -> None:
    take(moved, case(1), case(2), case(3, words="就是觉得别扭", topic=""))
    first, second = (status.loop for status in statuses(moved, moved.sources["old"])[:2])
    assert second is not None
    withdraw(moved, second, "客户来电撤回", OPS, NOON + DAY)
    found = {s.number: s for s in statuses(moved, moved.sources["old"])}
    assert found["OLD-0001"] == CaseStatus(
        number="OLD-0001",
        loop=first,
        state="open",
        outcome=None,
        unit="RK",
        merged_into=None,
        legal_due="2026-07-25T16:00:00+00:00",
        customer_due="2026-07-11T01:00:00+00:00",
        owner_due="2026-08-06T09:00:00+00:00",
        changed_at=NOON.isoformat(),
    )
    assert (found["OLD-0002"].state, found["OLD-0002"].outcome) == ("closed", "withdrawn")
    assert found["OLD-0002"].legal_due is None
    assert (found["OLD-0003"].state, found["OLD-0003"].loop) == ("waiting", None)


def test_only_what_changed_since(moved: Workspace) -> None:
    take(moved, case(1), case(2))
    second = statuses(moved, moved.sources["old"])[1].loop
    assert second is not None
    withdraw(moved, second, "客户来电撤回", OPS, NOON + DAY)
    since = statuses(moved, moved.sources["old"], NOON + timedelta(hours=1))
    assert [status.number for status in since] == ["OLD-0002"]


def test_a_spreadsheet_takes_no_cell_for_a_formula(moved: Workspace) -> None:
    take(moved, case(number="=1+1", history=""))
    header, line = as_csv(statuses(moved, moved.sources["old"])).splitlines()
    assert header.startswith("number,loop,state")
    assert line.startswith("'=1+1,")


def test_other_sources_are_not_in_it(moved: Workspace) -> None:
    take_in(moved, {"text": LOGIN, "customer": "C1"})
    assert statuses(moved, moved.sources["old"]) == []
