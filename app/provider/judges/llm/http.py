"""The one HTTP client of all language models: deadlines, a cap on answers, no redirects, and no second attempt."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Mapping
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from app.provider.judges.llm.wire import KEYS, Answer, Call
from app.provider.judges.protocol import JudgeError

LARGEST = 1_000_000
OK = 200


class ModelClient:
    """Sends one request and gives back what came, whatever its status. Enter it before use.

    `connect` and `total` are seconds, `largest` bytes. Compressed answers are not asked for and not read: a small one
    may unpack to anything. Of an error with such a body, or one over the cap, the status is told without it. The caller's cancellation ends a call at once and closes its connection.
    """

    def __init__(self, *, connect: float = 5.0, largest: int = LARGEST) -> None:
        self._connect = connect
        self._largest = largest

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # lanes bound the calls
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"accept-encoding": "identity", "user-agent": "juxta"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def post(self, call: Call, *, total: float) -> Answer:
        """Send it and read the answer within `total` seconds.

        :raises JudgeError: `unavailable` without an answer, `timeout` beyond the deadline, `malformed` over the cap.
        """
        body = json.dumps(call.body, ensure_ascii=False, separators=(",", ":")).encode()
        headers = {"content-type": "application/json", **call.headers}
        return await self._answer(self._send("POST", call.url, headers, body, total), total)

    async def get(self, url: str, headers: Mapping[str, str], *, total: float) -> Answer:
        """As `post`, of what costs nothing to look at."""
        return await self._answer(self._send("GET", url, headers, None, total), total)

    async def _answer(self, sending: Awaitable[Answer], total: float) -> Answer:
        problem: JudgeError
        try:
            return await sending
        except TimeoutError as error:
            if isinstance(error, aiohttp.ConnectionTimeoutError):
                problem = _away("no connection in time")
            else:
                problem = JudgeError("timeout", f"No answer within {total:g} s.", retryable=True, trips=True)
        except (aiohttp.ClientError, ValueError, OSError) as error:
            problem = _away(type(error).__name__)
        raise problem  # here, so that no error in its context holds an address, a header or a text

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, total: float
    ) -> Answer:
        async with self._session.request(
            method,
            URL(url, encoded=True),
            data=body,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=total, connect=self._connect),
            allow_redirects=False,
        ) as response:
            keyed = not KEYS.isdisjoint(headers)
            sent = {name.lower(): value for name, value in response.headers.items()}
            if sent.get("content-encoding", "identity").lower() != "identity":
                response.close()
                if response.status != OK:
                    return Answer(response.status, sent, b"", keyed)
                raise JudgeError("malformed", "The answer is compressed, which was not asked for.")
            content = bytearray()
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) > self._largest:
                    response.close()
                    if response.status != OK:
                        return Answer(response.status, sent, b"", keyed)
                    raise JudgeError("malformed", f"The answer is larger than {self._largest} bytes.")
            return Answer(response.status, sent, bytes(content), keyed)


def _away(how: str) -> JudgeError:
    return JudgeError("unavailable", f"The provider cannot be reached ({how}).", retryable=True, trips=True)
