"""What every queue promises (docs/design.md: Q1 to Q9).

One row per accepted request, one state machine:

queued -> leased -> answered -> published, and leased -> queued (released, or the lease ran out).

The queue is also the outbox: an outcome is stored before it is published, and comes with every later lease.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self
from uuid import UUID

from app.contracts import Outcome
from app.contracts.wire import At


class Reply(StrEnum):
    """How the asker gets the outcome: on the HTTP request that still waits, or by callback."""

    RESPONSE = "response"
    CALLBACK = "callback"


class State(StrEnum):
    """Where a row stands. `published` is the end: delivered by callback, or closed because a 200 delivers it."""

    QUEUED = "queued"
    LEASED = "leased"
    ANSWERED = "answered"
    PUBLISHED = "published"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedRequest:
    """A request as accepted.

    `body` is the JSON of the LLMComparisonRequest (empty once the outcome is stored), `fingerprint` the sha256 of the
    request as it was sent, before the default judge is written into `body`, `lane` the judge configuration,
    `expires_in` in seconds from acceptance.
    """

    queue_id: UUID
    correlation_id: UUID
    principal: str
    lane: str
    body: bytes
    fingerprint: bytes
    callback_topic: str | None
    callback_key: str
    priority: int = 5
    expires_in: float = 86_400.0
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class StoredOutcome:
    """The one outcome of a request. `event` is the exact body of its event, so that every copy has the same bytes."""

    outcome: Outcome
    event: bytes


class Ending(StrEnum):
    """Why a row without an outcome needs no judge any more."""

    EXPIRED = "expired"
    CANCELLED = "cancelled"
    EXHAUSTED = "exhausted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A right to work on a request. (`place`, `attempt`) is the fence: `place` is never reused, `attempt` only grows.

    `tries` counts judge calls begun. `stored` is an earlier outcome, to be published again and never made again;
    `ending` says that the request is to be closed without asking a judge. `accepted_at` is POSIX seconds.
    """

    request: QueuedRequest
    place: int
    attempt: int
    tries: int
    reply: Reply
    accepted_at: float
    stored: StoredOutcome | None = None
    ending: Ending | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What `accept` found or made. `lease` is there when the row was born leased; `stored` when it was answered before."""

    queue_id: UUID
    known: bool
    state: State
    reply: Reply
    lease: Lease | None = None
    stored: StoredOutcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row for people: never the prompt or the essays. A moment is None when it is not reached."""

    queue_id: UUID
    correlation_id: UUID
    principal: str
    lane: str
    state: State
    reply: Reply
    priority: int
    place: int
    attempt: int
    tries: int
    cancelled: bool
    outcome: Outcome | None
    accepted_at: At
    ready_at: At
    expires_at: At
    leased_at: At | None
    answered_at: At | None
    published_at: At | None


@dataclass(frozen=True, slots=True)
class LaneStats:
    """Open rows of one lane: waiting for a judge, leased, answered but not published; `oldest` in seconds."""

    waiting: int
    leased: int
    answered: int
    oldest: float


