"""The records of one partition on their way to the handler of one group: one batch at a time, in order."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from typing import Any

import anyio
from aiokafka import TopicPartition

from app.bus.delivery import Delivery
from app.bus.kafka.records import Message, to_record
from app.bus.protocol import DeliveryPolicy, Handler, Record

BACKLOG_BYTES = 1_000_000
"""Fetched and not handled, of one partition; with more the partition is paused. Asking for more only when a batch is done
would cost a fetch of up to 0.5 s: the broker holds back its answer about all other partitions meanwhile."""

_OVERHEAD = 200  # of a record without a body


class Lease:
    """How long this member certainly has its partitions: a session from the last heartbeat that was answered.

    Beyond that, in an outage, the broker may have given them to others without our knowing, so no handler begins.
    """

    def __init__(self, session: float, clock: Callable[[], float]) -> None:
        self._session = session
        self._clock = clock
        self._until = float("-inf")

    def renew(self, since: float) -> None:
        """The broker knew this member at `since`."""
        self._until = since + self._session

    @property
    def ran_out(self) -> bool:
        """Whether others may have the partitions by now."""
        return self._clock() >= self._until


class _Stop:
    """Told to stop for good, or stopped by the lease for now; `wait` is for the former.

    A record whose burial has begun was judged already: no handler begins for it, so it need not wait for the lease.
    """

    def __init__(self, lease: Lease) -> None:
        self.for_good = asyncio.Event()
        self.burying = False
        self._lease = lease

    def is_set(self) -> bool:
        return self.for_good.is_set() or (self._lease.ran_out and not self.burying)

    async def wait(self) -> object:
        return await self.for_good.wait()


class Place:
    """One partition that this member has, as one group sees it. No handler begins once it is told to stop.

    `next` is the offset that may be committed: all before it is settled. None: nothing was settled here yet.
    """

    def __init__(
        self,
        partition: TopicPartition,
        *,
        group: str,
        handler: Handler,
        policy: DeliveryPolicy,
        bury: Callable[[Record], Awaitable[None]],
        progressed: Callable[[], None],
        lease: Lease,
        clock: Callable[[], float],
    ) -> None:
        self.partition = partition
        self.next: int | None = None
        self.committed: int | None = None
        self.paused = False
        self._stop = _Stop(lease)
        self.ended = asyncio.Event()
        self.scope = anyio.CancelScope()
        self._policy = policy
        self._clock = clock
        self._progressed = progressed
        self._store_dead_letter = bury
        self._backlog: deque[Message] = deque()
        self._bytes = 0
        self._batch: deque[Message] = deque()
        self._incarnation = 0
        self._bell = asyncio.Event()
        self._moved_at = clock()
        self._delivery = partial(
            Delivery,
            group=group,
            handler=handler,
            policy=policy,
            publish=self._bury,
            stopping=self._stop,
            random=Random(),
        )

    async def run(self) -> None:
        """Hand out batches until told to stop; what is not settled then is left to the next owner."""
        try:
            with self.scope:
                while not self._stop.for_good.is_set():
                    if self.unsettled and not self._stop.is_set():
                        await self._next_batch()
                    else:
                        await self._bell.wait()
                        self._bell.clear()
        finally:
            self.ended.set()

    def put(self, messages: list[Any]) -> None:
        """Take what was fetched."""
        if not self.unsettled:
            self._moved_at = self._clock()
        self._backlog.extend(messages)
        self._bytes += sum(map(_size, messages))
        self._bell.set()

    def stop(self) -> None:
        """Begin no handler any more."""
        self._stop.for_good.set()
        self._bell.set()

    def wake(self) -> None:
        """The lease was renewed."""
        self._bell.set()

    def restart(self) -> None:
        """The topic was made anew: forget what was of the old one, and commit its beginning."""
        self._incarnation += 1
        self._backlog.clear()
        self._bytes = 0
        self._batch.clear()
        self.next, self.committed = 0, None
        self._progressed()

    @property
    def full(self) -> bool:
        """Whether no more should be fetched for now."""
        return self._bytes >= BACKLOG_BYTES

    @property
    def unsettled(self) -> int:
        """How many fetched records are not settled."""
        return len(self._backlog) + len(self._batch)

    @property
    def stalled_for(self) -> float:
        """How long there have been records and none was settled."""
        return self._clock() - self._moved_at if self.unsettled else 0.0

    @property
    def oldest(self) -> float:
        """How many seconds ago the first unsettled record was published."""
        for waiting in (self._batch, self._backlog):
            if waiting:
                return max(0.0, time.time() - waiting[0].timestamp / 1000)
        return 0.0

    def lag(self, end: int | None) -> int:
        """How many records are not settled, when the partition ends before offset `end`."""
        for waiting in (self._batch, self._backlog):
            if waiting:
                return max(0, (end or 0) - waiting[0].offset)
        return 0 if end is None or self.next is None else max(0, end - self.next)

    async def _next_batch(self) -> None:
        while self._backlog and len(self._batch) < self._policy.batch:
            message = self._backlog.popleft()
            self._bytes -= _size(message)
            self._batch.append(message)
        self._stop.burying = False
        records = [to_record(message) for message in self._batch]
        settled = partial(self._settled, self._incarnation)
        await self._delivery(settled=settled).settle(records)

    async def _bury(self, letter: Record) -> None:
        self._stop.burying = True
        await self._store_dead_letter(letter)
        self._stop.burying = False

    def _settled(self, incarnation: int, count: int) -> None:
        if incarnation != self._incarnation:
            return
        for _ in range(count):
            self.next = self._batch.popleft().offset + 1
        self._moved_at = self._clock()
        self._progressed()


def _size(message: Any) -> int:
    return _OVERHEAD + len(message.value or b"")
