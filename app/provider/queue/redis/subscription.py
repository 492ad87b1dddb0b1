"""What other processes tell: rows that became ready, and moments at which some will."""

from __future__ import annotations

import asyncio

from redis.exceptions import ResponseError

from app.errors import StoreUnavailable
from app.provider.queue.news import News
from app.provider.queue.redis.connection import Connection

QUIET = 15.0
"""Seconds without a word after which the connection is tested; then as many again until it is given up."""

PAUSE, PAUSE_CAP = 0.1, 5.0


class Subscription:
    """Listens on `channel` until it is cancelled, and passes on to `news` what others than `sender` publish.

    A connection that is lost is made anew; what was missed in between counts as news.
    """

    def __init__(self, connection: Connection, channel: str, *, sender: str, news: News) -> None:
        self._connection = connection
        self._channel = channel
        self._sender = sender.encode()
        self._news = news

    async def begin(self) -> None:
        """Subscribe; from here on nothing is missed.

        :raises StoreUnavailable: Redis is away, or does not let us listen.
        """
        (answer,) = await self._connection.ask([("SUBSCRIBE", self._channel)])
        if isinstance(answer, ResponseError):
            await self._connection.close()
            raise StoreUnavailable(f"{self._connection.name} lets nobody listen ({answer}).") from answer

    async def listen(self) -> None:
        """Run until cancelled."""
        while True:
            try:
                await self._read()
            except StoreUnavailable:
                await self._begin_again()

    async def close(self) -> None:
        """Give the connection up."""
        await self._connection.close()

    async def _begin_again(self) -> None:
        pause = PAUSE
        while True:
            await asyncio.sleep(pause)
            try:
                await self.begin()
            except StoreUnavailable:
                pause = min(PAUSE_CAP, 2 * pause)
            else:
                self._news.stir()
                return

    async def _read(self) -> None:
        silent = False
        while True:
            push = await self._connection.next_push(QUIET)
            if push is None and silent:
                await self._connection.close()
                raise StoreUnavailable(f"{self._connection.name} does not answer.")
            silent = push is None
            if push is None:
                await self._connection.tell(("PING",))
            elif push[0] == b"message":
                self._hear(push[2])

    def _hear(self, message: bytes) -> None:
        sender, edge, due_at = message.split(b" ")
        if sender == self._sender:
            return
        if due_at:
            self._news.fall_due(float(due_at))
        if edge:
            self._news.stir()
