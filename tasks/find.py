"""What does a person mean? A row by the end of its id, a unit, a cause: or a clear error."""

from sqlalchemy import Connection, Table, func, select

from loopwright.errors import InputError
from tasks.workspace import Workspace

SHORTEST_TAIL = 4
LISTED = {"issue": "triage", "proposal": "triage"}
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
