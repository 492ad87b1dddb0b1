"""The door to cj's database: every write is one transaction, promises and results share one in groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast
from uuid import UUID, uuid4

from sqlalchemy import Connection

from app.cj.batch import Arrival, Batch, BatchState, NewBatch, Task
from app.cj.store import batches, plans, results, sending
from app.cj.store.plans import Plan, Progress
from app.cj.store.results import Recorded
from app.cj.store.sending import Postponement
from app.database import Database, GroupCommit

Clock = Callable[[], float]


class _Change(NamedTuple):
    """What one of many waiters wants written; `apply` takes all of its kind at once and answers in their order."""

    apply: Callable[[Connection, Sequence[Any], float], Sequence[Any]]
    given: Any


class BatchStore:
    """All methods raise `StoreUnavailable` when the engine does not take the change; then nothing of it was stored."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._changes: GroupCommit[_Change, Any] = GroupCommit(database, self._apply)

    # -- batches

    async def create(self, new: NewBatch, *, start: bool) -> UUID:
        """Store a batch and its essays; with `start` it runs from the next planning on."""
        batch_id = uuid4()
        state = BatchState.RUNNING if start else BatchState.READY
        await self._database.write(lambda c: batches.create(c, batch_id, new, state, self._clock()))
        return batch_id

    async def change(self, batch_id: UUID, to: BatchState, *, out_of: tuple[BatchState, ...]) -> Batch:
        """Move a batch to another state; ending it early ends what is open.

        :raises NotFound: no such batch.
        :raises Conflict: its state does not allow it.
        """
        return await self._database.write(lambda c: batches.change(c, batch_id, to, out_of, self._clock()))

    async def pause(self, batch_id: UUID, problem: str) -> bool:
        """Pause a batch that still runs, with the reason for the screen; False when somebody was faster."""
        return await self._database.write(lambda c: batches.pause(c, batch_id, problem))

    async def bury(self) -> int:
        """Delete batches marked so, once no cancellation is left to pass on; a tombstone takes late callbacks."""
        buried = await self._database.write(lambda c: batches.bury(c, self._clock()))
        if buried:
            await self._database.checkpoint()
        return buried

    # -- sending

    async def claim(self, *, limit: int, hold: float) -> Sequence[Task]:
        """Take up to `limit` rows that are due; they are due again in `hold` seconds, should this process die."""
        return await self._database.write(
            lambda c: sending.claim(c, limit=limit, hold=hold, now=self._clock())
        )

    async def postpone(self, comparison: UUID, *, seconds: float, queued: bool) -> None:
        """Not due for `seconds`; `queued` says that the provider holds the request durably (202)."""
        await self._changes.submit(_Change(sending.postpone, Postponement(comparison, seconds, queued)))

    async def cancellation_sent(self, comparison: UUID) -> None:
        """The provider knows that nobody wants this verdict any more."""
        await self._database.write(lambda c: sending.cancellation_sent(c, comparison))

    async def next_due(self) -> float | None:
        """Seconds until a row of a running batch is due; None when nothing waits to be sent."""
        due_at = await self._database.read(sending.next_due_at)
        return None if due_at is None else max(0.0, due_at - self._clock())

    async def repair_all(self) -> int:
        """Make every submitted row due now: what an in-memory bus held is gone after a restart."""
        return await self._database.write(lambda c: sending.repair_all(c, self._clock()))

    # -- results

    async def record(self, arrivals: Sequence[Arrival]) -> Recorded:
        """Apply results by compare-and-set: the first one counts, whatever the road, order or repetition."""
        return cast(Recorded, await self._changes.submit(_Change(results.record, arrivals)))

    # -- planning

    async def running(self) -> Sequence[UUID]:
        """Batches that may need planning: the planner visits every one at start."""
        return await self._database.read(plans.running)

    async def progress(self, batch_id: UUID, *, since: int) -> Progress:
        """Read the batch and what ended in its complete waves after wave `since`, in comparison order.

        :raises NotFound: no such batch.
        """
        return await self._database.read(lambda c: plans.progress(c, batch_id, since))

    async def planned_pairs(self, batch_id: UUID) -> Sequence[tuple[int, int]]:
        """Every pair planned so far as (first, second), in comparison order."""
        return await self._database.read(lambda c: plans.planned_pairs(c, batch_id))

    async def texts(self, batch_id: UUID) -> Sequence[str]:
        """The essays of a batch by position."""
        return await self._database.read(lambda c: plans.texts(c, batch_id))

    async def commit_plan(self, plan: Plan) -> bool:
        """Store scores and the next pairs by compare-and-set on the wave number; False when somebody was faster."""
        return await self._database.write(lambda c: plans.commit(c, plan, self._clock()))

    def _apply(self, connection: Connection, changes: Sequence[_Change]) -> Sequence[Any]:
        """All changes in one transaction, each kind by its own statements; concurrent callers have no order."""
        kinds: dict[Callable[..., Sequence[Any]], list[int]] = defaultdict(list)
        for position, change in enumerate(changes):
            kinds[change.apply].append(position)
        answers: dict[int, Any] = {}
        for apply, positions in kinds.items():
            given = [changes[position].given for position in positions]
            answers |= zip(positions, apply(connection, given, self._clock()), strict=True)
        return [answers[position] for position in range(len(changes))]
