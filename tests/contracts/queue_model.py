"""What a queue is to do, said as plainly as Python can: a dictionary of rows and a clock."""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import UUID

from app.errors import LeaseLost, NotFound, QueueFull, RequestMismatch
from app.provider.queue.protocol import (
    Accepted,
    Ending,
    Entry,
    LaneStats,
    Lease,
    QueuedRequest,
    Reply,
    State,
    StoredOutcome,
)


@dataclass(kw_only=True)
class Row:
    request: QueuedRequest
    boot: str
    accepted_at: float
    ready_at: float
    place: int = 0
    state: State = State.QUEUED
    reply: Reply = Reply.CALLBACK
    held: bool = False
    attempt: int = 0
    tries: int = 0
    cancelled: bool = False
    stored: StoredOutcome | None = None
    leased_at: float | None = None
    answered_at: float | None = None
    published_at: float | None = None

    @property
    def expires_at(self) -> float:
        return self.accepted_at + self.request.expires_in

    @property
    def open(self) -> bool:
        return self.state is not State.PUBLISHED

    def entry(self) -> Entry:
        return Entry(
            queue_id=self.request.queue_id,
            correlation_id=self.request.correlation_id,
            principal=self.request.principal,
            lane=self.request.lane,
            state=self.state,
            reply=self.reply,
            priority=self.request.priority,
            place=self.place,
            attempt=self.attempt,
            tries=self.tries,
            cancelled=self.cancelled,
            outcome=None if self.stored is None else self.stored.outcome,
            accepted_at=self.accepted_at,
            ready_at=self.ready_at,
            expires_at=self.expires_at,
            leased_at=self.leased_at,
            answered_at=self.answered_at,
            published_at=self.published_at,
        )


