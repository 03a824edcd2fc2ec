"""Leave that was recorded at a terminal, beside what the organisation document says."""

from datetime import date, datetime

from sqlalchemy import CheckConstraint, Index
from sqlmodel import Field, SQLModel

from models.base import UtcDateTime


class Absence(SQLModel, table=True):
    """A person away from `first` to `last`, both included, in the organisation's zone.

    `deputy` decides in their place meanwhile; null: nobody does.
    """

    __tablename__ = "absence"
    __table_args__ = (
        CheckConstraint("first <= last", name="ends_after_it_begins"),
        # Who is away now, or will be.
        Index("ix_absence_last", "last", "person"),
    )

    id: str = Field(primary_key=True)
    person: str
    first: date
    last: date
    deputy: str | None = None
    recorded_by: str
    recorded_at: datetime = Field(sa_type=UtcDateTime)
