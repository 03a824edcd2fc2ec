"""Do the tables follow from the history? Fold every loop's events, and those of the approvals that
belong to none, and compare the rows."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Select, func, select

from models.approval import Approval
from models.base import table
from models.clock import Clock
from models.effect import Effect
from models.history import HistoryEvent
from models.kinds import EventKind
from models.loop import Loop, LoopIssue, LoopLink
from models.ticket import Ticket
from models.verification import Verification
from policy.effects.approvals import EFFECTS as EFFECTS_OF_APPROVALS
from policy.story import Happening, Refused, Story
from policy.transitions import apply

LOOPS = table(Loop)
TICKETS = table(Ticket)
CLOCKS = table(Clock)
VERIFICATIONS = table(Verification)
APPROVALS = table(Approval)
EFFECTS = table(Effect)
EVENTS = table(HistoryEvent)
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
LISTED = 20


@dataclass
class Replay:
    """Loops rebuilt, rows made from events and stored, and differences (the first few in words)."""

    loops: int = 0
    events: int = 0
    made: int = 0
    stored: int = 0
    differences: int = 0
    listed: list[str] = field(default_factory=list)

    def differ(self, words: str) -> None:
        self.differences += 1
        if len(self.listed) < LISTED:
            self.listed.append(words)


def replay(tx: Connection) -> Replay:
    """Rebuild loops, what belongs to them, and approvals from events; compare with the tables."""
    result = Replay()
    for stories in story_pages(tx, result):
        compare(tx, stories, result)
    compare_loopless(tx, result)
    for kept, _ in TABLES:
        result.stored += tx.execute(select(func.count()).select_from(kept)).scalar_one()
    if result.stored != result.made:
        result.differ(f"the tables hold {result.stored} rows, the events make {result.made}")
    return result


def story_pages(tx: Connection, result: Replay) -> Iterator[dict[str, Story]]:
    stories: dict[str, Story] = {}
    query = (
        read_events()
        .where(EVENTS.c.loop_id.is_not(None))
        .order_by(EVENTS.c.loop_id, EVENTS.c.loop_seq)
        .execution_options(yield_per=PAGE)
    )
    for loop, events in groupby(tx.execute(query), key=lambda row: row.loop_id):
        stories[loop] = rebuild(loop, events, result)
        if len(stories) == PAGE:
            yield stories
            stories = {}
    yield stories


def read_events() -> Select[Any]:
    return select(
        EVENTS.c.loop_id,
        EVENTS.c.kind,
        EVENTS.c.at,
        EVENTS.c.data,
        EVENTS.c.policy_version,
        EVENTS.c.rule_version,
        EVENTS.c.seq,
    )


def rebuild(loop: str, events: Iterator[Any], result: Replay) -> Story:
    story = Story()
    for row in events:
        result.events += 1
        try:
            apply(story, happening(loop, row))
        except Refused as refusal:
            result.differ(f"seq {row.seq}: {refusal}")
    return story


def happening(loop: str, row: Any) -> Happening:
    return Happening(
        loop,
        EventKind(row.kind),
        json.loads(row.data),
        row.at,
        row.policy_version,
        row.rule_version,
    )


def compare_loopless(tx: Connection, result: Replay) -> None:
    """Approvals of documents and templates: their events change no loop."""
    query = read_events().where(EVENTS.c.loop_id.is_(None), EVENTS.c.kind.in_(EFFECTS_OF_APPROVALS))
    story = Story()
    for row in tx.execute(query.order_by(EVENTS.c.seq)):
        result.events += 1
        try:
            EFFECTS_OF_APPROVALS[EventKind(row.kind)](story, happening("", row))
        except Refused as refusal:
            result.differ(f"seq {row.seq}: {refusal}")
    stored = select(APPROVALS).where(APPROVALS.c.loop_id.is_(None))
    found = {(row["id"],): dict(row) for row in tx.execute(stored).mappings()}
    compare_rows("approval", found, {(a["id"],): a for a in story.approvals.values()}, result)


def compare(tx: Connection, stories: dict[str, Story], result: Replay) -> None:
    result.loops += len(stories)
    for kept, column in TABLES:
        made = rows_of(stories, kept.name)
        keys = [c.name for c in kept.primary_key]
        query = select(kept).where(kept.c[column].in_(list(stories)))
        found = {tuple(row[k] for k in keys): dict(row) for row in tx.execute(query).mappings()}
        expected = {tuple(row[k] for k in keys): row for row in made}
        compare_rows(kept.name, found, expected, result)


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
