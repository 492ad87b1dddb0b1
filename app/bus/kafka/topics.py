"""Asks the broker every second whether it is there and has our topics, and makes those that are missing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any

import anyio
import structlog
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.admin import CreateTopicsRequest

from app.bus.kafka.clients import AWAY, abandon, bounded, start
from app.bus.kafka.connection import TopicLayout
from app.bus.kafka.metadata import NO_ERROR, UNKNOWN_TOPIC, Topic, TopicsRequest, read
from app.errors import TopicAbsent

LOOK_EVERY = 1.0
LOOK_AGAIN = 0.2
"""Seconds between looks while it is away: work has to flow again soon after it is back."""

PATIENCE = 3.0
"""Seconds without an answer after which the broker counts as away."""

ABSENT = 3.0
"""Seconds without a topic, from a broker that answers, after which no publisher waits for it any more: two looks make
one that was deleted, and what they cannot make takes people."""

_ALREADY_EXISTS = 36

_log = structlog.get_logger(__name__)

Changed = Callable[[Collection[str]], None]


class Topics:
    """What the broker has of the topics that are wanted. `reason` is empty while it answers and all of them are there.

    `changed` are told the names of topics that were made anew since they were last seen, or have other partitions now.
    """

    def __init__(
        self,
        arguments: Mapping[str, Any],
        layout: TopicLayout,
        wanted: Iterable[str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.where = f"Kafka at {', '.join(arguments['bootstrap_servers'])}"
        self.reason = f"{self.where} has not answered yet"
        self.answering_since: float | None = None
        self.changed: list[Changed] = []
        self._arguments = arguments
        self._layout = layout
        self._wanted = dict.fromkeys(wanted)
        self._known: dict[str, Topic] = {}
        self._last: dict[str, Topic] = {}  # as `_known`, and those that are gone
        self._absent_since: dict[str, float] = {}
        self._clock = clock
        self._news = asyncio.Event()
        self._nudge = asyncio.Event()

    def partitions(self, topic: str) -> int | None:
        """How many partitions a topic has; None while it is not there."""
        known = self._known.get(topic)
        return None if known is None else known.partitions

    def is_wanted(self, topic: str) -> bool:
        """Whether a topic was declared."""
        return topic in self._wanted

    def want(self, topic: str) -> None:
        """Have one more topic made."""
        if topic not in self._wanted:
            self._wanted[topic] = None
            self._nudge.set()

    async def there(self, *topics: str) -> None:
        """Return when the broker answers and has all of `topics`."""
        while self.answering_since is None or not all(topic in self._known for topic in topics):
            await self._news.wait()

    async def made(self, topic: str) -> None:
        """Return when the broker answers and has `topic`.

        :raises TopicAbsent: it has been answering for a while and has not.
        """
        while self.answering_since is None or topic not in self._known:
            self.refuse_if_absent(topic)
            await self._news.wait()

    def refuse_if_absent(self, topic: str) -> None:
        """Raise `TopicAbsent` when the broker answers, and has not had `topic` for a while."""
        since = self._absent_since.get(topic)
        if since is not None and self._clock() - since >= ABSENT:
            raise TopicAbsent(self.reason)

    def answering_for(self) -> float:
        """For how many seconds the broker has answered without a break."""
        return 0.0 if self.answering_since is None else self._clock() - self.answering_since

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            client = AIOKafkaClient(**self._arguments, request_timeout_ms=round(PATIENCE * 1000))
            try:
                await start(client, client.bootstrap(), 2 * PATIENCE)
                while True:
                    await self._look(client)
                    self._nudge.clear()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_EVERY):
                            await self._nudge.wait()
            except AWAY as error:
                self._away(error, "does not answer")
            except NotImplementedError as error:  # no version of the request is known to both sides
                self._away(error, "is older than 3.1")
            finally:
                with anyio.CancelScope(shield=True):
                    await abandon(client)
            await asyncio.sleep(LOOK_AGAIN)

    async def _look(self, client: AIOKafkaClient) -> None:
        found = {topic.name: topic for topic in read(await self._ask(client, TopicsRequest([*self._wanted])))}
        missing = [name for name, topic in found.items() if topic.error == UNKNOWN_TOPIC]
        problem = ""
        if missing:
            problem = await self._make(client, missing)
            found = {
                topic.name: topic for topic in read(await self._ask(client, TopicsRequest([*self._wanted])))
            }
        known = {name: topic for name, topic in found.items() if topic.error == NO_ERROR and topic.partitions}
        self._take(known, problem)

    async def _ask(self, client: AIOKafkaClient, request: Any) -> Any:
        """Send to one broker, and to another one if that one is away."""
        tries = max(1, len(client.cluster.brokers()))
        for left in reversed(range(tries)):
            try:
                return await bounded(client.send(client.get_random_node(), request), PATIENCE)
            except AWAY:
                if not left:
                    raise
        raise KafkaError("no broker")

    async def _make(self, client: AIOKafkaClient, names: Collection[str]) -> str:
        layout = self._layout
        topics: list[tuple[str, int, int, list[Any], list[tuple[str, str]]]] = [
            (name, layout.partitions, layout.replication, [], list(layout.configuration().items()))
            for name in names
        ]
        response = await self._ask(client, CreateTopicsRequest(topics, round(PATIENCE * 1000), False))
        problems = [
            f"topic {name} cannot be made: {for_code(code).__name__} {' '.join(map(str, message))}".strip()
            for name, code, *message in response.topic_errors
            if code not in {NO_ERROR, _ALREADY_EXISTS}
        ]
        made = len(names) - len(problems)
        if made:
            _log.info("bus.kafka.topics_made", topics=sorted(names))
        return "; ".join(problems)

    def _take(self, known: Mapping[str, Topic], problem: str) -> None:
        """Note what is there; tell about topics that are others than those known before."""
        if self.answering_since is None:
            self.answering_since = self._clock()
            _log.info("bus.kafka.answers", at=self.where)
        for name, topic in known.items():
            if name not in self._last and topic.partitions != self._layout.partitions:
                _log.warning(
                    "bus.kafka.other_partitions",
                    topic=name,
                    has=topic.partitions,
                    set=self._layout.partitions,
                )
        anew = {
            name
            for name, topic in known.items()
            if name in self._last
            and (topic.id, topic.partitions) != (self._last[name].id, self._last[name].partitions)
        }
        news = self.reason or self._known.keys() != known.keys() or anew
        self._known = dict(known)
        self._last |= known
        absent = [name for name in self._wanted if name not in known]
        self.reason = problem or (f"{self.where} has no topic {', '.join(absent)}" if absent else "")
        self._absent_since = {name: self._absent_since.get(name, self._clock()) for name in absent}
        if anew:
            _log.warning("bus.kafka.topics_anew", topics=sorted(anew))
            for tell in self.changed:
                tell(anew)
        if news or absent:
            self._news.set()
            self._news = asyncio.Event()

    def _away(self, error: Exception, what: str) -> None:
        reason = f"{self.where} {what}"
        if reason != self.reason:
            _log.warning("bus.kafka.away", at=self.where, error=type(error).__name__)
        self.reason, self.answering_since = reason, None
        self._absent_since.clear()
