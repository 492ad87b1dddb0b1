"""Providers that share a queue and cj processes that share a store: the same scores, whatever dies on the way."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import httpx2
import psycopg
import pytest

from app.cj.batch import BatchState
from app.provider.judges.simulated import MODEL, PROVIDER
from tests.engines import PostgreSQL, Redis

from .deployment import (
    BATCHES,
    Deployment,
    create,
    decided,
    embedded_scores,
    finished,
    recorded,
    scores,
    wrong,
)
from .house import QUESTION, essay
from .installations import SHARED, on_kafka, on_postgresql, on_redis
from .process import Process, until

HEALED = 5.0
"""Seconds within which work goes on once an engine serves again."""
QUICK_LEASE = "queue.lease=2"


@pytest.fixture(params=list(SHARED.values()), ids=list(SHARED))
def deployment(request: pytest.FixtureRequest, tmp_path: Path) -> Deployment:
    engines: Callable[[], tuple[str, ...]] = request.param
    return Deployment(tmp_path, engines())


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    server = Redis()
    server.start()
    yield server
    server.close()


def judged(provider: Process) -> bool:
    lanes = provider.client.get("/api/v1/providers").json()["lanes"]
    return any(lane["mean_seconds"] > 0 for lane in lanes)


def all_finished(process: Process, *batches: str) -> None:
    for batch_id in batches:
        until(lambda: finished(process, batch_id))  # noqa: B023 - called at once


def test_eight_batches_over_shared_engines_score_as_in_one_process(
    deployment: Deployment, tmp_path: Path
) -> None:
    seeds = range(BATCHES)
    expected = embedded_scores(tmp_path / "embedded", seeds)
    with ExitStack() as stack:
        first, second = (stack.enter_context(deployment.provider(name)) for name in ("p1", "p2"))
        one, other = (stack.enter_context(deployment.cj(first, second, name=name)) for name in ("cj", "cj2"))
        batches = [create((one, other)[seed % 2], seed=seed) for seed in seeds]
        for batch_id, wanted in zip(batches, expected, strict=True):
            until(lambda: finished(one, batch_id))  # noqa: B023 - called at once
            assert scores(other, batch_id) == pytest.approx(wanted, abs=1e-9)
        roads = recorded(one), recorded(other)
        assert all(road.total() for road in roads)
        assert sum(road.total() for road in roads) == decided(one, *batches)
        assert sum(road["callback"] for road in roads)
        assert judged(first)
        assert judged(second)
        deployment.assert_whole(*batches)


def test_a_provider_killed_in_mid_call_is_taken_over_by_the_other(deployment: Deployment) -> None:
    """No repair of cj's helps: it asks again for nothing before the test is over."""
    deployment.latency = 0.3
    late = ("cj.hold=300", "cj.repair_after=600")
    with ExitStack() as stack:
        first, second = (stack.enter_context(deployment.provider(name, QUICK_LEASE)) for name in ("p1", "p2"))
        assert second.client.post("/api/v1/comparison", json=comparison(deployment)).status_code == 200
        ((_, _, life, _),) = deployment.ledger().values()
        cj = stack.enter_context(deployment.cj(first, second, options=late))
        batch_id = create(cj)

        def left_behind() -> set[str]:
            second.pause()
            found = {
                name
                for name, row in deployment.ledger().items()
                if (row.state, row.reply, row.boot) == ("leased", "callback", life)
            }
            if not found:
                second.resume()
            return found

        orphans = until(left_behind, every=0.1)
        second.kill()
        all_finished(cj, batch_id)
        rows = deployment.ledger()
        for name in orphans:
            assert rows[name].state == "published"
            assert rows[name].boot != life
            assert rows[name].attempt > 1
        deployment.assert_whole(batch_id)


def test_a_killed_cj_process_leaves_its_work_to_the_other(deployment: Deployment) -> None:
    deployment.latency = 0.1
    with ExitStack() as stack:
        provider = stack.enter_context(deployment.provider("p1"))
        one, other = (stack.enter_context(deployment.cj(provider, name=name)) for name in ("cj", "cj2"))
        batches = [create(one, seed=seed) for seed in range(4)]
        until(lambda: decided(one, *batches) > 20)
        one.kill()
        all_finished(other, *batches)
        deployment.assert_whole(*batches)


def test_postgresql_killed_in_mid_batch_loses_nothing(tmp_path: Path, own_postgresql: PostgreSQL) -> None:
    deployment = Deployment(tmp_path, (*on_kafka(), *on_postgresql(own_postgresql)), latency=0.1)
    with ExitStack() as stack:
        provider = stack.enter_context(deployment.provider("p1", QUICK_LEASE))
        cj = stack.enter_context(deployment.cj(provider))
        batch_id = create(cj)
        for _ in range(2):
            before = decided(cj, batch_id)
            until(lambda: decided(cj, batch_id) > before + 5)  # noqa: B023 - called at once
            own_postgresql.kill()
            until(lambda: wrong(provider) >= {"queue"} and wrong(cj) >= {"store"})
            refused = provider.client.post("/api/v1/comparison", json=comparison(deployment))
            assert (refused.status_code, int(refused.headers["retry-after"]) > 0) == (503, True)
            assert cj.client.get("/healthz").status_code == 200
            own_postgresql.start()
            until(lambda: goes_on(cj, batch_id), patience=HEALED)
        all_finished(cj, batch_id)
        deployment.assert_whole(batch_id)


