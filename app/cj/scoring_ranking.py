"""From verdicts to a scale, and from a scale to a ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.cj.statistics import IntArray
from app.cj.statistics.bradley_terry import Fit, Verdicts, fit
from app.cj.statistics.graph import island_count
from app.cj.statistics.normal import TWO_SIDED_95


@dataclass(frozen=True, slots=True)
class Scoring:
    """A fitted scale with what it stands on: verdicts per essay, and how many groups no comparison connects."""

    fit: Fit
    verdicts: IntArray
    islands: int

    @property
    def connected(self) -> bool:
        """Whether the comparisons connect all essays."""
        return self.islands == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedEssay:
    """A line of the ranking. `low` and `high` bound the score with 95 % probability, in logits."""

    rank: int
    position: int
    essay: str
    level: str | None
    score: float | None
    se: float | None
    low: float | None
    high: float | None
    comparisons: int


def score(verdicts: Verdicts, items: int, *, start: Fit | None) -> Scoring:
    """Fit the scale; warm-started, deterministic to the convergence of the fit."""
    fitted = fit(verdicts, items, start=start)
    return Scoring(fit=fitted, verdicts=verdicts.count(items), islands=island_count(fitted.islands))


def ranking(
    names: Sequence[str],
    levels: Sequence[str | None],
    scores: Sequence[float | None],
    errors: Sequence[float | None],
    comparisons: Sequence[int],
) -> list[RankedEssay]:
    """Order essays by score, best first; essays without a score come last, in the order handed in.

    The order is over all islands: ranks compare only essays of one, and whoever shows several says which is whose.
    """
    order = sorted(range(len(names)), key=lambda n: (scores[n] is None, -(scores[n] or 0.0), n))
    rows = []
    for rank, n in enumerate(order, start=1):
        centre, se = scores[n], errors[n]
        margin = None if se is None else TWO_SIDED_95 * se
        rows.append(
            RankedEssay(
                rank=rank,
                position=n,
                essay=names[n],
                level=levels[n],
                score=centre,
                se=se,
                low=None if centre is None or margin is None else centre - margin,
                high=None if centre is None or margin is None else centre + margin,
                comparisons=comparisons[n],
            )
        )
    return rows


def as_verdicts(
    first: Sequence[int],
    second: Sequence[int],
    share: Sequence[float],
    judge: Sequence[int],
    confidence: Sequence[float | None],
) -> Verdicts:
    """Pack verdicts in comparison order; a confidence of None was not stated."""
    return Verdicts(
        first=np.asarray(first, dtype=np.int64),
        second=np.asarray(second, dtype=np.int64),
        outcome=np.asarray(share, dtype=np.float64),
        judge=np.asarray(judge, dtype=np.int64),
        confidence=np.asarray(confidence, dtype=np.float64),
    )
