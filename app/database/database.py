"""A database as the house uses it, whatever the engine: its threads, its transactions, its way in and out."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self, TypeVar

import anyio
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from app.database.migrations import recognise
from app.errors import StoreUnavailable

T = TypeVar("T")


class Database(ABC):
    """All writing of this process in one thread and one connection, reads on snapshots in a few others.

    `migrations` is the folder of its migration history, brought up to date when it opens.
    """

    errors: ClassVar[tuple[type[Exception], ...]]
    """What the driver raises, by itself or through SQLAlchemy."""

    shared: ClassVar[bool] = False
    """Whether other processes write at the same time, so that rows need locks and news needs carrying."""

    def __init__(
        self, *, migrations: Path | None, writing: Engine, reading: Engine, readers: int | None
    ) -> None:
        self._migrations = migrations
        self._open = False
        self._as_it_is = False
        self._writing = writing
        self._reading = reading
        self._connection: Connection | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="database-writer")
        self._readers = (
            self._writer
            if readers is None
            else ThreadPoolExecutor(readers, thread_name_prefix="database-reader")
        )

    @property
    @abstractmethod
    def name(self) -> str:
        """What people know it by; no secret is in it."""

    @abstractmethod
    def now(self, connection: Connection) -> float:
        """POSIX seconds by the clock that all who share this database go by."""

    def tell(self, connection: Connection, channel: str, word: str) -> None:  # noqa: B027 - nobody else is there
        """Say `word` on `channel`, when this transaction commits, to all who listen on a shared database."""

    def listen(self, channel: str, heard: Callable[[str], None]) -> None:  # noqa: B027 - as above
        """From now until it closes call `heard` with each word, in the event loop.

        With an empty word after words may have been missed: when listening begins, or begins again.
        """

    async def open(self) -> None:
        """Open it, making it if need be, and run the migrations that are missing.

        :raises ConfigurationError: it is no database, or not ours, or its schema is newer than this program.
        :raises StoreUnavailable: it cannot be opened or is locked.
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

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[Self]:
        """Open it as it is, to read what servers may be writing: nothing is made and no migration runs.

        :raises ConfigurationError: its schema is another than this program's.
        :raises StoreUnavailable: as when it is opened.
        """
        self._as_it_is = True
        async with self:
            yield self

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

        :raises StoreUnavailable: locked beyond the timeout, full, read-only or gone. Nothing was stored, unless the
            connection broke during the commit: then nobody knows, and the same again is the way to find out.
        """
        return await self._run(self._writer, lambda: self._transact(work))

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on one consistent snapshot in a reader thread.

        :raises StoreUnavailable: it cannot be read.
        """
        return await self._run(self._readers, lambda: self._look(work))

    async def check(self) -> None:
        """Return when it takes transactions now.

        :raises StoreUnavailable: it does not, or only reads.
        """
        await self.write(self.now)

    async def checkpoint(self) -> None:  # noqa: B027 - most engines have nothing to do here
        """Let go of what was deleted as far as the engine can be told to."""

    def submit_write(self, work: Callable[[Connection], T]) -> Future[T]:
        """`write` without a coroutine around it.

        :raises StoreUnavailable: the database is closed.
        """
        return self._submit(self._writer, lambda: self._transact(work))

    @abstractmethod
    def _start(self) -> None:
        """Connect and bring the schema up to date, or only `_recognise` it, in the writer thread."""

    def _recognise(self, connection: Connection) -> None:
        if self._migrations is not None:
            recognise(connection, self._migrations, name=self.name)

    @abstractmethod
    def _translate(self, error: Exception) -> None:
        """Raise what the rest of the house calls it; errors of our own statements have no other name."""

    @abstractmethod
    def _breaks(self, error: Exception) -> bool:
        """Whether the connection is of no use after this."""

    def _is_alive(self, _connection: Connection) -> bool:
        """Whether a connection that was idle is still of use, as far as can be told without asking the server."""
        return True

    def _before_commit(self) -> None:  # noqa: B027 - as above
        """Look a last time whether the transaction may be committed."""

    def _bounded(self, _connection: Connection) -> AbstractContextManager[None]:
        """A limit for work on this connection, where the driver has none of its own."""
        return nullcontext()

    async def _run(self, threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self._submit(threads, work))

    def _submit(self, threads: ThreadPoolExecutor, work: Callable[[], T]) -> Future[T]:
        if not self._open:
            raise StoreUnavailable(f"{self.name} is closed.")
        return threads.submit(work)

    def _transact(self, work: Callable[[Connection], T]) -> T:
        try:
            connection = self._connected()
            try:
                with self._bounded(connection), connection.begin():
                    result = work(connection)
                    self._before_commit()
            except self.errors as error:
                if self._breaks(error):
                    connection.invalidate()  # the next transaction connects anew
                    self._hang_up()
                raise
        except self.errors as error:
            self._translate(error)
            raise
        return result

    def _connected(self) -> Connection:
        """The writer's connection; nothing was sent yet, so that one that died meanwhile may be replaced."""
        if self._connection is not None and not self._is_alive(self._connection):
            self._connection.invalidate()
            self._hang_up()
        if self._connection is None:
            self._connection = self._writing.connect()
        return self._connection

    def _look(self, work: Callable[[Connection], T]) -> T:
        try:
            with self._reading.connect() as connection, self._bounded(connection), connection.begin():
                return work(connection)
        except self.errors as error:
            self._translate(error)
            raise

    def _hang_up(self) -> None:
        """Give the writer's connection back; it is kept from one transaction to the next only to save time."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _stop(self) -> None:
        self._readers.shutdown(wait=True)
        self._writer.shutdown(wait=True)
        self._hang_up()
        self._reading.dispose()
        self._writing.dispose()


def cause_of(error: Exception) -> BaseException | None:
    """What the driver said, whether SQLAlchemy wrapped it or not."""
    return error.orig if isinstance(error, DBAPIError) else error
