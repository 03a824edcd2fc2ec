"""Which framing reads which kind of format; a new kind is one module and one line here."""

from collections.abc import Callable
from typing import BinaryIO

from policy.source_spec import SourceSpec
from sources import delimited, json_items, lines, xlsx
from sources.errors import SourceError
from sources.framing import Frames

Framing = Callable[[BinaryIO, SourceSpec], Frames]

FRAMINGS: dict[str, Framing] = {
    "delimited": delimited.frame,
    "jsonl": lines.frame,
    "json": json_items.frame,
    "lines": lines.frame,
    "xlsx": xlsx.frame,
}


def framing(kind: str) -> Framing:
    """Raises SourceError for a kind nobody registered."""
    try:
        return FRAMINGS[kind]
    except KeyError:
        raise SourceError(
            f"format.kind {kind!r} is unknown", f"use one of: {', '.join(FRAMINGS)}"
        ) from None
