"""The connection to Redis on the loop of production, whose transports raise where asyncio's say nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvloop

from app.errors import StoreUnavailable
from app.provider.queue.redis.connection import Connection
from tests.engines import Redis


def test_to_speak_on_a_connection_that_ended_a_moment_ago_finds_redis_away(redis: Redis) -> None:
    async def speak() -> None:
        connection = Connection(redis.url, connect_timeout=2.0, answer_timeout=2.0)
        await connection.open()
        raw: Any = connection._raw
        raw._writer.transport.abort()
        await asyncio.sleep(0.01)
        with pytest.raises(StoreUnavailable, match="is away"):
            await connection.tell(("PING",))
        assert await connection.ask([("PING",)]) == [b"PONG"]
        await connection.close()

    uvloop.run(speak())
