"""A server that says, byte for byte, what a test tells it to say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

Said = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


class Heard(NamedTuple):
    """One request, as it came."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]


class ScriptedServer:
    """Answers the first request with the first of `said`, and so on; the last one stays."""

    def __init__(self, *said: Said) -> None:
        self._said = said
        self.heard: list[Heard] = []
        self.spoken_to = asyncio.Event()
        self.hung_up = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            self.hung_up.set()
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        self.heard.append(Heard(first.split()[1], headers, body))
        self.spoken_to.set()
        said = self._said[min(len(self.heard), len(self._said)) - 1]
        if isinstance(said, bytes):
            writer.write(said)
            await writer.drain()
            return True
        speaking = asyncio.ensure_future(said(writer))
        listening = asyncio.ensure_future(reader.read(1))
        try:
            done, _ = await asyncio.wait({speaking, listening}, return_when=asyncio.FIRST_COMPLETED)
            if listening in done:
                self.hung_up.set()
        finally:
            for part in (speaking, listening):
                part.cancel()
            await asyncio.gather(speaking, listening, return_exceptions=True)
        return False


def http(body: bytes | str | object, status: int = 200, **headers: str) -> bytes:
    """A whole answer."""
    content = (
        body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    )
    named = {"content_type": "application/json", "content_length": str(len(content)), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode() + content
