"""What the stores and the topics say, read by their own clients and by nothing of the product."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import anyio
import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition
from redis import Redis

from tests.flow.deployment import Deployment
from tests.flow.house import rows

READ_DEADLINE = 60.0


class Request(NamedTuple):
    """A row of the providers' ledger."""

    state: str
    reply: str
    outcome: str | None
    event: bytes | None


class Copy(NamedTuple):
    """A record of a callback topic; `at` is when it was published, in seconds since 1970."""

    request_id: UUID
    event_id: str
    body: bytes
    at: float


Topic = Sequence[Copy]


class Books:
    """Where a deployment keeps what it knows."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def cj(self, sql: str) -> list[tuple[Any, ...]]:
        """What cj's store says."""
        return self._deployment.rows(sql)

    def by_callback(self) -> int:
        """How many comparisons have ended by callback."""
        ((count,),) = self.cj("SELECT count(*) FROM comparisons WHERE road = 'callback'")
        return int(count)

    def ledger(self) -> dict[UUID, Request]:
        """Every request that the providers know, by its queue id."""
        settings = self._deployment.settings
        if "redis.url" in settings:
            return dict(_in_redis(settings["redis.url"], settings["redis.prefix"]))
        sql = "SELECT r.queue_id, r.state, r.reply, r.outcome, p.event FROM {0}requests r JOIN {0}payloads p ON p.place = r.place"
        if "database.url" in settings:
            with psycopg.connect(settings["database.url"]) as connection:
                found = connection.execute(sql.format("juxta_provider.").encode()).fetchall()
        else:
            files = self._deployment.folder.glob("*/provider.db")
            found = [row for file in files for row in rows(file, sql.format(""))]
        return {UUID(bytes=bytes(name)): Request(*rest) for name, *rest in found}

    def unfinished(self, batches: Collection[str]) -> list[str]:
        """Everything that has not come to its end, as sentences."""
        known = {
            name: (state, problem)
            for name, state, problem in self.cj("SELECT id, state, problem FROM batches")
        }
        left = [
            f"batch {name} is {known.get(name, ('unknown', None))}"
            for name in {*batches, *(name for name, (state, _) in known.items() if state == "running")}
            if known.get(name, ("unknown",))[0] != "finished"
        ]
        owed = [
            f"request {name} is {row.state}"
            for name, row in self.ledger().items()
            if row.state != "published"
        ]
        return [*left, *owed]


def _in_redis(url: str, prefix: str) -> Iterator[tuple[UUID, Request]]:
    with Redis.from_url(url) as client:
        keys = list(client.scan_iter(f"{{{prefix}}}:row:*", count=1000))
        with client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.hmget(key, "state", "reply", "outcome", "event")
            found = pipeline.execute()
    for key, (state, reply, outcome, event) in zip(keys, found, strict=True):
        yield (
            UUID(key.decode().rpartition(":")[2]),
            Request(state.decode(), reply.decode(), outcome.decode() if outcome else None, event or None),
        )


def read_topic(servers: str, topic: str) -> list[Copy]:
    """Every record that is there now, by partition."""
    return anyio.run(_read_topic, servers, topic)


async def _read_topic(servers: str, topic: str) -> list[Copy]:
    found = []
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    with anyio.fail_after(READ_DEADLINE):
        await consumer.start()
        try:
            await consumer._client.add_topic(topic)
            partitions = [
                TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()
            ]
            if not partitions:
                return []
            ends = await consumer.end_offsets(partitions)
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            for partition in partitions:
                while await consumer.position(partition) < ends[partition]:
                    records = await consumer.getmany(partition, timeout_ms=500)
                    found += [_copy(record) for some in records.values() for record in some]
        finally:
            await consumer.stop()
    return found


def _copy(record: Any) -> Copy:
    event = json.loads(record.value)
    return Copy(UUID(event["data"]["request_id"]), event["event_id"], record.value, record.timestamp / 1000)
