"""Which n-grams does a text hold: texts to a sparse matrix of hashed, counted n-grams.

Everything is done on one array of code points per batch, never text by text. A run of code points
[a, b) is hashed as (C[b] - C[a]) / P^a, where C is the running sum of mixed code points times the
powers of P, all modulo 2^32: one subtraction and one product per n-gram of any length, and exactly
the same number wherever the run stands.

Three families share the buckets, words in the upper half and all else in the lower:
`orders` are plain n-grams that hold no space inside (the reading of Chinese), `inner_orders` lie
within one word of an alphabetic script, its borders included, and `word_orders` are whole words in
sequence. Text without such words costs nothing for the last two.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

U32 = npt.NDArray[np.uint32]
Bools = npt.NDArray[np.bool_]

# Part of every stored model: changing one of them makes all models read wrong.
_BASE = 0x9E3779B1
_INVERSE = pow(_BASE, -1, 1 << 32)
_WORD_SALT = 0x51ED270B
_PAIR = 0x85EBCA6B
_SALT = 0x27D4EB2F

_SPACE = 0x20
_TABLE = 0x10000
_FOLDED_BELOW = 0x0530  # Latin, Greek and Cyrillic: pairs that Unicode promises never to change
_IDEOGRAPHS_FROM = 0x2E80
_BATCH_POINTS = 1 << 18  # stays in the processor's cache; larger batches are slower


@dataclass(frozen=True)
class NgramSpec:
    """Which n-grams count, and into how many buckets (2^bits, 8 to 22) they are folded.

    `longest`: code points of a text that are read at all, so that memory is bounded.
    """

    orders: tuple[int, ...] = (1, 2, 3)
    inner_orders: tuple[int, ...] = (4, 5)
    word_orders: tuple[int, ...] = (1, 2)
    bits: int = 22
    longest: int = 20_000

    def __post_init__(self) -> None:
        if not 8 <= self.bits <= 22:
            raise ValueError(f"bits must lie in 8..22, not {self.bits}")
        if not (self.orders or self.inner_orders or self.word_orders):
            raise ValueError("an n-gram spec needs at least one order")
        if self.longest < 1:
            raise ValueError(f"longest must be at least 1, not {self.longest}")
        if min((*self.orders, *self.inner_orders, *self.word_orders)) < 1:
            raise ValueError("orders start at 1")

    @property
    def buckets(self) -> int:
        return 1 << self.bits

    @property
    def first_word_bucket(self) -> int:
        """Whole words lie in this bucket and above, everything else below it."""
        return 1 << (self.bits - 1)


class Runs(NamedTuple):
    """N-grams of one family: where each begins and ends in the batch, and its bucket."""

    first: npt.NDArray[np.intp]
    last: npt.NDArray[np.intp]
    bucket: U32


class Places(NamedTuple):
    """Where each n-gram stands: row of the text, its code points [first, last) there, bucket. A
    space at the text's border counts as the one before the first, or after the last."""

    row: npt.NDArray[np.intp]
    first: npt.NDArray[np.intp]
    last: npt.NDArray[np.intp]
    bucket: U32


class Counts(NamedTuple):
    """Distinct n-grams of a batch, row after row, and how many each row has."""

    indices: npt.NDArray[np.int32]
    data: npt.NDArray[np.float32]
    sizes: npt.NDArray[np.intp]


def clean(text: str, spec: NgramSpec) -> str:
    """The text as it is read: cut to `longest`, white space collapsed and stripped."""
    return " ".join(text[: spec.longest].split())


def transform(texts: Sequence[str], spec: NgramSpec) -> "csr_matrix[Any]":
    """Rows of 1 + ln(count) per bucket: CSR float32 (len(texts), 2^bits), sorted indices.

    A row depends on its own text alone. Not normalised: the model weighs before it normalises.
    """
    from scipy.sparse import csr_matrix

    parts = [_count(batch, spec) for batch in _batches(texts, spec)]
    indices = np.concatenate([np.zeros(0, np.int32), *(part.indices for part in parts)])
    data = np.concatenate([np.zeros(0, np.float32), *(part.data for part in parts)])
    indptr = np.cumsum(np.concatenate([np.zeros(1, np.int64), *(part.sizes for part in parts)]))
    if len(indices) < 2**31:
        indptr = indptr.astype(np.int32)
    matrix = csr_matrix((data, indices, indptr), shape=(len(texts), spec.buckets))
    matrix.has_sorted_indices = True
    return matrix


