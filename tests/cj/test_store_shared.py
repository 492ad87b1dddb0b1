"""Two processes, each with its own store and threads, on one PostgreSQL: they count once and never lock each other out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import cache, partial
from random import Random
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from app.cj.batch import Arrival, BatchState, Fate, PlannedPair, Road, comparison_id
from app.cj.store import BatchStore, Plan, batches, locks, sending
from app.contracts import Outcome, Winner
from app.errors import Conflict, NotFound, StoreUnavailable
from tests import engines

from .conftest import batch_of
from .places import PostgresPlace

pytestmark = pytest.mark.anyio

ESSAYS, ROWS = 4, 6
ALIVE = (BatchState.READY, BatchState.RUNNING, BatchState.PAUSED)
ROUNDS = 25

# Each changed row takes a moment, so that transactions meet in the middle; they find rows one by one, in the order that
# they ask for, as in a table of millions.
SLOW = """
    CREATE OR REPLACE FUNCTION cj.slow() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(random() * 0.002); IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$;
    CREATE OR REPLACE TRIGGER slow BEFORE UPDATE OR DELETE ON cj.comparisons FOR EACH ROW EXECUTE FUNCTION cj.slow();
    CREATE OR REPLACE TRIGGER slow BEFORE UPDATE OR DELETE ON cj.batches FOR EACH ROW EXECUTE FUNCTION cj.slow();
"""
SETTINGS = (
    "deadlock_timeout = '50ms'",
    "enable_hashjoin = off",
    "enable_mergejoin = off",
    "enable_seqscan = off",
)

WRONG = """
    WITH counted AS (SELECT batch_id, count(*) AS planned, count(*) FILTER (WHERE state = 'decided') AS decided,
        count(*) FILTER (WHERE state = 'failed') AS failed, coalesce(sum(cost_usd), 0) AS cost_usd,
        count(DISTINCT ended_order) AS orders, coalesce(max(ended_order), 0) AS last, count(ended_order) AS ended
        FROM cj.comparisons GROUP BY batch_id)
    SELECT b.id, 'counters' FROM cj.batches b JOIN counted c ON c.batch_id = b.id
    WHERE (b.planned, b.decided, b.failed) IS DISTINCT FROM (c.planned, c.decided, c.failed)
        OR abs(b.cost_usd - c.cost_usd) > 1e-9 OR NOT (c.orders = c.last AND c.last = c.ended)
        OR c.ended <> c.decided + c.failed
    UNION ALL
    SELECT w.batch_id, 'wave ' || w.number FROM cj.waves w WHERE w.open <> (SELECT count(*) FROM cj.comparisons c
        WHERE c.batch_id = w.batch_id AND c.wave = w.number AND c.state IN ('planned', 'submitted'))
    UNION ALL
    SELECT c.batch_id, 'orphan' FROM cj.comparisons c WHERE NOT EXISTS (SELECT 1 FROM cj.batches b WHERE b.id = c.batch_id)
