"""Identifiers: time-ordered UUIDv7 for rows, short speakable handles for loops and tickets."""

import secrets
import time
from datetime import datetime

# Crockford's base 32: no I, L, O, U, so that a handle survives being read aloud.
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def uuid7() -> str:
    """A UUIDv7 (RFC 9562, section 5.7) as 36 characters, ordered by creation time."""
    return uuid7s(1)[0]


def uuid7s(count: int) -> list[str]:
    """`count` UUIDv7 in ascending order: 48 bits of milliseconds, then counter and random bits."""
    moment = time.time_ns() // 1_000_000
    noise = secrets.token_bytes(8 * count)
    start = secrets.randbits(10)
    ids = []
    for n in range(count):
        ms, counter = moment + ((start + n) >> 12), (start + n) & 0xFFF
        low = int.from_bytes(noise[8 * n : 8 * n + 8], "big") & 0x3FFFFFFFFFFFFFFF
        value = (ms << 80) | (0x7 << 76) | (counter << 64) | (0b10 << 62) | low
        text = f"{value:032x}"
        ids.append(f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}")
    return ids


def handle(letter: str, at: datetime) -> str:
    """A handle such as `L261121-7K3Q9FAB`: kind, day, forty random bits."""
    noise = secrets.randbits(40)
    tail = "".join(ALPHABET[(noise >> shift) & 31] for shift in range(35, -1, -5))
    return f"{letter}{at:%y%m%d}-{tail}"
