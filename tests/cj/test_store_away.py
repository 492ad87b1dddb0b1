"""What one process cannot see: a store that is away, a commit nobody answered, and what another process did."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from uuid import UUID

import anyio
import pytest

from app.cj.batch import Arrival, BatchState, Fate, Road
from app.cj.provider_client import Answer
from app.contracts import LLMComparisonRequest, Outcome
from app.errors import StoreUnavailable
from tests.engines import PostgreSQL

from .conftest import Cj, ScriptedProvider, answer, batch_of, cj_on, queued
from .lossy import Lossy
from .places import Place, PostgresPlace, shared_url

pytestmark = pytest.mark.anyio


@pytest.fixture
def place() -> PostgresPlace:
    return PostgresPlace(shared_url()).emptied()


def behind(lossy: Lossy) -> PostgresPlace:
    return PostgresPlace(lossy.url)


def once() -> Callable[[], bool]:
    numbers = count()
    return lambda: next(numbers) == 0


def of(batch_id: UUID, request: LLMComparisonRequest) -> Arrival:
    return Arrival.of_response(answer(request), batch_id)


def lost(batch_id: UUID, request: LLMComparisonRequest) -> Arrival:
    return Arrival(id=request.correlation_id, batch_id=batch_id, road=Road.CALLBACK, outcome=Outcome.FAILED)


async def planned(cj: Cj) -> tuple[UUID, list[LLMComparisonRequest]]:
    """A batch whose first waves are claimed by this process."""
    batch_id = await cj.workflow.create(batch_of(4), start=True)
    await cj.planner.plan(batch_id)
    return batch_id, [task.request() for task in await cj.store.claim(limit=100, hold=60.0)]


async def test_a_result_whose_commit_was_not_answered_counts_once_and_wakes_the_planner(
    place: PostgresPlace,
) -> None:
    async with (
        Lossy(place.url).open() as lossy,
        cj_on(behind(lossy), ScriptedProvider(), run=False) as cj,
    ):
        batch_id, requests = await planned(cj)
        arrivals = [of(batch_id, request) for request in requests]
        lossy.loses = once()
        with pytest.raises(StoreUnavailable):
            await cj.processor.record(arrivals)
        assert (await cj.views.batch(batch_id)).decided == len(requests)
        assert set(await cj.processor.record(arrivals)) == {Fate.DUPLICATE}
        assert (await cj.views.batch(batch_id)).decided == len(requests)
        async with anyio.create_task_group() as loops:
            loops.start_soon(cj.planner.run)
            await cj.until(batch_id, lambda batch: batch.waves > 2)
            loops.cancel_scope.cancel()


async def test_rows_of_a_claim_that_was_not_answered_are_sent_at_the_next(place: PostgresPlace) -> None:
    async with (
        Lossy(place.url).open() as lossy,
        cj_on(behind(lossy), ScriptedProvider(), run=False) as cj,
    ):
        batch_id = await cj.workflow.create(batch_of(4), start=True)
        await cj.planner.plan(batch_id)
        lossy.loses = once()
        with pytest.raises(StoreUnavailable):
            await cj.store.claim(limit=100, hold=60.0)
        assert await cj.store.next_due() != 0.0
        planned = (await cj.views.batch(batch_id)).planned
        assert len(await cj.store.claim(limit=100, hold=60.0)) == planned


async def test_a_batch_whose_commit_was_not_answered_is_made_once(place: PostgresPlace) -> None:
    async with (
        Lossy(place.url).open() as lossy,
        cj_on(behind(lossy), ScriptedProvider(), run=False) as cj,
    ):
        lossy.loses = once()
        batch_id = await cj.workflow.create(batch_of(4), start=False)
        assert lossy.lost == 1
        assert [batch.id for batch in await cj.views.batches()] == [batch_id]
        assert len(await cj.views.essays(batch_id)) == 4


async def test_when_many_commits_are_not_answered_a_batch_still_ends_with_everything_counted_once(
    place: PostgresPlace,
) -> None:
    commits = count(1)
    async with Lossy(place.url).open() as lossy, cj_on(behind(lossy), ScriptedProvider()) as cj:
        lossy.loses = lambda: next(commits) % 4 == 0
        batch_id = await cj.workflow.create(batch_of(6, comparisons_per_essay=5), start=True)
        batch = await cj.finish(batch_id)
        comparisons = await cj.views.comparisons(batch_id)
        assert lossy.lost > 1
    assert batch.decided == batch.planned == len(comparisons) == 15
    assert sorted(c.ended_order or 0 for c in comparisons) == list(range(1, 16))


async def test_after_a_kill_of_the_server_the_batch_goes_on_within_five_seconds() -> None:
    server = PostgreSQL(fsync=False)
    try:
        server.start()
        held = anyio.Event()
        go = anyio.Event()

        class Held(ScriptedProvider):
            async def generate_comparison(self, request: LLMComparisonRequest) -> Answer:
                held.set()
                await go.wait()
                return await super().generate_comparison(request)

        async with cj_on(PostgresPlace(server.url), Held()) as cj:
            batch_id = await cj.workflow.create(batch_of(4, comparisons_per_essay=3), start=True)
            with anyio.fail_after(10):
                await held.wait()
            server.kill()
            go.set()
            with pytest.raises(StoreUnavailable):
                await cj.views.batch(batch_id)
            server.start()
            with anyio.fail_after(5):
                batch = await cj.finish(batch_id)
        assert batch.decided == batch.planned == 6
    finally:
        server.close()


@pytest.mark.parametrize("way", ["accepted", "answered"])
async def test_a_cancellation_by_another_process_waits_for_the_post_it_cancels(
    place: Place, way: str
) -> None:
    posting, go = anyio.Event(), anyio.Event()
    log: list[str] = []

    class Slow(ScriptedProvider):
        async def generate_comparison(self, request: LLMComparisonRequest) -> Answer:
            posting.set()
            await go.wait()
            log.append(way)
            return queued(request) if way == "accepted" else answer(request)

        async def cancel_comparison(self, correlation_id: UUID) -> None:
            log.append("cancelled")

    provider = Slow()
    async with (
        cj_on(place, provider, volatile_bus=False) as one,
        cj_on(place, provider, volatile_bus=False) as other,
    ):
        batch_id = await one.workflow.create(batch_of(2, comparisons_per_essay=1), start=True)
        with anyio.fail_after(10):
            await posting.wait()
            await other.workflow.cancel(batch_id)
            for _ in range(3):
                assert not await other.store.claim(limit=10, hold=60.0)
            go.set()
            while await one.store.next_due() is not None:
                await anyio.lowlevel.checkpoint()
    assert log == [way, "cancelled"][: 1 + (way == "accepted")]


async def test_what_another_process_ended_is_not_kept_in_memory(place: Place) -> None:
    async with (
        cj_on(place, ScriptedProvider(queued)) as one,
        cj_on(place, ScriptedProvider(), run=False) as other,
    ):
        batch_id = await one.workflow.create(batch_of(4), start=True)
        await one.until(batch_id, lambda batch: batch.planned > 0)
        assert batch_id in one.planner.remembered
        await other.workflow.cancel(batch_id)
        with anyio.fail_after(10):
            while batch_id in one.planner.remembered:  # noqa: ASYNC110 - memory tells nobody that it forgot
                await anyio.sleep(0.01)
        assert (await one.views.batch(batch_id)).state is BatchState.CANCELLED


async def test_a_batch_resumed_by_one_process_is_not_paused_again_by_another_for_what_failed_before(
    place: Place,
) -> None:
    idle = ScriptedProvider()
    async with cj_on(place, idle, run=False) as one, cj_on(place, idle, run=False) as other:
        batch_id, requests = await planned(one)
        await one.processor.record([lost(batch_id, request) for request in requests])
        await one.planner.plan(batch_id)
        assert (await one.views.batch(batch_id)).state is BatchState.PAUSED
        await one.workflow.resume(batch_id)
        await other.planner.plan(batch_id)
        batch = await other.views.batch(batch_id)
    assert batch.state is BatchState.RUNNING
    assert batch.planned > len(requests)