class Model:
    def __init__(self, *, limit: int, max_tries: int, retention: float, now: float) -> None:
        self.limit, self.max_tries, self.retention, self.now = limit, max_tries, retention, now
        self.rows: dict[UUID, Row] = {}

    # -- by id

    def accept(self, request: QueuedRequest, lease_for: float | None, boot: str) -> Accepted:
        """The place is not foretold: the machine looks it up and checks that it grew."""
        row = self.rows.get(request.queue_id)
        if row is not None and not self.is_past(row):
            if row.request.fingerprint != request.fingerprint:
                raise RequestMismatch("")
            return Accepted(
                queue_id=request.queue_id, known=True, state=row.state, reply=row.reply, stored=row.stored
            )
        if sum(row.open for row in self.lane(request.lane)) >= self.limit:
            raise QueueFull("")
        row = Row(request=request, boot=boot, accepted_at=self.now, ready_at=self.now)
        self.rows[request.queue_id] = row
        if lease_for is None:
            return Accepted(queue_id=request.queue_id, known=False, state=row.state, reply=row.reply)
        row.reply = Reply.RESPONSE
        lease = replace(self.take(row, lease_for, boot), tries=1)
        row.tries = 1  # the call begins at once
        return Accepted(queue_id=request.queue_id, known=False, state=row.state, reply=row.reply, lease=lease)

    def promise_callback(self, queue_id: UUID) -> StoredOutcome | None:
        row = self.row(queue_id)
        if not row.open:
            return row.stored
        row.reply = Reply.CALLBACK
        return None

    def cancel(self, queue_id: UUID) -> Entry:
        row = self.row(queue_id)
        if row.stored is None and not row.cancelled:
            row.cancelled = True
            if not row.held:
                row.ready_at = min(row.ready_at, self.now)
        return row.entry()

    def hurry(self, queue_id: UUID) -> Entry:
        row = self.row(queue_id)
        if row.open and not row.held:
            row.ready_at = min(row.ready_at, self.now)
        return row.entry()

    # -- by lease

    def judgeable(self, lane: str) -> list[Row]:
        ready = [row for row in self.lane(lane) if self.is_ready(row) and not self.needs_no_judge(row)]
        return sorted(ready, key=lambda row: (-row.request.priority, row.place))

    def closable(self) -> list[Row]:
        return [row for row in self.rows.values() if self.is_ready(row) and self.needs_no_judge(row)]

    def take(self, row: Row, seconds: float, boot: str, *, begin: bool = False) -> Lease:
        ending = self.ending(row)
        row.tries += begin
        if row.held and row.request.callback_topic is not None:
            row.reply = Reply.CALLBACK
        if row.state is State.QUEUED:
            row.state = State.LEASED
        row.held, row.boot, row.leased_at, row.ready_at = True, boot, self.now, self.now + seconds
        row.attempt += 1
        body = row.request.body if row.stored is None else b""
        return Lease(
            request=replace(row.request, body=body),
            place=row.place,
            attempt=row.attempt,
            tries=row.tries,
            reply=row.reply,
            accepted_at=row.accepted_at,
            stored=row.stored,
            ending=ending,
        )

    def begin_try(self, lease: Lease) -> int:
        row = self.held(lease, State.LEASED)
        row.tries += 1
        return row.tries

    def extend(self, lease: Lease, seconds: float) -> None:
        self.held(lease).ready_at = self.now + seconds

    def store(self, lease: Lease, outcome: StoredOutcome) -> tuple[StoredOutcome, Reply]:
        row = self.held(lease)
        if row.stored is None:
            row.stored, row.answered_at, row.state = outcome, self.now, State.ANSWERED
            if row.reply is Reply.RESPONSE:
                self._close(row)
        return row.stored, row.reply

    def mark_published(self, lease: Lease) -> None:
        self._close(self.held(lease, State.ANSWERED))

    def release(self, lease: Lease, after: float, *, untried: bool = False) -> None:
        row = self.held(lease)
        row.held, row.ready_at = False, self.now + after
        if row.stored is None:
            row.state = State.QUEUED
            row.tries = max(0, row.tries - untried)
            row.ready_at = min(row.ready_at, row.expires_at)

    # -- around

    def purge(self) -> int:
        past = [queue_id for queue_id, row in self.rows.items() if self.is_past(row)]
        for queue_id in past:
            del self.rows[queue_id]
        return len(past)

    def reboot(self, boot: str) -> None:
        for row in self.rows.values():
            if row.open and row.held and row.boot != boot:
                row.ready_at = min(row.ready_at, self.now)

    def browse(self, lane: str | None, state: State | None, after: int, limit: int) -> list[Entry]:
        entries = sorted((row.entry() for row in self.rows.values()), key=lambda entry: entry.place)
        return [
            entry
            for entry in entries
            if entry.place > after and lane in {None, entry.lane} and state in {None, entry.state}
        ][:limit]

    def stats(self) -> dict[str, LaneStats]:
        stats = {}
        for lane in {row.request.lane for row in self.rows.values() if row.open}:
            rows = [row for row in self.lane(lane) if row.open]
            states = [row.state for row in rows]
            stats[lane] = LaneStats(
                waiting=states.count(State.QUEUED),
                leased=states.count(State.LEASED),
                answered=states.count(State.ANSWERED),
                oldest=max(self.now - row.accepted_at for row in rows),
            )
        return stats

    def recent_starts(self, seconds: float) -> dict[str, list[float]]:
        starts: dict[str, list[float]] = {}
        for row in self.rows.values():
            if row.tries and row.leased_at is not None:
                age = self.now - min(row.leased_at, row.answered_at or row.leased_at)
                if age < seconds:
                    starts.setdefault(row.request.lane, []).extend([age] * row.tries)
        return {lane: sorted(ages) for lane, ages in starts.items()}

    # -- what a row is

    def lane(self, lane: str) -> list[Row]:
        return [row for row in self.rows.values() if row.request.lane == lane]

    def row(self, queue_id: UUID) -> Row:
        if queue_id not in self.rows:
            raise NotFound("")
        return self.rows[queue_id]

    def held(self, lease: Lease, *states: State) -> Row:
        row = self.rows.get(lease.request.queue_id)
        if row is None or not row.held or (row.place, row.attempt) != (lease.place, lease.attempt):
            raise LeaseLost("")
        if states and row.state not in states:
            raise LeaseLost("")
        return row

    def is_ready(self, row: Row) -> bool:
        return row.open and row.ready_at <= self.now

    def is_past(self, row: Row) -> bool:
        return row.published_at is not None and row.published_at <= self.now - self.retention

    def needs_no_judge(self, row: Row) -> bool:
        return row.stored is not None or self.ending(row) is not None

    def ending(self, row: Row) -> Ending | None:
        if row.stored is not None:
            return None
        if row.cancelled:
            return Ending.CANCELLED
        if row.expires_at <= self.now:
            return Ending.EXPIRED
        return Ending.EXHAUSTED if row.tries >= self.max_tries else None

    def _close(self, row: Row) -> None:
        row.state, row.held, row.published_at = State.PUBLISHED, False, self.now
