"""A schema in a PostgreSQL database that other processes use too: connections, deadlines, and what its errors mean."""

from __future__ import annotations

import asyncio
import re
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import structlog
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.pool import QueuePool

from app.database.database import Database, cause_of
from app.database.grants import lacking
from app.database.listening import Listener
from app.database.migrations import is_current, migrate
from app.database.statements import fetch
from app.database.watch import Watch
from app.errors import ConfigurationError, StoreUnavailable

_READ_ONLY = "25006"
_AWAY = ("08", "40", "53", "55", "57", "58", _READ_ONLY, "25P03")
"""SQLSTATEs, by their beginning: connection, deadlock, resources, locks, shutdown and cancel, system, read-only, idle."""

_REFUSED = ("28", "3D", "42501", "3F")
"""Who we are or where we want to go is wrong: password, database, privilege, schema."""

_REFUSED_IN_WORDS = re.compile(
    "authentication failed|no password supplied|does not exist|permission denied|no pg_hba.conf entry"
    "|not permitted to log in|does not support SSL"
)
"""The same as the server says it while we connect, when libpq keeps the SQLSTATE to itself."""

_FULL = re.compile("too many (clients|connections)|remaining connection slots")
_CLOCK = "SELECT CAST(extract(epoch FROM clock_timestamp()) AS float8)"
_MIGRATING = 600.0
"""Seconds for bringing the schema up to date, or for another process to do so."""

_TURN = "(hashtextextended(:key, 0))"
"""The lock under which a schema is migrated."""

_log = structlog.get_logger(__name__)


class PostgresDatabase(Database):
    """One schema. Row locks order what processes do at once; its clock is the one all of them go by.

    Durations in seconds: `connect_timeout`, `lock_timeout` for any lock, `deadline` for a whole transaction. The server
    ends what takes too long; when it says nothing at all, the socket is shut after the `deadline`: libpq would wait for
    ever on a server that hangs, because its kernel still acknowledges.
    """

    errors: ClassVar = (DBAPIError, psycopg.Error)
    shared: ClassVar = True

    def __init__(
        self,
        url: str,
        schema: str,
        *,
        migrations: Path | None = None,
        readers: int = 2,
        connect_timeout: float = 3.0,
        lock_timeout: float = 2.0,
        deadline: float = 10.0,
    ) -> None:
        self._schema = schema
        self._url = make_url(url).set(drivername="postgresql+psycopg")
        self._settings = {
            "search_path": schema,
            "lock_timeout": f"{lock_timeout * 1000:.0f}",
            "statement_timeout": f"{deadline * 1000:.0f}",
            "idle_in_transaction_session_timeout": f"{deadline * 1000:.0f}",
        }
        self._connect_timeout = connect_timeout
        self._limit = self._usual_limit = deadline + 1.0
        self._ready = False
        self._watch = Watch()
        self._listeners: list[Listener] = []
        super().__init__(
            migrations=migrations,
            writing=self._engine(connections=1),
            reading=self._engine(connections=readers, read_only=True),
            readers=readers,
        )

    @property
    def name(self) -> str:
        """Host, port and database."""
        return (
            f"PostgreSQL {self._url.host or 'localhost'}:{self._url.port or 5432}/{self._url.database or ''}"
        )

    async def check(self) -> None:
        """Ask it: one that only reads, a standby say, has a clock too."""
        await self.write(_refuse_read_only)

    async def examine(self) -> None:
        """Look whether our role may do here what it has to; nothing is made or changed.

        :raises ConfigurationError: it may not.
        :raises StoreUnavailable: it cannot be told.
        """
        lacks = await self.read(lambda connection: lacking(connection, self._schema))
        if lacks is not None:
            raise ConfigurationError(f"{self.name}: {lacks}.", hint="Grant what is missing.")

    def now(self, connection: Connection) -> float:
        """The server's clock, not the moment its transaction began."""
        ((moment,),) = fetch(connection, _CLOCK)
        return float(moment)

    def tell(self, connection: Connection, channel: str, word: str) -> None:
        """By NOTIFY. It takes a lock at commit that all who notify share: not for every row."""
        connection.connection.dbapi_connection.execute(  # type: ignore[union-attr]
            "SELECT pg_notify(%s, %s)", [f"{self._schema} {channel}", word]
        )

    def listen(self, channel: str, heard: Callable[[str], None]) -> None:
        """By LISTEN, on a connection of its own that comes back after every loss."""
        loop = asyncio.get_running_loop()

        def pass_on(word: str) -> None:
            with suppress(RuntimeError):  # nobody closed the database before the loop
                loop.call_soon_threadsafe(heard, word)

        listener = Listener(
            psycopg.conninfo.make_conninfo(
                self._url.set(drivername="postgresql").render_as_string(hide_password=False),
                connect_timeout=max(1, round(self._connect_timeout)),
                application_name=f"juxta {self._schema}",
            ),
            f"{self._schema} {channel}",
            pass_on,
        )
        self._listeners.append(listener)
        listener.start()

    def _engine(self, *, connections: int, read_only: bool = False) -> Engine:
        settings = self._settings | ({"default_transaction_read_only": "on"} if read_only else {})
        engine = create_engine(
            self._url,
            paramstyle="format",
            hide_parameters=True,  # they hold essays, and errors end in logs
            isolation_level="REPEATABLE READ" if read_only else "READ COMMITTED",
            poolclass=QueuePool,
            pool_size=connections,
            max_overflow=0,
            use_native_hstore=False,  # asks for its type at every connect, and nobody has one
            connect_args={
                "connect_timeout": max(1, round(self._connect_timeout)),
                "application_name": f"juxta {self._schema}",
                "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
                "keepalives_idle": 30,
            },
        )
        event.listen(engine, "checkout", _refuse_the_dead)
        return engine

    def _start(self) -> None:
        self._watch.start()
        try:
            if self._as_it_is:
                self._look(self._recognise)
            elif not self._transact(self._is_up_to_date):
                self._limit = _MIGRATING
                self._transact(self._bring_up_to_date)
                self._limit = self._usual_limit
            self._ready = True
        except StoreUnavailable as error:
            said = _refusal(error.__cause__)
            if said is not None:
                raise ConfigurationError(
                    f"{self.name} does not let Juxta in: {said}",
                    hint="Correct database.url, or grant what is missing.",
                ) from error
            raise StoreUnavailable(error.detail, hint=_advice(error.__cause__)) from error

    def _is_up_to_date(self, connection: Connection) -> bool:
        """Within the usual limits: only who has something to migrate may have to wait for longer."""
        return self._migrations is None or is_current(connection, self._migrations, name=self.name)

    def _bring_up_to_date(self, connection: Connection) -> None:
        """Under a lock, so that of processes that start together one migrates and the others wait for it."""
        if self._migrations is None:
            return
        for name in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(text(f"SET LOCAL {name} = {_MIGRATING * 1000:.0f}"))
        key = {"key": f"juxta {self._schema}"}
        if not connection.execute(text(f"SELECT pg_try_advisory_xact_lock{_TURN}"), key).scalar():
            _log.warning("waits for another process to migrate", database=self.name, schema=self._schema)
            connection.execute(text(f"SELECT pg_advisory_xact_lock{_TURN}"), key)
        _log.info("brings the schema up to date", database=self.name, schema=self._schema)
        found = connection.execute(text("SELECT to_regnamespace(:schema)"), {"schema": self._schema}).scalar()
        if found is None:
            connection.execute(text(f'CREATE SCHEMA "{self._schema}"'))
        migrate(connection, self._migrations, name=self.name)

    def _is_alive(self, connection: Connection) -> bool:
        """A server that ended has closed the socket or said why; nothing else comes to an idle connection."""
        return _is_quiet(connection.connection.dbapi_connection)

    def _breaks(self, error: Exception) -> bool:
        connection = self._connection
        driver: Any = None
        if connection is not None and not connection.invalidated:
            driver = connection.connection.dbapi_connection
        if driver is None or driver.closed:
            return True
        cause = cause_of(error)  # who may write now is found by connecting anew
        return isinstance(cause, psycopg.InterfaceError) or getattr(cause, "sqlstate", None) == _READ_ONLY

    def _translate(self, error: Exception) -> None:
        cause = cause_of(error)
        state = getattr(cause, "sqlstate", None) or ""
        said = _words(cause)
        error.args = (said,)  # what follows it quotes values, and errors end in logs
        if cause is not None:
            cause.args = (said,)
        lost = not state and isinstance(cause, (psycopg.OperationalError, psycopg.InterfaceError))
        if lost or state.startswith(_AWAY + _REFUSED):
            raise StoreUnavailable(
                f"{self.name} did not take the transaction ({said}).", retry_after=1.0
            ) from error

    @contextmanager
    def _bounded(self, connection: Connection) -> Iterator[None]:
        driver: Any = connection.connection.dbapi_connection
        with self._watch.over(driver.fileno(), self._limit):
            yield

    def _stop(self) -> None:
        if not self._ready:  # a start that was given up may wait for another's migration
            self._watch.give_up()
        for listener in self._listeners:
            listener.stop()
        super()._stop()
        self._watch.stop()


