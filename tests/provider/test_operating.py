"""The provider in the hands of people on call: breakers worked by hand, requests hurried and cancelled, all of it told."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from app.contracts import LLMComparisonRequest, Outcome
from app.edge import EXCEPTION_HANDLERS
from app.errors import StoreUnavailable
from app.judges import judges, model_infos
from app.provider.breakers import Breakers, lanes_of
from app.provider.judges.llm.http import ModelClient
from app.provider.judging import RetryPolicy
from app.provider.lane import LaneLimits
from app.provider.operating import routes
from app.settings import load
from tests.provider.provider_world import DOWN, World, comparison, until

pytestmark = pytest.mark.anyio

LANE = "scripted:plain"
SLOW = RetryPolicy(tries=3, base=600.0, cap=600.0)
QUEUED = LaneLimits(direct_concurrency=0, failures=100)


class Desk:
    """What somebody on call has: the routes, and a log of what they were about."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.told: list[str] = []
        self.log_is_full = False
        app = Starlette(
            routes=routes(
                world.orchestrator,
                world.queue,
                Breakers(world.lanes, offered=(LANE,)),
                specify=self._specify,
            ),
            exception_handlers=dict(EXCEPTION_HANDLERS),
        )
        self._client = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app), base_url="http://localhost"
        )

    async def _specify(self, _request: Request, words: str) -> None:
        if self.log_is_full:
            raise StoreUnavailable("no room")
        self.told.append(words)

    async def post(self, path: str, **body: str) -> httpx2.Response:
        return await self._client.post(f"/api/v1{path}", json=body or None)

    async def breaker(self) -> dict[str, Any]:
        (found,) = (await self._client.get("/api/v1/breakers")).json()["breakers"]
        return dict(found)

    async def queued(self, request: LLMComparisonRequest) -> str:
        answer = await self.world.orchestrator.compare(request)
        assert hasattr(answer, "queue_id")
        return str(answer.queue_id)


@asynccontextmanager
async def desk(folder: Path, **changes: Any) -> AsyncIterator[Desk]:
    async with World(folder / "provider.db", **changes) as world:
        yield Desk(world)


