"""The path of a batch: what each fitted wave said, stored in the transaction that stores its scores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from app.contracts.wire import At
from app.database.statements import fetch

_STORE = """INSERT INTO fits (batch_id, wave, verdicts, reliability, sigma, positions, position_errors, islands, cost_usd,
    fitted_at) VALUES (:id, :wave, :verdicts, :reliability, :sigma, :positions, :errors, :islands, :cost, :now)
    ON CONFLICT (batch_id, wave) DO UPDATE SET verdicts = excluded.verdicts, reliability = excluded.reliability,
    sigma = excluded.sigma, positions = excluded.positions, position_errors = excluded.position_errors,
    islands = excluded.islands, cost_usd = excluded.cost_usd"""
_ALL = """SELECT wave, verdicts, reliability, sigma, positions, position_errors, islands, cost_usd, fitted_at FROM fits
    WHERE batch_id = :id ORDER BY wave"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedWave:
    """The scale as it stood when all waves up to `wave` were complete.

    `positions` and `position_errors` hold one value in logits for each judge configuration, in the order of the
    batch's judges; above 0, whoever is shown first is favoured. `islands` counts the groups of essays that no
    comparison connects: 1 when all scores are on one scale. `cost_usd` is what these waves cost.
    """

    wave: int
    verdicts: int
    reliability: float
    sigma: float
    positions: tuple[float, ...]
    position_errors: tuple[float, ...]
    islands: int
    cost_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Milestone(FittedWave):
    """A fitted wave as it was stored, with the moment when that was first done."""

    fitted_at: At


def store(connection: Connection, batch_id: UUID, fitted: FittedWave, now: float) -> None:
    """Keep it. The same wave again, as when a batch finishes with what it has, changes nothing but to the same."""
    fetch(
        connection,
        _STORE,
        id=str(batch_id),
        wave=fitted.wave,
        verdicts=fitted.verdicts,
        reliability=fitted.reliability,
        sigma=fitted.sigma,
        positions=json.dumps(fitted.positions),
        errors=json.dumps(fitted.position_errors),
        islands=fitted.islands,
        cost=fitted.cost_usd,
        now=now,
    )


def milestones(connection: Connection, batch_id: UUID) -> Sequence[Milestone]:
    """Every fitted wave of a batch that had a verdict, in order."""
    return [
        Milestone(
            wave=row.wave,
            verdicts=row.verdicts,
            reliability=row.reliability,
            sigma=row.sigma,
            positions=tuple(json.loads(row.positions)),
            position_errors=tuple(json.loads(row.position_errors)),
            islands=row.islands,
            cost_usd=row.cost_usd,
            fitted_at=row.fitted_at,
        )
        for row in fetch(connection, _ALL, id=str(batch_id))
    ]
