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
        "triaged": ("已立项", "triaged"),
        "planned": ("已定计划", "planned"),
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
    "why": {
        "silent": ("客户未答复", "the customer did not answer"),
        "unreachable": ("联系不上客户", "the customer cannot be reached"),
        "opted out": ("客户不愿被联系", "the customer wants no contact"),
        "checked": ("经核实不成立", "checked: nothing to it"),
        "answer yes": ("客户答复：已解决", "the customer says it is solved"),
        "answer partly": ("客户答复：部分解决", "the customer says it is partly solved"),
        "answer no": ("客户答复：没有解决", "the customer says it is not solved"),
        "merged by a person": ("人工合并", "merged by a person"),
        "merge undone": ("合并已撤销", "a merge was undone"),
        "version": ("同一记录的新版本", "a new version of the same record"),
        "complaint number": ("投诉编号相同", "the same complaint number"),
        "customer and topic": ("客户与主题相同", "the same customer and topic"),
    },
    "rule": {
        "recurrence": ("同一原因反复出现", "the same cause keeps coming back"),
        "person": ("人工判定", "decided by a person"),
    },
    "role": {
        "lead": ("牵头部门", "lead"),
        "participant": ("配合部门", "participant"),
    },
    "clock": {
        "legal": ("法定时钟", "legal clock"),
        "customer": ("客户时钟", "customer's clock"),
        "owner": ("承办时钟", "owner's clock"),
    },
    "stops": {
        "told": ("告知客户决定为止", "until the customer is told the decision"),
        "first_answer": ("首次联系客户为止", "until the customer is first answered"),
        "closed": ("循环关闭为止", "until the loop closes"),
        "resolved": ("工单处理完毕为止", "until the ticket is resolved"),
    },
    "tell": {
        "owner": ("承办部门", "the owner"),
        "manager": ("部门负责人", "the unit's head"),
        "manager2": ("上级负责人", "the head's manager"),
        "senior": ("高级管理层", "senior management"),
        "ops": ("客户体验运营", "customer experience operations"),
    },
    "told": {
        "first_answer": ("首次联系", "first answer"),
        "decision": ("处理决定", "decision"),
    },
    "how": {
        "call": ("电话", "call"),
        "message": ("消息", "message"),
        "letter": ("书面", "letter"),
    },
    "via": {
        "mail": ("邮件", "mail"),
        "call": ("电话", "call"),
    },
    "answer": {
        "yes": ("已解决", "solved"),
        "partly": ("部分解决", "partly solved"),
        "no": ("没有解决", "not solved"),
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
        "loop.customer_told": ("已告知客户", "customer told"),
        "loop.triaged": ("大循环立项", "big loop triaged"),
        "loop.planned": ("整改计划提交", "plan handed in"),
        "loop.started": ("整改开始", "work on the plan started"),
        "loop.closed": ("循环关闭", "loop closed"),
        "verification.asked": ("询问客户", "customer asked"),
        "verification.answered": ("客户答复", "customer answered"),
        "clock.reminded": ("到期前提醒", "reminded before due"),
        "clock.breached": ("时限已过", "deadline passed"),
        "clock.climbed": ("逐级上报", "taken up the line"),
        "clock.moved": ("时钟改期查看", "clock to be looked at later"),
        "ticket.assigned": ("工单派发", "ticket assigned"),
        "ticket.accepted": ("部门接单", "ticket accepted"),
        "ticket.rejected": ("部门退回", "ticket rejected"),
        "ticket.transferred": ("部门转办", "ticket transferred"),
        "ticket.resolved": ("部门处理完毕", "ticket resolved"),
        "source.switched": ("来源启停", "source switched"),
        "program.started": ("程序启动", "program started"),
        "database.migrated": ("数据库迁移", "database migrated"),
        "history.restored": ("历史恢复", "history restored"),
        "history.seal_refused": ("拒绝签署检查点", "checkpoint refused"),
        "history.exported": ("历史导出", "history exported"),
    },
}


def title(group: str, value: object, language: str) -> str:
    """The word for `value` in `zh` or `en`; an unknown value is shown as it is."""
    words = GLOSSARY.get(group, {}).get(str(value))
    return words[EN if language == "en" else ZH] if words else str(value)
