"""What people do with clocks: pause, resume, extend, begin anew; recounts, merges and reviews."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from loopwright.errors import ConflictError, InputError, NotPermitted, TransitionRefused
from loopwright.history.envelope import Actor
from models.approval import Approval
from models.clock import Clock, Recount
from models.history import EventBody, HistoryEvent
from models.kinds import EventKind, How, Told
from models.loop import Loop
from models.message import Message
from models.ticket import Ticket
from tasks.approval.approvals import approve, request_more_time
from tasks.clocks.changes import Proof, pause, resume
from tasks.clocks.recompute import RecomputeCounts, follow_calendars, recompute_lease, uncertain
from tasks.clocks.regulate import Wish, extend, new_facts, review
from tasks.clocks.watch_clocks import watch_lease
from tasks.documents.publish import publish
from tasks.look import show_loop
from tasks.merge import merge, unmerge
from tasks.tickets.hand_off import resolve
from tasks.verification.tell import tell_customer
from tasks.workspace import Workspace
from tests.cast import (
    DAY,
    HOUR,
    NOON,
    OPS,
    ZHANG,
    a_loop,
    document,
    documents,
    one,
    rows,
    take_in,
    ticket_of,
)

LAW = """
regulation: test-law
title: {zh: 测试规定, en: Test law}
law: {zh: 测试办法第一号, en: Test order No. 1}
effective: "2020-03-01"
articles:
  - {id: limits, title: {zh: 期限, en: Limits}, says: {zh: 十五日, en: Fifteen days}, number: "20"}
  - {id: outside, title: {zh: 外部鉴定, en: Outside work}, says: {zh: 不计入, en: Not counted}}
  - {id: facts, title: {zh: 新事实, en: New facts}, says: {zh: 重新计算, en: Again}}
  - {id: review, title: {zh: 核查, en: Review}, says: {zh: 三十日, en: Thirty days}}
clocks:
  - id: legal
    kind: legal
    title: {zh: 法定, en: Legal}
    starts: receipt
    stops: told
    calendar_days: 15
    warn_before_hours: 72
    loop: small
  - id: legal-review
    kind: legal
    title: {zh: 核查, en: Review}
    starts: receipt
    stops: told
    calendar_days: 30
    loop: small
extensions:
  - {id: complex, title: {zh: 复杂, en: Complex}, days: 15, article: limits}
  - id: very-complex
    title: {zh: 特别复杂, en: Very complex}
    days: 30
    article: limits
    after: complex
    level: superior
    notice: true
exclusions:
  - id: appraisal
    title: {zh: 鉴定, en: Appraisal}
    proof: evidence
    notice: true
    article: outside
merging: facts
new_facts: facts
review: {days: 30, article: review, clock: legal-review}
"""
CLOCKS = document("clocks")
WITHOUT_LEGAL = "".join(
    line for line in CLOCKS.splitlines(keepends=True) if "{id: legal," not in line
).replace(
    "business_days: 3,",
    "business_days: 3, pauses: [{id: waiting, title: {zh: 等客户, en: Waiting}, proof: asked}],",
)
CHIEF = Actor("person", "ho.chief", "cli")


def shanghai(month: int, day: int, hour: int = 0, minute: int = 0, year: int = 2026) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=UTC) - 8 * HOUR


def law_documents(**changed: str) -> dict[str, bytes]:
    """The tests' set with a regulation, and with 2026 published."""
    return documents(
        **({"clocks": WITHOUT_LEGAL, "regulation": LAW, "office-2026": year()} | changed)
    )


def year(number: int = 2026, off: str | None = None) -> str:
    """A calendar year, with one day off."""
    day = f"\n  - {{day: '{off}', kind: holiday, title: {{zh: 假, en: Off}}}}" if off else " []"
    return f"calendar: office\nyear: {number}\npublished: true\noverrides:{day}\n"


