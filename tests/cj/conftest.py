"""A cj on a real store, with a provider that is scripted but keeps the provider's contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid5

import anyio
import pytest

from app.cj.analyses import Analyses
from app.cj.batch import Arrival, Batch, BatchSettings, BatchState, NewBatch, NewEssay
from app.cj.changes import Changes
from app.cj.event_processor import EventProcessor
from app.cj.grade_scales import load_scales
from app.cj.planner import Planner
from app.cj.provider_client import Answer
from app.cj.store import BatchStore
from app.cj.submitter import Submitter
from app.cj.views import Views
from app.cj.workflow import Workflow
from app.contracts import (
    COMPARISON_RESULT_TOPIC,
    ComparisonQueued,
    JudgeKind,
    LLMComparisonRequest,
    LLMComparisonResponse,
    LLMConfigOverrides,
    ModelList,
    ProviderStatus,
    Winner,
)
from app.errors import InvalidRequest
from app.settings import ROOT
from tests.cj.places import Place, PostgresPlace, SqlitePlace, shared_url

RULES = LLMConfigOverrides(provider="rules", model="panel-v1/balanced")
SCALES = load_scales(ROOT / "config" / "grade_scales")
Verdict = Callable[[LLMComparisonRequest], Answer]


def batch_of(essays: int = 6, **settings: object) -> NewBatch:
    chosen = {
        "judges": (RULES,),
        "comparisons_per_essay": 4,
        "target_reliability": 0.99,
        "seed": 7,
    } | settings
    return NewBatch(
        title="Test",
        question="Which is better?",
        essays=tuple(NewEssay(name=f"e{n}", text=f"essay number {n:03}") for n in range(essays)),
        settings=BatchSettings.model_validate(chosen),
    )


def better(request: LLMComparisonRequest) -> Winner:
    """The higher number in the text wins: a judge who is never wrong."""
    return Winner.ESSAY_A if request.essay_a > request.essay_b else Winner.ESSAY_B


def answer(request: LLMComparisonRequest, winner: Winner | None = None) -> LLMComparisonResponse:
    return LLMComparisonResponse(
        winner=winner or better(request),
        justification="clear",
        confidence=0.9,
        provider="rules",
        model="panel-v1/balanced",
        judge_kind=JudgeKind.RULES,
        cost_usd=0.01,
        correlation_id=request.correlation_id,
    )


def queued(request: LLMComparisonRequest) -> ComparisonQueued:
    return ComparisonQueued(
        queue_id=uuid5(request.correlation_id, "local"), correlation_id=request.correlation_id
    )


@dataclass
class ScriptedProvider:
    """Answers by `verdict`, which tests replace; remembers every request, so that a repeat can be compared."""

    verdict: Verdict = answer
    requests: list[LLMComparisonRequest] = field(default_factory=list)
    cancelled: list[UUID] = field(default_factory=list)
    offered: ModelList = ModelList(models=())
    unfit: str = ""

    async def generate_comparison(self, request: LLMComparisonRequest) -> Answer:
        await anyio.lowlevel.checkpoint()
        self.requests.append(request)
        return self.verdict(request)

    async def cancel_comparison(self, correlation_id: UUID) -> None:
        self.cancelled.append(correlation_id)

    async def check_judge(self, asked: LLMConfigOverrides) -> None:
        """Every judge will do, but one that cannot be asked."""
        if self.unfit:
            raise InvalidRequest(self.unfit)

    async def models(self) -> ModelList:
        return self.offered

    async def status(self) -> ProviderStatus:
        return ProviderStatus()


@dataclass
class Cj:
    """The parts of one cj process, for a test to hold."""

    store: BatchStore
    views: Views
    planner: Planner
    processor: EventProcessor
    workflow: Workflow
    changes: Changes
    analyses: Analyses

    async def until(self, batch_id: UUID, done: Callable[[Batch], bool]) -> Batch:
        with anyio.fail_after(20):
            while True:
                news = self.changes.listen(batch_id)
                batch = await self.views.batch(batch_id)
                if done(batch):
                    return batch
                with anyio.move_on_after(0.2):
                    await news.wait()

    async def finish(self, batch_id: UUID) -> Batch:
        return await self.until(batch_id, lambda batch: batch.state is BatchState.FINISHED)

    async def deliver(self, request: LLMComparisonRequest, batch_id: UUID) -> None:
        await self.processor.record([Arrival.of_response(answer(request), batch_id)])


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty store, of either kind."""
    if request.param == "sqlite":
        return SqlitePlace(tmp_path / "cj")
    return PostgresPlace(shared_url()).emptied()


@asynccontextmanager
async def cj_on(
    place: Place,
    provider: ScriptedProvider,
    *,
    repair_after: float = 60.0,
    volatile_bus: bool = True,
    run: bool = True,
) -> AsyncIterator[Cj]:
    """Open the store and run a cj on it; leaving is as abrupt as a crash after the last commit."""
    async with place.database() as database:
        changes = Changes()
        store = BatchStore(database)
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
            concurrency=8,
            hold=30.0,
            repair_after=repair_after,
            jitter=lambda: 0.0,
        )
        workflow = Workflow(store, planner, submitter, changes, volatile_bus=volatile_bus, sweep_every=1.0)
        async with anyio.create_task_group() as loops:
            if run:
                loops.start_soon(workflow.run)
            analyses = Analyses(database, SCALES)
            yield Cj(store, Views(database), planner, processor, workflow, changes, analyses)
            loops.cancel_scope.cancel()
