"""Between the ledger's answers and the protocol's values. The order of fields stands here and in the scripts beside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from app.contracts import Outcome
from app.provider.queue.protocol import Ending, Entry, Lease, QueuedRequest, Reply, State, StoredOutcome

Argument = str | bytes | int


def write_request(request: QueuedRequest, lease_for: float | None) -> Sequence[Argument]:
    """The arguments of `accept`."""
    fixed = (
        str(request.correlation_id),
        request.principal,
        request.fingerprint.hex(),
        request.callback_topic,
        request.callback_key,
        request.expires_in,
        request.traceparent,
    )
    return (
        request.queue_id.hex,
        request.lane,
        request.priority,
        request.fingerprint,
        "" if request.callback_topic is None else "1",
        json.dumps(fixed, separators=(",", ":")),
        request.body,
        repr(request.expires_in),
        "" if lease_for is None else repr(lease_for),
    )


def fence(lease: Lease) -> Sequence[Argument]:
    """The arguments that name a row and the lease under which it is written."""
    return lease.request.queue_id.hex, lease.place, lease.attempt


def read_lease(fields: Sequence[bytes]) -> Lease:
    """A row that was just leased."""
    (
        queue_id,
        lane,
        priority,
        place,
        attempt,
        tries,
        reply,
        accepted_at,
        outcome,
        event,
        ending,
        fixed,
        body,
    ) = fields
    correlation_id, principal, fingerprint, topic, key, expires_in, traceparent = json.loads(fixed)
    request = QueuedRequest(
        queue_id=UUID(hex=queue_id.decode()),
        correlation_id=UUID(correlation_id),
        principal=principal,
        lane=lane.decode(),
        body=body,
        fingerprint=bytes.fromhex(fingerprint),
        callback_topic=topic,
        callback_key=key,
        priority=int(priority),
        expires_in=expires_in,
        traceparent=traceparent,
    )
    return Lease(
        request=request,
        place=int(place),
        attempt=int(attempt),
        tries=int(tries),
        reply=Reply(reply.decode()),
        accepted_at=float(accepted_at),
        stored=read_stored(outcome, event),
        ending=Ending(ending.decode()) if ending else None,
    )


def read_stored(outcome: bytes, event: bytes) -> StoredOutcome | None:
    """The outcome of a row, if it has one."""
    return StoredOutcome(Outcome(outcome.decode()), event) if outcome else None


def read_entry(fields: Sequence[Any]) -> Entry:
    """A row for people."""
    (
        queue_id,
        fixed,
        lane,
        priority,
        state,
        reply,
        place,
        attempt,
        tries,
        cancelled,
        outcome,
        *moments,
    ) = fields
    correlation_id, principal, *_ = json.loads(fixed)
    accepted_at, ready_at, expires_at, leased_at, answered_at, published_at = moments
    return Entry(
        queue_id=UUID(hex=queue_id.decode()),
        correlation_id=UUID(correlation_id),
        principal=principal,
        lane=lane.decode(),
        state=State(state.decode()),
        reply=Reply(reply.decode()),
        priority=int(priority),
        place=int(place),
        attempt=int(attempt),
        tries=int(tries),
        cancelled=bool(cancelled),
        outcome=Outcome(outcome.decode()) if outcome else None,
        accepted_at=float(accepted_at),
        ready_at=float(ready_at),
        expires_at=float(expires_at),
        leased_at=_moment(leased_at),
        answered_at=_moment(answered_at),
        published_at=_moment(published_at),
    )


def _moment(text: bytes) -> float | None:
    return float(text) if text else None
