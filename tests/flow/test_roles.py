"""The modules in processes of their own, with a real Kafka between them: the same scores, whatever dies on the way."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from uuid import UUID

import anyio
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from tests.engines import Kafka

from .deployment import (
    BATCHES,
    Deployment,
    create,
    decided,
    embedded_scores,
    finished,
    recorded,
    scores,
    together,
    wrong,
)
from .house import rows
from .installations import on_kafka
from .process import Process, until


@pytest.fixture
def deployment(tmp_path: Path, kafka: Kafka) -> Iterator[Deployment]:
    if kafka.process_id is None:
        kafka.start()
    yield Deployment(tmp_path, on_kafka())
    if kafka.process_id is None:
        kafka.start()


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
    deployment.assert_whole(*batches)
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
    deployment.assert_whole(*batches)


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
    deployment.assert_whole(*batches)


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
    deployment.assert_whole(batch_id)


def test_a_topic_made_anew_in_mid_batch_loses_nothing(deployment: Deployment, kafka: Kafka) -> None:
    """What the old topic held is gone: cj asks for it again, with the same ids."""
    deployment.latency = 0.05
    with ExitStack() as stack:
        provider = stack.enter_context(deployment.provider("p1", "judges.simulated.direct_concurrency=0"))
        cj = stack.enter_context(deployment.cj(provider, options=["cj.repair_after=3"]))
        batch_id = create(cj)
        until(lambda: decided(cj, batch_id) > 10)
        anyio.run(delete_topic, kafka.servers, deployment.settings["cj.callback_topic"])
        until(lambda: finished(cj, batch_id))
    deployment.assert_whole(batch_id)


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
    deployment.assert_whole(batch_id)


def test_a_cj_whose_key_is_refused_waits_says_so_and_goes_on_with_the_right_one(
    deployment: Deployment,
) -> None:
    keyed = "auth.enabled=true"
    named = ("--name", "cj", "--scope", "submit", "--scope", "operate")
    key = deployment.command("key", "new", *named, folder="p1")
    deployment.command("key", "new", *named, "--from-stdin", folder="p2", said=key)
    with ExitStack() as stack:
        providers = [stack.enter_context(deployment.provider(name, keyed)) for name in ("p1", "p2")]
        with deployment.cj(*providers, options=["cj.provider_key=nonsense"]) as cj:
            batch_id = create(cj)
            until(lambda: "does not let cj in (401)" in live_page(cj, batch_id))
            assert decided(cj, batch_id) == 0
        with deployment.cj(*providers, options=[f"cj.provider_key={key.strip()}"]) as cj:
            until(lambda: finished(cj, batch_id))
        deployment.command("key", "revoke", "cj", folder="p1")
        until(lambda: providers[0].client.get("/api/v1/providers", headers=bearer(key)).status_code == 401)
        assert providers[1].client.get("/api/v1/providers", headers=bearer(key)).status_code == 200
    deployment.assert_whole(batch_id)
    with closing(sqlite3.connect(deployment.folder / "p1" / "provider.db")) as ledger:
        one = ledger.execute("SELECT correlation_id FROM requests").fetchone()[0]
    told = deployment.command("trace", str(UUID(bytes=one)), folder="p1")
    assert "stored" in told


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key.strip()}"}


GRACE = 6
STOPS = 20


def test_sigterm_without_a_broker_ends_in_time_every_time(tmp_path: Path, kafka: Kafka) -> None:
    """Half of them have results they cannot publish, half have results they wait for."""
    options = (f"http.grace={GRACE}", "provider.drain=1", "bus.drain=1")
    queued = "judges.simulated.direct_concurrency=0"
    for turn in range(2):
        deployments = [Deployment(tmp_path / f"{turn}-{n}", on_kafka()) for n in range(STOPS // 4)]
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
