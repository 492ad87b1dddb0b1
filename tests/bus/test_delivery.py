from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import anyio
import pytest

from app.bus.delivery import Delivery
from app.bus.protocol import DeliveryPolicy, Record, Reject, Retry
from app.errors import BusUnavailable

pytestmark = pytest.mark.anyio

RECORDS = [Record("t", "k", str(number), b"") for number in range(3)]


class Bench:
    """A delivery that stands alone: what it called, settled and buried, and when it is told to stop."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self.outcomes = list(outcomes)
        self.calls: list[tuple[list[str], int]] = []
        self.settled: list[int] = []
        self.buried: list[str] = []
        self.burials_refused = 0
        self.stopping = anyio.Event()
        self.delivery = Delivery(
            group="cj",
            handler=self.handle,
            policy=DeliveryPolicy(backoff=0.0),
            publish=self.publish,
            settled=self.settled.append,
            stopping=self.stopping,
            random=Random(0),
        )

    async def handle(self, records: Sequence[Record]) -> None:
        self.calls.append(([record.id for record in records], records[0].attempt))
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if outcome is not None:
            raise outcome

    async def publish(self, letter: Record) -> None:
        if self.burials_refused:
            self.burials_refused -= 1
            raise BusUnavailable("away")
        self.buried.append(letter.id)


async def test_a_batch_that_is_handled_is_settled_at_once() -> None:
    bench = Bench()
    await bench.delivery.settle(RECORDS)
    assert bench.calls == [(["0", "1", "2"], 1)]
    assert bench.settled == [3]


async def test_a_failing_batch_is_tried_one_by_one_and_costs_nobody_a_strike() -> None:
    bug = RuntimeError("bug")
    bench = Bench(bug, None, bug, bug, None)
    await bench.delivery.settle(RECORDS)
    assert bench.calls == [(["0", "1", "2"], 1), (["0"], 2), (["1"], 2), (["1"], 3), (["1"], 4), (["2"], 2)]
    assert bench.settled == [1, 1, 1]
    assert not bench.buried


async def test_the_third_strike_is_a_dead_letter() -> None:
    bench = Bench(RuntimeError("1"), Retry("no strike"), RuntimeError("2"), RuntimeError("3"))
    await bench.delivery.settle(RECORDS[:1])
    assert [attempt for _, attempt in bench.calls] == [1, 2, 3, 4]
    assert bench.buried == ["0"]
    assert bench.settled == [1]


async def test_a_dead_letter_that_cannot_be_stored_is_tried_again_without_the_handler() -> None:
    bench = Bench(Reject("never"))
    bench.burials_refused = 5
    await bench.delivery.settle(RECORDS[:1])
    assert len(bench.calls) == 1
    assert bench.buried == ["0"]


async def test_nothing_is_settled_when_the_dead_letter_cannot_be_stored_before_stopping() -> None:
    bench = Bench(Reject("never"))
    bench.burials_refused = 5

    async def handle(records: Sequence[Record]) -> None:
        bench.stopping.set()
        raise Reject("never")

    await replace(bench.delivery, handler=handle).settle(RECORDS)
    assert not bench.settled
    assert not bench.buried


async def test_after_stopping_no_handler_begins_not_even_a_retry() -> None:
    bench = Bench()

    async def handle(records: Sequence[Record]) -> None:
        await bench.handle(records)
        bench.stopping.set()
        raise Retry("away")

    await replace(bench.delivery, handler=handle).settle(RECORDS)
    assert len(bench.calls) == 1
    assert not bench.settled


async def test_cancellation_is_never_swallowed() -> None:
    bench = Bench()

    async def handle(records: Sequence[Record]) -> None:
        await anyio.sleep_forever()

    with anyio.move_on_after(0.01) as scope:
        await replace(bench.delivery, handler=handle).settle(RECORDS)
    assert scope.cancelled_caught
    assert not bench.settled


async def test_an_outage_of_thousands_of_attempts_does_not_overflow_the_back_off() -> None:
    bench = Bench(*(Retry("away") for _ in range(1100)))
    await bench.delivery.settle(RECORDS[:1])
    assert bench.settled == [1]


async def test_back_off_doubles_up_to_its_cap() -> None:
    longest: list[float] = []

    class Recorded(Random):
        def uniform(self, a: float, b: float) -> float:
            return 1.0

    class Signal:
        def is_set(self) -> bool:
            return False

        async def wait(self) -> None:
            longest.append(anyio.current_effective_deadline() - anyio.current_time())

    policy = DeliveryPolicy(backoff=1.0, backoff_cap=5.0)
    bench = Bench(*(Retry("away") for _ in range(5)))
    delivery = replace(bench.delivery, policy=policy, random=Recorded(), stopping=Signal())
    await delivery.settle(RECORDS[:1])
    assert longest == pytest.approx([1, 2, 4, 5, 5], abs=0.5)
