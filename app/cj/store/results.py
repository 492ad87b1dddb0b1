"""Results, applied by compare-and-set: the first one counts, whatever the road, order or repetition."""

# ruff: noqa: S608 - the statements are built from constants of this file; every value is bound

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from app.cj.batch import Arrival, ComparisonState, Fate
from app.contracts import Outcome
from app.database.statements import fetch, over

_FINAL = {
    Outcome.SUCCEEDED: ComparisonState.DECIDED,
    Outcome.FAILED: ComparisonState.FAILED,
    Outcome.EXPIRED: ComparisonState.FAILED,
    Outcome.CANCELLED: ComparisonState.FAILED,
}

_KNOWN = "SELECT id, batch_id, wave, state FROM comparisons WHERE id {among text}"
_TOMBSTONES = "SELECT batch_id FROM tombstones WHERE batch_id {among text}"
_RESULT = {
    "id": "text",
    "state": "text",
    "ended_order": "integer",
    "road": "text",
    "winner": "text",
    "confidence": "float8",
    "justification": "text",
    "provider": "text",
    "model": "text",
    "judge_kind": "text",
    "cost_usd": "float8",
    "tokens": "integer",
    "response_time_ms": "integer",
    "attempts": "integer",
    "prompt_sha256": "text",
    "error_code": "text",
    "error_detail": "text",
    "retryable": "boolean",
}
_END = (
    "UPDATE comparisons SET ended_at = :now, due_at = NULL, body = NULL"
    + "".join(f", {name} = given.column{n}" for n, name in list(enumerate(_RESULT, 1))[1:])
    + f" FROM {{given {' '.join(_RESULT.values())}}} WHERE id = given.column1"
)
_COUNT = """UPDATE batches SET decided = decided + :won, failed = failed + :lost, cost_usd = cost_usd + :cost,
    version = version + 1 WHERE id = :id RETURNING decided + failed"""
_CLOSE = "UPDATE waves SET open = open - :count WHERE batch_id = :id AND number = :wave RETURNING open"


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of arrivals, in their order, and which batches have a wave that is now complete."""

    fates: tuple[Fate, ...]
    completed: frozenset[UUID]


def record(connection: Connection, groups: Sequence[Sequence[Arrival]], now: float) -> Sequence[Recorded]:
    """Apply groups of arrivals, each of one caller, and answer in their order."""
    arrivals = list(chain.from_iterable(groups))
    known = {row.id: row for row in over(connection, _KNOWN, [(str(arrival.id),) for arrival in arrivals])}
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
    return {UUID(row.batch_id) for row in over(connection, _TOMBSTONES, [(i,) for i in sorted(ids)])}


def _end(connection: Connection, fresh: Iterable[tuple[Arrival, Any]], now: float) -> frozenset[UUID]:
    """End the rows, then raise the counters of their batches and waves in the same transaction."""
    by_batch: dict[str, list[tuple[Arrival, Any]]] = defaultdict(list)
    for arrival, row in fresh:
        by_batch[row.batch_id].append((arrival, row))
    completed = set()
    for batch_id, members in by_batch.items():
        won = sum(a.outcome is Outcome.SUCCEEDED for a, _ in members)
        cost = sum(a.cost_usd for a, _ in members)
        ((ended,),) = fetch(connection, _COUNT, id=batch_id, won=won, lost=len(members) - won, cost=cost)
        start = ended - len(members) + 1
        over(connection, _END, [_ended(a, start + n) for n, (a, _) in enumerate(members)], now=now)
        waves: dict[int, int] = defaultdict(int)
        for _, row in members:
            waves[row.wave] += 1
        for wave, count in waves.items():
            ((left,),) = fetch(connection, _CLOSE, id=batch_id, wave=wave, count=count)
            if left == 0:
                completed.add(UUID(batch_id))
    return frozenset(completed)


def _ended(arrival: Arrival, order: int) -> tuple[object, ...]:
    """The values of `_RESULT`."""
    return (
        str(arrival.id),
        _FINAL[arrival.outcome],
        order,
        arrival.road,
        arrival.winner,
        arrival.confidence,
        arrival.justification,
        arrival.provider,
        arrival.model,
        arrival.judge_kind,
        arrival.cost_usd,
        arrival.tokens,
        arrival.response_time_ms,
        arrival.attempts,
        arrival.prompt_sha256,
        arrival.error_code,
        arrival.error_detail,
        arrival.retryable,
    )
