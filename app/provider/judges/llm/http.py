"""The one HTTP client of all language models: deadlines, a cap on answers, no redirects, and no second attempt."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from app.provider.judges.llm.wire import Answer, Call
from app.provider.judges.protocol import JudgeError

LARGEST = 1_000_000


class ModelClient:
    """Sends one POST and gives back what came, whatever its status. Enter it before use.

    `connect` and `total` are seconds, `largest` bytes. Compressed answers are not asked for and not read: a small one
    may unpack to anything. The caller's cancellation ends a call at once and closes its connection.
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
        problem: JudgeError
        try:
            return await self._send(call, total)
        except TimeoutError as error:
            if isinstance(error, aiohttp.ConnectionTimeoutError):
                problem = _away("no connection in time")
            else:
                problem = JudgeError("timeout", f"No answer within {total:g} s.", retryable=True, trips=True)
        except (aiohttp.ClientError, ValueError, OSError) as error:
            problem = _away(type(error).__name__)
        raise problem  # here, so that no error in its context holds an address, a header or a text

    async def _send(self, call: Call, total: float) -> Answer:
        async with self._session.post(
            URL(call.url, encoded=True),
            data=json.dumps(call.body, ensure_ascii=False, separators=(",", ":")).encode(),
            headers={"content-type": "application/json", **call.headers},
            timeout=aiohttp.ClientTimeout(total=total, connect=self._connect),
            allow_redirects=False,
        ) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            if headers.get("content-encoding", "identity").lower() != "identity":
                response.close()
                raise JudgeError("malformed", "The answer is compressed, which was not asked for.")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > self._largest:
                    response.close()
                    raise JudgeError("malformed", f"The answer is larger than {self._largest} bytes.")
            return Answer(response.status, headers, bytes(body))


def _away(how: str) -> JudgeError:
    return JudgeError("unavailable", f"The provider cannot be reached ({how}).", retryable=True, trips=True)