@pytest.fixture
def law(ws: Workspace) -> Workspace:
    """A workspace whose legal clock comes from a regulation."""
    publish(ws.db, law_documents(), OPS, NOON)
    return Workspace(ws.settings, ws.db, run="test-run")


def clock_of(ws: Workspace, spec: str, **where: Any) -> Any:
    return one(ws.db, Clock, spec=spec, **where)


def events_of(ws: Workspace, kind: EventKind) -> list[dict[str, Any]]:
    return [json.loads(e.data) for e in rows(ws.db, HistoryEvent, kind=kind)]


def bodies_of(ws: Workspace, kind: EventKind) -> list[dict[str, Any]]:
    found = []
    for event in rows(ws.db, HistoryEvent, kind=kind):
        found += [json.loads(b.body) for b in rows(ws.db, EventBody, event_id=event.event_id)]
    return found


APPRAISED = Proof("appraisal", "委托书 2026-118", "短信 88231")
ASKED = Proof("waiting", "来电记录 7712")


# Pauses


def test_a_pause_gives_back_the_working_time_that_passed(law: Workspace) -> None:
    """Three working days from Monday noon: Thursday 17:00; paused Tuesday 15:00 to Wednesday 11:00,
    that is two hours and two."""
    loop = a_loop(law)
    assert clock_of(law, "owner").due_at == shanghai(8, 6, 17)
    pause(law, loop.id, "owner", ASKED, ZHANG, shanghai(8, 4, 15))
    still = clock_of(law, "owner")
    assert (still.paused_at, still.next_at) == (shanghai(8, 4, 15), None)
    resume(law, loop.id, "owner", ZHANG, shanghai(8, 5, 11))
    again = clock_of(law, "owner")
    assert (again.paused_at, again.due_at) == (None, shanghai(8, 7, 13))
    assert again.next_at == shanghai(8, 6, 13), "reminded eight working hours before"
    (resumed,) = events_of(law, EventKind.CLOCK_RESUMED)
    assert resumed["was"] == shanghai(8, 6, 17).isoformat()
    assert resumed["due_at"] == shanghai(8, 7, 13).isoformat()
    (paused,) = events_of(law, EventKind.CLOCK_PAUSED)
    assert paused["reason"] == "waiting"
    assert bodies_of(law, EventKind.CLOCK_PAUSED) == [{"proof": "来电记录 7712"}]


def test_pausing_and_resuming_at_once_changes_nothing(law: Workspace) -> None:
    loop = a_loop(law)
    before = {c.id: c.due_at for c in rows(law.db, Clock)}
    for name, proof in (("owner", ASKED), ("legal", APPRAISED)):
        pause(law, loop.id, name, proof, ZHANG, shanghai(8, 4, 15))
        resume(law, loop.id, name, ZHANG, shanghai(8, 4, 15))
    assert {c.id: c.due_at for c in rows(law.db, Clock)} == before


def test_the_laws_pause_excludes_days_and_needs_evidence_and_notice(law: Workspace) -> None:
    loop = a_loop(law)
    assert clock_of(law, "legal").due_at == shanghai(8, 19)
    at = shanghai(8, 5, 10)
    with pytest.raises(InputError, match="outside"):
        pause(law, loop.id, "legal", replace(APPRAISED, evidence=" "), OPS, at)
    with pytest.raises(InputError, match=r"must be told to the complainant \(outside\)"):
        pause(law, loop.id, "legal", replace(APPRAISED, notice=""), OPS, at)
    with pytest.raises(InputError, match="测试办法第一号"):
        pause(law, loop.id, "legal", ASKED, OPS, at)
    pause(law, loop.id, "legal", APPRAISED, OPS, at)
    with pytest.raises(TransitionRefused, match="stands still already"):
        pause(law, loop.id, "legal", APPRAISED, OPS, at)
    resume(law, loop.id, "legal", OPS, shanghai(8, 12, 9))
    assert clock_of(law, "legal").due_at == shanghai(8, 26)


