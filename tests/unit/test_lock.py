"""Is the lock complete, hashed, and free of any index address?"""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
WANTED = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
ENTRY = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+)", re.MULTILINE)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def entries(lock: str) -> dict[str, str]:
    """Each pinned package with the text of its entry."""
    starts = list(ENTRY.finditer(lock))
    ends = [match.start() for match in starts[1:]] + [len(lock)]
    return {
        canonical(match["name"]): lock[match.start() : end]
        for match, end in zip(starts, ends, strict=True)
    }


def test_no_address_stands_in_the_lock() -> None:
    assert "://" not in LOCK
    assert "--index-url" not in LOCK


@pytest.mark.parametrize("wanted", WANTED)
def test_every_dependency_is_pinned(wanted: str) -> None:
    found = re.match(r"[A-Za-z0-9._-]+", wanted)
    assert found
    assert canonical(found[0]) in entries(LOCK)


def test_every_entry_is_hashed() -> None:
    pinned = entries(LOCK)
    assert len(pinned) > len(WANTED)
    assert [name for name, text in pinned.items() if "--hash=sha256:" not in text] == []


def test_every_requirement_line_is_an_exact_pin() -> None:
    loose = [
        line
        for line in LOCK.splitlines()
        if line and not line[0].isspace() and line[0] != "#" and not ENTRY.match(line)
    ]
    assert loose == []
