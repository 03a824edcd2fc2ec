"""Why was a loop decided so? The rule, each clause with its value, and the words that spoke."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, select

from loopwright.errors import InputError
from loopwright.glossary import GLOSSARY, title
from loopwright.mask import mask
from models.base import table
from models.history import EventBody, HistoryEvent
from models.kinds import EventKind
from models.loop import Loop
from policy.route import Features, Router
from policy.rulebook import Rulebook
from tasks.documents.publish import published
from tasks.find import match_id
from tasks.workspace import Workspace

LOOPS = table(Loop)
EVENTS = table(HistoryEvent)
BODIES = table(EventBody)


def explain_loop(ws: Workspace, wanted: str, language: str) -> dict[str, Any]:
    """Why a loop was decided so: by which rule of which policy, each clause with its value, the
    words that were evidence, and every earlier rule with what did not hold; of a cause that
    recurs, the numbers, since no rule of the policy looked at it."""
    with ws.db.read() as tx:
        loop = match_id(tx, LOOPS, wanted, "loop")
        row = tx.execute(select(LOOPS).where(LOOPS.c.id == loop)).one()
        body = opening_body(tx, loop)
    policy = published(ws.db, int(row.policy))
    rulebook = policy.documents.rulebook
    titles = {rule.id: rule.title for rule in rulebook.rules}
    return {
        "loop": loop,
        "kind": row.kind,
        "state": row.state,
        "rule": row.rule,
        "title": titles.get(row.rule or "", {}).get(language) or rule_title(row.rule, language),
        "policy": rulebook.policy,
        "version": rulebook.version,
        "publication": policy.number,
        "documents": policy.sha256,
        "reason": reason_of(body, language),
        "decision": {
            "level": row.level,
            "lead": row.lead,
            "priority": row.priority,
            "clocks": row.clocks,
            "ladder": row.ladder,
        },
        "clauses": [
            dict(zip(("text", "holds", "values"), c, strict=True)) for c in body["clauses"]
        ],
        "evidence": [
            {"about": about, "words": mask(words), "by": by}
            for about, words, by in body["evidence"]
        ],
        **reading_of(body, rulebook, language),
    }


def rule_title(rule: str | None, language: str) -> str | None:
    """What decided where no rule of the policy did: recurrence, a person."""
    return title("rule", rule, language) if rule in GLOSSARY["rule"] else None


def reason_of(body: Mapping[str, Any], language: str) -> str | None:
    spoken = body.get("recurrence", {}).get("reason", {}).get(language)
    return spoken or body.get("reason")


def reading_of(body: Mapping[str, Any], rulebook: Rulebook, language: str) -> dict[str, Any]:
    """What was read of the one issue that was decided, and the rules; or the count of many."""
    counted = body.get("recurrence")
    if counted:
        numbers = {name: n for name, n in counted.items() if name != "reason"}
        return {"recurrence": numbers, "confidence": None, "features": {}, "rules": []}
    features = frozen_features(body["features"])
    return {
        "recurrence": None,
        "confidence": features.confidence,
        "features": asdict(features),
        "rules": rules_of(Router(rulebook), features, language),
    }


def frozen_features(stored: Mapping[str, Any]) -> Features:
    """The features as they were when the loop was decided."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()
    }
    return Features(**values)


def opening_body(tx: Connection, loop: str) -> Mapping[str, Any]:
    query = (
        select(BODIES.c.body)
        .join(EVENTS, EVENTS.c.event_id == BODIES.c.event_id)
        .where(EVENTS.c.loop_id == loop, EVENTS.c.kind == EventKind.LOOP_OPENED)
    )
    body = tx.execute(query).scalar()
    if body is None:
        raise InputError(f"loop {loop} has no explanation left", "its words were erased")
    loaded: Mapping[str, Any] = json.loads(body)
    return loaded


def rules_of(router: Router, features: Features, language: str) -> list[dict[str, Any]]:
    """Every rule up to the one that matched, clause by clause."""
    lines: list[dict[str, Any]] = []
    for trace in router.explain(features):
        lines.append(
            {
                "rule": trace.rule,
                "title": trace.title.get(language),
                "matched": trace.matched,
                "clauses": [
                    {"text": c.text, "holds": c.holds, "values": dict(c.values)}
                    for c in trace.clauses
                ],
            }
        )
        if trace.matched:
            break
    return lines
