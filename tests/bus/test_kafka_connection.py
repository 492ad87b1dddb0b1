"""aiokafka's connections on the loop of production, whose transports raise where asyncio's say nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvloop
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

import app.bus.kafka  # noqa: F401 - what it does to aiokafka
from tests.engines import Kafka


def test_to_speak_on_a_connection_that_ended_a_moment_ago_finds_the_broker_away(kafka: Kafka) -> None:
    async def speak() -> None:
        loop = asyncio.get_running_loop()
        told: asyncio.Future[BaseException | None] = loop.create_future()
        connection: Any = await create_conn("127.0.0.1", kafka.port)

        def ask() -> None:
            try:
                connection.send(MetadataRequest([]))
            except Exception as error:  # noqa: BLE001 - whatever it is
                told.set_result(error)
            else:
                told.set_result(None)

        connection._writer.transport.abort()
        loop.call_soon(ask)  # the transport has closed by then, and nobody has looked at it yet
        error = await told
        assert isinstance(error, KafkaConnectionError), repr(error)
        assert not connection.connected()
        with pytest.raises(KafkaConnectionError):
            connection.send(MetadataRequest([]))

    uvloop.run(speak())
