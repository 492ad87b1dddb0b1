"""A database file as the rest of the house sees it: one writer, a few readers, many waiters per commit.

An fsync costs more than everything else in a write, so `GroupCommit` lets all that are waiting share one.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool, StaticPool

from app.errors import ConfigurationError, StoreUnavailable

Item = TypeVar("Item")
Result = TypeVar("Result")
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
        if self.path is not None:
            await asyncio.to_thread(_make_folder, self.path.parent)
        self._open = True
        try:
            await self._run(self._writer, self._start)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Finish the transactions that run, then close every connection."""
        self._open = False
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
            with self._writing.connect() as connection:
                try:
                    with connection.begin():
                        result = work(connection)
                        self._check_presence()
                except (DBAPIError, sqlite3.Error) as error:
                    if _code(error) not in _CROWDED:
                        connection.invalidate()
                    raise
                return result
        except (DBAPIError, sqlite3.Error) as error:
            raise self._translate(error) from error

    def _look(self, work: Callable[[Connection], T]) -> T:
        try:
            with self._reading.connect() as connection, connection.begin():
                return work(connection)
        except (DBAPIError, sqlite3.Error) as error:
            raise self._translate(error) from error

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

    def _translate(self, error: DBAPIError | sqlite3.Error) -> Exception:
        code = _code(error)
        if code in _AWAY:
            return StoreUnavailable(
                f"{self._name} did not take the transaction ({_reason(error)}).", retry_after=1.0
            )
        if code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
            return ConfigurationError(f"{self._name} is not a sound database ({_reason(error)}).")
        return error

    def _engine(self, *, connections: int, read_only: bool = False) -> Engine:
        options: dict[str, Any] = {"poolclass": StaticPool}
        if self.path is not None:
            options = {"poolclass": QueuePool, "pool_size": connections, "max_overflow": 0}
        engine = create_engine(
            "sqlite://" if self.path is None else f"sqlite:///{self.path}",
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
        self._reading.dispose()
        self._writing.dispose()

    def _prepare(self, connection: sqlite3.Connection, *, read_only: bool) -> None:
        if self.path is not None:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA synchronous={self._synchronous}")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA query_only={int(read_only)}")

    @property
    def _name(self) -> str:
        return "The database in memory" if self.path is None else str(self.path)


class GroupCommit(Generic[Item, Result]):
    """Many waiters, one transaction: all that is pending when the writer is free is committed together.

    `apply` runs in the writer thread and returns one result per item, in their order. An exception *in* the results
    is raised to that waiter alone and the rest is committed; an exception *raised* rolls everything back and is
    raised to every waiter of the group. `committed` is called in the event loop after each commit, before any waiter
    goes on and before the next group begins.
    """

    def __init__(
        self,
        database: Database,
        apply: Callable[[Connection, Sequence[Item]], Sequence[Result | Exception]],
        *,
        committed: Callable[[], None] = lambda: None,
        cap: int = 512,
    ) -> None:
        self._database = database
        self._committed = committed
        self._apply = apply
        self._cap = cap
        self._pending: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._idle: asyncio.Future[None] | None = None

    async def submit(self, item: Item) -> Result:
        """Return the item's result once it is durable.

        The item of a waiter that is cancelled is applied all the same: as with any commit, it does not know.

        :raises StoreUnavailable: as `Database.write`.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._pending.append((item, future))
        if self._idle is None:
            self._idle = loop.create_future()
            loop.call_soon(self._commit_next, loop)
        return await future

    async def drain(self) -> None:
        """Return when nothing is pending."""
        while self._idle is not None:
            await asyncio.shield(self._idle)

    def _commit_next(self, loop: asyncio.AbstractEventLoop) -> None:
        pending = self._pending
        if not pending:
            if self._idle is not None:
                self._idle.set_result(None)
                self._idle = None
            return
        group = [pending.popleft() for _ in range(min(self._cap, len(pending)))]
        items = [item for item, _ in group]
        try:
            done = self._database.submit_write(lambda connection: self._apply(connection, items))
        except StoreUnavailable as error:
            self._deliver(loop, group, error)
            return
        done.add_done_callback(
            lambda done: loop.call_soon_threadsafe(
                self._deliver, loop, group, done.exception() or done.result()
            )
        )

    def _deliver(
        self,
        loop: asyncio.AbstractEventLoop,
        group: list[tuple[Item, asyncio.Future[Result]]],
        results: Sequence[Result | Exception] | BaseException,
    ) -> None:
        if not isinstance(results, BaseException):
            self._committed()
        for position, (_, future) in enumerate(group):
            if future.done():
                continue
            result = results if isinstance(results, BaseException) else results[position]
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)
        self._commit_next(loop)


def migrate(connection: Connection, script_location: Path, *, name: str = "The database") -> None:
    """Bring the schema up to date within the transaction of `connection`.

    Migrations are files `versions/NNNN_what.py` whose `revision` is their number. Alembic is loaded only when one is
    missing: an ordinary start does not pay for it (measured: 0.2 to 0.4 s).

    :raises ConfigurationError: the schema is newer than this program knows.
    """
    known = sorted(file.name.split("_", 1)[0] for file in (script_location / "versions").glob("[0-9]*_*.py"))
    current = None
    if inspect(connection).has_table("alembic_version"):
        current = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if current is not None and current not in known:
        raise ConfigurationError(
            f"{name} has schema {current}, but this version of Juxta knows schemas up to {known[-1]}.",
            hint="Start the newer version of Juxta, or restore a copy made before the upgrade.",
        )
    if current != known[-1]:
        _upgrade(connection, script_location)


def _upgrade(connection: Connection, script_location: Path) -> None:
    from alembic.config import Config  # noqa: PLC0415 - see `migrate`: most starts do without
    from alembic.runtime.environment import EnvironmentContext  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(script_location).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)

    def steps(current: Any, _context: object) -> Any:
        return script._upgrade_revs("head", current)  # noqa: SLF001 - what alembic's own `upgrade` command calls

    with EnvironmentContext(config, script) as environment:
        environment.configure(connection=connection, fn=steps, transactional_ddl=True)
        environment.run_migrations()


def _original(error: DBAPIError | sqlite3.Error) -> BaseException | None:
    return error.orig if isinstance(error, DBAPIError) else error


def _code(error: DBAPIError | sqlite3.Error) -> int | None:
    """The primary result code; the extended ones keep it in their lowest byte."""
    code = getattr(_original(error), "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _reason(error: DBAPIError | sqlite3.Error) -> str:
    return str(_original(error))


def _make_folder(folder: Path) -> None:
    try:
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - `Path.mkdir` makes parents with other modes
    except OSError as error:
        raise StoreUnavailable(f"{folder} cannot be made ({error.strerror}).") from error