def test_what_must_not_stand_still_does_not(law: Workspace) -> None:
    loop = a_loop(law)
    with pytest.raises(InputError, match="never stands still"):
        pause(law, loop.id, "customer", ASKED, OPS, NOON)
    with pytest.raises(InputError, match="has no clock 'oowner'"):
        pause(law, loop.id, "oowner", ASKED, OPS, NOON)
    with pytest.raises(TransitionRefused, match="is not paused"):
        resume(law, loop.id, "owner", OPS, NOON)
    with pytest.raises(TransitionRefused, match="ran out"):
        pause(law, loop.id, "owner", ASKED, OPS, shanghai(8, 6, 17))
    resolve(law, ticket_of(law, loop.id).id, "C01", "已恢复", ZHANG, NOON + HOUR)
    with pytest.raises(TransitionRefused, match="has stopped"):
        pause(law, loop.id, "owner", ASKED, OPS, NOON + 2 * HOUR)


def test_a_clock_that_stands_still_is_not_watched(law: Workspace) -> None:
    loop = a_loop(law)
    pause(law, loop.id, "owner", ASKED, ZHANG, NOON + HOUR)
    while watch_lease(law, NOON + 20 * DAY):
        pass
    assert clock_of(law, "owner").breached_at is None
    assert clock_of(law, "customer").breached_at is not None


# Extensions


def test_an_extension_without_approver_or_notice_is_refused_with_the_article(
    law: Workspace,
) -> None:
    loop = a_loop(law)
    told = Wish("very-complex", "三方系统取证", "函 2026-7", How.LETTER)
    with pytest.raises(InputError, match=r"test-law art\. 20 期限"):
        extend(law, loop.id, told, OPS, NOON + DAY)  # not before the first
    given = extend(law, loop.id, Wish("complex", "涉及两家机构"), OPS, NOON + DAY)
    assert (given.approval, given.due_at) == (None, shanghai(9, 3).isoformat())
    with pytest.raises(InputError, match=r"complainant was told: test-law art\. 20 期限"):
        extend(law, loop.id, replace(told, notice=""), OPS, NOON + DAY)
    with pytest.raises(InputError, match="needs a reason"):
        extend(law, loop.id, replace(told, reason=" "), OPS, NOON + DAY)
    asked = extend(law, loop.id, told, OPS, NOON + DAY)
    assert asked.due_at is None
    assert clock_of(law, "legal").due_at == shanghai(9, 3)
    with pytest.raises(NotPermitted, match=r"art\. 20|limits"):
        approve(law, str(asked.approval), ZHANG, NOON + DAY)
    with pytest.raises(ConflictError):
        extend(law, loop.id, told, OPS, NOON + DAY)
    assert clock_of(law, "legal").due_at == shanghai(9, 3)


def test_with_both_it_has_a_new_due_time_and_both_facts(law: Workspace) -> None:
    loop = a_loop(law)
    extend(law, loop.id, Wish("complex", "涉及两家机构"), OPS, NOON + DAY)
    told = Wish("very-complex", "三方系统取证", "函 2026-7", How.LETTER)
    asked = extend(law, loop.id, told, OPS, NOON + 2 * DAY)
    approve(law, str(asked.approval), CHIEF, NOON + 3 * DAY)
    clock = clock_of(law, "legal")
    assert (clock.due_at, clock.extension) == (shanghai(10, 3), "very-complex")
    first, second = events_of(law, EventKind.CLOCK_EXTENDED)
    assert (first["was"], first["due_at"]) == (
        shanghai(8, 19).isoformat(),
        shanghai(9, 3).isoformat(),
    )
    assert (second["approval"], second["how"], second["article"]) == (
        asked.approval,
        "letter",
        "test-law limits",
    )
    assert one(law.db, Approval, id=asked.approval).state == "granted"
    (requested,) = bodies_of(law, EventKind.APPROVAL_REQUESTED)
    assert requested == {"reason": "三方系统取证", "notice": "函 2026-7"}
    changes = show_loop(law, loop.id)["clock_changes"]
    assert [(c["why"], c["was"], c["due_at"]) for c in changes] == [
        ("complex", shanghai(8, 19).isoformat(), shanghai(9, 3).isoformat()),
        ("very-complex", shanghai(9, 3).isoformat(), shanghai(10, 3).isoformat()),
    ]


