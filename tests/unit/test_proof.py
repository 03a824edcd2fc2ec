"""Inclusion and consistency proofs: RFC 9162, agreement with pymerkle, every wrong one refused."""

import random
from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree, verify_consistency, verify_inclusion  # type: ignore[import-untyped]

from loopwright.history import proof, tree
from loopwright.history.proof import Subtrees

CONTENTS = [bytes.fromhex(x) for x in ["", "00", "10", "2021", "3031", "40414243"]]
CONTENTS += [bytes.fromhex(x) for x in ["5051525354555657", "606162636465666768696a6b6c6d6e6f"]]
RFC_LEAVES = [tree.leaf_hash(content) for content in CONTENTS]
RFC_ROOT = bytes.fromhex("5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328")
LEAVES = [tree.leaf_hash(n.to_bytes(4, "big")) for n in range(3_000)]


def subtrees(leaves: Sequence[bytes], block: int = 2) -> Subtrees:
    return Subtrees(lambda first, last: leaves[first:last], len(leaves), block)


def mth(leaves: Sequence[bytes]) -> bytes:
    """The root as RFC 9162 section 2.1.1 defines it."""
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256(b"").digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return tree.node_hash(mth(leaves[:k]), mth(leaves[k:]))


def path_of(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH(m, D[n]) as RFC 9162 section 2.1.3.1 defines it."""
    if len(leaves) == 1:
        return []
    k = proof.left_size(len(leaves))
    if m < k:
        return [*path_of(m, leaves[:k]), mth(leaves[k:])]
    return [*path_of(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: Sequence[bytes], whole: bool) -> list[bytes]:
    """SUBPROOF(m, D[n], b) as RFC 9162 section 2.1.4.1 defines it."""
    if m == len(leaves):
        return [] if whole else [mth(leaves)]
    k = proof.left_size(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], whole), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


def test_vectors_of_the_reference() -> None:
    made = subtrees(RFC_LEAVES)
    assert made.root(0, 8) == RFC_ROOT
    for seq, leaf in enumerate(RFC_LEAVES):
        path = proof.inclusion_proof(made, seq, 8)
        assert proof.verify_inclusion(leaf, seq, 8, path, RFC_ROOT)
    assert [h.hex()[:8] for h in proof.inclusion_proof(made, 0, 8)] == [
        "96a296d2",
        "5f083f0a",
        "6b47aaf2",
    ]
    assert [h.hex()[:8] for h in proof.consistency_proof(made, 6, 8)] == [
        "0ebc5d34",
        "ca854ea1",
        "d37ee418",
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 21, 32, 33])
def test_definitions_of_the_rfc(size: int) -> None:
    leaves = LEAVES[:size]
    made = subtrees(leaves)
    assert made.root(0, size) == mth(leaves)
    for seq in range(size):
        assert proof.inclusion_proof(made, seq, size) == path_of(seq, leaves)
    for old in range(1, size + 1):
        assert proof.consistency_proof(made, old, size) == subproof(old, leaves, True)


def test_a_larger_tree_proves_every_smaller_one() -> None:
    made = subtrees(LEAVES[:70])
    for size in range(1, 71):
        path = proof.inclusion_proof(made, size // 2, size)
        assert path == path_of(size // 2, LEAVES[:size])
        assert made.frontier(size) == tree.extend([], 0, LEAVES[:size])


@pytest.mark.parametrize("cases", [1_000, pytest.param(10_000, marks=pytest.mark.prove)])
def test_agrees_with_pymerkle(cases: int) -> None:
    other = InmemoryTree.init_from_entries(
        [n.to_bytes(4, "big") for n in range(len(LEAVES))], algorithm="sha256"
    )
    made, chance = subtrees(LEAVES, 6), random.Random(20261121)
    for _ in range(cases // 2):
        size = chance.randint(1, len(LEAVES))
        seq, old = chance.randrange(size), chance.randint(1, size)
        check_inclusion(other, made, seq, size)
        check_consistency(other, made, old, size)
    print(f"pymerkle agrees on {cases:,} random proofs")  # noqa: T201


def check_inclusion(other: InmemoryTree, made: Subtrees, seq: int, size: int) -> None:
    theirs = other.prove_inclusion(seq + 1, size)
    path, root = proof.inclusion_proof(made, seq, size), other.get_root(size)
    assert theirs.path == [LEAVES[seq], *path]
    assert proof.verify_inclusion(LEAVES[seq], seq, size, path, root)
    verify_inclusion(LEAVES[seq], made.root(0, size), theirs, index=seq + 1, size=size)


def check_consistency(other: InmemoryTree, made: Subtrees, old: int, new: int) -> None:
    path = proof.consistency_proof(made, old, new)
    assert proof.verify_consistency(old, new, other.get_root(old), other.get_root(new), path)
    theirs = other.prove_consistency(old, new)
    verify_consistency(made.root(0, old), made.root(0, new), theirs, old, new)


@given(st.integers(1, 300), st.data())
def test_every_wrong_inclusion_is_refused(size: int, data: st.DataObject) -> None:
    made = subtrees(LEAVES[:size])
    seq = data.draw(st.integers(0, size - 1))
    path, root = proof.inclusion_proof(made, seq, size), made.root(0, size)
    leaf = LEAVES[seq]
    assert proof.verify_inclusion(leaf, seq, size, path, root)
    assert not proof.verify_inclusion(flip(leaf), seq, size, path, root)
    assert not proof.verify_inclusion(leaf, seq, size, path, flip(root))
    for wrong in [n for n in range(size) if n != seq]:
        assert not proof.verify_inclusion(leaf, wrong, size, path, root)
    for wrong_path in changed(path):
        assert not proof.verify_inclusion(leaf, seq, size, wrong_path, root)
    assert not proof.verify_inclusion(leaf, size, size, path, root)
    assert not proof.verify_inclusion(leaf, -1, size, path, root)


@given(st.integers(1, 300), st.data())
def test_every_wrong_consistency_is_refused(new: int, data: st.DataObject) -> None:
    made = subtrees(LEAVES[:new])
    old = data.draw(st.integers(1, new))
    path = proof.consistency_proof(made, old, new)
    first, second = made.root(0, old), made.root(0, new)
    assert proof.verify_consistency(old, new, first, second, path)
    assert not proof.verify_consistency(old, new, flip(first), second, path)
    assert not proof.verify_consistency(old, new, first, flip(second), path)
    for wrong_path in changed(path):
        assert not proof.verify_consistency(old, new, first, second, wrong_path)
    if old < new:
        assert not proof.verify_consistency(new, old, second, first, path)
        assert not proof.verify_consistency(old, new, first, second, [])


@given(st.integers(2, 200), st.data())
def test_a_changed_past_has_no_consistency(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new - 1))
    at = data.draw(st.integers(0, old - 1))
    forged = [*LEAVES[:at], flip(LEAVES[at]), *LEAVES[at + 1 : new]]
    path = proof.consistency_proof(subtrees(forged), old, new)
    past, present = mth(LEAVES[:old]), mth(forged)
    assert not proof.verify_consistency(old, new, past, present, path)


def flip(hashed: bytes) -> bytes:
    return bytes([hashed[0] ^ 1]) + hashed[1:]


def changed(path: list[bytes]) -> list[list[bytes]]:
    """Paths with one entry changed, cut, dropped, swapped or added."""
    wrong = [[*path[:n], flip(path[n]), *path[n + 1 :]] for n in range(len(path))]
    wrong += [[*path[:n], path[n][:31], *path[n + 1 :]] for n in range(len(path))]
    wrong += [[*path[:n], *path[n + 1 :]] for n in range(len(path))]
    wrong += [[*path, bytes(32)], [bytes(32), *path], [*path, *path[-1:], b""]]
    if len(path) > 1:
        wrong.append([path[1], path[0], *path[2:]])
    return wrong


def test_the_empty_tree_begins_every_tree() -> None:
    made = subtrees(LEAVES[:5])
    root = made.root(0, 5)
    assert proof.consistency_proof(made, 0, 5) == []
    assert proof.verify_consistency(0, 5, tree.EMPTY_ROOT, root, [])
    assert not proof.verify_consistency(0, 5, root, root, [])
    assert not proof.verify_consistency(0, 5, tree.EMPTY_ROOT, root, [root])
    assert subtrees([]).root(0, 0) == tree.EMPTY_ROOT


def test_what_no_tree_has_is_refused() -> None:
    made = subtrees(LEAVES[:10])
    for wrong in [(10, 10), (-1, 10), (3, 11), (0, 0)]:
        with pytest.raises(ValueError, match=r"no leaf|no leaves"):
            proof.inclusion_proof(made, *wrong)
    for wrong in [(5, 4), (-1, 4), (3, 11)]:
        with pytest.raises(ValueError, match=r"beginning|no leaves"):
            proof.consistency_proof(made, *wrong)
    with pytest.raises(ValueError, match="does not split"):
        made.root(1, 3)
    with pytest.raises(ValueError, match="7 leaves where"):
        Subtrees(lambda first, last: LEAVES[first:last][:7], 8, 3)


def test_proofs_in_order_read_each_block_twice_at_most() -> None:
    read = 0

    def leaves(first: int, last: int) -> Sequence[bytes]:
        nonlocal read
        read += last - first
        return LEAVES[first:last]

    made = Subtrees(leaves, len(LEAVES), 6)
    assert read == len(LEAVES) // 64 * 64
    for seq in range(len(LEAVES)):
        proof.inclusion_proof(made, seq, len(LEAVES))
    assert read <= 2.1 * len(LEAVES)
