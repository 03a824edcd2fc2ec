"""Is one stored event what was hashed, in the form that every verifier reads?

The form is that of `tools/verify_history.py`: an event that it would refuse must not get under a
signature, since no bundle that holds it could ever be proven.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

from loopwright.history.envelope import (
    HASH_ALG,
    MAX_SAFE_INTEGER,
    VERSION,
    canonical,
    timestamp,
)
from models.kinds import EventKind

UNREADABLE = (ValueError, TypeError, AttributeError, KeyError, RecursionError, OverflowError)
"""What a value raises that no program of ours ever wrote into a row."""

MAX_EPOCH = 10**9 - 1
"""What an origin line can hold."""

TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
COMMIT = re.compile("[0-9a-f]{64}")
TEXTS = ("id", "kind", "at")
MAYBE = ("loop", "on_behalf_of", "run", "policy", "rule", "template", "body")
MEMBERS = frozenset(("v", "loop_seq", "actor", "hash", "data", *TEXTS, *MAYBE))
ACTOR = {"type", "id", "via"}


def wrong_row(
    row: Mapping[str, Any],
    expected_seq: int,
    body: tuple[bytes, str] | None,
    sequences: dict[str, int],
) -> str | None:
    """What is wrong with one row, Chinese and English, or None.

    `sequences` holds each loop's last number so far, and is carried on.
    """
    try:
        return wrong_content(row, expected_seq, body, sequences)
    except UNREADABLE as error:
        name = type(error).__name__
        return f"此行无法读取 / the row cannot be read ({name})"


def wrong_content(
    row: Mapping[str, Any],
    expected_seq: int,
    body: tuple[bytes, str] | None,
    sequences: dict[str, int],
) -> str | None:
    if row["seq"] != expected_seq:
        found = row["seq"]
        return f"缺位，应为 {expected_seq} / gap: expected seq {expected_seq}, found {found}"
    if sha256(b"\x00" + row["envelope"].encode()).digest() != row["leaf"]:
        return "封套与叶哈希不符 / the envelope does not hash to the leaf"
    try:
        envelope = json.loads(row["envelope"], object_pairs_hook=no_duplicates)
    except ValueError as error:
        return f"封套不是 JSON / the envelope is not JSON: {error}"
    if wrong := wrong_form(envelope):
        return f"封套不合格式 / the envelope is not of the form: {wrong}"
    if canonical(envelope) != row["envelope"]:
        return "封套不规范 / the envelope is not canonical"
    if different := different_columns(row, envelope):
        return f"列与封套不符 / columns differ from the envelope: {', '.join(different)}"
    return wrong_sequence(envelope, sequences) or wrong_body(envelope, body)


def wrong_form(envelope: Any) -> str | None:
    """The first member that is not as the format has it."""
    if type(envelope) is not dict or envelope.keys() != MEMBERS:
        return "members"
    if type(envelope["v"]) is not int or envelope["v"] != VERSION or envelope["hash"] != HASH_ALG:
        return "v, hash"
    for name in (*TEXTS, *(name for name in MAYBE if envelope[name] is not None)):
        if type(envelope[name]) is not str:
            return name
    if not is_time(envelope["at"]):
        return "at"
    if envelope["body"] is not None and not COMMIT.fullmatch(envelope["body"]):
        return "body"
    return wrong_place(envelope) or wrong_actor(envelope["actor"]) or wrong_data(envelope)


def is_time(text: str) -> bool:
    """UTC with microseconds, of a day and hour that there are."""
    if not TIME.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def wrong_place(envelope: Mapping[str, Any]) -> str | None:
    place = envelope["loop_seq"]
    if envelope["loop"] is None:
        return None if place is None else "loop_seq"
    return None if type(place) is int and place >= 0 else "loop_seq"


def wrong_actor(actor: Any) -> str | None:
    if type(actor) is not dict or actor.keys() != ACTOR:
        return "actor"
    return None if all(type(part) is str for part in actor.values()) else "actor"


def wrong_data(envelope: Mapping[str, Any]) -> str | None:
    data = envelope["data"]
    if type(data) is not dict or not all(map(is_scalar, data.values())):
        return "data"
    if not all(name.isascii() for name in data):
        return "data"
    if (needed := NEEDED.get(envelope["kind"])) and not needed(data, envelope["actor"]):
        return f"data of {envelope['kind']}"
    return None


def is_scalar(value: Any) -> bool:
    if type(value) is int:
        return abs(value) <= MAX_SAFE_INTEGER
    return value is None or type(value) in (str, bool)


def says_who_erased(data: Mapping[str, Any], actor: Mapping[str, str]) -> bool:
    """An erasure without a target, a reason, an authority and a person excuses nothing."""
    said = [*(data.get(name) for name in ("event", "why", "authority")), actor["id"]]
    return all(type(words) is str and words.strip() for words in said)


def opens_epoch(data: Mapping[str, Any], _: Mapping[str, str]) -> bool:
    epoch, size = data.get("epoch"), data.get("size")
    return type(epoch) is int and 1 < epoch <= MAX_EPOCH and (size is None or type(size) is int)


def says_what_is_published(data: Mapping[str, Any], _: Mapping[str, str]) -> bool:
    digest = data.get("sha256")
    hashed = type(digest) is str and COMMIT.fullmatch(digest) is not None
    return type(data.get("publication")) is int and hashed


NEEDED = {
    EventKind.BODY_ERASED.value: says_who_erased,
    EventKind.HISTORY_RESTORED.value: opens_epoch,
    EventKind.DOCUMENTS_PUBLISHED.value: says_what_is_published,
}
"""What verification itself relies on."""


def different_columns(row: Mapping[str, Any], envelope: Mapping[str, Any]) -> list[str]:
    different = [name for name, value in columns_of(envelope).items() if row[name] != value]
    return different if timestamp(row["at"]) == envelope["at"] else [*different, "at"]


def columns_of(envelope: Mapping[str, Any]) -> dict[str, Any]:
    """The columns as the envelope has them, `at` aside."""
    return {
        "event_id": envelope["id"],
        "loop_id": envelope["loop"],
        "loop_seq": envelope["loop_seq"],
        "kind": envelope["kind"],
        "actor_type": envelope["actor"]["type"],
        "actor_id": envelope["actor"]["id"],
        "actor_via": envelope["actor"]["via"],
        "on_behalf_of": envelope["on_behalf_of"],
        "run_id": envelope["run"],
        "policy_version": envelope["policy"],
        "rule_version": envelope["rule"],
        "template_version": envelope["template"],
        "hash_alg": envelope["hash"],
        "body_commit": envelope["body"],
        "data": canonical(envelope["data"]),
    }


def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) != len(pairs):
        raise ValueError("duplicate keys")
    return keys


def wrong_sequence(envelope: Mapping[str, Any], sequences: dict[str, int]) -> str | None:
    loop = envelope["loop"]
    if loop is None:
        return None
    expected, found = sequences.get(loop, -1) + 1, envelope["loop_seq"]
    if found != expected:
        return (
            f"循环 {loop} 应为第 {expected} 个事件 /"
            f" loop {loop}: expected event {expected}, found {found}"
        )
    sequences[loop] = expected
    return None


def wrong_body(envelope: Mapping[str, Any], body: tuple[bytes, str] | None) -> str | None:
    """A body that is missing may have been erased: that shows at the end only."""
    if body is None:
        return None
    if envelope["body"] is None:
        return "此处不应有正文 / a body where the envelope has none"
    salt, text = body
    if sha256(salt + text.encode()).hexdigest() != envelope["body"]:
        return "正文与承诺不符 / the body does not match its commitment"
    return None
