"""Results, applied by compare-and-set: the first one counts, whatever the road, order or repetition."""

# ruff: noqa: S608 - the statements are built from constants of this file; every value is bound

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from uuid import UUID

from sqlalchemy import Connection

from app.cj.batch import Arrival, ComparisonState, Fate
from app.cj.store.money import is_spent
from app.contracts import Outcome
from app.database.statements import AnyRow, over

_FINAL = {
    Outcome.SUCCEEDED: ComparisonState.DECIDED,
    Outcome.FAILED: ComparisonState.FAILED,
    Outcome.EXPIRED: ComparisonState.FAILED,
    Outcome.CANCELLED: ComparisonState.FAILED,
}

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
    "prompt_version": "text",
    "flags": "text",
    "error_code": "text",
    "error_detail": "text",
    "retryable": "boolean",
}
_END = (
    "UPDATE comparisons SET ended_at = :now, due_at = NULL, body = NULL"
    + "".join(f", {name} = given.column{n}" for n, name in list(enumerate(_RESULT, 1))[1:])
    + f" FROM {{given {' '.join(_RESULT.values())}}} WHERE id = given.column1"
)
_MOST = 2**31 - 1
"""What an integer column of PostgreSQL holds; a provider may say anything."""

_COUNT = """UPDATE batches SET decided = decided + given.column2, failed = failed + given.column3,
    cost_usd = cost_usd + given.column4, version = version + 1
    FROM {given text integer integer float8} WHERE id = given.column1
    RETURNING id, decided + failed AS ended, cost_usd, budget_usd"""
_CLOSE = """UPDATE waves SET open = open - given.column3 FROM {given text integer integer}
    WHERE batch_id = given.column1 AND number = given.column2 RETURNING batch_id, open"""
_ANSWERED = "UPDATE comparisons SET due_at = NULL WHERE id {among text} AND due_at IS NOT NULL"
"""Whoever answered need not be told that the row was cancelled meanwhile."""
_PAID = """UPDATE comparisons SET cost_usd = given.column2 FROM {given text float8}
    WHERE id = given.column1 AND cost_usd IS NULL RETURNING batch_id, comparisons.cost_usd AS cost"""
_BILL = """UPDATE batches SET cost_usd = cost_usd + given.column2, version = version + 1
    FROM {given text float8} WHERE id = given.column1"""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of arrivals, in their order, and which batches have a wave that is now complete, or no money left."""

    fates: tuple[Fate, ...]
    completed: frozenset[UUID]


def record(
    connection: Connection,
    groups: Sequence[Sequence[Arrival]],
    known: Mapping[str, AnyRow],
    now: float,
) -> Sequence[Recorded]:
    """Apply groups of arrivals, each of one caller, and answer in their order; `known` are the rows of `locks`."""
    arrivals = list(chain.from_iterable(groups))
    buried = _buried(connection, (a for a in arrivals if str(a.id) not in known))
    fates: list[Fate] = []
    late: dict[str, float] = {}
    fresh: dict[str, tuple[Arrival, AnyRow]] = {}
    for arrival in arrivals:
        row = known.get(str(arrival.id))
        if row is None:
            fates.append(Fate.LATE if arrival.batch_id in buried else Fate.UNKNOWN)
        elif str(arrival.batch_id) != row.batch_id:
            fates.append(Fate.FOREIGN)
        elif row.state in {"planned", "submitted"} and row.id not in fresh:
            fates.append(Fate.APPLIED)
            fresh[row.id] = (arrival, row)
        elif row.state == "cancelled":
            fates.append(Fate.LATE)
            late.setdefault(row.id, arrival.cost_usd)
        else:
            fates.append(Fate.DUPLICATE)
    completed = _end(connection, fresh.values(), now) if fresh else frozenset[UUID]()
    _come_late(connection, late)
    recorded, position = [], 0
    for group in groups:
        mine = tuple(fates[position : position + len(group)])
        recorded.append(Recorded(mine, completed if Fate.APPLIED in mine else frozenset()))
        position += len(group)
    return recorded


def _come_late(connection: Connection, costs: Mapping[str, float]) -> None:
    """A result of a row that was cancelled changes nothing, but that its judge was paid, once."""
    over(connection, _ANSWERED, [(i,) for i in costs])
    bills: dict[str, float] = defaultdict(float)
    for row in over(connection, _PAID, [(i, cost) for i, cost in costs.items() if cost > 0]):
        bills[row.batch_id] += row.cost
    over(connection, _BILL, list(bills.items()))


def _buried(connection: Connection, arrivals: Iterable[Arrival]) -> set[UUID]:
    ids = {str(a.batch_id) for a in arrivals if a.batch_id is not None}
    return {UUID(row.batch_id) for row in over(connection, _TOMBSTONES, [(i,) for i in sorted(ids)])}


def _end(connection: Connection, fresh: Iterable[tuple[Arrival, AnyRow]], now: float) -> frozenset[UUID]:
    """Raise the counters of batches and waves, and end the rows, numbered as the counters say."""
    by_batch: dict[str, list[Arrival]] = defaultdict(list)
    waves: dict[tuple[str, int], int] = defaultdict(int)
    for arrival, row in fresh:
        by_batch[row.batch_id].append(arrival)
        waves[row.batch_id, row.wave] += 1
    rows = []
    broke = set()
    counted = over(connection, _COUNT, [_count(*one) for one in by_batch.items()])
    for batch_id, ended, cost, budget in counted:
        members = by_batch[batch_id]
        if is_spent(cost, budget):
            broke.add(UUID(batch_id))
        rows += [_ended(arrival, order) for order, arrival in enumerate(members, ended - len(members) + 1)]
    over(connection, _END, rows, now=now)
    left = over(connection, _CLOSE, [(*wave, count) for wave, count in waves.items()])
    return frozenset(broke | {UUID(batch_id) for batch_id, still_open in left if still_open == 0})


def _count(batch_id: str, arrivals: Sequence[Arrival]) -> tuple[object, ...]:
    """The values of `_COUNT`."""
    won = sum(arrival.outcome is Outcome.SUCCEEDED for arrival in arrivals)
    return batch_id, won, len(arrivals) - won, sum(arrival.cost_usd for arrival in arrivals)


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
        *(min(number, _MOST) for number in (arrival.tokens, arrival.response_time_ms, arrival.attempts)),
        arrival.prompt_sha256,
        arrival.prompt_version,
        json.dumps(arrival.flags) if arrival.flags else None,
        arrival.error_code,
        arrival.error_detail,
        arrival.retryable,
    )
