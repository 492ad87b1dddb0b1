"""Where a cj keeps its store in a test: a folder with a SQLite file, or a schema of a PostgreSQL."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from pathlib import Path

import psycopg

from app.database import Database, SqliteDatabase
from app.database.postgresql import PostgresDatabase
from tests import engines

MIGRATIONS = Path(__file__).parents[2] / "app" / "cj" / "migrations"


class Place(ABC):
    """One store. Each `database` is one process's own way to it."""

    @abstractmethod
    def database(self) -> Database:
        """Another process's door to the store."""

    @abstractmethod
    def beside(self, name: str) -> Place:
        """Another, empty store."""

    @abstractmethod
    def holds(self, text: str) -> bool:
        """Whether anybody who looks finds this text among the essays."""


class SqlitePlace(Place):
    """Whoever looks reads the files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def database(self) -> Database:
        return SqliteDatabase(self._folder / "cj.db", migrations=MIGRATIONS, synchronous="OFF")

    def beside(self, name: str) -> Place:
        return SqlitePlace(self._folder / name)

    def holds(self, text: str) -> bool:
        return any(text.encode() in file.read_bytes() for file in self._folder.iterdir())


class PostgresPlace(Place):
    """Whoever looks asks with SQL: what is dead stays in the server's files until it is vacuumed."""

    def __init__(self, url: str, schema: str = "cj") -> None:
        self.url = url
        self._schema = schema

    def database(self) -> Database:
        return PostgresDatabase(self.url, self._schema, migrations=MIGRATIONS)

    def beside(self, name: str) -> Place:
        return PostgresPlace(self.url, f"{self._schema}_{name}").emptied()

    def holds(self, text: str) -> bool:
        sql = f"SELECT count(*) FROM {self._schema}.texts WHERE text LIKE '%{text}%'"
        with psycopg.connect(self.url) as connection:
            found = connection.execute(sql.encode()).fetchone()
        return found is not None and found[0] > 0

    def emptied(self) -> PostgresPlace:
        """The same, once nothing is in it."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            found = connection.execute(
                "SELECT string_agg(format('%%I.%%I', schemaname, tablename), ', ') FROM pg_tables"
                " WHERE schemaname = %s AND tablename <> 'alembic_version'",
                [self._schema],
            ).fetchone()
            if found and found[0]:
                connection.execute(f"TRUNCATE {found[0]}")
        return self


@cache
def shared_url() -> str:
    """A database of the server that all tests share."""
    return engines.postgresql().create("cj")
