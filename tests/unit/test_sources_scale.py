"""Streaming at scale: memory does not grow with the delivery, and reading is quick."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MEGABYTES = 200
ROW = (
    '"{n}",2026/5/{day} 9:{minute:02}:00,{score},13800{n:06},'
    '"转账失败，第{n}次了，\n请尽快处理，客服电话一直占线"\n'
)

READ = """
import resource, sys, time
from models.kinds import RatingKind
from policy.source_spec import FormatSpec, MapSpec, RatingSpec, SourceSpec, TimeSpec
from sources.keys import Occurrences
from sources.parse import compile_parser
from sources.records import open_records

form = MapSpec(text=("text",), said_at=TimeSpec("time", "%Y/%m/%d %H:%M:%S"),
               rating=RatingSpec("score", RatingKind.NPS, 0, 10), customer={"phone": "phone"})
spec = SourceSpec("s", {}, FormatSpec("delimited"), form)
began, chunk, read, seen = time.perf_counter(), [], 0, Occurrences()
with open_records(spec, sys.argv[1]) as delivery:
    parser = compile_parser(spec, delivery.header)
    for record in delivery:
        read += 1
        parser.parse(record.payload)
        chunk.append(record.payload)
        if len(chunk) == 10_000:
            seen.count(chunk)
            chunk.clear()
seconds = time.perf_counter() - began
print(read, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, int(read / seconds))
"""


def write_rows(path: Path, megabytes: int) -> int:
    rows = 0
    with path.open("w", encoding="utf-8") as out:
        out.write("id,time,score,phone,text\n")
        while out.tell() < megabytes * 1_000_000:
            out.writelines(
                ROW.format(n=n, day=n % 28 + 1, minute=n % 60, score=n % 11)
                for n in range(rows, rows + 10_000)
            )
            rows += 10_000
    return rows


@pytest.mark.prove
def test_two_hundred_megabytes_stream_in_little_memory(tmp_path):
    path = tmp_path / "large.csv"
    rows = write_rows(path, MEGABYTES)
    answer = subprocess.run(
        [sys.executable, "-c", READ, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    path.unlink()
    read, megabytes, per_second = map(int, answer.stdout.split())
    print(f"{read:,} records, {megabytes} MB, {per_second:,} records/s")  # noqa: T201
    assert read == rows
    assert megabytes < 250
    assert per_second > 30_000
