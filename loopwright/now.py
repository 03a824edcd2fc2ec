"""The one place where the clock is read."""

from datetime import UTC, datetime

from loopwright.errors import InputError


def utc_now() -> datetime:
    """The present moment in UTC, with microseconds."""
    return datetime.now(UTC)


def parse_now(text: str) -> datetime:
    """The moment somebody asks to act at. Raises InputError for anything but ISO with a zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"{text!r} is no ISO time", "e.g. 2026-11-21T09:00+08:00") from None
    if moment.tzinfo is None:
        raise InputError(f"{text!r} has no zone", "add one, e.g. +08:00")
    return moment.astimezone(UTC)
