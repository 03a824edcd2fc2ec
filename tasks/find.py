"""What does a person mean? A row by the end of its id, a unit, a cause: or a clear error."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table, func, select

from loopwright.errors import InputError
from models.base import table
from models.kinds import LoopKind
from models.loop import Loop
from tasks.workspace import Workspace

LOOPS = table(Loop)

SHORTEST_TAIL = 4
LISTED = {"issue": "triage", "proposal": "triage", "alert": "red"}
"""Nouns whose ids another noun's list shows."""


def match_id(tx: Connection, rows: Table, wanted: str, noun: str) -> str:
    """The one id of a table that is or ends in `wanted`, in upper or lower case.

    Raises InputError when none or several match, or fewer than four characters are given.
    """
    exact = select(rows.c.id).where(rows.c.id.in_([wanted, wanted.upper(), wanted.lower()]))
    found = list(tx.execute(exact).scalars())
    if not found and len(wanted) >= SHORTEST_TAIL:
        ends = func.lower(rows.c.id).endswith(wanted.lower(), autoescape=True)
        found = list(tx.execute(select(rows.c.id).where(ends).limit(2)).scalars())
    if len(found) != 1:
        raise InputError(
            f"several {noun}s end in {wanted}" if found else f"no {noun} {wanted}",
            f"`loopwright {LISTED.get(noun, noun)} list` shows the ids;"
            f" the last {SHORTEST_TAIL} characters are enough",
        )
    return str(found[0])


def require_unit(ws: Workspace, code: str) -> None:
    """Raises InputError for a unit the organisation does not have."""
    units = ws.published.documents.organisation.unit_by_code
    if code not in units:
        raise InputError(f"no unit {code!r}", f"use one of: {', '.join(sorted(units))}")


def require_cause(ws: Workspace, code: str) -> None:
    """Raises InputError for a cause the taxonomy does not have; any will do where it has none."""
    causes = [entry.code for entry in ws.published.documents.taxonomy.codes.causes]
    if causes and code not in causes:
        raise InputError(f"no cause code {code!r}", f"use one of: {', '.join(causes)}")


def require_words(words: str, what: str, way_out: str) -> None:
    """Raises InputError for words that say nothing."""
    if not words.strip():
        raise InputError(what, way_out)


def customers_loops(tx: Connection, loops: Sequence[str]) -> dict[str, Any]:
    """Customers' own loops by id. Raises InputError for any other."""
    query = select(LOOPS).where(LOOPS.c.id.in_(loops), LOOPS.c.kind == LoopKind.SMALL)
    found = {row.id: row for row in tx.execute(query)}
    for loop in loops:
        if loop not in found:
            raise InputError(
                f"{loop} is no customer's own loop",
                "name a small one: `loopwright loop list --kind small` shows them",
            )
    return found
