"""Guard rails: triggers that refuse what nobody should do to the history by hand.

They keep honest hands from slipping. Whoever owns the tables can take them away, so the proof rests
on the tree and on checkpoints outside, never on these.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

SIGNED = "OF epoch, size, root, frontier, note, sealed_at"
"""A checkpoint's columns but `published`, which goes on."""
GUARDS = (
    ("history_event", "UPDATE", ""),
    ("history_event", "DELETE", ""),
    ("event_body", "UPDATE", ""),  # deleting one is erasure, and an event says so
    ("audit_checkpoint", "UPDATE", SIGNED),
    ("audit_checkpoint", "DELETE", ""),
    ("audit_head", "DELETE", ""),
)
TABLES = ("history_event", "event_body", "audit_checkpoint", "audit_head")
SHRINKS = "NEW.id <> OLD.id OR NEW.size < OLD.size"

FUNCTION = """
CREATE FUNCTION guard_history() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  RAISE EXCEPTION 'the history is append-only: % of % is refused', TG_OP, TG_TABLE_NAME
    USING ERRCODE = 'restrict_violation';
END $$
"""


def upgrade() -> None:
    head = sa.table("audit_head", *map(sa.column, ("id", "size", "frontier")))
    connection = op.get_bind()
    if connection.execute(sa.select(head.c.id)).first() is None:
        op.execute(sa.insert(head).values(id=1, size=0, frontier=b""))
    if connection.dialect.name == "postgresql":
        guard_postgres()
    else:
        guard_sqlite()


def guard_sqlite() -> None:
    for table, act, columns in GUARDS:
        refuse_sqlite(table, act, f"{columns} ON {table}")
    refuse_sqlite("audit_head", "UPDATE", f"ON audit_head WHEN {SHRINKS}")
    # REPLACE is a deletion, which a body bears, and an insertion.
    there = "EXISTS (SELECT 1 FROM event_body WHERE event_id = NEW.event_id)"
    refuse_sqlite("event_body", "INSERT", f"ON event_body WHEN {there}")


def refuse_sqlite(table: str, act: str, what: str) -> None:
    name = f"guard_{table}_{act.lower()}"
    words = f"the history is append-only: {act} of {table} is refused"
    refuse = f"BEGIN SELECT RAISE(ABORT, '{words}'); END"
    op.execute(f"CREATE TRIGGER {name} BEFORE {act} {what} {refuse}")


def guard_postgres() -> None:
    op.execute(FUNCTION)
    for table, act, columns in GUARDS:
        refuse_postgres(f"{table}_{act.lower()}", f"{act} {columns} ON {table} FOR EACH ROW", table)
    when = f"UPDATE ON audit_head FOR EACH ROW WHEN ({SHRINKS})"
    refuse_postgres("audit_head_update", when, "audit_head")
    for table in TABLES:
        refuse_postgres(f"{table}_truncate", f"TRUNCATE ON {table}", table)


def refuse_postgres(name: str, what: str, table: str) -> None:
    op.execute(f"CREATE TRIGGER guard_{name} BEFORE {what} EXECUTE FUNCTION guard_history()")
    # Also where a superuser calls his session a replica.
    op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER guard_{name}")


def downgrade() -> None:
    postgres = op.get_bind().dialect.name == "postgresql"
    acts = [(table, act.lower()) for table, act, _ in GUARDS] + [("audit_head", "update")]
    acts += [(table, "truncate") for table in TABLES] if postgres else [("event_body", "insert")]
    for table, act in acts:
        op.execute(f"DROP TRIGGER guard_{table}_{act}" + (f" ON {table}" if postgres else ""))
    if postgres:
        op.execute("DROP FUNCTION guard_history()")
