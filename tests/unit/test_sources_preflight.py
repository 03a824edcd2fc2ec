"""A file that is wrong as a whole is refused before anything of it is stored."""

import json

import pytest

from policy.source_spec import MapSpec, TurnsSpec
from sources.errors import SourceError
from sources.preflight import check_file
from tests.unit.sources_specs import gzipped, source, zipped

CHINESE = "text\n" + "转账失败，客服电话打不通\n" * 40


@pytest.mark.parametrize(
    ("spec", "data", "says", "fix"),
    [
        (source(), b"", "is empty", "again"),
        (source(), gzipped(b""), "is empty", "again"),
        (source(), zipped({}), "is empty", "again"),
        (source(), b"%PDF-1.7 ...", "is a PDF", "delimited"),
        (source(), b"\xd0\xcf\x11\xe0" + b"\0" * 99, "old Excel", "XLSX"),
        (source(), bytes(range(256)) * 40, "binary file", "delimited"),
        (source("lines"), b"\0\1\2\3" * 999, "binary file", "delimited"),
        (source(), zipped({"[Content_Types].xml": b"<x/>"}), "Office file", "kind: xlsx"),
        (source("xlsx"), b"text\nx\n", "no readable XLSX", "format.kind"),
        (
            source(),
            CHINESE.encode("gb18030"),
            r"does not decode as utf-8: byte \d+, line 2",
            "encoding: gb18030",
        ),
        (source("lines"), CHINESE.encode("gb18030"), "line 2", "encoding: gb18030"),
        (source(), ("好" + CHINESE).encode("gb18030"), "byte 0, line 1", "encoding: gb18030"),
        (source(), gzipped(CHINESE.encode("gb18030")), r"byte \d+, line 2", "encoding: gb18030"),
        (source(), CHINESE.encode("utf-16"), "does not decode as utf-8", "encoding: utf-16"),
        (source(), CHINESE.encode("utf-16-le"), "does not decode", "encoding: utf-16-le"),
        (source(form={"encoding": "gb18030"}), CHINESE.encode(), "as gb18030", "encoding: utf-8"),
        (source(form={"encoding": "latin-1"}), CHINESE.encode(), "is UTF-8", "encoding: utf-8"),
        (source(form={"encoding": "klingon"}), b"text\nx\n", "not a text encoding", "utf-8"),
        (source(), b"txt\nx\n", "names the column 'text'", "did you mean 'txt'"),
        (source(), b"a;text;c\n1;x;2\n", "names the column 'text'", "columns found: a;text;c"),
        (source("jsonl"), b"text\nx\n", "JSON object", "format.kind"),
        (source("json"), b'["x"]', "JSON object", "format.items"),
        (source("jsonl"), b'{"txet": "x"}\n', "names the field 'text'", "fields found: txet"),
        (
            source("jsonl", map=MapSpec(id="uid", text=("text",))),
            b'{"text": "x", "id": 1}\n',
            "names the field 'uid'",
            "fields found: id, text",
        ),
        (
            source("jsonl", map=MapSpec(turns=TurnsSpec("a.b", "s", "t", ("c",)))),
            b'{"text": "x"}\n',
            "names the field 'a.b'",
            "text",
        ),
    ],
)
def test_wrong_files_say_what_and_how_to_mend(tmp_path, spec, data, says, fix):
    path = tmp_path / "delivery"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=says) as caught:
        check_file(spec, path)
    assert fix in str(caught.value.fix)
    assert caught.value.exit_code == 2


def test_a_missing_file_and_a_directory(tmp_path):
    with pytest.raises(SourceError, match="does not exist"):
        check_file(source(), tmp_path / "none.csv")
    with pytest.raises(SourceError, match="is a directory"):
        check_file(source(), tmp_path)


def damaged(good: int, bad: int) -> bytes:
    return b"text\n" + "转账很快\n".encode() * good + b"caf\xe9\n" * bad


@pytest.mark.parametrize(
    ("spec", "data"),
    [
        (source(), b"text\nx\n"),
        (source(), b"text\n"),
        (source(), damaged(20, 2)),
        (source(), b"text\n" + b"fine\n" * 20 + b"caf\xe9\n" * 2),
        (source(), b"text\n" + ("转" * 200_000).encode()),
        (source(form={"encoding": "gb18030"}), CHINESE.encode("gb18030")),
        (source(form={"encoding": "utf-16"}), CHINESE.encode("utf-16")),
        (source(form={"encoding": "utf-16-le"}), CHINESE.encode("utf-16-le")),
        (source(), zipped({"a.csv": CHINESE.encode()})),
        (source("jsonl"), b'{"text": null}\n{broken\n'),
        (source("jsonl", map=MapSpec(text=("a", "b"))), b'{"a": "x", "b": null}\n'),
        (source("json", {"items": "d"}), json.dumps({"d": [{"text": "x"}]}).encode()),
    ],
)
def test_right_files_pass_and_single_damaged_records_too(tmp_path, spec, data):
    path = tmp_path / "delivery"
    path.write_bytes(data)
    check_file(spec, path)


def test_many_damaged_records_are_a_wrong_encoding(tmp_path):
    path = tmp_path / "delivery"
    path.write_bytes(damaged(5, 9))
    with pytest.raises(SourceError, match="line 7"):
        check_file(source(), path)
