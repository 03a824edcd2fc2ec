"""How a big loop's plan, its looks and what they found are shown at a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from console.terminal import say, table
from loopwright.glossary import title


def tell_plan(
    plan: Mapping[str, Any] | None, watch: Sequence[Mapping[str, Any]], lang: str
) -> None:
    if plan is None:
        return
    zh = lang == "zh"
    say(f"  {'计划' if zh else 'plan'}: {' · '.join(plan_parts(plan, zh))}")
    for number, why in enumerate(plan["whys"], 1):
        say(f"    {'为什么' if zh else 'why'} {number}: {why}")
    for number, action in enumerate(plan["actions"], 1):
        say(f"    {'措施' if zh else 'action'} {number}: {action}")
    if watch:
        days = " · ".join(f"{w['horizon']} → {w['on']}{' ✓' if w['taken'] else ''}" for w in watch)
        say(f"  {'观察（天 → 日期）' if zh else 'looks (days → on)'}: {days}")


def plan_parts(plan: Mapping[str, Any], zh: bool) -> list[str]:
    goal = f" (−{plan['target_percent']}%)" if plan["target_percent"] else ""
    named = {
        "原因" if zh else "cause": plan["cause"],
        "完成日" if zh else "due": plan["by"],
        "目标" if zh else "target": plan["target"] + goal,
        "基线" if zh else "baseline": f"{plan['baseline_from']} – {plan['baseline_to']}",
        "对照" if zh else "comparison": plan["comparison"],
        "主责领导" if zh else "sponsor": plan["sponsor"],
        "告知客户" if zh else "customers read": plan["changed"],
    }
    return [f"{name} {value}" for name, value in named.items() if value]


def tell_effects(effects: Sequence[Mapping[str, Any]], lang: str) -> None:
    if not effects:
        return
    table(
        "成效 / effects",
        ("at", "days", "verdict", "by", "before", "after", "change", "interval"),
        [
            (
                e["at"],
                e["horizon"],
                title("verdict", e["verdict"], lang),
                title("method", e["method"], lang),
                e["before"],
                e["after"],
                percent(e["change"]),
                f"{percent(e['low'])} … {percent(e['high'])}" if e["low"] is not None else "",
            )
            for e in effects
        ],
    )
    say(f"  {effects[-1]['reason'].get(lang, '')}")


def percent(per_mille: int | None) -> str:
    return "" if per_mille is None else f"{per_mille / 10:+.1f} %"
