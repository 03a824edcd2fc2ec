"""What came in: intakes, raw items before parsing, feedback, quarantine, and batches of work."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, LargeBinary, text
from sqlmodel import Field, SQLModel, UniqueConstraint

from models.base import JsonText, UtcDateTime


class SourceState(SQLModel, table=True):
    """How far a source has been read, and whether it is switched off or has stopped itself."""

    __tablename__ = "source_state"

    name: str = Field(primary_key=True)
    cursor: str | None = None
    enabled: bool = True
    stopped_reason: str | None = None
    stopped_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    updated_at: datetime = Field(sa_type=UtcDateTime)


class Intake(SQLModel, table=True):
    """One file or page as a source delivered it.

    `parsed` is the number of the last record that was parsed: what lies beyond it is stored raw
    and waits. `sha256` is null until the intake was read to the end.
    """

    __tablename__ = "intake"
    __table_args__ = (
        Index(
            "ix_intake_open",
            "source",
            sqlite_where=text("finished_at IS NULL"),
            postgresql_where=text("finished_at IS NULL"),
        ),
        Index("ix_intake_content", "source", "sha256"),
    )

    id: str = Field(primary_key=True)
    source: str
    name: str
    header: Any = Field(default=None, sa_column=Column(JsonText))
    cursor: str | None = None
    sha256: str | None = None
    bytes: int | None = Field(default=None, sa_type=BigInteger)
    parsed: int = 0
    read: int = 0
    stored: int = 0
    duplicates: int = 0
    quarantined: int = 0
    started_at: datetime = Field(sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class RawItem(SQLModel, table=True):
    """One record exactly as delivered. A changed record with the same key is a new version.

    `previous_id` is the version it follows.
    """

    __tablename__ = "raw_item"
    __table_args__ = (
        UniqueConstraint("source", "key", "version"),
        CheckConstraint("version >= 1", name="version_from_one"),
        Index("ix_raw_item_intake", "intake_id", "number"),
    )

    id: str = Field(primary_key=True)
    intake_id: str = Field(foreign_key="intake.id")
    source: str
    key: str
    version: int = 1
    previous_id: str | None = Field(default=None, foreign_key="raw_item.id")
    number: int
    payload: str
    digest: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class Quarantine(SQLModel, table=True):
    """A raw item that could not be parsed, and why; it can be replayed after a fix."""

    __tablename__ = "quarantine"
    __table_args__ = (
        Index(
            "ix_quarantine_open",
            "source",
            sqlite_where=text("resolved_at IS NULL"),
            postgresql_where=text("resolved_at IS NULL"),
        ),
    )

    raw_id: str = Field(primary_key=True, foreign_key="raw_item.id")
    source: str
    reason: str
    at: datetime = Field(sa_type=UtcDateTime)
    attempts: int = 1
    resolved_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Batch(SQLModel, table=True):
    """A chunk of feedback waiting for triage; claimed by lease, worked off from `position`."""

    __tablename__ = "batch"
    __table_args__ = (
        Index(
            "ix_batch_waiting",
            "lease_until",
            sqlite_where=text("done_at IS NULL"),
            postgresql_where=text("done_at IS NULL"),
        ),
    )

    id: str = Field(primary_key=True)
    source: str
    size: int
    position: int = 0
    attempts: int = 0
    lease_token: str | None = None
    lease_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created_at: datetime = Field(sa_type=UtcDateTime)
    done_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Feedback(SQLModel, table=True):
    """One thing a customer said, as it arrived, never altered. Its id is its raw item's."""

    __tablename__ = "feedback"
    __table_args__ = (
        Index("ix_feedback_batch", "batch_id", "ordinal", unique=True),
        Index("ix_feedback_received", "source", "received_at"),
        Index(
            "ix_feedback_customer",
            "customer_id",
            sqlite_where=text("customer_id IS NOT NULL"),
            postgresql_where=text("customer_id IS NOT NULL"),
        ),
    )

    id: str = Field(primary_key=True, foreign_key="raw_item.id")
    batch_id: str = Field(foreign_key="batch.id")
    ordinal: int
    source: str
    version: int = 1
    previous_id: str | None = Field(default=None, foreign_key="feedback.id")
    text: str
    said_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    received_at: datetime = Field(sa_type=UtcDateTime)
    arrived_at: datetime = Field(sa_type=UtcDateTime)
    days_late: int = 0
    channel: str
    language: str | None = None
    rating_kind: str | None = None
    rating_value: float | None = None
    rating: float | None = None
    customer_id: str | None = Field(default=None, foreign_key="customer.id")
    complaint_number: str | None = None
    touchpoint: str | None = None
    unit: str | None = None
    turns: Any = Field(default=None, sa_column=Column(JsonText))
