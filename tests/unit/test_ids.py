"""Identifiers: ordered, well-formed, and handles that survive being read aloud."""

import re
import uuid
from datetime import UTC, datetime

import pytest

from loopwright.ids import handle, uuid7, uuid7s


def test_uuid7_is_well_formed() -> None:
    made = uuid.UUID(uuid7())
    assert made.version == 7
    assert made.variant == uuid.RFC_4122


@pytest.mark.parametrize("count", [0, 1, 2, 1_000, 10_000])
def test_many_are_ordered_and_distinct(count: int) -> None:
    made = uuid7s(count)
    assert made == sorted(made)
    assert len(set(made)) == count


def test_time_is_in_front() -> None:
    before = datetime.now(UTC).timestamp() * 1000
    milliseconds = int(uuid7().replace("-", "")[:12], 16)
    assert 0 <= milliseconds - before + 1 < 60_000


def test_handle() -> None:
    made = {handle("L", datetime(2026, 11, 21, tzinfo=UTC)) for _ in range(500)}
    assert len(made) == 500
    assert all(re.fullmatch(r"L261121-[0-9A-HJKMNP-TV-Z]{8}", text) for text in made)
