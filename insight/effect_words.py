"""What a measurement says, as a sentence in both languages."""

from collections.abc import Sequence

from models.kinds import Verdict
from policy.organisation import Text

Period = tuple[int, int]
"""Observed days and events."""
Range = tuple[float, float, float]
"""A change and the ends of its interval, as shares."""

PROVEN, NOT_PROVEN, TOO_LITTLE = Verdict.PROVEN, Verdict.NOT_PROVEN, Verdict.TOO_LITTLE
SAYS = {
    PROVEN: ("下降得到证实", "the fall is proven"),
    NOT_PROVEN: ("没有证实下降", "no fall is proven"),
    TOO_LITTLE: (
        "数据太少，不下结论：计划的下降（{target}）即使属实也未必看得出",
        "too little to decide: a fall as planned ({target}) might not show even if it were there",
    ),
}
REACHED = {
    True: ("；达到了目标 {target}", "; the target of {target} is reached"),
    False: ("；没有达到目标 {target}", "; the target of {target} is not reached"),
}
FALLING = (
    "；修复之前已在下降，已按原有趋势扣除",
    "; the rate was falling before the fix, and that is allowed for",
)


def measured(
    verdict: Verdict, was: Period, now: Period, change: Range, target: float, falling: bool
) -> Text:
    goal = percent(-target)
    parts = [counted(was, now, "修复前", "修复后", "before the fix", "after")]
    parts += [ranged(change), SAYS[verdict]]
    if verdict is PROVEN:
        parts.append(REACHED[change[0] <= -target])
    if falling:
        parts.append(FALLING)
    return joined(parts, goal)


def back(is_back: bool, was: Period, now: Period, change: Range) -> Text:
    parts = [counted(was, now, "证实时", "最近", "when it was proven", "lately"), ranged(change)]
    says = ("问题又回来了", "the cause is back") if is_back else ("没有复发", "it is not back")
    return joined([*parts, says], "")


def unmeasured(was: Period, now: Period, days: int, events: int) -> Text:
    counts = counted(was, now, "修复前", "修复后", "before the fix", "after")
    few = (
        f"数据太少，不下结论：前后各须观察至少 {days} 天，修复前至少 {events} 件",
        f"too little to decide: at least {days} days on each side and {events} before the fix"
        " are needed",
    )
    return joined([counts, ("；", "; "), few], "")


def counted(was: Period, now: Period, *names: str) -> tuple[str, str]:
    before_zh, after_zh, before_en, after_en = names
    return (
        f"{before_zh} {was[0]} 天 {was[1]} 件，{after_zh} {now[0]} 天 {now[1]} 件",
        f"{was[1]} in {was[0]} days {before_en}, {now[1]} in {now[0]} days {after_en}",
    )


def ranged(change: Range) -> tuple[str, str]:
    middle, low, high = map(percent, change)
    return (
        f"；比率变化 {middle}（区间 {low} 至 {high}）；",
        f"; the rate changed by {middle} (interval {low} to {high}); ",
    )


def percent(share: float) -> str:
    return f"{100 * share:+.0f}%".replace("-", "−") if share < 10 else ">1000%"


def joined(parts: Sequence[tuple[str, str]], target: str) -> Text:
    zh, en = ("".join(part).format(target=target) for part in zip(*parts, strict=True))
    return {"zh": zh, "en": en}
