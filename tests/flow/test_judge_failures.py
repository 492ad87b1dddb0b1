"""Every misbehaviour of a language model, in three formats, on both roads: the right class, in time, never a guess."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import aiohttp
import anyio
import pytest
from starlette.applications import Starlette

from app.bus.protocol import Bus, Record
from app.container import bootstrap, running
from app.contracts import (
    EventEnvelope,
    LLMComparisonRequest,
    LLMComparisonResponse,
    LLMConfigOverrides,
    LLMOrchestratorResponse,
    Outcome,
    Problem,
)
from app.edge import EXCEPTION_HANDLERS
from app.provider.judges.llm.anthropic import AnthropicFormat
from app.provider.judges.llm.failures import UNSAID
from app.provider.judges.llm.google import GoogleFormat
from app.provider.judges.llm.http import ModelClient
from app.provider.judges.llm.judge import LLMJudge
from app.provider.judges.llm.model import Model, Price
from app.provider.judges.llm.openai import OpenAIFormat
from app.provider.judges.llm.prompt import load_prompt
from app.provider.judges.llm.verdict import LONGEST
from app.provider.judges.llm.wire import Format
from app.provider.lane import LaneLimits, Lanes
from app.provider.orchestrator import LLMOrchestrator
from app.provider.queue.protocol import Entry, RequestQueue
from app.provider.queue_processor import LOOK_AROUND
from app.provider.routes import routes
from app.provider.status import Status
from tests.fake_llm import MISBEHAVIOURS, FakeLLM, Plan, Prices
from tests.fake_llm.client import LOST, WON
from tests.fake_llm.misbehaviours import REFUSED
from tests.provider.provider_world import served

from .house import furnish, settings_in
from .judge_failures import FATES, PAGE, TRIES, table

TOPIC = "proof.results.v1"
FORMATS = ("openai", "anthropic", "google")
ROADS = ("post", "callback")
KEY = "canary-key-77aa"
PRICE = Price(prompt=40.0, completion=160.0, cached=10.0, cache_written=50.0)
CHARGED = Prices(*map(Decimal, (40, 160, 10, 50)))
UNREAD = frozenset({"invalid_utf8", "gzip_bomb"})
"""Answers that arrive whole and are billed, and in which nobody can read what they cost."""
HANGS = frozenset({"never_answers", "hangs_after_headers", "slow_drip"})
HANG = 3.0
"""Seconds a judge is given that never comes to an end."""
FIRST_PAUSE = 1.0
"""Seconds between two tries, at most, when a server says nothing."""
SLACK = 12.0
"""Seconds more that its comparison may take: all cells share one loop. Far below the 40 of the request's own expiry."""
ASKS = frozenset({"rate_limited_seconds", "rate_limited_date", "rate_limited_ms", "rate_limited_in_words"})
"""Misbehaviours that say for how long."""
LONG = UNSAID + 2
"""Seconds that they ask for: longer than our own pause, and than what is given when a server says nothing."""
PATIENT = 50.0
"""Seconds for all cells together; they run side by side."""
EXPIRES = 40.0
SOON = 4.0
"""Seconds after which a comparison expires whose judge wants to be left alone for days."""

Cell = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Ended:
    """How the comparison of one cell ended: as its asker was told, in the ledger, and at the judge's gate."""

    outcome: Outcome
    code: str
    detail: str
    retryable: bool
    winner: str | None
    cost: float
    entry: Entry
    counted: int


@dataclass(frozen=True, slots=True)
class Matrix:
    cells: Mapping[Cell, Ended]
    calls: Mapping[tuple[str, str], int]
    """HTTP calls that a server saw, by misbehaviour and format: of both roads together."""
    charged: Mapping[Cell, float]
    """What a server counted for the answers of a cell that it sent whole."""
    redirects_followed: int


def wire(name: str, url: str) -> Format:
    match name:
        case "anthropic":
            return AnthropicFormat(base_url=url, key=KEY)
        case "google":
            return GoogleFormat(base_url=url, key=KEY)
        case _:
            return OpenAIFormat(base_url=f"{url}/v1", key=KEY)


def limits(lane: str) -> LaneLimits:
    """The road is the model's name; a breaker that counts and does not open, so that each class is seen on its own."""
    return LaneLimits(
        concurrency=1,
        direct_concurrency=1 if lane.endswith("/post") else 0,
        failures=100,
        failure_window=600.0,
    )


