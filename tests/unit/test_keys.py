"""Which of a history's keys may have signed: table of cases over two changes of keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopwright.history import note
from loopwright.history.keys import Renewal, Signer, named_at
from loopwright.history.note import Checkpoint, NoteError, SigningKey

ORIGIN = "bank.example/loop"
FIRST, SECOND, THIRD = (SigningKey(ORIGIN, bytes([n] * 32)) for n in (1, 2, 3))
RENEWALS: list[Renewal] = [(10, str(SECOND.public)), (20, str(THIRD.public))]
ALL = Signer((THIRD.public, SECOND.public, FIRST.public))


def signed(size: int, *keys: SigningKey, origin: str = ORIGIN) -> str:
    return note.sign(Checkpoint(origin, size, bytes(32)), *keys)


@pytest.mark.parametrize(
    ("size", "due"),
    [(0, FIRST), (10, FIRST), (11, SECOND), (20, SECOND), (21, THIRD), (2**40, THIRD)],
)
def test_a_checkpoint_is_signed_by_the_key_of_its_time(size: int, due: SigningKey) -> None:
    assert ALL.signed(signed(size, due), RENEWALS).size == size
    assert ALL.signed(signed(size, *{FIRST, SECOND, due}), RENEWALS).size == size
    for other in {FIRST, SECOND, THIRD} - {due}:
        with pytest.raises(NoteError, match="not signed by"):
            ALL.signed(signed(size, other), RENEWALS)


def test_without_a_change_on_record_any_known_key_counts() -> None:
    for key in (FIRST, SECOND, THIRD):
        assert ALL.signed(signed(5, key)).size == 5


def test_what_nobody_handed_over_is_never_believed() -> None:
    """An event can name a key; that makes it known to nobody."""
    thief = SigningKey(ORIGIN, bytes([9] * 32))
    renewals: list[Renewal] = [*RENEWALS, (30, str(thief.public))]
    with pytest.raises(NoteError, match="not known here"):
        ALL.signed(signed(31, thief), renewals)
    with pytest.raises(NoteError, match="not known here"):
        ALL.signed(signed(31, THIRD), renewals)
    assert ALL.signed(signed(30, THIRD), renewals).size == 30


def test_a_wrong_line_of_a_former_key_is_refused_too() -> None:
    text = signed(21, THIRD, FIRST)
    other = signed(22, FIRST).splitlines()[-1]
    with pytest.raises(NoteError, match="wrong"):
        ALL.signed(text.replace(text.splitlines()[-1], other), RENEWALS)


def test_only_checkpoints_of_this_history_count() -> None:
    assert ALL.signed(signed(21, THIRD, origin=f"{ORIGIN}/epoch-2"), RENEWALS).size == 21
    with pytest.raises(NoteError, match="a checkpoint of"):
        ALL.signed(signed(21, THIRD, origin="bank.example/other"), RENEWALS)


def test_others_must_have_signed_too() -> None:
    witness = SigningKey("auditor.example", bytes([7] * 32))
    assert ALL.signed(signed(21, THIRD, witness), RENEWALS, witness.public)
    with pytest.raises(NoteError, match=r"auditor\.example"):
        ALL.signed(signed(21, THIRD), RENEWALS, witness.public)


def test_the_keys_of_one_history_have_one_name() -> None:
    with pytest.raises(NoteError, match="one name"):
        Signer((FIRST.public, SigningKey("other", bytes(32)).public))
    with pytest.raises(NoteError, match="one name"):
        Signer(())


@given(st.lists(st.integers(0, 50), unique=True).map(sorted), st.integers(0, 60))
def test_the_last_event_below_a_size_names_the_key(places: list[int], size: int) -> None:
    renewals = [(seq, f"key {seq}") for seq in places]
    below = [seq for seq in places if seq < size]
    assert named_at(size, renewals) == (f"key {below[-1]}" if below else None)
