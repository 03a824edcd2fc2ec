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
    "give": ("指定经办人", "Give it to somebody", "ticket give {ticket} --as …"),
    "progress": ("说明进展", "Say how it goes", "ticket progress {ticket} --note … --as …"),
    "more_time": (
        "申请延期",
        "Ask for more time",
        "ticket more-time {ticket} --days … --reason … --as …",
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
        "loop told {loop} --what decision --how call --reference … --as …",
    ),
    "told_change": (
        "已告知改变",
        "Customer told what changed",
        "loop told {loop} --what change --how call --reference … --as …",
    ),
    "yes": ("已解决", "Solved", "loop answer {loop} yes --words … --as …"),
    "partly": ("部分解决", "Partly solved", "loop answer {loop} partly --words … --as …"),
    "no": ("没有解决", "Not solved", "loop answer {loop} no --words … --as …"),
    "called": (
        "没有打通",
        "No answer",
        "loop called {loop} --outcome no-answer --recording … --as …",
    ),
    "settle_yes": ("客户的意思是已解决", "It is solved", "loop settle {loop} yes --as …"),
    "settle_partly": ("是部分解决", "It is partly solved", "loop settle {loop} partly --as …"),
    "settle_no": ("是没有解决", "It is not solved", "loop settle {loop} no --as …"),
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
    "approve": ("同意", "Grant it", "approval approve {approval} --as …"),
    "refuse": ("不同意", "Refuse it", "approval refuse {approval} --reason … --as …"),
    "look_up": ("查看申请", "Look it up", "approval show {approval}"),
    "effect": ("查看成效", "What was measured", "loop effect {loop}"),
    "changed": ("写明改变了什么", "Say what changed", "loop changed {loop} --text … --as …"),
    "end": (
        "关闭",
        "Close it",
        "loop close {loop} --outcome not-proven --reason … --changed … --as …",
    ),
    "red_real": ("确有其事", "It was real", "red judge {alert} --real --as …"),
    "red_false": ("误报", "A false alarm", "red judge {alert} --false-alarm --as …"),
    "check_calendars": ("检查日历", "Check the calendars", "calendar check"),
    "publish": ("补录后发布", "Publish what you added", "org publish … --as …"),
    "verify_history": ("核对历史", "Check the history", "audit verify --checkpoint FILE"),
    "restored": (
        "若恢复过备份，先登记",
        "If a backup was restored, say so first",
        "audit restored --reason … --as …",
    ),
    "doctor": ("查看系统状况", "See how the system is", "doctor"),
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
    """What stops the clock, and what holds back the ladder."""
    if clock.stops in (Stops.FIRST_ANSWER, Stops.TOLD):
        return [clock.stops]
    if ticket is None:
        return ["show"]
    held = of_ticket(ticket, loop)
    if ticket.state == TicketState.ACCEPTED:
        held = ["progress", *held]
    return held if held == ["show"] else [*held, "more_time"]


def of_superior(ticket: Any | None) -> list[str]:
    """What somebody can do who is told of another's overdue clock."""
    running = ticket is not None and ticket.state in (TicketState.ASSIGNED, TicketState.ACCEPTED)
    return ["show", "give", "transfer"] if running else ["show"]


def of_operations(loop: Any) -> list[str]:
    """What customer experience operations can do with a loop."""
    return [
        "show",
        *(["arbitrate"] if loop.arbitration else []),
        *(["take_up", "turn_down"] if loop.state == LoopState.CANDIDATE else []),
    ]


def of_effect(loop: Any) -> list[str]:
    """What is to be done with a big loop whose fix was looked at, or no longer holds."""
    if loop.state == LoopState.WATCHING:
        return ["effect", "end"]
    return ["effect", "changed"] if loop.state == LoopState.CLOSED else ["effect", "show"]
