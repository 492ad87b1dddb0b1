"""Decides what to ask next: fits the complete waves, stops or plans one more wave, and commits that as one step.

Wave k is planned from the complete results of waves up to k-2 only, whatever else has arrived by then. So two waves
are in flight, and the scores do not depend on the road, the engines or the order of arrival.
"""

from __future__ import annotations

from collections.abc import Callable, KeysView
from uuid import UUID

import anyio
import numpy as np
import structlog
from pydantic import ValidationError

from app.cj.batch import Batch, BatchState
from app.cj.changes import Changes
from app.cj.memory import Memory
from app.cj.next_wave import UNHURRIED, decide, hopeless
from app.cj.store import BatchStore, Plan, is_broke
from app.errors import NotFound, Unavailable

log = structlog.get_logger()
IN_FLIGHT = 2
HOPELESS = "Paused: not one comparison of the last wave got a verdict. Mend the cause, then resume."


class Planner:
    """Plans every batch that `wake` names; `visit_all` at start names each running one."""

    def __init__(
        self,
        store: BatchStore,
        changes: Changes,
        *,
        callback_topic: str,
        planned: Callable[[], None],
    ) -> None:
        self._store = store
        self._changes = changes
        self._topic = callback_topic
        self._planned = planned
        self._memories: dict[UUID, Memory] = {}
        self._due: dict[UUID, None] = {}
        self._woken = anyio.Event()

    def wake(self, batch_id: UUID) -> None:
        """Plan this batch soon; many wake-ups make one visit."""
        self._due[batch_id] = None
        self._woken.set()

    @property
    def remembered(self) -> KeysView[UUID]:
        """The batches whose texts are in this process's memory."""
        return self._memories.keys()

    async def visit_all(self) -> None:
        """Look at every running batch: after a start, and now and then for what another process left.

        And at every batch in memory: another process may have ended or deleted it, with its texts.
        """
        for batch_id in {*await self._store.running(), *self._memories}:
            self.wake(batch_id)

    async def run(self) -> None:
        """Plan whatever is woken, one batch at a time.

        :raises StoreUnavailable: the batch that met it is visited again when `run` is called again.
        """
        while True:
            await self._woken.wait()
            self._woken = anyio.Event()
            while self._due:
                batch_id = next(iter(self._due))
                del self._due[batch_id]
                try:
                    await self._plan_or_pause(batch_id)
                except Unavailable:
                    self.wake(batch_id)
                    self._planned()  # perhaps: the commit may have arrived
                    raise

    async def _plan_or_pause(self, batch_id: UUID) -> None:
        """One batch's fault ends only that batch."""
        try:
            await self.plan(batch_id)
        except (ValidationError, ValueError, ArithmeticError) as error:
            self._memories.pop(batch_id, None)
            log.exception("cannot plan", batch=str(batch_id))
            await self._store.pause(batch_id, f"Paused: it cannot be planned ({type(error).__name__}).")
            self._changes.announce(batch_id)

    async def plan(self, batch_id: UUID) -> None:
        """Take as many steps as the complete waves allow."""
        try:
            while await self._step(batch_id):
                self._planned()
                self._changes.announce(batch_id)
        except NotFound:  # deleted since it was woken
            self._memories.pop(batch_id, None)
        except Unavailable:  # perhaps half a step was taken: read again what is stored
            self._memories.pop(batch_id, None)
            raise

    async def _step(self, batch_id: UUID) -> bool:
        """Plan one wave, decide to stop, or finish; False when there is nothing to do yet."""
        memory = self._memories.get(batch_id)
        progress = await self._store.progress(batch_id, since=memory.wave if memory else 0)
        batch = progress.batch
        if memory and memory.planned != batch.planned:  # another process planned meanwhile
            del self._memories[batch_id]
            return True
        if batch.state is not BatchState.RUNNING:
            return await self._rest(batch)
        if is_broke(batch) and not (memory and memory.withdrawn):
            return await self._withdraw(batch, memory)
        to_the_end = batch.stop_reason or batch.freshly_extended or (memory and memory.closing)
        horizon = batch.waves if to_the_end else batch.waves - IN_FLIGHT + 1
        if progress.complete < horizon:
            return False
        memory = memory or await self._remember(batch)
        fresh = [one for one in progress.ended if one.wave <= horizon]
        memory.absorb(fresh, max(horizon, 0))
        # Once the money is spent nothing is left that a pause could save.
        if hopeless(fresh, progress.excused) and not is_broke(batch):
            return await self._pause(batch)
        plan = await anyio.to_thread.run_sync(decide, batch, memory, self._topic)
        return await self._carry_out(plan, memory)

    async def _rest(self, batch: Batch) -> bool:
        """Forget what has ended. All verdicts of a cancelled batch count, also those of its last waves."""
        if batch.state is not BatchState.PAUSED:
            self._memories.pop(batch.id, None)
        if batch.state is BatchState.CANCELLED and batch.decided and batch.fitted_wave < batch.waves:
            ended = (await self._store.progress(batch.id, since=0)).ended
            memory = Memory((), np.zeros((batch.essays, len(batch.settings.judges)), dtype=np.int64))
            memory.absorb(ended, batch.waves)
            plan = await anyio.to_thread.run_sync(decide, batch, memory, self._topic)
            await self._store.commit_plan(plan)
            self._changes.announce(batch.id)
        return False

    async def _withdraw(self, batch: Batch, memory: Memory | None) -> bool:
        """Spend no more. What was never sent is ended by whoever claims it next."""
        memory = memory or await self._remember(batch)
        await self._store.withdraw(batch.id)
        memory.withdrawn = True
        return True

    async def _remember(self, batch: Batch) -> Memory:
        texts = await self._store.texts(batch.id)
        if len(texts) < batch.essays:
            raise NotFound(f"Batch {batch.id} was deleted.")
        memory = Memory(texts, np.zeros((batch.essays, len(batch.settings.judges)), dtype=np.int64))
        memory.plan(await self._store.planned_pairs(batch.id))
        self._memories[batch.id] = memory
        return memory

    async def _carry_out(self, plan: Plan, memory: Memory) -> bool:
        if plan.stop_reason in UNHURRIED and not plan.finished:
            memory.closing = True
            return True
        if not await self._store.commit_plan(plan):
            del self._memories[plan.batch_id]
            return True
        if plan.pairs:
            memory.plan(pair for pair, _ in plan.pairs)
            memory.failed.clear()
            memory.closing = False
        if plan.finished:
            del self._memories[plan.batch_id]
        return True

    async def _pause(self, batch: Batch) -> bool:
        """A wave without one verdict would be followed by others like it: stop spending and say so."""
        await self._store.pause(batch.id, HOPELESS)
        self._changes.announce(batch.id)
        return False
