"""One word for one thing in both languages: the titles of the domain's closed lists.

Screens, messages and exports take their words from here; nobody translates them on the spot.
"""

from collections.abc import Mapping

ZH, EN = 0, 1

GLOSSARY: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "loop": {
        "small": ("小循环", "small loop"),
        "big": ("大循环", "big loop"),
        "none": ("不开循环", "no loop"),
        "triage": ("待判定", "to triage"),
    },
    "state": {
        "triage": ("待判定", "to triage"),
        "open": ("处理中", "open"),
        "resolved": ("已处理", "resolved"),
        "verifying": ("回访中", "verifying"),
        "candidate": ("候选", "candidate"),
        "triaged": ("已判定", "triaged"),
        "planned": ("已立项", "planned"),
        "acting": ("整改中", "acting"),
        "watching": ("观察中", "watching"),
        "closed": ("已关闭", "closed"),
    },
    "ticket": {
        "assigned": ("待接单", "assigned"),
        "accepted": ("已接单", "accepted"),
        "resolved": ("已处理", "resolved"),
        "done": ("已完结", "done"),
        "rejected": ("已退回", "rejected"),
    },
    "outcome": {
        "verified": ("客户确认", "verified"),
        "unverified": ("未获确认", "unverified"),
        "withdrawn": ("客户撤回", "withdrawn"),
        "merged": ("已合并", "merged"),
        "unfounded": ("不成立", "unfounded"),
        "proven": ("成效证实", "proven"),
        "not proven": ("成效未证实", "not proven"),
        "abandoned": ("已放弃", "abandoned"),
    },
    "kind": {
        "complaint": ("投诉", "complaint"),
        "suggestion": ("建议", "suggestion"),
        "praise": ("表扬", "praise"),
        "enquiry": ("咨询", "enquiry"),
        "leave": ("流失意向", "wish to leave"),
        "noise": ("无内容", "no content"),
    },
    "level": {
        "outlet": ("网点", "outlet"),
        "sub_branch": ("支行", "sub-branch"),
        "branch": ("分行", "branch"),
        "department": ("总行部门", "head-office department"),
        "several": ("多部门", "several departments"),
        "executive": ("行领导", "executive"),
    },
    "emotion": {
        "0": ("平静", "calm"),
        "1": ("不满", "displeased"),
        "2": ("愤怒或焦急", "angry or distressed"),
        "3": ("激烈", "furious or desperate"),
    },
    "severity": {
        "0": ("无损失", "no harm"),
        "1": ("不便", "inconvenience"),
        "2": ("损失资金、时间或权限", "money, access or time lost"),
        "3": ("严重损害", "serious harm"),
    },
    "channel": {
        "app": ("手机银行", "mobile app"),
        "hotline": ("客服热线", "hotline"),
        "branch": ("网点", "branch"),
        "survey": ("问卷", "survey"),
        "chat": ("在线客服", "chat"),
        "complaint": ("投诉渠道", "complaint channel"),
        "social": ("社交媒体", "social media"),
        "review": ("点评", "review"),
        "mail": ("邮件", "mail"),
        "other": ("其他", "other"),
    },
    "relation": {
        "origin": ("起因", "origin"),
        "same_complaint": ("同一投诉", "same complaint"),
        "same_cause": ("同一原因", "same cause"),
    },
    "fate": {
        "triage": ("待判定", "waiting in triage"),
        "looped": ("进入循环", "in a loop"),
        "noted": ("已记录", "noted"),
    },
    "message": {
        "queued": ("待发送", "queued"),
        "sent": ("已发送", "sent"),
        "quarantined": ("发送失败", "quarantined"),
    },
    "event": {
        "loop.opened": ("循环开启", "loop opened"),
        "loop.joined": ("并入同一投诉", "same complaint joined"),
        "loop.detached": ("移出问题", "issue taken out"),
        "loop.unlinked": ("解除同因关联", "link of the same cause undone"),
        "loop.linked": ("关联同因小循环", "loop of the same cause linked"),
        "loop.routed": ("人工分派", "routed by a person"),
        "loop.resolved": ("全部工单已处理", "all tickets resolved"),
        "loop.reopened": ("循环重开", "loop reopened"),
        "loop.disputed": ("部门争议，待裁定", "disputed, needs arbitration"),
        "loop.arbitrated": ("争议已裁定", "arbitrated"),
        "loop.merged": ("并入另一循环", "merged into another loop"),
        "loop.withdrawn": ("客户撤回", "withdrawn"),
        "loop.customer_identified": ("客户身份确认", "customer identified"),
        "ticket.assigned": ("工单派发", "ticket assigned"),
        "ticket.accepted": ("部门接单", "ticket accepted"),
        "ticket.rejected": ("部门退回", "ticket rejected"),
        "ticket.transferred": ("部门转办", "ticket transferred"),
        "ticket.resolved": ("部门处理完毕", "ticket resolved"),
    },
}


def title(group: str, value: object, language: str) -> str:
    """The word for `value` in `zh` or `en`; an unknown value is shown as it is."""
    words = GLOSSARY.get(group, {}).get(str(value))
    return words[EN if language == "en" else ZH] if words else str(value)
