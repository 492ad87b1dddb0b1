"""Every accepted request ends in one outcome, and every callback that was promised is published."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid5

import anyio
import anyio.lowlevel
import pytest

from app.bus.protocol import Record
from app.contracts import (
    COMPARISON_RESULT_TOPIC,
    ComparisonQueued,
    LLMComparisonRequest,
    LLMConfigOverrides,
    LLMOrchestratorResponse,
    Outcome,
)
from app.errors import BusUnavailable, RecordRefused, StoreUnavailable, TopicAbsent
from app.provider.judges.protocol import JudgeError
from app.provider.judging import RetryPolicy
from app.provider.lane import LaneLimits
from app.provider.queue.protocol import Lease, State, StoredOutcome
from app.provider.queue_processor import QueueProcessor
from tests.provider.provider_world import DOWN, REFUSED, World, comparison, locked, now, until

pytestmark = pytest.mark.anyio

QUEUED_ONLY = LaneLimits(direct_concurrency=0, cooldown=0.2)
NOBODY = LaneLimits(concurrency=0)


async def submit(world: World, count: int, **changes: object) -> list[LLMComparisonRequest]:
    requests = [comparison(**changes) for _ in range(count)]
    async with anyio.create_task_group() as tasks:
        for request in requests:
            tasks.start_soon(world.orchestrator.compare, request)
    return requests


async def states(world: World) -> Counter[State]:
    return Counter(entry.state for entry in await world.queue.browse(limit=500))


async def test_every_request_is_answered_once(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", limits=QUEUED_ONLY) as world:
        requests = await submit(world, 50)
        await until(lambda: world.processor.counts.published == 50)  # the mark follows the record
        assert {r.correlation_id for r in requests} == {o.correlation_id for o in world.outcomes}
        assert max(Counter(world.judge.calls).values()) == 1
        assert await states(world) == {State.PUBLISHED: 50}


async def test_the_record_carries_key_identity_and_cloud_events(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", limits=QUEUED_ONLY) as world:
        traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        request = comparison(callback_key="batch-7", metadata={"a": 1})
        await world.orchestrator.compare(request, traceparent=traceparent)
        await until(lambda: world.received)
        (record,) = world.received
        event = json.loads(record.body)
        assert record.key == "batch-7"
        assert record.id == event["event_id"] == str(uuid5(request.queue_id("local"), "result"))
        assert record.headers == {
            "ce_specversion": "1.0",
            "ce_id": record.id,
            "ce_source": "provider",
            "ce_type": event["event_type"],
            "ce_time": event["event_timestamp"],
            "content-type": "application/json",
            "traceparent": traceparent,
        }
        assert event["metadata"] == {"traceparent": traceparent}
        assert event["data"]["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
        assert event["data"]["metadata"] == {"a": 1}
        assert "secret" not in record.body.decode()


async def test_an_open_breaker_queues_and_the_line_is_answered_after_the_cool_down(tmp_path: Path) -> None:
    limits = LaneLimits(failures=2, cooldown=0.2, concurrency=4)
    retry = RetryPolicy(tries=10, base=0.01, cap=0.02)
    async with World(tmp_path / "p.db", limits=limits, retry=retry, max_tries=10) as world:
        world.judge.script.extend([DOWN, DOWN])
        await submit(world, 2)
        assert world.lanes["scripted:plain"].breaker.room(now()) == 0
        called = len(world.judge.calls)
        await submit(world, 5)
        assert len(world.judge.calls) == called
        await until(lambda: len(world.received) == 7)
        assert {outcome.status for outcome in world.outcomes} == {Outcome.SUCCEEDED}
        assert len(world.judge.calls) == 9


async def test_half_open_asks_the_judge_once(tmp_path: Path) -> None:
    limits = LaneLimits(failures=1, cooldown=0.1, concurrency=4, direct_concurrency=0)
    async with World(tmp_path / "p.db", limits=limits) as world:
        world.judge.script.append(DOWN)
        await submit(world, 1)
        await until(lambda: len(world.judge.calls) == 1)
        world.judge.shut()
        await submit(world, 5)
        await until(lambda: len(world.judge.calls) == 2)
        await anyio.sleep(0.1)
        assert len(world.judge.calls) == 2
        world.judge.open()
        await until(lambda: len(world.received) == 6)


async def test_waiting_for_breaker_and_rate_costs_no_tries_and_no_leases(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", limits=QUEUED_ONLY) as world:
        lane = world.lanes["scripted:plain"]
        lane.breaker.trip("for the test")
        (request,) = await submit(world, 1)
        await anyio.sleep(0.1)
        entry = await world.orchestrator.entry(request.queue_id("local"))
        assert (entry.tries, entry.attempt) == (0, 0)
        lane.breaker.reset("done")
        world.processor._wake_everybody()
        await until(lambda: world.received)
        assert world.outcomes[0].attempts == 1


async def test_a_requested_pause_is_kept_and_the_request_succeeds_after_it(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", limits=QUEUED_ONLY) as world:
        world.judge.script.append(JudgeError("rate_limited", "slow", retryable=True, retry_after=0.3))
        await submit(world, 1)
        await until(lambda: world.judge.calls)
        first = now()
        await until(lambda: world.received)
        assert now() - first >= 0.25
        assert world.outcomes[0].attempts == 2


async def test_an_expired_request_is_answered_without_the_judge(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", limits=QUEUED_ONLY) as world:
        world.lanes["scripted:plain"].breaker.trip("for the test")
        await submit(world, 3, expires_in=0.05, metadata={"pair": 1})
        await until(lambda: len(world.received) == 3)
        assert world.judge.calls == []
        for outcome in world.outcomes:
            assert outcome.status is Outcome.EXPIRED
            assert outcome.error is not None
            assert outcome.error.code == "request-expired"
            assert outcome.metadata == {"pair": 1}


async def test_a_call_still_running_at_the_deadline_is_cut_off_as_expired(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", limits=QUEUED_ONLY) as world:
        world.judge.shut()
        await submit(world, 1, expires_in=0.3)
        await until(lambda: world.received)
        assert world.outcomes[0].status is Outcome.EXPIRED
        assert world.outcomes[0].attempts == 1


async def test_a_cancelled_request_is_answered_without_the_judge(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", limits=QUEUED_ONLY) as world:
        world.lanes["scripted:plain"].breaker.trip("for the test")
        (request,) = await submit(world, 1)
        await world.orchestrator.cancel(request.correlation_id)
        await until(lambda: world.received)
        assert world.outcomes[0].status is Outcome.CANCELLED
        assert world.judge.calls == []


async def test_retries_end_in_a_failed_outcome_with_its_class(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", limits=LaneLimits(direct_concurrency=0, failures=99)) as world:
        world.judge.script.extend([JudgeError("timeout", "too slow", retryable=True)] * 3)
        await submit(world, 1)
        await until(lambda: world.received)
        (outcome,) = world.outcomes
        assert outcome.status is Outcome.FAILED
        assert outcome.attempts == len(world.judge.calls) == 3
        assert outcome.error is not None
        assert outcome.error.code == "timeout"
        assert outcome.error.retryable


async def test_a_final_failure_is_not_tried_again(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", limits=QUEUED_ONLY) as world:
        world.judge.script.append(REFUSED)
        await submit(world, 1)
        await until(lambda: world.received)
        assert world.outcomes[0].status is Outcome.FAILED
        assert len(world.judge.calls) == 1


async def test_a_call_that_hangs_is_ended_and_counts_against_the_judge(tmp_path: Path) -> None:
    limits = LaneLimits(direct_concurrency=0, call_timeout=0.05, failures=99)
    async with World(tmp_path / "p.db", limits=limits) as world:
        world.judge.shut()
        await submit(world, 1)
        await until(lambda: world.received)
        assert world.outcomes[0].error is not None
        assert world.outcomes[0].error.code == "timeout"
        assert len(world.judge.calls) == 3


def test_pauses_between_tries_grow_are_jittered_and_capped() -> None:
    policy, random = RetryPolicy(base=1, cap=10), Random(1)
    pauses = [[policy.pause(tries, random.random()) for _ in range(50)] for tries in range(1, 8)]
    for tries, some in enumerate(pauses):
        top = min(10, 2**tries)
        assert top / 2 <= min(some) < max(some) <= top
        assert len(set(some)) > 40


async def test_the_bus_down_keeps_the_outcome_and_publishes_it_once_when_it_is_back(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", limits=QUEUED_ONLY) as world:
        world.log.down = True
        requests = await submit(world, 20)
        await until(lambda: world.processor.counts.stored == 20)
        await until(lambda: world.processor.counts.unpublished > 22)
        rows = await world.queue.browse(limit=100)
        assert {row.outcome for row in rows} == {Outcome.SUCCEEDED}
        assert {row.tries for row in rows} == {1}
        world.log.down = False
        await until(lambda: len(world.received) >= 20)
        await until(lambda: world.processor.counts.published == 20)
        assert {r.correlation_id for r in requests} == {o.correlation_id for o in world.outcomes}
        assert len(world.received) == 20
        assert len(world.judge.calls) == 20


async def test_a_record_that_the_bus_refuses_holds_up_no_other(tmp_path: Path) -> None:
    class Picky(QueueProcessor):
        async def _publish(self, lease: Lease, stored: StoredOutcome) -> None:
            if lease.request.correlation_id == refused:
                raise RecordRefused("the topic takes no record of this size")
            await super()._publish(lease, stored)

    requests = [comparison() for _ in range(20)]
    refused = requests[0].correlation_id
    async with World(tmp_path / "p.db", limits=QUEUED_ONLY, processor=Picky) as world:
        for request in requests:
            await world.orchestrator.compare(request)
        await until(lambda: world.processor.counts.published == 19)
        await until(lambda: world.processor.counts.unpublished == 1)
        entries = await world.queue.browse(state=State.ANSWERED)
        assert [entry.correlation_id for entry in entries] == [refused]


async def test_a_topic_that_is_not_there_holds_up_no_other_and_is_not_asked_for_again_at_once(
    tmp_path: Path,
) -> None:
    other = "another.topic"

    class Half(QueueProcessor):
        asked = 0

        async def _publish(self, lease: Lease, stored: StoredOutcome) -> None:
            if lease.request.callback_topic == other:
                self.asked += 1
                raise TopicAbsent("the broker has no such topic")
            await super()._publish(lease, stored)

    async with World(tmp_path / "p.db", limits=NOBODY, working=False, processor=Half) as world:
        world.orchestrator._topics |= {other}
        world.processor._publishers = 1
        world.processor._bus_pause = 60.0
        for topic in (other, COMPARISON_RESULT_TOPIC) * 5:
            request = comparison(callback_topic=topic)
            await world.orchestrator.compare(request)
            await world.orchestrator.cancel(request.correlation_id)
        async with world.processor:
            await until(lambda: world.processor.counts.published == 5)
            await until(lambda: world.processor.counts.unpublished == 5)
        assert isinstance(world.processor, Half)
        assert world.processor.asked == 1


async def test_a_publish_whose_mark_was_lost_is_repeated_with_the_same_identity_and_bytes(
    tmp_path: Path,
) -> None:
    class Forgetful(QueueProcessor):
        forgets = 2

        async def _publish(self, lease: Lease, stored: StoredOutcome) -> None:
            await super()._publish(lease, stored)
            if self.forgets:
                self.forgets -= 1
                raise BusUnavailable("stored, but nobody heard it")

    async with World(tmp_path / "p.db", limits=QUEUED_ONLY, processor=Forgetful) as world:
        await submit(world, 1)
        await until(lambda: len(world.received) == 3)
        assert (
            len({(record.id, record.body, tuple(record.headers.items())) for record in world.received}) == 1
        )
        assert len(world.judge.calls) == 1


async def close(world: World, count: int) -> None:
    """Put rows into the closer's line: cancelled, so that no judge is needed."""
    for request in await submit(world, count):
        await world.orchestrator.cancel(request.correlation_id)


