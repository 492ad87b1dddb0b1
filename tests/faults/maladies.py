"""Defects that bad links and bad engines bring to light, for `maimed` to put into real processes."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from app.bus.kafka.publisher import Publisher
from app.bus.protocol import Record
from app.errors import BusUnavailable, StoreUnavailable
from app.provider.queue.protocol import Accepted, QueuedRequest, Reply, State
from app.provider.queue.redis import RedisQueue


def publish_on_trust() -> None:
    """A publish whose fate is unknown is taken for done."""
    part: Any = Publisher
    publish = part.publish

    async def on_trust(self: Publisher, record: Record, **more: Any) -> None:
        with suppress(BusUnavailable):
            await publish(self, record, **more)

    part.publish = on_trust


def accept_on_trust() -> None:
    """An acceptance that Redis refused, or did not answer, is taken for done."""
    part: Any = RedisQueue
    accept = part.accept

    async def on_trust(self: RedisQueue, request: QueuedRequest, **more: Any) -> Accepted:
        try:
            found: Accepted = await accept(self, request, **more)
        except StoreUnavailable:
            return Accepted(queue_id=request.queue_id, known=False, state=State.QUEUED, reply=Reply.CALLBACK)
        return found

    part.accept = on_trust
