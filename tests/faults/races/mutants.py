"""For each race a fault that somebody made once, somewhere: an interleaving must catch it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text

from app.bus.log import Log
from app.cj.batch import Arrival, Task
from app.cj.store import BatchStore
from app.cj.store.plans import Plan
from app.cj.store.results import Recorded
from app.contracts import ComparisonQueued, LLMComparisonRequest, LLMComparisonResponse
from app.errors import LeaseLost
from app.provider import outcomes
from app.provider.circuit_breaker import BreakerState, CircuitBreaker
from app.provider.lane import Lane
from app.provider.orchestrator import LLMOrchestrator
from app.provider.queue.ledger import Ledger
from app.provider.queue.protocol import Accepted, Lease, Reply, StoredOutcome
from app.provider.queue.turn import Turn
from app.provider.queue_processor import QueueProcessor
from app.provider.waiting import Call

from .stage import LANE


class SaysLaterAndPromisesNothing(LLMOrchestrator):
    """The 202 is written, and the row goes on to answer by response."""

    async def _outlive(
        self, call: Call, request: LLMComparisonRequest, queue_id: UUID
    ) -> LLMComparisonResponse | None:
        return None


class TellsTheTwinNothing(LLMOrchestrator):
    """The second asker gets a 202 without anybody owing a callback."""

    async def _known(
        self, accepted: Accepted, correlation_id: UUID, topic: str | None, lane: Lane
    ) -> LLMComparisonResponse | ComparisonQueued:
        if accepted.stored is None:
            return self._queued(accepted.queue_id, correlation_id, lane)
        return await super()._known(accepted, correlation_id, topic, lane)


class PromisesFirst(LLMOrchestrator):
    """The 202 does not wait for the row."""

    async def compare(
        self, request: LLMComparisonRequest, **more: Any
    ) -> LLMComparisonResponse | ComparisonQueued:
        take_in = partial(super().compare, request, **more)

        async def later() -> None:
            await take_in()

        self._background.start(later)
        return self._queued(request.queue_id("local"), request.correlation_id, self._lanes[LANE])


class TheLastOutcomeStays(Ledger):
    """Neither fence nor first outcome: whoever comes late overwrites."""

    FENCE = "place = given.column1 AND given.column2 IS NOT NULL"

    def store(
        self, turn: Turn, given: Sequence[tuple[Lease, StoredOutcome]]
    ) -> Sequence[tuple[StoredOutcome, Reply] | LeaseLost]:
        for lease, _ in given:
            turn.connection.execute(
                text(
                    "UPDATE requests SET state = 'leased', held = TRUE WHERE place = :place AND reply = 'callback'"
                ),
                {"place": lease.place},
            )
        return super().store(turn, given)


class NewIdPerAttempt(QueueProcessor):
    """An outbox relay that draws the id of the event when it publishes it."""

    async def _publish(self, lease: Lease, stored: StoredOutcome) -> None:
        record = outcomes.to_record(lease.request, stored)
        await self._bus.publish(replace(record, id=str(uuid4())))


class HalfOpenIsOpenToAll(CircuitBreaker):
    """After the cool-down everybody tests."""

    def room(self, now: float) -> float:
        return math.inf if self.state(now) is BreakerState.HALF_OPEN else super().room(now)

    def allows(self, permit: int) -> bool:
        return True


class PostponesWhatHasEnded(BatchStore):
    """The 202 has the last word: a decided comparison is due again."""

    async def postpone(self, comparison: UUID, *, seconds: float, queued: bool) -> bool:
        found = await super().postpone(comparison, seconds=seconds, queued=queued)
        sql = text("UPDATE comparisons SET due_at = :due WHERE id = :id")
        values = {"id": str(comparison), "due": self._clock() + seconds if self._clock else 0.0}
        await self._database.write(lambda c: c.execute(sql, values) and None)
        return found


class CountsEveryArrival(BatchStore):
    """No compare-and-set: whatever arrives is applied."""

    async def record(self, arrivals: Sequence[Arrival]) -> Recorded:
        again = text(
            "UPDATE comparisons SET state = 'submitted' WHERE id = :id AND state IN ('decided', 'cancelled')"
        )
        values = [{"id": str(arrival.id)} for arrival in arrivals]
        await self._database.write(lambda c: c.execute(again, values) and None)
        return await super().record(arrivals)


class PlansOnWhatIsThere(BatchStore):
    """No compare on the wave number: whoever comes second plans the same once more."""

    async def commit_plan(self, plan: Plan) -> bool:
        sql = text("SELECT waves FROM batches WHERE id = :id")
        waves = await self._database.read(lambda c: c.execute(sql, {"id": str(plan.batch_id)}).scalar())
        return await super().commit_plan(replace(plan, waves=waves or 0))


class TakesWhatOthersSend(BatchStore):
    """A claim holds nobody off."""

    async def claim(self, *, limit: int, hold: float) -> Sequence[Task]:
        await self.repair_all()
        return await super().claim(limit=limit, hold=hold)


class BuriesWithoutATombstone(BatchStore):
    """Late callbacks meet nothing."""

    async def bury(self) -> int:
        buried = await super().bury()
        await self._database.write(lambda c: c.execute(text("DELETE FROM tombstones")) and None)
        return buried


class HandsOverAtOnce(Log):
    """The new owner does not wait for the handler of the old one."""

    def _rebalance(self, group: str, topic: str) -> None:
        for place in self.places(group, topic):
            holder = self._holders.get(place)
            if holder is not None and holder is not self.owner(place):
                holder.revoke(place)
                del self._holders[place]
                self._offer(place)
            elif holder is None:
                self._offer(place)
