"""Which three letters follow each other in the texts of a day's sessions, so that a search skips hours.

Days that are rolled up already stay as they are; idle workers add the letters by and by.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("daily_values", sa.Column("letters", sa.LargeBinary()))


def downgrade() -> None:
    op.drop_column("daily_values", "letters")
