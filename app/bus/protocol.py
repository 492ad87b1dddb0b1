"""What every bus promises (docs/design.md: B1 to B13), and the words it uses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from app.bus.marks import Marks

Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Record:
    """One event as it travels: bytes, plus the names needed to route, order and deduplicate it.

    `id` is chosen by the publisher and survives retry, redelivery, dead-lettering and redrive. `attempt` counts the
    deliveries of this record to one group, from 1; it does not travel.
    """

    topic: str
    key: str
    id: str
    body: bytes
    headers: Headers = field(default_factory=dict)
    attempt: int = 1


Handler = Callable[[Sequence[Record]], Awaitable[None]]
"""Takes a short batch of records of one partition, in order; returning settles all of them."""


class Reject(Exception):
    """A handler raises it when a record can never be handled: it is dead-lettered at once."""


class Retry(Exception):
    """A handler raises it when a dependency is down: the records are kept and tried until they are handled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPolicy:
    """How a member treats records; durations are seconds. `strikes` counts unexpected errors only, never `Retry`.

    Health turns false when a partition has records and settled none for `stall`.
    """

    strikes: int = 3
    backoff: float = 0.1
    backoff_cap: float = 5.0
    handler_timeout: float = 30.0
    publish_timeout: float = 10.0
    drain: float = 10.0
    batch: int = 200
    stall: float = 60.0


@dataclass(frozen=True, slots=True)
class BusHealth:
    """Whether the consume loops advance, why not, and how far each (group, topic) is behind in records.

    `oldest` is how many seconds ago the oldest record was published that waits here; 0 when none does or nobody knows.
    """

    healthy: bool
    reason: str
    lag: Mapping[tuple[str, str], int]
    oldest: float = 0.0


@dataclass(frozen=True, slots=True)
class Kept:
    """A record in its place on a topic; `at` is when it was stored there, in POSIX seconds, None where nobody knows."""

    partition: int
    offset: int
    at: float | None
    record: Record


class DeadLetterLog(Protocol):
    """The dead letters of one topic, as they were when it was opened. All methods raise `BusUnavailable`.

    A log has no holes, so nothing is taken out of it: `marks` say which letters were dealt with. They belong to the
    installation, not to the process, and outlive it where the log does.
    """

    spans: Mapping[int, range]
    """By partition, the offsets kept at the opening; what dies later is not among them."""

    marks: Mapping[int, Marks]

    async def read(self, partition: int, offset: int, limit: int) -> Sequence[Kept]:
        """Up to `limit` letters at or behind `offset`, marked ones too; none only where the span holds no more."""

    async def mark(self, partition: int, marks: Marks) -> None:
        """Store the marks of a partition durably. Who writes last is believed: a mark that is lost costs a second copy."""


class Bus(Protocol):
    """A partitioned log. Subscribe before entering; leaving begins nothing new and settles nothing unfinished."""

    async def publish(self, record: Record) -> None:
        """Return once the record is stored.

        :raises BusUnavailable: within `publish_timeout`; the record may or may not be stored, and publishing it again
            under the same id is safe.
        :raises BusClosed: the bus was left, or not entered yet.
        """

    def subscribe(self, topic: str, group: str, handler: Handler) -> None:
        """Call `handler` with the records of `topic`, at least once per group and in order per key.

        A new group begins at the earliest kept record.
        """

    def dead_letters(self, topic: str) -> AbstractAsyncContextManager[DeadLetterLog]:
        """Open the dead letters of `topic`, one that this bus publishes to or is subscribed to.

        :raises BusUnavailable: they cannot be read now.
        :raises BusClosed: the bus was left, or not entered yet.
        """

    def health(self) -> BusHealth:
        """Say whether delivery advances; never blocks."""

    async def __aenter__(self) -> Self:
        """Start delivering."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Begin nothing new from this moment, let running handlers finish within `drain`, keep what did not."""


def dead_letter_topic(topic: str) -> str:
    """Where records of `topic` go that could not be handled."""
    return f"{topic}.dead"
