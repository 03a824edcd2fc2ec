"""The one place where the clock is read."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The present moment in UTC, with microseconds."""
    return datetime.now(UTC)
