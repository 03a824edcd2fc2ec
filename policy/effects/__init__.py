"""What each event changes: the fold of a loop's history into its rows, an aggregate a module.

A change that is not allowed never comes here: `policy/transitions.py` refuses it first, but for
the few that only an effect can see.
"""

from collections.abc import Callable, Mapping

from models.kinds import EventKind
from policy.effects import approvals, clocks, loops, tickets, verifications
from policy.effects.clocks import start_clocks
from policy.story import Happening, Story

__all__ = ["EFFECTS", "start_clocks"]

EFFECTS: Mapping[EventKind, Callable[[Story, Happening], None]] = {
    **loops.EFFECTS,
    **tickets.EFFECTS,
    **verifications.EFFECTS,
    **clocks.EFFECTS,
    **approvals.EFFECTS,
}
