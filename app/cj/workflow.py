"""The life of a batch: what people may do with it, and the loops that carry it to its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import anyio
import structlog

from app.cj.batch import Batch, BatchState, NewBatch
from app.cj.changes import Changes
from app.cj.planner import Planner
from app.cj.store import BatchStore
from app.cj.submitter import Submitter
from app.errors import StoreUnavailable, Unavailable

_ALIVE = (BatchState.READY, BatchState.RUNNING, BatchState.PAUSED)
_RETRY = 1.0
_PATIENCE = 3.0
_LOOK_FIRST = "Look at the list of batches before you send it again: it may be there."
log = structlog.get_logger()


class Workflow:
    """Carries every batch from its first wave to its last; every state that is not final is visited at start.

    `volatile_bus`: what the bus held is gone after a restart, so everything submitted is asked for again at start.
    `sweep_every` (seconds): how often states are visited that another process may have left behind.
    """

    def __init__(
        self,
        store: BatchStore,
        planner: Planner,
        submitter: Submitter,
        changes: Changes,
        *,
        volatile_bus: bool,
        sweep_every: float,
    ) -> None:
        self._store = store
        self._planner = planner
        self._submitter = submitter
        self._changes = changes
        self._volatile_bus = volatile_bus
        self._sweep_every = sweep_every

    async def create(self, new: NewBatch, *, start: bool) -> UUID:
        """Store a batch; with `start` its first two waves are planned at once.

        While the store is away, the same batch is offered again for `_PATIENCE` seconds.

        :raises StoreUnavailable: it is away for longer; perhaps it took the batch all the same.
        """
        batch_id = uuid4()
        give_up_at = anyio.current_time() + _PATIENCE
        while True:
            try:
                await self._store.create(batch_id, new, start=start)
            except StoreUnavailable as error:
                if anyio.current_time() >= give_up_at:
                    raise StoreUnavailable(
                        error.detail, hint=_LOOK_FIRST, retry_after=error.retry_after
                    ) from error
            else:
                self._visit(batch_id)
                return batch_id
            await anyio.sleep(_RETRY)

    async def start(self, batch_id: UUID) -> Batch:
        """Begin. To go on after a pause is another action: who may submit need not be who may operate.

        :raises NotFound: no such batch (so for all of these).
        :raises Conflict: its state does not allow it (so for all of these).
        """
        return await self._to(batch_id, BatchState.RUNNING, (BatchState.READY,))

    async def resume(self, batch_id: UUID) -> Batch:
        """Go on after a pause; what failed before does not pause it again."""
        return await self._to(batch_id, BatchState.RUNNING, (BatchState.PAUSED,))

    async def pause(self, batch_id: UUID) -> Batch:
        """Send and plan nothing more; what is under way still arrives and counts."""
        return await self._to(batch_id, BatchState.PAUSED, (BatchState.RUNNING,))

    async def cancel(self, batch_id: UUID) -> Batch:
        """End the batch as it stands; open comparisons are cancelled here and at the provider."""
        return await self._to(batch_id, BatchState.CANCELLED, _ALIVE)

    async def add(self, batch_id: UUID, comparisons: int, *, beyond: int | None = None) -> Batch:
        """Go on with a finished batch for so many comparisons more, whatever reliability it has reached.

        They are planned as they would have been without the end: from the same seed, wave after wave. `beyond`, the
        number of comparisons that the batch had, makes it safe to ask again when the answer was lost.

        :raises Conflict: it has not finished, has more than `beyond` comparisons, another number was added to those,
            no money or no pair is left.
        """
        try:
            return await self._store.extend(batch_id, comparisons, beyond=beyond)
        finally:
            self._visit(batch_id)

    async def delete(self, batch_id: UUID) -> None:
        """Cancel what is open, then delete texts, verdicts and scores; a late callback meets a tombstone."""
        await self._to(batch_id, BatchState.DELETING, (*_ALIVE, BatchState.FINISHED, BatchState.CANCELLED))
        await self._store.bury()

    async def _to(self, batch_id: UUID, state: BatchState, out_of: tuple[BatchState, ...]) -> Batch:
        try:
            batch = await self._store.change(batch_id, state, out_of=out_of)
        except Unavailable:  # perhaps it was stored
            self._visit(batch_id)
            raise
        self._visit(batch_id)
        return batch

    def _visit(self, batch_id: UUID) -> None:
        self._planner.wake(batch_id)
        self._submitter.wake()
        self._changes.announce(batch_id)

    async def run(self) -> None:
        """Run until cancelled: first repair what a former process left, then plan, send and sweep."""
        if self._volatile_bus:
            await self._repair()
        async with anyio.create_task_group() as loops:
            loops.start_soon(_steadily, self._planner.run, "planner")
            loops.start_soon(_steadily, self._submitter.run, "submitter")
            loops.start_soon(_steadily, self._sweep, "sweeper")

    async def _repair(self) -> None:
        while True:
            try:
                await self._store.repair_all()
            except Unavailable as error:
                log.warning("store away", loop="repair", reason=str(error))
            else:
                return
            await anyio.sleep(_RETRY)

    async def _sweep(self) -> None:
        while True:
            await self._planner.visit_all()
            await self._store.bury()
            self._submitter.wake()
            await anyio.sleep(self._sweep_every)


async def _steadily(loop: Callable[[], Awaitable[None]], name: str) -> None:
    """Run a loop again when the store was away; nothing that it was woken for is forgotten."""
    while True:
        try:
            await loop()
        except* Unavailable as errors:
            log.warning("store away", loop=name, reason=str(errors.exceptions[0]))
        await anyio.sleep(_RETRY)
