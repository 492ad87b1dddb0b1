from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest

from app.bus.log import Log, Place
from app.bus.memory import InMemoryBus
from app.bus.protocol import Record

pytestmark = pytest.mark.anyio


class BrokenLog(Log):
    """A log with a fault of its own, which no rule of delivery covers."""

    def read(self, place: Place, limit: int) -> list[Record]:
        raise AssertionError("the log is broken")


async def ignore(records: Sequence[Record]) -> None:
    """Handle nothing."""


async def test_a_delivery_that_dies_ends_the_process_and_health_says_so() -> None:
    bus = InMemoryBus(BrokenLog())
    bus.subscribe("t", "cj", ignore)
    reasons: list[str] = []

    async def live() -> None:
        async with bus:
            await bus.publish(Record("t", "k", "1", b""))
            try:
                await anyio.sleep_forever()
            finally:
                reasons.append(bus.health().reason)

    with pytest.raises(ExceptionGroup) as caught:
        await live()
    assert caught.group_contains(AssertionError, match="the log is broken")
    assert reasons == ["a delivery died"]


async def test_partitions_interleave_by_the_seed() -> None:
    async def order(seed: int) -> list[str]:
        seen: list[str] = []
        done = anyio.Event()

        async def handle(records: Sequence[Record]) -> None:
            seen.extend(record.id for record in records)
            if len(seen) == 20:
                done.set()

        bus = InMemoryBus(Log(seed=seed))
        bus.subscribe("t", "cj", handle)
        async with bus:
            for number in range(20):
                await bus.publish(Record("t", f"key-{number}", str(number), b""))
            await done.wait()
        return seen

    assert await order(1) == await order(1)
    assert await order(1) != await order(2)


async def test_subscriptions_are_made_once_and_before_entering() -> None:
    bus = InMemoryBus()
    bus.subscribe("t", "cj", ignore)
    with pytest.raises(ValueError, match="already has a handler"):
        bus.subscribe("t", "cj", ignore)
    async with bus:
        with pytest.raises(RuntimeError, match="before entering"):
            bus.subscribe("t", "audit", ignore)
    with pytest.raises(RuntimeError, match="entered once"):
        async with bus:
            pass
