"""Batches, essays, waves, comparisons, and the tombstones of deleted batches."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the first schema of cj."""
    op.create_table(
        "batches",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("question", sa.Text, nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("essays", sa.Integer, nullable=False),
        sa.Column("waves", sa.Integer, nullable=False, server_default="0"),
        sa.Column("fitted_wave", sa.Integer, nullable=False, server_default="0"),
        sa.Column("planned", sa.Integer, nullable=False, server_default="0"),
        sa.Column("decided", sa.Integer, nullable=False, server_default="0"),
        sa.Column("failed", sa.Integer, nullable=False, server_default="0"),
        sa.Column("cost_usd", sa.Float, nullable=False, server_default="0"),
        sa.Column("reliability", sa.Float),
        sa.Column("stop_reason", sa.Text),
        sa.Column("problem", sa.Text),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("finished_at", sa.Float),
        sa.Column("version", sa.Integer, nullable=False, server_default="0"),
    )
    op.create_table(
        "essays",
        sa.Column("batch_id", sa.Text, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("level", sa.Text),
        sa.Column("score", sa.Float),
        sa.Column("se", sa.Float),
        sa.Column("verdicts", sa.Integer, nullable=False, server_default="0"),
    )
    op.create_table(
        "texts",  # apart, because SQLite would write every essay again with each new score
        sa.Column("batch_id", sa.Text, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_table(
        "waves",
        sa.Column("batch_id", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("open", sa.Integer, nullable=False),
        sa.Column("reliability", sa.Float),
    )
    op.create_table(
        "comparisons",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("batch_id", sa.Text, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("wave", sa.Integer, nullable=False),
        sa.Column("first", sa.Integer, nullable=False),
        sa.Column("second", sa.Integer, nullable=False),
        sa.Column("judge", sa.Integer, nullable=False),
        sa.Column("again", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("due_at", sa.Float),
        sa.Column("posts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("planned_at", sa.Float, nullable=False),
        sa.Column("submitted_at", sa.Float),
        sa.Column("queued_at", sa.Float),
        sa.Column("ended_at", sa.Float),
        sa.Column("ended_order", sa.Integer),
        sa.Column("road", sa.Text),
        sa.Column("winner", sa.Text),
        sa.Column("confidence", sa.Float),
        sa.Column("justification", sa.Text),
        sa.Column("provider", sa.Text),
        sa.Column("model", sa.Text),
        sa.Column("judge_kind", sa.Text),
        sa.Column("cost_usd", sa.Float),
        sa.Column("tokens", sa.Integer),
        sa.Column("response_time_ms", sa.Integer),
        sa.Column("attempts", sa.Integer),
        sa.Column("prompt_sha256", sa.Text),
        sa.Column("error_code", sa.Text),
        sa.Column("error_detail", sa.Text),
        sa.Column("retryable", sa.Boolean),
    )
    op.create_index("comparisons_sequence", "comparisons", ["batch_id", "sequence"], unique=True)
    op.create_index("comparisons_wave", "comparisons", ["batch_id", "wave"])
    due = sa.text("due_at IS NOT NULL")
    op.create_index(
        "comparisons_due", "comparisons", ["due_at", "sequence"], sqlite_where=due, postgresql_where=due
    )
    ended = sa.text("ended_order IS NOT NULL")
    op.create_index(
        "comparisons_ended",
        "comparisons",
        ["batch_id", "ended_order"],
        sqlite_where=ended,
        postgresql_where=ended,
    )
    op.create_table(
        "tombstones",
        sa.Column("batch_id", sa.Text, primary_key=True),
        sa.Column("deleted_at", sa.Float, nullable=False),
    )