def test_no_extension_after_the_period_or_twice(law: Workspace) -> None:
    loop = a_loop(law)
    extend(law, loop.id, Wish("complex", "涉及两家机构"), OPS, NOON)
    with pytest.raises(InputError, match="given already"):
        extend(law, loop.id, Wish("complex", "涉及两家机构"), OPS, NOON)
    with pytest.raises(InputError, match="knows no extension"):
        extend(law, loop.id, Wish("holiday", "放假"), OPS, NOON)
    told = Wish("very-complex", "三方系统取证", "函 2026-7", How.LETTER)
    with pytest.raises(TransitionRefused, match="too late"):
        extend(law, loop.id, told, OPS, shanghai(9, 3))


def test_an_extension_while_it_stands_still_is_counted_when_it_runs_on(law: Workspace) -> None:
    loop = a_loop(law)
    pause(law, loop.id, "legal", APPRAISED, OPS, shanghai(8, 5, 10))
    extend(law, loop.id, Wish("complex", "涉及两家机构"), OPS, shanghai(8, 6, 10))
    assert clock_of(law, "legal").next_at is None
    resume(law, loop.id, "legal", OPS, shanghai(8, 7, 9))
    assert clock_of(law, "legal").due_at == shanghai(9, 5)


def test_more_of_the_owners_time_is_counted_in_working_days(law: Workspace) -> None:
    loop = a_loop(law)
    asked = request_more_time(law, ticket_of(law, loop.id).id, 2, "等供应商", ZHANG, NOON)
    approve(law, asked, CHIEF, NOON + HOUR)
    assert clock_of(law, "owner").due_at == shanghai(8, 10, 17)
    assert clock_of(law, "legal").due_at == shanghai(8, 19)


# New facts and reviews


def test_new_facts_begin_the_period_again_and_keep_the_old_clock(law: Workspace) -> None:
    loop = a_loop(law)
    old = clock_of(law, "legal")
    new_facts(law, loop.id, shanghai(8, 10, 9), "补交转账凭证", OPS, shanghai(8, 10, 12))
    kept, fresh = sorted(rows(law.db, Clock, spec="legal"), key=lambda c: c.started_at)
    assert (kept.id, kept.due_at, kept.stopped_at) == (
        old.id,
        shanghai(8, 19),
        shanghai(8, 10, 12),
    )
    assert (fresh.started_at, fresh.due_at, fresh.stopped_at) == (
        shanghai(8, 10, 9),
        shanghai(8, 26),
        None,
    )
    assert fresh.next_at == shanghai(8, 23, 8), "three days before, after the quiet hours"
    with pytest.raises(InputError, match="do not fit"):
        new_facts(law, loop.id, shanghai(8, 9), "更早", OPS, shanghai(8, 11))
    with pytest.raises(InputError, match="do not fit"):
        new_facts(law, loop.id, shanghai(8, 12), "未来", OPS, shanghai(8, 11))


def told_at(ws: Workspace, loop: str, at: datetime) -> None:
    tell_customer(ws, loop, Told.DECISION, How.LETTER, "函 1", OPS, at)


