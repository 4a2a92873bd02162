"""Baselines that a person pinned: a level that holds however long ago its sessions were pruned."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("baselines", sa.Column("pinned", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("baselines", sa.Column("n", sa.Integer()))
    op.add_column("baselines", sa.Column("spread", sa.Double()))
    op.add_column("baselines", sa.Column("until_session_id", sa.Text()))
    op.add_column("baselines", sa.Column("until_time", sa.Double()))
    op.add_column("baselines", sa.Column("note", sa.Text()))


def downgrade() -> None:
    op.execute("DELETE FROM baselines WHERE pinned")  # accepted ones hold what is since, pins what was before
    for column in ("note", "until_time", "until_session_id", "spread", "n", "pinned"):
        op.drop_column("baselines", column)
