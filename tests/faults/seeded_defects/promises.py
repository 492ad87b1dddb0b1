"""A promise given, kept or marked as kept too early, at each place where the product stores before it says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import anyio

from app.bus.protocol import Record
from app.cj.event_processor import EventProcessor
from app.contracts import ComparisonQueued, LLMOrchestratorResponse
from app.errors import JuxtaError, StoreUnavailable
from app.provider import outcomes
from app.provider.lane import Lane
from app.provider.orchestrator import LLMOrchestrator
from app.provider.queue.protocol import Accepted, Lease, QueuedRequest, Reply, State
from app.provider.queue.redis import RedisQueue
from app.provider.queue_processor import QueueProcessor

SOON = 0.3
"""Seconds that a careless programmer would call at once."""


def accepted_before_it_is_stored() -> None:
    """The 202 leaves first, its row is written soon after."""
    part: Any = LLMOrchestrator

    async def queue_request(self: Any, row: QueuedRequest, lane: Lane) -> ComparisonQueued:
        async def later() -> None:
            await anyio.sleep(SOON)
            with suppress(JuxtaError):
                await self._queue.accept(row)

        self._background.start(later)
        queued: ComparisonQueued = self._queued(row.queue_id, row.correlation_id, lane)
        return queued

    part._queue_request = queue_request


def published_before_it_is_stored() -> None:
    """The callback leaves first, the outcome it tells of is stored soon after."""
    part: Any = QueueProcessor
    conclude = part._conclude

    async def publish_first(self: Any, lease: Lease, response: LLMOrchestratorResponse) -> object:
        await self._publish(lease, outcomes.to_store(lease, response))
        await anyio.sleep(SOON)
        return await conclude(self, lease, response)

    part._conclude = publish_first


def acknowledged_before_it_counts() -> None:
    """The handler returns at once, so that the offset is committed, and applies the records soon after."""
    part: Any = EventProcessor
    handle = part.handle

    async def handle_later(self: Any, records: Sequence[Record]) -> None:
        async def later() -> None:
            await anyio.sleep(5 * SOON)
            await handle(self, records)

        tasks.append(asyncio.ensure_future(later()))

    tasks: list[Any] = []
    part.handle = handle_later


def marked_as_published_when_told_to_stop() -> None:
    """On the way out, a callback that the bus did not take in time is marked as if it had."""
    part: Any = QueueProcessor
    give_back = part._give_back

    async def forget(self: Any, lease: Lease, *, untried: bool = False) -> None:
        with anyio.move_on_after(SOON, shield=True):
            stored = await self._queue.find(lease.request.queue_id)
            if stored is not None and stored.state is State.ANSWERED:
                await self._queue.mark_published(lease)
                return
        await give_back(self, lease, untried=untried)

    part._give_back = forget


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
