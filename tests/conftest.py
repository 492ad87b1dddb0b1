"""What every test may use: anyio on asyncio, and servers of this run's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import engines


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def _engines_end_with_the_run() -> Iterator[None]:
    """Servers start when they are first asked for; whatever started ends here, whoever asked."""
    yield
    for shared in (engines.kafka, engines.redis, engines.postgresql):
        if shared.cache_info().currsize:
            shared().close()
            shared.cache_clear()


@pytest.fixture(scope="session")
def kafka() -> engines.Kafka:
    """The Kafka that all tests share, each on topics of its own."""
    return engines.kafka()


@pytest.fixture(scope="session")
def redis() -> engines.Redis:
    """The Redis that all tests share, each under a prefix of its own."""
    return engines.redis()


@pytest.fixture(scope="session")
def postgresql() -> engines.PostgreSQL:
    """The PostgreSQL that all tests share, each in a database or schema of its own."""
    return engines.postgresql()
