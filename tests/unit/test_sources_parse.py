"""Records to items: the map, times, marks, customer keys, and what cannot be understood."""

import json
from contextlib import suppress
from dataclasses import fields
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.kinds import RatingKind, Yields
from policy.source_spec import (
    Breaker,
    FetchSpec,
    FormatSpec,
    Limits,
    MapSpec,
    RatingSpec,
    SourceSpec,
    TimeSpec,
    TurnsSpec,
)
from sources.errors import RecordError, SourceError
from sources.items import CustomerItem, JourneyItem, MeasureItem, RatingValue, Turn
from sources.parse import compile_parser
from sources.payloads import pack
from sources.times import compile_time
from sources.values import customer_key
from tests.unit.sources_specs import limits, source

HEADER = ("id", "time", "score", "channel", "phone", "title", "text")
FULL = MapSpec(
    id="id",
    text=("title", "text"),
    said_at=TimeSpec("time", "%Y/%m/%d %H:%M:%S"),
    rating=RatingSpec("score", RatingKind.NPS, 0, 10),
    channel="channel",
    channel_names={"手机银行": "app"},
    customer={"phone": "phone"},
)


def parse(map_spec, record, kind="jsonl", **more):
    return compile_parser(source(kind, map=map_spec, **more)).parse(json.dumps(record))


def row(*cells):
    return json.dumps(cells)


def test_a_row_becomes_feedback():
    parser = compile_parser(source(map=FULL, channel="other", language="zh"), HEADER)
    payload = row("r1", "2026/5/1 9:05:00", "10", "手机银行", "+86 138-0000-0001", " 题 ", "正文")
    item = parser.parse(payload)
    assert parser.key(payload) == "r1"
    assert item.text == "题\n正文"
    assert item.said_at == datetime(2026, 5, 1, 1, 5, tzinfo=UTC)
    assert item.rating == RatingValue(RatingKind.NPS, 10, 1.0)
    assert (item.channel, item.language) == ("app", "zh")
    assert item.customer_keys == (("phone", "13800000001"),)


def test_empty_fields_are_absent_and_the_channel_falls_back():
    parser = compile_parser(source(map=FULL, channel="survey"), HEADER)
    item = parser.parse(row("", "  ", "0", "", "", "", "  "))
    assert (item.text, item.said_at, item.channel, item.customer_keys) == ("", None, "survey", ())
    assert item.rating == RatingValue(RatingKind.NPS, 0, -1.0)
    assert parser.key(row("", "", "0", "", "", "", "")) is None


def test_an_unnamed_channel_keeps_its_own_name():
    parser = compile_parser(source(map=FULL), HEADER)
    assert parser.parse(row("1", "", "", "网点", "", "", "x")).channel == "网点"


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (["1", "", "", "", "", "", ""], "nothing was said"),
        (["1", "yesterday", "", "", "", "", "x"], "time: not a time"),
        (["1", "2026/2/30 1:00:00", "", "", "", "", "x"], "time: not a time"),
        (["1", "0001/1/1 0:00:00", "", "", "", "", "x"], "time:"),
        (["1", "9999/1/1 0:00:00", "", "", "", "", "x"], "outside 1970 to 2099"),
        (["1", "", "11", "", "", "", "x"], "score: a mark outside 0 to 10"),
        (["1", "", "-1", "", "", "", "x"], "score: a mark outside"),
        (["1", "", "ten", "", "", "", "x"], "score: not a number"),
        (["1", "", "nan", "", "", "", "x"], "score: not a finite"),
        (["1", "", "", "x" * 300, "", "", "x"], "channel: longer than"),
        (["1", "", "", "", "", "", "x" * 70_000], "a cell of more than 65,536 bytes"),
        (["1", "", "", "", "", "", "长" * 30_000], "a cell of more than 65,536 bytes"),
        (["1", "", "", "", "", "", "a\0b"], "NUL"),
        (["1", "", "", "", "", "", "a\udc80"], "do not decode as utf-8"),
        (["1", "x"], "2 cells where the header has 7"),
        (["1", "", "", "", "", "", "x", "more"], "8 cells"),
    ],
)
def test_what_cannot_be_understood_says_why(cells, reason):
    parser = compile_parser(source(map=FULL), HEADER)
    with pytest.raises(RecordError, match=reason):
        parser.parse(pack(row(*cells)))


