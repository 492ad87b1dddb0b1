"""One fault for each campaign of this package, which it must catch; each breaks the real house in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.cj.batch import Arrival
from app.cj.event_processor import EventProcessor
from app.contracts import ComparisonQueued
from app.errors import StoreUnavailable
from app.provider.orchestrator import LLMOrchestrator
from app.provider.queue.admission import Admission

KEPT: list[Arrival] = []


def promise_before_the_commit() -> None:
    """A request that the ledger did not take is answered 202 all the same."""
    part: Any = LLMOrchestrator
    compare = part.compare

    async def promise(self: LLMOrchestrator, request: Any, **more: Any) -> object:
        try:
            return await compare(self, request, **more)
        except StoreUnavailable:
            name = request.queue_id(more.get("principal", "local"))
            return ComparisonQueued(
                queue_id=name, correlation_id=request.correlation_id, estimated_wait_seconds=1.0
            )

    part.compare = promise


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
