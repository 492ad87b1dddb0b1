"""The provider over real HTTP: every answer of the wire, and every row of the table of bad input."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import aiohttp
import anyio
import pytest
from starlette.applications import Starlette

from app.contracts import ComparisonQueued, LLMComparisonRequest, LLMComparisonResponse, Problem
from app.edge import EXCEPTION_HANDLERS
from app.provider.lane import LaneLimits
from app.provider.queue.protocol import Reply
from app.provider.routes import routes
from tests.provider.provider_world import DOWN, IMPATIENT, REFUSED, World, comparison, locked, served, until

pytestmark = pytest.mark.anyio

BUSY = LaneLimits(direct_concurrency=0)
PEOPLE = LaneLimits(concurrency=0)
COMPARISON = "/api/v1/comparison"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> Problem:
        assert self.headers["content-type"] == "application/problem+json"
        assert b"secret" not in self.body
        return Problem.model_validate_json(self.body)

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)


class Client:
    def __init__(self, world: World, session: aiohttp.ClientSession) -> None:
        self.world = world
        self._session = session

    async def ask(self, request: LLMComparisonRequest | bytes, **headers: str) -> Answer:
        body = (
            request if isinstance(request, bytes) else request.model_dump_json(exclude_defaults=True).encode()
        )
        return await self._call("POST", COMPARISON, data=body, headers=headers)

    async def post(self, path: str) -> Answer:
        return await self._call("POST", path)

    async def get(self, path: str) -> Answer:
        return await self._call("GET", path)

    async def _call(self, method: str, path: str, **options: Any) -> Answer:
        async with self._session.request(method, path, **options) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, headers, await response.read())


@asynccontextmanager
async def provider(folder: Path, **changes: Any) -> AsyncIterator[Client]:
    async with World(folder / "provider.db", **changes) as world:
        app = Starlette(
            routes=routes(
                world.orchestrator, world.queue, world.status, body_limit=10_000, body_deadline=0.5
            ),
            exception_handlers=dict(EXCEPTION_HANDLERS),
        )
        async with served(app) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            yield Client(world, session)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with provider(tmp_path) as opened:
        yield opened


async def test_a_free_judge_is_200_with_the_verdict(client: Client) -> None:
    request = comparison(metadata={"pair": 1})
    answer = await client.ask(request)
    assert answer.status == 200
    verdict = LLMComparisonResponse.model_validate(answer.json)
    assert verdict.correlation_id == request.correlation_id
    assert verdict.metadata == {"pair": 1}


async def test_a_busy_judge_is_202_with_nothing_to_poll_and_the_callback_follows(tmp_path: Path) -> None:
    async with provider(tmp_path, limits=BUSY) as client:
        answer = await client.ask(comparison())
        assert answer.status == 202
        assert "location" not in answer.headers
        queued = ComparisonQueued.model_validate(answer.json)
        await until(lambda: client.world.received)
        assert client.world.outcomes[0].request_id == queued.queue_id


async def test_slower_than_patience_is_202_and_the_callback_follows(tmp_path: Path) -> None:
    async with provider(tmp_path, patience=IMPATIENT) as client:
        client.world.judge.shut()
        assert (await client.ask(comparison())).status == 202
        client.world.judge.open()
        await until(lambda: client.world.received)
        assert len(client.world.judge.calls) == 1


async def test_a_client_who_hangs_up_is_called_back(tmp_path: Path) -> None:
    async with provider(tmp_path) as client:
        client.world.judge.shut()
        request = comparison()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.ask, request)
            await until(lambda: client.world.judge.calls)
            await anyio.sleep(0.1)
            tasks.cancel_scope.cancel()
        queue_id = request.queue_id("local")
        with anyio.fail_after(5):
            while (  # noqa: ASYNC110 - what is waited for is in a database
                await client.world.orchestrator.entry(queue_id)
            ).reply is not Reply.CALLBACK:
                await anyio.sleep(0.01)
        client.world.judge.open()
        await until(lambda: client.world.received)
        assert len(client.world.judge.calls) == 1


async def test_a_repeat_is_the_stored_answer_byte_for_byte(client: Client) -> None:
    request = comparison()
    first, again = await client.ask(request), await client.ask(request)
    assert (first.status, first.body) == (again.status, again.body)
    assert len(client.world.judge.calls) == 1


async def test_twins_in_flight_share_one_call(client: Client) -> None:
    client.world.judge.shut()
    request, answers = comparison(), []

    async def ask() -> None:
        answers.append(await client.ask(request))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask)
        await until(lambda: client.world.judge.calls)
        client.world.judge.open()
    assert {(answer.status, answer.body) for answer in answers} == {(200, answers[0].body)}
    assert len(client.world.judge.calls) == 1


async def test_another_body_under_a_known_id_is_422(client: Client) -> None:
    request = comparison()
    await client.ask(request)
    answer = await client.ask(request.model_copy(update={"essay_a": "secret, other"}))
    assert answer.status == 422
    assert answer.problem.code == "request-mismatch"
    assert answer.problem.correlation_id == request.correlation_id


async def test_a_stored_failure_is_502_byte_for_byte(client: Client) -> None:
    client.world.judge.script.append(REFUSED)
    request = comparison()
    answers = [await client.ask(request) for _ in range(3)]
    assert {(answer.status, answer.body) for answer in answers} == {(502, answers[0].body)}
    assert answers[0].problem.code == "refused"
    assert len(client.world.judge.calls) == 1


async def test_a_stored_expiry_is_504_and_a_stored_cancellation_409(tmp_path: Path) -> None:
    async with provider(tmp_path, limits=PEOPLE) as client:
        expires, cancelled = comparison(expires_in=0.05), comparison()
        assert (await client.ask(expires)).status == (await client.ask(cancelled)).status == 202
        told = await client.post(f"{COMPARISON}/{cancelled.correlation_id}/cancel")
        assert told.status == 200
        assert told.json["cancelled"]
        await until(lambda: len(client.world.received) == 2)
        for _ in range(2):
            assert (await client.ask(expires)).problem.status == 504
            assert (await client.ask(cancelled)).problem.code == "request-cancelled"


async def test_without_topic_and_room_it_is_503_with_retry_after(tmp_path: Path) -> None:
    async with provider(tmp_path, limits=BUSY) as client:
        answer = await client.ask(comparison(callback_topic=None))
        assert (answer.status, answer.problem.code) == (503, "no-room")
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.problem.retryable
        assert (await client.get("/api/v1/queue")).json["entries"] == []


async def test_a_full_queue_is_429_with_retry_after(tmp_path: Path) -> None:
    async with provider(tmp_path, limits=BUSY, working=False, limit=1) as client:
        assert (await client.ask(comparison())).status == 202
        answer = await client.ask(comparison())
        assert (answer.status, answer.problem.code) == (429, "queue-full")
        assert int(answer.headers["retry-after"]) >= 1


async def test_a_locked_database_is_503_and_never_a_false_202(tmp_path: Path) -> None:
    async with provider(tmp_path, working=False) as client:
        with locked(tmp_path / "provider.db"):
            answer = await client.ask(comparison())
            assert (answer.status, answer.problem.code) == (503, "store-unavailable")
            assert answer.headers["retry-after"]
        assert (await client.ask(comparison())).status == 200


async def test_a_failing_judge_is_202_and_a_callback(client: Client) -> None:
    client.world.judge.script.append(DOWN)
    assert (await client.ask(comparison())).status == 202
    await until(lambda: client.world.received)


BAD = {
    "not JSON": (b"{", 400, None),
    "not an object": (b"[]", 422, None),
    "NaN": ({"expires_in": float("nan")}, 422, "expires_in"),
    "infinite": ({"expires_in": float("inf")}, 422, "expires_in"),
    "missing": ({"essay_a": None}, 422, "essay_a"),
    "wrong type": ({"essay_b": ["secret"]}, 422, "essay_b"),
    "NUL": ({"essay_a": "secret\x00"}, 422, "essay_a"),
    "unknown field": ({"essay_c": "secret"}, 422, "essay_c"),
    "unknown override": ({"llm_config_overrides": {"seed": 1}}, 422, "llm_config_overrides.seed"),
    "unknown judge": ({"llm_config_overrides": {"provider": "x"}}, 422, "llm_config_overrides.provider"),
    "refused override": (
        {"llm_config_overrides": {"temperature": 1.0}},
        422,
        "llm_config_overrides.temperature",
    ),
    "metadata too large": ({"metadata": {"x": "y" * 5000}}, 422, "metadata"),
    "unlisted topic": ({"callback_topic": "elsewhere"}, 422, "callback_topic"),
    "illegal topic": ({"callback_topic": "no spaces allowed"}, 422, "callback_topic"),
}


@pytest.mark.parametrize("case", BAD)
async def test_bad_input_is_a_problem_that_names_the_field_and_nothing_is_stored(
    client: Client, case: str
) -> None:
    change, status, field = BAD[case]
    if isinstance(change, bytes):
        raw = change
    else:
        raw = json.dumps(json.loads(comparison().model_dump_json(exclude_defaults=True)) | change).encode()
    answer = await client.ask(raw)
    assert answer.status == status
    if field is not None and case not in {"NaN", "infinite"}:
        assert field in {error.field for error in answer.problem.errors}
    assert not answer.problem.retryable
    assert await client.world.queue.browse() == []


async def test_a_lone_surrogate_is_refused(client: Client) -> None:
    raw = comparison().model_dump_json().replace("secret first", r"\ud800").encode()
    assert (await client.ask(raw)).status in {400, 422}


async def test_a_body_over_the_limit_is_413(client: Client) -> None:
    answer = await client.ask(b"x" * 10_001)
    assert (answer.status, answer.problem.code) == (413, "too-large")


async def test_the_idempotency_key_must_agree_with_the_correlation_id(client: Client) -> None:
    request = comparison()
    assert (await client.ask(request, **{"Idempotency-Key": str(request.correlation_id)})).status == 200
    assert (await client.ask(request, **{"Idempotency-Key": f'"{request.correlation_id}"'})).status == 200
    refused = await client.ask(request, **{"Idempotency-Key": str(uuid4())})
    assert refused.status == 422
    assert refused.problem.errors[0].field == "Idempotency-Key"


@pytest.mark.parametrize("well_formed", [True, False])
async def test_the_trace_goes_on_into_the_event_unless_it_is_malformed(
    tmp_path: Path, *, well_formed: bool
) -> None:
    async with provider(tmp_path, limits=BUSY) as client:
        traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" if well_formed else "zz"
        await client.ask(comparison(), traceparent=traceparent)
        await until(lambda: client.world.received)
        assert client.world.received[0].headers.get("traceparent") == (traceparent if well_formed else None)


async def test_cancelling_what_nobody_asked_is_404(client: Client) -> None:
    assert (await client.post(f"{COMPARISON}/{uuid4()}/cancel")).problem.status == 404
    assert (await client.post(f"{COMPARISON}/nonsense/cancel")).problem.status == 422


async def test_operators_browse_page_by_page_and_never_see_an_essay(tmp_path: Path) -> None:
    async with provider(tmp_path, limits=PEOPLE) as client:
        ids = [comparison() for _ in range(5)]
        for request in ids:
            await client.ask(request)
        seen: list[str] = []
        path: str | None = "/api/v1/queue?limit=2&state=queued&lane=scripted:plain"
        after = 0
        while True:
            page = await client.get(f"{path}&after={after}")
            assert b"secret" not in page.body
            seen += [entry["correlation_id"] for entry in page.json["entries"]]
            if page.json["next"] is None:
                break
            after = page.json["next"]
        assert seen == [str(request.correlation_id) for request in ids]
        assert (await client.get("/api/v1/queue?lane=other")).json["entries"] == []
        one = await client.get(f"/api/v1/queue/{ids[0].queue_id('local')}")
        assert one.json["state"] == "queued"
        assert (await client.get("/api/v1/queue/stats")).json["lanes"]["scripted:plain"]["waiting"] == 5


@pytest.mark.parametrize(
    "path",
    ["?limit=0", "?limit=501", "?limit=x", "?after=-1", "?after=" + "9" * 30, "?state=nowhere", "/nonsense"],
)
async def test_bad_questions_of_operators_are_422(client: Client, path: str) -> None:
    assert (await client.get(f"/api/v1/queue{path}")).problem.status == 422


async def test_an_unknown_row_is_404(client: Client) -> None:
    assert (await client.get(f"/api/v1/queue/{uuid4()}")).problem.status == 404


async def test_the_state_of_each_judge_is_said_in_words(tmp_path: Path) -> None:
    async with provider(tmp_path, limits=BUSY) as client:
        client.world.lanes["scripted:plain"].breaker.trip("the invoice is unpaid")
        await client.ask(comparison())
        (lane,) = (await client.get("/api/v1/providers")).json["lanes"]
        assert lane["name"] == "scripted:plain"
        assert lane["breaker"] == "open by hand: the invoice is unpaid"
        assert lane["words"].startswith("1 waiting, 0 running: judge paused")
