"""Keys for records that bring no id of their own.

The key is made of content, channel and how many times that content has occurred in its delivery:
a delivery that is read again is recognised, and two people who said the same stay two. Where each
delivery holds only new records (increments) the delivery's own hash enters as well.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Longs = NDArray[np.uint64]
Run = tuple[Longs, NDArray[np.uint32]]

LONGEST_RUN = 4_000_000
"""Runs are not merged beyond this: merging needs several times a run's own memory."""


def content_key(
    payload: str, channel: str, occurrence: int, delivery_sha256: str | None = None
) -> str:
    """40 hex digits. `occurrence` counts from 1; `delivery_sha256` only for increments."""
    digest = blake2b(digest_size=20)
    for part in (payload, channel, str(occurrence), delivery_sha256 or ""):
        raw = part.encode()
        digest.update(len(raw).to_bytes(8, "big"))
        digest.update(raw)
    return digest.hexdigest()


class Occurrences:
    """How many times each content has occurred so far in one delivery.

    Twelve bytes per distinct content, whatever its length: sorted runs of 64-bit hashes with
    their counts, merged when they have grown alike (a log-structured merge), so that twenty
    million lines stay under 500 MB.
    """

    def __init__(self) -> None:
        self._runs: list[Run] = []

    def count(self, payloads: Sequence[str], channel: str = "") -> list[int]:
        """The occurrence of each payload, in order, from 1; give whole chunks, not single rows."""
        hashes = _hashes(payloads, channel)
        distinct, places, sizes = np.unique(hashes, return_inverse=True, return_counts=True)
        before = self._take_known(distinct)
        result = before[places] + _rank_within(places)
        self._add(distinct, (before + sizes).astype(np.uint32))
        return [int(number) for number in result]

    def _take_known(self, distinct: Longs) -> NDArray[np.int64]:
        known = np.zeros(len(distinct), dtype=np.int64)
        for hashes, counts in self._runs:
            at = np.minimum(np.searchsorted(hashes, distinct), len(hashes) - 1)
            # a later run repeats the hash with the greater count, which is the one that holds
            known = np.maximum(known, np.where(hashes[at] == distinct, counts[at], 0))
        return known

    def _add(self, hashes: Longs, counts: NDArray[np.uint32]) -> None:
        if not len(hashes):
            return
        self._runs.append((hashes, counts))
        while len(self._runs) > 1 and _alike(self._runs[-2], self._runs[-1]):
            newer, older = self._runs.pop(), self._runs.pop()
            self._runs.append(_merged(older, newer))


def _hashes(payloads: Sequence[str], channel: str) -> Longs:
    salt = blake2b(channel.encode(), digest_size=16).digest()
    raw = b"".join(blake2b(text.encode(), digest_size=8, salt=salt).digest() for text in payloads)
    return np.frombuffer(raw, dtype=np.uint64)


def _rank_within(groups: NDArray[np.intp]) -> NDArray[np.int64]:
    """1 for the first element of its group in the chunk, 2 for the second, and so on."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    position = np.arange(len(groups))
    starts = np.maximum.accumulate(np.where(np.diff(ordered, prepend=-1) != 0, position, 0))
    ranks = np.empty(len(groups), dtype=np.int64)
    ranks[order] = position - starts + 1
    return ranks


def _alike(older: Run, newer: Run) -> bool:
    sizes = len(older[0]), len(newer[0])
    return sizes[0] < 2 * sizes[1] and sum(sizes) <= LONGEST_RUN


def _merged(older: Run, newer: Run) -> Run:
    hashes = np.concatenate([newer[0], older[0]])
    counts = np.concatenate([newer[1], older[1]])
    distinct, first = np.unique(hashes, return_index=True)
    return distinct, counts[first]
