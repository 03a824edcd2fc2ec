"""Which label does a linear model give a text, how sure is it, and which words say so.

Scoring needs NumPy and SciPy only; `tasks/documents/train_model.py` makes the models. Confidence is
a calibrated probability: a softmax of the margins, sharpened and shifted as unseen rows taught
(temperature scaling: Guo et al. 2017; the two-sided correction of its logit: Platt 1999).
"""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from policy.ngrams import NgramSpec, spans, transform

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

FORMAT = "loopwright-linear-1"
_ROWS = 8192
_ARRAYS = {"buckets": "<i4", "idf": "<f4", "weights": "<f2", "intercepts": "<f4"}
_SURE = 1e-6
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,  # with NotImplementedError: what zipfile raises for unknown compression
    SyntaxError,  # numpy's reading of a damaged array header
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class Calibration:
    """Probability p = softmax(`temperature` * margins); confidence = its logit * `slope` + `shift`.

    `temperature` and `slope` are above 0, so that neither changes an order.
    """

    temperature: float = 1.0
    slope: float = 1.0
    shift: float = 0.0

    def probabilities(self, margins: Floats) -> Floats:
        """(rows, labels) to (rows, labels), each row summing to 1."""
        scaled = margins * np.float32(self.temperature)
        powers: Floats = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        powers /= powers.sum(axis=1, keepdims=True)
        return powers

    def confidence(self, best: Floats) -> Floats:
        """Probabilities of the winning label to the share of such rows that are right."""
        sure = np.clip(best.astype(np.float64), _SURE, 1 - _SURE)
        logit = np.log(sure / (1 - sure)) * self.slope + self.shift
        return (1 / (1 + np.exp(-logit))).astype(np.float32)


@dataclass(frozen=True)
class Evidence:
    """Words of the text that speak for the label, and how much of the margin they give."""

    words: str
    weight: float


