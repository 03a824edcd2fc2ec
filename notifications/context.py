"""What each message may show: the variables of every template, and the masking of free text.

A context is a plain dict of strings, lists and dicts. `mask_context` keeps what is declared, masks
and shortens what customers or staff wrote, and drops the rest, so that nothing else can be shown.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loopwright.mask import mask

WORDS_LIMIT = 300
LETTER_LIMIT = 1000
"""Words that a customer is sent are not cut to a glance."""
LIST_LIMIT = 20
# Control and bidirectional characters, lone surrogates and non-characters: they break XML, headers
# or the reader's eye.
UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
CLICKABLE = re.compile(r"(:)(?=//)|(?<=\bwww)(\.)", re.I)


@dataclass(frozen=True)
class Leaf:
    """One string. `free`: written by people, so masked, and cut to `limit` characters; `link`: an
    address this system made."""

    free: bool = False
    link: bool = False
    optional: bool = False
    limit: int = WORDS_LIMIT

    @property
    def absent(self) -> str:
        return ""


@dataclass(frozen=True)
class Many:
    """A list of small dicts, of which the first twenty are shown."""

    item: Mapping[str, Leaf]
    optional: bool = False

    @property
    def absent(self) -> list[Any]:
        return []


Shape = Leaf | Many | Mapping[str, "Shape"]

PLAIN, FREE = Leaf(), Leaf(free=True)
OPTIONAL, LINK = Leaf(optional=True), Leaf(link=True, optional=True)
LETTER = Leaf(free=True, limit=LETTER_LIMIT)
OPTIONAL_LETTER = Leaf(free=True, limit=LETTER_LIMIT, optional=True)


def _plain(*names: str) -> dict[str, Leaf]:
    return dict.fromkeys(names, PLAIN)


_LOOP = _plain(
    *("id", "kind", "kind_title", "topic_title", "touchpoint_title", "stage_title", "priority"),
    *("level_title", "opened_at", "received_at"),
)
_ISSUE = {
    "words": FREE,
    **_plain("emotion_title", "severity_title", "kind_title", "channel_title"),
}
_EVERYWHERE: dict[str, Shape] = {
    "organisation": _plain("title"),
    "answer": Many(_plain("title", "command")),
    "link": LINK,
}
_ABOUT_LOOP: dict[str, Shape] = {
    **_EVERYWHERE,
    "loop": _LOOP,
    "issue": _ISSUE,
    "why": _plain("rule_id", "rule_title", "policy_version"),
}
_TO_STAFF: dict[str, Shape] = {
    **_ABOUT_LOOP,
    "unit": _plain("code", "title"),
    "person": {"name": OPTIONAL},
}
_ABOUT_TICKET: dict[str, Shape] = {
    **_TO_STAFF,
    "ticket": {**_plain("id", "state"), "due_at": OPTIONAL},
}
_ABOUT_CLOCK: dict[str, Shape] = {
    **_TO_STAFF,
    "clock": {
        **_plain("number", "title", "stops", "due_at"),
        **dict.fromkeys(("left", "overdue", "provisional", "ladder_title"), OPTIONAL),
    },
    "owner": _plain("title"),
    "ticket": {"id": OPTIONAL, "state": OPTIONAL},
}
_MATTER = _plain("number", "topic_title", "said_on")
# What goes to customers shares nothing with what goes to staff but the organisation's name.
_TO_CUSTOMER: dict[str, Shape] = {"organisation": _plain("title"), "matter": _MATTER}
_BIG_LOOP: dict[str, Shape] = {
    "customers": _plain("count"),
    "lead": _plain("title"),
    "participants": OPTIONAL,
}
_APPROVAL: dict[str, Shape] = {
    **_EVERYWHERE,
    "unit": _plain("code", "title"),
    "person": {"name": OPTIONAL},
    "approval": {
        **_plain("id", "kind_title", "level_title", "asked_by", "unit_title", "asked_at"),
        **dict.fromkeys(("case", "ticket"), OPTIONAL),
    },
    "terms": Many(_plain("title", "says"), optional=True),
    "reason": Leaf(free=True, optional=True),
    "letter": OPTIONAL_LETTER,
}
_EFFECT = _plain("horizon", "verdict", "verdict_title", "reason")

CONTEXT: Mapping[str, Mapping[str, Shape]] = {
    "ticket_assigned": _ABOUT_TICKET,
    "ticket_reassigned": {**_ABOUT_TICKET, "from_unit": _plain("title"), "reason": FREE},
    "loop_reopened": {**_ABOUT_TICKET, "reason": FREE, "first_answer": OPTIONAL},
    "arbitration_needed": {
        **_ABOUT_LOOP,
        "rejections": Many({"unit_title": PLAIN, "reason": FREE, "suggested_title": OPTIONAL}),
    },
    "triage_waiting": {
        **_EVERYWHERE,
        "triage": {**_plain("count", "oldest_at"), "due_at": OPTIONAL},
        "reasons": Many(_plain("title", "count"), optional=True),
    },
    "triage_stuck": {
        **_EVERYWHERE,
        "batch": _plain("id", "source_title", "count", "attempts", "given_up_at"),
    },
    "calendar_missing": {
        **_EVERYWHERE,
        "calendar": _plain("year", "count", "names", "first_due"),
    },
    "seal_refused": {
        **_EVERYWHERE,
        "seal": {**_plain("problem", "epoch", "size", "refused_at"), "seq": OPTIONAL},
    },
    "red_alert": {
        **_EVERYWHERE,
        "unit": _plain("code", "title"),
        "person": {"name": OPTIONAL},
        "alert": {
            **_plain("id", "source_title", "arrived_at", "arrives"),
            **dict.fromkeys(("loop", "running"), OPTIONAL),
            "words": Leaf(free=True, optional=True),
        },
        "grounds": Many(_plain("title")),
    },
    "big_loop_candidate": {
        **_ABOUT_LOOP,
        "evidence": Leaf(free=True, optional=True),
        "customers": _plain("count"),
        "departments": Many(_plain("title"), optional=True),
    },
    "big_loop_assigned": {
        **_ABOUT_TICKET,
        **_BIG_LOOP,
        "role": _plain("id", "title"),
    },
    "big_loop_closed": {
        **_TO_STAFF,
        **_BIG_LOOP,
        "outcome": _plain("id", "title"),
        "reason": FREE,
        "changed": OPTIONAL_LETTER,
    },
    "effect_measured": {**_TO_STAFF, **_BIG_LOOP, "effect": _EFFECT},
    "big_loop_relapsed": {**_TO_STAFF, **_BIG_LOOP, "effect": _EFFECT},
    "clock_reminder": _ABOUT_CLOCK,
    "clock_breached": _ABOUT_CLOCK,
    "clock_climbed": {
        **_ABOUT_CLOCK,
        "climb": {"tell": OPTIONAL, "title": OPTIONAL},
        "told": Many(_plain("who", "what", "at"), optional=True),
        "passed": OPTIONAL,
    },
    "verification_call": {
        **_TO_STAFF,
        "matter": _MATTER,
        "done": OPTIONAL_LETTER,
        "answer_by": OPTIONAL,
        "called": Many(_plain("at", "outcome"), optional=True),
    },
    "cause_closed_call": {**_TO_STAFF, "matter": _MATTER, "changed": LETTER},
    "approval_waiting": {**_APPROVAL, "absent": {"name": OPTIONAL}},
    "approval_decided": {
        **_APPROVAL,
        "decision": {**_plain("id", "title", "by", "at"), "why": Leaf(free=True, optional=True)},
    },
    "answer_doubted": {
        **_ABOUT_LOOP,
        "said": {"answer": PLAIN, "words": FREE},
        "first_answer": OPTIONAL,
    },
    "verification_question": {
        **_TO_CUSTOMER,
        "done": OPTIONAL_LETTER,
        "asked_on": OPTIONAL,
        "answer_by": OPTIONAL,
        "final": OPTIONAL,
    },
    "cause_closed": {**_TO_CUSTOMER, "changed": LETTER},
}
"""Template id -> the variables it may use. Times are local text; titles are in its language."""

TO_CUSTOMERS = frozenset({"verification_question", "cause_closed"})
"""Templates whose reader is a customer."""


def mask_context(template_id: str, context: Mapping[str, Any]) -> dict[str, Any]:
    """`context` with only declared values, free text masked, cut and on one line.

    A required value that is missing stays missing (rendering then refuses); an optional one
    becomes "" or []. Raises KeyError for an unknown template and ValueError for a link that is
    not http(s) or mailto.
    """
    return _fit_all(CONTEXT[template_id], context)


def _fit_all(shape: Mapping[str, Shape], values: Mapping[str, Any]) -> dict[str, Any]:
    fitted: dict[str, Any] = {}
    for name, inner in shape.items():
        if values.get(name) is not None:
            fitted[name] = _fit(inner, values[name])
        elif isinstance(inner, Leaf | Many) and inner.optional:
            fitted[name] = inner.absent
    return fitted


def _fit(shape: Shape, value: Any) -> Any:
    if isinstance(shape, Leaf):
        return _string(shape, str(value))
    if isinstance(shape, Many):
        items: Sequence[Mapping[str, Any]] = value
        return [_fit_all(shape.item, item) for item in items[:LIST_LIMIT]]
    return _fit_all(shape, value)


def _string(leaf: Leaf, value: str) -> str:
    # Cut generously before masking, to bound its cost, and finely after it, so that no half of a
    # number escapes the mask.
    value = " ".join(UNPRINTABLE.sub("", value[: 10 * leaf.limit]).split())
    if leaf.link and value and not value.startswith(("https://", "http://", "mailto:")):
        raise ValueError("a link must begin with https://, http:// or mailto:")
    if not leaf.free:
        return value
    value = CLICKABLE.sub(lambda found: "：" if found[1] else "．", mask(value))
    return value if len(value) <= leaf.limit else value[: leaf.limit - 1] + "…"
