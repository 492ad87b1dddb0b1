"""Directed cases of KafkaBus: what an operator does to a broker beside it, and stories that mutants must fail too."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import anyio
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from app.bus.kafka import KafkaBus, KafkaConnection, Membership, TopicLayout
from app.bus.protocol import DeliveryPolicy, Handler, Record

POLICY = DeliveryPolicy(backoff=0.001, handler_timeout=20, publish_timeout=5, drain=5, batch=4)
MEMBERSHIP = Membership(session_timeout=1.0, heartbeat=0.2, poll_limit=0.5)
LAYOUT = TopicLayout(partitions=3)


def topic_name() -> str:
    return f"case-{uuid4().hex[:12]}"


def bus_on(
    servers: str,
    topic: str,
    policy: DeliveryPolicy = POLICY,
    *,
    layout: TopicLayout = LAYOUT,
    **handlers: Handler,
) -> KafkaBus:
    """Return a bus that publishes to `topic` and handles it for each named group."""
    bus = KafkaBus(
        KafkaConnection(servers=servers), policy, topics=[topic], layout=layout, membership=MEMBERSHIP
    )
    for group, handler in handlers.items():
        bus.subscribe(topic, f"{group}-{topic}", handler)
    return bus


async def until(done: Callable[[], object], seconds: float = 20.0) -> float:
    """Wait for it; return how long it took."""
    began = anyio.current_time()
    with anyio.fail_after(seconds):
        while not done():  # noqa: ASYNC110  a bus tells nobody when it is done
            await anyio.sleep(0.005)
    return anyio.current_time() - began


class Seen:
    """A handler that keeps the ids it handled."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    async def __call__(self, records: Sequence[Record]) -> None:
        self.ids += [record.id for record in records]


class Operator:
    """Who deletes topics and looks at offsets."""

    def __init__(self, admin: AIOKafkaAdminClient) -> None:
        self.admin = admin

    async def make(self, topic: str, partitions: int = 3, **config: str) -> None:
        settings = {name.replace("_", "."): value for name, value in config.items()}
        await self.admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=settings)])

    async def delete(self, topic: str) -> None:
        await self.admin.delete_topics([topic])

    async def partitions(self, topic: str) -> int:
        (found,) = await self.admin.describe_topics([topic])
        return len(found["partitions"])

    async def settings(self, topic: str) -> Mapping[str, str]:
        (answer,) = await self.admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        return {name: value for name, value, *_ in answer.resources[0][4]}

    async def committed(self, group: str) -> Mapping[TopicPartition, int]:
        offsets = await self.admin.list_consumer_group_offsets(group)
        return {partition: found.offset for partition, found in offsets.items() if found.offset >= 0}


@asynccontextmanager
async def operator(servers: str) -> AsyncIterator[Operator]:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        yield Operator(admin)
    finally:
        await admin.close()


@asynccontextmanager
async def foreign_producer(servers: str) -> AsyncIterator[Any]:
    """Somebody else's program."""
    producer = AIOKafkaProducer(bootstrap_servers=servers)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


# Stories ------------------------------------------------------------------------------------------------------------


async def two_members_and_a_slow_handler(servers: str) -> None:
    """A handler that runs four times the poll limit, and a member that joins meanwhile: each record once, never two at once."""
    topic = topic_name()
    active: Counter[str] = Counter()
    begun: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    overlaps: list[str] = []
    joined = anyio.Event()

    async def handle(records: Sequence[Record]) -> None:
        keys = {record.key for record in records}
        overlaps.extend(key for key in keys if active[key])
        active.update(keys)
        begun.update(record.id for record in records)
        try:
            if not joined.is_set():
                await asyncio.sleep(4 * MEMBERSHIP.poll_limit)
            ended.update(record.id for record in records)
        finally:
            active.subtract(keys)

    async with bus_on(servers, topic, cj=handle) as first:
        for number in range(6):
            await first.publish(Record(topic, f"key-{number}", str(number), b""))
        await until(lambda: len(begun) == 6)
        async with bus_on(servers, topic, cj=handle) as second:
            await until(lambda: len(ended) == 6, 8)
            joined.set()
            await until(lambda: first.health().healthy and second.health().healthy)
            for number in range(6, 12):
                await first.publish(Record(topic, f"key-{number}", str(number), b""))
            await until(lambda: len(ended) == 12, 5)
    assert not overlaps
    assert set(begun.values()) == set(ended.values()) == {1}


async def a_crash_in_the_middle_of_a_handler(servers: str) -> None:
    """The record that ran when a process vanished is handled by another one, and so are those behind it."""
    topic = topic_name()
    entered, seen = anyio.Event(), Seen()

    async def hang(_: Sequence[Record]) -> None:
        entered.set()
        await anyio.sleep_forever()

    async with bus_on(servers, topic) as source:
        for number in range(8):
            await source.publish(Record(topic, "key", str(number), b""))
        with anyio.CancelScope() as process:
            async with bus_on(servers, topic, cj=hang):
                await entered.wait()
                await anyio.sleep(0.3)  # time for a commit, if there is one
                process.cancel()
        async with bus_on(servers, topic, cj=seen):
            await until(lambda: len(seen.ids) >= 8, 5)
    assert seen.ids == [str(number) for number in range(8)]


async def a_group_that_comes_later(servers: str) -> None:
    """It begins at the earliest kept record."""
    topic, seen = topic_name(), Seen()
    async with bus_on(servers, topic) as source:
        for number in range(5):
            await source.publish(Record(topic, "key", str(number), b""))
    async with bus_on(servers, topic, cj=seen):
        await until(lambda: len(seen.ids) >= 5, 5)
    assert seen.ids == ["0", "1", "2", "3", "4"]


async def order_of_a_key(servers: str) -> None:
    """Records of one key come in the order they were published, also when their callers do not wait for each other."""
    topic, seen = topic_name(), Seen()
    async with bus_on(servers, topic, cj=seen) as bus, anyio.create_task_group() as callers:
        for number in range(200):
            callers.start_soon(bus.publish, Record(topic, "key", str(number), b""))
        await until(lambda: len(seen.ids) >= 200, 5)
    assert seen.ids == [str(number) for number in range(200)]


async def a_topic_made_anew_that_has_outgrown_the_old_one(servers: str) -> None:
    """A reader that stood at offset 4 reads the new topic from its beginning, not from its fifth record."""
    topic, seen = topic_name(), Seen()
    async with (
        operator(servers) as people,
        bus_on(servers, topic, layout=TopicLayout(partitions=1), cj=seen) as bus,
    ):
        for number in range(4):
            await bus.publish(Record(topic, "key", f"old-{number}", b""))
        await until(lambda: len(seen.ids) == 4)
        await people.delete(topic)
        await people.make(topic, 1)
        async with foreign_producer(servers) as others:
            for number in range(8):
                await others.send_and_wait(topic, b"", headers=[("ce_id", f"new-{number}".encode())])
        await until(lambda: {f"new-{number}" for number in range(8)} <= set(seen.ids), 5)
