"""The measured difference a big loop made. Written only through `tasks/change.py`."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Index
from sqlmodel import Field, SQLModel

from models.base import UtcDateTime


class Effect(SQLModel, table=True):
    """One look at a fix, `horizon` days after it was in place.

    `change`, `low` and `high` are per mille of the baseline's rate (-300: thirty per cent fewer)
    with the interval's ends; null where nothing could be measured. `before` and `after` count
    events.
    """

    __tablename__ = "effect"
    __table_args__ = (
        CheckConstraint("verdict IN ('proven', 'not_proven', 'too_little')", name="verdict"),
        Index("ix_effect_loop", "loop_id"),
    )

    id: str = Field(primary_key=True)
    loop_id: str = Field(foreign_key="loop.id")
    horizon: int
    method: str
    verdict: str
    before: int
    after: int
    change: int | None = None
    low: int | None = None
    high: int | None = None
    measured_at: datetime = Field(sa_type=UtcDateTime)
