"""A loop as its events have made it so far: the plain values that transitions work on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from models.kinds import EventKind

Row = dict[str, Any]
Data = Mapping[str, Any]


class Refused(ValueError):
    """The state does not allow this event; the text says why."""


@dataclass(slots=True)
class Story:
    """A loop as its events so far have made it; `loop` is empty before `loop.opened`."""

    loop: Row = field(default_factory=dict)
    tickets: dict[str, Row] = field(default_factory=dict)
    issues: dict[str, str] = field(default_factory=dict)
    """Issue id -> relation."""
    links: dict[str, str] = field(default_factory=dict)
    """Small loop id -> relation, on a big loop."""
    clocks: dict[str, Row] = field(default_factory=dict)
    verifications: dict[str, Row] = field(default_factory=dict)
    approvals: dict[str, Row] = field(default_factory=dict)
    effects: dict[str, Row] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Happening:
    """The part of an event that the state needs."""

    loop: str
    kind: EventKind
    data: Data
    at: datetime
    policy: str | None = None
    rule: str | None = None
