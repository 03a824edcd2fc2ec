"""From files to rows: every record is counted, none is lost, none is taken twice."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from loopwright.errors import FindingError, InputError
from loopwright.history.envelope import SYSTEM
from models.customer import CustomerSnapshot, JourneyEvent, Measure
from models.feedback import Batch, Feedback, Intake, Quarantine, RawItem, SourceState
from models.history import HistoryEvent
from models.kinds import EventKind
from models.loop import Loop, LoopIssue
from sources.errors import SourceError
from sources.records import open_records
from tasks.documents.publish import publish
from tasks.intake import ingest as module
from tasks.intake.ingest import Counts, IntakeTaken, SourceStopped, ingest, ingest_file
from tasks.intake.pull import pull_source, sources_to_pull
from tasks.intake.quarantine import list_quarantine, replay_quarantine
from tasks.sweeps import ingest_feedback
from tasks.workspace import Workspace
from tests.cast import (
    DAY,
    FEE,
    HOUR,
    LOGIN,
    NOON,
    OPS,
    document,
    documents,
    drop,
    number_of,
    one,
    rows,
    sound,
    take_in,
    tell,
    triage,
)

Write = Callable[[Path], None]


def as_text(text: str, encoding: str = "utf-8") -> Write:
    def write(path: Path) -> None:
        path.write_bytes(text.encode(encoding))

    return write


def as_sheet(*lines: list[Any]) -> Write:
    def write(path: Path) -> None:
        book = openpyxl.Workbook()
        sheet = book.active
        assert sheet is not None
        sheet.title = "意见"
        for line in lines:
            sheet.append(line)
        book.save(path)

    return write


SURVEY = """编号;原因;其他;时间;分数;客户号
1;登录不了;"有两行
的回答";2026-08-01 09:00:00;2;C1
2;年费太贵;;2026-08-01 10:00:00;9;
2;年费太贵;;2026-08-01 10:00:00;9;
3;;;无此时间;5;
"""
CALLS = {
    "calls": [
        {
            "call": "A1",
            "started": 1785556800000,
            "caller": {"phone": "13900000001"},
            "case": "N1",
            "turns": [
                {"who": "agent", "said": "您好，年费问题吗"},
                {"who": "customer", "said": "登录不了"},
            ],
        },
        {"call": "A2", "started": "soon", "turns": []},
    ]
}
JSONL = '{"id":"1","text":"登录不了"}\n{"id":"1","text":"登录不了"}\n{"id":"2"}\nnot json\n'
CELL = datetime(2026, 8, 1, 9, 30)  # noqa: DTZ001 (a worksheet knows no zone)
FORMATS: list[tuple[str, str, Write, Counts]] = [
    ("survey", "s.csv", as_text(SURVEY, "gb18030"), Counts(4, 2, 1, 1)),
    ("desk", "d.jsonl", as_text(JSONL), Counts(4, 1, 1, 2)),
    ("calls", "c.json", as_text(json.dumps(CALLS, ensure_ascii=False)), Counts(2, 1, 0, 1)),
    (
        "book",
        "b.xlsx",
        as_sheet(
            ["日期", "意见", "满意度", "网点"],
            [CELL, "排队太久", 2, "BR1-01"],
            [CELL, "排队太久", 2, "BR1-01"],
            ["明天", "年费", 1, ""],
        ),
        Counts(3, 2, 0, 1),
    ),
    ("posts", "p.txt", as_text("登录不了\n登录不了\n\ufeff年费太贵\n"), Counts(3, 3, 0, 0)),
    ("posts", "bom.txt", as_text("\ufeff登录不了\n"), Counts(1, 1, 0, 0)),
    (
        "measures",
        "m.csv",
        as_text(
            "touchpoint,unit,channel,numerator,denominator,day\n"
            "app-login,DB,app,3,100,2026-08-01\napp-login,DB,app,1,0,2026-08-01\n"
        ),
        Counts(2, 1, 0, 1),
    ),
    (
        "journey_events",
        "j.jsonl",
        as_text('{"event":"E1","customer":"C1","touchpoint":"queue","channel":"branch",'
                '"outcome":"left","at":"2026-08-01T09:00:00+08:00"}\n{"event":"E2"}\n'),
        Counts(2, 1, 0, 1),
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "name", "write", "expected"), FORMATS, ids=[f"{f[0]}-{f[1]}" for f in FORMATS]
)
def test_every_record_is_counted_and_a_second_reading_adds_none(
    ws: Workspace, home: Path, source: str, name: str, write: Write, expected: Counts
) -> None:
    write(home / name)
    spec = ws.sources[source]
    assert ingest_file(ws, spec, home / name, NOON) == expected
    assert expected.read == expected.stored + expected.duplicates + expected.quarantined
    again = ingest_file(ws, spec, home / name, NOON + HOUR)
    assert again == Counts(expected.read, 0, expected.read, 0)
    assert number_of(ws.db, RawItem) == expected.stored + expected.quarantined
    assert number_of(ws.db, Quarantine) == expected.quarantined
    assert [row.finished_at for row in rows(ws.db, Intake)] == [NOON, NOON + HOUR]
    assert sound(ws.db)


def test_what_a_survey_says(ws: Workspace, home: Path) -> None:
    as_text(SURVEY, "gb18030")(home / "s.csv")
    ingest_file(ws, ws.sources["survey"], home / "s.csv", NOON)
    first = next(row for row in rows(ws.db, Feedback) if row.text.startswith("登录"))
    assert first.text == "登录不了\n有两行\n的回答"
    assert first.said_at == datetime(2026, 8, 1, 1, tzinfo=UTC)
    assert (first.channel, first.rating_value, first.rating) == ("survey", 2, pytest.approx(-0.6))
    assert first.customer_id is not None
    other = next(row for row in rows(ws.db, Feedback) if row.id != first.id)
    assert other.customer_id is None


def test_only_the_customers_turns_count(ws: Workspace, home: Path) -> None:
    as_text(json.dumps(CALLS, ensure_ascii=False))(home / "c.json")
    ingest_file(ws, ws.sources["calls"], home / "c.json", NOON)
    row = one(ws.db, Feedback)
    assert row.text == "登录不了"
    assert row.complaint_number == "N1"
    assert [turn[1] for turn in row.turns] == [False, True]


def test_measures_and_journeys_have_their_own_tables(ws: Workspace, home: Path) -> None:
    for source, name, write, _ in FORMATS[-2:]:
        write(home / name)
        ingest_file(ws, ws.sources[source], home / name, NOON)
    assert (one(ws.db, Measure).numerator, one(ws.db, Measure).denominator) == (3, 100)
    assert one(ws.db, JourneyEvent).outcome == "left"
    assert number_of(ws.db, Feedback) == number_of(ws.db, Batch) == 0


def test_a_corrected_count_replaces_the_one_before(ws: Workspace) -> None:
    head = "touchpoint,unit,channel,numerator,denominator,day"
    drop(ws, head, "app-login,DB,app,3,100,2026-08-01", source="measures")
    drop(ws, head, "app-login,DB,app,4,100,2026-08-01", "queue,,app,1,9,2026-08-01",
         source="measures")  # fmt: skip
    assert sorted((m.touchpoint, m.numerator) for m in rows(ws.db, Measure)) == [
        ("app-login", 4),
        ("queue", 1),
    ]


CUMULATIVE = [
    ("posts", [["甲", "乙"], ["甲", "乙", "丙"]], [2, 1]),
    ("posts", [["甲"], ["甲", "甲"]], [1, 1]),
    ("posts", [["甲", "甲"], ["甲"]], [2, 0]),
    ("daily_posts", [["甲"], ["甲"]], [1, 0]),
    ("daily_posts", [["甲"], ["甲", "乙"]], [1, 2]),
    ("daily_posts", [["甲", "甲"], ["乙", "甲"]], [2, 2]),
]


@pytest.mark.parametrize(("source", "deliveries", "stored"), CUMULATIVE)
def test_cumulative_and_increments(
    ws: Workspace, source: str, deliveries: list[list[str]], stored: list[int]
) -> None:
    assert [drop(ws, *lines, source=source).stored for lines in deliveries] == stored


def test_two_people_who_said_the_same_stay_two(ws: Workspace) -> None:
    drop(ws, "登录不了", "登录不了")
    triage(ws)
    assert number_of(ws.db, Feedback) == number_of(ws.db, Loop) == 2


def test_a_changed_item_is_a_new_version_of_the_same_loop(ws: Workspace) -> None:
    take_in(ws, {"id": "X", "text": LOGIN})
    counts = take_in(ws, {"id": "X", "text": LOGIN + "，还是不行"}, now=NOON + HOUR)
    assert (counts.opened, counts.joined) == (0, 1)
    old, new = rows(ws.db, Feedback)
    assert (old.version, old.previous_id, old.text) == (1, None, LOGIN)
    assert (new.version, new.previous_id) == (2, old.id)
    assert len(rows(ws.db, LoopIssue, loop_id=one(ws.db, Loop).id)) == 2
    third = take_in(ws, {"id": "X", "text": LOGIN + "，第三次"}, now=NOON + 2 * HOUR)
    assert (third.opened, third.joined) == (0, 1)


def test_versions_within_one_file(ws: Workspace) -> None:
    tell(ws, {"id": "X", "text": LOGIN}, {"id": "X", "text": FEE})
    first, second = rows(ws.db, Feedback)
    assert second.previous_id == first.id
    assert (triage(ws).feedback, number_of(ws.db, Loop)) == (2, 1)


@pytest.mark.parametrize("together", [True, False])
def test_a_new_version_of_an_item_that_waits_in_quarantine(ws: Workspace, together: bool) -> None:
    """Its first version never became feedback, so there is nothing to point to."""
    broken = {"id": "X", "text": LOGIN, "said": "gestern"}
    mended = {"id": "X", "text": LOGIN, "said": "2026-08-03T03:00:00Z"}
    if together:
        tell(ws, broken, mended)
    else:
        tell(ws, broken)
        tell(ws, mended)
    row = one(ws.db, Feedback)
    assert (row.version, row.previous_id) == (2, None)
    assert number_of(ws.db, Quarantine) == 1
    assert triage(ws).opened == 1


def test_late_and_out_of_order(ws: Workspace) -> None:
    """Newest first; lateness is kept apart from the customer's time."""
    for days in (0, 9, 3):
        tell(ws, {"id": f"late-{days}", "text": LOGIN, "said": (NOON - days * DAY).isoformat(),
                  "received": (NOON - days * DAY).isoformat()})  # fmt: skip
    late = {row.days_late: row for row in rows(ws.db, Feedback)}
    assert sorted(late) == [0, 3, 9]
    assert all(row.received_at == NOON - d * DAY for d, row in late.items())
    assert {row.arrived_at for row in late.values()} == {NOON}


