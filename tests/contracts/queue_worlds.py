"""Where queues of each kind are kept while they are tested. A new kind only adds its world here."""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

import psycopg
from redis import Redis

from app.database import Database, SqliteDatabase, Synchronous
from app.database.postgresql import PostgresDatabase
from app.provider.queue.protocol import RequestQueue
from app.provider.queue.redis import RedisQueue
from app.provider.queue.redis.script import LEDGER
from app.provider.queue.sql import SqlQueue
from app.provider.queue.tables import MIGRATIONS
from tests import engines
from tests.contracts.queue_world import World

SCHEMA = "juxta_provider"
SHARED_MEMORY = Path("/dev/shm")


def new_folder() -> Path:
    """In memory where there is such a folder: thousands of small files come and go."""
    place = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix="juxta-queue-", dir=place))


class SqlWorld(ABC):
    """A place for one ledger in one database."""

    def __init__(self, queue: type[SqlQueue] = SqlQueue) -> None:
        self.queue = queue

    @abstractmethod
    def database(self) -> Database:
        """A handle on the database."""

    def open(
        self,
        *,
        boot: str,
        exclusive: bool,
        limit: int,
        max_tries: int,
        retention: float,
        clock: Callable[[], float],
    ) -> RequestQueue:
        return self.queue(
            self.database(),
            boot=boot,
            exclusive=exclusive,
            limit=limit,
            max_tries=max_tries,
            retention=retention,
            clock=clock,
        )

    @abstractmethod
    def close(self) -> None:
        """Throw everything away."""


class SqliteWorld(SqlWorld):
    """A file each. Durability has its own test, with a kill; here the fsync is left out."""

    synchronous: Synchronous = "OFF"

    def __init__(self, queue: type[SqlQueue] = SqlQueue) -> None:
        super().__init__(queue)
        self.folder = new_folder()
        shutil.copy(_migrated(), self.folder / "provider.db")

    def database(self) -> Database:
        return SqliteDatabase(
            self.folder / "provider.db", migrations=MIGRATIONS, synchronous=self.synchronous, readers=1
        )

    def close(self) -> None:
        shutil.rmtree(self.folder)


class KeptDatabase(PostgresDatabase):
    """One that stays open for the next handle: three connections cost as much as ten steps."""

    idle: ClassVar[list[KeptDatabase]] = []

    async def open(self) -> None:
        if not self._open:
            await super().open()
            atexit.register(self._stop)

    async def close(self) -> None:
        for listener in self._listeners:
            listener.stop()
        self._listeners.clear()
        self.idle.append(self)


class PostgresWorld(SqlWorld):
    """One schema for all, emptied for each: a new one costs more than a whole example."""

    def __init__(self, queue: type[SqlQueue] = SqlQueue) -> None:
        super().__init__(queue)
        self.url, connection = _schema()
        connection.execute("DELETE FROM requests")
        connection.execute("DELETE FROM lanes")
        connection.execute("SELECT setval('requests_place_seq', 1, false)")

    def database(self) -> Database:
        return KeptDatabase.idle.pop() if KeptDatabase.idle else KeptDatabase(self.url, SCHEMA, readers=1)

    def close(self) -> None:
        """The next one empties it."""


class RedisWorld:
    """A prefix each, in the Redis that all tests share."""

    def __init__(self, *, script: str = LEDGER, queue: type[RedisQueue] = RedisQueue) -> None:
        self.script = script
        self.queue = queue
        self.prefix = f"{{{uuid4().hex}}}:"

    def open(
        self,
        *,
        boot: str,
        exclusive: bool,
        limit: int,
        max_tries: int,
        retention: float,
        clock: Callable[[], float],
    ) -> RequestQueue:
        return self.queue(
            engines.redis().url,
            boot=boot,
            prefix=self.prefix,
            limit=limit,
            max_tries=max_tries,
            retention=retention,
            exclusive=exclusive,
            clock=clock,
            script=self.script,
        )

    def close(self) -> None:
        with Redis.from_url(engines.redis().url) as redis:
            if keys := redis.keys(f"{self.prefix}*"):
                redis.delete(*keys)


WORLDS: dict[str, Callable[[], World]] = {
    "sqlite": SqliteWorld,
    "postgresql": PostgresWorld,
    "redis": RedisWorld,
}


@lru_cache(maxsize=1)
def _schema() -> tuple[str, psycopg.Connection]:
    """Where the shared schema is, and a connection to empty it by."""
    url = engines.postgresql().create("queue_worlds")

    async def make() -> None:
        async with PostgresDatabase(url, SCHEMA, migrations=MIGRATIONS):
            pass

    asyncio.run(make())
    connection = psycopg.connect(url, autocommit=True, options=f"-c search_path={SCHEMA}")
    atexit.register(connection.close)
    return url, connection


@lru_cache(maxsize=1)
def _migrated() -> Path:
    """One empty ledger to copy, as migrations cost more than a whole example."""
    folder = new_folder()
    atexit.register(shutil.rmtree, folder)
    path = folder / "template.db"

    async def make() -> None:
        async with SqliteDatabase(path, migrations=MIGRATIONS):
            pass

    asyncio.run(make())
    return path
