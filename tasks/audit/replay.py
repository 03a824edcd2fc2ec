"""Do the tables follow from the history? Rebuild what the events determine, and compare the rows.

Every loop's events are folded into its rows (`policy/effects`). What belongs to no loop is held
against the events that tell of it: `replay_records.py` row by row, `replay_documents.py`,
`replay_intake.py` and `replay_issues.py` by the hashes and roots the events hold.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Any, Protocol

from sqlalchemy import Connection, func, select

from models.approval import Approval
from models.base import table
from models.clock import Clock
from models.effect import Effect
from models.kinds import EventKind
from models.loop import Loop, LoopIssue, LoopLink
from models.ticket import Ticket
from models.verification import Verification
from policy.effects.approvals import EFFECTS as EFFECTS_OF_APPROVALS
from policy.story import Story
from policy.transitions import apply
from tasks.audit.replay_documents import Documents
from tasks.audit.replay_events import (
    EVENTS,
    Entry,
    Replay,
    entries,
    heed,
    read_events,
)
from tasks.audit.replay_intake import Erasures, Fingerprint, Intakes
from tasks.audit.replay_issues import Decisions, compare_issues
from tasks.audit.replay_records import KNOWN, Records

__all__ = ["COMPARED", "NOT_COMPARED", "Replay", "replay"]

LOOPS = table(Loop)
TICKETS = table(Ticket)
CLOCKS = table(Clock)
VERIFICATIONS = table(Verification)
APPROVALS = table(Approval)
EFFECTS = table(Effect)
LOOP_ISSUES = table(LoopIssue)
LOOP_LINKS = table(LoopLink)

PAGE = 1_000
TABLES: tuple[tuple[Any, str], ...] = (
    (LOOPS, "id"),
    (TICKETS, "loop_id"),
    (LOOP_ISSUES, "loop_id"),
    (LOOP_LINKS, "big_id"),
    (CLOCKS, "loop_id"),
    (VERIFICATIONS, "loop_id"),
    (APPROVALS, "loop_id"),
    (EFFECTS, "loop_id"),
)
PARTS = {
    "ticket": "tickets",
    "clock": "clocks",
    "verification": "verifications",
    "approval": "approvals",
    "effect": "effects",
}

WHOLE = "every column"
COMPARED: Mapping[str, str] = {
    **{kept.name: WHOLE for kept, _ in TABLES},
    "publication": WHOLE,
    "document": WHOLE,
    "correction": "all but its id",
    "absence": "all but its id",
    "proposal": "which loops, and the decision",
    "red_alert": "all but the conversation; the loop where the event names one",
    "message": "key, template, unit, loop, ticket; sent or given up: state, time, attempts",
    "source_state": "switched on or off, stopped or not, and why",
    "intake": "source, counts, hash of the delivery",
    "raw_item": "digest, order, source, and the payload against the digest where the secret is",
    "followed_file": "source, and how far its lines were judged",
    "quarantine": "how many of each chunk, and what a replay resolved",
    "batch": "how far it was judged",
    "feedback": "that it is there, in its place in its batch",
    "issue": "kind, topic, state, rule, place",
    "customer": "who was united with whom",
    "customer_key": "none is left of an erased customer",
}
"""What is held against events, of each table."""
NOT_COMPARED: Mapping[str, str] = {
    "customer_snapshot": "what the firm knew of customers, as delivered",
    "journey_event": "steps of customers, as delivered",
    "measure": "counts as delivered",
    "delivery": "attempts to send; how they ended is in message",
    "conversation": "conversations that still run",
    "clock_recount": "where a recount of clocks stands",
    "history_event": "`audit verify`",
    "event_body": "`audit verify`",
    "audit_head": "`audit verify`",
    "audit_checkpoint": "`audit verify`",
}
"""Tables of which no event tells, or that are proven elsewhere."""


class Comparison(Protocol):
    """What becomes of the events that belong to no loop: taken in order, compared page by page."""

    @property
    def kinds(self) -> Iterable[EventKind]: ...

    def take(self, entry: Entry) -> None: ...

    def flush(self, tx: Connection) -> None: ...

    def finish(self, tx: Connection) -> None: ...


def replay(tx: Connection, fingerprint: Fingerprint | None = None) -> Replay:
    """Rebuild what events determine and compare it with the tables.

    `fingerprint`: the keyed hash of a payload; None where its secret is not known, and payloads are
    not held against their digests.
    """
    result = Replay()
    for stories in story_pages(tx, result):
        compare(tx, stories, result)
    compare_loopless(tx, result, fingerprint)
    for kept, _ in TABLES:
        result.stored += tx.execute(select(func.count()).select_from(kept)).scalar_one()
    if result.stored != result.made:
        result.differ(f"the tables hold {result.stored} rows, the events make {result.made}")
    return result


# Loops


def story_pages(tx: Connection, result: Replay) -> Iterator[dict[str, Story]]:
    stories: dict[str, Story] = {}
    query = (
        read_events()
        .where(EVENTS.c.loop_id.is_not(None))
        .order_by(EVENTS.c.loop_id, EVENTS.c.loop_seq)
        .execution_options(yield_per=PAGE)
    )
    for loop, found in groupby(entries(tx.execute(query), result), key=lambda entry: entry.loop):
        stories[loop] = rebuild(found, result)
        if len(stories) == PAGE:
            yield stories
            stories = {}
    yield stories


def rebuild(found: Iterable[Entry], result: Replay) -> Story:
    story = Story()
    for entry in found:
        heed(result, entry, lambda entry: apply(story, entry.happening))
    return story


def compare(tx: Connection, stories: dict[str, Story], result: Replay) -> None:
    result.loops += len(stories)
    for kept, column in TABLES:
        keys = [c.name for c in kept.primary_key]
        query = select(kept).where(kept.c[column].in_(list(stories)))
        found = {tuple(row[k] for k in keys): dict(row) for row in tx.execute(query).mappings()}
        made = {tuple(row[k] for k in keys): row for row in rows_of(stories, kept.name)}
        compare_rows(kept.name, found, made, result)


def compare_rows(
    table: str, found: dict[Any, dict[str, Any]], made: dict[Any, dict[str, Any]], result: Replay
) -> None:
    result.made += len(made)
    for key in found.keys() | made.keys():
        compare_row(table, key, found.get(key), made.get(key), result)


def compare_row(
    table: str, key: Any, found: dict[str, Any] | None, made: dict[str, Any] | None, result: Replay
) -> None:
    if found is None or made is None:
        result.differ(f"{table} {key}: only in the {'events' if found is None else 'table'}")
    elif columns := [c for c in made if found[c] != made[c]]:
        result.differ(f"{table} {key}: {', '.join(columns)} differ")


def rows_of(stories: dict[str, Story], table: str) -> list[dict[str, Any]]:
    if table == "loop":
        return [s.loop for s in stories.values() if s.loop]
    if part := PARTS.get(table):
        return [row for s in stories.values() for row in getattr(s, part).values()]
    if table == "loop_issue":
        return [
            {"loop_id": loop, "issue_id": i, "relation": r}
            for loop, s in stories.items()
            for i, r in s.issues.items()
        ]
    return [
        {"big_id": loop, "small_id": small, "relation": r}
        for loop, s in stories.items()
        for small, r in s.links.items()
    ]


# What belongs to no loop


@dataclass
class Approvals:
    """Approvals of documents and templates: their events change no loop."""

    result: Replay
    story: Story = field(default_factory=Story)
    kinds: Iterable[EventKind] = tuple(EFFECTS_OF_APPROVALS)

    def take(self, entry: Entry) -> None:
        EFFECTS_OF_APPROVALS[entry.kind](self.story, entry.happening)

    def flush(self, tx: Connection) -> None:
        """People ask for so few that they are compared at the end."""

    def finish(self, tx: Connection) -> None:
        stored = select(APPROVALS).where(APPROVALS.c.loop_id.is_(None))
        found = {(row["id"],): dict(row) for row in tx.execute(stored).mappings()}
        made = {(one["id"],): one for one in self.story.approvals.values()}
        compare_rows("approval", found, made, self.result)


def compare_loopless(tx: Connection, result: Replay, fingerprint: Fingerprint | None) -> None:
    decisions = Decisions(result)
    comparisons: list[Comparison] = [
        Approvals(result),
        Documents(result),
        Intakes(result, fingerprint),
        Erasures(result),
        decisions,
        *(Records(known, result) for known in KNOWN),
    ]
    wanted: dict[EventKind, list[Comparison]] = {}
    for one in comparisons:
        for kind in one.kinds:
            wanted.setdefault(kind, []).append(one)
    query = read_events().where(EVENTS.c.loop_id.is_(None)).order_by(EVENTS.c.seq)
    found = entries(tx.execute(query.execution_options(yield_per=PAGE)), result)
    while page := list(islice(found, PAGE)):
        for entry in page:
            for one in wanted.get(entry.kind, ()):
                heed(result, entry, one.take)
        for one in comparisons:
            one.flush(tx)
    for one in comparisons:
        one.finish(tx)
    compare_issues(tx, decisions.was, result)
