"""What somebody above must agree to, and whether they did. Of a loop: written only through
`tasks/change.py`; of documents and templates: by `tasks/approval/approvals.py`."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Column, Index, text
from sqlmodel import Field, SQLModel

from models.base import JsonText, UtcDateTime

WAITING = "state = 'waiting'"


class Approval(SQLModel, table=True):
    """One thing asked for and decided. `level`: who may grant it, as the policy names it; `terms`:
    what exactly is asked for (days, extension, amount in fen, content hash)."""

    __tablename__ = "approval"
    __table_args__ = (
        CheckConstraint("state IN ('waiting', 'granted', 'refused')", name="state"),
        CheckConstraint("(state = 'waiting') = (decided_at IS NULL)", name="decided_has_time"),
        Index(
            "ix_approval_waiting",
            "asked_at",
            sqlite_where=text(WAITING),
            postgresql_where=text(WAITING),
        ),
        Index("ix_approval_loop", "loop_id"),
    )

    id: str = Field(primary_key=True)
    loop_id: str | None = Field(default=None, foreign_key="loop.id")
    kind: str
    level: str
    unit: str
    """Whose request it is."""
    ticket_id: str | None = Field(default=None, foreign_key="ticket.id")
    clock_id: str | None = None
    terms: Any = Field(default=None, sa_column=Column("terms", JsonText))
    state: str
    asked_by: str
    asked_at: datetime = Field(sa_type=UtcDateTime)
    decided_by: str | None = None
    decided_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
