"""Guard rails for published documents: what the policy was is never changed afterwards.

As the history's (0004): they keep honest hands from slipping, and the proof never rests on them.
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TABLES = ("document", "publication")
ACTS = ("UPDATE", "DELETE")
POSTGRES_ACTS = (*ACTS, "TRUNCATE")


def upgrade() -> None:
    for table in TABLES:
        if is_postgres():
            guard_postgres(table)
        else:
            guard_sqlite(table)


def is_postgres() -> bool:
    return bool(op.get_bind().dialect.name == "postgresql")


def guard_sqlite(table: str) -> None:
    for act in ACTS:
        words = f"the history is append-only: {act} of {table} is refused"
        refuse = f"BEGIN SELECT RAISE(ABORT, '{words}'); END"
        op.execute(f"CREATE TRIGGER {guard(table, act)} BEFORE {act} ON {table} {refuse}")


def guard_postgres(table: str) -> None:
    for act in POSTGRES_ACTS:
        each = "" if act == "TRUNCATE" else "FOR EACH ROW"
        what = f"BEFORE {act} ON {table} {each} EXECUTE FUNCTION guard_history()"
        op.execute(f"CREATE TRIGGER {guard(table, act)} {what}")
        # Also where a superuser calls his session a replica.
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {guard(table, act)}")


def guard(table: str, act: str) -> str:
    return f"guard_{table}_{act.lower()}"


def downgrade() -> None:
    postgres = is_postgres()
    for table in TABLES:
        for act in POSTGRES_ACTS if postgres else ACTS:
            where = f" ON {table}" if postgres else ""
            op.execute(f"DROP TRIGGER {guard(table, act)}{where}")
