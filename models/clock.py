"""A running deadline of a loop or ticket. Written only through `tasks/change.py`."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, text
from sqlmodel import Field, SQLModel

from models.base import UtcDateTime

WAITING = "next_at IS NOT NULL"
RUNNING = "stopped_at IS NULL AND breached_at IS NULL"
UNCERTAIN = "provisional AND stopped_at IS NULL"


class Clock(SQLModel, table=True):
    """One start of one clock; a clock that starts anew is a new row, the old one stays.

    `next_at` is the next moment at which something must happen (remind, breach, climb), null when
    nothing is left or the clock has stopped or is paused, so that one partial index serves the
    sweep. `step` is the ladder's step that was taken last, at `climbed_at`; `extension` the last
    that was granted.
    """

    __tablename__ = "clock"
    __table_args__ = (
        CheckConstraint("kind IN ('legal', 'customer', 'owner')", name="kind"),
        CheckConstraint("stopped_at IS NULL OR next_at IS NULL", name="stopped_is_quiet"),
        CheckConstraint("paused_at IS NULL OR next_at IS NULL", name="paused_is_quiet"),
        CheckConstraint("step IS NULL OR breached_at IS NOT NULL", name="climbs_after_breach"),
        Index(
            "ix_clock_next", "next_at", sqlite_where=text(WAITING), postgresql_where=text(WAITING)
        ),
        Index("ix_clock_loop", "loop_id"),
        # What a calendar edit may move.
        Index(
            "ix_clock_running",
            "due_at",
            sqlite_where=text(RUNNING),
            postgresql_where=text(RUNNING),
        ),
        Index(
            "ix_clock_provisional",
            "due_at",
            sqlite_where=text(UNCERTAIN),
            postgresql_where=text(UNCERTAIN),
        ),
    )

    id: str = Field(primary_key=True)
    loop_id: str = Field(foreign_key="loop.id")
    ticket_id: str | None = Field(default=None, foreign_key="ticket.id")
    spec: str
    kind: str
    stops: str
    started_at: datetime = Field(sa_type=UtcDateTime)
    due_at: datetime = Field(sa_type=UtcDateTime)
    provisional: bool = False
    reminded_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    breached_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    step: str | None = None
    climbed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    next_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    paused_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    extension: str | None = None
    stopped_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Recount(SQLModel, table=True):
    """How far the running clocks have been counted anew on the calendars of a publication: up to
    the clock `upto`, due at `upto_due`; `done_at`: all of them."""

    __tablename__ = "clock_recount"

    publication: int = Field(primary_key=True, foreign_key="publication.number")
    upto_due: datetime | None = Field(default=None, sa_type=UtcDateTime)
    upto: str | None = None
    moved: int = 0
    done_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
