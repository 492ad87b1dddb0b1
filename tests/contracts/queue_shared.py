"""A worker process on a queue that others share, and how queues of each kind are shared. A new kind adds its line.

`python -m tests.contracts.queue_shared KIND WHERE SEED` works until no row is open, with two workers. Some vanish with
their rows, some dawdle until their lease has run out. Each lease becomes a line: place, attempt, when it began and ends
by the engine's clock (null where the worker let go of it before, or could not tell), and whether it closed the row.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from random import Random
from typing import NamedTuple
from uuid import uuid4

import anyio

from app.contracts import Outcome
from app.database.postgresql import PostgresDatabase
from app.errors import LeaseLost
from app.provider.queue.protocol import Lease, RequestQueue, StoredOutcome
from app.provider.queue.redis import RedisQueue
from app.provider.queue.sql import SqlQueue
from app.provider.queue.tables import MIGRATIONS
from tests import engines
from tests.contracts.queue_world import JUDGED

LIMIT = 20_000
SECONDS = 0.5
BATCH = 200
VERDICT = StoredOutcome(Outcome.SUCCEEDED, b"verdict")


class Shared(NamedTuple):
    """`prepare` makes an empty queue and says where it is; `open` is a handle there for the process called `boot`."""

    prepare: Callable[[], str]
    open: Callable[[str, str], RequestQueue]


SHARED: dict[str, Shared] = {
    "redis": Shared(
        lambda: f"{engines.redis().url} {{{uuid4().hex}}}:",
        lambda where, boot: RedisQueue(
            where.split()[0], prefix=where.split()[1], boot=boot, limit=LIMIT, max_tries=100
        ),
    ),
    "postgresql": Shared(
        lambda: engines.postgresql().create(f"shared{uuid4().hex}"),
        lambda where, boot: SqlQueue(
            PostgresDatabase(where, "juxta_provider", migrations=MIGRATIONS),
            boot=boot,
            limit=LIMIT,
            max_tries=100,
        ),
    ),
}


class Worker:
    """Leases rows in batches, and tells of each."""

    def __init__(self, queue: RequestQueue, chance: Random) -> None:
        self.queue = queue
        self.chance = chance

    async def work(self) -> None:
        while True:
            leases = [
                *await self.queue.lease(JUDGED, limit=BATCH, seconds=SECONDS, begin=True),
                *await self.queue.lease_closing(limit=BATCH, seconds=SECONDS),
            ]
            async with anyio.create_task_group() as tasks:
                for lease in leases:
                    tasks.start_soon(self.live, lease)
            if not leases:
                if not await self.queue.stats():
                    return
                await self.queue.wait(SECONDS)

    async def live(self, lease: Lease) -> None:
        """What becomes of one lease."""
        began_at, ends_at = await self.look(lease)
        fate, closed = self.chance.random(), False
        try:
            if fate < 0.02:  # it lets go
                ends_at = None
                await self.queue.release(lease)
            elif fate < 0.05:  # it dies
                pass
            else:
                if fate < 0.10:  # it takes its time, and is not dead
                    await self.queue.extend(lease, SECONDS)
                    _, ends_at = await self.look(lease)
                elif fate < 0.13:  # it takes its time, and seems dead
                    await anyio.sleep(SECONDS * 1.2)
                await self.queue.store(lease, VERDICT)
                if fate < 0.98:  # or else it dies before it could publish
                    await self.queue.mark_published(lease)
                    closed = True
        except LeaseLost:
            pass
        print(json.dumps([lease.place, lease.attempt, began_at, ends_at, closed]))

    async def look(self, lease: Lease) -> tuple[float | None, float | None]:
        entry = await self.queue.find(lease.request.queue_id)
        if entry is None or entry.attempt != lease.attempt:
            return None, None
        return entry.leased_at, entry.ready_at


async def main(*arguments: str) -> None:
    kind, where, seed = arguments
    async with SHARED[kind].open(where, seed) as queue, anyio.create_task_group() as workers:
        for number in range(2):
            workers.start_soon(Worker(queue, Random(f"{seed} {number}")).work)


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
