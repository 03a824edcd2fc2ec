"""How to answer a message from a terminal; the department's page comes with the console."""

from collections.abc import Iterable, Mapping
from typing import Any

from models.kinds import LoopKind, LoopState, Stops, TicketState

ANSWERS: Mapping[str, tuple[str, str, str]] = {
    "accept": ("接单", "Accept", "ticket accept {ticket} --as …"),
    "reject": (
        "不是我们的",
        "Not ours",
        "ticket reject {ticket} --reason … --suggest … --as …",
    ),
    "transfer": (
        "转给别的部门",
        "Pass it on",
        "ticket transfer {ticket} --to … --reason … --as …",
    ),
    "resolve": ("处理完毕", "Resolve", "ticket resolve {ticket} --cause … --done … --as …"),
    "plan": (
        "提交计划",
        "Hand in the plan",
        "loop plan {loop} --cause … --why … --actions … --target … --by … --as …",
    ),
    "first_answer": (
        "已联系客户",
        "Customer contacted",
        "loop told {loop} --what first-answer --how call --as …",
    ),
    "told": (
        "已告知决定",
        "Customer told the decision",
        "loop told {loop} --what decision --how call --as …",
    ),
    "yes": ("已解决", "Solved", "loop answer {loop} yes --words … --as …"),
    "partly": ("部分解决", "Partly solved", "loop answer {loop} partly --words … --as …"),
    "no": ("没有解决", "Not solved", "loop answer {loop} no --words … --as …"),
    "show": ("查看始末", "The whole story", "loop show {loop}"),
    "arbitrate": ("裁定归属", "Decide whose it is", "triage decide {loop} --unit … --as …"),
    "take_up": (
        "立项",
        "Take it up",
        "triage decide {loop} --unit … --participants … --as …",
    ),
    "turn_down": (
        "不立项",
        "Turn it down",
        "loop close {loop} --outcome abandoned --reason … --as …",
    ),
    "triage": ("逐条判定", "Decide them", "triage list"),
}
"""Name -> its title in Chinese and English, and the command."""


def answers(names: Iterable[str], language: str, **ids: str) -> list[dict[str, str]]:
    """Titles and commands as messages show them; `ids`: the loop's and the ticket's."""
    return [
        {
            "title": ANSWERS[name][0 if language == "zh" else 1],
            "command": f"loopwright {ANSWERS[name][2].format(**ids)}",
        }
        for name in names
    ]


def of_ticket(ticket: Any, loop: Any) -> list[str]:
    """What the unit that holds the ticket can do with it now."""
    if ticket.state not in (TicketState.ASSIGNED, TicketState.ACCEPTED):
        return ["show"]
    waits_for_plan = loop.kind == LoopKind.BIG and loop.state == LoopState.TRIAGED
    fresh = ticket.state == TicketState.ASSIGNED
    return [
        *(["accept", "reject"] if fresh else ["transfer"]),
        *(["plan"] if waits_for_plan and ticket.role == "lead" else []),
        *([] if waits_for_plan else ["resolve"]),
    ]


def of_clock(clock: Any, ticket: Any | None, loop: Any) -> list[str]:
    """What stops the clock."""
    if clock.stops in (Stops.FIRST_ANSWER, Stops.TOLD):
        return [clock.stops]
    return of_ticket(ticket, loop) if ticket is not None else ["show"]


def of_superior(ticket: Any | None) -> list[str]:
    """What somebody can do who is told of another's overdue clock."""
    running = ticket is not None and ticket.state in (TicketState.ASSIGNED, TicketState.ACCEPTED)
    return ["show", "transfer"] if running else ["show"]


def of_operations(loop: Any) -> list[str]:
    """What customer experience operations can do with a loop."""
    return [
        "show",
        *(["arbitrate"] if loop.arbitration else []),
        *(["take_up", "turn_down"] if loop.state == LoopState.CANDIDATE else []),
    ]
