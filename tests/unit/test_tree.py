"""The Merkle tree: RFC 6962 vectors, agreement with pymerkle, and growth in any pieces."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree  # type: ignore[import-untyped]

from loopwright.history import tree

LEAVES = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]
VECTORS = [
    (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
    (3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
    (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
]


def grown(contents: list[bytes]) -> list[bytes]:
    return tree.extend([], 0, map(tree.leaf_hash, contents))


@pytest.mark.parametrize(("size", "root"), VECTORS)
def test_vectors(size: int, root: str) -> None:
    assert tree.root(grown([bytes.fromhex(leaf) for leaf in LEAVES[:size]])).hex() == root


def test_agrees_with_pymerkle() -> None:
    contents = [sha256(size.to_bytes(2, "big")).digest() for size in range(300)]
    other = InmemoryTree.init_from_entries(contents, algorithm="sha256")
    root_of = getattr(other, "get_root", None) or other.get_state  # named so before version 7
    frontier: list[bytes] = []
    for size, content in enumerate(contents):
        assert tree.root(frontier) == root_of(size), size
        assert len(frontier) == size.bit_count()
        frontier = tree.extend(frontier, size, [tree.leaf_hash(content)])
    assert tree.root(frontier) == root_of(len(contents))


@given(st.lists(st.binary(max_size=8), max_size=60), st.lists(st.integers(0, 60), max_size=6))
def test_grows_in_any_pieces(contents: list[bytes], cuts: list[int]) -> None:
    leaves = [tree.leaf_hash(content) for content in contents]
    frontier, size = list[bytes](), 0
    for cut in sorted({min(c, len(leaves)) for c in cuts} | {len(leaves)}):
        frontier, size = tree.extend(frontier, size, leaves[size:cut]), cut
    assert frontier == tree.extend([], 0, leaves)


def test_extending_leaves_the_old_frontier_alone() -> None:
    old = grown([b"a", b"b", b"c"])
    kept = list(old)
    tree.extend(old, 3, [tree.leaf_hash(b"d")])
    assert old == kept


@given(st.lists(st.binary(max_size=4), min_size=2, max_size=20, unique=True), st.data())
def test_every_leaf_counts(contents: list[bytes], data: st.DataObject) -> None:
    root = tree.root(grown(contents))
    at = data.draw(st.integers(0, len(contents) - 1))
    changed = [*contents[:at], contents[at] + b"!", *contents[at + 1 :]]
    assert tree.root(grown(changed)) != root
    assert tree.root(grown(contents[:at] + contents[at + 1 :])) != root
    assert tree.root(grown(contents[::-1])) != root


@given(st.lists(st.binary(max_size=8), max_size=40))
def test_packing_round_trip(contents: list[bytes]) -> None:
    frontier = grown(contents)
    assert tree.unpack(tree.pack(frontier)) == frontier


def test_a_broken_frontier_is_refused() -> None:
    with pytest.raises(ValueError, match="frontier of 33 bytes"):
        tree.unpack(b"x" * 33)
