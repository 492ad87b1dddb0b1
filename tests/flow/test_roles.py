"""The modules in processes of their own, with a real Kafka between them: the same scores, whatever dies on the way."""

from __future__ import annotations

import csv
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from app.cj.batch import BatchState
from app.provider.judges.simulated import MODEL, PROVIDER
from tests.engines import Kafka

from .house import QUESTION, SCORES, Bench, batch_of, essay, house_in, rows
from .process import ROOT, Process, process_on, until

ESSAYS, BATCHES = 25, 8
SESSION = 2.0
"""Seconds after which a process that was killed has left its consumer group."""


@dataclass
class Deployment:
    """What the processes of one installation have in common; each is started by a method."""

    folder: Path
    servers: str
    latency: float = 0.02
    topic: str = field(default_factory=lambda: f"results.{uuid4().hex[:8]}.v1")

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "scores.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("sha256", "score"), *SCORES.items()])

    def provider(self, name: str, *options: str, port: int = 0) -> AbstractContextManager[Process]:
        limits = ("judges.simulated.concurrency=8", "judges.simulated.direct_concurrency=4")
        settings = (*limits, f"judges.simulated.latency={self.latency}", *options)
        return self._process(self.folder / name, "provider", *settings, port=port)

    def cj(
        self, *providers: Process, options: Sequence[str] = (), name: str = "cj"
    ) -> AbstractContextManager[Process]:
        urls = ",".join(f'"{provider.url}"' for provider in providers)
        return self._process(self.folder / name, "cj", f"cj.provider_urls=[{urls}]", *options)

    def _process(
        self, folder: Path, role: str, *settings: str, port: int = 0
    ) -> AbstractContextManager[Process]:
        common = (
            "bus.kind=kafka",
            f"kafka.servers={self.servers}",
            f"kafka.session_timeout={SESSION}",
            f"kafka.heartbeat={SESSION / 4}",
            f'provider.topics=["{self.topic}"]',
            f"cj.callback_topic={self.topic}",
            f"cj.group={self.topic}",
            "cj.hold=5",
            "cj.provider_timeout=4",
            "cj.sweep_every=1",
            "judges.default=simulated",
            f"judges.simulated.scores={self.folder / 'scores.csv'}",
            "judges.simulated.seed=3",
        )
        assigned = chain(*(("--set", one) for one in (*common, *settings)))
        return process_on(folder, "--role", role, "--port", str(port), *assigned)


@pytest.fixture
def deployment(tmp_path: Path, kafka: Kafka) -> Iterator[Deployment]:
    if kafka.process_id is None:
        kafka.start()
    yield Deployment(tmp_path, kafka.servers)
    if kafka.process_id is None:
        kafka.start()


def create(process: Process, *, seed: int = 11, essays: int = ESSAYS) -> str:
    """The batch that `house.batch_of` makes, over HTTP."""
    content = {
        "title": f"Seed {seed}",
        "question": QUESTION,
        "essays": [{"name": f"e{n:02}", "text": essay(n)} for n in range(essays)],
        "settings": {
            "judges": [{"provider": PROVIDER, "model": MODEL}],
            "comparisons_per_essay": 6,
            "target_reliability": 0.999,
            "random_rounds": 2,
            "seed": seed,
        },
    }
    answer = process.client.post("/api/v1/batches", json=content)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def embedded_scores(folder: Path, seeds: Sequence[int]) -> list[dict[str, float | None]]:
    """What the same batches come to in one process on embedded engines."""

    async def run() -> list[dict[str, float | None]]:
        async with house_in(folder, Bench()) as house:
            new = [batch_of(ESSAYS, seed=seed) for seed in seeds]
            ids = [await house.workflow.create(batch, start=True) for batch in new]
            for batch_id in ids:
                await house.finish(batch_id)
            return [await house.scores(batch_id) for batch_id in ids]

    return anyio.run(run)


def finished(process: Process, batch_id: str) -> bool:
    state = process.batch(batch_id)["state"]
    assert state in {BatchState.RUNNING, BatchState.FINISHED}, process.batch(batch_id)
    return bool(state == BatchState.FINISHED)


def scores(process: Process, batch_id: str) -> dict[str, float]:
    ranking = process.client.get(f"/api/v1/batches/{batch_id}/ranking").json()["ranking"]
    return {row["essay"]: row["score"] for row in ranking}


def recorded(process: Process) -> Counter[str]:
    return Counter(process.client.get("/readyz").json()["recorded"])


def decided(process: Process, *batches: str) -> int:
    return sum(process.batch(batch_id)["decided"] for batch_id in batches)


