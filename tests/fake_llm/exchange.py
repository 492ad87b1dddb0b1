"""One call on the wire: what a misbehaviour holds in its hands."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass

from tests.fake_llm.dialect import Ask, Completion, Denied, Dialect, Fault, Quota
from tests.fake_llm.http import Answer

LINGER_NOT = struct.pack("ii", 1, 0)
READ_AT_ONCE = 65_536


class Connection:
    """A client's connection, as near to the socket as asyncio lets one come; `spared` when others are cut."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.spared = False

    async def write(self, data: bytes) -> None:
        """Send it; returns when the client takes it.

        :raises ConnectionError: the client has left.
        """
        if self.writer.is_closing():
            raise ConnectionResetError
        self.writer.write(data)
        await self.writer.drain()

    async def gone(self) -> None:
        """Return when the client has left."""
        while await self.reader.read(READ_AT_ONCE):
            pass
        self.close()

    def reset(self) -> None:
        """Break off with RST: what was sent may arrive, the end never does."""
        if not self.writer.is_closing():
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        self.writer.transport.abort()

    def close(self) -> None:
        """End it in good order, after what was written."""
        self.writer.close()


@dataclass
class Exchange:
    """A valid call, and the good answer to it that a misbehaviour spoils. `wait` is what Retry-After shall say."""

    connection: Connection
    dialect: Dialect
    ask: Ask
    good: Completion
    id: str
    quota: Quota | None
    wait: float = 1.0
    pace: float = 1.0
    status: int = 0
    billed: Completion | None = None
    whole: bool = False

    def answer(self, completion: Completion | None = None) -> Answer:
        """The answer that carries these words, or the good ones; its tokens are billed from here on."""
        self.billed = completion or self.good
        return Answer(200, self.dialect.write(self.ask, self.billed, request_id=self.id), self._headers())

    def denial(self, fault: Fault, *, wait: float | None = None) -> Answer:
        """The vendor's refusal."""
        answer = self.dialect.deny(Denied(fault, wait=wait), request_id=self.id)
        return Answer(answer.status, answer.body, {**answer.headers, **self._headers()})

    async def send(self, answer: Answer) -> None:
        """All of it."""
        await self.begin(answer)
        await self.connection.write(answer.body)
        self.whole = True

    async def begin(self, answer: Answer, *, length: int | None = None) -> None:
        """Only its head."""
        self.status = answer.status
        await self.connection.write(answer.head(length=length))

    def _headers(self) -> dict[str, str]:
        return self.dialect.headers(request_id=self.id, quota=self.quota)