def test_trailing_empty_cells_are_no_error():
    parser = compile_parser(source(), ("text",))
    assert parser.parse(row("x", "", "")).text == "x"


def test_a_workbook_row_may_be_short():
    parser = compile_parser(source("xlsx"), ("text", "b"))
    assert parser.parse(row("x")).text == "x"


@pytest.mark.parametrize("payload", ["", "{", "nope", "[1]", '"x"', "[" * 100_000, "1" * 5000])
def test_no_json_object_is_a_record_error_and_no_key(payload):
    parser = compile_parser(source("jsonl", map=MapSpec(id="id", text=("text",))))
    with pytest.raises(RecordError):
        parser.parse(payload)
    assert parser.key(payload) is None


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ({"text": " x "}, "x"),
        ({"text": 5}, "5"),
        ({"text": 5.0}, "5"),
        ({"text": 5.5}, "5.5"),
        ({"text": True}, "true"),
    ],
)
def test_simple_json_values_are_texts(record, text):
    assert parse(MapSpec(text=("text",)), record).text == text


@pytest.mark.parametrize("value", [["x"], {"a": 1}])
def test_lists_and_objects_are_no_texts(value):
    with pytest.raises(RecordError, match="text: expected a simple value"):
        parse(MapSpec(text=("text",)), {"text": value})


@pytest.mark.parametrize(
    ("path", "found"), [("a.b", "1"), ("a.l.1", "3"), ("d.o.t", "4"), ("a.l.9", ""), ("a.b.c", "")]
)
def test_dotted_paths_reach_into_json(path, found):
    record = {"a": {"b": "1", "l": ["2", "3"]}, "d.o.t": "4", "x": "-"}
    assert parse(MapSpec(text=("x", path)), record).text == f"-\n{found}".strip()


def test_a_call_speaks_with_the_customers_turns():
    turns = TurnsSpec(items="call.parts", speaker="who", text="words", customer=("caller",))
    record = {
        "call": {
            "parts": [
                {"who": "agent", "words": "您好"},
                {"who": "caller", "words": "卡丢了"},
                {"who": "caller", "words": ""},
                {"who": "caller", "words": "请挂失"},
            ]
        }
    }
    item = parse(MapSpec(turns=turns), record)
    assert item.text == "卡丢了\n请挂失"
    assert item.turns[0] == Turn("agent", False, "您好")
    assert len(item.turns) == 3
    with pytest.raises(RecordError, match=r"call\.parts: expected a list"):
        parse(MapSpec(turns=turns), {"call": {"parts": "x"}})
    with pytest.raises(RecordError, match="nothing was said"):
        parse(MapSpec(turns=turns), {"call": {"parts": record["call"]["parts"][:1]}})


def test_a_complaint_number_speaks_for_itself_and_extras_come_along():
    extras = MapSpec(text=("text",), complaint_number="no", values={"product": "p", "q": "q"})
    item = parse(extras, {"no": "C-7", "p": "card"})
    assert (item.text, item.complaint_number) == ("", "C-7")
    assert item.attributes == (("product", "card"),)


def test_a_number_may_be_a_time():
    form = MapSpec(text=("text",), said_at=TimeSpec("at", "epoch_ms"))
    at = parse(form, {"text": "x", "at": 1777593600000}).said_at
    assert at == datetime(2026, 5, 1, tzinfo=UTC)
    assert parse(form, {"text": "x", "at": None}).said_at is None


def test_lines_are_their_own_text():
    for named in (MapSpec(), MapSpec(text=("line",))):
        assert compile_parser(source("lines", map=named)).parse(pack(' [1]\\u "x" ')).text
    parser = compile_parser(source("lines", {"fields": ("review",)}, map=MapSpec(text=("review",))))
    assert parser.parse("好").text == "好"


