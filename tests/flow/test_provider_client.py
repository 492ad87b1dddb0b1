"""One suite for both ways to reach the provider: handed over inside the process, and over HTTP through a real socket."""

from __future__ import annotations

import json
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from app.cj.http_provider_client import HttpProviderClient
from app.cj.provider_client import ProviderClient
from app.contracts import (
    COMPARISON_RESULT_TOPIC,
    ComparisonQueued,
    JudgeKind,
    LLMComparisonRequest,
    LLMComparisonResponse,
    LLMConfigOverrides,
    ModelInfo,
    ModelList,
    Pricing,
    Problem,
    ProviderStatus,
)
from app.edge import EXCEPTION_HANDLERS, DeadlineProtocol
from app.errors import (
    InvalidRequest,
    JudgeFailed,
    JuxtaError,
    NoRoom,
    NotFound,
    NoVerdict,
    ProviderUnavailable,
    QueueFull,
    RequestCancelled,
    RequestExpired,
    RequestMismatch,
    TopicNotAllowed,
    Unavailable,
)
from app.provider import routes
from app.provider.judges.protocol import JudgeError
from app.provider.judges.simulated import MODEL, PROVIDER
from app.provider.queue.protocol import State
from app.provider.status import Status

from .house import LANE, HeldJudge, House, essay, eventually, house_in, until

pytestmark = pytest.mark.anyio

QUEUED = "judges.simulated.direct_concurrency=0"
IMPATIENT = "provider.patience=0.05"


@dataclass
class World:
    """A house, and the client that cj would use to reach its provider."""

    house: House
    client: ProviderClient
    judge: HeldJudge

    async def ended(self, correlation_id: UUID) -> None:
        """Wait until the provider owes nothing for this comparison."""

        async def closed() -> bool:
            entries = await self.house.queue.browse(state=State.PUBLISHED)
            return correlation_id in {entry.correlation_id for entry in entries}

        await eventually(closed)


Open = Callable[..., Any]


