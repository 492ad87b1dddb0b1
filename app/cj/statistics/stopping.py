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
    comparisons_per_essay: int,
    spent: float,
    budget: float | None,
    pairs_left: bool,
) -> StopReason | None:
    """The first rule that applies, or None to go on.

    Reliability counts when it reaches `target` AND the graph is connected AND every essay has six verdicts
    (n - 1 in a batch too small for six, where no essay can have more without asking a pair twice). Then
    money; then the cap on the mean number of verdicts per essay, 2 m / n; then a lack of unused pairs.
    `CANCELLED` is never found here: people cancel.
    """
    least = min(LEAST_VERDICTS, len(verdicts_per_item) - 1)
    if fit.reliability >= target and connected and verdicts_per_item.min() >= least:
        return StopReason.RELIABILITY
    if budget is not None and spent >= budget:
        return StopReason.BUDGET
    if verdicts_per_item.mean() >= comparisons_per_essay:
        return StopReason.COMPARISONS
    if not pairs_left:
        return StopReason.NO_PAIRS
    return None


def explain(
    reason: StopReason,
    *,
    fit: Fit | None,
    connected: bool,
    target: float,
    comparisons_per_essay: int,
    spent: float,
    budget: float | None,
) -> str:
    """One sentence for the page: what ended the batch and how good the ranking is. `fit` None: no scores yet."""
    causes = {
        StopReason.RELIABILITY: "The reliability asked for is reached",
        StopReason.BUDGET: f"The budget of ${0.0 if budget is None else budget:.2f} is spent (${spent:.2f})",
        StopReason.COMPARISONS: f"The limit of {comparisons_per_essay} comparisons per essay is used up",
        StopReason.NO_PAIRS: "Every pair of essays has been compared",
        StopReason.CANCELLED: "The batch was cancelled",
    }
    return f"{causes[reason]}{_standing(fit, connected=connected, target=target)}."


def _standing(fit: Fit | None, *, connected: bool, target: float) -> str:
    if fit is None:
        return " before any score could be computed"
    if not connected:
        return "; the comparisons fall into separate groups, so the order between these groups is a guess"
    asked = f"{target:.2f} asked for"
    if fit.reliability >= target:
        return f": the ranking has an estimated reliability of {fit.reliability:.2f}, {asked}"
    return f": the ranking has an estimated reliability of only {fit.reliability:.2f}, {asked}"
