"""What was found in feedback: do the issues still make the roots of `feedback.triaged`?

A root was taken before anybody decided; `issue.decided` says what an issue was until then. Batches
of an older system's cases are no runs of ordinals: their issues follow each other by id.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, and_, false, func, or_, select

from models.base import table
from models.feedback import Batch, Feedback
from models.issue import Correction, Issue
from models.kinds import EventKind, IssueState
from tasks.audit.replay_events import EVENTS, Entry, Replay, entries, heed, read_events
from tasks.audit.replay_intake import Root
from tasks.audit.replay_records import is_correction
from tasks.routing.triage import leaf

ISSUES = table(Issue)
FEEDBACK = table(Feedback)
BATCHES = table(Batch)
CORRECTIONS = table(Correction)

SPANS = 200
PAGE = 1_000
OLD_DECISIONS = (
    "含有旧版人工判定（未记原判）的批次根"
    " / roots over issues that were decided before their events said what they were"
)


class Was(NamedTuple):
    """An issue until a person decided it, when it waited. `known`: not from older events."""

    kind: str
    topic: str | None
    rule: str | None
    known: bool = True


@dataclass
class Decisions:
    """What decided issues were before. People decide one by one, so there is room for all."""

    result: Replay
    was: dict[str, Was] = field(default_factory=dict)
    doubtful: list[str] = field(default_factory=list)
    kinds: Iterable[EventKind] = (EventKind.ISSUE_DECIDED,)

    def take(self, entry: Entry) -> None:
        data, issue = entry.data, entry.text("issue")
        if "kind_was" in data:
            self.was[issue] = Was(data["kind_was"], data["topic_was"], data["rule_was"])
            return
        self.was[issue] = Was(data["kind"], data["topic"], None, not is_correction(entry))
        if not is_correction(entry):
            self.doubtful.append(issue)

    def flush(self, tx: Connection) -> None:
        """Noted by an erasure, which changes nothing else, or by a person of whom an old event says
        no more: these left a correction."""
        if self.doubtful:
            query = select(CORRECTIONS.c.issue_id)
            corrected = query.where(CORRECTIONS.c.issue_id.in_(self.doubtful))
            for issue in tx.execute(corrected).scalars():
                self.was[issue] = self.was[issue]._replace(known=False)
        self.doubtful = []

    def finish(self, tx: Connection) -> None:
        self.flush(tx)


@dataclass(slots=True)
class Span:
    """Feedback of a batch after `first`, and its issues: what the event says and what is there."""

    seq: int
    batch: str
    first: int
    feedback: int
    issues: int
    fates: dict[str, int]
    root: str
    comparable: bool = True
    found: Root = field(default_factory=Root)
    heard: set[str] = field(default_factory=set)
    fates_found: Counter[str] = field(default_factory=Counter)

    @property
    def upto(self) -> int:
        return self.first + self.feedback


@dataclass
class Judgements:
    """The comparison of batches and issues with `feedback.triaged`."""

    result: Replay
    was: dict[str, Was]
    spans: list[Span] = field(default_factory=list)
    open: dict[str, int] = field(default_factory=dict)
    """Batch -> how far it is by its events, until it is done."""
    issues: int = 0
    feedback: int = 0

    def take(self, entry: Entry) -> None:
        fates = {
            IssueState.NOTED.value: entry.number("noted"),
            IssueState.TRIAGE.value: entry.number("waiting"),
            IssueState.LOOPED.value: entry.number("looped"),
        }
        first, feedback, issues = (entry.number(n) for n in ("first", "feedback", "issues"))
        batch, root = entry.text("batch"), entry.text("root")
        self.spans.append(Span(entry.seq, batch, first, feedback, issues, fates, root))

    def flush(self, tx: Connection) -> None:
        spans, self.spans = self.spans, []
        batches = batches_of(tx, {span.batch for span in spans})
        whole = [span for span in spans if span.batch in batches]
        for span in spans:
            if span.batch not in batches:
                self.result.differ(f"batch {span.batch}: only in the events (seq {span.seq})")
        moved_in = [span for span in whole if is_moved_in(batches[span.batch])]
        ordinary = [span for span in whole if not is_moved_in(batches[span.batch])]
        self.read(tx, ordinary)
        for span in moved_in:
            for row in tx.execute(moved_in_issues(span, batches[span.batch].source)):
                self.add(span, row)
        for span in ordinary:
            self.follow(span, batches[span.batch])
        for span in whole:
            self.compare(span, ordinal=span in ordinary)

    def read(self, tx: Connection, spans: list[Span]) -> None:
        by_batch: dict[str, list[Span]] = {}
        for span in spans:
            by_batch.setdefault(span.batch, []).append(span)
        for row in tx.execute(issues_of(spans)):
            mine = (s for s in by_batch[row.batch_id] if s.first <= row.ordinal < s.upto)
            if (its_own := next(mine, None)) is not None:
                self.add(its_own, row)

    def add(self, span: Span, row: Any) -> None:
        span.heard.add(row.feedback_id)
        if row.id is None:
            return
        was = self.was.get(row.id)
        state = row.state if was is None else IssueState.TRIAGE.value
        kind, topic, rule = (row.kind, row.topic, row.rule) if was is None else was[:3]
        span.comparable &= was is None or was.known
        span.fates_found[state] += 1
        span.found.add(leaf(row.feedback_id, row.place, kind, topic, state, rule))

    def follow(self, span: Span, batch: Any) -> None:
        """Events of a batch go on where the one before ended."""
        so_far = self.open.pop(span.batch, 0)
        self.feedback += span.feedback
        if span.first != so_far:
            words = f"the event (seq {span.seq}) begins at {span.first}, not at {so_far}"
            self.result.differ(f"batch {span.batch}: {words}")
        if span.upto == batch.position:
            self.result.records += 1
        else:
            self.open[span.batch] = span.upto

    def compare(self, span: Span, *, ordinal: bool) -> None:
        self.issues += span.found.size
        self.result.records += span.found.size
        where = f"issues of batch {span.batch} from {span.first} (seq {span.seq})"
        if ordinal and len(span.heard) != span.feedback:
            words = f"{len(span.heard)} feedback are there, the event says {span.feedback}"
            self.result.differ(f"{where}: {words}")
        if span.found.size != span.issues:
            words = f"{span.found.size} are there, the event says {span.issues}"
            self.result.differ(f"{where}: {words}")
        elif any(span.fates_found[fate] != number for fate, number in span.fates.items()):
            self.result.differ(f"{where}: their states are not as the event counts them")
        elif not span.comparable:
            self.result.pass_over(OLD_DECISIONS)
        elif span.found.hex != span.root:
            words = "kind, topic, state or rule do not make the event's root"
            self.result.differ(f"{where}: {words}")

    def finish(self, tx: Connection) -> None:
        pending = list(self.open)
        for start in range(0, len(pending), PAGE):
            for batch in pending[start : start + PAGE]:
                self.result.differ(f"batch {batch}: position differ")
        done = func.coalesce(func.sum(BATCHES.c.position), 0)
        position = tx.execute(select(done).where(~moved_in())).scalar_one()
        if position != self.feedback and not pending:
            words = f"batches count {position} feedback as judged, the events {self.feedback}"
            self.result.differ(words)
        if extra := tx.execute(select(func.count()).select_from(ISSUES)).scalar_one() - self.issues:
            self.result.differ(f"{extra} issues too many: no event counts them")


def compare_issues(tx: Connection, was: dict[str, Was], result: Replay) -> None:
    """Hold all batches and issues against their events."""
    judgements = Judgements(result, was)
    query = read_events().where(
        EVENTS.c.kind == EventKind.FEEDBACK_TRIAGED, EVENTS.c.loop_id.is_(None)
    )
    counted = Replay()  # these events have been read and counted before
    rows = tx.execute(query.order_by(EVENTS.c.seq).execution_options(yield_per=SPANS))
    for page in pages(entries(rows, counted)):
        for entry in page:
            heed(result, entry, judgements.take)
        judgements.flush(tx)
    judgements.finish(tx)


def pages(found: Iterable[Entry]) -> Iterator[list[Entry]]:
    page: list[Entry] = []
    for entry in found:
        page.append(entry)
        if len(page) == SPANS:
            yield page
            page = []
    yield page


def batches_of(tx: Connection, wanted: Iterable[str]) -> dict[str, Any]:
    columns = (
        BATCHES.c.id,
        BATCHES.c.source,
        BATCHES.c.position,
        BATCHES.c.lease_token,
        BATCHES.c.done_at,
    )
    query = select(*columns).where(BATCHES.c.id.in_(sorted(wanted)))
    return {row.id: row for row in tx.execute(query)}


def is_moved_in(batch: Any) -> bool:
    """Done without anybody having leased it: a person imported what it holds."""
    return batch.lease_token is None and batch.done_at is not None


def moved_in() -> Any:
    return BATCHES.c.lease_token.is_(None) & BATCHES.c.done_at.is_not(None)


COLUMNS = (
    FEEDBACK.c.batch_id,
    FEEDBACK.c.ordinal,
    FEEDBACK.c.id.label("feedback_id"),
    ISSUES.c.id,
    ISSUES.c.ordinal.label("place"),
    ISSUES.c.kind,
    ISSUES.c.topic,
    ISSUES.c.state,
    ISSUES.c.rule,
)


def issues_of(spans: Iterable[Span]) -> Select[Any]:
    ranges = (
        and_(
            FEEDBACK.c.batch_id == span.batch,
            FEEDBACK.c.ordinal >= span.first,
            FEEDBACK.c.ordinal < span.upto,
        )
        for span in spans
    )
    return (
        select(*COLUMNS)
        .select_from(FEEDBACK.outerjoin(ISSUES, ISSUES.c.feedback_id == FEEDBACK.c.id))
        .where(or_(false(), *ranges))
        .order_by(FEEDBACK.c.batch_id, FEEDBACK.c.ordinal, ISSUES.c.ordinal)
        .execution_options(yield_per=PAGE)
    )


def moved_in_issues(span: Span, source: str) -> Select[Any]:
    """The issues of one import's piece: from its first one on, in the order they were made."""
    opened = ISSUES.join(FEEDBACK, FEEDBACK.c.id == ISSUES.c.feedback_id)
    first = (
        select(func.min(ISSUES.c.id))
        .select_from(opened)
        .where(FEEDBACK.c.batch_id == span.batch, FEEDBACK.c.ordinal == span.first)
        .scalar_subquery()
    )
    return (
        select(*COLUMNS)
        .select_from(opened)
        .where(ISSUES.c.id >= first, FEEDBACK.c.source == source)
        .order_by(ISSUES.c.id)
        .limit(span.issues)
    )
