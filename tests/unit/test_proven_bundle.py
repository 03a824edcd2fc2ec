"""What a bundle says is believed only where a known key signed the history that it is in."""

import json
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from loopwright.errors import InputError
from loopwright.history.bundle import Unproven, proven
from loopwright.history.keys import Signer
from loopwright.history.note import PublicKey, SigningKey
from tests import bundles
from tests.bundles import KEY, WITNESS, Log, Members, edited, export_loop, export_range, pack

ERASED = "customer.erased"
OTHER = SigningKey(KEY.name, bytes(range(2, 34)))
RENEWED = SigningKey(KEY.name, bytes(range(3, 35)))


def small_log(**settings: Any) -> Log:
    """102 events, the last but one and that at 40 an erasure."""
    log, events = Log(**settings), list(bundles.story(10, 10))
    for number, event in enumerate(events):
        if number in (40, 99):
            log.append(bundles.control_event(number, ERASED, {"customer": f"c-{number}"}))
            log.seal()
        log.append(event)
    return log


@cache
def whole() -> Members:
    return export_range(small_log(), 0, 102)


@cache
def part() -> Members:
    """A range in the middle; its last checkpoint is far beyond."""
    return export_range(small_log(), 37, 50)


def ask(folder: Path, members: Members, *keys: PublicKey) -> list[str]:
    """The customers whose erasure the bundle proves."""
    path = pack(folder / "bundle.zip", members)
    found = proven(path, Signer(keys or (KEY.public,)), [ERASED])
    return [event["data"]["customer"] for event in found]


@pytest.mark.parametrize(("make", "found"), [(whole, ["c-40", "c-99"]), (part, ["c-40"])])
def test_events_of_a_range(tmp_path: Path, make: Callable[[], Members], found: list[str]) -> None:
    assert ask(tmp_path, make()) == found


def test_other_members_are_not_needed(tmp_path: Path) -> None:
    names = ("events.ndjson", "checkpoints.txt", "proofs.json")
    assert ask(tmp_path, {name: whole()[name] for name in names}) == ["c-40", "c-99"]


@pytest.mark.parametrize("name", ["events.ndjson", "checkpoints.txt", "proofs.json"])
def test_a_bundle_without_a_member_is_none(tmp_path: Path, name: str) -> None:
    members = {n: content for n, content in whole().items() if n != name}
    with pytest.raises(InputError, match=r"no audit bundle"):
        ask(tmp_path, members)


def invented(line: bytes) -> bytes:
    return line.replace(b'"customer":"c-40"', b'"customer":"c-41"')


def dropped(lines: bytes) -> bytes:
    return b"".join(line for line in lines.splitlines(True) if b'"c-40"' not in line)


def moved(lines: bytes) -> bytes:
    first, *rest = lines.splitlines(True)
    return b"".join([rest[0], first, *rest[1:]])