@pytest.mark.parametrize(
    ("form", "zone", "value", "utc"),
    [
        ("iso", "Asia/Shanghai", "2026-05-01", "2026-04-30T16:00"),
        ("iso", "Asia/Shanghai", "2026-05-01T00:00:00Z", "2026-05-01T00:00"),
        ("iso", "Asia/Shanghai", "2026-05-01 08:30:00+02:00", "2026-05-01T06:30"),
        ("iso", "America/New_York", "2026-07-01 00:00", "2026-07-01T04:00"),
        ("iso", "America/New_York", "2026-01-01 00:00", "2026-01-01T05:00"),
        ("iso", "America/New_York", "2026-11-01 01:30", "2026-11-01T05:30"),
        ("iso", "America/New_York", "2026-03-08 02:30", "2026-03-08T07:30"),
        ("iso", "Asia/Shanghai", "1988-07-01 12:00", "1988-07-01T03:00"),
        ("%Y/%m/%d %H:%M:%S", "Asia/Shanghai", "2019/4/25 9:32:09", "2019-04-25T01:32:09"),
        ("%d.%m.%Y", "Europe/Berlin", "1.7.2026", "2026-06-30T22:00"),
        ("%Y年%m月%d日 %H时", "Asia/Shanghai", "2026年5月1日 9时", "2026-05-01T01:00"),
        ("%d %b %Y", "UTC", "01 May 2026", "2026-05-01T00:00"),
        ("%Y-%m-%d %H:%M %z", "UTC", "2026-05-01 08:00 +0800", "2026-05-01T00:00"),
        ("%H:%M %d/%m/%Y", "UTC", "9:05 2/1/2026", "2026-01-02T09:05"),
        ("%y%m%d", "UTC", "260501", "2026-05-01T00:00"),
        ("epoch_s", "UTC", "1777593600", "2026-05-01T00:00"),
        ("epoch_ms", "UTC", "1777593600000", "2026-05-01T00:00"),
    ],
)
def test_times_become_utc(form, zone, value, utc):
    read = compile_time(TimeSpec("t", form, zone))
    assert read(value) == read(value) == datetime.fromisoformat(utc).replace(tzinfo=UTC)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2099, 1, 1)))  # noqa: DTZ001
def test_the_fast_reading_of_patterns_equals_strptime(moment):
    for form in ("%Y/%m/%d %H:%M:%S", "%d-%m-%Y %H:%M", "%Y%m%d", "%m/%d/%Y"):
        text = moment.strftime(form)
        expected = datetime.strptime(text, form).replace(tzinfo=UTC)
        assert compile_time(TimeSpec("t", form, "UTC"))(text) == expected


@given(st.text() | st.floats().map(str) | st.integers().map(str))
def test_no_value_makes_a_time_fail_otherwise(value):
    for form in ("iso", "epoch_s", "epoch_ms", "%Y/%m/%d %H:%M:%S", "%d %b %Y"):
        with suppress(RecordError):
            assert compile_time(TimeSpec("t", form))(value).tzinfo is UTC


def test_date_cells_of_a_workbook_are_read_beside_the_pattern():
    spec = source("xlsx", map=MapSpec(text=("text",), said_at=TimeSpec("at", "%Y/%m/%d")))
    parser = compile_parser(spec, ("text", "at"))
    for value in ("2026/5/1", "2026-05-01T00:00:00"):
        assert parser.parse(row("x", value)).said_at == datetime(2026, 4, 30, 16, tzinfo=UTC)


@pytest.mark.parametrize(
    ("lowest", "highest", "value", "scaled"),
    [(1, 5, "1", -1), (1, 5, "3", 0), (1, 5, "５", 1), (0, 10, "7.5", 0.5), (6, 1, "6", -1)],
)
def test_marks_are_scaled_from_worst_to_best(lowest, highest, value, scaled):
    form = MapSpec(text=("t",), rating=RatingSpec("r", RatingKind.CSAT, lowest, highest))
    assert parse(form, {"r": value}).rating.scaled == pytest.approx(scaled)


@pytest.mark.parametrize(
    ("kind", "text", "key"),
    [
        ("number", " ", None),
        ("number", "A00045581", "A00045581"),
        ("number", "000000", None),
        ("number", "N/A", None),
        ("number", "匿名", None),
        ("phone", "138 0000 0001", "13800000001"),
        ("phone", "0086-13800000001", "13800000001"),
        ("phone", "8613800000001", "13800000001"),
        ("phone", "+44 20 7946 0000", "+442079460000"),
        ("phone", "138****0001", None),
        ("phone", "138xxxx0001", None),
        ("mail", "A.B@Bank.INVALID", "a.b@bank.invalid"),
        ("mail", "a***@bank.invalid", None),
        ("openid", "oXy-Z", "oXy-Z"),
        ("openid", "x" * 300, None),
    ],
)
def test_customer_keys_have_one_form_and_strangers_none(kind, text, key):
    assert customer_key(kind, text.strip()) == ((kind, key) if key else None)


