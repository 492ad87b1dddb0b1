"""Jobs that do nothing, on RedisQueue and on three job queues over the same Redis, each with the settings it is fastest with."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import uuid4

import saq
from arq.connections import RedisSettings, create_pool
from arq.worker import Worker as ArqWorker
from arq.worker import func
from taskiq.receiver import Receiver
from taskiq_redis import ListQueueBroker, RedisStreamBroker

from app.contracts import Outcome
from app.provider.queue.protocol import Lease, QueuedRequest, StoredOutcome
from app.provider.queue.redis import RedisQueue

JOBS = 6_000
CALLERS = 64
TIMEOUT = 120.0
LANE = "rules/v1"


def request(body: bytes) -> QueuedRequest:
    return QueuedRequest(
        queue_id=uuid4(),
        correlation_id=uuid4(),
        principal="teacher",
        lane=LANE,
        body=body,
        fingerprint=sha256(body).digest(),
        callback_topic="results",
        callback_key="batch",
    )


class Rates(NamedTuple):
    enqueue: float
    drain: float
    both: float


class Side(NamedTuple):
    """`enqueue` returns when the job is stored, `drain` works until `done` is set by the last job."""

    enqueue: Callable[[], Awaitable[object]]
    drain: Callable[[asyncio.Event], Awaitable[object]]


Opened = Callable[[str, Callable[[], None]], AbstractAsyncContextManager[Side]]


async def jobs(url: str, opened: Opened) -> Rates:
    done = asyncio.Event()
    left = itertools.count(JOBS - 1, -1)

    def worked() -> None:
        if next(left) == 0:
            done.set()

    async with asyncio.timeout(TIMEOUT), opened(url, worked) as side:
        begun_at = time.perf_counter()

        async def call(count: int) -> None:
            for _ in range(count):
                await side.enqueue()

        await asyncio.gather(*[call(len(range(caller, JOBS, CALLERS))) for caller in range(CALLERS)])
        filled_at = time.perf_counter()
        draining = asyncio.ensure_future(side.drain(done))
        await done.wait()
        ended_at = time.perf_counter()
        await draining
    return Rates(JOBS / (filled_at - begun_at), JOBS / (ended_at - filled_at), JOBS / (ended_at - begun_at))


@asynccontextmanager
async def ours(url: str, worked: Callable[[], None]) -> AsyncIterator[Side]:
    """A job is stored, leased, answered and published; four workers take 64 at a time."""

    async def finish(queue: RedisQueue, lease: Lease) -> None:
        await queue.store(lease, StoredOutcome(Outcome.SUCCEEDED, b"{}"))
        await queue.mark_published(lease)
        worked()

    async with RedisQueue(url, boot="benchmark", limit=2 * JOBS) as queue:

        async def work() -> None:
            while leases := await queue.lease(LANE, limit=64, seconds=60.0, begin=True):
                await asyncio.gather(*[finish(queue, lease) for lease in leases])

        async def drain(_: asyncio.Event) -> None:
            await asyncio.gather(*[work() for _ in range(4)])

        yield Side(lambda: queue.accept(request(b"{}")), drain)


@asynccontextmanager
async def by_arq(url: str, worked: Callable[[], None]) -> AsyncIterator[Side]:
    """No result is kept or logged, and it looks for more at once instead of twice a second. 500 at a time are faster
    than 10, 50 or 100."""

    async def job(_: dict[Any, Any]) -> None:
        worked()

    pool = await create_pool(RedisSettings.from_dsn(url))
    worker = ArqWorker(
        [func(job, name="job")],
        redis_pool=pool,
        handle_signals=False,
        burst=True,
        max_jobs=500,
        queue_read_limit=500,
        keep_result=0,
        log_results=False,
        poll_delay=0.0,
    )
    yield Side(lambda: pool.enqueue_job("job"), lambda _: worker.async_run())
    await worker.close()


@asynccontextmanager
async def by_saq(url: str, worked: Callable[[], None]) -> AsyncIterator[Side]:
    """Results are not kept. 50 at a time are faster than 5, 10 or 100."""

    async def job(_: dict[Any, Any]) -> None:
        worked()

    queue = saq.Queue.from_url(url, max_concurrent_ops=CALLERS)
    worker: saq.Worker[Any] = saq.Worker(
        queue, [("job", job)], concurrency=50, burst=True, dequeue_timeout=0.1
    )
    await queue.connect()
    yield Side(lambda: queue.enqueue("job", ttl=-1), lambda _: worker.start())
    await worker.stop()
    await queue.disconnect()


def by_taskiq(broker_type: type[Any]) -> Opened:
    """Without a result backend. Streams are acknowledged; from a list a job is gone once it is read. From 10 to 300 at a
    time make no difference."""

    @asynccontextmanager
    async def opened(url: str, worked: Callable[[], None]) -> AsyncIterator[Side]:
        broker = broker_type(url)

        @broker.task(task_name="job")
        async def job() -> None:
            worked()

        await broker.startup()

        async def drain(done: asyncio.Event) -> None:
            receiver = Receiver(broker, run_startup=False, max_async_tasks=30, max_prefetch=30)
            await receiver.listen(done)

        yield Side(job.kiq, drain)
        await broker.shutdown()

    return opened


SIDES: dict[str, Opened] = {
    "arq": by_arq,
    "saq": by_saq,
    "taskiq by streams": by_taskiq(RedisStreamBroker),
    "taskiq by a list": by_taskiq(ListQueueBroker),
    "ours": ours,
}
