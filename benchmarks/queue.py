"""The ledger against itself: group commit against a transaction for each, a deep queue against a short one."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from app.contracts import Outcome
from app.database import Database, SqliteDatabase
from app.provider.queue.protocol import Lease, QueuedRequest, StoredOutcome
from app.provider.queue.sql import SqlQueue
from app.provider.queue.tables import MIGRATIONS
from app.provider.queue.turn import Change
from benchmarks.result import Result

WAITERS = 64
EACH = 32
DEEP = 10_000
SHORT = 10
DRAINED = 1_000
ROUNDS = 5
LANE = "rules/v1"
BODY = b'{"essay_a": "%s"}' % (b"An essay. " * 400)
VERDICT = StoredOutcome(Outcome.SUCCEEDED, b'{"justification": "%s"}' % (b"Because. " * 150))


def run() -> list[Result]:
    """Best of several rounds, taken in turn."""
    grouped: list[float] = []
    single: list[float] = []
    deep: list[float] = []
    short: list[float] = []
    for _ in range(ROUNDS):
        single.append(asyncio.run(enqueue_singly()))
        grouped.append(asyncio.run(enqueue()))
        short.append(asyncio.run(drain(depth=SHORT)))
        deep.append(asyncio.run(drain(depth=DEEP)))
    return [
        Result(
            f"enqueue from {WAITERS} waiters against a transaction each",
            max(grouped),
            max(single),
            "requests/s",
            5.0,
        ),
        Result(
            f"drain at depth {DEEP:,} against depth {SHORT}",
            max(deep),
            max(short),
            "requests/CPU s",
            round(1 / 1.2, 2),
        ),
    ]


async def enqueue() -> float:
    """Accepted requests per second when all who wait share a commit."""
    async with _ledger() as (queue, _):

        async def ask() -> None:
            for _ in range(EACH):
                await queue.accept(_request())

        begun_at = time.perf_counter()
        await asyncio.gather(*[ask() for _ in range(WAITERS)])
        return WAITERS * EACH / (time.perf_counter() - begun_at)


async def enqueue_singly() -> float:
    """The same work by the same statements, one commit for each request."""
    async with _ledger() as (queue, database):
        ledger = queue._ledger

        async def ask() -> None:
            for _ in range(EACH // 4):
                asked = _request()
                change = Change("accept", asked.queue_id, (asked, None))
                await database.write(partial(ledger.apply, changes=[change]))

        begun_at = time.perf_counter()
        await asyncio.gather(*[ask() for _ in range(WAITERS)])
        return WAITERS * (EACH // 4) / (time.perf_counter() - begun_at)


async def drain(*, depth: int) -> float:
    """Requests leased, tried, answered and closed per CPU second, in batches, while the queue stays that deep."""
    spent = 0.0
    async with _ledger() as (queue, _):
        await _fill(queue, depth)
        for _ in range(DRAINED // SHORT):
            begun_at = time.process_time()
            leases = await queue.lease(LANE, limit=SHORT, seconds=60.0)
            await asyncio.gather(*[_finish(queue, lease) for lease in leases])
            spent += time.process_time() - begun_at
            await _fill(queue, SHORT)
    return DRAINED / spent


async def _finish(queue: SqlQueue, lease: Lease) -> None:
    await queue.begin_try(lease)
    await queue.store(lease, VERDICT)
    await queue.mark_published(lease)


async def _fill(queue: SqlQueue, count: int) -> None:
    await asyncio.gather(*[queue.accept(_request()) for _ in range(count)])


def _request() -> QueuedRequest:
    return QueuedRequest(
        queue_id=uuid4(),
        correlation_id=uuid4(),
        principal="teacher",
        lane=LANE,
        body=BODY,
        fingerprint=sha256(BODY).digest(),
        callback_topic="results",
        callback_key="batch",
    )


@asynccontextmanager
async def _ledger() -> AsyncIterator[tuple[SqlQueue, Database]]:
    """On the disk where the data would be: what is measured is the fsync."""
    with tempfile.TemporaryDirectory() as folder:
        database = SqliteDatabase(Path(folder) / "provider.db", migrations=MIGRATIONS)
        async with SqlQueue(database, boot="benchmark", limit=2 * DEEP) as queue:
            yield queue, database


if __name__ == "__main__":
    for result in run():
        print(
            f"{result.name}: {result.ours:,.0f} against {result.floor:,.0f} {result.unit}, "
            f"ratio {result.ratio:.2f} (bar {result.bar})"
        )
