"""What a kind of queue must bring to be tested, and the requests it is tested with."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Protocol
from uuid import NAMESPACE_OID, uuid5

from app.provider.queue.protocol import QueuedRequest, RequestQueue

LIMIT, MAX_TRIES, RETENTION = 3, 2, 100.0
JUDGED, JUDGELESS = "rules/v1", "human/v1"
IDS = [uuid5(NAMESPACE_OID, name) for name in "abcdefg"]


class World(Protocol):
    """A place where queues of one kind are kept; the handles opened in it share their rows."""

    def open(
        self,
        *,
        boot: str,
        exclusive: bool,
        limit: int,
        max_tries: int,
        retention: float,
        clock: Callable[[], float],
    ) -> RequestQueue:
        """A handle, not entered yet."""

    def close(self) -> None:
        """Throw everything away."""


def request(
    number: int,
    *,
    variant: int = 0,
    lane: str = JUDGED,
    priority: int = 5,
    expires_in: float = 1e6,
    topic: str | None = "results",
) -> QueuedRequest:
    body = b'{"variant": %d}' % variant
    return QueuedRequest(
        queue_id=IDS[number],
        correlation_id=uuid5(IDS[number], "correlation"),
        principal="teacher",
        lane=lane,
        body=body,
        fingerprint=sha256(body).digest(),
        callback_topic=topic,
        callback_key=f"batch-{number % 2}",
        priority=priority,
        expires_in=expires_in,
        traceparent=None if number % 2 else "00-1-2-01",
    )
