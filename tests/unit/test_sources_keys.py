"""Keys of records without an id: re-reads are recognised, two people are kept."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources import keys
from sources.keys import Occurrences, content_key


def delivery_keys(lines, channel="app", sha=None, chunk=3):
    seen = Occurrences()
    numbers = []
    for start in range(0, len(lines), chunk):
        numbers += seen.count(lines[start : start + chunk], channel)
    return [content_key(line, channel, n, sha) for line, n in zip(lines, numbers, strict=True)]


def test_two_people_who_said_the_same_are_kept():
    assert len(set(delivery_keys(["垃圾", "好", "垃圾", "垃圾"]))) == 4


def test_a_reread_is_recognised_and_a_grown_file_adds_only_its_end():
    old = ["垃圾", "好", "垃圾", "慢"]
    assert delivery_keys(old) == delivery_keys(old)
    grown = delivery_keys([*old, "垃圾", "新"])
    assert grown[:4] == delivery_keys(old)
    assert len(set(grown)) == 6


def test_increments_enter_the_delivery_and_channels_stay_apart():
    assert not set(delivery_keys(["好"], sha="a" * 64)) & set(delivery_keys(["好"], sha="b" * 64))
    assert not set(delivery_keys(["好"], "app")) & set(delivery_keys(["好"], "hotline"))


def test_parts_do_not_run_into_each_other():
    assert content_key("a", "bc", 1) != content_key("ab", "c", 1)
    assert content_key("a", "b1", 1) != content_key("a", "b", 11)
    assert len(content_key("a", "b", 1)) == 40


def naive(lines):
    seen = Counter()
    for line in lines:
        seen[line] += 1
        yield seen[line]


@given(st.lists(st.sampled_from("abcdef") | st.text(max_size=2), max_size=60), st.integers(1, 9))
def test_counting_in_chunks_equals_counting_one_by_one(lines, chunk):
    seen = Occurrences()
    got = []
    for start in range(0, len(lines), chunk):
        got += seen.count(lines[start : start + chunk])
    assert got == list(naive(lines))


def test_runs_beyond_the_longest_are_kept_apart_and_still_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(keys, "LONGEST_RUN", 10)
    lines = [f"line {n % 37}" for n in range(200)]
    seen = Occurrences()
    got = [n for start in range(0, 200, 7) for n in seen.count(lines[start : start + 7])]
    assert got == list(naive(lines))
