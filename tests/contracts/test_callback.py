"""Every accepted request is answered once, wherever the process dies, and whoever was promised a callback gets it.

A process dies at a step of its ledger or its bus, just before or just after the step is durable; from then on nothing
it does reaches the ledger or the bus. The next process opens the same file. Askers repeat what was not answered.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast
from uuid import UUID, uuid4

import anyio
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.bus.memory import InMemoryBus, Log
from app.bus.protocol import Bus, DeliveryPolicy, Record
from app.contracts import (
    COMPARISON_RESULT_TOPIC,
    ComparisonQueued,
    EventEnvelope,
    JudgeKind,
    LLMComparisonRequest,
    LLMComparisonResponse,
    LLMConfigOverrides,
    LLMOrchestratorResponse,
    Winner,
)
from app.database import SqliteDatabase
from app.errors import BusUnavailable, JuxtaError, StoreUnavailable
from app.provider import outcomes
from app.provider.judges.protocol import Verdict
from app.provider.lane import LaneLimits, Lanes
from app.provider.orchestrator import LLMOrchestrator
from app.provider.queue.protocol import RequestQueue, StoredOutcome
from app.provider.queue.sql import SqlQueue
from app.provider.queue_processor import QueueProcessor

MIGRATIONS = Path(__file__).parents[2] / "app" / "provider" / "migrations"
STEPS = (
    "accept",
    "lease",
    "lease_closing",
    "store",
    "promise_callback",
    "release",
    "mark_published",
    "publish",
)


class Death(NamedTuple):
    step: str
    side: Literal["before", "after"]
    nth: int


class Ask(NamedTuple):
    """`slow`: the judge answers only after the asker was told something."""

    direct: bool
    slow: bool
    topic: bool


class Mortal:
    """Stands before a part of a process and lets nothing through once the process is dead."""

    def __init__(self, part: object, death: Death | None, error: type[JuxtaError]) -> None:
        self._part = part
        self._death = death
        self._error = error
        self._seen: Counter[str] = Counter()
        self.dead = False

    def die(self) -> JuxtaError:
        self.dead = True
        return self._error("this process is dead")

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._part, name)
        if name not in STEPS and name != "wait":
            return inner

        async def step(*arguments: Any, **options: Any) -> Any:
            if self.dead:
                raise self.die()
            self._seen[name] += 1
            dies = self._death is not None and self._death[::2] == (name, self._seen[name])
            if dies and self._death is not None and self._death.side == "before":
                raise self.die()
            result = await inner(*arguments, **options)
            if dies or self.dead:
                raise self.die()
            return result

        return step


class Judge:
    """Never says the same twice, so that a second call would show."""

    kind = JudgeKind.LLM

    def __init__(self) -> None:
        self.calls: Counter[UUID] = Counter()
        self.doors: dict[UUID, anyio.Event] = {}

    def check(self, request: LLMComparisonRequest) -> None:
        """Every text will do."""

    def lane(self, overrides: LLMConfigOverrides) -> str:
        return overrides.model or "direct"

    async def compare(self, request: LLMComparisonRequest) -> Verdict:
        self.calls[request.correlation_id] += 1
        call = sum(self.calls.values())
        await self.doors[request.correlation_id].wait()
        return Verdict(
            winner=Winner.ESSAY_A,
            confidence=0.5,
            justification=f"call {call}",
            provider="judge",
            model="judge",
            judge_kind=self.kind,
        )


class Story:
    def __init__(
        self,
        folder: Path,
        asks: Sequence[Ask],
        *,
        orchestrator: type[LLMOrchestrator] = LLMOrchestrator,
        processor: type[QueueProcessor] = QueueProcessor,
    ) -> None:
        self.path = folder / "provider.db"
        self.judge = Judge()
        self.log = Log()
        self.asks: dict[UUID, tuple[Ask, LLMComparisonRequest]] = {}
        for ask in asks:
            request = LLMComparisonRequest(
                user_prompt="?",
                essay_a="a",
                essay_b="b",
                correlation_id=uuid4(),
                callback_topic=COMPARISON_RESULT_TOPIC if ask.topic else None,
                llm_config_overrides=LLMConfigOverrides(model=None if ask.direct else "queued"),
            )
            self.asks[request.correlation_id] = ask, request
        self.verdicts: defaultdict[UUID, set[str]] = defaultdict(set)
        self.promised: set[UUID] = set()
        self.copies: defaultdict[UUID, set[tuple[str, bytes]]] = defaultdict(set)
        self._orchestrator = orchestrator
        self._processor = processor

    async def live(self, death: Death | None) -> None:
        """One life of the process: it ends when everybody is served, or at its death."""
        self.judge.doors = {correlation_id: anyio.Event() for correlation_id in self.asks}
        for correlation_id, (ask, _) in self.asks.items():
            if not ask.slow or correlation_id in self.promised:
                self.judge.doors[correlation_id].set()
        queue = SqlQueue(
            SqliteDatabase(self.path, migrations=MIGRATIONS, synchronous="OFF"), boot=uuid4().hex, max_tries=9
        )
        bus = InMemoryBus(self.log, DeliveryPolicy(drain=0.5))
        bus.subscribe(COMPARISON_RESULT_TOPIC, "cj", self._receive)
        ledger = Mortal(queue, death, StoreUnavailable)
        publisher = Mortal(bus, death, BusUnavailable)
        lanes = Lanes(lambda name: LaneLimits(direct_concurrency=8 if name == "direct" else 0))
        parts: dict[str, Any] = {
            "queue": cast(RequestQueue, ledger),
            "judges": {"judge": self.judge},
            "lanes": lanes,
            "drain": 0.0,
        }
        processor = self._processor(**parts, bus=cast(Bus, publisher), bus_pause=0.01)
        orchestrator = self._orchestrator(
            **parts,
            topics=frozenset({COMPARISON_RESULT_TOPIC}),
            default_provider="judge",
            patience=0.02,
        )

        def over() -> bool:
            ledger.dead = publisher.dead = ledger.dead or publisher.dead
            return ledger.dead

        async def quiet() -> bool:
            return self._all_served() and not await queue.stats() and not any(bus.health().lag.values())

        async with queue, bus, processor, orchestrator:
            with anyio.move_on_after(3.0):
                while not (over() or await quiet()):
                    await self._ask_all(orchestrator, over)
                    await anyio.sleep(0.002)
            over()
        if death is None:
            assert self._all_served(), "somebody was never answered"
            await self._check_ledger()

    async def _ask_all(self, orchestrator: LLMOrchestrator, over: Callable[[], bool]) -> None:
        async with anyio.create_task_group() as tasks:
            for correlation_id in self._unserved() - self.promised:
                tasks.start_soon(self._ask, orchestrator, correlation_id)
            tasks.start_soon(self._end_with, over, tasks)

    async def _end_with(self, over: Callable[[], bool], tasks: Any) -> None:
        """Askers of a dead process hear nothing more; those of a living one are served or told to come again."""
        with anyio.move_on_after(0.1):
            while not over():  # noqa: ASYNC110 - a process does not announce its death
                await anyio.sleep(0.002)
        tasks.cancel_scope.cancel()

    async def _ask(self, orchestrator: LLMOrchestrator, correlation_id: UUID) -> None:
        ask, request = self.asks[correlation_id]
        if ask.slow and not ask.topic:
            self.judge.doors[correlation_id].set()
        with suppress(JuxtaError):
            answer = await orchestrator.compare(request)
            if isinstance(answer, ComparisonQueued):
                self.promised.add(correlation_id)
            else:
                self.verdicts[correlation_id].add(answer.justification)
        self.judge.doors[correlation_id].set()

    async def _receive(self, records: Sequence[Record]) -> None:
        for record in records:
            event = EventEnvelope[LLMOrchestratorResponse].model_validate_json(record.body)
            self.copies[event.correlation_id].add((record.id, record.body))
            self.verdicts[event.correlation_id].add(event.data.justification or "")

    def _unserved(self) -> set[UUID]:
        return {name for name in self.asks if name not in self.verdicts}

    def _all_served(self) -> bool:
        return not self._unserved() and not self.promised - set(self.copies)

    async def _check_ledger(self) -> None:
        queue = SqlQueue(SqliteDatabase(self.path, migrations=MIGRATIONS), boot="check")
        async with queue:
            rows = await queue.browse()
        assert len(rows) == len(self.asks)

    def check(self, kills: int) -> None:
        assert self.promised <= set(self.copies), "a promised callback never came"
        for correlation_id in self.asks:
            assert len(self.verdicts[correlation_id]) == 1, "different answers to one request"
            assert len(self.copies[correlation_id]) <= 1, "copies of one callback differ"
            assert self.judge.calls[correlation_id] <= 1 + kills, "the judge was asked again without need"


def tell(asks: Sequence[Ask], deaths: Sequence[Death], **parts: Any) -> None:
    async def told() -> None:
        with tempfile.TemporaryDirectory(prefix="juxta-") as folder:
            story = Story(Path(folder), asks, **parts)
            shutil.copy(EMPTY.name, story.path)
            for death in (*deaths, None):
                await story.live(death)
            story.check(len(deaths))

    anyio.run(told)


EMPTY = tempfile.NamedTemporaryFile(prefix="juxta-", suffix=".db")  # noqa: SIM115 - lives as long as the module


@pytest.fixture(autouse=True, scope="module")
def _empty() -> None:
    """Migrating takes longer than a whole story."""

    async def make() -> None:
        async with SqliteDatabase(Path(EMPTY.name), migrations=MIGRATIONS):
            pass

    anyio.run(make)


DEATHS = st.builds(
    Death, step=st.sampled_from(STEPS), side=st.sampled_from(["before", "after"]), nth=st.integers(1, 3)
)
ASKS = st.builds(Ask, direct=st.booleans(), slow=st.booleans(), topic=st.booleans()).filter(
    lambda ask: ask.direct or ask.topic
)
TRIALS = settings(
    deadline=None,
    max_examples=40,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)


@TRIALS
@given(asks=st.lists(ASKS, min_size=1, max_size=4), deaths=st.lists(DEATHS, max_size=3))
def test_every_accepted_request_is_answered_once_wherever_the_process_dies(
    asks: list[Ask], deaths: list[Death]
) -> None:
    tell(asks, deaths)


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_death_at_each_step_of_each_road_loses_nothing(step: str, side: Literal["before", "after"]) -> None:
    tell(
        [Ask(direct=True, slow=False, topic=True), Ask(direct=True, slow=True, topic=True), QUEUED],
        [Death(step, side, 1)],
    )


QUEUED = Ask(direct=False, slow=False, topic=True)


class NewIdentity(QueueProcessor):
    """Mutant: a new event_id per publish."""

    async def _publish(self, lease: Any, stored: StoredOutcome) -> None:
        record = outcomes.to_record(lease.request, stored)
        await self._bus.publish(Record(record.topic, record.key, str(uuid4()), record.body, record.headers))


def test_the_property_catches_a_new_event_id_per_publish() -> None:
    deaths = [Death("publish", "after", 1)]
    tell([QUEUED], deaths)
    with pytest.raises(AssertionError, match="copies of one callback differ"):
        tell([QUEUED], deaths, processor=NewIdentity)


class HastyPromise(LLMOrchestrator):
    """Mutant: the 202 is written before the reply became a callback."""

    async def _outlive(self, *_: Any) -> LLMComparisonResponse | None:
        return None


def test_the_property_catches_a_202_before_the_reply_became_a_callback() -> None:
    slow = Ask(direct=True, slow=True, topic=True)
    tell([slow], [])
    with pytest.raises(AssertionError, match="somebody was never answered"):
        tell([slow], [], orchestrator=HastyPromise)


class Forgetful(QueueProcessor):
    """Mutant: a stored outcome is judged again after a crash."""

    async def _close(self, lease: Any) -> None:
        verdict = await self._judging._judges["judge"].compare(
            LLMComparisonRequest(
                user_prompt="?", essay_a="a", essay_b="b", correlation_id=lease.request.correlation_id
            )
        )
        assert lease.stored is not None
        response = outcomes.read(lease.stored).model_copy(update={"justification": verdict.justification})
        await self._deliver(lease, outcomes.to_store(lease, response))


def test_the_property_catches_a_judge_that_is_asked_again_for_an_answered_request() -> None:
    deaths = [Death("publish", "after", 1)]
    with pytest.raises(AssertionError, match="different answers"):
        tell([QUEUED], deaths, processor=Forgetful)
