"""`SqlQueue`: the ledger in a database, every change durable by group commit."""

# ruff: noqa: S608 - the statements are built from constants of this package; every value is bound
# ruff: noqa: D102 - `RequestQueue` says what each method promises

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from types import TracebackType
from typing import Any, ClassVar, Self, cast
from uuid import UUID

import anyio
from sqlalchemy import Connection, text

from app.database import Database, GroupCommit
from app.database.statements import AnyRow
from app.provider.queue.ledger import Ledger
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
from app.provider.queue.rows import ENTRY, read_entry
from app.provider.queue.turn import Change, Counts, Rules

_CHANNEL = "queue"
_TELL_EVERY = 0.25
"""Seconds in which a line that is not empty is told of once: who found it empty meanwhile looks again."""

_STARTED_AT = "CASE WHEN r.answered_at < r.leased_at THEN r.answered_at ELSE r.leased_at END"
_STARTED = (
    f"SELECT r.lane, r.tries, {_STARTED_AT} AS started_at FROM lanes CROSS JOIN requests r"
    f" WHERE r.lane = lanes.lane AND r.published_at IS NULL AND r.tries > 0 AND {_STARTED_AT} > :horizon"
    f" UNION ALL SELECT r.lane, r.tries, {_STARTED_AT} FROM requests r"
    f" WHERE r.published_at > :horizon AND r.tries > 0 AND {_STARTED_AT} > :horizon"
)
"""By index: what is open, and what was closed since. `leased_at` also moves when an answered row is published."""


