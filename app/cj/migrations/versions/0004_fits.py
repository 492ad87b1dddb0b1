"""What each fitted wave said, which comparison asks a pair again, and what was added to a finished batch."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Of waves that were fitted before, nothing is known but the reliability, which stays with the wave."""
    op.create_table(
        "fits",
        sa.Column("batch_id", sa.Text, primary_key=True),
        sa.Column("wave", sa.Integer, primary_key=True),
        sa.Column("verdicts", sa.Integer, nullable=False),
        sa.Column("reliability", sa.Float, nullable=False),
        sa.Column("sigma", sa.Float, nullable=False),
        sa.Column("positions", sa.Text, nullable=False),  # a JSON array, one number for each judge
        sa.Column("position_errors", sa.Text, nullable=False),
        sa.Column("islands", sa.Integer, nullable=False),
        sa.Column("cost_usd", sa.Float, nullable=False),
        sa.Column("fitted_at", sa.Float, nullable=False),
    )
    op.add_column("comparisons", sa.Column("audit_of", sa.Integer))
    op.add_column("batches", sa.Column("extended_from", sa.Integer))
    op.add_column("batches", sa.Column("extended_to", sa.Integer))
