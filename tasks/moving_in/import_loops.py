"""Moving in: open cases of an older system become loops, with their receipt, owner and history.

A case is known by its source and its number there. It is stored raw like any other feedback, read
by the same classifier and routed by the same policy; what the older system knows better (topic,
owner, person, how far it is) holds. Its clocks run from the original receipt; its owner's from the
import. What is imported once is never changed by importing again, only reported.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, func, select

from loopwright.db import bulk_insert, retry_conflicts
from loopwright.errors import InputError
from loopwright.history.envelope import Actor
from models.base import table
from models.feedback import Feedback, Intake, Quarantine, RawItem
from models.issue import Issue
from models.kinds import EventKind, IssueKind, IssueState, LoopKind, Yields
from policy.assign import Assignment
from policy.classify import Evidence, Reading
from policy.organisation import Organisation
from policy.route import Decision
from policy.source_spec import SourceSpec
from policy.taxonomy import Taxonomy
from sources.errors import RecordError
from sources.items import CaseItem
from sources.keys import Occurrences
from sources.parse import Parser, compile_parser
from sources.preflight import check_file
from sources.records import Record, open_records
from tasks.change import Change, change
from tasks.intake.ingest import chunks, ingest_file, keys_of, known_versions
from tasks.moving_in.status_back import OWN
from tasks.routing.known import Found, load_context
from tasks.routing.open_loops import Opener, Opening
from tasks.routing.triage import Claimed, Piece, issue_row, read, triaged
from tasks.settle import stamped
from tasks.workspace import Workspace

RAW = table(RawItem)
ISSUES = table(Issue)
INTAKES = table(Intake)
FEEDBACK = table(Feedback)
QUARANTINE = table(Quarantine)

PIECE = 200
"""Cases of one transaction: each makes up to four events."""
CLOSED, ACCEPTED = "closed", "accepted"


@dataclass(frozen=True)
class Refusal:
    """A line that did not go in: where it stands, and why. Never the customer's words."""

    file: str
    line: int
    number: str | None
    column: str | None
    reason: str


@dataclass
class Imported:
    """What became of a file's cases.

    `opened`, `joined` and `reopened` loops; `waiting` for a person to read them; `closed` there
    already; `unchanged` since an earlier import; `changed` there since: their numbers.
    """

    read: int = 0
    opened: int = 0
    joined: int = 0
    reopened: int = 0
    waiting: int = 0
    closed: int = 0
    unchanged: int = 0
    changed: list[str] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


@dataclass(frozen=True)
class Case:
    """A stored case that is no loop yet: its feedback row, what was delivered, what it names."""

    row: Any
    item: CaseItem
    topic: str | None
    owner: str | None
    person: str | None


class CaseRefused(Exception):
    """A case that names what this organisation does not know."""

    def __init__(self, part: str, reason: str) -> None:
        super().__init__(reason)
        self.part = part


# The whole file


def import_cases(
    ws: Workspace,
    spec: SourceSpec,
    path: Path,
    actor: Actor,
    now: datetime,
    *,
    quiet: bool = False,
) -> Imported:
    """Store a file's cases and open a loop for each that has none; `quiet`: units get no message.

    A run that dies is finished by the next one. Raises InputError for a source that yields no
    cases, SourceError for a file that cannot be used, SourceStopped when its lines fail wholesale.
    """
    require_cases(spec)
    with ws.acting(actor):
        counts = ingest_file(ws, spec, path, now)
    done = Imported(read=counts.read, unchanged=counts.duplicates)
    parser = Parsers(spec)
    done.refused += quarantined(ws, spec, parser)
    for ids in pieces(waiting(ws, spec)):
        retry_conflicts(partial(settle, ws, Import(spec, parser, actor, now, quiet), ids, done))
    done.changed = changed(ws, spec)
    done.refused.sort(key=lambda refusal: (refusal.file, refusal.line))
    return done


def require_cases(spec: SourceSpec) -> None:
    if spec.yields is not Yields.CASES:
        raise InputError(
            f"the source {spec.name} yields {spec.yields}, no cases",
            "name one with `yields: cases`; docs/moving-in.md shows how",
        )


@dataclass
class Parsers:
    """A parser for each header the source's deliveries had."""

    spec: SourceSpec
    made: dict[tuple[str, ...], Parser] = field(default_factory=dict)

    def item(self, header: Any, payload: str) -> CaseItem:
        """The case as it was delivered. Raises RecordError."""
        names = tuple(header or ())
        if names not in self.made:
            self.made[names] = compile_parser(self.spec, names)
        item = self.made[names].parse(payload)
        assert isinstance(item, CaseItem)
        return item