"""


@dataclass
class Two:
    """Two processes on one store, and an eye on what is stored."""

    one: BatchStore
    other: BatchStore
    eye: psycopg.Connection[Any]
    random: Random

    def either(self) -> BatchStore:
        return self.random.choice((self.one, self.other))

    async def batch(self) -> tuple[UUID, list[UUID]]:
        """A running batch with one wave planned, and its comparisons in an order of chance."""
        batch_id = uuid4()
        await self.one.create(batch_id, batch_of(ESSAYS), start=True)
        assert await self.one.commit_plan(plan(batch_id))
        return batch_id, self.shuffled([comparison_id(batch_id, n) for n in range(1, ROWS + 1)])

    def shuffled(self, ids: Sequence[UUID]) -> list[UUID]:
        return self.random.sample(ids, len(ids))

    async def at_once(self, *calls: Callable[[], Awaitable[Any]]) -> list[Any]:
        """Begin all of them in an order of chance; what is refused is an answer too, a deadlock is not."""
        order = self.random.sample(range(len(calls)), len(calls))
        tasks = {n: asyncio.ensure_future(calls[n]()) for n in order}
        found = await asyncio.gather(*(tasks[n] for n in range(len(calls))), return_exceptions=True)
        for result in found:
            if isinstance(result, BaseException) and not isinstance(result, (NotFound, Conflict)):
                raise result
        return found

    def check(self) -> None:
        assert self.eye.execute(WRONG).fetchall() == []


def plan(batch_id: UUID, *, waves: int = 0, finished: bool = False) -> Plan:
    """The wave after `waves`: every pair once more."""
    pairs = [(a, b) for a in range(ESSAYS) for b in range(a)]
    return Plan(
        batch_id=batch_id,
        state=BatchState.RUNNING,
        waves=waves,
        fitted_wave=0,
        scores=[0.0] * ESSAYS,
        standard_errors=[1.0] * ESSAYS,
        verdicts=[0] * ESSAYS,
        fitted=None,
        stop_reason="comparisons_spent" if finished else None,
        finished=finished,
        pairs=[]
        if finished
        else [
            (PlannedPair(sequence=waves * ROWS + n, first=a, second=b, judge=0, again=0), b"{}")
            for n, (a, b) in enumerate(pairs, start=1)
        ],
    )


def results(ids: Sequence[UUID], batch_id: UUID | None = None, road: Road = Road.CALLBACK) -> list[Arrival]:
    return [
        Arrival(
            id=one,
            batch_id=batch_id,
            road=road,
            outcome=Outcome.SUCCEEDED if one.int % 4 else Outcome.FAILED,
            winner=Winner.TIE if one.int % 4 else None,
            cost_usd=0.25,
        )
        for one in ids
    ]


async def put_off(store: BatchStore, ids: Sequence[UUID], *, queued: bool = False) -> None:
    """One group of the store: all of them wait for the same commit."""
    await asyncio.gather(*(store.postpone(one, seconds=0.0, queued=queued) for one in ids))


async def put_off_often(store: BatchStore, ids: Sequence[UUID]) -> None:
    """One of them meets the other process in the middle of what it does."""
    for _ in range(5):
        await put_off(store, ids)


@cache
def own_url() -> str:
    """A database with settings of its own, in the server that all tests share."""
    url = engines.postgresql().create("cj_shared")
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in SETTINGS:
            connection.execute(f"ALTER DATABASE cj_shared SET {setting}".encode())
    return url


@pytest.fixture
async def two() -> AsyncIterator[Two]:
    place = PostgresPlace(own_url()).emptied()
    async with AsyncExitStack() as open_:
        stores = [BatchStore(await open_.enter_async_context(place.database())) for _ in range(2)]
        eye = open_.enter_context(psycopg.connect(place.url, autocommit=True))
        eye.execute(SLOW)
        eye.execute("SET enable_hashjoin = on")
        eye.execute("SET enable_seqscan = on")
        yield Two(stores[0], stores[1], eye, Random(7))


async def same_results(two: Two) -> None:
    batch_id, ids = await two.batch()
    found = await two.at_once(
        partial(two.one.record, results(ids, batch_id, Road.RESPONSE)),
        partial(two.other.record, results(two.shuffled(ids), batch_id)),
    )
    fates = [fate for recorded in found for fate in recorded.fates]
    assert sorted(fates) == [Fate.APPLIED] * ROWS + [Fate.DUPLICATE] * ROWS
    assert sum(bool(recorded.completed) for recorded in found) == 1


async def results_and_cancel(two: Two) -> None:
    batch_id, ids = await two.batch()
    await two.at_once(
        partial(two.one.record, results(ids, batch_id)),
        partial(two.other.change, batch_id, BatchState.CANCELLED, out_of=ALIVE),
    )


async def results_and_postponements(two: Two) -> None:
    batch_id, ids = await two.batch()
    await two.at_once(
        partial(two.one.record, results(ids, batch_id)), partial(put_off, two.other, ids[::-1], queued=True)
    )


async def cancel_and_postponements(two: Two) -> None:
    batch_id, ids = await two.batch()
    await two.one.claim(limit=100, hold=60.0)
    await two.at_once(
        partial(two.one.change, batch_id, BatchState.CANCELLED, out_of=ALIVE),
        partial(put_off_often, two.other, ids),
    )


async def withdrawal_and_postponements(two: Two) -> None:
    batch_id, ids = await two.batch()
    await two.one.claim(limit=100, hold=60.0)
    await put_off(two.other, ids, queued=True)
    await two.at_once(partial(two.one.withdraw, batch_id), partial(put_off, two.other, ids))


async def repair_and_postponements(two: Two) -> None:
    _, ids = await two.batch()
    await two.one.claim(limit=100, hold=60.0)
    await two.at_once(two.one.repair_all, partial(put_off_often, two.other, ids))
    await two.one.record(results(ids))


async def claims(two: Two) -> None:
    await two.batch()
    found = await two.at_once(
        *(partial(store.claim, limit=4, hold=60.0) for store in (two.one, two.other, two.one, two.other))
    )
    taken = [task.id for tasks in found for task in tasks]
    assert len(set(taken)) == len(taken)


async def cancel_and_finish(two: Two) -> None:
    batch_id, _ = await two.batch()
    cancelled, finished = await two.at_once(
        partial(two.one.change, batch_id, BatchState.CANCELLED, out_of=ALIVE),
        partial(two.other.commit_plan, plan(batch_id, waves=1, finished=True)),
    )
    assert isinstance(cancelled, Conflict) == finished


async def burials(two: Two) -> None:
    batch_id, _ = await two.batch()
    await two.one.change(batch_id, BatchState.DELETING, out_of=ALIVE)
    assert sum(await two.at_once(two.one.bury, two.other.bury)) == 1


CLASHES = (
    same_results,
    results_and_cancel,
    results_and_postponements,
    cancel_and_postponements,
    withdrawal_and_postponements,
    repair_and_postponements,
    claims,
    cancel_and_finish,
    burials,
)


@pytest.mark.parametrize("clash", CLASHES, ids=lambda clash: clash.__name__)
async def test_what_two_processes_do_at_once_is_as_if_one_had_come_first(
    two: Two, clash: Callable[[Two], Awaitable[None]]
) -> None:
    await again_and_again(clash, two)


async def again_and_again(clash: Callable[[Two], Awaitable[None]], two: Two, rounds: int = ROUNDS) -> None:
    for _ in range(rounds):
        await clash(two)
        two.check()


LOCKS = (
    (locks, "_BATCHES_OF", results_and_cancel),
    (locks, "_KNOWN", results_and_postponements),
    (locks, "_ALL_OF", cancel_and_postponements),
    (locks, "_SUBMITTED", repair_and_postponements),
    (sending, "_DUE", claims),
    (batches, "_HELD", cancel_and_finish),
    (batches, "_DONE_WITH", burials),
)


@pytest.mark.parametrize(("module", "name", "clash"), LOCKS, ids=lambda part: getattr(part, "__name__", part))
async def test_no_lock_can_be_left_out(
    two: Two, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, clash: Callable[[Two], Awaitable[None]]
) -> None:
    statement = getattr(module, name)
    assert "FOR UPDATE" in statement
    without = statement.replace(" FOR UPDATE OF c SKIP LOCKED", "").replace("FOR UPDATE", "")
    monkeypatch.setattr(module, name, without)
    with pytest.raises((AssertionError, StoreUnavailable)):  # a deadlock is a store that is away for a moment
        await again_and_again(clash, two, 8 * ROUNDS)


async def test_no_interleaving_of_what_processes_do_deadlocks_or_miscounts(two: Two) -> None:
    batch = [await two.batch() for _ in range(3)]
    waves = dict.fromkeys([batch_id for batch_id, _ in batch], 1)

    def something() -> Callable[[], Awaitable[Any]]:
        store, (batch_id, ids) = two.either(), two.random.choice(batch)
        some = two.random.sample(ids, two.random.randint(1, 4))
        mixed = two.random.sample([i for _, own in batch for i in own], 5)

        async def plan_one() -> None:
            if await store.commit_plan(plan(batch_id, waves=waves[batch_id])):
                first = waves[batch_id] * ROWS + 1
                waves[batch_id] += 1
                ids.extend(comparison_id(batch_id, n) for n in range(first, first + ROWS))

        async def both() -> None:
            await asyncio.gather(store.record(results(mixed[:2])), put_off(store, mixed[2:]))

        return two.random.choice(
            (
                partial(store.record, results(some, batch_id)),
                partial(store.record, results(mixed)),
                partial(put_off, store, some, queued=True),
                partial(put_off, store, mixed),
                both,
                both,
                partial(store.claim, limit=3, hold=0.0),
                plan_one,
                partial(store.cancellation_sent, some[0]),
                partial(store.withdraw, batch_id),
                store.repair_all,
            )
        )

    for number in range(300):
        calls = [something() for _ in range(4)]
        if number % 10 == 9:  # what ends a batch, and another in its place
            end = two.random.choice((BatchState.CANCELLED, BatchState.DELETING))
            old = batch.pop(0)
            calls += [partial(two.either().change, old[0], end, out_of=ALIVE), two.either().bury]
            batch.append(await two.batch())
            waves[batch[-1][0]] = 1
        await two.at_once(*calls)
        two.check()
