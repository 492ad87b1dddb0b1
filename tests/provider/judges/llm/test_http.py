"""The HTTP client of the models: whatever a server does, it is over in time and has a class."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from time import monotonic

import anyio
import pytest

from app.provider.judges.llm.http import ModelClient
from app.provider.judges.llm.wire import Answer, Call
from app.provider.judges.protocol import JudgeError
from tests.provider.judges.llm.scripted import Said, ScriptedServer, http

pytestmark = pytest.mark.anyio
SECRET = "sesame"
PATIENCE = 30.0


@pytest.fixture
async def client() -> AsyncIterator[ModelClient]:
    async with ModelClient(connect=0.5, largest=20_000) as opened:
        yield opened


async def post(client: ModelClient, url: str, *, total: float = PATIENCE) -> Answer:
    return await client.post(
        Call(f"{url}/v1/{SECRET}", {"authorization": SECRET}, {"q": SECRET}), total=total
    )


async def failure(client: ModelClient, said: Said, *, total: float = PATIENCE) -> JudgeError:
    async with ScriptedServer(said) as server:
        with pytest.raises(JudgeError) as caught:
            await post(client, server.url, total=total)
        assert len(server.heard) <= 1, "nothing is tried again inside"
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None
    return caught.value


def fate(error: JudgeError) -> tuple[str, bool, bool]:
    return error.code, error.retryable, error.trips


async def for_ever(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def hang_after_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n")
    await for_ever(writer)


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def flood(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
    while True:
        writer.write(b" " * 65_536)
        await writer.drain()


async def break_off(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
    await writer.drain()


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def test_any_status_is_an_answer(client: ModelClient) -> None:
    async with ScriptedServer(http({"a": 1}), http("no", 503, Retry_After="3")) as server:
        first = await post(client, server.url)
        assert (first.status, first.body) == (200, b'{"a": 1}')
        assert first.headers == {"content-type": "application/json", "content-length": "8"}
        second = await post(client, server.url)
    assert (second.status, second.headers["retry-after"], second.body) == (503, "3", b"no")
    assert server.heard[0].headers["accept-encoding"] == "identity"
    assert server.heard[0].headers["content-type"] == "application/json"


@pytest.mark.parametrize("said", [for_ever, hang_after_headers, drip])
async def test_silence_and_dripping_end_at_the_deadline(client: ModelClient, said: Said) -> None:
    began = monotonic()
    error = await failure(client, said, total=0.3)
    assert fate(error) == ("timeout", True, True)
    assert monotonic() - began < PATIENCE / 3


@pytest.mark.parametrize(
    "said", [break_off, hang_up, b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"HTTP/1.1 200 OK\r\nbad\r\n\r\n"]
)
async def test_a_broken_connection_is_unavailable(client: ModelClient, said: Said) -> None:
    assert fate(await failure(client, said)) == ("unavailable", True, True)


async def test_nobody_there_is_unavailable(client: ModelClient) -> None:
    async with ScriptedServer(for_ever) as server:
        url = server.url
    for address in (url, "http://no-such-host.invalid", "http://[", "no-url"):
        with pytest.raises(JudgeError) as caught:
            await post(client, address)
        assert fate(caught.value) == ("unavailable", True, True)
        assert SECRET not in str(caught.value)


async def test_an_answer_without_end_is_left_at_the_cap(client: ModelClient) -> None:
    assert fate(await failure(client, flood)) == ("malformed", False, False)
    assert fate(await failure(client, http(b" " * 20_001))) == ("malformed", False, False)


async def test_a_gzip_bomb_is_not_unpacked(client: ModelClient) -> None:
    bomb = gzip.compress(b" " * 10_000_000)
    assert fate(await failure(client, http(bomb, Content_Encoding="gzip"))) == ("malformed", False, False)


async def test_of_an_error_whose_body_is_not_read_the_status_is_told(client: ModelClient) -> None:
    packed = http(gzip.compress(b"busy"), 503, Content_Encoding="gzip", Retry_After="3")
    for said in (packed, http(b" " * 20_001, 503, Retry_After="3")):
        async with ScriptedServer(said) as server:
            answer = await post(client, server.url)
        assert (answer.status, answer.headers["retry-after"], answer.body) == (503, "3", b"")


async def test_a_redirect_is_not_followed(client: ModelClient) -> None:
    async with ScriptedServer(http({})) as other, ScriptedServer(http("", 307, Location=other.url)) as server:
        answer = await post(client, server.url)
    assert answer.status == 307
    assert not other.heard


async def test_whoever_cancels_a_call_hangs_up_at_once(client: ModelClient) -> None:
    async with ScriptedServer(hang_after_headers) as server:
        async with anyio.create_task_group() as calls:
            calls.start_soon(post, client, server.url)
            with anyio.fail_after(PATIENCE):
                await server.spoken_to.wait()
            calls.cancel_scope.cancel()
        with anyio.fail_after(PATIENCE):
            await server.hung_up.wait()


async def test_what_is_sent_and_what_came_do_not_show_in_a_trace(client: ModelClient) -> None:
    call = Call("http://h/p", {"authorization": SECRET}, {"q": SECRET})
    assert SECRET not in repr(call) + repr(Answer(200, {"x": SECRET}, SECRET.encode()))
