"""Where queues of each kind are kept while they are tested. A new kind only adds its world here."""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

from redis import Redis

from app.database import Database, Synchronous
from app.provider.queue.protocol import RequestQueue
from app.provider.queue.redis import RedisQueue
from app.provider.queue.redis.script import LEDGER
from app.provider.queue.sql import SqlQueue
from app.provider.queue.tables import MIGRATIONS
from tests import engines
from tests.contracts.queue_world import World

SHARED_MEMORY = Path("/dev/shm")


def new_folder() -> Path:
    """In memory where there is such a folder: thousands of small files come and go."""
    place = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix="juxta-queue-", dir=place))


class SqliteWorld:
    """A file each. Durability has its own test, with a kill; here the fsync is left out."""

    synchronous: Synchronous = "OFF"

    def __init__(self, queue: type[SqlQueue] = SqlQueue) -> None:
        self.queue = queue
        self.folder = new_folder()
        shutil.copy(_migrated(), self.folder / "provider.db")

    def database(self) -> Database:
        return Database(
            self.folder / "provider.db", migrations=MIGRATIONS, synchronous=self.synchronous, readers=1
        )

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

    def close(self) -> None:
        shutil.rmtree(self.folder)


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
    "redis": RedisWorld,
}


@lru_cache(maxsize=1)
def _migrated() -> Path:
    """One empty ledger to copy, as migrations cost more than a whole example."""
    folder = new_folder()
    atexit.register(shutil.rmtree, folder)
    path = folder / "template.db"

    async def make() -> None:
        async with Database(path, migrations=MIGRATIONS):
            pass

    asyncio.run(make())
    return path
