"""RedisQueue beside the same state changes as plain commands, and beside arq, saq and taskiq with jobs that do nothing.

One Redis with `appendfsync always` for all, uvloop for all, one after another in the same run and in turns; the best
round of each counts, as noise only slows. Callers, workers and Redis share the machine.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import hiredis
import uvloop
from redis.asyncio import Connection, ConnectionPool
from redis.asyncio import Redis as Client

from app.contracts import Outcome
from app.provider.queue.protocol import QueuedRequest, StoredOutcome
from app.provider.queue.redis import RedisQueue
from app.provider.queue.redis.values import write_request
from benchmarks.no_op_jobs import LANE, SIDES, TIMEOUT, Rates, jobs, request
from benchmarks.result import Result
from tests.engines import Redis

GROUP = 128
STREAMS = 2
"""Groups that are under way at once: RedisQueue packs one while Redis works on the other; the plain commands, too."""

CYCLES = 6_144
ROUNDS = 5
BODY = b'{"essay_a": "%s"}' % (b"An essay. " * 400)
VERDICT = StoredOutcome(Outcome.SUCCEEDED, b'{"justification": "%s"}' % (b"Because. " * 150))


def run() -> list[Result]:
    for name in ("arq", "saq", "taskiq"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    server = Redis(appendfsync="always")
    server.start()
    try:
        return uvloop.run(measure(server.url))
    finally:
        server.close()


async def measure(url: str) -> list[Result]:
    cycles: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(ROUNDS):
        cycles["plain"].append(await timed(url, plain_cycles))
        cycles["ours"].append(await timed(url, our_cycles))
    results = [
        Result(
            "RedisQueue, full cycle, against its state changes as plain pipelined commands",
            max(cycles["ours"]),
            max(cycles["plain"]),
            "requests/s",
            0.5,
        )
    ]
    rates: dict[str, list[Rates]] = {name: [] for name in SIDES}
    for _ in range(ROUNDS):
        for name, side in SIDES.items():
            await emptied(url)
            rates[name].append(await jobs(url, side))
    ours = rates.pop("ours")
    for name, theirs in rates.items():
        enqueue, drain, both = (
            tuple(max(rate[part] for rate in some) for some in (ours, theirs)) for part in range(3)
        )
        parts = f"{enqueue[0] / enqueue[1]:.1f} and {drain[0] / drain[1]:.1f} times"
        results.append(
            Result(f"RedisQueue against {name}, enqueue and drain ({parts})", *both, "jobs/s", 3.0)
        )
    return results


# -- a request from accepted to published


async def timed(url: str, cycles: Callable[[str], Awaitable[float]]) -> float:
    await emptied(url)
    async with asyncio.timeout(TIMEOUT):
        return CYCLES / await cycles(url)


async def our_cycles(url: str) -> float:
    async with RedisQueue(url, boot="benchmark", limit=2 * CYCLES) as queue:

        async def stream(groups: Sequence[Sequence[QueuedRequest]]) -> None:
            for group in groups:
                await asyncio.gather(*[queue.accept(request) for request in group])
                leases = await queue.lease(LANE, limit=len(group), seconds=60.0, begin=True)
                await asyncio.gather(*[queue.store(lease, VERDICT) for lease in leases])
                await asyncio.gather(*[queue.mark_published(lease) for lease in leases])

        return await streamed(stream)


async def plain_cycles(url: str) -> float:
    pool = ConnectionPool.from_url(url, protocol=2, connection_class=PackedInC)
    async with Client.from_pool(pool) as client:
        plain = Plain(client)

        async def stream(groups: Sequence[Sequence[QueuedRequest]]) -> None:
            for group in groups:
                await plain.accept(group)
                taken = await plain.lease(len(group))
                await plain.store(taken)
                await plain.mark_published(taken)

        return await streamed(stream)


class PackedInC(Connection):
    """A connection of redis-py that packs with hiredis, as RedisQueue's does: in Python it costs the floor a third."""

    def pack_command(self, *args: Any) -> list[bytes]:
        return [hiredis.pack_command(args)]

    def pack_commands(self, commands: Iterable[Iterable[Any]]) -> list[bytes]:
        return [hiredis.pack_command(tuple(command)) for command in commands]


