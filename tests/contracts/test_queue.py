"""The promises of the queue, Q1 to Q9: by the model against every queue, and one by one where an example says more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from uuid import uuid4

import anyio
import pytest

from app.contracts import Outcome
from app.errors import LeaseLost, NotFound, QueueFull, RequestMismatch
from app.provider.queue.protocol import (
    Ending,
    Lease,
    QueuedRequest,
    Reply,
    RequestQueue,
    State,
    StoredOutcome,
)
from tests.contracts.queue_machine import keep_the_contract
from tests.contracts.queue_world import JUDGED, JUDGELESS, World, request
from tests.contracts.queue_worlds import WORLDS, SqliteWorld

pytestmark = pytest.mark.anyio

VERDICT = StoredOutcome(Outcome.SUCCEEDED, b'{"winner": "essay_a"}')
OTHER = StoredOutcome(Outcome.FAILED, b'{"winner": null}')


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Place:
    """One world, its clock, and queues opened in it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clock = Clock()

    def queue(
        self, *, boot: str = "boot", exclusive: bool = True, limit: int = 10, max_tries: int = 3
    ) -> RequestQueue:
        return self.world.open(
            boot=boot,
            exclusive=exclusive,
            limit=limit,
            max_tries=max_tries,
            retention=100.0,
            clock=self.clock,
        )


@pytest.fixture(params=list(WORLDS.values()), ids=list(WORLDS))
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    world = request.param()
    yield Place(world)
    world.close()


@pytest.fixture
async def queue(place: Place) -> AsyncIterator[RequestQueue]:
    async with place.queue() as queue:
        yield queue


async def lease_one(queue: RequestQueue, lane: str = JUDGED, seconds: float = 10.0) -> Lease:
    (lease,) = await queue.lease(lane, limit=1, seconds=seconds)
    return lease


async def accept_leased(queue: RequestQueue, asked: QueuedRequest) -> Lease:
    lease = (await queue.accept(asked, lease_for=10.0)).lease
    assert lease is not None
    return lease


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS.keys())
def test_the_queue_and_its_model_agree(world: Callable[[], World]) -> None:
    keep_the_contract(world, examples=500, thorough=world is SqliteWorld)


async def test_a_repeat_finds_its_request_even_when_the_queue_is_full(place: Place) -> None:
    async with place.queue(limit=2) as queue:
        await queue.accept(request(0))
        await queue.accept(request(1))
        with pytest.raises(QueueFull):
            await queue.accept(request(2))
        again = await queue.accept(request(0))
        assert again.known
        assert again.state is State.QUEUED
        with pytest.raises(RequestMismatch):
            await queue.accept(request(0, variant=1))


async def test_of_many_that_come_at_once_only_as_many_as_fit_are_accepted(place: Place) -> None:
    async with place.queue(limit=3) as queue:
        answers = await asyncio.gather(*[queue.accept(request(n)) for n in range(6)], return_exceptions=True)
        assert sum(isinstance(answer, QueueFull) for answer in answers) == 3
        assert len(await queue.browse()) == 3


async def test_a_lease_that_ran_out_is_given_to_another_worker(place: Place, queue: RequestQueue) -> None:
    await queue.accept(request(0))
    first = await lease_one(queue)
    assert await queue.lease(JUDGED, limit=1, seconds=10.0) == []
    place.clock.now += 10.0
    second = await lease_one(queue)
    assert (second.place, second.attempt) == (first.place, first.attempt + 1)


async def test_only_calls_of_the_judge_exhaust_a_request(queue: RequestQueue) -> None:
    await queue.accept(request(0))
    for _ in range(10):
        await queue.release(await lease_one(queue))
    for count in (1, 2, 3):
        lease = await lease_one(queue)
        assert await queue.begin_try(lease) == count
        await queue.release(lease)
    assert await queue.lease(JUDGED, limit=1, seconds=10.0) == []
    (lease,) = await queue.lease_closing(limit=1, seconds=10.0)
    assert lease.ending is Ending.EXHAUSTED
    assert lease.tries == 3


