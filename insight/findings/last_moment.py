"""Who stops, stretches or hands on a clock again and again just before it runs out?

The due time that held at that moment is found by folding the loop's own events, since rows only
know the present one.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, select

from insight.findings.evidence import (
    ALPHA,
    EVENTS,
    LEAST,
    Finding,
    Since,
    by_person,
    happened,
    pages,
    tail,
)
from models.kinds import ApprovalKind, EventKind
from policy.organisation import Text
from policy.story import Happening, Row, Story
from policy.transitions import apply

LAST = 0.1
"""The last part of a clock's run that counts as shortly before due."""
COLUMNS = (
    *("loop_id", "kind", "at", "data", "actor_id", "actor_type"),
    *("policy_version", "rule_version"),
)
MORE = frozenset({ApprovalKind.EXTENSION, ApprovalKind.MORE_TIME})


@dataclass(frozen=True)
class Act:
    """A kind of act: what finding it makes, and how many of them may well come so late: whoever
    needs more time often learns so late, whoever pauses or hands on does not."""

    name: str
    chance: float
    words: Text


ACTS: Mapping[EventKind, Act] = {
    EventKind.CLOCK_PAUSED: Act(
        "pause_before_due",
        0.2,
        {
            "zh": "{who} 暂停时钟 {n} 次，其中 {late} 次在期限的最后十分之一",
            "en": "{who} paused clocks {n} times, {late} of them in the last tenth of their time",
        },
    ),
    EventKind.APPROVAL_REQUESTED: Act(
        "extension_at_the_last_moment",
        0.4,
        {
            "zh": "{who} 申请延长 {n} 次，其中 {late} 次在期限的最后十分之一",
            "en": "{who} asked for more time {n} times, {late} of them in the last tenth",
        },
    ),
    EventKind.TICKET_TRANSFERRED: Act(
        "transfer_before_due",
        0.2,
        {
            "zh": "{who} 转办工单 {n} 次，其中 {late} 次在期限的最后十分之一",
            "en": "{who} transferred tickets {n} times, {late} of them in the last tenth",
        },
    ),
}


@dataclass(frozen=True)
class Timed:
    """An act of a person and whether it came shortly before due."""

    loop: str
    kind: EventKind
    person: str
    late: bool


def last_moment(tx: Connection, since: Since) -> Iterator[Finding]:
    """People whose pauses, requests for time or transfers come late too often for chance."""
    events = by_person(happened(tx, since, ACTS))
    loops = {event.loop_id for of in events.values() for event in of if event.loop_id}
    timed = [act for page in pages(loops) for act in timed_acts(tx, page, since)]
    for kind, act in ACTS.items():
        people: dict[str, list[Timed]] = {}
        for one in timed:
            if one.kind is kind:
                people.setdefault(one.person, []).append(one)
        yield from too_late(act, people)


def too_late(act: Act, people: Mapping[str, list[Timed]]) -> Iterator[Finding]:
    for person, acts in sorted(people.items()):
        late = [one for one in acts if one.late]
        if len(late) < LEAST or tail(len(late), len(acts), act.chance) > ALPHA / len(people):
            continue
        values = {"who": person, "n": len(acts), "late": len(late)}
        yield Finding(
            act.name,
            person,
            {"acts": len(acts), "late": len(late)},
            tuple(sorted({one.loop for one in late})),
            (person,),
            {lang: text.format(**values) for lang, text in act.words.items()},
        )


def timed_acts(tx: Connection, loops: list[str], since: Since) -> Iterator[Timed]:
    """The acts on a page of loops that had a clock to be timed by."""
    query = (
        select(*(EVENTS.c[name] for name in COLUMNS))
        .where(EVENTS.c.loop_id.in_(loops))
        .order_by(EVENTS.c.loop_id, EVENTS.c.loop_seq)
    )
    for loop, events in groupby(tx.execute(query), key=lambda row: row.loop_id):
        story = Story()
        for row in events:
            happening = happening_of(row)
            kind = happening.kind
            if kind in ACTS and row.at >= since.at and row.actor_type == "person":
                clock = clock_of(story, happening)
                if clock is not None:
                    yield Timed(loop, kind, row.actor_id, is_late(clock, row))
            apply(story, happening)


def happening_of(row: Any) -> Happening:
    return Happening(
        row.loop_id,
        EventKind(row.kind),
        json.loads(row.data),
        row.at,
        row.policy_version,
        row.rule_version,
    )


def clock_of(story: Story, event: Happening) -> Row | None:
    """The clock that the act is about, as it ran just before: the one it names, or the ticket's
    that is due first."""
    if event.kind is EventKind.APPROVAL_REQUESTED and event.data["kind"] not in MORE:
        return None
    if named := event.data.get("clock"):
        return story.clocks.get(named)
    running = [
        c
        for c in story.clocks.values()
        if c["stopped_at"] is None and c["ticket_id"] and c["ticket_id"] == event.data.get("ticket")
    ]
    return min(running, key=lambda c: c["due_at"], default=None)


def is_late(clock: Row, row: Any) -> bool:
    whole, left = clock["due_at"] - clock["started_at"], clock["due_at"] - row.at
    return bool(0 <= left.total_seconds() <= LAST * whole.total_seconds())
