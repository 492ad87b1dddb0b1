"""The whole flow in one process: pairs planned, asked, judged, answered, recorded, scored; every step durable.

The house is the real one, on a folder on disk, as `python run.py` starts it (SQLite with synchronous=FULL, bus in
memory, provider in the same process). Only the judge is replaced, and only three settings: how many calls may run at
once, how many of these answer 200, and how many POSTs cj has under way.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import exp
from statistics import quantiles
from uuid import UUID, uuid4
from zlib import crc32

import punq
import uvloop

from app import collector
from app.cj.batch import BatchSettings, NewBatch, NewEssay
from app.cj.store import BatchStore
from app.cj.workflow import Workflow
from app.container import bootstrap, running
from app.contracts import ComparisonQueued, JudgeKind, LLMComparisonRequest, LLMConfigOverrides, Winner
from app.provider.judges.protocol import Verdict
from app.provider.orchestrator import LLMOrchestrator
from app.settings import load
from benchmarks.result import Result

IN_FLIGHT = 2048
BATCHES, ESSAYS, EACH = 10, 100, 10
LEAST = 2000
LONE_REQUESTS, IDLE = 300, 0.01
LONGEST_WAKE_UP = 0.010
SLOTS, LATENCY, CALLS = 50, 0.2, 1500
NOBODY = "benchmark.nobody.v1"
WORDS = "The sea is deep because rivers never stop bringing water to it. " * 28
JUDGE = LLMConfigOverrides(provider="rules", model="dice")


class Dice:
    """A judge as the Bradley-Terry model has it, after `latency` seconds; the same texts get the same verdict."""

    kind = JudgeKind.RULES

    def __init__(self, latency: float = 0.0) -> None:
        self.latency = latency

    def check(self, request: LLMComparisonRequest) -> None: ...

    def lane(self, overrides: LLMConfigOverrides) -> str:
        return f"{overrides.provider}/{overrides.model}"

    async def compare(self, request: LLMComparisonRequest) -> Verdict:
        if self.latency:
            await asyncio.sleep(self.latency)
        lead = _worth(request.essay_a) - _worth(request.essay_b)
        draw = crc32(request.essay_b.encode(), crc32(request.essay_a.encode())) / 2**32
        return Verdict(
            winner=Winner.ESSAY_A if draw < 1 / (1 + exp(-lead)) else Winner.ESSAY_B,
            confidence=0.75,
            justification="The first word of an essay is its worth; the checksum of the two texts is the noise.",
            provider="rules",
            model="dice",
            judge_kind=self.kind,
        )


class ClockedDice(Dice):
    """Remembers when each call began."""

    def __init__(self, latency: float = 0.0) -> None:
        super().__init__(latency)
        self.called_at: dict[UUID, float] = {}
        self.called = asyncio.Event()

    async def compare(self, request: LLMComparisonRequest) -> Verdict:
        self.called_at[request.correlation_id] = time.perf_counter()
        self.called.set()
        return await super().compare(request)


def _worth(essay: str) -> float:
    return float(essay.partition(" ")[0])


def run() -> list[Result]:
    """Both roads, the wake-up, and the slots."""
    return [
        uvloop.run(whole_flow("all direct", direct=IN_FLIGHT)),
        uvloop.run(whole_flow("all queued", direct=0)),
        uvloop.run(wake_up()),
        uvloop.run(busy_slots()),
    ]


async def whole_flow(road: str, *, direct: int) -> Result:
    """Comparisons per second from the first plan to the last score."""
    async with house(Dice(), concurrency=IN_FLIGHT, direct=direct) as container:
        await finish(container, batch(20, 10, seed=99))
        began = time.perf_counter()
        await finish(container, *(batch(ESSAYS, EACH, seed=n) for n in range(BATCHES)))
        seconds = time.perf_counter() - began
    rate = BATCHES * ESSAYS * EACH / 2 / seconds
    return Result(f"whole flow, {road}", rate, LEAST, "comparisons/s", 1.0)


async def wake_up() -> Result:
    """From the 202 to the judge's call, for requests that come alone, as wake-ups a second at the 99th percentile."""
    judge = ClockedDice()
    seconds: list[float] = []
    async with house(
        judge, f'provider.topics=["{topic()}","{NOBODY}"]', concurrency=8, direct=0
    ) as container:
        orchestrator = container.resolve(LLMOrchestrator)
        for number in range(LONE_REQUESTS):
            asked = LLMComparisonRequest(
                user_prompt="Which essay argues better?",
                essay_a=f"1.0 {number} {WORDS}",
                essay_b=f"0.0 {number} {WORDS}",
                callback_topic=NOBODY,
                correlation_id=uuid4(),
                llm_config_overrides=JUDGE,
            )
            assert isinstance(await orchestrator.compare(asked), ComparisonQueued)
            accepted_at = time.perf_counter()
            await judge.called.wait()
            judge.called.clear()
            seconds.append(judge.called_at[asked.correlation_id] - accepted_at)
            await asyncio.sleep(IDLE)
    p99 = quantiles(seconds, n=100)[98]
    name = f"wake-up on an empty queue, p99 {p99 * 1000:.1f} ms of {LONGEST_WAKE_UP * 1000:.0f}"
    return Result(name, 1 / p99, 1 / LONGEST_WAKE_UP, "1/s", 1.0)


