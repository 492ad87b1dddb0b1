"""The ledger: requests, their payloads, and counters per lane."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_PLACE = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the three tables."""
    op.create_table(
        "requests",
        sa.Column("place", _PLACE, primary_key=True, autoincrement=True),
        sa.Column("queue_id", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("correlation_id", sa.LargeBinary, nullable=False),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("lane", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("callback_topic", sa.Text),
        sa.Column("callback_key", sa.Text, nullable=False),
        sa.Column("priority", sa.SmallInteger, nullable=False),
        sa.Column("traceparent", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reply", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text),
        sa.Column("held", sa.Boolean, nullable=False),
        sa.Column("cancelled", sa.Boolean, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("boot", sa.Text),
        sa.Column("line", sa.SmallInteger),
        sa.Column("due_at", sa.Double),
        sa.Column("expires_in", sa.Double, nullable=False),
        sa.Column("accepted_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("ready_at", sa.Double, nullable=False),
        sa.Column("leased_at", sa.Double),
        sa.Column("answered_at", sa.Double),
        sa.Column("published_at", sa.Double),
        sqlite_autoincrement=True,
    )
    _partial("requests_judge_line", "lane", "priority DESC", "place", where="line = 1")
    _partial("requests_closer_line", "place", where="line = 2")
    _partial("requests_due", "due_at", where="due_at IS NOT NULL")
    _partial("requests_open", "lane", "place", where="published_at IS NULL")
    _partial("requests_published", "published_at", where="published_at IS NOT NULL")
    op.create_table(
        "payloads",
        sa.Column(
            "place",
            _PLACE,
            sa.ForeignKey("requests.place", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("event", sa.LargeBinary),
    )
    op.create_table(
        "lanes",
        sa.Column("lane", sa.Text, primary_key=True),
        sa.Column("queued", sa.Integer, nullable=False),
        sa.Column("leased", sa.Integer, nullable=False),
        sa.Column("answered", sa.Integer, nullable=False),
    )


def _partial(name: str, *columns: str, where: str) -> None:
    op.create_index(
        name,
        "requests",
        [sa.text(c) for c in columns],
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(where),
    )
