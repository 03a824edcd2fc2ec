"""What must be sent to whom (the outbox), and each attempt to send it."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Column, Index, text
from sqlmodel import Field, SQLModel, UniqueConstraint

from models.base import JsonText, UtcDateTime

QUEUED = "state = 'queued'"


class Message(SQLModel, table=True):
    """An outbox row, written in the transaction that makes it necessary.

    `key` says what the message is about and is never used twice. A leased message stays queued
    with its `due_at` moved to the lease's end, so that one partial index serves both the sweep
    and the recovery of a dead worker's leases.
    """

    __tablename__ = "message"
    __table_args__ = (
        UniqueConstraint("key"),
        CheckConstraint("state IN ('queued', 'sent', 'quarantined')", name="state"),
        Index("ix_message_due", "due_at", sqlite_where=text(QUEUED), postgresql_where=text(QUEUED)),
        Index("ix_message_loop", "loop_id"),
    )

    id: str = Field(primary_key=True)
    key: str
    template: str
    unit: str
    person: str | None = None
    """A member of staff the message is for; null: the unit."""
    channel: str = "main"
    """`main`, `wecom` (the same message beside it), or `customer` (the unit answers for it)."""
    loop_id: str | None = Field(default=None, foreign_key="loop.id")
    ticket_id: str | None = Field(default=None, foreign_key="ticket.id")
    values: Any = Field(default=None, sa_column=Column("values", JsonText))
    state: str = "queued"
    attempts: int = 0
    spent: int = 0
    """Attempts that do not count: before a person queued it again, or when there was no room."""
    due_at: datetime = Field(sa_type=UtcDateTime)
    lease_token: str | None = None
    error: str | None = None
    created_at: datetime = Field(sa_type=UtcDateTime)
    sent_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Delivery(SQLModel, table=True):
    """One attempt to send a message; `outcome` stays `sending` when the process died."""

    __tablename__ = "delivery"

    message_id: str = Field(primary_key=True, foreign_key="message.id")
    attempt: int = Field(primary_key=True)
    transport: str
    outcome: str
    reference: str | None = None
    template_version: str | None = None
    started_at: datetime = Field(sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
