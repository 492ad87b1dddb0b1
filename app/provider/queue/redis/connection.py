"""A connection that is made when it is needed, and dropped when an answer is late so that none is mixed up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import structlog
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from app.errors import ConfigurationError, StoreUnavailable
from app.provider.queue.redis.examination import read_info, risks, unfit

Command = Sequence[str | bytes | int]

_log = structlog.get_logger(__name__)


class Connection:
    """One connection to the Redis at `url`, used by one caller at a time; its Redis is examined at each connect.

    Connecting takes at most `connect_timeout` seconds and an answer `answer_timeout`; nothing is tried again here.
    """

    def __init__(self, url: str, *, connect_timeout: float, answer_timeout: float) -> None:
        pool = ConnectionPool.from_url(
            url,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,  # the deadlines here hold for a whole exchange, not for each packet
            socket_connect_timeout=connect_timeout,
            socket_keepalive=True,
        )
        self._raw: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]
        self._connect_timeout = connect_timeout
        self._answer_timeout = answer_timeout
        where = pool.connection_kwargs
        self.name = f"Redis at {where.get('path') or '{host}:{port}'.format_map({'host': 'localhost', 'port': 6379, **where})}"

    async def open(self) -> None:
        """Connect for the first time, and warn once of what its settings may lose.

        :raises ConfigurationError: this Redis must not be used.
        :raises StoreUnavailable: it is away.
        """
        info, appendfsync = await self._connect()
        if fault := unfit(info):
            await self.close()
            raise ConfigurationError(f"{self.name} {fault}.")
        if risk := risks(info, appendfsync):
            _log.warning("accepted work may be lost", redis=self.name, reason=risk)

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """One answer for each command; what Redis refuses is an error among them.

        :raises StoreUnavailable: the commands may or may not have been carried out.
        """
        if self._raw.is_connected and await self._raw.can_read():
            await self._raw.disconnect(nowait=True)  # Redis ended it meanwhile
        if not self._raw.is_connected:
            info, _ = await self._connect()
            if fault := unfit(info):
                await self.close()
                raise StoreUnavailable(f"{self.name} {fault}.", retry_after=5.0)
        try:
            async with asyncio.timeout(self._answer_timeout):
                return await self._exchange(commands)
        except TimeoutError as error:
            raise await self._away(f"did not answer within {self._answer_timeout:g} s") from error
        except (OSError, RedisError) as error:
            raise await self._away("is away") from error
        except BaseException:
            await self._raw.disconnect(nowait=True)
            raise

    async def tell(self, command: Command) -> None:
        """Send a command whose answer will come as a push.

        :raises StoreUnavailable: the connection is lost.
        """
        try:
            async with asyncio.timeout(self._answer_timeout):
                await self._raw.send_packed_command(self._raw.pack_commands([command]), check_health=False)
        except (TimeoutError, OSError, RedisError) as error:
            raise await self._away("is away") from error

    async def next_push(self, seconds: float) -> Any | None:
        """What a connection that has subscribed is sent next; None when that is nothing for so many `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                return await self._raw.read_response(disconnect_on_error=False)
        except TimeoutError:
            return None
        except (OSError, RedisError) as error:
            raise await self._away("is away") from error

    async def close(self) -> None:
        """Give the connection up; the next question makes a new one."""
        await self._raw.disconnect(nowait=True)
        await asyncio.sleep(0)  # the transport closes in the next turn of the loop

    async def _connect(self) -> tuple[dict[str, str], str | None]:
        try:
            async with asyncio.timeout(self._connect_timeout):
                await self._raw.connect()  # type: ignore[no-untyped-call]
                info, setting = await self._exchange([("INFO",), ("CONFIG", "GET", "appendfsync")])
        except TimeoutError as error:
            raise await self._away(f"did not answer within {self._connect_timeout:g} s") from error
        except (OSError, RedisError) as error:
            raise await self._away("is away") from error
        except BaseException:
            await self._raw.disconnect(nowait=True)
            raise
        if isinstance(info, ResponseError):
            raise await self._away(f"refuses INFO ({info})")
        appendfsync = (
            setting[1].decode() if isinstance(setting, list) and setting else None
        )  # may be forbidden
        return read_info(info), appendfsync

    async def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        await self._raw.send_packed_command(self._raw.pack_commands(commands), check_health=False)
        answers: list[Any] = []
        for _ in commands:
            try:
                answers.append(await self._raw.read_response())
            except ResponseError as error:
                answers.append(error)
        return answers

    async def _away(self, what: str) -> StoreUnavailable:
        await self._raw.disconnect(nowait=True)
        return StoreUnavailable(f"{self.name} {what}.", retry_after=1.0)


def as_text(value: Any) -> str:
    """A word of an answer."""
    return cast(bytes, value).decode()
