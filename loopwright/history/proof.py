"""Is this event in that tree, and is the smaller tree the beginning of the larger one?

Proofs of RFC 9162 sections 2.1.3 and 2.1.4. Making one needs the roots of whole subtrees, so
`Subtrees` reads all leaves once and keeps those of 1,024 leaves and more (64 bytes for every
1,024). A proof then reads and hashes at most two blocks of 1,024. Proofs made in order of position
read each block about once: n proofs in a tree of N leaves cost 2N leaves read, 2N hashes and
n·log2(N) entries, and memory never holds more than one block of leaves.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from loopwright.history import tree
from loopwright.history.tree import HASH_BYTES, node_hash

Leaves = Callable[[int, int], Sequence[bytes]]
"""Gives the leaf hashes (32 bytes each) of the positions [first, last)."""

BLOCK = 10
"""log2 of the leaves that are read at once."""


class Subtrees:
    """The roots of all full subtrees of a tree of `size` leaves."""

    def __init__(self, leaves: Leaves, size: int, block: int = BLOCK) -> None:
        """Reads every full block once. Raises ValueError where leaves are missing."""
        self.leaves, self.size, self.block = leaves, size, block
        self._levels = lru_cache(maxsize=2)(self._read)
        whole = [self._read(at)[-1][0] for at in range(size >> block)]
        self._above = [b"".join(level) for level in levels(whole)]

    def root(self, first: int, last: int) -> bytes:
        """MTH(D[first:last]) of RFC 9162, 32 bytes, for a range the tree splits into."""
        return tree.root([self._full(*part) for part in self._parts(first, last)])

    def frontier(self, size: int) -> list[bytes]:
        """The frontier of the tree of the first `size` leaves, largest subtree first."""
        return [self._full(*part) for part in self._parts(0, size)]

    def _parts(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        if not 0 <= first <= last <= self.size:
            raise ValueError(f"no leaves [{first}, {last}) in a tree of {self.size}")
        while first < last:
            level = (last - first).bit_length() - 1
            if first & ((1 << level) - 1):
                raise ValueError(f"a tree does not split into [{first}, {last})")
            yield level, first >> level
            first += 1 << level

    def _full(self, level: int, index: int) -> bytes:
        """The root of the leaves [index·2^level, (index+1)·2^level)."""
        if level >= self.block:
            at = index * HASH_BYTES
            return self._above[level - self.block][at : at + HASH_BYTES]
        block, within = divmod(index, 1 << (self.block - level))
        return self._levels(block)[level][within]

    def _read(self, block: int) -> list[list[bytes]]:
        """One block's leaves and the levels above them."""
        first = block << self.block
        last = min(first + (1 << self.block), self.size)
        found = list(self.leaves(first, last))
        if len(found) != last - first:
            raise ValueError(f"{len(found)} leaves where [{first}, {last}) were asked for")
        return levels(found)


def levels(hashes: list[bytes]) -> list[list[bytes]]:
    """The hashes, their full pairs, the full pairs of these, and so on; at least one level."""
    result = [hashes]
    while len(hashes) > 1:
        pairs = iter(hashes)
        hashes = [node_hash(left, right) for left, right in zip(pairs, pairs, strict=False)]
        result.append(hashes)
    return result


def inclusion_proof(subtrees: Subtrees, seq: int, size: int) -> list[bytes]:
    """PATH(seq, D[size]): at most log2(size) + 1 hashes, the leaf's neighbour first.

    Raises ValueError unless 0 <= seq < size <= subtrees.size.
    """
    if not 0 <= seq < size:
        raise ValueError(f"no leaf {seq} in a tree of {size}")
    first, last, path = 0, size, list[bytes]()
    while last - first > 1:
        middle = first + left_size(last - first)
        if seq < middle:
            path.append(subtrees.root(middle, last))
            last = middle
        else:
            path.append(subtrees.root(first, middle))
            first = middle
    return path[::-1]


def consistency_proof(subtrees: Subtrees, old: int, new: int) -> list[bytes]:
    """PROOF(old, D[new]): empty for equal sizes and for the empty tree, which begins every tree.

    Raises ValueError unless 0 <= old <= new <= subtrees.size.
    """
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {old} is not the beginning of one of {new}")
    if old == 0:
        return []
    first, last, path = 0, new, list[bytes]()
    while last != old:
        middle = first + left_size(last - first)
        if old <= middle:
            path.append(subtrees.root(middle, last))
            last = middle
        else:
            path.append(subtrees.root(first, middle))
            first = middle
    if first > 0:
        path.append(subtrees.root(first, last))
    return path[::-1]


def left_size(size: int) -> int:
    """The largest power of two below `size`: the leaves of the left subtree."""
    return 1 << (size - 1).bit_length() - 1


def verify_inclusion(leaf: bytes, seq: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Does `path` lead from the leaf hash at `seq` to the root? RFC 9162 section 2.1.3.2."""
    if not 0 <= seq < size or not hashes_only(path):
        return False
    node, last, result = seq, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if node & 1 or node == last:
            result = node_hash(sibling, result)
            node, last = skip_missing(node, last)
        else:
            result = node_hash(result, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and result == root


def verify_consistency(
    old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]
) -> bool:
    """Is the tree `old` the beginning of the tree `new`? RFC 9162 section 2.1.4.2."""
    if not 0 <= old <= new or not hashes_only(path):
        return False
    if old in (0, new):
        return not path and old_root == (new_root if old else tree.EMPTY_ROOT)
    whole = old & (old - 1) == 0
    hashes = [old_root, *path] if whole else list(path)
    if not path:
        return False
    node, last = skip_right(old - 1, new - 1)
    first, second = hashes[0], hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            node, last = skip_missing(node, last)
        else:
            second = node_hash(second, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and first == old_root and second == new_root


def skip_right(node: int, last: int) -> tuple[int, int]:
    """Upwards while the node is a right child."""
    while node & 1:
        node, last = node >> 1, last >> 1
    return node, last


def skip_missing(node: int, last: int) -> tuple[int, int]:
    """Upwards past the levels on which the node has no right neighbour."""
    while not node & 1 and node:
        node, last = node >> 1, last >> 1
    return node, last


def hashes_only(path: Sequence[bytes]) -> bool:
    return all(len(entry) == HASH_BYTES for entry in path)
