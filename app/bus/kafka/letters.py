"""Dead letters on Kafka, for people. A log gives nothing back, so a group's offsets say what was sent again.

The group has no members: offsets are committed by hand, as what stands below, and the runs above in the text beside
it. The broker forgets the offsets of such a group after `offsets.retention.minutes` (7 days unless set otherwise), and
letters after the retention of their topic; a letter that outlives its mark counts as waiting again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from app.bus.kafka.clients import AWAY, CONNECT, bounded, start, stop
from app.bus.kafka.records import to_record
from app.bus.kafka.topics import Topics
from app.bus.marks import Marks
from app.bus.protocol import DeadLetterLog, Kept
from app.errors import BusUnavailable

GROUP = "juxta-redrive"
"""One for all topics and processes."""

PATIENCE = 10.0
"""Seconds that the broker has for each answer."""


@asynccontextmanager
async def open_letters(
    arguments: Mapping[str, Any], topics: Topics, topic: str
) -> AsyncIterator[DeadLetterLog]:
    """Look where the topic `topic` begins and ends now, and what of it is marked.

    :raises BusUnavailable: the broker does not answer in time, or has no such topic.
    """
    where = topics.where
    try:
        async with asyncio.timeout(PATIENCE):
            await topics.there(topic)
    except TimeoutError:
        raise BusUnavailable(topics.reason or f"{where} has no topic {topic}") from None
    places = [TopicPartition(topic, number) for number in range(topics.partitions(topic) or 0)]
    consumer = AIOKafkaConsumer(
        **arguments,
        group_id=GROUP,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        request_timeout_ms=round(CONNECT * 1000),
    )
    try:
        with _translated(where):
            await start(consumer, consumer.start(), PATIENCE)
        consumer.assign(places)
        with _translated(where):
            begins = await bounded(consumer.beginning_offsets(places), PATIENCE)
            ends = await bounded(consumer.end_offsets(places), PATIENCE)
            stored = await bounded(
                consumer._coordinator.fetch_committed_offsets(places),  # noqa: SLF001  `committed` hides the text
                PATIENCE,
            )
        spans = {place.partition: range(begins[place], ends[place]) for place in places}
        marks = {place.partition: _marks(stored.get(place), spans[place.partition]) for place in places}
        yield KafkaDeadLetters(consumer, topic, where, spans=spans, marks=marks)
    finally:
        with anyio.CancelScope(shield=True):
            await stop(consumer)


class KafkaDeadLetters:
    """A `DeadLetterLog` read by a consumer that is there for nothing else."""

    def __init__(
        self,
        consumer: Any,
        topic: str,
        where: str,
        *,
        spans: Mapping[int, range],
        marks: Mapping[int, Marks],
    ) -> None:
        self._consumer = consumer
        self._topic = topic
        self._where = where
        self.spans = spans
        self.marks = marks

    async def read(self, partition: int, offset: int, limit: int) -> Sequence[Kept]:
        """As promised; offsets may be missing in between."""
        place, stop_at = TopicPartition(self._topic, partition), self.spans[partition].stop
        self._consumer.seek(place, max(offset, self.spans[partition].start))
        with _translated(self._where):
            return await bounded(self._fetch(place, stop_at, limit), PATIENCE)

    async def mark(self, partition: int, marks: Marks) -> None:
        """As promised."""
        place = TopicPartition(self._topic, partition)
        with _translated(self._where):
            await bounded(self._consumer.commit({place: (marks.below, marks.text)}), PATIENCE)

    async def _fetch(self, place: TopicPartition, stop_at: int, limit: int) -> Sequence[Kept]:
        while await self._consumer.position(place) < stop_at:
            fetched = await self._consumer.getmany(place, timeout_ms=500, max_records=limit)
            found = [
                Kept(place.partition, message.offset, message.timestamp / 1000, to_record(message))
                for message in fetched.get(place, ())
                if message.offset < stop_at
            ]
            if found:
                return found
        return []


def _marks(stored: OffsetAndMetadata | None, span: range) -> Marks:
    """What is stored, of a topic that may have been forgotten in part, or made anew since."""
    if stored is None or stored.offset > span.stop:
        return Marks(span.start)
    return Marks.read(stored.offset, stored.metadata).since(span.start)


@contextmanager
def _translated(where: str) -> Iterator[None]:
    try:
        yield
    except AWAY as error:
        raise BusUnavailable(f"{where} does not answer: {type(error).__name__}") from error
