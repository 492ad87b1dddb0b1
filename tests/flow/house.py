"""The whole house in one process, as `run.py` builds it, with a judge that the test holds and nothing else replaced."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import punq

from app.bus.protocol import Bus, Record, dead_letter_topic
from app.cj.batch import Batch, BatchSettings, BatchState, NewBatch, NewEssay
from app.cj.changes import Changes
from app.cj.provider_client import ProviderClient
from app.cj.views import Comparison, Views
from app.cj.workflow import Workflow
from app.container import bootstrap, running
from app.contracts import (
    JudgeKind,
    LLMComparisonRequest,
    LLMConfigOverrides,
)
from app.engines import Databases
from app.provider.judges.digests import text_sha256
from app.provider.judges.protocol import Verdict
from app.provider.judges.simulated import MODEL, PROVIDER, SimulatedJudge
from app.provider.lane import Lane, Lanes
from app.provider.orchestrator import LLMOrchestrator
from app.provider.queue.protocol import RequestQueue
from app.settings import Settings, load

LANE = f"{PROVIDER}/{MODEL}"
QUESTION = "Which of the two is the better essay?"
PATIENT = 30.0
"""Seconds after which a wait for a condition has failed; on a good day nothing here takes one."""


def essay(number: int) -> str:
    return f"A page about the sea, number {number:03}."


SCORES = {text_sha256(essay(n)): 0.4 * n for n in range(40)}


class HeldJudge:
    """A real judge (`simulated`) with a clerk who counts, and may hold a call up or make it fail."""

    kind = JudgeKind.SIMULATED

    def __init__(self, before: Callable[[LLMComparisonRequest], Awaitable[None]] | None = None) -> None:
        self.calls: list[UUID] = []
        self.before = before
        self._judge = SimulatedJudge(SCORES, seed=3)

    def check(self, request: LLMComparisonRequest) -> None:
        """Every text will do."""

    def lane(self, overrides: LLMConfigOverrides) -> str:
        return self._judge.lane(overrides)

    async def compare(self, request: LLMComparisonRequest) -> Verdict:
        self.calls.append(request.correlation_id)
        if self.before is not None:
            await self.before(request)
        return await self._judge.compare(request)


def settings_in(folder: Path, *assignments: str) -> Settings:
    return load(assignments=[f"data={folder}", *assignments], environment={})[0]


def batch_of(essays: int = 10, **settings: object) -> NewBatch:
    chosen = {
        "judges": (LLMConfigOverrides(provider=PROVIDER, model=MODEL),),
        "comparisons_per_essay": 6,
        "target_reliability": 0.999,
        "random_rounds": 2,
        "seed": 11,
    } | settings
    return NewBatch(
        title="Flow",
        question=QUESTION,
        essays=tuple(NewEssay(name=f"e{n:02}", text=essay(n)) for n in range(essays)),
        settings=BatchSettings.model_validate(chosen),
    )


@dataclass
class House:
    """An open house: its parts, and what a test asks of them."""

    container: punq.Container
    letters: list[Record] = field(default_factory=list)

    @property
    def workflow(self) -> Workflow:
        found: Workflow = self.container.resolve(Workflow)
        return found

    @property
    def views(self) -> Views:
        found: Views = self.container.resolve(Views)
        return found

    @property
    def bus(self) -> Bus:
        found: Bus = self.container.resolve(Bus)
        return found

    @property
    def queue(self) -> RequestQueue:
        found: RequestQueue = self.container.resolve(RequestQueue)
        return found

    @property
    def orchestrator(self) -> LLMOrchestrator:
        found: LLMOrchestrator = self.container.resolve(LLMOrchestrator)
        return found

    @property
    def provider(self) -> ProviderClient:
        found: ProviderClient = self.container.resolve(ProviderClient)
        return found

    @property
    def lane(self) -> Lane:
        lanes: Lanes = self.container.resolve(Lanes)
        return lanes[LANE]

    async def until(self, batch_id: UUID, done: Callable[[Batch], object]) -> Batch:
        changes: Changes = self.container.resolve(Changes)
        with anyio.fail_after(PATIENT):
            while True:
                news = changes.listen(batch_id)
                batch = await self.views.batch(batch_id)
                if done(batch):
                    return batch
                with anyio.move_on_after(0.1):
                    await news.wait()

    async def finish(self, batch_id: UUID) -> Batch:
        return await self.until(batch_id, lambda batch: batch.state is BatchState.FINISHED)

    async def comparisons(self, batch_id: UUID) -> Sequence[Comparison]:
        return await self.views.comparisons(batch_id)

    async def scores(self, batch_id: UUID) -> dict[str, float | None]:
        return {row.essay: row.score for row in await self.views.ranking(batch_id)}

    async def roads(self, batch_id: UUID) -> dict[str, int]:
        return (await self.views.summary(batch_id)).roads


@asynccontextmanager
async def house_in(folder: Path, judge: HeldJudge, *assignments: str) -> AsyncIterator[House]:
    """Open the house that `run.py` would open on `folder`; dead letters of the callbacks are collected."""
    furnish(folder)
    settings = settings_in(folder, *assignments)
    container = bootstrap(settings)
    container.register("judges", instance={PROVIDER: judge})
    house = House(container)

    async def bury(records: Sequence[Record]) -> None:
        house.letters += records

    house.bus.subscribe(dead_letter_topic(settings.cj.callback_topic), "tests", bury)
    async with running(container):
        yield house


def furnish(folder: Path) -> None:
    """Put empty databases into a folder that has none."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "cj.db").exists():
        for file in empty_folder().iterdir():
            if not (folder / file.name).exists():
                shutil.copy(file, folder)


@cache
def empty_folder() -> Path:
    """Three databases with their tables, made once: migrating takes longer than most tests."""
    folder = Path(tempfile.mkdtemp(prefix="juxta-"))

    async def make() -> None:
        databases: Databases = bootstrap(settings_in(folder)).resolve(Databases)
        async with databases.cj, databases.provider, databases.access:
            pass

    with ThreadPoolExecutor(1) as elsewhere:
        elsewhere.submit(anyio.run, make).result()
    return folder


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(PATIENT):
        while not condition():  # noqa: ASYNC110 - any condition, of parts that know nothing of tests
            await anyio.sleep(0.002)


async def eventually(condition: Callable[[], Awaitable[object]]) -> None:
    """As `until`, for a condition that has to be asked for."""
    with anyio.fail_after(PATIENT):
        while not await condition():  # noqa: ASYNC110 - as above
            await anyio.sleep(0.005)


def rows(file: Path, sql: str) -> list[tuple[Any, ...]]:
    """What a database file says, read without any code of ours."""
    with closing(sqlite3.connect(file)) as connection:
        return list(connection.execute(sql))
