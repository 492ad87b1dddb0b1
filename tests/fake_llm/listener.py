"""A port that can be closed, so that connections are refused, and opened again without anybody taking it between."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from tests.fake_llm.exchange import Connection
from tests.fake_llm.http import BadHttp

Serve = Callable[[Connection], Awaitable[None]]
READ_LIMIT = 1024 * 1024


class Listener:
    """Serves each connection in a task of its own; what a task raises is raised by `close`."""

    def __init__(self, serve: Serve, *, host: str, port: int) -> None:
        self._serve = serve
        self._host = host
        self._port = port
        self._socket = socket.socket()
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], Connection] = {}
        self._failures: list[BaseException] = []

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://{self._host}:{self._port}"

    async def open(self) -> None:
        """Serve, if it does not yet."""
        if self._server is None:
            self._bind()
            self._server = await asyncio.start_server(
                self._connected, sock=self._socket, limit=READ_LIMIT, backlog=1024
            )

    @property
    def is_open(self) -> bool:
        """Whether it accepts connections."""
        return self._server is not None

    def refuse(self) -> None:
        """Close the port and keep it; reset every connection that is not spared."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._bind()
        for connection in self._connections.values():
            if not connection.spared:
                connection.reset()

    async def close(self) -> None:
        """End everything.

        :raises BaseExceptionGroup: the server itself was at fault.
        """
        if self._server is not None:
            self._server.close()
        self._socket.close()
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._failures:
            raise BaseExceptionGroup("the fake server failed", self._failures)

    def _bind(self) -> None:
        """Bound and not listening, a port refuses."""
        if self._socket.fileno() < 0 or self._port == 0 or self._socket.getsockname()[1] != self._port:
            self._socket.close()
            self._socket = socket.socket()
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((self._host, self._port))
            self._port = self._socket.getsockname()[1]

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        task = asyncio.get_running_loop().create_task(self._run(connection))
        self._connections[task] = connection
        task.add_done_callback(self._done)

    async def _run(self, connection: Connection) -> None:
        try:
            await self._serve(connection)
        except (BadHttp, ConnectionError):
            # A client that leaves or does not speak HTTP is no failure of the server.
            pass
        finally:
            connection.close()

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._connections[task]
        if not task.cancelled() and (error := task.exception()):
            self._failures.append(error)