@dataclass(frozen=True)
class Import:
    """One import: who does it, from where, when."""

    spec: SourceSpec
    parser: Parsers
    actor: Actor
    now: datetime
    quiet: bool


def line_of(spec: SourceSpec, number: int) -> int:
    """Where a record stands in its file, whose header is line 1."""
    return number + (spec.format.kind in ("delimited", "xlsx") and spec.format.header)


# What is stored and no loop yet


def stored(spec: SourceSpec) -> Select[Any]:
    """Newest versions of cases none of whose versions is an issue: what was delivered."""
    newer, other = RAW.alias("newer"), RAW.alias("other")
    read = FEEDBACK.alias("read")
    opened = (
        select(other.c.key)
        .join(ISSUES, ISSUES.c.feedback_id == other.c.id)
        .where(other.c.source == spec.name, other.c.key == RAW.c.key)
        .correlate(RAW)
    )
    later = (
        select(newer.c.id)
        .join(read, read.c.id == newer.c.id)
        .where(
            newer.c.source == spec.name,
            newer.c.key == RAW.c.key,
            newer.c.version > RAW.c.version,
        )
        .correlate(RAW)
    )
    return (
        select(FEEDBACK, RAW.c.number, RAW.c.payload, INTAKES.c.header, INTAKES.c.name)
        .join(RAW, RAW.c.id == FEEDBACK.c.id)
        .join(INTAKES, INTAKES.c.id == RAW.c.intake_id)
        .where(FEEDBACK.c.source == spec.name, ~opened.exists(), ~later.exists())
    )


def waiting(ws: Workspace, spec: SourceSpec) -> list[str]:
    with ws.db.read() as tx:
        found = stored(spec).with_only_columns(FEEDBACK.c.id).order_by(FEEDBACK.c.id)
        return list(tx.execute(found).scalars())


def pieces(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), PIECE):
        yield ids[start : start + PIECE]


def quarantined(ws: Workspace, spec: SourceSpec, parser: Parsers) -> list[Refusal]:
    """Lines of the source that cannot be read and were not mended since, each with its column."""
    mended = RAW.alias("mended")
    later = select(mended.c.id).where(
        mended.c.source == spec.name, mended.c.key == RAW.c.key, mended.c.version > RAW.c.version
    )
    query = (
        select(RAW.c.number, RAW.c.payload, RAW.c.key, INTAKES.c.header, INTAKES.c.name)
        .join(QUARANTINE, QUARANTINE.c.raw_id == RAW.c.id)
        .join(INTAKES, INTAKES.c.id == RAW.c.intake_id)
        .where(QUARANTINE.c.source == spec.name, QUARANTINE.c.resolved_at.is_(None))
        .where(~later.correlate(RAW).exists())
    )
    with ws.db.read() as tx:
        rows = tx.execute(query).all()
    found = []
    for row in rows:
        try:
            parser.item(row.header, row.payload)
        except RecordError as error:
            found.append(unreadable(spec, row.name, row.number, row.key, error))
    return found


def unreadable(spec: SourceSpec, file: str, number: int, key: str, error: RecordError) -> Refusal:
    own = key[1:] if key.startswith(OWN) else None
    return Refusal(file, line_of(spec, number), own, error.field, error.reason)


def changed(ws: Workspace, spec: SourceSpec) -> list[str]:
    """Numbers of cases that were delivered again, otherwise, after they had been imported."""
    newest = (
        select(RAW.c.key, func.max(RAW.c.version).label("version"))
        .where(RAW.c.source == spec.name)
        .group_by(RAW.c.key)
        .subquery()
    )
    query = (
        select(RAW.c.key)
        .join(ISSUES, ISSUES.c.feedback_id == RAW.c.id)
        .join(newest, newest.c.key == RAW.c.key)
        .where(RAW.c.source == spec.name, RAW.c.key.startswith(OWN))
        .where(newest.c.version > RAW.c.version)
        .distinct()
        .order_by(RAW.c.key)
    )
    with ws.db.read() as tx:
        return [key[1:] for key in tx.execute(query).scalars()]


# One transaction