def test_new_facts_after_the_decision_start_the_legal_clock_again(law: Workspace) -> None:
    loop = a_loop(law)
    told_at(law, loop.id, NOON + DAY)
    new_facts(law, loop.id, NOON + 2 * DAY, "新的录音", OPS, NOON + 2 * DAY)
    kept, fresh = sorted(rows(law.db, Clock, spec="legal"), key=lambda c: c.started_at)
    assert kept.stopped_at == NOON + DAY
    assert (fresh.started_at, fresh.due_at) == (NOON + 2 * DAY, shanghai(8, 21))


def decided(ws: Workspace) -> Any:
    """A loop whose department is done and whose customer was told on Tuesday."""
    loop = a_loop(ws)
    resolve(ws, ticket_of(ws, loop.id).id, "C01", "已恢复", ZHANG, NOON + HOUR)
    told_at(ws, loop.id, NOON + DAY)
    return loop


def test_a_review_in_time_goes_to_the_unit_above(law: Workspace) -> None:
    loop = decided(law)
    day_30 = shanghai(9, 3, 23, 59)
    review(law, loop.id, day_30, "不认可处理结果", OPS, shanghai(9, 4, 10))
    row = one(law.db, Loop, id=loop.id)
    assert (row.state, row.lead) == ("open", "HO")
    states = {t.unit: t.state for t in rows(law.db, Ticket, loop_id=loop.id)}
    assert states == {"DB": "resolved", "HO": "assigned"}
    answer = clock_of(law, "legal-review")
    assert (answer.started_at, answer.due_at) == (day_30, shanghai(10, 4))
    assert clock_of(law, "owner", ticket_id=ticket_of(law, loop.id).id) is not None
    assert bodies_of(law, EventKind.LOOP_REVIEW_REQUESTED) == [{"reason": "不认可处理结果"}]
    resolve(law, one(law.db, Ticket, unit="HO").id, "C01", "维持原决定", CHIEF, shanghai(9, 5))
    assert one(law.db, Loop, id=loop.id).state == "resolved"


def test_a_review_too_late_or_too_early_is_refused(law: Workspace) -> None:
    loop = decided(law)
    with pytest.raises(InputError, match="test-law review 核查"):
        review(law, loop.id, shanghai(9, 4), "不认可", OPS, shanghai(9, 4, 10))
    with pytest.raises(InputError, match="yet to come"):
        review(law, loop.id, shanghai(9, 3), "不认可", OPS, shanghai(9, 1))
    review(law, loop.id, shanghai(9, 3), "不认可", OPS, shanghai(9, 3, 9))
    told_at(law, loop.id, shanghai(9, 4))
    with pytest.raises(InputError, match="asked for already"):
        review(law, loop.id, shanghai(9, 5), "不认可", OPS, shanghai(9, 5, 9))


def test_no_review_before_a_decision(law: Workspace) -> None:
    loop = a_loop(law)
    with pytest.raises(TransitionRefused, match="nothing is decided"):
        review(law, loop.id, NOON + DAY, "不认可", OPS, NOON + DAY)


def test_without_a_regulation_there_are_no_rules_to_use(ws: Workspace) -> None:
    loop = a_loop(ws)
    with pytest.raises(InputError, match="no clock of a regulation"):
        extend(ws, loop.id, Wish("complex", "复杂"), OPS, NOON)
    with pytest.raises(InputError, match="no clock of a regulation"):
        new_facts(ws, loop.id, NOON, "新的", OPS, NOON)


# Calendars


def republish(ws: Workspace, **changed: str) -> Workspace:
    publish(ws.db, law_documents(**changed), OPS, NOON)
    return Workspace(ws.settings, ws.db, run="test-run")


def off(day: str) -> dict[str, str]:
    return {"office-2026": year(off=day)}


YEAR_END = shanghai(12, 28, 10)