class Proof:
    """An open house with a judge for each misbehaviour and format, each before a server that does nothing else."""

    def __init__(self, folder: Path) -> None:
        furnish(folder)
        self._container = bootstrap(
            settings_in(
                folder,
                f'provider.topics=["{TOPIC}"]',
                f"cj.callback_topic={TOPIC}",
                f"queue.max_tries={TRIES}",
            )
        )
        self._judges: dict[str, LLMJudge] = {}
        self._answers: dict[UUID, LLMOrchestratorResponse] = {}
        self._news = anyio.Event()
        self._lanes = Lanes(limits)
        self.servers: dict[str, FakeLLM] = {}

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(ModelClient())
            for name in MISBEHAVIOURS:
                server = await stack.enter_async_context(FakeLLM(key=KEY, prices=CHARGED))
                await server.misbehave(Plan(name=name, wait=LONG if name in ASKS else 1.0))
                self.servers[name] = server
                self._judges |= {f"{each}.{name}": self._judge(each, name, client) for each in FORMATS}
            self._container.register("judges", instance=self._judges)
            self._container.register(Lanes, instance=self._lanes)
            bus: Bus = self._container.resolve(Bus)
            bus.subscribe(TOPIC, "proof", self._called_back)
            await stack.enter_async_context(running(self._container))
            self._orchestrator: LLMOrchestrator = self._container.resolve(LLMOrchestrator)
            app = Starlette(
                routes=routes(
                    self._orchestrator, self._container.resolve(RequestQueue), self._container.resolve(Status)
                ),
                exception_handlers=dict(EXCEPTION_HANDLERS),
            )
            port = await stack.enter_async_context(served(app))
            session = aiohttp.ClientSession(
                f"http://127.0.0.1:{port}", connector=aiohttp.TCPConnector(limit=0)
            )
            self._session = await stack.enter_async_context(session)
            yield

    def _judge(self, name: str, misbehaviour: str, client: ModelClient) -> LLMJudge:
        return LLMJudge(
            provider=f"{name}.{misbehaviour}",
            wire=wire(name, self.servers[misbehaviour].url),
            client=client,
            models=[Model(name=road, price=PRICE) for road in ROADS],
            template=load_prompt(),
            timeout=HANG if misbehaviour in HANGS else EXPIRES,
        )

    async def _called_back(self, records: Sequence[Record]) -> None:
        for record in records:
            answer = EventEnvelope[LLMOrchestratorResponse].model_validate_json(record.body).data
            assert answer.correlation_id not in self._answers
            self._answers[answer.correlation_id] = answer
        self._news.set()
        self._news = anyio.Event()

    async def ask(self, cell: Cell) -> Ended:
        misbehaviour, name, road = cell
        request = LLMComparisonRequest(
            user_prompt="Which argues better?",
            essay_a=LOST,
            essay_b=WON,
            correlation_id=uuid4(),
            callback_topic=TOPIC if road == "callback" else None,
            callback_key=str(cell),
            llm_config_overrides=LLMConfigOverrides(provider=f"{name}.{misbehaviour}", model=road),
            expires_in=SOON if misbehaviour == "rate_limited_for_days" else EXPIRES,
        )
        told = await (self._by_callback(request) if road == "callback" else self._on_the_post(request))
        words = self._lanes[f"{name}.{misbehaviour}/{road}"].status(0).breaker
        return Ended(
            *told,
            entry=await self._orchestrator.entry(request.queue_id("local")),
            counted=int(words.split(", ")[1].split()[0]) if "," in words else 0,
        )

    async def _on_the_post(
        self, request: LLMComparisonRequest
    ) -> tuple[Outcome, str, str, bool, str | None, float]:
        status, body = await self._post(request)
        if status == 200:
            answer = LLMComparisonResponse.model_validate_json(body)
            return Outcome.SUCCEEDED, "", answer.justification, False, answer.winner, answer.cost_usd
        problem = Problem.model_validate_json(body)
        outcome = {502: Outcome.FAILED, 504: Outcome.EXPIRED}[problem.status]
        return outcome, problem.code, problem.detail, problem.retryable, None, problem.cost_usd or 0.0

    async def _by_callback(
        self, request: LLMComparisonRequest
    ) -> tuple[Outcome, str, str, bool, str | None, float]:
        status, body = await self._post(request)
        assert status == 202, body
        while (answer := self._answers.get(request.correlation_id)) is None:
            await self._news.wait()
        error, cost = answer.error, answer.cost_usd
        if error is None:
            return answer.status, "", answer.justification or "", False, answer.winner, cost
        return answer.status, error.code, error.detail, error.retryable, answer.winner, cost

    async def _post(self, request: LLMComparisonRequest) -> tuple[int, bytes]:
        async with self._session.post(
            "/api/v1/comparison", data=request.model_dump_json(exclude_defaults=True)
        ) as answer:
            return answer.status, await answer.read()


