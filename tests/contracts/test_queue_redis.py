"""What RedisQueue promises beyond the contract's words: kills, an emptied or hanging Redis, short memory, real time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid4, uuid5

import anyio
import pytest
from redis import Redis as Client
from structlog.testing import capture_logs

from app.contracts import Outcome
from app.errors import ConfigurationError, LeaseLost, StoreUnavailable
from app.provider.queue.protocol import Lease, QueuedRequest, State, StoredOutcome
from app.provider.queue.redis import RedisQueue, connection, subscription
from tests.contracts.queue_world import JUDGED, request
from tests.engines import Redis, free_ports
from tests.engines.server import is_free

pytestmark = pytest.mark.anyio

BACK_WITHIN = 5.0
"""Seconds after which work goes on once Redis is of use again; cj waits up to twice as long as it is told."""
VERDICT = StoredOutcome(Outcome.SUCCEEDED, b"verdict")


@pytest.fixture(scope="module")
def own() -> Iterator[Redis]:
    """A Redis to kill, hang and fill; it keeps what it acknowledged."""
    server = Redis(appendfsync="always")
    server.start()
    yield server
    server.close()


@pytest.fixture
def server(own: Redis) -> Iterator[Redis]:
    yield own
    with Client.from_url(own.url) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 0)
        client.config_set("appendonly", "yes")
        client.config_set("appendfsync", "always")
        client.flushall()


def queue_in(server: Redis, **given: Any) -> RedisQueue:
    settings: dict[str, Any] = {"boot": uuid4().hex, "answer_timeout": 2.0}
    return RedisQueue(server.url, **(settings | given))


def anew(number: int | None = None, *, body: bytes = b"{}", lane: str = JUDGED) -> QueuedRequest:
    queue_id = uuid4() if number is None else uuid5(NAMESPACE_OID, str(number))
    return QueuedRequest(
        queue_id=queue_id,
        correlation_id=queue_id,
        principal="teacher",
        lane=lane,
        body=body,
        fingerprint=b"\xff\x00 sha",
        callback_topic="results",
        callback_key="batch",
    )


async def lease_one(queue: RedisQueue, seconds: float = 60.0) -> Lease:
    (lease,) = await queue.lease(JUDGED, limit=1, seconds=seconds)
    return lease


async def until(holds: Callable[[], object]) -> None:
    while not holds():  # noqa: ASYNC110 - any condition, of parts that know nothing of tests
        await anyio.sleep(0.005)


async def lose_connections(queue: RedisQueue, client: Client) -> None:
    """The question that comes first afterwards may be the one that finds out."""
    client.client_kill_filter(_type="normal", skipme=True)
    with suppress(StoreUnavailable):
        await queue.find(uuid4())


def row_of(number: int) -> str:
    return f"row:{anew(number).queue_id.hex}"


def discard(server: Redis, *keys: str) -> None:
    """What a Redis does that evicts."""
    with Client.from_url(server.url) as client:
        assert client.delete(*(f"{{juxta}}:{key}" for key in keys)) == len(keys)


class Traffic:
    """Clients and workers who note what was acknowledged, and ask again when Redis is away."""

    def __init__(self, queue: RedisQueue) -> None:
        self.queue = queue
        self.accepted: set[UUID] = set()
        self.published: set[UUID] = set()
        self.failures = 0
        self.over = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                for _ in range(8):
                    tasks.start_soon(self.ask)
                for _ in range(4):
                    tasks.start_soon(self.work)
                yield
                self.over = True

    async def ask(self) -> None:
        while not self.over:
            asked = anew()
            await self.insist(lambda asked=asked: self.queue.accept(asked))  # type: ignore[misc]
            self.accepted.add(asked.queue_id)

    async def work(self) -> None:
        while not self.over:
            leases = await self.insist(lambda: self.queue.lease(JUDGED, limit=4, seconds=60.0))
            for lease in leases:
                try:
                    await self.insist(lambda lease=lease: self.queue.store(lease, VERDICT))  # type: ignore[misc]
                    await self.insist(lambda lease=lease: self.queue.mark_published(lease))  # type: ignore[misc]
                except LeaseLost:
                    continue  # marked in the moment of the kill, and the answer lost: told twice, as promised
                self.published.add(lease.request.queue_id)

    async def insist(self, do: Callable[[], Any]) -> Any:
        while True:
            try:
                return await do()
            except StoreUnavailable:
                self.failures += 1
                await anyio.sleep(0.01)

    async def fails(self, count: int) -> None:
        """Return when Redis was away so many more times."""
        failures = self.failures + count
        await until(lambda: self.failures >= failures)

    async def grows(self, count: int = 200) -> None:
        """Return when so many more were accepted and published."""
        accepted, published = len(self.accepted) + count, len(self.published) + count
        await until(lambda: len(self.accepted) >= accepted and len(self.published) >= published)


async def test_what_redis_acknowledged_outlives_its_kill_and_work_goes_on_within_5_s(server: Redis) -> None:
    async with queue_in(server, limit=1_000_000) as queue:
        traffic = Traffic(queue)
        async with traffic.running():
            for _ in range(2):
                await traffic.grows()
                server.kill()
                await traffic.fails(10)
                server.launch()
                await until(lambda: not is_free(server.port))
                with anyio.fail_after(5):
                    await traffic.grows(1)
            await traffic.grows()
        states = {queue_id: await queue.find(queue_id) for queue_id in traffic.accepted}
        assert not [queue_id for queue_id, entry in states.items() if entry is None], "accepted, and lost"
        for queue_id in traffic.published:
            entry = states[queue_id]
            assert entry is not None
            assert (entry.state, entry.outcome) == (State.PUBLISHED, Outcome.SUCCEEDED)


async def test_an_emptied_redis_is_filled_again_and_no_place_is_used_twice(server: Redis) -> None:
    async with queue_in(server) as queue:
        for number in range(3):
            await queue.accept(anew(number))
        before = await queue.browse()
        lease = await lease_one(queue)
        with Client.from_url(server.url) as client:
            client.flushall()
        for write in (queue.store(lease, VERDICT), queue.mark_published(lease), queue.extend(lease, 60.0)):
            with pytest.raises(LeaseLost):
                await write
        assert await queue.find(lease.request.queue_id) is None
        assert queue.waiting(JUDGED) == 0
        for number in range(3):
            assert not (await queue.accept(anew(number))).known
        again = await lease_one(queue)
        assert again.place > max(entry.place for entry in before)
        assert again.attempt == lease.attempt
        with pytest.raises(LeaseLost):
            await queue.store(lease, VERDICT)
        await queue.store(again, VERDICT)


async def test_traffic_goes_on_while_redis_is_emptied(server: Redis) -> None:
    async with queue_in(server, limit=1_000_000) as queue:
        traffic = Traffic(queue)
        async with traffic.running():
            for _ in range(3):
                await traffic.grows(50)
                with Client.from_url(server.url) as client:
                    client.flushall()
            await traffic.grows(50)
        assert traffic.failures == 0


async def test_a_redis_that_hangs_fails_its_callers_in_time_and_heals(server: Redis) -> None:
    async with queue_in(server, answer_timeout=0.3, connect_timeout=0.3) as queue:
        server.pause()
        try:
            with anyio.fail_after(5):
                for _ in range(3):
                    asked = [queue.accept(anew()) for _ in range(300)]
                    answers = await asyncio.gather(*asked, return_exceptions=True)
                    assert {type(answer) for answer in answers} == {StoreUnavailable}
        finally:
            server.resume()
        assert not (await queue.accept(anew(1))).known
        assert (await queue.find(anew(1).queue_id)) is not None


async def test_a_redis_that_is_not_there_is_named(server: Redis) -> None:
    (port,) = free_ports(1)
    with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{port}"):
        await RedisQueue(f"redis://127.0.0.1:{port}/0", boot="boot").__aenter__()
    async with queue_in(server) as queue:
        server.kill()
        with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{server.port}"):
            await queue.check()
        server.start()
        await queue.check()


async def test_a_redis_that_became_a_replica_takes_nothing(server: Redis) -> None:
    (nowhere,) = free_ports(1)
    async with queue_in(server) as queue:
        with Client.from_url(server.url) as client:
            client.replicaof("127.0.0.1", nowhere)
            try:
                with pytest.raises(StoreUnavailable, match="read only"):
                    await queue.accept(anew(0))
            finally:
                client.replicaof("NO", "ONE")
            before = client.info("stats")["total_connections_received"]
            await queue.accept(anew(0))
            assert client.info("stats")["total_connections_received"] == before + 1, "not connected anew"


async def test_a_password_that_is_refused_is_said_so_and_never_shown(server: Redis) -> None:
    with Client.from_url(server.url) as client:
        client.config_set("requirepass", "right")
        url = server.url.replace("redis://", "redis://:wrong@")
        for wrong in (server.url, url):
            with pytest.raises(ConfigurationError, match="password") as refused:
                await RedisQueue(wrong, boot="boot").__aenter__()
            assert "wrong" not in str(refused.value)
            assert "redis.url" in refused.value.hint
        async with RedisQueue(url.replace("wrong", "right"), boot="boot") as queue:
            await queue.check()
        client.config_set("requirepass", "")


@pytest.mark.parametrize(
    ("denied", "said"),
    [("-evalsha", "evalsha"), ("-script", "script"), ("-subscribe", "subscribe"), ("-info", "info")],
)
async def test_a_user_who_may_not_do_the_work_is_told_at_the_start(
    server: Redis, denied: str, said: str
) -> None:
    with Client.from_url(server.url) as client:
        client.execute_command("ACL", "SETUSER", "half", "on", ">secret", "~*", "&*", "+@all", denied)
        queue = RedisQueue(server.url.replace("redis://", "redis://half:secret@"), boot="boot")
        with pytest.raises(ConfigurationError, match=f"(?i){said}"):
            await queue.__aenter__()
        with pytest.raises(ConfigurationError, match=f"(?i){said}"):
            await queue.looking().__aenter__()
        client.acl_deluser("half")


async def test_a_number_of_a_database_that_is_not_there_is_refused_with_its_reason(server: Redis) -> None:
    with pytest.raises(ConfigurationError, match="DB index is out of range") as refused:
        await RedisQueue(server.url.replace("/0", "/99"), boot="boot").__aenter__()
    assert "redis.url" in refused.value.hint


async def test_what_does_not_speak_as_redis_does_is_said_to_be_away_with_the_reason() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)

        async def hang_up(stream: anyio.abc.SocketStream) -> None:
            await stream.aclose()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, hang_up)
            with pytest.raises(StoreUnavailable, match=r"is away \([A-Z]") as away:
                await RedisQueue(f"redis://127.0.0.1:{port}/0", boot="boot").__aenter__()
            assert away.value.hint.startswith("Start Redis, or correct redis.url")
            tasks.cancel_scope.cancel()


async def test_a_cluster_is_refused() -> None:
    (between_nodes,) = free_ports(1)  # its own choice, 10,000 above the other, may not exist
    server = Redis(options=["--cluster-enabled", "yes", "--cluster-port", str(between_nodes)])
    server.start()
    try:
        with pytest.raises(ConfigurationError, match="cluster"):
            await queue_in(server).__aenter__()
    finally:
        server.close()


def test_a_url_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="redis://"):
        RedisQueue("127.0.0.1:6379", boot="boot")


async def test_short_memory_refuses_new_work_and_lets_the_old_be_finished(server: Redis) -> None:
    async with queue_in(server) as queue, queue_in(server) as other:
        for number in range(3):
            await queue.accept(anew(number))
        first, second, third = await queue.lease(JUDGED, limit=3, seconds=60.0)
        with Client.from_url(server.url) as client:
            client.config_set("maxmemory", client.info("memory")["used_memory"] // 2)
        asked = [queue.accept(anew(9)), queue.store(first, VERDICT), queue.release(second)]
        refused, *taken = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(refused, StoreUnavailable)
        assert "memory" in refused.detail
        assert 2 * (refused.retry_after or 0.0) < BACK_WITHIN
        assert not [error for error in taken if isinstance(error, BaseException)]
        await queue.mark_published(first)
        await queue.extend(third, 60.0)
        assert (await lease_one(other)).place == second.place
        with pytest.raises(StoreUnavailable):
            await queue.check()
        assert await queue.find(anew(9).queue_id) is None


async def test_an_eviction_policy_that_loses_work_is_refused(server: Redis) -> None:
    with Client.from_url(server.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(ConfigurationError, match="maxmemory-policy noeviction"):
            await queue_in(server).__aenter__()
        client.config_set("maxmemory-policy", "noeviction")
        async with queue_in(server) as queue:
            client.config_set("maxmemory-policy", "allkeys-lru")
            await lose_connections(queue, client)
            with pytest.raises(StoreUnavailable, match="allkeys-lru"):
                await queue.accept(anew(0))
            client.config_set("maxmemory-policy", "volatile-lru")  # it throws away nothing of ours
            await queue.accept(anew(0))


async def test_an_eviction_policy_that_is_set_while_work_goes_on_is_found_out(
    server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with queue_in(server) as queue:
        await queue.accept(anew(0))
        with Client.from_url(server.url) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
            with pytest.raises(StoreUnavailable, match="allkeys-lru") as refused:
                await queue.check()
            assert 2 * (refused.value.retry_after or 0.0) < BACK_WITHIN
            client.config_set("maxmemory-policy", "noeviction")
            await queue.check()
            monkeypatch.setattr(connection, "EXAMINED_FOR", 0.0)
            client.config_set("maxmemory-policy", "allkeys-lru")
            with pytest.raises(StoreUnavailable, match="allkeys-lru"):
                await queue.accept(anew(1))
            client.config_set("maxmemory-policy", "noeviction")
            assert not (await queue.accept(anew(1))).known


async def test_rows_that_were_thrown_away_leave_their_lane_free(server: Redis) -> None:
    async with queue_in(server, limit=3) as queue:
        for number in range(3):
            await queue.accept(anew(number))
        discard(server, *(row_of(number) for number in range(3)))
        assert await queue.lease(JUDGED, limit=3, seconds=60.0) == []
        assert queue.waiting(JUDGED) == 0
        assert await queue.stats() == {}
        assert await queue.browse() == []
        for number in range(3):
            assert not (await queue.accept(anew(number))).known
        assert len(await queue.lease(JUDGED, limit=3, seconds=60.0)) == 3


async def test_rows_that_were_thrown_away_are_not_counted_by_whoever_files_the_rest_anew(
    server: Redis,
) -> None:
    async with queue_in(server, limit=3) as queue:
        for number in range(3):
            await queue.accept(anew(number), lease_for=60.0)
        discard(server, row_of(0), row_of(1))
    async with queue_in(server, limit=3, max_tries=9) as queue:
        assert (await queue.stats())[JUDGED].leased == 1
        assert [entry.queue_id for entry in await queue.browse()] == [anew(2).queue_id]


async def test_a_row_that_was_thrown_away_and_asked_again_is_counted_once(server: Redis) -> None:
    async with queue_in(server) as queue:
        await queue.accept(anew(0), lease_for=60.0)
        discard(server, row_of(0))
        assert not (await queue.accept(anew(0))).known
        found = (await queue.stats())[JUDGED]
        assert (found.waiting, found.leased) == (1, 0)
        await lease_one(queue)


@pytest.mark.parametrize("key", ["rows", f"line:{JUDGED}", f"open:{JUDGED}", "due", "counts", "meta"])
async def test_a_list_of_rows_that_was_thrown_away_is_made_again_by_a_repeat(server: Redis, key: str) -> None:
    async with queue_in(server) as queue:
        await queue.accept(anew(0))
        discard(server, key)
        assert (await queue.accept(anew(0))).known
        assert queue.waiting(JUDGED) == 1
        assert [entry.queue_id for entry in await queue.browse()] == [anew(0).queue_id]
        lease = await lease_one(queue)
        await queue.store(lease, VERDICT)
        await queue.mark_published(lease)
        assert await queue.stats() == {}


@pytest.mark.parametrize(
    ("setting", "value", "warned"),
    [
        ("appendonly", "no", "appendonly is off"),
        ("appendfsync", "everysec", "power cut"),
        ("appendfsync", "always", ""),
    ],
)
async def test_what_a_crash_may_cost_is_said_once(
    server: Redis, setting: str, value: str, warned: str
) -> None:
    with Client.from_url(server.url) as client:
        client.config_set(setting, value)
        with capture_logs() as logs:
            async with queue_in(server) as queue:
                await lose_connections(queue, client)
                await queue.check()
    assert [warned in line["reason"] for line in logs] == ([True] if warned else [])


async def test_a_redis_that_forgot_the_scripts_gets_them_again(server: Redis) -> None:
    async with queue_in(server, limit=1_000) as queue:
        await queue.accept(anew(0))
        with Client.from_url(server.url) as client:
            client.script_flush()
        lease_and_more = [
            queue.lease(JUDGED, limit=1, seconds=60.0),
            *(queue.accept(anew()) for _ in range(300)),
        ]
        (leases, *_) = await asyncio.gather(*lease_and_more)
        assert len(leases) == 1  # type: ignore[arg-type]
        assert (await queue.stats())[JUDGED].waiting == 300


async def test_what_another_process_adds_ends_the_waiting(server: Redis) -> None:
    async with queue_in(server) as one, queue_in(server) as two:
        await two.wait(0.0)
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(two.wait, 60.0)
                await anyio.wait_all_tasks_blocked()
                await one.accept(anew(0))
            lease = await lease_one(two)
            await two.wait(0.0)
            await two.release(lease, after=0.1)
            while not await one.lease(JUDGED, limit=1, seconds=0.1):
                await one.wait(60.0)
            while not await two.lease(JUDGED, limit=1, seconds=60.0):
                await two.wait(60.0)


async def test_the_news_come_through_again_after_redis_was_away(server: Redis) -> None:
    async with queue_in(server) as one, queue_in(server) as two:
        await two.wait(0.0)
        server.kill()
        server.start()
        with anyio.fail_after(10):
            await two.wait(60.0)  # what was missed counts as news
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(two.wait, 60.0)
                await anyio.wait_all_tasks_blocked()
                await one.accept(anew(0))


async def test_who_listens_finds_out_that_nobody_speaks(
    server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "QUIET", 0.05)
    async with queue_in(server, connect_timeout=0.3) as queue:
        await queue.wait(0.0)
        with anyio.move_on_after(0.3) as alive:
            await queue.wait(60.0)
        assert alive.cancelled_caught, "a Redis that answers was given up"
        server.pause()
        try:
            with anyio.move_on_after(0.3) as hanging:
                await queue.wait(60.0)
            assert hanging.cancelled_caught
        finally:
            server.resume()
        with anyio.fail_after(10):
            await queue.wait(60.0)


async def test_load_is_no_storm_of_news(server: Redis) -> None:
    async with queue_in(server, limit=1_000) as queue:
        with Client.from_url(server.url) as client, client.pubsub() as listener:
            listener.subscribe("{juxta}:news")
            listener.get_message(timeout=5)
            for _ in range(50):
                await queue.accept(anew())
            while await queue.lease(JUDGED, limit=1, seconds=60.0):
                pass
            client.publish("{juxta}:news", "end")
            heard = []
            while (message := listener.get_message(timeout=5)) and message["data"] != b"end":
                heard.append(message["data"])
    assert len(heard) == 2  # the first row, and the end of the first lease


async def test_time_is_that_of_redis(server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count()
    monkeypatch.setattr(time, "time", lambda: float(next(ticks)))
    with Client.from_url(server.url) as client:
        seconds, micros = client.time()
    async with queue_in(server) as one, queue_in(server) as two:
        lease = (await one.accept(anew(0), lease_for=0.2)).lease
        assert lease is not None
        assert 0 <= lease.accepted_at - (seconds + micros / 1e6) < 10
        assert await two.lease(JUDGED, limit=1, seconds=60.0) == []
        with anyio.fail_after(10):
            while not (taken := await two.lease(JUDGED, limit=1, seconds=60.0)):
                await two.wait(60.0)
        assert taken[0].attempt == 2
        assert 0 <= (await one.stats())[JUDGED].oldest < 20


async def test_moments_come_back_to_the_last_digit(server: Redis) -> None:
    now = 1_795_612_345.0 + 1 / 3
    async with queue_in(server, clock=lambda: now) as queue:
        lease = (await queue.accept(anew(0), lease_for=0.1)).lease
        assert lease is not None
        assert lease.accepted_at == now
        entry = await queue.find(lease.request.queue_id)
        assert entry is not None
        assert (entry.accepted_at, entry.ready_at, entry.expires_at) == (now, now + 0.1, now + 86_400.0)
        assert 2**40 < entry.place < 2**49


async def test_whoever_opens_with_other_rules_files_the_rows_by_them(server: Redis) -> None:
    async with queue_in(server, max_tries=1) as queue:
        await queue.accept(anew(0))
        (lease,) = await queue.lease(JUDGED, limit=1, seconds=60.0, begin=True)
        await queue.release(lease)
        assert await queue.lease(JUDGED, limit=1, seconds=60.0) == []
    async with queue_in(server, max_tries=2) as queue:
        (lease,) = await queue.lease(JUDGED, limit=1, seconds=60.0, begin=True)
        await queue.release(lease)
    async with queue_in(server, max_tries=1) as queue:
        assert len(await queue.lease_closing(limit=1, seconds=60.0)) == 1


async def test_whoever_only_looks_files_no_row_by_its_rules(server: Redis) -> None:
    async with queue_in(server, max_tries=2) as queue:
        await queue.accept(anew(0))
        (lease,) = await queue.lease(JUDGED, limit=1, seconds=60.0, begin=True)
        await queue.release(lease)
        with Client.from_url(server.url) as client:
            before = {key: client.dump(key) for key in client.scan_iter()}
            async with queue_in(server, max_tries=1).looking() as looker:
                assert [entry.tries for entry in await looker.browse()] == [1]
                assert (await looker.stats())[JUDGED].waiting == 1
            assert {key: client.dump(key) for key in client.scan_iter()} == before
        assert (await lease_one(queue)).tries == 1


async def test_long_lines_are_looked_through_in_parts(server: Redis) -> None:
    async with queue_in(server) as queue:
        for number in range(0, 1_200, 200):
            await asyncio.gather(*[queue.accept(anew(n)) for n in range(number, number + 200)])
        leases = await queue.lease(JUDGED, limit=1_100, seconds=0.05, begin=True)
        assert len(leases) == 1_100
        assert len(await queue.browse(limit=2_000)) == 1_200
        assert len(await queue.browse(state=State.QUEUED, limit=2_000)) == 100
        assert len(await queue.browse(lane="unknown", limit=2_000)) == 0
        assert len((await queue.recent_starts(seconds=60.0))[JUDGED]) == 1_100
        again: set[int] = set()
        with anyio.fail_after(10):
            while len(again) < 1_200:
                again |= {lease.place for lease in await queue.lease(JUDGED, limit=2_000, seconds=60.0)}
                if len(again) < 1_200:
                    await queue.wait(60.0)
        await asyncio.gather(*[queue.cancel(anew(n).queue_id) for n in range(1_200)])
        assert (await queue.stats())[JUDGED].leased == 1_200


async def test_a_caller_who_leaves_takes_nothing_back(server: Redis) -> None:
    async with queue_in(server) as queue:
        asking = asyncio.create_task(queue.accept(request(0), lease_for=60.0))
        await asyncio.sleep(0)
        asking.cancel()
        assert await queue.promise_callback(request(0).queue_id) is None
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert [entry.state for entry in await queue.browse()] == [State.LEASED]
