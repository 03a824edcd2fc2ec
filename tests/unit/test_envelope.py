"""The exact bytes of an event: canonical as RFC 8785, refused values, one golden envelope."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from loopwright.history.envelope import Actor, Event, canonical, check_data, seal, timestamp

AT = datetime(2026, 11, 21, 4, 5, 6, 7, tzinfo=UTC)
ACTOR = Actor("person", "db.zhang", "cli")

keys = st.text(st.characters(max_codepoint=127), max_size=12)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | texts
GOLDEN = (
    '{"actor":{"id":"db.zhang","type":"person","via":"cli"},"at":"2026-11-21T04:05:06.000007Z",'
    '"body":null,"data":{"cause":"C01","ticket":"T1"},"hash":"sha256","id":"0197","kind":'
    '"ticket.resolved","loop":"L1","loop_seq":3,"on_behalf_of":null,"policy":"7","rule":null,'
    '"run":"r","template":null,"v":1}'
)


def event(data: Mapping[str, Any], **changed: Any) -> Event:
    return Event("0197", "ticket.resolved", AT, ACTOR, data, **changed)


@given(st.dictionaries(keys, scalars | st.dictionaries(keys, scalars, max_size=4), max_size=8))
def test_canonical_equals_rfc_8785(value: dict[str, Any]) -> None:
    assert canonical(value).encode() == rfc8785.dumps(value)


@given(st.dictionaries(keys, scalars, max_size=6))
def test_whole_envelope_equals_rfc_8785(data: dict[str, Any]) -> None:
    sealed = seal(event(data, loop="L1", loop_seq=0))
    assert sealed.envelope.encode() == rfc8785.dumps(json.loads(sealed.envelope))
    assert json.loads(sealed.envelope)["data"] == data


REFUSED = [
    ({"a": 1.5}, "decimals as strings"),
    ({"a": float("nan")}, "decimals as strings"),
    ({"a": 2**53}, "large integers"),
    ({"a": -(2**53)}, "large integers"),
    ({"名": 1}, "not ASCII"),
    ({"a": [1]}, "holds a list"),
    ({"a": {"b": 1}}, "holds a dict"),
    ({"a": b"x"}, "holds a bytes"),
    ({"a": "\ud800"}, "surrogates"),
]


@pytest.mark.parametrize(("data", "why"), REFUSED)
def test_refused_values(data: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        seal(event(data))


@pytest.mark.parametrize("value", [2**53 - 1, -(2**53) + 1, 0, True, None, "", "汉字\n\u2028"])
def test_accepted_values(value: Any) -> None:
    check_data({"a": value})


def test_golden_envelope() -> None:
    """The history's form is final: this text must never change."""
    sealed = seal(
        event({"ticket": "T1", "cause": "C01"}, loop="L1", loop_seq=3, run="r", policy="7")
    )
    assert sealed.envelope == GOLDEN
    assert sealed.data == '{"cause":"C01","ticket":"T1"}'
    assert sealed.leaf == sha256(b"\x00" + GOLDEN.encode()).digest()
    assert (sealed.body, sealed.salt, sealed.commit) == (None, None, None)


def test_words_stand_in_the_body_only() -> None:
    sealed = seal(event({}, body={"reason": "张先生说不是我们的"}))
    assert sealed.salt is not None
    assert sealed.body is not None
    assert "张先生" not in sealed.envelope
    assert sealed.commit == sha256(sealed.salt + sealed.body.encode()).hexdigest()
    assert json.loads(sealed.envelope)["body"] == sealed.commit


def test_equal_bodies_get_different_commitments() -> None:
    commits = {seal(event({}, body={"a": "1"})).commit for _ in range(5)}
    assert len(commits) == 5


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (AT, "2026-11-21T04:05:06.000007Z"),
        (AT.astimezone(timezone(timedelta(hours=8))), "2026-11-21T04:05:06.000007Z"),
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00.000000Z"),
    ],
)
def test_time_is_utc_with_microseconds(at: datetime, text: str) -> None:
    assert timestamp(at) == text
