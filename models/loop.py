"""The unit that is opened by an issue and must be closed, its issues and its links.

No row here is ever written but through `tasks/change.py`; every column follows from the events.
"""

from datetime import date, datetime

from sqlalchemy import CheckConstraint, Index, text
from sqlmodel import Field, SQLModel

from models.base import UtcDateTime

OPEN_SMALL = "kind = 'small' AND state <> 'closed' AND customer_id IS NOT NULL"
OPEN_BIG = "kind = 'big' AND state <> 'closed'"
OPEN = "state <> 'closed'"
RESOLVED = "state = 'resolved'"
LIKENESS = "likeness IS NOT NULL AND state <> 'closed'"


class Loop(SQLModel, table=True):
    __tablename__ = "loop"
    __table_args__ = (
        CheckConstraint("kind IN ('small', 'big')", name="kind"),
        CheckConstraint("(state = 'closed') = (closed_at IS NOT NULL)", name="closed_has_time"),
        CheckConstraint("(state = 'closed') = (outcome IS NOT NULL)", name="closed_has_outcome"),
        # One open small loop per customer and topic.
        Index(
            "uq_loop_open_small",
            "customer_id",
            "topic",
            unique=True,
            sqlite_where=text(OPEN_SMALL),
            postgresql_where=text(OPEN_SMALL),
        ),
        # One open big loop per topic and touchpoint.
        Index(
            "uq_loop_open_big",
            "topic",
            "touchpoint",
            unique=True,
            sqlite_where=text(OPEN_BIG),
            postgresql_where=text(OPEN_BIG),
        ),
        Index("ix_loop_open", "opened_at", sqlite_where=text(OPEN), postgresql_where=text(OPEN)),
        Index(
            "ix_loop_resolved",
            "ask_at",
            sqlite_where=text(RESOLVED),
            postgresql_where=text(RESOLVED),
        ),
        Index("ix_loop_customer", "customer_id", "topic"),
        Index("ix_loop_cause", "kind", "topic", "touchpoint", "received_at"),
        Index(
            "ix_loop_complaint_number",
            "complaint_number",
            sqlite_where=text("complaint_number IS NOT NULL"),
            postgresql_where=text("complaint_number IS NOT NULL"),
        ),
        Index(
            "ix_loop_likeness",
            "likeness",
            sqlite_where=text(LIKENESS),
            postgresql_where=text(LIKENESS),
        ),
    )

    id: str = Field(primary_key=True)
    version: int
    kind: str
    state: str
    topic: str
    touchpoint: str
    customer_id: str | None = Field(default=None, foreign_key="customer.id")
    complaint_number: str | None = None
    """Keyed hash: the number itself is the customer's and stays with the feedback."""
    priority: str | None = None
    level: str | None = None
    lead: str | None = None
    clocks: str | None = None
    ladder: str | None = None
    policy: str
    rule: str | None = None
    received_at: datetime = Field(sa_type=UtcDateTime)
    opened_at: datetime = Field(sa_type=UtcDateTime)
    closed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    outcome: str | None = None
    bounces: int = 0
    arbitration: bool = False
    likeness: str | None = None
    """Keyed hash of the words that opened a loop without a customer, to propose merges by."""
    cause: str | None = None
    """Coded root cause of a big loop, from its plan."""
    due_on: date | None = None
    """The day by which a big loop's plan wants it done."""
    merged_into: str | None = Field(default=None, foreign_key="loop.id")
    ask_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When the customer of a resolved loop is to be asked; null in any other state."""
    barred: str | None = None
    """People who may not handle it: named in the complaint, or in conflict. Joined by commas."""
    sponsor: str | None = None
    """Who answers for a big loop above its lead, from its plan."""
    target_percent: int | None = None
    """By how many per cent a big loop's plan wants its cause to come down."""
    baseline_from: date | None = None
    baseline_to: date | None = None
    """First and last day of the past that a big loop's effect is measured against."""
    comparison: str | None = None
    """`topic/touchpoint` that the same days are compared with; null: only its own past."""
    watched_from: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Since when a big loop's fix is in place and watched."""


class LoopIssue(SQLModel, table=True):
    """Why an issue belongs to a loop: its origin, the same complaint, or the same cause."""

    __tablename__ = "loop_issue"

    loop_id: str = Field(primary_key=True, foreign_key="loop.id")
    issue_id: str = Field(primary_key=True, foreign_key="issue.id", index=True)
    relation: str


class LoopLink(SQLModel, table=True):
    """A customer's small loop that hangs on the big loop of its cause."""

    __tablename__ = "loop_link"

    big_id: str = Field(primary_key=True, foreign_key="loop.id")
    small_id: str = Field(primary_key=True, foreign_key="loop.id", index=True)
    relation: str