class RequestQueue(Protocol):
    """The ledger. Every write is durable before it returns; every write by lease is fenced.

    All methods raise `StoreUnavailable` when the engine does not take the change; then nothing of it was stored, or, where
    an answer was lost on its way from another machine, all of it. To ask again is safe.
    """

    async def accept(self, request: QueuedRequest, *, lease_for: float | None = None) -> Accepted:
        """Store the request durably; a known id is found again, at any depth of the queue.

        With `lease_for` (seconds) a new row is born leased with `Reply.RESPONSE`, its first try counted: the call
        begins at once, and a process that dies in between has spent that try. Otherwise it is queued with
        `Reply.CALLBACK`. After the retention of a published row its id is new again.

        :raises RequestMismatch: the id is known with another fingerprint.
        :raises QueueFull: the lane already holds `limit` open rows and the id is new. Processes that share the queue
            may exceed the limit by what they accept at the same moment.
        """

    async def lease(self, lane: str, *, limit: int, seconds: float, begin: bool = False) -> Sequence[Lease]:
        """Lease up to `limit` rows of `lane` that need a judge: ready, priority first, then first in first out.

        With `begin` a try of each is counted in the same step, for who calls the judge at once; a row that is given
        back without a call is to be released as `untried`.

        Rows whose lease ran out are ready again; taking one over turns a `Reply.RESPONSE` with a callback topic
        to `Reply.CALLBACK`. Rows with an ending or an outcome are left to `lease_closing`.
        """

    async def lease_closing(self, *, limit: int, seconds: float) -> Sequence[Lease]:
        """Lease rows of any lane that need no judge: answered and unpublished, expired, cancelled, exhausted."""

    async def begin_try(self, lease: Lease) -> int:
        """Raise `tries` durably, just before the judge is called once more; returns the new count.

        :raises LeaseLost: the fence does not hold (so for every method that takes a lease).
        """

    async def extend(self, lease: Lease, seconds: float) -> None:
        """Let the lease run `seconds` from now."""

    async def store(self, lease: Lease, outcome: StoredOutcome) -> tuple[StoredOutcome, Reply]:
        """Store the outcome; the first one stays and is returned, with how it is to be delivered.

        `Reply.RESPONSE` closes the row in the same transaction; `Reply.CALLBACK` leaves it answered, under this
        lease, to be published. The body is dropped.
        """

    async def mark_published(self, lease: Lease) -> None:
        """Close an answered row after its event was stored by the bus."""

    async def release(self, lease: Lease, *, after: float = 0.0, untried: bool = False) -> None:
        """Give the row back, ready again in `after` seconds; `tries` and an outcome stay.

        `untried` takes back one try of a row without outcome: it was counted, but the judge was not called.
        """

    async def promise_callback(self, queue_id: UUID) -> StoredOutcome | None:
        """Turn `Reply.RESPONSE` to `Reply.CALLBACK` by compare-and-set, before a 202 is written.

        Returns the outcome when nothing follows any more, for it was answered or its event was published: then the
        asker gets that instead of a 202. Returns None when the callback is promised (now, or before) and owed.

        :raises NotFound: no such row.
        """

    async def cancel(self, queue_id: UUID) -> Entry:
        """Ask for the row to end as `cancelled`. A row under a valid lease keeps its call and whatever comes of it.

        :raises NotFound: no such row.
        """

    async def hurry(self, queue_id: UUID) -> Entry:
        """Let a row that nobody holds and that waits for the end of a delay be ready now; any other stays as it is.

        :raises NotFound: no such row.
        """

    async def find(self, queue_id: UUID) -> Entry | None:
        """One row for people."""

    async def browse(
        self, *, lane: str | None = None, state: State | None = None, after: int = 0, limit: int = 50
    ) -> Sequence[Entry]:
        """Rows for people in order of `place`, beginning behind place `after`."""

    def waiting(self, lane: str) -> int:
        """How many open rows of the lane wait for a judge, as far as this process knows; never blocks."""

    async def stats(self) -> Mapping[str, LaneStats]:
        """Counts per lane, from counters or an index, never from a scan of closed rows."""

    async def recent_starts(self, *, seconds: float) -> Mapping[str, Sequence[float]]:
        """For each lane how many seconds ago calls of the judge began, within the last `seconds`; read at start.

        A row tells only of its last lease, so all its tries count from there: rather too many than too few.
        """

    async def wait(self, seconds: float) -> None:
        """Return when something may have become ready since the last call of this method, at the latest after `seconds`."""

    async def purge(self) -> int:
        """Delete published rows past the retention; returns how many."""

    async def check(self) -> None:
        """Return when the engine takes changes now; for readiness.

        :raises StoreUnavailable: it does not.
        """

    async def __aenter__(self) -> Self:
        """Open; leases of former boots are released where the engine is ours alone."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish what is being written, then close."""