class SqlQueue:
    """A `RequestQueue` in `database`, which it opens and closes.

    `limit` is open rows per lane, `max_tries` judge calls per request, `retention` seconds. `boot` names this run of
    the process; with `exclusive` (nobody else uses the database: the rule unless it is shared) leases of other boots end
    when it opens. Time is the database's unless a `clock` is given.
    """

    ledger: ClassVar[type[Ledger]] = Ledger

    def __init__(
        self,
        database: Database,
        *,
        boot: str,
        limit: int = 10_000,
        max_tries: int = 5,
        retention: float = 7 * 86_400.0,
        exclusive: bool | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._now: Callable[[Connection], float] = database.now if clock is None else lambda _: clock()
        self._exclusive = not database.shared if exclusive is None else exclusive
        self._boot = boot
        rules = Rules(limit=limit, max_tries=max_tries, retention=retention, boot=boot)
        self._ledger = self.ledger(rules, now=self._now, shared=database.shared)
        self._changes: GroupCommit[Change, Any] = GroupCommit(database, self._apply, committed=self._notice)
        self._counts: dict[str, Counts] = {}
        self._news = News(self._about_now)
        self._listening = False
        self._told_at = float("-inf")

    async def accept(self, request: QueuedRequest, *, lease_for: float | None = None) -> Accepted:
        return cast(Accepted, await self._change("accept", request.queue_id, (request, lease_for)))

    async def lease(self, lane: str, *, limit: int, seconds: float, begin: bool = False) -> Sequence[Lease]:
        return cast(Sequence[Lease], await self._change("lease", object(), (lane, limit, seconds, begin)))

    async def lease_closing(self, *, limit: int, seconds: float) -> Sequence[Lease]:
        return cast(Sequence[Lease], await self._change("lease_closing", object(), (limit, seconds)))

    async def begin_try(self, lease: Lease) -> int:
        return cast(int, await self._change("begin_try", lease.place, lease))

    async def extend(self, lease: Lease, seconds: float) -> None:
        await self._change("extend", lease.place, (lease, seconds))

    async def store(self, lease: Lease, outcome: StoredOutcome) -> tuple[StoredOutcome, Reply]:
        return cast(tuple[StoredOutcome, Reply], await self._change("store", lease.place, (lease, outcome)))

    async def mark_published(self, lease: Lease) -> None:
        await self._change("mark_published", lease.place, lease)

    async def release(self, lease: Lease, *, after: float = 0.0, untried: bool = False) -> None:
        await self._change("release", lease.place, (lease, after, untried))

    async def promise_callback(self, queue_id: UUID) -> StoredOutcome | None:
        return cast(StoredOutcome | None, await self._change("promise_callback", queue_id, queue_id))

    async def cancel(self, queue_id: UUID) -> Entry:
        return cast(Entry, await self._change("cancel", queue_id, queue_id))

    async def hurry(self, queue_id: UUID) -> Entry:
        return cast(Entry, await self._change("hurry", queue_id, queue_id))

    async def find(self, queue_id: UUID) -> Entry | None:
        sql = f"SELECT {ENTRY} FROM requests WHERE queue_id = :id"
        found = await self._select(sql, {"id": queue_id.bytes})
        return found[0] if found else None

    async def browse(
        self, *, lane: str | None = None, state: State | None = None, after: int = 0, limit: int = 50
    ) -> Sequence[Entry]:
        conditions = ["place > :after"]
        if lane is not None:
            conditions.append("lane = :lane")
        if state is not None:
            conditions.append("state = :state")
            if state is not State.PUBLISHED:
                conditions.append("published_at IS NULL")  # so that the index of open rows serves
        sql = f"SELECT {ENTRY} FROM requests WHERE {' AND '.join(conditions)} ORDER BY place LIMIT :limit"
        return await self._select(sql, {"lane": lane, "state": state, "after": after, "limit": limit})

    def waiting(self, lane: str) -> int:
        counts = self._counts.get(lane)
        return counts.queued if counts else 0

    async def stats(self) -> Mapping[str, LaneStats]:
        sql = (
            "SELECT lane, queued, leased, answered, (SELECT accepted_at FROM requests r WHERE r.lane = lanes.lane"
            " AND r.published_at IS NULL ORDER BY r.place LIMIT 1) AS first FROM lanes WHERE queued + leased + answered > 0"
        )
        now, rows = await self._database.read(
            lambda connection: (self._now(connection), connection.execute(text(sql)).all())
        )
        return {
            row.lane: LaneStats(row.queued, row.leased, row.answered, max(0.0, now - row.first))
            for row in rows
        }

    async def recent_starts(self, *, seconds: float) -> Mapping[str, Sequence[float]]:
        def work(connection: Connection) -> tuple[float, Sequence[AnyRow]]:
            now = self._now(connection)
            return now, connection.execute(text(_STARTED), {"horizon": now - seconds}).all()

        now, rows = await self._database.read(work)
        ages: defaultdict[str, list[float]] = defaultdict(list)
        for row in rows:
            ages[row.lane] += [now - row.started_at] * row.tries
        return ages

    async def wait(self, seconds: float) -> None:
        """As promised; meant for one dispatcher per process. What it makes ready, other processes are told of."""
        self._listen()
        await self._news.wait(seconds)

    async def purge(self) -> int:
        purged = 0
        while some := await self._database.write(self._ledger.purge):
            purged += some
        return purged

    async def check(self) -> None:
        await self._database.check()

    async def __aenter__(self) -> Self:
        await self._database.open()
        try:
            await self._database.write(
                lambda connection: self._ledger.open(connection, exclusive=self._exclusive)
            )
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._database.close()
            raise
        self._notice()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):  # bounded by the transactions that run
            await self._changes.drain()
            await self._database.close()

    def _change(self, kind: str, key: Hashable, given: object) -> Awaitable[Any]:
        return self._changes.submit(Change(kind, key, given))

    async def _select(self, sql: str, values: Mapping[str, object]) -> list[Entry]:
        def work(connection: Connection) -> list[Entry]:
            return [read_entry(row) for row in connection.execute(text(sql), values)]

        return await self._database.read(work)

    def _apply(self, connection: Connection, changes: Sequence[Change]) -> Sequence[Any]:
        """In the writer thread: the ledger's work, and a word to other processes where rows became ready."""
        results = self._ledger.apply(connection, changes)
        if self._ledger.stirred and self._database.shared:
            now = time.monotonic()
            if self._ledger.filled or now - self._told_at > _TELL_EVERY:
                self._database.tell(connection, _CHANNEL, self._boot)
                self._told_at = now
        return results

    def _listen(self) -> None:
        """From the first time that somebody waits; who never waits needs no news."""
        if self._listening:
            return
        self._listening = True
        self._database.listen(_CHANNEL, lambda boot: None if boot == self._boot else self._news.stir())

    def _about_now(self) -> float:
        """The database's time by this machine's monotonic clock, without asking."""
        if self._clock is not None:
            return self._clock()
        moment, seen_at = self._ledger.seen
        return moment + time.monotonic() - seen_at

    def _notice(self) -> None:
        """After each commit, while the writer rests: take over its counts, wake who waits if that is worth it."""
        self._counts |= self._ledger.counts
        self._news.fall_due(self._ledger.next_due_at)
        if self._ledger.stirred:
            self._news.stir()