async def test_a_request_of_one_try_is_judged_once_on_either_road(place: Place) -> None:
    async with place.queue(max_tries=1) as queue:
        direct = await accept_leased(queue, request(0))
        assert (direct.tries, direct.ending) == (1, None)
        await queue.accept(request(1))
        (queued,) = await queue.lease(JUDGED, limit=1, seconds=10.0, begin=True)
        assert (queued.tries, queued.ending) == (1, None)
        await queue.release(queued)
        place.clock.now += 10.0
        assert await queue.lease(JUDGED, limit=2, seconds=10.0, begin=True) == []
        leases = await queue.lease_closing(limit=2, seconds=10.0)
        assert [(lease.ending, lease.tries) for lease in leases] == [(Ending.EXHAUSTED, 1)] * 2


async def test_who_is_leased_for_a_call_that_never_begins_gets_its_try_back(place: Place) -> None:
    async with place.queue(max_tries=1) as queue:
        await queue.accept(request(0))
        for _ in range(3):
            (lease,) = await queue.lease(JUDGED, limit=1, seconds=10.0, begin=True)
            assert lease.tries == 1
            await queue.release(lease, untried=True)
        assert [entry.tries for entry in await queue.browse()] == [0]


async def test_the_starts_of_the_last_minute_are_remembered_on_every_road(place: Place) -> None:
    async with place.queue() as queue:
        for number in range(3):
            await queue.accept(request(number))
        await queue.store(await accept_leased(queue, request(3)), VERDICT)
        await queue.accept(request(4, lane=JUDGELESS))
        place.clock.now += 10.0
        for _ in range(2):
            (lease,) = await queue.lease(JUDGED, limit=1, seconds=10.0, begin=True)
            await queue.release(lease)
        place.clock.now += 5.0
    async with place.queue(boot="later") as queue:
        starts = await queue.recent_starts(seconds=60.0)
        assert {lane: sorted(ages) for lane, ages in starts.items()} == {JUDGED: [5.0, 5.0, 15.0]}
        assert {lane: list(ages) for lane, ages in (await queue.recent_starts(seconds=5.0)).items()} == {}


async def test_leases_of_a_former_boot_end_when_the_process_comes_back(place: Place) -> None:
    async with place.queue(boot="monday") as queue:
        await queue.accept(request(0), lease_for=1e6)
    async with place.queue(boot="tuesday") as queue:
        lease = await lease_one(queue)
        assert lease.attempt == 2
        assert lease.reply is Reply.CALLBACK


async def test_leases_of_other_processes_are_respected(place: Place) -> None:
    async with (
        place.queue(boot="one", exclusive=False) as one,
        place.queue(boot="two", exclusive=False) as two,
    ):
        await one.accept(request(0), lease_for=60.0)
        assert await two.lease(JUDGED, limit=1, seconds=10.0) == []