async def test_a_tripped_judge_is_asked_no_more_until_it_is_reset_and_then_at_once(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        await it.world.orchestrator.compare(comparison())
        assert (await it.breaker())["words"] == "closed"
        tripped = (await it.post("/breakers/trip", lane=LANE, reason="the invoice is unpaid")).json()
        assert (tripped["state"], tripped["tripped"], tripped["next_probe_in"]) == ("open", True, None)
        assert re.fullmatch(
            r"open since \d\d:\d\d:\d\d UTC \(by hand: the invoice is unpaid\), until it is reset",
            tripped["words"],
        )
        await it.queued(comparison())
        assert len(it.world.judge.calls) == 1
        assert (await it.breaker())["tripped"]
        reset = (await it.post("/breakers/reset", lane=LANE, reason="paid")).json()
        assert reset["words"] == "closed by hand: paid"
        await until(lambda: it.world.received)
        assert it.world.outcomes[0].status is Outcome.SUCCEEDED
    assert it.told == [f"{LANE}: the invoice is unpaid", f"{LANE}: paid"]


async def test_a_breaker_that_opened_by_itself_says_since_when_why_and_until_when(tmp_path: Path) -> None:
    async with desk(tmp_path, limits=LaneLimits(failures=1, cooldown=100.0)) as it:
        it.world.judge.script.append(DOWN)
        await it.queued(comparison())
        found = await it.breaker()
    assert (found["state"], found["tripped"]) == ("open", False)
    assert 90 < found["next_probe_in"] <= 100
    assert re.fullmatch(
        r"open since \d\d:\d\d:\d\d UTC \(1 failures within 60 s\), next probe in \d+ s", found["words"]
    )


async def test_a_judge_that_is_offered_can_be_tripped_before_it_was_asked(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        tripped = await it.post("/breakers/trip", lane=LANE, reason="still unpaid after the restart")
        assert (tripped.status_code, tripped.json()["tripped"]) == (200, True)
        await it.queued(comparison())
        assert not it.world.judge.calls
        await it.post("/breakers/reset", lane=LANE, reason="paid")
        await until(lambda: it.world.received)
        assert it.world.outcomes[0].status is Outcome.SUCCEEDED


async def test_the_lanes_that_are_offered_are_those_by_which_the_models_are_asked() -> None:
    settings, _ = load(environment={})
    models = model_infos(settings)
    found = lanes_of(judges(settings, ModelClient), models)
    assert len(models) > 1
    assert found == ("rules/panel-v1",)


async def test_a_breaker_of_nobody_is_not_found_and_a_change_without_a_reason_is_refused(
    tmp_path: Path,
) -> None:
    async with desk(tmp_path) as it:
        refused = await it.post("/breakers/trip", lane="other/judge", reason="a test")
        assert refused.status_code == 404
        assert f"Offered are: {LANE}." in refused.json()["detail"]
        for body in (
            {"lane": LANE},
            {"lane": LANE, "reason": ""},
            {"lane": LANE, "reason": "a", "extra": "b"},
        ):
            assert (await it.post("/breakers/trip", **body)).status_code == 422


async def test_what_the_log_does_not_take_is_not_done(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        await it.world.orchestrator.compare(comparison())
        it.log_is_full = True
        assert (await it.post("/breakers/trip", lane=LANE, reason="a test")).status_code == 503
        assert (await it.breaker())["state"] == "closed"


async def test_a_request_that_waits_after_a_failure_is_tried_now(tmp_path: Path) -> None:
    async with desk(tmp_path, limits=QUEUED, retry=SLOW) as it:
        it.world.judge.script.append(DOWN)
        queue_id = await it.queued(comparison())
        await until(lambda: it.world.queue.waiting(LANE) and len(it.world.judge.calls) == 1)
        entry = await it.post(f"/queue/{queue_id}/retry")
        assert (entry.status_code, entry.json()["state"]) == (200, "queued")
        await until(lambda: it.world.processor.counts.published == 1)  # the mark follows the record
        assert it.world.outcomes[0].status is Outcome.SUCCEEDED
        again = await it.post(f"/queue/{queue_id}/retry")
        assert again.status_code == 409
        assert "ended as succeeded" in again.json()["detail"]
        assert "new correlation_id" in again.json()["hint"]


async def test_what_a_worker_has_is_not_hurried(tmp_path: Path) -> None:
    async with desk(tmp_path, limits=QUEUED) as it:
        it.world.judge.shut()
        queue_id = await it.queued(comparison())
        await until(lambda: it.world.judge.running)
        assert (await it.post(f"/queue/{queue_id}/retry")).status_code == 409


async def test_a_request_is_cancelled_whoever_asked_and_only_once_is_there_something_to_cancel(
    tmp_path: Path,
) -> None:
    async with desk(tmp_path, limits=LaneLimits(concurrency=0)) as it:
        answer = await it.world.orchestrator.compare(comparison(), principal="somebody")
        queue_id = json.loads(answer.model_dump_json())["queue_id"]
        assert (await it.post(f"/queue/{queue_id}/cancel")).json()["cancelled"] is True
        await until(lambda: it.world.received)
        assert it.world.outcomes[0].status is Outcome.CANCELLED
        again = await it.post(f"/queue/{queue_id}/cancel")
        assert again.status_code == 409
        assert "ended as cancelled" in again.json()["detail"]


@pytest.mark.parametrize("verb", ["retry", "cancel"])
async def test_what_is_not_there_is_not_found(tmp_path: Path, verb: str) -> None:
    async with desk(tmp_path) as it:
        assert (await it.post(f"/queue/{uuid4()}/{verb}")).status_code == 404
        assert (await it.post(f"/queue/nonsense/{verb}")).status_code == 422
