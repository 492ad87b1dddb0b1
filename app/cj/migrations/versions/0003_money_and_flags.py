"""What a batch may spend, beside what it has spent; and of each comparison its prompt's version and its flags."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_ALL = sa.text("SELECT id, settings FROM batches")
_SET = sa.text("UPDATE batches SET budget_usd = :budget WHERE id = :id")


def upgrade() -> None:
    """Add the columns; a batch that has a budget in its settings gets it as a number to compare with."""
    op.add_column("batches", sa.Column("budget_usd", sa.Float))
    op.add_column("comparisons", sa.Column("prompt_version", sa.Text))
    op.add_column("comparisons", sa.Column("flags", sa.Text))  # a JSON array, empty for most
    flagged = sa.text("flags IS NOT NULL")
    op.create_index(
        "comparisons_flagged", "comparisons", ["batch_id"], sqlite_where=flagged, postgresql_where=flagged
    )
    connection = op.get_bind()
    for row in connection.execute(_ALL).all():
        budget = json.loads(row.settings).get("budget_usd")
        if budget is not None:
            connection.execute(_SET, {"id": row.id, "budget": budget})
