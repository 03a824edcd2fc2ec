"""What a witness signs after what it has kept, and the text a proof travels in."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopwright.errors import FindingError
from loopwright.history import note
from loopwright.history.note import Checkpoint, NoteError, SigningKey
from loopwright.history.proof import Subtrees, consistency_proof
from loopwright.history.witness import Proof, check

KEY = SigningKey("bank.example/loop", bytes(range(32)))
LEAVES = [sha256(bytes([n])).digest() for n in range(60)]
TREE = Subtrees(lambda first, last: LEAVES[first:last], len(LEAVES), block=2)


def checkpoint(size: int, epoch: int = 1, name: str = KEY.name) -> Checkpoint:
    return Checkpoint(note.origin_line(name, epoch), size, TREE.root(0, size))


def proof(old: int | None, new: int) -> Proof:
    text = note.sign(checkpoint(new), KEY)
    return Proof(text, old, tuple(consistency_proof(TREE, old, new)) if old is not None else ())


@given(st.data())
def test_a_proof_survives_its_text(data: st.DataObject) -> None:
    new = data.draw(st.integers(1, len(LEAVES)))
    old = data.draw(st.none() | st.integers(0, new))
    made = proof(old, new)
    assert Proof.parse(str(made)) == made


@pytest.mark.parametrize(
    "text", ["old 3\n", "old x\n\nnote", "old 03\n\nnote", "old 3\nnothash!\n\nnote"]
)
def test_a_broken_proof_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        Proof.parse(text)


@given(st.data())
def test_proven_growth_is_signed_and_nothing_else_is(data: st.DataObject) -> None:
    old = data.draw(st.integers(1, len(LEAVES) - 1))
    new = data.draw(st.integers(old + 1, len(LEAVES)))
    good = proof(old, new)
    check(checkpoint(old), checkpoint(new), good, restored=False)
    check(None, checkpoint(new), Proof(good.note), restored=False)
    check(checkpoint(new), checkpoint(new), Proof(good.note), restored=False)
    forged = Checkpoint(KEY.name, new, bytes(32))
    fork = Checkpoint(KEY.name, old, bytes(32))
    for kept, given_, shown in (
        (checkpoint(old), checkpoint(new), Proof(good.note)),
        (checkpoint(old), checkpoint(new), Proof(good.note, old, (*good.path, bytes(32)))),
        (checkpoint(old), forged, good),
        (fork, checkpoint(new), good),
        (checkpoint(old), fork, good),
        (checkpoint(new), checkpoint(old), good),
        (checkpoint(old, name="other"), checkpoint(new), good),
        (checkpoint(old, epoch=2), checkpoint(new), good),
    ):
        for restored in (False, True):
            with pytest.raises(FindingError):
                check(kept, given_, shown, restored=restored)


def test_a_new_epoch_is_signed_where_it_lost_nothing_or_its_loss_is_accepted() -> None:
    check(checkpoint(8), checkpoint(9, epoch=2), proof(8, 9), restored=False)
    for size, shown in ((5, proof(None, 5)), (8, proof(None, 8)), (9, proof(None, 9))):
        lost = Checkpoint(note.origin_line(KEY.name, 2), size, bytes(32))
        with pytest.raises(FindingError) as caught:
            check(checkpoint(8), lost, shown, restored=False)
        assert "--restored" in str(caught.value)
        check(checkpoint(8), lost, shown, restored=True)
