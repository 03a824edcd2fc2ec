"""Seconds from a segment of a running call to the named person's message, under `loopwright up`."""

import json
import random
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median

import pytest

from tests.acceptance.home import ASIDES, TROUBLES, Home
from tests.flows.running import put, running, within

pytestmark = [pytest.mark.prove, pytest.mark.flow]

CALLS = 10
BESIDE = 20_000
"""Reviews that are read and triaged while the calls run."""
LIMIT = 60.0


def segment(n: int, seq: int, text: str) -> bytes:
    fields = {"call_id": f"H{n}", "seq": seq, "speaker": "customer", "text": text}
    return json.dumps(fields, ensure_ascii=False).encode() + b"\n"


def reviews(chance: random.Random) -> bytes:
    rows = (
        {
            "review_id": f"B{n}",
            "title": "",
            "content": chance.choice(TROUBLES).format(*chance.choice(ASIDES)),
            "at": "2026-11-21T09:00:00+08:00",
            "score": 1,
            "lang": "zh",
            "author": {"openid": f"b-{n}"},
        }
        for n in range(BESIDE)
    )
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def alerts(folder: Path) -> int:
    texts = (path.read_text("utf-8") for path in folder.rglob("*.txt"))
    return sum("红色预警" in text for text in texts)


def told(outbox: Path, wanted: int) -> bool:
    return alerts(outbox) >= wanted


def test_a_segment_reaches_the_person_within_the_minute(tmp_path: Path) -> None:
    home = Home(tmp_path / "bank", {})
    home.folder.mkdir()
    home.do("init")
    outbox = home.folder / ".loopwright/outbox"
    live = put(home, "hotline_live", "calls.jsonl", segment(0, 1, "您好"))
    seconds = []
    with running(home) as run:
        put(home, "app_reviews", "many.jsonl", reviews(random.Random(5)))
        for n in range(1, CALLS + 1):
            with live.open("ab") as file:
                file.write(segment(n, 1, "你好，我想问问贷款"))
                file.flush()
                time.sleep(1)
                file.write(segment(n, 2, "我不想活了"))
            spoken = time.monotonic()
            within(LIMIT, partial(told, outbox, n))
            seconds.append(time.monotonic() - spoken)
        assert alerts(outbox) == CALLS
        run.stop()
    figures = json.loads(home.do("red", "list", "--json"))["figures"]
    sys.stdout.write(
        f"\nsegment to message, beside {BESIDE:,} reviews: median {median(seconds):.1f} s,"
        f" longest {max(seconds):.1f} s; by the record: longest {figures['longest_seconds']} s\n"
    )
    assert figures["alerts"] == CALLS
    assert figures["within_a_minute"] == CALLS
