"""A SQLite file: connections, threads, transactions, and what its errors mean."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import anyio
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool, StaticPool

from app.database.migrations import migrate
from app.errors import ConfigurationError, StoreUnavailable

T = TypeVar("T")

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
_UNSOUND = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT})
_CHECKPOINT_PAGES = 4000


class Database:
    """One SQLite file: WAL, every commit synced, all writing in one thread.

    Write transactions are `BEGIN IMMEDIATE`: a deferred one that turns from reading to writing fails at once when
    another process wrote meanwhile, whatever the timeout. Connections of readers refuse to write.

    `path` None is a private database in memory. `migrations` is the folder of its migration history, brought up to
    date when it opens. `synchronous` below FULL gives up durability and is for tests.
    """

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
        self._migrations = migrations
        self._synchronous = synchronous
        self._inode = 0
        self._open = False
        self._busy_timeout = busy_timeout
        self._writing = self._engine(connections=1)
        self._connection: Connection | None = None
        self._reading = self._writing if path is None else self._engine(connections=readers, read_only=True)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="database-writer")
        self._readers = (
            self._writer
            if path is None
            else ThreadPoolExecutor(readers, thread_name_prefix="database-reader")
        )

    async def open(self) -> None:
        """Open the file, making it if need be, and run the migrations that are missing.

        :raises ConfigurationError: the file is no database, or its schema is newer than this program.
        :raises StoreUnavailable: the file cannot be opened or is locked.
        """
        self._open = True
        try:
            await self._run(self._writer, self._start)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Finish the transactions that run, then close every connection."""
        self._open = False
        with anyio.CancelScope(shield=True):
            await asyncio.to_thread(self._stop)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` as one write transaction in the writer thread; an error rolls all of it back.

        A caller that is cancelled meanwhile does not stop it: as with any commit, the outcome is unknown to it.

        :raises StoreUnavailable: locked beyond the timeout, full, read-only or gone; nothing was stored.
        """
        return await self._run(self._writer, lambda: self._transact(work))

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on one consistent snapshot in a reader thread.

        :raises StoreUnavailable: the file cannot be read.
        """
        return await self._run(self._readers, lambda: self._look(work))

    async def checkpoint(self) -> None:
        """Empty the write-ahead log into the file, so that what was deleted is in neither."""
        await self._run(self._writer, self._empty_log)

    def submit_write(self, work: Callable[[Connection], T]) -> Future[T]:
        """`write` without a coroutine around it.

        :raises StoreUnavailable: the database is closed.
        """
        return self._submit(self._writer, lambda: self._transact(work))

    async def _run(self, threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self._submit(threads, work))

    def _submit(self, threads: ThreadPoolExecutor, work: Callable[[], T]) -> Future[T]:
        if not self._open:
            raise StoreUnavailable(f"{self._name} is closed.")
        return threads.submit(work)

    def _transact(self, work: Callable[[Connection], T]) -> T:
        try:
            connection = self._connection = self._connection or self._writing.connect()
            try:
                with connection.begin():
                    result = work(connection)
                    self._check_presence()
            except (DBAPIError, sqlite3.Error) as error:
                if _code(error) in _BROKEN and self.path is not None:
                    connection.invalidate()  # the next transaction opens the file anew
                    self._hang_up()
                raise
        except (DBAPIError, sqlite3.Error) as error:
            self._translate(error)
            raise
        return result

    def _look(self, work: Callable[[Connection], T]) -> T:
        try:
            with self._reading.connect() as connection, connection.begin():
                return work(connection)
        except (DBAPIError, sqlite3.Error) as error:
            self._translate(error)
            raise

    def _empty_log(self) -> None:
        self._hang_up()
        raw = self._writing.raw_connection()
        try:
            raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            raw.close()

    def _hang_up(self) -> None:
        """Give the writer's connection back; it is kept from one transaction to the next only to save time."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _check_presence(self) -> None:
        """SQLite would go on writing into a file that was deleted under it, and lose it all at the end."""
        if self.path is None:
            return
        try:
            present = self.path.stat().st_ino == self._inode
        except OSError:
            present = False
        if not present:
            raise StoreUnavailable(f"{self._name} was moved or deleted while it was open.")

    def _translate(self, error: DBAPIError | sqlite3.Error) -> None:
        """Raise what the rest of the house calls it; errors of our own statements have no other name."""
        code = _code(error)
        if code in _AWAY:
            raise StoreUnavailable(
                f"{self._name} did not take the transaction ({_cause(error)}).", retry_after=1.0
            ) from error
        if code in _UNSOUND:
            raise ConfigurationError(f"{self._name} is not a sound database ({_cause(error)}).") from error

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
        if self.path is not None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.path.touch(exist_ok=True)
                self._inode = self.path.stat().st_ino
            except OSError as error:
                raise StoreUnavailable(f"{self._name} cannot be opened ({error.strerror}).") from error
        location = self._migrations
        if location is not None:
            self._transact(lambda connection: migrate(connection, location, name=self._name))
        else:
            self._look(lambda connection: connection.exec_driver_sql("SELECT 1"))

    def _stop(self) -> None:
        self._readers.shutdown(wait=True)
        self._writer.shutdown(wait=True)
        self._hang_up()
        self._reading.dispose()
        self._writing.dispose()

    def _prepare(self, connection: sqlite3.Connection, *, read_only: bool) -> None:
        if self.path is not None:
            _turn_to_wal(connection, self._busy_timeout)
            connection.execute("PRAGMA secure_delete=ON")
            connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA synchronous={self._synchronous}")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(
            "PRAGMA temp_store=MEMORY"
        )  # a statement over many rows can be undone without a file
        connection.execute(f"PRAGMA query_only={int(read_only)}")

    @property
    def _name(self) -> str:
        return "The database in memory" if self.path is None else str(self.path)


def _turn_to_wal(connection: sqlite3.Connection, seconds: float) -> None:
    """Switch on write-ahead logging; while somebody else switches, SQLite fails at once, whatever its busy timeout."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _cause(error: DBAPIError | sqlite3.Error) -> BaseException | None:
    """What the driver said, whether SQLAlchemy wrapped it or not."""
    return error.orig if isinstance(error, DBAPIError) else error


def _code(error: DBAPIError | sqlite3.Error) -> int | None:
    """The primary result code; the extended ones keep it in their lowest byte."""
    code: int | None = getattr(_cause(error), "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