@pytest.fixture(params=["in the process", "over http"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Open a house and a client of the kind under test."""

    @asynccontextmanager
    async def open_world(*assignments: str) -> AsyncIterator[World]:
        judge = HeldJudge()
        async with AsyncExitStack() as stack:
            house = await stack.enter_async_context(house_in(tmp_path, judge, *assignments))
            client = house.provider
            if request.param == "over http":
                url = await stack.enter_async_context(served(provider_of(house)))
                client = await stack.enter_async_context(HttpProviderClient(url, timeout=20.0))
            yield World(house, client, judge)

    return open_world


def provider_of(house: House) -> Starlette:
    status: Status = house.container.resolve(Status)
    return Starlette(
        routes=list(routes.routes(house.orchestrator, house.queue, status)),
        exception_handlers=dict(EXCEPTION_HANDLERS),
    )


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """A real uvicorn on a free port of this machine."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=DeadlineProtocol, lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    with bound:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server._serve, [bound])
            await until(lambda: server.started)
            try:
                yield f"http://127.0.0.1:{bound.getsockname()[1]}"
            finally:
                server.should_exit = True


def comparison(**changes: Any) -> LLMComparisonRequest:
    fields: dict[str, Any] = {
        "user_prompt": "Which is better?",
        "essay_a": essay(9),
        "essay_b": essay(1),
        "callback_topic": COMPARISON_RESULT_TOPIC,
        "correlation_id": uuid4(),
        "llm_config_overrides": LLMConfigOverrides(provider=PROVIDER, model=MODEL),
        "callback_key": "a batch",
        "metadata": {"n": 1},
    }
    return LLMComparisonRequest(**(fields | changes))


async def refusal(asking: Awaitable[object]) -> JuxtaError:
    with pytest.raises(JuxtaError) as caught:
        await asking
    return caught.value


def failing(*, retryable: bool, code: str = "refused") -> Callable[[LLMComparisonRequest], Awaitable[None]]:
    async def fail(request: LLMComparisonRequest) -> None:
        raise JudgeError(code, "The judge will not read this.", retryable=retryable)

    return fail


async def test_a_free_judge_answers_with_the_verdict(opened: Open) -> None:
    async with opened() as world:
        request = comparison()
        answer = await world.client.generate_comparison(request)
    assert isinstance(answer, LLMComparisonResponse)
    assert answer.correlation_id == request.correlation_id
    assert answer.metadata == {"n": 1}
    assert (answer.provider, answer.model, answer.judge_kind) == ("simulated", "simulated-v1", "simulated")


async def test_a_busy_judge_answers_with_a_promise(opened: Open) -> None:
    async with opened(QUEUED) as world:
        request = comparison()
        answer = await world.client.generate_comparison(request)
    assert isinstance(answer, ComparisonQueued)
    assert answer.correlation_id == request.correlation_id
    assert answer.queue_id == request.queue_id("local")


async def test_a_slow_judge_answers_with_a_promise_when_patience_ends(opened: Open) -> None:
    door = anyio.Event()
    async with opened(IMPATIENT) as world:
        world.judge.before = lambda _: door.wait()
        request = comparison()
        answer = await world.client.generate_comparison(request)
        assert isinstance(answer, ComparisonQueued)
        door.set()
        await world.ended(request.correlation_id)
        assert isinstance(await world.client.generate_comparison(request), LLMComparisonResponse)
        assert world.judge.calls == [request.correlation_id]


async def test_a_repeat_gets_the_same_answer_and_the_judge_no_second_call(opened: Open) -> None:
    async with opened() as world:
        request = comparison()
        first = await world.client.generate_comparison(request)
        assert await world.client.generate_comparison(request) == first
        assert world.judge.calls == [request.correlation_id]


async def test_another_body_under_the_same_id_is_refused_for_good(opened: Open) -> None:
    async with opened() as world:
        request = comparison()
        await world.client.generate_comparison(request)
        error = await refusal(
            world.client.generate_comparison(request.model_copy(update={"essay_a": essay(2)}))
        )
    assert type(error) is RequestMismatch
    assert (error.code, error.retryable) == ("request-mismatch", False)


async def test_an_unlisted_topic_is_refused_for_good(opened: Open) -> None:
    async with opened() as world:
        error = await refusal(world.client.generate_comparison(comparison(callback_topic="somewhere.else")))
        assert not await world.house.queue.browse()
    assert type(error) is TopicNotAllowed
    assert (error.code, error.retryable) == ("topic-not-allowed", False)


@pytest.mark.parametrize(
    "overrides",
    [
        {"provider": "nobody"},
        {"provider": PROVIDER, "model": "none"},
        {"provider": PROVIDER, "temperature": 1},
    ],
)
async def test_an_override_that_cannot_be_honoured_is_refused_for_good(
    opened: Open, overrides: dict[str, Any]
) -> None:
    async with opened() as world:
        asked = comparison(llm_config_overrides=LLMConfigOverrides(**overrides))
        error = await refusal(world.client.generate_comparison(asked))
        assert not await world.house.queue.browse()
    assert type(error) is InvalidRequest
    assert (error.code, error.retryable) == ("invalid-request", False)


async def test_a_full_queue_says_when_to_come_back(opened: Open) -> None:
    door = anyio.Event()
    async with opened(QUEUED, "queue.limit=1") as world:
        world.judge.before = lambda _: door.wait()
        await world.client.generate_comparison(comparison())
        error = await refusal(world.client.generate_comparison(comparison()))
        door.set()
    assert type(error) is QueueFull
    assert (error.code, error.retryable) == ("queue-full", True)
    assert error.retry_after is not None
    assert error.retry_after >= 1.0


async def test_no_topic_and_no_free_judge_is_no_room_for_now(opened: Open) -> None:
    async with opened(QUEUED) as world:
        error = await refusal(world.client.generate_comparison(comparison(callback_topic=None)))
        assert not await world.house.queue.browse()
    assert type(error) is NoRoom
    assert (error.code, error.retryable) == ("no-room", True)
    assert error.retry_after is not None


@pytest.mark.parametrize("code", ["refused", "unavailable", "internal", "timeout", "not-found"])
@pytest.mark.parametrize("retryable", [True, False])
async def test_a_stored_failure_is_no_verdict_whatever_its_class_is_called(
    opened: Open, code: str, *, retryable: bool
) -> None:
    async with opened("queue.max_tries=1") as world:
        world.judge.before = failing(retryable=retryable, code=code)
        request = comparison()
        first = await refusal(world.client.generate_comparison(request))
        again = await refusal(world.client.generate_comparison(request))
        assert len(world.judge.calls) == 1
    for error in (first, again):
        assert isinstance(error, JudgeFailed)
        assert (error.status, error.retryable) == (502, False)
        assert (error.cause, error.anew) == (code, retryable)
        assert error.detail == "The judge will not read this."


async def test_a_stored_expiry_is_no_verdict(opened: Open) -> None:
    async with opened(QUEUED) as world:
        world.house.lane.breaker.trip("a test")
        request = comparison(expires_in=0.05)
        assert isinstance(await world.client.generate_comparison(request), ComparisonQueued)
        await world.ended(request.correlation_id)
        error = await refusal(world.client.generate_comparison(request))
        assert world.judge.calls == []
    assert isinstance(error, RequestExpired)
    assert (error.status, error.retryable) == (504, False)
    assert (error.cause, error.anew) == ("request-expired", True)


async def test_a_stored_cancellation_is_no_verdict(opened: Open) -> None:
    async with opened(QUEUED) as world:
        world.house.lane.breaker.trip("a test")
        request = comparison()
        await world.client.generate_comparison(request)
        await world.client.cancel_comparison(request.correlation_id)
        await world.ended(request.correlation_id)
        error = await refusal(world.client.generate_comparison(request))
        await world.client.cancel_comparison(request.correlation_id)
    assert isinstance(error, RequestCancelled)
    assert (error.status, error.retryable) == (409, False)
    assert (error.cause, error.anew) == ("request-cancelled", False)


async def test_to_cancel_what_nobody_asked_is_not_found(opened: Open) -> None:
    async with opened() as world:
        error = await refusal(world.client.cancel_comparison(uuid4()))
    assert type(error) is NotFound
    assert (error.code, error.retryable) == ("not-found", False)


@pytest.mark.parametrize("overrides", [{}, {"provider": PROVIDER}, {"provider": PROVIDER, "model": MODEL}])
async def test_a_judge_that_can_be_asked_is_accepted(opened: Open, overrides: dict[str, str]) -> None:
    async with opened(
        f"judges.simulated.scores={tempfile.gettempdir()}", "judges.default=simulated"
    ) as world:
        await world.client.check_judge(LLMConfigOverrides(**overrides))


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"provider": "nobody"}, "There is no judge 'nobody' here"),
        ({"provider": PROVIDER, "model": "none"}, "model"),
        ({"provider": PROVIDER, "temperature": 1}, "temperature"),
    ],
)
async def test_a_judge_that_could_only_fail_is_refused_by_name(
    opened: Open, overrides: dict[str, Any], says: str
) -> None:
    async with opened() as world:
        error = await refusal(world.client.check_judge(LLMConfigOverrides(**overrides)))
    assert type(error) is InvalidRequest
    assert says in f"{error.detail} {error.errors}"
    assert error.errors


