"""Processes for a race: the real parts on real files and a real bus, in one event loop, under the clock of the race."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID, uuid4

import anyio

from app.bus.log import Partition
from app.bus.memory import InMemoryBus, Log
from app.bus.protocol import DeliveryPolicy, Record
from app.cj.batch import NewBatch
from app.cj.changes import Changes
from app.cj.event_processor import EventProcessor
from app.cj.planner import Planner
from app.cj.provider_client import ProviderClient
from app.cj.store import BatchStore
from app.cj.submitter import Submitter
from app.cj.workflow import Workflow
from app.contracts import COMPARISON_RESULT_TOPIC, EventEnvelope, LLMConfigOverrides, LLMOrchestratorResponse
from app.database import SqliteDatabase
from app.provider.circuit_breaker import CircuitBreaker
from app.provider.judging import RetryPolicy
from app.provider.lane import LaneLimits, Lanes
from app.provider.orchestrator import LLMOrchestrator
from app.provider.queue.ledger import Ledger
from app.provider.queue.sql import SqlQueue
from app.provider.queue_processor import QueueProcessor
from app.provider.status import Status
from app.provider_port import ProviderPort
from tests.cj.conftest import batch_of
from tests.cj.places import MIGRATIONS
from tests.provider.provider_world import ScriptedJudge, empty_ledger

from .clockwork import Clockwork, UnthreadedSqlite
from .gates import Explored, Gates, Play, explore, sample

EPOCH = 1_800_000_000.0
PATIENCE, LEASE, HOLD, REPAIR_AFTER = 10.0, 60.0, 30.0, 40.0
DRAIN = 10.0
LANE = "scripted:plain"
MANY = 8
DIRECT = LaneLimits(concurrency=MANY, direct_concurrency=MANY)
QUEUED = LaneLimits(concurrency=MANY, direct_concurrency=0)
RETRY = RetryPolicy(tries=3, base=1.0, cap=5.0)
Envelope = EventEnvelope[LLMOrchestratorResponse]


def monotonic() -> float:
    """The clock of the race, also where no task runs."""
    return asyncio.get_running_loop().time()


@dataclass(frozen=True)
class Cast:
    """Who plays which part; in a mutant one of them is another."""

    orchestrator: type[LLMOrchestrator] = LLMOrchestrator
    queue_processor: type[QueueProcessor] = QueueProcessor
    ledger: type[Ledger] = Ledger
    breaker: type[CircuitBreaker] = CircuitBreaker
    store: type[BatchStore] = BatchStore
    log: type[Log] = Log


@dataclass(frozen=True)
class Provider:
    """One provider process."""

    queue: SqlQueue
    judge: ScriptedJudge
    lanes: Lanes
    orchestrator: LLMOrchestrator
    port: ProviderPort
    bus: InMemoryBus


@dataclass(frozen=True)
class Cj:
    """One cj process."""

    store: BatchStore
    planner: Planner
    processor: EventProcessor
    submitter: Submitter
    workflow: Workflow
    bus: InMemoryBus


@dataclass
class Stage:
    """One folder, one log, one clock, and a record of all that was ever stored on the log."""

    gates: Gates
    cast: Cast
    folder: Path
    essays: int = 2
    published: list[Record] = field(default_factory=list)
    letters: list[Record] = field(default_factory=list)
    calls: list[UUID] = field(default_factory=list)
    """Every call of a judge, in any process."""

    def __post_init__(self) -> None:
        self.log = self.cast.log(partitions=2, clock=monotonic)
        append = self.log.append

        def witnessed(partition: Partition, record: Record) -> None:
            append(partition, record)
            (self.letters if record.topic.endswith(".dead") else self.published).append(record)

        self.log.append = witnessed  # type: ignore[method-assign]

    def now(self) -> float:
        """POSIX seconds, by the clock of the race."""
        return EPOCH + monotonic()

    async def pass_by(self, seconds: float, gate: str) -> None:
        """A side of a race: time passes, at a moment of its own."""
        await self.gates.at(gate)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let time pass at once."""
        clockwork = asyncio.get_running_loop()
        assert isinstance(clockwork, Clockwork)
        clockwork.advance(seconds)

    async def until(self, condition: Callable[[], object], what: str = "it never came to rest") -> None:
        """Let time pass, with every gate open, until it is so; at most 25 minutes of it."""
        for _ in range(300):
            if condition():
                return
            await anyio.sleep(5.0)
        raise AssertionError(what)

    @asynccontextmanager
    async def running(self, *loops: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
        """The loops of a process, until it is left."""
        async with anyio.create_task_group() as tasks:
            for loop in loops:
                tasks.start_soon(loop)
            yield
            tasks.cancel_scope.cancel()

    @asynccontextmanager
    async def provider(
        self,
        name: str,
        *,
        limits: LaneLimits = DIRECT,
        works: bool = True,
        alone: bool = True,
    ) -> AsyncIterator[Provider]:
        """A provider process. Without `works` its queue processor is not there; `alone`: no other uses the ledger."""
        queue = SqlQueue(
            self._database("provider.db"), boot=f"{name} {uuid4()}", exclusive=alone, clock=self.now
        )
        queue._ledger = self.cast.ledger(queue._ledger.rules, now=queue._now, shared=False)
        judge = ScriptedJudge()
        judge.calls = self.calls
        lanes = Lanes(lambda _: limits, clock=monotonic)
        lanes[LANE].breaker = self.cast.breaker(threshold=1, cooldown=1.0)
        bus = self._bus()
        common: dict[str, Any] = {
            "queue": queue,
            "judges": {"scripted": judge},
            "lanes": lanes,
            "lease": LEASE,
            "drain": DRAIN,
            "retry": RETRY,
            "clock": self.now,
            "monotonic": monotonic,
            "draw": lambda: 0.5,
        }
        orchestrator = self.cast.orchestrator(
            **common,
            topics=frozenset({COMPARISON_RESULT_TOPIC}),
            default_provider="scripted",
            patience=PATIENCE,
        )
        processor = self.cast.queue_processor(**common, bus=bus)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(queue)
            await stack.enter_async_context(bus)
            if works:
                await stack.enter_async_context(processor)
            await stack.enter_async_context(orchestrator)
            status = Status(queue=queue, lanes=lanes, judges={"scripted": judge}, default_provider="scripted")
            yield Provider(queue, judge, lanes, orchestrator, ProviderPort(orchestrator, status), bus)

    @asynccontextmanager
    async def cj(self, provider: ProviderClient, *, listens: bool = True) -> AsyncIterator[Cj]:
        """A cj process, whose loops a race starts itself; its bus handler runs when it `listens`."""
        database = self._database("cj.db")
        changes = Changes()
        store = self.cast.store(database, clock=self.now)
        planner = Planner(
            store,
            changes,
            callback_topic=COMPARISON_RESULT_TOPIC,
            planned=lambda: submitter.wake(),  # noqa: PLW0108 - it is made below
        )
        processor = EventProcessor(store, changes, complete=planner.wake)
        submitter = Submitter(
            store,
            provider,
            processor,
            changes,
            concurrency=MANY,
            hold=HOLD,
            repair_after=REPAIR_AFTER,
            jitter=lambda: 0.0,
        )
        workflow = Workflow(store, planner, submitter, changes, volatile_bus=False, sweep_every=3600.0)
        bus = self._bus()
        if listens:
            bus.subscribe(COMPARISON_RESULT_TOPIC, "cj", processor.handle)
        async with database, bus:
            yield Cj(store, planner, processor, submitter, workflow, bus)

    def rows(self, sql: str, database: str = "cj.db") -> list[tuple[Any, ...]]:
        """What a file says, read without any code of ours."""
        with closing(sqlite3.connect(self.folder / database)) as connection:
            return list(connection.execute(sql))

    def requests(self) -> list[tuple[Any, ...]]:
        """(state, reply, outcome, tries) of every accepted request."""
        return self.rows("SELECT state, reply, outcome, tries FROM requests ORDER BY place", "provider.db")

    def owes_nothing(self) -> bool:
        """Whether every accepted request is closed."""
        return all(state == "published" for state, *_ in self.requests())

    def results(self) -> list[LLMOrchestratorResponse]:
        """What each published event says."""
        return [Envelope.model_validate_json(record.body).data for record in self.published]

    @cached_property
    def batch_id(self) -> UUID:
        """The batch in cj's store."""
        return planned_store(self.essays)[1]

    def _bus(self) -> InMemoryBus:
        return InMemoryBus(self.log, DeliveryPolicy(publish_timeout=5.0, drain=5.0))

    def _database(self, name: str) -> SqliteDatabase:
        file = self.folder / name
        if not file.exists():
            shutil.copy(empty_ledger() if name == "provider.db" else planned_store(self.essays)[0], file)
        return UnthreadedSqlite(file, synchronous="OFF")


@cache
def planned_store(essays: int) -> tuple[Path, UUID]:
    """A cj's store with one running batch whose first waves are planned and not sent, made once."""
    file = Path(tempfile.mkdtemp(prefix="juxta-")) / "cj.db"

    async def make() -> UUID:
        async with SqliteDatabase(file, migrations=MIGRATIONS) as database:
            store, changes = BatchStore(database, clock=lambda: EPOCH), Changes()
            planner = Planner(store, changes, callback_topic=COMPARISON_RESULT_TOPIC, planned=lambda: None)
            batch_id = uuid4()
            await store.create(batch_id, _batch(essays), start=True)
            await planner.plan(batch_id)
            await database.checkpoint()
            return batch_id

    with ThreadPoolExecutor(1) as elsewhere:
        return file, elsewhere.submit(anyio.run, make).result()


def _batch(essays: int) -> NewBatch:
    return batch_of(
        essays,
        judges=(LLMConfigOverrides(provider="scripted"),),
        comparisons_per_essay=1 if essays == 2 else 4,
    )


Race = Callable[[Stage], Awaitable[None]]


def enumerated(race: Race, cast: Cast = Cast(), *, essays: int = 2, until_broken: bool = False) -> Explored:
    """Run a race in every order of its gates."""
    return explore(_played(race, cast, essays), until_broken=until_broken)


def sampled(race: Race, *, essays: int, tries: int, seed: int) -> Explored:
    """Run a race in some orders of its gates."""
    return sample(_played(race, Cast(), essays), tries, Random(seed))


def _played(race: Race, cast: Cast, essays: int) -> Play:
    """The race on files of its own each time."""

    async def play(gates: Gates) -> None:
        with tempfile.TemporaryDirectory(prefix="juxta-") as folder:
            await race(Stage(gates, cast, Path(folder), essays))

    return play
