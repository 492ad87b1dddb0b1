"""Races inside the provider: who answers, who is told, and how often the judge is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

import anyio
from anyio.abc import TaskStatus

from app.contracts import ComparisonQueued, LLMComparisonRequest, LLMComparisonResponse
from app.errors import JuxtaError
from app.provider.circuit_breaker import BreakerState
from app.provider.judges.protocol import Verdict
from tests.provider.provider_world import comparison

from .stage import DIRECT, DRAIN, LANE, LEASE, PATIENCE, QUEUED, Provider, Stage, monotonic

Told = LLMComparisonResponse | ComparisonQueued | JuxtaError


async def ask(provider: Provider, request: LLMComparisonRequest, told: list[Told]) -> None:
    """A POST; what the asker hears of it."""
    try:
        told.append(await provider.orchestrator.compare(request))
    except JuxtaError as error:
        told.append(error)


def is_true(stage: Stage, told: Sequence[Told]) -> None:
    """What the askers of one request were told came true, in one outcome, with the same event in every copy."""
    rows = stage.requests()
    assert len(rows) == 1, f"{len(rows)} rows for one request"
    ((state, reply, outcome, _),) = rows
    assert (state, outcome) == ("published", "succeeded"), f"it ended as {state} {outcome}"
    events = {(record.id, record.body) for record in stage.published}
    assert len(events) <= 1, f"{len(events)} different events"
    if any(isinstance(one, ComparisonQueued) for one in told):
        assert events, "a callback was promised and never came"
    if reply == "response":
        assert not events, "both a 200 and a callback"
    verdicts = {one.justification for one in told if isinstance(one, LLMComparisonResponse)}
    verdicts |= {result.justification for result in stage.results() if result.justification}
    assert len(verdicts) <= 1, "two verdicts for one request"


async def patience_and_answer(stage: Stage) -> None:
    """The asker stops waiting while the judge answers."""
    request, told = comparison(), list[Told]()
    async with stage.provider("p") as provider:
        stage.gates.stop("judge", provider.judge, after=["compare"])
        stage.gates.stop(
            "call", provider.queue, "accept", "store", "promise_callback", after=["accept", "store"]
        )
        stage.gates.stop("closer", provider.queue, "mark_published")
        stage.gates.stop("closer", provider.bus, "publish")
        await stage.gates.race(
            lambda: ask(provider, request, told), lambda: stage.pass_by(PATIENCE, "patience ends")
        )
        await stage.until(stage.owes_nothing)
    if isinstance(told[0], LLMComparisonResponse | ComparisonQueued):
        is_true(stage, told)
    else:  # patience ended before the ledger had the row: nothing was promised
        assert told[0].retryable
    assert len(stage.calls) <= 1


async def twin_posts(stage: Stage) -> None:
    """The same request twice at once, in one process and in another."""
    request, told = comparison(), list[Told]()
    async with stage.provider("p") as first, stage.provider("q", alone=False) as second:
        for name, provider in (("p", first), ("q", second)):
            stage.gates.stop(name, provider.queue, "accept", "store", "promise_callback")
            stage.gates.stop(name, provider.judge, after=["compare"])
        await stage.gates.race(
            lambda: ask(first, request, told),
            lambda: ask(first, request, told),
            lambda: ask(second, request, told),
        )
        await stage.until(stage.owes_nothing)
    assert all(isinstance(one, LLMComparisonResponse | ComparisonQueued) for one in told), told
    is_true(stage, told)
    assert len(stage.calls) == 1, f"the judge was asked {len(stage.calls)} times"


async def lease_expiry_and_slow_worker(stage: Stage) -> None:
    """A judge takes longer than the lease, whose worker cannot extend it; another worker takes the row over."""
    request, told = comparison(), list[Told]()
    async with stage.provider("p", limits=QUEUED) as slow:
        slow.queue.extend = _no_extension  # type: ignore[method-assign, assignment]
        async with stage.provider("q", limits=QUEUED, works=True, alone=False) as fast:
            fast.queue.extend = _no_extension  # type: ignore[method-assign, assignment]
            for name, provider in (("p", slow), ("q", fast)):
                stage.gates.stop(name, provider.judge, after=["compare"])
                stage.gates.stop(name, provider.queue, "store", "mark_published")
                stage.gates.stop(name, provider.bus, "publish")
            await stage.gates.race(
                lambda: ask(slow, request, told), lambda: stage.pass_by(LEASE + 1, "the lease runs out")
            )
            await stage.until(stage.owes_nothing)
    is_true(stage, told)
    assert len(stage.calls) <= 2, f"the judge was asked {len(stage.calls)} times"


async def _no_extension(*_: object) -> None:
    """The word of a process that hangs does not arrive."""


async def two_relays(stage: Stage) -> None:
    """Two processes publish what is answered; the lease of one runs out meanwhile."""
    request, told = comparison(), list[Told]()
    async with stage.provider("p", limits=QUEUED) as first:
        first.queue.mark_published = _no_extension  # type: ignore[method-assign, assignment]
        await ask(first, request, told)
        await stage.until(lambda: stage.published)
    stage.published.clear()
    async with stage.provider("p", alone=False) as first, stage.provider("q", alone=False) as second:
        for name, provider in (("p", first), ("q", second)):
            stage.gates.stop(name, provider.queue, "mark_published")
            stage.gates.stop(name, provider.bus, "publish")

        async def time_passes() -> None:
            stage.advance(LEASE + 1)  # the lease of the life before
            await stage.pass_by(LEASE + 1, "the lease runs out")

        await stage.gates.race(time_passes)
        await stage.until(stage.owes_nothing)
    is_true(stage, told)
    assert 1 <= len(stage.published) <= 2, (
        f"published {len(stage.published)} times for one lease that ran out"
    )
    assert len(stage.calls) == 1


async def half_open_and_many(stage: Stage) -> None:
    """The cool-down of a breaker ends while several requests come in."""
    asked, told = [comparison() for _ in range(3)], list[Told]()
    async with stage.provider("p", limits=DIRECT) as provider:
        breaker, judge = provider.lanes[LANE].breaker, provider.judge
        breaker.fail(breaker.begin(monotonic()), monotonic())
        probes, most = 0, [0]

        async def counted(request: LLMComparisonRequest) -> Verdict:
            nonlocal probes
            half_open = breaker.state(monotonic()) is not BreakerState.CLOSED
            probes += half_open
            most.append(probes)
            try:
                return await compare(request)
            finally:
                probes -= half_open

        stage.gates.stop("judge", judge, after=["compare"])
        compare, judge.compare = judge.compare, counted  # type: ignore[method-assign]
        stage.gates.stop("call", provider.queue, "accept")
        await stage.gates.race(
            *(partial(ask, provider, request, told) for request in asked),
            lambda: stage.pass_by(1.1, "the cool-down ends"),
        )
        await stage.until(stage.owes_nothing)
    assert max(most) <= 1, "a second call of a judge whose first test is under way"
    assert all(isinstance(one, LLMComparisonResponse | ComparisonQueued) for one in told), told
    assert Counter(stage.calls) == Counter(request.correlation_id for request in asked)


async def shutdown_and_accept(stage: Stage) -> None:
    """The process is told to stop while a request comes in; the next life ends what this one promised."""
    request, told = comparison(), list[Told]()
    stop = anyio.Event()

    async def live(*, task_status: TaskStatus[Provider]) -> None:
        async with stage.provider("p") as provider:
            task_status.started(provider)
            await stop.wait()

    async def tell_to_stop() -> None:
        await stage.gates.at("told to stop")
        stop.set()
        await stage.pass_by(DRAIN + 1, "the drain time ends")

    async with anyio.create_task_group() as life:
        provider = await life.start(live)
        stage.gates.stop("call", provider.queue, "accept", "store", "promise_callback", "release")
        stage.gates.stop("judge", provider.judge, after=["compare"])
        await stage.gates.race(partial(ask, provider, request, told), tell_to_stop)
    async with stage.provider("p"):
        await stage.until(stage.owes_nothing)
    if isinstance(told[0], JuxtaError):
        assert told[0].retryable, f"{told[0]!r} for a request that may be sent again"
    else:
        is_true(stage, told)
    assert len(stage.calls) <= 2