@dataclass(frozen=True, eq=False)
class LinearModel:
    """A label for any text.

    `buckets` (F,) int32 ascending are the n-grams the model knows, `idf` (F,) float32 their
    weight before normalising, `weights` (F, labels) float16, `intercepts` (labels,) float32.
    """

    name: str
    labels: tuple[str, ...]
    spec: NgramSpec
    calibration: Calibration
    buckets: Ints
    idf: Floats
    weights: npt.NDArray[np.float16]
    intercepts: Floats

    def __post_init__(self) -> None:
        known, labels = len(self.buckets), len(self.labels)
        shapes = (self.idf.shape, self.weights.shape, self.intercepts.shape)
        if labels < 2 or shapes != ((known,), (known, labels), (labels,)):
            raise ValueError(f"model arrays do not fit together: {labels} labels, {shapes}")
        if known and not 0 <= self.buckets[0] <= self.buckets[-1] < self.spec.buckets:
            raise ValueError("model knows buckets outside its n-gram spec")
        for array in (self.idf, self.weights, self.intercepts):
            if not np.isfinite(array).all():
                raise ValueError("model holds numbers that are not finite")

    @cached_property
    def version(self) -> str:
        """SHA-256 of everything that decides an answer; equal content, equal version."""
        digest = hashlib.sha256(_canonical(self._header()))
        for array in self._arrays().values():
            digest.update(array.tobytes())
        return digest.hexdigest()

    def predict(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.intp], Floats]:
        """(index into `labels`, confidence 0..1) of each text, in bounded batches.

        A text that holds no n-gram the model knows has confidence 0. The answer for a text does
        not depend on the texts around it.
        """
        index = np.zeros(len(texts), dtype=np.intp)
        confidence = np.zeros(len(texts), dtype=np.float32)
        for rows, probabilities, known in self._scored(texts):
            index[rows] = probabilities.argmax(axis=1)
            best = self.calibration.confidence(probabilities.max(axis=1))
            confidence[rows] = np.where(known, best, np.float32(0))
        return index, confidence

    def margins(self, counts: "csr_matrix[Any]") -> Floats:
        """Rows of `ngrams.transform` to uncalibrated scores (rows, labels)."""
        margins: Floats = weighted(counts, self._column, self.idf) @ self._dense + self.intercepts
        return margins

    def top(self, text: str, k: int = 3) -> list[tuple[str, float]]:
        """The `k` likeliest labels with their probabilities; empty when nothing is known."""
        _, probabilities, known = next(self._scored([text]))
        if not known[0]:
            return []
        best = np.argsort(-probabilities[0], kind="stable")[:k]
        return [(self.labels[label], float(probabilities[0, label])) for label in best]

    def why(self, text: str, k: int = 5, label: str | None = None) -> list[Evidence]:
        """The strongest words for `label` (the winner when None) against the average label.

        Overlapping n-grams are told once, by the strongest of them.
        """
        chosen = int(self.predict([text])[0][0]) if label is None else self.labels.index(label)
        gain = self._gains(text, chosen)
        said: dict[str, float] = {}
        for words, bucket in spans(text, self.spec):
            if words and gain.get(bucket, 0.0) > 0:
                said[words] = said.get(words, 0.0) + gain.pop(bucket)
        ranked = sorted(said.items(), key=lambda item: (-item[1], item[0]))
        return [Evidence(words, round(weight, 4)) for words, weight in _apart(ranked, k)]

    def to_bytes(self) -> bytes:
        """An .npz without pickles: the arrays and a JSON header; the same bytes each time."""
        header = self._header() | {"version": self.version}
        file = io.BytesIO()
        np.savez(
            file,
            allow_pickle=False,
            header=np.frombuffer(_canonical(header), dtype=np.uint8),
            **self._arrays(),
        )
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The model of `to_bytes`. Raises ValueError when bytes are damaged or something else."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                header = json.loads(file["header"].tobytes())
                arrays = {name: file[name].astype(kind) for name, kind in _ARRAYS.items()}
        except _DAMAGE as error:
            raise ValueError(f"not a model, or damaged: {error}") from error
        return cls._checked(header, arrays)

    @classmethod
    def _checked(cls, header: Mapping[str, Any], arrays: Mapping[str, Any]) -> Self:
        if header.get("format") != FORMAT:
            raise ValueError(f"model format is {header.get('format')!r}, this code reads {FORMAT}")
        try:
            spec: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value
                for key, value in header["spec"].items()
            }
            model = cls(
                name=header["name"],
                labels=tuple(header["labels"]),
                spec=NgramSpec(**spec),
                calibration=Calibration(**header["calibration"]),
                **arrays,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"model header is incomplete: {error}") from error
        if model.version != header.get("version"):
            raise ValueError("model content does not match its version: the file was altered")
        return model

    def _header(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "name": self.name,
            "labels": list(self.labels),
            "spec": asdict(self.spec),
            "calibration": asdict(self.calibration),
        }

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {
            name: np.ascontiguousarray(getattr(self, name), dtype=kind)
            for name, kind in _ARRAYS.items()
        }

    @cached_property
    def _column(self) -> Ints:
        """Bucket to row of `weights`, -1 where the model knows nothing."""
        column = np.full(self.spec.buckets, -1, dtype=np.int32)
        column[self.buckets] = np.arange(len(self.buckets), dtype=np.int32)
        return column

    @cached_property
    def _dense(self) -> Floats:
        return self.weights.astype(np.float32)

    def _scored(
        self, texts: Sequence[str]
    ) -> Iterator[tuple[slice, Floats, npt.NDArray[np.bool_]]]:
        """Batch by batch: its rows, their probabilities, and whether anything in them is known."""
        for start in range(0, len(texts), _ROWS):
            batch = texts[start : start + _ROWS]
            rows = weighted(transform(batch, self.spec), self._column, self.idf)
            margins = rows @ self._dense + self.intercepts
            known = np.diff(rows.indptr) > 0
            yield slice(start, start + len(batch)), self.calibration.probabilities(margins), known

    def _gains(self, text: str, label: int) -> dict[int, float]:
        row = weighted(transform([text], self.spec), self._column, self.idf)
        weights = self._dense[row.indices]
        gain = row.data * (weights[:, label] - weights.mean(axis=1))
        return dict(zip(self.buckets[row.indices].tolist(), gain.tolist(), strict=True))


def weighted(counts: "csr_matrix[Any]", column: Ints, idf: Floats) -> "csr_matrix[Any]":
    """Rows of `ngrams.transform` (rows, buckets) to unit rows (rows, F): known n-grams times idf.

    `column` maps a bucket to 0..F-1 or -1. Training and scoring both read texts through this.
    """
    from scipy.sparse import csr_matrix

    columns = column[counts.indices]
    known = columns >= 0
    kept = np.zeros(len(known) + 1, dtype=counts.indptr.dtype)
    np.cumsum(known, out=kept[1:])
    columns, indptr = columns[known], kept[counts.indptr]
    data = counts.data[known] * idf[columns]
    shape = (counts.shape[0], len(idf))
    squares = csr_matrix((data * data, columns, indptr), shape=shape) @ np.ones(
        len(idf), np.float32
    )
    lengths = np.sqrt(np.where(squares > 0, squares, np.float32(1)))
    data /= np.repeat(lengths, np.diff(indptr))
    return csr_matrix((data, columns, indptr), shape=shape)


def _apart(ranked: list[tuple[str, float]], k: int) -> list[tuple[str, float]]:
    """The first `k` whose words neither hold nor lie in those of a stronger one."""

    def fresh() -> Iterator[tuple[str, float]]:
        told: list[str] = []
        for words, weight in ranked:
            if not any(words in other or other in words for other in told):
                told.append(words)
                yield words, weight

    return list(islice(fresh(), k))


def _canonical(header: Mapping[str, Any]) -> bytes:
    return json.dumps(header, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
