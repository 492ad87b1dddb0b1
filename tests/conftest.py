"""What every test may use: anyio on asyncio, and a Kafka of this run's own."""

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
    if engines.kafka.cache_info().currsize:
        engines.kafka().close()
        engines.kafka.cache_clear()


@pytest.fixture(scope="session")
def kafka() -> engines.Kafka:
    """The Kafka that all tests share, each on topics of its own."""
    return engines.kafka()
