"""The old way beside ours: the same load, whose answers are polled for, or called back over Kafka.

Both ways POST every comparison and get 202. The old way then asks for the status until the request is done, waiting
longer each time, and fetches the verdict; ours waits for the event. The provider and its judge are the same. Added
latency: from the moment the provider stored the verdict until the asker has it.
"""

from __future__ import annotations

import asyncio
import csv
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from statistics import median
from uuid import UUID, uuid4

import aiohttp

from app.bus.kafka import KafkaBus, KafkaConnection
from app.bus.protocol import Record
from app.contracts import EventEnvelope, LLMComparisonRequest, LLMConfigOverrides, LLMOrchestratorResponse
from app.provider.judges.digests import text_sha256
from app.provider.judges.simulated import MODEL, PROVIDER
from benchmarks.result import Result
from tests.engines import kafka
from tests.flow.process import process_on

COMPARISONS = 600
SLOTS, LATENCY = 20, 0.2  # 100 verdicts a second at most
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0  # the old way's: doubled after every look
EAGER_PAUSE = 0.1
WORDS = "The sea is deep because rivers never stop bringing water to it. " * 28
Envelope = EventEnvelope[LLMOrchestratorResponse]


@dataclass
class Ledger:
    """What the askers of one way did and when each knew its verdict."""

    requests: int = 0
    known_at: dict[UUID, float] = field(default_factory=dict)

    def per_comparison(self) -> float:
        return self.requests / len(self.known_at)


Way = Callable[[str, Sequence[LLMComparisonRequest], Ledger], Awaitable[None]]


def run() -> list[Result]:
    """Ours, then the old way twice: patient, and as eager as polling can afford."""
    callback, waited = asyncio.run(measure(by_callback))
    results = []
    for name, first, longest in (
        (f"{FIRST_PAUSE:g} s doubling to {LONGEST_PAUSE:g} s", FIRST_PAUSE, LONGEST_PAUSE),
        (f"every {EAGER_PAUSE:g} s", EAGER_PAUSE, EAGER_PAUSE),
    ):
        polling, late = asyncio.run(measure(by_polling(first, longest)))
        results += [
            Result(
                f"HTTP requests a comparison: polling {name} / callback", polling, callback, "requests", 1.0
            ),
            Result(f"added latency p50: polling {name} / callback", late * 1000, waited * 1000, "ms", 1.0),
        ]
    return results


async def measure(way: Way) -> tuple[float, float]:
    """HTTP requests per comparison, and the median added latency in seconds."""
    with tempfile.TemporaryDirectory(prefix="juxta-") as name:
        folder = Path(name)
        topic = f"polling.{folder.name}.v1"
        requests = [request(number, topic) for number in range(COMPARISONS)]
        with (folder / "scores.csv").open("w", newline="") as file:
            texts = {text for asked in requests for text in (asked.essay_a, asked.essay_b)}
            csv.writer(file).writerows([("sha256", "score"), *((text_sha256(text), 0) for text in texts)])
        settings = (
            "bus.kind=kafka",
            f"kafka.servers={kafka().servers}",
            f'provider.topics=["{topic}"]',
            f"cj.callback_topic={topic}",
            "judges.default=simulated",
            f"judges.simulated.scores={folder / 'scores.csv'}",
            f"judges.simulated.latency={LATENCY}",
            f"judges.simulated.concurrency={SLOTS}",
            "judges.simulated.direct_concurrency=0",
        )
        options = chain(*(("--set", one) for one in settings))
        with process_on(folder, "--role", "provider", *options) as provider:
            ledger = Ledger()
            await way(provider.url, requests, ledger)
            with closing(sqlite3.connect(folder / "provider.db")) as database:
                rows = database.execute("SELECT correlation_id, answered_at FROM requests").fetchall()
    answered = {UUID(bytes=correlation_id): at for correlation_id, at in rows}
    return ledger.per_comparison(), median(at - answered[asked] for asked, at in ledger.known_at.items())


async def by_callback(url: str, requests: Sequence[LLMComparisonRequest], ledger: Ledger) -> None:
    """POST, and wait for the events."""
    everything = asyncio.Event()

    async def handle(records: Sequence[Record]) -> None:
        for record in records:
            event = Envelope.model_validate_json(record.body)
            ledger.known_at[event.correlation_id] = time.time()
        if len(ledger.known_at) == len(requests):
            everything.set()

    topic = str(requests[0].callback_topic)
    bus = KafkaBus(KafkaConnection(servers=kafka().servers))
    bus.subscribe(topic, topic, handle)
    async with bus, aiohttp.ClientSession(url) as session:
        await asyncio.gather(*(post(session, asked, ledger) for asked in requests))
        await asyncio.wait_for(everything.wait(), 60)


def by_polling(first: float, longest: float) -> Way:
    """POST, ask for the status with growing pauses, fetch the verdict."""

    async def ask(session: aiohttp.ClientSession, asked: LLMComparisonRequest, ledger: Ledger) -> None:
        queue_id = await post(session, asked, ledger)
        pause, done = first, False
        while not done:
            await asyncio.sleep(pause)
            pause = min(longest, 2 * pause)
            ledger.requests += 1
            async with session.get(f"/api/v1/queue/{queue_id}") as response:
                done = (await response.json())["outcome"] is not None
        await post(session, asked, ledger)  # the stored verdict
        ledger.known_at[asked.correlation_id] = time.time()

    async def way(url: str, requests: Sequence[LLMComparisonRequest], ledger: Ledger) -> None:
        async with aiohttp.ClientSession(url) as session:
            await asyncio.gather(*(ask(session, asked, ledger) for asked in requests))

    return way


async def post(session: aiohttp.ClientSession, asked: LLMComparisonRequest, ledger: Ledger) -> str:
    """Send the comparison; returns its queue_id while it is queued."""
    ledger.requests += 1
    body = asked.model_dump_json(exclude_defaults=True)
    async with session.post("/api/v1/comparison", data=body) as response:
        response.raise_for_status()
        return str((await response.json()).get("queue_id", ""))


def request(number: int, topic: str) -> LLMComparisonRequest:
    """A comparison of two essays of 1.8 kB."""
    return LLMComparisonRequest(
        user_prompt="Which essay argues better?",
        essay_a=f"{number} a {WORDS}",
        essay_b=f"{number} b {WORDS}",
        callback_topic=topic,
        correlation_id=uuid4(),
        llm_config_overrides=LLMConfigOverrides(provider=PROVIDER, model=MODEL),
    )


if __name__ == "__main__":
    for result in run():
        print(f"{result.name}: {result.ours:,.1f} / {result.floor:,.1f} {result.unit}")
