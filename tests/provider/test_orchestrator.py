"""200 and 202 are one path, and a repeat never asks the judge again."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import anyio
import pytest

from app.contracts import (
    ComparisonQueued,
    JudgeKind,
    LLMComparisonResponse,
    LLMConfigOverrides,
    Outcome,
    Winner,
)
from app.errors import (
    InvalidRequest,
    JudgeFailed,
    NoRoom,
    NotFound,
    QueueFull,
    RequestCancelled,
    RequestExpired,
    RequestMismatch,
    StoreUnavailable,
    TopicNotAllowed,
    Unavailable,
)
from app.provider.lane import LaneLimits
from app.provider.outcomes import StoredProblem
from app.provider.queue.protocol import Reply, State
from tests.provider.provider_world import DOWN, IMPATIENT, REFUSED, World, comparison, locked, now, until

pytestmark = pytest.mark.anyio

BUSY = LaneLimits(direct_concurrency=0)


async def test_a_free_judge_answers_at_once(world: World) -> None:
    request = comparison(metadata={"pair": 7})
    answer = await world.orchestrator.compare(request)
    assert isinstance(answer, LLMComparisonResponse)
    assert answer.winner is Winner.ESSAY_B
    assert answer.judge_kind is JudgeKind.LLM
    assert answer.metadata == {"pair": 7}
    assert answer.correlation_id == request.correlation_id
    entry = await world.orchestrator.entry(request.queue_id("local"))
    assert (entry.state, entry.reply, entry.tries) == (State.PUBLISHED, Reply.RESPONSE, 1)
    assert world.received == []


async def test_a_busy_judge_answers_by_callback(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", limits=BUSY) as world:
        request = comparison()
        answer = await world.orchestrator.compare(request)
        assert isinstance(answer, ComparisonQueued)
        assert answer.queue_id == request.queue_id("local")
        await until(lambda: world.received)
        (outcome,) = world.outcomes
        assert outcome.status is Outcome.SUCCEEDED
        assert outcome.request_id == answer.queue_id
        assert outcome.correlation_id == request.correlation_id
        assert outcome.attempts == 1
        assert outcome.requested_at <= outcome.completed_at


async def test_slower_than_patience_is_202_at_that_moment_and_the_callback_follows(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", patience=IMPATIENT) as world:
        world.judge.shut()
        began = now()
        answer = await world.orchestrator.compare(comparison())
        assert isinstance(answer, ComparisonQueued)
        assert IMPATIENT <= now() - began < IMPATIENT + 1
        assert world.received == []
        world.judge.open()
        await until(lambda: world.received)
        assert world.outcomes[0].status is Outcome.SUCCEEDED
        assert len(world.judge.calls) == 1


async def test_an_asker_who_leaves_is_called_back(world: World) -> None:
    world.judge.shut()
    left = anyio.Event()
    request = comparison()
    async with anyio.create_task_group() as tasks:

        async def ask() -> None:
            await world.orchestrator.compare(request, gone=left.wait)

        tasks.start_soon(ask)
        await until(lambda: world.judge.calls)
        left.set()
    assert (await world.orchestrator.entry(request.queue_id("local"))).reply is Reply.CALLBACK
    world.judge.open()
    await until(lambda: world.received)
    assert len(world.judge.calls) == 1


async def test_an_asker_who_is_cancelled_is_called_back(world: World) -> None:
    world.judge.shut()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(world.orchestrator.compare, comparison())
            await until(lambda: world.judge.calls)
            scope.cancel()
    world.judge.open()
    await until(lambda: world.received)
    assert len(world.judge.calls) == 1


async def test_an_asker_who_is_cancelled_hears_of_nothing_but_that(world: World) -> None:
    world.judge.shut()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(world.orchestrator.compare, comparison(callback_topic=None))
            await until(lambda: world.judge.calls)
            scope.cancel()
    assert scope.cancelled_caught


async def test_a_twin_joins_the_wait_and_gets_the_same_answer(world: World) -> None:
    world.judge.shut()
    request, answers = comparison(), []

    async def ask() -> None:
        answers.append(await world.orchestrator.compare(request))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask)
        await until(lambda: world.judge.calls)
        world.judge.open()
    assert len(world.judge.calls) == 1
    assert len(answers) == 3
    assert len({answer.model_dump_json() for answer in answers}) == 1
    assert world.received == []


async def test_a_twin_in_another_process_gets_202_and_the_first_one_its_200(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db") as world, World(tmp_path / "other.db", working=False) as other:
        other.orchestrator._queue = world.queue
        world.judge.shut()
        request, answers = comparison(), []

        async def ask() -> None:
            answers.append(await world.orchestrator.compare(request))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await until(lambda: world.judge.calls)
            assert isinstance(await other.orchestrator.compare(request), ComparisonQueued)
            world.judge.open()
        assert isinstance(answers[0], LLMComparisonResponse)
        await until(lambda: world.received)
        assert len(world.judge.calls) == 1
        assert other.judge.calls == []


async def test_a_repeat_gets_the_stored_answer_byte_for_byte(world: World) -> None:
    request = comparison(metadata={"n": 1.5, "deep": [None, "å"]})
    first = await world.orchestrator.compare(request)
    again = await world.orchestrator.compare(request)
    assert first.model_dump_json() == again.model_dump_json()
    assert len(world.judge.calls) == 1


async def test_a_repeat_while_it_waits_is_202_again(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", limits=BUSY, working=False) as world:
        request = comparison()
        answers = [await world.orchestrator.compare(request) for _ in range(3)]
        assert all(isinstance(answer, ComparisonQueued) for answer in answers)
        assert len(await world.queue.browse()) == 1


@pytest.mark.parametrize("busy", [False, True])
async def test_another_body_under_a_known_id_is_refused(tmp_path: Path, *, busy: bool) -> None:
    limits = BUSY if busy else LaneLimits()
    async with World(tmp_path / "p.db", limits=limits) as world:
        request = comparison()
        await world.orchestrator.compare(request)
        other = request.model_copy(update={"essay_a": "Something else."})
        with pytest.raises(RequestMismatch):
            await world.orchestrator.compare(other)


async def test_another_body_is_refused_while_the_first_one_is_judged(world: World) -> None:
    world.judge.shut()
    request = comparison()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.orchestrator.compare, request)
        await until(lambda: world.judge.calls)
        with pytest.raises(RequestMismatch):
            await world.orchestrator.compare(request.model_copy(update={"essay_a": "Something else."}))
        world.judge.open()


async def test_principals_do_not_share_ids(world: World) -> None:
    request = comparison()
    await world.orchestrator.compare(request, principal="ann")
    await world.orchestrator.compare(request.model_copy(update={"essay_a": "Other."}), principal="bob")
    assert len(world.judge.calls) == 2


async def test_a_final_failure_is_the_same_on_every_repeat(world: World) -> None:
    world.judge.script.append(REFUSED)
    request, problems = comparison(), []
    for _ in range(3):
        with pytest.raises(JudgeFailed) as caught:
            await world.orchestrator.compare(request)
        assert isinstance(caught.value, StoredProblem)
        problems.append(caught.value.problem)
    assert problems[0] == problems[1] == problems[2]
    assert problems[0].code == "refused"
    assert problems[0].status == 502
    assert problems[0].correlation_id == request.correlation_id
    assert len(world.judge.calls) == 1


async def test_an_expired_request_is_504_on_every_repeat(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", limits=LaneLimits(concurrency=0)) as world:
        request = comparison(expires_in=0.05)
        assert isinstance(await world.orchestrator.compare(request), ComparisonQueued)
        await until(lambda: world.received)
        assert world.outcomes[0].status is Outcome.EXPIRED
        for _ in range(2):
            with pytest.raises(RequestExpired):
                await world.orchestrator.compare(request)


async def test_a_cancelled_request_is_409_on_every_repeat(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", limits=LaneLimits(concurrency=0)) as world:
        request = comparison()
        await world.orchestrator.compare(request)
        await world.orchestrator.cancel(request.correlation_id)
        await until(lambda: world.received)
        assert world.outcomes[0].status is Outcome.CANCELLED
        for _ in range(2):
            with pytest.raises(RequestCancelled):
                await world.orchestrator.compare(request)
        await world.orchestrator.cancel(request.correlation_id)


async def test_cancelling_what_nobody_asked_is_404(world: World) -> None:
    with pytest.raises(NotFound):
        await world.orchestrator.cancel(uuid4())
    with pytest.raises(NotFound):
        await world.orchestrator.entry(uuid4())


async def test_a_topic_that_is_not_on_the_list_is_refused_with_the_list(world: World) -> None:
    with pytest.raises(TopicNotAllowed) as caught:
        await world.orchestrator.compare(comparison(callback_topic="elsewhere"))
    assert "huleedu.llm_provider.comparison_result.v1" in caught.value.errors[0][1]
    assert await world.queue.browse() == []


@pytest.mark.parametrize("overrides", [{"provider": "nobody"}, {"temperature": 0.5}])
async def test_a_judge_that_cannot_be_had_is_refused_and_nothing_stored(
    world: World, overrides: dict[str, object]
) -> None:
    with pytest.raises(InvalidRequest):
        await world.orchestrator.compare(comparison(llm_config_overrides=LLMConfigOverrides(**overrides)))
    assert await world.queue.browse() == []


async def test_without_topic_and_room_it_is_503_and_nothing_is_stored(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", limits=BUSY) as world:
        with pytest.raises(NoRoom) as caught:
            await world.orchestrator.compare(comparison(callback_topic=None))
        assert caught.value.retry_after
        assert await world.queue.browse() == []


async def test_without_topic_a_twin_in_another_process_is_told_that_it_is_judged(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db") as world, World(tmp_path / "other.db", working=False) as other:
        other.orchestrator._queue = world.queue
        world.judge.shut()
        request = comparison(callback_topic=None)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(world.orchestrator.compare, request)
            await until(lambda: world.judge.calls)
            with pytest.raises(Unavailable) as caught:
                await other.orchestrator.compare(request)
            world.judge.open()
        assert type(caught.value) is Unavailable
        assert other.judge.calls == []


async def test_without_topic_a_stored_answer_is_given_even_when_there_is_no_room(world: World) -> None:
    request = comparison(callback_topic=None)
    first = await world.orchestrator.compare(request)
    world.lanes["scripted:plain"].breaker.trip("for the test")
    assert await world.orchestrator.compare(request) == first


async def test_without_topic_the_asker_waits_beyond_patience(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", patience=0.02) as world:
        world.judge.shut()
        answers = []

        async def ask() -> None:
            answers.append(await world.orchestrator.compare(comparison(callback_topic=None)))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await until(lambda: world.judge.calls)
            await anyio.sleep(0.1)
            assert answers == []
            world.judge.open()
        assert isinstance(answers[0], LLMComparisonResponse)


async def test_without_topic_the_wait_ends_at_the_deadline(world: World) -> None:
    world.judge.shut()
    request = comparison(callback_topic=None, expires_in=0.1)
    for _ in range(2):
        with pytest.raises(RequestExpired):
            await world.orchestrator.compare(request)
    assert len(world.judge.calls) == 1


async def test_without_topic_a_failing_judge_is_asked_again_on_the_line(world: World) -> None:
    world.judge.script.extend([DOWN, DOWN])
    request = comparison(callback_topic=None)
    assert isinstance(await world.orchestrator.compare(request), LLMComparisonResponse)
    assert (await world.orchestrator.entry(request.queue_id("local"))).tries == 3


async def test_without_topic_the_tries_are_bounded(world: World) -> None:
    world.judge.script.extend([DOWN] * 9)
    with pytest.raises(JudgeFailed):
        await world.orchestrator.compare(comparison(callback_topic=None))
    assert len(world.judge.calls) == 3


async def test_a_direct_call_that_fails_retryably_goes_on_as_a_queued_one(world: World) -> None:
    world.judge.script.append(DOWN)
    answer = await world.orchestrator.compare(comparison())
    assert isinstance(answer, ComparisonQueued)
    await until(lambda: world.received)
    assert world.outcomes[0].status is Outcome.SUCCEEDED
    assert world.outcomes[0].attempts == 2


async def test_a_full_queue_is_429_with_retry_after_but_known_ids_are_answered(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", limits=BUSY, working=False, limit=1) as world:
        known = comparison()
        await world.orchestrator.compare(known)
        with pytest.raises(QueueFull) as caught:
            await world.orchestrator.compare(comparison())
        assert caught.value.retry_after
        assert isinstance(await world.orchestrator.compare(known), ComparisonQueued)


@pytest.mark.parametrize("limits", [LaneLimits(), BUSY])
async def test_a_locked_database_is_503_and_never_a_false_202(tmp_path: Path, limits: LaneLimits) -> None:
    async with World(tmp_path / "p.db", limits=limits) as world:
        request = comparison()
        with locked(tmp_path / "p.db"), pytest.raises(StoreUnavailable):
            await world.orchestrator.compare(request)
        assert world.judge.calls == []
        await world.orchestrator.compare(request)
        await until(lambda: world.judge.calls)


async def test_when_patience_ends_and_the_database_is_away_it_is_503_and_a_repeat_repairs(
    tmp_path: Path,
) -> None:
    async with World(tmp_path / "p.db", patience=IMPATIENT) as world:
        world.judge.shut()
        request, told = comparison(), anyio.Event()
        async with anyio.create_task_group() as tasks:

            async def ask() -> None:
                with pytest.raises(StoreUnavailable):
                    await world.orchestrator.compare(request)
                told.set()

            tasks.start_soon(ask)
            await until(lambda: world.judge.calls)
            with locked(tmp_path / "p.db"):
                await told.wait()
        world.judge.open()
        assert isinstance(await world.orchestrator.compare(request), LLMComparisonResponse)
        assert len(world.judge.calls) == 1


async def test_a_bug_in_a_judge_costs_a_try_and_not_the_process(world: World) -> None:
    world.judge.script.append(ZeroDivisionError("oops"))
    assert isinstance(await world.orchestrator.compare(comparison()), ComparisonQueued)
    await until(lambda: world.received)
    assert world.outcomes[0].attempts == 2


async def test_leaving_waits_for_the_calls_that_run(tmp_path: Path) -> None:
    request, answers = comparison(), []
    async with anyio.create_task_group() as tasks, World(tmp_path / "p.db") as world:

        async def ask() -> None:
            answers.append(await world.orchestrator.compare(request))

        world.judge.shut()
        tasks.start_soon(ask)
        await until(lambda: world.judge.calls)
    assert isinstance(answers[0], LLMComparisonResponse)


async def test_what_does_not_finish_while_leaving_goes_on_in_the_next_life(tmp_path: Path) -> None:
    answers = []
    async with anyio.create_task_group() as tasks:
        async with World(tmp_path / "p.db", drain=0.05) as world:
            world.judge.open = lambda: None  # type: ignore[method-assign]

            async def ask() -> None:
                answers.append(await world.orchestrator.compare(comparison()))

            world.judge.shut()
            tasks.start_soon(ask)
            await until(lambda: world.judge.calls)
        async with World(tmp_path / "p.db") as later:
            await until(lambda: later.received)
    assert isinstance(answers[0], ComparisonQueued)
    assert later.outcomes[0].status is Outcome.SUCCEEDED


async def test_the_row_keeps_the_judge_that_was_the_default_when_it_was_accepted(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", limits=BUSY, working=False) as world:
        await world.orchestrator.compare(comparison())
        (lease,) = await world.queue.lease("scripted:plain", limit=1, seconds=5)
        assert b'"provider":"scripted"' in lease.request.body


async def test_without_topic_and_without_an_asker_the_answer_waits_for_the_repeat(world: World) -> None:
    world.judge.shut()
    left = anyio.Event()
    left.set()
    request = comparison(callback_topic=None)
    with pytest.raises(Unavailable):
        await world.orchestrator.compare(request, gone=left.wait)
    world.judge.open()
    assert isinstance(await world.orchestrator.compare(request), LLMComparisonResponse)
    assert len(world.judge.calls) == 1
