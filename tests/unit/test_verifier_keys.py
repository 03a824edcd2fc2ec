"""The stand-alone verifier where a history's signing key was renewed."""

from pathlib import Path

import pytest

from loopwright.history.note import SigningKey
from tests import bundles
from tests.bundles import KEY, ORIGIN, Log, export_loop, export_range
from tools import verify_history as verifier
from tools.verify_history import Refused

NEXT = SigningKey(ORIGIN, bytes(range(2, 34)))
OLD, NEW = (verifier.read_key(str(key.public)) for key in (KEY, NEXT))


def log_with_a_new_key(*, recorded: bool = True) -> Log:
    """Five checkpoints by the old key, then its replacement, and more by the new one."""
    log = bundles.log_of(bundles.story(20, 10), seal_every=40)
    kind = "history.key_renewed" if recorded else "audit.checked"
    log.append(bundles.control_event(0, kind, {"key": str(NEXT.public)}))
    log.key = NEXT
    log.seal()
    return log


def refusal(path: Path, *keys: verifier.Key) -> str:
    with pytest.raises(Refused) as caught:
        verifier.verify(path, [*keys], [], [])
    return str(caught.value.code)


@pytest.mark.parametrize("recorded", [True, False])
def test_the_present_key_first_then_the_former(tmp_path: Path, recorded: bool) -> None:
    log = log_with_a_new_key(recorded=recorded)
    whole = bundles.pack(tmp_path / "whole.zip", export_range(log, 0, len(log.lines)))
    loop = bundles.pack(tmp_path / "loop.zip", export_loop(log, "L260302-00000007"))
    for path in (whole, loop):
        verifier.verify(path, [NEW, OLD], [], [])
        assert refusal(path, OLD, NEW) == "note_former"
    assert refusal(whole, NEW) == refusal(whole, OLD) == "note_unsigned"
    verifier.verify(loop, [NEW], [], [])


def test_a_renewal_is_said_in_words(tmp_path: Path) -> None:
    log = log_with_a_new_key()
    path = bundles.pack(tmp_path / "b.zip", export_range(log, 0, len(log.lines)))
    bundle, found = verifier.verify(path, [NEW, OLD], [], [])
    words = "\n".join(verifier.report(bundle, found, [], None))
    named = "+".join(str(NEXT.public).split("+")[:2])
    assert (
        f"位置 200，2026-05-31T01:00:00.000000Z，p-audit：更换签名密钥，此后由 {named} 签署"
        in words
    )
    assert f"p-audit: the signing key was renewed; from here on {named} signs." in words


def test_what_covers_the_renewal_is_not_believed_from_the_former_key(tmp_path: Path) -> None:
    """A thief of the old key who wrote the history on, and an insider who signed the end."""
    log = log_with_a_new_key()
    log.key = KEY
    for number in (1, 2):
        log.append(bundles.control_event(number, "audit.checked", {}))
    log.seal()
    log.key = NEXT
    path = bundles.pack(tmp_path / "b.zip", export_range(log, 0, len(log.lines)))
    assert refusal(path, NEW, OLD) == "renewed"


def test_a_key_that_an_event_names_is_known_to_nobody_by_that(tmp_path: Path) -> None:
    log = log_with_a_new_key()
    path = bundles.pack(tmp_path / "b.zip", export_range(log, 0, len(log.lines)))
    other = verifier.read_key(str(SigningKey(ORIGIN, bytes(range(3, 35))).public))
    assert refusal(path, other, OLD) == "note_unsigned"


def test_the_checkpoint_that_the_auditor_holds_may_be_of_a_former_key(tmp_path: Path) -> None:
    log = log_with_a_new_key()
    held = tmp_path / "held.txt"
    held.write_text(log.notes[2][1], "utf-8")
    path = bundles.pack(tmp_path / "b.zip", export_range(log, 0, len(log.lines)))
    kept = verifier.read_held(held, [NEW, OLD], [])
    _, found = verifier.verify(path, [NEW, OLD], [], kept.checkpoints)
    assert found.since == 120


def test_keys_of_two_histories_are_a_mistake() -> None:
    other = SigningKey("tank.example/loop", bytes(32))
    with pytest.raises(Refused) as caught:
        verifier.read_keys([str(KEY.public), str(other.public)])
    assert caught.value.code == "key"