async def busy_slots() -> Result:
    """Calls begun per second while there is queued work, against what the slots could begin at most."""
    judge = ClockedDice(LATENCY)
    async with house(judge, concurrency=SLOTS, direct=0) as container:
        await finish(container, batch(200, 2 * CALLS // 200, seed=1))
    begun = sorted(judge.called_at.values())
    first, last = 2 * SLOTS, len(begun) - 3 * SLOTS
    rate = (last - first) / (begun[last] - begun[first])
    return Result(f"{SLOTS} slots, {LATENCY} s a call", rate, SLOTS / LATENCY, "calls/s", 0.95)


@asynccontextmanager
async def house(
    judge: Dice, *assignments: str, concurrency: int, direct: int
) -> AsyncIterator[punq.Container]:
    """A running house of role `all` with this judge."""
    limits = (
        f"judges.rules.concurrency={concurrency}",
        f"judges.rules.direct_concurrency={direct}",
        f"cj.concurrency={IN_FLIGHT}",
    )
    with tempfile.TemporaryDirectory(prefix="juxta-") as folder:
        settings, _ = load(assignments=(f"data={folder}", *limits, *assignments), environment={})
        container = bootstrap(settings)
        container.register("judges", instance={"rules": judge})
        async with running(container):
            collector.spare()  # as the house's own server does
            yield container


def topic() -> str:
    """Where the callbacks of cj go."""
    return load(environment={})[0].cj.callback_topic


def batch(essays: int, each: int, *, seed: int) -> NewBatch:
    """Essays of 1.8 kB; `each` comparisons per essay, since the reliability asked for is out of reach."""
    return NewBatch(
        title="Benchmark",
        question="Which essay argues better?",
        essays=tuple(
            NewEssay(name=f"{n}", text=f"{5 * n / essays:.3f} {seed} {WORDS}") for n in range(essays)
        ),
        settings=BatchSettings(
            judges=(JUDGE,), comparisons_per_essay=each, target_reliability=0.999, seed=seed
        ),
    )


async def finish(container: punq.Container, *batches: NewBatch) -> None:
    """Start these batches and return when all have ended."""
    workflow, store = container.resolve(Workflow), container.resolve(BatchStore)
    for new in batches:
        await workflow.create(new, start=True)
    while await store.running():  # noqa: ASYNC110 - asked so rarely that it costs nothing
        await asyncio.sleep(0.02)


if __name__ == "__main__":
    for result in run():
        print(
            f"{result.name}: {result.ours:,.0f} against {result.floor:,.0f} {result.unit}, "
            f"ratio {result.ratio:.2f} (bar {result.bar})"
        )
