"""The runs of one step are found by an index: any measure of them is read without the steps beside them."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_steps_session_pk", "steps", ["session_pk", "series_id"])


def downgrade() -> None:
    op.drop_index("ix_steps_session_pk", "steps")
