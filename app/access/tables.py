"""The tables of keys and audit log: `access.db`, or a schema in PostgreSQL. The migrations make them; these are what the statements expect."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Column, Double, ForeignKey, Integer, LargeBinary, MetaData, Table, Text

MIGRATIONS = Path(__file__).parent / "migrations"

metadata = MetaData()

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("parent", Text, ForeignKey("keys.id")),  # of a session: the key that signed in
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("last_used_at", Double),
)

audit = Table(
    "audit",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("at", Double, nullable=False),
    Column("principal", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    sqlite_autoincrement=True,
)
