"""Works the queue off: leases what may run now, has it judged, stores the outcome, publishes it, then marks it.

One loop per lane leases for that lane; one closer leases what needs no judge any more. The breaker and the rate are
asked before leasing, so that waiting costs neither a try nor a lease.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Self

import anyio

from app.bus.protocol import Bus
from app.contracts import LLMOrchestratorResponse, Outcome
from app.errors import LeaseLost, StoreUnavailable
from app.provider import outcomes
from app.provider.background import Background, Work
from app.provider.former_life import remember
from app.provider.judges.protocol import Judges
from app.provider.judging import DEFAULT_RETRY, Again, Concluded, Judging, RetryPolicy
from app.provider.lane import Clock, Lane, Lanes, Slot
from app.provider.publishing import Bell, Publishing
from app.provider.queue.protocol import Lease, Reply, RequestQueue
from app.provider.spending import Spending

LOOK_AROUND = 5.0
"""Seconds after which every loop looks at the queue even when nothing called it: for rows of other processes."""

BATCH = 64
LAST_WORDS = 2.0
"""Seconds for giving rows back when this process is told to stop."""


@dataclass(slots=True)
class Worker:
    """The loop of one lane. `eager`: there may be rows to lease; without it a freed slot wakes nobody."""

    lane: Lane
    bell: Bell = field(default_factory=Bell)
    eager: bool = True

    def freed(self) -> None:
        """A slot of the lane has ended."""
        if self.eager:
            self.bell.ring()


class QueueProcessor(Publishing):
    """Runs beside the routes, in the same process or another. Enter it to start, leave it to drain.

    `lease` is how long a crashed worker blocks its rows, `drain` how long leaving waits for calls that run,
    `publishers` how many publishes overlap, `purge_every` the pause between purges; durations in seconds.
    """

    def __init__(
        self,
        *,
        queue: RequestQueue,
        judges: Judges,
        lanes: Lanes,
        bus: Bus,
        lease: float = 60.0,
        drain: float = 10.0,
        publishers: int = 256,
        retry: RetryPolicy = DEFAULT_RETRY,
        bus_pause: float = 1.0,
        purge_every: float = 3600.0,
        clock: Clock = time.time,
        monotonic: Clock = time.monotonic,
        draw: Callable[[], float] = random.random,
        spending: Spending | None = None,
    ) -> None:
        super().__init__(
            queue=queue, bus=bus, publishers=publishers, bus_pause=bus_pause, monotonic=monotonic, draw=draw
        )
        self._lanes = lanes
        self._lease = lease
        self._drain = drain
        self._purge_every = purge_every
        self._spending = spending
        self._judges = judges
        self._clock = clock
        self._judging = Judging(
            queue=queue,
            judges=judges,
            lease=lease,
            retry=retry,
            clock=clock,
            monotonic=monotonic,
            draw=draw,
            spending=spending,
        )
        self._workers: dict[str, Worker] = {}
        self._stopping = False
        self._background = Background()

    async def __aenter__(self) -> Self:
        await remember(self._lanes, self._queue, self._spending, self._judges)
        await self._background.enter()
        self._background.help(self._judging.keep_leases)
        self._background.help(self._purge)
        self._background.help(self._listen)
        self._start(self._close_rows)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop leasing, let running calls finish within `drain`, give back the rest."""
        self._stopping = True
        self._wake_everybody()
        await self._background.leave(kind, error, trace, drain=self._drain)

    async def _listen(self) -> None:
        """The one that waits on the queue: it wakes the loops, and finds lanes that other processes made."""
        looked = float("-inf")
        while True:
            try:
                if self._monotonic() - looked >= LOOK_AROUND:
                    for name in await self._queue.stats():
                        self._lanes.open(name)
                    looked = self._monotonic()
                self._wake_everybody()
                await self._queue.wait(LOOK_AROUND)
            except StoreUnavailable:
                await self._store_is_away()

    async def _purge(self) -> None:
        """Delete what is past the retention, now and then; each pass in short transactions."""
        while True:
            try:
                await self._queue.purge()
                if self._spending is not None:
                    await self._spending.purge()
            except StoreUnavailable:
                self.counts.store_away += 1  # what is left is found by the next pass
            await anyio.sleep(self._purge_every)

    def _wake_everybody(self) -> None:
        for lane in self._lanes:
            if lane.name not in self._workers and lane.limits.concurrency > 0 and not self._stopping:
                self._workers[lane.name] = worker = Worker(lane)
                lane.freed = worker.freed
                self._start(partial(self._work, worker))
        for worker in self._workers.values():
            worker.eager = True
            worker.bell.ring()
        self._closer.ring()

    async def _work(self, worker: Worker) -> None:
        """Lease for one lane, as many rows as may be judged now."""
        lane = worker.lane
        while not self._stopping:
            # One more than known of, for rows of other processes; taking all slots to look would bar direct calls.
            most = min(BATCH, self._queue.waiting(lane.name) + 1)
            slots = lane.take(most) if worker.eager else []
            if not slots:
                wait = lane.seconds_until_room() if worker.eager else LOOK_AROUND
                await worker.bell.wait(min(wait, LOOK_AROUND) or LOOK_AROUND)
                continue
            worker.eager = False
            leases: Sequence[Lease] = ()
            try:
                with anyio.CancelScope(shield=True):  # cut off here, leased rows would be charged for no call
                    leases = await self._queue.lease(
                        lane.name, limit=len(slots), seconds=self._lease, begin=True
                    )
            except StoreUnavailable:
                await self._store_is_away()
            worker.eager = worker.eager or len(leases) == len(slots)
            for lease, slot in zip(leases, slots, strict=False):
                self._start(partial(self._process_request, lease, slot), lease)
            for slot in slots[len(leases) :]:
                slot.give_back()

    async def _close_rows(self) -> None:
        """Lease what needs no judge: outcomes to publish, and rows that expired, were cancelled or are exhausted."""
        while not self._stopping:
            room = self._room_to_publish()
            leases: Sequence[Lease] = ()
            if room:
                try:
                    leases = await self._queue.lease_closing(limit=room, seconds=self._lease)
                except StoreUnavailable:
                    await self._store_is_away()
            self._publishing += len(leases)
            for lease in leases:
                self._start(partial(self._in_room, partial(self._close, lease)), lease)
            self._more_to_close = len(leases) == room
            if not self._more_to_close or not self._room_to_publish():
                await self._closer.wait(
                    max(0.01, self._bus_down_for()) if self._bus_failures else LOOK_AROUND
                )

    async def _process_request(self, lease: Lease, slot: Slot) -> None:
        """Have one row judged; it is answered, or goes back into the line."""
        self._judging.keep(lease)
        try:
            if self._stopping or not slot.allowed:
                await self._give_back(lease, untried=True)
                return
            result = await self._judging.call(lease, slot)
            if isinstance(result, Again):
                self.counts.retried += 1
                await self._queue.release(lease, after=result.after, untried=result.untried)
            elif result.status is Outcome.SUCCEEDED:
                await self._handle_request_success(lease, result)
            else:
                await self._answer(lease, result)
        finally:
            slot.give_back()
            self._judging.drop(lease)

    async def _handle_request_success(self, lease: Lease, response: LLMOrchestratorResponse) -> None:
        """A verdict: store it, then publish the stored bytes to the callback topic."""
        self.counts.judged += 1
        await self._answer(lease, response)

    async def _answer(self, lease: Lease, response: LLMOrchestratorResponse) -> None:
        concluded = await self._conclude(lease, response)
        if concluded.reply is not Reply.CALLBACK:
            return
        if self._room_to_publish():
            self._publishing += 1
            await self._in_room(partial(self._deliver, lease, concluded.stored))
        else:
            await self._put_off(lease, self._bus_down_for())

    async def _close(self, lease: Lease) -> None:
        """Answer a row without a judge, or publish the answer it already has."""
        if lease.stored is not None:
            await self._deliver(lease, lease.stored)
        elif lease.ending is not None:
            concluded = await self._conclude(lease, outcomes.ended(lease, lease.ending, now=self._clock()))
            if concluded.reply is Reply.CALLBACK:
                await self._deliver(lease, concluded.stored)
        else:
            await self._queue.release(lease)

    async def _conclude(self, lease: Lease, response: LLMOrchestratorResponse) -> Concluded:
        concluded = await self._judging.store(lease, response)
        self.counts.stored += 1
        return concluded

    def _start(self, work: Work, lease: Lease | None = None) -> None:
        self._background.start(partial(self._guard, work, lease))

    async def _guard(self, work: Work, lease: Lease | None) -> None:
        """A lost lease or an absent database ends one piece of work, never the processor."""
        try:
            await work()
        except LeaseLost:
            self.counts.lost += 1
        except StoreUnavailable:
            self.counts.store_away += 1
        except anyio.get_cancelled_exc_class():
            if lease is not None:
                await self._give_back(lease)
            raise

    async def _give_back(self, lease: Lease, *, untried: bool = False) -> None:
        with anyio.move_on_after(LAST_WORDS, shield=True):
            try:
                await self._queue.release(lease, untried=untried)
            except (LeaseLost, StoreUnavailable):
                return  # the lease runs out by itself

    async def _store_is_away(self) -> None:
        self.counts.store_away += 1
        await anyio.sleep(0.5 + self._draw())
        self._wake_everybody()
