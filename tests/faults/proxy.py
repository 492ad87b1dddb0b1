"""A TCP proxy that breaks at a known moment: what networks do to connections, without a network."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Any, Self, TypeVar

T = TypeVar("T")

FEW, EVERY = 16, 0.25
"""A slow link carries so many bytes in so many seconds."""
_CHUNK = 65_536
_RST_ON_CLOSE = struct.pack("ii", 1, 0)
_OVER = 10.0


class Fault(StrEnum):
    """What a link does for a while. Reset and cut end connections in the middle of a message."""

    RESET = "reset"
    """RST to both ends."""
    CUT = "cut"
    """FIN to both ends."""
    WITHHOLD = "withhold"
    """Bytes are taken and not passed on."""
    SLOW = "slow"
    """A few bytes a second."""


class Way(StrEnum):
    """The direction a fault looks at. What is broken there is broken for the whole connection."""

    THERE = "there"
    BACK = "back"


@dataclass
class Storm:
    """A fault on its way. With `lost`, what was withheld or slow is reset at the end instead of delivered late."""

    fault: Fault
    ways: frozenset[Way]
    lost: bool
    random: Random
    over: asyncio.Event = field(default_factory=asyncio.Event)
    felt: set[int] = field(default_factory=set)


class _Ended(Exception):
    """The fault ended this connection."""


class _Link:
    """One connection: the client's half and the server's."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.ends = (client, server)
        self.ended = False

    def write(self, end: asyncio.StreamWriter, data: bytes) -> None:
        if self.ended:
            raise _Ended
        end.write(data)

    def reset(self) -> None:
        self.ended = True
        for end in self.ends:
            with suppress(OSError):
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
            end.transport.abort()

    def cut(self) -> None:
        """FIN, and the sockets stay until the other ends let go: closed at once with bytes unread, they send RST."""
        self.ended = True
        for end in self.ends:
            with suppress(OSError, RuntimeError):
                end.write_eof()


class Proxy:
    """A port in front of another one. `target` may be set after the start, and while it is 0 nobody is let in."""

    def __init__(self, network: Network, server: asyncio.Server, target: int) -> None:
        self.target = target
        self.port: int = server.sockets[0].getsockname()[1]
        self.felt: Counter[Fault] = Counter()
        """Faults that at least one connection felt."""
        self._network = network
        self._links: set[_Link] = set()
        self._storm: Storm | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def strike(self, fault: Fault, seconds: float, *, ways: frozenset[Way], lost: bool, seed: int) -> bool:
        """Do this to the link for so long; whether any connection felt it."""
        return self._network.run(self._strike(Storm(fault, ways, lost, Random(seed)), seconds))

    async def _strike(self, storm: Storm, seconds: float) -> bool:
        self._storm = storm
        await asyncio.sleep(seconds)
        self._storm = None
        for link in [*self._links]:
            ends = storm.fault is Fault.RESET or (storm.lost and id(link) in storm.felt)
            if ends:
                link.reset()
            elif storm.fault is Fault.CUT:
                link.cut()
            if ends or storm.fault is Fault.CUT:
                storm.felt.add(id(link))  # those that were idle too
        storm.over.set()
        if storm.felt:
            self.felt[storm.fault] += 1
        return bool(storm.felt)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection to its end."""
        try:
            there = await asyncio.open_connection("127.0.0.1", self.target)
        except (OSError, OverflowError):
            writer.transport.abort()
            return
        link = _Link(writer, there[1])
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, there[1], link, Way.THERE))
                pumps.create_task(self._pump(there[0], writer, link, Way.BACK))
        except* (OSError, _Ended):
            pass
        finally:
            self._links.discard(link)
            for end in link.ends:
                end.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: _Link, way: Way
    ) -> None:
        while data := await reader.read(_CHUNK):
            data = await self._weather(data, writer, link, way)
            link.write(writer, data)
            await writer.drain()
        with suppress(OSError, RuntimeError):
            writer.write_eof()

    async def _weather(self, data: bytes, writer: asyncio.StreamWriter, link: _Link, way: Way) -> bytes:
        """Suffer what is on this way now; returns what may be passed on after it."""
        while data and (storm := self._storm) is not None and way in storm.ways:
            storm.felt.add(id(link))
            if storm.fault is Fault.WITHHOLD:
                await storm.over.wait()
            elif storm.fault is Fault.SLOW:
                link.write(writer, data[:FEW])
                data = data[FEW:]
                with suppress(TimeoutError):
                    await asyncio.wait_for(storm.over.wait(), EVERY)
            else:
                link.write(writer, data[: storm.random.randrange(len(data))])
                if storm.fault is Fault.RESET:
                    link.reset()
                else:
                    link.cut()
                    await asyncio.sleep(EVERY)  # both ends read their FIN
                raise _Ended
        return data


class Network:
    """The thread that all proxies run in."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._servers: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_OVER)
        self._loop.close()

    def proxy(self, target: int = 0) -> Proxy:
        """A port that leads to `target`."""
        return self.run(self._open(target))

    async def _open(self, target: int) -> Proxy:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await proxy.serve(reader, writer)

        server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=512)
        self._servers.append(server)
        proxy = Proxy(self, server, target)
        return proxy

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it in the thread and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)  # transports close in the next turn of the loop
