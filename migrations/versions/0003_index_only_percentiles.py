"""Percentiles per series, and per series and day, that are read from an index alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def partial_index(name: str, columns: list[str]) -> None:
    condition = sa.text("counted")
    op.create_index(name, "steps", columns, sqlite_where=condition, postgresql_where=condition)


def upgrade() -> None:
    op.add_column("steps", sa.Column("day", sa.Integer(), nullable=False, server_default="0"))
    op.execute(f"UPDATE steps SET day = CAST({_days()} AS INTEGER)")
    op.drop_index("ix_steps_duration", "steps")
    partial_index("ix_steps_duration", ["series_id", "duration", "counted"])
    partial_index("ix_steps_day", ["series_id", "day", "duration", "counted"])


def downgrade() -> None:
    op.drop_index("ix_steps_day", "steps")
    op.drop_index("ix_steps_duration", "steps")
    partial_index("ix_steps_duration", ["series_id", "duration"])
    op.drop_column("steps", "day")


def _days() -> str:
    # SQLite's CAST cuts, PostgreSQL's rounds; not every SQLite has floor(). No step is older than 1970.
    if op.get_context().dialect.name == "postgresql":
        return "floor(start_time / 86400)"
    return "start_time / 86400"