def test_normal_lateness_of_a_source_is_not_late(ws: Workspace) -> None:
    head = "编号;原因;其他;时间;分数;客户号"
    path = Path("s.csv")
    path.write_bytes(f"{head}\n1;年费;;2026-08-01 12:00:00;3;\n".encode("gb18030"))
    ingest_file(ws, ws.sources["survey"], path, NOON)
    assert one(ws.db, Feedback).days_late == 1


def mended_survey() -> dict[str, bytes]:
    """The documents with a survey source whose time format was wrong and is right now."""
    return documents(sources=document("sources").replace("%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M"))


def survey(*times: str) -> bytes:
    lines = [f"{n};登录不了;;{time};3;" for n, time in enumerate(times, 1)]
    return "\n".join(["编号;原因;其他;时间;分数;客户号", *lines]).encode("gb18030")


def test_quarantine_and_replay_after_a_mended_source(ws: Workspace, home: Path) -> None:
    (home / "s.csv").write_bytes(survey("01.08.2026 09:00", "01.08.2026 10:00"))
    counts = ingest_file(ws, ws.sources["survey"], home / "s.csv", NOON)
    assert counts == Counts(2, 0, 0, 2)
    listed = list_quarantine(ws)
    assert [(row.number, row.name, row.attempts) for row in listed] == [
        (1, "s.csv", 1),
        (2, "s.csv", 1),
    ]
    assert all("时间" in row.reason for row in listed)
    assert replay_quarantine(ws, "survey", OPS, NOON + HOUR) == Counts(2, 0, 0, 2)
    assert {row.attempts for row in list_quarantine(ws)} == {2}
    publish(ws.db, mended_survey(), OPS, NOON + HOUR)
    renewed = Workspace(ws.settings, ws.db)
    assert replay_quarantine(renewed, "survey", OPS, NOON + DAY) == Counts(2, 2, 0, 0)
    assert list_quarantine(renewed) == []
    assert {row.resolved_at for row in rows(ws.db, Quarantine)} == {NOON + DAY}
    assert number_of(ws.db, Feedback) == 2
    assert replay_quarantine(renewed, "survey", OPS, NOON + DAY) == Counts()
    assert triage(renewed, NOON + DAY).opened == 2
    assert sound(ws.db)


