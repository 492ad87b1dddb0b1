"""One process in one group: fetches, hands out, commits; leaves and comes back with the broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

import anyio
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import ConsumerStoppedError, IllegalStateError
from anyio.abc import TaskGroup

from app.bus.kafka.clients import (
    AWAY,
    CONNECT,
    GOODBYE,
    bounded,
    commit,
    first_of,
    leave_group,
    on_heartbeat,
    start,
    stop,
)
from app.bus.kafka.connection import Membership
from app.bus.kafka.partition import Lease, Place
from app.bus.kafka.topics import LOOK_AGAIN, Topics
from app.bus.protocol import DeliveryPolicy, Handler, Record

COMMIT_EVERY = 0.1
"""Seconds between commits of one group: one per record caps a group at 150 records a second (measured)."""

COMMIT_DEADLINE = 2.0
REVOKE_SPARE = 5.0
"""The broker waits `drain` and this for a member to give its partitions back."""

SILENCE = 15.0
"""A consumer that gets no answers for so long, from a broker that answers, is stuck: it is made anew."""

_log = structlog.get_logger(__name__)


class Stuck(Exception):
    """The broker answers, but not this consumer."""


class Member(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """A member of a consumer group, for one or more topics. It survives brokers, never the process."""

    def __init__(
        self,
        group: str,
        handlers: Mapping[str, Handler],
        *,
        arguments: Mapping[str, Any],
        topics: Topics,
        policy: DeliveryPolicy,
        membership: Membership,
        bury: Callable[[Record], Awaitable[None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.group = group
        self.handlers = handlers
        self.reason = f"group {group} has no consumer yet"
        self._arguments = arguments
        self._topics = topics
        self._policy = policy
        self._membership = membership
        self._bury = bury
        self._clock = clock
        self._tasks: TaskGroup
        self._consumer: Any = None
        self._places: dict[TopicPartition, Place] = {}
        self._joined = False
        self._waiting_since = clock()
        self._leaving = False
        self._lease = Lease(membership.session_timeout, clock)
        self._dirty = asyncio.Event()
        self._committing = asyncio.Lock()
        topics.changed.append(self._topics_changed)

    def start(self, tasks: TaskGroup) -> None:
        """Begin; everything runs in `tasks`."""
        self._tasks = tasks
        tasks.start_soon(self._run)

    def leave(self) -> None:
        """Begin no handler any more; what runs may finish."""
        self._leaving = True
        for place in self._places.values():
            place.stop()

    async def finished(self) -> None:
        """Return when no handler runs any more."""
        for place in [*self._places.values()]:
            await place.ended.wait()

    # What people see ----------------------------------------------------------------------------------------------

    def lag(self, topic: str) -> int:
        """How many records of `topic` this member has not settled."""
        return sum(
            place.lag(self._end(partition))
            for partition, place in self._places.items()
            if partition.topic == topic
        )

    def oldest(self) -> float:
        """How old the oldest record is that was fetched and not settled."""
        return max((place.oldest for place in self._places.values()), default=0.0)

    def trouble(self) -> str:
        """Why this member does not advance; empty when it does."""
        if self.reason:
            return self.reason
        waited = self._clock() - self._waiting_since
        if not self._joined and waited > self._policy.stall:
            return f"group {self.group} has been joining for {waited:.0f} s"
        for partition, place in self._places.items():
            if (seconds := place.stalled_for) > self._policy.stall:
                where = f"{partition.topic}[{partition.partition}]"
                return f"{self.group} settles nothing of {where} for {seconds:.0f} s"
        if (silence := self._silence()) > max(SILENCE, self._policy.stall):
            return f"{self.group} has been reading nothing for {silence:.0f} s"
        return ""

    # The consumer -------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await self._topics.there(*self.handlers)
            consumer = self._make()
            try:
                await start(consumer, consumer.start(), self._longest_rebalance + CONNECT + 1.0)
                on_heartbeat(consumer, self._renew_lease)
                consumer.subscribe([*self.handlers], listener=self)
                self._consumer, self.reason = consumer, ""
                self._waiting_since = self._clock()
                await first_of(self._fetch(consumer), self._commit_now_and_then(), self._watch())
            except (*AWAY, ConsumerStoppedError, Stuck) as error:
                self.reason = f"group {self.group} has no consumer: {type(error).__name__} {error}".strip()
                _log.warning("bus.kafka.consumer_lost", group=self.group, error=type(error).__name__)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._part(consumer)
            await asyncio.sleep(LOOK_AGAIN)

    @property
    def _longest_rebalance(self) -> float:
        return self._policy.drain + REVOKE_SPARE

    def _make(self) -> Any:
        rebalance = self._longest_rebalance
        return AIOKafkaConsumer(
            **self._arguments,
            group_id=self.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",  # others may write in transactions
            session_timeout_ms=round(self._membership.session_timeout * 1000),
            heartbeat_interval_ms=round(self._membership.heartbeat * 1000),
            max_poll_interval_ms=round(self._membership.poll_limit * 1000),
            # Without it aiokafka takes the session timeout, and a handler that drains longer loses its partition.
            rebalance_timeout_ms=round(rebalance * 1000),
            # aiokafka waits no longer than this for the answer to a join, and that takes as long as a rebalance.
            request_timeout_ms=round((rebalance + CONNECT) * 1000),
            metadata_max_age_ms=30_000,
        )

    async def _fetch(self, consumer: Any) -> None:
        while True:
            fetched = await consumer.getmany(timeout_ms=1000)
            for partition, messages in fetched.items():
                place = self._place(partition)
                place.put(messages)
                if place.full and not place.paused:
                    place.paused = True
                    consumer.pause(partition)

    def _place(self, partition: TopicPartition) -> Place:
        """Records may come before aiokafka has told us of the assignment."""
        place = self._places.get(partition)
        if place is None:
            place = self._places[partition] = Place(
                partition,
                group=self.group,
                handler=self.handlers[partition.topic],
                policy=self._policy,
                bury=self._bury,
                progressed=self._progressed,
                lease=self._lease,
                clock=self._clock,
            )
            if self._leaving:
                place.stop()
            self._tasks.start_soon(place.run)
        return place

    def _renew_lease(self, since: float) -> None:
        stopped = self._lease.ran_out
        self._lease.renew(since)
        if stopped:
            for place in self._places.values():
                place.wake()

    def _progressed(self) -> None:
        self._dirty.set()
        for partition, place in self._places.items():
            if place.paused and not place.full:
                place.paused = False
                with suppress(IllegalStateError):
                    self._consumer.resume(partition)

    async def _watch(self) -> None:
        """End a consumer that is stuck although the broker answers: it does not always notice itself."""
        longest_join = self._longest_rebalance + self._membership.session_timeout + SILENCE
        while True:
            await asyncio.sleep(1.0)
            joining = 0.0 if self._joined else self._clock() - self._waiting_since
            if min(joining, self._topics.answering_for()) > longest_join:
                raise Stuck("it never joined")
            if min(self._silence(), self._topics.answering_for()) > SILENCE:
                raise Stuck("it fetches nothing")

    def _silence(self) -> float:
        """For how long no answer to a fetch has come that should have."""
        if self._consumer is None or not self._joined:
            return 0.0
        asked = [partition for partition, place in self._places.items() if not place.paused]
        times = [time.time() - at / 1000 for partition in asked if (at := self._answered_at(partition))]
        since = self._clock() - self._waiting_since
        return min([*times, since]) if asked else 0.0

    def _answered_at(self, partition: TopicPartition) -> int | None:
        assigned = partition in self._consumer.assignment()
        return self._consumer.last_poll_timestamp(partition) if assigned else None

    def _end(self, partition: TopicPartition) -> int | None:
        if self._consumer is None or partition not in self._consumer.assignment():
            return None
        end: int | None = self._consumer.highwater(partition)
        return end

    async def _part(self, consumer: Any) -> None:
        """Give everything back: stop handlers, commit what they settled, leave the group; all within deadlines."""
        await self._stop_places(0.0)
        answers = self._topics.answering_since is not None
        if self._consumer is not None and answers:
            await self._commit(GOODBYE)
        joined, self._consumer, self._joined = self._joined, None, False
        self._places.clear()
        if joined and answers:
            await stop(consumer)
        else:
            await leave_group(consumer, GOODBYE if answers else 0.0)

    # Commits ------------------------------------------------------------------------------------------------------

    async def _commit_now_and_then(self) -> None:
        while True:
            await self._dirty.wait()
            await asyncio.sleep(COMMIT_EVERY)
            self._dirty.clear()
            if not await self._commit(COMMIT_DEADLINE):
                self._dirty.set()

    async def _commit(self, seconds: float) -> bool:
        """Commit what is settled, and never beyond. False: it should be tried again."""
        async with self._committing:
            offsets = {
                partition: place.next
                for partition, place in self._places.items()
                if place.next is not None and place.next != place.committed
            }
            if not offsets:
                return True
            try:
                await bounded(commit(self._consumer, offsets), seconds)
            except AWAY as error:
                # Either the broker is away, or the partitions moved: their new owner handles the records again.
                _log.info("bus.kafka.commit_failed", group=self.group, error=type(error).__name__)
                return False
            for partition, offset in offsets.items():
                if partition in self._places:
                    self._places[partition].committed = offset
            return True

    # Rebalances ---------------------------------------------------------------------------------------------------

    async def on_partitions_revoked(self, _revoked: Collection[TopicPartition]) -> None:
        """Let running handlers finish, within `drain`, then commit: the next owner begins where they ended (B4)."""
        self._joined, self._waiting_since = False, self._clock()
        await self._stop_places(self._policy.drain)
        await self._commit(COMMIT_DEADLINE)
        self._places.clear()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Note what this member has now."""
        if self._consumer is None:
            return  # it parts
        self._joined, self._waiting_since = True, self._clock()
        self._renew_lease(self._clock())
        for partition in assigned:
            self._place(partition)

    async def _stop_places(self, drain: float) -> None:
        places = [*self._places.values()]
        for place in places:
            place.stop()
        with anyio.move_on_after(drain):
            for place in places:
                await place.ended.wait()
        for place in places:
            place.scope.cancel()
        for place in places:
            await place.ended.wait()

    def _topics_changed(self, names: Collection[str]) -> None:
        """A topic was made anew: its offsets mean nothing any more; begin at its beginning."""
        ours = set(names) & self.handlers.keys()
        if not ours or self._consumer is None:
            return
        self._consumer._client.force_metadata_update()  # noqa: SLF001  it would find out within minutes
        for partition, place in self._places.items():
            if partition.topic in ours:
                place.restart()
                if partition in self._consumer.assignment():
                    self._consumer.seek(partition, 0)
