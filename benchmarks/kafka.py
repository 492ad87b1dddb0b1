"""KafkaBus from publish to handled, at least once, beside bare aiokafka and FastStream on the same broker.

All three: 64 callers who each wait for their record to be acknowledged (acks=all, idempotent), one reader in the same
process, the same keys, headers and bytes, 8 partitions, uvloop. Bare aiokafka is what a careful program would do by hand:
`send_and_wait`, `getmany`, a commit in the background. They take turns; the best round counts, as noise only slows.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from statistics import quantiles
from uuid import uuid4

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage

from app.bus.kafka import KafkaBus, KafkaConnection
from app.bus.protocol import Record
from benchmarks.bus import HEADERS, envelope
from benchmarks.result import Result
from tests import engines

CALLERS = 64
RECORDS = 20_000
ONE_BY_ONE = 400  # a commit per record does some 150 a second
ROUNDS = 5
WARM_UP = 500
PARTITIONS = 8
RATE = 200
TIMED = 1_600
KEYS = [f"batch-{number}" for number in range(50)]
KAFKA_HEADERS = [(name, text.encode()) for name, text in HEADERS.items()]
TIMEOUT = 120.0

Publish = Callable[[int], Awaitable[object]]
Handled = Callable[[int], None]


def run() -> list[Result]:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    server = engines.kafka()
    try:
        return uvloop.run(measure(server.servers))
    finally:
        server.close()


async def measure(servers: str) -> list[Result]:
    body = envelope().model_dump_json().encode()
    rates: dict[str, list[float]] = {"ours": [], "raw": [], "default": []}
    p50: dict[str, list[float]] = {"ours": [], "raw": []}
    p99: dict[str, list[float]] = {"ours": [], "raw": []}
    for _ in range(ROUNDS):
        rates["raw"].append(await throughput(raw(servers, body), RECORDS))
        rates["ours"].append(await throughput(ours(servers, body), RECORDS))
    for _ in range(2):
        rates["default"].append(
            await throughput(faststream(servers, body, AckPolicy.ACK_FIRST), RECORDS // 2)
        )
    careful = await throughput(faststream(servers, body, AckPolicy.NACK_ON_ERROR), ONE_BY_ONE)
    for _ in range(3):
        for name, side in (("raw", raw), ("ours", ours)):
            cuts = quantiles(await latencies(side(servers, body)), n=100)
            p50[name].append(cuts[49])
            p99[name].append(cuts[98])
    best = {name: max(values) for name, values in rates.items()}
    size = len(body)
    middle, late = (
        f"kafka bus at {RATE}/s, {name} {min(cuts['ours']) * 1000:.2f} ms, aiokafka {min(cuts['raw']) * 1000:.2f}"
        for name, cuts in (("p50", p50), ("p99", p99))
    )
    return [
        Result(
            f"kafka bus, {size} byte callbacks, against aiokafka", best["ours"], best["raw"], "records/s", 0.9
        ),
        Result("kafka bus against FastStream, at least once", best["ours"], careful, "records/s", 2.5),
        Result("kafka bus against FastStream, its default", best["ours"], best["default"], "records/s", 2.5),
        Result(middle, 1 / min(p50["ours"]), 1 / min(p50["raw"]), "1/s", 1 / 1.3),
        Result(late, 1 / min(p99["ours"]), 1 / min(p99["raw"]), "1/s", 1 / 2.0),
    ]


Side = Callable[[Handled], "asynccontextmanager[Publish]"]


async def throughput(side: Side, records: int) -> float:
    """Records a second from the first publish to the last one handled."""
    seen: set[int] = set()
    done = asyncio.Event()

    def handled(number: int) -> None:
        seen.add(number)
        if len(seen) == target:
            done.set()

    async def call(publish: Publish, numbers: Sequence[int]) -> None:
        for number in numbers:
            await publish(number)

    async def load(publish: Publish, first: int, count: int) -> None:
        async with asyncio.timeout(TIMEOUT), asyncio.TaskGroup() as callers:
            for caller in range(CALLERS):
                callers.create_task(call(publish, range(first + caller, first + count, CALLERS)))
        async with asyncio.timeout(TIMEOUT):
            await done.wait()

    warm_up = min(WARM_UP, records // 4)
    target = warm_up
    async with side(handled) as publish:
        await load(publish, 0, warm_up)
        target += records
        done.clear()
        began = time.perf_counter()
        await load(publish, warm_up, records)
        return records / (time.perf_counter() - began)


async def latencies(side: Side) -> list[float]:
    """Seconds from the call of publish to the handler, at a steady rate that leaves everybody idle in between."""
    began: dict[int, float] = {}
    took: dict[int, float] = {}
    done = asyncio.Event()

    def handled(number: int) -> None:
        if number in began:
            took.setdefault(number, time.perf_counter() - began[number])
        if len(took) == TIMED + WARM_UP:
            done.set()

    async with side(handled) as publish, asyncio.timeout(TIMEOUT), asyncio.TaskGroup() as calls:
        start = time.perf_counter() + 0.5
        for number in range(TIMED + WARM_UP):
            await asyncio.sleep(start + number / RATE - time.perf_counter())
            began[number] = time.perf_counter()
            calls.create_task(publish(number))  # type: ignore[arg-type]
        await done.wait()
    return [took[number] for number in range(WARM_UP, WARM_UP + TIMED)]


def ours(servers: str, body: bytes) -> Side:
    @asynccontextmanager
    async def side(handled: Handled) -> AsyncIterator[Publish]:
        topic = f"ours-{uuid4().hex}"

        async def handle(records: Sequence[Record]) -> None:
            for record in records:
                handled(int(record.id))

        async def publish(number: int) -> None:
            await bus.publish(Record(topic, KEYS[number % len(KEYS)], str(number), body, HEADERS))

        bus = KafkaBus(KafkaConnection(servers=servers))
        bus.subscribe(topic, topic, handle)
        async with bus:
            yield publish

    return side


def raw(servers: str, body: bytes) -> Side:
    @asynccontextmanager
    async def side(handled: Handled) -> AsyncIterator[Publish]:
        topic = await made(servers, "raw")
        producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", enable_idempotence=True)
        consumer = AIOKafkaConsumer(
            topic,
            bootstrap_servers=servers,
            group_id=topic,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )

        async def consume() -> None:
            while True:
                for messages in (await consumer.getmany(timeout_ms=1000)).values():
                    for message in messages:
                        handled(int(dict(message.headers)["juxta-id"]))

        async def commit() -> None:
            while True:
                await asyncio.sleep(0.1)
                await consumer.commit()

        async def publish(number: int) -> None:
            headers = [*KAFKA_HEADERS, ("juxta-id", str(number).encode())]
            await producer.send_and_wait(topic, body, key=KEYS[number % len(KEYS)].encode(), headers=headers)

        async with producer, consumer:
            loops = [asyncio.create_task(consume()), asyncio.create_task(commit())]
            yield publish
            for loop in loops:
                loop.cancel()
            await asyncio.wait(loops)

    return side


def faststream(servers: str, body: bytes, policy: AckPolicy) -> Side:
    @asynccontextmanager
    async def side(handled: Handled) -> AsyncIterator[Publish]:
        topic = await made(servers, "faststream")
        broker = KafkaBroker(servers, acks="all", enable_idempotence=True, logger=None)

        @broker.subscriber(topic, group_id=topic, auto_offset_reset="earliest", ack_policy=policy)
        async def handle(_body: bytes, message: KafkaMessage) -> None:
            handled(int(message.headers["juxta-id"]))

        async def publish(number: int) -> None:
            await broker.publish(
                body,
                topic,
                key=KEYS[number % len(KEYS)].encode(),
                headers={**HEADERS, "juxta-id": str(number)},
            )

        async with broker:
            await broker.start()
            yield publish

    return side


async def made(servers: str, name: str) -> str:
    topic = f"{name}-{uuid4().hex}"
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    finally:
        await admin.close()
    return topic