def test_quarantine_keeps_the_record_as_it_came(ws: Workspace) -> None:
    drop(ws, '{"id": "7", "text": "x", "said": "13900001111"}', source="desk")
    assert "13900001111" in one(ws.db, RawItem).payload
    assert "13900001111" not in one(ws.db, Quarantine).reason


@pytest.mark.parametrize(("bad", "more"), [(50, 10), (50, 0), (51, 0)])
def test_the_breaker_stops_a_source_and_one_command_resumes_it(
    ws: Workspace, home: Path, bad: int, more: int
) -> None:
    (home / "s.csv").write_bytes(survey(*["01.08.2026 09:00"] * (bad + more)))
    with pytest.raises(SourceStopped, match="50 of 50 records") as caught:
        ingest_file(ws, ws.sources["survey"], home / "s.csv", NOON)
    assert caught.value.exit_code == 1
    assert caught.value.fix
    assert "quarantine replay" in caught.value.fix
    assert number_of(ws.db, Quarantine) == 50
    assert number_of(ws.db, RawItem) == bad + more
    state = one(ws.db, SourceState)
    assert state.stopped_at == NOON
    with pytest.raises(SourceStopped):
        ingest_file(ws, ws.sources["survey"], home / "s.csv", NOON + HOUR)
    assert [e.kind for e in rows(ws.db, HistoryEvent)][-1] == EventKind.SOURCE_STOPPED
    publish(ws.db, mended_survey(), OPS, NOON + HOUR)
    renewed = Workspace(ws.settings, ws.db)
    replay_quarantine(renewed, "survey", OPS, NOON + DAY)
    assert number_of(ws.db, Feedback) == bad + more
    assert one(ws.db, SourceState).stopped_reason is None
    again = ingest_file(renewed, renewed.sources["survey"], home / "s.csv", NOON + DAY)
    assert again == Counts(bad + more, 0, bad + more, 0)
    assert one(ws.db, Intake, parsed=bad + more, read=0).finished_at == NOON + DAY
    assert sound(ws.db)


