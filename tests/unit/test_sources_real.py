"""The real files beside the project: every row is read, parsed or refused with a reason."""

from collections import Counter
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from policy.source_spec import SourceSpec
from sources.errors import RecordError
from sources.keys import Occurrences, content_key
from sources.parse import compile_parser
from sources.preflight import check_file
from sources.records import open_records

ROOT = Path(__file__).parents[2]
STREAM = ROOT.parent / "shared" / "data" / "stream"
DOCUMENT = ROOT / "examples" / "real" / "sources.yaml"
ROWS = {
    "app_reviews_icbc_zh.txt": 4000,
    "app_reviews_play.jsonl": 718,
    "chat_banking77.jsonl": 1005,
    "complaints_cfpb.csv": 1232,
    "hotline_calls_asr.jsonl": 1,
    "hotline_nlupp.jsonl": 1039,
    "hotline_workorders_zh.csv": 1711,
    "service_reviews_zh.jsonl": 1927,
}


def specs() -> dict[str, SourceSpec]:
    entries = yaml.safe_load(DOCUMENT.read_text(encoding="utf-8"))["sources"]
    found = TypeAdapter(list[SourceSpec]).validate_python(entries)
    return {spec.name: spec for spec in found}


def stream_file(name: str) -> Path:
    path = STREAM / name
    if not path.exists():
        pytest.skip(f"the real feedback files are not here: {path.name} in ../shared/data/stream")
    return path


def test_every_real_file_has_a_source_named_as_its_stem():
    assert {Path(name).stem for name in ROWS} == set(specs())


@pytest.mark.parametrize("name", ROWS)
def test_a_real_file_comes_in_whole(name):
    path = stream_file(name)
    spec = specs()[path.stem]
    check_file(spec, path)
    counts = Counter()
    keys = set()
    seen = Occurrences()
    with open_records(spec, path) as delivery:
        parser = compile_parser(spec, delivery.header)
        for record in delivery:
            counts["read"] += 1
            own = parser.key(record.payload)
            if own is None:
                (occurrence,) = seen.count([record.payload], spec.channel)
                own = content_key(record.payload, spec.channel, occurrence)
            keys.add(own)
            try:
                item = parser.parse(record.payload)
            except RecordError as error:
                counts[error.reason] += 1
            else:
                counts["parsed"] += 1
                counts["dated"] += item.said_at is not None
                counts["known"] += bool(item.customer_keys)
                counts["marked"] += item.rating is not None
    assert counts["read"] == counts["parsed"] == len(keys) == ROWS[name]
    assert counts["dated"] == (ROWS[name] if spec.map.said_at else 0)
    assert counts["known"] == (ROWS[name] if spec.map.customer else 0)
    assert counts["marked"] == (ROWS[name] if spec.map.rating else 0)
