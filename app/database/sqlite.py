"""A SQLite file: connections, threads, transactions, and what its errors mean."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any, ClassVar, Literal

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool, StaticPool

from app.database.database import Database, cause_of
from app.database.migrations import migrate
from app.errors import ConfigurationError, StoreUnavailable

Synchronous = Literal["FULL", "NORMAL", "OFF"]

_AWAY = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)
_CROWDED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL})
_BROKEN = _AWAY - _CROWDED
_HELD = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_UNSOUND = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT})
_CHECKPOINT_PAGES = 4000


class SqliteDatabase(Database):
    """One SQLite file: WAL, every commit synced, one writer.

    Write transactions are `BEGIN IMMEDIATE`: a deferred one that turns from reading to writing fails at once when
    another process wrote meanwhile, whatever the timeout. Connections of readers refuse to write.

    `path` None is a private database in memory. `synchronous` below FULL gives up durability and is for tests.
    """

    errors: ClassVar = (DBAPIError, sqlite3.Error)

    def __init__(
        self,
        path: Path | None,
        *,
        migrations: Path | None = None,
        synchronous: Synchronous = "FULL",
        busy_timeout: float = 5.0,
        readers: int = 2,
    ) -> None:
        self.path = path
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._inode = 0
        writing = self._engine(connections=1)
        super().__init__(
            migrations=migrations,
            writing=writing,
            reading=writing if path is None else self._engine(connections=readers, read_only=True),
            readers=None if path is None else readers,
        )

    @property
    def name(self) -> str:
        """The path of its file."""
        return "The database in memory" if self.path is None else str(self.path)

    def now(self, connection: Connection) -> float:  # noqa: ARG002 - who shares a file shares a machine
        """This machine's clock."""
        return time.time()

    async def check(self) -> None:
        """As promised; it changes nothing and writes a page all the same, or a full disk would look well."""
        await self.write(_write_a_page)

    async def checkpoint(self) -> None:
        """Empty the write-ahead log into the file, so that what was deleted is in neither."""
        await self._run(self._writer, self._empty_log)

    def _empty_log(self) -> None:
        self._hang_up()
        raw = self._writing.raw_connection()
        try:
            raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            raw.close()

    def _breaks(self, error: Exception) -> bool:
        return self.path is not None and _code(error) in _BROKEN

    def _before_commit(self) -> None:
        """SQLite would go on writing into a file that was deleted under it, and lose it all at the end."""
        if self.path is None:
            return
        try:
            present = self.path.stat().st_ino == self._inode
        except OSError:
            present = False
        if not present:
            raise StoreUnavailable(f"{self.name} was moved or deleted while it was open.")

    def _translate(self, error: Exception) -> None:
        code = _code(error)
        if code in _AWAY:
            raise StoreUnavailable(
                f"{self.name} did not take the transaction ({cause_of(error)}).", retry_after=1.0
            ) from error
        if code in _UNSOUND:
            raise ConfigurationError(f"{self.name} is not a sound database ({cause_of(error)}).") from error

    def _engine(self, *, connections: int, read_only: bool = False) -> Engine:
        options: dict[str, Any] = {"poolclass": StaticPool}
        if self.path is not None:
            options = {"poolclass": QueuePool, "pool_size": connections, "max_overflow": 0}
        engine = create_engine(
            "sqlite://" if self.path is None else f"sqlite:///{self.path}",
            hide_parameters=True,  # they hold essays, and errors end in logs
            connect_args={
                "timeout": self._busy_timeout,
                "isolation_level": None,
                "check_same_thread": False,
                "cached_statements": 512,
            },
            **options,
        )
        begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"

        @event.listens_for(engine, "connect")
        def prepare(connection: sqlite3.Connection, _record: object) -> None:
            self._prepare(connection, read_only=read_only)

        @event.listens_for(engine, "begin")
        def start(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

        return engine

    def _start(self) -> None:
        if self._as_it_is:
            if self.path is not None and not self.path.exists():  # SQLite would make it, even to read
                raise StoreUnavailable(f"{self.name} is not there.")
            self._look(self._recognise)
            return
        if self.path is not None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.path.touch(exist_ok=True)
                self._inode = self.path.stat().st_ino
            except OSError as error:
                raise StoreUnavailable(f"{self.name} cannot be opened ({error.strerror}).") from error
        location = self._migrations
        if location is not None:
            self._transact(lambda connection: migrate(connection, location, name=self.name))
        else:
            self._look(lambda connection: connection.exec_driver_sql("SELECT 1"))

    def _prepare(self, connection: sqlite3.Connection, *, read_only: bool) -> None:
        if self.path is not None:
            _turn_to_wal(connection, self._busy_timeout)
            connection.execute("PRAGMA secure_delete=ON")
            connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA synchronous={self._synchronous}")
        connection.execute("PRAGMA foreign_keys=ON")
        # With that a statement over many rows can be undone without a file.
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute(f"PRAGMA query_only={int(read_only)}")


def _write_a_page(connection: Connection) -> None:
    (version,) = connection.exec_driver_sql("PRAGMA user_version").one()
    connection.exec_driver_sql(f"PRAGMA user_version={version}")


def _turn_to_wal(connection: sqlite3.Connection, seconds: float) -> None:
    """Switch on write-ahead logging; while somebody else switches, SQLite fails at once, whatever its busy timeout."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if (
                _code(error) not in _HELD or time.monotonic() >= deadline
            ):  # a disk that fails is not waited for
                raise
            time.sleep(0.01)
        else:
            return


def _code(error: Exception) -> int | None:
    """The primary result code; the extended ones keep it in their lowest byte."""
    code: int | None = getattr(cause_of(error), "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
