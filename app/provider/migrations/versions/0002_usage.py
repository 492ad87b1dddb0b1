"""What was spent: single calls for a while, and sums by day, asker and model."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the two tables."""
    op.create_table(
        "calls",
        sa.Column("queue_id", sa.LargeBinary, primary_key=True),
        sa.Column("place", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("tries", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Double, nullable=False),
        *_tokens(),
        sa.Column("cost_usd", sa.Double),  # null: nobody here knows
    )
    op.create_index("calls_at", "calls", ["at"])
    op.create_table(
        "usage",
        sa.Column("day", sa.Text, primary_key=True),
        sa.Column("principal", sa.Text, primary_key=True),
        sa.Column("provider", sa.Text, primary_key=True),
        sa.Column("model", sa.Text, primary_key=True),
        *_tokens(),
        sa.Column("verdicts", sa.BigInteger, nullable=False),
        sa.Column("cost_usd", sa.Double, nullable=False),
        sa.Column("unpriced", sa.BigInteger, nullable=False),
    )


def _tokens() -> list[sa.Column[int]]:
    names = ("calls", "prompt_tokens", "cached_tokens", "completion_tokens")
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]
