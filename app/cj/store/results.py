"""Results, applied by compare-and-set: the first one counts, whatever the road, order or repetition."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from app.cj.batch import Arrival, ComparisonState, Fate
from app.contracts import Outcome

_FINAL = {
    Outcome.SUCCEEDED: ComparisonState.DECIDED,
    Outcome.FAILED: ComparisonState.FAILED,
    Outcome.EXPIRED: ComparisonState.FAILED,
    Outcome.CANCELLED: ComparisonState.FAILED,
}

_KNOWN = text(
    "SELECT id, batch_id, wave, state FROM comparisons WHERE id IN (SELECT value FROM json_each(:given))"
)
_TOMBSTONES = text("SELECT batch_id FROM tombstones WHERE batch_id IN (SELECT value FROM json_each(:given))")
_END = text(
    """UPDATE comparisons SET state = :state, due_at = NULL, body = NULL, ended_at = :now, ended_order = :ended_order,
    road = :road, winner = :winner, confidence = :confidence, justification = :justification, provider = :provider,
    model = :model, judge_kind = :judge_kind, cost_usd = :cost_usd, tokens = :tokens,
    response_time_ms = :response_time_ms, attempts = :attempts, prompt_sha256 = :prompt_sha256,
    error_code = :error_code, error_detail = :error_detail, retryable = :retryable WHERE id = :id"""
)
_COUNT = text(
    """UPDATE batches SET decided = decided + :won, failed = failed + :lost, cost_usd = cost_usd + :cost,
    version = version + 1 WHERE id = :id RETURNING decided + failed"""
)
_CLOSE = text("UPDATE waves SET open = open - :count WHERE batch_id = :id AND number = :wave RETURNING open")


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of arrivals, in their order, and which batches have a wave that is now complete."""

    fates: tuple[Fate, ...]
    completed: frozenset[UUID]


def record(connection: Connection, groups: Sequence[Sequence[Arrival]], now: float) -> Sequence[Recorded]:
    """Apply groups of arrivals, each of one caller, and answer in their order."""
    arrivals = list(chain.from_iterable(groups))
    known = {
        row.id: row
        for row in connection.execute(_KNOWN, {"given": json.dumps([str(a.id) for a in arrivals])})
    }
    buried = _buried(connection, (a for a in arrivals if str(a.id) not in known))
    fates: list[Fate] = []
    fresh: dict[str, tuple[Arrival, Any]] = {}
    for arrival in arrivals:
        row = known.get(str(arrival.id))
        if row is None:
            fates.append(Fate.LATE if arrival.batch_id in buried else Fate.UNKNOWN)
        elif row.state in {"planned", "submitted"} and row.id not in fresh:
            fates.append(Fate.APPLIED)
            fresh[row.id] = (arrival, row)
        else:
            fates.append(Fate.LATE if row.state == "cancelled" else Fate.DUPLICATE)
    completed = _end(connection, fresh.values(), now) if fresh else frozenset[UUID]()
    recorded, position = [], 0
    for group in groups:
        mine = tuple(fates[position : position + len(group)])
        recorded.append(Recorded(mine, completed if Fate.APPLIED in mine else frozenset()))
        position += len(group)
    return recorded


def _buried(connection: Connection, arrivals: Iterable[Arrival]) -> set[UUID]:
    ids = {str(a.batch_id) for a in arrivals if a.batch_id is not None}
    return (
        {UUID(i) for i in connection.execute(_TOMBSTONES, {"given": json.dumps(sorted(ids))}).scalars()}
        if ids
        else set()
    )


def _end(connection: Connection, fresh: Iterable[tuple[Arrival, Any]], now: float) -> frozenset[UUID]:
    """End the rows, then raise the counters of their batches and waves in the same transaction."""
    by_batch: dict[str, list[tuple[Arrival, Any]]] = defaultdict(list)
    for arrival, row in fresh:
        by_batch[row.batch_id].append((arrival, row))
    completed = set()
    for batch_id, members in by_batch.items():
        won = sum(a.outcome is Outcome.SUCCEEDED for a, _ in members)
        (ended,) = connection.execute(
            _COUNT,
            {
                "id": batch_id,
                "won": won,
                "lost": len(members) - won,
                "cost": sum(a.cost_usd for a, _ in members),
            },
        ).one()
        start = ended - len(members) + 1
        connection.execute(_END, [_ended(a, start + n, now) for n, (a, _) in enumerate(members)])
        waves: dict[int, int] = defaultdict(int)
        for _, row in members:
            waves[row.wave] += 1
        for wave, count in waves.items():
            left = connection.execute(
                _CLOSE,
                {"id": batch_id, "wave": wave, "count": count},
            ).scalar_one()
            if left == 0:
                completed.add(UUID(batch_id))
    return frozenset(completed)


def _ended(arrival: Arrival, order: int, now: float) -> dict[str, Any]:
    return {
        "id": str(arrival.id),
        "state": _FINAL[arrival.outcome],
        "now": now,
        "ended_order": order,
        "road": arrival.road,
        "winner": arrival.winner,
        "confidence": arrival.confidence,
        "justification": arrival.justification,
        "provider": arrival.provider,
        "model": arrival.model,
        "judge_kind": arrival.judge_kind,
        "cost_usd": arrival.cost_usd,
        "tokens": arrival.tokens,
        "response_time_ms": arrival.response_time_ms,
        "attempts": arrival.attempts,
        "prompt_sha256": arrival.prompt_sha256,
        "error_code": arrival.error_code,
        "error_detail": arrival.error_detail,
        "retryable": arrival.retryable,
    }