WRITES: dict[str, Callable[[RequestQueue, Lease], Awaitable[object]]] = {
    "begin_try": lambda queue, lease: queue.begin_try(lease),
    "extend": lambda queue, lease: queue.extend(lease, 60.0),
    "store": lambda queue, lease: queue.store(lease, OTHER),
    "mark_published": lambda queue, lease: queue.mark_published(lease),
    "release": lambda queue, lease: queue.release(lease),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
async def test_a_stale_lease_writes_nothing(
    place: Place, queue: RequestQueue, write: Callable[[RequestQueue, Lease], Awaitable[object]]
) -> None:
    await queue.accept(request(0))
    stale = await lease_one(queue)
    place.clock.now += 10.0
    await lease_one(queue)
    before = await queue.browse()
    with pytest.raises(LeaseLost):
        await write(queue, stale)
    assert await queue.browse() == before


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
async def test_a_lease_does_not_reach_into_a_later_life_of_its_id(
    place: Place, queue: RequestQueue, write: Callable[[RequestQueue, Lease], Awaitable[object]]
) -> None:
    stale = await accept_leased(queue, request(0))
    await queue.store(stale, VERDICT)
    place.clock.now += 100.0
    fresh = await accept_leased(queue, request(0))
    assert fresh.attempt == stale.attempt
    with pytest.raises(LeaseLost):
        await write(queue, stale)


async def test_an_outcome_comes_with_every_later_lease_byte_for_byte(
    place: Place, queue: RequestQueue
) -> None:
    await queue.accept(request(0))
    assert await queue.store(await lease_one(queue), VERDICT) == (VERDICT, Reply.CALLBACK)
    place.clock.now += 10.0
    assert await queue.lease(JUDGED, limit=1, seconds=10.0) == []
    (again,) = await queue.lease_closing(limit=1, seconds=10.0)
    assert again.stored == VERDICT
    assert again.request.body == b""
    assert await queue.store(again, OTHER) == (VERDICT, Reply.CALLBACK)
    await queue.mark_published(again)
    assert await queue.lease_closing(limit=1, seconds=10.0) == []


async def test_a_direct_answer_closes_its_row_at_once(queue: RequestQueue) -> None:
    lease = await accept_leased(queue, request(0))
    assert await queue.store(lease, VERDICT) == (VERDICT, Reply.RESPONSE)
    assert [entry.state for entry in await queue.browse()] == [State.PUBLISHED]
    assert await queue.lease_closing(limit=1, seconds=10.0) == []


async def test_a_callback_is_promised_or_the_answer_is_there_but_never_neither(queue: RequestQueue) -> None:
    for number in range(6):
        lease = await accept_leased(queue, request(number))
        both = [queue.promise_callback(lease.request.queue_id), queue.store(lease, VERDICT)]
        first, second = await asyncio.gather(*(both if number % 2 else reversed(both)))
        answers = (first, second) if number % 2 else (second, first)
        assert answers in {(None, (VERDICT, Reply.CALLBACK)), (VERDICT, (VERDICT, Reply.RESPONSE))}


async def test_whoever_asks_again_after_the_callback_gets_its_content_for_nothing_more_follows(
    queue: RequestQueue,
) -> None:
    lease = await accept_leased(queue, request(0))
    assert await queue.promise_callback(lease.request.queue_id) is None
    assert await queue.store(lease, VERDICT) == (VERDICT, Reply.CALLBACK)
    assert await queue.promise_callback(lease.request.queue_id) is None
    await queue.mark_published(lease)
    assert await queue.promise_callback(lease.request.queue_id) == VERDICT


async def test_a_promise_needs_a_request(queue: RequestQueue) -> None:
    with pytest.raises(NotFound):
        await queue.promise_callback(uuid4())
    with pytest.raises(NotFound):
        await queue.cancel(uuid4())


async def test_requests_of_a_lane_without_judge_still_end(place: Place, queue: RequestQueue) -> None:
    await queue.accept(request(0, lane=JUDGELESS, expires_in=20.0))
    await queue.accept(request(1, lane=JUDGELESS))
    await queue.cancel(request(1).queue_id)
    place.clock.now += 20.0
    leases = await queue.lease_closing(limit=10, seconds=10.0)
    assert {lease.ending for lease in leases} == {Ending.EXPIRED, Ending.CANCELLED}


async def test_cancelling_leaves_a_running_call_alone(queue: RequestQueue) -> None:
    await queue.accept(request(0))
    lease = await lease_one(queue)
    assert (await queue.cancel(lease.request.queue_id)).cancelled
    assert await queue.lease_closing(limit=1, seconds=10.0) == []
    assert await queue.store(lease, VERDICT) == (VERDICT, Reply.CALLBACK)


async def test_a_delay_does_not_outlast_the_life_of_the_request(place: Place, queue: RequestQueue) -> None:
    await queue.accept(request(0, expires_in=20.0))
    await queue.release(await lease_one(queue), after=1e6)
    place.clock.now += 20.0
    (lease,) = await queue.lease_closing(limit=1, seconds=10.0)
    assert lease.ending is Ending.EXPIRED


async def test_no_delay_holds_a_request_whose_life_ended_under_its_lease(
    place: Place, queue: RequestQueue
) -> None:
    """A judge that wants to be left alone for an hour may say so at the last moment."""
    await queue.accept(request(0, expires_in=20.0))
    lease = await lease_one(queue)
    place.clock.now += 21.0
    await queue.release(lease, after=1e6)
    (lease,) = await queue.lease_closing(limit=1, seconds=10.0)
    assert lease.ending is Ending.EXPIRED


async def test_a_repeat_within_the_retention_gets_the_stored_answer(
    place: Place, queue: RequestQueue
) -> None:
    await queue.store(await accept_leased(queue, request(0)), VERDICT)
    place.clock.now += 99.0
    assert (await queue.accept(request(0))).stored == VERDICT
    assert await queue.purge() == 0
    place.clock.now += 1.0
    assert await queue.purge() == 1
    assert not (await queue.accept(request(0))).known


async def test_priority_comes_first_then_who_came_first(queue: RequestQueue) -> None:
    for number, priority in enumerate([5, 1, 9, 5, 9]):
        await queue.accept(request(number, priority=priority))
    leases = await queue.lease(JUDGED, limit=10, seconds=10.0)
    order = [request(number).queue_id for number in (2, 4, 0, 3, 1)]
    assert [lease.request.queue_id for lease in leases] == order


async def test_a_released_request_is_away_for_its_delay(place: Place, queue: RequestQueue) -> None:
    await queue.accept(request(0))
    await queue.release(await lease_one(queue), after=5.0)
    place.clock.now += 4.0
    assert await queue.lease(JUDGED, limit=1, seconds=10.0) == []
    place.clock.now += 1.0
    await lease_one(queue)


async def test_waiting_ends_when_something_is_accepted(queue: RequestQueue) -> None:
    await queue.wait(0.0)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(queue.wait, 60.0)
            await anyio.wait_all_tasks_blocked()
            await queue.accept(request(0))
        await queue.accept(request(1))
        await queue.wait(60.0)  # it came before the call, but after the last one


async def test_waiting_ends_for_what_was_accepted_beside_other_changes(queue: RequestQueue) -> None:
    await queue.wait(0.0)
    await asyncio.gather(queue.lease_closing(limit=1, seconds=10.0), queue.accept(request(0)))
    with anyio.fail_after(10):
        await queue.wait(60.0)


async def test_waiting_does_not_spin_on_a_row_that_nobody_has_room_for(
    place: Place, queue: RequestQueue
) -> None:
    await queue.accept(request(0))
    await lease_one(queue)
    place.clock.now += 10.0
    returns = 0
    with anyio.move_on_after(0.2):
        while returns < 10:
            await queue.wait(60.0)
            returns += 1
    assert (
        2 <= returns <= 3
    )  # for what it accepted, for the row that is due, and once it hears of other processes


async def test_people_see_counts_per_lane(place: Place, queue: RequestQueue) -> None:
    for number in range(3):
        await queue.accept(request(number))
    await queue.accept(request(3, lane=JUDGELESS))
    await queue.store(await lease_one(queue), VERDICT)
    await lease_one(queue)
    place.clock.now += 7.0
    stats = await queue.stats()
    assert stats[JUDGED] == (type(stats[JUDGED]))(waiting=1, leased=1, answered=1, oldest=7.0)
    assert stats[JUDGELESS].waiting == queue.waiting(JUDGELESS) == 1


async def test_a_full_lane_leaves_the_others_free(place: Place) -> None:
    async with place.queue(limit=1) as queue:
        await queue.accept(request(0, lane=JUDGELESS))
        with pytest.raises(QueueFull):
            await queue.accept(request(1, lane=JUDGELESS))
        assert not (await queue.accept(request(2))).known
