"""Between rows and the protocol's values. The order of columns stands here, beside the code that unpacks them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from app.contracts import Outcome
from app.database.statements import AnyRow
from app.provider.queue.protocol import Ending, Entry, Lease, QueuedRequest, Reply, State, StoredOutcome
from app.provider.queue.tables import JUDGE

INSERTED = (
    "queue_id, correlation_id, principal, lane, fingerprint, callback_topic, callback_key, priority, traceparent,"
    " state, reply, held, cancelled, attempt, tries, boot, line, due_at, expires_in, accepted_at, expires_at,"
    " ready_at, leased_at"
)

INSERTED_TYPES = (
    "bytea bytea text text bytea text text smallint text text text boolean boolean integer integer text smallint"
    " float8 float8 float8 float8 float8 float8"
)

LEASED = (
    "r.place, r.attempt, r.tries, r.held, r.cancelled, r.state, r.reply, r.outcome, r.accepted_at, r.expires_at,"
    " r.queue_id, r.correlation_id, r.principal, r.lane, r.fingerprint, r.callback_topic, r.callback_key, r.priority,"
    " r.expires_in, r.traceparent, p.body, p.event"
)

ENTRY = (
    "queue_id, correlation_id, principal, lane, state, reply, priority, place, attempt, tries, cancelled, outcome,"
    " accepted_at, ready_at, expires_at, leased_at, answered_at, published_at"
)


def write_request(request: QueuedRequest, now: float, lease_for: float | None, boot: str) -> tuple[Any, ...]:
    """The values of `INSERTED` for a new row: in its judge's line, or born leased."""
    expires_at = now + request.expires_in
    born: tuple[Any, ...]
    if lease_for is None:
        born = (State.QUEUED, Reply.CALLBACK, False, False, 0, 0, None, JUDGE, expires_at)
        ready_at, leased_at = now, None
    else:
        ready_at, leased_at = now + lease_for, now
        born = (State.LEASED, Reply.RESPONSE, True, False, 1, 1, boot, None, ready_at)
    return (
        request.queue_id.bytes,
        request.correlation_id.bytes,
        request.principal,
        request.lane,
        request.fingerprint,
        request.callback_topic,
        request.callback_key,
        request.priority,
        request.traceparent,
        *born,
        request.expires_in,
        now,
        expires_at,
        ready_at,
        leased_at,
    )


def read_lease(row: AnyRow, *, tries: int, reply: Reply, ending: Ending | None) -> Lease:
    """A lease on the row as `LEASED` selected it, just before it was taken, with what taking it changed."""
    request = QueuedRequest(
        queue_id=UUID(bytes=row.queue_id),
        correlation_id=UUID(bytes=row.correlation_id),
        principal=row.principal,
        lane=row.lane,
        body=row.body,
        fingerprint=row.fingerprint,
        callback_topic=row.callback_topic,
        callback_key=row.callback_key,
        priority=row.priority,
        expires_in=row.expires_in,
        traceparent=row.traceparent,
    )
    return Lease(
        request=request,
        place=row.place,
        attempt=row.attempt + 1,
        tries=tries,
        reply=reply,
        accepted_at=row.accepted_at,
        stored=read_stored(row),
        ending=ending,
    )


def read_stored(row: AnyRow) -> StoredOutcome | None:
    """The outcome of a row that selected `outcome` and `event`."""
    return None if row.outcome is None else StoredOutcome(Outcome(row.outcome), row.event)


def read_entry(row: AnyRow) -> Entry:
    """A row as `ENTRY` selected it."""
    values = row._asdict()
    outcome = values.pop("outcome")
    return Entry(
        queue_id=UUID(bytes=values.pop("queue_id")),
        correlation_id=UUID(bytes=values.pop("correlation_id")),
        state=State(values.pop("state")),
        reply=Reply(values.pop("reply")),
        cancelled=bool(values.pop("cancelled")),
        outcome=None if outcome is None else Outcome(outcome),
        **values,
    )
