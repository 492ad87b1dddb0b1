"""When to stop asking, and why: read after each complete wave.

"The scores hardly move any more" is no rule here: in simulation it never fires before the budget is gone.
"""

from enum import StrEnum

from app.cj.statistics import IntArray
from app.cj.statistics.bradley_terry import Fit

LEAST_VERDICTS = 6
"""Verdicts that every essay needs before its standard error is believed."""


class StopReason(StrEnum):
    """Why no more pairs are asked."""

    RELIABILITY = "reliability_reached"
    BUDGET = "budget_spent"
    COMPARISONS = "comparisons_spent"
    NO_PAIRS = "no_pairs_left"
    CANCELLED = "cancelled"


def stop_reason(
    *,
    fit: Fit,
    verdicts_per_item: IntArray,
    connected: bool,
    target: float,
    comparisons_per_essay: float,
    spent: float,
    budget: float | None,
) -> StopReason | None:
    """The first rule that applies, or None to go on.

    An infinite `target` or cap is never reached. Reliability counts when it reaches `target` AND the graph is connected AND every essay has six verdicts
    (n - 1 in a batch too small for six, where no essay can have more without asking a pair twice). Then
    money; then the cap on the mean number of verdicts per essay, 2 m / n. `NO_PAIRS` and `CANCELLED` are never found
    here: whoever pairs sees the one, and people do the other.
    """
    least = min(LEAST_VERDICTS, len(verdicts_per_item) - 1)
    if fit.reliability >= target and connected and verdicts_per_item.min() >= least:
        return StopReason.RELIABILITY
    if budget is not None and spent >= budget:
        return StopReason.BUDGET
    if verdicts_per_item.mean() >= comparisons_per_essay:
        return StopReason.COMPARISONS
    return None


def most_comparisons(items: int, per_item: int, audit_share: float = 0.0) -> int:
    """The most comparisons a batch asks for: `per_item` each, two items at a time, and no pair twice but to audit it.

    With n essays, k each, P pairs and the audit share a: min(ceil(n k / 2), P + floor(a P)). Audits are inside the
    cap. Only where it has room for more than every pair do they come on top of these.
    """
    every_pair = items * (items - 1) // 2
    return min(-(-items * per_item // 2), every_pair + int(audit_share * every_pair))
