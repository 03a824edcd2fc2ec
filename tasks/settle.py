"""Changes as a step makes them: stamped with what they were judged by, settled all or none."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from loopwright.db import retry_conflicts
from tasks.change import Change, change
from tasks.workspace import Workspace


def stamped(ws: Workspace, changes: Iterable[Change]) -> list[Change]:
    """The changes with the policy and the run that they come from."""
    return [replace(one, policy=ws.policy_version, run=ws.run) for one in changes]


def settle(ws: Workspace, changes: Iterable[Change], now: datetime) -> None:
    """Make a set of changes in a transaction of its own; again when another worker came first.

    Raises ConflictError and TransitionRefused as the door does.
    """
    made = stamped(ws, changes)

    def attempt() -> None:
        with ws.db.begin() as tx:
            change(tx, made, now)

    retry_conflicts(attempt)
