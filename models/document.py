"""Published documents: the exact bytes that run, each publication a whole checked set."""

from datetime import datetime

from sqlalchemy import Column, LargeBinary
from sqlmodel import Field, SQLModel

from models.base import UtcDateTime


class Publication(SQLModel, table=True):
    """One published set; the highest number runs. Loops keep the number they were judged by."""

    __tablename__ = "publication"

    number: int = Field(primary_key=True)
    sha256: str
    published_at: datetime = Field(sa_type=UtcDateTime)
    published_by: str


class Document(SQLModel, table=True):
    """One file of a published set, byte for byte."""

    __tablename__ = "document"

    publication: int = Field(primary_key=True, foreign_key="publication.number")
    name: str = Field(primary_key=True)
    sha256: str
    content: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
