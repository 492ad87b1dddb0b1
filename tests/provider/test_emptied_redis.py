"""Redis comes back empty while requests are judged: nobody is promised what nobody owes, and a repeat repairs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import anyio
import pytest
from redis import Redis as Client

from app.contracts import ComparisonQueued, LLMComparisonRequest, LLMComparisonResponse, Outcome
from app.errors import JuxtaError, StoreUnavailable
from app.provider.lane import LaneLimits
from app.provider.queue.redis import RedisQueue
from tests.engines import Redis
from tests.provider.provider_world import DOWN, World, comparison, until

pytestmark = pytest.mark.anyio


class Ledger(RedisQueue):
    def __init__(self, url: str) -> None:
        self.url, self.mine = url, f"{{{uuid4().hex}}}:"
        super().__init__(url, boot=uuid4().hex, prefix=self.mine)

    def empty(self) -> None:
        with Client.from_url(self.url) as client:
            client.delete(*client.keys(f"{self.mine}*"))


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    return Ledger(redis.url)


async def told(world: World, request: LLMComparisonRequest, meanwhile: Callable[[], None]) -> object:
    """What the asker hears when this happens while the judge thinks."""
    answers: list[object] = []

    async def ask() -> None:
        try:
            answers.append(await world.orchestrator.compare(request))
        except JuxtaError as error:
            answers.append(error)

    world.judge.shut()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await until(lambda: request.correlation_id in world.judge.calls)
        meanwhile()
        world.judge.open()
    return answers[0]


@pytest.mark.parametrize("fails", [False, True])
async def test_who_waits_for_an_answer_is_not_promised_a_callback_that_nobody_owes(
    tmp_path: Path, ledger: Ledger, *, fails: bool
) -> None:
    async with World(tmp_path / "p.db", ledger=ledger) as world:
        request = comparison()
        if fails:
            world.judge.script.append(DOWN)
        error = await told(world, request, ledger.empty)
        assert isinstance(error, StoreUnavailable)
        assert isinstance(await world.orchestrator.compare(request), LLMComparisonResponse)
        assert world.received == []


async def test_a_worker_lives_through_it_and_the_repeat_is_answered_once(
    tmp_path: Path, ledger: Ledger
) -> None:
    async with World(tmp_path / "p.db", ledger=ledger, limits=LaneLimits(direct_concurrency=0)) as world:
        request = comparison()
        world.judge.shut()
        assert isinstance(await world.orchestrator.compare(request), ComparisonQueued)
        await until(lambda: world.judge.calls)
        ledger.empty()
        world.judge.open()
        await until(lambda: world.processor.counts.lost)
        assert isinstance(await world.orchestrator.compare(request), ComparisonQueued)
        await until(lambda: world.received)
        assert [outcome.status for outcome in world.outcomes] == [Outcome.SUCCEEDED]


async def test_a_process_that_stops_just_then_stops_in_peace(tmp_path: Path, ledger: Ledger) -> None:
    heard: list[JuxtaError] = []

    async def ask(world: World) -> None:
        try:
            await world.orchestrator.compare(comparison())
        except JuxtaError as error:
            heard.append(error)

    async with (
        anyio.create_task_group() as tasks,
        World(tmp_path / "p.db", ledger=ledger, drain=0.05, patience=60.0) as world,
    ):
        world.judge.shut()
        tasks.start_soon(ask, world)
        await until(lambda: world.judge.calls)
        ledger.empty()
        await world._stack.aclose()
    assert len(heard) == 1
