"""One department's piece of a loop. Written only through `tasks/change.py`."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, text
from sqlmodel import Field, SQLModel

from models.base import UtcDateTime

OPEN_TICKET = "state IN ('assigned', 'accepted')"
HELD_TICKET = "person IS NOT NULL AND state IN ('assigned', 'accepted')"


class Ticket(SQLModel, table=True):
    __tablename__ = "ticket"
    __table_args__ = (
        CheckConstraint("role IN ('lead', 'participant')", name="role"),
        CheckConstraint("state <> 'resolved' OR cause IS NOT NULL", name="resolved_has_cause"),
        Index(
            "ix_ticket_unit",
            "unit",
            "assigned_at",
            sqlite_where=text(OPEN_TICKET),
            postgresql_where=text(OPEN_TICKET),
        ),
        Index(
            "ix_ticket_person",
            "person",
            sqlite_where=text(HELD_TICKET),
            postgresql_where=text(HELD_TICKET),
        ),
    )

    id: str = Field(primary_key=True)
    loop_id: str = Field(foreign_key="loop.id", index=True)
    unit: str
    role: str
    state: str
    assigned_at: datetime = Field(sa_type=UtcDateTime)
    accepted_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    resolved_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    cause: str | None = None
    suggested: str | None = None
    person: str | None = None
    """Who in the unit handles it; null: nobody yet."""
    active_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """The last sign of work on it: accepted, or a word of progress."""
