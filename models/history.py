"""The history: events as leaves of one RFC 6962 tree, their erasable bodies, the tree's head, and
the signed checkpoints of it.

The form is final: events are never migrated, old kinds are read by version.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, LargeBinary, Text, text
from sqlmodel import Field, SQLModel

from models.base import JsonText, UtcDateTime


class HistoryEvent(SQLModel, table=True):
    """One entry. `envelope` holds the exact canonical bytes that were hashed into `leaf`.

    The other columns repeat the envelope for queries; verification compares them. `seq` is the
    leaf's position, dense from 0, and stands outside the envelope.
    """

    __tablename__ = "history_event"
    __table_args__ = (
        CheckConstraint("(loop_id IS NULL) = (loop_seq IS NULL)", name="loop_has_sequence"),
        Index(
            "uq_history_event_loop",
            "loop_id",
            "loop_seq",
            unique=True,
            sqlite_where=text("loop_id IS NOT NULL"),
            postgresql_where=text("loop_id IS NOT NULL"),
        ),
        Index("ix_history_event_kind", "kind", "seq"),
    )

    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    event_id: str = Field(unique=True)
    loop_id: str | None = None
    loop_seq: int | None = None
    kind: str
    at: datetime = Field(sa_type=UtcDateTime)
    actor_type: str
    actor_id: str
    actor_via: str
    on_behalf_of: str | None = None
    run_id: str | None = None
    policy_version: str | None = None
    rule_version: str | None = None
    template_version: str | None = None
    hash_alg: str = "sha256"
    body_commit: str | None = None
    data: str = Field(sa_column=Column(Text, nullable=False))
    envelope: str = Field(sa_column=Column(Text, nullable=False))
    leaf: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class EventBody(SQLModel, table=True):
    """Words and identity of an event; the only part of the history that can be erased."""

    __tablename__ = "event_body"

    event_id: str = Field(primary_key=True)
    salt: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    body: str = Field(sa_column=Column(Text, nullable=False))


class AuditHead(SQLModel, table=True):
    """The tree's present size and frontier (roots of its full subtrees, largest first)."""

    __tablename__ = "audit_head"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: int = Field(default=1, primary_key=True)
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    frontier: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class AuditCheckpoint(SQLModel, table=True):
    """A signed statement of the tree's size and root; `note` is its exact text (C2SP signed-note).

    `frontier` must hash to `root`, so that the next one can be proven to extend it. `published`:
    what became of it outside, a list of {to, at, ok, error, tries}, `ok` null while under way.
    """

    __tablename__ = "audit_checkpoint"

    epoch: int = Field(primary_key=True)
    size: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    root: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    frontier: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    note: str = Field(sa_column=Column(Text, nullable=False))
    sealed_at: datetime = Field(sa_type=UtcDateTime)
    published: Any = Field(default_factory=list, sa_column=Column(JsonText, nullable=False))
