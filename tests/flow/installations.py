"""What a house or a process is set to for engines that are shared; each call makes an installation of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from uuid import uuid4

import anyio

from app.engines import databases
from app.settings import load
from tests import engines


def on_kafka(
    topic: str | None = None, *, session: float = 2.0, servers: str | None = None
) -> tuple[str, ...]:
    """A topic and a group of its own; `session` in seconds, after which a killed process has left its group."""
    topic = topic or f"results.{uuid4().hex[:8]}.v1"
    return (
        "bus.kind=kafka",
        f"kafka.servers={servers or engines.kafka().servers}",
        f"kafka.session_timeout={session}",
        f"kafka.heartbeat={session / 4}",
        f'provider.topics=["{topic}"]',
        f"cj.callback_topic={topic}",
        f"cj.group={topic}",
    )


def on_postgresql(server: engines.PostgreSQL | None = None) -> tuple[str, ...]:
    """A database of its own with all tables, made from one that was migrated once."""
    server = server or engines.postgresql()
    url = server.create(f"t{uuid4().hex}", template=_migrated(server))
    return ("database.kind=postgresql", f"database.url={url}")


def on_redis(server: engines.Redis | None = None) -> tuple[str, ...]:
    """Keys of its own."""
    return ("queue.kind=redis", f"redis.url={(server or engines.redis()).url}", f"redis.prefix={uuid4().hex}")


SHARED: dict[str, Callable[[], tuple[str, ...]]] = {
    "postgresql": lambda: (*on_kafka(), *on_postgresql()),
    "redis and postgresql": lambda: (*on_kafka(), *on_redis(), *on_postgresql()),
}
"""Installations whose providers share a queue and whose cj processes share a store."""


@cache
def _migrated(server: engines.PostgreSQL) -> str:
    name = "migrated"
    settings, _ = load(
        assignments=["bus.kind=kafka", "database.kind=postgresql", f"database.url={server.create(name)}"],
        environment={},
    )

    async def migrate() -> None:
        found = databases(settings)
        async with found.provider, found.cj, found.access:
            pass

    with ThreadPoolExecutor(1) as elsewhere:  # a loop may run here already
        elsewhere.submit(anyio.run, migrate).result()
    return name
