"""Bytes to records: every form, every encoding, every cap."""

import csv
import hashlib
import io
import json
import zipfile
from datetime import datetime
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.errors import SourceError
from sources.payloads import pack, storable, unpack
from sources.records import open_records
from tests.unit.sources_specs import BIG, gzipped, limits, payloads, source, zipped


def cells(spec, data):
    return [json.loads(unpack(payload)) for payload in payloads(spec, data)]


@pytest.mark.parametrize(
    ("form", "data", "rows"),
    [
        ({}, b"a,b\r\n1,2\r\n", [["1", "2"]]),
        ({}, b"a,b\n1,2", [["1", "2"]]),
        ({}, b"a,b\n\n1,2\n\n\n3,4\n", [["1", "2"], ["3", "4"]]),
        ({}, b'a,b\n"x\ny","p""q"\n', [["x\ny", 'p"q']]),
        ({}, b'a,b\n"x\r\ny",2\r\n', [["x\r\ny", "2"]]),
        ({"delimiter": "\t"}, b"a\tb\n1,5\t2\n", [["1,5", "2"]]),
        ({"delimiter": ";", "quote": "'"}, b"a;b\n'x;y';2\n", [["x;y", "2"]]),
        ({"quote": ""}, b'a,b\n"x,2\n', [['"x', "2"]]),
        ({"header": False, "fields": ("a", "b")}, b"1,2\n", [["1", "2"]]),
        ({}, "﻿a,b\n转账,2\n".encode(), [["转账", "2"]]),
        ({"encoding": "utf-8-sig"}, "﻿a,b\n转账,2\n".encode(), [["转账", "2"]]),
        ({"encoding": "gb18030"}, "a,b\n转账𠮷,2\n".encode("gb18030"), [["转账𠮷", "2"]]),
        ({"encoding": "gb18030"}, "﻿a,b\n转,2\n".encode("gb18030"), [["转", "2"]]),
        ({"encoding": "utf-16"}, "a,b\n转账,2\n".encode("utf-16"), [["转账", "2"]]),
        ({"encoding": "utf-16-le"}, "﻿a,b\n转,2\n".encode("utf-16-le"), [["转", "2"]]),
        ({"encoding": "latin-1"}, "a,b\ncafé,2\n".encode("latin-1"), [["café", "2"]]),
    ],
)
def test_delimited_text_becomes_rows(form, data, rows):
    assert cells(source(form=form), data) == rows


def test_the_header_is_known_without_its_bom_and_spaces():
    with open_records(source(), io.BytesIO("﻿text , b\n1,2\n".encode())) as delivery:
        assert delivery.header == ("text", "b")


def test_records_are_numbered_from_one_and_the_delivery_knows_its_hash():
    data = b"text\nx\ny\n"
    with open_records(source(), io.BytesIO(data)) as delivery:
        assert [tuple(record) for record in delivery] == [(1, '["x"]'), (2, '["y"]')]
    assert delivery.size == len(data)
    assert delivery.sha256 == hashlib.sha256(data).hexdigest()


def test_a_stream_that_cannot_seek_is_read_too():
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    with open_records(source(), Pipe(b"text\nx\n")) as delivery:
        assert len(list(delivery)) == 1


@given(
    st.lists(
        st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=4),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([",", ";", "\t", "|"]),
)
def test_csv_with_any_cells_survives(rows, delimiter):
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *rows])
    spec = source(form={"delimiter": delimiter})
    assert cells(spec, out.getvalue().encode()) == rows


def test_undecodable_bytes_are_kept_and_do_not_spoil_their_neighbours():
    got = payloads(source(), "text,b\n好,1\n".encode() + b"\xff\xfe,2\nfine,3\n")
    assert json.loads(got[0]) == ["好", "1"]
    assert all(map(storable, got))
    assert json.loads(unpack(got[1]))[0] == "\udcff\udcfe"
    assert json.loads(got[2]) == ["fine", "3"]


@given(st.text())
def test_any_text_is_storable_once_packed_and_comes_back(text):
    assert storable(pack(text))
    assert unpack(pack(text)) == text


