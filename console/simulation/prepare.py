"""A fresh installation for simulated days: schema, documents, and the files cut into slices."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import yaml

from console.simulation.slices import (
    Cuttable,
    arrivals,
    beside,
    read_records,
    spread,
    write_slices,
)
from loopwright.db import Database
from loopwright.errors import InputError
from loopwright.history.envelope import Actor
from loopwright.migrate import upgrade
from loopwright.settings import Settings
from models.kinds import Yields
from policy.documents import DocumentSet
from policy.source_spec import SourceSpec
from tasks.documents.publish import publish, read_folders

EXPORT_EVERY = timedelta(hours=6)
"""Each source delivers what it received so often."""
EXAMPLE = timedelta(days=90)
"""What the example's data span."""
MAPPED_EVERY = timedelta(days=1)
"""The same for records whose own times are too far off to tell the hour."""


@dataclass(frozen=True)
class Period:
    """The simulated time, and its zone."""

    begins: datetime
    ends: datetime
    zone: ZoneInfo


def publish_documents(
    settings: Settings, folder: Path, now: datetime, *, mapped: bool
) -> DocumentSet:
    """Publish the folder's documents with sources that deliver slices.

    Each slice holds new records only; `mapped` records are received when they arrive, whatever
    time of their own they state.
    """
    files = {
        name: sources_of_slices(content, mapped) if is_sources(name, content) else content
        for name, content in read_folders([folder]).items()
    }
    db = Database(settings.database.url)
    upgrade(db)
    documents = publish(db, files, Actor("person", "operator", "demo"), now).documents
    db.close()
    return documents


def is_sources(name: str, content: bytes) -> bool:
    return name.endswith(".yaml") and re.search(rb"^sources:", content, re.MULTILINE) is not None


def sources_of_slices(content: bytes, mapped: bool) -> bytes:
    tree = yaml.safe_load(content)
    for source in tree["sources"]:
        source["deliveries"] = "increments"
        if mapped:
            source["received"] = "arrival"
    return yaml.safe_dump(tree, allow_unicode=True, sort_keys=False).encode()


def files_of(folder: Path, sources: Mapping[str, SourceSpec]) -> list[tuple[SourceSpec, Path]]:
    """The folder's files that are named as a source. Raises InputError when there are none."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder", "name the folder with the sources' files")
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and p.stem in sources]
    if not files:
        raise InputError(
            f"{folder} holds no file named as a source", f"sources: {', '.join(sorted(sources))}"
        )
    return [(sources[path.stem], path) for path in files]


def cut_files(
    documents: DocumentSet, data: Path, place: Path, period: Period, *, mapped: bool
) -> list[dict[str, Any]]:
    """Cut every file into slices below `place`; with `mapped`, what was shifted by how much."""
    sources = {spec.name: spec for spec in documents.sources}
    found = [read_records(spec, path, period.zone) for spec, path in files_of(data, sources)]
    moments = simulated(found, period) if mapped else [own_times(f, period) for f in found]
    for file, times in zip(found, moments, strict=True):
        arriving = arrivals(times, period.begins, MAPPED_EVERY if mapped else EXPORT_EVERY)
        write_slices(file, arriving, place / file.spec.name)
    return [shift_of(f, t) for f, t in zip(found, moments, strict=True)] if mapped else []


def own_times(file: Cuttable, period: Period) -> list[datetime]:
    """By the times the records state; a file without any is spread over the example's days."""
    times = beside(file.stated)
    if not times or times[0] is None:
        return spread(len(file.texts), period.begins, period.begins + EXAMPLE)
    return [moment for moment in times if moment is not None]


def simulated(files: Sequence[Cuttable], period: Period) -> list[list[datetime]]:
    """Records in the order of the times they state, over all files, evenly over the days.

    Of equal times the order of files and records is kept; a file without times is spread over the
    days by itself; companions of feedback (customers, measures) are there from the first day.
    """
    order = sorted(
        (moment, n, i)
        for n, file in enumerate(files)
        if has_times(file)
        for i, moment in enumerate(beside(file.stated))
        if moment is not None
    )
    moments = spread(len(order), period.begins, period.ends)
    placed = {(n, i): at for (_, n, i), at in zip(order, moments, strict=True)}
    return [
        [placed[n, i] for i in range(len(file.texts))]
        if has_times(file)
        else without_times(file, period)
        for n, file in enumerate(files)
    ]


def has_times(file: Cuttable) -> bool:
    return file.spec.yields is Yields.FEEDBACK and any(file.stated)


def without_times(file: Cuttable, period: Period) -> list[datetime]:
    if file.spec.yields is Yields.FEEDBACK:
        return spread(len(file.texts), period.begins, period.ends)
    return [period.begins] * len(file.texts)


def shift_of(file: Cuttable, times: Sequence[datetime]) -> dict[str, Any]:
    """A source's own first and last date, the simulated ones, and the median shift in days."""
    pairs = [(own, at) for own, at in zip(file.stated, times, strict=True) if own is not None]
    own = sorted(stated for stated, _ in pairs)
    return {
        "source": file.spec.name,
        "records": len(times),
        "own": [f"{own[0]:%Y-%m-%d}", f"{own[-1]:%Y-%m-%d}"] if own else None,
        "simulated": [f"{min(times):%Y-%m-%d}", f"{max(times):%Y-%m-%d}"] if times else None,
        "median_shift_days": round(median((at - o) / timedelta(days=1) for o, at in pairs))
        if pairs
        else None,
    }
