"""Money: what is spent passes the budget only by what was under way when it was reached."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.cj import planner
from app.cj.batch import NEVER_SENT, Arrival, Batch, BatchState, Road, Task
from app.cj.provider_client import Answer
from app.cj.store import batches, sending
from app.cj.store.money import BROKE
from app.cj.submitter import Submitter
from app.cj.views import Comparison
from app.contracts import LLMComparisonRequest, Outcome
from app.errors import JudgeFailed, NotFound, NoVerdict, ProviderUnavailable, QueueFull, RequestCancelled

from .conftest import Cj, ScriptedProvider, answer, batch_of, cj_on, queued
from .places import Place, PostgresPlace, SqlitePlace, shared_url

CONCURRENCY = 8  # of a cj in these tests


@dataclass
class Till(ScriptedProvider):
    """A provider that charges: it queues what it likes, calls the judge once for each id, and can be cancelled.

    `draw` decides what happens to a request; `calls` is what the judge was called for, with what it took. `failed` is
    what a first call took that failed and is made once more, of which nobody is told before the end.
    """

    draw: Random = field(default_factory=Random)
    price: Callable[[Random], float] = lambda draw: draw.choice((0.0, 0.01, 0.05))
    roads: tuple[str, ...] = ("at once", "queue", "fail", "again", "full", "lost answer", "never came")
    line: deque[LLMComparisonRequest] = field(default_factory=deque)
    calls: dict[UUID, float] = field(default_factory=dict)
    failed: dict[UUID, float] = field(default_factory=dict)
    outcomes: dict[UUID, Arrival] = field(default_factory=dict)
    known: set[UUID] = field(default_factory=set)

    async def generate_comparison(self, request: LLMComparisonRequest) -> Answer:
        self.requests.append(request)
        for _ in range(self.draw.randrange(3)):
            await anyio.lowlevel.checkpoint()
        if (kept := self.outcomes.get(request.correlation_id)) is not None:
            return self._said(request, kept)
        if request.correlation_id in self.known:
            return queued(request)
        road = self.draw.choice(self.roads)
        if road == "full":
            raise QueueFull("full", retry_after=0.001)
        if road == "never came":
            raise ProviderUnavailable("gone", retry_after=0.001)
        self.known.add(request.correlation_id)
        if road == "again":
            self.failed[request.correlation_id] = self.price(self.draw)
        if road in {"queue", "again"}:
            self.line.append(request)
            return queued(request)
        self.judge(request, fails=road == "fail")
        if road == "lost answer":
            raise ProviderUnavailable("answered, but nobody heard it", retry_after=0.001)
        return self._said(request, self.outcomes[request.correlation_id])

    async def cancel_comparison(self, correlation_id: UUID) -> None:
        self.cancelled.append(correlation_id)
        if correlation_id not in self.known:
            raise NotFound("unknown")
        for request in [r for r in self.line if r.correlation_id == correlation_id]:
            self.line.remove(request)
            self.outcomes[correlation_id] = Arrival(
                id=correlation_id,
                batch_id=UUID(request.callback_key),
                road=Road.CALLBACK,
                outcome=Outcome.CANCELLED,
                cost_usd=self.failed.get(correlation_id, 0.0),
                error_code="cancelled",
            )

    def judge(self, request: LLMComparisonRequest, *, fails: bool = False) -> Arrival:
        """Call the judge; it takes its money, verdict or not."""
        cost = self.price(self.draw) + self.failed.pop(request.correlation_id, 0.0)
        assert request.correlation_id not in self.calls
        self.calls[request.correlation_id] = cost
        verdict = answer(request).model_copy(update={"cost_usd": cost})
        batch_id = UUID(request.callback_key)
        outcome = Arrival.of_response(verdict, batch_id)
        if fails:
            outcome = Arrival(
                id=request.correlation_id,
                batch_id=batch_id,
                road=Road.CALLBACK,
                outcome=Outcome.FAILED,
                cost_usd=cost,
                error_code="malformed",
                retryable=True,
            )
        self.outcomes[request.correlation_id] = outcome
        return outcome

    def _said(self, request: LLMComparisonRequest, outcome: Arrival) -> Answer:
        if outcome.outcome is Outcome.CANCELLED:
            cancelled = RequestCancelled("cancelled")
            cancelled.cost_usd = outcome.cost_usd
            raise cancelled
        if outcome.outcome is Outcome.FAILED:
            error = JudgeFailed("malformed")
            error.cause, error.anew, error.cost_usd = "malformed", True, outcome.cost_usd
            raise error
        return answer(request).model_copy(update={"cost_usd": outcome.cost_usd})


async def drive(cj: Cj, till: Till, batch_id: UUID) -> Batch:
    """Let the judge work through the line, a few at a time, until the batch has ended."""
    with anyio.fail_after(60):
        while (batch := await cj.views.batch(batch_id)).state is not BatchState.FINISHED:
            if batch.state is BatchState.PAUSED:  # a wave without one verdict, and money left
                await cj.workflow.resume(batch_id)
            taken = [till.line.popleft() for _ in range(min(len(till.line), till.draw.randint(1, 3)))]
            results = [till.judge(request, fails=till.draw.random() < 0.2) for request in taken]
            if results:
                await cj.processor.record(results)
            news = cj.changes.listen(batch_id)
            with anyio.move_on_after(0.01):
                await news.wait()
    return batch


async def until_all_are_promised(cj: Cj, batch_id: UUID) -> None:
    """Wait until every 202 is stored."""
    with anyio.fail_after(20):
        while True:
            news = cj.changes.listen(batch_id)
            if all(one.queued_at for one in await cj.views.comparisons(batch_id)):
                return
            with anyio.move_on_after(0.1):
                await news.wait()


def beyond(rows: list[Comparison], budget: float) -> float:
    """What was spent on comparisons that were sent only after the budget was reached."""
    spent, reached_at = 0.0, None
    for one in sorted((r for r in rows if r.ended_order), key=lambda r: r.ended_order or 0):
        spent += one.cost_usd or 0.0
        if reached_at is None and spent >= budget - 1e-9:
            reached_at = one.ended_at
    if reached_at is None:
        return 0.0
    return sum(r.cost_usd or 0.0 for r in rows if (r.submitted_at or 0.0) > reached_at)


def play(seed: int, budget: float, essays: int, **till_of: Any) -> None:
    """One batch to its end, and everything that must be true of it."""

    async def run() -> None:
        till = Till(draw=Random(seed), **till_of)
        with TemporaryDirectory() as folder:
            async with cj_on(SqlitePlace(Path(folder)), till, repair_after=0.05) as cj:
                new = batch_of(essays, comparisons_per_essay=6, budget_usd=budget)
                batch_id = await cj.workflow.create(new, start=True)
                batch = await drive(cj, till, batch_id)
                rows = list(await cj.views.comparisons(batch_id))
                assert await cj.store.next_due() is None
        assert batch.state is BatchState.FINISHED
        assert beyond(rows, budget) == 0.0
        assert batch.cost_usd == pytest.approx(sum(till.calls.values()) + sum(till.failed.values()))
        assert batch.decided + batch.failed == batch.planned
        if not {"queue", "again"} & set(till.roads):
            assert batch.cost_usd <= budget + CONCURRENCY * max(till.calls.values()) + 1e-9
        never = [r for r in rows if r.error_code == NEVER_SENT]
        assert not {r.id for r in never} & till.calls.keys()
        if never:
            assert batch.cost_usd >= budget - 1e-9
        if batch.cost_usd >= budget - 1e-9:
            assert batch.stop_reason is not None

    asyncio.run(run())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32), budget=st.sampled_from((0.005, 0.03, 0.11, 0.4)), essays=st.integers(3, 12)
)
def test_nothing_is_sent_once_the_budget_is_reached_whatever_the_costs_and_their_order(
    seed: int, budget: float, essays: int
) -> None:
    play(seed, budget, essays)


def looks_at_no_money(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_DUE", sending._DUE.replace(BROKE, "FALSE"))


def sends_again_what_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Submitter, "_withdraw", Submitter._submit)


def asks_for_what_was_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    async def withdraw(self: Any, task: Task) -> None:
        with suppress(NotFound):
            await self._provider.cancel_comparison(task.id)
        await self._submit(task)

    monkeypatch.setattr(Submitter, "_withdraw", withdraw)


def leaves_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_RECALL", "SELECT 1 WHERE :id = :id AND :now = 0")


def forgets_what_failures_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NoVerdict, "cost_usd", property(lambda _: 0.0, lambda _self, _value: None))


def plans_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "is_broke", lambda _: False)


MUTANTS: tuple[tuple[Callable[[pytest.MonkeyPatch], None], tuple[str, ...]], ...] = (
    (looks_at_no_money, ("at once",)),
    (sends_again_what_was_sent, ("at once", "full", "never came")),
    (asks_for_what_was_forgotten, ("at once", "full", "never came")),
    (forgets_what_failures_cost, ("at once", "fail")),
)


@pytest.mark.parametrize(("breaks", "roads"), MUTANTS, ids=lambda part: getattr(part, "__name__", ""))
def test_no_part_of_it_can_be_left_out(
    monkeypatch: pytest.MonkeyPatch, breaks: Callable[[pytest.MonkeyPatch], None], roads: tuple[str, ...]
) -> None:
    breaks(monkeypatch)
    with pytest.raises(AssertionError):
        play(1, 0.6, 80, roads=roads, price=lambda _: 0.05)


@pytest.mark.anyio
async def test_a_budget_reached_in_the_middle_of_a_wave_ends_the_batch_there(place: Place) -> None:
    provider = ScriptedProvider()
    async with cj_on(place, provider) as cj:
        new = batch_of(40, comparisons_per_essay=9, budget_usd=0.05)
        batch_id = await cj.workflow.create(new, start=True)
        batch = await cj.finish(batch_id)
        rows = await cj.views.comparisons(batch_id)
        counted = (await cj.views.summary(batch_id)).failures
    assert batch.stop_reason == "budget_spent"
    assert batch.planned == 40
    assert 0.05 <= batch.cost_usd + 1e-9 <= 0.05 + CONCURRENCY * 0.01
    assert batch.decided == len(provider.requests) < batch.planned
    assert counted == {NEVER_SENT: batch.failed}
    unsent = [one for one in rows if one.error_code == NEVER_SENT]
    assert {(one.posts, one.submitted_at, one.road) for one in unsent} == {(0, None, None)}


async def left_at_the_provider(place: Place) -> tuple[Till, Batch, list[Comparison]]:
    """Twenty wait at the provider when three verdicts spend the budget, and two more are being judged.

    How it stands when everything was taken back, or after two seconds.
    """
    till = Till(draw=Random(1), price=lambda _: 0.04, roads=("queue",))
    async with cj_on(place, till) as cj:
        new = batch_of(20, comparisons_per_essay=9, budget_usd=0.1)
        batch_id = await cj.workflow.create(new, start=True)
        await cj.until(batch_id, lambda b: len(till.line) == b.planned == 20)
        await until_all_are_promised(cj, batch_id)
        running = [till.line.popleft() for _ in range(5)]
        await cj.processor.record([till.judge(request) for request in running[:3]])
        with anyio.move_on_after(2):
            await cj.until(batch_id, lambda b: b.failed == 15)
        await cj.processor.record([till.judge(request) for request in running[3:]])
        with anyio.move_on_after(2):
            await cj.finish(batch_id)
        return till, await cj.views.batch(batch_id), list(await cj.views.comparisons(batch_id))


@pytest.mark.anyio
async def test_what_waits_at_the_provider_is_taken_back_and_what_runs_there_counts(place: Place) -> None:
    till, batch, rows = await left_at_the_provider(place)
    assert (batch.state, batch.stop_reason) == (BatchState.FINISHED, "budget_spent")
    assert (batch.decided, batch.failed, len(till.calls)) == (5, 15, 5)
    assert batch.cost_usd == pytest.approx(5 * 0.04)
    assert {one.error_code for one in rows if one.state == "failed"} == {"request-cancelled"}


@pytest.mark.anyio
@pytest.mark.parametrize("breaks", [leaves_what_waits, plans_on], ids=lambda part: part.__name__)
async def test_it_would_stay_there_if_nobody_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaks: Callable[[pytest.MonkeyPatch], None]
) -> None:
    breaks(monkeypatch)
    till, batch, _ = await left_at_the_provider(SqlitePlace(tmp_path))
    assert (batch.state, len(till.line)) == (BatchState.RUNNING, 15)


@pytest.mark.anyio
async def test_two_processes_spend_one_budget() -> None:
    place = PostgresPlace(shared_url()).emptied()
    till = Till(draw=Random(3), price=lambda _: 0.01, roads=("at once",))
    async with cj_on(place, till) as one, cj_on(place, till):
        new = batch_of(60, comparisons_per_essay=9, budget_usd=0.2)
        batch_id = await one.workflow.create(new, start=True)
        batch = await one.finish(batch_id)
    assert batch.stop_reason == "budget_spent"
    assert 0.2 <= batch.cost_usd + 1e-9 <= 0.2 + 2 * CONCURRENCY * 0.01
    assert len(till.calls) == batch.decided


@pytest.mark.anyio
async def test_a_batch_that_only_failed_at_its_budget_ends_and_is_not_paused(place: Place) -> None:
    till = Till(draw=Random(1), price=lambda _: 0.01, roads=("fail",))
    async with cj_on(place, till) as cj:
        batch_id = await cj.workflow.create(batch_of(6, budget_usd=0.02), start=True)
        batch = await cj.finish(batch_id)
    assert (batch.decided, batch.stop_reason, batch.problem) == (0, "budget_spent", None)
    assert batch.cost_usd == pytest.approx(sum(till.calls.values()))


@pytest.mark.anyio
async def test_a_process_that_takes_over_spends_no_more_either(place: Place) -> None:
    till = Till(draw=Random(1), price=lambda _: 0.04, roads=("queue",))
    async with cj_on(place, till) as cj:
        batch_id = await cj.workflow.create(batch_of(12, budget_usd=0.1), start=True)
        await cj.until(batch_id, lambda b: len(till.line) == b.planned == 12)
    running = [till.line.popleft() for _ in range(3)]
    async with cj_on(place, till, run=False) as cj:
        await cj.processor.record([till.judge(request) for request in running])
    async with cj_on(place, till) as cj:
        batch = await cj.finish(batch_id)
    assert (batch.decided, batch.failed, batch.stop_reason) == (3, 9, "budget_spent")
    assert len(till.calls) == 3