@pytest.mark.parametrize(
    ("map_spec", "says"),
    [
        (MapSpec(text=("texxt",)), "did you mean 'text'"),
        (MapSpec(text=("text",), id="no"), "the map names the column 'no'.*\n.*text, twice, twice"),
        (MapSpec(text=("twice",)), "there 2 times"),
        (MapSpec(), "names no text"),
        (MapSpec(text=("text",), said_at=TimeSpec("text", "iso", "Mars/Base")), "zone 'Mars/Base'"),
        (MapSpec(text=("text",), said_at=TimeSpec("text", "nope")), "is no pattern"),
        (MapSpec(rating=RatingSpec("text", RatingKind.NPS, 1, 1)), "same lowest and highest"),
        (MapSpec(turns=TurnsSpec("a", "b", "c", ("d",))), "nested JSON"),
    ],
)
def test_a_map_that_cannot_work_is_refused_at_once(map_spec, says):
    with pytest.raises(SourceError, match=says):
        compile_parser(source(map=map_spec), ("text", "twice", "twice"))


def test_a_smaller_cap_on_cells_holds():
    parser = compile_parser(source(limits=limits(cell_bytes=8)), ("text",))
    assert parser.parse(row("12345678")).text == "12345678"
    with pytest.raises(RecordError, match="more than 8 bytes"):
        parser.parse(row("123456789"))


CUSTOMERS = MapSpec(
    customer={"number": "no", "phone": "tel"},
    values={
        "value_band": "band",
        "vulnerable": "v",
        "branch": "branch",
        "consent.sms": "sms",
        "consent.mail": "post",
    },
    times={"valid_from": TimeSpec("since"), "valid_to": TimeSpec("till")},
)


def test_customer_snapshots():
    record = {"no": "C1", "tel": "-", "band": "gold", "v": "是", "branch": "B1", "sms": "Y"}
    record |= {"since": "2026-01-01", "till": "9999-12-31", "post": "否"}
    item = parse(CUSTOMERS, record, yields=Yields.CUSTOMERS)
    assert item == CustomerItem(
        (("number", "C1"),),
        "gold",
        None,
        True,
        "B1",
        None,
        {"sms": True, "mail": False},
        datetime(2025, 12, 31, 16, tzinfo=UTC),
        datetime(9999, 12, 30, 16, tzinfo=UTC),
    )
    for broken, says in (({"no": "-"}, "customer key"), ({"v": "maybe"}, "neither yes nor no")):
        with pytest.raises(RecordError, match=says):
            parse(CUSTOMERS, record | broken, yields=Yields.CUSTOMERS)


MEASURES = MapSpec(
    values={"touchpoint": "tp", "channel": "ch", "numerator": "bad", "denominator": "all"},
    times={"day": TimeSpec("day", "iso", "Asia/Shanghai")},
)


def test_measures_keep_the_day_of_their_own_zone():
    record = {"tp": "app.login", "ch": "", "bad": 3, "all": "1000", "day": "2026-05-01"}
    item = parse(MEASURES, record, yields=Yields.MEASURES, channel="app")
    assert item == MeasureItem("app.login", None, "app", date(2026, 5, 1), 3, 1000)
    for broken in ({"all": 0}, {"bad": -1}, {"tp": ""}, {"day": None}, {"bad": "x"}):
        with pytest.raises(RecordError):
            parse(MEASURES, record | broken, yields=Yields.MEASURES)


JOURNEYS = MapSpec(
    customer={"number": "no"},
    values={"touchpoint": "tp", "outcome": "end"},
    times={"at": TimeSpec("at")},
)


