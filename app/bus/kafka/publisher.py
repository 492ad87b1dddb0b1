"""Many callers, few requests: while one batch of a partition is under way, the next one gathers.

Order per key holds because a partition has one batch on its way at a time, and because whatever waits behind a batch of
unknown fate fails with it: nothing overtakes a record that its caller will publish again. A producer that failed a
batch is never used again: it may still hold the batch, and its sequence numbers no longer fit the broker's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any

import anyio
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, MessageSizeTooLargeError
from anyio.abc import TaskGroup

from app.bus.kafka.clients import AWAY, CONNECT, start, stop
from app.bus.kafka.connection import RECORD_LIMIT
from app.bus.kafka.records import Header, partition_for, size_of, to_headers
from app.bus.kafka.topics import LOOK_AGAIN, Topics
from app.bus.protocol import Record
from app.errors import BusClosed, BusUnavailable, RecordRefused, TopicAbsent

BATCH_BYTES = 512_000
"""Of one request to one partition; below the broker's own default limit of 1 MB."""


class _Letter:
    """A record on its way, and the caller who waits for it."""

    __slots__ = ("deadline", "headers", "key", "stored", "value")

    def __init__(self, key: bytes, value: bytes, headers: list[Header], deadline: float) -> None:
        self.key = key
        self.value = value
        self.headers = headers
        self.deadline = deadline
        self.stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def arrive(self) -> None:
        """Tell the caller that it is stored."""
        if not self.stored.done():
            self.stored.set_result(None)

    def fail(self, error: Exception) -> None:
        """Tell the caller that it is not, or may not be."""
        if not self.stored.done():
            self.stored.set_exception(error)


class _Lane:
    """What waits for one partition; `partition` is None for records whose topic is not known yet."""

    def __init__(self, topic: str, partition: int | None) -> None:
        self.topic = topic
        self.partition = partition
        self.waiting: deque[_Letter] = deque()
        self.bell = asyncio.Event()
        self.busy = False
        self.most = 1_000_000  # records in a batch; 1 once the topic turned out to take less than our batches

    def put(self, letter: _Letter) -> None:
        self.waiting.append(letter)
        self.bell.set()

    def has_callers(self) -> bool:
        """Whether the first letter has a caller, once those whose callers have gone are dropped."""
        while self.waiting and self.waiting[0].stored.done():
            self.waiting.popleft()
        return bool(self.waiting)

    def fail(self, error: BusUnavailable | BusClosed, *first: _Letter) -> None:
        letters = [*first, *self.waiting]
        self.waiting.clear()
        for letter in letters:
            letter.fail(type(error)(error.detail))


