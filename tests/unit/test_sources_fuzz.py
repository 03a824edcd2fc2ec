"""Whatever bytes arrive: records, SourceError or RecordError, and nothing else."""

import io
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.kinds import RatingKind
from policy.source_spec import MapSpec, RatingSpec, TimeSpec, TurnsSpec
from sources.errors import RecordError, SourceError
from sources.parse import compile_parser
from sources.payloads import storable
from sources.preflight import check_file
from sources.records import open_records
from tests.unit.sources_specs import gzipped, source, zipped

MAP = MapSpec(
    id="a",
    text=("a", "b"),
    said_at=TimeSpec("b"),
    rating=RatingSpec("c", RatingKind.STARS, 1, 5),
    customer={"phone": "b"},
)
CALLS = MapSpec(
    id="a.b", text=("a",), turns=TurnsSpec("b", "a", "c", ("x",)), said_at=TimeSpec("c", "epoch_ms")
)
ENCODINGS = ("utf-8", "gb18030", "utf-16-le", "utf-16", "big5", "shift_jis", "utf-7", "latin-1")
SPECS = [
    *(source("delimited", {"encoding": encoding}, map=MAP) for encoding in ENCODINGS),
    *(source("jsonl", {"encoding": encoding}, map=CALLS) for encoding in ENCODINGS),
    *(source("lines", {"encoding": encoding}, map=MapSpec()) for encoding in ENCODINGS),
    source("delimited", {"header": False, "fields": ("a", "b", "c"), "quote": ""}, map=MAP),
    source("json", map=CALLS),
    source("json", {"items": "a.b"}, map=CALLS),
    source("xlsx", map=MAP),
]

PIECES = st.sampled_from(
    [
        *(bytes([byte]) for byte in b'",\n\r\0{}[]:-'),
        *(b'"a"', b'"b"', b'"c"', b"a,b,c\n", b'{"a":"x","b":[{"a":"x","c":"y"}],"c":1}'),
        *(b"\\ud800", b"\\u0000", b"\xff\xfe", b"\xef\xbb\xbf", b"\x84\x31\x95\x33"),
        *(b"2026-05-01", b"1e999", b"NaN", b"9" * 30, b"\x1f\x8b", b"PK\x03\x04"),
        *("转账".encode(encoding) for encoding in ("utf-8", "gb18030", "utf-16-le")),
    ]
)
RAW = st.lists(PIECES | st.binary(max_size=8), max_size=14).map(b"".join)
DATA = RAW | RAW.map(gzipped) | RAW.map(lambda data: zipped({"x": data}))


def swallow(spec, data):
    """Everything a delivery can go through; anything but the two errors fails the test."""
    with suppress(SourceError), open_records(spec, io.BytesIO(data)) as delivery:
        parser = compile_parser(spec, delivery.header)
        for record in delivery:
            assert storable(record.payload)
            parser.key(record.payload)
            with suppress(RecordError):
                assert storable(parser.parse(record.payload).text)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SPECS), DATA)
def test_any_bytes_give_records_or_one_of_two_errors(spec, data):
    swallow(spec, data)


@pytest.mark.prove
@settings(max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(SPECS), DATA)
def test_any_bytes_give_records_or_one_of_two_errors_at_scale(spec, data):
    swallow(spec, data)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from(SPECS), DATA)
def test_any_file_passes_the_check_or_is_refused_by_name(tmp_path, spec, data):
    path = tmp_path / "delivery"
    path.write_bytes(data)
    with suppress(SourceError):
        check_file(spec, path)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SPECS), st.text())
def test_any_stored_payload_parses_or_says_why(spec, payload):
    parser = compile_parser(spec, ("a", "b", "c"))
    parser.key(payload)
    with suppress(RecordError):
        parser.parse(payload)
