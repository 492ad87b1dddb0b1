"""Whether there is a broker, for people who set an installation up."""

from __future__ import annotations

import anyio
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from app.bus.kafka.connection import KafkaConnection
from app.errors import BusUnavailable


async def reach(connection: KafkaConnection, *, seconds: float) -> int:
    """Log in to the first broker that answers; returns how many there are.

    :raises BusUnavailable: none answers, or it does not let us in.
    :raises ConfigurationError: as `KafkaConnection.arguments`.
    """
    client = AIOKafkaClient(**connection.arguments())
    try:
        with anyio.fail_after(seconds):
            await client.bootstrap()
        return len(client.cluster.brokers())
    except (KafkaError, TimeoutError, OSError) as error:
        raise BusUnavailable(
            f"Kafka at {connection.servers} does not answer, or does not let us in.",
            hint="Start the broker, or correct kafka.servers and the credentials.",
        ) from error
    finally:
        await client.close()
