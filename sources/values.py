"""Reading single fields of a record: cleaning, marks, customer keys, yes and no."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from policy.source_spec import RatingSpec
from sources.errors import RecordError, SourceError
from sources.items import Key, RatingValue

NOBODY = frozenset(
    {"-", "--", "n/a", "na", "nil", "none", "null", "unknown", "anonymous", "无", "未知", "匿名"}
)
"""What systems write where they know no customer; as a key it would make strangers one person."""
MASKED = re.compile(r"[*＊●•×]|[xX]{3,}")
PHONE_NOISE = re.compile(r"[\s\-()（）.]")
PHONE_HOME = re.compile(r"^(?:\+|00)?86(?=1\d{10}$)")
LONGEST_KEY = 256
PLAIN_PHONE = 12
"""Digits alone below this length cannot carry the prefix 86 and need no cleaning."""
YES = frozenset(("1", "y", "yes", "true", "t", "on", "是", "有", "同意"))
NO = frozenset(("0", "n", "no", "false", "f", "off", "否", "无", "不同意"))


def as_text(value: Any, field: str) -> str:
    """A simple value as trimmed text, "" for none. Raises RecordError for lists and objects."""
    if isinstance(value, str):
        return value.strip()
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int | float):
        return str(value)
    raise RecordError(f"expected a simple value, found {type(value).__name__}", field)


def as_number(text: str, field: str) -> float:
    """Raises RecordError for what is no finite number."""
    try:
        number = float(text)
    except ValueError:
        raise RecordError("not a number", field) from None
    if not abs(number) < float("inf"):
        raise RecordError("not a finite number", field)
    return number


def as_yes(text: str, field: str) -> bool:
    """Empty is no. Raises RecordError for any other word."""
    word = text.lower()
    if word in YES:
        return True
    if not word or word in NO:
        return False
    raise RecordError("neither yes nor no", field)


def compile_rating(spec: RatingSpec) -> Callable[[str], RatingValue]:
    """Scales linearly so that `lowest` (the worst mark, even if greater) is -1, `highest` 1."""
    bottom, top = sorted((spec.lowest, spec.highest))
    if bottom == top:
        raise SourceError(
            "map.rating has the same lowest and highest mark", "set the worst and the best mark"
        )

    @lru_cache(1024)
    def read(text: str) -> RatingValue:
        value = as_number(text, spec.field)
        if not bottom <= value <= top:
            raise RecordError(f"a mark outside {spec.lowest:g} to {spec.highest:g}", spec.field)
        span = spec.highest - spec.lowest
        return RatingValue(spec.kind, value, (value - spec.lowest) / span * 2 - 1)

    return read


def customer_key(kind: str, text: str) -> Key | None:
    """One form per key, so that a customer is met again; None for placeholders and masked values.

    Phones keep their digits (the home prefix +86 of a mobile goes), mail becomes lower case.
    """
    if text.isdecimal() and len(text) < PLAIN_PHONE:
        return (kind, text) if text.strip("0") else None
    if kind == "phone":
        text = PHONE_HOME.sub("", PHONE_NOISE.sub("", text))
    elif kind == "mail":
        text = text.lower()
    nobody = text.lower() in NOBODY or not text.strip("0+")
    if nobody or len(text) > LONGEST_KEY or MASKED.search(text):
        return None
    return kind, text