async def test_the_provider_says_how_it_is_once_it_was_asked(opened: Open) -> None:
    async with opened(QUEUED) as world:
        assert (await world.client.status()).words == ""
        world.house.lane.breaker.trip("a test")
        await world.client.generate_comparison(comparison())
        (lane,) = (await world.client.status()).lanes
    assert (lane.name, lane.waiting, lane.breaker) == (LANE, 1, "open by hand: a test")


async def test_a_repair_reaches_the_provider_that_was_asked_first() -> None:
    asked: dict[str, list[str]] = {}

    def noting(name: str) -> Callable[[Request], Awaitable[Response]]:
        async def note(request: Request) -> Response:
            asked.setdefault(name, []).append(json.loads(await request.body())["correlation_id"])
            return Response(status_code=503)

        return note

    requests = [comparison() for _ in range(12)]
    async with (
        served(app_of(noting("a"))) as a,
        served(app_of(noting("b"))) as b,
        HttpProviderClient(a, b, timeout=20.0) as client,
    ):
        for request in (*requests, *requests):
            await refusal(client.generate_comparison(request))
    assert len(asked["a"]) + len(asked["b"]) == 24
    assert not set(asked["a"]) & set(asked["b"])
    assert asked["a"]
    assert asked["b"]


@pytest.mark.parametrize("status", [401, 403, 421])
async def test_a_key_that_is_not_let_in_fails_no_comparison(status: int) -> None:
    async def refuse(request: Request) -> Response:
        assert request.headers["authorization"] == "Bearer a key"
        problem = {"type": "urn:juxta:problem:x", "title": "No", "status": status, "detail": "Not with this."}
        return Response(json.dumps(problem), status_code=status)

    async with served(app_of(refuse)) as url, HttpProviderClient(url, timeout=20.0, key="a key") as client:
        error = await refusal(client.generate_comparison(comparison()))
    assert type(error) is ProviderUnavailable
    assert error.retryable
    assert "Not with this." in error.detail


