"""Outcomes on their way to the bus: published, then marked, so many at a time, with a pause when the bus is away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import anyio
import structlog

from app.bus.protocol import Bus
from app.errors import BusClosed, BusUnavailable, RecordRefused, TopicAbsent
from app.provider import outcomes
from app.provider.background import Work
from app.provider.insisting import insist
from app.provider.lane import Clock
from app.provider.queue.protocol import Lease, RequestQueue, StoredOutcome

BUS_PAUSE_CAP = 2.0
"""Seconds: `publish` itself waits for a bus that is away, and callbacks have to flow soon after it is back."""

ABSENT_PAUSE = 10.0
"""Seconds for which the rows of a topic that is not there are left alone: it takes people to make it."""

REFUSED_PAUSE = 60.0
"""Seconds after which a record that the bus refused is tried again: settings may have been mended."""

log = structlog.get_logger()


class Bell:
    """Wakes one waiter; rings are not counted, one wait takes all of them."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def ring(self) -> None:
        """Wake the waiter, now or at its next wait."""
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Return at the next ring, at the latest after `seconds`."""
        with anyio.move_on_after(seconds):
            await self._event.wait()
        self._event = anyio.Event()


@dataclass(slots=True)
class Counts:
    """What this processor did since it started; `lost` counts leases that another worker took over."""

    judged: int = 0
    retried: int = 0
    stored: int = 0
    published: int = 0
    unpublished: int = 0
    lost: int = 0
    store_away: int = 0


class Publishing:
    """The half of the queue processor that needs no judge.

    The other half, a subclass, leases as many rows as `_room_to_publish` says, counts them in `_publishing` at once, and
    runs each in `_in_room`, which counts it down and rings for its closer.
    """

    def __init__(
        self,
        *,
        queue: RequestQueue,
        bus: Bus,
        publishers: int,
        bus_pause: float,
        monotonic: Clock,
        draw: Callable[[], float],
    ) -> None:
        self._queue = queue
        self._bus = bus
        self._publishers = publishers
        self._bus_pause = bus_pause
        self._monotonic = monotonic
        self._draw = draw
        self.counts = Counts()
        self._closer = Bell()
        self._publishing = 0
        self._bus_failures = 0
        self._bus_down_until = float("-inf")
        self._more_to_close = False
        self._absent_until: dict[str, float] = {}

    async def _in_room(self, work: Work) -> None:
        """Do what room to publish was reserved for: when it was leased, so that nobody leases for the same room."""
        try:
            await work()
        finally:
            self._publishing -= 1
            if self._more_to_close:
                self._closer.ring()

    async def _deliver(self, lease: Lease, stored: StoredOutcome) -> None:
        """Publish, then mark. Without the bus the row keeps its outcome until later; that costs no try and asks no judge."""
        topic = lease.request.callback_topic
        if topic is None:
            await self._mark(lease)
            return
        if pause := self._bus_down_for() or self._absent_for(topic):
            await self._put_off(lease, pause)
            return
        failures = self._bus_failures
        try:
            await self._publish(lease, stored)
        except RecordRefused as error:
            log.warning("record refused", queue_id=str(lease.request.queue_id), reason=error.detail)
            await self._put_off(lease, REFUSED_PAUSE)
        except TopicAbsent as error:
            log.warning("topic absent", topic=topic, reason=error.detail)
            self._bus_failures = 0  # the broker itself answers
            pause = ABSENT_PAUSE * (0.5 + self._draw() / 2)
            self._absent_until[topic] = self._monotonic() + pause
            await self._put_off(lease, pause)
        except (BusUnavailable, BusClosed):
            if failures == self._bus_failures:
                self._bus_failed()
            await self._put_off(lease, self._bus_down_for())
        else:
            self._bus_failures = 0
            await self._mark(lease)
            self.counts.published += 1

    async def _mark(self, lease: Lease) -> None:
        """Given up while the ledger is away, the event would go out again, and only when the lease has run out."""
        await insist(partial(self._queue.mark_published, lease), self._draw)

    async def _put_off(self, lease: Lease, pause: float) -> None:
        self.counts.unpublished += 1
        await insist(partial(self._queue.release, lease, after=pause), self._draw)

    def _bus_failed(self) -> None:
        """Pause. Publishes that were under way together fail together: one outage, counted once."""
        self._bus_failures += 1
        pause = min(BUS_PAUSE_CAP, self._bus_pause * 2.0 ** min(self._bus_failures - 1, 10))
        self._bus_down_until = self._monotonic() + pause * (0.5 + self._draw() / 2)

    async def _publish(self, lease: Lease, stored: StoredOutcome) -> None:
        await self._bus.publish(outcomes.to_record(lease.request, stored))

    def _room_to_publish(self) -> int:
        """How many publishes may begin; after a failure a single one tests the bus."""
        if self._bus_failures:
            return 1 if self._publishing == 0 and self._bus_down_for() == 0 else 0
        return self._publishers - self._publishing

    def _bus_down_for(self) -> float:
        return max(0.0, self._bus_down_until - self._monotonic())

    def _absent_for(self, topic: str) -> float:
        return max(0.0, self._absent_until.get(topic, 0.0) - self._monotonic())