@pytest.mark.parametrize("text", ["a\0b", "\udc80", "�x", "", "转账"])
def test_texts_no_database_takes_come_back(text):
    assert unpack(pack(text)) == text


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\r\n\r\n  \r\ntwo", ["one", "two"]),
        ("﻿一\n二".encode(), ["一", "二"]),
        ("a\u2028b\x0bc\x85d\n".encode(), ["a\u2028b\x0bc\x85d"]),
    ],
)
def test_lines_end_at_line_ends_only(data, lines):
    assert payloads(source("lines"), data) == lines
    assert payloads(source("jsonl"), data) == lines


@pytest.mark.parametrize(
    ("items", "text", "found"),
    [
        (None, '[{"a": 1}, {"a": 2}]', ['{"a":1}', '{"a":2}']),
        (None, "[]", []),
        (None, '{"a": 1}', ['{"a":1}']),
        (None, '{"a": 1}\n{"a": 2} {"a": 3}', ['{"a":1}', '{"a":2}', '{"a":3}']),
        (None, ' [ {"t": "转账", "n": [1, 2.50]} ] ', ['{"t":"转账","n":[1,2.5]}']),
        ("data.list", '{"n": 2, "data": {"x": [9], "list": [1, 2], "y": 0}, "z": {}}', ["1", "2"]),
        ("calls", '{"calls": []}', []),
        ("calls", '{"calls": [1]} {"calls": [2]}', ["1", "2"]),
        (None, "12", ["12"]),
    ],
)
def test_json_documents_become_items(items, text, found):
    assert payloads(source("json", {"items": items}), text.encode()) == found


def test_json_streams_through_a_small_buffer():
    items = [{"n": n, "text": "转账" * n} for n in range(300)]
    data = json.dumps({"meta": "x" * 200_000, "list": items}, indent=1).encode()
    got = payloads(source("json", {"items": "list"}), data)
    assert [json.loads(item) for item in got] == items


@pytest.mark.parametrize(
    ("items", "text", "says"),
    [
        (None, "[1, 2", "expected one of"),
        (None, "{'a': 1}", "no valid JSON"),
        (None, "[" * 100_000, "nested too deeply"),
        ("rows", '{"list": []}', "not in the document"),
        ("rows", '{"rows": 1}', "not a list"),
        ("rows", '{"rows": [1], "b": [}', "no valid JSON"),
    ],
)
def test_broken_json_says_where(items, text, says):
    with pytest.raises(SourceError, match=says):
        payloads(source("json", {"items": items}), text.encode())


def workbook(*rows, title="Sheet"):
    book = openpyxl.Workbook()
    book.active.title = title
    for row in rows:
        book.active.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def test_a_worksheet_becomes_rows_of_texts():
    day = datetime(2026, 5, 1, 9, 30)  # noqa: DTZ001
    data = workbook(["text", "n", "at"], ["转账", 5.0, day], [None, None, None], ["x", 1.5, None])
    assert cells(source("xlsx"), data) == [
        ["转账", "5", "2026-05-01T09:30:00"],
        ["x", "1.5"],
    ]


def test_a_missing_sheet_names_the_others():
    with pytest.raises(SourceError, match="评价"):
        payloads(source("xlsx", {"sheet": "x"}), workbook(["text"], title="评价"))


@pytest.mark.parametrize("data", [b"text\nx\n", b"PK\x03\x04 no", zipped({"a.txt": b"x"})])
def test_what_is_no_workbook_is_refused(data):
    with pytest.raises(SourceError, match="XLSX"):
        payloads(source("xlsx"), data)


def patched_sheet(data, old, new):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    assert old in files[sheet]
    return zipped(files | {sheet: files[sheet].replace(old, new)})


def test_a_worksheet_that_claims_to_be_huge_is_read_by_its_real_cells():
    data = patched_sheet(workbook(["text"], ["x"]), b"A1:A2", b"A1:XFD1048576")
    assert cells(source("xlsx"), data) == [["x"]]


def test_a_worksheet_with_a_row_beyond_the_last_is_refused():
    data = patched_sheet(workbook(["text"], ["x"]), b'r="2"', b'r="999999999"')
    with pytest.raises(SourceError, match="XLSX"):
        payloads(source("xlsx"), data)


def test_a_worksheet_with_entities_is_refused():
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><worksheet '
    data = patched_sheet(workbook(["text"], ["x"]), b"<worksheet ", bomb)
    with pytest.raises(SourceError, match="XLSX"):
        payloads(source("xlsx"), data)


