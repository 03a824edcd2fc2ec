"""What would a draft have made of the past? Past issues routed by both policies, side by side.

Read only. The published policy is replayed too, so that both sides know the same and only the
documents differ; how often that replay agrees with what was recorded is part of the answer.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from loopwright.errors import DocumentError, InputError
from policy.classify import Classifier, Reading, Utterance
from policy.documents import DocumentSet
from tasks.documents.past_items import Past, load_past
from tasks.documents.policy_side import Case, Replay, Side
from tasks.documents.publish import check, read_folders
from tasks.documents.simulation_report import report
from tasks.routing.triage import opinions
from tasks.workspace import Workspace

CASES = 20
SEED = 20260801
WHOLE = frozenset({b"organisation", b"taxonomy", b"policy"})


def simulate_policy(
    ws: Workspace,
    draft: DocumentSet,
    first: date,
    last: date,
    now: datetime,
    *,
    cases: int = CASES,
    seed: int = SEED,
) -> dict[str, Any]:
    """The draft against the published policy on what was received from `first` to `last`, both
    included, in local days; figures as `simulation_report.py` says, ready for JSON. Raises
    InputError for days in the wrong order."""
    if first > last:
        raise InputError(f"{first} is after {last}", "give the earlier day as --from")
    published, side = Side(ws.published.documents), Side(draft)
    window = max(published.window, side.window)
    with ws.db.read() as tx:
        past = load_past(tx, first, last, published.clocks.zone, window)
    again = reads_anew(published.documents, draft)
    pairs = read_again(ws, draft, past.items) if again else unchanged(past.items)
    published.decide_all(past, ((case.item, case.before) for case in pairs))
    side.decide_all(past, ((case.item, case.after) for case in pairs))
    replay = Replay(past, pairs, published, side, first, last, now, again)
    return {"policy": ws.policy_version} | report(replay, ws.policy_version, cases, seed)


def reads_anew(published: DocumentSet, draft: DocumentSet) -> bool:
    """Whether the draft may read the words otherwise than they were read."""
    same = published.rulebook.confidence == draft.rulebook.confidence
    return not same or published.taxonomy != draft.taxonomy


def unchanged(items: Iterable[Past]) -> list[Case]:
    return [Case(item, item.reading, item.reading) for item in items]


def read_again(ws: Workspace, draft: DocumentSet, items: Sequence[Past]) -> list[Case]:
    """The draft's own reading beside the stored one, issue by issue. What a person decided stands,
    and so does what was read in words that have been erased since."""
    groups = [list(group) for _, group in groupby(items, key=lambda item: item.row.id)]
    rows = [group[0].row for group in groups]
    classifier = Classifier(draft.taxonomy, draft.rulebook.confidence)
    utterances = [Utterance(r.text, r.channel, r.language, r.rating) for r in rows]
    views = opinions(ws, [row.text for row in rows])
    readings = classifier.read(utterances, views, evidence=False)
    known = {topic.id for topic in draft.taxonomy.topics}
    return [
        case
        for group, anew in zip(groups, readings, strict=True)
        for case in paired(group, anew, known)
    ]


def paired(group: Sequence[Past], anew: Sequence[Reading], known: set[str]) -> Iterator[Case]:
    for item in group:
        fresh = anew[item.ordinal] if item.ordinal < len(anew) else None
        yield Case(item, item.reading, item.reading if stands(item, known) else fresh)
    for reading in anew[len(group) :]:
        yield Case(group[0], None, reading)


def stands(item: Past, known: set[str]) -> bool:
    erased = not item.row.text and item.reading.topic is not None
    return erased or (item.by_person and (item.reading.topic or "") in {"", *known})


def load_draft(files: Mapping[str, bytes], folder: Path) -> DocumentSet:
    """The set of a folder; laid over the published `files` unless it is whole by itself. Raises
    DocumentError with every mistake."""
    own = read_folders([folder])
    documents, mistakes = check(own if is_whole(own) else laid_over(files, own))
    if documents is None:
        lines = [f"{m.file}:{m.line}: {m.what} → {m.fix}" for m in mistakes]
        raise DocumentError(f"{len(mistakes)} mistakes in the draft", lines, "mend them first")
    return documents


def is_whole(files: Mapping[str, bytes]) -> bool:
    keys = {line.split(b":")[0] for text in files.values() for line in text.splitlines()}
    return keys >= WHOLE


def laid_over(files: Mapping[str, bytes], own: Mapping[str, bytes]) -> dict[str, bytes]:
    """A file of the same name is replaced, and taken away by an empty one."""
    return {name: content for name, content in {**files, **own}.items() if content.strip()}
