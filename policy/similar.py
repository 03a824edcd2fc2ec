"""Which texts speak of the same thing, each in its own words: texts to groups, blind to time.

Two people rarely choose the same words for one trouble, but share a few that hardly anybody else
uses. So a group has a core: the n-grams of characters that many of its members hold, each weighed
by how rare it is (K. Sparck Jones, A statistical interpretation of term specificity, Journal of
Documentation 28, 1972). Around every text its neighbours propose a core, cores draw the texts that
hold enough of them, those texts a new core, and so on (Y. Cheng, Mean shift, mode seeking, and
clustering, IEEE Trans. PAMI 17, 1995). A text may belong to several groups.

Nothing here knows when anything was said, so that groups may be tested for a rise afterwards.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from policy.ngrams import NgramSpec, clean, places, transform

Matrix = Any
"""scipy.sparse.csr_matrix of float32."""
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.intp]

SPEC = NgramSpec(orders=(2, 3), inner_orders=(), word_orders=(1, 2), longest=400)
"""Pairs and triples of characters, words where there are spaces; the begin of a long text."""
COMMON, FEW = 0.05, 40
"""What more than this share of the texts and more than so many hold, tells no cause from others."""
NEAR = (0.09, 0.12, 0.16, 0.3)
"""Cosines from which two texts are neighbours: a rare word in common, two, or much."""
CROWD = 100
"""Distinct neighbours beyond which they have nothing in particular in common."""
SHARED = 0.4
"""Share of the members that hold an n-gram of the core."""
HELD = 0.5
"""Share of a core, by weight, that its members hold."""
SAME = 0.9
"""Cosine from which two cores are one."""
ROUNDS = 3
ROWS = 1_000
"""Texts or cores compared with all others at a time: bounds memory."""
WORDS = 6
"""Most words that a group names."""


@dataclass(frozen=True, slots=True)
class Group:
    """Positions of the texts that belong together, ascending, and the words they share, the most
    telling first."""

    members: tuple[int, ...]
    words: tuple[str, ...]


class Word(NamedTuple):
    """A stretch of a text that is of a core, and what its n-grams weigh together."""

    written: str
    weight: float


def group_alike(texts: Sequence[str], least: int) -> list[Group]:
    """Groups of at least `least` texts, the largest first; the same texts give the same groups."""
    cleaned = [clean(text, SPEC) for text in texts]
    distinct = sorted(set(cleaned))
    if not distinct:
        return []
    position = {text: row for row, text in enumerate(distinct)}
    of = np.array([position[text] for text in cleaned], np.intp)
    many = np.bincount(of).astype(np.float32)
    holds, rarity, buckets = incidence(distinct, many)
    reader = Reader(distinct, buckets)
    groups = []
    for core, drawn_in in grow(holds, rarity, many, least):
        said = enough_said({row: reader.words(row, core) for row in drawn_in}, many)
        if many[list(said)].sum() >= least:
            members = np.flatnonzero(np.isin(of, list(said))).tolist()
            groups.append(Group(tuple(members), most_telling(said.values())))
    return sorted(groups, key=lambda group: (-len(group.members), group.members))


class Reader:
    """Where the n-grams that count stand in each text."""

    def __init__(self, texts: Sequence[str], buckets: Ints) -> None:
        found = places(texts, SPEC)
        counts = np.isin(found.bucket, buckets)
        self._texts = texts
        self._begins = np.searchsorted(found.row[counts], np.arange(len(texts) + 1)).tolist()
        self._columns = np.searchsorted(buckets, found.bucket[counts])
        self._first, self._last = found.first[counts], found.last[counts]

    def words(self, row: int, core: Mapping[int, float]) -> list[Word]:
        """What a text holds of a core (column -> weight): n-grams that overlap are one word."""
        mine = slice(self._begins[row], self._begins[row + 1])
        words: list[tuple[int, int, float]] = []
        for column, first, last in zip(
            self._columns[mine].tolist(),
            self._first[mine].tolist(),
            self._last[mine].tolist(),
            strict=True,
        ):
            if column in core:
                joins = bool(words) and first < words[-1][1]
                word: tuple[int, int, float] = words.pop() if joins else (first, last, 0.0)
                words.append((word[0], max(word[1], last), word[2] + core[column]))
        text = self._texts[row]
        return [Word(text[max(begin, 0) : end].strip(), heavy) for begin, end, heavy in words]


def enough_said(said: Mapping[int, list[Word]], many: Floats) -> dict[int, list[Word]]:
    """Where most members hold two words of the core, those that do; one alone is a topic, not a
    cause («社保卡» with or without «芯片»)."""
    rows = np.array(list(said), np.intp)
    two = np.array([len(words) >= 2 for words in said.values()], np.bool_)
    needed = 2 if many[rows[two]].sum() >= HELD * many[rows].sum() else 1
    return {row: words for row, words in said.items() if len(words) >= needed}


def most_telling(said: Iterable[list[Word]]) -> tuple[str, ...]:
    """What weighs most over all members, none that overlaps one before."""
    weight: dict[str, float] = defaultdict(float)
    for words in said:
        for word in words:
            if len(word.written) > 1 and word.written.replace(" ", "").isalnum():
                weight[word.written.lower()] += word.weight
    chosen: list[str] = []
    for written in sorted(weight, key=lambda written: (-weight[written], written)):
        if not any(overlap(written, other) for other in chosen):
            chosen.append(written)
    return tuple(chosen[:WORDS])


def overlap(one: str, other: str) -> bool:
    return any(one[at : at + 2] in other for at in range(len(one) - 1))


def incidence(texts: Sequence[str], many: Floats) -> tuple[Matrix, Floats, Ints]:
    """Which text holds which telling n-gram (0 or 1), ln(n / holders) and bucket of each column.

    N-grams that the very same texts hold are parts of one word: together they weigh the root of
    their number times as much as one, so that a long word does not drown a short one. `many`: how
    many people wrote each text just so.
    """
    found = transform(texts, SPEC)
    found.data[:] = 1
    holders = found.T @ many
    buckets = np.flatnonzero((holders >= 2) & (holders <= max(FEW, COMMON * many.sum())))
    holds = found[:, buckets].tocsr()
    signs = np.random.default_rng(0).random(len(texts)) @ holds
    _, word, parts = np.unique(signs, return_inverse=True, return_counts=True)
    rarity = np.log(many.sum() / holders[buckets]) / np.sqrt(parts[word])
    return holds, rarity.astype(np.float32), buckets


def grow(
    holds: Matrix, rarity: Floats, many: Floats, least: int
) -> Iterator[tuple[dict[int, float], list[int]]]:
    """The core of each group (column -> weight) and its texts."""
    cores = first_cores(holds, rarity, many, least)
    for _ in range(ROUNDS - 1):
        cores = apart(*core_of(drawn(cores, holds), holds, rarity, many))
    for core, members in zip(cores, drawn(cores, holds), strict=True):
        if many[members.indices].sum() >= least:
            weights = dict(zip(core.indices.tolist(), core.data.tolist(), strict=True))
            yield weights, sorted(members.indices.tolist())


def first_cores(holds: Matrix, rarity: Floats, many: Floats, least: int) -> Matrix:
    """What each text shares with its neighbours, where with them it stands for `least` texts."""
    from scipy.sparse import diags, vstack

    unit = of_length_one(holds @ diags(rarity))
    others = unit.T.tocsr()
    found, sizes = [], []
    for first in range(0, unit.shape[0], ROWS):
        cosines = unit[first : first + ROWS] @ others
        for limit in NEAR:
            near = at_least(cosines, limit)
            some = (near @ many >= least) & (np.diff(near.indptr) <= CROWD)
            cores, size = core_of(near[some], holds, rarity, many)
            found.append(cores)
            sizes.append(size)
    return apart(vstack(found).tocsr(), np.concatenate(sizes))


def core_of(members: Matrix, holds: Matrix, rarity: Floats, many: Floats) -> tuple[Matrix, Floats]:
    """Core and number of texts of each group (a row of `members`); groups without one left out."""
    from scipy.sparse import diags

    sizes = members @ many
    core = (members @ diags(many) @ holds).tocsr()
    share = core.data / np.repeat(sizes, np.diff(core.indptr))
    core.data = np.where(share >= SHARED, share * rarity[core.indices], 0)
    core.eliminate_zeros()
    some = np.diff(core.indptr) > 0
    return core[some], sizes[some]


def drawn(cores: Matrix, holds: Matrix) -> Matrix:
    """Which texts hold at least HELD of each core (0 or 1)."""
    from scipy.sparse import diags, vstack

    shares = (diags(1 / row_sums(cores)) @ cores).tocsr()
    texts = holds.T.tocsr()
    blocks = [
        at_least(shares[first : first + ROWS] @ texts, HELD)
        for first in range(0, max(cores.shape[0], 1), ROWS)
    ]
    return vstack(blocks).tocsr()


def apart(cores: Matrix, sizes: Floats) -> Matrix:
    """Without cores that are like one of a larger group."""
    order = np.argsort(-sizes, kind="stable")
    unit = of_length_one(cores[order])
    others = unit.T.tocsr()
    gone = np.zeros(len(order), np.bool_)
    for first in range(0, len(order), ROWS):
        like = at_least(unit[first : first + ROWS] @ others, SAME)
        for row in range(like.shape[0]):
            if not gone[first + row]:
                twins = like.indices[like.indptr[row] : like.indptr[row + 1]]
                gone[twins[twins > first + row]] = True
    return cores[order[~gone]]


def of_length_one(rows: Matrix) -> Matrix:
    from scipy.sparse import diags

    length = np.sqrt(row_sums(rows.multiply(rows)))
    return (diags(1 / np.maximum(length, 1e-9)) @ rows).tocsr()


def row_sums(rows: Matrix) -> Floats:
    return np.asarray(rows.sum(axis=1), np.float32).ravel()


def at_least(values: Matrix, limit: float) -> Matrix:
    """1 where a value reaches the limit."""
    reached = values.copy()
    reached.data = (reached.data >= limit - 1e-6).astype(np.float32)
    reached.eliminate_zeros()
    return reached
