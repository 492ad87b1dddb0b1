"""What was spent: each call once, summed by day, asker and model, on both databases; and outcomes that tell all of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import date
from functools import partial
from pathlib import Path
from uuid import uuid4

import anyio
import pytest
from sqlalchemy import Connection

from app.contracts import LLMComparisonResponse, Outcome
from app.database import Database, SqliteDatabase
from app.database.postgresql import PostgresDatabase
from app.errors import JudgeFailed
from app.provider.judges.protocol import JudgeError, Spent
from app.provider.judging import RetryPolicy
from app.provider.queue.protocol import Lease, QueuedRequest, Reply
from app.provider.spending import DAY, Paid, Spending
from tests import engines
from tests.provider.provider_world import DOWN, MIGRATIONS, World, comparison, until

pytestmark = pytest.mark.anyio

NOON = 1_795_608_000.0  # 2026-11-25, in UTC
QUICK = RetryPolicy(tries=3, base=0.01, cap=0.01)
SPENT = Spent(calls=1, prompt_tokens=1000, cached_tokens=600, completion_tokens=50, cost_usd=0.25)


class Clock:
    now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["sqlite", "postgresql"])
async def doors(
    request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str
) -> AsyncIterator[Callable[[], Database]]:
    """Makes another process's way to one database."""
    if request.param == "sqlite":
        yield lambda: SqliteDatabase(tmp_path / "provider.db", migrations=MIGRATIONS, synchronous="OFF")
    else:
        url = engines.postgresql().create(f"t{uuid4().hex}")
        yield lambda: PostgresDatabase(url, "juxta_provider", migrations=MIGRATIONS)


@pytest.fixture
async def spending(doors: Callable[[], Database]) -> AsyncIterator[Spending]:
    async with doors() as database:
        yield Spending(database, clock=Clock())


def lease(lane: str = "openai/gpt", principal: str = "ann", place: int = 1) -> Lease:
    request = QueuedRequest(
        queue_id=uuid4(),
        correlation_id=uuid4(),
        principal=principal,
        lane=lane,
        body=b"",
        fingerprint=b"",
        callback_topic=None,
        callback_key="k",
    )
    return Lease(request=request, place=place, attempt=1, tries=1, reply=Reply.CALLBACK, accepted_at=NOON)


async def test_a_call_is_counted_once_however_often_it_is_written_down(spending: Spending) -> None:
    one = lease()
    for _ in range(3):
        await spending.record(one, 1, SPENT, verdict=True)
    (row,) = (await spending.report(1)).rows
    assert row.model_dump() == {
        "day": date(2026, 11, 25),
        "principal": "ann",
        "provider": "openai",
        "model": "gpt",
        "calls": 1,
        "verdicts": 1,
        "prompt_tokens": 1000,
        "cached_tokens": 600,
        "completion_tokens": 50,
        "cost_usd": 0.25,
        "unpriced": 0,
    }


async def test_days_askers_and_models_are_kept_apart_and_the_latest_day_comes_first(
    doors: Callable[[], Database],
) -> None:
    clock = Clock()
    async with doors() as database:
        spending = Spending(database, clock=clock)
        for lane, who in (("openai/gpt", "ann"), ("openai/vendor/gpt", "ann"), ("google/gem", "bob")):
            await spending.record(lease(lane, who), 1, SPENT, verdict=False)
        clock.now += DAY
        await spending.record(lease(), 1, SPENT, verdict=True)
        rows = [
            (row.day.day, row.principal, row.provider, row.model) for row in (await spending.report(2)).rows
        ]
        assert rows == [
            (26, "ann", "openai", "gpt"),
            (25, "ann", "openai", "gpt"),
            (25, "ann", "openai", "vendor/gpt"),
            (25, "bob", "google", "gem"),
        ]
        assert len((await spending.report(1)).rows) == 1


async def test_a_call_without_a_known_price_is_said_to_be_one(spending: Spending) -> None:
    await spending.record(lease(), 1, SPENT, verdict=True)
    await spending.record(lease(), 1, Spent(calls=2, prompt_tokens=9, cost_usd=None), verdict=True)
    report = await spending.report(1)
    assert [(row.calls, row.unpriced) for row in report.rows] == [(3, 2)]
    assert report.cost_usd == 0.25


async def test_a_request_tells_of_all_its_tries_and_of_no_earlier_life(spending: Spending) -> None:
    one = lease()
    for tries in (1, 2):
        await spending.record(one, tries, SPENT, verdict=False)
    again = Lease(
        request=one.request, place=2, attempt=1, tries=1, reply=Reply.CALLBACK, accepted_at=NOON + 9 * DAY
    )
    assert await spending.of(one) == Spent(
        calls=2, prompt_tokens=2000, cached_tokens=1200, completion_tokens=100, cost_usd=0.5
    )
    assert (await spending.of(again)).calls == 0


async def test_sums_outlive_the_single_calls(doors: Callable[[], Database]) -> None:
    clock = Clock()
    async with doors() as database:
        spending = Spending(database, retention=DAY, clock=clock)
        one = lease()
        await spending.record(one, 1, SPENT, verdict=True)
        clock.now += DAY + 1
        await spending.purge()
        assert (await spending.of(one)).calls == 0
        assert (await spending.report(2)).cost_usd == 0.25


