"""Roll-ups of every measure beside the duration.

Days that are rolled up already stay as they are, and a measure is read from their runs; idle workers roll it
up by and by. ``pruned_measures`` has what was measured in runs that were just pruned.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("daily_values", sa.Column("measures", sa.Text()))
    op.create_table(
        "pruned_measures",
        sa.Column("id", number(), autoincrement=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_pruned_measures"),
    )


def downgrade() -> None:
    op.drop_table("pruned_measures")
    op.execute("DELETE FROM rollups WHERE measure <> 'duration'")
    op.drop_column("daily_values", "measures")


def number() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")
