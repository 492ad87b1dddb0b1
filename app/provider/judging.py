"""One judge call under a lease, from the durable count of the try to the stored outcome.

The direct road and the workers both go through here, so that they cannot differ.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import anyio
from pydantic import ValidationError

from app.contracts import LLMComparisonRequest, LLMOrchestratorResponse
from app.errors import InvalidRequest, LeaseLost, StoreUnavailable
from app.provider import outcomes
from app.provider.insisting import insist
from app.provider.judges.protocol import EXPIRED, Judge, JudgeError, Judges, Metered, Spent, Verdict
from app.provider.lane import Clock, Slot
from app.provider.queue.protocol import Ending, Lease, Reply, RequestQueue, StoredOutcome
from app.provider.spending import Spending

PAID_TRIES = 2
"""A try beyond it that failed and cost money is the last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often a judge is asked for one request, and the jittered pause between: it doubles from `base` to `cap`."""

    tries: int = 5
    base: float = 1.0
    cap: float = 60.0

    def pause(self, tries: int, draw: float) -> float:
        """Seconds until the next try after `tries` of them; `draw` is uniform in 0..1."""
        return min(self.cap, self.base * 2.0 ** min(tries - 1, 30)) * (0.5 + draw / 2)


DEFAULT_RETRY = RetryPolicy()


@dataclass(frozen=True, slots=True)
class Again:
    """No verdict yet; the judge may be asked again in `after` seconds. `untried`: it was not asked, though counted."""

    after: float
    untried: bool = False


class Concluded(NamedTuple):
    """A request that has its outcome: to read, to publish, and how it is owed."""

    response: LLMOrchestratorResponse
    stored: StoredOutcome
    reply: Reply


class Judging:
    """Runs judge calls, keeps their leases alive, stores what comes of them."""

    def __init__(
        self,
        *,
        queue: RequestQueue,
        judges: Judges,
        lease: float,
        retry: RetryPolicy,
        clock: Clock = time.time,
        monotonic: Clock = time.monotonic,
        draw: Callable[[], float] = random.random,
        spending: Spending | None = None,
    ) -> None:
        self._queue = queue
        self._spending = spending
        self._judges = judges
        self._lease = lease
        self._retry = retry
        self._clock = clock
        self._monotonic = monotonic
        self._draw = draw
        self._kept: dict[tuple[int, int], tuple[Lease, float]] = {}

    def keep(self, lease: Lease) -> None:
        """Extend this lease from now on, until `drop`."""
        self._kept[lease.place, lease.attempt] = (lease, self._monotonic())

    def drop(self, lease: Lease) -> None:
        """Extend it no longer."""
        self._kept.pop((lease.place, lease.attempt), None)

    async def keep_leases(self) -> None:
        """Extend kept leases before they run out; runs until cancelled. Short calls are never touched."""
        while True:
            await anyio.sleep(self._lease / 4)
            old = self._monotonic() - self._lease / 4
            async with anyio.create_task_group() as extensions:
                for lease, since in tuple(self._kept.values()):
                    if since <= old:
                        extensions.start_soon(self._extend, lease)

    async def call(
        self, lease: Lease, slot: Slot, *, request: LLMComparisonRequest | None = None, counted: bool = True
    ) -> LLMOrchestratorResponse | Again:
        """Ask the judge once and end the slot.

        `request` saves reading the body again; `counted` says that the ledger counted this try when it leased the row.
        Then nothing is awaited before the judge is.

        :raises LeaseLost: when not `counted`, before the judge was asked.
        :raises StoreUnavailable: likewise; the try may or may not be counted.
        """
        try:
            request = request or LLMComparisonRequest.model_validate_json(lease.request.body)
            judge = self._judges[request.llm_config_overrides.provider or ""]
            judge.lane(request.llm_config_overrides)
        except (ValidationError, KeyError, InvalidRequest):
            gone = JudgeError("judge-gone", "The judge that this request asks for is no longer configured.")
            slot.give_back()
            return outcomes.failed(lease, gone, attempts=lease.tries - counted, now=self._clock())
        if slot.metered and isinstance(judge, Metered) and (wait := slot.fit(judge.tokens(request))):
            slot.give_back()
            return Again(wait, untried=counted)
        tries = lease.tries if counted else await self._queue.begin_try(lease)
        slot.begin()
        remaining = lease.accepted_at + lease.request.expires_in - self._clock()
        timeout, began = slot.timeout, self._monotonic()
        verdict: Verdict | None = None
        trouble: JudgeError | None = None
        with anyio.move_on_after(min(timeout, remaining)):
            try:
                verdict = await judge.compare(request)
            except JudgeError as error:
                trouble = error
            except Exception as error:  # noqa: BLE001 - a bug in a judge costs one try, never the process
                trouble = _bug(error)
        spent = verdict.spent if verdict else trouble.spent if trouble else None
        if spent is not None:
            seconds = self._monotonic() - began
            await self._record(lease, tries, spent, verdict=verdict is not None, seconds=seconds)
        if verdict is not None:
            took = self._monotonic() - began
            try:
                response = outcomes.succeeded(
                    lease, request, verdict, attempts=tries, seconds=took, now=self._clock()
                )
            except ValidationError as error:  # a verdict beyond its bounds; any other error is a bug of ours
                trouble = _bug(error)
            else:
                slot.succeed(tokens=verdict.token_usage.total_tokens)
                return response
        elif trouble.code == EXPIRED if trouble else remaining <= timeout:
            slot.give_back()
            expired = outcomes.ended(lease, Ending.EXPIRED, now=self._clock(), attempts=tries)
            return outcomes.with_spent(expired, spent) if spent else expired
        late = JudgeError("timeout", f"No verdict within {timeout:g} s.", retryable=True, trips=True)
        return self._without_verdict(lease, slot, judge, trouble or late, tries=tries)

    async def store(self, lease: Lease, response: LLMOrchestratorResponse) -> Concluded:
        """Store the outcome, however long the database is away: a verdict that was paid for is not thrown away.

        It tells of all that was spent on the request, earlier tries included.

        :raises LeaseLost: another worker has the request.
        """
        if self._spending is not None and (response.attempts > 1 or (response.attempts and response.error)):
            total = await insist(partial(self._spending.of, lease), self._draw)
            response = outcomes.with_spent(response, total)
        ours = outcomes.to_store(lease, response)
        first, reply = await insist(partial(self._queue.store, lease, ours), self._draw)
        if first.event != ours.event:
            response = outcomes.read(first)
        return Concluded(response, first, reply)

    async def _record(self, lease: Lease, tries: int, spent: Spent, *, verdict: bool, seconds: float) -> None:
        if self._spending is not None:
            record = self._spending.record
            await insist(partial(record, lease, tries, spent, verdict=verdict, seconds=seconds), self._draw)

    def _without_verdict(
        self, lease: Lease, slot: Slot, judge: Judge, error: JudgeError, *, tries: int
    ) -> LLMOrchestratorResponse | Again:
        slot.fail(error)
        tries_left = self._retry.tries - tries
        # Whoever keeps a budget learns of it at the end: at most one more, whatever it costs.
        if error.cost_usd:
            tries_left = min(tries_left, PAID_TRIES - tries)
        if error.retryable and tries_left > 0:
            pause = self._retry.pause(tries, self._draw())
            return Again(max(pause, error.retry_after or 0.0))
        return outcomes.failed(lease, error, attempts=tries, now=self._clock(), judge_kind=judge.kind)

    async def _extend(self, lease: Lease) -> None:
        try:
            await self._queue.extend(lease, self._lease)
        except LeaseLost:
            self.drop(lease)
        except StoreUnavailable:
            return  # the next round tries again, well before the lease runs out


def _bug(error: Exception) -> JudgeError:
    return JudgeError("internal", f"{type(error).__name__} in the judge", retryable=True, trips=True)
