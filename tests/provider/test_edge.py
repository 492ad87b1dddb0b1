"""What a bad or slow client gets, over a real socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from uuid import UUID

import anyio
import httpx2
import pytest
from anyio.abc import SocketStream
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from app.contracts import LLMComparisonRequest, Problem
from app.edge import (
    EXCEPTION_HANDLERS,
    DeadlineProtocol,
    invalid,
    parse,
    problem_of,
    problem_response,
    read_body,
    until_the_end,
)
from app.errors import InvalidRequest, JuxtaError, MalformedBody, QueueFull, StoreUnavailable, TooLarge
from tests.provider.provider_world import served

pytestmark = pytest.mark.anyio


class Hasty(DeadlineProtocol):
    header_deadline = 0.2


async def echo(request: Request) -> Response:
    return PlainTextResponse(str(len(await read_body(request, limit=100, deadline=0.2))))


async def broken(_request: Request) -> Response:
    raise ZeroDivisionError("essay text that must not leave")


@pytest.fixture
async def port() -> AsyncIterator[int]:
    app = Starlette(
        routes=[Route("/", echo, methods=["POST"]), Route("/broken", broken)],
        exception_handlers=dict(EXCEPTION_HANDLERS),
    )
    async with served(app, http=Hasty) as port:
        yield port


async def everything(stream: SocketStream) -> bytes:
    seen = b""
    with anyio.fail_after(5):
        while True:
            try:
                seen += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return seen


async def talk(port: int, *pieces: bytes) -> bytes:
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        for piece in pieces:
            await stream.send(piece)
        return await everything(stream)


def problem(answer: bytes) -> tuple[bytes, Problem]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    return head, Problem.model_validate_json(body)


async def test_a_body_that_fits_is_read_in_any_pieces(port: int) -> None:
    answer = await talk(
        port,
        b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-le",
        b"ngth: 10\r\n\r\n12345",
        b"67890",
    )
    assert answer.endswith(b"10")


async def test_a_body_announced_too_large_is_413_and_the_connection_ends(port: int) -> None:
    head, found = problem(await talk(port, b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 101\r\n\r\n"))
    assert head.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in head
    assert found.code == "too-large"


async def test_a_body_that_grows_too_large_is_413(port: int) -> None:
    chunk = b"40\r\n" + b"x" * 64 + b"\r\n"
    head, _ = problem(
        await talk(port, b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n", chunk, chunk)
    )
    assert head.startswith(b"HTTP/1.1 413")


async def test_a_body_that_does_not_come_is_408_and_the_connection_ends(port: int) -> None:
    head, found = problem(await talk(port, b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n123"))
    assert head.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in head
    assert found.retryable


async def test_a_client_who_says_nothing_is_hung_up_on(port: int) -> None:
    assert await talk(port) == b""


async def test_headers_that_do_not_end_are_hung_up_on(port: int) -> None:
    assert await talk(port, b"POST / HTTP/1.1\r\nhost: x\r\n") == b""


async def test_slow_headers_of_a_second_request_are_hung_up_on_too(port: int) -> None:
    whole = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nok"
    answer = await talk(port, whole, b"POST / HTTP/1.1\r\nho")
    assert answer.count(b"HTTP/1.1 200") == 1
    assert answer.endswith(b"2")


async def test_unknown_paths_and_methods_are_problems_too(port: int) -> None:
    head, found = problem(await talk(port, b"GET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
    assert found.status == 404
    head, found = problem(await talk(port, b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
    assert found.status == 405
    assert b"allow: POST" in head


async def test_a_bug_is_a_500_that_says_nothing_of_itself(port: int) -> None:
    answer = await talk(port, b"GET /broken HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    _, found = problem(answer)
    assert found.code == "internal"
    assert b"essay" not in answer
    assert b"Zero" not in answer


@pytest.mark.parametrize(
    ("error", "after"),
    [(QueueFull("full", retry_after=7.2), "8"), (StoreUnavailable("away"), "1"), (TooLarge("big"), None)],
)
async def test_who_is_sent_away_for_now_is_told_for_how_long(error: JuxtaError, after: str | None) -> None:
    response = problem_response(error, UUID(int=1))
    assert response.headers.get("retry-after") == after
    assert json.loads(bytes(response.body))["correlation_id"] == str(UUID(int=1))


def fault(raw: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        parse(LLMComparisonRequest, raw)
    return caught.value


async def test_what_is_not_json_is_400_and_what_is_not_the_model_is_422() -> None:
    assert isinstance(fault(b"{"), MalformedBody)
    assert fault(b"{").status == 400
    assert fault(b"[]").status == 422


SECRET = "my secret essay"


def faulty(**fields: object) -> bytes:
    return json.dumps({"essay_a": SECRET, "essay_b": SECRET, "user_prompt": SECRET} | fields).encode()


@pytest.mark.parametrize(
    "raw",
    [
        faulty(),
        faulty(essay_a=[SECRET]),
        faulty(correlation_id=SECRET),
        faulty(metadata={"x": SECRET * 400}),
        faulty(priority=SECRET),
        faulty(llm_config_overrides={"reasoning_effort": SECRET}),
        faulty(essay_a=SECRET + "\x00"),
    ],
)
async def test_errors_name_fields_and_never_echo_what_was_in_them(raw: bytes) -> None:
    error = fault(raw)
    body = bytes(problem_response(error).body)
    assert error.errors
    assert SECRET.encode() not in body


async def test_keys_of_the_caller_are_shortened_and_made_printable() -> None:
    error = fault(json.dumps({"k\x00" * 500: 1, "\x1b[2J": 2}).encode())
    found = Problem.model_validate_json(bytes(problem_response(error).body))
    assert all(len(fault.field) <= 200 and fault.field.isprintable() for fault in found.errors)


async def test_a_thousand_faults_are_not_all_told() -> None:
    assert len(fault(json.dumps({str(n): n for n in range(1000)}).encode()).errors) == 20


async def test_a_validation_error_may_be_answered_directly() -> None:
    with pytest.raises(ValidationError) as caught:
        LLMComparisonRequest.model_validate_json(b"{}")
    assert problem_response(caught.value).status_code == 422
    assert invalid(caught.value).errors


async def test_a_stored_problem_is_shown_as_it_was_stored() -> None:
    stored = Problem(type="urn:juxta:problem:refused", title="No", status=502, detail="No.", retryable=True)
    error = JuxtaError("outer")
    error.problem = stored  # type: ignore[attr-defined]
    assert problem_of(error) == stored


async def test_what_is_cut_off_at_the_end_of_the_grace_is_sent_away_and_not_called_a_bug() -> None:
    begun = anyio.Event()

    async def hangs(_request: Request) -> Response:
        begun.set()
        await anyio.sleep_forever()
        raise AssertionError

    answers: list[httpx2.Response] = []

    async def ask(port: int) -> None:
        async with httpx2.AsyncClient() as client:
            answers.append(await client.get(f"http://127.0.0.1:{port}/"))

    async with anyio.create_task_group() as asking:
        app = until_the_end(Starlette(routes=[Route("/", hangs)]))
        async with served(app) as port:
            asking.start_soon(ask, port)
            await begun.wait()
    (answer,) = answers
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert Problem.model_validate_json(answer.content).retryable
