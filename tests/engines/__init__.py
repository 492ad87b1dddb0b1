"""Real servers for tests and development, without Docker: free ports, data in a temporary folder, ended by process id.

`python -m tests.engines` runs them in the foreground until Ctrl-C. What they need is fetched by `tests/install-engines`.
"""

from __future__ import annotations

from functools import cache
from typing import TypeVar

from tests.engines.kafka import Kafka
from tests.engines.postgresql import PostgreSQL
from tests.engines.redis import Redis
from tests.engines.server import EngineMissing, Server, free_ports

__all__ = [
    "EngineMissing",
    "Kafka",
    "PostgreSQL",
    "Redis",
    "Server",
    "free_ports",
    "kafka",
    "postgresql",
    "redis",
]

S = TypeVar("S", bound=Server)


@cache
def kafka() -> Kafka:
    """The Kafka that a test run shares, started when it is first asked for."""
    return _started(Kafka())


@cache
def redis() -> Redis:
    """The Redis that a test run shares: the kernel keeps what a killed process wrote, so an fsync proves nothing there."""
    return _started(Redis(appendfsync="no"))


@cache
def postgresql() -> PostgreSQL:
    """The PostgreSQL that a test run shares, without fsync as the Redis beside it."""
    return _started(PostgreSQL(fsync=False))


def _started(server: S) -> S:
    server.start()
    return server
