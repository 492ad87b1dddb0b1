"""What each judge configuration took: answers, failures, time and money, over everything that was asked."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from uuid import UUID

from sqlalchemy import Connection

from app.cj.batch import ComparisonState
from app.contracts import JudgeKind
from app.database.statements import fetch

_ENDED = """SELECT judge, state, judge_kind, response_time_ms, cost_usd FROM comparisons
    WHERE batch_id = :id AND state IN ('decided', 'failed') ORDER BY sequence"""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeTally:
    """Of one judge configuration. `decided` counts audits too; `median_ms` is over verdicts, None without any."""

    judge: int
    kinds: tuple[JudgeKind, ...]
    decided: int
    failed: int
    median_ms: float | None
    cost_usd: float


def judge_tallies(connection: Connection, batch_id: UUID) -> dict[int, JudgeTally]:
    """Every judge that ended a comparison, by its number."""
    rows = fetch(connection, _ENDED, id=str(batch_id))
    found = {}
    for judge in sorted({row.judge for row in rows}):
        mine = [row for row in rows if row.judge == judge]
        decided = [row for row in mine if row.state == ComparisonState.DECIDED]
        times = [row.response_time_ms for row in decided if row.response_time_ms is not None]
        found[judge] = JudgeTally(
            judge=judge,
            kinds=tuple(dict.fromkeys(JudgeKind(row.judge_kind) for row in decided if row.judge_kind)),
            decided=len(decided),
            failed=len(mine) - len(decided),
            median_ms=median(times) if times else None,
            cost_usd=sum(row.cost_usd or 0.0 for row in mine),
        )
    return found