async def test_the_closer_leases_no_more_than_may_be_published(tmp_path: Path) -> None:
    class Narrow(QueueProcessor):
        running = most = 0

        async def _publish(self, lease: Lease, stored: StoredOutcome) -> None:
            self.running += 1
            self.most = max(self.most, self.running)
            for _ in range(3):  # whatever else was leased meanwhile is in the ledger before this
                await self._queue.extend(lease, 30.0)
            await super()._publish(lease, stored)
            self.running -= 1

    async with World(tmp_path / "p.db", limits=NOBODY, working=False, processor=Narrow) as world:
        await close(world, 8)
        world.processor._publishers = 2
        async with world.processor:
            await until(lambda: world.processor.counts.published == 8)
        assert isinstance(world.processor, Narrow)
        assert (world.processor.most, world.processor.counts.unpublished) == (2, 0)
        assert {entry.attempt for entry in await world.queue.browse()} == {1}


async def test_one_outage_counts_once_however_many_publishes_it_hits(tmp_path: Path) -> None:
    class Cut(QueueProcessor):
        begun = 0
        all_begun = anyio.Event()

        async def _publish(self, lease: Lease, stored: StoredOutcome) -> None:
            self.begun += 1
            if self.begun == 20:
                self.all_begun.set()
            await self.all_begun.wait()
            raise BusUnavailable("gone under all of them")

    async with World(tmp_path / "p.db", limits=NOBODY, working=False, processor=Cut) as world:
        await close(world, 20)
        world.processor._bus_pause = 60.0
        async with world.processor:
            await until(lambda: world.processor.counts.unpublished == 20)
            assert world.processor._bus_failures == 1