async def test_any_provider_knows_the_models_and_what_they_cost() -> None:
    known = ModelList(
        models=(
            ModelInfo(
                provider="openai",
                model="m",
                kind=JudgeKind.LLM,
                price=Pricing(prompt=2, completion=8, on=date(2026, 11, 1)),
            ),
            ModelInfo(provider="openai", model="n", kind=JudgeKind.LLM, price=None),
        )
    )

    async def tell(request: Request) -> Response:
        assert (request.method, request.url.path) == ("GET", "/api/v1/models")
        return Response(known.model_dump_json())

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{bound.getsockname()[1]}"
        async with served(app_of(tell)) as url, HttpProviderClient(away, url, timeout=20.0) as client:
            assert await client.models() == known
        async with HttpProviderClient(away, timeout=20.0) as client:
            assert type(await refusal(client.models())) is ProviderUnavailable


async def test_a_failure_brings_what_it_cost() -> None:
    problem = Problem(
        type="urn:juxta:problem:malformed", title="No", status=502, detail="no verdict", cost_usd=0.02
    )

    async def fail(_request: Request) -> Response:
        return Response(problem.model_dump_json(), status_code=502)

    async with served(app_of(fail)) as url, HttpProviderClient(url, timeout=20.0) as client:
        error = await refusal(client.generate_comparison(comparison()))
    assert isinstance(error, JudgeFailed)
    assert (error.cause, error.cost_usd) == ("malformed", 0.02)


async def test_providers_that_are_away_leave_the_lanes_of_the_others() -> None:
    async def tell(_request: Request) -> Response:
        return Response(ProviderStatus().model_dump_json())

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{bound.getsockname()[1]}"
        async with served(app_of(tell)) as url, HttpProviderClient(away, url, timeout=20.0) as client:
            status = await client.status()
            assert status.lanes == ()
            assert away in status.words
        async with HttpProviderClient(away, timeout=20.0) as client:
            assert type(await refusal(client.status())) is ProviderUnavailable
            assert type(await refusal(client.check_judge(LLMConfigOverrides()))) is ProviderUnavailable


async def test_a_provider_that_is_not_there_is_unavailable() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        async with HttpProviderClient(url, timeout=5.0) as client:
            error = await refusal(client.generate_comparison(comparison()))
            also = await refusal(client.cancel_comparison(uuid4()))
    assert type(error) is type(also) is ProviderUnavailable
    assert error.retryable


