"""The pages on a real store, with a cj at work behind them and a scripted provider behind that."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import anyio
import anyio.from_thread
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.cj.batch import Batch, BatchSettings, NewBatch, NewEssay
from app.cj.routes import BatchApi
from app.contracts import (
    JudgeKind,
    LaneStatus,
    LLMComparisonRequest,
    LLMConfigOverrides,
    ModelInfo,
    ModelList,
    Pricing,
    ProviderStatus,
)
from app.contracts.comparison import DAY
from app.edge import EXCEPTION_HANDLERS
from app.web import live, pages
from app.web.defaults import BatchDefaults, JudgeChoice
from app.web.live import LiveStream
from tests.cj.conftest import RULES, Cj, ScriptedProvider, cj_on
from tests.cj.places import SqlitePlace

T = TypeVar("T")

FREE = Pricing(prompt=0.0, completion=0.0)
DEFAULTS = BatchDefaults(
    judges=(
        JudgeChoice(
            name="rules",
            label="Rules",
            description="Weighs countable features; does not read meaning.",
            kind=JudgeKind.RULES,
            settings=(RULES,),
            pace="0.15 s a comparison",
            seconds_each=6.0,
        ),
        JudgeChoice(
            name="simulated",
            label="Simulated",
            description="Looks the true score up.",
            kind=JudgeKind.SIMULATED,
            settings=(LLMConfigOverrides(provider="simulated"),),
            pace="at once",
            seconds_each=0.0,
        ),
    ),
    comparisons_per_essay=4,
    target_reliability=0.8,
    random_rounds=3,
    audit_share=0.0,
    seed=lambda: 11,
    known=ModelList(
        models=(
            ModelInfo(provider="rules", model="panel-v1/balanced", kind=JudgeKind.RULES, price=FREE),
            ModelInfo(provider="simulated", model="simulated-v1", kind=JudgeKind.SIMULATED, price=FREE),
        )
    ),
)


def lane(
    name: str, breaker: str = "closed", *, seconds_until_room: float = 0.0, open_seconds: float | None = None
) -> LaneStatus:
    return LaneStatus(
        name=name,
        waiting=0,
        running=0,
        concurrency=2,
        breaker=breaker,
        open_seconds=open_seconds,
        seconds_until_room=seconds_until_room,
        mean_seconds=0.0,
        words=f"{name}: judge free",
    )


def essay_text(number: int, words: int = 60) -> str:
    """Texts that differ, in the order that the scripted judge sees as the better ones."""
    return f"number {number:03} " + "word " * (words - 2)


def new_batch(title: str = "Year 9", names: tuple[str, ...] = (), **settings: Any) -> NewBatch:
    names = names or tuple(f"Essay {n:02}" for n in range(6))
    chosen = {
        "judges": (RULES,),
        "comparisons_per_essay": 4,
        "target_reliability": 0.99,
        "seed": 7,
    } | settings
    return NewBatch(
        title=title,
        question="Which is better?",
        essays=tuple(
            NewEssay(name=name, text=essay_text(n), level="B" if n == 1 else None)
            for n, name in enumerate(names)
        ),
        settings=BatchSettings.model_validate(chosen),
    )


class Late:
    """The methods of a part that exists only once the application runs."""

    def __init__(self, site: Site, name: str) -> None:
        self._site = site
        self._name = name

    def __getattr__(self, name: str) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            return getattr(getattr(self._site.cj, self._name), name)(*given, **named)

        return call


@dataclass
class Site:
    """A running site: drive it with `client` and reach behind it with `cj`."""

    folder: Path
    provider: ScriptedProvider = field(default_factory=ScriptedProvider)
    status: ProviderStatus = ProviderStatus()
    defaults: BatchDefaults = DEFAULTS
    heartbeat: float = 0.2
    cj: Cj = field(init=False)
    closing: anyio.Event = field(default_factory=anyio.Event)
    call: Callable[..., Any] = field(init=False)

    async def look(self) -> ProviderStatus:
        return self.status

    async def offered(self) -> BatchDefaults:
        return self.defaults

    def app(self) -> Starlette:
        workflow: Any = Late(self, "workflow")
        views: Any = Late(self, "views")
        changes: Any = Late(self, "changes")
        analyses: Any = Late(self, "analyses")

        @asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncIterator[None]:
            async with (
                cj_on(SqlitePlace(self.folder), self.provider) as self.cj,
                anyio.from_thread.BlockingPortal() as portal,
            ):
                self.call = portal.call
                yield

        async def any_judge(_asked: LLMConfigOverrides) -> None:
            """Every judge will do."""

        async def models() -> ModelList:
            return self.defaults.known

        api = BatchApi(
            workflow,
            views,
            defaults=lambda: new_batch().settings,
            check_judge=any_judge,
            models=models,
            longest_expiry=7 * DAY,
            body_limit=1_000_000,
            body_timeout=10.0,
        )
        return Starlette(
            routes=[
                *api.routes(),
                *pages.routes(
                    workflow=workflow,
                    views=views,
                    analyses=analyses,
                    offered=self.offered,
                    look=self.look,
                    check_judge=self.provider.check_judge,
                    upload_limit=1_000_000,
                ),
                *live.routes(
                    views=views,
                    changes=changes,
                    look=self.look,
                    closing=self.closing,
                    heartbeat=self.heartbeat,
                    gather=0.02,
                ),
            ],
            lifespan=lifespan,
            exception_handlers=dict(EXCEPTION_HANDLERS),
        )

    def start(self, new: NewBatch | None = None, *, start: bool = True) -> UUID:
        async def work() -> UUID:
            return await self.cj.workflow.create(new or new_batch(), start=start)

        batch_id: UUID = self.call(work)
        return batch_id

    def finished(self, new: NewBatch | None = None) -> UUID:
        """A batch driven to its end."""
        batch_id = self.start(new)
        self.call(self.cj.finish, batch_id)
        return batch_id

    def stream(self, *, heartbeat: float) -> LiveStream:
        """The stream as served, to be followed without HTTP."""

        return LiveStream(
            self.cj.views,
            self.cj.changes,
            self.look,
            closing=self.closing,
            heartbeat=heartbeat,
            gather=0.0,
            clock=time.time,
        )

    def batch(self, batch_id: UUID) -> Batch:
        batch: Batch = self.call(self.cj.views.batch, batch_id)
        return batch

    def asked(self) -> LLMComparisonRequest:
        """The first request that reached the provider."""
        deadline = time.monotonic() + 20
        while not self.provider.requests:
            assert time.monotonic() < deadline, "nothing was asked"
            time.sleep(0.01)
        return self.provider.requests[0]

    def until(self, batch_id: UUID, done: Callable[[Batch], bool]) -> Batch:
        batch: Batch = self.call(self.cj.until, batch_id, done)
        return batch


class Served(uvicorn.Server):
    """As the house's server does: streams are told to end before open connections are waited for."""

    def __init__(self, config: uvicorn.Config, closing: anyio.Event) -> None:
        super().__init__(config)
        self._closing = closing

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._closing.set()
        await super().shutdown(sockets=sockets)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def client(site: Site) -> Iterator[TestClient]:
    with TestClient(site.app(), base_url="http://juxta.test", follow_redirects=False) as client:
        yield client


@contextmanager
def served(site: Site) -> Iterator[str]:
    """The site on a free port by uvicorn; gives its address."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    config = uvicorn.Config(site.app(), lifespan="on", log_level="error", timeout_graceful_shutdown=10)
    server = Served(config, site.closing)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline, "the server did not start in time"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        bound.close()
    assert not thread.is_alive(), "the server did not stop"