def is_whole(deployment: Deployment, *batches: str) -> None:
    """Each comparison counted once and in one place; every provider owes nothing."""
    database = deployment.folder / "cj" / "cj.db"
    for batch_id in batches:
        sql = f"SELECT ended_order, state FROM comparisons WHERE batch_id = '{batch_id}' ORDER BY 1"
        ended = rows(database, sql)
        assert [order for order, _ in ended] == list(range(1, len(ended) + 1))
        assert {state for _, state in ended} == {"decided"}
    for ledger in deployment.folder.glob("*/provider.db"):
        until(lambda: not rows(ledger, "SELECT 1 FROM requests WHERE state <> 'published'"))  # noqa: B023 - at once


def test_eight_batches_over_two_providers_and_two_cj_processes_score_as_in_one_process(
    deployment: Deployment, tmp_path: Path
) -> None:
    seeds = range(BATCHES)
    expected = embedded_scores(tmp_path / "embedded", seeds)
    with ExitStack() as stack:
        first, second = (stack.enter_context(deployment.provider(name)) for name in ("p1", "p2"))
        one, other = (stack.enter_context(deployment.cj(first, second)) for _ in range(2))
        batches = [create((one, other)[seed % 2], seed=seed) for seed in seeds]
        for batch_id, wanted in zip(batches, expected, strict=True):
            until(lambda: finished(one, batch_id))  # noqa: B023 - called at once
            assert scores(other, batch_id) == pytest.approx(wanted, abs=1e-9)
        roads = recorded(one), recorded(other)
        assert all(road.total() for road in roads)
        assert sum(road.total() for road in roads) == decided(one, *batches)
        assert sum(road["callback"] for road in roads)
    is_whole(deployment, *batches)
    asked = [
        rows(deployment.folder / name / "provider.db", "SELECT count(*) FROM requests")[0][0]
        for name in ("p1", "p2")
    ]
    assert all(asked)


def test_a_killed_cj_process_leaves_its_work_to_the_other(deployment: Deployment) -> None:
    deployment.latency = 0.1
    with ExitStack() as stack:
        provider = stack.enter_context(deployment.provider("p1"))
        one, other = (stack.enter_context(deployment.cj(provider)) for _ in range(2))
        batches = [create(one, seed=seed) for seed in range(4)]
        until(lambda: recorded(one).total() and recorded(other).total())
        one.kill()
        before = recorded(other)
        until(lambda: recorded(other).total() > before.total() + 50)
        for batch_id in batches:
            until(lambda: finished(other, batch_id))  # noqa: B023 - called at once
    is_whole(deployment, *batches)


def test_a_killed_provider_goes_on_where_it_was(deployment: Deployment) -> None:
    deployment.latency = 0.05
    with ExitStack() as stack:
        first = stack.enter_context(deployment.provider("p1"))
        second = stack.enter_context(deployment.provider("p2", "queue.lease=2"))
        cj = stack.enter_context(deployment.cj(first, second))
        batches = [create(cj, seed=seed) for seed in range(2)]
        until(lambda: decided(cj, *batches) > 10)
        second.kill()
        until(lambda: f"{second.url} did not answer" in live_page(cj, batches[0]))
        stack.enter_context(deployment.provider("p2", port=second.port))
        for batch_id in batches:
            until(lambda: finished(cj, batch_id))  # noqa: B023 - called at once
    is_whole(deployment, *batches)


def live_page(process: Process, batch_id: str) -> str:
    return process.client.get(f"/batches/{batch_id}/live").text


def test_a_killed_broker_comes_back_and_the_batch_ends(deployment: Deployment, kafka: Kafka) -> None:
    deployment.latency = 0.05
    with ExitStack() as stack:
        provider = stack.enter_context(deployment.provider("p1"))
        cj = stack.enter_context(deployment.cj(provider))
        batch_id = create(cj)
        until(lambda: decided(cj, batch_id) > 10)
        kafka.kill()
        until(lambda: "bus" in wrong(provider))
        kafka.start()
        until(lambda: finished(cj, batch_id))
        until(lambda: not wrong(provider) and not wrong(cj))
    is_whole(deployment, batch_id)


def test_a_topic_made_anew_in_mid_batch_loses_nothing(deployment: Deployment, kafka: Kafka) -> None:
    """What the old topic held is gone: cj asks for it again, with the same ids."""
    deployment.latency = 0.05
    with ExitStack() as stack:
        provider = stack.enter_context(deployment.provider("p1", "judges.simulated.direct_concurrency=0"))
        cj = stack.enter_context(deployment.cj(provider, options=["cj.repair_after=3"]))
        batch_id = create(cj)
        until(lambda: decided(cj, batch_id) > 10)
        anyio.run(delete_topic, kafka.servers, deployment.topic)
        until(lambda: finished(cj, batch_id))
    is_whole(deployment, batch_id)