async def test_the_clock_is_the_database_s_so_that_no_machine_forgets_what_is_new_to_the_others(
    tmp_path: Path,
) -> None:
    class Elsewhen(SqliteDatabase):
        moment = 1_000_000_000.0  # 2001-09-09, in UTC

        def now(self, connection: Connection) -> float:
            return self.moment

    async with Elsewhen(tmp_path / "provider.db", migrations=MIGRATIONS, synchronous="OFF") as database:
        spending, one = Spending(database, retention=DAY), lease()
        await spending.record(one, 1, SPENT, verdict=True)
        database.moment += DAY
        await spending.purge()
        assert (await spending.of(one)).calls == 1
        assert [row.day for row in (await spending.report(2)).rows] == [date(2001, 9, 9)]
        database.moment += 1
        await spending.purge()
        assert (await spending.of(one)).calls == 0


async def test_processes_that_write_at_once_lose_nothing_and_never_wait_in_a_circle(
    doors: Callable[[], Database],
) -> None:
    lanes = ["openai/a", "openai/b", "google/c"]
    async with AsyncExitStack() as stack:
        both = [Spending(await stack.enter_async_context(doors()), clock=Clock()) for _ in range(2)]
        async with anyio.create_task_group() as writers:
            for at, spending in enumerate(both):
                for lane in (lanes if at else lanes[::-1]) * 20:
                    writers.start_soon(partial(spending.record, lease(lane), 1, SPENT, verdict=True))
        rows = (await both[0].report(1)).rows
    assert {row.model: row.calls for row in rows} == dict.fromkeys("abc", 40)


def paid(code: str, *, retryable: bool) -> JudgeError:
    error = JudgeError(code, "No verdict.", retryable=retryable, cost_usd=0.25)
    error.spent = SPENT
    return error


async def test_a_verdict_tells_of_the_tries_that_failed_before_it(tmp_path: Path) -> None:
    async with World(tmp_path / "provider.db", spends=True, retry=QUICK, patience=0) as world:
        world.judge.script += [paid("timeout", retryable=True), DOWN]
        world.judge.spends = SPENT
        await world.orchestrator.compare(comparison())
        await until(lambda: world.outcomes)
        (outcome,) = world.outcomes
        assert (outcome.status, outcome.attempts, outcome.cost_usd) == (Outcome.SUCCEEDED, 3, 0.5)
        assert outcome.token_usage.total_tokens == 2 * SPENT.tokens
        assert (await world.spending.report(1)).cost_usd == 0.5


async def test_who_waits_on_the_line_is_told_of_them_too(tmp_path: Path) -> None:
    async with World(tmp_path / "provider.db", spends=True, retry=QUICK) as world:
        world.judge.script.append(paid("timeout", retryable=True))
        world.judge.spends = SPENT
        answer = await world.orchestrator.compare(comparison(callback_topic=None))
        assert isinstance(answer, LLMComparisonResponse)
        assert answer.cost_usd == 0.5


async def test_a_failure_costs_what_all_its_tries_cost(tmp_path: Path) -> None:
    async with World(tmp_path / "provider.db", spends=True, retry=QUICK) as world:
        world.judge.script += [paid("timeout", retryable=True), paid("malformed", retryable=False)]
        asked = comparison(callback_topic=None)
        with pytest.raises(JudgeFailed):
            await world.orchestrator.compare(asked)
        (row,) = (await world.spending.report(1)).rows
        assert (row.calls, row.verdicts, row.cost_usd) == (2, 0, 0.5)


async def test_tries_that_fail_and_cost_money_end_with_the_second_though_more_are_allowed(
    tmp_path: Path,
) -> None:
    retry = RetryPolicy(tries=5, base=0.01, cap=0.01)
    async with World(tmp_path / "provider.db", spends=True, retry=retry, patience=0) as world:
        world.judge.script += [DOWN, paid("unavailable", retryable=True)]
        world.judge.script += [paid("unavailable", retryable=True)] * 2
        for _ in range(2):
            await world.orchestrator.compare(comparison())
            await until(lambda: not world.lanes["scripted:plain"].running)
        await until(lambda: len(world.outcomes) == 2)
        assert [outcome.status for outcome in world.outcomes] == [Outcome.FAILED] * 2
        assert sorted(outcome.cost_usd for outcome in world.outcomes) == [0.25, 0.5]
        assert len(world.judge.calls) == 4


@pytest.mark.parametrize("spends", [True, False], ids=["written down", "nobody writes"])
async def test_a_comparison_that_expires_within_its_call_tells_what_was_paid(
    tmp_path: Path, *, spends: bool
) -> None:
    async with World(tmp_path / "provider.db", spends=spends, patience=0) as world:
        world.judge.script.append(paid("expired", retryable=False))
        await world.orchestrator.compare(comparison())
        await until(lambda: world.outcomes)
        (outcome,) = world.outcomes
        assert (outcome.status, outcome.cost_usd) == (Outcome.EXPIRED, 0.25)
        assert outcome.token_usage.total_tokens == SPENT.tokens
        assert world.lanes["scripted:plain"].status(0).breaker == "closed"


async def test_judges_that_use_up_nothing_leave_no_trace(tmp_path: Path) -> None:
    async with World(tmp_path / "provider.db", spends=True) as world:
        await world.orchestrator.compare(comparison())
        assert (await world.spending.report(1)).rows == ()


async def test_what_ended_within_the_last_minute_is_told_by_lane(doors: Callable[[], Database]) -> None:
    clock = Clock()
    async with doors() as database:
        spending = Spending(database, clock=clock)
        await spending.record(lease(), 1, SPENT, verdict=True)
        clock.now = NOON + 60
        await spending.record(lease(place=2), 1, SPENT, verdict=False, seconds=4.0)
        clock.now = NOON + 70
        found = await Spending(database, clock=clock).recent(seconds=65.0)
    assert found == {"openai/gpt": [Paid(14.0, 10.0, SPENT.calls, SPENT.tokens)]}
