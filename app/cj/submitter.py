"""Sends what is due to the provider: first sends, repairs and cancellations alike, one POST each, nobody polls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeVar
from uuid import UUID

import anyio
import structlog

from app.cj.batch import Arrival, Road, Task
from app.cj.changes import Changes
from app.cj.event_processor import EventProcessor
from app.cj.provider_client import ProviderClient
from app.cj.store import BatchStore
from app.contracts import ComparisonQueued, Outcome
from app.errors import (
    Conflict,
    JuxtaError,
    NotFound,
    NoVerdict,
    RequestCancelled,
    RequestExpired,
    Unavailable,
)

_OUTCOMES = {RequestExpired.code: Outcome.EXPIRED, RequestCancelled.code: Outcome.CANCELLED}
_IDLE = 60.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.2, 2.0
"""Doubled at most by jitter: whatever was away, everything is sent again within five seconds of its return."""

_STORE_PAUSE = 1.0
_TAKEN = 0.02
"""What is due is just being claimed elsewhere; by the next look it is gone."""

BUG = 500
"""The provider's own fault: what became of the request is unknown, and a repeat is safe."""
log = structlog.get_logger()
T = TypeVar("T")


class Submitter:
    """At most `concurrency` requests under way.

    `hold` is how long a claimed row belongs to this process, `repair_after` the soft deadline after which a promised
    callback is asked for again with the same id; both in seconds.
    """

    def __init__(
        self,
        store: BatchStore,
        provider: ProviderClient,
        processor: EventProcessor,
        changes: Changes,
        *,
        concurrency: int,
        hold: float,
        repair_after: float,
        jitter: Callable[[], float],
    ) -> None:
        self._store = store
        self._provider = provider
        self._processor = processor
        self._changes = changes
        self._free = concurrency
        self._concurrency = concurrency
        self._hold = hold
        self._repair_after = repair_after
        self._jitter = jitter
        self._away_since: float | None = None
        self._under_way: Counter[UUID] = Counter()
        self._woken = anyio.Event()
        self._freed = anyio.Event()

    def wake(self) -> None:
        """Something may be due now."""
        self._woken.set()

    async def run(self) -> None:
        """Claim what is due, send it, sleep until the next deadline."""
        async with anyio.create_task_group() as sending:
            while True:
                await self._room()
                self._woken = anyio.Event()
                limit = self._free
                tasks: Sequence[Task] = ()
                pause: float | None = None
                try:
                    tasks = await self._store.claim(limit=limit, hold=self._hold)
                    for task in tasks:
                        self._free -= 1
                        sending.start_soon(self._send, task)
                    if len(tasks) < limit:
                        pause = await self._store.next_due()
                        if not tasks and pause == 0.0:
                            pause = _TAKEN
                except Unavailable as error:
                    log.warning("store away", reason=str(error))
                    pause = _STORE_PAUSE
                if len(tasks) < limit:
                    with anyio.move_on_after(_IDLE if pause is None else min(pause, _IDLE)):
                        await self._woken.wait()

    async def _room(self) -> None:
        """Wait until a quarter of the slots is free, so that rows are claimed in groups."""
        while self._free < max(1, self._concurrency // 4):
            self._freed = anyio.Event()
            await self._freed.wait()

    async def _send(self, task: Task) -> None:
        self._under_way[task.id] += 1
        try:
            await self._deal_with(task)
            self._away_since = None
        except JuxtaError as error:
            await self._put_off(task, error)
        finally:
            self._under_way[task.id] -= 1
            if not self._under_way[task.id]:
                del self._under_way[task.id]
            self._free += 1
            self._freed.set()

    async def _deal_with(self, task: Task) -> None:
        if task.cancelled:
            await self._cancel(task)
        elif task.unsendable:
            await self._record(Arrival.never_sent(task))
        elif task.broke:
            await self._withdraw(task)
        else:
            await self._submit(task)

    async def _submit(self, task: Task) -> None:
        try:
            answer = await self._provider.generate_comparison(task.request())
        except JuxtaError as error:
            if not isinstance(error, NoVerdict) and (error.retryable or error.status == BUG):
                raise
            await self._record(_without_verdict(task, error))
            return
        if isinstance(answer, ComparisonQueued):
            await self._postpone(task.id, seconds=self._repair_after, queued=True)
            self._changes.announce(task.batch_id)
        else:
            await self._record(Arrival.of_response(answer, task.batch_id))

    async def _withdraw(self, task: Task) -> None:
        """The money was spent after it was sent: take it back, unless the judge has been called for it already.

        Once cancelled it can be asked for like any other: the same id brings what became of it, and calls nobody.
        """
        self._wait_for_the_post(task)
        try:
            await self._provider.cancel_comparison(task.id)
        except NotFound:  # it never got there, or was forgotten there: asked again it would be called
            await self._record(Arrival.never_sent(task))
        else:
            await self._submit(task)

    def _wait_for_the_post(self, task: Task) -> None:
        """A cancellation must not overtake the POST it cancels."""
        if self._under_way[task.id] > 1:
            raise Unavailable("The comparison is still being sent.", retry_after=0.1)

    async def _cancel(self, task: Task) -> None:
        self._wait_for_the_post(task)
        with suppress(NotFound, Conflict):  # never accepted, or answered before: nobody is left to be told
            await self._provider.cancel_comparison(task.id)
        await self._stored(lambda: self._store.cancellation_sent(task.id))

    async def _put_off(self, task: Task, error: JuxtaError) -> None:
        """The provider or the store is away or full: wait as long as it has been away already, within bounds."""
        now = anyio.current_time()
        if self._away_since is None:
            self._away_since = now
        pause = min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, now - self._away_since))
        pause = max(error.retry_after or 0.0, pause) * (1 + self._jitter())
        log.info("put off", comparison=str(task.id), seconds=round(pause, 2), reason=error.code)
        with suppress(Unavailable):  # the claim runs out by itself
            await self._postpone(task.id, seconds=pause, queued=False)
        self.wake()

    async def _record(self, arrival: Arrival) -> None:
        await self._stored(lambda: self._processor.record([arrival]))

    async def _postpone(self, comparison: UUID, *, seconds: float, queued: bool) -> None:
        if await self._stored(lambda: self._store.postpone(comparison, seconds=seconds, queued=queued)):
            self.wake()  # it was cancelled meanwhile

    async def _stored(self, write: Callable[[], Awaitable[T]]) -> T:
        """Write what a POST brought, again and again while the store is away, for as long as a claim holds.

        Given up at once, the row would wait for the end of its claim. What was stored without our knowing is found by the next
        attempt.
        """
        give_up_at = anyio.current_time() + self._hold
        while True:
            try:
                return await write()
            except Unavailable as error:
                if anyio.current_time() >= give_up_at:
                    raise
                log.info("store away", waiting="to write what a POST brought", reason=str(error))
            await anyio.sleep(_STORE_PAUSE)


def _without_verdict(task: Task, error: JuxtaError) -> Arrival:
    """A final problem is this comparison's outcome."""
    cause, anew, cost = (
        (error.cause or error.code, error.anew, error.cost_usd)
        if isinstance(error, NoVerdict)
        else (error.code, False, 0.0)
    )
    return Arrival(
        id=task.id,
        batch_id=task.batch_id,
        road=Road.RESPONSE,
        outcome=_OUTCOMES.get(error.code, Outcome.FAILED),
        error_code=cause,
        error_detail=error.detail,
        retryable=anew,
        cost_usd=cost,
    )
