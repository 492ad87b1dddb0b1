"""A whole provider on a real ledger file and a real bus, with a judge that follows a script."""

from __future__ import annotations

import shutil
import socket
import sqlite3
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid4

import anyio
import uvicorn

from app.bus.memory import InMemoryBus, Log
from app.bus.protocol import DeliveryPolicy, Record
from app.contracts import (
    COMPARISON_RESULT_TOPIC,
    EventEnvelope,
    JudgeKind,
    LLMComparisonRequest,
    LLMConfigOverrides,
    LLMOrchestratorResponse,
    TokenUsage,
    Winner,
)
from app.database import SqliteDatabase
from app.edge import DeadlineProtocol
from app.errors import InvalidRequest
from app.provider.judges.protocol import JudgeError, Spent, Verdict
from app.provider.judging import RetryPolicy
from app.provider.lane import LaneLimits, Lanes
from app.provider.orchestrator import LLMOrchestrator
from app.provider.queue.protocol import RequestQueue
from app.provider.queue.sql import SqlQueue
from app.provider.queue_processor import QueueProcessor
from app.provider.spending import Spending
from app.provider.status import Status

MIGRATIONS = Path(__file__).parents[2] / "app" / "provider" / "migrations"
DOWN = JudgeError("unavailable", "the judge is down", retryable=True, trips=True)
REFUSED = JudgeError("refused", "the judge will not read this")
PATIENT = 5.0
IMPATIENT = 0.1
LIMITS = LaneLimits(cooldown=0.2)
RETRY = RetryPolicy(tries=3, base=0.01, cap=0.05)


@cache
def empty_ledger() -> Path:
    """A ledger with its tables, made once: migrating takes longer than most tests."""
    path = Path(tempfile.mkdtemp(prefix="juxta-")) / "empty.db"

    async def make() -> None:
        async with SqliteDatabase(path, migrations=MIGRATIONS):
            pass

    with ThreadPoolExecutor(1) as elsewhere:
        elsewhere.submit(anyio.run, make).result()
    return path


class ScriptedJudge:
    """Judges at once, unless its door is shut or its script says otherwise."""

    kind = JudgeKind.LLM

    def __init__(self) -> None:
        self.calls: list[UUID] = []
        self.script: deque[Exception] = deque()
        self.spends: Spent | None = None
        self.weight = 0
        self.running = 0
        self.most_at_once = 0
        self._door = anyio.Event()
        self._door.set()

    def shut(self) -> None:
        self._door = anyio.Event()

    def open(self) -> None:
        self._door.set()

    def check(self, request: LLMComparisonRequest) -> None:
        """Every text will do."""

    def lane(self, overrides: LLMConfigOverrides) -> str:
        if overrides.temperature is not None:
            raise InvalidRequest(
                "This judge has no temperature.",
                errors=(("llm_config_overrides.temperature", "not supported"),),
            )
        return f"scripted:{overrides.model or 'plain'}"

    def tokens(self, request: LLMComparisonRequest) -> int:
        return self.weight

    async def compare(self, request: LLMComparisonRequest) -> Verdict:
        self.calls.append(request.correlation_id)
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        try:
            step = self.script.popleft() if self.script else None
            await self._door.wait()
        finally:
            self.running -= 1
        if step is not None:
            raise step
        return Verdict(
            winner=Winner.ESSAY_B,
            confidence=0.75,
            justification=f"call {len(self.calls)}",
            provider="scripted",
            model=request.llm_config_overrides.model or "plain",
            judge_kind=self.kind,
            token_usage=TokenUsage(total_tokens=self.spends.tokens) if self.spends else TokenUsage(),
            cost_usd=self.spends.cost_usd or 0.0 if self.spends else 0.0,
            spent=self.spends,
        )


def comparison(**changes: Any) -> LLMComparisonRequest:
    fields: dict[str, Any] = {
        "user_prompt": "Which is better?",
        "essay_a": "The secret first essay.",
        "essay_b": "The secret second essay.",
        "callback_topic": COMPARISON_RESULT_TOPIC,
        "correlation_id": uuid4(),
        "callback_key": "batch",
    }
    return LLMComparisonRequest(**(fields | changes))


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - any condition, of parts that know nothing of tests
            await anyio.sleep(0.002)


@asynccontextmanager
async def served(app: Any, *, http: type[DeadlineProtocol] = DeadlineProtocol) -> AsyncIterator[int]:
    config = uvicorn.Config(
        app, port=0, http=http, lifespan="off", log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve, [listening])
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await anyio.sleep(0.005)
            yield listening.getsockname()[1]
            server.should_exit = True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Somebody else writes and does not stop."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


class World:
    """`working` False leaves the queue processor out, as when it runs in another process that is down.

    `spends`: what the judge used up is written down.
    """

    def __init__(
        self,
        path: Path,
        *,
        patience: float = PATIENT,
        lease: float = 30.0,
        limits: LaneLimits = LIMITS,
        retry: RetryPolicy = RETRY,
        working: bool = True,
        drain: float = 2.0,
        log: Log | None = None,
        processor: type[QueueProcessor] = QueueProcessor,
        ledger: RequestQueue | None = None,
        spends: bool = False,
        **queue: Any,
    ) -> None:
        self.judge = ScriptedJudge()
        self.received: list[Record] = []
        self.log = log or Log()
        self.lanes = Lanes(lambda _: limits)
        if not path.exists():
            shutil.copy(empty_ledger(), path)
        self.database = SqliteDatabase(path, migrations=MIGRATIONS, synchronous="OFF", busy_timeout=0.02)
        self.queue = ledger or SqlQueue(self.database, boot=uuid4().hex, **queue)
        self.spending = Spending(self.database)
        spending = self.spending if spends else None
        self.bus = InMemoryBus(self.log, DeliveryPolicy(publish_timeout=1.0, drain=1.0))
        self.bus.subscribe(COMPARISON_RESULT_TOPIC, "cj", self._receive)
        judges = {"scripted": self.judge}
        self.status = Status(queue=self.queue, lanes=self.lanes, judges=judges, default_provider="scripted")
        self.orchestrator = LLMOrchestrator(
            queue=self.queue,
            judges=judges,
            lanes=self.lanes,
            topics=frozenset({COMPARISON_RESULT_TOPIC}),
            default_provider="scripted",
            patience=patience,
            lease=lease,
            drain=drain,
            retry=retry,
            spending=spending,
        )
        self.processor = processor(
            queue=self.queue,
            judges=judges,
            lanes=self.lanes,
            bus=self.bus,
            lease=lease,
            drain=drain,
            retry=retry,
            bus_pause=0.05,
            spending=spending,
        )
        self._working = working
        self._stack = AsyncExitStack()

    @property
    def outcomes(self) -> list[LLMOrchestratorResponse]:
        envelope = EventEnvelope[LLMOrchestratorResponse]
        return [envelope.model_validate_json(record.body).data for record in self.received]

    async def _receive(self, records: Sequence[Record]) -> None:
        self.received += records

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.queue)
            await stack.enter_async_context(self.bus)
            if self._working:
                await stack.enter_async_context(self.processor)
            await stack.enter_async_context(self.orchestrator)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.judge.open()
        await self._stack.__aexit__(kind, error, trace)


now = time.monotonic
