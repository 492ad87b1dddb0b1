"""One fault for each campaign of this package, which it must catch; each breaks the real house in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from app.cj.batch import Arrival
from app.cj.event_processor import EventProcessor
from app.contracts import ComparisonQueued
from app.errors import JuxtaError
from app.provider.lane import Lane
from app.provider.orchestrator import LLMOrchestrator
from app.provider.queue.admission import Admission
from app.provider.queue.protocol import QueuedRequest

KEPT: list[Arrival] = []


def promise_before_the_commit() -> None:
    """Who has to queue is told so at once, and stored a little later."""
    part: Any = LLMOrchestrator

    async def promise(self: Any, row: QueuedRequest, lane: Lane) -> ComparisonQueued:
        async def accept() -> None:
            with suppress(JuxtaError):
                await self._queue.accept(row)

        self._background.start(accept)
        found: ComparisonQueued = self._queued(row.queue_id, row.correlation_id, lane)
        return found

    part._queue_request = promise


def unbounded_line() -> None:
    """Every request finds room in its lane."""
    part: Any = Admission
    part._room = lambda _self, _turn, lanes: dict.fromkeys(lanes, 10**9)


def keep_every_comparison() -> None:
    """Whoever records results remembers all of them."""
    part: Any = EventProcessor
    record = part.record

    async def remember(self: EventProcessor, arrivals: Sequence[Arrival]) -> object:
        KEPT.extend(arrivals)
        return await record(self, arrivals)

    part.record = remember


DEFECTS: Mapping[str, Callable[[], None]] = {
    "a 202 before the commit": promise_before_the_commit,
    "an unbounded line": unbounded_line,
    "a list that keeps every comparison": keep_every_comparison,
}
