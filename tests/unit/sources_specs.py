"""Short ways to say a source in tests."""

import gzip
import io
import zipfile
from dataclasses import replace
from typing import Any

from policy.source_spec import FormatSpec, Limits, MapSpec, SourceSpec
from sources.records import open_records
from sources.unpacking import SMALL

TITLE = {"zh": "来源", "en": "source"}
TEXT = MapSpec(text=("text",))


def source(kind: str = "delimited", form: dict[str, Any] | None = None, **more: Any) -> SourceSpec:
    return SourceSpec(
        name="s",
        title=TITLE,
        format=replace(FormatSpec(kind), **(form or {})),
        map=more.pop("map", TEXT),
        **more,
    )


def payloads(spec: SourceSpec, data: bytes) -> list[str]:
    with open_records(spec, io.BytesIO(data)) as delivery:
        return [record.payload for record in delivery]


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def limits(**more: int) -> Limits:
    return replace(Limits(), **more)


BIG = 12 * SMALL
