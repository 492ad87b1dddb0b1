"""The door to cj's database: every write is one transaction, promises and results share one in groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast
from uuid import UUID

from sqlalchemy import Connection

from app.cj.batch import Arrival, Batch, BatchState, NewBatch, PlannedPair, Task
from app.cj.store import batches, locks, plans, results, sending
from app.cj.store.plans import Plan, Progress
from app.cj.store.results import Recorded
from app.cj.store.sending import Postponement
from app.database import Database, GroupCommit
from app.errors import StoreUnavailable

Clock = Callable[[], float]
_Change = Postponement | Sequence[Arrival]


class BatchStore:
    """All methods raise `StoreUnavailable` when the engine does not take the change.

    Then nothing of it was stored, unless the connection broke during the commit (`Database.write`): all of them may be
    called again with the same, and what was stored is found. Several processes may share the database. It has one
    clock for all of them; `clock` takes its place where a test holds the time.
    """

    def __init__(self, database: Database, *, clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock
        self._changes: GroupCommit[_Change, Recorded | bool] = GroupCommit(database, self._apply)
        self._unanswered: list[tuple[UUID, float]] = []
        self._overwritten = (
            False  # a process may die, or the disk be full, between a deletion and its checkpoint
        )

    async def create(self, batch_id: UUID, new: NewBatch, *, start: bool) -> None:
        """Store a batch and its essays, once for each id; with `start` it runs from the next planning on."""
        state = BatchState.RUNNING if start else BatchState.READY
        await self._database.write(lambda c: batches.create(c, batch_id, new, state, self._now(c)))

    async def change(self, batch_id: UUID, to: BatchState, *, out_of: tuple[BatchState, ...]) -> Batch:
        """Move a batch to another state; ending it early ends what is open.

        :raises NotFound: no such batch.
        :raises Conflict: its state does not allow it.
        """
        return await self._database.write(lambda c: batches.change(c, batch_id, to, out_of, self._now(c)))

    async def extend(self, batch_id: UUID, more: int, *, beyond: int | None) -> Batch:
        """Let a finished batch go on for `more` comparisons; with `beyond`, how many it had, a repeat adds nothing.

        :raises NotFound: no such batch.
        :raises Conflict: it has not finished, has more than `beyond` comparisons, another number was added to those,
            no money or no pair is left.
        """
        return await self._database.write(lambda c: batches.extend(c, batch_id, more, beyond))

    async def pause(self, batch_id: UUID, problem: str) -> bool:
        """Pause a batch that still runs, with the reason for the screen; False when somebody was faster."""
        return await self._database.write(lambda c: batches.pause(c, batch_id, problem))

    async def withdraw(self, batch_id: UUID) -> None:
        """The money is spent: plan no more for a running batch, and take back what still waits at the provider."""
        await self._database.write(lambda c: batches.withdraw(c, batch_id, self._now(c)))

    async def bury(self) -> int:
        """Delete batches marked so, once no cancellation is left to pass on; a tombstone takes late callbacks.

        SQLite overwrites what is deleted, in its file and, from the checkpoint on, in its log. PostgreSQL has nothing
        to checkpoint: dead rows stay in its files until a vacuum frees their space and something else is written there
        (autovacuum comes once a fifth of a table is dead), and in its log and backups for as long as whoever runs it
        has set. No query finds them, a copy of the disk does; `VACUUM FULL texts, essays, comparisons` ends it in the
        files.
        """
        buried = await self._database.write(lambda c: batches.bury(c, self._now(c)))
        if buried or not self._overwritten:
            self._overwritten = False
            await self._database.checkpoint()
            self._overwritten = True
        return buried

    async def claim(self, *, limit: int, hold: float) -> Sequence[Task]:
        """Take up to `limit` rows that are due; they are due again in `hold` seconds, should this process die.

        Rows of a claim whose commit was never answered are let go of first: nobody would send them until then.
        """
        taken: list[tuple[UUID, float]] = []

        def work(connection: Connection) -> Sequence[Task]:
            now = self._now(connection)
            if self._unanswered:
                sending.release(connection, self._unanswered, now)
            tasks = sending.claim(connection, limit=limit, until=now + hold, now=now)
            taken.extend((task.id, now + hold) for task in tasks)
            return tasks

        try:
            tasks = await self._database.write(work)
        except StoreUnavailable:
            self._unanswered += taken
            raise
        self._unanswered.clear()
        return tasks

    async def postpone(self, comparison: UUID, *, seconds: float, queued: bool) -> bool:
        """Not due for `seconds`; `queued` says that the provider holds the request durably (202).

        True when the row was cancelled meanwhile: after a 202 its cancellation is due now.
        """
        return cast(bool, await self._changes.submit(Postponement(comparison, seconds, queued)))

    async def cancellation_sent(self, comparison: UUID) -> None:
        """The provider knows that nobody wants this verdict any more."""
        await self._database.write(lambda c: sending.cancellation_sent(c, comparison))

    async def next_due(self) -> float | None:
        """Seconds until a row of a running batch is due; None when nothing waits to be sent."""

        def work(connection: Connection) -> float | None:
            due_at = sending.next_due_at(connection)
            return None if due_at is None else max(0.0, due_at - self._now(connection))

        return await self._database.read(work)

    async def repair_all(self) -> int:
        """Make every submitted row due now: what an in-memory bus held is gone after a restart."""
        return await self._database.write(lambda c: sending.repair_all(c, self._now(c)))

    async def record(self, arrivals: Sequence[Arrival]) -> Recorded:
        """Apply results by compare-and-set: the first one counts, whatever the road, order or repetition."""
        return cast(Recorded, await self._changes.submit(arrivals))

    async def running(self) -> Sequence[UUID]:
        """Batches that may need planning: the planner visits every one at start."""
        return await self._database.read(plans.running)

    async def progress(self, batch_id: UUID, *, since: int) -> Progress:
        """Read the batch and what ended in its complete waves after wave `since`, in comparison order.

        :raises NotFound: no such batch.
        """
        return await self._database.read(lambda c: plans.progress(c, batch_id, since))

    async def planned_pairs(self, batch_id: UUID) -> Sequence[PlannedPair]:
        """Every pair planned so far, in comparison order."""
        return await self._database.read(lambda c: plans.planned_pairs(c, batch_id))

    async def texts(self, batch_id: UUID) -> Sequence[str]:
        """The essays of a batch by position."""
        return await self._database.read(lambda c: plans.texts(c, batch_id))

    async def commit_plan(self, plan: Plan) -> bool:
        """Store scores and the next pairs by compare-and-set on the wave number; False when somebody was faster."""
        return await self._database.write(lambda c: plans.commit(c, plan, self._now(c)))

    def _apply(self, connection: Connection, changes: Sequence[_Change]) -> Sequence[Recorded | bool]:
        """All changes in one transaction, each kind by its own statements; concurrent callers have no order."""
        postponed = [one for one in changes if isinstance(one, Postponement)]
        groups = [one for one in changes if not isinstance(one, Postponement)]
        known = locks.known(
            connection, (a.id for group in groups for a in group), (one.comparison for one in postponed)
        )
        now = self._now(connection)
        recorded = iter(results.record(connection, groups, known, now) if groups else ())
        cancelled = iter(sending.postpone(connection, postponed, now))
        return [next(cancelled) if isinstance(one, Postponement) else next(recorded) for one in changes]

    def _now(self, connection: Connection) -> float:
        return self._database.now(connection) if self._clock is None else self._clock()
