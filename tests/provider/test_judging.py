"""One call of a judge: whose fault is whose, and which leases are kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import anyio
import pytest

from app.contracts import LLMComparisonRequest, LLMComparisonResponse, Outcome
from app.provider import outcomes
from app.provider.judges.protocol import Verdict
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
