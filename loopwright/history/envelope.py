"""One history event as exact bytes: what is hashed, and what stands outside in the erasable body.

The envelope holds integers, strings, booleans and nulls under ASCII keys, so that sorted compact
`json.dumps` equals RFC 8785 (property-tested). Personal words stand in the body, which the
envelope only commits to: SHA-256(salt ‖ body) with 32 random bytes of salt.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

VERSION = 1
HASH_ALG = "sha256"
SALT_BYTES = 32
MAX_SAFE_INTEGER = 2**53 - 1

Scalar = int | str | bool | None

ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it: type (person, system, customer), opaque id, and via (cli, flow, web, mail)."""

    type: str
    id: str
    via: str


SYSTEM = Actor("system", "loopwright", "flow")
CLI = Actor("system", "loopwright", "cli")
"""A command that nobody signed, such as one that cron runs."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event before it has a place in the tree. `loop_seq` is the loop's version after it."""

    id: str
    kind: str
    at: datetime
    actor: Actor
    data: Mapping[str, Scalar]
    loop: str | None = None
    loop_seq: int | None = None
    on_behalf_of: str | None = None
    run: str | None = None
    policy: str | None = None
    rule: str | None = None
    template: str | None = None
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Sealed:
    """An event with its exact bytes and hashes, ready to be appended."""

    event: Event
    data: str
    envelope: str
    leaf: bytes
    salt: bytes | None
    body: str | None
    commit: str | None


def canonical(value: Mapping[str, Any]) -> str:
    """RFC 8785 text of a value restricted to this module's types."""
    return ENCODER.encode(value)


def timestamp(at: datetime) -> str:
    """UTC with microseconds, e.g. `2026-11-21T04:05:06.000007Z`."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seal(event: Event) -> Sealed:
    """Fix an event's bytes. Raises ValueError when `data` holds what an envelope must not."""
    check_data(event.data)
    salt = body = commit = None
    if event.body is not None:
        salt, body = secrets.token_bytes(SALT_BYTES), canonical(event.body)
        commit = sha256(salt + body.encode()).hexdigest()
    envelope = canonical(fields(event, commit))
    leaf = sha256(b"\x00" + envelope.encode()).digest()
    return Sealed(event, canonical(event.data), envelope, leaf, salt, body, commit)


def fields(event: Event, commit: str | None) -> dict[str, Any]:
    """The envelope's members, all always present."""
    return {
        "v": VERSION,
        "id": event.id,
        "loop": event.loop,
        "loop_seq": event.loop_seq,
        "kind": event.kind,
        "at": timestamp(event.at),
        "actor": {"type": event.actor.type, "id": event.actor.id, "via": event.actor.via},
        "on_behalf_of": event.on_behalf_of,
        "run": event.run,
        "policy": event.policy,
        "rule": event.rule,
        "template": event.template,
        "hash": HASH_ALG,
        "body": commit,
        "data": dict(event.data),
    }


def check_data(data: Mapping[str, Scalar]) -> None:
    """Refuse what RFC 8785 and sorted `json.dumps` would write differently."""
    for key, value in data.items():
        if not key.isascii():
            raise ValueError(f"event data key {key!r} is not ASCII")
        if isinstance(value, str):
            value.encode()
        elif isinstance(value, float):
            raise ValueError(f"event data {key}={value!r}: write decimals as strings")
        elif isinstance(value, int) and abs(value) > MAX_SAFE_INTEGER:
            raise ValueError(f"event data {key}={value!r}: write large integers as strings")
        elif value is not None and not isinstance(value, bool | int):
            raise ValueError(f"event data {key} holds a {type(value).__name__}")
