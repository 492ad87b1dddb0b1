"""A batch from its first wave to its end, whatever happens to the results on their way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from uuid import UUID

import anyio
import pytest

from app.cj.batch import Arrival, Batch, BatchState, Fate, Road
from app.cj.provider_client import Answer
from app.contracts import LLMComparisonRequest, Outcome
from app.errors import Conflict, JudgeFailed, JuxtaError, NotFound, ProviderUnavailable, QueueFull

from .conftest import RULES, ScriptedProvider, answer, batch_of, cj_on, queued
from .places import Place

pytestmark = pytest.mark.anyio


async def test_a_perfect_judge_puts_the_essays_in_order(place: Place) -> None:
    async with cj_on(place, ScriptedProvider()) as cj:
        batch_id = await cj.workflow.create(batch_of(8, comparisons_per_essay=7), start=True)
        batch = await cj.finish(batch_id)
        rows = await cj.views.ranking(batch_id)
    assert batch.stop_reason in {"comparisons_spent", "no_pairs_left"}
    assert [row.essay for row in rows] == [f"e{n}" for n in reversed(range(8))]
    assert all(row.low < row.score < row.high for row in rows if row.score and row.low and row.high)


async def test_no_pair_is_asked_twice_and_every_verdict_counts_once(place: Place) -> None:
    provider = ScriptedProvider()
    async with cj_on(place, provider) as cj:
        batch_id = await cj.workflow.create(batch_of(7, comparisons_per_essay=6), start=True)
        batch = await cj.finish(batch_id)
        rows = await cj.views.ranking(batch_id)
    pairs = [frozenset((r.essay_a, r.essay_b)) for r in provider.requests]
    assert len(pairs) == len(set(pairs)) == batch.decided == batch.planned
    assert sum(row.comparisons for row in rows) == 2 * batch.decided
    assert batch.cost_usd == pytest.approx(0.01 * batch.decided)


async def test_reliability_reached_ends_the_batch_early(place: Place) -> None:
    async with cj_on(place, ScriptedProvider()) as cj:
        new = batch_of(12, comparisons_per_essay=11, target_reliability=0.5)
        batch_id = await cj.workflow.create(new, start=True)
        batch = await cj.finish(batch_id)
        rows = await cj.views.ranking(batch_id)
    assert batch.stop_reason == "reliability_reached"
    assert batch.reliability is not None
    assert batch.reliability >= 0.5
    assert min(row.comparisons for row in rows) >= 6


async def test_the_budget_ends_the_batch_with_what_is_in_flight_counted(place: Place) -> None:
    async with cj_on(place, ScriptedProvider()) as cj:
        new = batch_of(10, comparisons_per_essay=9, budget_usd=0.2)
        batch_id = await cj.workflow.create(new, start=True)
        batch = await cj.finish(batch_id)
    assert batch.stop_reason == "budget_spent"
    assert batch.cost_usd <= 0.2 + 1e-9


async def test_a_callback_before_its_202_counts_and_the_202_changes_nothing(place: Place) -> None:
    provider = ScriptedProvider()
    async with cj_on(place, provider) as cj:
        early: list[LLMComparisonRequest] = []

        def promise(request: LLMComparisonRequest) -> Answer:
            early.append(request)
            return queued(request)

        provider.verdict = promise
        batch_id = await cj.workflow.create(batch_of(4, comparisons_per_essay=1), start=True)
        await cj.until(batch_id, lambda b: len(early) == b.planned > 0)
        for request in early:
            assert await cj.processor.record([callback(request, batch_id)]) == (Fate.APPLIED,)
            await cj.store.postpone(request.correlation_id, seconds=9.0, queued=True)
        batch = await cj.finish(batch_id)
        assert await cj.store.next_due() is None
    assert batch.decided == batch.planned


def callback(request: LLMComparisonRequest, batch_id: UUID) -> Arrival:
    arrival = Arrival.of_response(answer(request), batch_id)
    return Arrival(**{n: getattr(arrival, n) for n in Arrival.__slots__} | {"road": Road.CALLBACK})


async def test_results_in_any_order_and_twice_give_the_same_scores(place: Place) -> None:
    scores = []
    for name, order in (("a", 1), ("b", -1)):
        held: list[LLMComparisonRequest] = []

        def promise(request: LLMComparisonRequest, held: list[LLMComparisonRequest] = held) -> Answer:
            held.append(request)
            return queued(request)

        async with cj_on(place.beside(name), ScriptedProvider(promise)) as cj:
            batch_id = await cj.workflow.create(batch_of(9, comparisons_per_essay=6), start=True)
            while (batch := await cj.views.batch(batch_id)).state is BatchState.RUNNING:
                arrived, held[:] = held[::order], []
                for request in arrived + arrived:
                    await cj.processor.record([callback(request, batch_id)])
                news = cj.changes.listen(batch_id)
                with anyio.move_on_after(0.05):
                    await news.wait()
            assert batch.decided == batch.planned
            scores.append(
                [(r.essay, r.score) for r in sorted(await cj.views.ranking(batch_id), key=lambda r: r.essay)]
            )
    assert [e for e, _ in scores[0]] == [e for e, _ in scores[1]]
    assert [s for _, s in scores[0]] == pytest.approx([s for _, s in scores[1]], abs=1e-9)


async def test_a_late_callback_is_asked_for_again_with_the_same_id_and_body(place: Place) -> None:
    provider = ScriptedProvider()

    def second_time(request: LLMComparisonRequest) -> Answer:
        times = sum(r.correlation_id == request.correlation_id for r in provider.requests)
        return queued(request) if times < 2 else answer(request)

    provider.verdict = second_time
    async with cj_on(place, provider, repair_after=0.01) as cj:
        batch_id = await cj.workflow.create(batch_of(4, comparisons_per_essay=1), start=True)
        batch = await cj.finish(batch_id)
    assert batch.decided == batch.planned
    by_id: dict[UUID, set[bytes]] = {}
    for request in provider.requests:
        by_id.setdefault(request.correlation_id, set()).add(request.model_dump_json().encode())
    assert len(by_id) == batch.planned
    assert all(len(bodies) == 1 for bodies in by_id.values())


async def test_a_full_provider_is_asked_again_and_nothing_is_lost(place: Place) -> None:
    refusals = iter([QueueFull("full", retry_after=0.01), QueueFull("full", retry_after=0.01)])

    def sometimes(request: LLMComparisonRequest) -> Answer:
        if error := next(refusals, None):
            raise error
        return answer(request)

    async with cj_on(place, ScriptedProvider(sometimes)) as cj:
        batch_id = await cj.workflow.create(batch_of(4, comparisons_per_essay=2), start=True)
        batch = await cj.finish(batch_id)
    assert batch.decided == batch.planned


def failure(*, anew: bool) -> JuxtaError:
    error = JudgeFailed("no verdict")
    error.cause, error.anew = "unavailable", anew
    return error


@pytest.mark.parametrize(("anew", "asked"), [(True, 3), (False, 1)])
async def test_a_failed_pair_is_asked_anew_at_most_twice_and_only_when_that_may_help(
    place: Place, *, anew: bool, asked: int
) -> None:
    provider = ScriptedProvider()

    def stubborn(request: LLMComparisonRequest) -> Answer:
        if {request.essay_a[-1], request.essay_b[-1]} == {"0", "1"}:
            raise failure(anew=anew)
        return answer(request)

    provider.verdict = stubborn
    async with cj_on(place, provider) as cj:
        batch_id = await cj.workflow.create(batch_of(4, comparisons_per_essay=3), start=True)
        batch = await cj.finish(batch_id)
        summary = await cj.views.summary(batch_id)
    same = [r for r in provider.requests if {r.essay_a[-1], r.essay_b[-1]} == {"0", "1"}]
    assert len({r.correlation_id for r in same}) == len(same) == asked
    assert batch.failed == asked
    assert summary.failures == {"unavailable": asked}
    assert batch.decided == 5


async def test_a_wave_without_one_verdict_pauses_the_batch_and_says_why(place: Place) -> None:
    def broken(request: LLMComparisonRequest) -> Answer:
        raise failure(anew=True)

    provider = ScriptedProvider(broken)
    async with cj_on(place, provider) as cj:
        batch_id = await cj.workflow.create(batch_of(6), start=True)
        batch = await cj.until(batch_id, lambda b: b.state is BatchState.PAUSED and b.problem is not None)
        assert batch.failed <= 6
        provider.verdict = answer
        await cj.workflow.resume(batch_id)
        batch = await cj.finish(batch_id)
    assert batch.decided > 0
    assert batch.problem is None


async def test_a_paused_batch_sends_nothing_and_goes_on_where_it_was(place: Place) -> None:
    provider = ScriptedProvider(queued)
    async with cj_on(place, provider) as cj:
        batch_id = await cj.workflow.create(batch_of(6, comparisons_per_essay=5), start=True)
        await cj.until(batch_id, lambda b: len(provider.requests) == b.planned > 0)
        await cj.workflow.pause(batch_id)
        sent = list(provider.requests)
        for request in sent:
            await cj.deliver(request, batch_id)
        batch = await cj.until(batch_id, lambda b: b.decided == len(sent))
        assert batch.state is BatchState.PAUSED
        assert provider.requests == sent
        provider.verdict = answer
        await cj.workflow.resume(batch_id)
        batch = await cj.finish(batch_id)
    assert batch.decided == batch.planned


async def test_cancelling_tells_the_provider_and_late_results_change_nothing(place: Place) -> None:
    provider = ScriptedProvider(queued)
    async with cj_on(place, provider) as cj:
        batch_id = await cj.workflow.create(batch_of(6), start=True)
        await cj.until(batch_id, lambda b: len(provider.requests) == b.planned > 0)
        await cj.workflow.cancel(batch_id)
        # A result that comes first leaves nothing to cancel.
        await cj.until(batch_id, lambda b: len(provider.cancelled) == len(provider.requests))
        fates = await cj.processor.record([callback(r, batch_id) for r in provider.requests])
        after = await cj.views.batch(batch_id)
    assert set(fates) == {Fate.LATE}
    assert (after.decided, after.state, after.stop_reason) == (0, BatchState.CANCELLED, "cancelled")
    assert set(provider.cancelled) == {r.correlation_id for r in provider.requests}


@pytest.mark.parametrize("paused", [False, True])
async def test_every_verdict_of_a_cancelled_batch_counts_also_of_waves_that_were_not_complete(
    place: Place, *, paused: bool
) -> None:
    given: list[UUID] = []

    def some(request: LLMComparisonRequest) -> Answer:
        given.append(request.correlation_id)
        return answer(request) if len(given) <= 11 else queued(request)

    async with cj_on(place, ScriptedProvider(some)) as cj:
        batch_id = await cj.workflow.create(batch_of(8, comparisons_per_essay=7), start=True)
        await cj.until(batch_id, lambda b: b.decided == 11)
        if paused:
            await cj.workflow.pause(batch_id)
        assert (await cj.views.batch(batch_id)).fitted_wave < 3
        await cj.workflow.cancel(batch_id)
        await cj.until(batch_id, lambda b: b.fitted_wave == b.waves)
        batch, rows = await cj.views.batch(batch_id), await cj.views.ranking(batch_id)
    assert (batch.state, batch.stop_reason, batch.decided) == (BatchState.CANCELLED, "cancelled", 11)
    assert sum(row.comparisons for row in rows) == 22
    assert batch.reliability is not None


async def test_verdicts_of_a_cancelled_batch_that_nobody_fitted_count_after_the_next_start(
    place: Place,
) -> None:
    async with cj_on(place, ScriptedProvider(), run=False) as cj:
        batch_id = await cj.workflow.create(batch_of(6), start=True)
        await cj.planner.plan(batch_id)
        for task in await cj.store.claim(limit=2, hold=60):
            await cj.deliver(task.request(), batch_id)
        await cj.workflow.cancel(batch_id)
        assert (await cj.views.batch(batch_id)).fitted_wave == 0
    async with cj_on(place, ScriptedProvider()) as cj:
        await cj.until(batch_id, lambda b: b.fitted_wave == b.waves)
        ranking = await cj.views.ranking(batch_id)
    assert sum(row.comparisons for row in ranking) == 4


async def test_what_a_verdict_that_came_too_late_has_cost_is_counted_once(place: Place) -> None:
    provider = ScriptedProvider(queued)
    async with cj_on(place, provider) as cj:
        batch_id = await cj.workflow.create(batch_of(6), start=True)
        await cj.until(batch_id, lambda b: len(provider.requests) == b.planned > 0)
        await cj.workflow.cancel(batch_id)
        late = [replace(callback(r, batch_id), cost_usd=0.25) for r in provider.requests]
        await cj.processor.record([*late, late[0]])
        await cj.processor.record(late)
        batch = await cj.views.batch(batch_id)
    assert batch.decided == 0
    assert batch.cost_usd == pytest.approx(0.25 * len(late))


async def test_a_deleted_batch_is_gone_and_its_late_callbacks_are_no_strangers(place: Place) -> None:
    provider = ScriptedProvider(queued)
    async with cj_on(place, provider) as cj:
        batch_id = await cj.workflow.create(batch_of(4), start=True)
        await cj.until(batch_id, lambda b: len(provider.requests) == b.planned > 0)
        await cj.workflow.delete(batch_id)
        with pytest.raises(NotFound):
            await cj.views.batch(batch_id)
        with anyio.fail_after(10):
            while place.holds("essay number"):  # noqa: ASYNC110 - files tell nobody; gone for readers first
                await anyio.sleep(0.01)
        assert not await cj.store.texts(batch_id)
        assert len(provider.cancelled) == len(provider.requests)
        fates = await cj.processor.record([callback(r, batch_id) for r in provider.requests])
    assert set(fates) == {Fate.LATE}


async def test_a_batch_deleted_while_it_is_planned_does_not_end_the_planner(place: Place) -> None:
    async with cj_on(place, ScriptedProvider(queued)) as cj:
        for _ in range(10):
            doomed = await cj.workflow.create(batch_of(4), start=True)
            await cj.workflow.delete(doomed)
    async with cj_on(place, ScriptedProvider()) as cj:
        batch = await cj.finish(await cj.workflow.create(batch_of(3, comparisons_per_essay=1), start=True))
    assert batch.decided == batch.planned


async def test_the_cap_on_comparisons_is_kept_and_judges_share_fairly(place: Place) -> None:
    judges = [
        RULES.model_copy(update={"model": f"panel-v1/{name}"}) for name in ("balanced", "language", "content")
    ]
    provider = ScriptedProvider()
    async with cj_on(place, provider) as cj:
        new = batch_of(9, comparisons_per_essay=5, judges=judges)
        batch = await cj.finish(await cj.workflow.create(new, start=True))
    assert batch.decided == 23  # 9 essays, 5 each, two at a time
    asked = Counter(r.llm_config_overrides.model for r in provider.requests)
    assert max(asked.values()) - min(asked.values()) <= 1


async def test_an_ended_batch_cannot_be_started_again(place: Place) -> None:
    async with cj_on(place, ScriptedProvider()) as cj:
        batch_id = await cj.workflow.create(batch_of(3, comparisons_per_essay=1), start=True)
        await cj.finish(batch_id)
        with pytest.raises(Conflict, match="is finished"):
            await cj.workflow.start(batch_id)


async def test_beginning_and_going_on_are_two_actions_that_may_be_two_peoples(place: Place) -> None:
    async with cj_on(place, ScriptedProvider(queued)) as cj:
        batch_id = await cj.workflow.create(batch_of(3), start=False)
        with pytest.raises(Conflict, match="is ready"):
            await cj.workflow.resume(batch_id)
        await cj.workflow.start(batch_id)
        await cj.workflow.pause(batch_id)
        with pytest.raises(Conflict, match="is paused"):
            await cj.workflow.start(batch_id)
        assert (await cj.workflow.resume(batch_id)).state is BatchState.RUNNING


async def test_two_essays_are_one_comparison(place: Place) -> None:
    async with cj_on(place, ScriptedProvider()) as cj:
        batch_id = await cj.workflow.create(batch_of(2, comparisons_per_essay=10), start=True)
        batch = await cj.finish(batch_id)
    assert (batch.decided, batch.stop_reason) == (1, "no_pairs_left")


@pytest.mark.parametrize("when", ["planned", "submitted", "half"])
async def test_after_a_restart_the_batch_goes_on_and_counts_everything_once(place: Place, when: str) -> None:
    silent = ScriptedProvider(queued)
    async with cj_on(place, silent, run=when != "planned") as cj:
        batch_id = await cj.workflow.create(batch_of(6, comparisons_per_essay=5), start=True)
        if when == "planned":
            await cj.planner.plan(batch_id)
        else:
            await cj.until(batch_id, lambda b: len(silent.requests) == b.planned > 0)
        if when == "half":
            for request in silent.requests[::2]:
                await cj.deliver(request, batch_id)
    provider = ScriptedProvider()
    async with cj_on(place, provider) as cj:
        batch = await cj.finish(batch_id)
        comparisons = await cj.views.comparisons(batch_id)
    assert batch.decided == batch.planned == len(comparisons) == 15
    assert sorted(c.ended_order or 0 for c in comparisons) == list(range(1, 16))
    first = {r.correlation_id: r for r in silent.requests}
    assert all(first.get(r.correlation_id, r) == r for r in provider.requests)


async def test_the_sides_are_balanced_and_names_never_travel(place: Place) -> None:
    provider = ScriptedProvider()
    async with cj_on(place, provider) as cj:
        batch_id = await cj.workflow.create(batch_of(8, comparisons_per_essay=6), start=True)
        await cj.finish(batch_id)
    for n in range(8):
        text = f"essay number {n:03}"
        lead = sum(r.essay_a == text for r in provider.requests) - sum(
            r.essay_b == text for r in provider.requests
        )
        assert abs(lead) <= 2
    assert not any(f'"e{n}"' in r.model_dump_json() for r in provider.requests for n in range(8))


async def test_an_expired_comparison_counts_as_failed_and_may_be_asked_anew(place: Place) -> None:
    async with cj_on(place, ScriptedProvider(queued)) as cj:
        batch_id = await cj.workflow.create(batch_of(2, comparisons_per_essay=1), start=True)
        batch = await cj.until(batch_id, lambda b: b.planned == 1)
        (comparison,) = await cj.views.comparisons(batch_id)
        expired = Arrival(
            id=comparison.id,
            batch_id=batch_id,
            road=Road.CALLBACK,
            outcome=Outcome.EXPIRED,
            error_code="request-expired",
            error_detail="too late",
            retryable=True,
        )
        assert await cj.processor.record([expired, expired]) == (Fate.APPLIED, Fate.DUPLICATE)
        batch = await cj.views.batch(batch_id)
    assert batch.failed == 1


async def test_a_restart_does_not_ask_again_what_was_asked_anew_before(place: Place) -> None:
    failed: list[UUID] = []

    def first_one_fails(request: LLMComparisonRequest) -> Answer:
        if not failed:
            failed.append(request.correlation_id)
            raise failure(anew=True)
        return answer(request)

    pairs = []
    for name, restarts in (("straight", False), ("restarted", True)):
        failed.clear()
        provider = ScriptedProvider(first_one_fails)
        own = place.beside(name)
        new = batch_of(8, comparisons_per_essay=7)
        async with cj_on(own, provider) as cj:
            batch_id = await cj.workflow.create(new, start=True)
            await (cj.until(batch_id, lambda b: b.waves >= 5) if restarts else cj.finish(batch_id))
        async with cj_on(own, provider) as cj:
            await cj.finish(batch_id)
            pairs.append([(c.first, c.second, c.again) for c in await cj.views.comparisons(batch_id)])
    assert pairs[0] == pairs[1]
    assert sum(again for _, _, again in pairs[0]) == 1


async def test_cancelling_while_the_planner_pauses_does_not_end_it(place: Place) -> None:
    async with cj_on(place, ScriptedProvider(), run=False) as cj:
        batch_id = await cj.workflow.create(batch_of(4), start=True)
        await cj.workflow.cancel(batch_id)
        assert not await cj.store.pause(batch_id, "why")
        batch = await cj.views.batch(batch_id)
    assert (batch.state, batch.problem, batch.open) == (BatchState.CANCELLED, None, 0)


async def test_a_cancellation_never_overtakes_the_post_it_cancels(place: Place) -> None:
    posting, go = anyio.Event(), anyio.Event()
    log: list[str] = []

    class Slow(ScriptedProvider):
        async def generate_comparison(self, request: LLMComparisonRequest) -> Answer:
            posting.set()
            await go.wait()
            log.append("accepted")
            return queued(request)

        async def cancel_comparison(self, correlation_id: UUID) -> None:
            log.append("cancelled")

    async with cj_on(place, Slow()) as cj:
        batch_id = await cj.workflow.create(batch_of(2, comparisons_per_essay=1), start=True)
        with anyio.fail_after(10):
            await posting.wait()
            await cj.workflow.cancel(batch_id)
            while await cj.store.next_due() == 0.0:
                await anyio.lowlevel.checkpoint()
            go.set()
            while await cj.store.next_due() is not None:
                await anyio.lowlevel.checkpoint()
    assert log == ["accepted", "cancelled"]


async def test_while_the_provider_is_away_it_is_asked_less_and_less_often(place: Place) -> None:
    asked: list[float] = []
    enough = anyio.Event()

    def away(request: LLMComparisonRequest) -> Answer:
        asked.append(anyio.current_time())
        if len(asked) >= 5:
            enough.set()
        raise ProviderUnavailable("away")

    provider = ScriptedProvider(away)
    async with cj_on(place, provider) as cj:
        batch_id = await cj.workflow.create(batch_of(2, comparisons_per_essay=1), start=True)
        with anyio.fail_after(20):
            await enough.wait()
        provider.verdict = answer
        await cj.finish(batch_id)
    gaps = [later - earlier for earlier, later in pairwise(asked)]
    assert gaps[-1] > 2 * gaps[0]


async def test_processes_that_take_turns_with_a_batch_plan_it_as_one_would(place: Place) -> None:
    new = batch_of(essays=12, random_rounds=1, comparisons_per_essay=8)
    async with cj_on(place.beside("alone"), ScriptedProvider()) as cj:
        expected = await cj.finish(alone := await cj.workflow.create(new, start=True))
        scores = [row.score for row in await cj.views.ranking(alone)]
    idle = ScriptedProvider()
    async with cj_on(place, idle, run=False) as one, cj_on(place, idle, run=False) as other:
        batch_id = await one.workflow.create(new, start=True)
        asked: list[UUID] = []
        for cj in (one, other) * 20:
            await cj.planner.plan(batch_id)
            for task in await cj.store.claim(limit=100, hold=60):
                asked.append(task.id)
                await cj.deliver(task.request(), batch_id)
        batch = await one.views.batch(batch_id)
        assert [row.score for row in await one.views.ranking(batch_id)] == pytest.approx(scores, abs=1e-9)
    assert (batch.state, batch.planned, batch.waves) == (
        BatchState.FINISHED,
        expected.planned,
        expected.waves,
    )
    assert len(set(asked)) == len(asked) == batch.planned


async def test_every_fitted_wave_leaves_a_milestone_and_the_last_one_is_what_is_shown(place: Place) -> None:
    async with cj_on(place, ScriptedProvider()) as cj:
        batch_id = await cj.workflow.create(batch_of(8, comparisons_per_essay=6), start=True)
        batch = await cj.finish(batch_id)
        path = await cj.views.fits(batch_id)
        await cj.workflow.delete(batch_id)
        with pytest.raises(NotFound):
            await cj.views.fits(batch_id)
    assert [step.wave for step in path[:3]] == [1, 2, 3]
    assert path[-1].wave == batch.waves  # the two waves in flight at the end are fitted as one
    assert [step.verdicts for step in path] == [4 * step.wave for step in path]
    assert [step.cost_usd for step in path] == pytest.approx([0.04 * step.wave for step in path])
    assert (path[0].islands, path[-1].islands) == (4, 1)
    assert path[-1].reliability == batch.reliability
    assert all(step.sigma > 0 and step.fitted_at > 0 for step in path)


async def test_one_verdict_in_twenty_is_asked_again_the_other_way_round_and_counts_in_no_score(
    place: Place,
) -> None:
    judges = [RULES.model_copy(update={"model": f"panel-v1/{name}"}) for name in ("balanced", "language")]
    plans = []
    for name, restarts in (("straight", False), ("restarted", True)):
        provider, own = ScriptedProvider(), place.beside(name)
        async with cj_on(own, provider) as cj:
            batch_id = await cj.workflow.create(
                batch_of(20, comparisons_per_essay=9, judges=judges), start=True
            )
            await (cj.until(batch_id, lambda b: b.waves >= 6) if restarts else cj.finish(batch_id))
        async with cj_on(own, provider) as cj:
            batch = await cj.finish(batch_id)
            rows = await cj.views.ranking(batch_id)
            asked = {one.sequence: one for one in await cj.views.comparisons(batch_id)}
            path = await cj.views.fits(batch_id)
        audits = [one for one in asked.values() if one.audit_of is not None]
        plans.append([(one.first, one.second, one.judge, one.audit_of) for one in asked.values()])
        assert batch.decided == batch.planned == 90
        assert len(audits) == 3  # of 80 verdicts that waves were planned from, but for rounding
        for audit in audits:
            original = asked[audit.audit_of or 0]
            assert (original.first, original.second) == (audit.second, audit.first)
            assert (original.judge, original.audit_of) == (audit.judge, None)
            assert original.wave <= audit.wave - 2
        assert len({one.audit_of for one in audits}) == len(audits)
        assert sum(row.comparisons for row in rows) == 2 * (batch.decided - len(audits))
        assert path[-1].verdicts == batch.decided - len(audits)
    assert plans[0] == plans[1]


async def test_where_every_pair_can_be_asked_no_audit_takes_the_place_of_one(place: Place) -> None:
    found = {}
    async with cj_on(place, ScriptedProvider()) as cj:
        for per_essay in (7, 9):
            new = batch_of(8, comparisons_per_essay=per_essay)
            batch = await cj.finish(await cj.workflow.create(new, start=True))
            comparisons = await cj.views.comparisons(batch.id)
            pairs = {frozenset((one.first, one.second)) for one in comparisons}
            found[per_essay] = (len(pairs), batch.decided, batch.stop_reason)
    assert found == {7: (28, 28, "comparisons_spent"), 9: (28, 29, "no_pairs_left")}


async def test_without_a_share_of_audits_no_pair_is_asked_twice(place: Place) -> None:
    async with cj_on(place, ScriptedProvider()) as cj:
        new = batch_of(20, comparisons_per_essay=8, audit_share=0.0)
        batch = await cj.finish(await cj.workflow.create(new, start=True))
        comparisons = await cj.views.comparisons(batch.id)
    assert len({frozenset((one.first, one.second)) for one in comparisons}) == batch.planned == 80


async def test_a_finished_batch_goes_on_for_the_comparisons_that_are_added(place: Place) -> None:
    provider = ScriptedProvider()
    async with cj_on(place, provider) as cj:
        batch_id = await cj.workflow.create(
            batch_of(14, comparisons_per_essay=13, target_reliability=0.5), start=True
        )
        before = await cj.finish(batch_id)
        assert before.stop_reason == "reliability_reached"
        added = await cj.workflow.add(batch_id, 12, beyond=before.planned)
        assert (added.state, added.stop_reason) == (BatchState.RUNNING, None)
        after = await cj.finish(batch_id)
        again = await cj.workflow.add(batch_id, 12, beyond=before.planned)
        comparisons = await cj.views.comparisons(batch_id)
        path = await cj.views.fits(batch_id)
    assert (after.decided, after.stop_reason) == (before.decided + 12, "comparisons_spent")
    assert again == after
    assert path[-1].wave == after.waves == after.fitted_wave
    pairs = [frozenset((one.first, one.second)) for one in comparisons if one.audit_of is None]
    assert len(set(pairs)) == len(pairs)


def has_sent(provider: ScriptedProvider, number: int) -> Callable[[Batch], bool]:
    return lambda _: len(provider.requests) == number


async def test_what_is_added_depends_on_the_seed_and_not_on_when_results_arrive_or_processes_end(
    place: Place,
) -> None:
    plans = []
    for name, restarts in (("straight", False), ("restarted", True)):
        own = place.beside(name)
        silent = ScriptedProvider(queued)
        async with cj_on(own, ScriptedProvider()) as cj:
            batch_id = await cj.workflow.create(batch_of(10, comparisons_per_essay=3), start=True)
            await cj.finish(batch_id)
        if restarts:
            async with cj_on(own, silent) as cj:
                await cj.workflow.add(batch_id, 14)
                await cj.until(batch_id, has_sent(silent, 10))
                for request in reversed(silent.requests[:7]):
                    await cj.deliver(request, batch_id)
        async with cj_on(own, ScriptedProvider()) as cj:
            if not restarts:
                await cj.workflow.add(batch_id, 14)
            await cj.finish(batch_id)
            plans.append(
                [(c.first, c.second, c.wave, c.audit_of) for c in await cj.views.comparisons(batch_id)]
            )
    assert plans[0] == plans[1]
    assert len(plans[0]) == 29


async def test_to_a_batch_that_cannot_go_on_nothing_is_added_and_it_says_why(place: Place) -> None:
    async with cj_on(place, ScriptedProvider()) as cj:
        ready = await cj.workflow.create(batch_of(4), start=False)
        with pytest.raises(Conflict, match="is ready"):
            await cj.workflow.add(ready, 5)
        every = await cj.workflow.create(batch_of(4), start=True)
        batch = await cj.finish(every)
        with pytest.raises(Conflict, match="Every pair"):
            await cj.workflow.add(every, 5)
        with pytest.raises(Conflict, match="6 comparisons by now, not 4"):
            await cj.workflow.add(every, 5, beyond=4)
        poor = await cj.workflow.create(batch_of(8, budget_usd=0.04, comparisons_per_essay=7), start=True)
        assert (await cj.finish(poor)).stop_reason == "budget_spent"
        with pytest.raises(Conflict, match="budget"):
            await cj.workflow.add(poor, 5)
        with pytest.raises(NotFound):
            await cj.workflow.add(UUID(int=1), 5)
    assert batch.planned == 6
