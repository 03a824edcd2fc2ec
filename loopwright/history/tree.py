"""The Merkle tree of RFC 6962 section 2.1, kept as a frontier: what is its root after n leaves?

The frontier holds the roots of the full subtrees that cover the leaves so far, largest first:
one for each 1-bit of the size, so an append costs amortised O(1) and the head stays tiny.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(content: bytes) -> bytes:
    """SHA-256(0x00 ‖ content), 32 bytes."""
    return sha256(b"\x00" + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 ‖ left ‖ right), 32 bytes."""
    return sha256(b"\x01" + left + right).digest()


def extend(frontier: Sequence[bytes], size: int, leaves: Iterable[bytes]) -> list[bytes]:
    """The frontier after appending `leaves` (32-byte leaf hashes) to a tree of `size` leaves."""
    stack = list(frontier)
    for leaf in leaves:
        carry, bits = leaf, size
        while bits & 1:
            carry = node_hash(stack.pop(), carry)
            bits >>= 1
        stack.append(carry)
        size += 1
    return stack


def root(frontier: Sequence[bytes]) -> bytes:
    """The tree's root, 32 bytes; SHA-256 of nothing for the empty tree."""
    if not frontier:
        return EMPTY_ROOT
    result = frontier[-1]
    for subtree in reversed(frontier[:-1]):
        result = node_hash(subtree, result)
    return result


def pack(frontier: Sequence[bytes]) -> bytes:
    """The frontier as stored in the head row: 32 bytes a subtree."""
    return b"".join(frontier)


def unpack(packed: bytes) -> list[bytes]:
    """The inverse of `pack`. Raises ValueError when the length is no multiple of 32."""
    if len(packed) % HASH_BYTES:
        raise ValueError(f"frontier of {len(packed)} bytes")
    return [packed[i : i + HASH_BYTES] for i in range(0, len(packed), HASH_BYTES)]