def test_journey_events():
    record = {"no": "C1", "tp": "app.login", "at": "2026-05-01T08:00:00", "end": "failed"}
    item = parse(JOURNEYS, record, yields=Yields.JOURNEY_EVENTS, channel="app")
    at = datetime(2026, 5, 1, tzinfo=UTC)
    assert item == JourneyItem((("number", "C1"),), "app.login", "app", at, "failed")
    for broken in ({"no": ""}, {"tp": ""}, {"at": ""}):
        with pytest.raises(RecordError):
            parse(JOURNEYS, record | broken, yields=Yields.JOURNEY_EVENTS)


@pytest.mark.parametrize(
    ("yields", "map_spec", "says"),
    [
        (Yields.CUSTOMERS, MapSpec(values={"band": "b"}), "values.band is unknown"),
        (Yields.CUSTOMERS, MapSpec(), "customer is missing"),
        (Yields.MEASURES, MapSpec(), "values.touchpoint is missing"),
        (Yields.JOURNEY_EVENTS, MapSpec(values={"touchpoint": "t"}), "customer is missing"),
        (
            Yields.JOURNEY_EVENTS,
            MapSpec(values={"touchpoint": "t"}, customer={"number": "n"}),
            "times.at is missing",
        ),
    ],
)
def test_the_other_yields_say_what_their_map_lacks(yields, map_spec, says):
    with pytest.raises(SourceError, match=says):
        compile_parser(source("jsonl", map=map_spec, yields=yields))


def test_columns_may_be_named_by_the_document():
    spec = source(form={"header": False, "fields": ("text", "n")})
    assert compile_parser(spec, FormatSpec("delimited", fields=("text", "n")).fields)
    assert compile_parser(spec).parse(row("x", "1")).text == "x"


def test_the_reference_names_every_field_of_the_source_document():
    page = (Path(__file__).parents[2] / "docs/reference/sources.md").read_text(encoding="utf-8")
    parts = (SourceSpec, FormatSpec, MapSpec, TimeSpec, RatingSpec, TurnsSpec, FetchSpec)
    for part in (*parts, Limits, Breaker):
        for field in fields(part):
            assert f"`{field.name}" in page, f"{part.__name__}.{field.name}"


CASES = MapSpec(
    id="no",
    text=("words",),
    received_at=TimeSpec("at"),
    customer={"number": "who"},
    status_names={"办理中": "accepted", "办结": "closed"},
    values={"topic": "topic", "status": "state", "history": "log"},
)


def test_open_cases():
    record = {"no": "A1", "words": "话", "at": "2026-05-01T08:00:00", "who": "C1"}
    record |= {"topic": "login", "state": "办理中", "log": "一\n二"}
    item = parse(CASES, record, yields=Yields.CASES)
    assert item.said.text == "话"
    assert item.said.received_at == datetime(2026, 5, 1, tzinfo=UTC)
    assert item.said.complaint_number == "A1"
    assert item.said.attributes == ()
    assert (item.number, item.status, item.topic) == ("A1", "accepted", "login")
    assert (item.owner, item.person, item.history) == (None, None, "一\n二")
    assert parse(CASES, record | {"state": ""}, yields=Yields.CASES).status == "assigned"
    assert parse(CASES, record | {"state": "closed"}, yields=Yields.CASES).status == "closed"


@pytest.mark.parametrize(
    ("broken", "column"),
    [({"no": ""}, "no"), ({"at": ""}, "at"), ({"at": "x"}, "at"), ({"state": "搁置"}, "state")],
)
def test_a_case_that_cannot_be_read_names_its_column(broken, column):
    record = {"no": "A1", "words": "话", "at": "2026-05-01T08:00:00"}
    with pytest.raises(RecordError) as caught:
        parse(CASES, record | broken, yields=Yields.CASES)
    assert caught.value.field == column


@pytest.mark.parametrize(
    ("map_spec", "says"),
    [
        (MapSpec(text=("w",), received_at=TimeSpec("at")), "map.id is missing"),
        (MapSpec(id="no", text=("w",)), "map.received_at is missing"),
        (
            MapSpec(id="no", text=("w",), received_at=TimeSpec("at"), values={"level": "l"}),
            "values.level is unknown",
        ),
    ],
)
def test_a_map_of_cases_says_what_it_lacks(map_spec, says):
    with pytest.raises(SourceError, match=says):
        compile_parser(source("jsonl", map=map_spec, yields=Yields.CASES))
