"""What was found in feedback: issues, people's corrections of them, and proposed merges."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Column, Index, text
from sqlmodel import Field, SQLModel, UniqueConstraint

from models.base import JsonText, UtcDateTime


class Issue(SQLModel, table=True):
    """One thing found in a feedback, with its evidence; in doubt it waits for a person."""

    __tablename__ = "issue"
    __table_args__ = (
        UniqueConstraint("feedback_id", "ordinal"),
        CheckConstraint("emotion BETWEEN 0 AND 3", name="emotion"),
        CheckConstraint("severity BETWEEN 0 AND 3", name="severity"),
        CheckConstraint("state <> 'triage' OR due_at IS NOT NULL", name="waiting_has_due_time"),
        Index(
            "ix_issue_triage",
            "due_at",
            sqlite_where=text("state = 'triage'"),
            postgresql_where=text("state = 'triage'"),
        ),
    )

    id: str = Field(primary_key=True)
    feedback_id: str = Field(foreign_key="feedback.id")
    ordinal: int
    state: str
    kind: str
    topic: str | None = None
    touchpoint: str | None = None
    sentiment: float = 0.0
    emotion: int = 0
    severity: int = 0
    confidence: float = 0.0
    signals: Any = Field(default=None, sa_column=Column(JsonText))
    evidence: Any = Field(default=None, sa_column=Column(JsonText))
    reason: str | None = None
    rule: str | None = None
    policy: str
    due_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Correction(SQLModel, table=True):
    """What a person decided about an issue in doubt; the model learns from these."""

    __tablename__ = "correction"

    id: str = Field(primary_key=True)
    issue_id: str = Field(foreign_key="issue.id", index=True)
    kind: str
    topic: str | None = None
    loop: str | None = None
    by: str
    at: datetime = Field(sa_type=UtcDateTime)


class Proposal(SQLModel, table=True):
    """A relation the system suspects but may not make: a person decides."""

    __tablename__ = "proposal"
    __table_args__ = (
        UniqueConstraint("loop_id", "into_id"),
        Index(
            "ix_proposal_open",
            "at",
            sqlite_where=text("decided_at IS NULL"),
            postgresql_where=text("decided_at IS NULL"),
        ),
    )

    id: str = Field(primary_key=True)
    relation: str
    loop_id: str = Field(foreign_key="loop.id")
    into_id: str = Field(foreign_key="loop.id")
    reason: str
    at: datetime = Field(sa_type=UtcDateTime)
    decided_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    decided_by: str | None = None
    accepted: bool | None = None