def test_redis_killed_in_mid_batch_loses_nothing(tmp_path: Path, own_redis: Redis) -> None:
    deployment = Deployment(tmp_path, (*on_kafka(), *on_redis(own_redis), *on_postgresql()), latency=0.1)
    with ExitStack() as stack:
        provider = stack.enter_context(deployment.provider("p1", QUICK_LEASE))
        cj = stack.enter_context(deployment.cj(provider))
        batch_id = create(cj)
        for _ in range(2):
            before = decided(cj, batch_id)
            until(lambda: decided(cj, batch_id) > before + 5)  # noqa: B023 - called at once
            own_redis.kill()
            until(lambda: wrong(provider) == {"queue"})
            refused = provider.client.post("/api/v1/comparison", json=comparison(deployment))
            assert (refused.status_code, int(refused.headers["retry-after"]) > 0) == (503, True)
            stalled = decided(cj, batch_id)
            own_redis.start()
            until(lambda: decided(cj, batch_id) > stalled, patience=HEALED)  # noqa: B023 - called at once
        all_finished(cj, batch_id)
        deployment.assert_whole(batch_id)


def test_redis_emptied_in_mid_batch_is_filled_again_by_repairs(tmp_path: Path, own_redis: Redis) -> None:
    deployment = Deployment(tmp_path, (*on_kafka(), *on_redis(own_redis), *on_postgresql()), latency=0.1)
    with ExitStack() as stack:
        provider = stack.enter_context(deployment.provider("p1", QUICK_LEASE))
        cj = stack.enter_context(deployment.cj(provider, options=["cj.repair_after=2"]))
        batch_id = create(cj)
        for _ in range(2):
            before = decided(cj, batch_id)
            until(lambda: decided(cj, batch_id) > before + 5)  # noqa: B023 - called at once
            with socket.create_connection(("127.0.0.1", own_redis.port)) as connection:
                connection.sendall(b"FLUSHALL\r\n")
                assert connection.recv(16) == b"+OK\r\n"
        all_finished(cj, batch_id)
        deployment.assert_whole(batch_id)


def test_a_locked_postgresql_is_answered_503_and_never_a_false_202(
    tmp_path: Path, own_postgresql: PostgreSQL
) -> None:
    engines = (*on_kafka(), *on_postgresql(own_postgresql), "database.lock_timeout=0.5")
    deployment = Deployment(tmp_path, engines, latency=0.1)
    with ExitStack() as stack:
        provider = stack.enter_context(deployment.provider("p1", "judges.simulated.direct_concurrency=0"))
        cj = stack.enter_context(deployment.cj(provider))
        batch_id = create(cj)
        until(lambda: decided(cj, batch_id) > 5)
        refused = comparison(deployment)
        with psycopg.connect(deployment.settings["database.url"]) as stranger:
            stranger.execute("LOCK TABLE juxta_provider.requests IN ACCESS EXCLUSIVE MODE")
            for _ in range(3):
                is_unavailable(provider.client.post("/api/v1/comparison", json=refused))
        with psycopg.connect(deployment.settings["database.url"]) as look:
            stored = "SELECT count(*) FROM juxta_provider.requests WHERE correlation_id = %s"
            found = look.execute(stored, [bytes.fromhex(str(refused["correlation_id"]).replace("-", ""))])
            assert found.fetchall() == [(0,)]
        until(lambda: goes_on(cj, batch_id), patience=HEALED)
        with psycopg.connect(deployment.settings["database.url"]) as stranger:
            stranger.execute("LOCK TABLE juxta_cj.batches, juxta_cj.comparisons IN ACCESS EXCLUSIVE MODE")
            for path in (f"/api/v1/batches/{batch_id}", f"/batches/{batch_id}", "/"):
                is_unavailable(cj.client.get(path))
            is_unavailable(cj.client.post(f"/api/v1/batches/{batch_id}/pause"))
        until(lambda: goes_on(cj, batch_id), patience=HEALED)
        all_finished(cj, batch_id)
        assert provider.client.post("/api/v1/comparison", json=refused).status_code == 202
        deployment.assert_whole(batch_id)


def is_unavailable(answer: httpx2.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) > 0


def goes_on(cj: Process, batch_id: str) -> bool:
    """Whether a comparison is decided while one looks, or all are."""
    found = cj.client.get(f"/api/v1/batches/{batch_id}")
    if found.status_code != 200:
        return False
    before = found.json()
    return bool(before["state"] == BatchState.FINISHED or decided(cj, batch_id) > before["decided"])


def comparison(deployment: Deployment) -> dict[str, object]:
    return {
        "user_prompt": QUESTION,
        "essay_a": essay(0),
        "essay_b": essay(1),
        "correlation_id": str(uuid4()),
        "callback_topic": deployment.settings["cj.callback_topic"],
        "llm_config_overrides": {"provider": PROVIDER, "model": MODEL},
    }
