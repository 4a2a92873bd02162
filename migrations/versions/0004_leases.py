"""When a journal's writer was last heard of, for hosts that cannot see its lock."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("journals", sa.Column("seen_at", sa.Double()))
    if op.get_context().dialect.name == "postgresql":
        # Whoever was writing has from now on the time of a lease to be heard of again.
        op.execute("UPDATE journals SET seen_at = extract(epoch FROM clock_timestamp())")


def downgrade() -> None:
    op.drop_column("journals", "seen_at")
