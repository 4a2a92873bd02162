"""Alerts and what belongs to them: their events, messages on the way, silences, accepted baselines."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def partial_index(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("series_id", BIG_ID, nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("baseline", sa.Double()),
        sa.Column("effect", sa.Double()),
        sa.Column("limit", sa.Double()),
        sa.Column("bound", sa.Double()),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("baseline_n", sa.Integer(), nullable=False),
        sa.Column("since_session_id", sa.Text(), nullable=False),
        sa.Column("since_time", sa.Double(), nullable=False),
        sa.Column("last_session_id", sa.Text(), nullable=False),
        sa.Column("last_time", sa.Double(), nullable=False),
        sa.Column("hits", sa.Integer(), nullable=False),
        sa.Column("good", sa.Integer(), nullable=False),
        sa.Column("reopened", sa.Integer(), nullable=False),
        sa.Column("inhibited_by", sa.BigInteger()),
        sa.Column("silenced", sa.Boolean(), nullable=False),
        sa.Column("opened_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.Column("closed_at", sa.Double()),
        sa.Column("notified_at", sa.Double()),
        sa.Column("notified_severity", sa.Text()),
        sa.Column("headline", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("details", DOCUMENT),
        sa.PrimaryKeyConstraint("id", name="pk_alerts"),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name="fk_alerts_series_id"),
        sa.CheckConstraint(
            "state IN ('pending', 'firing', 'acknowledged', 'historic', "
            "'resolved', 'expected', 'false alarm')",
            name="ck_alerts_state",
        ),
        sa.CheckConstraint("severity IN ('info', 'warning', 'critical')", name="ck_alerts_severity"),
    )
    fingerprint = ["series_id", "rule", "metric", "direction"]
    partial_index("uq_alerts_active", "alerts", fingerprint, "active", unique=True)
    op.create_index("ix_alerts_opened_at", "alerts", ["opened_at"])
    op.create_table(
        "alert_events",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("alert_id", BIG_ID, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text()),
        sa.Column("note", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_alert_events"),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["alerts.id"], name="fk_alert_events_alert_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_alert_events_alert_id", "alert_events", ["alert_id"])
    op.create_table(
        "outbox",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text()),
        sa.Column("payload", DOCUMENT, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("next_at", sa.Double(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("sent_at", sa.Double()),
        sa.Column("last_error", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sa.CheckConstraint("state IN ('waiting', 'sent', 'failed')", name="ck_outbox_state"),
    )
    partial_index("ix_outbox_waiting", "outbox", ["next_at"], "state = 'waiting'")
    op.create_index("ix_outbox_channel", "outbox", ["channel", "created_at"])
    op.create_table(
        "silences",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("rule", sa.Text()),
        sa.Column("pipeline", sa.Text()),
        sa.Column("step_name", sa.Text()),
        sa.Column("alert_id", BIG_ID),
        sa.Column("reason", sa.Text()),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_silences"),
        sa.ForeignKeyConstraint(["alert_id"], ["alerts.id"], name="fk_silences_alert_id", ondelete="CASCADE"),
    )
    op.create_table(
        "baselines",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("series_id", BIG_ID, nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("since_session_id", sa.Text(), nullable=False),
        sa.Column("since_time", sa.Double(), nullable=False),
        sa.Column("value", sa.Double()),
        sa.Column("alert_id", BIG_ID),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_baselines"),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name="fk_baselines_series_id"),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["alerts.id"], name="fk_baselines_alert_id", ondelete="SET NULL"
        ),
    )
    op.create_index("ix_baselines_series_id", "baselines", ["series_id", "metric"])


def downgrade() -> None:
    for table in ("baselines", "silences", "outbox", "alert_events", "alerts"):
        op.drop_table(table)
