"""What is measured of the loops: each measure once, as a document, in a closed vocabulary.

A measure counts rows of one base (loops, clocks, tickets, questions, issues) that one of its
moments puts into the period. Conditions are facts of the base, all of which must hold; `not FACT`
is the fact's opposite. How facts are read from the database stands in `insight/base_rows.py`; what
they mean, in both languages, stands here, so that a formula is always worded from what is counted.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from policy.organisation import Text
from policy.timing import Ladder

NOT = "not "
RATIO, MEDIAN, P90 = "ratio", "median", "p90"


@dataclass(frozen=True)
class MeasureSpec:
    """One measure. `statistic`: ratio (then `numerator`), median or p90 (then `value`).

    `of` names the base, `when` the moment that puts a row into the period; `denominator` and
    `numerator` are facts that must all hold, the numerator's beside the denominator's. `unit`:
    percent or days. `direction`: whether higher or lower is better, or neither. Fewer than
    `minimum_n` rows give no value.
    """

    id: str
    title: Text
    about: Text
    of: str
    when: str
    denominator: tuple[str, ...]
    unit: str
    statistic: str
    direction: str
    minimum_n: int
    numerator: tuple[str, ...] = ()
    value: str | None = None

    def facts(self) -> frozenset[str]:
        """The facts it looks at, without their `not`."""
        return frozenset(f.removeprefix(NOT) for f in (*self.denominator, *self.numerator))


@dataclass(frozen=True)
class Base:
    """What is counted: its moments, facts and values (in days), each with its words."""

    title: Text
    moments: Mapping[str, Text]
    facts: Mapping[str, Text]
    values: Mapping[str, Text]


def words(zh: str, en: str) -> Text:
    return {"zh": zh, "en": en}


BASES: Mapping[str, Base] = {
    "loops": Base(
        words("循环", "loops"),
        {
            "received": words("收到", "received"),
            "opened": words("立项", "opened"),
            "closed": words("关闭", "closed"),
        },
        {
            "small": words("小循环", "small"),
            "big": words("大循环", "big"),
            "has_customer": words("有客户", "with a customer"),
            "closed": words("已关闭", "closed"),
            "verified": words("客户确认已解决", "closed as verified"),
            "unverified": words("未获客户确认而关闭", "closed as unverified"),
            "withdrawn": words("客户撤回", "withdrawn"),
            "merged": words("已合并", "merged"),
            "unfounded": words("不成立", "unfounded"),
            "proven": words("成效已证实", "closed as proven"),
            "not_proven": words("成效未证实", "closed as not proven"),
            "abandoned": words("已放弃", "abandoned"),
            "silent": words("客户未答复而关闭", "closed as the customer stayed silent"),
            "unreachable": words("无法联系客户而关闭", "closed as the customer cannot be reached"),
            "opted_out": words("客户不愿被询问而关闭", "closed as the customer opted out"),
            "refused": words("客户拒绝答复而关闭", "closed as the customer refused to answer"),
            "resolved": words("曾被认为已解决", "called solved at least once"),
            "reopened": words("曾重开", "opened again"),
            "review_requested": words("客户申请核查", "with a review requested"),
            "disputed": words("曾被退单", "rejected at least once"),
            "asked": words("已回访询问", "whose customer was asked"),
            "escalated": words("已升级至承办人之上", "that climbed above the owner"),
            "red": words("最高优先级", "of the first priority"),
        },
        {"days_to_close": words("收到至关闭的天数", "days from receipt to closing")},
    ),
    "clocks": Base(
        words("时限", "clocks"),
        {"due": words("到期", "due"), "started": words("起算", "started")},
        {
            "legal": words("法定", "legal"),
            "customer": words("客户", "customer's"),
            "owner": words("承办", "owner's"),
            "stops_told": words("告知即止", "stopped by telling the customer"),
            "stops_first_answer": words("首次联系即止", "stopped by the first answer"),
            "stops_closed": words("关闭即止", "stopped by closing"),
            "stops_resolved": words("处理完即止", "stopped by resolving"),
            "late": words("超时", "late"),
            "extended": words("已延长", "extended"),
            "provisional": words("暂定", "provisional"),
            "paused": words("暂停中", "standing still"),
            # By a transfer, rejection, merge, withdrawal or new start, before it was late.
            "void": words("未履行即失效", "made void before they were kept"),
        },
        {"days_run": words("起算至停止的天数", "days from start to stop")},
    ),
    "tickets": Base(
        words("工单", "tickets"),
        {"assigned": words("派发", "assigned")},
        {
            "lead": words("主办", "lead"),
            "accepted": words("曾接单或已处理", "accepted or resolved"),
            "rejected": words("已退单", "rejected"),
            "resolved": words("已处理", "resolved"),
        },
        {
            "days_to_accept": words("派发至接单的天数", "days from assignment to acceptance"),
            "days_to_resolve": words("派发至处理完的天数", "days from assignment to resolution"),
        },
    ),
    "questions": Base(
        words("回访询问", "questions to customers"),
        {"asked": words("询问", "asked")},
        {
            "by_mail": words("邮件询问", "by mail"),
            "by_call": words("电话询问", "by call"),
            "waiting": words("仍在等待答复", "still waiting"),
            "answered": words("已答复", "answered"),
            "yes": words("答复已解决", "answered yes"),
            "partly": words("答复部分解决", "answered partly"),
            "no": words("答复未解决", "answered no"),
            "changed": words("改过答复", "answered otherwise first"),
        },
        {"days_to_answer": words("询问至答复的天数", "days from question to answer")},
    ),
    "issues": Base(
        words("问题", "issues"),
        {"arrived": words("到达", "arrived")},
        {
            "complaint": words("投诉", "complaints"),
            "opens": words("进入循环或等待人工", "that open a loop or wait for a person"),
            "to_a_person": words("交人工判读", "left to a person"),
            "waiting": words("等待人工", "still waiting for a person"),
        },
        {},
    ),
}
"""The closed vocabulary. A new word needs its reading in `insight/base_rows.py` too."""

BREAKDOWNS: Mapping[str, Text] = {
    "unit": words("机构", "unit"),
    "topic": words("主题", "topic"),
    "source": words("来源", "source"),
    "month": words("月份", "month"),
}


def formula(spec: MeasureSpec, lang: str) -> str:
    """What is counted over what, in words made from the definition itself."""
    base, zh = BASES[spec.of], lang == "zh"
    moment, noun = base.moments[spec.when][lang], base.title[lang]
    bottom = f"期内{moment}的{noun}" if zh else f"{noun} {moment} in the period"
    if spec.denominator:
        said = listed(base, spec.denominator, lang, "不含")
        bottom += f"（{said}）" if zh else f" ({said})"
    if spec.statistic == RATIO:
        top = listed(base, spec.numerator, lang, "非")
        return f"其中{top} ÷ {bottom}" if zh else f"those {top} ÷ {bottom}"
    what = base.values[spec.value or ""][lang]
    statistic = STATISTICS[spec.statistic][lang]
    return f"{bottom}：{what}的{statistic}" if zh else f"{statistic} of {what}, over {bottom}"


STATISTICS: Mapping[str, Text] = {
    RATIO: words("占比", "share"),
    MEDIAN: words("中位数", "median"),
    P90: words("第 90 百分位数", "90th percentile"),
}


def listed(base: Base, facts: Sequence[str], lang: str, no: str) -> str:
    """The conditions one after the other; `no`: what stands for `not` in Chinese."""
    opposite = no if lang == "zh" else NOT
    said = [
        (opposite if fact.startswith(NOT) else "") + base.facts[fact.removeprefix(NOT)][lang]
        for fact in facts
    ]
    return ("、" if lang == "zh" else ", ").join(said)


def owner_steps(ladders: Iterable[Ladder]) -> frozenset[str]:
    """Steps that tell nobody above the owner, in any ladder: no escalation."""
    steps = [step for ladder in ladders for step in ladder.steps]
    above = {step.id for step in steps if step.tell != "owner"}
    return frozenset(step.id for step in steps) - above