async def delete_topic(servers: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.delete_topics([topic])
    finally:
        await admin.close()


def test_everything_starts_without_kafka_and_works_once_it_is_there(
    deployment: Deployment, kafka: Kafka
) -> None:
    kafka.kill()
    with ExitStack() as stack:
        provider = stack.enter_context(deployment.provider("p1"))
        cj = stack.enter_context(deployment.cj(provider))
        for process in (provider, cj):
            assert process.client.get("/healthz").status_code == 200
            readiness = process.client.get("/readyz")
            assert readiness.status_code == 503
            assert "Kafka" in readiness.json()["parts"]["bus"]
            assert wrong(process) == {"bus"}
        batch_id = create(cj)
        until(lambda: decided(cj, batch_id))  # by 200: the direct road needs no bus
        kafka.start()
        until(lambda: finished(cj, batch_id))
        for process in (provider, cj):
            until(lambda: process.client.get("/readyz").status_code == 200)  # noqa: B023 - called at once
    is_whole(deployment, batch_id)


def wrong(process: Process) -> set[str]:
    parts: dict[str, Any] = process.client.get("/readyz").json()["parts"]
    return {part for part, words in parts.items() if words != "ok"}


def test_a_cj_whose_key_is_refused_waits_says_so_and_goes_on_with_the_right_one(
    deployment: Deployment,
) -> None:
    keyed = "auth.enabled=true"
    named = ("--name", "cj", "--scope", "submit", "--scope", "operate")
    key = juxta(deployment, "p1", "key", "new", *named).stdout
    juxta(deployment, "p2", "key", "new", *named, "--from-stdin", said=key)
    with ExitStack() as stack:
        providers = [stack.enter_context(deployment.provider(name, keyed)) for name in ("p1", "p2")]
        with deployment.cj(*providers, options=["cj.provider_key=nonsense"]) as cj:
            batch_id = create(cj)
            until(lambda: "does not let cj in (401)" in live_page(cj, batch_id))
            assert decided(cj, batch_id) == 0
        with deployment.cj(*providers, options=[f"cj.provider_key={key.strip()}"]) as cj:
            until(lambda: finished(cj, batch_id))
        juxta(deployment, "p1", "key", "revoke", "cj")
        until(lambda: providers[0].client.get("/api/v1/providers", headers=bearer(key)).status_code == 401)
        assert providers[1].client.get("/api/v1/providers", headers=bearer(key)).status_code == 200
    is_whole(deployment, batch_id)
    with closing(sqlite3.connect(deployment.folder / "p1" / "provider.db")) as ledger:
        one = ledger.execute("SELECT correlation_id FROM requests").fetchone()[0]
    told = juxta(deployment, "p1", "trace", str(UUID(bytes=one))).stdout
    assert "stored" in told


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key.strip()}"}


def juxta(
    deployment: Deployment, name: str, *arguments: str, said: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command on the data folder of one process."""
    return subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *arguments, "--data", str(deployment.folder / name)],
        input=said,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


GRACE = 6
STOPS = 20


def test_sigterm_without_a_broker_ends_in_time_every_time(tmp_path: Path, kafka: Kafka) -> None:
    """Half of them have results they cannot publish, half have results they wait for."""
    options = (f"http.grace={GRACE}", "provider.drain=1", "bus.drain=1")
    queued = "judges.simulated.direct_concurrency=0"
    for turn in range(2):
        deployments = [Deployment(tmp_path / f"{turn}-{n}", kafka.servers) for n in range(STOPS // 4)]
        with ExitStack() as stack:
            providers = together(stack, [each.provider("p1", *options, queued) for each in deployments])
            pairs = zip(deployments, providers, strict=True)
            cjs = together(stack, [each.cj(provider, options=options) for each, provider in pairs])
            for cj in cjs:
                batch_id = create(cj)
                until(lambda: decided(cj, batch_id))  # noqa: B023 - called at once
            kafka.kill()
            stack.callback(kafka.start)  # for the tests that follow, whatever happens here
            began = time.monotonic()
            for process in (*providers, *cjs):
                process.child.terminate()
            for process in (*providers, *cjs):
                assert process.child.wait(GRACE + 2 - (time.monotonic() - began)) == 0, process.stderr
                assert "Traceback" not in process.stderr


def together(stack: ExitStack, starting: Sequence[AbstractContextManager[Process]]) -> list[Process]:
    """Start processes side by side."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(stack.enter_context, starting))
