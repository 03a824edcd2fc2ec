"""What waits for a person to decide: issues in doubt, disputed loops, candidates, merges."""

import json
from typing import Any

from sqlalchemy import Connection, select

from models.base import table
from models.feedback import Feedback
from models.history import EventBody, HistoryEvent
from models.issue import Issue, Proposal
from models.kinds import EventKind, IssueState, LoopKind, LoopState
from models.loop import Loop
from tasks.look import excerpt, opening_words
from tasks.messages.facts import linked_customers
from tasks.workspace import Workspace

LOOPS = table(Loop)
ISSUES = table(Issue)
FEEDBACK = table(Feedback)
EVENTS = table(HistoryEvent)
BODIES = table(EventBody)
PROPOSALS = table(Proposal)


def list_triage(ws: Workspace, limit: int = 50) -> list[dict[str, Any]]:
    """All that waits for a person, most urgent first: issues in doubt, unrouted and disputed
    loops, candidates of big loops, proposed merges."""
    with ws.db.read() as tx:
        return [
            *waiting_issues(tx, limit),
            *waiting_loops(tx, limit),
            *waiting_candidates(tx, limit),
            *proposals(tx, limit),
        ]


def waiting_issues(tx: Connection, limit: int) -> list[dict[str, Any]]:
    query = (
        select(
            ISSUES.c.id,
            ISSUES.c.kind,
            ISSUES.c.reason,
            ISSUES.c.due_at,
            FEEDBACK.c.source,
            FEEDBACK.c.text,
        )
        .join(FEEDBACK, FEEDBACK.c.id == ISSUES.c.feedback_id)
        .where(ISSUES.c.state == IssueState.TRIAGE)
        .order_by(ISSUES.c.due_at, ISSUES.c.id)
        .limit(limit)
    )
    return [
        {
            "what": "issue",
            "id": r.id,
            "kind": r.kind,
            "why": r.reason,
            "source": r.source,
            "due_at": r.due_at.isoformat(),
            "words": excerpt(r.text),
        }
        for r in tx.execute(query)
    ]


def waiting_loops(tx: Connection, limit: int) -> list[dict[str, Any]]:
    query = (
        select(LOOPS)
        .where((LOOPS.c.state == LoopState.TRIAGE) | LOOPS.c.arbitration.is_(True))
        .where(LOOPS.c.state != LoopState.CLOSED)
        .order_by(LOOPS.c.opened_at, LOOPS.c.id)
        .limit(limit)
    )
    rows = tx.execute(query).all()
    words = opening_words(tx, [row.id for row in rows])
    return [
        {
            "what": "loop",
            "id": r.id,
            "kind": r.kind,
            "why": "arbitration" if r.arbitration else "no rule decided",
            "source": None,
            "due_at": None,
            "words": excerpt(words.get(r.id, "")),
        }
        for r in rows
    ]


def waiting_candidates(tx: Connection, limit: int) -> list[dict[str, Any]]:
    """With the customers linked, and the numbers where recurrence and not a rule found it."""
    query = (
        select(LOOPS, BODIES.c.body)
        .join(EVENTS, (EVENTS.c.loop_id == LOOPS.c.id) & (EVENTS.c.kind == EventKind.LOOP_OPENED))
        .outerjoin(BODIES, BODIES.c.event_id == EVENTS.c.event_id)
        .where(LOOPS.c.kind == LoopKind.BIG, LOOPS.c.state == LoopState.CANDIDATE)
        .order_by(LOOPS.c.opened_at, LOOPS.c.id)
        .limit(limit)
    )
    rows = tx.execute(query).all()
    customers = linked_customers(tx, [row.id for row in rows])
    return [candidate_line(row, customers.get(row.id, 0)) for row in rows]


def candidate_line(row: Any, customers: int) -> dict[str, Any]:
    body = json.loads(row.body or "{}")
    return {
        "what": "candidate",
        "id": row.id,
        "kind": row.kind,
        "why": body.get("reason") or row.rule,
        "source": None,
        "due_at": None,
        "words": f"{row.topic} › {row.touchpoint} · {row.lead or '-'} · {customers} 客户/customers",
        "customers": customers,
        "evidence": body.get("recurrence") or {"rule": row.rule},
    }


def proposals(tx: Connection, limit: int) -> list[dict[str, Any]]:
    query = select(PROPOSALS).where(PROPOSALS.c.decided_at.is_(None)).order_by(PROPOSALS.c.at)
    return [
        {
            "what": "proposal",
            "id": r.id,
            "kind": r.relation,
            "why": r.reason,
            "source": None,
            "due_at": None,
            "words": f"{r.loop_id} → {r.into_id}",
        }
        for r in tx.execute(query.limit(limit))
    ]
