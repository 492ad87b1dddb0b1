"""Just enough HTTP/1.1 over streams to answer well, and close enough to the wire to answer badly."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

BODY_LIMIT = 32 * 1024 * 1024
OVERLOADED = 529


class BadHttp(Exception):
    """What came in is no HTTP request that this server reads; the connection is closed."""


@dataclass(frozen=True)
class Request:
    """One request, whole. The names of headers are lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What is sent back: JSON, unless the headers say otherwise."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def having(self, **headers: str) -> Answer:
        """The same with these headers, whose underscores stand for hyphens."""
        return replace(self, headers={**self.headers, **{k.replace("_", "-"): v for k, v in headers.items()}})

    def head(self, *, length: int | None = None) -> bytes:
        """The status line and the headers, with the length of the body or the one given."""
        headers = {"content-type": "application/json", "content-length": str(len(self.body)), **self.headers}
        if length is not None:
            headers["content-length"] = str(length)
        if "transfer-encoding" in headers:
            del headers["content-length"]
        lines = [
            f"HTTP/1.1 {self.status} {_reason(self.status)}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request of a connection; none when the client has left.

    :raises BadHttp: it cannot be read.
    """
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError as error:
        raise BadHttp("the head is too long") from error
    start, *lines = head.split("\r\n")
    try:
        method, target, _ = start.split(" ")
        headers = {
            name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines if line)
        }
        body = await _read_body(reader, headers)
    except (ValueError, asyncio.LimitOverrunError) as error:
        raise BadHttp("the request cannot be read") from error
    except asyncio.IncompleteReadError:
        return None
    url = urlsplit(target)
    return Request(method, url.path, dict(parse_qsl(url.query)), headers, body)


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        length = int(headers.get("content-length", "0"))
        if not 0 <= length <= BODY_LIMIT:
            raise BadHttp("the body is too long")
        return await reader.readexactly(length)
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        if len(body) + size > BODY_LIMIT:
            raise BadHttp("the body is too long")
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return body


def _reason(status: int) -> str:
    return "Overloaded" if status == OVERLOADED else HTTPStatus(status).phrase