def spans(text: str, spec: NgramSpec) -> list[tuple[str, int]]:
    """Every n-gram of one text as (the words as written, bucket), repeats included."""
    written = clean(text, spec)
    codes, _ = _join([written])
    padded = f" {written} "
    return [
        (padded[first:last].strip(), int(bucket))
        for runs in _runs(codes, spec)
        for first, last, bucket in zip(*runs, strict=True)
    ]


def places(texts: Sequence[str], spec: NgramSpec) -> Places:
    """Every n-gram of every text with where it stands in the cleaned text, row after row."""
    parts: list[Places] = []
    done = 0
    for batch in _batches(texts, spec):
        codes, rows = _join(batch)
        border = np.flatnonzero(codes == 0)
        for runs in _runs(codes, spec):
            row = rows[runs.first].astype(np.intp)
            start = border[row] + 1
            parts.append(Places(row + done, runs.first - start, runs.last - start, runs.bucket))
        done += len(batch)
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.lexsort((columns[1], columns[0]))
    return Places(*(column[order] for column in columns))


def _batches(texts: Sequence[str], spec: NgramSpec) -> Iterator[list[str]]:
    """Cut so that row and bucket share one 32-bit key, and points stay within bounds."""
    most_rows = 1 << (32 - spec.bits)
    batch: list[str] = []
    points = 0
    for text in texts:
        cleaned = clean(text, spec)
        if batch and (len(batch) == most_rows or points + len(cleaned) > _BATCH_POINTS):
            yield batch
            batch, points = [], 0
        batch.append(cleaned)
        points += len(cleaned)
    if batch:
        yield batch


def _count(texts: list[str], spec: NgramSpec) -> Counts:
    """Row and bucket make one key; sorted keys that are equal are one n-gram's occurrences."""
    codes, rows = _join(texts)
    keys = [(rows[runs.first] << np.uint32(spec.bits)) | runs.bucket for runs in _runs(codes, spec)]
    key = np.sort(np.concatenate(keys))
    fresh = np.empty(len(key), dtype=np.bool_)
    fresh[:1] = True
    np.not_equal(key[1:], key[:-1], out=fresh[1:])
    starts = np.flatnonzero(fresh)
    distinct = key[starts]
    counts = np.diff(starts, append=len(key))
    data = (1 + np.log(counts)).astype(np.float32)
    indices = (distinct & np.uint32(spec.buckets - 1)).astype(np.int32)
    sizes = np.bincount(distinct >> np.uint32(spec.bits), minlength=len(texts))
    return Counts(indices, data, sizes)


def _join(texts: list[str]) -> tuple[U32, U32]:
    """Folded code points of all texts with a space before each and at the end; the row of each.

    A border space belongs to the row that follows it; it ends the row before it all the same.
    The border is told from a space by the value 0, and a NUL inside a text becomes a space.
    """
    joined = " " + " ".join(texts) + " "
    points = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    codes = points.astype(np.uint32)
    low = codes < _TABLE
    codes = np.where(low, _fold_table()[np.where(low, codes, 0)], codes)
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)) + 1
    ends = np.cumsum(lengths)
    codes[0] = 0
    codes[ends] = 0
    rows = np.repeat(np.arange(len(texts), dtype=np.uint32), lengths)
    return codes, np.append(rows, np.uint32(0))


def _runs(codes: U32, spec: NgramSpec) -> Iterator[Runs]:
    """All n-grams of a batch, family by family."""
    space = (codes == _SPACE) | (codes == 0)
    yield from _plain(np.where(space, np.uint32(_SPACE), codes), space, spec)
    word = _word_table()[np.minimum(codes, _TABLE - 1)]
    if word.any():
        hashed = _Hashes(np.where(word, codes, np.uint32(_SPACE)), spec)
        yield from _inner(hashed, word, spec)
        yield from _words(hashed, word, np.cumsum(codes == 0), spec)


