"""KafkaBus: a `Bus` whose log is a Kafka cluster, so that modules can live in processes of their own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import TaskGroup

from app.bus.kafka.connection import TOPIC_LIMIT, KafkaConnection, Membership, TopicLayout
from app.bus.kafka.letters import open_letters
from app.bus.kafka.member import Member
from app.bus.kafka.publisher import Publisher
from app.bus.kafka.topics import Topics
from app.bus.leaving import end_tasks
from app.bus.protocol import (
    BusHealth,
    DeadLetterLog,
    DeliveryPolicy,
    Handler,
    Record,
    dead_letter_topic,
)
from app.contracts.topics import is_legal_topic
from app.errors import BusClosed, RecordRefused


class KafkaBus:
    """One process on a broker. It can be entered while the broker is away, and works as soon as it is there.

    `topics` are those it publishes to; they, those subscribed, and their dead letter topics are made as `layout` says.
    It lives on a task group, so whoever enters it leaves it, in the same task.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        policy: DeliveryPolicy | None = None,
        *,
        topics: Iterable[str] = (),
        layout: TopicLayout | None = None,
        membership: Membership | None = None,
    ) -> None:
        self.policy = policy or DeliveryPolicy()
        self._arguments = connection.arguments()
        self._layout = layout or TopicLayout()
        self._membership = membership or Membership()
        self._published = [*topics]
        self._handlers: dict[str, dict[str, Handler]] = defaultdict(dict)
        self._tasks: TaskGroup
        self._topics: Topics
        self._publisher: Publisher
        self._members: list[Member] = []
        self._entered = self._closing = False

    async def publish(self, record: Record) -> None:
        """Return when the broker has stored the record on all replicas in sync.

        A topic that was never declared and a record of more than 1 MB are refused at once, as `RecordRefused`: the row of a
        ledger waits for better settings then, and holds up nothing else.
        """
        self._refuse_unless_open()
        if not self._topics.is_wanted(record.topic):
            raise RecordRefused(f"topic {record.topic} was not declared to this bus")
        await self._publisher.publish(record)

    def subscribe(self, topic: str, group: str, handler: Handler) -> None:
        """Call `handler` with the records of `topic`, for `group`, once the bus is entered."""
        if self._entered:
            raise RuntimeError("subscribe before entering the bus")
        if topic in self._handlers[group]:
            raise ValueError(f"group {group} already has a handler for {topic}")
        self._handlers[group][topic] = handler

    @asynccontextmanager
    async def dead_letters(self, topic: str) -> AsyncIterator[DeadLetterLog]:
        """Open the dead letters of `topic`, with a consumer of their own that leaves no member behind."""
        self._refuse_unless_open()
        async with open_letters(self._arguments, self._topics, dead_letter_topic(topic)) as letters:
            yield letters

    def health(self) -> BusHealth:
        """Unhealthy when left, when the broker is away, or when a group does not advance."""
        lag = {
            (member.group, topic): member.lag(topic) for member in self._members for topic in member.handlers
        }
        oldest = max((member.oldest() for member in self._members), default=0.0)
        reason = self._trouble()
        return BusHealth(healthy=not reason, reason=reason, lag=lag, oldest=oldest)

    async def __aenter__(self) -> Self:
        """Start everything and return at once; nothing here waits for the broker."""
        if self._entered:
            raise RuntimeError("a bus is entered once")
        self._topics = Topics(self._arguments, self._layout, self._declared())
        self._publisher = Publisher(self._arguments, self._topics, deadline=self.policy.publish_timeout)
        self._members = [
            Member(
                group,
                handlers,
                arguments=self._arguments,
                topics=self._topics,
                policy=self.policy,
                membership=self._membership,
                bury=self._bury,
            )
            for group, handlers in self._handlers.items()
        ]
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._entered = True
        self._tasks.start_soon(self._topics.run)
        self._publisher.start(self._tasks)
        for member in self._members:
            member.start(self._tasks)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Begin nothing, wait `drain` for what runs, then commit and say goodbye; at most some seconds more."""
        try:
            self._closing = True
            for member in self._members:  # all at once: no group begins anything while another one drains
                member.leave()
            await self._drain()
        finally:
            self._tasks.cancel_scope.cancel()
            await end_tasks(self._tasks, kind, error, trace)

    def _declared(self) -> Iterable[str]:
        named = [*self._published, *(topic for handlers in self._handlers.values() for topic in handlers)]
        for topic in named:
            if not is_legal_topic(topic):
                raise ValueError(f"'{topic}' is no legal topic name")
            yield topic
            if not topic.endswith(dead_letter_topic("")):
                yield dead_letter_topic(topic)

    async def _bury(self, letter: Record) -> None:
        """Store a dead letter, also while leaving; a record of a foreign topic may be larger than ours."""
        self._topics.want(letter.topic)
        await self._publisher.publish(letter, limit=TOPIC_LIMIT)

    async def _drain(self) -> None:
        with anyio.CancelScope(shield=True), anyio.move_on_after(self.policy.drain):
            for member in self._members:
                await member.finished()
            while not self._publisher.idle:  # noqa: ASYNC110  seldom, and not for long
                await anyio.sleep(0.01)

    def _refuse_unless_open(self) -> None:
        if self._closing or not self._entered:
            raise BusClosed("the bus was left" if self._closing else "the bus is not entered yet")
        if self._tasks.cancel_scope.cancel_called:
            raise BusClosed("a delivery died")  # and with it whoever would have answered

    def _trouble(self) -> str:
        if self._closing or not self._entered:
            return "left" if self._closing else "not entered yet"
        if self._tasks.cancel_scope.cancel_called:
            return "a delivery died"
        reasons = [
            self._topics.reason,
            self._publisher.reason,
            *(member.trouble() for member in self._members),
        ]
        return next(filter(None, reasons), "")
