"""Roll-ups per series and day, the values of attributes per day, and sessions by duration and failure.

Nothing is rolled up here: each day with runs is marked, is read from its runs as before, and rolled up by
and by, while programs record.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

FAILED = {"sqlite_where": sa.text("status = 2"), "postgresql_where": sa.text("status = 2")}


def upgrade() -> None:
    op.create_table(
        "rollups",
        sa.Column("series_id", number(), sa.ForeignKey("series.id", name="fk_rollups_series_id_series")),
        sa.Column("measure", sa.Text(), nullable=False),
        sa.Column("pruned", sa.Boolean(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.Double(), nullable=False),
        sa.Column("low", sa.Double()),
        sa.Column("high", sa.Double()),
        sa.Column("buckets", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("series_id", "measure", "pruned", "day", name="pk_rollups"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "stale_days",
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("claim", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", "claim", name="pk_stale_days"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "daily_values",
        sa.Column("day", sa.Integer(), autoincrement=False),
        sa.Column("digests", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("day", name="pk_daily_values"),
    )
    op.drop_index("ix_steps_failed", "steps")
    op.create_index("ix_steps_failed", "steps", ["series_id", "day"], **FAILED)
    op.create_index("ix_sessions_total_duration", "sessions", ["total_duration"])
    op.create_index("ix_sessions_failed", "sessions", ["start_time"], **FAILED)

    op.execute(  # the conditions of two indexes, which answer alone
        "INSERT INTO stale_days (day, claim) SELECT day, 0 FROM "
        "(SELECT day FROM steps WHERE counted UNION SELECT day FROM steps WHERE status = 2) found"
    )
    day = "CAST(floor(start_time / 86400) AS integer)"
    if op.get_context().dialect.name == "sqlite":
        day = "CAST(start_time / 86400 AS integer)"  # no start is before 1970, and old versions have no floor
    op.execute(
        f"INSERT INTO stale_days (day, claim) SELECT DISTINCT {day}, 0 FROM sessions "
        f"WHERE {day} NOT IN (SELECT day FROM stale_days)"
    )


def downgrade() -> None:
    op.drop_index("ix_sessions_failed", "sessions")
    op.drop_index("ix_sessions_total_duration", "sessions")
    op.drop_index("ix_steps_failed", "steps")
    op.create_index("ix_steps_failed", "steps", ["series_id"], **FAILED)
    for table in ("daily_values", "stale_days", "rollups"):
        op.drop_table(table)


def number() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")