@pytest.mark.parametrize("change", [invented, moved])
@pytest.mark.parametrize("make", [whole, part])
def test_altered_events(
    tmp_path: Path, make: Callable[[], Members], change: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(Unproven, match="not those that were signed"):
        ask(tmp_path, edited(make(), "events.ndjson", change))


def test_an_event_too_few(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        ask(tmp_path, edited(whole(), "events.ndjson", dropped))


def test_an_event_too_few_and_the_count_adjusted(tmp_path: Path) -> None:
    def shorter(proofs: Any) -> None:
        proofs["range"]["size"] -= 1

    members = edited(edited(whole(), "events.ndjson", dropped), "proofs.json", shorter)
    with pytest.raises(Unproven):
        ask(tmp_path, members)


def test_an_invented_history_of_the_same_name(tmp_path: Path) -> None:
    log = Log(key=OTHER)
    log.append(bundles.control_event(0, ERASED, {"customer": "c-1"}))
    with pytest.raises(Unproven, match="not signed by"):
        ask(tmp_path, export_range(log, 0, 1))


def test_an_invented_history_under_a_true_checkpoint(tmp_path: Path) -> None:
    log = Log(key=OTHER)
    log.append(bundles.control_event(0, ERASED, {"customer": "c-1"}))
    true = {"checkpoints.txt": whole()["checkpoints.txt"]}
    with pytest.raises(Unproven, match="not those that were signed"):
        ask(tmp_path, export_range(log, 0, 1) | true)


def test_another_history(tmp_path: Path) -> None:
    members = export_range(small_log(key=SigningKey("bank.two/loop", KEY.seed)), 0, 50)
    with pytest.raises(Unproven, match=r"a checkpoint of bank\.two/loop, not of bank\.example"):
        ask(tmp_path, members)


def test_a_later_epoch_is_the_same_history(tmp_path: Path) -> None:
    assert ask(tmp_path, export_range(small_log(epoch=2), 0, 50)) == ["c-40"]


def test_a_loops_bundle_holds_too_little(tmp_path: Path) -> None:
    log = small_log()
    with pytest.raises(InputError, match="the bundle of a loop"):
        ask(tmp_path, export_loop(log, "L260302-00000007"))


def test_the_present_key_must_have_signed(tmp_path: Path) -> None:
    """One that was replaced may be in anybody's hands."""
    assert ask(tmp_path, whole(), KEY.public, OTHER.public)
    with pytest.raises(Unproven, match="not signed by"):
        ask(tmp_path, whole(), OTHER.public, KEY.public)


def test_a_renewal_that_the_bundle_holds(tmp_path: Path) -> None:
    log = small_log()
    renewal = bundles.control_event(200, "history.key_renewed", {"key": str(RENEWED.public)})
    log.append(renewal)
    with pytest.raises(Unproven, match="not signed by"):
        ask(tmp_path, export_range(log, 0, 103))
    log.key = RENEWED
    assert ask(tmp_path, export_range(log, 0, 103), RENEWED.public) == ["c-40", "c-99"]


def test_a_witness_alone_vouches_for_nothing(tmp_path: Path) -> None:
    log = small_log(witnesses=[WITNESS])
    with pytest.raises(Unproven):
        ask(tmp_path, export_range(log, 0, 50), WITNESS.public)


NO_EVENTS = [b"\n", b"{\n", b"[]\n", b'"kind":"customer.erased"\n', b'["kind":"customer.erased"]\n']


@pytest.mark.parametrize("line", [*NO_EVENTS, b'{"kind":"customer.erased"}\n', b"{}"])
def test_lines_that_are_no_events(tmp_path: Path, line: bytes) -> None:
    with pytest.raises((InputError, Unproven)):
        ask(tmp_path, edited(whole(), "events.ndjson", lambda lines: line + lines))
    with pytest.raises((InputError, Unproven)):
        ask(tmp_path, whole() | {"events.ndjson": line})


PROOFS = [
    {},
    [],
    None,
    "range",
    {"range": None},
    {"range": {}, "first": 0, "frontier": []},
    {"range": {"size": 1, "checkpoint": 1, "consistency": []}, "first": "0", "frontier": []},
    {"range": {"size": "1", "checkpoint": 1, "consistency": []}, "first": 0, "frontier": []},
    {"range": {"size": 102.0, "checkpoint": 103, "consistency": []}, "first": 0, "frontier": []},
    {"range": {"size": 0, "checkpoint": 0, "consistency": []}, "first": 0, "frontier": []},
    {"range": {"size": 1, "checkpoint": 1, "consistency": 7}, "first": 0, "frontier": ["zz"]},
    {"range": {"size": 5, "checkpoint": 1, "consistency": ["00"]}, "first": -1, "frontier": ["0"]},
]


@pytest.mark.parametrize("proofs", PROOFS)
def test_proofs_of_another_form(tmp_path: Path, proofs: Any) -> None:
    with pytest.raises((InputError, Unproven)):
        ask(tmp_path, whole() | {"proofs.json": json.dumps(proofs).encode()})


def test_bytes_that_fell_over(tmp_path: Path) -> None:
    """Whatever the damage: the same events, or a refusal in words."""
    path, chance = pack(tmp_path / "bundle.zip", whole()), random.Random(7)
    good = path.read_bytes()
    for _ in range(600):
        broken = bytearray(good)
        broken[chance.randrange(len(good))] ^= 1 << chance.randrange(8)
        path.write_bytes(bytes(broken[: chance.choice([len(good), len(good), len(good) // 2])]))
        try:
            found = proven(path, Signer((KEY.public,)), [ERASED])
        except (InputError, Unproven):
            continue
        assert [event["data"]["customer"] for event in found] == ["c-40", "c-99"]


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        proven(tmp_path / "none.zip", Signer((KEY.public,)), [ERASED])