def test_a_missing_year_is_provisional_and_recounted_when_it_comes(law: Workspace) -> None:
    """Two of the three working days after Monday 28 December lie before the new year."""
    take_in(law, {"text": "登录不了，太差", "received": YEAR_END.isoformat()}, now=YEAR_END)
    clock = clock_of(law, "owner")
    assert (clock.due_at, clock.provisional) == (shanghai(12, 31, 17), False)
    asked = request_more_time(law, clock.ticket_id, 2, "等供应商", ZHANG, YEAR_END)
    approve(law, asked, CHIEF, YEAR_END)
    clock = clock_of(law, "owner")
    assert (clock.due_at, clock.provisional) == (shanghai(1, 5, 17, year=2027), True)
    counts = follow_calendars(law, YEAR_END)
    assert counts.warned == 1
    assert follow_calendars(law, YEAR_END) == RecomputeCounts(), "once"
    (word,) = rows(law.db, Message, template="calendar_missing")
    assert (word.unit, word.loop_id, word.values) == ("CX", None, {"year": 2027})

    fresh = republish(law, **{"office-2027": year(2027, off="2027-01-04")})
    assert follow_calendars(fresh, YEAR_END + DAY).recomputed == 1
    clock = clock_of(law, "owner")
    assert (clock.due_at, clock.provisional) == (shanghai(1, 6, 17, year=2027), False)
    (told,) = events_of(law, EventKind.CLOCK_RECOMPUTED)
    assert (told["why"], told["was"], told["due_at"], told["provisional"]) == (
        "calendar",
        shanghai(1, 5, 17, year=2027).isoformat(),
        shanghai(1, 6, 17, year=2027).isoformat(),
        False,
    )
    assert follow_calendars(fresh, YEAR_END + DAY) == RecomputeCounts()


def test_a_calendar_edit_moves_running_clocks_in_chunks_and_goes_on_where_it_was(
    law: Workspace,
) -> None:
    loops = [a_loop(law, customer=f"C{n}") for n in range(5)]
    resolve(law, ticket_of(law, loops[0].id).id, "C01", "已恢复", ZHANG, NOON + HOUR)
    fresh = republish(law, **off("2026-08-05"))
    assert follow_calendars(law, NOON + HOUR) == RecomputeCounts(), "opened before the publication"
    done = []
    while counts := recompute_lease(fresh, NOON + HOUR, limit=4):
        done.append(counts)
        assert counts.recounted <= 4
        fresh = Workspace(fresh.settings, fresh.db, run="another")
    assert sum(c.recomputed for c in done) == 4, "of those that still run"
    assert len(done) >= 3
    due = {c.loop_id: c.due_at for c in rows(law.db, Clock, spec="owner")}
    assert due == {loop.id: shanghai(8, 6 if loop is loops[0] else 7, 17) for loop in loops}
    assert one(law.db, Recount, publication=3).moved == 4


def test_a_pause_and_an_extension_survive_a_calendar_edit(law: Workspace) -> None:
    loop = a_loop(law)
    asked = request_more_time(law, ticket_of(law, loop.id).id, 1, "等供应商", ZHANG, NOON)
    approve(law, asked, CHIEF, NOON)
    pause(law, loop.id, "owner", ASKED, ZHANG, shanghai(8, 4, 15))
    resume(law, loop.id, "owner", ZHANG, shanghai(8, 5, 11))
    assert clock_of(law, "owner").due_at == shanghai(8, 10, 13)
    fresh = republish(law, **off("2026-08-10"))
    assert follow_calendars(fresh, shanghai(8, 6)).recomputed == 1
    assert clock_of(law, "owner").due_at == shanghai(8, 11, 13)


def test_another_length_is_for_later_clocks(law: Workspace) -> None:
    loop = a_loop(law)
    clocks = WITHOUT_LEGAL.replace("business_days: 3,", "business_days: 4,")
    fresh = republish(law, clocks=clocks, **off("2026-08-05"))
    follow_calendars(fresh, NOON)
    assert clock_of(law, "owner", loop_id=loop.id).due_at == shanghai(8, 7, 17)
    later = a_loop(fresh, customer="C9")
    assert clock_of(law, "owner", loop_id=later.id).due_at == shanghai(8, 10, 17)