def test_many_good_records_do_not_excuse_fifty_bad_in_a_row(ws: Workspace, home: Path) -> None:
    times = [*["2026-08-01 09:00:00"] * 400, *["01.08.2026 09:00"] * 60]
    (home / "s.csv").write_bytes(survey(*times))
    with pytest.raises(SourceStopped, match="50 of 450 records"):
        ingest_file(ws, ws.sources["survey"], home / "s.csv", NOON)
    assert (number_of(ws.db, Feedback), number_of(ws.db, Quarantine)) == (400, 50)


def test_a_share_of_bad_records_stops_a_source_too(ws: Workspace, home: Path) -> None:
    times = ["01.08.2026 09:00", "2026-08-01 09:00:00", "2026-08-01 09:00:00"] * 80
    (home / "s.csv").write_bytes(survey(*times))
    with pytest.raises(SourceStopped, match="50 of 148 records"):
        ingest_file(ws, ws.sources["survey"], home / "s.csv", NOON)


def test_few_bad_records_do_not_stop_a_source(ws: Workspace, home: Path) -> None:
    times = ["01.08.2026 09:00", *["2026-08-01 09:00:00"] * 9] * 20
    (home / "s.csv").write_bytes(survey(*times))
    counts = ingest_file(ws, ws.sources["survey"], home / "s.csv", NOON)
    assert counts == Counts(200, 180, 0, 20)


