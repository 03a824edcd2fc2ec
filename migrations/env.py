"""Alembic's environment: runs on the connection that `loopwright.migrate` hands over."""

from typing import Any, Literal

from alembic import context
from sqlmodel.sql.sqltypes import AutoString

from models.base import JsonText, UtcDateTime
from models.tables import metadata

PLAIN = {
    UtcDateTime: "sa.DateTime(timezone=True)",
    JsonText: "sa.Text()",
    AutoString: "sa.String()",
}


def render_plain(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Migrations name SQLAlchemy's own types, so that they survive changes of ours."""
    return PLAIN.get(type(item), False) if kind == "type" else False


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata(),
    render_as_batch=connection.dialect.name == "sqlite",
    render_item=render_plain,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
