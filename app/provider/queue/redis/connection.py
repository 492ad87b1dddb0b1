"""A connection that is made when it is needed, and dropped when an answer is late so that none is mixed up."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar, cast

import anyio
import hiredis
import structlog
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from app.errors import ConfigurationError, StoreUnavailable
from app.provider.queue.redis.examination import read_info, risks, unfit

Command = Sequence[str | bytes | int]

T = TypeVar("T")

EXAMINED_FOR = 5.0
"""Seconds of use after which a Redis is examined again: somebody may have set it otherwise meanwhile."""

MENDED = 2.0
"""Seconds after which to ask again what only a person can mend. cj waits up to twice as long, and is to go on within five
seconds of the moment at which it is mended."""

_REFUSED = (AuthenticationError, ResponseError)
"""What Redis says to somebody whom it will not let in later either."""

_log = structlog.get_logger(__name__)


class Connection:
    """One connection to the Redis at `url`; whoever asks is answered in order.

    At each connect, and then now and then, its Redis is examined; at each connect it is given `greeting`. Connecting takes at most `connect_timeout` seconds and
    an answer `answer_timeout`; nothing is tried again here.
    """

    def __init__(
        self, url: str, *, connect_timeout: float, answer_timeout: float, greeting: Sequence[Command] = ()
    ) -> None:
        try:
            pool = ConnectionPool.from_url(
                url,
                protocol=2,
                retry=Retry(NoBackoff(), 0),
                socket_timeout=None,  # the deadlines here hold for a whole exchange, not for each packet
                socket_connect_timeout=connect_timeout,
                socket_keepalive=True,
            )
        except ValueError as error:
            raise ConfigurationError(f"The URL of Redis cannot be read: {error}") from error
        self._raw: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]
        self._connect_timeout = connect_timeout
        self._answer_timeout = answer_timeout
        self._greeting = greeting
        self._sending = asyncio.Lock()
        self._reading = asyncio.Lock()
        self._lives = 0
        self._examined_at = 0.0
        self._unanswered = 0
        where = {"host": "localhost", "port": 6379} | pool.connection_kwargs
        self.name = f"Redis at {where.get('path') or '{host}:{port}'.format_map(where)}"

    async def open(self) -> None:
        """Connect for the first time, and warn once of what its settings may lose.

        :raises ConfigurationError: this Redis must not be used.
        :raises StoreUnavailable: it is away, or does not let us in.
        """
        info, appendfsync = await self._connect()
        if fault := unfit(info):
            await self._end()
            raise ConfigurationError(f"{self.name} {fault}.")
        if risk := risks(info, appendfsync):
            _log.warning("accepted work may be lost", redis=self.name, reason=risk)

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """One answer for each command; what Redis refuses is an error among them.

        :raises StoreUnavailable: the commands may or may not have been carried out.
        """
        if self._raw.is_connected and anyio.current_time() >= self._examined_at + EXAMINED_FOR:
            await self.examine()
        return await self._exchange(commands)

    async def examine(self) -> None:
        """Ask whether its settings may be trusted with work still.

        :raises StoreUnavailable: not now; the next question looks again.
        """
        self._examined_at = anyio.current_time()
        (memory,) = await self._exchange([("INFO", "memory")])
        if isinstance(memory, ResponseError):
            raise await self._away(f"does not say how it is set ({_words(memory)})") from memory
        if fault := unfit(read_info(memory)):
            raise await self._away(fault, retry_after=MENDED)

    async def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        async with self._sending:
            if self._raw.is_connected and not self._unanswered and await self._raw.can_read():
                await self._end()  # Redis ended it meanwhile
            if not self._raw.is_connected:
                info, _ = await self._connect()
                if fault := unfit(info):
                    raise await self._away(fault, retry_after=MENDED)
            life = self._lives
            await self._guard(self._send(commands), life, self._answer_timeout)
            self._unanswered += 1
        try:
            async with self._reading:
                return await self._guard(self._receive(len(commands), life), life, self._answer_timeout)
        finally:
            self._unanswered -= 1

    async def tell(self, command: Command) -> None:
        """Send a command whose answer will come as a push.

        :raises StoreUnavailable: the connection is lost.
        """
        await self._guard(self._send([command]), self._lives, self._answer_timeout)

    async def next_push(self, seconds: float) -> Any | None:
        """What a connection that has subscribed is sent next; None when that is nothing for so many `seconds`.

        :raises StoreUnavailable: the connection is lost.
        """
        try:
            async with asyncio.timeout(seconds):
                return await self._raw.read_response(disconnect_on_error=False)
        except TimeoutError:
            return None
        except (OSError, RedisError) as error:
            raise await self._away(f"is away ({_words(error)})") from error

    async def close(self) -> None:
        """Give the connection up; the next question makes a new one."""
        await self._end()
        await asyncio.sleep(0)  # the transport closes in the next turn of the loop

    async def _connect(self) -> tuple[dict[str, str], str | None]:
        self._lives += 1
        info, setting, *greeted = await self._guard(self._greet(), self._lives, self._connect_timeout)
        for answer in (info, *greeted):
            if isinstance(answer, ResponseError):
                raise await self._away(f"lets nobody in ({_words(answer)})") from answer
        self._examined_at = anyio.current_time()
        known = isinstance(setting, list) and setting  # a managed Redis may forbid to ask
        return read_info(info), setting[1].decode() if known else None

    async def _greet(self) -> list[Any]:
        await self._raw.connect()  # type: ignore[no-untyped-call]
        commands = (("INFO",), ("CONFIG", "GET", "appendfsync"), *self._greeting)
        await self._send(commands)
        return await self._receive(len(commands), self._lives)

    async def _send(self, commands: Sequence[Command]) -> None:
        # hiredis packs in C; what redis-py does in Python costs a third of a round trip.
        packed = [hiredis.pack_command(cast(Any, tuple(command))) for command in commands]
        try:
            await self._raw.send_packed_command(packed, check_health=False)
        except RuntimeError as error:
            # uvloop's word for a transport that ended before anybody noticed; asyncio takes the bytes and drops them.
            raise ConnectionError(str(error)) from error

    async def _receive(self, count: int, life: int) -> list[Any]:
        if life != self._lives:
            raise ConnectionError
        answers: list[Any] = []
        for _ in range(count):
            try:
                answers.append(await self._raw.read_response())
            except ResponseError as error:
                answers.append(error)
        return answers

    async def _guard(self, work: Coroutine[Any, Any, T], life: int, seconds: float) -> T:
        """Do `work` within so many seconds; a connection of which that cannot be said is given up."""
        try:
            async with asyncio.timeout(seconds):
                return await work
        except TimeoutError as error:
            raise await self._away(f"did not answer within {seconds:g} s", life=life) from error
        except AuthenticationError as error:
            raise await self._away(
                f"refuses the user or the password ({_words(error)})", life=life
            ) from error
        except ResponseError as error:
            raise await self._away(f"lets nobody in ({_words(error)})", life=life) from error
        except (OSError, RedisError) as error:
            raise await self._away(f"is away ({_words(error)})", life=life) from error
        except BaseException:
            await self._end(life)
            raise

    async def _away(
        self, what: str, *, life: int | None = None, retry_after: float = 1.0
    ) -> StoreUnavailable:
        await self._end(life)
        return StoreUnavailable(f"{self.name} {what}.", retry_after=retry_after)

    async def _end(self, life: int | None = None) -> None:
        """End the connection; whoever still waits for its answers is not to read those of the next."""
        if life in {None, self._lives}:
            self._lives += 1
            await self._raw.disconnect(nowait=True)


def at_start(error: StoreUnavailable) -> ConfigurationError | StoreUnavailable:
    """What it is to somebody who starts, and what to do about it."""
    if isinstance(error.__cause__, _REFUSED):
        return ConfigurationError(error.detail, hint="Correct redis.url, or grant what is missing.")
    return StoreUnavailable(
        error.detail, hint="Start Redis, or correct redis.url (rediss:// is for one that speaks TLS)."
    )


def _words(error: Exception) -> str:
    """The first line, as part of a sentence."""
    said = str(error).strip()
    return said.splitlines()[0].rstrip(".") if said else type(error).__name__