def test_another_publication_with_the_same_calendars_costs_nothing(law: Workspace) -> None:
    a_loop(law)
    follow_calendars(law, NOON)
    fresh = republish(law)
    assert follow_calendars(fresh, NOON) == RecomputeCounts()
    assert one(law.db, Recount, publication=3).upto is None


def test_partial_indexes_answer_what_every_sweep_asks(law: Workspace) -> None:
    """A million clocks that are not provisional cost nothing."""
    if not law.db.is_sqlite:
        pytest.skip("PostgreSQL plans small tables otherwise; `make prove` asks it with a million")
    with law.db.read() as tx:
        compiled = uncertain().compile(dialect=tx.dialect, compile_kwargs={"literal_binds": True})
        plan = [row[-1] for row in tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")]
    assert plan.count("SCAN clock USING INDEX ix_clock_provisional") == 2, plan


def test_what_stands_still_is_counted_when_it_runs_on(law: Workspace) -> None:
    loop = a_loop(law)
    pause(law, loop.id, "owner", ASKED, ZHANG, NOON + HOUR)
    fresh = republish(law, **off("2026-08-05"))
    assert follow_calendars(fresh, NOON + HOUR).recomputed == 0
    resume(fresh, loop.id, "owner", ZHANG, NOON + HOUR)
    assert clock_of(law, "owner").due_at == shanghai(8, 7, 17)


def test_two_workers_count_each_clock_once(
    law: Workspace, another: Callable[[], Workspace]
) -> None:
    for n in range(6):
        a_loop(law, customer=f"C{n}")
    republish(law, **off("2026-08-05"))
    workers = [another(), another()]
    found: list[Any] = []

    def work(worker: Workspace) -> None:
        while counts := recompute_lease(worker, NOON, limit=3):
            found.append(counts)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts.recomputed for counts in found) == 6
    assert len(events_of(law, EventKind.CLOCK_RECOMPUTED)) == 6


# Merging


def test_the_same_complaint_keeps_its_earliest_clock(law: Workspace) -> None:
    first = a_loop(law, customer="C1")
    take_in(
        law,
        {"text": "登录不了，太差", "customer": "C2", "received": (NOON + 3 * DAY).isoformat()},
        now=NOON + 3 * DAY,
    )
    second = next(row for row in rows(law.db, Loop, kind="small") if row.id != first.id)
    extend(law, second.id, Wish("complex", "涉及两家机构"), OPS, NOON + 3 * DAY)
    merge(law, first.id, second.id, OPS, NOON + 4 * DAY)
    clock = clock_of(law, "legal", loop_id=second.id)
    assert (clock.started_at, clock.due_at) == (NOON, shanghai(9, 3)), "what was granted stays"
    assert clock_of(law, "customer", loop_id=second.id).started_at == NOON
    told = next(
        data for data in events_of(law, EventKind.CLOCK_RECOMPUTED) if data["clock"] == clock.id
    )
    assert (told["why"], told["merged"], told["started_at"]) == (
        "merged",
        first.id,
        NOON.isoformat(),
    )
    unmerge(law, first.id, OPS, NOON + 5 * DAY)
    clock = clock_of(law, "legal", loop_id=second.id)
    assert (clock.started_at, clock.due_at) == (NOON + 3 * DAY, shanghai(9, 6))
    back = clock_of(law, "legal", loop_id=first.id, stopped_at=None)
    assert (back.started_at, back.due_at) == (NOON, shanghai(8, 19))


def test_a_later_complaint_moves_nothing(law: Workspace) -> None:
    first = a_loop(law, customer="C1")
    second = a_loop(law, customer="C2")
    merge(law, second.id, first.id, OPS, NOON + DAY)
    assert events_of(law, EventKind.CLOCK_RECOMPUTED) == []