async def test_with_a_shared_queue_a_provider_that_is_away_is_passed_over() -> None:
    asked: list[UUID] = []

    async def accept(request: Request) -> Response:
        asked.append(UUID((await request.json())["correlation_id"]))
        return queued()

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{bound.getsockname()[1]}"
        requests = [comparison() for _ in range(8)]
        async with (
            served(app_of(accept)) as here,
            HttpProviderClient(away, here, timeout=5.0, shared=True) as client,
        ):
            answers = [await client.generate_comparison(request) for request in requests]
    assert all(isinstance(answer, ComparisonQueued) for answer in answers)
    assert asked == [request.correlation_id for request in requests]


async def test_with_a_shared_queue_a_provider_that_does_not_answer_is_asked_last_for_a_while() -> None:
    hung: list[bool] = []

    async def ponder(_request: Request) -> Response:
        hung.append(True)
        with suppress(anyio.get_cancelled_exc_class()):
            await leave.wait()
        return Response()

    async def accept(_request: Request) -> Response:
        return queued()

    leave = anyio.Event()
    async with (
        served(app_of(ponder)) as hanging,
        served(app_of(accept)) as here,
        HttpProviderClient(hanging, here, timeout=0.2, shared=True) as client,
    ):
        request = next(each for each in iter(comparison, None) if each.correlation_id.int % 2 == 0)
        assert type(await refusal(client.generate_comparison(request))) is ProviderUnavailable
        assert isinstance(
            await client.generate_comparison(request), ComparisonQueued
        )  # as its repair is sent
        leave.set()
    assert hung == [True]


async def test_a_provider_that_never_answers_is_unavailable_at_the_deadline() -> None:
    async def ponder(_request: Request) -> Response:
        with suppress(anyio.get_cancelled_exc_class()):
            await leave.wait()
        return Response()

    leave = anyio.Event()
    async with served(app_of(ponder)) as url, HttpProviderClient(url, timeout=0.2) as client:
        error = await refusal(client.generate_comparison(comparison()))
        leave.set()
    assert type(error) is ProviderUnavailable


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>hello</html>"),
        (200, b""),
        (200, b'{"winner": "both"}'),
        (202, b'{"queue_id": "1"}'),
        (204, b""),
        (302, b""),
        (500, b"Internal Server Error"),
        (502, b"<html>Bad gateway</html>"),
        (503, b'{"detail": "no problem document"}'),
    ],
)
async def test_an_answer_that_is_not_the_providers_is_an_outage(status: int, body: bytes) -> None:
    async def stranger(_request: Request) -> Response:
        return Response(body, status_code=status)

    async with served(app_of(stranger)) as url, HttpProviderClient(url, timeout=20.0) as client:
        error = await refusal(client.generate_comparison(comparison()))
    assert type(error) is ProviderUnavailable
    assert error.retryable


@pytest.mark.parametrize(
    ("status", "code", "retryable", "kind"),
    [
        (500, "internal", False, JuxtaError),
        (503, "store-unavailable", True, Unavailable),
        (503, "something-new", True, ProviderUnavailable),
        (418, "something-new", False, InvalidRequest),
        (504, "something-new", True, NoVerdict),
    ],
)
async def test_a_problem_is_the_error_it_was_there(
    status: int, code: str, kind: type[JuxtaError], *, retryable: bool
) -> None:
    problem = {
        "type": f"urn:juxta:problem:{code}",
        "title": "A problem",
        "status": status,
        "detail": "Told so.",
        "retryable": retryable,
        "retry_after": 7,
        "a_field_of_a_later_version": 1,
    }

    async def refuse(_request: Request) -> Response:
        return Response(json.dumps(problem), status_code=status, media_type="application/problem+json")

    async with served(app_of(refuse)) as url, HttpProviderClient(url, timeout=20.0) as client:
        error = await refusal(client.generate_comparison(comparison()))
    assert isinstance(error, kind)
    assert error.detail == "Told so."
    assert error.retry_after == 7


def queued() -> Response:
    content = ComparisonQueued(queue_id=uuid4(), correlation_id=uuid4())
    return Response(content.model_dump_json(), status_code=202, media_type="application/json")


def app_of(endpoint: Callable[[Request], Awaitable[Response]]) -> Starlette:
    return Starlette(routes=[Route("/{path:path}", endpoint, methods=["GET", "POST"])])
