"""Up to which wave failures are forgiven: whoever resumes a batch and whoever plans it may be two processes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Nothing is forgiven yet."""
    op.add_column("batches", sa.Column("excused", sa.Integer, nullable=False, server_default="0"))