async def test_rows_past_the_retention_are_deleted_at_the_start_and_again(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", working=False, retention=0.0) as world:
        await world.orchestrator.compare(comparison())
        assert len(await world.queue.browse()) == 1
        world.processor._purge_every = 0.0
        purge, passes = world.queue.purge, []

        async def counted() -> int:
            passes.append(await purge())
            return passes[-1]

        world.queue.purge = counted  # type: ignore[method-assign]
        async with world.processor:
            await until(lambda: len(passes) >= 3)
        assert passes[:2] == [1, 0]
        assert await world.queue.browse() == []


async def test_an_absent_database_does_not_end_the_purging(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", working=False, retention=0.0) as world:
        await world.orchestrator.compare(comparison())
        world.processor._purge_every = 0.0
        with locked(tmp_path / "p.db"):
            async with world.processor:
                await until(lambda: world.processor.counts.store_away > 2)
        async with world.processor:
            while await world.queue.browse():
                await anyio.lowlevel.checkpoint()


async def test_a_try_is_counted_with_the_lease_and_costs_no_commit_of_its_own(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", working=False) as world:
        world.queue.begin_try = None  # type: ignore[method-assign,assignment]
        await world.orchestrator.compare(comparison())
        world.lanes["scripted:plain"].breaker.trip("for the test")
        await submit(world, 1)
        world.lanes["scripted:plain"].breaker.reset("done")
        async with world.processor:
            await until(lambda: world.processor.counts.published == 1)
        assert [entry.tries for entry in await world.queue.browse()] == [1, 1]


async def test_what_was_leased_while_stopping_costs_no_try(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", limits=QUEUED_ONLY, working=False, max_tries=1) as world:
        await submit(world, 1)
        lease = world.queue.lease

        async def late(*arguments: Any, **options: Any) -> Sequence[Lease]:
            leases = await lease(*arguments, **options)
            world.processor._stopping = True
            return leases

        world.queue.lease = late  # type: ignore[method-assign]
        async with world.processor:
            await until(lambda: world.processor._stopping)
        (entry,) = await world.queue.browse()
        assert (entry.state, entry.attempt, entry.tries) == (State.QUEUED, 1, 0)
        assert world.judge.calls == []


async def test_a_breaker_that_opens_during_the_lease_costs_no_try(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", limits=QUEUED_ONLY, working=False, max_tries=1) as world:
        await submit(world, 1)
        lease, breaker = world.queue.lease, world.lanes["scripted:plain"].breaker

        async def late(*arguments: Any, **options: Any) -> Sequence[Lease]:
            leases = await lease(*arguments, **options)
            breaker.trip("for the test")
            return leases

        world.queue.lease = late  # type: ignore[method-assign]
        async with world.processor:
            await until(lambda: breaker.room(now()) == 0)
        (entry,) = await world.queue.browse()
        assert (entry.state, entry.attempt, entry.tries) == (State.QUEUED, 1, 0)
        assert world.judge.calls == []


async def test_looking_for_rows_leaves_the_slots_to_direct_calls(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", working=False) as world:
        await world.orchestrator.compare(comparison())
        lease, running = world.queue.lease, []

        async def watched(*arguments: Any, **options: Any) -> Sequence[Lease]:
            running.append(world.lanes["scripted:plain"].running)
            return await lease(*arguments, **options)

        world.queue.lease = watched  # type: ignore[method-assign]
        async with world.processor:
            await until(lambda: running)
        assert set(running) == {1}  # however often it looked


async def test_the_rate_is_kept_over_a_restart(tmp_path: Path) -> None:
    limits = LaneLimits(requests_per_minute=3)
    async with World(tmp_path / "p.db", limits=limits) as world:
        for _ in range(3):
            await world.orchestrator.compare(comparison())
    for part in ("orchestrator", "processor"):  # either may be alone in its process
        later = World(tmp_path / "p.db", limits=limits)
        async with later.queue, getattr(later, part):
            assert 50.0 < later.lanes["scripted:plain"].seconds_until_room() <= 60.0


async def test_long_calls_keep_their_lease(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", limits=QUEUED_ONLY, lease=0.4) as world:
        world.judge.shut()
        await submit(world, 3)
        await until(lambda: len(world.judge.calls) == 3)
        await anyio.sleep(1.0)
        world.judge.open()
        await until(lambda: len(world.received) == 3)
        assert len(world.judge.calls) == 3
        assert world.processor.counts.lost == 0


async def test_direct_calls_keep_their_lease_too(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", lease=0.4) as world:
        world.judge.shut()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(world.orchestrator.compare, comparison())
            await until(lambda: world.judge.calls)
            await anyio.sleep(1.0)
            world.judge.open()
        assert len(world.judge.calls) == 1
        assert world.received == []


async def test_a_lost_lease_is_dropped_and_counted(tmp_path: Path) -> None:
    class Robbed(QueueProcessor):
        robbed = False

        async def _handle_request_success(self, lease: Lease, response: LLMOrchestratorResponse) -> None:
            if not self.robbed:
                self.robbed = True
                await self._queue.release(lease)
            await super()._handle_request_success(lease, response)

    async with World(tmp_path / "p.db", limits=QUEUED_ONLY, processor=Robbed) as world:
        await submit(world, 1)
        await until(lambda: world.received)
        assert world.processor.counts.lost == 1
        assert len(world.received) == 1


async def test_an_open_breaker_does_not_hold_up_other_judges(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", limits=QUEUED_ONLY) as world:
        world.lanes["scripted:plain"].breaker.trip("for the test")
        await submit(world, 5)
        await submit(world, 5, llm_config_overrides=LLMConfigOverrides(model="other"))
        await until(lambda: len(world.received) == 5)
        assert {outcome.model for outcome in world.outcomes} == {"other"}


async def test_never_more_calls_at_once_than_the_judge_bears_and_all_its_slots_are_used(
    tmp_path: Path,
) -> None:
    async with World(tmp_path / "p.db", limits=LaneLimits(concurrency=7, direct_concurrency=3)) as world:
        world.judge.shut()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(submit, world, 40)
            await until(lambda: world.judge.running == 7)
            world.judge.open()
        await until(lambda: len(set(world.judge.calls)) == 40)
        assert world.judge.most_at_once == 7


async def test_lanes_of_people_are_left_to_people(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", limits=LaneLimits(concurrency=0)) as world:
        await submit(world, 2)
        await anyio.sleep(0.1)
        assert world.judge.calls == []
        assert len(await world.queue.lease("scripted:plain", limit=5, seconds=5)) == 2


async def test_a_row_whose_judge_is_gone_fails_by_name(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", limits=QUEUED_ONLY, working=False) as world:
        await submit(world, 1)
    async with World(tmp_path / "p.db", limits=QUEUED_ONLY, working=False) as later:
        later.processor._judging._judges = {}
        async with later.processor:
            await until(lambda: later.received)
        assert later.outcomes[0].error is not None
        assert later.outcomes[0].error.code == "judge-gone"


async def test_leaving_gives_back_what_does_not_finish_and_the_next_life_answers_it(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", limits=QUEUED_ONLY, drain=0.05) as world:
        world.judge.open = lambda: None  # type: ignore[method-assign]
        world.judge.shut()
        await submit(world, 3)
        await until(lambda: len(world.judge.calls) == 3)
    async with World(tmp_path / "p.db", limits=QUEUED_ONLY) as later:
        await until(lambda: len(later.received) == 3)
        assert {outcome.status for outcome in later.outcomes} == {Outcome.SUCCEEDED}


async def test_leaving_finishes_what_runs_within_the_drain_time(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", limits=QUEUED_ONLY) as world:
        world.judge.shut()
        requests = await submit(world, 3)
        await until(lambda: len(world.judge.calls) == 3)
    async with World(tmp_path / "p.db", working=False) as later:
        for request in requests:
            assert (await later.orchestrator.entry(request.queue_id("local"))).outcome is Outcome.SUCCEEDED


async def test_publishes_overlap(tmp_path: Path) -> None:
    most = [0, 0]

    class Slow(QueueProcessor):
        async def _publish(self, lease: Lease, stored: StoredOutcome) -> None:
            most[0] += 1
            most[1] = max(most)
            await anyio.sleep(0.02)
            most[0] -= 1
            await super()._publish(lease, stored)

    async with World(tmp_path / "p.db", limits=QUEUED_ONLY, processor=Slow) as world:
        world.lanes["scripted:plain"].breaker.trip("for the test")
        await submit(world, 60, expires_in=0.05)
        await until(lambda: len(world.received) == 60)
        assert most[1] > 20


async def test_the_processor_survives_an_absent_database(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", limits=QUEUED_ONLY) as world:
        with locked(tmp_path / "p.db"):
            world.processor._wake_everybody()
            await until(lambda: world.processor.counts.store_away)
        await submit(world, 1)
        await until(lambda: world.received)


async def test_a_verdict_is_stored_even_when_the_database_is_away_for_a_moment(tmp_path: Path) -> None:
    async with World(tmp_path / "p.db", limits=QUEUED_ONLY) as world:
        world.judge.shut()
        await submit(world, 1)
        await until(lambda: world.judge.calls)
        with locked(tmp_path / "p.db"):
            world.judge.open()
            await anyio.sleep(0.1)
            assert world.received == []
        await until(lambda: world.received)
        assert len(world.judge.calls) == 1


async def test_a_mark_that_the_database_refuses_comes_as_soon_as_it_may(tmp_path: Path) -> None:
    """Not when the lease of a minute ends, and without a second event."""
    async with World(tmp_path / "p.db", limits=QUEUED_ONLY) as world:
        mark, refused = world.queue.mark_published, [StoreUnavailable("away")] * 2

        async def late(lease: Lease) -> None:
            if refused:
                raise refused.pop()
            await mark(lease)

        world.queue.mark_published = late  # type: ignore[method-assign]
        await submit(world, 1)
        await until(lambda: world.processor.counts.published)
        assert await states(world) == {State.PUBLISHED: 1}
        assert len(world.outcomes) == 1


async def test_another_handler_that_fails_keeps_the_callback(tmp_path: Path) -> None:
    seen: list[Record] = []

    async with World(tmp_path / "p.db", limits=QUEUED_ONLY) as world:

        async def flaky(records: Sequence[Record]) -> None:
            seen.extend(records)
            if len(seen) == 1:
                raise RuntimeError("first time only")

        world.bus._handlers["cj", "huleedu.llm_provider.comparison_result.v1"] = flaky
        await submit(world, 1)
        await until(lambda: len(seen) == 2)
        assert seen[0].body == seen[1].body


async def test_a_dead_lease_of_a_crashed_worker_is_taken_over_and_answered_by_callback(
    tmp_path: Path,
) -> None:
    async with World(tmp_path / "p.db", lease=0.2) as world:
        world.processor._judging.keep = lambda lease: None  # type: ignore[method-assign]
        world.orchestrator._judging.keep = lambda lease: None  # type: ignore[method-assign]
        world.judge.shut()
        answers = []

        async def ask() -> None:
            answers.append(await world.orchestrator.compare(comparison()))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await until(lambda: len(world.judge.calls) == 2)
            world.judge.open()
        await until(lambda: world.received)
        assert len(world.outcomes) == 1
        assert isinstance(answers[0], ComparisonQueued)
