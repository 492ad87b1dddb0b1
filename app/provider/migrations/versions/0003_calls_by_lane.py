"""Of whom a call was asked and when it began, so that limits of a minute hold over a restart."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add both; calls of an older version belong to no lane."""
    op.add_column("calls", sa.Column("lane", sa.Text, nullable=False, server_default=""))
    op.add_column("calls", sa.Column("began_at", sa.Double, nullable=False, server_default="0"))
