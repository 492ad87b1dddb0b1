"""What the ledger refuses, in words that are the same on every engine."""

from __future__ import annotations

from uuid import UUID

from app.errors import LeaseLost, NotFound, QueueFull, RequestMismatch
from app.provider.queue.protocol import Lease, QueuedRequest


def full(limit: int) -> QueueFull:
    """The lane holds as many open rows as it may."""
    return QueueFull(f"The judge already has {limit} open requests waiting.", retry_after=5.0)


def mismatch(request: QueuedRequest) -> RequestMismatch:
    """The id is known with another fingerprint."""
    return RequestMismatch(
        f"correlation_id {request.correlation_id} is already bound to another request body."
    )


def unknown(queue_id: UUID) -> NotFound:
    """No such row."""
    return NotFound(f"No request {queue_id} is stored.")


def lost(lease: Lease) -> LeaseLost:
    """The fence does not hold."""
    return LeaseLost(
        f"The lease on request {lease.request.queue_id} (attempt {lease.attempt}) does not hold any more."
    )
