"""Races on the bus: members join and leave while records are handled."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

from app.bus.memory import InMemoryBus
from app.bus.protocol import DeliveryPolicy, Record

from .stage import Stage

TOPIC, GROUP = "races.v1", "cj"


async def rebalance_and_commit(stage: Stage) -> None:
    """A second member joins, and the first one leaves, while records of one key are handled and settled."""
    key = next(k for k in "abcdefgh" if stage.log.partition_for(TOPIC, k).number == 1)
    records = [Record(TOPIC, key, name, b"") for name in ("1", "2", "3")]
    handled: list[str] = []
    at_once = 0

    def member(name: str) -> InMemoryBus:
        async def handle(batch: Sequence[Record]) -> None:
            nonlocal at_once
            assert not at_once, "two handlers for one key at once"
            at_once += 1
            try:
                await stage.gates.at(f"{name} handles")
                handled.extend(record.id for record in batch)
                await stage.gates.at(f"{name} has handled")
            finally:
                at_once -= 1

        bus = InMemoryBus(stage.log, DeliveryPolicy(batch=1, strikes=1))
        bus.subscribe(TOPIC, GROUP, handle)
        return bus

    first, second = member("p"), member("q")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(second)  # its places come with the first one's leaving

        async def come_and_go() -> None:
            async with first:
                await stage.gates.at("p leaves")

        async def publish() -> None:
            for record in records:
                await stage.gates.at(f"publish {record.id}")
                await second.publish(record)

        await stage.gates.race(come_and_go, publish)
        await stage.until(lambda: stage.log.lag(GROUP, TOPIC) == 0)
    assert not stage.letters, "a record that could be handled was dead-lettered"
    assert sorted(set(handled)) == ["1", "2", "3"], f"handled {handled}"
    assert [one for n, one in enumerate(handled) if one not in handled[:n]] == ["1", "2", "3"], "out of order"
