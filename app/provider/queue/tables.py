"""The provider's tables. The migrations make them; these are what the statements in `ledger.py` and `spending.py` expect.

An open row is in one of three places, so that leasing never scans:

- in the line of its lane (`line` = JUDGE), to be filed again at `due_at` = `expires_at`;
- in the line of the closer (`line` = CLOSER), with no `due_at`;
- in no line, because it is held or delayed, until it is filed at `due_at` = `ready_at`.

`ready_at` is the promise (nobody may lease the row before), `line` and `due_at` follow from it. `held` says that the
lease (`place`, `attempt`) may write: it does not end with the lease's time, but with the next lease.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)

MIGRATIONS = Path(__file__).parent.parent / "migrations"

JUDGE, CLOSER = 1, 2

metadata = MetaData()

_Place = BigInteger().with_variant(Integer, "sqlite")

requests = Table(
    "requests",
    metadata,
    Column("place", _Place, primary_key=True, autoincrement=True),
    Column("queue_id", LargeBinary, nullable=False, unique=True),
    Column("correlation_id", LargeBinary, nullable=False),
    Column("principal", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("callback_topic", Text),
    Column("callback_key", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("traceparent", Text),
    Column("state", Text, nullable=False),
    Column("reply", Text, nullable=False),
    Column("outcome", Text),
    Column("held", Boolean, nullable=False),
    Column("cancelled", Boolean, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("boot", Text),
    Column("line", SmallInteger),
    Column("due_at", Double),
    Column("expires_in", Double, nullable=False),
    Column("accepted_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("ready_at", Double, nullable=False),
    Column("leased_at", Double),
    Column("answered_at", Double),
    Column("published_at", Double),
    sqlite_autoincrement=True,
)


def _partial(name: str, *columns: str, where: str) -> Index:
    return Index(
        name, *map(text, columns), sqlite_where=text(where), postgresql_where=text(where), _table=requests
    )


_partial("requests_judge_line", "lane", "priority DESC", "place", where=f"line = {JUDGE}")
_partial("requests_closer_line", "place", where=f"line = {CLOSER}")
_partial("requests_due", "due_at", where="due_at IS NOT NULL")
_partial("requests_open", "lane", "place", where="published_at IS NULL")
_partial("requests_published", "published_at", where="published_at IS NOT NULL")

payloads = Table(
    "payloads",  # apart, because SQLite writes a row with all its essays again for every change of its state
    metadata,
    Column(
        "place",
        _Place,
        ForeignKey("requests.place", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("body", LargeBinary, nullable=False),
    Column("event", LargeBinary),
)

lanes = Table(
    "lanes",  # counters of open rows, changed in the transactions that move them
    metadata,
    Column("lane", Text, primary_key=True),
    Column("queued", Integer, nullable=False),
    Column("leased", Integer, nullable=False),
    Column("answered", Integer, nullable=False),
)


def _tokens() -> list[Column[int]]:
    names = ("calls", "prompt_tokens", "cached_tokens", "completion_tokens")
    return [Column(name, BigInteger, nullable=False) for name in names]


calls = Table(
    "calls",  # of language models, until their outcomes are long stored; with a ledger elsewhere they stand here too
    metadata,
    Column("queue_id", LargeBinary, primary_key=True),
    Column("place", BigInteger, primary_key=True, autoincrement=False),
    Column("tries", Integer, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    *_tokens(),
    Column("cost_usd", Double),  # null: nobody here knows
    Column("lane", Text, nullable=False, server_default=""),
    Column("began_at", Double, nullable=False, server_default="0"),
    Index("calls_at", "at"),
)

usage = Table(
    "usage",
    metadata,
    Column("day", Text, primary_key=True),
    Column("principal", Text, primary_key=True),
    Column("provider", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    *_tokens(),
    Column("verdicts", BigInteger, nullable=False),
    Column("cost_usd", Double, nullable=False),
    Column("unpriced", BigInteger, nullable=False),
)
