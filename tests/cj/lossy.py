"""A way to PostgreSQL on which the answer to a commit gets lost: it is stored, and nobody knows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit


class Lossy:
    """Passes everything on, except that after a COMMIT for which `loses` says so it hangs up when it was stored.

    Connections that only read lose nothing: there is nothing to be unsure of.
    """

    def __init__(self, url: str) -> None:
        self._to = urlsplit(url)
        self.url = ""
        self.lost = 0
        self.loses: Callable[[], bool] = lambda: False

    async def _serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        server, forth = await asyncio.open_connection(self._to.hostname, self._to.port)
        answers = asyncio.create_task(_pass_on(server, back))
        writes = True
        try:
            while asked := await client.read(65_536):
                writes = writes and b"read_only=on" not in asked
                losing = writes and b"COMMIT\0" in asked and self.loses()
                if losing:
                    answers.cancel()
                    with suppress(asyncio.CancelledError):
                        await answers
                forth.write(asked)
                if losing:
                    await server.read(65_536)
                    self.lost += 1
                    break
        finally:
            answers.cancel()
            for end in (forth, back):
                end.close()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Lossy]:
        """Serve on a free port."""
        listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with listening:
            port = listening.sockets[0].getsockname()[1]
            self.url = self._to._replace(netloc=f"{self._to.username}@127.0.0.1:{port}").geturl()
            yield self


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while answer := await source.read(65_536):
        target.write(answer)
    target.close()
