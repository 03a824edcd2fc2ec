"""What a message may say: loops, tickets and words gathered in bulk, in one language.

Rendering belongs to delivery, so the outbox holds ids only and a message shows the present state.
Masking happens at the notification boundary; nothing here decides what may be shown.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, func, select

from loopwright.glossary import title
from models.base import table
from models.feedback import Feedback
from models.history import EventBody, HistoryEvent
from models.issue import Issue
from models.kinds import EventKind, IssueState, Relation, TicketState
from models.loop import Loop, LoopIssue, LoopLink
from models.ticket import Ticket
from policy.documents import DocumentSet
from tasks.workspace import Workspace

LOOPS = table(Loop)
TICKETS = table(Ticket)
ISSUES = table(Issue)
FEEDBACK = table(Feedback)
EVENTS = table(HistoryEvent)
BODIES = table(EventBody)
LOOP_ISSUES = table(LoopIssue)
LOOP_LINKS = table(LoopLink)


@dataclass
class Facts:
    """Rows that a set of messages is about, by id."""

    loops: dict[str, Any] = field(default_factory=dict)
    tickets: dict[str, list[Any]] = field(default_factory=dict)
    issues: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    customers: dict[str, int] = field(default_factory=dict)
    waiting: Any = None


def contexts(
    tx: Connection, ws: Workspace, messages: Sequence[Any], language: str
) -> list[dict[str, Any]]:
    """One context per message row, in order."""
    facts = gather(tx, messages)
    writer = Writer(ws, facts, language)
    return [writer.context(message) for message in messages]


def gather(tx: Connection, messages: Sequence[Any]) -> Facts:
    loops = sorted({m.loop_id for m in messages if m.loop_id})
    facts = Facts()
    for row in tx.execute(select(LOOPS).where(LOOPS.c.id.in_(loops))):
        facts.loops[row.id] = row
    for row in tx.execute(
        select(TICKETS).where(TICKETS.c.loop_id.in_(loops)).order_by(TICKETS.c.assigned_at)
    ):
        facts.tickets.setdefault(row.loop_id, []).append(row)
    for row in tx.execute(origins(loops)):
        facts.issues[row.loop_id] = row
    facts.reasons = rejection_reasons(tx, loops)
    facts.customers = linked_customers(tx, loops)
    if any(m.template == "triage_waiting" for m in messages):
        facts.waiting = waiting(tx)
    return facts


def origins(loops: Sequence[str]) -> Any:
    """The issue that opened each loop, with its words and channel."""
    return (
        select(
            LOOP_ISSUES.c.loop_id,
            ISSUES.c.kind,
            ISSUES.c.emotion,
            ISSUES.c.severity,
            FEEDBACK.c.text,
            FEEDBACK.c.channel,
        )
        .join(ISSUES, ISSUES.c.id == LOOP_ISSUES.c.issue_id)
        .join(FEEDBACK, FEEDBACK.c.id == ISSUES.c.feedback_id)
        .where(LOOP_ISSUES.c.loop_id.in_(loops), LOOP_ISSUES.c.relation == Relation.ORIGIN)
    )


HANDED_ON = (EventKind.TICKET_REJECTED, EventKind.TICKET_TRANSFERRED)


def rejection_reasons(tx: Connection, loops: Sequence[str]) -> dict[str, str]:
    """Ticket id -> the latest reason a unit gave for handing it on."""
    query = (
        select(EVENTS.c.data, BODIES.c.body)
        .join(BODIES, BODIES.c.event_id == EVENTS.c.event_id)
        .where(EVENTS.c.loop_id.in_(loops), EVENTS.c.kind.in_(HANDED_ON))
        .order_by(EVENTS.c.seq)
    )
    return {
        json.loads(data)["ticket"]: json.loads(body)["reason"] for data, body in tx.execute(query)
    }


def linked_customers(tx: Connection, loops: Sequence[str]) -> dict[str, int]:
    small = LOOP_LINKS.join(LOOPS, LOOPS.c.id == LOOP_LINKS.c.small_id)
    who = func.coalesce(LOOPS.c.customer_id, LOOPS.c.id)
    query = (
        select(LOOP_LINKS.c.big_id, func.count(who.distinct()))
        .select_from(small)
        .where(LOOP_LINKS.c.big_id.in_(loops))
        .group_by(LOOP_LINKS.c.big_id)
    )
    return {row.big_id: row[1] for row in tx.execute(query)}


def waiting(tx: Connection) -> Any:
    query = select(
        func.count().label("count"),
        func.min(ISSUES.c.due_at).label("due_at"),
    ).where(ISSUES.c.state == IssueState.TRIAGE)
    return tx.execute(query).one()


class Writer:
    """Turns facts into the words of one language."""

    def __init__(self, ws: Workspace, facts: Facts, language: str) -> None:
        self.documents: DocumentSet = ws.published.documents
        self.places, self.facts, self.language = ws.places, facts, language
        self.zone = ZoneInfo(self.documents.organisation.zone)
        self.rules = {rule.id: rule for rule in self.documents.rulebook.rules}
        self.touchpoints = {
            touchpoint.id: (touchpoint, stage)
            for journey in self.documents.taxonomy.journeys
            for stage in journey.stages
            for touchpoint in stage.touchpoints
        }

    def context(self, message: Any) -> dict[str, Any]:
        context: dict[str, Any] = {
            "organisation": {"title": self.say(self.documents.organisation.title)},
            "unit": {"code": message.unit, "title": self.unit(message.unit)},
        }
        if message.template == "triage_waiting":
            return context | self.triage()
        loop = self.facts.loops[message.loop_id]
        values = message.values or {}
        ticket = self.ticket(message, loop)
        context |= {
            "loop": self.loop(loop),
            "issue": self.issue(loop),
            "why": self.why(loop),
            "reason": self.facts.reasons.get(values.get("rejected", "")) or self.latest(loop),
            "rejections": self.rejections(loop),
            "customers": {"count": str(self.facts.customers.get(loop.id, 1))},
            "departments": self.departments(loop),
            "answer": self.operations_answers(loop),
        }
        if from_unit := values.get("from_unit"):
            context["from_unit"] = {"title": self.unit(from_unit)}
        if ticket is not None:
            context["ticket"] = {
                "id": ticket.id,
                "state": title("ticket", ticket.state, self.language),
            }
            context["answer"] = self.answers(ticket.id)
        return context

    def say(self, text: Mapping[str, str]) -> str:
        return text.get(self.language) or text["zh"]

    def unit(self, code: str) -> str:
        unit = self.documents.organisation.unit_by_code.get(code)
        return self.say(unit.title) if unit else code

    def when(self, at: datetime | None) -> str:
        return at.astimezone(self.zone).strftime("%Y-%m-%d %H:%M") if at else ""

    def ticket(self, message: Any, loop: Any) -> Any | None:
        mine = [
            t
            for t in self.facts.tickets.get(loop.id, [])
            if t.id == message.ticket_id or (message.ticket_id is None and t.unit == message.unit)
        ]
        return mine[-1] if mine else None

    def loop(self, loop: Any) -> dict[str, str]:
        place = self.places.get(loop.topic)
        touchpoint, stage = self.touchpoints.get(loop.touchpoint, (None, None))
        return {
            "id": loop.id,
            "kind": loop.kind,
            "kind_title": title("loop", loop.kind, self.language),
            "topic_title": self.say(place.topic.title) if place else loop.topic,
            "touchpoint_title": self.say(touchpoint.title) if touchpoint else loop.touchpoint,
            "stage_title": self.say(stage.title) if stage else "",
            "priority": loop.priority or "",
            "level_title": title("level", loop.level, self.language) if loop.level else "",
            "opened_at": self.when(loop.opened_at),
            "received_at": self.when(loop.received_at),
        }

    def issue(self, loop: Any) -> dict[str, str]:
        row = self.facts.issues[loop.id]
        return {
            "words": row.text,
            "emotion_title": title("emotion", row.emotion, self.language),
            "severity_title": title("severity", row.severity, self.language),
            "kind_title": title("kind", row.kind, self.language),
            "channel_title": title("channel", row.channel, self.language),
        }

    def why(self, loop: Any) -> dict[str, str]:
        rule = self.rules.get(loop.rule or "")
        return {
            "rule_id": loop.rule or "-",
            "rule_title": self.say(rule.title) if rule else "",
            "policy_version": str(loop.policy),
        }

    def latest(self, loop: Any) -> str:
        return {"zh": "客户再次反馈同一问题", "en": "the customer reports it again"}[self.language]

    def rejections(self, loop: Any) -> list[dict[str, str]]:
        return [
            {
                "unit_title": self.unit(t.unit),
                "reason": self.facts.reasons.get(t.id, ""),
                "suggested_title": self.unit(t.suggested) if t.suggested else "",
            }
            for t in self.facts.tickets.get(loop.id, [])
            if t.state == TicketState.REJECTED
        ]

    def departments(self, loop: Any) -> list[dict[str, str]]:
        place = self.places.get(loop.topic)
        return [{"title": self.unit(code)} for code in place.departments] if place else []

    def answers(self, ticket: str) -> list[dict[str, str]]:
        """How to answer from a terminal; the department's page comes with the console."""
        zh = self.language == "zh"
        return [
            {
                "title": "接单" if zh else "Accept",
                "command": f"loopwright ticket accept {ticket} --as …",
            },
            {
                "title": "不是我们的" if zh else "Not ours",
                "command": f"loopwright ticket reject {ticket} --reason … --suggest … --as …",
            },
            {
                "title": "处理完毕" if zh else "Resolve",
                "command": f"loopwright ticket resolve {ticket} --cause … --done … --as …",
            },
        ]

    def operations_answers(self, loop: Any) -> list[dict[str, str]]:
        zh = self.language == "zh"
        lines = [
            {
                "title": "查看始末" if zh else "The whole story",
                "command": f"loopwright loop show {loop.id}",
            }
        ]
        if loop.arbitration:
            lines.append(
                {
                    "title": "裁定归属" if zh else "Decide whose it is",
                    "command": f"loopwright triage decide {loop.id} --unit … --as …",
                }
            )
        return lines

    def triage(self) -> dict[str, Any]:
        row = self.facts.waiting
        hours = timedelta(hours=self.documents.rulebook.triage_hours)
        return {
            "triage": {
                "count": str(row.count),
                "oldest_at": self.when(row.due_at - hours) if row.due_at else "",
                "due_at": self.when(row.due_at),
            },
            "answer": [
                {
                    "title": "逐条判定" if self.language == "zh" else "Decide them",
                    "command": "loopwright triage list",
                }
            ],
        }