def test_a_workbook_bomb_is_refused():
    data = patched_sheet(workbook(["text"]), b"</worksheet>", b" " * BIG + b"</worksheet>")
    with pytest.raises(SourceError, match="unpacks to"):
        payloads(source("xlsx"), data)


def test_archives_are_told_by_their_bytes_and_read_as_one_delivery():
    first, second = b"text\nx\n", b"text\ny\nz\n"
    assert payloads(source(), gzipped(first)) == ['["x"]']
    files = {"../../etc/a.csv": first, "b.csv": second, "__MACOSX/._b.csv": b"\0\0"}
    assert len(payloads(source(), zipped(files))) == 3


def test_an_archive_of_unlike_files_is_refused():
    with pytest.raises(SourceError, match="different headers"):
        payloads(source(), zipped({"a": b"text\nx\n", "b": b"other\ny\n"}))


@pytest.mark.parametrize(
    "data",
    [
        gzipped(b"text\n" + b"a\n" * BIG),
        zipped({"a": b"text\n" + b"a\n" * BIG}),
        zipped({str(n): b"text\n" + b"a\n" * 500_000 for n in range(20)}),
    ],
    ids=["gz", "zip", "zip of many"],
)
def test_bombs_are_stopped_while_reading(data):
    assert len(data) < 200_000
    with pytest.raises(SourceError, match="unpacks to more than"):
        payloads(source(), data)


def test_the_cap_on_unpacked_bytes_holds_for_honest_archives():
    noise = b"".join(b"%d\n" % (n * 7919) for n in range(50_000))
    with pytest.raises(SourceError, match="unpacks to more than 100,000"):
        payloads(source(limits=limits(unpacked_bytes=100_000)), gzipped(b"text\n" + noise))


@pytest.mark.parametrize(
    "data",
    [
        gzipped(b"text\nx\n" * 1000)[:-20],
        gzipped(b"text\nx\n")[:8] + b"\xff" * 20,
        zipped({"a": b"text\nx\n"})[:-30],
        b"PK\x03\x04" + b"\0" * 40,
        b"\x1f\x8b",
    ],
)
def test_damaged_archives_are_refused(data):
    with pytest.raises(SourceError, match=r"cannot be unpacked|no header"):
        payloads(source(), data)


def test_an_archive_of_too_many_files_is_refused():
    with pytest.raises(SourceError, match="1,001 files"):
        payloads(source(), zipped({str(n): b"" for n in range(1001)}))


def test_an_unclosed_quote_does_not_swallow_the_file():
    data = b'text\nfine\n"never closed\n' + b"row\n" * 100_000
    with pytest.raises(SourceError, match=r"at line 3.*never closed"):
        payloads(source(limits=limits(cell_bytes=1024)), data)


def test_a_line_without_end_is_refused():
    for kind in ("lines", "jsonl", "delimited"):
        with pytest.raises(SourceError, match="longer than 65,536"):
            payloads(source(kind, limits=limits(cell_bytes=1024)), b"text\n" + b"x" * 70_000)


def test_too_many_records_are_refused():
    with pytest.raises(SourceError, match="more than 2 records"):
        payloads(source("lines", limits=limits(records=2)), b"a\nb\nc\n")


@pytest.mark.parametrize("encoding", ["klingon", "rot13", "base64", "idna", "undefined"])
def test_an_unknown_encoding_is_refused(encoding):
    with pytest.raises(SourceError, match="not a text encoding"):
        payloads(source("lines", {"encoding": encoding}), b"a\n")


def test_utf16_without_its_mark_asks_for_the_byte_order():
    with pytest.raises(SourceError, match="byte order mark"):
        payloads(source("lines", {"encoding": "utf-16"}), "好\n".encode("utf-16-le"))


@pytest.mark.parametrize("form", [{"delimiter": "::"}, {"quote": "ab"}, {"delimiter": ""}])
def test_delimiter_and_quote_are_single_characters(form):
    with pytest.raises(SourceError, match="one character"):
        payloads(source(form=form), b"a\nb\n")


def test_an_unknown_kind_lists_the_known_ones():
    with pytest.raises(SourceError, match="jsonl"):
        payloads(source("parquet"), b"x")


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path):
    path = tmp_path / "drop.csv"
    path.write_bytes(b"text\nx\n")
    with open_records(source(), path) as delivery:
        with path.open("ab") as more:
            more.write(b"y\n")
        with pytest.raises(SourceError, match="changed while it was read"):
            list(delivery)
