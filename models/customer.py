"""Who said it: one customer across channels, found by number or keyed hashes, never by name."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import Column, Index, text
from sqlmodel import Field, SQLModel

from models.base import JsonText, UtcDateTime

MERGED = "merged_into IS NOT NULL"


class Customer(SQLModel, table=True):
    """A person the firm serves; `merged_into` when two turned out to be one."""

    __tablename__ = "customer"
    __table_args__ = (
        Index(
            "ix_customer_merged",
            "merged_into",
            sqlite_where=text(MERGED),
            postgresql_where=text(MERGED),
        ),
    )

    id: str = Field(primary_key=True)
    merged_into: str | None = Field(default=None, foreign_key="customer.id")
    created_at: datetime = Field(sa_type=UtcDateTime)


class CustomerKey(SQLModel, table=True):
    """One way to recognise a customer: a keyed hash over the kind (number, phone, …) and value."""

    __tablename__ = "customer_key"

    digest: str = Field(primary_key=True)
    kind: str
    customer_id: str = Field(foreign_key="customer.id", index=True)


class CustomerSnapshot(SQLModel, table=True):
    """What the firm knew of a customer from `valid_from` until `valid_to` (open when null)."""

    __tablename__ = "customer_snapshot"
    __table_args__ = (Index("ix_customer_snapshot_when", "customer_id", "valid_from"),)

    id: str = Field(primary_key=True, foreign_key="raw_item.id")
    customer_id: str = Field(foreign_key="customer.id")
    value_band: str | None = None
    lifecycle: str | None = None
    vulnerable: bool = False
    branch: str | None = None
    manager: str | None = None
    consent: Any = Field(default=None, sa_column=Column(JsonText))
    valid_from: datetime = Field(sa_type=UtcDateTime)
    valid_to: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Measure(SQLModel, table=True):
    """An objective count with its denominator, for one touchpoint, unit, channel and day."""

    __tablename__ = "measure"
    __table_args__ = (Index("ix_measure_day", "touchpoint", "day"),)

    touchpoint: str = Field(primary_key=True)
    unit: str = Field(primary_key=True)
    channel: str = Field(primary_key=True)
    day: date = Field(primary_key=True)
    numerator: float
    denominator: float
    raw_id: str = Field(foreign_key="raw_item.id")


class JourneyEvent(SQLModel, table=True):
    """One step a customer took at a touchpoint, and how it ended."""

    __tablename__ = "journey_event"
    __table_args__ = (Index("ix_journey_event_touchpoint", "touchpoint", "at"),)

    id: str = Field(primary_key=True, foreign_key="raw_item.id")
    customer_id: str | None = Field(default=None, foreign_key="customer.id", index=True)
    touchpoint: str
    channel: str
    at: datetime = Field(sa_type=UtcDateTime)
    outcome: str
