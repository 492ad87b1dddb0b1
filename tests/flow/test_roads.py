"""The road does not matter: answered at once, queued, impatient or through a broken judge, the scores are the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import anyio
import pytest

from app.contracts import LLMComparisonRequest
from app.provider.judges.protocol import JudgeError

from .house import LANE, HeldJudge, House, batch_of, house_in, until
from .installations import SHARED

pytestmark = pytest.mark.anyio

WIDE = ("judges.simulated.concurrency=200", "judges.simulated.direct_concurrency=200")
NO_DOOR = ("judges.simulated.direct_concurrency=0",)
PAIRS = 30


@pytest.fixture(params=["embedded", *SHARED])
def engines(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The road does not matter on any engine, nor does the engine."""
    return SHARED[request.param]() if request.param in SHARED else ()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float | None]:
    """The scores that every road must lead to, found once in a house as it is shipped."""

    async def run() -> dict[str, float | None]:
        async with house_in(tmp_path_factory.mktemp("expected"), HeldJudge()) as house:
            return (await ranked(house))[0]

    return anyio.run(run)


async def ranked(house: House) -> tuple[dict[str, float | None], Mapping[str, int]]:
    batch_id = await house.workflow.create(batch_of(), start=True)
    batch = await house.finish(batch_id)
    assert (batch.decided, batch.failed) == (PAIRS, 0)
    return await house.scores(batch_id), await house.roads(batch_id)


def same(found: dict[str, float | None], expected: dict[str, float | None]) -> bool:
    assert None not in expected.values()
    assert len(set(expected.values())) == len(expected)
    return found == pytest.approx(expected, abs=1e-9)


async def test_answered_on_the_request_every_time(
    tmp_path: Path, engines: tuple[str, ...], expected: dict[str, float | None]
) -> None:
    judge = HeldJudge()
    async with house_in(tmp_path, judge, *engines, *WIDE) as house:
        scores, roads = await ranked(house)
    assert roads == {"response": PAIRS}
    assert len(judge.calls) == len(set(judge.calls)) == PAIRS
    assert same(scores, expected)


async def test_queued_and_called_back_every_time(
    tmp_path: Path, engines: tuple[str, ...], expected: dict[str, float | None]
) -> None:
    judge = HeldJudge()
    async with house_in(tmp_path, judge, *engines, *NO_DOOR) as house:
        scores, roads = await ranked(house)
    assert roads == {"callback": PAIRS}
    assert len(judge.calls) == len(set(judge.calls)) == PAIRS
    assert same(scores, expected)


async def test_no_patience_with_a_judge_that_takes_a_moment(
    tmp_path: Path, engines: tuple[str, ...], expected: dict[str, float | None]
) -> None:
    async def think(request: LLMComparisonRequest) -> None:
        await anyio.sleep(0.02)

    judge = HeldJudge(think)
    async with house_in(tmp_path, judge, *engines, *WIDE, "provider.patience=0") as house:
        scores, roads = await ranked(house)
    assert roads == {"callback": PAIRS}
    assert len(judge.calls) == len(set(judge.calls)) == PAIRS
    assert same(scores, expected)


async def test_the_breaker_tripped_by_hand_half_way(
    tmp_path: Path, engines: tuple[str, ...], expected: dict[str, float | None]
) -> None:
    house: House

    async def trip(request: LLMComparisonRequest) -> None:
        if len(judge.calls) == PAIRS // 2:
            house.lane.breaker.trip("a test")

    judge = HeldJudge(trip)
    async with house_in(tmp_path, judge, *engines, *WIDE) as house, anyio.create_task_group() as mechanic:

        async def mend() -> None:
            await until(lambda: house.queue.waiting(LANE))
            judge.before = None
            house.lane.breaker.reset("a test")
            house.lane.freed()

        mechanic.start_soon(mend)
        scores, roads = await ranked(house)
    assert roads.keys() == {"response", "callback"}
    assert sum(roads.values()) == PAIRS
    assert len(judge.calls) == len(set(judge.calls)) == PAIRS
    assert same(scores, expected)


async def test_a_judge_that_fails_for_a_while_and_trips_the_breaker(
    tmp_path: Path, engines: tuple[str, ...], expected: dict[str, float | None]
) -> None:
    house: House
    breaker_seen_open = False
    failures = 0

    async def fail_for_a_while(request: LLMComparisonRequest) -> None:
        nonlocal failures, breaker_seen_open
        if len(judge.calls) > PAIRS // 2 and failures < 4:
            failures += 1
            raise JudgeError("unavailable", "down", retryable=True, trips=True)
        breaker_seen_open = breaker_seen_open or "half-open" in house.lane.status(0).breaker

    judge = HeldJudge(fail_for_a_while)
    async with house_in(
        tmp_path, judge, *engines, *WIDE, "breaker.failures=3", "breaker.cooldown=0.05"
    ) as house:
        scores, roads = await ranked(house)
    assert breaker_seen_open
    assert roads["response"] >= PAIRS // 2
    assert roads["callback"] >= failures - 1
    assert sum(roads.values()) == PAIRS
    assert len(judge.calls) == PAIRS + failures
    assert same(scores, expected)