def settle(ws: Workspace, importing: Import, ids: Sequence[str], done: Imported) -> None:
    """Open loops for these cases, unless somebody else just has."""
    refused: list[Refusal] = []
    with ws.db.begin() as tx:
        mine = stored(importing.spec).where(FEEDBACK.c.id.in_(ids)).order_by(FEEDBACK.c.id)
        rows = tx.execute(mine.with_for_update(of=FEEDBACK, skip_locked=True)).all()
        cases = list(understood(ws, importing, rows, refused))
        closed = [case for case in cases if case.item.status == CLOSED]
        found = found_in(ws, [case for case in cases if case.item.status != CLOSED])
        opening = open_cases(tx, ws, importing, found)
        bulk_insert(tx, ISSUES, [issue_row(ws, one, opening) for one, _ in found])
        change(tx, opening.changes, importing.now, [*noted(ws, importing, found, opening)])
        opening.propose_merges(tx, importing.now)
    done.refused += refused
    done.closed += len(closed)
    done.opened += opening.acts["open"]
    done.joined += opening.acts["join"]
    done.reopened += opening.acts["reopen"]
    done.waiting += list(opening.states.values()).count(IssueState.TRIAGE)


def understood(
    ws: Workspace, importing: Import, rows: Sequence[Any], refused: list[Refusal]
) -> Iterator[Case]:
    """The cases whose topic, owner and person we know; the others are refused."""
    spec = importing.spec
    for row in rows:
        item = importing.parser.item(row.header, row.payload)
        try:
            yield case_of(ws, row, item)
        except CaseRefused as refusal:
            column = spec.map.values[refusal.part]
            line = line_of(spec, row.number)
            refused.append(Refusal(row.name, line, item.number, column, str(refusal)))


def case_of(ws: Workspace, row: Any, item: CaseItem) -> Case:
    """Raises CaseRefused for a name that is unknown or means several."""
    documents = ws.published.documents
    return Case(
        row,
        item,
        topic_named(documents.taxonomy, item.topic) if item.topic else None,
        unit_named(documents.organisation, item.owner) if item.owner else None,
        person_named(documents.organisation, item.person) if item.person else None,
    )


def topic_named(taxonomy: Taxonomy, name: str) -> str:
    return one_of("topic", name, {t.id: (t.id, *t.title.values()) for t in taxonomy.topics})


def unit_named(organisation: Organisation, name: str) -> str:
    return one_of("owner", name, {u.code: (u.code, *u.title.values()) for u in organisation.units})


def person_named(organisation: Organisation, name: str) -> str:
    return one_of("person", name, {p.id: (p.id, p.name) for p in organisation.people})


def one_of(part: str, name: str, known: Mapping[str, Sequence[str]]) -> str:
    """The one id whose id or title this is, in upper or lower case."""
    found = [i for i, names in known.items() if name.lower() in (n.lower() for n in names)]
    if len(found) != 1:
        what = "means several" if found else "is unknown here"
        raise CaseRefused(part, f"this {part} {what}: write an id, or mend the documents")
    return found[0]


def found_in(ws: Workspace, cases: Sequence[Case]) -> list[tuple[Found, Case]]:
    """Each case as one issue: what the classifier reads in it, with the topic it came with."""
    readings = read(ws, [case.row for case in cases])
    one_each: list[tuple[Reading, ...]] = [
        (reading_of(ws, c, found),) for c, found in zip(cases, readings, strict=True)
    ]
    issues = Piece([case.row for case in cases], one_each).issues()
    return list(zip(issues, cases, strict=True))


def reading_of(ws: Workspace, case: Case, found: Sequence[Reading]) -> Reading:
    """An open case is a complaint unless its words open a loop as something else."""
    opens = ws.published.documents.rulebook.opens
    sure = [r for r in found if r.topic is not None and not r.abstained]
    reading = next(iter([r for r in sure if r.topic == case.topic] or sure or found))
    kind = reading.kind if reading.kind in opens else IssueKind.COMPLAINT
    if case.topic is None:
        return replace(reading, kind=kind)
    return replace(
        reading,
        kind=kind,
        topic=case.topic,
        touchpoint=ws.places[case.topic].topic.touchpoint,
        confidence=1.0,
        abstained=False,
        reason="",
        evidence=(*reading.evidence, Evidence("topic", "", f"import:{case.row.source}")),
    )


def open_cases(
    tx: Connection, ws: Workspace, importing: Import, found: Sequence[tuple[Found, Case]]
) -> Opening:
    """Decide the cases in order; those whose topic nobody can tell wait for a person."""
    opening = Opening()
    sure = [one for one, _ in found if one.reading.topic is not None and not one.reading.abstained]
    certain = {one.issue_id for one in sure}
    for one, _ in found:
        if one.issue_id not in certain:
            opening.states[one.issue_id] = IssueState.TRIAGE
    if sure:
        cases = {one.issue_id: case for one, case in found}
        context = load_context(tx, ws, sure, importing.now)
        CaseOpener(ws, context, opening, importing, cases).settle(sure)
    return opening


