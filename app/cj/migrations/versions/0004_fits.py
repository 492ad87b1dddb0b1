"""What each fitted wave said, which comparison asks a pair again, and what was added to a finished batch."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_ALL = sa.text("SELECT id, settings FROM batches")
_SET = sa.text("UPDATE batches SET settings = :settings WHERE id = :id")


def upgrade() -> None:
    """Of waves that were fitted before, nothing is known but the reliability, which stays with the wave.

    A batch keeps the settings with which it began: no audits where there were none.
    """
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
    connection = op.get_bind()
    for row in connection.execute(_ALL).all():
        settings = json.dumps(json.loads(row.settings) | {"audit_share": 0.0}, ensure_ascii=False)
        connection.execute(_SET, {"id": row.id, "settings": settings})
