"""Asking the customer whether it is solved, and the answer. Written only through
`tasks/change.py`."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, text
from sqlmodel import Field, SQLModel

from models.base import UtcDateTime

WAITING = "due_at IS NOT NULL"
TO_CALL = "call_at IS NOT NULL"


class Verification(SQLModel, table=True):
    """One question put to a customer, by mail or by a call the department makes.

    `due_at` is when silence counts, and the next contact is made or the loop closed; null once the
    loop has moved on. `contacts`: how often the customer was written to or called, at
    `contacted_at` last. `call_at`: not to be called before then; null where nobody is to call.
    `doubt`: the words contradict the answer, and a person must settle it. `first_answer` is what
    they said before they changed their mind; `outcome`: how the last call ended that brought no
    answer.
    """

    __tablename__ = "verification"
    __table_args__ = (
        CheckConstraint("via IN ('mail', 'call')", name="via"),
        CheckConstraint("answer IN ('yes', 'no', 'partly')", name="answer"),
        CheckConstraint("(answer IS NULL) = (answered_at IS NULL)", name="answer_has_time"),
        Index(
            "ix_verification_due",
            "due_at",
            sqlite_where=text(WAITING),
            postgresql_where=text(WAITING),
        ),
        Index(
            "ix_verification_call",
            "call_at",
            sqlite_where=text(TO_CALL),
            postgresql_where=text(TO_CALL),
        ),
        Index("ix_verification_loop", "loop_id"),
    )

    id: str = Field(primary_key=True)
    loop_id: str = Field(foreign_key="loop.id")
    via: str
    asked_at: datetime = Field(sa_type=UtcDateTime)
    due_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    answer: str | None = None
    answered_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    contacts: int = 1
    contacted_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    call_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    doubt: bool = False
    first_answer: str | None = None
    outcome: str | None = None
