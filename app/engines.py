"""From settings to the engines that a process stands on: bus, databases, queue. Those not chosen are not imported."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from app.bus.log import Log
from app.bus.memory import InMemoryBus
from app.bus.protocol import Bus, DeliveryPolicy
from app.database import Database, SqliteDatabase
from app.errors import JuxtaError
from app.settings import ROOT, Settings

if TYPE_CHECKING:
    from app.bus.kafka import KafkaConnection
    from app.provider.queue.protocol import RequestQueue
    from app.provider.queue.redis import RedisQueue


@dataclass(frozen=True, slots=True)
class Databases:
    """One for each part, with a history of its own, never joined: a file, or a schema."""

    provider: Database
    cj: Database
    access: Database


def databases(settings: Settings) -> Databases:
    """The databases of all parts, not opened yet."""
    return Databases(**{part: _database(settings, part) for part in ("provider", "cj", "access")})


def _database(settings: Settings, part: str) -> Database:
    migrations = ROOT / "app" / part / "migrations"
    if settings.database.kind == "sqlite":
        return SqliteDatabase(settings.data / f"{part}.db", migrations=migrations)
    from app.database.postgresql import PostgresDatabase  # noqa: PLC0415 - needs a driver, and a while to import

    return PostgresDatabase(
        settings.database.url.get_secret_value(),
        f"juxta_{part}",
        migrations=migrations,
        lock_timeout=settings.database.lock_timeout,
        deadline=settings.database.deadline,
    )


def queue(settings: Settings, database: Database) -> RequestQueue:
    """The provider's ledger, in `database` or in Redis."""
    rules = settings.queue
    boot = uuid4().hex
    if rules.kind == "sql":
        from app.provider.queue.sql import SqlQueue  # noqa: PLC0415 - a cj process needs none

        return SqlQueue(
            database,
            limit=rules.limit,
            max_tries=rules.max_tries,
            retention=rules.retention,
            boot=boot,
        )
    return _redis_queue(settings, boot=boot, timeout=settings.redis.timeout)


@asynccontextmanager
async def queue_as_it_is(settings: Settings, database: Database) -> AsyncIterator[RequestQueue]:
    """The provider's ledger for people to look at: no rule, row or schema is changed, whoever works on it."""
    if settings.queue.kind == "redis":
        async with _redis_queue(settings, boot="", timeout=settings.redis.timeout).looking() as found:
            yield found
    else:
        async with database.looking():  # entering a queue would end leases that a server holds
            yield queue(settings, database)


def _redis_queue(
    settings: Settings, *, boot: str, timeout: float, connect_timeout: float = 2.0
) -> RedisQueue:
    from app.provider.queue.redis import RedisQueue  # noqa: PLC0415 - as above

    return RedisQueue(
        settings.redis.url.get_secret_value(),
        prefix=f"{{{settings.redis.prefix}}}:",
        limit=settings.queue.limit,
        max_tries=settings.queue.max_tries,
        retention=settings.queue.retention,
        boot=boot,
        connect_timeout=connect_timeout,
        answer_timeout=timeout,
    )


def bus(settings: Settings) -> Bus:
    """The bus, not entered yet."""
    policy = DeliveryPolicy(
        strikes=settings.bus.strikes,
        backoff=settings.bus.backoff,
        backoff_cap=settings.bus.backoff_cap,
        handler_timeout=settings.bus.handler_timeout,
        publish_timeout=settings.bus.publish_timeout,
        drain=settings.bus.drain,
    )
    if settings.bus.kind == "memory":
        return InMemoryBus(Log(settings.bus.partitions, capacity=settings.bus.capacity), policy)
    from app.bus.kafka import KafkaBus, Membership, TopicLayout  # noqa: PLC0415 - slow to import

    kafka = settings.kafka
    return KafkaBus(
        _kafka(settings),
        policy,
        topics=settings.provider.topics if settings.serves_provider else (),
        layout=TopicLayout(
            partitions=settings.bus.partitions, replication=kafka.replication, retention=kafka.retention
        ),
        membership=Membership(session_timeout=kafka.session_timeout, heartbeat=kafka.heartbeat),
    )


def _kafka(settings: Settings) -> KafkaConnection:
    from app.bus.kafka import KafkaConnection  # noqa: PLC0415 - as above

    kafka = settings.kafka
    return KafkaConnection(
        servers=kafka.servers,
        security_protocol=kafka.security_protocol,
        sasl_mechanism=kafka.sasl_mechanism,
        username=kafka.username,
        password=kafka.password.get_secret_value(),
        ca_file=kafka.ca_file,
        cert_file=kafka.cert_file,
        key_file=kafka.key_file,
    )


REACH = 5.0
"""Seconds an engine may take to say that it is there."""


async def reach(settings: Settings) -> AsyncIterator[tuple[str, str | JuxtaError]]:
    """Each engine that is a server, and how it is; nothing is made or changed there."""
    if settings.bus.kind == "kafka":
        yield "Kafka", await _said(_reach_kafka(settings))
    if settings.queue.kind == "redis":
        yield "Redis", await _said(_reach_redis(settings))
    if settings.database.kind == "postgresql":
        yield "PostgreSQL", await _said(_reach_postgresql(settings))


async def _said(looking: Awaitable[str]) -> str | JuxtaError:
    try:
        return await looking
    except JuxtaError as error:
        return error


async def _reach_kafka(settings: Settings) -> str:
    from app.bus.kafka.reach import reach as reach_kafka  # noqa: PLC0415 - as above

    connection = _kafka(settings)
    return f"{connection.servers}, brokers: {await reach_kafka(connection, seconds=REACH)}"


async def _reach_redis(settings: Settings) -> str:
    async with _redis_queue(settings, boot="", timeout=REACH, connect_timeout=REACH).looking() as found:
        return found.name.removeprefix("Redis at ")


async def _reach_postgresql(settings: Settings) -> str:
    from app.database.postgresql import PostgresDatabase  # noqa: PLC0415 - as above

    for part in ("access", *settings.parts):
        url = settings.database.url.get_secret_value()
        async with PostgresDatabase(url, f"juxta_{part}", readers=1) as database:
            await database.check()
            await database.examine()
    return database.name.removeprefix("PostgreSQL ")
