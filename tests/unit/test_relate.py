"""Is this a complaint we already have? Every relation, in order of certainty."""

from datetime import UTC, datetime, timedelta

import pytest

from policy.relate import Known, Relating, relate

NOW = datetime(2026, 8, 31, 4, tzinfo=UTC)
WINDOW = timedelta(days=30)


def is_open(name: str, state: str = "open") -> Known:
    return Known(name, state)


def closed(name: str, days: float) -> Known:
    return Known(name, "closed", NOW - timedelta(days=days))


NEW = Relating("open")
CASES = [
    ("nothing known", None, None, [], NEW),
    ("open, same customer", None, None, [is_open("A")], ("join", "A", "customer and topic")),
    ("in triage", None, None, [is_open("A", "triage")], ("join", "A", "customer and topic")),
    ("resolved", None, None, [is_open("A", "resolved")], ("reopen", "A", "customer and topic")),
    ("verifying", None, None, [is_open("A", "verifying")], ("reopen", "A", "customer and topic")),
    ("by number", None, is_open("A", "verifying"), [], ("reopen", "A", "complaint number")),
    ("closed lately", None, None, [closed("A", 3)], ("reopen", "A", "customer and topic")),
    ("on the last day", None, None, [closed("A", 30)], ("reopen", "A", "customer and topic")),
    ("too long ago", None, None, [closed("A", 30.01)], NEW),
    ("received before closing", None, None, [closed("A", -1)],
     ("reopen", "A", "customer and topic")),
    ("the newest", None, None, [closed("A", 9), closed("B", 2)],
     ("reopen", "B", "customer and topic")),
    ("open before closed", None, None, [closed("A", 1), is_open("B")],
     ("join", "B", "customer and topic")),
    ("number", None, is_open("N"), [], ("join", "N", "complaint number")),
    ("number before customer", None, is_open("N"), [is_open("A")],
     ("join", "N", "complaint number")),
    ("closed number", None, closed("N", 5), [], ("reopen", "N", "complaint number")),
    ("closed number, open loop", None, closed("N", 5), [is_open("A")],
     ("join", "A", "customer and topic")),
    ("old number", None, closed("N", 40), [], NEW),
    ("old number, recent loop", None, closed("N", 40), [closed("A", 2)],
     ("reopen", "A", "customer and topic")),
    ("new version", is_open("V"), None, [], ("join", "V", "version")),
    ("version before number", is_open("V"), is_open("N"), [is_open("A")],
     ("join", "V", "version")),
    ("closed version, open number", closed("V", 1), is_open("N"), [],
     ("join", "N", "complaint number")),
    ("closed version", closed("V", 1), closed("N", 1), [], ("reopen", "V", "version")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("version", "number", "customer", "expected"),
    [case[1:] for case in CASES],
    ids=[str(case[0]) for case in CASES],
)
def test_relate(
    version: Known | None,
    number: Known | None,
    customer: list[Known],
    expected: Relating | tuple[str, str, str],
) -> None:
    wanted = expected if isinstance(expected, Relating) else Relating(*expected)
    assert relate(version, number, customer, NOW, WINDOW) == wanted
