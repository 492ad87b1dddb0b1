"""What the SQL queue promises on a PostgreSQL that is killed, locked, and shared by several processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import psycopg
import pytest

from app.contracts import Outcome
from app.database.postgresql import PostgresDatabase
from app.database.statements import AnyRow, fetch
from app.errors import JuxtaError, RequestMismatch, StoreUnavailable
from app.provider.queue.ledger import Ledger
from app.provider.queue.protocol import Accepted, Lease, QueuedRequest, RequestQueue, State, StoredOutcome
from app.provider.queue.rows import LEASED
from app.provider.queue.sql import SqlQueue
from app.provider.queue.tables import JUDGE, MIGRATIONS
from app.provider.queue.turn import Turn
from tests.contracts.queue_world import JUDGED, request
from tests.engines import PostgreSQL

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
VERDICT = StoredOutcome(Outcome.SUCCEEDED, b"verdict")
KILLS = 3
HEALED = 5.0


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    """One that may be killed, and that looks for deadlocks often."""
    server = PostgreSQL(fsync=False)
    with (server.folder / "data" / "postgresql.conf").open("a") as settings:
        settings.write("deadlock_timeout = 20ms\n")
    server.start()
    yield server
    server.close()


@pytest.fixture
async def url(server: PostgreSQL) -> str:
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS juxta_provider CASCADE")
    async with PostgresDatabase(server.url, "juxta_provider", migrations=MIGRATIONS):
        return server.url


def opened(
    url: str, boot: str, *, kind: type[SqlQueue] = SqlQueue, lock_timeout: float = 2.0, limit: int = 100_000
) -> SqlQueue:
    database = PostgresDatabase(url, "juxta_provider", lock_timeout=lock_timeout)
    return kind(database, boot=boot, limit=limit)


@pytest.fixture
async def one(url: str) -> AsyncIterator[SqlQueue]:
    async with opened(url, "one") as queue:
        yield queue


@pytest.fixture
async def two(url: str) -> AsyncIterator[SqlQueue]:
    async with opened(url, "two") as queue:
        yield queue


def anew(body: bytes = b"{}") -> QueuedRequest:
    return QueuedRequest(
        queue_id=uuid4(),
        correlation_id=uuid4(),
        principal="teacher",
        lane=JUDGED,
        body=body,
        fingerprint=body,
        callback_topic="results",
        callback_key="batch",
    )


class Traffic:
    """Askers and workers that go on whatever happens, and remember what they were told."""

    def __init__(self) -> None:
        self.accepted: set[UUID] = set()
        self.closed: set[UUID] = set()
        self.refusals = self.unhelpful = 0
        self.heard_at = 0.0
        self.asking = True
        self.progress = anyio.Event()

    def heard(self) -> None:
        self.heard_at = time.monotonic()
        self.progress.set()

    async def ask(self, queue: RequestQueue) -> None:
        while self.asking:
            asked = anew()
            while True:  # a repeat is how an asker finds out
                try:
                    await queue.accept(asked)
                except StoreUnavailable as error:
                    self.refusals += 1
                    self.unhelpful += not error.retry_after
                    await anyio.sleep(0.02)
                else:
                    break
            self.accepted.add(asked.queue_id)
            self.heard()

    async def work(self, queue: RequestQueue) -> None:
        while self.asking or await self.is_left(queue):
            try:
                leases = [
                    *await queue.lease(JUDGED, limit=16, seconds=0.5, begin=False),
                    *await queue.lease_closing(limit=16, seconds=0.5),
                ]
                for lease in leases:
                    await self.finish(queue, lease)
                if not leases:
                    await queue.wait(0.1)
            except StoreUnavailable:
                self.refusals += 1
                await anyio.sleep(0.02)

    async def is_left(self, queue: RequestQueue) -> bool:
        try:
            return bool(await queue.stats())
        except StoreUnavailable:
            return True

    async def finish(self, queue: RequestQueue, lease: Lease) -> None:
        queue_id = lease.request.queue_id
        if lease.stored is None:
            await queue.store(lease, VERDICT)
        assert queue_id not in self.closed, "published after it was closed"
        await queue.mark_published(lease)
        self.closed.add(queue_id)
        self.heard()


async def test_a_server_that_is_killed_under_traffic_loses_nothing_and_is_back_at_once(
    server: PostgreSQL, one: SqlQueue, two: SqlQueue
) -> None:
    traffic = Traffic()
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for queue in (one, two):
                for _ in range(8):
                    tasks.start_soon(traffic.ask, queue)
                tasks.start_soon(traffic.work, queue)
            for kill in range(KILLS):
                while len(traffic.accepted) < 200 * (kill + 1):
                    traffic.progress = anyio.Event()
                    await traffic.progress.wait()
                server.kill()
                server.launch()
                await anyio.to_thread.run_sync(serves_again, server)
                served_at = time.monotonic()
                while traffic.heard_at < served_at:
                    traffic.progress = anyio.Event()
                    await traffic.progress.wait()
                assert traffic.heard_at - served_at < HEALED
            traffic.asking = False
    assert traffic.refusals
    assert not traffic.unhelpful, "refused without a word about when to come again"
    for queue_id in traffic.accepted:
        entry = await one.find(queue_id)
        assert entry is not None
        assert entry.state is State.PUBLISHED


def serves_again(server: PostgreSQL) -> None:
    deadline = time.monotonic() + 30
    while not server.serves():
        assert time.monotonic() < deadline, server.last_words()
        time.sleep(0.01)


async def test_a_database_that_is_locked_gives_no_false_accept(url: str) -> None:
    async with opened(url, "locked", lock_timeout=0.1) as queue:
        with psycopg.connect(url) as stranger:
            stranger.execute("LOCK TABLE juxta_provider.requests IN EXCLUSIVE MODE")
            for number in range(3):
                with pytest.raises(StoreUnavailable, match="lock") as refusal:
                    await queue.accept(request(number))
                assert refusal.value.retry_after
        assert await queue.browse() == []
        assert not (await queue.accept(request(0))).known


SLOW_INSERTS = """
CREATE FUNCTION juxta_provider.dawdle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.01); RETURN NEW; END';
CREATE TRIGGER dawdle BEFORE INSERT ON juxta_provider.requests FOR EACH ROW EXECUTE FUNCTION juxta_provider.dawdle();
"""


class InsertsInAnyOrder(Ledger):
    def accept(
        self, turn: Turn, given: Sequence[tuple[QueuedRequest, float | None]]
    ) -> Sequence[Accepted | JuxtaError]:
        turn.reachable = None  # as where nobody else writes
        return super().accept(turn, given)


@pytest.mark.parametrize("ledger", [Ledger, InsertsInAnyOrder])
async def test_of_those_who_bring_one_id_at_once_one_makes_it_and_the_others_find_it(
    url: str, ledger: type[Ledger]
) -> None:
    asked = sorted([anew() for _ in range(20)], key=lambda each: each.queue_id)
    orders = (asked, asked[::-1])
    kind: Any = type("Queue", (SqlQueue,), {"ledger": ledger})
    with psycopg.connect(url) as connection:
        connection.execute(SLOW_INSERTS)
    async with opened(url, "one", kind=kind) as one, opened(url, "two", kind=kind) as two:
        answers = await asyncio.gather(
            *[queue.accept(each) for queue, order in zip((one, two), orders, strict=True) for each in order],
            return_exceptions=True,
        )
        if ledger is not Ledger:
            assert any(isinstance(answer, StoreUnavailable) for answer in answers)
            return
        told = [answer for answer in answers if isinstance(answer, Accepted)]
        assert Counter(answer.known for answer in told) == {True: len(asked), False: len(asked)}
        made = Counter(answer.queue_id for answer in told if not answer.known)
        assert made == Counter({each.queue_id: 1 for each in asked})
        assert (await one.stats())[JUDGED].waiting == len(asked)


async def test_of_two_bodies_under_one_id_the_second_is_refused_by_whoever_gets_it(
    one: SqlQueue, two: SqlQueue
) -> None:
    ids = [anew() for _ in range(50)]
    other = [
        QueuedRequest(
            **{
                name: getattr(each, name)
                for name in (
                    "queue_id",
                    "correlation_id",
                    "principal",
                    "lane",
                    "callback_topic",
                    "callback_key",
                )
            },
            body=b"other",
            fingerprint=b"other",
        )
        for each in ids
    ]
    answers: Sequence[object] = await asyncio.gather(
        *[one.accept(each) for each in ids],
        *[two.accept(each) for each in reversed(other)],
        return_exceptions=True,
    )
    assert Counter(type(answer) for answer in answers) == {Accepted: 50, RequestMismatch: 50}


class LeasesWithoutLocks(Ledger):
    def _judge_line(self, turn: Turn, lane: str, limit: int) -> Sequence[AnyRow]:
        sql = (
            f"SELECT {LEASED} FROM requests r JOIN payloads p ON p.place = r.place"
            f" WHERE r.line = {JUDGE} AND r.lane = :lane ORDER BY {self.ORDER} LIMIT :limit"
        )
        return fetch(turn.connection, sql, lane=lane, limit=limit)


@pytest.mark.parametrize("ledger", [Ledger, LeasesWithoutLocks])
async def test_no_row_is_leased_twice(url: str, ledger: type[Ledger]) -> None:
    kind: Any = type("Queue", (SqlQueue,), {"ledger": ledger})
    async with opened(url, "one", kind=kind) as one, opened(url, "two", kind=kind) as two:
        await asyncio.gather(*[one.accept(anew()) for _ in range(1_000)])
        leased: Counter[int] = Counter()

        async def take(queue: RequestQueue) -> None:
            while leases := await queue.lease(JUDGED, limit=5, seconds=60.0):
                leased.update(lease.place for lease in leases)

        await asyncio.gather(*[take(queue) for queue in (one, two) for _ in range(4)])
    assert len(leased) == 1_000
    assert (max(leased.values()) == 1) == (ledger is Ledger)


async def test_processes_that_change_the_same_rows_never_wait_in_a_circle(url: str) -> None:
    assert await circles_of_hammers(url, "Ledger", range(2)) == 0
    with psycopg.connect(url) as connection:
        counted = (
            "SELECT lane, count(*) FILTER (WHERE state = 'queued'), count(*) FILTER (WHERE state = 'leased'),"
            " count(*) FILTER (WHERE state = 'answered') FROM juxta_provider.requests"
            " WHERE state <> 'published' GROUP BY lane ORDER BY lane"
        )
        kept = (
            "SELECT lane, queued, leased, answered FROM juxta_provider.lanes"
            " WHERE (queued, leased, answered) <> (0, 0, 0) ORDER BY lane"
        )
        assert connection.execute(counted).fetchall() == connection.execute(kept).fetchall()


async def test_a_ledger_that_locks_in_any_order_is_caught_in_a_circle(url: str) -> None:
    for begin in range(0, 20, 2):
        if await circles_of_hammers(url, "NamesRowsInAnyOrder", range(begin, begin + 2)):
            return
    pytest.fail("not one deadlock")


async def circles_of_hammers(url: str, ledger: str, seeds: Iterable[int]) -> int:
    """How often the server broke a circle of processes that do everything to the same rows.

    What was refused says less: it may also have waited too long for a busy machine.
    """
    before = circles_broken(url)
    children = [
        await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "tests.contracts.queue_hammer", url, str(seed), "1500", ledger],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for seed in seeds
    ]
    changes = 0
    for child in children:
        told, said = await child.communicate()
        assert child.returncode == 0, said.decode()
        changes += int(told.split()[0])
    assert changes > 500
    return circles_broken(url) - before


def circles_broken(url: str) -> int:
    """By the server, in this database, in whatever test."""
    with psycopg.connect(url) as connection:
        sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        ((deadlocks,),) = connection.execute(sql).fetchall()
        return int(deadlocks)


async def test_what_one_process_accepts_wakes_another_which_then_takes_it_all(
    one: SqlQueue, two: SqlQueue
) -> None:
    with anyio.fail_after(10):
        for _ in range(2):  # when the queue opens, and when it begins to listen
            await two.wait(60.0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(two.wait, 60.0)
            await anyio.wait_all_tasks_blocked()
            await asyncio.gather(*[one.accept(anew()) for _ in range(1_000)])
    rounds = 0
    taken = 0
    while leases := await two.lease(JUDGED, limit=min(64, two.waiting(JUDGED) + 1), seconds=60.0):
        taken += len(leases)
        rounds += 1
    assert taken == 1_000
    assert rounds < 20


async def test_who_knew_of_rows_that_others_took_finds_out_when_it_looks(
    one: SqlQueue, two: SqlQueue
) -> None:
    await one.accept(request(0))
    await two.lease(JUDGED, limit=1, seconds=60.0)
    assert one.waiting(JUDGED) == 1
    assert await one.lease(JUDGED, limit=1, seconds=60.0) == []
    assert one.waiting(JUDGED) == 0


async def test_leases_of_other_processes_outlive_a_restart_of_this_one(url: str, one: SqlQueue) -> None:
    await one.accept(request(0), lease_for=60.0)
    async with opened(url, "again") as again:
        assert await again.lease(JUDGED, limit=1, seconds=60.0) == []


async def test_a_wrong_clock_of_this_machine_changes_nothing(
    url: str, one: SqlQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_time = time.time()
    await one.accept(request(0))
    monkeypatch.setattr(time, "time", lambda: true_time + 1e6)
    async with opened(url, "wrong") as wrong:
        await wrong.accept(request(1))
        entry = await wrong.find(request(1).queue_id)
        assert entry is not None
        assert abs(entry.accepted_at - true_time) < 60.0
        (first, second) = await one.lease(JUDGED, limit=2, seconds=60.0)
        assert await wrong.lease(JUDGED, limit=2, seconds=60.0) == []
        await one.release(first, after=0.1)
        await one.release(second)
        assert len(await wrong.lease(JUDGED, limit=1, seconds=60.0)) == 1
        assert (await wrong.stats())[JUDGED].oldest < 60.0
        with anyio.fail_after(10):
            while not await wrong.lease(JUDGED, limit=1, seconds=60.0):
                await wrong.wait(60.0)


async def test_no_statement_of_the_daily_work_reads_the_whole_ledger(url: str) -> None:
    async with opened(url, "one") as queue:
        born = await asyncio.gather(*[queue.accept(anew(), lease_for=60.0) for _ in range(3_000)])
        await asyncio.gather(*[queue.store(answer.lease, VERDICT) for answer in born if answer.lease])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ANALYZE juxta_provider.requests, juxta_provider.payloads, juxta_provider.lanes")
    before = rows_scanned(url)
    async with opened(url, "two") as queue:
        for _ in range(8):  # often enough to be prepared, and planned for any values
            await live_a_day(queue)
    assert rows_scanned(url) - before < 3_000


async def live_a_day(queue: RequestQueue) -> None:
    asked = [anew() for _ in range(4)]
    for each in asked[:3]:
        await queue.accept(each)
    await queue.accept(asked[3], lease_for=60.0)
    await queue.cancel(asked[2].queue_id)
    await queue.promise_callback(asked[3].queue_id)
    (lease, second) = await queue.lease(JUDGED, limit=2, seconds=60.0)
    await queue.begin_try(lease)
    await queue.extend(lease, 60.0)
    await asyncio.gather(queue.store(lease, VERDICT), queue.store(second, VERDICT))
    await asyncio.gather(queue.mark_published(lease), queue.release(second))
    for closing in await queue.lease_closing(limit=10, seconds=60.0):
        await queue.store(closing, VERDICT)
        await queue.mark_published(closing)
    await queue.find(asked[0].queue_id)
    await queue.stats()
    await queue.recent_starts(seconds=0.0)
    await queue.browse(lane=JUDGED, state=State.QUEUED)
    await queue.purge()


def rows_scanned(url: str) -> int:
    """Sessions report when they end."""
    with psycopg.connect(url, autocommit=True) as connection:
        ours = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'juxta %'"
        while connection.execute(ours).fetchone():
            pass
        row = connection.execute(
            "SELECT sum(seq_tup_read)::bigint FROM pg_stat_user_tables WHERE schemaname = 'juxta_provider'"
        ).fetchone()
    assert row is not None
    return int(row[0])