class Plain:
    """What RedisQueue writes and reads back, and nothing else: no look whether the id is known, no limit, no fence."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.places = itertools.count(10**13)

    async def accept(self, group: Sequence[QueuedRequest]) -> None:
        pipe = self.client.pipeline(transaction=False)
        now = time.time()
        for asked in group:
            queue_id, lane, priority, fingerprint, topic, fixed, body, *_ = write_request(asked, None)
            place = next(self.places)
            row = {
                "place": place, "lane": lane, "priority": priority, "fingerprint": fingerprint, "topic": topic,
                "request": fixed, "body": body, "accepted_at": now, "expires_at": now + 86_400.0, "state": "queued",
                "reply": "callback", "attempt": 0, "tries": 0, "line": "judge", "ready_at": now,
            }  # fmt: skip
            pipe.hset(f"row:{queue_id!s}", mapping=row)
            pipe.zadd("rows", {queue_id: place})
            pipe.zadd(f"open:{LANE}", {queue_id: place})
            pipe.zadd(f"line:{LANE}", {queue_id: place})
            pipe.zadd("due", {queue_id: now + 86_400.0})
        pipe.hincrby("counts", f"queued:{LANE}", len(group))
        await pipe.execute()

    async def lease(self, count: int) -> list[str]:
        taken = [queue_id.decode() for queue_id, _ in await self.client.zpopmin(f"line:{LANE}", count)]
        pipe = self.client.pipeline(transaction=False)
        now = time.time()
        for queue_id in taken:
            pipe.hgetall(f"row:{queue_id}")
            row = {
                "state": "leased", "held": 1, "boot": "benchmark", "attempt": 1, "tries": 1, "line": "",
                "leased_at": now, "ready_at": now + 60.0,
            }  # fmt: skip
            pipe.hset(f"row:{queue_id}", mapping=row)
            pipe.zadd("due", {queue_id: now + 60.0})
        pipe.hincrby("counts", f"queued:{LANE}", -len(taken))
        pipe.hincrby("counts", f"leased:{LANE}", len(taken))
        await pipe.execute()
        return taken

    async def store(self, taken: Sequence[str]) -> None:
        pipe = self.client.pipeline(transaction=False)
        now = time.time()
        for queue_id in taken:
            row = {
                "state": "answered", "outcome": VERDICT.outcome.value, "event": VERDICT.event, "body": b"",
                "answered_at": now,
            }  # fmt: skip
            pipe.hset(f"row:{queue_id}", mapping=row)
        pipe.hincrby("counts", f"leased:{LANE}", -len(taken))
        pipe.hincrby("counts", f"answered:{LANE}", len(taken))
        await pipe.execute()

    async def mark_published(self, taken: Sequence[str]) -> None:
        pipe = self.client.pipeline(transaction=False)
        now = time.time()
        for queue_id in taken:
            pipe.hset(f"row:{queue_id}", mapping={"state": "published", "held": "", "published_at": now})
            pipe.zrem("due", queue_id)
            pipe.zrem(f"open:{LANE}", queue_id)
            pipe.zadd("published", {queue_id: now})
        pipe.hincrby("counts", f"answered:{LANE}", -len(taken))
        await pipe.execute()


async def streamed(stream: Callable[[Sequence[Sequence[QueuedRequest]]], Awaitable[None]]) -> float:
    groups = [[request(BODY) for _ in range(GROUP)] for _ in range(CYCLES // GROUP)]
    begun_at = time.perf_counter()
    await asyncio.gather(*[stream(groups[number::STREAMS]) for number in range(STREAMS)])
    return time.perf_counter() - begun_at


async def emptied(url: str) -> None:
    async with Client.from_url(url) as client:
        await client.flushall()


if __name__ == "__main__":
    for result in run():
        print(
            f"{result.name}: {result.ours:,.0f} against {result.floor:,.0f} {result.unit}, "
            f"ratio {result.ratio:.2f} (bar {result.bar})"
        )
