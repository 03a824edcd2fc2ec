"""How often does the policy decide as a careful reader would? Measured on labelled feedback."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loopwright.errors import InputError
from policy.assign import assign
from policy.classify import Classifier, Opinion, Reading, Utterance
from policy.documents import DocumentSet
from policy.route import Circumstances, Decision, Router, features_from, places

Model = Callable[[Sequence[Utterance]], Sequence[Sequence[Opinion]]]
"""Another classifier: one sequence of opinions per utterance."""

ABSTAIN_LIMIT = 0.20
"""A policy that leaves more than this share to people decides too little."""
TRIAGE = "triage"
_ASKS = {"none": 0, TRIAGE: 1, "small": 2, "big": 3}


@dataclass(frozen=True, slots=True)
class Judged:
    """One labelled row beside what the policy made of it; `lead` is '' where nobody leads."""

    id: str
    wanted: str
    loop: str
    wanted_kind: str | None
    kind: str
    wanted_units: tuple[str, ...]
    lead: str
    group: str


def evaluate_policy(
    documents: DocumentSet,
    rows: Iterable[Mapping[str, Any]],
    *,
    text: str,
    label: str,
    by: str | None = None,
    model: Model | None = None,
) -> dict[str, Any]:
    """Figures of the policy's loops against `label` (none, small, big), ready for JSON.

    `text`, `label`, `by`: field names of a row; rows whose label is null or empty are left out.
    A row in triage counts as wrong in `accuracy` and is listed under `abstained`; at most
    `ABSTAIN_LIMIT` may be. `macro_f1` is over the labels that occur. Where rows carry `kind` or
    `departments` (codes, the one that acts first at the front), those are measured too. A
    feedback with several issues is judged by the one that asks most.
    Raises InputError naming a field that a row lacks.
    """
    kept = list(rows)
    labelled = [row for row in kept if _field(row, label) not in (None, "")]
    judged = _judge(documents, labelled, text, label, by, model)
    result = {"rows": len(kept), **_figures(judged)}
    if by is not None:
        groups: dict[str, list[Judged]] = defaultdict(list)
        for row in judged:
            groups[row.group].append(row)
        result["by"] = {name: _figures(group) for name, group in sorted(groups.items())}
    return result


def _field(row: Mapping[str, Any], name: str) -> Any:
    if name not in row:
        raise InputError(f"no field {name!r}", f"the rows have: {', '.join(map(str, row))}")
    return row[name]


def _judge(
    documents: DocumentSet,
    rows: Sequence[Mapping[str, Any]],
    text: str,
    label: str,
    by: str | None,
    model: Model | None,
) -> list[Judged]:
    decide = _decider(documents)
    utterances = [Utterance(str(_field(row, text) or "")) for row in rows]
    classifier = Classifier(documents.taxonomy, documents.rulebook.confidence)
    readings = classifier.read(utterances, model(utterances) if model else None)
    return [
        _judged(str(n), row, decide(issues), label, by)
        for n, (row, issues) in enumerate(zip(rows, readings, strict=True))
    ]


def _judged(
    position: str,
    row: Mapping[str, Any],
    outcome: tuple[str, str, str],
    label: str,
    by: str | None,
) -> Judged:
    loop, kind, lead = outcome
    return Judged(
        id=str(row.get("id") or position),
        wanted=str(row[label]),
        loop=loop,
        wanted_kind=row.get("kind") or None,
        kind=kind,
        wanted_units=_codes(row.get("departments")),
        lead=lead,
        group=str(_field(row, by)) if by else "",
    )


def _codes(value: Any) -> tuple[str, ...]:
    """Unit codes from a list, or from a text with blanks, commas or semicolons between them."""
    if isinstance(value, str):
        return tuple(value.replace(",", " ").replace(";", " ").split())
    return tuple(value or ())


def _decider(
    documents: DocumentSet,
) -> Callable[[Sequence[Reading]], tuple[str, str, str]]:
    """Readings of one feedback -> loop, kind and leading unit of the issue that asks most."""
    router, where = Router(documents.rulebook), places(documents.taxonomy)
    organisation = documents.organisation

    def outcome(reading: Reading) -> tuple[str, str, str]:
        place = where.get(reading.topic or "")
        decision = router.decide(features_from(reading, where, Circumstances()))
        assignment = assign(decision, place.topic if place else None, organisation, None)
        return _loop(reading, decision), reading.kind.value, assignment.lead or ""

    return lambda readings: max(map(outcome, readings), key=lambda o: _ASKS[o[0]])


def _loop(reading: Reading, decision: Decision) -> str:
    """A reading in doubt waits for a person, whatever a rule would say."""
    return TRIAGE if reading.abstained else decision.loop


def _figures(judged: Sequence[Judged]) -> dict[str, Any]:
    total = len(judged)
    abstained = [row.id for row in judged if row.loop == TRIAGE]
    per_label = _per_label(judged)
    f1 = [figures["f1"] for figures in per_label.values()]
    return {
        "labelled": total,
        "accuracy": _share(sum(row.loop == row.wanted for row in judged), total),
        "macro_f1": round(sum(f1) / len(f1), 4) if f1 else 0.0,
        "abstained": {
            "count": len(abstained),
            "share": _share(len(abstained), total),
            "limit": ABSTAIN_LIMIT,
            "within_limit": len(abstained) <= ABSTAIN_LIMIT * total,
            "ids": abstained,
        },
        "labels": per_label,
        "confusion": _confusion(judged),
        "kind": _kinds(judged),
        "departments": _departments(judged),
    }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


def _per_label(judged: Sequence[Judged]) -> dict[str, dict[str, Any]]:
    wanted = Counter(row.wanted for row in judged)
    given = Counter(row.loop for row in judged)
    right = Counter(row.wanted for row in judged if row.wanted == row.loop)
    return {
        name: {
            "rows": wanted[name],
            "precision": _share(right[name], given[name]),
            "recall": _share(right[name], wanted[name]),
            "f1": _share(2 * right[name], given[name] + wanted[name]),
        }
        for name in sorted(wanted)
    }


def _confusion(judged: Sequence[Judged]) -> dict[str, dict[str, int]]:
    """Label -> decided loop -> rows."""
    table: dict[str, dict[str, int]] = {}
    for row in judged:
        line = table.setdefault(row.wanted, dict.fromkeys(_ASKS, 0))
        line[row.loop] += 1
    return dict(sorted(table.items()))


def _kinds(judged: Sequence[Judged]) -> dict[str, Any] | None:
    known = [row for row in judged if row.wanted_kind]
    if not known:
        return None
    right = sum(row.kind == row.wanted_kind for row in known)
    return {"labelled": len(known), "accuracy": _share(right, len(known))}


def _departments(judged: Sequence[Judged]) -> dict[str, Any] | None:
    """First-right: the unit that leads is the one named first; among: it is named at all."""
    known = [row for row in judged if row.wanted_units]
    if not known:
        return None
    first = sum(row.lead == row.wanted_units[0] for row in known)
    among = sum(row.lead in row.wanted_units for row in known)
    return {
        "labelled": len(known),
        "first_right": _share(first, len(known)),
        "among": _share(among, len(known)),
    }