async def prove(folder: Path) -> Matrix:
    proof = Proof(folder)
    cells: dict[Cell, Ended] = {}

    async def one(cell: Cell) -> None:
        cells[cell] = await proof.ask(cell)

    async with proof.open():
        with anyio.fail_after(PATIENT):
            async with anyio.create_task_group() as asking:
                for cell in CELLS:
                    asking.start_soon(one, cell)
        stats = {name: server.stats() for name, server in proof.servers.items()}
    calls = {(name, each): stats[name]["formats"].get(each, 0) for name in MISBEHAVIOURS for each in FORMATS}
    charged = {
        (name, each, road): float(stats[name]["models"].get(f"{each}/{road}", {"cost": 0})["cost"])
        for name, each, road in CELLS
    }
    return Matrix(cells, calls, charged, sum(seen["redirects_followed"] for seen in stats.values()))


CELLS: Sequence[Cell] = [(name, each, road) for name in MISBEHAVIOURS for each in FORMATS for road in ROADS]

WAITS = [
    (name, each, UNSAID if name == "rate_limited_in_words" and each == "anthropic" else seconds)
    for name, seconds in {
        **dict.fromkeys(sorted(ASKS), LONG),
        "rate_limited_bare": UNSAID,
        "rate_limited_nonsense": UNSAID,
    }.items()
    for each in FORMATS
]
"""Seconds between two calls: what the server asks for, or what is given when it does not say."""


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    folder = tmp_path_factory.mktemp("judges")
    return anyio.run(prove, folder)


def test_every_misbehaviour_has_its_fate() -> None:
    assert list(FATES) == list(MISBEHAVIOURS)


@pytest.mark.parametrize("cell", CELLS, ids=" ".join)
def test_a_misbehaviour_ends_in_its_class(matrix: Matrix, cell: Cell) -> None:
    ended, fate = matrix.cells[cell], FATES[cell[0]]
    assert (ended.code, ended.retryable) == (fate.code, fate.retryable)
    assert ended.entry.tries == fate.tries
    assert ended.counted == (fate.tries if fate.trips else 0)


@pytest.mark.parametrize("cell", CELLS, ids=" ".join)
def test_no_verdict_is_guessed(matrix: Matrix, cell: Cell) -> None:
    """The fake judges by length: when it does say who wins, that is who won."""
    ended = matrix.cells[cell]
    assert ended.winner == (None if FATES[cell[0]].code else "essay_b")
    assert ended.entry.outcome is ended.outcome


@pytest.mark.parametrize("cell", CELLS, ids=" ".join)
def test_none_goes_on_beyond_its_deadline(matrix: Matrix, cell: Cell) -> None:
    entry = matrix.cells[cell].entry
    assert entry.answered_at is not None
    assert entry.answered_at <= entry.expires_at + LOOK_AROUND + 1
    if cell[0] in HANGS:
        took = entry.answered_at - entry.accepted_at
        assert HANG * TRIES <= took <= HANG * TRIES + FIRST_PAUSE + SLACK


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize(("name", "wire_format", "seconds"), WAITS)
def test_the_judge_is_left_alone_as_long_as_it_asked_for(
    matrix: Matrix, name: str, wire_format: str, seconds: float, road: str
) -> None:
    entry = matrix.cells[name, wire_format, road].entry
    assert entry.answered_at is not None
    assert entry.answered_at - entry.accepted_at >= seconds


@pytest.mark.parametrize("cell", CELLS, ids=" ".join)
def test_what_went_wrong_is_told_without_key_or_essay(matrix: Matrix, cell: Cell) -> None:
    """Nor at any length: the justification of a verdict is cut."""
    detail = matrix.cells[cell].detail
    assert 0 < len(detail) <= LONGEST
    assert not any(secret in detail for secret in (KEY, LOST, *WON.splitlines()))


@pytest.mark.parametrize("name", MISBEHAVIOURS)
@pytest.mark.parametrize("wire_format", FORMATS)
def test_the_server_saw_as_many_calls_as_the_ledger_counted(
    matrix: Matrix, name: str, wire_format: str
) -> None:
    expected = 0 if name == REFUSED else FATES[name].tries * FATES[name].turns * len(ROADS)
    assert matrix.calls[name, wire_format] == expected


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell[0] not in UNREAD], ids=" ".join)
def test_what_was_answered_and_could_be_read_is_paid_for_whatever_came_of_it(
    matrix: Matrix, cell: Cell
) -> None:
    assert matrix.cells[cell].cost == pytest.approx(matrix.charged[cell], abs=1e-12)


def test_a_refusal_and_a_repair_cost_something(matrix: Matrix) -> None:
    for each in FORMATS:
        once = matrix.charged["wrong_content_type", each, "callback"]
        assert matrix.charged["refusal", each, "callback"] > 0
        assert matrix.charged["fenced_json", each, "callback"] > 1.5 * once > 0


def test_no_redirect_is_followed(matrix: Matrix) -> None:
    assert matrix.redirects_followed == 0


def test_the_page_shows_this_table() -> None:
    says = {name: each.says for name, each in MISBEHAVIOURS.items()}
    assert table(says) in PAGE.read_text(encoding="utf-8")
