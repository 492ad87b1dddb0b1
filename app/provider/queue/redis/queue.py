"""`RedisQueue`: the ledger in Redis, shared by several provider processes."""

# ruff: noqa: D102 - `RequestQueue` says what each method promises

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid4

import anyio

from app.errors import StoreUnavailable
from app.provider.queue.news import News
from app.provider.queue.protocol import (
    Accepted,
    Entry,
    LaneStats,
    Lease,
    QueuedRequest,
    Reply,
    State,
    StoredOutcome,
)
from app.provider.queue.redis.connection import Connection, at_start
from app.provider.queue.redis.pipeline import Pipeline
from app.provider.queue.redis.script import LEDGER, Change, Script
from app.provider.queue.redis.subscription import Subscription
from app.provider.queue.redis.values import (
    Argument,
    fence,
    read_entry,
    read_lease,
    read_stored,
    write_request,
)
from app.provider.queue.refusals import full, lost, mismatch, unknown
from app.provider.queue.turn import Counts


class RedisQueue:
    """A `RequestQueue` in the Redis at `url`, under keys that begin with `prefix`.

    It is one Redis, and no cluster. `limit` is open rows per lane, `max_tries` judge calls per request, the same for
    all who share them, `retention` seconds. `boot` names this run of the process; with `exclusive`
    (nobody else uses these keys) leases of other boots end when it opens. Time is Redis's own unless there is a
    `clock`.
    """

    def __init__(
        self,
        url: str,
        *,
        boot: str,
        prefix: str = "{juxta}:",
        limit: int = 10_000,
        max_tries: int = 5,
        retention: float = 7 * 86_400.0,
        exclusive: bool = False,
        clock: Callable[[], float] | None = None,
        connect_timeout: float = 2.0,
        answer_timeout: float = 5.0,
        script: str = LEDGER,
    ) -> None:
        self._limit = limit
        self._exclusive = exclusive
        self._clock = clock
        self._script = Script(script)
        self._prefix = prefix
        sender = uuid4().hex
        self._rules: Sequence[Argument] = (sender, boot, limit, max_tries, repr(retention))
        self._connection = Connection(
            url,
            connect_timeout=connect_timeout,
            answer_timeout=answer_timeout,
            greeting=self._script.loading,
        )
        self._pipeline: Pipeline[Change, Any] = Pipeline(self._apply)
        self._news = News(self._now)
        self._subscription = Subscription(
            Connection(url, connect_timeout=connect_timeout, answer_timeout=answer_timeout),
            f"{prefix}news",
            sender=sender,
            news=self._news,
        )
        self._listening: asyncio.Task[None] | None = None
        self._counts: dict[str, Counts] = {}
        self._redis_time, self._seen_at = 0.0, 0.0

    @property
    def name(self) -> str:
        """Its Redis, as people know it; no secret is in it."""
        return self._connection.name

    # -- by id

    async def accept(self, request: QueuedRequest, *, lease_for: float | None = None) -> Accepted:
        word, *rest = await self._change("accept", *write_request(request, lease_for), growing=True)
        if word == b"full":
            raise full(self._limit)
        if word == b"mismatch":
            raise mismatch(request)
        if word == b"known":
            state, reply, outcome, event = rest
            return Accepted(
                queue_id=request.queue_id,
                known=True,
                state=State(state.decode()),
                reply=Reply(reply.decode()),
                stored=read_stored(outcome, event),
            )
        if lease_for is None:
            return Accepted(queue_id=request.queue_id, known=False, state=State.QUEUED, reply=Reply.CALLBACK)
        place, accepted_at = rest
        lease = Lease(
            request=request,
            place=int(place),
            attempt=1,
            tries=1,
            reply=Reply.RESPONSE,
            accepted_at=float(accepted_at),
        )
        return Accepted(
            queue_id=request.queue_id, known=False, state=State.LEASED, reply=Reply.RESPONSE, lease=lease
        )

    async def promise_callback(self, queue_id: UUID) -> StoredOutcome | None:
        word, *stored = await self._change("promise_callback", queue_id.hex)
        if word == b"unknown":
            raise unknown(queue_id)
        return read_stored(*stored) if stored else None

    async def cancel(self, queue_id: UUID) -> Entry:
        word, *entry = await self._change("cancel", queue_id.hex)
        if word == b"unknown":
            raise unknown(queue_id)
        return read_entry(*entry)

    async def hurry(self, queue_id: UUID) -> Entry:
        word, *entry = await self._change("hurry", queue_id.hex)
        if word == b"unknown":
            raise unknown(queue_id)
        return read_entry(*entry)

    # -- by lease

    async def lease(self, lane: str, *, limit: int, seconds: float, begin: bool = False) -> Sequence[Lease]:
        rows = await self._change("lease", lane, limit, repr(seconds), int(begin))
        return [read_lease(row) for row in rows]

    async def lease_closing(self, *, limit: int, seconds: float) -> Sequence[Lease]:
        return [read_lease(row) for row in await self._change("lease_closing", limit, repr(seconds))]

    async def begin_try(self, lease: Lease) -> int:
        (tries,) = await self._write("begin_try", lease)
        return int(tries)

    async def extend(self, lease: Lease, seconds: float) -> None:
        await self._write("extend", lease, repr(seconds))

    async def store(self, lease: Lease, outcome: StoredOutcome) -> tuple[StoredOutcome, Reply]:
        reply, *earlier = await self._write("store", lease, outcome.outcome, outcome.event)
        stored = read_stored(*earlier) if earlier else outcome
        return stored or outcome, Reply(reply.decode())

    async def mark_published(self, lease: Lease) -> None:
        await self._write("mark_published", lease)

    async def release(self, lease: Lease, *, after: float = 0.0, untried: bool = False) -> None:
        await self._write("release", lease, repr(after), "1" if untried else "")

    # -- for people

    async def find(self, queue_id: UUID) -> Entry | None:
        found = await self._change("find", queue_id.hex)
        return read_entry(found[0]) if found else None

    async def browse(
        self, *, lane: str | None = None, state: State | None = None, after: int = 0, limit: int = 50
    ) -> Sequence[Entry]:
        if state in {None, State.PUBLISHED}:
            return await self._browse("", lane or "", state, after, limit)
        lanes = await self._lanes() if lane is None else [lane]
        found = [await self._browse("1", each, state, after, limit) for each in lanes]
        return sorted((entry for some in found for entry in some), key=lambda entry: entry.place)[:limit]

    def waiting(self, lane: str) -> int:
        counts = self._counts.get(lane)
        return counts.queued if counts else 0

    async def stats(self) -> Mapping[str, LaneStats]:
        first = {lane.decode(): float(at) for lane, at in await self._change("stats")}
        now = self._now()
        return {
            lane: LaneStats(*counts, max(0.0, now - first[lane]))
            for lane, counts in self._counts.items()
            if lane in first
        }

    async def recent_starts(self, *, seconds: float) -> Mapping[str, Sequence[float]]:
        """Open rows first, then those that were closed since; a row that moves meanwhile is counted once."""
        lanes = await self._lanes()
        now = self._now()
        rows: dict[bytes, Sequence[bytes]] = {}
        for lane in (*lanes, ""):
            skipped, looked = 0, 1
            while looked:
                size, *some = await self._change("starts", lane, repr(now - seconds), skipped)
                looked = int(size)
                skipped += looked
                rows |= {row[0]: row for row in some}
        ages: defaultdict[str, list[float]] = defaultdict(list)
        for _, name, tries, leased_at, answered_at in rows.values():
            age = now - min(float(moment) for moment in (leased_at, answered_at) if moment)
            if age < seconds:
                ages[name.decode()] += [age] * int(tries)
        return ages

    # -- around

    async def wait(self, seconds: float) -> None:
        """As promised; meant for one dispatcher per process."""
        if self._listening is not None and self._listening.done():
            self._listening.result()  # a bug there is not to be found out at the end
        await self._news.wait(seconds)

    async def purge(self) -> int:
        purged, more = 0, True
        while more:
            some, again = await self._change("purge")
            purged, more = purged + int(some), bool(again)
        return purged

    async def check(self) -> None:
        await self._connection.examine()
        await self._change("check", growing=True)

    async def __aenter__(self) -> Self:
        """:raises ConfigurationError: this Redis would lose work, is too old, or does not let us in."""
        try:
            await self._enter()
            (refile,) = await self._change("rules")
            if refile or self._exclusive:
                await self._refile()
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                await self._close()
            if isinstance(error, StoreUnavailable):
                raise at_start(error) from error
            raise
        self._listening = asyncio.create_task(self._subscription.listen())
        return self

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[Self]:
        """Open it for people to look at: our rules are not made known, and no row is brought into another line.

        :raises ConfigurationError: as when it is entered.
        """
        try:
            try:
                await self._enter()
            except StoreUnavailable as error:
                raise at_start(error) from error
            yield self
        finally:
            with anyio.CancelScope(shield=True):
                await self._close()

    async def _enter(self) -> None:
        await self._connection.open()
        await self._subscription.begin()
        await self._change("stats")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):  # bounded by the deadlines of what is under way
            await self._close()

    async def _close(self) -> None:
        await self._pipeline.drain()
        if self._listening is not None:
            self._listening.cancel()
            with suppress(asyncio.CancelledError):
                await self._listening
        await self._subscription.close()
        await self._connection.close()

    async def _refile(self) -> None:
        """Bring the open rows into the lines where our rules put them; end leases of others, if we are alone."""
        for lane in await self._lanes():
            after: bytes | None = b"0"
            while after:
                (after,) = await self._change("open", lane, after, "1" if self._exclusive else "")

    async def _browse(
        self, only_open: str, lane: str, state: State | None, after: int, limit: int
    ) -> list[Entry]:
        found: list[Entry] = []
        behind: bytes | int = after
        while behind != b"" and len(found) < limit:
            behind, *entries = await self._change(
                "browse", only_open, lane, state or "", behind, limit - len(found)
            )
            found += [read_entry(entry) for entry in entries]
        return found

    async def _lanes(self) -> list[str]:
        await self._change("stats")
        return list(self._counts)

    async def _write(self, kind: str, lease: Lease, *given: Argument) -> Sequence[Any]:
        word, *rest = await self._change(kind, *fence(lease), *given)
        if word == b"lost":
            raise lost(lease)
        return rest

    async def _change(self, kind: str, *given: Argument, growing: bool = False) -> Sequence[Any]:
        answer: Sequence[Any] = await self._pipeline.submit(Change(kind, given, growing))
        return answer

    async def _apply(self, changes: Sequence[Change]) -> Sequence[Any]:
        now = "" if self._clock is None else repr(self._clock())
        header = (self._prefix, now, *self._rules)
        answers, told = await self._script.run(self._connection, header, changes)
        for each in told:
            self._notice(*each)
        return answers

    def _notice(self, now: bytes, stirred: bytes, due_at: bytes, *counts: Any) -> None:
        """What every answer tells: the time there, whether anything became ready and when more will, open rows."""
        self._redis_time, self._seen_at = float(now), anyio.current_time()
        lanes = (counts[at : at + 4] for at in range(0, len(counts), 4))
        self._counts = {lane.decode(): Counts(*numbers) for lane, *numbers in lanes}
        if stirred:
            self._news.stir()
        self._news.fall_due(float(due_at) if due_at else None)

    def _now(self) -> float:
        """Redis's time, as far as its last answer tells: a little late, never early."""
        if self._clock is not None:
            return self._clock()
        return self._redis_time + anyio.current_time() - self._seen_at
