"""The bus inside one process. Nothing to install, and nothing survives: the ledger and the re-POST give that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import TaskGroup

from app.bus.delivery import Delivery
from app.bus.leaving import end_tasks
from app.bus.log import Log, Partition, Place
from app.bus.memory_letters import MemoryDeadLetters
from app.bus.protocol import (
    BusHealth,
    DeadLetterLog,
    DeliveryPolicy,
    Handler,
    Record,
    dead_letter_topic,
)
from app.errors import BusClosed, BusUnavailable

__all__ = ["InMemoryBus", "Log"]


class InMemoryBus:
    """One member of a `Log`: a real `Bus` that is never stronger than the contract.

    Bytes cross it, and places with work are taken in an order shuffled by the log's seed. It lives on a task group, so
    whoever enters it leaves it, in the same task. A delivery that dies of a fault of the bus itself cancels the body
    of the `async with` and is raised from it (B12). A place with work has one task, for one batch; then it queues again.
    """

    def __init__(self, log: Log | None = None, policy: DeliveryPolicy | None = None) -> None:
        self.log = log or Log()
        self.policy = policy or DeliveryPolicy()
        self._handlers: dict[tuple[str, str], Handler] = {}
        self._tasks: TaskGroup
        self._entered = self._closing = False
        self._ready: list[Place] = []
        self._work = anyio.Event()
        self._running: dict[Place, anyio.Event] = {}
        self._drained = anyio.Event()

    async def publish(self, record: Record) -> None:
        """Store the record, waiting for room at most `publish_timeout`."""
        self._refuse_unless_open()
        partition = self.log.partition_for(record.topic, record.key)
        if partition.full:
            await self._room(partition)
            self._refuse_unless_open()
        self.log.append(partition, record)

    def subscribe(self, topic: str, group: str, handler: Handler) -> None:
        """Call `handler` with the records of `topic`, for `group`, once the bus is entered."""
        if self._entered:
            raise RuntimeError("subscribe before entering the bus")
        if (group, topic) in self._handlers:
            raise ValueError(f"group {group} already has a handler for {topic}")
        self._handlers[group, topic] = handler

    @asynccontextmanager
    async def dead_letters(self, topic: str) -> AsyncIterator[DeadLetterLog]:
        """Open the dead letters of `topic`."""
        self._refuse_unless_open()
        yield MemoryDeadLetters(self.log, dead_letter_topic(topic))

    def health(self) -> BusHealth:
        """Unhealthy when left, when a task of the bus died, or when a place has work and has not moved for long."""
        lag = {(group, topic): self.log.lag(group, topic) for group, topic in self._handlers if self._entered}
        reason = self._trouble()
        return BusHealth(healthy=not reason, reason=reason, lag=lag)

    async def __aenter__(self) -> Self:
        """Join the groups and start delivering."""
        if self._entered:
            raise RuntimeError("a bus is entered once")
        self._entered = True
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._dispatch)
        self.log.join(self, self._handlers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Begin nothing, wait `drain` for what runs, cancel the rest and wait for it; it stays unsettled."""
        try:
            self._close()
            await self._drain()
        finally:
            self._tasks.cancel_scope.cancel()
            await end_tasks(self._tasks, kind, error, trace)

    def offer(self, place: Place) -> None:
        """Remember a place with work for the next round."""
        self._ready.append(place)
        self._work.set()

    def revoke(self, place: Place) -> None:
        """Begin nothing more at a place; it is released when its running handler ends."""
        self._running[place].set()

    async def _dispatch(self) -> None:
        while True:
            await self._work.wait()
            self._work = anyio.Event()
            places, self._ready = self._ready, []
            self.log.random.shuffle(places)
            for place in places:
                if self.log.take(place, self):
                    self._running[place] = anyio.Event()
                    self._tasks.start_soon(self._deliver, place)

    async def _deliver(self, place: Place) -> None:
        try:
            await self._delivery(place).settle(self.log.read(place, self.policy.batch))
        finally:
            self._release(place)

    def _delivery(self, place: Place) -> Delivery:
        return Delivery(
            group=place.group,
            handler=self._handlers[place.group, place.topic],
            policy=self.policy,
            publish=self._publish_dead_letter,
            settled=partial(self.log.commit, place),
            stopping=self._running[place],
            random=self.log.random,
        )

    def _release(self, place: Place) -> None:
        del self._running[place]
        if self._closing and not self._running:
            self._drained.set()
        self.log.release(place)

    async def _publish_dead_letter(self, letter: Record) -> None:
        """As `publish`, but also while leaving: what ran into the drain time may still be buried."""
        partition = self.log.partition_for(letter.topic, letter.key)
        if partition.full:
            await self._room(partition)
        self.log.append(partition, letter)

    async def _room(self, partition: Partition) -> None:
        """Wait for a group to settle something. A leaving bus waits no longer, and may go beyond by what it drains."""
        with anyio.move_on_after(self.policy.publish_timeout):
            while partition.full and not self._closing:
                await partition.stirred()
            return
        raise BusUnavailable(f"{partition.topic} is full: its readers do not keep up")

    def _close(self) -> None:
        """From here on no handler begins in any group (B11)."""
        self._closing = True
        for stopping in self._running.values():
            stopping.set()
        self.log.leave(self)

    async def _drain(self) -> None:
        with anyio.CancelScope(shield=True), anyio.move_on_after(self.policy.drain):
            if self._running:
                await self._drained.wait()

    def _refuse_unless_open(self) -> None:
        if self._closing or not self._entered:
            raise BusClosed("the bus was left" if self._closing else "the bus is not entered yet")

    def _trouble(self) -> str:
        if self._closing or not self._entered:
            return "left" if self._closing else "not entered yet"
        if self._tasks.cancel_scope.cancel_called:
            return "a delivery died"
        for place in (place for names in self._handlers for place in self.log.places(*names)):
            seconds = self.log.stalled_for(place)
            if seconds > self.policy.stall and self.log.owner(place) is self:
                return (
                    f"{place.group} settles nothing of {place.topic}[{place.partition}] for {seconds:.0f} s"
                )
        return ""