class Publisher:
    """The producer of a bus. `deadline` is how long a caller waits at most, in seconds."""

    def __init__(self, arguments: Mapping[str, Any], topics: Topics, *, deadline: float) -> None:
        self.reason = "no producer yet"
        self._arguments = arguments
        self._topics = topics
        self._deadline = deadline
        self._lanes: dict[tuple[str, int | None], _Lane] = {}
        self._tasks: TaskGroup
        self._producer: AIOKafkaProducer | None = None
        self._arrived = asyncio.Event()
        self._retired = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop
        topics.changed.append(lambda _: self._retire(self._producer))

    def start(self, tasks: TaskGroup) -> None:
        """Begin; everything runs in `tasks`."""
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        tasks.start_soon(self._run)

    @property
    def idle(self) -> bool:
        """Whether nobody waits."""
        return not any(lane.waiting or lane.busy for lane in self._lanes.values())

    async def publish(self, record: Record, *, limit: int = RECORD_LIMIT) -> None:
        """Return when the record is stored.

        :raises BusUnavailable: it was not within the deadline, or cannot be.
        :raises TopicAbsent: the broker answers, and there is no such topic to store it in.
        """
        key = record.key.encode()
        headers = to_headers(record)
        size = size_of(key, record.body, headers)
        if size > limit:
            raise RecordRefused(f"a record of {size:,} bytes is over the limit of {limit:,}")
        letter = _Letter(key, record.body, headers, self._loop.time() + self._deadline)
        self._lane(record.topic, key).put(letter)
        await letter.stored

    def _lane(self, topic: str, key: bytes) -> _Lane:
        partitions = self._topics.partitions(topic)
        unrouted = self._lanes.get((topic, None))
        if partitions is None or (unrouted is not None and unrouted.waiting):
            return self._lane_of(topic, None)  # behind those that came before
        return self._lane_of(topic, partition_for(key, partitions))

    def _lane_of(self, topic: str, partition: int | None) -> _Lane:
        lane = self._lanes.get((topic, partition))
        if lane is None:
            lane = self._lanes[topic, partition] = _Lane(topic, partition)
            self._tasks.start_soon(self._work, lane)
        return lane

    async def _work(self, lane: _Lane) -> None:
        try:
            while True:
                await lane.bell.wait()
                lane.bell.clear()
                lane.busy = True
                while lane.has_callers():
                    await self._send_next(lane)
                lane.busy = False
        finally:
            lane.busy = False
            lane.fail(BusClosed("the bus was left"))

    async def _send_next(self, lane: _Lane) -> None:
        """Send what waits in one batch, and tell the callers how it went."""
        producer: AIOKafkaProducer | None = None
        taken: list[_Letter] = []
        try:
            async with asyncio.timeout_at(lane.waiting[0].deadline):
                if lane.partition is None:
                    await self._topics.made(lane.topic)
                    self._route(lane)
                    return
                producer = await self._present()
                await self._send(producer, lane, taken)
        except TopicAbsent as error:
            lane.fail(error)
        except MessageSizeTooLargeError:
            self._retire(producer)
            self._split(lane, taken)
        except TimeoutError:
            self._retire(producer)
            why = self._topics.reason or self.reason or f"{self._topics.where} did not acknowledge"
            lane.fail(BusUnavailable(f"{why} within {self._deadline:g} s"), *taken)
        except (KafkaError, OSError, AssertionError) as error:  # aiokafka asserts that the partition exists
            self._retire(producer)
            why = f"{self._topics.where} did not take the record: {type(error).__name__}"
            lane.fail(BusUnavailable(why), *taken)
        else:
            for letter in taken:
                letter.arrive()
        finally:
            for letter in taken:
                letter.fail(BusClosed("the bus was left"))  # those that nothing above told

    async def _send(self, producer: AIOKafkaProducer, lane: _Lane, taken: list[_Letter]) -> None:
        """Move as much as one batch holds from the lane to `taken`, and return when it is stored."""
        batch = producer.create_batch()
        _fill(batch, lane, taken)
        if not taken:
            return  # their callers have gone
        try:
            await (await producer.send_batch(batch, lane.topic, partition=lane.partition))
        except asyncio.CancelledError as error:  # aiokafka may cancel it though nobody cancelled us
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise KafkaConnectionError("the producer gave up") from error

    def _route(self, lane: _Lane) -> None:
        """The topic is there now: hand its records on in order, before anybody else can publish."""
        letters = [*lane.waiting]
        lane.waiting.clear()
        partitions = self._topics.partitions(lane.topic) or 1
        for letter in letters:
            self._lane_of(lane.topic, partition_for(letter.key, partitions)).put(letter)

    def _split(self, lane: _Lane, taken: list[_Letter]) -> None:
        """The topic takes less than our batches: from now on one by one, so that only what is too large fails."""
        if len(taken) == 1:
            taken[0].fail(RecordRefused(f"topic {lane.topic} takes no record of this size"))
        else:
            lane.most = 1
            lane.waiting.extendleft(reversed(taken))
            taken.clear()

    async def _present(self) -> AIOKafkaProducer:
        while self._producer is None:
            await self._arrived.wait()
        return self._producer

    def _retire(self, producer: AIOKafkaProducer | None) -> None:
        if producer is not None and producer is self._producer:
            self._producer = None
            self._arrived.clear()
            self._retired.set()

    async def _run(self) -> None:
        """Keep a producer, and replace the one that failed. The old one is gone before the new one begins."""
        while True:
            await self._topics.there()
            patience = max(self._deadline, CONNECT)
            producer = AIOKafkaProducer(
                **self._arguments,
                acks="all",
                enable_idempotence=True,
                max_batch_size=BATCH_BYTES,
                request_timeout_ms=round(patience * 1000),
            )
            try:
                await start(producer, producer.start(), patience + 1.0)
                self.reason = ""
                self._retired.clear()
                self._producer = producer
                self._arrived.set()
                await self._retired.wait()
                self.reason = "the producer is made anew"
            except AWAY as error:
                self.reason = f"no producer: {type(error).__name__}"
            finally:
                self._retire(producer)
                with anyio.CancelScope(shield=True):
                    await stop(producer)
            await asyncio.sleep(LOOK_AGAIN)


def _fill(batch: Any, lane: _Lane, taken: list[_Letter]) -> None:
    while lane.waiting and len(taken) < lane.most:
        letter = lane.waiting[0]
        if not letter.stored.done():
            if (
                batch.append(timestamp=None, key=letter.key, value=letter.value, headers=letter.headers)
                is None
            ):
                return
            taken.append(letter)
        lane.waiting.popleft()