def _plain(codes: U32, space: Bools, spec: NgramSpec) -> Iterator[Runs]:
    hashed = _Hashes(codes, spec)
    for order in spec.orders:
        first = np.flatnonzero(_whole(space, order))
        yield Runs(first, first + order, hashed.bucket(hashed.of(first, first + order), order))


def _inner(hashed: "_Hashes", word: Bools, spec: NgramSpec) -> Iterator[Runs]:
    for order in spec.inner_orders:
        first = np.flatnonzero(_whole(~word, order))
        yield Runs(first, first + order, hashed.bucket(hashed.of(first, first + order), ~order))


def _words(
    hashed: "_Hashes", word: Bools, row: npt.NDArray[np.intp], spec: NgramSpec
) -> Iterator[Runs]:
    edges = np.flatnonzero(word[1:] != word[:-1]) + 1
    first, last = edges[::2], edges[1::2]
    single = _mix(hashed.of(first, last) + np.uint32(_WORD_SALT))
    chain = single
    for order in range(1, max(spec.word_orders, default=0) + 1):
        if order > 1:
            chain = chain[:-1] * np.uint32(_PAIR) + single[order - 1 :]
        begin, end = first[: len(chain)], last[order - 1 :]
        same = np.flatnonzero(row[begin] == row[end - 1])
        if order in spec.word_orders:
            bucket = hashed.bucket(chain[same], order) | np.uint32(spec.first_word_bucket)
            yield Runs(begin[same], end[same], bucket)


def _whole(border: Bools, order: int) -> Bools:
    """True where a run of `order` begins with no border inside, and not of borders alone."""
    size = max(0, len(border) - order + 1)
    if order <= 2:
        return ~(border[:size] & border[order - 1 :])
    inside = np.zeros(size, dtype=np.bool_)
    for step in range(1, order - 1):
        inside |= border[step : step + size]
    return ~inside


class _Hashes:
    """The running sums of one batch, and what they make of a run."""

    def __init__(self, codes: U32, spec: NgramSpec) -> None:
        powers, self._inverse = _powers(1 << len(codes).bit_length())
        self._sums = np.zeros(len(codes) + 1, dtype=np.uint32)
        np.cumsum(_mix(codes) * powers[: len(codes)], out=self._sums[1:], dtype=np.uint32)
        self._shift = np.uint32(33 - spec.bits)

    def of(self, first: npt.NDArray[np.intp], last: npt.NDArray[np.intp]) -> U32:
        """One number for each run [first, last), the same wherever the run stands."""
        return (self._sums[last] - self._sums[first]) * self._inverse[first]

    def bucket(self, hashes: U32, salt: int) -> U32:
        """In the lower half of the buckets."""
        return _mix(hashes + np.uint32((salt * _SALT) & 0xFFFFFFFF)) >> self._shift


@cache
def _powers(size: int) -> tuple[U32, U32]:
    def of(base: int) -> U32:
        row = np.full(size, base, dtype=np.uint32)
        row[0] = 1
        return np.cumprod(row, dtype=np.uint32)

    return of(_BASE), of(_INVERSE)


def _mix(values: U32) -> U32:
    """A bijection of 32 bits that scatters neighbours (C. Wellons, lowbias32)."""
    mixed = values ^ (values >> np.uint32(16))
    mixed *= np.uint32(0x7FEB352D)
    mixed ^= mixed >> np.uint32(15)
    mixed *= np.uint32(0x846CA68B)
    mixed ^= mixed >> np.uint32(16)
    return mixed


@cache
def _fold_table() -> U32:
    """Lower case of the alphabets, full-width forms to ASCII, controls to a space."""
    table = np.arange(_TABLE, dtype=np.uint32)
    for code in range(_FOLDED_BELOW):
        lower = chr(code).lower()
        if len(lower) == 1:
            table[code] = ord(lower)
    table[:_SPACE] = _SPACE
    table[0xFF01:0xFF5F] -= np.uint32(0xFEE0)
    capitals = slice(0xFF21, 0xFF3B)
    table[capitals] += np.uint32(0x20)
    return table


@cache
def _word_table() -> Bools:
    """Letters and digits of the scripts that put spaces between words."""
    table = np.zeros(_TABLE, dtype=np.bool_)
    table[:_IDEOGRAPHS_FROM] = [chr(code).isalnum() for code in range(_IDEOGRAPHS_FROM)]
    return table
