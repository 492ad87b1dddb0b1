"""The buses that must keep the contract, each with the broker it stands on."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple, Self
from uuid import uuid4

from hypothesis import Phase

from app.bus.kafka import KafkaBus, KafkaConnection, Membership, TopicLayout
from app.bus.log import Partition
from app.bus.memory import InMemoryBus, Log
from app.bus.protocol import DeliveryPolicy, Record
from tests import engines
from tests.contracts.bus_model import World


class HistoryLog(Log):
    """Remembers every id by its offset, also after trimming."""

    def __init__(self, partitions: int = 8, seed: int = 0, capacity: int = 10_000) -> None:
        super().__init__(partitions, seed, capacity)
        self.history: dict[tuple[str, int], list[str]] = defaultdict(list)

    def append(self, partition: Partition, record: Record) -> None:
        super().append(partition, record)
        self.history[partition.topic, partition.number].append(record.id)


class MemoryWorld:
    topic = "result.v1"
    breakable = True

    def __init__(self, partitions: int = 3, capacity: int = 10_000) -> None:
        self.log = HistoryLog(partitions, seed=1, capacity=capacity)

    def group(self, name: str) -> str:
        return name

    def bus(self, policy: DeliveryPolicy) -> InMemoryBus:
        return InMemoryBus(self.log, policy)

    def break_down(self, *, down: bool) -> None:
        self.log.down = down

    def committed(self, group: str) -> Sequence[str]:
        return [
            identity
            for partition in self.log.topic(self.topic)
            for identity in self.log.history[self.topic, partition.number][
                : partition.committed.get(group, 0)
            ]
        ]

    async def tick(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def until(self, done: Callable[[], bool], what: str) -> None:
        for _ in range(20_000):
            if done():
                return
            await asyncio.sleep(0)
        raise AssertionError(what)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class KafkaWorld:
    """A topic of its own on the broker that all tests share. Nothing here sees what a group committed."""

    breakable = False
    layout = TopicLayout(partitions=3)
    membership = Membership(session_timeout=1.0, heartbeat=0.2)
    patience = 30.0

    def __init__(self) -> None:
        self.connection = KafkaConnection(servers=engines.kafka().servers)
        self.topic = f"result-{uuid4().hex[:12]}"

    def group(self, name: str) -> str:
        return f"{name}-{self.topic}"

    def bus(self, policy: DeliveryPolicy) -> KafkaBus:
        return KafkaBus(
            self.connection, policy, topics=[self.topic], layout=self.layout, membership=self.membership
        )

    def break_down(self, *, down: bool) -> None:
        raise NotImplementedError("other tests use this broker")

    def committed(self, group: str) -> Sequence[str]:
        return ()

    async def tick(self) -> None:
        await asyncio.sleep(0.02)

    async def until(self, done: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(self.patience):
                while not done():  # noqa: ASYNC110  a bus tells nobody when it is done
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(what) from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class Engine(NamedTuple):
    """A kind of world, and how much of the model it is worth: a broker over a socket gets less."""

    world: Callable[[], World]
    examples: int
    steps: int
    phases: Sequence[Phase] = tuple(Phase)


WORLDS = {
    "memory": Engine(MemoryWorld, examples=500, steps=30),
    # An example lasts seconds here: one that fails is not looked at again in smaller pieces.
    "kafka": Engine(KafkaWorld, examples=25, steps=15, phases=[Phase.generate]),
}
