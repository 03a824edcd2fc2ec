"""Approvals, effects, red alerts, absences; pauses and extensions of clocks; handlers."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

WHEN_RESOLVED = (
    "(SELECT max(e.at) FROM history_event e WHERE e.loop_id = loop.id AND e.kind = 'loop.resolved')"
)
WHEN_CLIMBED = (
    "(SELECT max(e.at) FROM history_event e WHERE e.loop_id = clock.loop_id"
    " AND e.kind = 'clock.climbed' AND e.data LIKE '%\"clock\":\"' || clock.id || '\"%')"
)
FILLED = (
    f"UPDATE loop SET ask_at = {WHEN_RESOLVED} WHERE kind = 'small' AND state = 'resolved'",
    f"UPDATE loop SET watched_from = {WHEN_RESOLVED} WHERE kind = 'big'",
    "UPDATE ticket SET active_at = accepted_at",
    f"UPDATE clock SET climbed_at = {WHEN_CLIMBED} WHERE step IS NOT NULL",
    "UPDATE verification SET contacted_at = asked_at WHERE via = 'mail'",
    "UPDATE verification SET contacts = 0 WHERE via = 'call'",
    "UPDATE verification SET call_at = asked_at WHERE via = 'call' AND due_at IS NOT NULL",
)
"""What the events of loops so far say of the new columns."""


def upgrade() -> None:
    op.create_table(
        "absence",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("first", sa.Date(), nullable=False),
        sa.Column("last", sa.Date(), nullable=False),
        sa.Column("deputy", sa.String(), nullable=True),
        sa.Column("recorded_by", sa.String(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("first <= last", name=op.f("ck_absence_ends_after_it_begins")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_absence")),
    )
    with op.batch_alter_table("absence", schema=None) as batch_op:
        batch_op.create_index("ix_absence_last", ["last", "person"], unique=False)

    op.create_table(
        "effect",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("loop_id", sa.String(), nullable=False),
        sa.Column("horizon", sa.Integer(), nullable=False),
        sa.Column("method", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("before", sa.Integer(), nullable=False),
        sa.Column("after", sa.Integer(), nullable=False),
        sa.Column("change", sa.Integer(), nullable=True),
        sa.Column("low", sa.Integer(), nullable=True),
        sa.Column("high", sa.Integer(), nullable=True),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "verdict IN ('proven', 'not_proven', 'too_little')", name=op.f("ck_effect_verdict")
        ),
        sa.ForeignKeyConstraint(["loop_id"], ["loop.id"], name=op.f("fk_effect_loop_id_loop")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_effect")),
    )
    with op.batch_alter_table("effect", schema=None) as batch_op:
        batch_op.create_index("ix_effect_loop", ["loop_id"], unique=False)

    op.create_table(
        "red_alert",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("conversation", sa.String(), nullable=False),
        sa.Column("loop_id", sa.String(), nullable=True),
        sa.Column("unit", sa.String(), nullable=False),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("reasons", sa.String(), nullable=False),
        sa.Column("arrived_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("false_alarm", sa.Boolean(), nullable=True),
        sa.Column("judged_by", sa.String(), nullable=True),
        sa.Column("judged_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["loop_id"], ["loop.id"], name=op.f("fk_red_alert_loop_id_loop")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_red_alert")),
        sa.UniqueConstraint(
            "source", "conversation", name=op.f("uq_red_alert_source_conversation")
        ),
    )
    with op.batch_alter_table("red_alert", schema=None) as batch_op:
        batch_op.create_index("ix_red_alert_raised", ["raised_at"], unique=False)

    op.create_table(
        "followed_file",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.String(), nullable=False),
        sa.Column("head_bytes", sa.Integer(), nullable=False),
        sa.Column("stored", sa.Integer(), nullable=False),
        sa.Column("parsed", sa.Integer(), nullable=False),
        sa.Column("arrived_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["id"], ["intake.id"], name=op.f("fk_followed_file_id_intake")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_followed_file")),
    )
    with op.batch_alter_table("followed_file", schema=None) as batch_op:
        batch_op.create_index("ix_followed_file_source", ["source"], unique=False)

    op.create_table(
        "conversation",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("record", sa.Text(), nullable=True),
        sa.Column("segments", sa.Integer(), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("quiet_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("source", "name", name=op.f("pk_conversation")),
    )
    with op.batch_alter_table("conversation", schema=None) as batch_op:
        batch_op.create_index(
            "ix_conversation_quiet",
            ["quiet_at"],
            unique=False,
            sqlite_where=sa.text("ended_at IS NULL"),
            postgresql_where=sa.text("ended_at IS NULL"),
        )

    op.create_table(
        "approval",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("loop_id", sa.String(), nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("level", sa.String(), nullable=False),
        sa.Column("unit", sa.String(), nullable=False),
        sa.Column("ticket_id", sa.String(), nullable=True),
        sa.Column("clock_id", sa.String(), nullable=True),
        sa.Column("terms", sa.Text(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("asked_by", sa.String(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_by", sa.String(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'waiting') = (decided_at IS NULL)", name=op.f("ck_approval_decided_has_time")
        ),
        sa.CheckConstraint(
            "state IN ('waiting', 'granted', 'refused')", name=op.f("ck_approval_state")
        ),
        sa.ForeignKeyConstraint(["loop_id"], ["loop.id"], name=op.f("fk_approval_loop_id_loop")),
        sa.ForeignKeyConstraint(
            ["ticket_id"], ["ticket.id"], name=op.f("fk_approval_ticket_id_ticket")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval")),
    )
    with op.batch_alter_table("approval", schema=None) as batch_op:
        batch_op.create_index("ix_approval_loop", ["loop_id"], unique=False)
        batch_op.create_index(
            "ix_approval_waiting",
            ["asked_at"],
            unique=False,
            sqlite_where=sa.text("state = 'waiting'"),
            postgresql_where=sa.text("state = 'waiting'"),
        )

    with op.batch_alter_table("clock", schema=None) as batch_op:
        batch_op.add_column(sa.Column("climbed_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("extension", sa.String(), nullable=True))
        batch_op.create_check_constraint("paused_is_quiet", "paused_at IS NULL OR next_at IS NULL")
        batch_op.create_index(
            "ix_clock_running",
            ["due_at"],
            unique=False,
            sqlite_where=sa.text("stopped_at IS NULL AND breached_at IS NULL"),
            postgresql_where=sa.text("stopped_at IS NULL AND breached_at IS NULL"),
        )
        batch_op.create_index(
            "ix_clock_provisional",
            ["due_at"],
            unique=False,
            sqlite_where=sa.text("provisional AND stopped_at IS NULL"),
            postgresql_where=sa.text("provisional AND stopped_at IS NULL"),
        )

    op.create_table(
        "clock_recount",
        sa.Column("publication", sa.Integer(), nullable=False),
        sa.Column("upto_due", sa.DateTime(timezone=True), nullable=True),
        sa.Column("upto", sa.String(), nullable=True),
        sa.Column("moved", sa.Integer(), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["publication"],
            ["publication.number"],
            name=op.f("fk_clock_recount_publication_publication"),
        ),
        sa.PrimaryKeyConstraint("publication", name=op.f("pk_clock_recount")),
    )

    with op.batch_alter_table("loop", schema=None) as batch_op:
        batch_op.add_column(sa.Column("ask_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("barred", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("sponsor", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("target_percent", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("baseline_from", sa.Date(), nullable=True))
        batch_op.add_column(sa.Column("baseline_to", sa.Date(), nullable=True))
        batch_op.add_column(sa.Column("comparison", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("watched_from", sa.DateTime(timezone=True), nullable=True))
        batch_op.drop_index(
            batch_op.f("ix_loop_resolved"), sqlite_where=sa.text("state = 'resolved'")
        )
        batch_op.create_index(
            "ix_loop_resolved",
            ["ask_at"],
            unique=False,
            sqlite_where=sa.text("state = 'resolved'"),
            postgresql_where=sa.text("state = 'resolved'"),
        )

    with op.batch_alter_table("ticket", schema=None) as batch_op:
        batch_op.add_column(sa.Column("person", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("active_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.create_index(
            "ix_ticket_person",
            ["person"],
            unique=False,
            sqlite_where=sa.text("person IS NOT NULL AND state IN ('assigned', 'accepted')"),
            postgresql_where=sa.text("person IS NOT NULL AND state IN ('assigned', 'accepted')"),
        )

    with op.batch_alter_table("verification", schema=None) as batch_op:
        batch_op.add_column(sa.Column("contacts", sa.Integer(), nullable=False, server_default="1"))
        batch_op.add_column(sa.Column("contacted_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("call_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(
            sa.Column("doubt", sa.Boolean(), nullable=False, server_default=sa.false())
        )
        batch_op.add_column(sa.Column("first_answer", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("outcome", sa.String(), nullable=True))
        batch_op.create_index(
            "ix_verification_call",
            ["call_at"],
            unique=False,
            sqlite_where=sa.text("call_at IS NOT NULL"),
            postgresql_where=sa.text("call_at IS NOT NULL"),
        )
    with op.batch_alter_table("customer", schema=None) as batch_op:
        batch_op.create_index(
            "ix_customer_merged",
            ["merged_into"],
            unique=False,
            sqlite_where=sa.text("merged_into IS NOT NULL"),
            postgresql_where=sa.text("merged_into IS NOT NULL"),
        )
    for statement in FILLED:
        op.execute(statement)


def downgrade() -> None:
    with op.batch_alter_table("customer", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_customer_merged",
            sqlite_where=sa.text("merged_into IS NOT NULL"),
            postgresql_where=sa.text("merged_into IS NOT NULL"),
        )

    with op.batch_alter_table("verification", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_verification_call",
            sqlite_where=sa.text("call_at IS NOT NULL"),
            postgresql_where=sa.text("call_at IS NOT NULL"),
        )
        batch_op.drop_column("outcome")
        batch_op.drop_column("first_answer")
        batch_op.drop_column("doubt")
        batch_op.drop_column("call_at")
        batch_op.drop_column("contacted_at")
        batch_op.drop_column("contacts")

    with op.batch_alter_table("ticket", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_ticket_person",
            sqlite_where=sa.text("person IS NOT NULL AND state IN ('assigned', 'accepted')"),
            postgresql_where=sa.text("person IS NOT NULL AND state IN ('assigned', 'accepted')"),
        )
        batch_op.drop_column("active_at")
        batch_op.drop_column("person")

    with op.batch_alter_table("loop", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_loop_resolved",
            sqlite_where=sa.text("state = 'resolved'"),
            postgresql_where=sa.text("state = 'resolved'"),
        )
        batch_op.create_index(
            batch_op.f("ix_loop_resolved"),
            ["id"],
            unique=False,
            sqlite_where=sa.text("state = 'resolved'"),
            postgresql_where=sa.text("state = 'resolved'"),
        )
        batch_op.drop_column("watched_from")
        batch_op.drop_column("comparison")
        batch_op.drop_column("baseline_to")
        batch_op.drop_column("baseline_from")
        batch_op.drop_column("target_percent")
        batch_op.drop_column("sponsor")
        batch_op.drop_column("barred")
        batch_op.drop_column("ask_at")

    op.drop_table("clock_recount")
    with op.batch_alter_table("clock", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_clock_provisional",
            sqlite_where=sa.text("provisional AND stopped_at IS NULL"),
            postgresql_where=sa.text("provisional AND stopped_at IS NULL"),
        )
        batch_op.drop_index(
            "ix_clock_running",
            sqlite_where=sa.text("stopped_at IS NULL AND breached_at IS NULL"),
            postgresql_where=sa.text("stopped_at IS NULL AND breached_at IS NULL"),
        )
        batch_op.drop_constraint("paused_is_quiet", type_="check")
        batch_op.drop_column("extension")
        batch_op.drop_column("paused_at")
        batch_op.drop_column("climbed_at")

    with op.batch_alter_table("approval", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_approval_waiting",
            sqlite_where=sa.text("state = 'waiting'"),
            postgresql_where=sa.text("state = 'waiting'"),
        )
        batch_op.drop_index("ix_approval_loop")

    op.drop_table("approval")
    with op.batch_alter_table("conversation", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_conversation_quiet",
            sqlite_where=sa.text("ended_at IS NULL"),
            postgresql_where=sa.text("ended_at IS NULL"),
        )

    op.drop_table("conversation")
    with op.batch_alter_table("followed_file", schema=None) as batch_op:
        batch_op.drop_index("ix_followed_file_source")

    op.drop_table("followed_file")
    with op.batch_alter_table("red_alert", schema=None) as batch_op:
        batch_op.drop_index("ix_red_alert_raised")

    op.drop_table("red_alert")
    with op.batch_alter_table("effect", schema=None) as batch_op:
        batch_op.drop_index("ix_effect_loop")

    op.drop_table("effect")
    with op.batch_alter_table("absence", schema=None) as batch_op:
        batch_op.drop_index("ix_absence_last")

    op.drop_table("absence")