class Killed(BaseException):
    """A process that dies at a statement."""


def die(*_arguments: object, **_named: object) -> None:
    raise Killed


def test_a_run_that_died_after_receiving_is_finished_by_the_next(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 2)
    store, calls = module.store, []

    def second_time(*arguments: Any, **named: Any) -> Counts:
        calls.append(1)
        if len(calls) == 2:
            raise Killed
        return store(*arguments, **named)

    monkeypatch.setattr(module, "store", second_time)
    with pytest.raises(Killed):
        drop(ws, "甲", "乙", "丙", "丁", "戊")
    assert (number_of(ws.db, RawItem), number_of(ws.db, Feedback)) == (4, 2)
    monkeypatch.setattr(module, "store", store)
    Path("again.txt").write_text("甲\n乙\n丙\n丁\n戊\n", "utf-8")
    counts = ingest_file(ws, ws.sources["posts"], Path("again.txt"), NOON + HOUR)
    assert counts == Counts(5, 1, 4, 0)
    assert sorted(row.text for row in rows(ws.db, Feedback)) == sorted("甲乙丙丁戊")
    assert all(row.finished_at for row in rows(ws.db, Intake))
    assert triage(ws, NOON + HOUR).feedback == 5
    assert sound(ws.db)


def test_nothing_is_lost_when_another_worker_finished_the_intake_too_early(
    ws: Workspace, another: Callable[[], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two chunks another delivery of the source came in; then the process died."""
    monkeypatch.setattr(module, "CHUNK", 2)
    receive, other, chunks = module.receive, another(), list[int]()

    def interrupted(w: Workspace, *arguments: Any) -> Any:
        chunks.append(1)
        if len(chunks) == 2:
            drop(other, "己")
        return receive(w, *arguments)

    def store(*_arguments: Any, **_named: Any) -> Counts:
        if len(chunks) == 4:  # the other's delivery was the third
            raise Killed
        return real(*_arguments, **_named)

    real = module.store
    with monkeypatch.context() as patch:
        patch.setattr(module, "receive", interrupted)
        patch.setattr(module, "store", store)
        with pytest.raises(Killed):
            drop(ws, *"甲乙丙丁戊")
    drop(ws, *"甲乙丙丁戊")
    assert sorted(row.text for row in rows(ws.db, Feedback)) == sorted("甲乙丙丁戊己")
    assert sound(ws.db)


def test_nothing_is_lost_when_more_arrives_while_another_worker_finishes_the_intake(
    ws: Workspace, another: Callable[[], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other found nothing left to parse; then two more were received, and the process died."""
    monkeypatch.setattr(module, "CHUNK", 2)
    receive, unparsed, chunks = module.receive, module.unparsed, list[int]()

    def interrupted(w: Workspace, *arguments: Any) -> Any:
        chunks.append(1)
        if len(chunks) != 2:
            return receive(w, *arguments)

        def nothing_left(*asked: Any) -> Any:
            left = unparsed(*asked)
            if not left:
                receive(w, *arguments)
            return left

        with monkeypatch.context() as patch:
            patch.setattr(module, "unparsed", nothing_left)
            drop(another(), "己")
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, "receive", interrupted)
        with pytest.raises(Killed):
            drop(ws, *"甲乙丙丁")
    drop(ws, "庚")
    assert sorted(row.text for row in rows(ws.db, Feedback)) == sorted("甲乙丙丁己庚")
    assert sound(ws.db)


@pytest.mark.parametrize("step", ["bulk_insert", "store_items", "append"])
def test_a_death_inside_a_transaction_leaves_nothing_half_done(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    tell(ws, {"text": LOGIN})
    before = [number_of(ws.db, m) for m in (Feedback, Batch, HistoryEvent)]
    with monkeypatch.context() as patch:
        patch.setattr(module, step, die)
        with pytest.raises(Killed):
            tell(ws, {"id": "late", "text": FEE})
    assert [number_of(ws.db, m) for m in (Feedback, Batch, HistoryEvent)] == before
    tell(ws, {"id": "late", "text": FEE})
    assert len(rows(ws.db, Feedback)) == 2
    assert sound(ws.db)


WRONG: list[tuple[str, bytes, str]] = [
    ("survey", "编号;别的;其他;时间;分数;客户号\n1;a;b;c;d;e\n".encode("gb18030"), "原因"),
    ("survey", SURVEY.encode(), "gb18030"),
    ("survey", b"", "empty"),
    ("desk", b"\x00\x01\x02\x7fELF" * 50, ""),
    ("book", b"%PDF-1.7 nothing", ""),
    ("calls", b'{"rows": []}', "calls"),
]


@pytest.mark.parametrize(("source", "content", "named"), WRONG)
def test_a_wrong_file_stores_nothing(
    ws: Workspace, home: Path, source: str, content: bytes, named: str
) -> None:
    (home / "wrong").write_bytes(content)
    with pytest.raises(SourceError) as caught:
        ingest_file(ws, ws.sources[source], home / "wrong", NOON)
    assert named in str(caught.value)
    assert caught.value.exit_code == 2
    assert caught.value.fix
    for model in (Intake, RawItem, Feedback, Quarantine, SourceState):
        assert number_of(ws.db, model) == 0


@pytest.mark.parametrize("name", ["absent.csv", "."])
def test_no_file_at_all(ws: Workspace, home: Path, name: str) -> None:
    with pytest.raises(InputError):
        ingest_file(ws, ws.sources["survey"], home / name, NOON)
    assert number_of(ws.db, Intake) == 0


def test_pulling_takes_new_files_only(ws: Workspace, home: Path) -> None:
    folder = home / "inbox" / "posts"
    folder.mkdir(parents=True)
    (folder / "1.txt").write_text("甲\n", "utf-8")
    (folder / ".hidden").write_text("乙\n", "utf-8")
    spec = ws.sources["posts"]
    assert pull_source(ws, spec, NOON).stored == 1
    assert pull_source(ws, spec, NOON).read == 0
    (folder / "2.txt").write_text("甲\n丙\n", "utf-8")
    assert pull_source(ws, spec, NOON) == Counts(2, 1, 1, 0)


def test_customers_measures_and_journeys_are_pulled_before_feedback(ws: Workspace) -> None:
    yields = [spec.yields == "feedback" for spec in sources_to_pull(ws)]
    assert yields == sorted(yields)
    assert set(yields) == {True, False}


def finished(ws: Workspace) -> list[dict[str, Any]]:
    events = rows(ws.db, HistoryEvent, kind=EventKind.INTAKE_FINISHED)
    return [json.loads(event.data) for event in events]


def test_every_file_that_was_read_says_what_became_of_it(ws: Workspace, home: Path) -> None:
    """Also one that brought nothing but what was known."""
    (home / "s.csv").write_bytes(survey("2026-08-01 09:00:00", "01.08.2026 10:00"))
    for hours in (0, 1):
        ingest_file(ws, ws.sources["survey"], home / "s.csv", NOON + hours * HOUR)
    digest = sha256((home / "s.csv").read_bytes()).hexdigest()
    first, second = rows(ws.db, Intake)
    same = {"source": "survey", "sha256": digest, "read": 2}
    assert finished(ws) == [
        same | {"intake": first.id, "stored": 1, "duplicates": 0, "quarantined": 1},
        same | {"intake": second.id, "stored": 0, "duplicates": 2, "quarantined": 0},
    ]


def test_a_page_that_brought_nothing_is_no_event(ws: Workspace) -> None:
    """A pull every few minutes would say nothing else for ever."""
    for hours in (0, 1):
        with open_records(ws.sources["posts"], BytesIO("甲\n乙\n".encode())) as page:
            ingest(ws, ws.sources["posts"], page, "http", NOON + hours * HOUR)
    assert [data["stored"] for data in finished(ws)] == [2]
    assert number_of(ws.db, Intake) == 2


def test_a_delivery_whose_run_died_is_finished_without_its_hash(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = module.store
    monkeypatch.setattr(module, "store", die)
    with pytest.raises(Killed):
        drop(ws, "甲", "乙")
    monkeypatch.setattr(module, "store", store)
    with ws.acting(OPS):
        module.finish_interrupted(ws, ws.sources["posts"], NOON)
    (data,) = finished(ws)
    assert (data["stored"], data["read"], data["sha256"]) == (2, 0, None)
    event = one(ws.db, HistoryEvent, kind=EventKind.INTAKE_FINISHED)
    assert (event.actor_id, event.actor_via) == (OPS.id, OPS.via)


def test_the_chunks_event_counts_and_hashes(ws: Workspace) -> None:
    tell(ws, {"text": LOGIN}, {"text": FEE}, {"id": "bad", "said": "x"})
    event = rows(ws.db, HistoryEvent, kind=EventKind.FEEDBACK_INGESTED)[-1]
    data = json.loads(event.data)
    assert (data["stored"], data["quarantined"], data["upto"]) == (2, 1, 3)
    assert len(data["root"]) == 64
    assert LOGIN not in event.envelope
    assert event.run_id == "test-run"
    assert (event.actor_id, event.actor_via) == ("loopwright", "flow")


def test_a_replay_is_the_act_of_who_asked_for_it(ws: Workspace, home: Path) -> None:
    (home / "s.csv").write_bytes(survey("01.08.2026 09:00"))
    ingest_file(ws, ws.sources["survey"], home / "s.csv", NOON)
    replay_quarantine(ws, "survey", OPS, NOON + HOUR)
    *_, event = rows(ws.db, HistoryEvent, kind=EventKind.FEEDBACK_INGESTED)
    assert (json.loads(event.data)["intake"], event.actor_id) == ("quarantine", OPS.id)
    assert ws.by == SYSTEM


def test_snapshots_keep_their_time(ws: Workspace) -> None:
    head = "snapshot,number,phone,mail,band,vulnerable,branch,sms,from,to"
    drop(ws, head, "S1,C1,,,gold,1,BR1,0,2026-01-01,2026-07-01", source="customers")
    row = one(ws.db, CustomerSnapshot)
    assert (row.value_band, row.vulnerable, row.branch) == ("gold", True, "BR1")
    assert row.consent == {"sms": False}
    assert row.valid_to - row.valid_from == timedelta(days=181)


def test_a_scheduled_run_gives_way_and_whoever_named_the_source_is_told(ws: Workspace) -> None:
    """Another run reads one source at this moment: the others are read all the same."""
    pulled = []

    def step(name: str, work: Callable[[], Any]) -> Any:
        pulled.append(name)
        if name == "pull desk":
            raise IntakeTaken("the intake was taken over by another run", "nothing is left to do")
        return work()

    counts = asyncio.run(ingest_feedback(ws, lambda: NOON, step))
    assert counts["read"] == 0
    assert set(pulled) == {f"pull {spec.name}" for spec in sources_to_pull(ws)} > {"pull desk"}
    with pytest.raises(FindingError, match="desk: the intake was taken over"):
        asyncio.run(ingest_feedback(ws, lambda: NOON, step, source="desk"))
