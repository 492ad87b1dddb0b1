"""Takes a comparison in: judged at once while the asker waits, or queued and answered by callback.

200 and 202 are one path. Either way the request is first a durable row. A direct call runs in a task of this process,
not of the request, so that it goes on when patience ends or the asker leaves; before a 202 is written the row is
turned to `callback`, by compare-and-set against the outcome.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self
from uuid import UUID, uuid5

import anyio

from app.contracts import (
    ComparisonQueued,
    LLMComparisonRequest,
    LLMComparisonResponse,
    LLMOrchestratorResponse,
)
from app.errors import (
    InvalidRequest,
    JuxtaError,
    LeaseLost,
    NoRoom,
    NotFound,
    QueueFull,
    RequestMismatch,
    StoreUnavailable,
    TopicNotAllowed,
    Unavailable,
)
from app.provider import outcomes
from app.provider.background import Background
from app.provider.former_life import remember
from app.provider.judges.protocol import Judges
from app.provider.judging import DEFAULT_RETRY, Again, Judging, RetryPolicy
from app.provider.lane import Clock, Lane, Lanes, Slot
from app.provider.queue.protocol import (
    Accepted,
    Ending,
    Entry,
    Lease,
    QueuedRequest,
    Reply,
    RequestQueue,
    StoredOutcome,
)
from app.provider.spending import Spending
from app.provider.waiting import Call, Gone, until

LAST_WORDS = 2.0
"""Seconds for giving rows back when this process is told to stop."""


class LLMOrchestrator:
    """The provider's front door. Enter it before the first request; leaving waits for the calls that still run.

    `patience` is how long an asker with a callback topic waits for a 200, `lease` how long a crashed call blocks its
    row, `drain` how long leaving waits; all in seconds.
    """

    def __init__(
        self,
        *,
        queue: RequestQueue,
        judges: Judges,
        lanes: Lanes,
        topics: frozenset[str],
        default_provider: str,
        patience: float = 10.0,
        lease: float = 60.0,
        drain: float = 10.0,
        retry: RetryPolicy = DEFAULT_RETRY,
        clock: Clock = time.time,
        monotonic: Clock = time.monotonic,
        draw: Callable[[], float] = random.random,
        spending: Spending | None = None,
    ) -> None:
        self._queue = queue
        self._judges = judges
        self._spending = spending
        self._lanes = lanes
        self._topics = topics
        self._default_provider = default_provider
        self._patience = patience
        self._lease = lease
        self._drain = drain
        self._clock = clock
        self._judging = Judging(
            queue=queue,
            judges=judges,
            lease=lease,
            retry=retry,
            clock=clock,
            monotonic=monotonic,
            draw=draw,
            spending=spending,
        )
        self._calls: dict[UUID, Call] = {}
        self._background = Background()

    async def compare(
        self,
        request: LLMComparisonRequest,
        *,
        principal: str = "local",
        traceparent: str | None = None,
        gone: Gone | None = None,
    ) -> LLMComparisonResponse | ComparisonQueued:
        """Answer with the verdict (200) or with the promise of a callback (202); a repeat never asks the judge again.

        `gone` returns when the asker has left. Being cancelled means the same.

        :raises TopicNotAllowed: the callback topic is not on the list.
        :raises InvalidRequest: the judge is unknown, cannot honour an override, or cannot judge such texts.
        :raises RequestMismatch: the correlation_id is bound to another body.
        :raises JudgeFailed, RequestExpired, RequestCancelled: the stored outcome, the same on every repeat.
        :raises NoRoom: no callback topic and no free judge; nothing was stored.
        :raises Unavailable: no callback topic, and the answer is not there yet; a repeat gets it.
        :raises QueueFull: the lane is at its limit.
        :raises StoreUnavailable: the ledger did not take the request.
        """
        lane, resolved = self._resolve(request)
        queue_id, fingerprint = request.queue_id(principal), request.fingerprint()
        call = self._calls.get(queue_id)
        if call is None:
            row = QueuedRequest(
                queue_id=queue_id,
                correlation_id=request.correlation_id,
                principal=principal,
                lane=lane.name,
                body=resolved.model_dump_json(exclude_defaults=True).encode(),
                fingerprint=fingerprint,
                callback_topic=request.callback_topic,
                callback_key=request.callback_key or str(request.correlation_id),
                priority=request.priority,
                expires_in=request.expires_in,
                traceparent=traceparent,
            )
            slot = lane.take_direct(self._queue.waiting(lane.name)) if self._background.open else None
            if slot is None:
                return await self._queue_request(row, lane)
            call = self._calls[queue_id] = Call(fingerprint)
            self._background.start(partial(self._make_llm_request, row, resolved, lane, slot, call))
        elif call.fingerprint != fingerprint:
            raise RequestMismatch("This correlation_id is already bound to another body.")
        return await self._wait_for(call, request, queue_id, lane, gone)

    async def cancel(self, correlation_id: UUID, *, principal: str = "local") -> Entry:
        """Ask for the comparison to end as `cancelled`; a call that already runs keeps what comes of it.

        :raises NotFound: no such comparison.
        """
        return await self._queue.cancel(uuid5(correlation_id, principal))

    async def entry(self, queue_id: UUID) -> Entry:
        """One row for operators.

        :raises NotFound: no such row.
        """
        entry = await self._queue.find(queue_id)
        if entry is None:
            raise NotFound(f"No request is stored under {queue_id}.")
        return entry

    async def __aenter__(self) -> Self:
        await remember(self._lanes, self._queue, self._spending, self._judges)
        await self._background.enter()
        self._background.help(self._judging.keep_leases)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let running calls finish within `drain`; what is left goes on by callback in another life."""
        await self._background.leave(kind, error, trace, drain=self._drain)

    async def _make_llm_request(
        self, row: QueuedRequest, request: LLMComparisonRequest, lane: Lane, slot: Slot, call: Call
    ) -> None:
        """Accept the row born leased, ask the judge, store the outcome; whoever waits is told through `call`."""
        lease: Lease | None = None
        try:
            accepted = await self._queue.accept(row, lease_for=self._lease)
            lease = accepted.lease
            if lease is None:
                call.accepted, call.error = accepted, None
            else:
                self._judging.keep(lease)
                await self._judge(lease, request, lane, slot, call)
        except LeaseLost:
            if call.response is None and row.callback_topic is not None:
                await self._taken_over(row, call)
        except JuxtaError as error:
            if call.response is None:
                call.error = error
        except anyio.get_cancelled_exc_class():
            if lease is not None:
                await self._let_go(lease, call)
            raise
        finally:
            if lease is not None:
                self._judging.drop(lease)
            slot.give_back()
            del self._calls[row.queue_id]
            call.done.give()

    async def _queue_request(
        self, row: QueuedRequest, lane: Lane
    ) -> LLMComparisonResponse | ComparisonQueued:
        """Accept the row for the workers; the 202 is true from then on."""
        if row.callback_topic is None and await self._queue.find(row.queue_id) is None:
            raise NoRoom("No judge is free just now.", retry_after=max(1.0, lane.estimate(0)))
        try:
            accepted = await self._queue.accept(row)
        except QueueFull as error:
            error.retry_after = max(1.0, lane.estimate(0))
            raise
        return await self._known(accepted, row.correlation_id, row.callback_topic, lane)

    async def _judge(
        self, lease: Lease, request: LLMComparisonRequest, lane: Lane, slot: Slot, call: Call
    ) -> None:
        result = await self._judging.call(lease, slot, request=request)
        if isinstance(result, Again) and request.callback_topic is not None:
            await self._promise(lease.request.queue_id)
            await self._queue.release(lease, after=result.after, untried=result.untried)
            call.turn_to_callback()
            return
        if isinstance(result, Again):
            result = await self._insist(lease, request, lane, result)
        concluded = await self._judging.store(lease, result)
        call.answer(concluded.response)
        if concluded.reply is Reply.CALLBACK:
            await self._queue.release(lease)

    async def _insist(
        self, lease: Lease, request: LLMComparisonRequest, lane: Lane, again: Again
    ) -> LLMOrchestratorResponse:
        """Ask again and again, to the deadline: nobody can be called back, so the asker waits on the line."""
        with anyio.move_on_after(lease.accepted_at + request.expires_in - self._clock()):
            pause = again.after
            while True:
                await anyio.sleep(pause)
                slot = lane.take_direct(0)
                if slot is None:
                    pause = min(1.0, max(0.02, lane.seconds_until_room()))
                    continue
                try:
                    result = await self._judging.call(lease, slot, request=request, counted=False)
                finally:
                    slot.give_back()
                if not isinstance(result, Again):
                    return result
                pause = result.after
        return outcomes.ended(lease, Ending.EXPIRED, now=self._clock())

    async def _taken_over(self, row: QueuedRequest, call: Call) -> None:
        """Another process has the row and answers by callback; or the ledger came back without it, and nobody does."""
        try:
            stored = await self._promise(row.queue_id)
        except StoreUnavailable as error:
            call.error = error
        else:
            if stored is None:
                call.turn_to_callback()
            else:
                call.answer(outcomes.read(stored))

    async def _let_go(self, lease: Lease, call: Call) -> None:
        """This process stops: the row goes on elsewhere, and who waits here is told so."""
        with anyio.move_on_after(LAST_WORDS, shield=True):
            try:
                if lease.request.callback_topic is not None:
                    stored = await self._promise(lease.request.queue_id)
                    if stored is None:
                        call.turn_to_callback()
                    else:
                        call.answer(outcomes.read(stored))
                await self._queue.release(lease)
            except (LeaseLost, StoreUnavailable):
                return  # the lease runs out by itself

    async def _wait_for(
        self, call: Call, request: LLMComparisonRequest, queue_id: UUID, lane: Lane, gone: Gone | None
    ) -> LLMComparisonResponse | ComparisonQueued:
        patience = request.expires_in + LAST_WORDS if request.callback_topic is None else self._patience
        try:
            await until(call.done, patience, gone)
        except anyio.get_cancelled_exc_class():
            # Nobody listens any more: what cannot be promised now, a repeat of the request repairs.
            with anyio.move_on_after(LAST_WORDS, shield=True), suppress(JuxtaError):
                await self._outlive(call, request, queue_id)
            raise
        if not call.done.given:
            stored = await self._outlive(call, request, queue_id)
            return self._queued(queue_id, request.correlation_id, lane) if stored is None else stored
        if call.error is not None:
            raise call.error
        if call.response is not None:
            return outcomes.answer(call.response)
        if call.accepted is not None:
            return await self._known(call.accepted, request.correlation_id, request.callback_topic, lane)
        return self._queued(queue_id, request.correlation_id, lane)

    async def _outlive(
        self, call: Call, request: LLMComparisonRequest, queue_id: UUID
    ) -> LLMComparisonResponse | None:
        """The asker stops waiting and the call goes on: from here the answer is owed by callback (None), or is here."""
        if call.done.given:
            return None
        if request.callback_topic is None:
            raise _still_judged()
        stored = await self._promise(queue_id)
        return None if stored is None else outcomes.answer(outcomes.read(stored))

    async def _promise(self, queue_id: UUID) -> StoredOutcome | None:
        """As `promise_callback`, where no row means: not taken yet, or lost with all that Redis held.

        :raises StoreUnavailable: then, too; the same request again is a new one.
        """
        try:
            return await self._queue.promise_callback(queue_id)
        except NotFound as error:
            raise StoreUnavailable("The ledger does not hold the request.", retry_after=1.0) from error

    async def _known(
        self, accepted: Accepted, correlation_id: UUID, topic: str | None, lane: Lane
    ) -> LLMComparisonResponse | ComparisonQueued:
        """Answer a row that this asker did not just start: stored, or owed by callback."""
        stored = accepted.stored
        if stored is None:
            if topic is None:
                raise _still_judged()
            if accepted.reply is Reply.RESPONSE:
                stored = await self._promise(accepted.queue_id)
        if stored is None:
            return self._queued(accepted.queue_id, correlation_id, lane)
        return outcomes.answer(outcomes.read(stored))

    def _queued(self, queue_id: UUID, correlation_id: UUID, lane: Lane) -> ComparisonQueued:
        return ComparisonQueued(
            queue_id=queue_id,
            correlation_id=correlation_id,
            estimated_wait_seconds=round(lane.estimate(self._queue.waiting(lane.name)), 1),
        )

    def _resolve(self, request: LLMComparisonRequest) -> tuple[Lane, LLMComparisonRequest]:
        """Find the lane, and write the judge chosen by default into the request, so that a row keeps its judge."""
        topic = request.callback_topic
        if topic is not None and topic not in self._topics:
            allowed = ", ".join(sorted(self._topics)) or "none"
            raise TopicNotAllowed(
                "The callback topic is not on the list of this provider.",
                errors=(("callback_topic", f"allowed: {allowed}"),),
            )
        overrides = request.llm_config_overrides
        if overrides.provider is None:
            overrides = overrides.model_copy(update={"provider": self._default_provider})
            request = request.model_copy(update={"llm_config_overrides": overrides})
        judge = self._judges.get(overrides.provider or self._default_provider)
        if judge is None:
            allowed = ", ".join(sorted(self._judges))
            raise InvalidRequest(
                "No judge of this name is configured.",
                errors=(("llm_config_overrides.provider", f"allowed: {allowed}"),),
            )
        lane = self._lanes[judge.lane(overrides)]
        judge.check(request)
        return lane, request


def _still_judged() -> Unavailable:
    return Unavailable("The request is still being judged.", retry_after=1.0)
