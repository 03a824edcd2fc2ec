"""Labelled rows from files: every form in, every mistake named with file, line and fix."""

import gzip
import json
from pathlib import Path

import pytest

from loopwright.errors import InputError
from tasks.documents.records import read_records

ROWS = [{"text": "转账，失败\n两次", "label": "transfer"}, {"text": 'said "no"', "label": "fee"}]
JSONL = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS) + "\n\n"
CSV = 'text,label\n"转账，失败\n两次",transfer\n\n"said ""no""",fee\n'


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize(("name", "content"), [("a.jsonl", JSONL), ("a.csv", CSV)])
@pytest.mark.parametrize("packed", [False, True])
def test_rows_come_in(tmp_path: Path, name: str, content: str, bom: bytes, packed: bool) -> None:
    data = bom + content.encode()
    path = tmp_path / (name + ".gz" if packed else name)
    path.write_bytes(gzip.compress(data, mtime=0) if packed else data)
    assert list(read_records(path)) == ROWS


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_an_empty_file_has_no_rows(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    assert list(read_records(tmp_path / name)) == []


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.jsonl", b'{"text": 1}\n{"text": \n', "a.jsonl:2: .*not JSON"),
        ("a.jsonl", b"{}\n[1]\n", "a.jsonl:2: .*not a JSON object"),
        ("a.jsonl", b"[" * 100_000, "a.jsonl:1: .*not JSON"),
        ("a.jsonl", '{"text": "转账"}'.encode("gb18030"), "a.jsonl:1: .*not UTF-8"),
        ("a.csv", "text\n转账".encode("gb18030"), "a.csv:2: .*not UTF-8"),
        ("a.csv", b"text,label\na,b,c\n", "a.csv:2: .*3 .*2 columns"),
        ("a.csv", b"text,text\na,b\n", "a.csv:1: .*twice"),
        ("a.csv", b'text\n"open', "a.csv:2: .*broken CSV"),
        ("a.jsonl.gz", b"no gzip", "damaged gzip"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 1000, mtime=0)[:-12], "damaged gzip"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=says) as caught:
        list(read_records(tmp_path / name))
    assert caught.value.fix


def test_a_file_that_cannot_be_used_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").mkdir()
    for name, says in [
        ("a.jsonl", "is a directory"),
        ("b.csv", "no such file"),
        ("c.xlsx", "unknown kind"),
        ("gz", "unknown kind"),
    ]:
        with pytest.raises(InputError, match=says):
            read_records(tmp_path / name)