def _refuse_read_only(connection: Connection) -> None:
    """Fail as a change would: standbys, and servers or databases that were set so, only read."""
    ((only_reads,),) = fetch(connection, "SELECT current_setting('transaction_read_only') = 'on'")
    if only_reads:
        raise psycopg.errors.ReadOnlySqlTransaction("it only reads now")


def _is_quiet(driver: Any) -> bool:
    poll = select.poll()
    poll.register(driver.fileno(), select.POLLIN)
    return not poll.poll(0)


def _refuse_the_dead(driver: object, _record: object, _proxy: object) -> None:
    """What the pool kept may be from before the server's last restart: it then connects anew."""
    if not _is_quiet(driver):
        raise DisconnectionError


def _refusal(error: BaseException | None) -> str | None:
    """What the server said when it did not let us in for good."""
    cause = cause_of(error) if isinstance(error, Exception) else None
    said = _words(cause)
    state = getattr(cause, "sqlstate", None)
    refused = _REFUSED_IN_WORDS.search(said) if state is None else state.startswith(_REFUSED)
    return said.split("FATAL:")[-1].strip() if refused else None


def _advice(error: BaseException | None) -> str:
    """What to do about a server that is not there, or has no room for us now."""
    cause = cause_of(error) if isinstance(error, Exception) else None
    if isinstance(cause, psycopg.errors.LockNotAvailable):
        return "Somebody holds a lock on this schema: `SELECT * FROM pg_locks` says who. End that, then start again."
    if _FULL.search(_words(cause)):
        return "It has no connection left: raise its max_connections (docs/deployment.md counts ours), or end others."
    if "FATAL:" in _words(cause):
        return "PostgreSQL is there; what it says is the reason, and its log may say more."
    return "Start PostgreSQL, or correct database.url."


def _words(cause: BaseException | None) -> str:
    """The first line: what follows may quote values."""
    diagnosis = getattr(cause, "diag", None)
    said = (diagnosis.message_primary if diagnosis else None) or str(cause)
    return said.strip().splitlines()[0] if said.strip() else type(cause).__name__
