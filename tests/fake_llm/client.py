"""A client for the tests of the fake: one valid question in each format, sent over a bare socket, and all that came."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

KEY = "canary-key-5f0c"
MODEL = "model-1"
MARK = "0123456789abcdef"
LOST, WON = "A short text.", "A much longer text, of two sentences.\nOne of them on a line of its own."
FORMATS = ("openai", "anthropic", "google")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "justification": {"type": "string"},
        "winner": {"type": "string", "enum": ["A", "B", "tie"]},
        "confidence": {"type": "string", "enum": ["very_low", "low", "medium", "high", "very_high"]},
    },
    "required": ["justification", "winner", "confidence"],
    "additionalProperties": False,
}


def prompt(essay_a: str = LOST, essay_b: str = WON) -> str:
    """Both essays between lines that carry a mark."""
    parts = (
        f"[[BEGIN ESSAY {x} {MARK}]]\n{text}\n[[END ESSAY {x} {MARK}]]"
        for x, text in zip("AB", (essay_a, essay_b), strict=True)
    )
    return "\n\n".join(["Which of the two is better?", *parts, "Answer in JSON."])


def question(name: str, text: str | None = None) -> tuple[str, dict[str, str], dict[str, Any]]:
    """The path, the headers and the body of a valid call."""
    text = prompt() if text is None else text
    body: dict[str, Any]
    match name:
        case "openai":
            wanted = {
                "type": "json_schema",
                "json_schema": {"name": "verdict", "strict": True, "schema": SCHEMA},
            }
            body = {
                "model": MODEL,
                "messages": [{"role": "user", "content": text}],
                "response_format": wanted,
            }
            return "/v1/chat/completions", {"authorization": f"Bearer {KEY}"}, body
        case "anthropic":
            output = {"format": {"type": "json_schema", "schema": SCHEMA}}
            turn = {"role": "user", "content": text}
            body = {"model": MODEL, "max_tokens": 500, "messages": [turn], "output_config": output}
            return "/v1/messages", {"x-api-key": KEY, "anthropic-version": "2026-10-21"}, body
        case _:
            schema = {key: value for key, value in SCHEMA.items() if key != "additionalProperties"}
            config = {"responseMimeType": "application/json", "responseSchema": schema}
            body = {"contents": [{"role": "user", "parts": [{"text": text}]}], "generationConfig": config}
            return f"/v1beta/models/{MODEL}:generateContent", {"x-goog-api-key": KEY}, body


@dataclass(frozen=True)
class Seen:
    """All bytes that came, and how it ended: closed, reset, or silent with the connection open."""

    data: bytes
    end: Literal["closed", "reset", "silent"]

    @property
    def status(self) -> int:
        return int(self.data.split(b" ", 2)[1])

    @property
    def headers(self) -> dict[str, str]:
        _, *lines = self.data.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        return dict(line.split(": ", 1) for line in lines)

    @property
    def body(self) -> bytes:
        body = self.data.partition(b"\r\n\r\n")[2]
        return _joined(body) if self.headers.get("transfer-encoding") == "chunked" else body

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    def words(self, name: str) -> str:
        """What the model says in this answer."""
        body = self.json
        match name:
            case "openai":
                message = body["choices"][0]["message"]
                return str(message["refusal"] or message["content"])
            case "anthropic":
                return "".join(block["text"] for block in body["content"])
            case _:
                return "".join(part["text"] for part in body["candidates"][0]["content"].get("parts", ()))

    def stop(self, name: str) -> str:
        """Why the model stopped."""
        body = self.json
        match name:
            case "openai":
                return str(body["choices"][0]["finish_reason"])
            case "anthropic":
                return str(body["stop_reason"])
            case _:
                return str(body["candidates"][0]["finishReason"])


async def ask(
    url: str,
    name: str,
    *,
    text: str | None = None,
    changed: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    first: float = 20.0,
    patience: float = 20.0,
) -> Seen:
    """Send the question of this format, with these top-level fields (`...`: left out) or headers changed.

    `first`: seconds to wait for the first byte, `patience` from there to the end.
    """
    path, own, body = question(name, text)
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    sent = {key: value for key, value in {**body, **(changed or {})}.items() if value is not ...}
    data = json.dumps(sent).encode()
    length = {"content-length": str(len(data)), "connection": "close"}
    lines = [
        f"{key}: {value}" for key, value in {"host": where.netloc, **own, **(headers or {}), **length}.items()
    ]
    try:
        writer.write("\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""]).encode() + data)
        return await _listen(reader, first, patience)
    finally:
        writer.close()


async def winner(url: str, name: str, essay_a: str, essay_b: str) -> str:
    """Which of them the model names."""
    seen = await ask(url, name, text=prompt(essay_a, essay_b))
    return str(json.loads(seen.words(name))["winner"])


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return when it holds; five seconds must do."""
    async with asyncio.timeout(5):
        while not await condition():  # noqa: ASYNC110 - a server tells nobody
            await asyncio.sleep(0.01)


async def _listen(reader: asyncio.StreamReader, first: float, patience: float) -> Seen:
    chunks: list[bytes] = []
    try:
        async with asyncio.timeout(first) as deadline:
            while chunk := await reader.read(2**20):
                if not chunks:
                    deadline.reschedule(asyncio.get_running_loop().time() + patience)
                chunks.append(chunk)
    except TimeoutError:
        return Seen(b"".join(chunks), "silent")
    except ConnectionResetError:
        return Seen(b"".join(chunks), "reset")
    return Seen(b"".join(chunks), "closed")


def _joined(chunked: bytes) -> bytes:
    parts: list[bytes] = []
    at = 0
    while True:
        end = chunked.index(b"\r\n", at)
        size = int(chunked[at:end], 16)
        if not size:
            return b"".join(parts)
        parts.append(chunked[end + 2 : end + 2 + size])
        at = end + 2 + size + 2