def noted(
    ws: Workspace, importing: Import, found: Sequence[tuple[Found, Case]], opening: Opening
) -> Iterator[Any]:
    """The piece's own event, made by whoever imports."""
    if found:
        issues = [one for one, _ in found]
        piece = Piece([one.row for one in issues], [(one.reading,) for one in issues])
        batch = Claimed(issues[0].row.batch_id, "", 0, len(issues))
        event = triaged(ws, batch, piece, issues, opening, importing.now)
        yield replace(event, actor=importing.actor)


class CaseOpener(Opener):
    """Opens loops as for new feedback, but by what the older system knows of each case."""

    def __init__(
        self,
        ws: Workspace,
        context: Any,
        opening: Opening,
        importing: Import,
        cases: Mapping[str, Case],
    ) -> None:
        super().__init__(ws, context, opening, importing.now)
        self.importing, self.cases = importing, cases
        self.case: Case | None = None

    def settle(self, candidates: Any) -> None:
        for found in candidates:
            self.case = self.cases[found.issue_id]
            features = self.features(found)
            decision = self.as_open(self.ws.router.decide(features), self.case)
            self.opening.rules[found.issue_id] = decision.rule
            self.opening.states[found.issue_id] = IssueState.LOOPED
            self.place(found, features, decision)

    def as_open(self, decision: Decision, case: Case) -> Decision:
        """An open case has a loop whatever the policy would note only; an owner settles doubt."""
        doubtful = decision.loop == "none" or (decision.loop == "triage" and case.owner is not None)
        return replace(decision, loop=LoopKind.SMALL) if doubtful else decision

    def assign(self, found: Found, decision: Decision) -> Assignment:
        usual = super().assign(found, decision)
        owner = self.cases[found.issue_id].owner
        return replace(usual, lead=owner, reason="") if owner else usual

    def add(self, change: Change) -> None:
        case = self.cases_own()
        made = replace(change, actor=self.importing.actor)
        if self.importing.quiet:
            made = replace(made, messages=())
        if change.kind in (EventKind.LOOP_OPENED, EventKind.LOOP_JOINED, EventKind.LOOP_REOPENED):
            made = replace(made, body={**(change.body or {}), **came_with(case)})
        if change.kind is EventKind.TICKET_ASSIGNED and case.person is not None:
            made = replace(made, data={**change.data, "person": case.person})
        self.opening.changes += stamped(self.ws, [made])
        if change.kind is EventKind.TICKET_ASSIGNED and case.item.status == ACCEPTED:
            self.accept(made)

    def cases_own(self) -> Case:
        assert self.case is not None
        return self.case

    def accept(self, assigned: Change) -> None:
        """The unit had begun with it in the older system."""
        data = {name: assigned.data[name] for name in ("ticket", "person") if name in assigned.data}
        accepted = Change(assigned.loop, EventKind.TICKET_ACCEPTED, data, self.importing.actor)
        self.opening.changes += stamped(self.ws, [accepted])


def came_with(case: Case) -> dict[str, Any]:
    """What the older system knew; the customer's, so it lives in the erasable body."""
    item = case.item
    return {"number": item.number, "history": item.history}


# Looking first


def preview(ws: Workspace, spec: SourceSpec, path: Path) -> Imported:
    """What importing a file would do, without storing anything; `opened` counts every case that
    would go in. Raises as `import_cases` does."""
    require_cases(spec)
    check_file(spec, path)
    done, seen = Imported(), Occurrences()
    with open_records(spec, path) as delivery:
        parser = compile_parser(spec, delivery.header)
        for records in chunks(delivery, PIECE):
            keys = keys_of(spec, parser, records, seen, delivery.sha256)
            with ws.db.read() as tx:
                known = known_versions(tx, ws, spec.name, keys)
            for record, key in zip(records, keys, strict=True):
                done.read += 1
                digest = ws.hasher.fingerprint("payload", record.payload)
                if key in known and digest in known[key][2]:
                    done.unchanged += 1
                elif key in known:
                    done.changed.append(key[1:])
                else:
                    preview_one(ws, spec, path.name, parser, record, key, done)
    return done


def preview_one(
    ws: Workspace,
    spec: SourceSpec,
    file: str,
    parser: Parser,
    record: Record,
    key: str,
    done: Imported,
) -> None:
    try:
        item = parser.parse(record.payload)
        assert isinstance(item, CaseItem)
        case_of(ws, None, item)
    except RecordError as error:
        done.refused.append(unreadable(spec, file, record.number, key, error))
    except CaseRefused as refusal:
        column = spec.map.values[refusal.part]
        line = line_of(spec, record.number)
        done.refused.append(Refusal(file, line, key[1:], column, str(refusal)))
    else:
        done.closed += item.status == CLOSED
        done.opened += item.status != CLOSED
