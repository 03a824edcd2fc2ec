"""A conversation that a senior person had to hear of within the minute."""

from datetime import datetime

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from models.base import UtcDateTime


class RedAlert(SQLModel, table=True):
    """Raised once a conversation, judged by the person who was told.

    `conversation`: keyed hash of its name at the source. `reasons`: rule and signals, joined by
    commas. `false_alarm` is null until somebody judged it.
    """

    __tablename__ = "red_alert"
    __table_args__ = (
        UniqueConstraint("source", "conversation"),
        Index("ix_red_alert_raised", "raised_at"),
    )

    id: str = Field(primary_key=True)
    source: str
    conversation: str
    loop_id: str | None = Field(default=None, foreign_key="loop.id")
    unit: str
    person: str
    reasons: str
    arrived_at: datetime = Field(sa_type=UtcDateTime)
    raised_at: datetime = Field(sa_type=UtcDateTime)
    false_alarm: bool | None = None
    judged_by: str | None = None
    judged_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
