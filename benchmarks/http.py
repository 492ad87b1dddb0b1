"""How much of a bare route's throughput is left when every request is first a durable row.

Side by side in one run: a Starlette route that only reads and validates the body, our 200 road (judge without
latency), our 202 road. Each server is a process; 64 connections are kept alive.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import cast
from uuid import uuid4

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app import collector
from app.bus.memory import InMemoryBus
from app.contracts import (
    COMPARISON_RESULT_TOPIC,
    JudgeKind,
    LLMComparisonRequest,
    LLMComparisonResponse,
    LLMConfigOverrides,
    Winner,
)
from app.database import SqliteDatabase
from app.edge import EXCEPTION_HANDLERS, DeadlineProtocol
from app.provider.judges.protocol import Verdict
from app.provider.lane import LaneLimits, Lanes
from app.provider.orchestrator import LLMOrchestrator
from app.provider.queue.sql import SqlQueue
from app.provider.queue_processor import QueueProcessor
from app.provider.routes import routes
from app.provider.status import Status
from benchmarks.result import Result

MIGRATIONS = Path(__file__).parents[1] / "app" / "provider" / "migrations"
CONNECTIONS = 64
SECONDS = 0.7
ROUNDS = 8
ESSAY = "The sea is deep because rivers never stop bringing water to it. " * 28


class InstantJudge:
    kind = JudgeKind.RULES

    def check(self, request: LLMComparisonRequest) -> None: ...

    def lane(self, overrides: LLMConfigOverrides) -> str:  # noqa: ARG002
        return "instant"

    async def compare(self, request: LLMComparisonRequest) -> Verdict:  # noqa: ARG002
        return Verdict(
            winner=Winner.ESSAY_A,
            confidence=0.75,
            justification="The first one gives a reason.",
            provider="instant",
            model="instant",
            judge_kind=self.kind,
        )


def bare() -> Starlette:
    async def post(request: Request) -> Response:
        comparison = LLMComparisonRequest.model_validate_json(await request.body())
        answer = LLMComparisonResponse(
            winner=Winner.ESSAY_A,
            justification="The first one gives a reason.",
            confidence=0.75,
            provider="instant",
            model="instant",
            judge_kind=JudgeKind.RULES,
            correlation_id=comparison.correlation_id,
        )
        return Response(answer.model_dump_json().encode(), media_type="application/json")

    return Starlette(routes=[Route("/api/v1/comparison", post, methods=["POST"])])


def provider(folder: Path, *, direct: bool) -> Starlette:
    limits = LaneLimits(concurrency=128, direct_concurrency=128) if direct else LaneLimits(concurrency=0)
    queue = SqlQueue(
        SqliteDatabase(folder / "provider.db", migrations=MIGRATIONS), boot=uuid4().hex, limit=10_000_000
    )
    lanes = Lanes(lambda _: limits)
    judges = {"instant": InstantJudge()}
    orchestrator = LLMOrchestrator(
        queue=queue,
        judges=judges,
        lanes=lanes,
        topics=frozenset({COMPARISON_RESULT_TOPIC}),
        default_provider="instant",
    )
    status = Status(queue=queue, lanes=lanes, judges=judges, default_provider="instant")
    bus = InMemoryBus()
    processor = QueueProcessor(queue=queue, judges=judges, lanes=lanes, bus=bus)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with queue, bus, processor, orchestrator:
            yield

    return Starlette(
        routes=routes(orchestrator, queue, status), exception_handlers=EXCEPTION_HANDLERS, lifespan=lifespan
    )


def serve(kind: str) -> None:
    with tempfile.TemporaryDirectory(prefix="juxta-") as folder:
        app = bare() if kind == "bare" else provider(Path(folder), direct=kind == "200")
        config = uvicorn.Config(
            app, port=0, http=DeadlineProtocol, loop="uvloop", access_log=False, log_level="warning"
        )
        server = uvicorn.Server(config)

        async def run() -> None:
            serving = asyncio.ensure_future(server.serve())
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
            collector.spare()  # as the house's own server does
            print(server.servers[0].sockets[0].getsockname()[1], flush=True)
            await serving

        uvloop.run(run())


class Road:
    """What one server is asked, over its own connections."""

    def __init__(self, status: bytes) -> None:
        self.status = b"HTTP/1.1 " + status
        self.asking = False
        self.answered = 0
        self.refused = 0
        request = LLMComparisonRequest(
            user_prompt="Which essay argues better?",
            essay_a=ESSAY,
            essay_b=ESSAY[::-1],
            callback_topic=COMPARISON_RESULT_TOPIC,
            correlation_id=uuid4(),
        )
        self._id = str(request.correlation_id).encode()
        body = request.model_dump_json(exclude_defaults=True).encode()
        self._request = b"POST /api/v1/comparison HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (
            len(body),
            body,
        )

    def request(self) -> bytes:
        return self._request.replace(self._id, str(uuid4()).encode())


class Connection(asyncio.Protocol):
    """Asks, reads the whole answer, asks again while its road is open."""

    def __init__(self, road: Road) -> None:
        self._road = road
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass

    def ask(self) -> None:
        self._transport.write(self._road.request())

    def data_received(self, data: bytes) -> None:
        self._seen += data
        head, end, body = self._seen.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0]):
            return
        if self._seen.startswith(self._road.status):
            self._road.answered += 1
        else:
            self._road.refused += 1
        self._seen = b""
        if self._road.asking:
            self.ask()


async def load(targets: dict[str, tuple[int, str]]) -> dict[str, list[float]]:
    """Ask each server in turn for a short while, so that what else the machine does falls on all of them alike."""
    loop = asyncio.get_running_loop()
    rates: dict[str, list[float]] = {kind: [] for kind in targets}
    for turn in range(ROUNDS + 1):
        for kind, (port, status) in targets.items():
            road = Road(status.encode())
            opened = [
                await loop.create_connection(lambda road=road: Connection(road), "127.0.0.1", port)  # type: ignore[misc]
                for _ in range(CONNECTIONS)
            ]
            road.asking = True
            for _, connection in opened:
                connection.ask()
            await asyncio.sleep(0.1)
            before, began = road.answered, time.perf_counter()
            await asyncio.sleep(SECONDS)
            if turn:  # the first one warms up
                rates[kind].append((road.answered - before) / (time.perf_counter() - began))
            road.asking = False
            await asyncio.sleep(0.2)
            for transport, _ in opened:
                transport.abort()
            if road.refused:
                raise SystemExit(f"{road.refused} answers of {kind} were not {status}")
    return rates


def start(stack: ExitStack, kind: str) -> int:
    command = [sys.executable, "-m", "benchmarks.http", "serve", kind]
    server = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    stack.callback(server.terminate)
    assert server.stdout is not None
    return int(server.stdout.readline())


def run() -> list[Result]:
    kinds = {"bare": "200", "200": "200", "202": "202"}
    with ExitStack() as stack:
        targets = {kind: (start(stack, kind), status) for kind, status in kinds.items()}
        rates = uvloop.run(load(targets))
    rate = {kind: median(some) for kind, some in rates.items()}
    return [
        Result("HTTP, judged at once (200)", rate["200"], rate["bare"], "requests/s", 0.35),
        Result("HTTP, queued (202)", rate["202"], rate["bare"], "requests/s", 0.45),
    ]


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", kind]:
            serve(kind)
        case _:
            for result in run():
                print(f"{result.name}: {result.ours:.0f} of {result.floor:.0f} = {result.ratio:.2f}")
