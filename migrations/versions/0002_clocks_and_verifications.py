"""Clocks, verifications, plans of big loops; messages to persons and by other channels."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "verification",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("loop_id", sa.String(), nullable=False),
        sa.Column("via", sa.String(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answer", sa.String(), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "answer IN ('yes', 'no', 'partly')", name=op.f("ck_verification_answer")
        ),
        sa.CheckConstraint("via IN ('mail', 'call')", name=op.f("ck_verification_via")),
        sa.CheckConstraint(
            "(answer IS NULL) = (answered_at IS NULL)", name=op.f("ck_verification_answer_has_time")
        ),
        sa.ForeignKeyConstraint(
            ["loop_id"], ["loop.id"], name=op.f("fk_verification_loop_id_loop")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verification")),
    )
    with op.batch_alter_table("verification", schema=None) as batch_op:
        batch_op.create_index(
            "ix_verification_due",
            ["due_at"],
            unique=False,
            sqlite_where=sa.text("due_at IS NOT NULL"),
            postgresql_where=sa.text("due_at IS NOT NULL"),
        )
        batch_op.create_index("ix_verification_loop", ["loop_id"], unique=False)

    op.create_table(
        "clock",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("loop_id", sa.String(), nullable=False),
        sa.Column("ticket_id", sa.String(), nullable=True),
        sa.Column("spec", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("stops", sa.String(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("provisional", sa.Boolean(), nullable=False),
        sa.Column("reminded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("breached_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("step", sa.String(), nullable=True),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('legal', 'customer', 'owner')", name=op.f("ck_clock_kind")),
        sa.CheckConstraint(
            "step IS NULL OR breached_at IS NOT NULL", name=op.f("ck_clock_climbs_after_breach")
        ),
        sa.CheckConstraint(
            "stopped_at IS NULL OR next_at IS NULL", name=op.f("ck_clock_stopped_is_quiet")
        ),
        sa.ForeignKeyConstraint(["loop_id"], ["loop.id"], name=op.f("fk_clock_loop_id_loop")),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["ticket.id"], name=op.f("fk_clock_ticket_id_ticket")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clock")),
    )
    with op.batch_alter_table("clock", schema=None) as batch_op:
        batch_op.create_index("ix_clock_loop", ["loop_id"], unique=False)
        batch_op.create_index(
            "ix_clock_next",
            ["next_at"],
            unique=False,
            sqlite_where=sa.text("next_at IS NOT NULL"),
            postgresql_where=sa.text("next_at IS NOT NULL"),
        )

    with op.batch_alter_table("loop", schema=None) as batch_op:
        batch_op.add_column(sa.Column("cause", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("due_on", sa.Date(), nullable=True))
        batch_op.create_index(
            "ix_loop_resolved",
            ["id"],
            unique=False,
            sqlite_where=sa.text("state = 'resolved'"),
            postgresql_where=sa.text("state = 'resolved'"),
        )

        batch_op.create_index(
            "ix_loop_cause", ["kind", "topic", "touchpoint", "received_at"], unique=False
        )

    with op.batch_alter_table("feedback", schema=None) as batch_op:
        batch_op.create_index("ix_feedback_received", ["source", "received_at"], unique=False)

    with op.batch_alter_table("measure", schema=None) as batch_op:
        batch_op.create_index("ix_measure_day", ["touchpoint", "day"], unique=False)

    with op.batch_alter_table("message", schema=None) as batch_op:
        batch_op.add_column(sa.Column("person", sa.String(), nullable=True))
        batch_op.add_column(
            sa.Column("channel", sa.String(), nullable=False, server_default="main")
        )


def downgrade() -> None:
    with op.batch_alter_table("message", schema=None) as batch_op:
        batch_op.drop_column("channel")
        batch_op.drop_column("person")

    with op.batch_alter_table("measure", schema=None) as batch_op:
        batch_op.drop_index("ix_measure_day")

    with op.batch_alter_table("feedback", schema=None) as batch_op:
        batch_op.drop_index("ix_feedback_received")

    with op.batch_alter_table("loop", schema=None) as batch_op:
        batch_op.drop_index("ix_loop_cause")
        batch_op.drop_index(
            "ix_loop_resolved",
            sqlite_where=sa.text("state = 'resolved'"),
            postgresql_where=sa.text("state = 'resolved'"),
        )
        batch_op.drop_column("due_on")
        batch_op.drop_column("cause")

    with op.batch_alter_table("clock", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_clock_next",
            sqlite_where=sa.text("next_at IS NOT NULL"),
            postgresql_where=sa.text("next_at IS NOT NULL"),
        )
        batch_op.drop_index("ix_clock_loop")

    op.drop_table("clock")
    with op.batch_alter_table("verification", schema=None) as batch_op:
        batch_op.drop_index("ix_verification_loop")
        batch_op.drop_index(
            "ix_verification_due",
            sqlite_where=sa.text("due_at IS NOT NULL"),
            postgresql_where=sa.text("due_at IS NOT NULL"),
        )

    op.drop_table("verification")
