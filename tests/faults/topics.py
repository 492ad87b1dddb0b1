"""What people do to the topics of a broker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

T = TypeVar("T")

DEADLINE = 30.0


def make(servers: str, *topics: str) -> None:
    """With one partition each."""
    _ask(servers, lambda admin: admin.create_topics([NewTopic(topic, 1, 1) for topic in topics]))


def delete(servers: str, topic: str) -> None:
    """With everything on it."""
    _ask(servers, lambda admin: admin.delete_topics([topic]))


def exists(servers: str, topic: str) -> bool:
    """Whether the broker has it now."""
    return topic in _ask(servers, lambda admin: admin.list_topics())


def _ask(servers: str, question: Callable[[AIOKafkaAdminClient], Awaitable[T]]) -> T:
    async def ask() -> T:
        admin = AIOKafkaAdminClient(bootstrap_servers=servers)
        with anyio.fail_after(DEADLINE):
            await admin.start()
            try:
                return await question(admin)
            finally:
                await admin.close()

    return anyio.run(ask)
