"""Conversations that are delivered while they run, and how far each growing file was read."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Index, text
from sqlmodel import Field, SQLModel

from models.base import JsonText, UtcDateTime

RUNNING = "ended_at IS NULL"


class FollowedFile(SQLModel, table=True):
    """One life of a growing file: a truncated or replaced one is another. Its id is its intake's.

    `position` is the byte after the last whole line that was stored, `stored` and `parsed` count
    lines. `head` is a keyed hash of the first `head_bytes`, by which the file is known again under
    another name. `arrived_at`: when its newest stored line was written.
    """

    __tablename__ = "followed_file"
    __table_args__ = (Index("ix_followed_file_source", "source"),)

    id: str = Field(primary_key=True, foreign_key="intake.id")
    source: str
    name: str
    position: int = Field(default=0, sa_type=BigInteger)
    head: str
    head_bytes: int = 0
    stored: int = 0
    parsed: int = 0
    arrived_at: datetime = Field(sa_type=UtcDateTime)


class Conversation(SQLModel, table=True):
    """A conversation of a followed source. `name` is a keyed hash of its name there.

    `record` holds its segments so far, as a source that delivers whole conversations would; null
    once it has ended, when they are its feedback's. It ends by its marker or at `quiet_at`.
    """

    __tablename__ = "conversation"
    __table_args__ = (
        Index(
            "ix_conversation_quiet",
            "quiet_at",
            sqlite_where=text(RUNNING),
            postgresql_where=text(RUNNING),
        ),
    )

    source: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    record: Any = Field(default=None, sa_column=Column(JsonText))
    segments: int = 0
    began_at: datetime = Field(sa_type=UtcDateTime)
    quiet_at: datetime = Field(sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
