"""Cut files hold the very records, and plans are the same whenever they are made."""

import gzip
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from console.simulation.prepare import Period, own_times, simulated
from console.simulation.slices import (
    Cuttable,
    arrival_of,
    arrivals,
    beside,
    read_records,
    spread,
    write_slices,
)
from policy.source_spec import SourceSpec
from sources.payloads import unpack
from sources.records import open_records
from tasks.documents.publish import check, read_folders
from tests.acceptance.home import BANK, REAL, STREAM
from tests.unit.sources_specs import payloads, source

ZONE = ZoneInfo("Asia/Shanghai")
FIRST = datetime(2026, 8, 24, tzinfo=ZONE)
PERIOD = Period(FIRST, FIRST + timedelta(days=90), ZONE)
DAY = timedelta(days=1)


def sources_in(folder: Path) -> dict[str, SourceSpec]:
    documents, _ = check(read_folders([folder]))
    assert documents is not None
    return {spec.name: spec for spec in documents.sources}


def records_in(spec: SourceSpec, folder: Path) -> list[str]:
    found = []
    for path in sorted(folder.iterdir()):
        with open_records(spec, path) as delivery:
            found += [unpack(record.payload) for record in delivery]
    return found


def cut(spec: SourceSpec, path: Path, folder: Path) -> Cuttable:
    file = read_records(spec, path, ZONE)
    write_slices(file, arrivals(own_times(file, PERIOD), FIRST, DAY), folder)
    return file


@pytest.mark.parametrize("name", sorted(n for n, s in sources_in(BANK).items() if s.follow is None))
def test_the_example_loses_no_record(name: str, tmp_path: Path) -> None:
    (path,) = (BANK / "data").glob(f"{name}.*")
    spec = sources_in(BANK)[name]
    file = cut(spec, path, tmp_path / name)
    assert len(list((tmp_path / name).iterdir())) > 1
    assert sorted(records_in(spec, tmp_path / name)) == sorted(file.texts)


@pytest.mark.skipif(not STREAM.is_dir(), reason="needs ../shared/data/stream")
def test_the_stream_loses_no_record_and_keeps_the_order_of_time(tmp_path: Path) -> None:
    sources = sources_in(REAL)
    paths = sorted(p for p in STREAM.iterdir() if p.stem in sources)
    files = [read_records(sources[path.stem], path, ZONE) for path in paths]
    moments = simulated(files, PERIOD)
    assert sum(len(file.texts) for file in files) == 11_633
    pairs = sorted(
        (own, at)
        for file, times in zip(files, moments, strict=True)
        for own, at in zip(file.stated, times, strict=True)
        if own is not None
    )
    by_own: dict[datetime, list[datetime]] = {}
    for own, at in pairs:
        by_own.setdefault(own, []).append(at)
    groups = list(by_own.values())
    assert all(max(a) <= min(b) for a, b in pairwise(groups))
    for file, times in zip(files, moments, strict=True):
        assert PERIOD.begins <= min(times) <= max(times) <= PERIOD.ends
        folder = tmp_path / file.spec.name
        write_slices(file, arrivals(times, FIRST, DAY), folder)
        assert sorted(records_in(file.spec, folder)) == sorted(file.texts)


FRAMINGS = [
    ("delimited", {"encoding": "gb18030"},
     'id,text\n1,"两行\n引号""里"\n2,"a,b"\n'.encode("gb18030")),
    ("delimited", {"encoding": "gb18030"}, "id,text\n1,好\n2,坏".encode("gb18030") + b"\xff\n"),
    ("delimited", {"delimiter": ";", "quote": "", "header": False, "fields": ("id", "text")},
     b'1;"open\n2;plain\n'),
    ("delimited", {}, b"\xef\xbb\xbfid,text\n1,one\n2,two,too many\n"),
    ("lines", {"encoding": "utf-16"}, "一\n二\n".encode("utf-16")),
    ("jsonl", {}, b'{"text": "a"}\n\n{broken\n'),
    ("json", {"items": "data.calls"}, b'{"n": 1, "data": {"calls": [{"text": "a"}, 2]}, "end": 0}'),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "form", "data"), FRAMINGS)
@pytest.mark.parametrize("packed", [False, True])
def test_each_framing_and_encoding_comes_back(
    kind: str, form: dict[str, object], data: bytes, packed: bool, tmp_path: Path
) -> None:
    spec = source(kind, form)
    path = tmp_path / ("voices.txt.gz" if packed else "voices.txt")
    path.write_bytes(gzip.compress(data) if packed else data)
    with open_records(spec, path) as delivery:
        texts = [unpack(record.payload) for record in delivery]
        file = Cuttable(spec, path, delivery.header, texts, [None] * len(texts))
    write_slices(file, [FIRST + DAY * n for n in range(len(texts))], tmp_path / "cut")
    assert records_in(spec, tmp_path / "cut") == [unpack(p) for p in payloads(spec, data)]
    first = min((tmp_path / "cut").iterdir())
    assert arrival_of(first) == FIRST
    assert first.read_bytes().startswith(b"\xef\xbb\xbf") == data.startswith(b"\xef\xbb\xbf")


def test_equal_slices_are_different_files(tmp_path: Path) -> None:
    spec = source("lines")
    path = tmp_path / "a.txt"
    path.write_bytes(b"same\nsame\nsame\n")
    file = Cuttable(spec, path, (), ["same"] * 3, [None] * 3)
    write_slices(file, spread(3, FIRST, FIRST + 3 * DAY), tmp_path / "cut")
    assert len({p.read_bytes() for p in (tmp_path / "cut").iterdir()}) == 3
    assert records_in(spec, tmp_path / "cut") == ["same"] * 3


def test_a_record_without_a_time_travels_with_its_neighbour() -> None:
    one, two = datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 9, 2, tzinfo=UTC)
    assert beside([None, one, None, two, None]) == [one, one, one, two, two]


def test_exports_come_at_or_after_what_they_hold() -> None:
    before, exactly, after = FIRST - 9 * DAY, FIRST + DAY, FIRST + DAY + timedelta(seconds=1)
    assert arrivals([before, exactly, after], FIRST, DAY) == [FIRST, FIRST + DAY, FIRST + 2 * DAY]


def test_the_same_records_make_the_same_workbooks(tmp_path: Path) -> None:
    spec, path = sources_in(BANK)["branch_book"], BANK / "data" / "branch_book.xlsx"
    for folder in ("one", "two"):
        cut(spec, path, tmp_path / folder)
        time.sleep(1.1)  # a workbook keeps the second at which it was saved
    one, two = (sorted((tmp_path / folder).iterdir()) for folder in ("one", "two"))
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]
