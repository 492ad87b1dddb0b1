"""When the budget of a batch is spent, in one place for every statement and every reader."""

from __future__ import annotations

from app.cj.batch import Batch

SLACK = 1e-9
"""Dollars. Twenty verdicts at a cent each add up to a little less than 0.20 in floating point."""

BROKE = f"b.cost_usd >= b.budget_usd - {SLACK:.9f}"
"""Of a batch `b`; NULL, which is no, where there is no budget."""


def is_spent(cost: float, budget: float | None) -> bool:
    """Whether so much was spent already."""
    return budget is not None and cost >= budget - SLACK


def is_broke(batch: Batch) -> bool:
    """Whether nothing more is sent for this batch."""
    return is_spent(batch.cost_usd, batch.settings.budget_usd)
