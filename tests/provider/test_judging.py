"""One call of a judge: whose fault is whose, and which leases are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from app.contracts import LLMComparisonRequest, LLMComparisonResponse, Outcome
from app.provider import outcomes
from app.provider.judges.protocol import Spent, Verdict
from app.provider.lane import LaneLimits
from app.provider.queue.protocol import Lease
from tests.provider.provider_world import World, comparison, until

pytestmark = pytest.mark.anyio


async def born(world: World) -> Lease:
    """A lease on a row that its asker waits for."""
    world.judge.shut()
    kept = world.orchestrator._judging._kept
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.orchestrator.compare, comparison())
        await until(lambda: kept)
        ((lease, _),) = kept.values()
        world.judge.open()
    return lease


async def test_the_end_of_an_earlier_attempt_leaves_the_later_one_kept(world: World) -> None:
    judging, earlier = world.orchestrator._judging, await born(world)
    later = replace(earlier, attempt=earlier.attempt + 1)
    judging.keep(earlier)
    judging.keep(later)
    judging.drop(earlier)
    assert [lease.attempt for lease, _ in judging._kept.values()] == [later.attempt]


async def test_a_bug_of_ours_is_not_laid_at_the_door_of_the_judge(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("ours")

    lease = await born(world)
    lane = world.lanes["scripted:plain"]
    slot = lane.take_direct(0)
    assert slot is not None
    monkeypatch.setattr(outcomes, "succeeded", broken)
    with pytest.raises(ZeroDivisionError):
        await world.orchestrator._judging.call(lease, slot)
    assert slot._open, "neither a success nor a failure of the judge"
    slot.give_back()


async def test_a_verdict_beyond_its_bounds_costs_the_judge_a_try_and_not_the_process(world: World) -> None:
    compare = world.judge.compare

    async def sure(request: LLMComparisonRequest) -> Verdict:
        return replace(await compare(request), confidence=1.5 if len(world.judge.calls) == 1 else 0.5)

    world.judge.compare = sure  # type: ignore[method-assign]
    request = comparison()
    assert not isinstance(await world.orchestrator.compare(request), LLMComparisonResponse)
    await until(lambda: world.received)
    assert [(outcome.status, outcome.attempts) for outcome in world.outcomes] == [(Outcome.SUCCEEDED, 2)]


@pytest.mark.parametrize("direct", [0, 2])
async def test_a_call_whose_tokens_do_not_fit_waits_for_the_minute_and_costs_no_try(
    tmp_path: Path, direct: int
) -> None:
    limits = LaneLimits(concurrency=2, direct_concurrency=direct, tokens_per_minute=100, period=0.5)
    async with World(tmp_path / "provider.db", limits=limits, patience=0) as world:
        world.judge.weight = 60
        world.judge.spends = Spent(calls=1, prompt_tokens=50, completion_tokens=10)
        for _ in range(3):
            await world.orchestrator.compare(comparison())
        await until(lambda: world.outcomes)
        assert len(world.judge.calls) == 1
        await until(lambda: len(world.outcomes) == 3)
        assert [outcome.attempts for outcome in world.outcomes] == [1, 1, 1]
        assert world.judge.most_at_once == 1
